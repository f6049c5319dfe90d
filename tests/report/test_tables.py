"""Tables for people: what they say, and that they fit 100 columns with nothing cut off."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rich.text import Text
from traces import draws_around, incomplete, make_design, records, trace_of

from bayesmv.checks.cost import outlook
from bayesmv.checks.identifiability import identifiability
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.design.design import build_design
from bayesmv.estimates.components import variance_components
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.io.files import load_design
from bayesmv.model.genetic import Genetic
from bayesmv.model.spec import ModelSpec
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.reml import fit_reml
from bayesmv.report.tables import (
    comparison_report,
    component_label,
    console,
    convergence_report,
    design_report,
    number,
    parameter_report,
    reml_report,
    table,
)
from bayesmv.sampling.convergence import Convergence


def rendered(*parts) -> str:
    """Text of renderables, 100 columns wide."""
    out = Console(width=100, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    with out.file:
        for part in parts:
            out.print(part, highlight=False)
    return out.export_text()


def lines(*parts) -> list[list[str]]:
    return [line.split() for line in rendered(*parts).splitlines()]


@cache
def results(model):
    """Design, fit and posterior (of draws around REML) of a shipped model or of one with long names."""
    design = long_names() if model == "long names" else load_design(f"models/{model}.toml")
    fit = fit_reml(design)
    posterior = log_posterior(design)
    x = draws_around(posterior, fit.theta, 4, 25)
    return design, fit, trace_of(design, x, reml=fit)


def long_names():
    data = records(t=3, blocks=2, families=12).rename(columns={"family": "open_pollinated_family"})
    names = {"y1": "stem_diameter_at_breast_height", "y2": "acoustic_velocity", "y3": "wood_density_at_ten_years"}
    spec = ModelSpec.from_formula(
        " + ".join(names.values()) + " ~ block",
        random="us(trait):open_pollinated_family",
        genetic=Genetic(term="open_pollinated_family", relationship="half-sib"),
    )
    return build_design(spec, data.rename(columns=names))


MODELS = ("canty_us", "canty_corgh", "canty_diag", "canty_separate", "ril_us", "long names")
models = pytest.mark.parametrize("model", MODELS)


def reports(model):
    design, fit, trace = results(model)
    yield "design", design_report(design, identifiability(design), outlook(design))
    yield "reml", reml_report(fit)
    yield "components", parameter_report("Posterior (co)variances", variance_components(trace))
    yield "comparison", comparison_report(compare_reml(trace, fit))
    if design.spec.genetic is not None:
        yield "genetic, REML", parameter_report("Genetic parameters", genetic_parameters(fit))
        yield "genetic, posterior", parameter_report("Genetic parameters", genetic_parameters(trace))


@models
def test_reports__at_most_100_columns_wide(model):
    for name, report in reports(model):
        text = rendered(report)
        assert max(len(line) for line in text.splitlines()) <= 100, name
        assert "…" not in text.replace(" … ", " "), name


@models
def test_reports__nothing_cut_off(model):
    """Names may be folded over several lines; no letter of them is lost."""
    design, fit, trace = results(model)
    frame = compare_reml(trace, fit)
    folded = "".join(rendered(comparison_report(frame)).split())
    for term in design.names:
        assert folded.count(f"{number(fit.covariances[term][0, 0])}") >= 1
    if model != "long names":
        for trait in design.traits:
            assert f"var{trait}" in folded


def test_reports__long_names_are_whole():
    design, fit, trace = results("long names")
    for report in (
        reml_report(fit),
        comparison_report(compare_reml(trace, fit)),
        parameter_report("", genetic_parameters(fit)),
        design_report(design, identifiability(design), outlook(design)),
    ):
        letters = "".join(rendered(report).split())
        # A folded cell continues in its column on the next line: look for its beginning and its end.
        for name in design.traits:
            assert name[:6] in letters
            assert name[-4:] in letters


@pytest.mark.parametrize("model", MODELS)
def test_parameter_report__no_number_is_cropped(model):
    _, _, trace = results(model)
    frame = variance_components(trace)
    text = rendered(parameter_report("Posterior (co)variances", frame)).split()
    for column in ("mean", "sd", "hdi_low", "hdi_high"):
        assert column in text
        assert {number(value) for value in frame[column]} <= set(text)


def test_number__few_characters():
    values = (162.8812, 0.002185595, -1.5e-7, 1.25e9, 0.0, np.nan, np.inf)
    assert [number(v) for v in values] == ["162.9", "0.002186", "-1.5e-07", "1.25e+09", "0", "–", "–"]
    assert number(162.8812, 7) == "162.8812"


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"trait_i": "a", "trait_j": "a"}, "var a"),
        ({"trait_i": "a", "trait_j": "a", "parameter": "correlation"}, "var a"),
        ({"trait_i": "a", "trait_j": "b"}, "cov a, b"),
        ({"trait_i": "a", "trait_j": "b", "parameter": "covariance"}, "cov a, b"),
        ({"trait_i": "a", "trait_j": "b", "parameter": "correlation"}, "cor a, b"),
    ],
)
def test_component_label(row, label):
    assert component_label(pd.Series(row)) == label


def test_table__words_left_numbers_right():
    text = rendered(table("Title", ("term", "n"), [("A", "1"), ("Block", "100")], ("term",))).splitlines()
    assert [line.rstrip() for line in text] == ["Title", "term     n", "A        1", "Block  100"]


def test_console__100_columns_in_a_pipe():
    assert console().width == 100


def test_design_report__records_terms_notes_and_warnings():
    data = incomplete(records())
    data.loc[[2, 5], ["y1", "y2"]] = np.nan
    design = make_design(data=data)
    text = lines(design_report(design, identifiability(design), outlook(design)))
    seen = design.observed.sum(axis=0)
    assert ["62", "units,", str(seen.sum()), "records;", "likelihood", "engine:", "sparse"] in text
    assert ["y1", str(seen[0]), number(np.nanmean(data["y1"])), number(design.scale[0])] in text
    assert ["block", "2", "×", "2", "4", "3", "4"] in text
    assert [
        "note:",
        "2",
        "units",
        "without",
        "a",
        "record",
        "of",
        "any",
        "trait",
        "were",
        "left",
        "out:",
        "2,",
        "5",
    ] in text
    assert any(line[:2] == ["beware:", "block:"] for line in text)


def test_reml_report__components_as_in_varcomp():
    _, fit, _ = results("canty_us")
    text = lines(reml_report(fit))
    assert ["Block", "var", "bden", "162.8812", "78.55", "2.07", "positive"] in text
    assert ["Family", "cov", "bden,", "veloc", "0.1594152", "0.1093", "1.46", "unconstrained"] in text
    last = fit.varcomp.iloc[-1]
    figures = ["0.01710482", number(last["std_error"]), number(last["z_ratio"], 3)]
    assert ["Residual", "var", "veloc", *figures, "positive"] in text
    state = rendered(reml_report(fit)).replace("\n", " ")
    assert f"logLik {fit.loglik:.3f}, 9 covariance parameters, AIC {fit.aic:.1f}, BIC {fit.bic:.1f}; converged" in state
    assert "boundary" not in state


def test_reml_report__corgh_shows_correlations():
    _, fit, _ = results("canty_corgh")
    (family,) = [row for row in lines(reml_report(fit)) if row[:2] == ["Family", "cor"]]
    assert float(family[4]) == pytest.approx(0.37, abs=0.005)


def test_reml_report__says_what_is_on_the_boundary():
    _, fit, _ = results("ril_us")
    assert "on the boundary: Block (rank 1)" in " ".join(rendered(reml_report(fit)).split())


def test_comparison_report__a_row_for_every_parameter():
    _, fit, trace = results("canty_us")
    frame = compare_reml(trace, fit)
    text = lines(comparison_report(frame))
    assert len(text) == 2 + len(frame)
    row = frame[(frame["term"] == "Family") & (frame["parameter"] == "correlation")].iloc[0]
    assert text[2 + frame.index.get_loc(row.name)] == [
        "Family", "cor", "bden,", "veloc", number(row["reml"]), number(row["std_error"], 3), number(row["median"]),
        number(row["hdi_low"], 3), "…", number(row["hdi_high"], 3), str(round(row["ess_bulk"])), "agree",
    ]  # fmt: skip


def test_parameter_report__of_reml_and_of_a_posterior():
    _, fit, trace = results("canty_us")
    reml, posterior = genetic_parameters(fit), genetic_parameters(trace)
    text = lines(parameter_report("Genetic parameters", reml))
    row = reml[reml["parameter"] == "heritability"].iloc[0]
    assert ["heritability", "bden", number(row["estimate"]), number(row["std_error"])] in text
    text = lines(parameter_report("Genetic parameters", posterior))
    row = posterior[posterior["parameter"] == "genetic correlation"].iloc[0]
    figures = [number(row[c], 4) for c in ("mean", "sd", "hdi_low", "hdi_high", "ess_bulk", "r_hat")]
    assert ["genetic", "correlation", "bden,", "veloc", *figures] in text


def test_convergence_report__green_or_red():
    good = Convergence(worst_rhat=1.0, smallest_bulk_ess=900, smallest_tail_ess=900, divergences=0, chains=4)
    bad = Convergence(worst_rhat=1.1, smallest_bulk_ess=900, smallest_tail_ess=900, divergences=0, chains=4)
    assert isinstance(convergence_report(good), Text)
    assert (convergence_report(good).plain, convergence_report(good).style) == (str(good), "green")
    assert (convergence_report(bad).plain, convergence_report(bad).style) == (str(bad), "bold red")
