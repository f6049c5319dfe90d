"""Labels of levels, whole numbers or text: read, looked up, checked; 41, 41.0 and "41" are one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayesmv.arrays import IntArray
from bayesmv.errors import DataError, PedigreeError, listing

type Labels = pd.Index[Any]
type Notes = tuple[str, ...]

#: Most levels of a dense matrix that is made without their being named: 200 MB.
DENSE_LIMIT = 5_000
#: Number above which a floating one is not one whole number.
_EXACT_FLOATS = 2**53


def whole_numbers(numbers: npt.NDArray[np.number[Any]]) -> npt.NDArray[np.number[Any]]:
    """Ids as int64, or as they are if some are not whole; PedigreeError if some may be rounded."""
    if numbers.dtype.kind != "f":
        return numbers.astype(np.int64)
    large = numbers[np.abs(numbers) >= _EXACT_FLOATS]
    if large.size:
        raise PedigreeError(
            f"ids {listing(large)} are too large for a floating column, which rounds them; "
            "read the columns as text or as Int64"
        )
    return numbers.astype(np.int64) if (numbers == np.floor(numbers)).all() else numbers


def as_text(value: object) -> str:
    """Label as text; 41.0 is 41."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def find_labels(labels: Labels, wanted: Labels) -> IntArray:
    """Positions of the wanted ids in `labels`, -1 if absent; 41, 41.0 and "41" are equal."""
    if pd.api.types.is_numeric_dtype(labels.dtype):
        return labels.get_indexer(pd.Index(pd.to_numeric(wanted.to_series(), errors="coerce")))
    return labels.get_indexer(pd.Index([as_text(value) for value in wanted]))


def plain_labels(labels: Iterable[object]) -> Labels:
    """Labels as pedigrees keep theirs, numbers if all are and else text; none missing, none twice."""
    given = labels if isinstance(labels, pd.Index) else pd.Index(list(labels))
    index: Labels = given.infer_objects()
    if index.empty:
        raise DataError("there are no labels; a relationship has one level at least")
    if index.hasnans:
        raise DataError(f"labels are missing at positions {listing(np.flatnonzero(index.isna()))}; name every level")
    if pd.api.types.is_numeric_dtype(index.dtype) and not pd.api.types.is_bool_dtype(index.dtype):
        plain: Labels = pd.Index(whole_numbers(index.to_numpy()), name=index.name)
    else:
        plain = pd.Index([as_text(label) for label in index], name=index.name)
    if plain.has_duplicates:
        twice = plain[plain.duplicated()].unique()
        raise DataError(f"{len(twice)} labels stand more than once: {listing(twice)}; keep one row and column of each")
    return plain
