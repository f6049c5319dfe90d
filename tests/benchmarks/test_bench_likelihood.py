"""Cost of one value and gradient of the restricted likelihood, and of a whole REML fit.

``make bench-parts`` prints the table. Peak memory and the number of non-zeros of the factor are in the extra columns of
``--benchmark-json``.
"""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bayesmv import ModelSpec, Pedigree, Relationship, build_design, fit_reml, load_dataset
from bayesmv.design.design import Design
from bayesmv.likelihood import MixedModelLikelihood, likelihood

GENETIC = np.array([[0.4, 0.2], [0.2, 0.5]])
RESIDUAL = np.array([[0.6, 0.1], [0.1, 0.5]])


def livestock_data(n: int, missing: float, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records and pedigree: ten overlapping generations, few males and half of the females of three as parents."""
    rng = np.random.default_rng(seed)
    generation = np.minimum(np.arange(n) // (n // 10), 9)
    parents = np.zeros((n, 2), dtype=np.int64)
    for g in range(1, 10):
        born = np.flatnonzero(generation == g)
        recent = np.flatnonzero((generation < g) & (generation >= g - 3))
        males, females = recent[recent % 2 == 0], recent[recent % 2 == 1]
        sires = rng.choice(males, max(2, len(males) // 25), replace=False)
        dams = rng.choice(females, max(2, len(females) // 2), replace=False)
        parents[born] = 1 + np.column_stack([rng.choice(sires, len(born)), rng.choice(dams, len(born))])
    ids = np.arange(n) + 1
    frame = pd.DataFrame({"id": ids, "sire": parents[:, 0], "dam": parents[:, 1]})
    pedigree = Pedigree.from_frame(frame)
    breeding = pedigree.cholesky_times(rng.standard_normal((n, 2))) @ np.linalg.cholesky(GENETIC).T
    records = breeding[pedigree.ids.get_indexer(ids)] + rng.standard_normal((n, 2)) @ np.linalg.cholesky(RESIDUAL).T
    data = pd.DataFrame({"animal": ids, "sex": np.where(rng.random(n) < 0.5, "F", "M")})
    data[["y1", "y2"]] = records
    data.loc[rng.random(n) < missing, "y2"] = np.nan
    return data, frame


def livestock(n: int, missing: float, seed: int = 1) -> Design:
    """The design of :func:`livestock_data`."""
    data, pedigree = livestock_data(n, missing, seed)
    spec = ModelSpec.from_formula("y1 + y2 ~ sex", random="us(trait):animal")
    return build_design(spec, data, {"animal": Relationship.from_pedigree(pedigree)})


def canty(name: str) -> Design:
    spec = ModelSpec.from_formula("bden + veloc ~ 1", random="us(trait):Block + us(trait):Family")
    return build_design(spec, load_dataset(name))


@pytest.mark.parametrize("name", ["canty", "canty_complete"])
def test_value_and_gradient__trial(benchmark: Any, name: str) -> None:
    design = canty(name)
    engine = likelihood(design)
    sigmas = [0.3 * np.eye(2)] * 3
    value, _ = benchmark(engine.value_and_gradient, sigmas)
    assert np.isfinite(value)


@pytest.mark.parametrize("n", [1000, 5000, 20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_value_and_gradient__pedigree(benchmark: Any, n: int) -> None:
    design = livestock(n, missing=0.2)
    engine = MixedModelLikelihood(design)
    sigmas = [GENETIC, RESIDUAL]
    engine.value_and_gradient(sigmas)
    value, _ = benchmark.pedantic(engine.value_and_gradient, (sigmas,), rounds=3 if n > 5000 else 10)
    benchmark.extra_info["non-zeros"] = int(engine.equations.symbolic.panel_start[-1])
    benchmark.extra_info["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert np.isfinite(value)


@pytest.mark.parametrize("name", ["canty", "canty_complete"])
def test_fit_reml__trial(benchmark: Any, name: str) -> None:
    assert benchmark(fit_reml, canty(name)).converged


@pytest.mark.parametrize("n", [1000, 5000])
def test_fit_reml__pedigree(benchmark: Any, n: int) -> None:
    design = livestock(n, missing=0.2)
    assert benchmark.pedantic(fit_reml, (design,), rounds=1).converged
