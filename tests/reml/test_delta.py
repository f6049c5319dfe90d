"""Uncertainty of components: against dense formulas, and its judgement of what has no standard error."""

import numpy as np
import pytest
from oracles import random_psd

from bayesmv.reml.delta import Uncertainty


def of(J, information, unit=None):
    return Uncertainty.of(np.asarray(J, dtype=float), information, np.ones(len(J)) if unit is None else unit)


def test_of__covariance_is_that_of_the_delta_method():
    rng = np.random.default_rng(1)
    J, information, unit = rng.normal(size=(6, 4)), 50.0 * random_psd(4, rng), rng.uniform(0.1, 9.0, 6)
    got = of(J, information, unit)
    expected = np.outer(unit, unit) * (J @ np.linalg.inv(information) @ J.T)
    np.testing.assert_allclose(got.covariance, expected, rtol=1e-9)
    g = rng.normal(size=6)
    error, standing = got.judge(g)
    assert standing == "free"
    assert error == pytest.approx(np.sqrt(g @ expected @ g), rel=1e-9)


def test_judge__sum_of_confounded_components_has_an_error_and_they_have_none():
    J, information = np.eye(3), 10.0 * np.array([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 2.0]])
    got = of(J, information)
    assert [got.judge(row).standing for row in np.eye(3)] == ["not identified", "not identified", "free"]
    assert np.isnan(got.judge(np.eye(3)[0]).std_error)
    error, standing = got.judge(np.array([1.0, 1.0, 0.0]))
    reduced = np.linalg.inv(10.0 * np.array([[1.0, 0.2], [0.2, 2.0]]))  # of the sum and the third
    assert (standing, error) == ("free", pytest.approx(np.sqrt(reduced[0, 0]), rel=1e-9))
    assert got.unidentified.shape == (3, 1)
    np.testing.assert_allclose(got.unidentified[0], -got.unidentified[1], rtol=1e-9)
    assert np.isnan(got.covariance[:2]).all()
    assert got.covariance[2, 2] == pytest.approx(reduced[1, 1], rel=1e-9)


@pytest.mark.parametrize("information", [1e-30, 1e-12, 0.0])
def test_judge__an_error_of_any_size_needs_information(information):
    """Of one component nothing is known: whatever its own scale, it is not identified, not known badly."""
    got = of(np.eye(2), np.diag([information, 5.0]))
    assert [got.judge(row).standing for row in np.eye(2)] == ["not identified", "free"]


def test_judge__a_small_component_near_zero_is_known():
    """σ = θ², θ = 1e-4: the slope by θ is small, what is known of σ is not."""
    J = np.array([[2e-4, 0.0], [0.0, 1.0]])
    got = of(J, J.T @ np.diag([40.0, 9.0]) @ J)
    np.testing.assert_allclose([got.judge(row).std_error for row in np.eye(2)], [40**-0.5, 1 / 3], rtol=1e-9)


def test_judge__held_direction_gives_no_error():
    J = np.array([[1.0, 0.0], [0.0, 0.0]])  # the second component rests on a parameter that is held
    got = of(J, np.diag([4.0, 3.0]))
    assert got.judge(np.array([1.0, 0.0])) == (0.5, "free")
    error, standing = got.judge(np.array([1e-9, 1.0]))
    assert (np.isnan(error), standing) == (True, "boundary")


def test_judge__a_constant_is_fixed():
    assert of(np.eye(2), np.eye(2)).judge(np.zeros(2)) == (0.0, "fixed")


def test_judge__undefined_function():
    assert of(np.eye(1), np.eye(1)).judge(np.array([np.nan])).standing == "boundary"


def test_none__everything_was_given():
    assert Uncertainty.none(np.ones(2)).judge(np.ones(2)) == (0.0, "fixed")
    assert Uncertainty.none(np.ones(2)).unidentified.shape == (2, 0)
