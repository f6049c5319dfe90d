"""Marker genotypes of files: tables of calls in any of the codings in use, and PLINK's binary files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayesmv.arrays import BoolArray
from bayesmv.errors import DataError, listing, require_known
from bayesmv.io.tables import read_table, separator_of
from bayesmv.model.reading import ReadOptions
from bayesmv.numerics.progress import watched
from bayesmv.relationship.labels import NOT_RECORDED, Notes, as_text, notes_of

#: Calls of individuals and markers, (n, m); single precision holds counts exactly.
type Calls = npt.NDArray[np.float32]

#: Bytes from which on a text file is read row by row, and endings of such files.
_LARGE, _TEXTS = 50_000_000, (".csv", ".txt", ".tsv", ".raw", ".dat")
#: Most different words that calls are.
_MOST_WORDS = 10_000
#: Names of the first column where rows are individuals, and where they are markers, in lower case.
_INDIVIDUALS = {
    "id",
    "iid",
    "ind",
    "indiv",
    "individual",
    "animal",
    "tree",
    "line",
    "genotype",
    "sample",
    "taxa",
    "taxon",
}
_MARKERS = {"marker", "markers", "snp", "snps", "snpid", "snp_id", "locus", "loci", "rs#", "rs", "markername", "probe"}
#: Columns of PLINK's .raw files that are no markers, the second of which names the individual.
_RAW = ["FID", "IID", "PAT", "MAT", "SEX", "PHENOTYPE"]
#: Words for calls that are missing, in lower case, and numbers that stand for them beside counts.
_NO_CALL = NOT_RECORDED | {
    "nn",
    "n",
    "n/n",
    "n|n",
    "./.",
    ".|.",
    "-/-",
    "--",
    "00",
    "0/0",
    "xx",
    "failed",
    "nocall",
    "nc",
}
_NO_COUNT = ("5", "9", "-9", "-1", "3")
#: Two-letter names of heterozygotes by one letter (IUPAC).
_BOTH = {"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"}


def read_genotypes(
    path: Path,
    *,
    orientation: str | None = None,
    codes: str | None = None,
    missing: Sequence[str] = (),
    read: ReadOptions | None = None,
    known: Collection[object] = (),
) -> pd.DataFrame:
    """Counts of one allele of each marker, of a table or of a PLINK .bed file.

    Parameters
    ----------
    path
        The file: CSV in any dialect, a workbook, Parquet, PLINK's ``.raw``, or ``.bed`` with its .bim and .fam.
    orientation
        ``rows`` if individuals are rows, ``columns`` if they are columns; by default as the names say.
    codes
        ``012`` (counts), ``01`` (homozygotes of lines), ``-101``, ``AB``, or ``letters``; by default as the calls say.
    missing
        Further codes of missing calls.
    read
        How the table is read.
    known
        Labels of individuals, by which those of the file are told from its markers.

    Returns
    -------
    DataFrame
        Counts 0, 1, 2, NaN where missing, (individuals, markers). ``attrs["notes"]`` tells what was recognised.

    Raises
    ------
    DataError
        If the file cannot be read, or in two ways; if calls are of no coding, or a marker has three alleles.
    """
    if path.suffix.lower() == ".bed":
        return _read_bed(path)
    table = _read_words(path, read or ReadOptions())
    if orientation is None:
        orientation = _orientation(table, path, {as_text(label) for label in known})
    require_known([orientation], ("rows", "columns"), "'orientation' is {}; allowed", DataError)
    individuals, markers = (table.rows, table.columns) if orientation == "rows" else (table.columns, table.rows)
    place = table.place if orientation == "rows" else table.place.T
    coding = codes if codes is not None else _coding([w for w in table.words if not _is_missing(w, missing)], path)
    require_known([coding], _CODINGS, f"'{path}' cannot have the codes {{}}; codes", DataError)
    beside = _NO_COUNT if coding in _WITHOUT_CODES else ()
    absent = np.array([_is_missing(word, missing) or word in beside for word in table.words] + [True])
    counts, read_as = _CODINGS[coding](_Calls(table.words, place, absent, pd.Index(markers), path))
    numbers = np.bincount(place.ravel(order="K"), minlength=len(absent))
    gone = [(word, n) for word, n, no in zip(table.words, numbers, absent, strict=False) if no and n]
    said = list(table.notes)
    if gone:
        said.append(f"calls of '{path.name}' read as missing: {', '.join(f'{word!r} in {n}' for word, n in gone)}")
    out = pd.DataFrame(counts, index=individuals, columns=markers)
    out.attrs["notes"] = (
        *said,
        f"markers of '{path.name}': {len(out)} individuals in {orientation}, {out.shape[1]} markers, {read_as}",
    )
    return out


class _Words(NamedTuple):
    """Calls of a table as it stands, each as the place of its word among the different ones.

    Parameters
    ----------
    first
        Name of the column that names the rows.
    rows, columns
        Names of the rows, and of the other columns.
    words
        The different words that the calls are.
    place
        Place of the word of every call, the number of words where the cell is empty, (rows, columns).
    notes
        How the table was read.
    """

    first: str
    rows: list[str]
    columns: list[str]
    words: list[str]
    place: npt.NDArray[np.int16]
    notes: Notes


class _Vocabulary:
    """Different words of calls, in the order in which they are met."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._code_of: dict[str, int] = {}

    @property
    def words(self) -> list[str]:
        """The words."""
        return list(self._code_of)

    def codes(self, cells: Any) -> npt.NDArray[np.int16]:
        """Place of the word of every cell, -1 where it is empty, (n,)."""
        place, uniques = pd.factorize(cells)
        texts = [as_text(word) for word in uniques]
        known = [self._code_of.setdefault(text, len(self._code_of)) if text else -1 for text in texts]
        if len(self._code_of) > _MOST_WORDS:
            raise DataError(
                f"the calls of '{self._path}' are {_MOST_WORDS} different words or more, such as "
                f"{listing(self._code_of)}; of markers they are few"
            )
        return np.array([*known, -1], dtype=np.int16)[place]


