"""Rotated loadings, of REML and of draws."""

import numpy as np
import pytest
from traces import make_design, records, some_draws, trace_of

import bayesmv as bmv
from bayesmv.estimates.loadings import procrustes, varimax
from bayesmv.posterior.log_posterior import log_posterior


def standardised():
    data = records(t=4, families=12)
    traits = [f"y{i}" for i in range(1, 5)]
    data[traits] /= data[traits].std()
    return data


@pytest.fixture(scope="module")
def fit():
    return bmv.fit_reml(make_design("diag(trait):block + fa(trait, 2):family", standardised()))


def wide(table, quantity, value="estimate"):
    return table[table["quantity"] == quantity].pivot(index="trait", columns="factor", values=value)


@pytest.mark.parametrize("rotation", ["principal", "varimax"])
def test_factor_loadings__give_the_covariance_back(fit, rotation):
    table = bmv.factor_loadings(fit, "family", rotation=rotation)
    loadings = wide(table, "loading").to_numpy()
    specific = wide(table, "specific variance").to_numpy()[:, 0]
    sigma = fit.covariances["family"]
    np.testing.assert_allclose(loadings @ loadings.T + np.diag(specific), sigma, rtol=1e-8, atol=1e-10)
    correlations = wide(table, "correlation").to_numpy()
    assert (correlations.sum(axis=0) > 0).all()
    np.testing.assert_allclose(correlations, loadings / np.sqrt(np.diag(sigma))[:, None], rtol=1e-10)
    explained = table[table["quantity"] == "explained"].set_index(["trait", "factor"])["estimate"]
    np.testing.assert_allclose(
        explained.loc[[f"y{i}" for i in range(1, 5)]], 1.0 - specific / np.diag(sigma), rtol=1e-8, atol=1e-10
    )
    assert explained["mean", "1"] + explained["mean", "2"] == pytest.approx(explained["mean", "all"])


def test_factor_loadings__principal_columns_are_uncorrelated_and_ordered(fit):
    correlations = wide(bmv.factor_loadings(fit, "family"), "correlation").to_numpy()
    gram = correlations.T @ correlations
    assert abs(gram[0, 1]) < 1e-10
    assert gram[0, 0] > gram[1, 1]


def test_factor_loadings__unit_of_a_trait_changes_only_its_loading(fit):
    data = standardised()
    data["y2"] *= 1000.0
    other = bmv.fit_reml(make_design("diag(trait):block + fa(trait, 2):family", data))
    np.testing.assert_allclose(
        wide(bmv.factor_loadings(other, "family"), "correlation"),
        wide(bmv.factor_loadings(fit, "family"), "correlation"),
        atol=1e-3,
    )


def test_factor_loadings__draws_are_turned_alike():
    """Draws of one ΛΛ' in every rotation and sign become one and the same."""
    design = make_design("diag(trait):block + fa(trait, 2):family", standardised())
    x = some_draws(log_posterior(design), 2, 30)
    trace = trace_of(design, x)
    variable = trace["posterior"]["family_loading"]
    rng = np.random.default_rng(1)
    fixed = variable.to_numpy()[0, 0]
    turns = np.linalg.qr(rng.normal(size=(2, 30, 2, 2)))[0]
    posterior = trace["posterior"].to_dataset()
    posterior["family_loading"] = (variable.dims, fixed @ turns)
    posterior["family_specific"] = posterior["family_specific"] * 0.0 + posterior["family_specific"][0, 0]
    trace["posterior"] = posterior
    table = bmv.factor_loadings(trace, "family")
    assert (table.loc[table["quantity"] == "loading", "sd"] < 1e-10).all()
    loadings = wide(table, "loading", "mean").to_numpy()
    np.testing.assert_allclose(loadings @ loadings.T, fixed @ fixed.T, atol=1e-10)


def test_sample__stores_loadings_of_the_covariances():
    design = make_design("diag(trait):block + rr(trait, 2):family", standardised())
    posterior = trace_of(design, some_draws(log_posterior(design), 2, 10))["posterior"].to_dataset()
    loadings = posterior["family_loading"].to_numpy()
    np.testing.assert_allclose(loadings @ np.swapaxes(loadings, -1, -2), posterior["family_cov"], atol=1e-12)
    assert posterior["family_loading"].dims == ("chain", "draw", "trait", "family_factor")
    assert (posterior["family_specific"] == 0.0).all()


def test_factor_loadings__raises(fit):
    with pytest.raises(bmv.SpecError, match=r"the term 'block' has no factors \(diag\)"):
        bmv.factor_loadings(fit, "block")
    with pytest.raises(bmv.SpecError, match="no term 'nobody'; terms: 'block', 'family', 'Residual'"):
        bmv.factor_loadings(fit, "nobody")
    with pytest.raises(bmv.SpecError, match="unknown rotation 'oblimin'; allowed: principal, varimax"):
        bmv.factor_loadings(fit, "family", rotation="oblimin")
    with pytest.raises(TypeError, match="expected a RemlFit or a posterior DataTree, not int"):
        bmv.factor_loadings(3, "family")


def test_factor_loadings__raises_on_a_trace_without_factors(fit):
    trace = trace_of(make_design())
    with pytest.raises(bmv.SpecError, match="the term 'family' has no factors"):
        bmv.factor_loadings(trace, "family")
    with pytest.raises(bmv.SpecError, match="no term 'nobody'"):
        bmv.factor_loadings(trace, "nobody")


def test_varimax__finds_simple_structure():
    simple = np.array([[0.9, 0.0], [0.8, 0.0], [0.7, 0.0], [0.0, 0.9], [0.0, 0.8], [0.0, 0.7]])
    angle = 0.6
    turned = varimax(simple @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))
    np.testing.assert_allclose(turned @ procrustes(turned, simple), simple, atol=1e-6)
    np.testing.assert_allclose(np.sort(np.abs(turned), axis=1)[:, 0], 0.0, atol=1e-6)
