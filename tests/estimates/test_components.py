"""Tables of components, genetic parameters and breeding values against NumPy, and delta-method errors by formula."""

import numpy as np
import pandas as pd
import pytest
from traces import incomplete, make_design, records, trace_of

from bayesmv.errors import SpecError
from bayesmv.estimates.breeding_values import breeding_values
from bayesmv.estimates.components import variance_components
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.estimates.source import describe, estimates_of
from bayesmv.model.genetic import Genetic
from bayesmv.reml import fit_reml
from bayesmv.sampling.convergence import draw_statistics

STATISTICS = ["mean", "median", "sd", "hdi_low", "hdi_high", "ess_bulk", "ess_tail", "r_hat"]
HALF_SIB = Genetic(term="family", relationship="half-sib", phenotypic=("family", "Residual"))


@pytest.fixture(scope="module")
def fit():
    return fit_reml(make_design(data=incomplete(records(families=20)), genetic=HALF_SIB))


@pytest.fixture(scope="module")
def trace(fit):
    return trace_of(fit.design, effects=True, reml=fit)


def shortest_interval(x, share=0.95):
    x = np.sort(x.reshape(-1))
    k = int(np.floor(share * len(x)))
    start = int(np.argmin(x[k:] - x[: len(x) - k]))
    return x[start], x[start + k]


# ---------------------------------------------------------------- draws


def test_describe__against_numpy():
    x = np.random.default_rng(1).gamma(3.0, size=(4, 250))
    got = describe(x)
    assert list(got) == STATISTICS
    assert (got["mean"], got["median"]) == pytest.approx((x.mean(), np.median(x)), rel=1e-12)
    assert got["sd"] == pytest.approx(x.std(ddof=1), rel=1e-12)
    # Between two order statistics; which end a tie takes is nobody's business.
    np.testing.assert_allclose((got["hdi_low"], got["hdi_high"]), shortest_interval(x), atol=0.05)
    assert {k: got[k] for k in STATISTICS[5:]} == draw_statistics(x)


def test_describe__leaves_out_what_is_not_finite():
    x = np.random.default_rng(1).normal(size=(2, 100))
    y = x.copy()
    y[1, 7] = np.nan
    got = describe(y)
    assert got["mean"] == pytest.approx(np.delete(x, 107).mean(), rel=1e-12)
    assert np.isnan(got["ess_bulk"])


def test_describe__nothing_finite():
    assert np.isnan(list(describe(np.full((2, 10), np.nan)).values())).all()


def test_variance_components__of_a_posterior(trace):
    table = variance_components(trace)
    assert list(table.columns) == ["term", "trait_i", "trait_j", *STATISTICS, "constraint"]
    assert table[["term", "trait_i", "trait_j"]].to_numpy().tolist() == [
        [term, *pair] for term in ("block", "family", "Residual") for pair in (("y1", "y1"), ("y1", "y2"), ("y2", "y2"))
    ]
    posterior = trace["posterior"].to_dataset()
    for _, row in table.iterrows():
        draws = posterior[f"{row['term']}_cov"].sel(trait=row["trait_i"], trait_other=row["trait_j"]).to_numpy()
        assert row["mean"] == pytest.approx(draws.mean(), rel=1e-12)
        assert row["sd"] == pytest.approx(draws.std(ddof=1), rel=1e-12)
        assert row["ess_bulk"] == draw_statistics(draws)["ess_bulk"]


def test_variance_components__covariances_that_are_not_there_are_left_out():
    table = variance_components(trace_of(make_design("diag(trait):block + at(trait, y2):family")))
    assert [tuple(r) for r in table[["term", "trait_i", "trait_j"]].to_numpy()] == [
        ("block", "y1", "y1"),
        ("block", "y2", "y2"),
        ("family_y2", "y2", "y2"),
        ("Residual", "y1", "y1"),
        ("Residual", "y1", "y2"),
        ("Residual", "y2", "y2"),
    ]


def test_variance_components__of_reml_is_its_table(fit):
    pd.testing.assert_frame_equal(variance_components(fit), fit.varcomp)


@pytest.mark.parametrize("function", [variance_components, genetic_parameters])
def test_summaries__raise_on_other_things(function):
    with pytest.raises(TypeError, match="expected a RemlFit or a posterior DataTree, not list"):
        function([1])


