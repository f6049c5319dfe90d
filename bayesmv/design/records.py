"""The records of the traits: read as numbers, and judged fit to estimate variances from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.covariance import CovarianceBlocks
from bayesmv.design.fixed import FixedDesign
from bayesmv.design.written import to_numbers
from bayesmv.errors import DataError, listing, rows_of
from bayesmv.numerics.dependence import FEW, projection
from bayesmv.relationship.labels import NOT_RECORDED, as_text, is_from_file

#: Share of a trait's variance after fixed effects that is taken for rounding: a trait in other units, with decimals.
_ROUNDING = 1e-8
#: Most traits of which all threes are tried.
_MOST_TRIED = 20


def read_traits(
    traits: Sequence[str], data: pd.DataFrame, missing: Sequence[str] | None = None, notes: list[str] | None = None
) -> Array:
    """Read the traits as numbers, (n, t), NaN where missing.

    Parameters
    ----------
    traits
        Names of the columns.
    data
        The table.
    missing
        Codes that mean missing. None refuses values that look like codes, an empty sequence does not.
    notes
        To which it is added what was read as missing.

    Raises
    ------
    DataError
        If a trait is not numeric, infinite, constant, missing on all units, or has values that look like codes.
    """
    told: list[str] = [] if notes is None else notes
    columns = [_numeric(data[trait], trait, missing or (), told) for trait in traits]
    if missing is None or missing:
        _refuse_codes(traits, columns, missing or (), told)
    return np.column_stack(columns)


def _numeric(column: pd.Series[Any], trait: str, missing: Sequence[str], notes: list[str]) -> Array:
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise DataError(f"the trait '{trait}' holds dates; turn it into a number, such as days after 1 January")
    if pd.api.types.is_complex_dtype(column) or isinstance(column.dtype, pd.PeriodDtype):
        raise DataError(f"the trait '{trait}' holds {column.dtype} values; turn them into numbers")
    values = to_numbers(column).to_numpy(dtype=float, na_value=np.nan)
    bad = np.isnan(values) & column.notna().to_numpy() & ~_is_code(column, missing)
    values = _without_codes(column, np.array(values), trait, missing, notes)
    if bad.any():
        words = column[bad]
        point = _with_commas(words.astype(str))
        lines = f" ({rows_of(words.index)})" if is_from_file(column) else ""
        raise DataError(
            f"the trait '{trait}' is not numeric: {listing(words.unique())} in {len(words)} rows{lines}; "
            f"leave a record that is missing empty{point}"
        )
    if np.isinf(values).any():
        raise DataError(f"the trait '{trait}' is infinite in rows {rows_of(column.index[np.isinf(values)])}")
    seen = values[~np.isnan(values)]
    if not len(seen):
        raise DataError(f"the trait '{trait}' was not recorded on any unit")
    if np.ptp(seen) == 0:
        raise DataError(
            f"the trait '{trait}' is constant ({seen[0]:g} on all {len(seen)} units); it has no variance to estimate"
        )
    return values


def _with_commas(words: pd.Series[Any]) -> str:
    """Remedy for numbers with commas, which may be decimal marks or stand between thousands."""
    either = words[words.str.fullmatch(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+")]
    if len(either):
        first = either.iloc[0]
        return (
            f"; '{first}' may be {first.replace(',', '')} or {first.replace(',', '.')}: say under [read] of the model "
            'file thousands = "," or decimal = ","'
        )
    return "; write decimals with a point" if words.str.fullmatch(r"[-+]?\d+,\d+").any() else ""


def _is_code(column: pd.Series[Any], missing: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which cells are words for missing, or codes as written."""
    if pd.api.types.is_numeric_dtype(column):
        return np.zeros(len(column), dtype=np.bool_)
    texts = column.astype(str).str.strip()
    words = texts.isin(list(missing)) | texts.str.lower().isin(list(NOT_RECORDED))
    return np.asarray((words & column.notna()).to_numpy(), dtype=np.bool_)


def _without_codes(
    column: pd.Series[Any], values: Array, trait: str, missing: Sequence[str], notes: list[str]
) -> Array:
    """Values with NaN for codes, and a note that counts them; empty cells are no codes."""
    numbers = pd.to_numeric(pd.Series(list(missing), dtype=object), errors="coerce").dropna().to_numpy(dtype=float)
    coded = np.isin(values, numbers) | _is_code(column, missing)
    counts = Counter(as_text(code).strip() for code in column[coded])
    counts.pop("", None)
    if counts:
        words = ", ".join(f"{word!r} in {count}" for word, count in counts.items())
        notes.append(f"{words} records of '{trait}' read as missing")
    values[coded] = np.nan
    return values


# Codes are told from records by four signs: the value is one that is in use as a code (nines, eights, -1, the limits of
# whole numbers); it is there several times; it lies outside all other values; and it lies away from them by more than
# they spread, or below zero where no other value is and the others are close to each other.
#: Values that are codes: 9, -99, 999.9, 8888, -1, 32767.
_CODE = re.compile(r"-?9+(\.9+)?|-?8{3,}|-1|-?32767|-32768|-?2147483647|-2147483648")
#: Number from which on equal values are many; standard deviations that few and many of them are away at the least.
_MANY, _FEW_AWAY, _MANY_AWAY = 5, 5.0, 2.5
#: The same as a share of the range of the others.
_RANGE_AWAY = 0.75
#: The same in largest steps between the others on that side: below zero where these are not, and elsewhere.
_STEPS_BELOW_ZERO, _STEPS = 2.0, 4.0
#: Different values that the others have at the least where the code is -1, which scores may be, or 0.
_VARIED = 10
#: How far 0 is from all others, in their standard deviations and as a share of their range, to be worth a note.
_ZERO_AWAY, _ZERO_RANGE = 2.0, 0.3


