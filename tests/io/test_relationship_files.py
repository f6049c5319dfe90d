"""Relationships from files: every kind gives what the same numbers give in Python, and says what was recognised."""

import gzip

import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed
from scipy import sparse

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError
from bayesmv.io.files import load_design
from bayesmv.io.relationships import read_relationship

RNG = np.random.default_rng(8)
IDS = [f"L{i:02d}" for i in range(12)]
COUNTS = pd.DataFrame(RNG.integers(0, 3, (12, 30)).astype(float), index=IDS, columns=[f"m{k}" for k in range(30)])
_B = RNG.normal(size=(12, 20))
K = pd.DataFrame(_B @ _B.T / 20 + 0.05 * np.eye(12), index=IDS, columns=IDS)


def saved(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def same(found, expected, tolerance=1e-9):
    order = [list(found.ids).index(label) for label in expected.ids]
    np.testing.assert_allclose(
        found.precision.toarray()[np.ix_(order, order)], expected.precision.toarray(), rtol=0, atol=tolerance
    )
    assert found.log_determinant == pytest.approx(expected.log_determinant, abs=tolerance)
    np.testing.assert_allclose(found.diagonal[order], expected.diagonal, atol=tolerance)


# ---------------------------------------------------------------- markers


def coded(table, mapping):
    return table.map(lambda value: mapping[value])


def letters(join):
    return coded(COUNTS, {0.0: f"A{join}A", 1.0: f"A{join}G", 2.0: f"G{join}G"})


MARKERS = {
    "counts": (COUNTS.astype(int), "counts 0, 1, 2"),
    "-101": (COUNTS.astype(int) - 1, "codes -1, 0, 1, read as 0, 1, 2"),
    "AB": (coded(COUNTS, {0.0: "AA", 1.0: "AB", 2.0: "BB"}), "AA, AB, BB, read as 0, 1, 2 alleles B"),
    "letters": (letters(""), "letters, read as counts of the allele that is last in the alphabet"),
    "letters with a stroke": (letters("/"), "letters, read as counts"),
    "letters with a bar": (letters("|"), "letters, read as counts"),
    "one letter": (coded(COUNTS, {0.0: "A", 1.0: "R", 2.0: "G"}), "letters, read as counts"),
}


@pytest.mark.parametrize("orientation", ["rows", "columns"])
@pytest.mark.parametrize("kind", MARKERS)
def test_markers__codings_in_rows_and_columns(tmp_path, kind, orientation):
    table, note = MARKERS[kind]
    shown = table if orientation == "rows" else table.T
    shown.to_csv(tmp_path / "geno.csv", index_label="id" if orientation == "rows" else "marker")
    found = read_relationship(markers="geno.csv", base=tmp_path, blend=0.05)
    same(found, bmv.Relationship.from_markers(COUNTS, blend=0.05))
    assert f"markers of 'geno.csv': 12 individuals in {orientation}, 30 markers, {note}" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("geno.tsv", lambda path: COUNTS.astype(int).to_csv(path, sep="\t", index_label="id")),
        ("geno.parquet", lambda path: COUNTS.rename_axis("id").reset_index().to_parquet(path)),
        ("geno.csv.gz", lambda path: COUNTS.astype(int).to_csv(path, index_label="id")),
        ("geno.xlsx", lambda path: COUNTS.astype(int).to_excel(path, index_label="id")),
        (
            "geno.raw",
            lambda path: (
                COUNTS.astype(int)
                .assign(FID="F", IID=IDS, PAT=0, MAT=0, SEX=0, PHENOTYPE=-9)[
                    ["FID", "IID", "PAT", "MAT", "SEX", "PHENOTYPE", *COUNTS.columns]
                ]
                .to_csv(path, sep=" ", index=False)
            ),
        ),
    ],
)
def test_markers__kinds_of_files(tmp_path, name, write):
    write(tmp_path / name)
    found = read_relationship(markers=name, base=tmp_path, blend=0.05)
    same(found, bmv.Relationship.from_markers(COUNTS, blend=0.05))


