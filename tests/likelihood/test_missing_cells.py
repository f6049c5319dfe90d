"""Missing records as fixed effects of their own: against the sparse engine, over kinds of relationships and traits."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.likelihood.spectral import missing
from bayesmv.likelihood.spectral.missing import MissingCells


def pedigreed(t, *, seed=1, n=60, lost=((3, 0), (3, 1), (10, 1), (20, 1), (41, 0))):
    rng = np.random.default_rng(seed)
    ids = [f"a{i}" for i in range(n)]
    pedigree = pd.DataFrame(
        {
            "id": ids,
            "sire": [None] * 15 + [f"a{i % 5}" for i in range(n - 15)],
            "dam": [None] * 15 + [f"a{5 + i % 10}" for i in range(n - 15)],
        }
    )
    names = [f"y{k}" for k in range(t)]
    data = pedigree.assign(sex=rng.choice(list("fm"), n), age=rng.normal(size=n))
    for k, name in enumerate(names):
        data[name] = rng.normal(size=n) * 10.0**k + k
    for row, k in lost:
        if k < t and not (t == 1 or ((row, 1 - k) in lost and t == 2)):
            data.loc[row, names[k]] = np.nan
    spec = bmv.ModelSpec.from_formula(f"{' + '.join(names)} ~ sex + age", random="us(trait):vm(id, A)")
    return spec, data, bmv.Relationship.from_pedigree(pedigree)


def random_matrices(t, seed):
    B = np.random.default_rng(seed).normal(size=(2, t, t))
    return [0.3 * b @ b.T + 0.2 * np.eye(t) for b in B]


@pytest.mark.parametrize("t", [2, 3, 4])
@pytest.mark.parametrize("dense", [False, True])
def test_likelihood__is_that_of_the_records_observed(t, dense, monkeypatch):
    spec, data, A = pedigreed(t)
    design = bmv.build_design(spec, data, {"A": A})
    if dense:
        monkeypatch.setattr("bayesmv.likelihood.spectral.engine.is_dense", lambda _: True)
    mine, sparse = MissingCells(design), MixedModelLikelihood.offer(design).prepare(False)
    singular = random_matrices(t, 9)
    singular[0] = np.outer(np.ones(t), np.ones(t))
    for sigmas in (random_matrices(t, 1), random_matrices(t, 2), singular):
        value, gradient = mine.value_and_gradient(sigmas)
        expected, slopes = sparse.value_and_gradient(sigmas)
        assert value == pytest.approx(expected, rel=1e-10)  # the tables are right to 1e-11 of their functions
        assert mine.loglik(sigmas) == value
        for G, H in zip(gradient, slopes, strict=True):
            np.testing.assert_allclose(G, H, atol=1e-7)
        np.testing.assert_allclose(
            mine.average_information(sigmas), sparse.average_information(sigmas), rtol=1e-6, atol=1e-6
        )


def test_reml__is_that_of_the_sparse_engine():
    spec, data, A = pedigreed(2, n=90)
    design = bmv.build_design(spec, data, {"A": A})
    one, other = (bmv.fit_reml(design, engine=name) for name in ("covariates", "sparse"))
    assert one.engine_name == "covariates"
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    for name, S in one.covariances.items():
        np.testing.assert_allclose(S, other.covariances[name], rtol=1e-4, atol=1e-6)
    errors = [fit.varcomp["std_error"].to_numpy() for fit in (one, other)]
    np.testing.assert_allclose(errors[0], errors[1], rtol=1e-4)
    effects = [bmv.breeding_values(fit, "id")["blup"].to_numpy() for fit in (one, other)]
    np.testing.assert_allclose(effects[0], effects[1], rtol=1e-3, atol=1e-4)


def test_posterior_density__is_that_of_the_sparse_engine():
    spec, data, A = pedigreed(2)
    design = bmv.build_design(spec, data, {"A": A})
    one, other = (bmv.log_posterior(design, engine=name) for name in ("covariates", "sparse"))
    x = np.random.default_rng(1).normal(size=(3, design.blocks.n_parameters)) * 0.3
    for at in x:
        assert one.value_and_gradient(at)[0] == pytest.approx(other.value_and_gradient(at)[0], abs=1e-7)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.assign(y1=data["y0"]).dropna(), "no records are missing"),
        (lambda data: data, None),
    ],
)
def test_obstacles__are_named(change, reason):
    spec, data, A = pedigreed(2)
    rng = np.random.default_rng(3)
    data = data.assign(y0=data["y0"].fillna(0.5), y1=rng.normal(size=len(data))) if reason else data
    design = bmv.build_design(spec, data, {"A": A})
    assert MissingCells.offer(design).obstacle == reason


def test_many_missing_records__are_left_to_the_sparse_engine(monkeypatch):
    monkeypatch.setattr(missing, "MOST_CELLS", 2)
    spec, data, A = pedigreed(2)
    assert "missing records are more than 2" in MissingCells.offer(bmv.build_design(spec, data, {"A": A})).obstacle
