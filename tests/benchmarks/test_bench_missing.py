"""One evaluation where few of many records are missing: as fixed effects of their own, and by the sparse engine."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.likelihood import likelihood

SIGMAS = [np.array([[0.4, 0.1], [0.1, 0.5]]), np.array([[0.6, 0.2], [0.2, 0.5]])]


def design(n, cells, dense):
    """Animals mated at random, or lines with a marker relationship; two traits, `cells` records of one missing."""
    rng = np.random.default_rng(1)
    ids = [f"a{i}" for i in range(n)]
    if dense:
        M = rng.binomial(2, 0.3, (n, 800)).astype(float)
        M -= M.mean(axis=0)
        A = bmv.Relationship.from_covariance(M @ M.T / 300 + 0.02 * np.eye(n), ids)
    else:
        parents = [[None if i < 500 else f"a{2 * rng.integers(0, i // 2) + k}" for i in range(n)] for k in (0, 1)]
        A = bmv.Relationship.from_pedigree(pd.DataFrame({"id": ids, "sire": parents[0], "dam": parents[1]}))
    data = pd.DataFrame({"id": ids, "y1": rng.normal(size=n), "y2": rng.normal(size=n)})
    data.loc[rng.choice(n, cells, replace=False), "y2"] = np.nan
    return bmv.build_design(bmv.ModelSpec.from_formula("y1 + y2 ~ 1", random="us(trait):vm(id, A)"), data, {"A": A})


@pytest.mark.parametrize("engine", ["covariates", "sparse"])
@pytest.mark.parametrize("cells", [1, 20, 200])
@pytest.mark.parametrize(("n", "dense"), [(5000, False), (1500, True)], ids=["pedigree", "markers"])
def test_evaluation(benchmark, n, dense, cells, engine):
    density = likelihood(design(n, cells, dense), engine)
    value, _ = density.value_and_gradient(SIGMAS)
    assert np.isfinite(value)
    benchmark(density.value_and_gradient, SIGMAS)
