"""Relationship matrices of files: squares with labels, triplets, and the binary files of GCTA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.errors import DataError, listing
from bayesmv.io.tables import read_cells, read_table
from bayesmv.model.reading import ReadOptions
from bayesmv.model.textfile import read_bytes, read_text
from bayesmv.relationship.labels import DENSE_LIMIT

#: Largest number of rows of a square that is read: a dense matrix of more would not be inverted.
_MOST = DENSE_LIMIT


class LabelledMatrix(NamedTuple):
    """Symmetric matrix (q, q), dense or sparse, the labels of its rows, and what was recognised."""

    matrix: Array | sparse.csc_array
    labels: list[str]
    notes: tuple[str, ...]


def read_matrix(path: Path, *, labels: Path | None = None, read: ReadOptions | None = None) -> LabelledMatrix:
    """Symmetric matrix of a file.

    Parameters
    ----------
    path
        A square with labels in its first row, its first column or both; one without, or a NumPy file, with `labels`;
        triplets row, column, value of one triangle or both (ASReml's ``.giv``, ``.grm``: with `labels`, rows and
        columns are numbered from 1); GCTA's ``.grm.bin`` or ``.grm.gz`` with its ``.grm.id``; Parquet.
    labels
        File of labels, a line each, in the order of the rows.
    read
        How a text file is read.

    Raises
    ------
    DataError
        If the file cannot be read, is neither square nor triplets, has cells that are no numbers, or lacks labels.
    """
    given = None if labels is None else _labels(labels)
    name = path.name.lower()
    if name.endswith((".grm.bin", ".grm.gz")):
        return _gcta(path)
    if name.endswith(".npy"):
        return _numpy(path, given)
    if name.endswith((".parquet", ".pq", ".feather")):
        table = read_table(path, read)
        header = pd.DataFrame([[str(column) for column in table.columns]], columns=table.columns)
        return _of_cells(pd.concat([header, table.astype(object)], ignore_index=True), path, given)
    cells, said = _text_cells(path, read or ReadOptions())
    found = _of_cells(cells, path, given)
    return found._replace(notes=(*said, *found.notes))


def _text_cells(path: Path, read: ReadOptions) -> tuple[pd.DataFrame, tuple[str, ...]]:
    if read.separator is None and path.suffix.lower() in (".giv", ".grm", ".sgiv", ".sgrm"):
        read = replace(read, separator=" ")  # ASReml's files have blanks between numbers
    cells, said = read_cells(path, read)
    return cells.apply(lambda column: column.str.strip()), said


def _labels(path: Path) -> list[str]:
    """Labels of a file with one in each line; of a GCTA .grm.id file, the second word."""
    lines = [line.strip() for line in read_text(path, "file of labels", DataError).splitlines() if line.strip()]
    words = [line.split("\t") if "\t" in line else [line] for line in lines]
    labels = [word[1] if len(word) == 2 else word[0] for word in words]
    if not labels:
        raise DataError(f"the file of labels '{path}' is empty")
    return labels


def _of_cells(cells: pd.DataFrame, path: Path, labels: list[str] | None) -> LabelledMatrix:
    """Matrix of all cells of a table, its first row included."""
    rows, columns = cells.shape
    number = cells.map(_as_number)
    plain = bool(number.notna().to_numpy().all())
    if columns == 3 and not (
        rows == 4 and number.iloc[1:].notna().to_numpy().all() and not _are_places(number.iloc[1:])
    ):
        return _triplets(cells, number, path, labels)
    if rows == columns and plain and labels is not None:
        return _square(number, labels, path, "without labels")
    if rows == columns and number.iloc[1:, 1:].notna().to_numpy().all() and not (plain and _symmetric(number)):
        return _with_labels(cells, number, path)
    if rows == columns + 1 and number.iloc[1:].notna().to_numpy().all():
        header = [str(word) for word in cells.iloc[0]]
        return _square(number.iloc[1:], header, path, "with labels in the first row")
    if rows == columns and plain:
        raise DataError(
            f"'{path}' is a square of {rows} numbers a row without labels; give them by labels = \"labels.txt\", "
            f"one in each line"
        )
    raise DataError(
        f"'{path}' has {rows} rows of {columns} cells, which is no square with labels and no list of row, column, "
        f"value; write labels in the first row and the first column"
    )


def _as_number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.nan


def _symmetric(number: pd.DataFrame) -> bool:
    values = number.to_numpy()
    return bool(np.allclose(values, values.T, rtol=1e-6, atol=1e-6 * np.abs(values).max(initial=0.0)))


def _with_labels(cells: pd.DataFrame, number: pd.DataFrame, path: Path) -> LabelledMatrix:
    """Square with labels in the first row and the first column, in whatever orders."""
    header, first = [str(w) for w in cells.iloc[0, 1:]], [str(w) for w in cells.iloc[1:, 0]]
    if sorted(header) != sorted(first):
        only = sorted(set(header) ^ set(first))
        raise DataError(f"the rows and columns of '{path}' have different labels: {listing(only)} in one of them only")
    if len(set(first)) < len(first):
        twice = pd.Index(first)[pd.Index(first).duplicated()]
        raise DataError(f"labels stand twice in '{path}': {listing(twice.unique())}")
    frame = pd.DataFrame(number.iloc[1:, 1:].to_numpy(), index=first, columns=header)[first]
    return _square(frame, first, path, "with labels in both")


def _square(number: pd.DataFrame, labels: list[str], path: Path, how: str) -> LabelledMatrix:
    if len(labels) != len(number):
        raise DataError(f"'{path}' has {len(number)} rows and {len(labels)} labels; give one for each row")
    if len(labels) > _MOST:
        raise DataError(
            f"'{path}' is a square of {len(labels)} levels, more than the {_MOST} that are inverted; give the sparse "
            f'inverse as row, column, value by precision = "…"'
        )
    note = f"'{path.name}': a square of {len(labels)} levels {how}"
    return LabelledMatrix(np.asarray(number.to_numpy(), dtype=float), labels, (note,))


def _are_places(number: pd.DataFrame) -> bool:
    """Whether the first two columns are whole numbers, as of rows and columns."""
    places = number.iloc[:, :2].to_numpy()
    return bool((places == np.round(places)).all())


def _triplets(cells: pd.DataFrame, number: pd.DataFrame, path: Path, labels: list[str] | None) -> LabelledMatrix:
    """Matrix of rows, columns and values of one triangle, or of both."""
    if number.iloc[:1, 2].isna().all() and not cells.iloc[0, :2].isin(cells.iloc[1:, :2].to_numpy().ravel()).all():
        cells, number = cells.iloc[1:], number.iloc[1:]  # names of the three columns
    values = number.iloc[:, 2].to_numpy(dtype=float)
    if not np.isfinite(values).all():
        wrong = cells.iloc[:, 2][~np.isfinite(values)]
        raise DataError(f"values of '{path}' are no numbers: {listing(wrong.unique())} in {len(wrong)} rows")
    if labels is not None:
        place = number.iloc[:, :2].to_numpy()
        wrong_place = ~((place == np.round(place)) & (place >= 1) & (place <= len(labels)))
        if wrong_place.any():
            bad = cells.iloc[:, :2].to_numpy()[wrong_place]
            raise DataError(
                f"rows and columns of '{path}' must be numbers from 1 to {len(labels)}, the number of labels: "
                f"{listing(pd.unique(bad))} are not"
            )
        i, j = (place[:, k].astype(np.int64) - 1 for k in (0, 1))
        names = labels
    else:
        stacked = pd.concat([cells.iloc[:, 0], cells.iloc[:, 1]]).astype(str)
        codes, uniques = pd.factorize(stacked, sort=False)
        i, j = np.split(codes.astype(np.int64), 2)
        names = [str(label) for label in uniques]
        if path.suffix.lower() in (".giv", ".grm") and all(label.isdecimal() for label in names):
            raise DataError(
                f"'{path}' numbers its rows from 1, and does not say what they are called; name a file with a label in "
                f'each line, as in labels = "ids.txt"'
            )
    low, high = np.minimum(i, j), np.maximum(i, j)
    pairs = pd.DataFrame({"low": low, "high": high, "value": values})
    spread = pairs.groupby(["low", "high"])["value"].agg(["min", "max", "count"])
    disagree = spread[(spread["max"] - spread["min"]).abs() > 1e-6 * np.abs(values).max()]
    if len(disagree):
        a, b = disagree.index[0]
        raise DataError(
            f"'{path}' has different values for {names[a]!r}, {names[b]!r}; give each pair once, or twice alike"
        )
    a, b = (spread.index.get_level_values(k).to_numpy() for k in (0, 1))
    mean = (0.5 * (spread["min"] + spread["max"])).to_numpy()
    off = a != b
    entries = np.concatenate([mean, mean[off]])
    at = np.concatenate([a, b[off]]), np.concatenate([b, a[off]])
    matrix = sparse.csc_array((entries, at), shape=(len(names), len(names)))
    note = f"'{path.name}': {len(values)} triplets of row, column, value among {len(names)} levels"
    return LabelledMatrix(matrix, names, (note,))


def _numpy(path: Path, labels: list[str] | None) -> LabelledMatrix:
    if labels is None:
        raise DataError(f"'{path}' has no labels; name a file with a label in each line, as in labels = \"ids.txt\"")
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read '{path}' as an array of NumPy: {error}") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.kind not in "iuf":
        raise DataError(
            f"'{path}' has an array of shape {matrix.shape} and type {matrix.dtype}; a square of numbers is needed"
        )
    return _square(pd.DataFrame(matrix), labels, path, "of NumPy")


def _gcta(path: Path) -> LabelledMatrix:
    """Lower triangle of GCTA's genetic relationship matrix, in single precision or as text, with its .grm.id."""
    stem = path.name[: -len(path.name.rpartition(".")[2]) - 1]
    ids = path.with_name(f"{stem}.id")
    if not ids.is_file():
        raise DataError(f"no file '{ids}', which names the individuals of '{path.name}'")
    labels = [line.split()[-1] for line in read_text(ids, "file of labels", DataError).splitlines() if line.split()]
    q = len(labels)
    if path.name.lower().endswith(".bin"):
        content = read_bytes(path, "matrix", DataError)
        if len(content) != 2 * q * (q + 1):
            raise DataError(
                f"'{path}' has {len(content)} bytes; a triangle of {q} individuals in single precision has "
                f"{2 * q * (q + 1)}"
            )
        triangle = np.frombuffer(content, dtype="<f4").astype(float)
    else:
        table = pd.read_csv(path, sep=r"\s+", header=None, compression="gzip")
        if table.shape != (q * (q + 1) // 2, 4):
            raise DataError(
                f"'{path}' has {len(table)} rows of {table.shape[1]}; a triangle of {q} individuals is needed"
            )
        triangle = table.iloc[:, 3].to_numpy(dtype=float)
    matrix = np.zeros((q, q))
    matrix[np.tril_indices(q)] = triangle
    whole = matrix + np.tril(matrix, -1).T
    return _square(pd.DataFrame(whole), labels, path, "of GCTA")
