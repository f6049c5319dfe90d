"""Families in models: words, what is refused, and what families fix."""

import numpy as np
import pytest

from bayesmv import ModelSpec
from bayesmv.errors import SpecError
from bayesmv.model.families import TraitFamily, read_families

FAMILIES = {
    "scab": "binary",
    "ease": {"family": "ordered", "levels": ["low", "mid", "high"]},
    "eggs": "poisson",
    "sprouted": {"family": "binomial", "size": "sown", "link": "logit"},
    "weight": "gaussian",
}


def spec(**more):
    words = {"residual": "diag(trait):units", "families": FAMILIES, **more}
    return ModelSpec.from_formula("scab + ease + eggs + sprouted + weight ~ 1", random="us(trait):sire", **words)


def test_round_trip_through_a_model_file():
    again = ModelSpec.from_toml(spec().to_toml())
    assert again.families == spec().families
    assert again.families["sprouted"] == TraitFamily(family="binomial", size="sown", link="logit")
    assert "weight" not in again.families
    assert "sown" in again.columns


def test_residuals_of_thresholds_are_fixed_and_said():
    structure = spec().residual_covariance()
    assert structure.n_parameters == 2  # overdispersion of eggs, and weight
    fixed = np.diag(structure.matrix(np.ones(2)))
    np.testing.assert_allclose(fixed[[0, 1, 3]], [1.0, 1.0, np.pi**2 / 3])
    assert "scab: binary, probit: residual variance 1" in spec().summary()
    assert "sprouted: binomial, logit: residual variance 3.29" in spec().summary()
    assert "ease: ordered, probit: residual variance 1, first threshold 0" in spec().summary()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scab": "bernoulli"}, "the family of scab: no family 'bernoulli' of traits; families: 'gaussian', 'binary'"),
        ({"scab": {"family": "binary", "link": "cauchit"}}, "no link 'cauchit'; links: 'probit', 'logit'"),
        ({"scab": {"family": "poisson", "link": "logit"}}, "the family 'poisson' takes no 'link'"),
        ({"scab": {"family": "binomial"}}, "needs the number of trials"),
        ({"scab": {"family": "binomial", "size": 0}}, "a column or a number of trials, not 0"),
        ({"scab": {"family": "binary", "levels": ["a", "b", "c"]}}, "two levels, not 'a', 'b', 'c'; is it ordered"),
        ({"scab": {"family": "ordered", "levels": ["a", "a"]}}, "different categories"),
        ({"scab": {"family": "ordered", "levels": "abc"}}, "the levels of scab are a list"),
        ({"scab": {"family": "binary", "size_of": 3}}, "the family of scab has no entry 'size_of'"),
        ({"scab": 3}, "the family of scab is a word, or a table"),
    ],
)
def test_read_families__refuses(given, message):
    with pytest.raises(SpecError, match=message):
        read_families(given)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"residual": None}, "the residual of 'sprouted', which is of many trials, is no normal deviate"),
        ({"weights": "w"}, "weights are of models in which every trait is Gaussian"),
        ({"residual": "at(site):diag(trait):units"}, "residuals of groups are of models in which every trait"),
        ({"constraints": {"Residual": {"sd[scab]": 2.0}}}, r"'sd\[scab\]' is fixed by the family of its trait"),
        ({"families": {"wool": "binary"}}, "a family is given for 'wool', which is not a trait"),
    ],
)
def test_specs__refuse(more, message):
    with pytest.raises(SpecError, match=message):
        spec(**more)
