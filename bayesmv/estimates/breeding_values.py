"""Predicted effects of levels: breeding values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.estimates.source import HDI
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.effects import effect_moments
from bayesmv.sampling.ess import shortest_interval
from bayesmv.sampling.trace import axis_labels, draws_of, scaled_draws


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