@pytest.mark.parametrize("kind", MARKERS)
def test_markers__of_large_files_are_read_in_parts(tmp_path, kind, monkeypatch):
    table, _ = MARKERS[kind]
    table.to_csv(tmp_path / "geno.csv", index_label="id")
    whole = read_relationship(markers="geno.csv", base=tmp_path, blend=0.05)
    monkeypatch.setattr("bayesmv.io.genotypes._LARGE", 1)
    monkeypatch.setattr("bayesmv.relationship.markers._HELD", 50)
    parts = read_relationship(markers="geno.csv", base=tmp_path, blend=0.05)
    same(parts, whole)
    assert parts.notes == whole.notes


def test_markers__raise_on_a_short_row_of_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr("bayesmv.io.genotypes._LARGE", 1)
    saved(tmp_path, "geno.csv", "id,m1,m2\na,0,1\nb,2\n")
    with pytest.raises(DataError, match=r"row 2 of '.*' has 2 cells, the first line 3; give each a cell for every col"):
        read_relationship(markers="geno.csv", base=tmp_path)


def test_markers__raise_on_a_table_of_something_else(tmp_path, monkeypatch):
    monkeypatch.setattr("bayesmv.io.genotypes._MOST_WORDS", 5)
    pd.DataFrame(RNG.normal(size=(4, 3)), columns=list("abc")).to_csv(tmp_path / "geno.csv", index_label="id")
    with pytest.raises(DataError, match=r"are 5 different words or more, such as .*; of markers they are few"):
        read_relationship(markers="geno.csv", base=tmp_path)


def test_markers__of_plink(tmp_path):
    counts = COUNTS.to_numpy().copy()
    counts[2, 3] = np.nan
    properties = {"iid": IDS, "sid": list(COUNTS.columns)}
    to_bed(tmp_path / "geno.bed", counts, properties=properties, count_A1=True)
    found = read_relationship(markers="geno.bed", base=tmp_path, blend=0.05)
    same(found, bmv.Relationship.from_markers(pd.DataFrame(counts, IDS, COUNTS.columns), blend=0.05))
    assert "counts of the first allele of the .bim file, 1 calls missing" in found.notes[0]


@pytest.mark.parametrize(
    ("word", "options", "note"),
    [
        ("NA", {}, "calls of 'geno.csv' read as missing: 'NA' in 2"),
        ("5", {}, "'5' in 2"),
        ("-9", {}, "'-9' in 2"),
        ("bad", {"missing": ["bad"]}, "'bad' in 2"),
        ("", {}, None),
    ],
)
def test_markers__missing_calls(tmp_path, word, options, note):
    table = COUNTS.astype(int).astype(object)
    table.iloc[3, 4] = table.iloc[7, 9] = word
    table.to_csv(tmp_path / "geno.csv", index_label="id")
    holes = COUNTS.copy()
    holes.iloc[3, 4] = holes.iloc[7, 9] = np.nan
    found = read_relationship(markers="geno.csv", base=tmp_path, blend=0.05, **options)
    same(found, bmv.Relationship.from_markers(holes, blend=0.05))
    assert note is None or any(note in said for said in found.notes), found.notes


def test_markers__of_lines_say_whether_they_are_homozygotes(tmp_path):
    lines = (COUNTS > 0.5).astype(int)
    lines.to_csv(tmp_path / "geno.csv", index_label="id")
    with pytest.raises(
        DataError, match=r"the calls of '.*' are 0 and 1 alone: counts .*codes = \"012\".*codes = \"01\""
    ):
        read_relationship(markers="geno.csv", base=tmp_path)
    found = read_relationship(markers="geno.csv", base=tmp_path, codes="01", blend=0.05)
    same(found, bmv.Relationship.from_markers(2.0 * lines, blend=0.05))


def test_markers__orientation_by_the_labels_of_the_data(tmp_path):
    COUNTS.astype(int).T.to_csv(tmp_path / "geno.csv", index_label="x")
    pd.DataFrame({"line": IDS * 2, "y": RNG.normal(size=24)}).to_csv(tmp_path / "trial.csv", index=False)
    model = 'data = "trial.csv"\ntraits = ["y"]\nrandom = "vm(line, G)"\n[relationships.G]\nmarkers = "geno.csv"\n'
    model += "blend = 0.1\n"
    design = load_design(saved(tmp_path, "model.toml", model))
    same(design.terms[0].relationship, bmv.Relationship.from_markers(COUNTS, blend=0.1))
    with pytest.raises(
        DataError, match=r"the rows of '.*' may be individuals \('m0', 'm1', 'm2' \(and 27 more\)\) or mark"
    ):
        read_relationship(markers="geno.csv", base=tmp_path)
    found = read_relationship(markers="geno.csv", base=tmp_path, orientation="columns", blend=0.1)
    same(found, bmv.Relationship.from_markers(COUNTS, blend=0.1))


