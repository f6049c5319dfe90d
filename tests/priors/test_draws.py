"""Draws from priors: valid covariances, and draws of the very density that is sampled."""

import numpy as np
import pytest
from structures import build, written

from bayesmv.covariance import constrained, structure
from bayesmv.posterior.coordinates import Coordinates
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.priors.density import log_prior
from bayesmv.priors.draws import draw_prior, prior_spread

PRIORS = [CovariancePrior(), CovariancePrior(sd=HalfStudentT(nu=5.0, scale=0.6), eta=2.5, loadings=0.8)]
CASES = [(text, m) for m in (1, 2, 4) for text in written(m)]


@pytest.mark.parametrize(("text", "m"), CASES)
def test_draw_prior__valid_covariances(text, m):
    s = build(text, m)
    theta = draw_prior(s, PRIORS[0], 300, np.random.default_rng(1))
    assert theta.shape == (300, s.n_parameters)
    assert (theta[:, s.positive & (s.anchor != -1)] >= 0).all()
    values = np.linalg.eigvalsh(s.matrix(theta))
    assert (values[:, 0] >= -1e-10 * values[:, -1]).all()
    assert np.isfinite(values).all()


@pytest.mark.parametrize(("text", "m"), [(text, m) for text, m in CASES if text not in ("id", "fixed(G)")])
def test_draw_prior__draws_have_the_density_of_log_prior(text, m):
    """Default priors of two effects, others of one and four.

    Stein's identities E g = 0 and E x g = -1 of the gradient g of log p(x), to 5 s.e.: some 1e-4 false alarms.
    """
    s, prior, n = build(text, m), PRIORS[m != 2], 600
    coordinates = Coordinates(s.anchor)
    terms = []
    for theta in draw_prior(s, prior, n, np.random.default_rng(2)):
        x = coordinates.unconstrain(theta)
        g = coordinates.pullback(x, log_prior(s, prior, theta)[1])
        terms.append(np.concatenate([g, x * g + 1.0]))
    z = np.mean(terms, axis=0) / (np.std(terms, axis=0) / np.sqrt(n))
    assert np.abs(z).max() < 5.0


@pytest.mark.parametrize(("i", "j"), [(1, 1), (2, 0)])
def test_prior_spread__closed_form_is_that_of_draws(i, j):
    s, prior = structure("us", 3), PRIORS[1]
    sigma = s.matrix(draw_prior(s, prior, 40000, np.random.default_rng(3)))
    values = np.sqrt(sigma[:, i, i]) if i == j else sigma[:, i, j] / np.sqrt(sigma[:, i, i] * sigma[:, j, j])
    # Quartiles of 40,000 draws have a relative error of about 1 %.
    assert prior_spread(s, prior, i, j) == pytest.approx(np.ptp(np.quantile(values, [0.25, 0.75])), rel=0.03)


def test_prior_spread__uniform_correlation():
    # Uniform on (-1, 1): quartiles ±0.5. 4,000 draws give 1.0 ± 0.02.
    assert prior_spread(structure("ar1", 4), CovariancePrior(), 1, 0) == pytest.approx(1.0, abs=0.08)


def test_draws__of_parameters_that_are_held_are_those_of_the_others():
    s, free = constrained(structure("corh", 3), {"cor": 0.5}, ["a", "b", "c"]), structure("diag", 3)
    draws = draw_prior(s, CovariancePrior(), 50, np.random.default_rng(0))
    S = s.matrix(draws)
    np.testing.assert_allclose(S[:, 0, 1] / np.sqrt(S[:, 0, 0] * S[:, 1, 1]), 0.5)
    assert prior_spread(s, CovariancePrior(), 0, 0) == pytest.approx(
        prior_spread(free, CovariancePrior(), 0, 0), abs=0.1
    )


def test_prior_spread__of_parameters_that_are_equated_is_not_known():
    s = constrained(structure("diag", 2), {"sd[b]": "sd[a]"}, ["a", "b"])
    assert np.isnan(prior_spread(s, CovariancePrior(), 0, 0))
    with pytest.raises(NotImplementedError, match="no draws from the prior of Constrained"):
        draw_prior(s, CovariancePrior(), 3, np.random.default_rng(0))
