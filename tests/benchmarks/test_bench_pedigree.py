"""How long pedigrees take: 10,000 to 1,000,000 animals of twelve overlapping generations."""

import numpy as np
import pandas as pd
import pytest

from bayesmv.relationship.pedigree import Pedigree

SIZES = [
    pytest.param(10_000, id="10k"),
    pytest.param(100_000, id="100k"),
    pytest.param(1_000_000, id="1M", marks=pytest.mark.slow),
]


def simulated(animals: int, cohorts: int = 12, seed: int = 1) -> pd.DataFrame:
    """Parents from the last three cohorts, 2 % of a cohort used as sires and half of it as dams."""
    rng = np.random.default_rng(seed)
    size = animals // cohorts
    cohort = np.minimum(np.arange(animals) // size, cohorts - 1)
    sires, dams = max(2, size // 50), size // 2
    sire, dam = (cohort - np.ceil(rng.random(animals) * np.minimum(cohort, 3)).astype(int) for _ in range(2))
    frame = pd.DataFrame(
        {
            "id": np.arange(1, animals + 1),
            "sire": 1 + sire * size + rng.integers(0, sires, animals),
            "dam": 1 + dam * size + sires + rng.integers(0, dams, animals),
        }
    )
    frame.loc[cohort == 0, ["sire", "dam"]] = 0
    return frame


@pytest.fixture(scope="module", params=SIZES)
def frame(request) -> pd.DataFrame:
    return simulated(request.param)


@pytest.fixture(scope="module")
def pedigree(frame) -> Pedigree:
    Pedigree.from_frame(simulated(1_000)).inverse()  # compiles
    return Pedigree.from_frame(frame)


def afresh(pedigree: Pedigree) -> Pedigree:
    """The same pedigree, nothing computed yet."""
    return Pedigree(ids=pedigree.ids, sire=pedigree.sire, dam=pedigree.dam)


def test_bench_from_frame__shuffled(benchmark, frame, pedigree):
    shuffled = frame.sample(frac=1, random_state=1)
    read = benchmark.pedantic(Pedigree.from_frame, args=(shuffled,), rounds=3)
    assert len(read) == len(pedigree)


def test_bench_from_frame__text_ids(benchmark, frame, pedigree):
    read = benchmark.pedantic(Pedigree.from_frame, args=(frame.astype(str),), rounds=1)
    np.testing.assert_array_equal(read.sire, pedigree.sire)


def test_bench_inbreeding(benchmark, pedigree):
    F = benchmark.pedantic(lambda fresh: fresh.inbreeding, setup=lambda: ((afresh(pedigree),), {}), rounds=3)
    assert 0 < F.mean() < 0.05


def test_bench_inverse(benchmark, pedigree):
    _ = pedigree.inbreeding
    inverse = benchmark.pedantic(pedigree.inverse, rounds=3)
    v = np.random.default_rng(2).normal(size=len(pedigree))
    np.testing.assert_allclose(inverse @ pedigree.times(v), v, atol=1e-8)


def test_bench_times(benchmark, pedigree):
    v = np.random.default_rng(3).normal(size=(len(pedigree), 2))
    _ = pedigree.mendelian_variance
    assert benchmark.pedantic(pedigree.times, args=(v,), rounds=3).shape == v.shape
