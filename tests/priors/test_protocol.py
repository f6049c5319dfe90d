"""Priors of standard deviations that a user wrote, in plain Python, and those without a compiled form."""

import numpy as np
import pytest
from oracles import finite_difference
from scipy import stats
from structures import build
from traces import make_design, some_draws, trace_of

import bayesmv as bmv
from bayesmv.design.model_record import ModelRecord
from bayesmv.errors import SpecError
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.layout import density_layout
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.posterior.sampler_density import PlainDensity, sampler_density
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.priors.density import log_prior
from bayesmv.priors.draws import draw_prior, prior_spread
from bayesmv.priors.laws import HalfNormal
from bayesmv.priors.words import prior_words
from bayesmv.pymc_model import build_model


class Exponential:
    """Exponential prior with rate 2: no base class, no hash that says anything, no compiled form."""

    compiled = None

    def log_density(self, s):
        return -2.0 * s

    def derivative(self, s):
        return np.full_like(s, -2.0)

    def draw(self, rng, size):
        return rng.exponential(0.5, size)

    def describe(self):
        return "exponential(2)"


class InverseGamma:
    """Inverse gamma prior of the sd itself, shape 3, scale 1: it has no density at 0, and no hash."""

    compiled = None
    __hash__ = None

    def log_density(self, s):
        return -4.0 * np.log(s) - 1.0 / s

    def derivative(self, s):
        return -4.0 / s + 1.0 / s**2

    def draw(self, rng, size):
        return 1.0 / rng.gamma(3.0, 1.0, size)

    def describe(self):
        return "inverse-gamma(3, 1)"


OWN = [CovariancePrior(sd=Exponential(), eta=2.0), CovariancePrior(sd=InverseGamma(), eta=0.8)]
NAMES = ["exponential", "inverse gamma"]
own = pytest.mark.parametrize("prior", OWN, ids=NAMES)
words = ["us", "diag", "idv", "corh", "toep", "ante(1)", "fa(1)", "scaled(G)"]


@pytest.mark.parametrize("text", words)
@pytest.mark.parametrize("prior", [*OWN, CovariancePrior(sd=HalfNormal(scale=0.7))], ids=[*NAMES, "half-normal"])
def test_log_prior__gradient(text, prior):
    s, rng = build(text, 3), np.random.default_rng(1)
    theta = np.where(s.positive, rng.uniform(0.4, 1.5, s.n_parameters), rng.uniform(-1.2, 1.2, s.n_parameters))
    slopes = finite_difference(lambda x: log_prior(s, prior, x)[0], theta, 1e-3)
    np.testing.assert_allclose(log_prior(s, prior, theta)[1], slopes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("text", ["diag", "idv", "corh", "fa(1)", "scaled(G)"])
@own
def test_log_prior__either_sign_of_a_scale_is_the_same(text, prior):
    """Coordinates of the sampler fold scales at 0: a prior is asked for positive standard deviations only."""
    s = build(text, 3)
    theta = np.full(s.n_parameters, 0.6)
    turned = np.where(s.anchor == np.arange(s.n_parameters), -theta, theta)
    (value, gradient), (same, opposite) = (log_prior(s, prior, x) for x in (theta, turned))
    assert value == same
    np.testing.assert_allclose(opposite, np.where(turned < 0.0, -gradient, gradient))


@own
def test_log_posterior__gradient_and_plain_density(prior):
    design = make_design("us(trait):block + diag(trait):family")
    posterior = log_posterior(design, {"block": prior, "family": prior}).planar()
    x = np.random.default_rng(2).normal(0.5, 0.3, posterior.blocks.n_parameters)
    value, gradient = posterior.value_and_gradient(x)
    slopes = finite_difference(posterior.value, x, 1e-3)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())
    density = sampler_density(posterior, x, np.eye(len(x)))
    assert isinstance(density, PlainDensity)
    assert density(np.zeros(len(x)))[0] == pytest.approx(value, rel=1e-12)
    with pytest.raises(TypeError, match="no compiled density for the prior"):
        density_layout(posterior)


@pytest.mark.parametrize("sd", [HalfStudentT(nu=4.0), HalfNormal(), HalfNormal(scale=0.6)], ids=str)
def test_sampler_density__half_t_and_half_normal_are_compiled(sd):
    posterior = log_posterior(make_design("us(trait):block"), {"block": CovariancePrior(sd=sd)}).planar()
    d = posterior.blocks.n_parameters
    density, plain = (kind(posterior, np.ones(d), np.eye(d)) for kind in (Density, PlainDensity))
    assert isinstance(sampler_density(posterior, np.ones(d), np.eye(d)), Density)
    constants = []
    for z in np.random.default_rng(2).normal(0.0, 0.5, (3, d)):
        (value, gradient), (other, its) = density(z), plain(z)
        np.testing.assert_allclose(gradient, its, rtol=1e-8, atol=1e-8)
        constants.append(value - other)
    assert np.ptp(constants) < 1e-9


