"""Map and density of the exact posterior of traits that are not Gaussian; nothing is sampled here."""

import ctypes

import numpy as np
import pytest
from not_gaussian import design, table_with_gaps

from bayesmv.errors import SpecError
from bayesmv.likelihood.latent import LaplaceLikelihood
from bayesmv.posterior.latent import HalfLineCoordinates, LatentMap, LatentPosterior, best_known_first
from bayesmv.posterior.latent_density import LatentDensity, compiles
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.sampling.latent import has_exact_trajectories

CASES = [
    (("z",), "f"),
    (("c",), "f + b"),
    (("o",), "f"),
    (("m",), "f"),
    (("y", "z"), "us(trait):f"),
    (("z", "c", "o"), "diag(trait):f"),
    (("t",), "f"),
    (("n",), "f"),
    (("i",), "f"),
    (("t", "n", "i"), "diag(trait):f"),
]
CORRELATED = [*map(tuple, ("yz", "cyo", "cdz", "zv", "yt", "cvtoy"))]


def mapped(traits, random, **given):
    d = design(traits, random=random, **given)
    return LatentMap(*best_known_first(latent(d)))


def latent(d):
    return LatentPosterior(LogPosterior(design=d, engine=LaplaceLikelihood(d), priors=d.priors()))


@pytest.mark.parametrize(("traits", "random"), CASES, ids=str)
def test_density__gradient_by_differences_and_laplace_marginal_at_the_middle(traits, random):
    check_density(mapped(traits, random))


@pytest.mark.parametrize("traits", CORRELATED, ids="-".join)
def test_density__with_correlated_residuals(traits):
    check_density(mapped(traits, "diag(trait):f", residual="us(trait):units", data=table_with_gaps()))


def check_density(where):
    n, q = where.latent.size, where.n_unknowns
    z, h = 0.5 * np.random.default_rng(1).standard_normal(n + q), 1e-5
    _, gradient = where.value_and_gradient(z)
    for k in [*range(n), n, n + q // 2, n + q - 1]:
        e = np.zeros(n + q)
        e[k] = h
        wanted = (where.value_and_gradient(z + e)[0] - where.value_and_gradient(z - e)[0]) / (2 * h)
        assert gradient[k] == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    # At w = 0 the density is the Laplace marginal, but for a constant, and at x̂ and on nodes exactly.
    at_centre = where.value_and_gradient(np.zeros(n + q))[0] - where.latent.marginal(where.centre)[0]
    for k in range(n):
        axes = where._axes[0][0]
        own = axes[axes[:, 0] == k][0]
        x = where.centre + (own[1] + own[2] * round(-own[1] / own[2])) * where.directions[:, k]
        z = np.concatenate([np.linalg.solve(where.root, x - where.centre), np.zeros(q)])
        there = where.value_and_gradient(z)[0] - where.latent.marginal(x)[0]
        # The tables are of low rank: their error is less than 0.3 of a standard deviation, its effect its square.
        assert there == pytest.approx(at_centre, abs=0.15)


def test_half_line__inverse_jacobian_and_gradient():
    coordinates = HalfLineCoordinates(np.array([0, 1, 1]), np.array([0.25, 0.25, 0.0]))
    for x in (np.array([-2.0, 0.4, 0.3]), np.array([1.5, -1.0, -0.7])):
        theta = coordinates.constrain(x)
        np.testing.assert_allclose(coordinates.unconstrain(theta), x, rtol=1e-8)
        J = coordinates.jacobian(x)
        assert coordinates.log_jacobian(x) == pytest.approx(np.linalg.slogdet(J)[1], rel=1e-8)
        h = 1e-6
        numeric = [(coordinates.constrain(x + e) - coordinates.constrain(x - e)) / (2 * h) for e in h * np.eye(3)]
        np.testing.assert_allclose(J, np.array(numeric).T, rtol=1e-6, atol=1e-8)
        by = coordinates.pullback(x, np.zeros(3))
        slope = [(coordinates.log_jacobian(x + e) - coordinates.log_jacobian(x - e)) / (2 * h) for e in h * np.eye(3)]
        np.testing.assert_allclose(by, slope, rtol=1e-5, atol=1e-8)


def test_rows_of_unstructured_factors__are_in_the_order_in_which_they_are_known():
    d = design(("z", "y"), random="us(trait):f")
    ordered, start = best_known_first(latent(d))
    assert ordered.design.terms[0].structure.order == (1, 0)  # the Gaussian trait first
    assert start.shape == (ordered.size,)


def test_priors__half_normal_on_liabilities_and_general_elsewhere():
    assert "half-normal" in str(design(("z",), random="f").priors()["f"])
    assert "half-normal" not in str(design(("c",), random="f").priors()["f"])
    assert "half-normal" in str(design(("c", "z")).priors()["f"])
    assert "half-normal" not in str(design(("c", "z")).priors()["Residual"])


@pytest.mark.parametrize("random", ["fa(trait, 1):f", "corh(trait):f + diag(trait):b"])
def test_density__of_structures_without_a_square_factor(random):
    check_density(mapped(("y", "z", "c"), random))


def test_structures_of_low_rank_are_refused():
    with pytest.raises(SpecError, match="a structure of f of full rank, as fa has, not rr"):
        latent(design(("y", "z", "c"), random="rr(trait, 1):f"))


def test_nutpie__has_trajectories_that_are_exact_for_normal_densities():
    # An undocumented setting: without it the sampler still runs, with two to three times the gradients.
    assert has_exact_trajectories()


@pytest.mark.parametrize(
    ("traits", "random"),
    [
        (("z",), "f"),
        (("o", "z"), "us(trait):f"),
        (("c",), "f + b"),
        (("y", "z"), "us(trait):f"),
        (tuple("tni"), "diag(trait):f"),
    ],
    ids=str,
)
def test_compiled_density__is_that_of_the_map(traits, random):
    where = mapped(traits, random)
    assert compiles(where)
    wanted = where.wanted({"f": np.array([0, 2])})
    density, values = LatentDensity(where, wanted), []
    for seed in range(3):
        z = 0.5 * np.random.default_rng(seed).standard_normal(where.latent.size + where.n_unknowns)
        (value, gradient), (other, its) = density(z), where.value_and_gradient(z)
        np.testing.assert_allclose(gradient, its, rtol=1e-9, atol=1e-9)
        values.append(value - other)
        kept = np.empty(density.kept)
        address = [a.ctypes.data for a in (z, kept, density.data)]
        ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * 2, *[ctypes.c_void_p] * 3)(density.keep.address)(
            len(z), len(kept), *address
        )
        np.testing.assert_allclose(kept, where.kept(z, wanted), rtol=1e-10)
    np.testing.assert_allclose(values, values[0], rtol=0.0, atol=1e-8)


