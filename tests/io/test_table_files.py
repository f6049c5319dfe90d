"""Tables as users have them: each kind of file gives the table of plain CSV, with a note of what was recognised."""

import gzip
import io

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest

import bayesmv as bmv
from bayesmv.errors import LINE, DataError, SpecError
from bayesmv.io.files import load_design
from bayesmv.io.tables import read_table
from bayesmv.model import textfile
from bayesmv.model.reading import LongLayout, ReadOptions

#: A small trial: identifiers with zeros, decimals, a missing record.
ROWS = [
    ("001", "B1", "Forêt", "3.45", "1234.5"),
    ("002", "B1", "Ågren", "4.1", "2100"),
    ("003", "B2", "Forêt", "", "987.25"),
    ("004", "B2", "Ågren", "2.75", "1500"),
    ("005", "B3", "Forêt", "3.9", "1820.5"),
    ("006", "B3", "Ågren", "5.05", "2033"),
]
NAMES = ("tree", "Block", "Family", "x", "y")
MODEL = 'data = "{data}"\nunit = "tree"\ntraits = ["x", "y"]\nrandom = "us(trait):Block"\n'


def text(separator=",", decimal=".", thousands=""):
    def number(word):
        whole, point, rest = word.partition(".")
        grouped = f"{int(whole):,}".replace(",", thousands) if whole and thousands else whole
        return grouped + (decimal + rest if point else "")

    rows = [(*row[:3], *map(number, row[3:])) for row in ROWS]
    quoted = [[f'"{c}"' if separator in c else c for c in row] for row in [NAMES, *rows]]
    return "".join(separator.join(row) + "\n" for row in quoted)


def workbook(sheets, **kinds):
    out = io.BytesIO()
    with pd.ExcelWriter(out, **kinds) as writer:
        for name, frame in sheets.items():
            frame.to_excel(writer, sheet_name=name, index=False)
    return out.getvalue()


def typed():
    """The table as a spreadsheet holds it: numbers as numbers."""
    frame = pd.DataFrame(ROWS, columns=list(NAMES))
    return frame.assign(**{name: pd.to_numeric(frame[name].replace("", None)) for name in ("x", "y")})


def saved(folder, content, name="trees.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def columnar(write):
    out = io.BytesIO()
    write(typed(), out)
    return out.getvalue()


#: Name of the file, its content, and the note on how it was read.
KINDS = {
    "semicolons and decimal commas": ("trees.csv", text(";", ","), "'trees.csv' read with ';' between cells"),
    "tabs": ("trees.txt", text("\t"), "'trees.txt' read with tabs between cells"),
    "bars": ("trees.csv", text("|"), "'trees.csv' read with '|' between cells"),
    "decimal commas in quotes": ("trees.csv", text(",", ","), "'3,45' of 'x' is the number 3.45"),
    "points between thousands": ("trees.csv", text(";", ",", "."), "'1.234,5' of 'y' is the number 1234.5"),
    "commas between thousands": ("trees.csv", text(",", ".", ","), "'1,234.5' of 'y' is the number 1234.5"),
    "formatted blanks between thousands": ("trees.csv", text(";", ",", "\u202f"), "of 'y' is the number 1234.5"),
    "a line for Excel": ("trees.csv", "sep=;\n" + text(";"), "'trees.csv' read with ';' between cells"),
    "byte order mark": ("trees.csv", b"\xef\xbb\xbf" + text().encode(), None),
    "UTF-16 and tabs": ("trees.txt", text("\t").encode("utf-16"), "read in UTF-16, with tabs between cells"),
    "Windows-1252": ("trees.csv", text().encode("cp1252"), "read in Windows-1252 (line 2 has 'ê')"),
    "compressed": ("trees.csv.gz", gzip.compress(text(";").encode()), "'trees.csv.gz' read with ';' between cells"),
    "blanks around names": ("trees.csv", text().replace(",x,", " , x ,"), None),
    "quoted numbers": ("trees.csv", text().replace("4.1", '"4.1"'), None),
    "Excel": ("trees.xlsx", workbook({"trees": typed()}), None),
    "Excel, one of two sheets": (
        "trees.xlsx",
        workbook({"read me": pd.DataFrame({"about": ["a trial"]}), "trees": typed()}),
        "'trees.xlsx' read from sheet 'trees' of 2",
    ),
    "OpenDocument": ("trees.ods", workbook({"trees": typed()}, engine="odf"), None),
    "Parquet": ("trees.parquet", columnar(lambda f, out: f.to_parquet(out)), None),
    "Feather": ("trees.feather", columnar(lambda f, out: f.to_feather(out)), None),
}


@pytest.fixture(scope="module")
def expected():
    spec = bmv.ModelSpec.from_formula("x + y ~ 1", random="us(trait):Block", unit="tree")
    return bmv.build_design(spec, typed())


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_files__are_one_table(tmp_path, kind, expected):
    name, content, note = KINDS[kind]
    saved(tmp_path, content, name)
    model = saved(tmp_path, MODEL.format(data=name), "model.toml")
    design = load_design(model)
    np.testing.assert_array_equal(design.response, expected.response)
    assert list(design.units) == list(expected.units) == [row[0] for row in ROWS]
    assert list(design.terms[0].levels) == ["B1", "B2", "B3"]
    if note is None:
        assert not any("read" in text for text in design.notes)
    else:
        assert any(note in text for text in design.notes), design.notes


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("Parquet", "Feather")])
def test_read_table__cells_are_text_with_the_lines_of_the_file(tmp_path, kind):
    name, content, _ = KINDS[kind]
    table = read_table(saved(tmp_path, content, name))
    assert table["Family"].tolist() == [row[2] for row in ROWS]
    assert table["tree"].tolist()[0] == "001"
    first = 3 if kind == "a line for Excel" else 2
    assert table.index.tolist() == list(range(first, first + 6))
    assert table.index.name == LINE


