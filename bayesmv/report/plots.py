"""Pictures: posteriors with REML drawn in, matrices, curves, breeding values, responses, residuals.

Every function draws into the axes that it is given, or into a new figure, returns the axes, and writes the figure where
a path is given (PNG, PDF, SVG by its ending). Trace, rank and energy plots are ArviZ's: they take the trace as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtri

from bayesmv.arrays import Array, BoolArray
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.design.design import Design
from bayesmv.errors import SpecError, require_known
from bayesmv.estimates.breeding_values import breeding_values
from bayesmv.estimates.components import correlation_matrix
from bayesmv.estimates.pairwise import Pairwise
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.estimates.profile import Profile
from bayesmv.estimates.residuals import Kind, residuals
from bayesmv.estimates.selection import selection
from bayesmv.estimates.source import estimates_of
from bayesmv.estimates.trajectory import Points, trajectory
from bayesmv.numerics.symmetric import correlation
from bayesmv.reml.result import RemlFit
from bayesmv.report.style import (
    AS_IT_IS,
    PAGE,
    POSTERIOR,
    PRIOR,
    REML,
    SERIES,
    density,
    given,
    new_figure,
    panels,
    product,
    save,
    squared,
    tidy,
    with_unit,
)
from bayesmv.report.tables import setting_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Traits up to which every variance and correlation has a panel of its own.
_PANELLED = 4
#: Most traits that are named along an axis.
_NAMES = 60
#: Quantile of a normal distribution that ends a 95 % interval.
_REACH = float(ndtri(0.975))


def plot_comparison(
    trace: xr.DataTree,
    reml: RemlFit,
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw the posterior of every variance and correlation with the REML estimate and its 95 % interval.

    Up to four traits every variance and correlation has a panel: the posterior density, which ends where the parameter
    ends, its 95 % HDI shaded; REML ± 1.96 standard errors, clipped to [-1, 1] for correlations. With more traits a
    panel for each term holds intervals, a line a parameter, standard deviations in phenotypic ones.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    reml
        REML fit of the same model.
    path
        Where to write the picture; None for nowhere.
    axes
        Axes to draw into, one for each panel.

    Returns
    -------
    list of Axes

    Raises
    ------
    SpecError
        If trace and fit are of different models, or the axes are not as many as the panels.
    """
    frame = compare_reml(trace, reml)
    largest = max(len(reml.record.effects_of(name)) for name in reml.record.names)
    if largest > _PANELLED:
        return _forest(frame, reml, path, axes)
    rows = frame[frame["parameter"] != "covariance"]
    drawn = _axes(axes, len(rows))
    for ax, (_, row) in zip(drawn, rows.iterrows(), strict=True):
        _panel(ax, _draws(trace, row), row, reml.record.spec.units)
    _name_colours(drawn[0])
    save(drawn, path)
    return drawn


def _axes(axes: Sequence[Axes] | None, n: int, **words: Any) -> list[Axes]:
    """Axes that were given, which must be n, or those of a new figure."""
    if axes is None:
        return panels(n, **words)[1]
    drawn = list(np.asarray(axes, dtype=object).reshape(-1))
    if len(drawn) != n:
        raise SpecError(f"{len(drawn)} axes for {n} panels; give one for each")
    return drawn


def _draws(trace: xr.DataTree, row: pd.Series[Any]) -> Array:
    """Draws of a variance or correlation of a table's row."""
    estimates = estimates_of(trace)
    S = estimates.covariances()[row["term"]]
    effects = estimates.record.effects_of(row["term"])
    i, j = effects.index(row["trait_i"]), effects.index(row["trait_j"])
    matrix = correlation(S) if row["parameter"] == "correlation" else S
    return np.asarray(matrix[..., i, j].reshape(-1))


def _bounds(parameter: str) -> tuple[float, float]:
    if parameter == "correlation":
        return -1.0, 1.0
    return (0.0, np.inf) if parameter == "variance" else (-np.inf, np.inf)