def test_coordinates_with_some_held__are_those_of_the_others():
    anchor, unit = np.array([0, 2, 2]), np.array([0.0, 0.0, 0.0])
    whole, held = HalfLineCoordinates(anchor, unit), HalfLineCoordinates(anchor, unit, np.array([np.nan, np.nan, 0.0]))
    x = np.array([0.3, -0.7])
    theta = held.constrain(x)
    assert np.hypot(theta[1], theta[2]) == pytest.approx(1.0)
    np.testing.assert_allclose(theta, whole.constrain(np.append(x, 0.0)))
    np.testing.assert_allclose(held.unconstrain(theta), x)
    np.testing.assert_allclose(held.jacobian(x), whole.jacobian(np.append(x, 0.0))[:, :2])
    by = np.array([0.2, 0.5, -1.0])
    np.testing.assert_allclose(held.pullback(x, by), whole.pullback(np.append(x, 0.0), by)[:2])


@pytest.mark.parametrize(("traits", "residual"), [("yz", "us(trait):units"), ("cyo", "us(c, y):units + idv(o):units")])
def test_posterior_by_rows_of_the_residual__is_that_of_the_model(traits, residual):
    """The density of R, prior and Jacobian included, in the parameters that the model states and in rows."""
    own = latent(design(tuple(traits), "diag(trait):f", residual=residual))
    rng, h, differences = np.random.default_rng(2), 1e-6, []

    def stated(x):
        return own.stated(own.coordinates.constrain(x))

    for _ in range(4):
        x = own.start()[: own.d] + 0.3 * rng.standard_normal(own.d)
        theta = own.coordinates.constrain(x)
        sigmas = own.blocks.matrices(theta), own.posterior.blocks.matrices(stated(x))
        for one, other in zip(*sigmas, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10)
        J = np.stack([(stated(x + e) - stated(x - e)) / (2 * h) for e in h * np.eye(own.d)])
        by_rows = own.by_rows.prior(theta)[0] + own.coordinates.log_jacobian(x)
        differences.append(by_rows - own.posterior.prior(stated(x))[0] - np.linalg.slogdet(J)[1])
    assert np.ptp(differences) < 1e-5