def _suspects(trait: str, values: Array, missing: Sequence[str], notes: list[str]) -> dict[str, int]:
    """Values that look like codes for missing, as text, and how many there are of each; a note of those that may be."""
    found, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    low, high = 0, len(found)
    while low < high and found[low] < 0 and _CODE.fullmatch(f"{found[low]:.10g}"):
        low += 1
    while high > low and found[high - 1] > 0 and _CODE.fullmatch(f"{found[high - 1]:.10g}"):
        high -= 1
    rest, weights = found[low:high], counts[low:high]
    if len(rest) < 2:
        return {}
    out, once = {}, []
    for k in (*range(low), *range(high, len(found))):
        code, count = f"{found[k]:.10g}", int(counts[k])
        if count > 1 and _is_apart(found[k], rest, weights, count):
            out[code] = count
        elif count == 1 and abs(found[k]) > _VARIED and _is_apart(found[k], rest, weights, count):
            once.append(code)
    if once:
        notes.append(f"{listing(once).replace("'", '')} of '{trait}', far from all others, kept as a record")
    rest, weights = found[found != 0], counts[found != 0]
    gap = np.abs(rest).min()
    one_sign = len(rest) < len(found) and len(rest) >= _VARIED and np.ptp(np.sign(rest)) == 0
    if one_sign and gap > max(_ZERO_AWAY * _spread(rest, weights), _ZERO_RANGE * np.ptp(rest)):
        zeros = int(counts[found == 0][0])
        notes.append(
            f"0 in {zeros} records of '{trait}', far from all others ({rest[0]:g} to {rest[-1]:g}), kept: if it "
            f"means missing, say missing = [{', '.join(map(_quoted, [*missing, '0']))}]"
        )
    return out


def _is_apart(code: float, rest: Array, weights: IntArray, count: int) -> bool:
    """Whether a code lies so far outside the other values (sorted, with their numbers) that it is none of them."""
    gap = max(rest[0] - code, code - rest[-1])
    if abs(code) == 1.0 and len(rest) < _VARIED:
        return False
    spread, many = _spread(rest, weights), count >= _MANY
    if gap > (_MANY_AWAY if many else _FEW_AWAY) * spread and gap > _RANGE_AWAY * np.ptp(rest):
        return True
    half = len(rest) // 2
    between = np.diff(rest[: half + 1] if code < rest[0] else rest[half:]).max(initial=0.0)
    if code < 0.0 and rest[0] >= 0.0:
        return bool(count > 1 and gap > (_STEPS_BELOW_ZERO if code < -1.0 else _STEPS) * between)
    return bool(many and gap > _MANY_AWAY * spread and gap > _STEPS * between)


def _spread(values: Array, weights: IntArray) -> float:
    """Standard deviation of values that are there several times."""
    mean = np.average(values, weights=weights)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _quoted(code: str) -> str:
    """Code as a model file has it: a number as it is, a word in quotes."""
    return code if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", code) else f'"{code}"'


def _refuse_codes(traits: Sequence[str], columns: Sequence[Array], missing: Sequence[str], notes: list[str]) -> None:
    """Refuse traits with values that look like codes for missing ones, all in one message."""
    found = {trait: _suspects(trait, column, missing, notes) for trait, column in zip(traits, columns, strict=True)}
    words = [f"{code} in {n} records of '{trait}'" for trait, codes in found.items() for code, n in codes.items()]
    if words:
        asked = dict.fromkeys([*missing, *(code for codes in found.values() for code in codes)])
        raise DataError(
            f"values far from all others look like codes for missing records: {', '.join(words)}; add "
            f"missing = [{', '.join(map(_quoted, asked))}] to the model file (missing=[...] in Python), or missing = "
            "[] if they are records"
        )


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
    left: dict[bytes, Array] = {}
    observed = ~np.isnan(response)
    if t > _MOST_TRIED and observed.all():
        sets = _suspects_among_many(response - projection(fixed.working, response))
    else:
        sets = {(*range(j), j) for j in range(1, t)} | set(combinations(range(t), 2))
    if p <= FEW and t <= _MOST_TRIED:
        sets |= set(combinations(range(t), 3))
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


def _suspects_among_many(residuals: Array) -> set[tuple[int, ...]]:
    """Pairs and leading sets of many traits recorded on all units, (n, t), whose last may depend on the others.

    The diagonal of R in a QR decomposition is what each trait has beside all before it.
    """
    size = np.linalg.norm(residuals, axis=0)
    scaled = residuals / np.where(size > 0, size, 1.0)
    beside = np.abs(np.diag(np.linalg.qr(scaled, mode="r")))
    alike = np.tril(np.abs(scaled.T @ scaled), -1) > 1.0 - 10 * _ROUNDING
    leading = {(*range(j), j) for j in np.flatnonzero(beside**2 < 10 * _ROUNDING).tolist() if j > 0}
    return leading | {(j, i) for i, j in zip(*map(np.ndarray.tolist, np.nonzero(alike)), strict=True)}


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