def test_markers__options_of_the_relationship(tmp_path):
    COUNTS.astype(int).to_csv(tmp_path / "geno.csv", index_label="id")
    frequencies = pd.Series(np.linspace(0.2, 0.8, 30), index=COUNTS.columns)
    frequencies.rename("p").to_csv(tmp_path / "p.csv", index_label="marker")
    found = read_relationship(markers="geno.csv", base=tmp_path, method=2, frequencies="p.csv")
    same(found, bmv.Relationship.from_markers(COUNTS, method=2, frequencies=frequencies), 1e-6)
    half = read_relationship(markers="geno.csv", base=tmp_path, frequencies=0.5, scale="diagonal")
    assert half.diagonal.mean() == pytest.approx(1.0)
    plain = bmv.Relationship.from_markers(COUNTS, frequencies=pd.Series(0.5, index=COUNTS.columns))
    np.testing.assert_allclose(half.covariance(), plain.covariance() / plain.diagonal.mean(), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("id,m1,m2\na,AA,ZZ\nb,AB,BB\n", {}, r"of no coding that is known: 'ZZ'; allowed are 0 1 2"),
        ("id,m1,m2\na,A/C,AA\nb,A/G,AA\n", {}, r"the marker 'm1' of '.*' has 3 alleles, A, C, G; two at most"),
        ("id,m1,m2\na,0,1\n,2,1\n", {}, r"the first column of '.*', 'id', has empty cells"),
        ("id,m1,m2\na,0,1\nb,2,1\n", {"codes": "AB"}, r"are none of AA, AB, BB: '0', '1', '2'"),
        ("id,m1,m2\na,AA,AB\nb,BB,AB\n", {"codes": "012"}, r"are no numbers: 'AA', 'AB', 'BB'; say their codes"),
        ("id,m1,m2\na,0,1\nb,2,7\n", {}, r"calls are outside 0 .. 2: 7 at marker 'm2' of 'b'"),
        ("id,m1,m2\na,0,1\nb,2,1\n", {"codes": "xyz"}, r"cannot have the codes 'xyz'; codes: '012', '01', '-101'"),
        ("id,m1,m2\na,0,1\nb,2,1\n", {"orientation": "up"}, r"'orientation' is 'up'; allowed: 'rows', 'columns'"),
    ],
)
def test_markers__raise(tmp_path, content, options, message):
    saved(tmp_path, "geno.csv", content)
    with pytest.raises((DataError, SpecError), match=message):
        read_relationship(markers="geno.csv", base=tmp_path, **options)


def test_markers__raise_on_half_of_plink(tmp_path):
    saved(tmp_path, "geno.bed", b"l\x1b\x01")
    with pytest.raises(DataError, match=r"no file '.*geno.bim'; PLINK's genotypes are three, .bed, .bim and .fam"):
        read_relationship(markers="geno.bed", base=tmp_path)
    for suffix in ("bim", "fam"):
        saved(tmp_path, f"geno.{suffix}", "nonsense\n")
    with pytest.raises(DataError, match=r"cannot read '.*geno.bed' as PLINK's .bed"):
        read_relationship(markers="geno.bed", base=tmp_path)


# ---------------------------------------------------------------- matrices


def triplets(matrix, labels, both=False, header="row,column,value\n"):
    pairs = [(i, j) for i in range(12) for j in range(12) if both or j <= i]
    return header + "".join(f"{labels[i]},{labels[j]},{float(matrix.iloc[i, j])!r}\n" for i, j in pairs)


def asreml(matrix):
    return "".join(f"{i + 1} {j + 1} {float(matrix.iloc[i, j])!r}\n" for i in range(12) for j in range(i + 1))


def lower(matrix, kind):
    return matrix.to_numpy()[np.tril_indices(12)].astype(kind)


