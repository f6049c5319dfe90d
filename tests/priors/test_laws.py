"""Priors beyond the half-t: densities against scipy, draws against densities, joint and whole-matrix priors."""

from dataclasses import replace

import numpy as np
import pytest
from oracles import finite_difference
from scipy import integrate, stats
from traces import make_design, records

import bayesmv as bmv
from bayesmv.covariance import structure
from bayesmv.errors import SpecError
from bayesmv.priors.density import log_prior
from bayesmv.priors.draws import draw_prior, draw_priors
from bayesmv.priors.shares import draw_shares, log_shares

#: Every law beside the density of s that it is to have.
LAWS = {
    "half-normal": (bmv.HalfNormal(0.7), stats.halfnorm(scale=0.7).logpdf),
    "half-cauchy": (bmv.half_cauchy(0.4), stats.halfcauchy(scale=0.4).logpdf),
    "exponential": (bmv.Exponential(2.5), stats.expon(scale=0.4).logpdf),
    "pc": (bmv.PenalisedComplexity(0.8, 0.01), stats.expon(scale=0.8 / -np.log(0.01)).logpdf),
    "log-normal": (bmv.LogNormal(0.5, 0.8), stats.lognorm(0.8, scale=0.5).logpdf),
    "inverse-gamma": (
        bmv.InverseGamma(2.0, 0.3),
        lambda s: stats.invgamma(2.0, scale=0.3).logpdf(s**2) + np.log(2.0 * s),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_law__density_derivative_and_draws(name):
    law, exact = LAWS[name]
    s = np.linspace(0.05, 3.0, 40)
    gap = law.log_density(s) - exact(s)
    np.testing.assert_allclose(gap, gap[0], atol=1e-10)
    slopes = [finite_difference(law.log_density, np.array([x]))[0, 0] for x in s]
    np.testing.assert_allclose(law.derivative(s), slopes, rtol=1e-6, atol=1e-8)
    draws = law.draw(np.random.default_rng(1), (4000,))
    # Kolmogorov-Smirnov against the exact distribution; false alarm 1e-4.
    grid = np.concatenate([np.geomspace(1e-6, 50.0, 4001)])
    cdf = integrate.cumulative_trapezoid(np.exp(exact(grid)), grid, initial=0.0)
    assert stats.kstest(draws[draws < 50], lambda x: np.interp(x, grid, cdf / cdf[-1])).pvalue > 1e-4


@pytest.mark.parametrize("name", LAWS)
def test_law__model_file_and_back(name):
    law, _ = LAWS[name]
    prior = bmv.CovariancePrior(sd=law, eta=2.0)
    assert bmv.CovariancePrior.from_mapping(prior.to_mapping(), "a") == prior
    spec = bmv.ModelSpec.from_formula("y1 + y2 ~ 1", random="us(trait):family", priors={"family": prior})
    assert bmv.ModelSpec.from_toml(spec.to_toml()).priors["family"] == prior


def test_pc__probability_beyond_upper():
    draws = bmv.PenalisedComplexity(0.5, 0.1).draw(np.random.default_rng(2), (40_000,))
    assert (draws > 0.5).mean() == pytest.approx(0.1, abs=4 * 0.3 / 200)


WORDS = {
    'sd = "uniform(1)"': "no law 'uniform' for sd in the prior of Family; laws: 'half-normal'",
    'sd = "exponential(1, 2)"': "exponential takes other numbers than",
    'sd = "exponential(-1)"': "an exponential prior needs rate > 0",
    "sd = 3": "sd in the prior of Family is a law with its numbers",
    'sd = "exponential(2)"\nnu = 3': "sd beside nu or scale",
    "wishart = 3": "wishart in the prior of Family is a table",
    "wishart = { V = 1 }": "wishart in the prior of Family is a table",
    "share = 0": "a share of the variance needs a finite weight > 0",
    "share = 1\nwishart = { nu = 3 }": "has no share of a variance",
    'sd = "pc(1, 2)"': "needs a probability between 0 and 1",
}


@pytest.mark.parametrize("words", WORDS)
def test_model_file__mistakes_in_priors(words):
    text = f'traits = ["y"]\nrandom = "us(trait):Family"\n[priors.Family]\n{words}\n'
    with pytest.raises(SpecError, match=WORDS[words]):
        bmv.ModelSpec.from_toml(text)


# ---------------------------------------------------------------- inverse Wishart


def test_inverse_wishart__density_is_scipys_with_the_jacobian_of_the_factor():
    prior = bmv.InverseWishart(5.0, [[1.0, 0.2], [0.2, 0.5]])
    exact = stats.invwishart(5.0, 5.0 * np.array([[1.0, 0.2], [0.2, 0.5]]))
    us, rng = structure("us", 2), np.random.default_rng(3)
    gaps = []
    for _ in range(5):
        theta = np.array([0.8, 0.0, 0.6]) + 0.2 * rng.normal(size=3)
        L = us.factor(theta)
        value, gradient = log_prior(us, bmv.CovariancePrior(wishart=prior), theta)
        gaps.append(value - exact.logpdf(L @ L.T) - np.log(L[0, 0] ** 2 * L[1, 1]))
        f = lambda x: log_prior(us, bmv.CovariancePrior(wishart=prior), x)[0]  # noqa: E731
        np.testing.assert_allclose(gradient, finite_difference(f, theta), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-9)


def test_inverse_wishart__draws_have_its_mean():
    V, nu = np.array([[1.0, 0.3], [0.3, 0.5]]), 12.0
    draws = bmv.InverseWishart(nu, V).draw(np.random.default_rng(4), 20_000, 2)
    # Mean Ψ / (ν - m - 1); five standard errors of an element are below 2 %.
    np.testing.assert_allclose(draws.mean(axis=0), nu * V / (nu - 3.0), rtol=0.02)
    theta = draw_prior(
        structure("us", 2), bmv.CovariancePrior(wishart=bmv.InverseWishart(nu, V)), 10, np.random.default_rng(1)
    )
    assert theta.shape == (10, 3)


def test_inverse_wishart__is_refused_where_it_has_no_meaning():
    design = make_design("diag(trait):block + us(trait):family")
    wishart = bmv.CovariancePrior(wishart=bmv.InverseWishart(3.0))
    with pytest.raises(SpecError, match="the prior of block is an inverse Wishart, and its matrix is diag"):
        design.priors({"block": wishart})
    assert "inverse Wishart(nu = 3, V = 1)" in str(design.priors({"family": wishart})["family"])
    with pytest.raises(SpecError, match="needs nu > 1, not 1"):
        design.priors({"family": bmv.CovariancePrior(wishart=bmv.InverseWishart(1.0))})
    with pytest.raises(SpecError, match="3 × 3 for a 2 × 2 matrix"):
        design.priors({"family": bmv.CovariancePrior(wishart=bmv.InverseWishart(5.0, np.eye(3)))})
    with pytest.raises(SpecError, match="symmetric and positive definite"):
        bmv.InverseWishart(5.0, [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(SpecError, match="V of an inverse-Wishart prior must be positive"):
        bmv.InverseWishart(5.0, -1.0)


# ---------------------------------------------------------------- shares


def test_shares__density_is_dirichlet_and_the_law_of_the_total():
    rng, a, total = np.random.default_rng(5), [1.5, 2.0, 4.0], bmv.HalfNormal(1.3)
    gaps = []
    for _ in range(6):
        s = rng.uniform(0.2, 1.0, 3)
        v = s**2
        V = v.sum()
        exact = stats.dirichlet(a).logpdf(v / V) + stats.halfnorm(scale=1.3).logpdf(np.sqrt(V)) - np.log(2 * np.sqrt(V))
        exact += -2.0 * np.log(V) + np.log(8.0 * s.prod())
        value, slopes = log_shares([x[None] for x in s], a, total)
        gaps.append(value - exact)
        numeric = finite_difference(lambda x: log_shares([e[None] for e in x], a, total)[0], s)
        np.testing.assert_allclose(np.concatenate(slopes), numeric, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-9)


def test_shares__draws_have_the_shares():
    s = draw_shares([1.0, 3.0], bmv.HalfNormal(1.0), np.random.default_rng(6), (20_000,))
    share = s[0] ** 2 / (s**2).sum(axis=0)
    assert stats.kstest(share, stats.beta(1.0, 3.0).cdf).pvalue > 1e-4
    assert stats.kstest(np.sqrt((s**2).sum(axis=0)), stats.halfnorm.cdf).pvalue > 1e-4


SHARED = {
    "family": bmv.CovariancePrior(share=1.0, eta=2.0),
    "Residual": bmv.CovariancePrior(share=3.0),
}


def test_shares__posterior_density_and_gradient():
    """log p(θ) of shares is that of independent flat deviations plus the joint density of the deviations."""
    design = make_design()
    posterior = bmv.log_posterior(design, SHARED)
    x = np.linspace(-0.4, 0.5, posterior.blocks.n_parameters)
    value, gradient = posterior.value_and_gradient(x)
    np.testing.assert_allclose(gradient, finite_difference(posterior.value, x), rtol=1e-5, atol=1e-5)
    assert np.isfinite(value)
    theta = posterior.coordinates.constrain(x)
    from bayesmv.priors.laws import Flat

    parts = 0.0
    for name, s, at in zip(design.names, design.blocks.structures, design.blocks.slices, strict=True):
        prior = posterior.priors[name]
        parts += log_prior(s, replace(prior, sd=Flat()) if name in SHARED else prior, theta[at])[0]
    matrices = dict(zip(design.names, design.blocks.matrices(theta), strict=True))
    sds = [np.sqrt(np.diag(matrices[name])) for name in ("family", "Residual")]
    assert posterior.prior(theta)[0] == pytest.approx(parts + log_shares(sds, [1.0, 3.0], bmv.HalfStudentT())[0])


def test_shares__draws_of_the_prior_are_of_heritabilities():
    design = make_design("us(trait):family")
    priors = design.priors(SHARED)
    theta = draw_priors(design.blocks, design.names, design.traits_of, priors, 4000, np.random.default_rng(7))
    family, residual = design.blocks.matrices(theta)
    share = family[:, 1, 1] / (family + residual)[:, 1, 1]
    assert stats.kstest(share, stats.beta(1.0, 3.0).cdf).pvalue > 1e-4
    r = family[:, 0, 1] / np.sqrt(family[:, 0, 0] * family[:, 1, 1])
    assert stats.kstest((1 + r) / 2, stats.beta(2.0, 2.0).cdf).pvalue > 1e-4  # LKJ(2) of two effects


def test_shares__mistakes():
    design = make_design()
    with pytest.raises(SpecError, match="only the prior of family names a share"):
        design.priors({"family": SHARED["family"]})
    with pytest.raises(SpecError, match="one prior of its square root: give all the same sd"):
        design.priors({**SHARED, "family": replace(SHARED["family"], sd=bmv.HalfNormal())})
    part = make_design("at(trait, y1):family", records())
    with pytest.raises(SpecError, match="share variances trait by trait"):
        bmv.log_posterior(part, {n: SHARED[k] for n, k in zip(part.names, ("family", "Residual"), strict=True)}).value(
            np.zeros(part.blocks.n_parameters)
        )
