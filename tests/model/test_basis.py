"""Functions of covariates: values by hand, what they take from data, parsing and its errors."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmv.errors import DataError, SpecError
from bayesmv.model.basis import Legendre, Spline, parse_basis

DAYS = pd.DataFrame({"age": [4.0, 38.0, 106.0, 310.0], "site": ["b", "a", "b", "c"], "year": [2020, 2019, 2020, 2021]})


def functions(text, data=DAYS):
    return parse_basis(text, "the term").resolve(data).evaluate(data)


def test_legendre__values_of_mrode():
    """Normalised polynomials of test days 4, 38, 106 and 310, to four decimals (Mrode & Pocrnic 2023, example 10.2)."""
    x = np.array([-1.0, -7 / 9, -1 / 3, 1.0])
    expected = np.column_stack([np.full(4, 0.70710678), 1.22474487 * x, -0.79056942 + 2.37170825 * x**2])
    np.testing.assert_allclose(functions("leg(age, 2)"), expected, atol=1e-7)


@given(st.integers(0, 6))
def test_legendre__orthonormal(order):
    x, w = np.polynomial.legendre.leggauss(12)
    f = Legendre(column="x", order=order, low=-1.0, high=1.0).evaluate(x)
    np.testing.assert_allclose(f.T @ (w[:, None] * f), np.eye(order + 1), atol=1e-12)


@given(st.integers(4, 9))
def test_spline__adds_up_to_one_and_spans_cubics(k):
    x = np.linspace(2.0, 5.0, 40)
    f = Spline(column="x", order=k, low=2.0, high=5.0).evaluate(x)
    np.testing.assert_allclose(f.sum(axis=1), 1.0, atol=1e-12)
    assert f.min() >= 0.0
    cubic = x**3 - x
    fitted = f @ np.linalg.lstsq(f, cubic, rcond=None)[0]
    np.testing.assert_allclose(fitted, cubic, atol=1e-9)


def test_raw__constant_and_covariate():
    np.testing.assert_array_equal(functions("1 + age"), np.column_stack([np.ones(4), DAYS["age"]]))


@pytest.mark.parametrize("text", ["site", "C(site)"])
def test_levels__indicators_in_order(text):
    np.testing.assert_array_equal(functions(text), [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_levels__numbers_are_a_factor_only_if_asked():
    assert functions("year").shape == (4, 1)
    assert parse_basis("C(year)", "t").resolve(DAYS).labels == ("2019", "2020", "2021")


def test_constant__changes_nothing_before_polynomials():
    assert str(parse_basis("1 + leg(age, 2)", "t")) == "leg(age, 2)"


@pytest.mark.parametrize(
    "text", ["leg(age, 2)", "leg(age, 1, 0.0, 400.0)", "spl(age, 5)", "1 + age", "C(year)", "leg(age, 1) + site"]
)
def test_resolve__is_written_and_read_back(text):
    basis = parse_basis(text, "t").resolve(DAYS)
    again = parse_basis(str(basis), "t").resolve(DAYS)
    np.testing.assert_array_equal(again.evaluate(DAYS), basis.evaluate(DAYS))
    assert again.labels == basis.labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("poly(age, 2)", r"'poly\(age, 2\)' in the term 'T' is not understood; inside a structure write trait, a cov"),
        ("", r"'' in the term 'T' is not understood"),
        ("leg(age)", r"'leg\(age\)' in the term 'T' is not understood"),
        ("age + age", "'age \\+ age' in the term 'T' names a covariate twice"),
        ("spl(age, 3)", r"'spl\(age, 3\)' in the term 'T': cubic splines are 4 or more"),
        ("leg(age, 1, 9, 3)", r"the limits of 'leg\(age, 1, 9, 3\)' in the term 'T' must rise"),
        ("leg(age, 100000)", r"polynomials are 0 or more, as in leg\(age, 2\), and at most 30"),
        ("spl(age, 9" + "9" * 5000 + ")", r"cubic splines are 4 or more, as in spl\(age, 4\), and at most 200"),
        ("leg(age, two)", r"'two' in 'leg\(age, two\)' of the term 'T' is not understood; write a whole number"),
        ("leg(age, 1, nan, 3)", r"the limits of 'leg\(age, 1, nan, 3\)' in the term 'T' must be numbers"),
        ("leg(age, 1, a, b)", r"the limits of 'leg\(age, 1, a, b\)' in the term 'T' must be numbers"),
    ],
)
def test_parse_basis__raises(text, message):
    with pytest.raises(SpecError, match=message):
        parse_basis(text, "T")


def test_evaluate__raises_on_an_unknown_environment():
    with pytest.raises(DataError, match="no level 'z' of 'site'; levels: 'a', 'b', 'c'"):
        parse_basis("site", "t").resolve(DAYS).evaluate({"site": ["z"]})


def test_evaluate__raises_before_limits_are_known():
    with pytest.raises(SpecError, match=r"leg\(age, 1\) has no limits yet"):
        parse_basis("leg(age, 1)", "t").evaluate(DAYS)


def test_levels__are_in_the_order_and_words_of_random_factors():
    numbers = pd.DataFrame({"site": [10.0, 2.0, 10.0, 1.0]})
    assert parse_basis("C(site)", "t").resolve(numbers).labels == ("1", "2", "10")
    mixed = pd.DataFrame({"site": ["b", 1, "a", 1]})
    assert parse_basis("site", "t").resolve(mixed).labels == ("1", "a", "b")


def test_resolve__objects_that_are_numbers_are_a_covariate():
    assert parse_basis("1 + age", "t").resolve(DAYS.astype(object)).labels == ("Intercept", "age")
