"""Tables for people: what they say, and that they fit 100 columns with nothing cut off."""

import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
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
from bayesmv.report.document import Column, Document, Line, Table
from bayesmv.report.documents import check_document, convergence_line, reml_document
from bayesmv.report.tables import compact, comparison_table, component_label, number, parameter_table
from bayesmv.report.terminal import console, rendered
from bayesmv.sampling.convergence import Convergence


def parts_of(said) -> list:
    """Tables and lines of a document, or the one that is given."""
    return [part for section in said.sections for part in section] if isinstance(said, Document) else [said]


def text_of(said) -> str:
    """Text of a document, table or line, 100 columns wide."""
    out = Console(width=100, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    with out.file:
        for part in parts_of(said):
            out.print(rendered(part), highlight=False)
    return out.export_text()


def lines(said) -> list[list[str]]:
    return [line.split() for line in text_of(said).splitlines()]


def checked(design) -> Document:
    return check_document(design, identifiability(design), outlook(design))


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
    yield "design", checked(design)
    yield "reml", reml_document(fit)
    yield "components", parameter_table("varcomp", "Posterior (co)variances", variance_components(trace))
    yield "comparison", comparison_table(compare_reml(trace, fit))
    if design.spec.genetic is not None:
        yield "genetic, REML", parameter_table("genetic", "Genetic parameters", genetic_parameters(fit))
        yield "genetic, posterior", parameter_table("genetic", "Genetic parameters", genetic_parameters(trace))


@models
def test_reports__at_most_100_columns_wide(model):
    for name, report in reports(model):
        text = text_of(report)
        assert max(len(line) for line in text.splitlines()) <= 100, name
        # Of an interval it stands between two numbers; elsewhere something was cut.
        assert "…" not in re.sub(r"(?<=\d)…(?=-?\d)| … ", " ", text), name


@models
def test_reports__nothing_cut_off(model):
    """Names may be folded over several lines; no letter of them is lost."""
    design, fit, trace = results(model)
    frame = compare_reml(trace, fit)
    folded = "".join(text_of(comparison_table(frame)).split())
    for term in design.names:
        assert folded.count(f"{number(fit.covariances[term][0, 0])}") >= 1
    if model != "long names":
        for trait in design.traits:
            assert f"var{trait}" in folded


def test_reports__long_names_are_whole():
    design, fit, trace = results("long names")
    for report in (
        reml_document(fit),
        comparison_table(compare_reml(trace, fit)),
        parameter_table("genetic", "", genetic_parameters(fit)),
        checked(design),
    ):
        letters = "".join(text_of(report).split())
        # A folded cell continues in its column on the next line: look for its beginning and its end.
        for name in design.traits:
            assert name[:6] in letters
            assert name[-4:] in letters


@pytest.mark.parametrize("model", MODELS)
def test_parameter_report__no_number_is_cropped(model):
    _, _, trace = results(model)
    frame = variance_components(trace)
    text = text_of(parameter_table("varcomp", "Posterior (co)variances", frame)).split()
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
    columns = tuple(Column(header=n, show=lambda row, n=n: str(row[n]), words=n == "term") for n in ("term", "n"))
    frame = pd.DataFrame({"term": ["A", "Block"], "n": [1, 100]})
    text = text_of(Table(name="t", title="Title", frame=frame, columns=columns)).splitlines()
    assert [line.rstrip() for line in text] == ["Title", "term     n", "A        1", "Block  100"]


def test_console__100_columns_in_a_pipe():
    assert console().width == 100


def test_design_report__records_terms_notes_and_warnings():
    data = incomplete(records())
    data.loc[[2, 5], ["y1", "y2"]] = np.nan
    design = make_design(data=data)
    text = lines(checked(design))
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
    text = lines(reml_document(fit))
    assert ["Block", "var", "bden", "162.8812", "78.55", "2.07", "positive"] in text
    assert ["Family", "cov", "bden,", "veloc", "0.1594152", "0.1093", "1.46", "unconstrained"] in text
    last = fit.varcomp.iloc[-1]
    figures = ["0.01710482", number(last["std_error"]), number(last["z_ratio"], 3)]
    assert ["Residual", "var", "veloc", *figures, "positive"] in text
    state = text_of(reml_document(fit)).replace("\n", " ")
    assert f"logLik {fit.loglik:.3f}, 9 covariance parameters, AIC {fit.aic:.1f}, BIC {fit.bic:.1f}; converged" in state
    assert "boundary" not in state


def test_reml_report__corgh_shows_correlations():
    _, fit, _ = results("canty_corgh")
    (family,) = [row for row in lines(reml_document(fit)) if row[:2] == ["Family", "cor"]]
    assert float(family[4]) == pytest.approx(0.37, abs=0.005)


def test_reml_report__says_what_is_on_the_boundary():
    _, fit, _ = results("ril_us")
    assert "on the boundary: Block (rank 1)" in " ".join(text_of(reml_document(fit)).split())


def test_comparison_report__a_row_for_every_parameter():
    _, fit, trace = results("canty_us")
    frame = compare_reml(trace, fit)
    text = lines(comparison_table(frame))
    assert len(text) == 2 + len(frame)
    row = frame[(frame["term"] == "Family") & (frame["parameter"] == "correlation")].iloc[0]
    assert text[2 + frame.index.get_loc(row.name)] == [
        "Family", "cor", "bden,", "veloc", number(row["reml"]), number(row["std_error"], 3), number(row["median"]),
        f"{compact(row['hdi_low'])}…{compact(row['hdi_high'])}", str(round(row["ess_bulk"])), "agree",
    ]  # fmt: skip


def test_parameter_report__of_reml_and_of_a_posterior():
    _, fit, trace = results("canty_us")
    reml, posterior = genetic_parameters(fit), genetic_parameters(trace)
    text = lines(parameter_table("genetic", "Genetic parameters", reml))
    row = reml[reml["parameter"] == "heritability"].iloc[0]
    assert ["heritability", "bden", number(row["estimate"]), number(row["std_error"])] in text
    text = lines(parameter_table("genetic", "Genetic parameters", posterior))
    row = posterior[posterior["parameter"] == "genetic correlation"].iloc[0]
    figures = [number(row[c], 4) for c in ("mean", "sd", "hdi_low", "hdi_high", "ess_bulk", "r_hat")]
    assert ["genetic", "correlation", "bden,", "veloc", *figures] in text


def test_convergence_report__green_or_red():
    good = Convergence(worst_rhat=1.0, smallest_bulk_ess=900, smallest_tail_ess=900, divergences=0, chains=4)
    bad = Convergence(worst_rhat=1.1, smallest_bulk_ess=900, smallest_tail_ess=900, divergences=0, chains=4)
    assert convergence_line(good) == Line(str(good), "good")
    assert convergence_line(bad) == Line(str(bad), "bad")
    assert [rendered(convergence_line(v)).style for v in (good, bad)] == ["green", "bold red"]


def test_rendered__names_are_text_not_markup():
    frame = pd.DataFrame({"trait": ["sex[f]", "[/]", "[bold]x[/bold]"]})
    columns = (Column(header="[red]trait", show=lambda row: row["trait"], words=True),)
    text = text_of(Table(name="t", title="T[1]", frame=frame, columns=columns))
    for name in ("sex[f]", "[/]", "[bold]x[/bold]", "[red]trait", "T[1]"):
        assert name in text