ORDER = RNG.permutation(12)
SQUARES = {
    "labels in both": ("G.csv", K.to_csv(), {}),
    "labels in another order": ("G.csv", K.iloc[:, ORDER].to_csv(), {}),
    "labels in the first row": ("G.csv", K.to_csv(index=False), {}),
    "without labels": ("G.csv", K.to_csv(index=False, header=False), {"labels": "ids.txt"}),
    "semicolons": ("G.csv", K.to_csv(sep=";"), {}),
    "triplets of one triangle": ("G.csv", triplets(K, IDS), {}),
    "triplets of both": ("G.csv", triplets(K, IDS, both=True), {}),
    "triplets without a header": ("G.csv", triplets(K, IDS, header=""), {}),
    "ASReml": ("G.grm", asreml(K), {"labels": "ids.txt"}),
}


@pytest.mark.parametrize("kind", SQUARES)
def test_covariance__kinds_of_files(tmp_path, kind):
    name, content, options = SQUARES[kind]
    saved(tmp_path, name, content)
    saved(tmp_path, "ids.txt", "\n".join(IDS) + "\n")
    found = read_relationship(covariance=name, base=tmp_path, **options)
    same(found, bmv.Relationship.from_covariance(K))
    assert any(note.startswith(f"'{name}': ") for note in found.notes), found.notes


def test_covariance__of_numpy_parquet_and_gcta(tmp_path):
    saved(tmp_path, "ids.txt", "\n".join(IDS))
    np.save(tmp_path / "G.npy", K.to_numpy())
    same(read_relationship(covariance="G.npy", labels="ids.txt", base=tmp_path), bmv.Relationship.from_covariance(K))
    K.rename_axis("id").reset_index().to_parquet(tmp_path / "G.parquet")
    same(read_relationship(covariance="G.parquet", base=tmp_path), bmv.Relationship.from_covariance(K))
    single = pd.DataFrame(K.to_numpy().astype("<f4").astype(float), IDS, IDS)
    saved(tmp_path, "G.grm.id", "".join(f"fam\t{label}\n" for label in IDS))
    saved(tmp_path, "G.grm.bin", lower(K, "<f4").tobytes())
    found = read_relationship(covariance="G.grm.bin", base=tmp_path)
    same(found, bmv.Relationship.from_covariance(single))
    assert "'G.grm.bin': a square of 12 levels of GCTA" in found.notes
    rows = "".join(f"{i + 1}\t{j + 1}\t30\t{float(K.iloc[i, j])!r}\n" for i in range(12) for j in range(i + 1))
    saved(tmp_path, "H.grm.gz", gzip.compress(rows.encode()))
    saved(tmp_path, "H.grm.id", (tmp_path / "G.grm.id").read_text())
    same(read_relationship(covariance="H.grm.gz", base=tmp_path), bmv.Relationship.from_covariance(K))


def test_precision__sparse_triplets_and_giv(tmp_path):
    chain = pd.DataFrame(2.5 * np.eye(12) - np.eye(12, k=1) - np.eye(12, k=-1), IDS, IDS)
    expected = bmv.Relationship.from_precision(sparse.csc_array(chain.to_numpy()), IDS)
    few = "".join(
        f"{IDS[i]},{IDS[j]},{chain.iloc[i, j]}\n" for i in range(12) for j in range(i + 1) if chain.iloc[i, j]
    )
    saved(tmp_path, "P.csv", few)
    saved(tmp_path, "ids.txt", "\n".join(IDS))
    saved(tmp_path, "P.giv", asreml(chain))
    for name, options in (("P.csv", {}), ("P.giv", {"labels": "ids.txt"})):
        found = read_relationship(precision=name, base=tmp_path, **options)
        same(found, expected)
    assert found.precision.nnz <= 144