def _panel(ax: Axes, draws: Array, row: pd.Series[Any], units: Mapping[str, str]) -> None:
    low, high = _bounds(row["parameter"])
    grid, height = density(draws, low, high)
    ax.plot(grid, height, color=POSTERIOR, linewidth=1.2)
    inside = (grid >= row["hdi_low"]) & (grid <= row["hdi_high"])
    ax.fill_between(grid, height, where=inside.tolist(), color=POSTERIOR, alpha=0.2, linewidth=0)
    if np.isfinite(row["reml"]):
        ax.axvline(row["reml"], color=REML, linewidth=1.2)
    if np.isfinite(row["std_error"]) and row["std_error"] > 0:
        reach = _REACH * row["std_error"]
        ax.axvspan(max(row["reml"] - reach, low), min(row["reml"] + reach, high), color=REML, alpha=0.12, linewidth=0)
    traits = [str(row[side]).split(":")[0] for side in ("trait_i", "trait_j")]
    title = f"{row['term']}: {_pair(row['trait_i'], row['trait_j'])}"
    label = "correlation" if row["parameter"] == "correlation" else with_unit("variance", product(units, *traits))
    ax.set_ylim(bottom=0)
    ax.set_yticks([])
    if row["parameter"] == "correlation":
        ax.set_xlim(-1, 1)
        ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    else:
        ax.set_xlim(0, max(float(np.quantile(draws, 0.995)), 1.05 * row["reml"] if np.isfinite(row["reml"]) else 0.0))
        ax.locator_params(axis="x", nbins=4)
    tidy(ax, title, label).spines["left"].set_visible(False)


