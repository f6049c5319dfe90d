"""Predictions of traits that are not Gaussian, on both scales, of fits and of draws."""

import numpy as np
import pytest
from not_gaussian import design, draws_near_the_mode
from scipy.stats import norm

import bayesmv as bmv
from bayesmv import dims


def of(frame, trait, quantity):
    return frame.loc[(frame.trait == trait) & (frame.quantity == quantity)]


def test_fit__probabilities_and_counts_are_those_of_the_latent_predictions():
    fit = bmv.fit_reml(design(("y", "z", "c", "o"), random="diag(trait):f"))
    found = bmv.predict(fit, {"x": [-1.0, 1.0]})
    latent, expected = found.frame.set_index("trait"), found.on_data_scale()
    eta, error = latent.loc["z", "predicted"], latent.loc["z", "std_error"]
    np.testing.assert_allclose(of(expected, "z", "probability")["predicted"], norm.cdf(eta))
    np.testing.assert_allclose(of(expected, "z", "probability")["std_error"], norm.pdf(eta) * error, rtol=1e-6)
    counts = np.exp(latent.loc["c", "predicted"] + 0.5 * fit.covariances["Residual"][2, 2])
    np.testing.assert_allclose(of(expected, "c", "expected count")["predicted"], counts, rtol=1e-8)
    first, second = fit.thresholds.query("trait == 'o'")["estimate"]
    eta = latent.loc["o", "predicted"].to_numpy()
    steps = np.diff([np.zeros(2), norm.cdf(first - eta), norm.cdf(second - eta), np.ones(2)], axis=0)
    for k in range(3):
        np.testing.assert_allclose(of(expected, "o", f"P({k + 1})")["predicted"], steps[k])
    np.testing.assert_allclose(of(expected, "y", "mean")["predicted"], latent.loc["y", "predicted"])


def test_draws__are_those_of_fixed_effects_effects_and_thresholds():
    d = design(("z", "c", "o"), random="diag(trait):f")
    trace = draws_near_the_mode(d, np.array([0, 3]))
    name = str(d.term("f").levels[3])
    found = bmv.predict(trace, {"f": [name], "x": [0.5]}, design=d)
    posterior = trace.posterior.ds.stack(sample=("chain", "draw"))
    names = {t: [f"{t}:{v}" for v in d.fixed.variables] for t in "zco"}
    beta = {t: posterior["fixed"].sel(coefficient=names[t]).to_numpy() for t in "zco"}
    u = posterior[dims.effect_name("f")].sel({dims.level_dim("f"): name}).to_numpy()
    eta = np.stack([beta[t][0] + 0.5 * beta[t][1] for t in "zco"]) + u
    np.testing.assert_allclose(found.combined.draws, eta.T, rtol=1e-10)
    expected = found.on_data_scale()
    np.testing.assert_allclose(of(expected, "z", "probability")["mean"], norm.cdf(eta[0]).mean())
    overdispersion = posterior["Residual_cov"].to_numpy()[1, 1]
    np.testing.assert_allclose(of(expected, "c", "expected count")["mean"], np.exp(eta[1] + overdispersion / 2).mean())
    assert sum(of(expected, "o", f"P({k})")["mean"].iloc[0] for k in (1, 2, 3)) == pytest.approx(1.0)
    last = posterior[dims.family_name("o", "thresholds")].to_numpy().reshape(-1, eta.shape[1])[-1]
    np.testing.assert_allclose(of(expected, "o", "P(3)")["mean"], norm.sf(last - eta[2]).mean())


def test_draws__of_levels_that_were_not_kept_are_asked_for():
    d = design(("z",), random="f")
    trace = draws_near_the_mode(d, np.array([0, 3]))
    with pytest.raises(bmv.SpecError, match=r"holds no effects of .* sample with effects=True"):
        bmv.predict(trace, "f", design=d)


def test_predictions_of_gaussian_traits__have_one_scale():
    prediction = bmv.predict(bmv.fit_reml(design(("y",), random="f")), {"x": [0.0]})
    with pytest.raises(bmv.SpecError, match="every trait is Gaussian"):
        prediction.on_data_scale()
