"""Labels of levels: identifiers are text as written, and numbers only where each is written as a whole number is.

`001`, `1`, `1.0` and `1E0` are four labels. In tables of numbers 41 and 41.0 are one label, and it is the one that text
writes "41", no other text. Labels that are whole numbers throughout are kept, and ordered, as numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bayesmv.arrays import BoolArray, IntArray
from bayesmv.errors import LINE, DataError, PedigreeError, SpecError, listing

type Labels = pd.Index[Any]
type Notes = tuple[str, ...]

#: Most levels of a dense matrix that is made without their being named: 200 MB.
DENSE_LIMIT = 5_000
#: Number above which a floating one is not one whole number.
_EXACT_FLOATS = 2**53

#: Cells of a file that are missing, whatever the column is for.
MISSING_WORDS = frozenset(("", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null"))
MISSING_WORDS |= {"None", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", ".", "*"}
#: Words that mean missing among numbers, in lower case.
NOT_RECORDED = frozenset(word.lower() for word in MISSING_WORDS) | {"nd", "n.d.", "n.d", "n/d", "n.a.", "n.a", "nil"}
NOT_RECORDED |= {"-", "--", "---", "?", "??", "missing", "miss", "not recorded", "not measured", "no data", "nodata"}
NOT_RECORDED |= {"#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!", "#n/a!"}
#: Labels that no animal has, in lower case.
_NO_ANIMAL = frozenset(word.lower() for word in MISSING_WORDS if not word[:1].isdigit()) | {"-", "?", "n.a."}
#: Labels that stand for unknown parents where no animal of that label has a row of its own, in lower case.
_UNKNOWN = _NO_ANIMAL | {"-9", "-99", "-999", "unknown", "unk"}
_UNKNOWN_NUMBERS = (0, -9, -99, -999)
#: First characters of all these in either case, of blanks, and of nothing.
_FIRST = (
    frozenset(word[:1] for word in _UNKNOWN) | frozenset(word[:1].upper() for word in _UNKNOWN) | frozenset("0 \t\n")
)


def is_from_file(table: pd.DataFrame | pd.Series[Any]) -> bool:
    """Whether a table was read from a file, so that its cells are text as written there."""
    return LINE in table.index.names


def notes_of(table: pd.DataFrame, columns: Collection[object]) -> Notes:
    """Notes on a table when it was read: of all of it, and of some of its columns."""
    said: Mapping[str, str] = table.attrs.get("notes", {})
    return tuple(dict.fromkeys(note for name, note in said.items() if name == "" or name in columns))


def is_missing_word(texts: pd.Index[Any] | pd.Series[Any]) -> BoolArray:
    """Which cells of a file are missing, (n,)."""
    return np.asarray(texts.isin(list(MISSING_WORDS)), dtype=np.bool_) | np.asarray(texts.isna(), dtype=np.bool_)


def code_like(labels: Labels) -> IntArray:
    """Positions of the labels that may be codes for missing or unknown, by their first character: few of many."""
    if pd.api.types.is_numeric_dtype(labels.dtype):
        return np.flatnonzero(labels.isin(_UNKNOWN_NUMBERS))
    if isinstance(labels.dtype, pd.StringDtype):
        return np.flatnonzero(labels.str.slice(0, 1).isin(list(_FIRST)))
    return np.array([i for i, label in enumerate(labels) if str(label)[:1] in _FIRST], dtype=np.intp)


def names_no_animal(label: object) -> bool:
    """Whether a label is missing, whatever the table: empty, a word for missing, or a sign."""
    return as_text(label).strip().lower() in _NO_ANIMAL


def means_unknown(label: object, added: Collection[str] = ()) -> bool:
    """Whether a label stands for an unknown parent, if no animal has it: a code in use, zeros, or one `added`."""
    text = as_text(label).strip()
    return text in added or text.lower() in _UNKNOWN or _is_zero(text)


def _is_zero(text: str) -> bool:
    """0, 000 and 0.0."""
    return text.startswith("0") and not text.replace(".", "", 1).strip("0")


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


def written_numbers(texts: Iterable[str]) -> IntArray | None:
    """Texts as whole numbers, (n,), if each is written as such a number is: 41, not 041, +41, 41.0 or 4.1e1."""
    try:
        given = pa.array(texts, type=pa.large_string(), from_pandas=True)
        numbers = given.cast(pa.int64())
    except pa.ArrowException:
        return None
    return numbers.to_numpy(zero_copy_only=False) if numbers.cast(pa.large_string()).equals(given) else None


def as_text(value: object) -> str:
    """Label as text; 41.0 is 41."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def codes_of(values: object, what: str) -> tuple[str, ...]:
    """Codes as text, each once, from a list of words and numbers.

    Raises
    ------
    SpecError
        If it is something else, such as one word, of which every letter would be a code.
    """
    listed = not isinstance(values, str | bytes | Mapping) and isinstance(values, Iterable)
    codes = list(values) if listed else []  # type: ignore[call-overload]
    kinds = str | int | float | np.integer | np.floating
    if not listed or any(isinstance(v, bool | np.bool_) or not isinstance(v, kinds) for v in codes):
        raise SpecError(f'{what} must be a list of codes, such as [-999, "x"], not {values!r}')
    return tuple(dict.fromkeys(map(as_text, codes)))