def _read_words(path: Path, read: ReadOptions) -> _Words:
    """Calls of a table, of a large text file row by row."""
    vocabulary = _Vocabulary(path)
    if path.suffix.lower() in _TEXTS and path.is_file() and path.stat().st_size >= _LARGE:
        header, first, rows, place = _streamed(path, read, vocabulary)
        notes: Notes = ()
    else:
        table = read_table(path, read)
        header, notes = [str(name) for name in table.columns], notes_of(table, table.columns)
        first = _first_columns(header)
        labels = table.iloc[:, first[0]]
        rows = ["" if empty else as_text(label) for label, empty in zip(labels, labels.isna(), strict=True)]
        place = vocabulary.codes(table.iloc[:, first[1] :].to_numpy(dtype=object).ravel()).reshape(len(table), -1)
    if "" in rows:
        raise DataError(f"the first column of '{path}', '{header[first[0]]}', has empty cells; it names the rows")
    place[place < 0] = len(vocabulary.words)
    return _Words(header[first[0]], rows, header[first[1] :], vocabulary.words, place, notes)


def _first_columns(header: list[str]) -> tuple[int, int]:
    """Places of the column that names the rows, and of the first after it that holds calls."""
    return (1, len(_RAW)) if header[: len(_RAW)] == _RAW else (0, 1)


def _streamed(
    path: Path, read: ReadOptions, vocabulary: _Vocabulary
) -> tuple[list[str], tuple[int, int], list[str], npt.NDArray[np.int16]]:
    """Header, places of its first columns, labels and calls of a text file, of which one row is held at a time."""
    with path.open(encoding=read.encoding or "utf-8-sig", newline="") as file:
        for _ in range(read.skip):
            file.readline()
        line = file.readline()
        separator = read.separator or separator_of(line, path)
        header = _split(line, separator)
        first = _first_columns(header)
        rows: list[str] = []
        calls: list[npt.NDArray[np.int16]] = []
        expected = max(1, path.stat().st_size // max(len(line), 2 * len(header)))
        for line in watched(file, f"Reading '{path.name}'", expected):
            cells = _split(line, separator)
            if cells == [""]:
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"row {len(rows) + 1} of '{path}' has {len(cells)} cells, the first line {len(header)}; give each "
                    f"a cell for every column"
                )
            rows.append(cells[first[0]])
            calls.append(vocabulary.codes(np.array(cells[first[1] :], dtype=object)))
    return header, first, rows, np.array(calls, dtype=np.int16)