def test_estimates_of__names_in_order_residual_last(trace, fit):
    assert estimates_of(trace).names == estimates_of(fit).names == ("block", "family", "Residual")


# ---------------------------------------------------------------- genetic parameters


def components_of(source):
    """(chains, draws, t, t) by term."""
    posterior = source["posterior"].to_dataset()
    return {n: posterior[f"{n}_cov"].to_numpy() for n in ("block", "family", "Residual")}


def cell(table, name, i="y1", j=None):
    row = table[(table["parameter"] == name) & (table["trait_i"] == i) & (table["trait_j"] == (j or i))]
    assert len(row) == 1
    return row.iloc[0]


def test_genetic_parameters__of_a_posterior(trace):
    table, S = genetic_parameters(trace), components_of(trace)
    assert list(table.columns) == ["parameter", "trait_i", "trait_j", *STATISTICS, "constraint"]
    assert len(table) == 3 * 2 + 3
    V_P = S["family"] + S["Residual"]
    h2 = 4 * S["family"][..., 1, 1] / V_P[..., 1, 1]
    row = cell(table, "heritability", "y2")
    assert (row["mean"], row["median"]) == pytest.approx((h2.mean(), np.median(h2)), rel=1e-12)
    r = S["family"][..., 0, 1] / np.sqrt(S["family"][..., 0, 0] * S["family"][..., 1, 1])
    assert cell(table, "genetic correlation", "y1", "y2")["mean"] == pytest.approx(r.mean(), rel=1e-12)


def test_genetic_parameters__stated_term_relationship_and_phenotype_can_be_replaced(trace):
    S = components_of(trace)
    table = genetic_parameters(
        trace, relationship="full-sib", genetic="family", phenotypic=["block", "family", "Residual"]
    )
    expected = (2 * S["family"][..., 0, 0] / sum(S.values())[..., 0, 0]).mean()
    assert cell(table, "heritability")["mean"] == pytest.approx(expected, rel=1e-12)
    of_blocks = genetic_parameters(trace, genetic=Genetic(term="block"))
    expected = (S["block"][..., 0, 0] / sum(S.values())[..., 0, 0]).mean()
    assert cell(of_blocks, "heritability")["mean"] == pytest.approx(expected, rel=1e-12)


def test_genetic_parameters__family_means_count_the_records(trace):
    data, S = incomplete(records(families=20)), components_of(trace)
    table = genetic_parameters(trace, genetic="family", relationship="family-mean")
    for i, trait in enumerate(("y1", "y2")):
        n = 20 / (1 / data.groupby("family")[trait].count()).sum()
        f, e = S["family"][..., i, i], S["Residual"][..., i, i]
        assert cell(table, "heritability", trait)["mean"] == pytest.approx((f / (f + e / n)).mean(), rel=1e-12)


def test_genetic_parameters__another_term_takes_animal_as_its_relationship(fit):
    table = genetic_parameters(fit, genetic="block")
    assert cell(table, "additive genetic variance")["estimate"] == pytest.approx(fit.covariances["block"][0, 0])


def test_genetic_parameters__no_genetic_term():
    with pytest.raises(SpecError, match="which term is genetic"):
        genetic_parameters(trace_of(make_design()))


def test_genetic_parameters__unknown_genetic_term(trace, fit):
    for source in (trace, fit):
        with pytest.raises(SpecError, match="the genetic term 'famly' is not in the model"):
            genetic_parameters(source, genetic="famly")
        with pytest.raises(SpecError, match="no covariance matrix of 'famly'"):
            genetic_parameters(source, phenotypic=["famly", "Residual"])


def test_genetic_parameters__same_rows_for_reml_and_posterior(trace, fit):
    labels = ["parameter", "trait_i", "trait_j"]
    pd.testing.assert_frame_equal(genetic_parameters(trace)[labels], genetic_parameters(fit)[labels])


def test_genetic_parameters__terms_of_other_traits_are_no_permanent_environment():
    """Two terms on one factor, each for a trait of its own, are two genetic terms, and no repeatability."""
    design = make_design("at(trait, y1):family + at(trait, y2):family", residual="diag(trait):units")
    table = genetic_parameters(trace_of(design), genetic="family_y1")
    assert cell(table, "heritability", "y1")["mean"] > 0
    assert "repeatability" not in set(table["parameter"])