@pytest.mark.parametrize(
    ("name", "content", "entry", "message"),
    [
        (
            "G.csv",
            K.to_csv(index=False, header=False),
            {},
            r"is a square of 12 numbers a row without labels; give them by",
        ),
        (
            "G.csv",
            "a,b,c,d\n1,2,3,4\n",
            {},
            r"has 2 rows of 4 cells, which is no square with labels and no list of row",
        ),
        (
            "G.csv",
            K.rename(index={"L00": "other"}).to_csv(),
            {},
            r"have different labels: 'L00', 'other' in one of them",
        ),
        (
            "G.csv",
            K.rename(index={"L00": "L01"}, columns={"L00": "L01"}).to_csv(),
            {},
            r"labels stand twice in .*'L01'",
        ),
        ("G.csv", "a,b,1\nb,a,2\na,a,3\nb,b,3\n", {}, r"has different values for 'a', 'b'; give each pair once"),
        ("G.csv", "r,c,v\na,b,1\na,a,x\nb,b,1\nc,c,1\n", {}, r"values of '.*' are no numbers: 'x' in 1 rows"),
        ("G.csv", "a,b,x\na,a,1\nb,b,1\nc,c,1\nc,b,0\n", {}, r"values of '.*' are no numbers: 'x' in 1 rows"),
        ("G.grm", "1 1 1.0\n2 1 0.2\n2 2 1.0\n", {}, r"numbers its rows from 1, and does not say what they are called"),
        ("G.giv", "1 1 1.0\n", {}, r"'G.giv' is an inverse by its name; write precision = \"G.giv\""),
        (
            "G.grm",
            "1 1 1.0\n13 1 0.2\n",
            {"labels": "ids.txt"},
            r"must be numbers from 1 to 12, the number of labels: '13' are not",
        ),
        ("G.npy", b"no array", {"labels": "ids.txt"}, r"cannot read '.*' as an array of NumPy"),
        ("G.npy", b"no array", {}, r"has no labels; name a file with a label in each line"),
        ("G.grm.bin", b"1234", {}, r"no file '.*G.grm.id', which names the individuals"),
        ("G.csv", K.to_csv(index=False, header=False), {"labels": "none.txt"}, r"no file of labels '.*none.txt'"),
        ("G.csv", K.iloc[:5, :5].to_csv(index=False, header=False), {"labels": "ids.txt"}, r"5 rows and 12 labels"),
    ],
)
def test_covariance__raise(tmp_path, name, content, entry, message):
    saved(tmp_path, name, content)
    saved(tmp_path, "ids.txt", "\n".join(IDS))
    with pytest.raises((DataError, SpecError), match=message):
        read_relationship(covariance=name, base=tmp_path, **entry)


def test_covariance__too_large_a_square_asks_for_the_sparse_inverse(tmp_path, monkeypatch):
    monkeypatch.setattr("bayesmv.io.matrices._MOST", 10)
    saved(tmp_path, "G.csv", K.to_csv())
    with pytest.raises(
        DataError, match=r"a square of 12 levels, more than the 10 that are inverted; give the sparse inv"
    ):
        read_relationship(covariance="G.csv", base=tmp_path)


def test_covariance__blended_with_another_of_the_file(tmp_path):
    saved(tmp_path, "G.csv", K.to_csv())
    saved(tmp_path, "B.csv", (2.0 * np.eye(12) + 0.0 * K).to_csv())
    pd.DataFrame({"line": IDS * 2, "y": RNG.normal(size=24)}).to_csv(tmp_path / "trial.csv", index=False)
    words = (
        'data = "trial.csv"\ntraits = ["y"]\nrandom = "vm(line, G)"\n[relationships.G]\ncovariance = "G.csv"\n'
        'blend = 0.2\nblend_with = "B"\n[relationships.B]\ncovariance = "B.csv"\n'
    )
    design = load_design(saved(tmp_path, "model.toml", words))
    same(design.terms[0].relationship, bmv.Relationship.from_covariance(0.8 * K + 0.4 * np.eye(12)))
    circle = words + 'blend = 0.1\nblend_with = "G"\n'
    with pytest.raises(SpecError, match=r"\[relationships\] are blended with each other in a circle: G, B"):
        load_design(saved(tmp_path, "model.toml", circle))


# ---------------------------------------------------------------- pedigrees


def pedigree_rows():
    rows = [(f"f{i}", "", "") for i in range(4)] + [(f"L{i:02d}", f"f{i % 2}", f"f{2 + i % 2}") for i in range(12)]
    return pd.DataFrame(rows, columns=["id", "sire", "dam"])


