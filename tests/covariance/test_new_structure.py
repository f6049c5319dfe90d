"""A structure of one's own, from its class to posterior and report, with one registration and no other edit."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from oracles import Dense, finite_difference, simple_case
from scipy import stats
from structures import build
from traces import incomplete, records

import bayesmv as bmv
from bayesmv.covariance import STRUCTURES, Correlation, Loading, contains, structure
from bayesmv.covariance.base import Placement
from bayesmv.covariance.linear import LinearFactor
from bayesmv.covariance.scaled import Pattern, ScaledCorrelation
from bayesmv.posterior.coordinates import Coordinates
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.posterior.sampler_density import PlainDensity, sampler_density
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.priors.density import log_prior, row_weights
from bayesmv.priors.draws import draw_prior, prior_spread
from bayesmv.priors.words import prior_words
from bayesmv.pymc_model import build_model

PRIOR = CovariancePrior(sd=HalfStudentT(nu=5.0, scale=0.6), eta=1.7)


@dataclass(frozen=True)
class HeterogeneousBanded(ScaledCorrelation):
    """Neighbours share one correlation, others have none: Σ_i,i±1 = s_i s_i±1 ρ, |ρ| ≤ 1 / (2 cos(π / (m + 1)))."""

    word: ClassVar[str] = "bandh"
    own_variances: ClassVar[bool] = True

    @property
    def limit(self) -> float:
        return 0.5 / np.cos(np.pi / (self.size + 1)) if self.size > 1 else 0.0

    @property
    def n_angles(self) -> int:
        return int(self.size > 1)

    @property
    def support(self):
        return tuple((i, j) for i, j in super().support if i - j <= 1)

    @property
    def _neighbours(self):
        return np.eye(self.size, k=1) + np.eye(self.size, k=-1)

    def pattern(self, angles):
        rho = self.limit * np.sin(angles).sum(axis=-1)[..., None, None]
        return np.eye(self.size) + rho * self._neighbours

    def expand(self, angles):
        first = self.limit * np.cos(angles)[:, None, None] * self._neighbours
        second = -self.limit * np.sin(angles)[:, None, None] * self._neighbours
        return Pattern(self.pattern(angles), first, second[:, None][:, : self.n_angles])

    def angles(self, correlations):
        known = np.diagonal(correlations, 1)
        known = known[~np.isnan(known)]
        rho = known.mean() if known.size else 0.0
        return np.arcsin(np.clip([rho / (self.limit or 1.0)], -1.0, 1.0))[: self.n_angles]

    def angle_parameters(self):
        return (Correlation(name="cor", low=-self.limit, high=self.limit),)[: self.n_angles]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The one registration."""
    monkeypatch.setitem(STRUCTURES, HeterogeneousBanded.word, HeterogeneousBanded)


