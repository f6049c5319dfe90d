"""Files of users: what is read as text, what is refused in one line, and which lines messages name."""

import gzip

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.errors import LINE, DataError, PedigreeError, SpecError
from bayesmv.io.tables import read_table
from bayesmv.relationship.pedigree import Pedigree

BODY = "y,f\n1,a\n2,b\n3,a\n"


def written(folder, content):
    path = folder / "d.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---------------------------------------------------------------- tables


def test_read_csv__cells_are_text_as_written(tmp_path):
    table = read_table(written(tmp_path, 'id,x\n001,4.10\n 1E1 ,\n"0,5",NA\n'))
    assert table["id"].tolist() == ["001", "1E1", "0,5"]
    assert table["x"].tolist()[0] == "4.10"
    assert table["x"].isna().tolist() == [False, True, False]
    assert table.index.tolist() == [2, 3, 4]
    assert table.index.name == LINE


@pytest.mark.parametrize(
    "content",
    [
        BODY,
        b"\xef\xbb\xbf" + BODY.encode(),
        BODY.replace("\n", "\r\n"),
        BODY.replace("\n", "\r"),
        " y , f \n1, a\n2,b \n3,a",
        "y,f,\n1,a,\n2,b,\n3,a,\n",
        ',y,f\n"r1",1,"a"\n"r2",2,"b"\n"r3",3,"a"\n',
    ],
    ids=["plain", "mark", "windows", "mac", "blanks", "last column empty", "row names"],
)
def test_read_csv__spellings_of_one_table(tmp_path, content):
    table = read_table(written(tmp_path, content))
    assert table.to_dict("list") == {"y": ["1", "2", "3"], "f": ["a", "b", "a"]}
    assert table.index.tolist() == [2, 3, 4]


def test_read_csv__compressed(tmp_path):
    path = tmp_path / "d.csv.gz"
    path.write_bytes(gzip.compress(BODY.encode()))
    assert read_table(path).shape == (3, 2)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("\n\n" + BODY, [4, 5, 6]),
        ("y,f\n1,a\n\n2,b\n  \n3,c\n\n", [2, 4, 6]),
        ('y,f\n1,"a\nb"\n2,c\n3,d\n', [2, 4, 5]),
    ],
    ids=["blank lines first", "blank lines between", "line break in a cell"],
)
def test_read_csv__lines_are_those_of_the_file(tmp_path, content, lines):
    assert read_table(written(tmp_path, content)).index.tolist() == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty; give a header and rows"),
        ("\n\n", "it is empty; give a header and rows"),
        (",,\n1,2,3\n", "is not a table: a first line of column names"),
        ("y\n1\n\n3\n", "is not a table: a first line of column names"),
        ("y,f,y\n1,a,2\n", "has two columns called 'y'; rename one"),
        ("y, y\n1,2\n", "has two columns called 'y'; rename one"),
        (BODY + "7\n8,a\n", "1 rows of '.*' have fewer cells than the header has columns: lines 5; give each"),
        (BODY + "7,a,b\n", "Expected 2 fields in line 5, saw 3"),
        (BODY + '7,"a\n8,b\n', "EOF inside string starting at row 4"),
        ('y,f\n1,"a\n2,b\n3,"c\n', "a quoted cell in line 2 does not end before a comma"),
        (BODY.replace("a", "\0"), "zero bytes, the first in line 2; save it as UTF-8"),
        (
            BODY.replace("b", "\x81").encode("latin-1"),
            r"neither UTF-8 nor Windows-1252 \(byte 0x81 in line 3\); name its",
        ),
    ],
)
def test_read_csv__raises(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_table(written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_read_csv__a_header_alone_is_refused_by_its_readers(tmp_path, build):
    with pytest.raises(DataError, match="the data have no rows"):
        build('random = "fam"', data=trial().iloc[:0])
    with pytest.raises(PedigreeError, match="the pedigree has no rows"):
        Pedigree.from_frame(read_table(written(tmp_path, "id,sire,dam\n")))


def test_read_csv__raises_on_no_file_and_on_a_folder(tmp_path):
    with pytest.raises(DataError, match="no data file"):
        read_table(tmp_path / "d.csv")
    with pytest.raises(DataError, match="cannot read the data file"):
        read_table(tmp_path)


# ---------------------------------------------------------------- models on files


def trial(n=60):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "tree": [f"T{i:03d}" for i in range(n)],
            "block": [f"{i % 4:02d}" for i in range(n)],
            "month": [["01", "02", "03", "1", "10"][i % 5] for i in range(n)],
            "fam": rng.integers(1, 13, n).astype(str),
            "x": rng.normal(5, 1, n).round(3).astype(str),
            "y": rng.normal(10, 1, n).round(4).astype(str),
            "w": "1",
        }
    )


