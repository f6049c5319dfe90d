"""Tables of users' files: text, workbooks and columnar files, read as they are, with a note of what was recognised.

A text file or a workbook becomes a table of text as written, whatever it is used for later; columnar files (Parquet,
Feather) have types of their own and are taken as tables of Python are.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from bayesmv.design.written import MARKS
from bayesmv.errors import LINE, DataError, listing, require_known
from bayesmv.io.numbers import FORMATTED, example, number_marks
from bayesmv.model.reading import ReadOptions
from bayesmv.model.textfile import LARGEST, decode, read_bytes
from bayesmv.relationship.labels import NOT_RECORDED, Notes, as_text

#: What files that are no tables begin with, and names that are too long for a column.
_MARKS, _LONGEST_NAME = ("{", "<", "-----", "#!"), 200
#: Signs that are tried as separators, and lines that they are looked for in.
_SEPARATORS, _LOOKED_AT = ",;\t|", 100
#: First line by which Excel is told the separator.
_STATED = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
#: Rows that a sheet has at the least to be a table.
_SHEET_ROWS = 2


def read_table(path: Path, options: ReadOptions | None = None, codes: Sequence[str] = ()) -> pd.DataFrame:
    """Table of a file: CSV in any of its dialects, a workbook, Parquet or Feather.

    Parameters
    ----------
    path
        The file.
    options
        What the file itself does not tell.
    codes
        Codes that stand among the numbers of some columns.

    Returns
    -------
    DataFrame
        Of text and workbooks what stands in each cell but for blanks around it, as text, NaN where nothing does,
        indexed by the line (row of the sheet) that each row starts on (`LINE`); columns without a name are left out.
        Whether a cell is a label or a number is decided where it is used; ``attrs[MARKS]`` holds the columns whose
        numbers have decimal commas or marks between thousands. ``attrs["notes"]`` tells by column what was recognised,
        and under ``""`` how the file was read. Of Parquet and Feather the table as it is.

    Raises
    ------
    DataError
        If the file is absent, is not a table, can be read in two ways, or its header does not name every column once.
    """
    options = options or ReadOptions()
    content = read_bytes(path, "data file", DataError)
    for begins, read in _COLUMNAR.items():
        if content.startswith(begins):
            return _coded(_arrow(read, content, path), options)
    found = _cells_of(content, path, options)
    table = _table(found.cells, path, codes, options, plain=found.plain)
    found.check(path)
    if found.notes:
        table.attrs["notes"] = {"": found.notes[0], **table.attrs["notes"]}
    return table


def read_cells(path: Path, options: ReadOptions) -> tuple[pd.DataFrame, Notes]:
    """All cells of a text file or a workbook as text, those of the first row included, and how they were read.

    Raises
    ------
    DataError
        As `read_table`, but for the names of columns.
    """
    found = _cells_of(read_bytes(path, "file", DataError), path, options)
    found.check(path)
    return found.cells, found.notes


class _Cells(NamedTuple):
    """Cells of a file.

    Parameters
    ----------
    cells
        What stands in them, as text.
    notes
        How they were read.
    text, separator, before
        Text from the header on, what stands between its cells, and the number of lines before it; of a workbook none.
    """

    cells: pd.DataFrame
    notes: Notes
    text: str = ""
    separator: str = ""
    before: int = 0

    @property
    def plain(self) -> bool:
        """Whether no cell holds a comma or a blank between digits: commas between the cells, and no quotes."""
        return self.separator == "," and '"' not in self.text and not any(mark in self.text for mark in FORMATTED)

    def check(self, path: Path) -> None:
        """Refusal of rows of a text that are too short, and of quotes that end amid a cell."""
        if self.separator:
            _check_rows(self.text, self.cells, self.separator, self.before, path)


def _cells_of(content: bytes, path: Path, options: ReadOptions) -> _Cells:
    if content.startswith(_WORKBOOKS):
        return _workbook(content, path, options)
    text, how = decode(content, f"the data file '{path}'", options.encoding, DataError)
    separator, body, before, said = _opened(text, path, options)
    cells = _cells(body, before, separator, path)
    shown = {"\t": "tabs", " ": "blanks"}.get(separator, f"'{separator}'")
    return _Cells(cells, _note(path, how, f"with {shown} between cells" if said else ""), body, separator, before)


def _note(path: Path, *recognised: str) -> Notes:
    """Note of how a file was read, where that was not as usual."""
    said = [word for word in recognised if word]
    return (f"'{path.name}' read {', '.join(said)}",) if said else ()


# ---------------------------------------------------------------- text


def _opened(text: str, path: Path, options: ReadOptions) -> tuple[str, str, int, bool]:
    """Separator, text from the header on, lines before it, and whether the separator is worth a note."""
    stated = _STATED.match(text)
    start = stated.end() if stated else 0
    for _ in range(options.skip):
        start = text.find("\n", start) + 1 or len(text)
    body = text[start:]
    bare = body.lstrip("\r\n")
    before = text[: len(text) - len(bare)].replace("\r\n", "\n")
    lines = before.count("\n") + before.count("\r")
    separator = options.separator or (stated[1] if stated else separator_of(bare, path))
    if separator == " ":
        bare = "\n".join(" ".join(line.split()) for line in bare.split("\n"))
    return separator, bare, lines, options.separator is None and separator != ","


def separator_of(body: str, path: Path) -> str:
    """Separator of the cells: the sign that is in the header, and as often in all lines that are looked at."""
    lines = [line for line in body[:1_000_000].splitlines()[: _LOOKED_AT + 1] if line.strip()]
    if not lines:
        return ","
    bare = [re.sub(r'"(?:[^"]|"")*"', "", line) for line in lines]
    there = [mark for mark in _SEPARATORS if mark in bare[0]]
    if not there:
        fields = {len(line.split()) for line in bare}
        return " " if len(fields) == 1 and fields.pop() > 1 and not any(map(_has_separator, bare)) else ","
    if len(there) == 1:
        return there[0]
    even = [mark for mark in there if len({line.count(mark) for line in bare}) == 1]
    if len(even) == 1:
        return even[0]
    readings = "; ".join(
        f"with {mark!r} {len(lines[0].split(mark))} columns, the first {lines[0].split(mark)[0].strip()!r}"
        for mark in even or there
    )
    raise DataError(
        f"the cells of '{path}' may be separated in more than one way: {readings}; say which under [read], as in "
        f"separator = {(even or there)[0]!r}"
    )


def _has_separator(line: str) -> bool:
    return any(mark in line for mark in _SEPARATORS)


def _cells(body: str, before: int, separator: str, path: Path) -> pd.DataFrame:
    """All cells of a text as they stand, the header's too, without blank lines before it; indexed by line."""
    try:
        cells = _plain_cells(body, separator)
        if cells is None:
            cells = pd.read_csv(
                io.StringIO(body),
                header=None,
                dtype=str,
                sep=separator,
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
    lines = np.arange(1, len(cells) + 1) + before
    if '"' in body:  # cells may have line breaks in them
        breaks = sum((cells[c].str.count("\n").fillna(0).to_numpy(dtype=int) for c in cells), np.zeros(len(cells), int))
        lines += np.concatenate([[0], np.cumsum(breaks)[:-1]])
    cells.index = pd.Index(lines, name=LINE)
    return cells


def _plain_cells(body: str, separator: str) -> pd.DataFrame | None:
    """Cells of a text without quotes and blank lines, whose rows are as long as the first, in a tenth of the time."""
    if '"' in body or not body or separator == " ":
        return None
    names = [str(i) for i in range(body.partition("\n")[0].count(separator) + 1)]
    text = arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False)
    lines = arrow_csv.ParseOptions(delimiter=separator, quote_char=False, ignore_empty_lines=False)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(body.encode()),
            read_options=arrow_csv.ReadOptions(column_names=names),
            parse_options=lines,
            convert_options=text,
        )
    except (pa.ArrowInvalid, ValueError):
        return None
    cells: pd.DataFrame = table.to_pandas().set_axis(range(len(names)), axis=1)
    return cells


