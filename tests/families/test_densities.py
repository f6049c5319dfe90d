"""Log densities of records against differences, sums to one and quadrature."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from bayesmv.families.declared import (
    Binomial,
    Censored,
    Family,
    Gaussian,
    NegativeBinomial,
    Ordered,
    Poisson,
    ZeroInflatedPoisson,
    of_rows,
)
from bayesmv.families.terms import averaged, averaged_free, terms

ETA = np.array([-6.0, -1.3, -0.2, 0.0, 0.7, 2.5, 6.0])
#: Known, from above, from below, between, and far outside bounds.
BOUNDED = Censored(
    lower=np.array([0.4, -np.inf, 0.3, -0.5, -np.inf, -0.2, -1.0]),
    upper=np.array([0.4, 0.2, np.inf, 0.9, -2.0, 0.1, -0.5]),
    scale=1.4,
)
#: Families whose averages are as steep as an exponential: nodes do not reach the integral of all their tails.
_BY_POISSON = (Poisson, ZeroInflatedPoisson)
CASES = [
    (Gaussian(1.7), ETA[::-1]),
    (Binomial(), np.array([0, 1, 1, 0, 1, 0, 1])),
    (Binomial("logit"), np.array([0, 1, 1, 0, 1, 0, 1])),
    (Binomial(size=5), np.array([0, 1, 2, 3, 4, 5, 1])),
    (Binomial("logit", size=5), np.array([0, 1, 2, 3, 4, 5, 1])),
    (Ordered((0.0, 0.8, 2.0)), np.array([1, 2, 3, 4, 1, 2, 3])),
    (Poisson(), np.array([0, 1, 2, 0, 3, 9, 400])),
    (NegativeBinomial(1.7), np.array([0, 1, 2, 0, 3, 9, 400])),
    (ZeroInflatedPoisson(0.3), np.array([0, 1, 2, 0, 3, 0, 400])),
    (BOUNDED, np.zeros(7)),
]


@pytest.mark.parametrize(("family", "y"), CASES, ids=str)
def test_terms__derivatives_are_those_by_differences(family, y):
    h, y = 1e-5, y.astype(float)
    at, up, down = (terms(family, y, ETA + step) for step in (0.0, h, -h))
    for of, its in ((at.slope, "value"), (-at.weight, "slope"), (at.bend, "weight")):
        differences = (getattr(up, its) - getattr(down, its)) / (2 * h)
        np.testing.assert_allclose(of, differences, rtol=1e-5, atol=1e-7)


def test_terms__values_are_the_distributions():
    two_of_five = np.log(10.0) + 2.0 * stats.norm.logcdf(ETA) + 3.0 * stats.norm.logsf(ETA)
    np.testing.assert_allclose(terms(Binomial(size=5), np.full(7, 2.0), ETA).value, two_of_five, rtol=1e-9)
    np.testing.assert_allclose(
        terms(Poisson(), np.full(7, 3.0), ETA).value, stats.poisson.logpmf(3, np.exp(ETA)), rtol=1e-9
    )
    scores = np.array([np.exp(terms(Ordered((0.0, 0.8, 2.0)), np.full(7, k + 1.0), ETA).value) for k in range(4)])
    np.testing.assert_allclose(scores.sum(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(scores.cumsum(axis=0)[1], stats.norm.cdf(0.8 - ETA), rtol=1e-9)


def test_terms__two_scores_are_a_binary_trait_and_tails_stay_finite():
    eta = np.array([-40.0, -9.0, 0.3, 9.0, 40.0])
    for y in (0.0, 1.0):
        one, two = terms(Binomial(), np.full(5, y), eta), terms(Ordered((0.0,)), np.full(5, y + 1.0), eta)
        for a, b in zip(one, two, strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("family", "y"), [case for case in CASES if type(case[0]) not in _BY_POISSON], ids=str)
def test_averaged__is_the_integral(family, y):
    y, variance = y.astype(float), np.full(7, 0.8)
    got = averaged(family, y, ETA, variance)
    for r in range(7):
        for of, its in ((got.value, "value"), (got.slope, "slope"), (got.weight, "weight")):

            def integrand(x, r=r, its=its):
                value = getattr(terms(of_rows(family, np.array([r])), y[[r]], np.array([x])), its)[0]
                return value * stats.norm.pdf(x, ETA[r], np.sqrt(variance[r]))

            wanted = quad(integrand, ETA[r] - 9.0, ETA[r] + 9.0, limit=200)[0]
            assert of[r] == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("family", "y"),
    [
        (Ordered((0.0, 0.8, 2.0)), [1, 2, 3, 4, 1, 2, 3]),
        (NegativeBinomial(1.7), [0, 1, 2, 0, 3, 9, 400]),
        (ZeroInflatedPoisson(0.3), [0, 1, 2, 0, 3, 0, 400]),
    ],
    ids=str,
)
def test_averaged_free__is_the_gradient_by_differences(family, y):
    y, x, h, variance = np.array(y, dtype=float), family.free, 1e-5, np.full(7, 0.5)

    def value(x):
        return averaged(family.freed(x), y, ETA, variance).value.sum()

    differences = [(value(x + e) - value(x - e)) / (2 * h) for e in h * np.eye(len(x))]
    np.testing.assert_allclose(averaged_free(family, y, ETA, variance), differences, rtol=1e-5)
    np.testing.assert_allclose(family.numbered(family.numbers).numbers, family.freed(x).numbers)


def test_terms__of_counts_and_bounds_are_the_distributions():
    y = np.array([0.0, 1, 2, 5, 40, 3, 0])
    negative = stats.nbinom.logpmf(y, 1.7, 1.7 / (1.7 + np.exp(ETA)))
    np.testing.assert_allclose(terms(NegativeBinomial(1.7), y, ETA).value, negative, rtol=1e-9)
    inflated = np.log(0.3 * (y == 0) + 0.7 * stats.poisson.pmf(y, np.exp(ETA)))
    np.testing.assert_allclose(terms(ZeroInflatedPoisson(0.3), y, ETA).value, inflated, rtol=1e-9)
    high, low = 1.4 * BOUNDED.upper[1:] - ETA[1:], 1.4 * BOUNDED.lower[1:] - ETA[1:]
    between = np.log(stats.norm.cdf(high) - stats.norm.cdf(low))
    np.testing.assert_allclose(terms(BOUNDED, np.zeros(7), ETA).value[1:], between, rtol=1e-6)
    assert terms(of_rows(BOUNDED, np.array([0])), np.zeros(1), ETA[:1]).value == pytest.approx(
        stats.norm.logpdf(ETA[0])
    )


def test_terms__refuses_families_without_a_likelihood():
    class Odd(Family):
        word = "odd"
        mean = slope = variance = None

    with pytest.raises(TypeError, match="no likelihood of the family 'odd'"):
        terms(Odd(), np.ones(1), np.ones(1))
