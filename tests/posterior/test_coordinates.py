"""Unconstrained coordinates: there and back, Jacobian and gradients against finite differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import finite_difference

from bayesmv.covariance import ANGLE, LOG, CovarianceBlocks, structure
from bayesmv.covariance.base import FREE
from bayesmv.numerics.symmetric import correlation
from bayesmv.posterior.coordinates import BEND, Coordinates, PlanarCoordinates
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.density import log_prior

STRUCTURES = [
    (("us", 1),),
    (("us", 2),),
    (("us", 3),),
    (("diag", 3),),
    (("idv", 2),),
    (("corgh", 2), ("diag", 2), ("us", 3), ("idv", 1)),
]
structures = pytest.mark.parametrize("words", STRUCTURES, ids=str)


def coordinates_of(words) -> tuple[CovarianceBlocks, Coordinates]:
    blocks = CovarianceBlocks(tuple(structure(word, size) for word, size in words))
    return blocks, Coordinates(blocks.anchor)


@st.composite
def points(draw, largest: float = 3.0):
    """Any anchors, scales among them in any place, and a point."""
    d = draw(st.integers(1, 7))
    scales = sorted(draw(st.sets(st.integers(0, d - 1), min_size=1)))
    others = st.sampled_from([FREE, ANGLE, LOG, *scales])
    anchor = [p if p in scales else draw(others) for p in range(d)]
    x = np.array(draw(st.lists(st.floats(-largest, largest), min_size=d, max_size=d)))
    unit = draw(st.sampled_from([None, 0.25, 2.0]))
    if unit is None:
        return Coordinates(np.array(anchor)), x
    alone = [d for d in scales if anchor.count(d) == 1]
    x[alone] = 0.05 + np.abs(x[alone])  # a folded scale of -x is that of x but for its sign
    return PlanarCoordinates(np.array(anchor), np.full(d, unit)), x


@given(points())
def test_unconstrain__undoes_constrain(point):
    coordinates, x = point
    theta = coordinates.constrain(x)
    assert (theta[coordinates.scales] > 0).all()
    np.testing.assert_allclose(coordinates.unconstrain(theta), x, rtol=1e-10, atol=1e-10)


@given(points())
def test_log_jacobian__is_that_of_finite_differences(point):
    coordinates, x = point
    J = finite_difference(coordinates.constrain, x, 1e-4).T
    sign, expected = np.linalg.slogdet(J)
    assert sign == 1.0
    assert coordinates.log_jacobian(x) == pytest.approx(expected, abs=1e-6)


@given(points())
def test_jacobian__is_that_of_finite_differences(point):
    coordinates, x = point
    theta = coordinates.constrain(x)
    expected = finite_difference(coordinates.constrain, x, 1e-4).T
    np.testing.assert_allclose(coordinates.jacobian(x), expected, rtol=1e-7, atol=1e-8 * (1 + np.abs(theta).max()))


@given(points(2.0), st.integers(0, 1000))
def test_pullback__is_the_gradient_of_f_and_the_log_jacobian(point, seed):
    coordinates, x = point
    rng = np.random.default_rng(seed)
    A, b = rng.normal(size=(len(x), len(x))), rng.normal(size=len(x))

    def f(theta):
        return float(theta @ A @ theta + np.cos(theta) @ b)

    theta = coordinates.constrain(x)
    by_theta = (A + A.T) @ theta - np.sin(theta) * b
    expected = finite_difference(lambda at: f(coordinates.constrain(at)) + coordinates.log_jacobian(at), x, 1e-4)
    got = coordinates.pullback(x, by_theta)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8 * (1 + abs(f(theta))))


def test_pullback__leaves_its_arguments_alone():
    coordinates = Coordinates(np.array([0, 2, 2]))
    x, by_theta = np.array([0.3, -0.2, 0.1]), np.array([1.0, 2.0, 3.0])
    coordinates.pullback(x, by_theta)
    assert (x.tolist(), by_theta.tolist()) == ([0.3, -0.2, 0.1], [1.0, 2.0, 3.0])


@structures
def test_constrain__works_over_leading_dimensions(words):
    blocks, coordinates = coordinates_of(words)
    x = np.random.default_rng(1).normal(size=(2, 3, blocks.n_parameters))
    theta = coordinates.constrain(x)
    assert theta.shape == x.shape
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(theta[index], coordinates.constrain(x[index]))


@structures
def test_constrain__scales_of_x_are_log_standard_deviations(words):
    blocks, coordinates = coordinates_of(words)
    x = np.random.default_rng(2).normal(size=blocks.n_parameters)
    sd = np.concatenate(
        [
            np.sqrt(np.diag(S))[: s.positive.sum()]
            for S, s in zip(blocks.matrices(coordinates.constrain(x)), blocks.structures, strict=True)
        ]
    )
    np.testing.assert_allclose(np.log(sd), x[coordinates.scales], rtol=1e-12, atol=1e-12)


def test_constrain__two_traits_is_fishers_z():
    blocks, coordinates = coordinates_of((("us", 2),))
    (sigma,) = blocks.matrices(coordinates.constrain(np.array([0.4, 0.7, -1.1])))
    np.testing.assert_allclose(np.sqrt(np.diag(sigma)), np.exp([0.4, -1.1]))
    assert np.arctanh(correlation(sigma)[1, 0]) == pytest.approx(0.7, rel=1e-12)


def test_unconstrain__raises_small_scales_and_keeps_correlations_inside():
    """A singular estimate becomes a finite point, its other parameters as they were."""
    _, coordinates = coordinates_of((("us", 2), ("diag", 1)))
    theta = np.array([0.5, -0.8, 0.0, 1e-9])
    x = coordinates.unconstrain(theta, 0.05)
    assert np.isfinite(x).all()
    np.testing.assert_allclose(coordinates.constrain(x), [0.5, -0.8, 0.05, 0.05], rtol=1e-12)
    assert theta.tolist() == [0.5, -0.8, 0.0, 1e-9]


def test_planar__lone_scales_are_folded():
    coordinates = PlanarCoordinates(np.array([0, 2, 2]), np.full(3, 0.5))
    x = np.array([0.7, -0.3, 0.2])
    mirrored = x * [-1.0, 1.0, 1.0]
    np.testing.assert_allclose(coordinates.constrain(mirrored), coordinates.constrain(x) * [-1.0, 1.0, 1.0])
    assert coordinates.log_jacobian(mirrored) == pytest.approx(coordinates.log_jacobian(x), rel=1e-12)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_planar__uniform_correlations_are_smooth_where_a_variance_is_zero(m):
    """Along a ray to s = 0 the density of the last row tends to a limit, and in its direction it is that of LKJ(1)."""
    _, coordinates = coordinates_of((("us", m),))
    planar = PlanarCoordinates(coordinates.anchor, np.full(len(coordinates.anchor), 0.25))
    prior, last = CovariancePrior(), slice(-m, None)
    rng = np.random.default_rng(m)
    start = planar.unconstrain(structure("us", m).from_matrix(np.eye(m)))

    def density(shrink, direction):
        x = start.copy()
        row = shrink * np.abs(direction)
        x[last] = row
        x[-1] = row[-1] + np.log(-np.expm1(-BEND * row[-1])) / BEND
        b_rate = -np.log1p(np.exp(-BEND * x[-1]))
        theta = planar.constrain(x)
        return log_prior(structure("us", m), prior, theta)[0] + planar.log_jacobian(x) - b_rate

    for _ in range(3):
        direction = rng.normal(size=m)
        values = [density(shrink, direction) for shrink in (1e-2, 1e-3, 1e-4)]
        # For the last row, LKJ(1) of the other correlations leaves (b/q)^1.
        assert values[1] == pytest.approx(values[2], abs=1e-4)
    np.testing.assert_allclose(values[0], values[2], atol=1e-2)


def test_planar__far_away_the_standard_deviation_grows_exponentially():
    coordinates = PlanarCoordinates(np.array([1, 1]), np.full(2, 0.25))
    sd = [np.linalg.norm(coordinates.constrain(np.array([3.0, q]))) for q in (40.0, 44.0)]
    assert np.log(sd[1] / sd[0]) == pytest.approx(1.0, abs=0.01)


def test_scales_and_anchored__partition_what_is_not_free():
    coordinates = Coordinates(np.array([FREE, 1, 1, 4, 4, FREE]))
    assert np.flatnonzero(coordinates.scales).tolist() == [1, 4]
    assert coordinates.anchored.tolist() == [2, 3]
    x = np.array([5.0, 0.0, 0.0, 0.0, 0.0, -7.0])
    assert coordinates.constrain(x)[[0, 5]].tolist() == [5.0, -7.0]


def test_constrain__angles_have_fishers_z_and_logs_are_logarithms():
    coordinates = PlanarCoordinates(np.array([ANGLE, LOG]), np.full(2, 0.25))
    theta = coordinates.constrain(np.array([0.7, -3.0]))
    assert np.arctanh(np.sin(theta[0])) == pytest.approx(0.7, rel=1e-12)
    assert theta[1] == pytest.approx(np.exp(-3.0), rel=1e-12)


def test_unconstrain__keeps_correlations_at_the_end_inside():
    coordinates = Coordinates(np.array([ANGLE, LOG]))
    x = coordinates.unconstrain(np.array([np.pi / 2, 0.0]), 0.05)
    np.testing.assert_allclose(np.tanh(x[0]), 0.95)
    np.testing.assert_allclose(x[1], np.log(0.05))