def test_single_step__of_two_files(tmp_path):
    pedigree_rows().to_csv(tmp_path / "ped.csv", index=False)
    COUNTS.astype(int).iloc[:5].to_csv(tmp_path / "geno.csv", index_label="id")
    found = read_relationship(pedigree="ped.csv", markers="geno.csv", base=tmp_path, blend=0.1, tau=0.9)
    same(found, bmv.Relationship.single_step(pedigree_rows(), COUNTS.iloc[:5], blend=0.1, tau=0.9))
    assert found.notes[0].startswith("markers of 'geno.csv': 5 individuals in rows")


def test_dominance__of_a_pedigree(tmp_path):
    pedigree_rows().to_csv(tmp_path / "ped.csv", index=False)
    found = read_relationship(pedigree="ped.csv", dominance=True, base=tmp_path)
    expected = bmv.Relationship.dominance(pedigree_rows())
    np.testing.assert_allclose(found.covariance(IDS), expected.covariance(IDS), atol=1e-9)


def test_genetic_groups__are_fixed_covariates(tmp_path):
    rows = pedigree_rows()
    rows["sire"] = ["north", "south", "north", "south", *rows["sire"][4:]]
    rows["dam"] = ["north", "south", "south", "south", *rows["dam"][4:]]
    rows.to_csv(tmp_path / "ped.csv", index=False)
    data = pd.DataFrame({"id": IDS * 2, "y": RNG.normal(size=24).round(3)})
    data.to_csv(tmp_path / "trial.csv", index=False)
    words = (
        'data = "trial.csv"\ntraits = ["y"]\nrandom = "vm(id, A)"\n[relationships.A]\npedigree = "ped.csv"\n'
        'genetic_groups = ["north", "south"]\n'
    )
    fit = bmv.fit_reml(load_design(saved(tmp_path, "model.toml", words)))
    pedigree = bmv.Pedigree.from_frame(rows, groups=["north", "south"])
    shares = bmv.group_shares(pedigree)
    by_hand = data.assign(south=shares["south"][data["id"]].to_numpy())
    spec = bmv.ModelSpec.from_formula("y ~ 1 + south", random="vm(id, A)")
    kin = {"A": bmv.Relationship.from_pedigree(bmv.without_groups(pedigree))}
    expected = bmv.fit_reml(bmv.build_design(spec, by_hand, kin))
    assert fit.loglik == pytest.approx(expected.loglik, abs=1e-9)
    assert fit.design.fixed.variables == ("Intercept", "share south")
    assert "id: shares of the genetic groups south, against north, are fixed covariates" in fit.design.notes


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"markers": "g.csv", "pedigre": "p"}, r"unknown entry 'pedigre' in the relationship; allowed: 'pedigree'"),
        (
            {"covariance": "a", "precision": "b"},
            r"needs one of 'pedigree', 'markers', 'covariance', 'precision', a file",
        ),
        ({}, r"the relationship needs one of 'pedigree', 'markers'"),
        (
            {"pedigree": "p", "method": 2},
            r"'method' in the relationship goes not with pedigree; with that go 'pedigree'",
        ),
        ({"markers": "g", "method": "2"}, r"'method' in the relationship must be 1 or 2, not '2'"),
        ({"markers": "g", "blend": True}, r"'blend' in the relationship must be a share from 0 to 1, not True"),
        ({"markers": "g", "missing": "x"}, r"'missing' in the relationship must be a list of codes of missing calls"),
        ({"covariance": "g", "blend_with": "B"}, r"no file 'g'"),
    ],
)
def test_relationship__raises(table, message):
    with pytest.raises((SpecError, DataError), match=message):
        read_relationship(**table)


def test_relationship__raises_on_scale_and_partner(tmp_path):
    saved(tmp_path, "G.csv", K.to_csv())
    with pytest.raises(SpecError, match=r"'scale' must be a factor or \"diagonal\", not 'big'"):
        read_relationship(covariance="G.csv", base=tmp_path, scale="big")
    with pytest.raises(DataError, match=r"cannot be multiplied by -1.0; give a positive number"):
        read_relationship(covariance="G.csv", base=tmp_path, scale=-1)
    with pytest.raises(SpecError, match=r"'blend_with' names 'B', which is no other relationship; relationships: none"):
        read_relationship(covariance="G.csv", base=tmp_path, blend=0.1, blend_with="B")