def _check_rows(text: str, cells: pd.DataFrame, separator: str, before: int, path: Path) -> None:
    """Refuse rows with fewer cells than the header, which pandas fills, and quotes that end amid a cell."""
    width = cells.shape[1]
    if '"' not in text and text.count(separator) == len(cells) * (width - 1):
        return
    read = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    short, first = [], 1
    try:
        for row in read:
            if any(row) and len(row) < width:
                short.append(first + before)
            first = read.line_num + 1
    except csv.Error as error:
        if "field larger" not in str(error):
            raise DataError(
                f"cannot read '{path}' as CSV: a quoted cell in line {first + before} does not end before a "
                f"{'comma' if separator == ',' else repr(separator)} or the end of its line; check its quotation marks"
            ) from None
    if short:
        raise DataError(
            f"{len(short)} rows of '{path}' have fewer cells than the header has columns: lines {listing(short)}; "
            f"give each a cell for every column, empty ones too"
        )


# ---------------------------------------------------------------- from cells to a table


def _table(
    cells: pd.DataFrame, path: Path, codes: Sequence[str], options: ReadOptions, *, plain: bool = False
) -> pd.DataFrame:
    """Table of cells (text), the first row of which names the columns; `plain` numbers have points, if anything."""
    header = cells.iloc[0].fillna("").str.strip()
    names = header[header != ""]
    _require_table(path, names.tolist())
    twice = names[names.duplicated()].unique()
    if len(twice):
        raise DataError(f"'{path}' has two columns called {listing(twice)}; rename one of them")
    cells = cells.iloc[1:]
    if len(cells.columns) > 1:
        cells = cells[~(cells.isna() | (cells == "")).all(axis=1)]
    table: dict[str, pd.Series[Any]] = {}
    notes: dict[str, list[str]] = {name: [] for name in names}
    missing = {*options.missing}
    for place, name in names.items():
        given = cells[place]
        bare = given.str.strip()
        merged = _merged(given, bare)
        if merged:
            notes[name].append(f"blanks around labels of '{name}' taken off, which makes one of {merged}")
        bare = bare.mask(bare == "")
        coded = bare.isin(missing)
        if coded.any():
            counts = ", ".join(f"{code!r} in {n}" for code, n in bare[coded].value_counts(sort=False).items())
            notes[name].append(f"{counts} cells of '{name}' read as missing")
            bare = bare.mask(coded)
        table[name] = bare
    marks = {} if plain else number_marks(table, options, (*codes, *NOT_RECORDED))
    for name, marked in marks.items():
        notes[name].append(example(table[name].rename(name), marked))
    out = pd.DataFrame(table, index=cells.index)
    out.attrs[MARKS] = marks
    out.attrs["notes"] = {name: "; ".join(words) for name, words in notes.items() if words}
    return out


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
        raise DataError(
            f"'{path}' is not a table: a first line of column names between commas, semicolons or tabs, then rows"
        )


