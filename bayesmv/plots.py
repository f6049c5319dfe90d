"""Pictures: posterior densities with the REML estimates drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.compare import compare_reml
from bayesmv.covariance import Array
from bayesmv.diagnostics import draws_of
from bayesmv.reml.fit import RemlFit
from bayesmv.report import component_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POSTERIOR, _REML = "#2b6cb0", "#c05621"


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
    if path is not None:
        figure.savefig(path, dpi=130)
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
    ax.set_title(f"{row['term']}: {component_label(row)}", fontsize=8)
