"""Pictures: posterior densities with REML drawn in, curves along covariates, heat maps of correlations."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.design.saved import write_whole
from bayesmv.estimates.components import correlation_matrix
from bayesmv.estimates.trajectory import Points, trajectory
from bayesmv.reml.result import RemlFit
from bayesmv.report.tables import component_label
from bayesmv.sampling.trace import draws_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POSTERIOR, _REML = "#2b6cb0", "#c05621"
#: Names of users stand as they are: a dollar sign begins no formula.
_AS_IT_IS: dict[str, Any] = {"parse_math": False}


def _save(figure: Figure, path: str | Path | None) -> None:
    """Write a figure whole or not at all; a script that the font lacks is drawn as boxes, without a word."""
    if path is None:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        write_whole(path, lambda part: figure.savefig(part, dpi=130))


def plot_comparison(trace: xr.DataTree, reml: RemlFit, path: str | Path | None = None) -> Figure:
    """Draw the posterior density of every (co)variance and correlation with the REML estimate ± 2 standard errors.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    reml
        REML fit of the same model.
    path
        Where to write the picture (PNG, PDF, SVG by its ending); None for nowhere.

    Returns
    -------
    Figure
        One row of panels a term.
    """
    from matplotlib.figure import Figure

    frame = compare_reml(trace, reml)
    terms = list(dict.fromkeys(frame["term"]))
    width = int(frame.groupby("term").size().max())
    figure = Figure(figsize=(2.6 * width, 2.3 * len(terms) + 0.6), layout="constrained")
    panels = figure.subplots(len(terms), width, squeeze=False)
    for axes, term in zip(panels, terms, strict=True):
        rows = frame[frame["term"] == term]
        for ax, (_, row) in zip(axes, rows.iterrows(), strict=False):
            _panel(ax, _draws(trace, row), row)
        for ax in axes[len(rows) :]:
            ax.set_axis_off()
    figure.suptitle("Posterior (blue, 95 % HDI shaded) and REML ± 2 s.e. (orange)", fontsize=10)
    _save(figure, path)
    return figure


def plot_trajectory(
    source: Any,
    genetic: str | None = None,
    at: Points = None,
    path: str | Path | None = None,
    **words: Any,
) -> Figure:
    """Draw genetic variance, heritability and genetic correlation along a covariate, or of each environment.

    Parameters
    ----------
    source, genetic, at, words
        See :func:`bayesmv.trajectory`.
    path
        Where to write the picture (PNG, PDF, SVG by its ending); None for nowhere.

    Returns
    -------
    Figure
        One panel a parameter; REML ± 2 standard errors, or posterior medians with 95 % HDI.
    """
    from matplotlib.figure import Figure

    table = trajectory(source, genetic, at, **words)
    names = list(dict.fromkeys(table["parameter"]))
    figure = Figure(figsize=(3.2 * len(names), 3.0), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        drawn = {
            str(trait): _curve(ax, rows)
            for trait, rows in table[table["parameter"] == name].groupby("trait_i", sort=False)
        }
        ax.set_title(name, fontsize=9, **_AS_IT_IS)
        ax.tick_params(labelsize=7)
        if not pd.api.types.is_numeric_dtype(table["at"]):
            sites = list(dict.fromkeys(table["at"]))
            ax.set_xticks(range(len(sites)), sites, rotation=90, **_AS_IT_IS)
    if len(drawn) > 1:
        # A label that begins with an underscore is none to Matplotlib; the names are written in afterwards.
        legend = ax.legend(drawn.values(), map(str, range(len(drawn))), fontsize=7)
        for text, trait in zip(legend.get_texts(), drawn, strict=True):
            text.set(text=trait, **_AS_IT_IS)
    _save(figure, path)
    return figure


def _curve(ax: Any, rows: pd.DataFrame) -> Any:
    """Draw a curve with its band, or points with their bars, and return what stands for them in a legend."""
    if "estimate" in rows:
        middle, reach = rows["estimate"], 2.0 * rows["std_error"].fillna(0.0)
        low, high = middle - reach, middle + reach
    else:
        middle, low, high = rows["median"], rows["hdi_low"], rows["hdi_high"]
    if pd.api.types.is_numeric_dtype(rows["at"]):
        (line,) = ax.plot(rows["at"], middle)
        ax.fill_between(rows["at"], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        return line
    return ax.errorbar(range(len(rows)), middle, [middle - low, high - middle], fmt="o", markersize=4)


def plot_correlations(source: Any, term: str, path: str | Path | None = None) -> Figure:
    """Draw the correlations among the effects of a term, such as environments, as a heat map.

    Parameters
    ----------
    source
        A REML fit, or a posterior (its medians are drawn).
    term
        Name of the term.
    path
        Where to write the picture (PNG, PDF, SVG by its ending); None for nowhere.
    """
    from matplotlib.figure import Figure

    table = correlation_matrix(source, term)
    size = 1.6 + 0.55 * len(table)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    ax = figure.subplots()
    matrix = table.to_numpy(dtype=float)
    image = ax.imshow(matrix, vmin=-1.0, vmax=1.0, cmap="RdBu_r")
    ax.set_xticks(range(len(table)), table.columns, rotation=90, fontsize=8, **_AS_IT_IS)
    ax.set_yticks(range(len(table)), table.index, fontsize=8, **_AS_IT_IS)
    for (i, j), r in np.ndenumerate(matrix):
        ax.text(j, i, f"{r:.2f}", ha="center", va="center", fontsize=7, color="white" if abs(r) > 0.6 else "black")
    figure.colorbar(image, ax=ax, shrink=0.8)
    ax.set_title(f"Correlations of {term}", fontsize=9, **_AS_IT_IS)
    _save(figure, path)
    return figure


def _draws(trace: xr.DataTree, row: pd.Series) -> Array:
    name = dims.correlation_name if row["parameter"] == "correlation" else dims.covariance_name
    draws = draws_of(trace, name(row["term"]))
    i, j = draws.dims[2], draws.dims[3]
    return np.asarray(draws.sel({i: row["trait_i"], j: row["trait_j"]}).to_numpy().reshape(-1))


def _panel(ax: Any, draws: Array, row: pd.Series) -> None:
    from arviz_stats.base import array_stats

    draws = draws[np.isfinite(draws)]
    bound = (
        (-1.0, 1.0) if row["parameter"] == "correlation" else (0.0, None) if row["parameter"] == "variance" else None
    )
    kept = draws[(draws >= np.quantile(draws, 0.001)) & (draws <= np.quantile(draws, 0.995))]
    grid, density, _ = array_stats.kde(kept, bound_correction=bound is not None)
    ax.plot(grid, density, color=_POSTERIOR)
    inside = (grid >= row["hdi_low"]) & (grid <= row["hdi_high"])
    ax.fill_between(grid, density, where=inside, color=_POSTERIOR, alpha=0.2, linewidth=0)
    if np.isfinite(row["reml"]):
        ax.axvline(row["reml"], color=_REML, linewidth=1.5)
    if np.isfinite(row["std_error"]) and row["std_error"] > 0:
        span = row["reml"] - 2 * row["std_error"], row["reml"] + 2 * row["std_error"]
        ax.axvspan(*span, color=_REML, alpha=0.12, linewidth=0)
    if row["parameter"] == "correlation":
        ax.set_xlim(-1, 1)
        ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    ax.set_yticks([])
    ax.tick_params(labelsize=7)
    ax.set_title(f"{row['term']}: {component_label(row)}", fontsize=8, **_AS_IT_IS)
