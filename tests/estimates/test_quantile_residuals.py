"""Randomised quantile residuals of traits that are not Gaussian."""

import numpy as np
import pytest
from not_gaussian import design, table
from scipy import stats

import bayesmv as bmv
from bayesmv.estimates.quantile_residuals import distribution

FAMILIES = [
    (bmv.family("binomial", size=5.0), np.arange(6.0)),
    (bmv.family("ordered", thresholds=(0.0, 0.8)), np.arange(1.0, 4.0)),
    (bmv.family("poisson"), np.arange(200.0)),
]


@pytest.mark.parametrize(("family", "records"), FAMILIES, ids=str)
def test_distribution__steps_are_the_probabilities_and_have_the_mean(family, records):
    eta, variance = np.full(len(records), 0.4), np.full(len(records), 0.3)
    below, up_to = distribution(family, records, eta, variance)
    np.testing.assert_allclose(below[1:], up_to[:-1], atol=1e-12)
    assert below[0] == pytest.approx(0.0, abs=1e-12)
    assert up_to[-1] == pytest.approx(1.0, abs=1e-8)
    wanted = np.exp(0.4 + 0.15) if family.word == "poisson" else float(family.mean(np.array([0.4]))[0])
    mean = (up_to - below) @ records
    if family.word == "binomial":
        wanted = 5.0 * stats.norm.cdf(0.4)
    assert mean == pytest.approx(wanted, rel=1e-6)


def test_residuals__are_standard_normal_where_the_model_is_right():
    d = design(("y", "z", "c", "o", "m"), random="diag(trait):f", data=table(90))
    found = bmv.residuals(bmv.fit_reml(d))
    assert len(found) == d.observed.sum()
    for trait in d.traits:
        mine = found.loc[found["trait"] == trait]
        assert stats.kstest(mine["standardised"], stats.norm.cdf).pvalue > 0.005, trait
        np.testing.assert_allclose(mine["observed"] - mine["fitted"], mine["residual"])
    assert not found["outlier"].any()
    gaussian = found.loc[found["trait"] == "y"]
    sd = gaussian["residual"] / gaussian["standardised"]
    np.testing.assert_allclose(sd, sd.iloc[0])


def test_residuals__tell_a_count_that_cannot_be():
    data = table()
    data.loc[17, "c"] = 150
    found = bmv.residuals(bmv.fit_reml(design(("c",), random="f", data=data)))
    assert found.set_index("unit")["standardised"].abs().idxmax() == 17


def test_residuals__of_other_kinds_are_refused():
    fit = bmv.fit_reml(design(("z",), random="f"))
    with pytest.raises(bmv.SpecError, match="so far conditional ones of a REML fit"):
        bmv.residuals(fit, "marginal")


def test_variances_of_residuals__are_those_of_the_groups_and_weights():
    data = table().assign(weight=np.linspace(0.5, 2.0, 150), site=np.where(np.arange(150) % 3, "a", "b"))
    spec = bmv.ModelSpec.from_formula(
        "y + w ~ 1", random="diag(trait):f", residual="at(site):us(trait):units", weights="weight"
    )
    residual = bmv.build_design(spec, data).residual
    sigma = np.diag([1.0, 2.0, 3.0, 4.0])
    # What each effect alone gives a record.
    unit = sum(residual.spread(np.tile(np.sqrt(sigma[i]), (len(residual.group), 1))) ** 2 for i in range(4))
    np.testing.assert_allclose(residual.variances(sigma), unit)