@pytest.fixture
def build(tmp_path):
    """Design of a table written to a file, or of the trial, under a model file with these lines."""

    def made(*lines, data=None, unit=True):
        (trial() if data is None else data).to_csv(tmp_path / "d.csv", index=False)
        head = ['data = "d.csv"', 'traits = ["y"]', *(['unit = "tree"'] if unit else [])]
        (tmp_path / "m.toml").write_text("\n".join([*head, *lines]))
        return bmv.load_design(tmp_path / "m.toml")

    return made


def test_columns__one_is_factor_and_covariate(build):
    design = build('fixed = "month"', 'random = "month"')
    assert design.fixed.variables == ("Intercept", "month")
    np.testing.assert_array_equal(design.fixed.X.toarray()[:5, 1], [1, 2, 3, 1, 10])
    assert design.term("month").levels.tolist() == ["01", "02", "03", "1", "10"]


def test_columns__levels_as_written_in_every_place(build):
    assert build('fixed = "C(month)"', 'random = "fam"').fixed.variables[1:] == tuple(
        f"C(month)[T.{level}]"
        for level in ("1", "02", "03", "10")  # by size, then as text
    )
    assert build('random = "us(trait:C(month)):block"').effects_of("block") == ("01", "02", "03", "1", "10")
    assert build('random = "fam"', 'residual = "at(block):us(trait):units"').residual.groups == ("00", "01", "02", "03")


def test_columns__whole_numbers_are_in_their_order(build):
    assert build('random = "fam"').term("fam").levels.tolist() == list(range(1, 13))


def test_columns__units_as_written(build):
    data = trial().assign(tree=[f"{i:03d}" for i in range(60)])
    assert build('random = "fam"', data=data).units[:2].tolist() == ["000", "001"]
    assert build('random = "fam"', unit=False).units[:2].tolist() == [0, 1]


def test_columns__long_numbers_are_text(build):
    data = trial().assign(fam=[str(10**30 + i % 3) for i in range(60)])
    assert build('random = "fam"', data=data).term("fam").levels.tolist() == [str(10**30 + i) for i in range(3)]


def test_notes__blanks_that_made_one_label_of_two(build):
    data = trial()
    data.loc[:1, "fam"] = ["1 ", "1"]
    assert build('random = "fam"', data=data).notes == (
        "blanks around labels of 'fam' taken off, which makes one of '1 ' and '1'",
    )
    assert build('random = "block"', data=data).notes == ()