def test_estimates__are_those_of_the_data_frame(tmp_path, expected):
    saved(tmp_path, text(";", ","))
    fit = bmv.fit_reml(load_design(saved(tmp_path, MODEL.format(data="trees.csv"), "model.toml")))
    assert fit.loglik == pytest.approx(bmv.fit_reml(expected).loglik, abs=1e-10)


@pytest.mark.parametrize("make", [polars.from_pandas, pa.Table.from_pandas], ids=["polars", "Arrow"])
def test_tables_of_other_libraries(make, expected):
    design = bmv.build_design(expected.spec, make(typed()))
    np.testing.assert_array_equal(design.response, expected.response)
    pedigree = pd.DataFrame({"id": ["a", "b", "c"], "sire": [None, None, "a"], "dam": [None, None, "b"]})
    assert bmv.Pedigree.from_frame(make(pedigree)).ids.tolist() == ["a", "b", "c"]


def test_labels__keep_their_commas(tmp_path):
    # As numbers 4,1 and 4,10 are one; as labels they are two.
    body = "pup;y\n4,1;1,5\n4,10;2,5\n4,2;3,5\n4,1;2,0\n"
    saved(tmp_path, body)
    model = saved(tmp_path, 'data = "trees.csv"\ntraits = ["y"]\nrandom = "pup"\n', "model.toml")
    assert list(load_design(model).terms[0].levels) == ["4,1", "4,10", "4,2"]


def numbers(folder, *cells, more=(), **options):
    rows = [f"{i};{cell}{''.join(';' + column[i] for column in more)}" for i, cell in enumerate(cells)]
    header = "id;y" + "".join(f";z{k}" for k in range(len(more)))
    path = saved(folder, "\n".join([header, *rows]) + "\n")
    spec = bmv.ModelSpec.from_formula("y ~ 1", missing=("x",))
    table = read_table(path, ReadOptions(**options), ("x",))
    return bmv.build_design(spec, table).response[:, 0].tolist()


def test_numbers__with_words_among_them(tmp_path):
    assert numbers(tmp_path, "1,5", "ND", "2,5", "x", "3") == [1.5, 2.5, 3.0]


@pytest.mark.parametrize(
    ("column", "read"),
    [
        (("3,4", "5,6", "7,8"), [1.234, 2.5, 3.125]),
        (("3.4", "5.6", "7.8"), None),
    ],
)
def test_numbers__other_columns_decide_what_1_234_is(tmp_path, column, read):
    cells = ("1,234", "2,500", "3,125")
    expected = [1234.0, 2500.0, 3125.0] if read is None else read
    assert numbers(tmp_path, *cells, more=(column,)) == expected


