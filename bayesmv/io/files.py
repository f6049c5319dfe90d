"""From a model file to a design: where its data and pedigrees are, and how they are read."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from bayesmv.design.design import Design, build_design
from bayesmv.errors import LINE, DataError, SpecError, listing
from bayesmv.io.shipped import find_model
from bayesmv.model.spec import ModelSpec
from bayesmv.model.textfile import read_text
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.relationship.relationship import Relationship
from bayesmv.simulation.datasets import load_dataset, load_pedigree

_SHIPPED = "dataset:"
#: What files that are no tables begin with, and names that are too long for a column.
_MARKS, _LONGEST_NAME = ("{", "<", "-----", "#!"), 200


def load_design(path: str | Path, data: str | Path | None = None) -> Design:
    """Read a model file with its data and pedigrees, and build the design.

    Parameters
    ----------
    path
        Model file (TOML), or name of a shipped model where there is no such file.
    data
        CSV file to use in place of the one that the model names.

    Raises
    ------
    SpecError
        If the model file is malformed, or names no data.
    DataError
        If a file cannot be read, or the data cannot support the model.
    """
    spec = ModelSpec.from_file(find_model(path))
    return build_design(spec, read_data(spec, data), read_relationships(spec))


def read_data(spec: ModelSpec, data: str | Path | None = None) -> pd.DataFrame:
    """Read the data of a model: a CSV file, or a data set of the package."""
    if data is not None:
        return read_csv(Path(data))
    if spec.data is None:
        raise SpecError(
            f"the model '{spec.name}' names no data; add data = \"file.csv\" to it, or give --data file.csv"
        )
    if spec.data.startswith(_SHIPPED):
        return load_dataset(spec.data.removeprefix(_SHIPPED))
    return read_csv(spec.base / spec.data)


def read_relationships(spec: ModelSpec) -> dict[str, Relationship]:
    """Read the pedigrees of a model and invert their relationship matrices."""
    out = {}
    for name, entry in spec.relationships.items():
        source = entry["pedigree"]
        shipped = source.startswith(_SHIPPED)
        frame = load_pedigree(source.removeprefix(_SHIPPED)) if shipped else read_csv(spec.base / source)
        words = {key: entry.get(key, key) for key in ("id", "sire", "dam")}
        out[name] = Relationship.from_pedigree(Pedigree.from_frame(frame, **words, unknown=entry.get("unknown", ())))
    return out


def read_csv(path: Path) -> pd.DataFrame:
    """Table of a CSV file as text: what stands in each cell but for blanks around it, NaN where nothing does.

    Whether a cell is a label or a number is decided where it is used. Columns without a name are left out.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    DataFrame
        Indexed by the line that each row starts on (`LINE`), the header being line 1. ``attrs["notes"]`` tells by
        column which labels became one when blanks were taken off.

    Raises
    ------
    DataError
        If the file is absent, is not text, is not a table, or its header does not name every column once.
    """
    text = read_text(path, "data file", DataError)
    cells = _cells(text, path)
    header = cells.iloc[0].fillna("").str.strip()
    names = header[header != ""]
    if len(names) == 1 and (separator := next((mark for mark in ";\t|" if mark in names.iloc[0]), "")):
        raise DataError(f"the cells of '{path}' are separated by {separator!r}; separate them by commas")
    _require_table(path, names.tolist())
    twice = names[names.duplicated()].unique()
    if len(twice):
        raise DataError(f"'{path}' has two columns called {listing(twice)}; rename one of them")
    _check_rows(text, cells, path)
    cells = cells.iloc[1:]
    if len(cells.columns) > 1:
        cells = cells[~(cells.isna() | (cells == "")).all(axis=1)]
    table, merged = {}, {}
    for place, name in names.items():
        given = cells[place]
        table[name] = given.str.strip()
        note = _merged(given, table[name])
        if note:
            merged[name] = f"blanks around labels of '{name}' taken off, which makes one of {note}"
        table[name] = table[name].mask(table[name] == "")
    out = pd.DataFrame(table, index=cells.index)
    out.attrs["notes"] = merged
    return out


def _cells(text: str, path: Path) -> pd.DataFrame:
    """All cells of a CSV as they stand, the header's too, without blank lines before it; indexed by line."""
    body = text.lstrip("\r\n")
    before = text[: len(text) - len(body)].replace("\r\n", "\n")
    try:
        cells = _plain_cells(body)
        if cells is None:
            cells = pd.read_csv(
                io.StringIO(body),
                header=None,
                dtype=str,
                keep_default_na=False,
                skipinitialspace=True,
                skip_blank_lines=False,
                low_memory=False,
            )
    except pd.errors.EmptyDataError:
        raise DataError(f"cannot read '{path}' as CSV: it is empty; give a header and rows") from None
    except (ValueError, OverflowError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"cannot read '{path}' as CSV: {reason}") from None
    lines = np.arange(1, len(cells) + 1) + len(before)
    if '"' in body:  # cells may have line breaks in them
        breaks = sum((cells[c].str.count("\n").fillna(0).to_numpy(dtype=int) for c in cells), np.zeros(len(cells), int))
        lines += np.concatenate([[0], np.cumsum(breaks)[:-1]])
    cells.index = pd.Index(lines, name=LINE)
    return cells