def test_missing__all_columns_in_one_message_with_lines_and_units(build):
    data = trial()
    data.loc[[3, 7], "block"] = ""
    data.loc[5, "fam"] = "NA"
    data.loc[9, "x"] = "."
    terms = 'fixed = "1 + x"', 'random = "fam + block"'
    with pytest.raises(
        DataError,
        match=r"^the fixed effect 'x' is missing in 1 rows: line 11 \('T009'\); the random factor 'fam' is missing in "
        r"1 rows: line 7 \('T005'\); the random factor 'block' is missing in 2 rows: line 5 \('T003'\), line 9 "
        r"\('T007'\); fill the values in or take these units out; give these units a level",
    ):
        build(*terms, data=data)
    with pytest.raises(DataError, match=r"'block' is missing in 2 rows: lines 5, 9; fill"):
        build(*terms, data=data, unit=False)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({3: "tall", 4: "3,5"}, r"not numeric: 'tall', '3,5' in 2 rows \(line 5 \('T003'\), line 6.*with a point"),
        ({3: "inf"}, r"'y' is infinite in rows line 5 \('T003'\)"),
        ({3: "-999", 5: "-999"}, r"look like codes .*: -999 in 2 records of 'y'; add missing = \[-999\] to the model"),
    ],
)
def test_traits__raise(build, cells, message):
    data = trial()
    data.loc[list(cells), "y"] = list(cells.values())
    with pytest.raises(DataError, match=message):
        build('random = "fam"', data=data)


def test_traits__words_and_codes_for_missing(build):
    data = trial()
    data.loc[[3, 5, 6, 8], "y"] = [".", "NA", "-999.0", "-999"]
    design = build('random = "fam"', "missing = [-999]", data=data)
    assert design.notes == (
        "'.' in 1, 'NA' in 1, '-999.0' in 1, '-999' in 1 records of 'y' read as missing",
        "4 units without a record of any trait were left out: 'T003', 'T005', 'T006', 'T008'",
    )
    assert design.n_records == 56
    assert build('random = "fam"', "missing = []", data=data).n_records == 58


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("tree", "T009", r"names 'T009' more than once \(lines 5, 11\)"),
        ("tree", "", "'tree' has missing values in line 5"),
        ("w", "1e300", r"from 1 to 1e\+300 \(line 2 \('T000'\), line 5 \('T003'\)\); weights differ by"),
        ("w", "-1", r"not a positive number in 1 rows: line 5 \('T003'\)"),
    ],
)
def test_units_and_weights__raise(build, column, value, message):
    data = trial()
    data.loc[3, column] = value
    with pytest.raises(DataError, match=message):
        build('random = "fam"', 'weights = "w"', data=data)


def test_weights__raise_outside_what_can_be_summed(build):
    with pytest.raises(DataError, match="from 1e-300 to 1e-300"):
        build('random = "fam"', 'weights = "w"', data=trial().assign(w="1e-300"))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_model_file__raises_on_other_encodings(tmp_path, encoding):
    (tmp_path / "m.toml").write_bytes('title = "\xe9"\ntraits = ["y"]'.encode(encoding))
    with pytest.raises(SpecError, match=r"cannot read the model file .*; save it as UTF-8"):
        bmv.ModelSpec.from_file(tmp_path / "m.toml")


def test_model_file__with_a_byte_order_mark(tmp_path):
    (tmp_path / "m.toml").write_bytes(b'\xef\xbb\xbftraits = ["y"]\nmissing = [-999, "x"]')
    spec = bmv.ModelSpec.from_file(tmp_path / "m.toml")
    assert spec.missing == ("-999", "x")
    assert bmv.ModelSpec.from_toml(spec.to_toml()).missing == spec.missing


@pytest.mark.parametrize("entry", ["missing = -999", "missing = [[1]]", 'missing = "x"'])
def test_model_file__raises_on_codes_that_are_no_list(entry):
    with pytest.raises(SpecError, match="'missing' in 'model' must be a list"):
        bmv.ModelSpec.from_toml(f'traits = ["y"]\n{entry}')


# ---------------------------------------------------------------- pedigrees


def families(**columns):
    """Twenty founders and sixty offspring, ids of three digits."""
    young = range(60)
    frame = pd.DataFrame(
        {
            "id": [f"{i:03d}" for i in range(1, 81)],
            "sire": [""] * 20 + [f"{i % 10 + 1:03d}" for i in young],
            "dam": [""] * 20 + [f"{i % 7 + 11:03d}" for i in young],
        }
    )
    return frame.assign(**columns)


def founders(code):
    frame = families()
    frame.loc[:19, ["sire", "dam"]] = code
    return frame


