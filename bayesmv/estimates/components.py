"""Tables of variance components, genetic parameters and breeding values, from REML fits and from posteriors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.covariance import Array, packed_rows, vech
from bayesmv.design.design import Design
from bayesmv.design.effect_layout import Layout
from bayesmv.errors import SpecError
from bayesmv.estimates.genetic import Parameter, parameters
from bayesmv.model.spec import Genetic, read_genetic
from bayesmv.reml.delta import standard_error
from bayesmv.reml.fit import RemlFit
from bayesmv.sampling.convergence import draw_statistics, draws_of
from bayesmv.sampling.effects import effect_moments, scaled_draws
from bayesmv.sampling.ess import shortest_interval
from bayesmv.sampling.sample import records_per_level

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


def axis_labels(array: xr.DataArray, axis: int) -> list[str]:
    """Labels of one axis of an array."""
    return [str(label) for label in array.coords[array.dims[axis]].to_numpy()]


def term_names(trace: xr.DataTree) -> tuple[str, ...]:
    """Names of the covariance matrices of a posterior, residual last."""
    return tuple(json.loads(trace.attrs["structures"]))


@singledispatch
def variance_components(source: Any) -> pd.DataFrame:
    """Table of variances and covariances of all terms, in the units of the data.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.

    Returns
    -------
    DataFrame
        term, trait_i, trait_j and, for REML, component, std_error, z_ratio, constraint; for a posterior, mean,
        median, sd, hdi_low, hdi_high (95 %), ess_bulk, ess_tail, r_hat.
    """
    raise TypeError(f"expected a RemlFit or a posterior DataTree, not {type(source).__name__}")


@variance_components.register
def _(source: RemlFit) -> pd.DataFrame:
    return source.varcomp


@variance_components.register
def _(source: xr.DataTree) -> pd.DataFrame:
    rows = []
    for name in term_names(source):
        draws = draws_of(source, dims.covariance_name(name))
        labels = axis_labels(draws, 2)
        for i, j in zip(*packed_rows(len(labels)), strict=True):
            values = draws.to_numpy()[..., i, j]
            if i == j or np.any(values):
                rows.append({"term": name, "trait_i": labels[j], "trait_j": labels[i]} | describe(values))
    return pd.DataFrame(rows)


def genetic_parameters(
    source: RemlFit | xr.DataTree,
    genetic: str | Genetic | None = None,
    *,
    relationship: str | None = None,
    phenotypic: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Additive genetic variances, heritabilities and correlations.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    genetic
        The genetic term; by default the one that the model names.
    relationship
        Relationship among the levels of the term: ``animal`` (V_A = σ²), ``half-sib`` (4σ²), ``full-sib`` (2σ²),
        ``family-mean`` … See :class:`bayesmv.Genetic`.
    phenotypic
        Terms that make up the phenotypic variance; by default those that the model states, else all.

    Returns
    -------
    DataFrame
        parameter, trait_i, trait_j and estimate, std_error (delta method) for REML; mean, median, sd, … for a
        posterior.

    Raises
    ------
    SpecError
        If no genetic term is known.
    """
    if not isinstance(source, RemlFit | xr.DataTree):
        raise TypeError(f"expected a RemlFit or a posterior DataTree, not {type(source).__name__}")
    spec_genetic = chosen_genetic(source, genetic, relationship)

    def compute(covariances: Mapping[str, Array]) -> list[Parameter]:
        return parameters(
            covariances,
            trait_names(source),
            spec_genetic,
            terms=phenotypic or spec_genetic.phenotypic,
            same_subject=same_subject(source, spec_genetic.term),
            records=_records(source, spec_genetic.term),
            layouts=layouts(source),
        )

    return tabulate(source, compute)


def tabulate(source: RemlFit | xr.DataTree, compute: Callable[[Mapping[str, Array]], list[Parameter]]) -> pd.DataFrame:
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


def layouts(source: RemlFit | xr.DataTree) -> dict[str, Layout]:
    """How the effects of each random term, and of grouped residuals, make up a record."""
    if isinstance(source, RemlFit):
        return source.design.layouts
    return {name: Layout.from_mapping(entry) for name, entry in json.loads(source.attrs["layouts"]).items()}


def _posterior_rows(
    trace: xr.DataTree, compute: Callable[[Mapping[str, Array]], list[Parameter]]
) -> list[dict[str, object]]:
    covariances = {name: draws_of(trace, dims.covariance_name(name)).to_numpy() for name in term_names(trace)}
    return [
        {"parameter": p.name, "trait_i": p.trait_i, "trait_j": p.trait_j, **describe(p.draws)}
        for p in compute(covariances)
    ]


def _delta(fit: RemlFit, compute: Callable[[Mapping[str, Array]], list[Parameter]]) -> list[dict[str, object]]:
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


def breeding_values(
    source: RemlFit | xr.DataTree, term: str, *, design: Design | None = None, max_draws: int = 400
) -> pd.DataFrame:
    """Predicted effects of the levels of a term (breeding values for a genetic one).

    Parameters
    ----------
    source
        A REML fit (BLUPs), or a posterior.
    term
        Name of the random term.
    design
        For a posterior that holds no draws of these effects: its design, to accumulate their moments over draws of the
        covariances without storing any.
    max_draws
        Most draws of the covariances to accumulate over, evenly spaced.

    Returns
    -------
    DataFrame
        level, trait and, for REML, blup, std_error, reliability, accuracy; for a posterior, mean, sd and, from a
        design, reliability ``1 - var / (σ² K_ii)`` and accuracy (its square root), from draws, hdi_low, hdi_high.

    Raises
    ------
    SpecError
        If the posterior holds no draws of these effects and no design is given.
    """
    if isinstance(source, RemlFit):
        return source.effects(term)
    if design is not None:
        return _accumulated(source, term, design, max_draws)
    name = dims.effect_name(term)
    if name not in source["posterior"].to_dataset():
        raise SpecError(
            f"the posterior holds no effects of '{term}'; give design=…, or sample again with effects=['{term}']"
        )
    draws = draws_of(source, name)
    flat = draws.to_numpy().reshape(-1, *draws.shape[2:])
    low, high = shortest_interval(flat, HDI)
    columns = {"mean": flat.mean(axis=0), "sd": flat.std(axis=0, ddof=1), "hdi_low": low, "hdi_high": high}
    return _by_level(axis_labels(draws, 2), axis_labels(draws, 3), columns)


def _accumulated(trace: xr.DataTree, term: str, design: Design, max_draws: int) -> pd.DataFrame:
    part = design.term(term)
    mean, variance, prior = effect_moments(design, scaled_draws(trace, design, max_draws), term)
    reliability = 1.0 - variance / prior
    columns = {"mean": mean, "sd": np.sqrt(variance), "reliability": reliability}
    columns["accuracy"] = np.sqrt(np.maximum(reliability, 0.0))
    return _by_level(part.levels, part.effects, columns)


def _by_level(levels: Sequence[Any] | pd.Index, effects: Sequence[str], columns: Mapping[str, Array]) -> pd.DataFrame:
    """Long table of (levels, effects) arrays."""
    labels = {"level": np.repeat(np.asarray(levels), len(effects)), "trait": np.tile(np.asarray(effects), len(levels))}
    return pd.DataFrame(labels | {name: values.reshape(-1) for name, values in columns.items()})