# ---------------------------------------------------------------- workbooks


def _workbook(content: bytes, path: Path, options: ReadOptions) -> _Cells:
    """Cells of a sheet of a workbook: of the one that holds a table, or of the one that is named."""
    sheets = _sheets(content, path)
    if options.sheet is not None:
        require_known([options.sheet], sheets, f"'{path}' has no sheet {{}}; sheets", DataError)
        chosen = options.sheet
    else:
        tables = [name for name, rows in sheets.items() if _is_tabular(rows)]
        if not tables:
            raise DataError(f"'{path}' has no sheet with a table: a row of column names, then rows")
        if len(tables) > 1:
            raise DataError(
                f"'{path}' has {len(tables)} sheets with tables: {listing(tables)}; say which under [read], as in "
                f'sheet = "{tables[0]}"'
            )
        (chosen,) = tables
    rows = sheets[chosen][options.skip :]
    while rows and not any(_cell(value) for value in rows[0]):
        rows = rows[1:]
    if not rows:
        raise DataError(f"the sheet '{chosen}' of '{path}' is empty; give a row of column names and rows")
    begin = len(sheets[chosen]) - len(rows) + 1
    width = max(map(len, rows))
    cells = pd.DataFrame(
        [[_cell(value) for value in row] + [""] * (width - len(row)) for row in rows],
        index=pd.RangeIndex(begin, begin + len(rows), name=LINE),
        dtype=object,
    )
    return _Cells(cells, _note(path, "" if len(sheets) == 1 else f"from sheet '{chosen}' of {len(sheets)}"))