def _split(line: str, separator: str) -> list[str]:
    """Cells of a line."""
    if separator == " ":
        return line.split()
    if '"' in line:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    bare = line.rstrip("\r\n")
    cells = bare.split(separator)
    return [cell.strip() for cell in cells] if " " in bare else cells


def _orientation(table: _Words, path: Path, known: set[str]) -> str:
    """Axis of the individuals, by the name of the first column or by labels that are known."""
    first = table.first.strip().lower()
    if (first in _INDIVIDUALS) != (first in _MARKERS):
        return "rows" if first in _INDIVIDUALS else "columns"
    rows, columns = (len(known.intersection(names)) for names in (table.rows, table.columns))
    if bool(rows) != bool(columns):
        return "rows" if rows else "columns"
    raise DataError(
        f"the rows of '{path}' may be individuals ({listing(table.rows, 3)}) or markers (individuals then are "
        f'{listing(table.columns, 3)}): say orientation = "rows" or "columns", where individuals are, or call the '
        f"first column 'id' or 'marker'"
    )


# ---------------------------------------------------------------- codings


class _Calls(NamedTuple):
    """Calls of a table as positions among the different words that they are.

    Parameters
    ----------
    words
        The different words (w,).
    place
        Position of the word of every call, w where the cell is empty, (individuals, markers).
    absent
        Which words mean missing, and the empty one, (w + 1,).
    markers
        Names of the markers.
    path
        The file, for messages.
    """

    words: list[str]
    place: npt.NDArray[np.int16]
    absent: BoolArray
    markers: pd.Index
    path: Path

    def counted(self, counts: Sequence[float]) -> Calls:
        """Counts of every call, from those of the words, (individuals, markers)."""
        return np.where(self.absent, np.nan, np.array([*counts, np.nan])).astype(np.float32)[self.place]

    def refuse(self, wrong: Sequence[bool], complaint: str, remedy: str) -> None:
        """Refusal of words that are no calls."""
        bad = [
            word for word, is_wrong, gone in zip(self.words, wrong, self.absent, strict=False) if is_wrong and not gone
        ]
        if bad:
            raise DataError(f"calls of '{self.path}' {complaint}: {listing(bad)}; {remedy}")


def _is_missing(word: str, codes: Collection[str]) -> bool:
    return word in codes or word.lower() in _NO_CALL


def _coding(found: Sequence[str], path: Path) -> str:
    """Coding of calls that are not missing, by the different words that they are."""
    texts = set(found)
    if all(map(_is_number, texts)):
        values = {float(text) for text in texts - set(_NO_COUNT)}
        if values <= {0.0, 1.0} and "-1" in texts:
            return "-101"
        if values <= {0.0, 1.0}:
            raise DataError(
                f"the calls of '{path}' are 0 and 1 alone: counts of an allele that no individual has twice "
                f'(codes = "012"), or homozygotes of inbred lines (codes = "01"); say which'
            )
        return "012"
    if texts <= set(_AB):
        return "AB"
    if all(_alleles(text) for text in texts):
        return "letters"
    strange = sorted(text for text in texts if not (_is_number(text) or text in _AB or _alleles(text)))
    raise DataError(
        f"the calls of '{path}' are of no coding that is known: {listing(strange or sorted(texts))}; allowed are "
        f"0 1 2, -1 0 1, AA AB BB, and letters such as AG, A/G or A; name codes of missing calls by missing = [...]"
    )


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _alleles(text: str) -> str | None:
    """Two alleles of a call, ``AG`` of AG, A/G, A|G or R; None of what is none."""
    bare = text.upper().replace("/", "").replace("|", "").replace(" ", "")
    if len(bare) == 1:
        return _BOTH.get(bare, bare * 2 if bare in "ACGT" else None)
    return bare if len(bare) == 2 and set(bare) <= set("ACGT") else None