def test_numbers__either_reading_is_refused_until_it_is_said(tmp_path):
    cells = ("1,234", "2,500", "3,125")
    with pytest.raises(
        DataError, match=r"'1,234' may be 1234 or 1.234: say under \[read\] of the model file thousands"
    ):
        numbers(tmp_path, *cells)
    assert numbers(tmp_path, *cells, decimal=",") == [1.234, 2.5, 3.125]
    assert numbers(tmp_path, *cells, thousands=",") == [1234.0, 2500.0, 3125.0]


def test_numbers__of_two_conventions_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"the trait 'y' is not numeric: '3,45' in 1 rows \(line 2\).*with a point"):
        numbers(tmp_path, "3,45", "3.55", "3.65")


def test_numbers__blanks_between_thousands_are_stated(tmp_path):
    assert numbers(tmp_path, "1 234,5", "2 000", "7,5", decimal=",", thousands=" ") == [1234.5, 2000.0, 7.5]


# ---------------------------------------------------------------- missing


def test_missing_words__of_traits_are_counted(tmp_path):
    body = "tree,f,y\n" + "".join(f"{i},{'ND' if i < 2 else 'a'},{i % 7}\n" for i in range(9))
    body += "9,a,ND\n10,a,n.d.\n11,b,#DIV/0!\n12,b,ND\n13,b,--\n"
    saved(tmp_path, body)
    design = load_design(saved(tmp_path, 'data = "trees.csv"\ntraits = ["y"]\nrandom = "f"\n', "model.toml"))
    assert "'ND' in 2, 'n.d.' in 1, '#DIV/0!' in 1, '--' in 1 records of 'y' read as missing" in design.notes
    assert "ND" in list(design.terms[0].levels)  # a label is a label


def test_missing_words__are_no_numbers_beside_other_words(tmp_path):
    saved(tmp_path, "tree,y\n1,2\n2,ND\n3,tall\n4,5\n")
    with pytest.raises(DataError, match=r"the trait 'y' is not numeric: 'tall' in 1 rows"):
        load_design(saved(tmp_path, 'data = "trees.csv"\ntraits = ["y"]\n', "model.toml"))


def test_missing_codes__of_the_whole_table(tmp_path):
    saved(tmp_path, "tree,f,y\n1,a,2\n2,none yet,3\n3,b,-7\n4,b,5\n5,a,1\n")
    words = 'data = "trees.csv"\ntraits = ["y"]\nrandom = "f"\n[read]\nmissing = ["none yet", -7]\n'
    with pytest.raises(DataError, match=r"the random factor 'f' is missing in 1 rows: line 3"):
        load_design(saved(tmp_path, words, "model.toml"))
    table = read_table(tmp_path / "trees.csv", ReadOptions(missing=("none yet", "-7")))
    assert table.attrs["notes"] == {
        "f": "'none yet' in 1 cells of 'f' read as missing",
        "y": "'-7' in 1 cells of 'y' read as missing",
    }
    parquet = tmp_path / "trees.parquet"
    pd.DataFrame({"f": ["a", "none yet"], "y": [1.0, -7.0]}).to_parquet(parquet)
    coded = read_table(parquet, ReadOptions(missing=("none yet", "-7")))
    assert coded.isna().sum().to_dict() == {"f": 1, "y": 1}
    assert "1 cells of 'y' with codes read as missing" in coded.attrs["notes"]["y"]


# ---------------------------------------------------------------- options and refusals


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("a;b,c\n1;2,3\n4;5,6\n", {"separator": ";"}),
        ("x y\n1  2\n 4   5\n", {"separator": "space"}),
        ("made by a machine\nat noon\na,b\n1,2\n4,5\n", {"skip": 2}),
        ("é,b\n1,2\n4,5\n".encode("latin-1"), {"encoding": "latin-1"}),
        ("a\tb\n1\t2\n4\t5\n", {"separator": "tab"}),
    ],
)
def test_options__override(tmp_path, content, options):
    table = read_table(saved(tmp_path, content), ReadOptions(**options))
    assert table.shape == (2, 2)
    assert table.iloc[0, 0] == "1"


