"""Which structures are special cases of which."""

import numpy as np
import pytest
from structures import build

from bayesmv.covariance import contains, structure

#: large, small, whether the one contains the other, for four effects.
TABLE = [
    ("us", "fa(2)", True),
    ("us", "toeph", True),
    ("corgh", "us", True),
    ("us", "corgh", True),
    ("ante(3)", "us", True),
    ("rr(4)", "us", True),
    ("fa(4)", "us", True),
    ("corh", "corv", True),
    ("corh", "diag", True),
    ("corv", "idv", True),
    ("toep", "ar1", True),
    ("toep", "corv", True),
    ("ante(1)", "ar1h", True),
    ("ante(1)", "exph(0, 1.5, 4, 4.9)", True),
    ("ante(2)", "ante(1)", True),
    ("fa(1)", "rr(1)", True),
    ("fa(2)", "fa(1)", True),
    ("fa(1)", "diag", True),
    ("exph(0, 1.5, 4, 4.9)", "exp(0, 1.5, 4, 4.9)", True),
    ("ar1", "exp(0, 1, 2, 3)", True),
    ("scaled(G)", "fixed(G)", True),
    ("corv", "corh", False),
    ("ar1", "corv", False),
    ("corh", "ar1h", False),
    ("fa(1)", "fa(2)", False),
    ("rr(2)", "diag", False),
    ("ante(1)", "corh", False),
    ("exp(0, 1, 2, 3)", "ar1", False),
    ("diag", "corh", False),
    ("scaled(G)", "diag", False),
]


@pytest.mark.parametrize(("large", "small", "expected"), TABLE)
def test_contains__table(large, small, expected):
    assert contains(build(large, 4), build(small, 4)) is expected


def test_contains__other_sizes_and_units():
    assert not contains(structure("us", 3), structure("us", 2))
    unequal = np.array([1.0, 2.0])
    assert contains(structure("idv", 2), structure("idv", 2))
    assert not contains(structure("idv", 2), structure("idv", 2), unequal)
    assert contains(structure("diag", 2), structure("idv", 2), unequal)


@pytest.mark.parametrize(("large", "expected"), [("us", True), ("diag", False), ("ar1h", False), ("idv", False)])
def test_contains__a_structure_with_some_effects_missing(large, expected):
    assert contains(structure(large, 4), structure("us", 2), at=[2, 0]) is expected
