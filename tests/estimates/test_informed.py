"""Share of the variance of effects that records take away, against dense algebra."""

import numpy as np
import pytest
from not_gaussian import design, draws_near_the_mode, keeper_and_run

import bayesmv as bmv


def test_informed_fraction__is_that_of_the_dense_hessian():
    d = design(("z", "y"), random="diag(trait):f + idv(trait):b")
    found = bmv.informed_fraction(draws_near_the_mode(d, np.arange(2)))
    where = keeper_and_run(d, np.arange(2))[0]._map
    engine, p = where.latent.engine, where.latent.engine.predictor
    _, state, _ = where.latent.marginal(where.centre)
    A = p.matrix(state.numbers).toarray()
    V = np.linalg.inv(p.prior.toarray() + A.T @ (state.at.weight[:, None] * A))
    for k, term in enumerate(d.terms):
        own = np.arange(p.first[k], p.first[k + 1]).reshape(-1, len(term.effects))
        wanted = [1.0 - V[at, at].mean() for at in own.T]  # the prior precision is 1
        np.testing.assert_allclose(found.query("term == @term.name")["informed"], wanted, rtol=1e-8)
    assert engine.design is d


def test_informed_fraction__of_gaussian_models_is_refused():
    import xarray as xr

    with pytest.raises(bmv.SpecError, match="the reliabilities of breeding_values"):
        bmv.informed_fraction(xr.DataTree())
