"""One way to read results: a REML fit or a posterior."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import records_per_level
from bayesmv.design.effect_layout import EffectLayout
from bayesmv.errors import SpecError
from bayesmv.estimates.genetic import GeneticParameter
from bayesmv.model.genetic import Genetic, read_genetic
from bayesmv.numerics.symmetric import packed_rows, vech
from bayesmv.reml.delta import standard_error
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.convergence import draw_statistics
from bayesmv.sampling.ess import shortest_interval
from bayesmv.sampling.trace import axis_labels, draws_of, term_names

#: Probability of the highest-density intervals.
HDI = 0.95


def describe(draws: Array) -> dict[str, float]:
    """Mean, median, sd, highest-density interval, effective sizes and R-hat of draws (chains, draws)."""
    flat = draws[np.isfinite(draws)]
    if not flat.size:
        return dict.fromkeys(("mean", "median", "sd", "hdi_low", "hdi_high"), np.nan) | draw_statistics(draws)
    low, high = shortest_interval(flat, HDI)
    return {
        "mean": float(flat.mean()),
        "median": float(np.median(flat)),
        "sd": float(flat.std(ddof=1)) if flat.size > 1 else np.nan,
        "hdi_low": float(low),
        "hdi_high": float(high),
    } | draw_statistics(draws)


def tabulate(
    source: RemlFit | xr.DataTree, compute: Callable[[Mapping[str, Array]], list[GeneticParameter]]
) -> pd.DataFrame:
    """Table of functions of the covariance matrices: estimates with standard errors, or summaries of draws.

    Parameters
    ----------
    source
        A REML fit, or a posterior.
    compute
        The functions, of matrices (…, m, m) by name of the term.
    """
    return pd.DataFrame(_delta(source, compute) if isinstance(source, RemlFit) else _posterior_rows(source, compute))


def chosen_genetic(source: RemlFit | xr.DataTree, genetic: str | Genetic | None, relationship: str | None) -> Genetic:
    """Return the genetic term that is asked for, or the one that the model names."""
    stated = _stated_genetic(source)
    if isinstance(genetic, Genetic):
        return genetic
    if genetic is None and stated is None:
        raise SpecError("which term is genetic? give genetic='Family', relationship='half-sib', or a [genetic] table")
    term = genetic if genetic is not None else stated.term if stated is not None else ""
    if relationship is None and stated is not None and stated.term == term:
        return stated
    return Genetic(term=term, relationship=relationship or "animal")


def _stated_genetic(source: RemlFit | xr.DataTree) -> Genetic | None:
    if isinstance(source, RemlFit):
        return source.design.spec.genetic
    entry = json.loads(source.attrs.get("genetic", "null"))
    return None if entry is None else read_genetic(entry)


def trait_names(source: RemlFit | xr.DataTree) -> tuple[str, ...]:
    """Names of the traits."""
    if isinstance(source, RemlFit):
        return source.design.traits
    return tuple(axis_labels(source["observed_data"].to_dataset()["response"], 1))


def _records(source: RemlFit | xr.DataTree, term: str) -> Array | None:
    if isinstance(source, RemlFit):
        return records_per_level(source.design, term) if term in source.design.names else None
    constant = source["constant_data"].to_dataset()
    name = f"{term}_records"
    return np.asarray(constant[name].to_numpy()) if name in constant else None


def same_subject(source: RemlFit | xr.DataTree, term: str) -> tuple[str, ...]:
    """Terms on the same factor and traits as the genetic one: permanent environment."""
    if isinstance(source, RemlFit):
        factors = {t.name: [t.factor, t.traits] for t in source.design.spec.random}
    else:
        factors = json.loads(source.attrs["factors"])
    return tuple(name for name, factor in factors.items() if name != term and factor == factors.get(term))


def layouts(source: RemlFit | xr.DataTree) -> dict[str, EffectLayout]:
    """How the effects of each random term, and of grouped residuals, make up a record."""
    if isinstance(source, RemlFit):
        return source.design.layouts
    return {name: EffectLayout.from_mapping(entry) for name, entry in json.loads(source.attrs["layouts"]).items()}


def _posterior_rows(
    trace: xr.DataTree, compute: Callable[[Mapping[str, Array]], list[GeneticParameter]]
) -> list[dict[str, object]]:
    covariances = {name: draws_of(trace, dims.covariance_name(name)).to_numpy() for name in term_names(trace)}
    return [
        {"parameter": p.name, "trait_i": p.trait_i, "trait_j": p.trait_j, **describe(p.draws)}
        for p in compute(covariances)
    ]


def _delta(fit: RemlFit, compute: Callable[[Mapping[str, Array]], list[GeneticParameter]]) -> list[dict[str, object]]:
    """Estimates with standard errors by the delta method, ``var g = g' V g``, g by central differences."""
    V = fit.component_covariance
    variances = np.diag(V)
    steps = np.where(
        np.isnan(variances), 1e-6 * np.abs(vech(list(fit.covariances.values()))), np.sqrt(variances) * 1e-4
    )
    steps = np.maximum(steps, 1e-150)
    shifts = np.concatenate([np.zeros((1, len(V))), np.diag(steps), -np.diag(steps)])
    values = compute(_shifted(fit, shifts))
    rows: list[dict[str, object]] = []
    for p in values:
        estimate, up, down = p.draws[0], p.draws[1 : 1 + len(V)], p.draws[1 + len(V) :]
        g = (up - down) / (2 * steps)
        error = standard_error(V, g) if np.isfinite(g).all() else np.nan
        row = {"parameter": p.name, "trait_i": p.trait_i, "trait_j": p.trait_j, "estimate": float(estimate)}
        rows.append(row | {"std_error": error})
    return rows


def _shifted(fit: RemlFit, shifts: Array) -> dict[str, Array]:
    """Covariance matrices (shifts, m, m) with the stacked components moved by each row of `shifts`."""
    out = {}
    start = 0
    for name, sigma in fit.covariances.items():
        rows, cols = packed_rows(len(sigma))
        moved = np.repeat(sigma[None], len(shifts), axis=0)
        delta = shifts[:, start : start + len(rows)]
        moved[:, rows, cols] += delta
        off = rows != cols
        moved[:, cols[off], rows[off]] += delta[:, off]
        start += len(rows)
        out[name] = moved
    return out