def _plain_cells(body: str) -> pd.DataFrame | None:
    """Cells of a CSV without quotes and blank lines, whose rows are as long as the first, in a tenth of the time."""
    if '"' in body or not body:
        return None
    names = [str(i) for i in range(body.partition("\n")[0].count(",") + 1)]
    text = arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False)
    lines = arrow_csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(body.encode()),
            read_options=arrow_csv.ReadOptions(column_names=names),
            parse_options=lines,
            convert_options=text,
        )
    except pa.ArrowInvalid:
        return None
    cells: pd.DataFrame = table.to_pandas().set_axis(range(len(names)), axis=1)
    return cells


def _check_rows(text: str, cells: pd.DataFrame, path: Path) -> None:
    """Refuse rows with fewer cells than the header, which pandas fills, and quotes that end amid a cell."""
    width = cells.shape[1]
    if '"' not in text and text.count(",") == len(cells) * (width - 1):
        return
    short, rows, first = [], csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True), 1
    try:
        for row in rows:
            if any(row) and len(row) < width:
                short.append(first)
            first = rows.line_num + 1
    except csv.Error as error:
        if "field larger" not in str(error):
            raise DataError(
                f"cannot read '{path}' as CSV: a quoted cell in line {first} does not end before a comma or the end of "
                f"its line; check its quotation marks"
            ) from None
    if short:
        raise DataError(
            f"{len(short)} rows of '{path}' have fewer cells than the header has columns: lines {listing(short)}; "
            f"give each a cell for every column, empty ones too"
        )


def _merged(given: pd.Series, bare: pd.Series) -> str:
    """Labels that differed by blanks around them only."""
    padded = (given != bare).to_numpy() & (bare != "").to_numpy()
    if not padded.any():
        return ""
    labels = bare[padded].unique()
    spellings = given[bare.isin(labels)].groupby(bare).unique()
    several = [spelled for spelled in spellings if len(spelled) > 1]
    words = [" and ".join(repr(str(label)) for label in spelled) for spelled in several]
    return "; ".join(words[:5]) + (f" (and {len(words) - 5} more)" if len(words) > 5 else "")


def _require_table(path: Path, names: list[str]) -> None:
    """Refuse what is no table, without a word of what is in it: messages on its columns would show its first line."""
    strange = any(len(name) > _LONGEST_NAME or not name.isprintable() for name in names)
    if len(names) < 2 or strange or names[0].startswith(_MARKS):
        raise DataError(f"'{path}' is not a table: a first line of column names between commas, then rows")