def texts_of(values: Iterable[object]) -> Labels:
    """Labels as text, (n,)."""
    if isinstance(values, pd.Index) and pd.api.types.is_integer_dtype(values.dtype):
        return pd.Index(values.to_numpy(dtype=np.int64).astype(str).astype(object))
    return pd.Index([as_text(value) for value in values], dtype=object)


def factorise(column: pd.Series[Any], *, from_file: bool | None = None) -> tuple[IntArray, Labels]:
    """Level of every row, -1 where missing, and the levels in natural order: numbers as numbers, text as text.

    Levels of a file, and those of text that is all whole numbers, are in the order of the numbers.

    Parameters
    ----------
    column
        The column (n,).
    from_file
        Whether its cells are text as written in a file; by default as its index says.
    """
    written = is_from_file(column) if from_file is None else from_file
    if not written and pd.api.types.infer_dtype(column, skipna=True) in ("mixed", "mixed-integer"):
        column = column.map(as_text, na_action="ignore")
    codes, found = pd.factorize(column, sort=not written)
    levels: Labels = pd.Index(found)
    text = levels.dtype == object or isinstance(levels.dtype, pd.StringDtype)
    missing = is_missing_word(levels) if written else np.zeros(len(levels), dtype=np.bool_)
    kept = levels[~missing]
    numbers = written_numbers(kept) if text else None
    if numbers is None and not written:
        return np.asarray(codes, dtype=np.intp), levels
    order = np.argsort(kept.to_numpy(dtype=object) if numbers is None else numbers, kind="stable")
    place = np.full(len(levels) + 1, -1, dtype=np.intp)  # the last for missing
    place[np.flatnonzero(~missing)[order]] = np.arange(len(kept))
    labels = kept.astype(object) if numbers is None or not written else pd.Index(numbers)
    return place[codes], labels[order]


def find_labels(labels: Labels, wanted: Labels) -> IntArray:
    """Positions of the wanted ids in `labels`, -1 if absent; 41, 41.0 and "41" are equal, "041" and "41.0" others."""
    if not pd.api.types.is_numeric_dtype(labels.dtype):
        return labels.get_indexer(texts_of(wanted))
    if pd.api.types.is_numeric_dtype(wanted.dtype):
        return labels.get_indexer(wanted)
    texts = texts_of(wanted)
    numbers = written_numbers(texts)
    if numbers is not None and pd.api.types.is_integer_dtype(labels.dtype):
        return labels.get_indexer(pd.Index(numbers))
    return pd.Index(texts_of(labels)).get_indexer(texts)


def twins(strangers: Iterable[object], known: Labels) -> dict[str, str]:
    """Labels that are written unlike a known one but may be meant so: 007 and 7, 41.0 and 41, a1 and A1."""
    alone = texts_of(strangers)
    if alone.empty:
        return {}
    by_meaning = {_meaning(text): text for text in texts_of(known)}
    return {text: by_meaning[_meaning(text)] for text in alone if _meaning(text) in by_meaning}


def _meaning(text: str) -> str | float:
    bare = text.strip()
    try:
        return float(bare) if bare.isascii() and len(bare) < len(str(_EXACT_FLOATS)) else bare.casefold()
    except ValueError:
        return bare.casefold()


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
