"""Records drawn from families: their means and variances, and what a liability decides."""

import numpy as np
import pytest

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.families.declared import Family
from bayesmv.families.draws import draw_records

N = 40_000
FAMILIES = [
    bmv.family("binomial", size=6.0),
    bmv.family("binary", link="logit"),
    bmv.family("poisson"),
    bmv.family("negative_binomial", shape=2.0),
    bmv.family("zero_inflated_poisson", zeros=0.3),
]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("eta", [-0.5, 0.7])
def test_records__have_the_mean_and_variance_of_the_family(family, eta):
    y = draw_records(family, np.full(N, eta), np.zeros(N), np.random.default_rng(1))
    mean, variance = float(family.mean(eta)), float(family.variance(eta))
    assert abs(y.mean() - mean) < 4.5 * np.sqrt(variance / N)
    spread = np.sqrt(((y - mean) ** 2).var() / N)
    assert abs(((y - mean) ** 2).mean() - variance) < 4.5 * spread


def test_liabilities__pass_thresholds_with_their_residuals():
    eta, residual = np.array([-1.0, 0.2, 1.0]), np.array([0.5, 0.1, 0.6])
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(draw_records(bmv.family("binary"), eta, residual, rng), [0.0, 1.0, 1.0])
    ordered = bmv.family("ordered", thresholds=(0.0, 1.5))
    np.testing.assert_array_equal(draw_records(ordered, eta, residual, rng), [1.0, 2.0, 3.0])


def test_counts__have_the_overdispersion_of_their_residuals():
    residual = np.random.default_rng(2).normal(0.0, 0.8, N)
    y = draw_records(bmv.family("poisson"), np.zeros(N), residual, np.random.default_rng(3))
    mean = np.exp(0.32)
    assert y.mean() == pytest.approx(mean, rel=0.03)
    assert y.var() == pytest.approx(mean + mean**2 * (np.exp(0.64) - 1.0), rel=0.15)


def test_families_of_other_classes__are_refused():
    class Other(Family):
        word = "other"
        link_variance = 0.0

        def mean(self, eta):
            return eta

        slope = variance = mean

    with pytest.raises(SpecError, match="records of the family 'other' are not simulated"):
        draw_records(Other(), np.zeros(2), np.zeros(2), np.random.default_rng(1))