def _name_colours(ax: Axes) -> None:
    """Say once what the colours stand for, above all panels."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=POSTERIOR), Line2D([], [], color=REML)]
    words = ["posterior, 95 % HDI shaded", "REML ± 1.96 s.e."]
    ax.figure.legend(lines, words, loc="outside upper center", ncols=2, fontsize=8, frameon=False)


def _forest(frame: pd.DataFrame, reml: RemlFit, path: str | Path | None, axes: Sequence[Axes] | None) -> list[Axes]:
    """A panel for each term: intervals of standard deviations and correlations, a line each."""
    terms = list(dict.fromkeys(frame["term"]))
    kinds = [("variance", "sd / phenotypic sd"), ("correlation", "correlation")]
    lines = {kind: max(1, int((frame["parameter"] == kind).groupby(frame["term"]).sum().max())) for kind, _ in kinds}
    if axes is None:
        height = min(PAGE[1], 1.2 + 0.16 * sum(lines.values()))
        figure = new_figure(PAGE[0], height)
        ratios = [lines[kind] + 2 for kind, _ in kinds]
        drawn = list(figure.subplots(2, len(terms), squeeze=False, height_ratios=ratios).reshape(-1))
    else:
        drawn = _axes(axes, 2 * len(terms))
    for place, (kind, label) in enumerate(kinds):
        for column, term in enumerate(terms):
            ax = drawn[place * len(terms) + column]
            rows = frame[(frame["term"] == term) & (frame["parameter"] == kind)].reset_index(drop=True)
            _intervals(ax, rows, reml, kind, names=column == 0)
            tidy(ax, term if place == 0 else "", label)
    _name_colours(drawn[0])
    save(drawn, path)
    return drawn


def _intervals(ax: Axes, rows: pd.DataFrame, reml: RemlFit, kind: str, names: bool) -> None:
    y = -np.arange(len(rows), dtype=float)
    values = {c: rows[c].to_numpy(dtype=float) for c in ("median", "hdi_low", "hdi_high", "reml", "std_error")}
    low, high = values["reml"] - _REACH * values["std_error"], values["reml"] + _REACH * values["std_error"]
    if kind == "correlation":
        low, high = np.clip(low, -1, 1), np.clip(high, -1, 1)
        ax.set_xlim(-1, 1)
        ax.axvline(0, color="0.8", linewidth=0.6)
    else:
        term = rows["term"][0]
        unit = dict(zip(reml.record.effects_of(term), reml.record.effect_scale(term), strict=True))
        scale = rows["trait_i"].map(unit).to_numpy(dtype=float)
        for name in ("median", "hdi_low", "hdi_high", "reml"):
            values[name] = np.sqrt(np.maximum(values[name], 0.0)) / scale
        low, high = (np.sqrt(np.maximum(end, 0.0)) / scale for end in (low, high))
        ax.set_xlim(left=0)
    ax.hlines(y + 0.14, values["hdi_low"], values["hdi_high"], color=POSTERIOR, linewidth=1.4)
    ax.plot(values["median"], y + 0.14, "o", color=POSTERIOR, markersize=2.5)
    ax.hlines(y - 0.18, low, high, color=REML, linewidth=1.0)
    ax.plot(values["reml"], y - 0.18, "s", color=REML, markersize=2.2)
    labels = [_pair(a, b) for a, b in zip(rows["trait_i"], rows["trait_j"], strict=True)]
    ax.set_yticks(y.tolist(), labels if names else [""] * len(labels), **AS_IT_IS)
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    ax.tick_params(axis="y", labelsize=6, length=0)


def plot_trajectory(
    source: Any,
    genetic: str | None = None,
    at: Points = None,
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    **words: Any,
) -> list[Axes]:
    """Draw genetic variance, heritability and genetic correlation along a covariate, or of each environment.

    Parameters
    ----------
    source, genetic, at, words
        See :func:`bayesmv.trajectory`.
    path
        Where to write the picture; None for nowhere.
    axes
        Axes to draw into, one for each parameter.

    Returns
    -------
    list of Axes
        One a parameter; REML ± 1.96 standard errors, or posterior medians with 95 % HDI.
    """
    estimates = estimates_of(source)
    table, units = trajectory(source, genetic, at, **words), estimates.record.spec.units
    basis = estimates.layouts[estimates.genetic(genetic, words.get("relationship")).term].resolved
    along = ", ".join(() if basis is None else basis.columns)
    names = list(dict.fromkeys(table["parameter"]))
    drawn, curves = _axes(axes, len(names), width=2.5, height=2.6), {}
    numeric = pd.api.types.is_numeric_dtype(table["at"])
    for ax, name in zip(drawn, names, strict=True):
        for k, (trait, rows) in enumerate(table[table["parameter"] == name].groupby("trait_i", sort=False)):
            curves[str(trait)] = _curve(ax, rows, SERIES[k % len(SERIES)])
        one = next(iter(units.values()), "") if len(set(units.values())) == 1 else ""
        label = with_unit(name, squared(one)) if "variance" in name else name
        tidy(ax, "", along, label)
        if not numeric:
            sites = list(dict.fromkeys(table["at"]))
            ax.set_xticks(range(len(sites)), sites, rotation=90, **AS_IT_IS)
    if len(curves) > 1:
        # A label that begins with an underscore is none to Matplotlib; the names are written in afterwards.
        legend = drawn[-1].legend(curves.values(), map(str, range(len(curves))), fontsize=7, frameon=False)
        for text, trait in zip(legend.get_texts(), curves, strict=True):
            text.set(text=trait, **AS_IT_IS)
    save(drawn, path)
    return drawn


def _curve(ax: Axes, rows: pd.DataFrame, colour: str) -> Any:
    """Draw a curve with its band, or points with their bars, and return what stands for them in a legend."""
    if "estimate" in rows:
        middle, reach = rows["estimate"], _REACH * rows["std_error"].fillna(0.0)
        low, high = middle - reach, middle + reach
    else:
        middle, low, high = rows["median"], rows["hdi_low"], rows["hdi_high"]
    if pd.api.types.is_numeric_dtype(rows["at"]):
        (line,) = ax.plot(rows["at"], middle, color=colour)
        ax.fill_between(rows["at"], low, high, color=colour, alpha=0.2, linewidth=0)
        return line
    return ax.errorbar(range(len(rows)), middle, [middle - low, high - middle], fmt="o", markersize=4, color=colour)


def plot_correlations(source: Any, term: str, path: str | Path | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the correlations among the effects of a term, such as environments, as a heat map.

    Parameters
    ----------
    source
        A REML fit, or a posterior (its medians are drawn).
    term
        Name of the term.
    path
        Where to write the picture; None for nowhere.
    ax
        Axes to draw into.
    """
    table = correlation_matrix(source, term)
    size = min(1.6 + 0.45 * len(table), PAGE[0] - 0.6)
    ax = given(ax, size + 0.6, size)
    matrix = table.to_numpy(dtype=float)
    image = ax.imshow(matrix, vmin=-1.0, vmax=1.0, cmap="PuOr")
    ax.set_xticks(range(len(table)), table.columns.tolist(), rotation=90, **AS_IT_IS)
    ax.set_yticks(range(len(table)), table.index.tolist(), **AS_IT_IS)
    small = 7 if len(table) <= 12 else 5
    for (i, j), r in np.ndenumerate(matrix):
        ax.text(j, i, f"{r:.2f}", ha="center", va="center", fontsize=small, color="white" if abs(r) > 0.75 else "black")
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    tidy(ax, f"Correlations of {term}")
    save(ax, path)
    return ax


