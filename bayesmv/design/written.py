"""Columns of a file by what they are used for: labels where factors need them, numbers where covariates do.

A table that was read from a file holds text as written (:func:`bayesmv.relationship.labels.is_from_file`). Its columns
become labels or numbers here, each where it is used, so that one column may be a factor in one term and a covariate in
another. Tables of Python come with types and are taken as they are.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.model.basis import Basis, Levels
from bayesmv.relationship.labels import factorise, is_from_file, is_missing_word


def as_labels(column: pd.Series[Any]) -> pd.Series[Any]:
    """Column as labels: of a file whole numbers, if all are written as such, else text; missing words are NaN."""
    if not is_from_file(column):
        return column
    codes, levels = factorise(column)
    whole = pd.api.types.is_integer_dtype(levels.dtype)
    gaps = bool((codes < 0).any())
    found: Any = levels.astype("Int64" if whole and gaps else levels.dtype).array
    return pd.Series(found.take(codes, allow_fill=gaps), index=column.index, name=column.name)


#: Attribute of a table of a file: decimal mark and mark between thousands of its columns of numbers, by column.
MARKS = "number marks"


def with_points(column: pd.Series[Any], marks: tuple[str, str]) -> pd.Series[Any]:
    """Numbers as text with points for a decimal mark, and without marks between thousands."""
    decimal, thousands = marks
    bare = column.str.replace(f"[{re.escape(thousands)}]", "", regex=True) if thousands else column
    return bare.str.replace(decimal, ".", regex=False)


def to_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Column as numbers, NaN where missing or not a number; those of a file by the marks that they are written with."""
    marks = column.attrs.get(MARKS, {}).get(column.name)
    return pd.to_numeric(column if marks is None else with_points(column, marks), errors="coerce")


def is_numeric_text(column: pd.Series[Any]) -> bool:
    """Whether every cell of a column of a file that is not missing is a number."""
    return bool(to_numbers(column[~is_missing_word(column)]).notna().all())


def as_numbers(column: pd.Series[Any]) -> Array:
    """Column of text as numbers (n,), NaN where missing or not a number."""
    return to_numbers(column.mask(is_missing_word(column))).to_numpy(dtype=float, na_value=np.nan)


def as_covariate(column: pd.Series[Any]) -> pd.Series[Any]:
    """Column as a fixed effect: of a file numbers if all its cells are, whole ones as such, else labels."""
    if not is_from_file(column) or not is_numeric_text(column):
        return as_labels(column)
    labels = as_labels(column)
    whole = pd.api.types.is_integer_dtype(labels.dtype) and not labels.isna().any()
    return labels if whole else pd.Series(as_numbers(column), index=column.index, name=column.name)


def basis_columns(basis: Basis, data: pd.DataFrame) -> pd.DataFrame:
    """Columns that a basis of random regression needs, as labels for environments and numbers for covariates."""
    if not is_from_file(data):
        return data
    environments = {part.column for part in basis.parts if isinstance(part, Levels)}
    return data.assign(**{n: as_labels(data[n]) if n in environments else as_covariate(data[n]) for n in basis.columns})
