"""Numbers of text files: decimal commas and marks between thousands, told column by column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bayesmv.design.written import with_points
from bayesmv.model.reading import ReadOptions

#: Blanks and quotes that stand between thousands; the first two are typed, the others only formatted numbers have.
_SPACES = " '\u2019\u00a0\u202f"
FORMATTED = "\u00a0\u202f"


def _number(decimal: str, thousands: str) -> re.Pattern[str]:
    """Numbers with a decimal mark, and perhaps marks between thousands."""
    whole = rf"(?:\d+|[1-9]\d{{0,2}}(?:[{re.escape(thousands)}]\d{{3}})+)" if thousands else r"\d+"
    mark = re.escape(decimal)
    return re.compile(rf"[+-]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?")


def number_marks(
    table: Mapping[str, pd.Series[Any]], options: ReadOptions, words: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Decimal mark and mark between thousands of the columns of numbers that have others than a point.

    A column has them only if all its cells are numbers of one kind, but for `words`, and one of them cannot be read
    otherwise: ``3,45`` is no number of thousands, ``1.234,5`` no other. Where ``1,234`` might be both, the other
    columns of the table decide; if they do not, the column has none, and is refused where numbers are needed.

    Parameters
    ----------
    table
        Columns of text, NaN where missing.
    options
        Marks that were stated.
    words
        Words that may stand among numbers.
    """
    marked = {name: values for name, column in table.items() if (values := _marked(column, words)) is not None}
    kinds = {name: _kind(values, options) for name, values in marked.items()}
    decimals = {kind[0] for kind in kinds.values() if kind not in (None, _EITHER)}
    if _EITHER in kinds.values() and _has_points(table, marked):
        decimals.add(".")
    # 1,234 as in the other columns, if they are of one mind.
    either = {",": (",", ""), ".": (".", ",")}[decimals.pop()] if len(decimals) == 1 else None
    chosen = {name: either if kind == _EITHER else kind for name, kind in kinds.items()}
    return {name: kind for name, kind in chosen.items() if kind is not None}


def example(column: pd.Series[Any], marks: tuple[str, str]) -> str:
    """Cell of a column that its marks matter for, and the number that it is."""
    decimal, thousands = marks
    special = f"{thousands}{decimal.replace('.', '')}"
    shown = next(value for value in column.dropna() if any(mark in value for mark in special))
    return f"'{shown}' of '{column.name}' is the number {with_points(pd.Series([shown]), marks)[0]}"


def _has_points(table: Mapping[str, pd.Series[Any]], marked: Mapping[str, object]) -> bool:
    """Whether some column without other marks holds numbers with decimal points."""
    plain = (column.dropna() for name, column in table.items() if name not in marked)
    return any(len(column) and column.str.fullmatch(r"[+-]?\d+\.\d+").all() for column in plain)


def _marked(column: pd.Series[Any], words: Sequence[str]) -> list[str] | None:
    """Different numbers of a column that has some with other marks than a point; None for all other columns."""
    if not column.str.contains(rf"\d[,{_SPACES}]\d|^[+-]?,\d|\.\d+\.", regex=True, na=False).any():
        return None
    lower = {word.lower() for word in words}
    values = [value for value in column.dropna().unique().tolist() if value.lower() not in lower]
    loose = re.compile(rf"[+-]?[\d.,{_SPACES}]+(?:[eE][+-]?\d+)?")
    return values if all(loose.fullmatch(value) for value in values) else None


def _kind(values: Sequence[str], options: ReadOptions) -> tuple[str, str] | None:
    """Decimal mark and mark between thousands of a column; `_EITHER` where it may be more, None for neither."""
    if options.decimal is not None or options.thousands is not None:
        decimal, thousands = options.decimal or ".", options.thousands or ""
        return (decimal, thousands) if all(map(_number(decimal, thousands).fullmatch, values)) else None
    fits = [kind for kind in _TRIED if all(map(_number(*kind).fullmatch, values))]
    if not fits:
        return None
    readings = {tuple(with_points(pd.Series(list(values)), kind)) for kind in fits}
    return fits[0] if len(readings) == 1 else _EITHER


#: What 1,234 is of by itself.
_EITHER = ("?", ",")
#: Kinds of numbers that are recognised: decimal mark, mark between thousands.
_TRIED = ((",", ""), (",", "."), (".", ","), (",", FORMATTED), (".", FORMATTED))
