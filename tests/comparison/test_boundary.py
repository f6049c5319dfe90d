"""Null distributions on the boundary: closed forms, and which nested pairs get which."""

import numpy as np
import pytest
from scipy.stats import chi2
from structures import build

from bayesmv.comparison.boundary import Cone, added, changed, grown, together, vanishes


def test_cone__p_value_of_half_a_space():
    """Stram & Lee (1994), case 3: one variance with q covariances."""
    for q in range(4):
        expected = 0.5 * (chi2.sf(3.7, q) if q else 0.0) + 0.5 * chi2.sf(3.7, q + 1)
        assert Cone(free=q, variances=1).p_value(3.7) == pytest.approx(expected, rel=1e-12)


def test_cone__p_value_of_an_orthant():
    expected = 3 / 8 * chi2.sf(2.0, 1) + 3 / 8 * chi2.sf(2.0, 2) + 1 / 8 * chi2.sf(2.0, 3)
    assert Cone(variances=3).p_value(2.0) == pytest.approx(expected, rel=1e-12)
    assert Cone(variances=3).p_value(0.0) == 1.0


def test_cone__bound_is_above_the_exact_mixture_of_two_by_two_covariances():
    """Positive semi-definite 2 × 2 matrices are a circular cone of half-angle 45°, whose weights are known."""
    edge = 0.5 * (1.0 - np.cos(np.pi / 4))
    for statistic in (0.5, 2.0, 5.0, 12.0):
        exact = np.dot([0.5 - edge, 0.5 - edge, edge], chi2.sf(statistic, [1, 2, 3]))
        bound = added(build("us", 2)).p_value(statistic)
        assert exact < bound < chi2.sf(statistic, 3)


#: Structure of a new term of four effects: free directions, variances, exact.
ADDED = [
    ("idv", 0, 1, True),
    ("scaled(G)", 0, 1, True),
    ("diag", 0, 4, True),
    ("us", 9, 1, False),
    ("corgh", 9, 1, False),
    ("corv", 1, 1, False),
    ("ar1", 3, 1, False),  # σ²ρ^d spans all lags, though it has two parameters
    ("fa(1)", 9, 1, False),
]


@pytest.mark.parametrize(("word", "free", "variances", "exact"), ADDED)
def test_added__table(word, free, variances, exact):
    assert added(build(word, 4)) == Cone(free=free, variances=variances, exact=exact)


#: Structures of the null and of the larger model, four effects: free directions, variances, exact.
CHANGED = [
    ("diag", "us", 6, 0, True),
    ("diag", "corh", 1, 0, True),
    ("diag", "ar1h", 1, 0, True),
    ("idv", "diag", 3, 0, True),
    ("corh", "us", 5, 0, True),
    ("ante(1)", "us", 3, 0, True),
    ("ar1", "toep", 2, 0, True),
    ("fa(1)", "us", 2, 0, True),
    ("fixed(G)", "scaled(G)", 1, 0, True),
    ("diag", "fa(1)", 6, 0, False),  # loadings have no slope at 0
    ("fa(1)", "fa(2)", 2, 0, False),
    ("rr(3)", "us", 0, 1, True),
    ("rr(2)", "us", 2, 1, False),
    ("rr(1)", "fa(1)", 5, 1, False),
    ("rr(1)", "rr(2)", 5, 1, False),
]


@pytest.mark.parametrize(("small", "large", "free", "variances", "exact"), CHANGED)
def test_changed__table(small, large, free, variances, exact):
    cone = changed(build(large, 4), build(small, 4), np.ones(4))
    assert cone == Cone(free=free, variances=variances, exact=exact)


#: Three effects in the null, four in the larger model.
GROWN = [
    ("us", "us", 3, 1, True),
    ("diag", "us", 6, 1, True),
    ("diag", "diag", 0, 1, True),
    ("idv", "diag", 2, 1, True),
    ("us", "fa(1)", 3, 1, False),
]


@pytest.mark.parametrize(("small", "large", "free", "variances", "exact"), GROWN)
def test_grown__table(small, large, free, variances, exact):
    assert grown(build(large, 4), build(small, 3)) == Cone(free=free, variances=variances, exact=exact)


def test_grown__two_effects_at_once_are_bounded():
    assert grown(build("us", 4), build("us", 2)) == Cone(free=6, variances=1, exact=False)


def test_together__parts():
    assert together([Cone(free=2), Cone(variances=1), Cone(free=1, variances=1)]) == Cone(free=3, variances=2)
    bounded = together([Cone(free=2), Cone(variances=2), Cone(free=1, variances=1, exact=False)])
    assert bounded == Cone(free=5, variances=1, exact=False)
    assert together([Cone(free=2, exact=False)]) == Cone(free=2, exact=False)


@pytest.mark.parametrize(("word", "expected"), [("us", True), ("ar1h", True), ("rr(1)", True), ("fixed(G)", False)])
def test_vanishes(word, expected):
    assert vanishes(build(word, 4)) is expected
