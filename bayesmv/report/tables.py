"""Tables for people: which columns of a result are shown, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.checks.identifiability import TermInformation
from bayesmv.checks.relationships import RelationshipInformation
from bayesmv.design.design import Design
from bayesmv.estimates.prediction import Prediction
from bayesmv.reml.result import RemlFit
from bayesmv.report.document import Column, Table

type Row = pd.Series[Any]


def number(value: float, digits: int = 4) -> str:
    """Write a number in few characters.

    >>> number(162.8812), number(0.002185595), number(float("nan"))
    ('162.9', '0.002186', '–')
    """
    return "–" if not np.isfinite(value) else f"{value:.{digits}g}"


def compact(value: float, digits: int = 2) -> str:
    """Write a number in few characters, without an exponent where whole digits do.

    >>> compact(540.3), compact(0.00217), compact(float("nan"))
    ('540', '0.0022', '–')
    """
    if np.isfinite(value) and 10**digits <= abs(value) < 10**6:
        return f"{value:.0f}"
    return number(value, digits)


def component_label(row: Row) -> str:
    """Name a variance, covariance or correlation.

    >>> component_label(pd.Series({"trait_i": "a", "trait_j": "b", "parameter": "correlation"}))
    'cor a, b'
    """
    if row["trait_i"] == row["trait_j"]:
        return f"var {row['trait_i']}"
    kind = "cor" if row.get("parameter") == "correlation" else "cov"
    return f"{kind} {row['trait_i']}, {row['trait_j']}"


def word_column(header: str, column: str | None = None) -> Column:
    """Column of words, as they stand in the frame."""
    name = column or header
    return Column(header=header, show=lambda row: str(row[name]), words=True)


def _number(header: str, column: str | None = None, digits: int = 4) -> Column:
    """Column of numbers."""
    name = column or header
    return Column(header=header, show=lambda row: number(row[name], digits))


def _traits(row: Row) -> str:
    return str(row["trait_i"]) if row["trait_i"] == row["trait_j"] else f"{row['trait_i']}, {row['trait_j']}"


def relationships_table(information: Sequence[RelationshipInformation]) -> Table:
    """Relationships of the random terms: size, density, diagonal, smallest eigenvalue, levels and records."""
    frame = pd.DataFrame([asdict(each) for each in information])
    columns = (
        word_column("term"),
        Column(header="levels", show=lambda row: str(int(row["levels"]))),
        Column(header="with records", show=lambda row: str(int(row["recorded"]))),
        Column(header="records", show=lambda row: str(int(row["records"]))),
        _number("non-zeros a level", "nonzeros", 3),
        Column(header="diagonal", show=lambda row: " … ".join(number(value) for value in row["diagonal"])),
        _number("smallest eigenvalue", "smallest", 3),
    )
    return Table(name="relationships", title="Relationships", frame=frame, columns=columns)


def traits_table(design: Design) -> Table:
    """Records, mean and phenotypic sd of every trait."""
    frame = pd.DataFrame(
        {
            "trait": design.traits,
            "records": design.observed.sum(axis=0),
            "mean": np.nanmean(design.response, axis=0),
            "sd": design.scale,
        }
    )
    records = Column(header="records", show=lambda row: str(int(row["records"])))
    columns = (word_column("trait"), records, _number("mean"), _number("sd after fixed effects", "sd"))
    return Table(name="traits", title="Traits", frame=frame, columns=columns)


def information_table(information: Iterable[TermInformation]) -> Table:
    """Information of the data on every covariance matrix."""
    frame = pd.DataFrame(
        [
            {
                "term": i.term,
                "size": i.size,
                "levels": i.levels,
                "freedom": i.freedom,
                "exact": i.exact,
                "rank": i.rank,
                "fewest_links": None if i.size == 1 else int(i.links[np.tril_indices(i.size, -1)].min()),
                "warnings": list(i.warnings),
            }
            for i in information
        ]
    )
    columns = (
        word_column("term"),
        Column(header="matrix", show=lambda row: f"{row['size']} × {row['size']}"),
        Column(header="levels", show=lambda row: str(row["levels"])),
        Column(header="degrees of freedom", show=lambda row: ("" if row["exact"] else "≤ ") + str(row["freedom"])),
        Column(
            header="fewest links between two traits",
            show=lambda row: "–" if row["size"] == 1 else str(int(row["fewest_links"])),
        ),
    )
    return Table(name="terms", title="Covariance matrices", frame=frame, columns=columns)


def varcomp_table(fit: RemlFit) -> Table:
    """Variance components of REML with standard errors and constraints."""

    def label(row: Row) -> str:
        kind = "correlation" if fit.record.structure(row["term"]).reports_correlations else "covariance"
        return component_label(pd.concat([row, pd.Series({"parameter": kind})]))

    columns = (
        word_column("term"),
        Column(header="component", show=label, words=True),
        _number("estimate", "component", 7),
        _number("s.e.", "std_error"),
        _number("z", "z_ratio", 3),
        word_column("constraint"),
    )
    return Table(name="varcomp", title=f"{fit.method} variance components", frame=fit.varcomp, columns=columns)


def fixed_table(fit: RemlFit) -> Table:
    """Fixed effects of REML, beside the levels that they are differences from."""
    columns = (word_column("trait"), word_column("effect"), _number("estimate", digits=6), _number("s.e.", "std_error"))
    references = ", ".join(f"{factor} {level}" for factor, level in fit.record.references)
    title = f"Fixed effects; reference: {references}" if references else "Fixed effects"
    return Table(name="fixed", title=title, frame=fit.fixed, columns=columns)


def parameter_table(name: str, title: str, frame: pd.DataFrame) -> Table:
    """Genetic parameters or variance components, of REML or of a posterior."""
    posterior = ("mean", "sd", "hdi_low", "hdi_high", "ess_bulk", "r_hat")
    numbers = tuple(name for name in ("estimate", "std_error") if name in frame) or posterior
    what = "parameter" if "parameter" in frame else "term"
    columns = (word_column(what), Column(header="trait", show=_traits, words=True), *map(_number, numbers))
    marks = {"boundary", "not identified", "prior only"}
    if "constraint" in frame and marks & set(frame["constraint"]):
        columns += (Column(header="", show=lambda row: row["constraint"] * (row["constraint"] in marks), words=True),)
    return Table(name=name, title=title, frame=frame, columns=columns)


def prediction_table(prediction: Prediction) -> Table:
    """Predictions of cells, with their errors; on the latent scale of traits that are not Gaussian."""
    title = "Predictions" if prediction.expected is None else "Predictions on the latent scale"
    return _of_cells("predictions", title, prediction.frame, prediction, (word_column("trait"),))


def expected_table(prediction: Prediction) -> Table:
    """Probabilities and expected counts of cells."""
    words = (word_column("trait"), word_column("quantity"))
    return _of_cells("expected", "Predictions on the scale of the data", prediction.on_data_scale(), prediction, words)


def _of_cells(name: str, title: str, frame: pd.DataFrame, prediction: Prediction, words: tuple[Column, ...]) -> Table:
    cells = tuple(
        Column(header=str(name), show=_cell(str(name)), words=not pd.api.types.is_numeric_dtype(frame[name]))
        for name in prediction.cells.columns
    )
    numbers = ("predicted", "std_error") if "predicted" in frame else ("mean", "sd", "hdi_low", "hdi_high")
    headers = {"std_error": "s.e.", "hdi_low": "95 % HDI from", "hdi_high": "to"}
    columns = (*cells, *words, *(_number(headers.get(n, n), n, 5) for n in numbers))
    if (frame["status"] != "").any():
        columns += (word_column("", "status"),)
    return Table(name=name, title=title, frame=frame, columns=columns)


def _cell(name: str) -> Callable[[Row], str]:
    return lambda row: number(row[name], 6) if isinstance(row[name], float) else str(row[name])


def differences_table(frame: pd.DataFrame) -> Table:
    """Differences of all pairs of cells."""
    reml = "difference" in frame
    numbers = ("difference", "std_error", "t", "p") if reml else ("mean", "sd", "hdi_low", "hdi_high", "prob_positive")
    headers = {"std_error": "s.e.d.", "hdi_low": "95 % HDI from", "hdi_high": "to", "prob_positive": "P(> 0)"}
    columns = (
        word_column("trait"),
        word_column("first"),
        word_column("less", "second"),
        *(_number(headers.get(n, n), n, 3 if n == "p" else 4) for n in numbers),
    )
    return Table(name="differences", title="Differences", frame=frame, columns=columns)


def lsd_table(frame: pd.DataFrame) -> Table:
    """Standard errors of differences and least significant differences."""
    headers = {"sed_min": "s.e.d. least", "sed_mean": "mean", "sed_max": "largest", "df": "df", "lsd": "LSD 5 %"}
    columns = (word_column("trait"), *(_number(header, name) for name, header in headers.items()))
    return Table(name="lsd", title="Standard errors of differences", frame=frame, columns=columns)


def wald_table(frame: pd.DataFrame) -> Table:
    """Tests of fixed effects."""
    head = (word_column("term"), word_column("trait"), word_column("test", "kind"), _number("df", digits=6))
    columns: tuple[Column, ...] = (
        *head,
        _number("F"),
        _number("denominator", "ddf"),
        _number("p", digits=3),
        word_column("method"),
    )
    if "F" not in frame:
        columns = (*head, _number("posterior outside", "outside", 3))
    return Table(name="wald", title="Tests of fixed effects", frame=frame, columns=columns)


def effects_table(frame: pd.DataFrame) -> Table:
    """Predicted effects of levels."""
    known = ("blup", "mean", "std_error", "sd", "hdi_low", "hdi_high", "reliability", "accuracy", "prob_best")
    headers = {"std_error": "s.e.", "hdi_low": "95 % HDI from", "hdi_high": "to", "prob_best": "P(best)"}
    columns = (
        word_column("level"),
        word_column("trait"),
        *(_number(headers.get(n, n), n) for n in known if n in frame),
        Column(header="rank", show=lambda row: str(int(row["rank"]))),
    )
    return Table(name="effects", title="Predicted effects", frame=frame, columns=columns)


def trial_table(frame: pd.DataFrame) -> Table:
    """Heritability of a trial."""
    names = ("cullis", "piepho", "reliability")
    columns = (word_column("trait"), _number("entries", digits=6), *(_number(n, digits=3) for n in names))
    return Table(name="trial", title="Heritability of the trial", frame=frame, columns=columns)


def selection_table(frame: pd.DataFrame) -> Table:
    """Responses to selection."""
    numbers = ("estimate", "std_error") if "estimate" in frame else ("median", "sd", "hdi_low", "hdi_high")
    headers = {"std_error": "s.e.", "hdi_low": "95 % HDI from", "hdi_high": "to"}
    columns = (word_column("quantity"), word_column("trait"), *(_number(headers.get(n, n), n) for n in numbers))
    return Table(name="selection", title="Selection", frame=frame, columns=columns)


def sensitivity_table(frame: pd.DataFrame) -> Table:
    """Sensitivity to prior and likelihood."""
    columns = (
        word_column("term"),
        word_column("parameter"),
        word_column("effect"),
        _number("prior", digits=2),
        _number("likelihood", digits=2),
        word_column("verdict"),
    )
    return Table(name="sensitivity", title="Sensitivity to prior and likelihood", frame=frame, columns=columns)


def checks_table(frame: pd.DataFrame) -> Table:
    """Posterior predictive checks."""
    columns = (
        word_column("check"),
        word_column("trait"),
        _number("observed", digits=3),
        _number("predicted", digits=3),
        _number("95 % from", "low", 3),
        _number("to", "high", 3),
        _number("p", digits=2),
    )
    return Table(name="checks", title="Posterior predictive checks", frame=frame, columns=columns)


def trajectory_table(frame: pd.DataFrame) -> Table:
    """Genetic parameters at the points of a covariate, or of environments."""
    numbers = ("estimate", "std_error") if "estimate" in frame else ("median", "sd", "hdi_low", "hdi_high")
    at = Column(header="at", show=lambda row: number(row["at"], 6) if isinstance(row["at"], float) else str(row["at"]))
    columns = (word_column("parameter"), word_column("trait", "trait_i"), at, *map(_number, numbers))
    return Table(name="curves", title="Along the covariate", frame=frame, columns=columns)


#: What a verdict says, its short word, and what that stands for. The long ones are in the frame.
_SHORT = (
    ("agree", "agree", ""),
    ("undetermined", "undet.", "undetermined: 95 % HDI of a correlation wider than 0.95"),
    ("REML on boundary", "bound", "REML on boundary: no standard error that means anything"),
    ("posterior dominated by prior", "prior", "posterior dominated by prior: the data narrowed it little"),
    ("not identified: prior only", "no data", "not identified: prior only"),
    ("differ by ", "differ", "differ k: median and REML differ by k posterior s.d."),
)


def short_verdict(verdict: str) -> str:
    """Verdict in a word or two.

    >>> short_verdict("REML on boundary; posterior dominated by prior"), short_verdict("differ by 1.2 posterior s.d.")
    ('bound, prior', 'differ 1.2')
    """
    parts = []
    for part in verdict.split("; "):
        long, short, _ = next(row for row in _SHORT if part.startswith(row[0]))
        size = part.removeprefix(long).split(" ")[0] if long.endswith(" ") else ""
        parts.append(f"{short} {size}".rstrip())
    return ", ".join(parts)


def legend(verdicts: Iterable[str]) -> list[str]:
    """Meanings of the short verdicts that occur, a line each."""
    said = "; ".join(verdicts)
    return [f"{short} = {words}" for long, short, words in _SHORT if words and long in said]


def prior_table(name: str, title: str, frame: pd.DataFrame) -> Table:
    """Quantities under the prior: median and interval."""
    what = "parameter" if "parameter" in frame else "term"
    columns = (
        word_column(what),
        Column(header="trait", show=_traits, words=True),
        _number("median", digits=3),
        _number("95 % from", "hdi_low", 3),
        _number("to", "hdi_high", 3),
    )
    return Table(name=name, title=title, frame=frame, columns=columns)


def prior_sets_table(frame: pd.DataFrame) -> Table:
    """Medians and intervals of every parameter under each of several priors, a line a parameter."""
    sets = list(dict.fromkeys(frame["prior"]))
    keys = ["parameter", "trait_i", "trait_j"]
    parts = [
        frame[frame["prior"] == name].set_index(keys)[["median", "hdi_low", "hdi_high"]].add_prefix(f"{name}:")
        for name in sets
    ]
    flat = pd.concat(parts, axis=1).reset_index()

    def shown(name: str) -> Callable[[Row], str]:
        def text(row: Row) -> str:
            middle, low, high = (compact(row[f"{name}:{part}"]) for part in ("median", "hdi_low", "hdi_high"))
            return f"{middle} ({low}…{high})"

        return text

    columns = (
        word_column("parameter"),
        Column(header="trait", show=_traits, words=True),
        *(Column(header=name, show=shown(name)) for name in sets),
    )
    return Table(name="priors", title="Under several priors: median (95 % HDI)", frame=flat, columns=columns)


def comparison_table(frame: pd.DataFrame) -> Table:
    """REML and posterior of every (co)variance and correlation, side by side, a line each; approximations of REML."""
    approximate = "laplace" in frame
    columns = (
        word_column("term"),
        Column(header="component", show=component_label, words=True),
        _number("variational" if approximate else "REML", "reml"),
        _number("s.e.", "std_error", 3),
        *([_number("Laplace", "laplace")] if approximate else []),
        _number("median"),
        Column(header="95 % HDI", show=lambda row: f"{compact(row['hdi_low'])}…{compact(row['hdi_high'])}"),
        Column(
            header="ESS",
            show=lambda row: number(round(row["ess_bulk"]) if np.isfinite(row["ess_bulk"]) else np.nan, 6),
            optional=True,
        ),
        Column(header="verdict", show=lambda row: short_verdict(row["verdict"]), words=True),
    )
    return Table(name="comparison", title="REML beside the posterior", frame=frame, columns=columns)


def setting_words(frame: pd.DataFrame) -> list[str]:
    """What distinguishes the data sets of every row of a summary: the case, and what of its setting varies."""
    settings = [n for n in map(str, frame.columns) if n.startswith("at_") and len(frame[n].drop_duplicates()) > 1]
    cases = len(frame["case"].drop_duplicates()) > 1 or not settings
    return [
        ", ".join(
            ([str(row["case"])] if cases else [])
            + [f"{n.removeprefix('at_').replace('_', ' ')} {row[n]:g}" for n in settings if not pd.isna(row[n])]
        )
        for row in frame.to_dict("records")
    ]


def study_table(frame: pd.DataFrame) -> Table:
    """Coverage, bias and time of the methods of a study."""

    def with_error(name: str) -> Callable[[Row], str]:
        def show(row: Row) -> str:
            if not np.isfinite(row[name]):
                return "–"
            return f"{100 * row[name]:.0f}±{100 * row[f'{name}_mc']:.0f}"

        return show

    shown = frame.assign(data=setting_words(frame))
    several = [name for name in ("model", "prior") if len(set(frame[name]) - {""}) > 1]
    columns = (
        word_column("data"),
        *(word_column(name) for name in several),
        Column(header="parameter", show=lambda row: row["parameter"].replace("correlation", "corr."), words=True),
        word_column("method"),
        Column(header="n", show=lambda row: str(row["n"])),
        Column(header="edge %", show=lambda row: f"{100 * row['boundary']:.0f}"),
        _number("bias", digits=2),
        _number("RMSE", "rmse", 3),
        Column(header="cover %", show=with_error("covered")),
        Column(header="of all %", show=with_error("covered_of_all")),
        _number("width", digits=3),
        Column(header="CPU s", show=lambda row: number(row["seconds"], 2), optional=True),
    )
    title = "Intervals that hold the truth, of those that exist and of all, ± Monte Carlo error"
    return Table(name="study", title=title, frame=shown, columns=columns)


def plan_table(frame: pd.DataFrame) -> Table:
    """Expected precision of designs, a line for each design, truth and quantity."""
    settings = [n for n in map(str, frame.columns) if n.startswith("at_") and len(frame[n].drop_duplicates()) > 1]

    def setting(name: str) -> Column:
        return Column(header=name.removeprefix("at_").replace("_", " "), show=lambda row: f"{row[name]:g}")

    columns = (
        *map(setting, settings),
        Column(header="units", show=lambda row: str(row["units"])),
        Column(header="cost", show=lambda row: f"{row['cost']:g}", optional=True),
        Column(header="parameter", show=_with_traits, words=True),
        _number("truth", digits=2),
        _number("s.e.", "std_error", 3),
        _number("width", digits=3),
        Column(header="power", show=lambda row: f"{row['power']:.2f}"),
    )
    return Table(name="plan", title="Expected precision of REML, exact at the truth", frame=frame, columns=columns)


def programs_table(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    """Estimates of several sources, a column each, with their errors."""

    def both(name: str) -> Callable[[Row], str]:
        def show(row: Row) -> str:
            error = row[f"{name} error"]
            return number(row[name], 4) + (f" ({compact(error)})" if np.isfinite(error) else "")

        return show

    columns = (
        word_column("term"),
        Column(header="parameter", show=_with_traits, words=True),
        *(Column(header=name, show=both(name)) for name in names),
    )
    title = "Beside other programs: estimate (standard error), or median (sd)"
    return Table(name="programs", title=title, frame=frame, columns=columns)


def profile_table(frame: pd.DataFrame, level: float) -> Table:
    """Profile-likelihood intervals beside standard errors; * where an end is the end of what it can be."""

    def end(row: Row, name: str) -> str:
        return compact(row[name]) + ("*" if row[f"{name}_at_end"] else "")

    columns = (
        word_column("term"),
        Column(header="parameter", show=_with_traits, words=True),
        _number("REML", "estimate"),
        _number("s.e.", "std_error", 3),
        Column(header=f"{100 * level:g} % profile", show=lambda row: f"{end(row, 'low')}…{end(row, 'high')}"),
    )
    title = "Profile-likelihood intervals; * not excluded at the end of its range"
    return Table(name="profile", title=title, frame=frame, columns=columns)


def _with_traits(row: Row) -> str:
    """Label of a component of a term, or of a genetic parameter with its traits."""
    traits = dict.fromkeys((row["trait_i"], row["trait_j"]))
    return f"{row['parameter']} {', '.join(traits)}"


def pairs_table(name: str, title: str, frame: pd.DataFrame) -> Table:
    """Correlations of pairs of traits, a line each."""
    posterior = (
        _number("median"),
        Column(header="95 % HDI", show=lambda row: f"{compact(row['hdi_low'])}…{compact(row['hdi_high'])}"),
        Column(header="ESS", show=lambda row: number(round(row["ess_bulk"]), 6)),
    )
    columns = (
        word_column("trait_i"),
        word_column("trait_j"),
        Column(header="records", show=lambda row: str(row["records"])),
        _number("REML", "correlation"),
        _number("s.e.", "std_error", 3),
        word_column("constraint"),
        _number("residual"),
        *(posterior if "median" in frame else ()),
    )
    return Table(name=name, title=title, frame=frame, columns=columns)


def models_table(frame: pd.DataFrame) -> Table:
    """REML fits side by side."""

    def if_tested(show: Callable[[Row], str]) -> Callable[[Row], str]:
        return lambda row: show(row) if row["against"] else ""

    columns = (
        word_column("model"),
        Column(header="logLik", show=lambda row: f"{row['loglik']:.3f}"),
        Column(header="parameters", show=lambda row: str(row["parameters"])),
        Column(header="AIC", show=lambda row: f"{row['aic']:.1f}"),
        Column(header="BIC", show=lambda row: f"{row['bic']:.1f}"),
        word_column("against"),
        Column(header="LR", show=if_tested(lambda row: number(row["statistic"]))),
        Column(header="df", show=if_tested(lambda row: str(row["df"]))),
        Column(header="p", show=if_tested(lambda row: number(row["p_value"], 3))),
    )
    return Table(name="models", title="Models, REML", frame=frame, columns=columns)