def test_options__lines_count_what_was_skipped(tmp_path):
    table = read_table(saved(tmp_path, "made by\na machine\n\na,b\n1,2\n"), ReadOptions(skip=2))
    assert table.index.tolist() == [5]


def two_sheets():
    return workbook({"2024": typed(), "2025": typed()})


def unsaved_formula():
    from openpyxl import Workbook

    book, out = Workbook(), io.BytesIO()
    for row in (["a", "b"], [1, 2], [3, "=A2+1"]):
        book.active.append(row)
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        (
            "d.csv",
            "a;b,c\n1;2,3\n4;5,6\n",
            {},
            r"may be separated in more than one way: with ',' 2 columns, the first 'a;b'; with ';' 2 columns, "
            r"the first 'a'; say which under \[read\], as in separator = ','",
        ),
        (
            "d.xlsx",
            two_sheets(),
            {},
            r"has 2 sheets with tables: '2024', '2025'; say which under \[read\], as in sheet =",
        ),
        ("d.xlsx", two_sheets(), {"sheet": "2023"}, r"has no sheet '2023'; sheets: '2024', '2025'"),
        ("d.xlsx", unsaved_formula(), {}, r"has formulas whose values were not saved: row 3 of 'Sheet'; open it"),
        ("d.xlsx", b"PK\x03\x04 and no archive", {}, r"cannot read '.*' as a workbook: BadZipFile"),
        ("d.ods", workbook({"one": pd.DataFrame({"a": [1]})}, engine="odf"), {}, r"has no sheet with a table"),
        ("d.parquet", b"PAR1 and nothing", {}, r"cannot read '.*d.parquet': "),
        ("d.csv", "a,b\n1,2\n".encode("utf-16")[:-1], {}, r"begins like UTF-16 and is not; save it as UTF-8"),
        ("d.csv", "ü,b\n1,2\n".encode("cp1252"), {"encoding": "utf-8"}, r"line 1 is not in utf-8; name its encoding"),
        ("d.csv", "a;b\n1\n2;3\n", {}, r"1 rows of '.*' have fewer cells than the header has columns: lines 2"),
        ("d.csv", 'a;b\n1;"x\n2;b\n3;"c\n', {}, r"a quoted cell in line 2 does not end before a ';' or the end"),
    ],
)
def test_refusals(tmp_path, name, content, options, message):
    with pytest.raises(DataError, match=message):
        read_table(saved(tmp_path, content, name), ReadOptions(**options))


def test_refusal__of_what_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(textfile, "LARGEST", 1000)
    with pytest.raises(DataError, match=r"has more than 1,000 bytes, which is more than is read"):
        read_table(saved(tmp_path, gzip.compress(b"a,b\n" * 1000), "d.csv.gz"))
    monkeypatch.setattr(textfile, "LARGEST", 10**9)
    monkeypatch.setattr("bayesmv.io.tables.LARGEST", 1000)
    with pytest.raises(DataError, match=r"unpacks to [\d,]+ bytes, more than the 1,000 that are read"):
        read_table(saved(tmp_path, workbook({"trees": typed()}), "d.xlsx"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("seperator = ';'", r"unknown entry 'seperator' in \[read\]; allowed: 'separator', 'decimal'"),
        ("separator = 'ab'", r"'separator' of \[read\] must be one sign"),
        ("decimal = ';'", r"'decimal' of \[read\] must be one of '.', ','"),
        ("decimal = ','\nthousands = ','", r"'decimal' and 'thousands' of \[read\] cannot both be ','"),
        ("encoding = 'klingon'", r"'encoding' of \[read\] is unknown: 'klingon'"),
        ("skip = -1", r"'skip' of \[read\] must be a number of lines, not -1"),
        ("skip = '1'", r"'skip' in \[read\] must be a whole number, not '1'"),
        ("sheet = 3", r"'sheet' in \[read\] must be a string, not 3"),
        ("missing = 'x'", r"'missing' in \[read\] must be a list of codes"),
    ],
)
def test_read_options__raise(words, message):
    with pytest.raises(SpecError, match=message):
        bmv.ModelSpec.from_toml('traits = ["y"]\n[read]\n' + words)


