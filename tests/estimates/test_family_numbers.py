"""Thresholds and other numbers of families as a table."""

import numpy as np
from not_gaussian import design, draws_near_the_mode
from not_gaussian import table as records

import bayesmv as bmv


def test_family_numbers__are_those_of_the_fit_and_of_the_draws():
    d = design(tuple("oni"), random="diag(trait):f", data=records(80))
    fit, trace = bmv.fit_reml(d), draws_near_the_mode(d, np.arange(2), n=20)
    of_fit, of_draws = bmv.family_numbers(fit), bmv.family_numbers(trace)
    names = [("o", "threshold 2"), ("n", "shape"), ("i", "share of extra zeros")]
    for table in (of_fit, of_draws):
        assert list(zip(table["trait_i"], table["parameter"], strict=True)) == names
    assert of_fit["estimate"].iloc[0] == fit.thresholds["estimate"].iloc[1]
    np.testing.assert_allclose(of_draws["mean"].iloc[1], trace["posterior"]["n_shape"].to_numpy().mean())


def test_family_numbers__of_families_without_any_are_none():
    d = design(("z",), random="f")
    assert bmv.family_numbers(bmv.fit_reml(d)).empty
    assert bmv.family_numbers(draws_near_the_mode(d, np.arange(2))).empty


def test_genetic_parameters__of_negative_binomial_traits_have_no_latent_heritability():
    d = design(("n", "z"), residual="diag(trait):units")
    table = bmv.genetic_parameters(bmv.fit_reml(d), genetic="f", relationship="half-sib")
    own = table.query("trait_i == trait_j").set_index("trait_i")["parameter"]
    assert list(own.loc[["n"]]) == ["additive genetic variance"]
    assert "heritability" in set(own.loc[["z"]])
    observed = bmv.observed_scale(bmv.fit_reml(d), genetic="f", relationship="half-sib").set_index("trait_i")
    assert "latent heritability" not in set(observed.loc["n", "parameter"])
    assert "heritability" in set(observed.loc["n", "parameter"])
    assert "latent heritability" in set(observed.loc["z", "parameter"])