@pytest.fixture(scope="module")
def case():
    """A tiny trial with the structure for families, us for the residual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STRUCTURES, HeterogeneousBanded.word, HeterogeneousBanded)
        return simple_case(["y1", "y2", "y3"], "bandh(trait):family", incomplete(records(t=3)))


def points(s, n=5):
    rng = np.random.default_rng(s.size)
    for _ in range(n):
        yield np.where(s.positive, rng.uniform(0.3, 1.5, s.n_parameters), rng.uniform(-1.3, 1.3, s.n_parameters))


@pytest.mark.parametrize("m", [1, 2, 4])
def test_structure__matrix_and_derivatives(m):
    s = structure("bandh", m)
    assert (s.n_parameters, len(s.support)) == (m + (m > 1), 2 * m - 1)
    for theta in points(s):
        sigma = s.matrix(theta)
        assert np.linalg.eigvalsh(sigma).min() > 0.0
        np.testing.assert_allclose(s.from_matrix(sigma), theta, rtol=1e-9)
        np.testing.assert_allclose(s.canonical(-theta)[s.positive], theta[s.positive])
        np.testing.assert_allclose(s.jacobian(theta), finite_difference(s.matrix, theta, 1e-3), atol=1e-9)
        G = np.ones((m, m)) + np.eye(m)
        slopes = finite_difference(lambda x, G=G: np.einsum("kab,ab->k", s.jacobian(x), G), theta, 1e-3)
        np.testing.assert_allclose(s.curvature(theta, G), slopes, atol=1e-8)
    edge = np.append(np.ones(m), [0.5 * np.pi][: s.n_angles])
    assert np.linalg.eigvalsh(s.matrix(edge))[0] == pytest.approx(0.0 if m > 1 else 1.0, abs=1e-12)
    assert s.edges(edge).tolist() == [False] * m + [True] * s.n_angles


def test_nesting():
    us, banded, diag = (structure(word, 3) for word in ("us", "bandh", "diag"))
    assert contains(us, banded)
    assert contains(banded, diag)
    assert not contains(banded, us)
    assert not contains(structure("corh", 3), banded)


def test_constraints(case):
    data = case.data
    spec = replace(case.spec, constraints={"family": {"cor": 0.4, "sd[y1]": "sd[y2]"}})
    fit = bmv.fit_reml(bmv.build_design(spec, data))
    R = fit.covariances["family"]
    assert R[0, 1] / np.sqrt(R[0, 0] * R[1, 1]) == pytest.approx(0.4)
    assert R[0, 0] == pytest.approx(R[1, 1])


def test_log_prior__gradient_and_value():
    s = structure("bandh", 4)
    for theta in points(s):
        value, gradient = log_prior(s, PRIOR, theta)
        slopes = finite_difference(lambda x: log_prior(s, PRIOR, x)[0], theta, 1e-3)
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)
        # Written out: half-t of s = θ² with |ds/dθ| ∝ |θ|; beta(eta, eta) of (1 + sin φ)/2 with its Jacobian cos φ / 2.
        sds, phi = theta[:4] ** 2, theta[4]
        half_t = stats.t.logpdf(sds / 0.6, 5.0) - stats.t.logpdf(0.0, 5.0)
        beta = stats.beta.logpdf(0.5 * (1.0 + np.sin(phi)), 1.7, 1.7) - stats.beta.logpdf(0.5, 1.7, 1.7)
        assert value == pytest.approx(np.sum(half_t + np.log(theta[:4])) + beta + np.log(np.cos(phi)), abs=1e-10)


def test_draw_prior__draws_have_the_density():
    """Against exact distributions by Kolmogorov and Smirnov: false alarms 1e-4 in all, seeded."""
    s = structure("bandh", 3)
    theta = draw_prior(s, PRIOR, 2000, np.random.default_rng(1))
    sds = np.sqrt(np.diagonal(s.matrix(theta), axis1=1, axis2=2))
    for k in range(3):
        assert stats.kstest(sds[:, k] / 0.6, lambda x: 2.0 * stats.t.cdf(x, 5.0) - 1.0).pvalue > 2.5e-5
    place = 0.5 * (1.0 + np.sin(theta[:, 3]))
    assert stats.kstest(place, stats.beta(1.7, 1.7).cdf).pvalue > 2.5e-5
    # Interquartile range of a correlation: that of the beta, times the width of its interval; 4,000 draws.
    width = 2.0 * s.limit * np.ptp(stats.beta.ppf([0.25, 0.75], 1.7, 1.7))
    assert prior_spread(s, PRIOR, 1, 0) == pytest.approx(width, rel=0.1)


def test_prior_words():
    words = "sd ~ half-Student-t(5, 0.6) phenotypic sd, cor ~ beta(1.7, 1.7) over its interval"
    assert prior_words(structure("bandh", 3), PRIOR) == words


def test_fit_reml__dense_likelihood_is_highest(case):
    fit = bmv.fit_reml(case.design)
    assert fit.converged

    def loglik(theta):
        scales = case.scales()
        sigmas = case.design.blocks.matrices(theta)
        return Dense(case, [S * np.outer(s, s) for S, s in zip(sigmas, scales, strict=True)]).loglik

    assert fit.loglik == pytest.approx(loglik(fit.theta), abs=1e-8)
    for step in 0.02 * np.eye(len(fit.theta)):
        assert max(loglik(fit.theta + step), loglik(fit.theta - step)) < fit.loglik
    rows = fit.varcomp[fit.varcomp["term"] == "family"]
    assert len(rows) == 5


@pytest.mark.parametrize("unit", [None, 0.25], ids=["PyMC's coordinates", "planar"])
def test_log_posterior__gradient(case, unit):
    plain = log_posterior(case.design, {"family": PRIOR})
    posterior = plain if unit is None else plain.planar(np.full(plain.blocks.n_parameters, unit))
    x = np.random.default_rng(4).normal(0.3, 0.4, posterior.blocks.n_parameters)
    value, gradient = posterior.value_and_gradient(x)
    assert value == pytest.approx(posterior.value(x), rel=1e-11)
    slopes = finite_difference(posterior.value, x, 1e-3)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())
    if unit:
        density = sampler_density(posterior, x, np.eye(len(x)))
        assert isinstance(density, PlainDensity)
        assert density(np.zeros_like(x))[0] == pytest.approx(value, rel=1e-11)


def test_build_model__is_the_log_posterior(case):
    posterior = log_posterior(case.design, {"family": PRIOR})
    density = build_model(case.design, priors={"family": PRIOR}).logp_dlogp_function(
        mode="FAST_COMPILE", ravel_inputs=True
    )
    density.set_extra_values({})
    difference = []
    for x in np.random.default_rng(5).normal(0.2, 0.5, (4, posterior.blocks.n_parameters)):
        value, gradient = posterior.value_and_gradient(x)
        mine = density(x)
        np.testing.assert_allclose(mine[1], gradient, atol=1e-8 * max(1.0, np.abs(gradient).max()))
        difference.append(mine[0] - value)
    assert np.ptp(difference) < 1e-9


# ---------------------------------------------------------------- a factor with other than sds in its rows


@dataclass(frozen=True)
class Leader(LinearFactor):
    """Effects that follow the first: L has sds on its diagonal, and loadings on the first effect below it."""

    word: ClassVar[str] = "lead"

    @property
    def n_parameters(self):
        return 2 * self.size - 1

    @property
    def entries(self):
        index = np.arange(self.size)
        rows = np.append(index, index[1:])
        cols = np.append(index, np.zeros(self.size - 1, dtype=np.intp))
        return Placement.plain(rows, cols, np.arange(self.n_parameters))

    @property
    def anchor(self):
        return np.append(np.arange(self.size), np.arange(1, self.size))

    def from_matrix(self, sigma):
        first = np.sqrt(sigma[0, 0])
        loadings = sigma[1:, 0] / first
        return np.concatenate([[first], np.sqrt(np.diag(sigma)[1:] - loadings**2), loadings])

    def parameters(self, labels):
        own = structure("diag", self.size).parameters(labels)
        return (*own, *(Loading(name=f"loading[{x}]", unit=i) for i, x in enumerate(labels[1:], 1)))


def test_factor_with_loadings__is_sampled_through_python():
    s, prior = Leader(3), CovariancePrior()
    assert s.placement is not None
    assert row_weights(s, prior) is None
    assert row_weights(build("diag", 3), prior) is not None
    theta = np.array([0.5, 0.7, 0.9, -0.2, 0.4])
    expected = np.sum(prior.sd.log_density(theta[:3])) - 0.5 * np.sum((theta[3:] / 0.5) ** 2)
    assert log_prior(s, prior, theta)[0] == pytest.approx(expected)
    assert prior_words(s, prior) == "sd ~ half-Student-t(3, 1), loadings ~ normal(0, 0.5) phenotypic sd"
    coordinates = Coordinates(s.anchor)
    np.testing.assert_allclose(coordinates.constrain(coordinates.unconstrain(theta)), theta)
