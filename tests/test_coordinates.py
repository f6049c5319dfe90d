"""Unconstrained coordinates: there and back, Jacobian and gradients against finite differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import finite_difference

from bayesmv.coordinates import FREE, Coordinates
from bayesmv.covariance import ANGLE, LOG, CovarianceBlocks, correlation, structure

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
    if unit is not None:
        # A folded scale of -x is that of x with the signs of its row changed; 0 has no logarithm.
        x[scales] = 0.05 + np.abs(x[scales])
    return Coordinates(np.array(anchor), unit), x


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


@given(points())
def test_constrain__folded_scales_of_opposite_sign_change_the_sign_of_their_row(point):
    coordinates, x = point
    folded = Coordinates(coordinates.anchor, coordinates.unit or 0.5)
    x[folded.scales] = 0.05 + np.abs(x[folded.scales])
    mirrored = np.where(folded.scales, -x, x)
    sign = np.where(folded.anchor < 0, 1.0, -1.0)
    np.testing.assert_allclose(folded.constrain(mirrored), sign * folded.constrain(x), rtol=1e-12)
    assert folded.log_jacobian(mirrored) == pytest.approx(folded.log_jacobian(x), rel=1e-12, abs=1e-12)


def test_constrain__folded_scales_are_linear_near_zero_and_logarithmic_far_away():
    folded = Coordinates(np.array([0]), 0.25)
    assert folded.constrain(np.array([1e-4]))[0] == pytest.approx(0.25e-4, rel=1e-6)
    ratio = folded.constrain(np.array([9.0])) / folded.constrain(np.array([8.0]))
    assert ratio[0] == pytest.approx(np.e, rel=1e-6)


def test_scales_and_anchored__partition_what_is_not_free():
    coordinates = Coordinates(np.array([FREE, 1, 1, 4, 4, FREE]))
    assert np.flatnonzero(coordinates.scales).tolist() == [1, 4]
    assert coordinates.anchored.tolist() == [2, 3]
    x = np.array([5.0, 0.0, 0.0, 0.0, 0.0, -7.0])
    assert coordinates.constrain(x)[[0, 5]].tolist() == [5.0, -7.0]


def test_constrain__angles_have_fishers_z_and_logs_are_never_folded():
    coordinates = Coordinates(np.array([ANGLE, LOG]), 0.25)
    theta = coordinates.constrain(np.array([0.7, -3.0]))
    assert np.arctanh(np.sin(theta[0])) == pytest.approx(0.7, rel=1e-12)
    assert theta[1] == pytest.approx(np.exp(-3.0), rel=1e-12)


def test_unconstrain__keeps_correlations_at_the_end_inside():
    coordinates = Coordinates(np.array([ANGLE, LOG]))
    x = coordinates.unconstrain(np.array([np.pi / 2, 0.0]), 0.05)
    np.testing.assert_allclose(np.tanh(x[0]), 0.95)
    np.testing.assert_allclose(x[1], np.log(0.05))