def _sheets(content: bytes, path: Path) -> dict[str, list[list[Any]]]:
    """Rows of every sheet of a workbook."""
    try:
        if content.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
                if size > LARGEST:
                    raise DataError(f"'{path}' unpacks to {size:,} bytes, more than the {LARGEST:,} that are read")
                if "xl/workbook.xml" in archive.namelist():
                    return _excel_sheets(content, path)
        from python_calamine import CalamineWorkbook

        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        return {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names}
    except DataError:
        raise
    except Exception as error:  # what damaged files raise is not documented
        raise DataError(f"cannot read '{path}' as a workbook: {type(error).__name__}: {str(error)[:200]}") from None


def _excel_sheets(content: bytes, path: Path) -> dict[str, list[list[Any]]]:
    """Rows of every sheet of an Excel workbook; refuses formulas whose values were not saved."""
    from openpyxl import load_workbook

    values, formulas = (load_workbook(io.BytesIO(content), read_only=True, data_only=only) for only in (True, False))
    out = {}
    for sheet in values.worksheets:
        rows = [list(row) for row in sheet.iter_rows(values_only=True)]
        unsaved = [
            f"row {i + 1} of '{sheet.title}'"
            for i, (row, written) in enumerate(
                zip(rows, formulas[sheet.title].iter_rows(values_only=True), strict=False)
            )
            for value, formula in zip(row, written, strict=False)
            if value is None and isinstance(formula, str) and formula.startswith("=")
        ]
        if unsaved:
            raise DataError(
                f"'{path}' has formulas whose values were not saved: {', '.join(dict.fromkeys(unsaved[:5]))}; open it "
                f"in a spreadsheet program, save it, and read it again"
            )
        out[str(sheet.title)] = rows
    return out


def _is_tabular(rows: Sequence[Sequence[Any]]) -> bool:
    filled = [row for row in rows if sum(_cell(value) != "" for value in row) > 1]
    return len(filled) >= _SHEET_ROWS


def _cell(value: Any) -> str:
    """Content of a typed cell, as text: whole numbers without a point, dates as 2026-11-26."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date | time) else as_text(value)


# ---------------------------------------------------------------- columnar files


def _parquet(source: Any) -> Any:
    from pyarrow import parquet

    return parquet.read_table(source)


def _feather(source: Any) -> Any:
    from pyarrow import feather

    return feather.read_table(source)


def _arrow(read: Callable[[Any], Any], content: bytes, path: Path) -> pd.DataFrame:
    try:
        out: pd.DataFrame = read(pa.BufferReader(content)).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read '{path}': {str(error).splitlines()[0][:200]}") from None
    return out.reset_index() if any(name is not None for name in out.index.names) else out


def _coded(table: pd.DataFrame, options: ReadOptions) -> pd.DataFrame:
    """Table of columnar types without the codes that mean missing; others have none left."""
    if table.index.name == LINE or not options.missing:
        return table
    notes, out = dict(table.attrs.get("notes", {})), {}
    for name, column in table.items():
        coded = column.map(as_text, na_action="ignore").isin(options.missing)
        out[name] = column.mask(coded)
        if coded.any():
            notes[str(name)] = f"{int(coded.sum())} cells of '{name}' with codes read as missing"
    coded_table = pd.DataFrame(out, index=table.index)
    coded_table.attrs["notes"] = notes
    return coded_table


#: What workbooks begin with: zip archives (Excel, OpenDocument) and old ones of Excel.
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
#: What columnar files begin with, and what reads them.
_COLUMNAR: Mapping[bytes, Callable[[Any], Any]] = {b"PAR1": _parquet, b"ARROW1": _feather}
