"""What the data do not identify: said alike by every table, of REML and of a posterior."""

import numpy as np
import pytest
from traces import make_design, records, trace_of

import bayesmv as bmv
from bayesmv.model.genetic import Genetic


@pytest.fixture(scope="module")
def confounded():
    """The same grouping twice: their sum is identified, neither of them is."""
    data = records(blocks=8, families=12).assign(again=lambda d: d["family"])
    design = make_design("us(trait):family + us(trait):again", data, genetic=Genetic(term="family"))
    return bmv.fit_reml(design)


@pytest.fixture(scope="module")
def alone():
    data = records(blocks=8, families=12)
    return bmv.fit_reml(make_design("us(trait):family", data, genetic=Genetic(term="family")))


def test_varcomp__confounded_terms(confounded):
    table = confounded.varcomp.set_index("term")
    assert (table.loc[["family", "again"], "constraint"] == "not identified").all()
    assert table.loc[["family", "again"], "std_error"].isna().all()
    assert list(table.loc["Residual", "constraint"]) == ["positive", "unconstrained", "positive"]


def test_component__is_the_same_from_both_sides(alone):
    for as_correlation in (False, True):
        assert alone.component("family", 0, 1, as_correlation) == alone.component("family", 1, 0, as_correlation)
    assert alone.component("family", 0, 1)[1] > 0.0


def test_component__that_is_not_identified_has_no_estimate(confounded):
    assert confounded.varcomp.set_index("term").loc[["family", "again"], "component"].isna().all()


def test_variance_components__of_the_posterior_are_prior_only(confounded, alone):
    got = bmv.variance_components(trace_of(confounded.design, reml=confounded)).set_index("term")["constraint"]
    assert set(got[["family", "again"]]) == {"prior only"}
    assert set(got["Residual"]) == {""}
    assert set(bmv.variance_components(trace_of(alone.design, reml=alone))["constraint"]) == {""}


def fit_with(constraints=None, matrices=None, random="us(trait):family"):
    spec = bmv.ModelSpec.from_formula(
        "y1 + y2 ~ 1", random=random, constraints=constraints, matrices=matrices, genetic=Genetic(term="family")
    )
    return bmv.fit_reml(bmv.build_design(spec, records(blocks=8, families=12)))


@pytest.mark.parametrize(
    ("make", "fixed"),
    [
        (lambda: fit_with(matrices={"G": [[0.5, 0.1], [0.1, 0.4]]}, random="fixed(trait, G):family"), 3),
        (lambda: fit_with({"family": {"cor": 0.5}}, random="corh(trait):family"), 1),
    ],
    ids=["matrix", "correlation"],
)
def test_constraint__what_was_given_is_fixed_in_every_table(make, fixed):
    """Genetic parameters said "boundary": what no parameter moves was not told from what is held on the boundary."""
    fit = make()
    components = fit.varcomp.set_index("term").loc["family", "constraint"]
    assert (components == "fixed").sum() == fixed
    table = bmv.genetic_parameters(fit).set_index("parameter")
    assert table.loc["genetic correlation", ["std_error", "constraint"]].tolist() == [0.0, "fixed"]


def test_constraint__of_effects_in_a_null_direction_is_boundary_in_every_table():
    fit = bmv.fit_reml(make_design("us(trait):block", records(blocks=2), genetic=Genetic(term="block")))
    components = fit.varcomp.query("term == 'block' and trait_i == trait_j")
    table = bmv.genetic_parameters(fit).query("parameter == 'additive genetic variance'")
    assert set(components["constraint"]) == set(table["constraint"]) == {"boundary"}
    np.testing.assert_allclose(components["std_error"], table["std_error"], rtol=1e-6)


def test_compare_reml__says_what_varcomp_says(confounded):
    """It said "positive" and "differ by 0.8 posterior s.d.": the constraint was judged in two places."""
    table = bmv.compare_reml(trace_of(confounded.design, reml=confounded), confounded).set_index("term")
    lost = table.loc[["family", "again"]]
    assert (lost["constraint"] == "not identified").all()
    assert lost[["reml", "std_error", "difference"]].isna().all(axis=None)
    assert (lost["verdict"] == "not identified: prior only").all()
    assert "not identified" not in set(table.loc["Residual", "constraint"])
    components = table[table["parameter"] != "correlation"]
    assert components["constraint"].tolist() == confounded.varcomp["constraint"].tolist()


def test_genetic_parameters__what_rests_on_it_is_not_identified_either(confounded, alone):
    got, expected = bmv.genetic_parameters(confounded), bmv.genetic_parameters(alone)
    keyed, single = (t.set_index(["parameter", "trait_i", "trait_j"]) for t in (got, expected))
    lost = ["additive genetic variance", "heritability", "genetic correlation"]
    assert (keyed.loc[lost, "constraint"] == "not identified").all()
    assert keyed.loc[lost, ["estimate", "std_error"]].isna().all(axis=None)
    # The sum of the two is known as well as the one term alone.
    known = ["phenotypic variance", "phenotypic correlation", "residual correlation"]
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(keyed.loc[known, column], single.loc[known, column], rtol=1e-4)


def test_genetic_parameters__of_the_posterior_are_prior_only(confounded, alone):
    got = bmv.genetic_parameters(trace_of(confounded.design, reml=confounded)).set_index("parameter")["constraint"]
    lost = ["additive genetic variance", "heritability", "genetic correlation"]
    assert set(got[lost]) == {"prior only"}
    assert set(got.drop(lost)) == {""}
    assert set(bmv.genetic_parameters(trace_of(alone.design, reml=alone))["constraint"]) == {""}


def test_genetic_parameters__correlation_of_one_has_no_standard_error():
    """Two blocks for two traits: REML has rank 1, and a delta-method error of ±1 would be a rounding error."""
    fit = bmv.fit_reml(make_design("us(trait):block", records(blocks=2), genetic=Genetic(term="block")))
    assert fit.ranks["block"] == 1
    table = bmv.genetic_parameters(fit).set_index("parameter")
    row = table.loc["genetic correlation"]
    assert abs(row["estimate"]) == pytest.approx(1.0, abs=1e-6)
    assert (np.isnan(row["std_error"]), row["constraint"]) == (True, "boundary")
    compared = bmv.compare_reml(trace_of(fit.design, reml=fit), fit).query(
        "term == 'block' and parameter == 'correlation'"
    )
    assert compared["std_error"].isna().all()
    assert table.loc["heritability", "std_error"].notna().all()


def test_trajectory__heritability_of_family_means_is_that_of_genetic_parameters():
    """It was σ²_f / σ²_P whatever the relationship; now both ask one function."""
    data = records(t=1, families=20).assign(site=lambda d: np.where(d["x"] > 0, "A", "B"))
    genetic = Genetic(term="family", relationship="family-mean")
    fit = bmv.fit_reml(make_design("us(site):family", data, genetic=genetic))
    counts = data.groupby("family")["y1"].count()
    n = len(counts) / (1.0 / counts).sum()
    residual = fit.covariances["Residual"][0, 0]
    along = bmv.trajectory(fit).query("parameter == 'heritability'")
    family = np.diag(fit.covariances["family"])
    np.testing.assert_allclose(along["estimate"], family / (family + residual / n), rtol=1e-9)
    average = family @ [(data["site"] == s).mean() for s in ("A", "B")]
    table = bmv.genetic_parameters(fit).set_index("parameter")
    assert table.loc["heritability", "estimate"] == pytest.approx(average / (average + residual / n), rel=1e-9)
