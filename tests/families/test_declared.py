"""Families: slopes by differences, moments by summing over the values that a record can take."""

import numpy as np
import pytest
from oracles import finite_difference
from scipy import stats

from bayesmv.errors import SpecError
from bayesmv.families import FAMILIES, family
from bayesmv.families.declared import families_of

ETA = np.linspace(-2.5, 2.5, 11)
COUNTS = np.arange(400)


def zero_inflated(mu):
    p = 0.7 * stats.poisson(mu).pmf(COUNTS)
    p[0] += 0.3
    return p


#: Family, values that a record can take, and their probabilities at η.
CASES = {
    "probit": (family("binary"), [0, 1], lambda eta: stats.bernoulli(stats.norm.cdf(eta)).pmf([0, 1])),
    "logit": (family("binary", link="logit"), [0, 1], lambda eta: stats.bernoulli(stats.logistic.cdf(eta)).pmf([0, 1])),
    "binomial": (
        family("binomial", size=7),
        np.arange(8),
        lambda eta: stats.binom(7, stats.norm.cdf(eta)).pmf(np.arange(8)),
    ),
    "ordered": (
        family("ordered", thresholds=(-0.5, 0.3, 1.4)),
        [1, 2, 3, 4],
        lambda eta: -np.diff([1.0, *stats.norm.cdf(eta - np.array([-0.5, 0.3, 1.4])), 0.0]),
    ),
    "poisson": (family("poisson"), COUNTS, lambda eta: stats.poisson(np.exp(eta)).pmf(COUNTS)),
    "negative binomial": (
        family("negative_binomial", shape=2.5),
        np.arange(4000),
        lambda eta: stats.nbinom(2.5, 2.5 / (2.5 + np.exp(eta))).pmf(np.arange(4000)),
    ),
    "zero-inflated": (family("zero_inflated_poisson", zeros=0.3), COUNTS, lambda eta: zero_inflated(np.exp(eta))),
}


@pytest.mark.parametrize("name", CASES)
def test_family__moments_and_slope(name):
    made, values, probabilities = CASES[name]
    values = np.asarray(values, dtype=float)
    p = np.array([probabilities(eta) for eta in ETA])
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-10)
    mean = p @ values
    np.testing.assert_allclose(made.mean(ETA), mean, rtol=1e-9)
    np.testing.assert_allclose(made.variance(ETA), p @ values**2 - mean**2, rtol=1e-7, atol=1e-12)
    slopes = np.array([finite_difference(made.mean, np.array([eta]))[0, 0] for eta in ETA])
    np.testing.assert_allclose(made.slope(ETA), slopes, rtol=1e-7, atol=1e-10)


def test_ordered__probabilities_and_two_categories_are_binary():
    made = family("ordered", thresholds=(-0.5, 0.3, 1.4))
    exact = np.array([CASES["ordered"][2](eta) for eta in ETA])
    np.testing.assert_allclose(made.probabilities(ETA), exact, atol=1e-12)
    two, one = family("ordered"), family("binary")
    np.testing.assert_allclose(two.mean(ETA) - 1.0, one.mean(ETA))
    np.testing.assert_allclose(two.variance(ETA), one.variance(ETA))


def test_link_variance__of_probit_and_logit():
    assert family("binary").link_variance == family("ordered").link_variance == 1.0
    assert family("binary", link="logit").link_variance == pytest.approx(np.pi**2 / 3)
    assert family("poisson").link_variance == family("gaussian").link_variance == 0.0


@pytest.mark.parametrize(
    ("word", "numbers", "match"),
    [
        ("bernoulli", {}, "no family 'bernoulli'; families: 'gaussian', 'censored', 'binomial'"),
        ("poisson", {"shape": 3}, "the family 'poisson' takes no shape"),
        ("binary", {"link": "cloglog"}, "no link 'cloglog' of a binary trait; links: 'probit', 'logit'"),
        ("binomial", {"size": 0}, "has 1 trial or more, not 0"),
        ("ordered", {"thresholds": (1.0, 0.5)}, "thresholds of an ordered trait increase"),
        ("ordered", {"thresholds": ()}, "thresholds of an ordered trait increase"),
        ("negative_binomial", {"shape": 0.0}, "the shape of a negative binomial trait is positive"),
        ("zero_inflated_poisson", {"zeros": 1.0}, "the share of extra zeros lies between 0 and 1"),
    ],
)
def test_family__mistakes(word, numbers, match):
    with pytest.raises(SpecError, match=match):
        family(word, **numbers)


def test_families_of__one_for_all_or_one_for_each():
    assert families_of("poisson", 2) == (family("poisson"), family("poisson"))
    assert families_of(["gaussian", family("binary")], 2)[1] == family("binary")
    with pytest.raises(SpecError, match="1 families for 2 traits"):
        families_of(["poisson"], 2)
    assert set(FAMILIES) >= {"gaussian", "binary", "binomial", "ordered", "poisson"}