@pytest.fixture
def pedigree(tmp_path):
    def made(frame, **words):
        return Pedigree.from_frame(read_table(written(tmp_path, frame.to_csv(index=False))), **words)

    return made


@pytest.mark.parametrize("code", ["0", "000", ".", "*", "-", "?", "NA", "-9", "-99", "-999", "unknown", "UNK", "None"])
def test_pedigree__codes_are_unknown_parents(pedigree, code):
    got, expected = pedigree(founders(code)), pedigree(families())
    assert got.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(got.sire, expected.sire)
    assert got.notes == (f"'{code}' in 40 cells of sire and dam read as unknown",)
    assert expected.notes == ()


def test_pedigree__codes_that_are_named(pedigree):
    assert pedigree(founders("x"), unknown=["x"]).notes == ("'x' in 40 cells of sire and dam read as unknown",)
    with pytest.raises(PedigreeError, match="codes for unknown parents have rows of their own: '005'"):
        pedigree(families(), unknown=["005"])


def test_pedigree__a_code_with_a_row_is_an_animal(pedigree):
    frame = pd.DataFrame({"id": ["0", "1", "2"], "sire": ["", "", "0"], "dam": ["", "", "1"]})
    got = pedigree(frame)
    assert got.ids.tolist() == [0, 1, 2]
    assert got.sire.tolist() == [-1, -1, 0]
    assert got.notes == ("parents with rows of their own taken for animals: '0'",)
    both = founders("0")
    both.loc[0] = ["0", "", ""]
    with pytest.raises(PedigreeError, match="'0' has a row of its own and is both sire and dam in 19 rows"):
        pedigree(both)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (founders("x"), r"both sire and dam, .*: 'x' \(sire in 20 rows, dam in 20\); .* unknown = \[\"x\"\] in"),
        (founders("-1"), r"'-1' \(sire in 20 rows, dam in 20\)"),
        (families(sire="open"), r"implausible number: 'open' \(sire in 80 rows, dam in 0\)"),
        (families(sire=["US"] * 40 + [f"{i % 10 + 1:03d}" for i in range(40)]), r"'US' \(sire in 40 rows, dam in 0\)"),
        (
            families(sire=lambda d: d["sire"].str.lstrip("0")),
            "10 parents without a row are written unlike an animal .*: '1 for 001', '2 for 002'",
        ),
        (families(dam=lambda d: d["dam"].where(d["dam"] == "", d["dam"] + ".0")), "'011.0 for 011'"),
        (families(id=lambda d: d["id"].replace("031", "025")), r"different parents: '025' \(lines 26, 32\)"),
        (families(id=lambda d: d["id"].replace("031", "*")), "own id is missing in line 32"),
    ],
)
def test_pedigree__raises(pedigree, frame, message):
    with pytest.raises(PedigreeError, match=message):
        pedigree(frame)


def test_pedigree__balanced_parents_without_rows_are_animals(pedigree):
    young = families().iloc[20:]
    got = pedigree(young.assign(sire=["A", "B"] * 30))
    assert len(got) == 60 + 2 + 7
    assert got.notes[0].startswith("9 parents without a row added as founders: 'A', 'B'")


def test_pedigree__an_id_written_unlike_another_is_a_note(pedigree):
    frame = families()
    frame.loc[70, "sire"] = "1"
    notes = pedigree(frame).notes
    assert notes[0] == "parents without a row that are written unlike an animal with one: '1 for 001'"


def test_relationship__levels_written_otherwise_are_named(tmp_path, build):
    families().to_csv(tmp_path / "p.csv", index=False)
    data = trial().assign(tree=[str(i + 21) for i in range(60)])
    with pytest.raises(DataError, match=r"60 levels of 'tree' are not in .*, in line 2 \(21\), .*: '21 and 021'"):
        build('random = "vm(tree, A)"', "[relationships.A]", 'pedigree = "p.csv"', data=data)