def test_read_options__read_back():
    text = 'traits = ["y"]\n[read]\nseparator = "tab"\ndecimal = ","\nskip = 3\nmissing = ["x", -9]\n'
    text += '[relationships.A]\npedigree = "p.csv"\nread = {separator = ";", encoding = "cp1252"}\n'
    spec = bmv.ModelSpec.from_toml(text)
    assert spec.read == ReadOptions(separator="\t", decimal=",", skip=3, missing=("x", "-9"))
    assert bmv.ModelSpec.from_toml(spec.to_toml()) == spec


def test_pedigree__in_a_dialect_of_its_own(tmp_path):
    saved(tmp_path, "id;sire;dam\nA;;\nB;;\nC;A;B\nD;A;B\n", "ped.csv")
    saved(tmp_path, "id,y\nA,1.5\nB,2\nC,3.5\nD,4\n")
    words = 'data = "trees.csv"\ntraits = ["y"]\nrandom = "vm(id, A)"\n[relationships.A]\npedigree = "ped.csv"\n'
    design = load_design(saved(tmp_path, words, "model.toml"))
    assert "id: 'ped.csv' read with ';' between cells" in design.notes
    again = load_design(saved(tmp_path, words + 'read = {separator = ";"}\n', "model.toml"))
    assert not any("between cells" in note for note in again.notes)


# ---------------------------------------------------------------- long tables


LONG = """plot,block,trait,value
1,A,ht,1.5
1,A,dbh,10
2,A,ht,2.5
3,B,ht,3.0
3,B,dbh,14
4,B,dbh,12
4,B,form,3
"""
LONG_MODEL = """data = "trees.csv"
traits = ["ht", "dbh"]
random = "diag(trait):block"
residual = "diag(trait):units"
[long]
trait = "trait"
value = "value"
"""


def test_long__traits_in_rows(tmp_path):
    saved(tmp_path, LONG)
    design = load_design(saved(tmp_path, LONG_MODEL + 'unit = "plot"\n', "model.toml"))
    np.testing.assert_array_equal(design.response, [[1.5, 10], [2.5, np.nan], [3.0, 14], [np.nan, 12]])
    assert list(design.units) == [1, 2, 3, 4]
    assert "records of traits that the model does not name were left out: 1 of 'form'" in design.notes
    spec = design.spec
    assert bmv.ModelSpec.from_toml(spec.to_toml()).long == LongLayout(trait="trait", value="value", unit="plot")


def test_long__without_units_each_record_is_one(tmp_path):
    saved(tmp_path, LONG)
    design = load_design(saved(tmp_path, LONG_MODEL, "model.toml"))
    assert design.response.shape == (6, 2)
    assert design.observed.sum(axis=1).tolist() == [1] * 6


def test_long__with_decimal_commas(tmp_path):
    saved(tmp_path, LONG.replace(",", ";").replace(".", ","))
    design = load_design(saved(tmp_path, LONG_MODEL + 'unit = "plot"\n', "model.toml"))
    assert design.response[0].tolist() == [1.5, 10.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ht,3.0", "ht,3.0\n3,B,ht,3.1"), r"the 'plot' '3' have two records of one trait; take their mean"),
        (("3,B,dbh", "3,A,dbh"), r"'block' differ between the records of a unit"),
        (("ht,", "hgt,"), r"no row of 'trait' is of the trait 'ht'; there are: 'hgt', 'dbh', 'form'"),
        (("2,A,ht", "2,A,"), r"the trait in 'trait' is missing in 1 rows: line 4"),
        (("2,A,ht", ",A,ht"), r"the unit 'plot' is missing in 1 rows: line 4"),
        (("value", "val"), r"\[long\] names 'value', which is not a column of the data; columns: 'plot', 'block'"),
        (("block", "ht"), r"the data have columns 'ht' beside the traits of that name in rows"),
    ],
)
def test_long__raises(tmp_path, change, message):
    saved(tmp_path, LONG.replace(*change))
    words = LONG_MODEL if change[0] != "block" else LONG_MODEL.replace("block", "ht")
    with pytest.raises((DataError, SpecError), match=message):
        load_design(saved(tmp_path, words + 'unit = "plot"\n', "model.toml"))


def test_long_layout__raises():
    with pytest.raises(SpecError, match=r"\[long\] needs 'trait' and 'value', the columns of the names"):
        bmv.ModelSpec.from_toml('traits = ["y"]\n[long]\ntrait = "t"\n')