def test_sampler_density__others_are_called_in_python():
    posterior = log_posterior(make_design("us(trait):block"), {"block": CovariancePrior(sd=Exponential())}).planar()
    d = posterior.blocks.n_parameters
    assert isinstance(sampler_density(posterior, np.ones(d), np.eye(d)), PlainDensity)


@pytest.mark.parametrize("prior", [*OWN, CovariancePrior(sd=HalfNormal(scale=0.7))], ids=[*NAMES, "half-normal"])
def test_build_model__is_the_log_posterior(prior):
    design = make_design("us(trait):block + diag(trait):family")
    priors = dict.fromkeys(design.names, prior)
    posterior = log_posterior(design, priors)
    density = build_model(design, priors=priors).logp_dlogp_function(mode="FAST_COMPILE", ravel_inputs=True)
    density.set_extra_values({})
    difference = []
    for x in np.random.default_rng(3).normal(0.2, 0.4, (4, design.blocks.n_parameters)):
        value, gradient = posterior.value_and_gradient(x)
        mine = density(x)
        np.testing.assert_allclose(mine[1], gradient, atol=1e-8 * max(1.0, np.abs(gradient).max()))
        difference.append(mine[0] - value)
    assert np.ptp(difference) < 1e-9


def test_half_normal__is_scipy_s():
    prior, s = HalfNormal(scale=0.7), np.linspace(0.0, 3.0, 7)
    expected = stats.halfnorm.logpdf(s, scale=0.7) - stats.halfnorm.logpdf(0.0, scale=0.7)
    np.testing.assert_allclose(prior.log_density(s), expected, atol=1e-12)
    # Kolmogorov and Smirnov: false alarm 1e-4, seeded.
    draws = prior.draw(np.random.default_rng(1), (2000,))
    assert stats.kstest(draws, stats.halfnorm(scale=0.7).cdf).pvalue > 1e-4
    assert prior.describe() == "half-normal(0.7)"


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_half_normal__raises(scale):
    with pytest.raises(SpecError, match="a half-normal prior needs scale > 0 and finite"):
        HalfNormal(scale=scale)


@pytest.mark.parametrize(("text", "tolerance"), [("us", 0.1), ("diag", 0.1), ("corh", 0.1)])
def test_prior_spread__is_that_of_draws(text, tolerance):
    """Interquartile range of an exponential with mean ½: log(3)/2. 4,000 draws have a relative error of 2 %."""
    s = build(text, 3)
    assert prior_spread(s, OWN[0], 1, 1) == pytest.approx(0.5 * np.log(3.0), rel=tolerance)
    assert np.isfinite(draw_prior(s, OWN[0], 5, np.random.default_rng(0))).all()


def test_prior_words():
    assert prior_words(build("corh", 3), OWN[0]) == (
        "sd ~ exponential(2) phenotypic sd, cor ~ beta(2, 2) over its interval"
    )
    assert str(OWN[0]) == "sd ~ exponential(2) phenotypic sd, correlations ~ LKJ(2)"


def test_to_toml__raises():
    spec = bmv.ModelSpec.from_formula("a + b ~ 1", random="us(trait):g", priors={"g": OWN[0], "Residual": OWN[0]})
    with pytest.raises(SpecError, match=r"\[priors.g\]: the prior exponential\(2\) has no form in a model file"):
        spec.to_toml()
    kept = spec.with_priors({"g": CovariancePrior(eta=2.0)}).without_unwritten_priors()
    assert dict(kept.priors) == {"g": CovariancePrior(eta=2.0)}


def test_covariance_prior__raises_on_what_is_no_prior():
    with pytest.raises(SpecError, match=r"must have log_density, .*; Half lacks draw, describe, compiled"):
        CovariancePrior(sd=type("Half", (), {"log_density": None, "derivative": None})())


def test_trace__holds_the_words_and_comparison_takes_the_prior():
    design = make_design("us(trait):block")
    x = some_draws(log_posterior(design))
    reml = bmv.fit_reml(design)
    trace = trace_of(design, x, reml=reml, priors={"block": OWN[0]})
    record = ModelRecord.read(trace)
    assert set(record.priors) == {"Residual"}
    assert record.prior_words["block"] == str(OWN[0])
    without = bmv.compare_reml(trace, reml).set_index("term")["contraction"]
    assert np.isnan(without["block"]).all()
    assert np.isfinite(without["Residual"]).all()
    known = bmv.compare_reml(trace, reml, priors={"block": OWN[0]}).set_index("term")["contraction"]
    assert np.isfinite(known["block"]).all()
    # The prior's interquartile range is what the posterior's is divided by.
    sd = trace["posterior"].to_dataset()["block_sd"].to_numpy()[..., 0] / design.scale[0]
    ratio = np.ptp(np.quantile(sd, [0.25, 0.75])) / (0.5 * np.log(3.0))
    assert known["block"].iloc[0] == pytest.approx(1.0 - ratio**2, abs=0.1 * ratio**2)