# ---------------------------------------------------------------- delta method


def test_genetic_parameters__delta_method_of_a_ratio(fit):
    """var(f/p) = (p² V_f - 2 f p C_fp + f² V_p) / p⁴ for h² = 4 f / p, p = f + e."""
    table, V = genetic_parameters(fit), fit.component_covariance
    for i, trait in enumerate(("y1", "y2")):
        at = [0, 2][i]  # in the packed triangle
        f, e = fit.covariances["family"][i, i], fit.covariances["Residual"][i, i]
        V_f, V_e, C = V[3 + at, 3 + at], V[6 + at, 6 + at], V[3 + at, 6 + at]
        p, V_p, C_fp = f + e, V_f + V_e + 2 * C, V_f + C
        row = cell(table, "heritability", trait)
        assert row["estimate"] == pytest.approx(4 * f / p, rel=1e-12)
        expected = 4 * np.sqrt((p**2 * V_f - 2 * f * p * C_fp + f**2 * V_p) / p**4)
        assert row["std_error"] == pytest.approx(expected, rel=1e-5)
        assert cell(table, "phenotypic variance", trait)["std_error"] == pytest.approx(np.sqrt(V_p), rel=1e-5)
        assert cell(table, "additive genetic variance", trait)["std_error"] == pytest.approx(4 * np.sqrt(V_f), rel=1e-5)


def test_genetic_parameters__delta_method_of_a_correlation(fit):
    """With r = c/√(ab): dr/r = dc/c - da/2a - db/2b."""
    row = cell(genetic_parameters(fit), "genetic correlation", "y1", "y2")
    S, V = fit.covariances["family"], fit.component_covariance[3:6, 3:6]
    a, c, b = S[0, 0], S[1, 0], S[1, 1]
    r = c / np.sqrt(a * b)
    g = r * np.array([-0.5 / a, 1 / c, -0.5 / b])
    assert row["estimate"] == pytest.approx(r, rel=1e-12)
    assert row["std_error"] == pytest.approx(np.sqrt(g @ V @ g), rel=1e-5)


def test_genetic_parameters__errors_follow_the_units(fit):
    data = incomplete(records(families=20))
    other = fit_reml(make_design(data=data.assign(y1=1000 * data["y1"]), genetic=HALF_SIB))
    one, two = genetic_parameters(fit), genetic_parameters(other)
    for name in ("heritability", "genetic correlation", "phenotypic correlation"):
        rows = one["parameter"] == name
        np.testing.assert_allclose(two["estimate"][rows], one["estimate"][rows], rtol=1e-4)
        np.testing.assert_allclose(two["std_error"][rows], one["std_error"][rows], rtol=1e-4)


# ---------------------------------------------------------------- breeding values


def test_breeding_values__of_reml_are_blups(fit):
    pd.testing.assert_frame_equal(breeding_values(fit, "family").drop(columns="rank"), fit.effects("family"))


def test_breeding_values__of_a_posterior(trace):
    table = breeding_values(trace, "family")
    draws = trace["posterior"].to_dataset()["family_effect"]
    assert list(table.columns) == ["level", "trait", "mean", "sd", "hdi_low", "hdi_high", "rank"]
    assert len(table) == 40
    for _, row in table.iloc[[0, 1, 17, 39]].iterrows():
        x = draws.sel(family_level=row["level"], trait=row["trait"]).to_numpy()
        assert row["mean"] == pytest.approx(x.mean(), rel=1e-9)
        assert row["sd"] == pytest.approx(x.std(ddof=1), rel=1e-9)
        assert row["hdi_low"] < np.median(x) < row["hdi_high"]
        assert ((x >= row["hdi_low"]) & (x <= row["hdi_high"])).mean() == pytest.approx(0.95, abs=0.02)


def test_breeding_values__not_drawn():
    with pytest.raises(SpecError, match=r"holds no effects of 'family'; .*sample again with effects=\['family'\]"):
        breeding_values(trace_of(make_design()), "family")
