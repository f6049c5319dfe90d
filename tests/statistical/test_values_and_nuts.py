"""Weighted points and NUTS against each other on every engine."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv

pytestmark = pytest.mark.slow


def with_missing():
    data = bmv.load_dataset("breeding")
    data.loc[data.index[::9], "wwt"] = np.nan
    A = bmv.Relationship.from_pedigree(bmv.load_pedigree("breeding"))
    spec = bmv.ModelSpec.from_formula("wwt + fat ~ sex", random="us(trait):vm(animal, A)")
    return bmv.build_design(spec, data, {"A": A})


def complete():
    """An animal model of complete records of a simulated trait pair."""
    parents = bmv.load_pedigree("breeding")
    A = bmv.Relationship.from_pedigree(parents)
    data = bmv.simulate_traits(
        pd.DataFrame({"animal": parents["id"]}),
        traits=("a", "b"),
        means={"a": 0.0, "b": 0.0},
        covariances={"animal": [[0.5, 0.2], [0.2, 0.4]], "Residual": [[0.6, 0.1], [0.1, 0.7]]},
        relationships={"animal": A},
        rng=np.random.default_rng(2),
    )
    return bmv.build_design(bmv.ModelSpec.from_formula("a + b ~ 1", random="us(trait):vm(animal, A)"), data, {"A": A})


def balanced():
    spec = bmv.ModelSpec.from_formula("bden + veloc ~ 1", random="us(trait):Block + us(trait):Family")
    return bmv.build_design(spec, bmv.load_dataset("canty_complete"))


CASES = {"strata": balanced, "spectral": complete, "sparse": with_missing}


@pytest.mark.parametrize("engine", list(CASES))
def test_values__agree_with_nuts(engine):
    design = CASES[engine]()
    fit = bmv.fit_reml(design)
    assert fit.engine_name == engine
    points = bmv.sample(design, reml=fit, method="values", min_ess=2000, seed=1)
    draws = bmv.sample(design, reml=fit, method="nuts", min_ess=4000, seed=2)
    assert bmv.convergence(points).weights
    for name in design.names:
        a, b = (trace["posterior"][f"{name}_cov"].to_numpy().reshape(-1, 2, 2) for trace in (points, draws))
        for i, j in ((0, 0), (0, 1), (1, 1)):
            sd = b[:, i, j].std()
            for q in (0.025, 0.5, 0.975):
                # Of 2,000 and 4,000 effective draws: 4.4 standard errors of a quantile, by the density at it. Tails of
                # variances of few levels are less steep than a normal one.
                at, reach = np.quantile(b[:, i, j], q), 0.1 * sd
                density = (np.abs(b[:, i, j] - at) < reach).mean() / (2 * reach)
                error = np.sqrt(q * (1 - q)) / density * np.sqrt(1.0 / 2000.0 + 1.0 / 4000.0)
                assert np.quantile(a[:, i, j], q) == pytest.approx(np.quantile(b[:, i, j], q), abs=4.4 * error)
