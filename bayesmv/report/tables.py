"""Tables for people: Rich renderings of designs, fits and comparisons, at most 100 columns wide."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bayesmv.checks.cost import Outlook
from bayesmv.checks.identifiability import TermInformation
from bayesmv.design.design import Design
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.convergence import Convergence

WIDTH = 100


def console() -> Console:
    """Return a console of at most 100 columns."""
    wide = Console()
    return Console(width=min(wide.width, WIDTH)) if wide.is_terminal else Console(width=WIDTH)


def number(value: float, digits: int = 4) -> str:
    """Write a number in few characters.

    >>> number(162.8812), number(0.002185595), number(float("nan"))
    ('162.9', '0.002186', '–')
    """
    return "–" if not np.isfinite(value) else f"{value:.{digits}g}"


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], words: Iterable[str] = ()) -> Table:
    """Build a table; columns in `words` hold text and are left-aligned, the others numbers."""
    out = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    words = set(words)
    for name in columns:
        out.add_column(name, justify="left" if name in words else "right", overflow="fold", no_wrap=name not in words)
    for row in rows:
        out.add_row(*row)
    return out


def component_label(row: pd.Series) -> str:
    """Name a variance, covariance or correlation.

    >>> component_label(pd.Series({"trait_i": "a", "trait_j": "b", "parameter": "correlation"}))
    'cor a, b'
    """
    if row["trait_i"] == row["trait_j"]:
        return f"var {row['trait_i']}"
    kind = "cor" if row.get("parameter") == "correlation" else "cov"
    return f"{kind} {row['trait_i']}, {row['trait_j']}"


def design_report(design: Design, information: Iterable[TermInformation], cost: Outlook) -> RenderableType:
    """Describe a design: records, terms, engine and its cost, what the data can say, what was left out."""
    information = tuple(information)
    records = [
        (trait, str(int(seen)), number(float(np.nanmean(y))), number(scale))
        for trait, seen, y, scale in zip(
            design.traits, design.observed.sum(axis=0), design.response.T, design.scale, strict=True
        )
    ]
    terms = [
        (i.term, f"{i.size} × {i.size}", str(i.levels), ("" if i.exact else "≤ ") + str(i.freedom), _fewest_links(i))
        for i in information
    ]
    lines: list[RenderableType] = [
        Text(f"{design.spec}"),
        Text(f"{len(design.units)} units, {design.n_records} records; likelihood engine: {cost.engine}"),
        *(Text(line) for line in cost.lines),
        table("Traits", ("trait", "records", "mean", "sd after fixed effects"), records, ("trait",)),
        table(
            "Covariance matrices",
            ("term", "matrix", "levels", "degrees of freedom", "fewest links between two traits"),
            terms,
            ("term",),
        ),
    ]
    notes = [Text(f"note: {note}", style="cyan") for note in design.notes]
    warnings = [Text(f"beware: {w}", style="yellow") for i in information for w in i.warnings]
    return Group(*lines, *notes, *warnings)


def _fewest_links(information: TermInformation) -> str:
    if information.size == 1:
        return "–"
    return str(int(information.links[np.tril_indices(information.size, -1)].min()))


def reml_report(fit: RemlFit) -> RenderableType:
    """Show variance components, fixed effects and the likelihood of a REML fit."""
    varcomp = [
        (
            row["term"],
            _reml_label(fit, row),
            number(row["component"], 7),
            number(row["std_error"]),
            number(row["z_ratio"], 3),
            row["constraint"],
        )
        for _, row in fit.varcomp.iterrows()
    ]
    fixed = [
        (row["trait"], row["effect"], number(row["estimate"], 6), number(row["std_error"]))
        for _, row in fit.fixed.iterrows()
    ]
    state = "converged" if fit.converged else "NOT converged"
    boundary = f"; on the boundary: {', '.join(f'{n} (rank {fit.ranks[n]})' for n in fit.at_boundary)}"
    return Group(
        table(
            "REML variance components",
            ("term", "component", "estimate", "s.e.", "z", "constraint"),
            varcomp,
            ("term", "component", "constraint"),
        ),
        table("Fixed effects", ("trait", "effect", "estimate", "s.e."), fixed, ("trait", "effect")),
        Text(
            f"logLik {fit.loglik:.3f}, {fit.n_parameters} covariance parameters, AIC {fit.aic:.1f}, BIC {fit.bic:.1f}; "
            f"{state} in {fit.iterations} iterations, {fit.engine.name} engine" + (boundary if fit.at_boundary else "")
        ),
    )


def _reml_label(fit: RemlFit, row: pd.Series) -> str:
    structure = fit.design.structure(row["term"])
    kind = "correlation" if structure.reports_correlations else "covariance"
    return component_label(pd.concat([row, pd.Series({"parameter": kind})]))


def parameter_report(title: str, frame: pd.DataFrame) -> Table:
    """Show genetic parameters or variance components, of REML or of a posterior."""
    if "estimate" in frame:
        columns: tuple[str, ...] = ("estimate", "std_error")
    else:
        columns = ("mean", "sd", "hdi_low", "hdi_high", "ess_bulk", "r_hat")
    what = "parameter" if "parameter" in frame else "term"
    rows = [
        (
            str(row[what]),
            row["trait_i"] if row["trait_i"] == row["trait_j"] else f"{row['trait_i']}, {row['trait_j']}",
            *(number(row[c], 4) for c in columns),
        )
        for _, row in frame.iterrows()
    ]
    return table(title, (what, "trait", *columns), rows, (what, "trait"))


def trajectory_report(frame: pd.DataFrame) -> Table:
    """Genetic parameters at the points of a covariate, or of environments."""
    columns = ("estimate", "std_error") if "estimate" in frame else ("median", "sd", "hdi_low", "hdi_high")
    rows = [
        (
            row["parameter"],
            row["trait_i"],
            number(row["at"], 6) if isinstance(row["at"], float) else str(row["at"]),
            *(number(row[c], 4) for c in columns),
        )
        for _, row in frame.iterrows()
    ]
    words = ("parameter", "trait")
    return table("Along the covariate", (*words, "at", *columns), rows, words)


def comparison_report(frame: pd.DataFrame) -> Table:
    """REML and posterior of every (co)variance and correlation, side by side."""
    rows = [
        (
            row["term"],
            component_label(row),
            number(row["reml"]),
            number(row["std_error"], 3),
            number(row["median"]),
            f"{number(row['hdi_low'], 3)} … {number(row['hdi_high'], 3)}",
            number(round(row["ess_bulk"]) if np.isfinite(row["ess_bulk"]) else np.nan, 6),
            row["verdict"],
        )
        for _, row in frame.iterrows()
    ]
    columns = ("term", "component", "REML", "s.e.", "median", "95 % HDI", "ESS", "verdict")
    return table("REML beside the posterior", columns, rows, ("term", "component", "verdict"))


def models_report(frame: pd.DataFrame) -> RenderableType:
    """REML fits side by side, with what their likelihood ratios were referred to."""
    rows = [
        (
            row["model"],
            f"{row['loglik']:.3f}",
            str(row["parameters"]),
            f"{row['aic']:.1f}",
            f"{row['bic']:.1f}",
            row["against"],
            *(
                (number(row["statistic"]), str(row["df"]), number(row["p_value"], 3))
                if row["against"]
                else ("", "", "")
            ),
        )
        for _, row in frame.iterrows()
    ]
    columns = ("model", "logLik", "parameters", "AIC", "BIC", "against", "LR", "df", "p")
    tested = frame[frame["against"] != ""]
    notes = [
        Text(f"{row['model']} against {row['against']}: {row['reference']}", style="cyan")
        for _, row in tested.iterrows()
    ]
    return Group(table("Models, REML", columns, rows, ("model", "against")), *notes)


def priors_in_words(trace: xr.DataTree) -> dict[str, str]:
    """Say each prior once, with the terms that share it."""
    words: dict[str, list[str]] = {}
    for name, prior in json.loads(trace.attrs["prior_words"]).items():
        words.setdefault(prior, []).append(name)
    return {", ".join(names): prior for prior, names in words.items()}


def convergence_report(verdict: Convergence) -> Text:
    """Say whether the sampler converged."""
    return Text(str(verdict), style="green" if verdict.converged else "bold red")