def _numbers(calls: _Calls) -> list[float]:
    numeric = [_is_number(word) for word in calls.words]
    calls.refuse([not yes for yes in numeric], "are no numbers", 'say their codes, as in codes = "AB"')
    return [float(word) if yes else np.nan for word, yes in zip(calls.words, numeric, strict=True)]


def _counts(calls: _Calls) -> tuple[Calls, str]:
    return calls.counted(_numbers(calls)), "counts 0, 1, 2"


def _lines(calls: _Calls) -> tuple[Calls, str]:
    return calls.counted([2.0 * n for n in _numbers(calls)]), "homozygotes 0 and 1, read as 0 and 2"


def _centred(calls: _Calls) -> tuple[Calls, str]:
    return calls.counted([n + 1.0 for n in _numbers(calls)]), "codes -1, 0, 1, read as 0, 1, 2"


#: Counts of the second allele of calls of two alleles A and B; H is a heterozygote.
_AB = {"AA": 0.0, "A": 0.0, "AB": 1.0, "BA": 1.0, "H": 1.0, "BB": 2.0, "B": 2.0}


def _ab(calls: _Calls) -> tuple[Calls, str]:
    calls.refuse([word not in _AB for word in calls.words], "are none of AA, AB, BB", "say their codes")
    return calls.counted([_AB.get(word, np.nan) for word in calls.words]), "AA, AB, BB, read as 0, 1, 2 alleles B"


def _letters(calls: _Calls) -> tuple[Calls, str]:
    pairs = [_alleles(word) or "" for word in calls.words]
    calls.refuse([not pair for pair in pairs], "are no pairs of letters", "say their codes")
    # Alleles of each word as bits, and of each marker by the words that it has.
    bits = np.array([sum(1 << "ACGT".index(letter) for letter in set(pair)) for pair in pairs] + [0], dtype=np.int8)
    there = np.where(calls.absent, np.int8(0), bits)[calls.place]
    alleles = np.bitwise_or.reduce(there, axis=0)
    several = [bin(mask).count("1") > 2 for mask in alleles.tolist()]
    if any(several):
        first = several.index(True)
        named = [letter for k, letter in enumerate("ACGT") if alleles[first] >> k & 1]
        raise DataError(
            f"the marker '{calls.markers[first]}' of '{calls.path}' has {len(named)} alleles, {', '.join(named)}; two "
            f"at most"
        )
    # Counts of every allele of every word; of each marker those of its last allele are taken.
    per_allele = np.array([[float(pair.count(letter)) for pair in pairs] + [np.nan] for letter in "ACGT"])
    last = np.array([max(mask.bit_length() - 1, 0) for mask in alleles.tolist()])
    counts = np.where(calls.absent, np.nan, per_allele).astype(np.float32)[last[None, :], calls.place]
    return counts, "letters, read as counts of the allele that is last in the alphabet"


#: Codings in which whole numbers may stand for missing calls.
_WITHOUT_CODES = ("012", "01")
_CODINGS: Mapping[str, Callable[[_Calls], tuple[Calls, str]]] = {
    "012": _counts,
    "01": _lines,
    "-101": _centred,
    "AB": _ab,
    "letters": _letters,
}


# ---------------------------------------------------------------- PLINK


def _read_bed(path: Path) -> pd.DataFrame:
    """Counts of the first allele (A1) of PLINK's binary files."""
    from bed_reader import open_bed

    for suffix in (".bed", ".bim", ".fam"):
        if not path.with_suffix(suffix).is_file():
            raise DataError(f"no file '{path.with_suffix(suffix)}'; PLINK's genotypes are three, .bed, .bim and .fam")
    try:
        with open_bed(path) as bed:
            ids, markers = pd.Index(bed.iid), pd.Index(bed.sid)
            counts = bed.read(dtype="float32", num_threads=1)
    except Exception as error:  # what damaged files raise is not documented
        raise DataError(f"cannot read '{path}' as PLINK's .bed: {str(error).splitlines()[0][:200]}") from None
    out = pd.DataFrame(counts, index=ids, columns=markers)
    gone = int(np.isnan(counts).sum())
    out.attrs["notes"] = (
        f"markers of '{path.name}': {len(out)} individuals, {out.shape[1]} markers, counts of the first allele of the "
        f".bim file, {gone} calls missing",
    )
    return out