def plot_pairwise(
    found: Pairwise,
    path: str | Path | None = None,
    *,
    column: str = "correlation",
    ax: Axes | None = None,
) -> Axes:
    """Draw the correlations of all pairs of traits as a heat map, traits in the order of their clustering.

    Parameters
    ----------
    found
        From :func:`bayesmv.pairwise`.
    path
        Where to write the picture; None for nowhere.
    column
        The correlations to draw: ``correlation``, ``median`` or ``residual``.
    ax
        Axes to draw into.
    """
    table = found.clustered(column)
    ax = given(ax, PAGE[0], PAGE[0] - 0.6)
    image = ax.imshow(table.to_numpy(dtype=float), vmin=-1.0, vmax=1.0, cmap="PuOr", interpolation="nearest")
    every = -(-len(table) // _NAMES)
    places = range(0, len(table), every)
    small = {"fontsize": 7 if len(places) <= 30 else 5} | AS_IT_IS
    ax.set_xticks(places, table.columns[::every].tolist(), rotation=90, **small)
    ax.set_yticks(places, table.index[::every].tolist(), **small)
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    tidy(ax, f"Correlations of {found.term} between {len(table)} traits")
    save(ax, path)
    return ax


def plot_study(
    summary: pd.DataFrame,
    path: str | Path | None = None,
    *,
    parameters: Sequence[str] | None = None,
    level: float = 0.95,
) -> list[Axes]:
    """Draw how often the intervals of every method hold the truth, of all data sets, a panel a parameter.

    Parameters
    ----------
    summary
        From :func:`bayesmv.study_summary`.
    path
        Where to write the picture; None for nowhere.
    parameters
        The parameters to draw; by default all.
    level
        Level of the intervals.
    """
    chosen = list(dict.fromkeys(summary["parameter"])) if parameters is None else list(parameters)
    labelled = summary.assign(
        method_of=(summary["method"] + " " + summary["prior"].where(summary["prior"] != "default", "")).str.strip(),
        place=setting_words(summary),
    )
    places, methods = list(dict.fromkeys(labelled["place"])), list(dict.fromkeys(labelled["method_of"]))
    height = 1.2 + 0.22 * len(places) * (len(methods) + 1)
    axes = new_figure(PAGE[0], min(height, PAGE[1])).subplots(1, len(chosen), sharey=True, squeeze=False)
    for ax, parameter in zip(axes[0], chosen, strict=True):
        for m, method in enumerate(methods):
            mine = labelled[(labelled["parameter"] == parameter) & (labelled["method_of"] == method)]
            y = [places.index(p) * (len(methods) + 1) + m for p in mine["place"]]
            reach = 1.96 * mine["covered_of_all_mc"]
            ax.errorbar(mine["covered_of_all"], y, xerr=reach, fmt="o", markersize=3, color=f"C{m}", label=method)
        ax.axvline(level, color=PRIOR, linewidth=1, linestyle="--")
        ax.set_xlim(right=1.03)
        ax.set_xlim(left=max(ax.get_xlim()[0], -0.03))
        ax.set_xlabel("share that holds the truth", fontsize=8)
        tidy(ax, parameter)
    middle = 0.5 * (len(methods) - 1)
    axes[0, 0].set_yticks([i * (len(methods) + 1) + middle for i in range(len(places))], places, **AS_IT_IS)
    axes[0, 0].invert_yaxis()
    axes[0, -1].legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(axes[0, 0], path)
    return list(axes[0])


def plot_plan(
    frame: pd.DataFrame,
    path: str | Path | None = None,
    *,
    parameter: str = "genetic correlation",
    axes: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the expected standard error of a quantity against the sizes of two factors, as contours.

    Parameters
    ----------
    frame
        ``table`` of a :class:`bayesmv.Plan`; averaged over traits, truths and other factors.
    path
        Where to write the picture; None for nowhere.
    parameter
        The quantity; the first there is, if it is not there.
    axes
        The two factors; by default the first two whose sizes vary.
    ax
        Axes to draw into.

    Raises
    ------
    SpecError
        If fewer than two factors vary.
    """
    chosen = parameter if (frame["parameter"] == parameter).any() else str(frame["parameter"].iloc[0])
    mine = frame[frame["parameter"] == chosen]
    truths = {"heritability", "genetic_correlation", "residual_correlation"}
    names = [n.removeprefix("at_") for n in map(str, mine.columns) if n.startswith("at_")]
    varied = [n for n in names if n not in truths and len(mine[f"at_{n}"].drop_duplicates()) > 1]
    if axes is None and len(varied) < 2:
        raise SpecError("contours need two factors whose sizes vary, such as family = [10, 20, 40], block = [2, 4]")
    across, up = axes if axes is not None else (varied[0], varied[1])
    grid = mine.pivot_table(index=f"at_{up}", columns=f"at_{across}", values="std_error", aggfunc="mean")
    ax = given(ax, 6.0, 4.5)
    lines = ax.contour(grid.columns.to_numpy(), grid.index.to_numpy(), grid.to_numpy(), levels=10, cmap="viridis")
    ax.clabel(lines, fontsize=8)
    ax.plot(mine[f"at_{across}"], mine[f"at_{up}"], ".", color=PRIOR, markersize=3)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(grid.columns.tolist(), [f"{x:g}" for x in grid.columns], minor=False)
    ax.set_yticks(grid.index.tolist(), [f"{y:g}" for y in grid.index], minor=False)
    ax.minorticks_off()
    ax.set_xlabel(across)
    ax.set_ylabel(up)
    tidy(ax, f"Expected standard error of the {chosen}")
    save(ax, path)
    return ax


def plot_profile(found: Profile, path: str | Path | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw |ζ| of a profile likelihood, what it would be were the likelihood quadratic, and the interval.

    A V with straight sides is an estimate whose standard error says all; bent sides are what it leaves out.

    Parameters
    ----------
    found
        From :func:`bayesmv.profile`.
    path
        Where to write the picture; None for nowhere.
    ax
        Axes to draw into.
    """
    ax = given(ax, 6.0, 4.0)
    table = found.table
    quantile = float(ndtri(0.5 + 0.5 * found.level))
    ax.plot(table["value"], table["zeta"].abs(), color=POSTERIOR, marker="o", markersize=3, label="profile")
    if np.isfinite(found.std_error):
        ax.plot(table["value"], table["wald"].abs(), color=REML, linestyle="--", linewidth=1, label="standard error")
    ax.hlines(quantile, found.low, found.high, color=POSTERIOR, linewidth=4, alpha=0.3)
    ax.set_ylim(0.0, 1.3 * quantile)
    ax.set_xlabel(found.quantity)
    ax.set_ylabel("|ζ|")
    ax.legend(frameon=False)
    tidy(ax, f"{100 * found.level:g} % profile interval {found.low:.3g} to {found.high:.3g}")
    save(ax, path)
    return ax


def plot_ellipses(
    sources: Any,
    traits: tuple[str, str] | None = None,
    term: str | None = None,
    path: str | Path | None = None,
    *,
    ax: Axes | None = None,
    max_draws: int = 60,
) -> Axes:
    """Draw covariance matrices of two traits as ellipses that hold 95 % of the effects.

    Parameters
    ----------
    sources
        A REML fit or posterior, or several by name. Of posteriors some draws are drawn thinly, and their mean.
    traits
        The two effects; by default the first two.
    term
        The term; by default the genetic one.
    path
        Where to write the picture; None for nowhere.
    ax
        Axes to draw into.
    max_draws
        Most draws of a posterior to draw.

    Raises
    ------
    SpecError
        If the term has one effect, or an effect does not exist.
    """
    named = sources if isinstance(sources, dict) else {"": sources}  # a DataTree is a Mapping too
    ax = given(ax)
    circle = np.linspace(0.0, 2.0 * np.pi, 120)
    ring = np.sqrt(5.991) * np.stack([np.cos(circle), np.sin(circle)])  # 95 % of a chi-square on 2 df
    labels: tuple[str, str] = ("", "")
    units: Mapping[str, str] = {}
    for k, (name, source) in enumerate(named.items()):
        estimates = estimates_of(source)
        chosen = term if term is not None else estimates.genetic().term
        effects, units = estimates.record.effects_of(chosen), estimates.record.spec.units
        if len(effects) < 2:
            raise SpecError(f"'{chosen}' has one effect; an ellipse needs two")
        labels = traits or (effects[0], effects[1])
        require_known(labels, effects, f"'{chosen}' has no effect {{}}; effects")
        at = [effects.index(label) for label in labels]
        S = estimates.covariances()[chosen][..., at, :][..., at].reshape(-1, 2, 2)
        colour = SERIES[k % len(SERIES)] if len(named) > 1 else (POSTERIOR if estimates.fit is None else REML)
        if len(S) > 1:
            for draw in S[np.unique(np.linspace(0, len(S) - 1, max_draws).astype(int))]:
                ax.plot(*(_half(draw) @ ring), color=colour, alpha=0.12, linewidth=0.6)
        ax.plot(*(_half(S.mean(axis=0)) @ ring), color=colour, linewidth=1.8, label=name or None)
    if len(named) > 1:
        ax.legend(fontsize=7, frameon=False)
    ax.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    ax.axvline(0, color="0.85", linewidth=0.6, zorder=0)
    words = [with_unit(label, units.get(label.split(":")[0], "")) for label in labels]
    tidy(ax, "", f"effect on {words[0]}", f"effect on {words[1]}")
    save(ax, path)
    return ax


def _half(S: Array) -> Array:
    values, vectors = np.linalg.eigh(S)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def plot_effects(
    source: Any,
    term: str,
    path: str | Path | None = None,
    *,
    design: Design | None = None,
    most: int = 60,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw effects of levels in order, with their 95 % intervals: a caterpillar for each trait.

    Parameters
    ----------
    source
        A REML fit, or a posterior.
    term
        Name of the random term.
    path
        Where to write the picture; None for nowhere.
    design
        For a posterior that holds no draws of the effects.
    most
        Levels that are drawn: the highest and the lowest of more.
    axes
        Axes to draw into, one for each effect.
    """
    table, units = breeding_values(source, term, design=design), estimates_of(source).record.spec.units
    effects = list(dict.fromkeys(table["trait"]))
    n_levels = table["level"].nunique()
    shown = min(n_levels, most)
    drawn = _axes(axes, len(effects), width=2.5, height=min(1.0 + 0.13 * shown, PAGE[1] - 0.5))
    for ax, effect in zip(drawn, effects, strict=True):
        rows = table[table["trait"] == effect].sort_values("rank", kind="stable")
        if n_levels > most:
            rows = pd.concat([rows.head(most - most // 2), rows.tail(most // 2)])
        value = rows["blup" if "blup" in rows else "mean"].to_numpy()
        if "hdi_low" in rows:
            low, high = rows["hdi_low"].to_numpy(), rows["hdi_high"].to_numpy()
        else:
            error = rows["std_error" if "std_error" in rows else "sd"].to_numpy()
            low, high = value - _REACH * error, value + _REACH * error
        y = -np.arange(len(rows))
        colour = REML if "blup" in rows else POSTERIOR
        ax.axvline(0, color="0.8", linewidth=0.6)
        ax.hlines(y, low, high, color=colour, linewidth=1.0)
        ax.plot(value, y, "o", color=colour, markersize=2.5)
        ax.set_yticks(y.tolist(), [str(level) for level in rows["level"]], **AS_IT_IS)
        tidy(ax, "", with_unit(f"effect on {effect}", units.get(str(effect).split(":")[0], "")))
        ax.tick_params(axis="y", labelsize=5.5, length=0)
        ax.set_ylim(-len(rows) + 0.3, 0.7)
    save(drawn, path)
    return drawn


def plot_response(
    source: Any, *args: Any, path: str | Path | None = None, ax: Axes | None = None, **words: Any
) -> Axes:
    """Draw the response of every trait to selection, in additive genetic standard deviations, with 95 % intervals.

    Parameters
    ----------
    source, args, words
        As for :func:`bayesmv.selection`.
    path
        Where to write the picture; None for nowhere.
    ax
        Axes to draw into.
    """
    table = selection(source, *args, **words)
    rows = table[table["quantity"] == "response by sd"].reset_index(drop=True)
    ax = given(ax, 4.0, 1.0 + 0.3 * len(rows))
    y = -np.arange(len(rows))
    if "estimate" in rows:
        middle, reach, colour = rows["estimate"], _REACH * rows["std_error"].fillna(0.0), REML
        low, high = middle - reach, middle + reach
    else:
        middle, low, high, colour = rows["median"], rows["hdi_low"], rows["hdi_high"], POSTERIOR
    ax.axvline(0, color="0.8", linewidth=0.6)
    ax.hlines(y, low, high, color=colour, linewidth=1.6)
    ax.plot(middle, y, "o", color=colour, markersize=4)
    ax.set_yticks(y.tolist(), [str(trait) for trait in rows["trait"]], **AS_IT_IS)
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    tidy(ax, "", "response (additive genetic sd)")
    save(ax, path)
    return ax


def plot_residuals(
    source: Any,
    kind: Kind = "conditional",
    path: str | Path | None = None,
    *,
    design: Design | None = None,
    by: str | None = None,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw standardised residuals of every trait: against normal quantiles, against fitted values, and by a factor.

    Parameters
    ----------
    source
        A REML fit, or a posterior (at its mean covariances).
    kind
        As for :func:`bayesmv.residuals`.
    path
        Where to write the picture; None for nowhere.
    design
        For a posterior: its design.
    by
        Random term whose levels the residuals are drawn by; by default the first with at most 40 levels.
    axes
        Axes to draw into, three for each trait, two without such a term.
    """
    estimates = estimates_of(source)
    own = estimates.design_of(design)
    table = residuals(source, kind, design=design)
    if by is None:
        by = next((term.name for term in own.terms if len(term.levels) <= 40 and len(term.bearers) == 1), None)
    each = 2 if by is None else 3
    drawn = _axes(axes, each * len(own.traits), across=each)
    for t, trait in enumerate(own.traits):
        rows = table[table["trait"] == trait]
        z, out = rows["standardised"].to_numpy(), rows["outlier"].to_numpy()
        first, second, *third = drawn[each * t : each * (t + 1)]
        _normal_quantiles(first, z, out)
        tidy(first, str(trait), "normal quantile", "standardised residual")
        second.axhline(0, color="0.8", linewidth=0.6)
        second.plot(rows["fitted"][~out], z[~out], ".", color=POSTERIOR, markersize=2.5)
        second.plot(rows["fitted"][out], z[out], "x", color=REML, markersize=4)
        tidy(second, "", with_unit("fitted", own.spec.units.get(trait, "")), "standardised residual")
        if third and by is not None:
            _by_level(third[0], own, by, t, z)
    save(drawn, path)
    return drawn


def _normal_quantiles(ax: Axes, z: Array, out: BoolArray) -> None:
    order = np.argsort(z)
    q = ndtri((np.arange(len(z)) + 0.5) / len(z))
    ax.plot(q[[0, -1]], q[[0, -1]], color="0.7", linewidth=0.8)
    ax.plot(q[~out[order]], z[order][~out[order]], ".", color=POSTERIOR, markersize=2.5)
    ax.plot(q[out[order]], z[order][out[order]], "x", color=REML, markersize=4)


def _by_level(ax: Axes, design: Design, by: str, t: int, z: Array) -> None:
    term = design.term(by)
    bearer = term.bearers[0].tocsr()[design.observed[:, t]]
    used = [k for k in range(len(term.levels)) if bearer[:, [k]].nnz]
    groups = [z[bearer[:, [k]].nonzero()[0]] for k in used]
    ax.axhline(0, color="0.8", linewidth=0.6)
    ax.boxplot(groups, widths=0.6, showfliers=False, medianprops={"color": REML}, boxprops={"linewidth": 0.7})
    ax.set_xticks(range(1, len(used) + 1), [str(term.levels[k]) for k in used], rotation=90, **AS_IT_IS)
    tidy(ax, "", by, "standardised residual")
    ax.tick_params(axis="x", labelsize=5.5)


def plot_field(
    source: Any,
    row: Any,
    column: Any,
    trait: str | None = None,
    kind: Kind = "conditional",
    path: str | Path | None = None,
    *,
    design: Design | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw standardised residuals of a trait where their units stood in the field.

    Parameters
    ----------
    source
        A REML fit, or a posterior.
    row, column
        Row and column of every unit of the design (n,), numbers.
    trait
        The trait; by default the first.
    kind
        As for :func:`bayesmv.residuals`.
    path
        Where to write the picture; None for nowhere.
    design
        For a posterior: its design.
    ax
        Axes to draw into.

    Raises
    ------
    SpecError
        If there are not as many places as units, or the trait does not exist.
    """
    own = estimates_of(source).design_of(design)
    trait = own.traits[0] if trait is None else trait
    require_known([trait], own.traits, "no trait {}; traits")
    places = [np.asarray(x, dtype=float) for x in (row, column)]
    if any(len(x) != len(own.units) for x in places):
        raise SpecError(f"{len(places[0])} rows and {len(places[1])} columns for {len(own.units)} units")
    z = residuals(source, kind, design=design).query("trait == @trait")["standardised"].to_numpy()
    seen = own.observed[:, own.traits.index(trait)]
    ax = given(ax, 5.0, 4.0)
    limit = max(3.0, float(np.abs(z).max()))
    spots = ax.scatter(places[1][seen], places[0][seen], c=z, cmap="PuOr", vmin=-limit, vmax=limit, marker="s", s=14)
    bar = ax.figure.colorbar(spots, ax=ax, shrink=0.8)
    bar.set_label("standardised residual", fontsize=8)
    ax.invert_yaxis()
    tidy(ax, trait, "column", "row")
    save(ax, path)
    return ax


def plot_prior(
    prior: xr.DataTree,
    posterior: xr.DataTree | None = None,
    path: str | Path | None = None,
    *,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw what the priors say: heritabilities, repeatabilities, genetic correlations, and the spread of records.

    Parameters
    ----------
    prior
        From :func:`bayesmv.prior_predictive`.
    posterior
        A posterior of the same model, to be drawn beside it.
    path
        Where to write the picture; None for nowhere.
    axes
        Axes to draw into, one for each panel.
    """
    names = ("heritability", "repeatability", "genetic correlation")
    record = estimates_of(prior).record
    values: list[tuple[str, str, Array, Array | None]] = []
    if record.genetic is not None:
        found = _genetic_draws(prior)
        beside = {} if posterior is None else _genetic_draws(posterior)
        values = [(n, t, x, beside.get((n, t))) for (n, t), x in found.items() if n in names]
    else:
        for term in record.names:
            r = correlation(estimates_of(prior).covariances()[term])
            effects = record.effects_of(term)
            values += [
                ("correlation", f"{term}: {effects[j]}, {effects[i]}", r[..., i, j].reshape(-1), None)
                for i in range(len(effects))
                for j in range(i)
            ]
    spread = prior["prior_predictive"].to_dataset() if "prior_predictive" in prior.children else xr.Dataset()
    drawn = _axes(axes, len(values) + len(spread.data_vars))
    for ax, (name, label, x, other) in zip(drawn, values, strict=False):
        low, high = (-1.0, 1.0) if "correlation" in name else (0.0, np.inf)
        for draws, colour in ((x, PRIOR), (other, POSTERIOR)):
            if draws is not None:
                grid, height = density(draws[np.isfinite(draws)], low, high)
                ax.plot(grid, height, color=colour, linewidth=1.2)
                ax.fill_between(grid, height, color=colour, alpha=0.15, linewidth=0)
        ax.set_ylim(bottom=0)
        ax.set_yticks([])
        ax.set_xlim(low, high if np.isfinite(high) else float(np.quantile(x, 0.99)))
        tidy(ax, label, name).spines["left"].set_visible(False)
    observed = prior["observed_data"].to_dataset() if spread.data_vars else xr.Dataset()
    for ax, trait in zip(drawn[len(values) :], map(str, spread.data_vars), strict=True):
        sds = spread[trait].std(dim=str(spread[trait].dims[2])).to_numpy().reshape(-1)
        grid, height = density(np.log10(sds[sds > 0]))
        ax.plot(10.0**grid, height, color=PRIOR, linewidth=1.2)
        ax.set_xscale("log")
        ax.axvline(float(observed[trait].std()), color=REML, linewidth=1.2)
        ax.set_yticks([])
        ax.set_ylim(bottom=0)
        label = with_unit("sd of records; observed: line", record.spec.units.get(trait, ""))
        tidy(ax, trait, label).spines["left"].set_visible(False)
    save(drawn, path)
    return drawn


def _genetic_draws(source: xr.DataTree) -> dict[tuple[str, str], Array]:
    """Draws of the genetic parameters of a posterior or prior, by name and trait."""
    from bayesmv.estimates.genetic import parameters

    estimates = estimates_of(source)
    chosen = estimates.genetic()
    found = parameters(
        estimates.covariances(),
        estimates.traits,
        chosen,
        terms=chosen.phenotypic,
        same_subject=estimates.record.same_subject(chosen.term),
        records=estimates.records_per_level(chosen.term),
        layouts=estimates.layouts,
    )
    return {(p.name, _pair(p.trait_i, p.trait_j)): p.draws.reshape(-1) for p in found}


def _pair(one: object, other: object) -> str:
    """Label of one trait, or of two."""
    return str(one) if one == other else f"{one}, {other}"


def plot_parameters(
    sources: Mapping[str, Any],
    parameter: str = "heritability",
    path: str | Path | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw a genetic parameter of several fits or posteriors side by side, with 95 % intervals.

    Parameters
    ----------
    sources
        Fits and posteriors by name.
    parameter
        ``heritability``, ``genetic correlation`` or another of :func:`bayesmv.genetic_parameters`.
    path
        Where to write the picture; None for nowhere.
    ax
        Axes to draw into.

    Raises
    ------
    SpecError
        If no source has the parameter.
    """
    tables = {name: genetic_parameters(source) for name, source in sources.items()}
    known = dict.fromkeys(p for table in tables.values() for p in table["parameter"])
    require_known([parameter], known, "no genetic parameter {}; parameters")
    labels: dict[str, int] = {}
    parts = []
    for k, (name, table) in enumerate(tables.items()):
        rows = table[table["parameter"] == parameter]
        for _, row in rows.iterrows():
            label = _pair(row["trait_i"], row["trait_j"])
            labels.setdefault(label, len(labels))
            parts.append((k, name, labels[label], row))
    ax = given(ax, 4.5, 1.0 + 0.25 * len(labels) * len(tables))
    step = 0.7 / max(len(tables), 1)
    for k, name, place, row in parts:
        y = -place - step * (k - 0.5 * (len(tables) - 1))
        if "estimate" in row and np.isfinite(row.get("estimate", np.nan)):
            middle, reach = row["estimate"], _REACH * np.nan_to_num(row["std_error"])
            low, high = middle - reach, middle + reach
        else:
            middle, low, high = row["median"], row["hdi_low"], row["hdi_high"]
        colour = SERIES[k % len(SERIES)]
        ax.hlines(y, low, high, color=colour, linewidth=1.5)
        ax.plot([middle], [y], "o", color=colour, markersize=4, label=name if place == 0 else None)
    ax.set_yticks([-place for place in labels.values()], list(labels), **AS_IT_IS)
    ax.legend(fontsize=7, frameon=False)
    tidy(ax, "", parameter)
    save(ax, path)
    return ax
