"""Types of arrays, and equality of what holds them; shapes stand in one-line comments and docstrings."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bayesmv.errors import DataError

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def as_frame(table: Any, what: str) -> pd.DataFrame:
    """Table of whatever library as a DataFrame of pandas: of polars, Arrow, or one that gives itself as Arrow.

    Raises
    ------
    DataError
        If it is no table; `what` it is to be, for the message.
    """
    if isinstance(table, pd.DataFrame):
        return table
    if hasattr(table, "__arrow_c_stream__"):
        import pyarrow as pa

        frame: pd.DataFrame = pa.table(table).to_pandas()
        return frame
    raise DataError(
        f"{what} must be a pandas DataFrame, not {type(table).__name__}; tables of polars and of Arrow will do too"
    )


class Shown:
    """Short summary in place of all fields where an object is printed; for dataclasses with ``repr=False``.

    A class says what there is to say in :meth:`summary`.
    """

    def summary(self) -> str:
        """Summary in a few lines."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


class ByContent:
    """Equality by content, for dataclasses (``eq=False``) that hold arrays, whose own equality is an array."""

    def __eq__(self, other: object) -> bool:
        """Whether all fields hold the same."""
        return same(self, other) if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        """Hash of what is cheap to hash: names and shapes."""
        words = [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
        return hash((type(self).__name__, *(w for w in words if isinstance(w, str)), *map(np.shape, _arrays(words))))


def _arrays(values: list[Any]) -> list[npt.NDArray[Any]]:
    return [value for value in values if isinstance(value, np.ndarray)]


def same(one: Any, other: Any) -> bool:
    """Whether two values hold the same, at any depth of sequences, mappings and dataclasses; NaN is NaN."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    if isinstance(one, pd.Index | pd.DataFrame):
        return bool(one.equals(other))
    if isinstance(one, sparse.sparray):
        matrices: Any = one, other
        return matrices[0].shape == matrices[1].shape and not (matrices[0] != matrices[1]).nnz
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one) if f.compare)
    return bool(one == other)
