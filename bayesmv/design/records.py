"""The records of the traits: read as numbers, and judged fit to estimate variances from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceBlocks
from bayesmv.design.fixed import FixedDesign
from bayesmv.errors import DataError, listing
from bayesmv.numerics.dependence import FEW, projection

#: Share of a trait's variance after fixed effects that is taken for rounding: a trait in other units, with decimals.
_ROUNDING = 1e-8
#: Most traits of which all threes are tried.
_MOST_TRIED = 20


def read_traits(traits: Sequence[str], data: pd.DataFrame) -> Array:
    """Read the traits as numbers, (n, t), NaN where missing.

    Raises
    ------
    DataError
        If a trait is not numeric, infinite, constant, or missing on all units.
    """
    return np.column_stack([_numeric(data[trait], trait) for trait in traits])


def _numeric(column: pd.Series[Any], trait: str) -> Array:
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise DataError(f"the trait '{trait}' holds dates; turn it into a number, such as days after 1 January")
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    bad = column[np.isnan(values) & column.notna().to_numpy()]
    if len(bad):
        raise DataError(
            f"the trait '{trait}' is not numeric: {listing(bad.unique())} in {len(bad)} rows; "
            f"leave a record that is missing empty"
        )
    if np.isinf(values).any():
        raise DataError(f"the trait '{trait}' is infinite in rows {listing(column.index[np.isinf(values)])}")
    seen = values[~np.isnan(values)]
    if not len(seen):
        raise DataError(f"the trait '{trait}' was not recorded on any unit")
    if np.ptp(seen) == 0:
        raise DataError(
            f"the trait '{trait}' is constant ({seen[0]:g} on all {len(seen)} units); it has no variance to estimate"
        )
    return np.asarray(values)


def residual_sd(traits: Sequence[str], response: Array, fixed: FixedDesign) -> Array:
    """Residual standard deviation of each trait after ordinary least squares, (t,).

    Raises
    ------
    DataError
        If fixed effects use up the records of a trait or fit it exactly, or traits are linearly dependent.
    """
    records = (~np.isnan(response)).sum(axis=0)
    coefficients = fixed.present.sum(axis=0)
    for trait, n, p in zip(traits, records, coefficients, strict=True):
        if n <= p:
            raise DataError(
                f"the trait '{trait}' has {n} records for {p} fixed effects: nothing is left for variances; "
                f"use fewer fixed effects"
            )
    residuals = response - fixed.fitted
    spread = np.asarray(np.sqrt(np.nansum(residuals**2, axis=0) / (records - coefficients)))
    for trait, sd, largest in zip(traits, spread, np.nanmax(np.abs(response), axis=0), strict=True):
        if sd <= 1e-10 * largest:
            raise DataError(f"the fixed effects fit the trait '{trait}' exactly; it has no variance left to estimate")
    _check_dependence(traits, response, fixed)
    return spread


def _check_dependence(traits: Sequence[str], response: Array, fixed: FixedDesign) -> None:
    """Refuse traits that are, on the units that record them all, linear combinations of others and fixed effects.

    Combinations of two and three traits are tried on the units that record these, whatever else was recorded, and
    every trait on all before it.
    """
    t, p = len(traits), fixed.X.shape[1]
    sets = {(*range(j), j) for j in range(1, t)} | set(combinations(range(t), 2))
    if p <= FEW and t <= _MOST_TRIED:
        sets |= set(combinations(range(t), 3))
    left: dict[bytes, Array] = {}
    observed = ~np.isnan(response)
    for chosen in sorted(sets, key=lambda s: (len(s), s)):
        seen = observed[:, chosen].all(axis=1)
        W = fixed.working[seen]
        # Fixed effects that fit these few units leave nothing to judge by.
        if seen.sum() - (np.diff(sparse.csc_array(W).indptr) > 0).sum() <= len(chosen):
            continue
        key = seen.tobytes()
        if key not in left:
            recorded = np.where(observed[seen], response[seen], 0.0)
            left[key] = recorded - projection(W, recorded)
        _refuse_combination([traits[i] for i in chosen], left[key][:, chosen], response[np.ix_(seen, chosen)])


def _refuse_combination(traits: Sequence[str], residuals: Array, records: Array) -> None:
    """Refuse residuals (n, k) whose last column is a combination of the others."""
    size = np.linalg.norm(residuals, axis=0)
    if (size <= 1e-10 * np.linalg.norm(records, axis=0)).any():
        return
    scaled = residuals / size
    weights, *_ = np.linalg.lstsq(scaled[:, :-1], scaled[:, -1], rcond=None)
    if np.sum((scaled[:, -1] - scaled[:, :-1] @ weights) ** 2) < _ROUNDING:
        involved = [name for name, w in zip(traits[:-1], weights, strict=True) if abs(w) > 1e-4]
        raise DataError(
            f"the trait '{traits[-1]}' is a linear combination of {listing(involved)} after fixed effects; "
            f"take one of them out"
        )


def check_parameters(response: Array, fixed: FixedDesign, blocks: CovarianceBlocks) -> None:
    """Refuse a model with more covariance parameters than records.

    Raises
    ------
    DataError
        If there are.
    """
    free = int((~np.isnan(response)).sum() - fixed.present.sum())
    if free < blocks.n_parameters:
        raise DataError(
            f"{free} records after fixed effects are fewer than the {blocks.n_parameters} (co)variance parameters; "
            f"use fewer traits, fewer terms or simpler structures"
        )
