"""Selfing and autotetraploids: relationships held to explicit selfed generations and to genes traced one by one."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.errors import PedigreeError
from bayesmv.io.relationships import read_relationship


def table(*rows):
    return pd.DataFrame(rows, columns=["id", "sire", "dam", "selfed"])


LINES = table(
    ("A", None, None, 0),
    ("B", None, None, 0),
    ("C", None, None, 3),
    ("L1", "A", "B", 5),
    ("L2", "A", "B", 2),
    ("X", "L1", "L2", 0),
    ("L3", "X", "C", 4),
    ("Y", "L3", "A", 0),
    ("Z", "L3", None, 1),
)


def explicit(lines):
    """The same with a row for every generation of selfing."""
    rows = []
    for id, sire, dam, selfed in lines.itertuples(index=False):
        names = [f"{id} F{g + 1}" for g in range(selfed)] + [id]
        rows.append((names[0], sire, dam))
        rows += [(child, parent, parent) for parent, child in pairwise(names)]
    return pd.DataFrame(rows, columns=["id", "sire", "dam"])


def test_selfing__equals_rows_of_every_generation():
    short = bmv.Pedigree.from_frame(LINES, selfing="selfed")
    long = bmv.Pedigree.from_frame(explicit(LINES))
    A = long.relationship(short.ids)
    np.testing.assert_allclose(short.relationship(), A, atol=1e-12)
    np.testing.assert_allclose(short.inbreeding, np.diag(A) - 1.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.inv(short.inverse().toarray()), A, atol=1e-10)
    assert short.log_determinant == pytest.approx(np.linalg.slogdet(A)[1], abs=1e-10)


def test_selfing__halves_heterozygosity_each_time():
    pedigree = bmv.Pedigree.from_frame(LINES, selfing="selfed")
    F = pd.Series(pedigree.inbreeding, index=pedigree.ids)
    assert (F["L1"], F["L2"], F["C"]) == pytest.approx((1 - 2**-5, 1 - 2**-2, 1 - 2**-3))


def test_selfing__rows_in_any_order_and_pruned():
    mixed = bmv.Pedigree.from_frame(LINES.iloc[::-1], selfing="selfed")
    whole = bmv.Pedigree.from_frame(LINES, selfing="selfed").relationship()
    np.testing.assert_allclose(mixed.relationship(whole.index), whole, atol=1e-12)
    pruned = mixed.prune(["Y", "Z"])
    np.testing.assert_allclose(pruned.relationship(["Y", "Z"]), whole.loc[["Y", "Z"], ["Y", "Z"]], atol=1e-12)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("gone", [0] * 9, r"the column 'gone' of generations of selfing is absent; columns: 'id', 'sire'"),
        ("selfed", [-1] + [0] * 8, r"must be whole numbers from 0 to 25: -1 in 0"),
        ("selfed", ["x"] + [0] * 8, r"must be whole numbers from 0 to 25: 'x' in 0"),
        ("selfed", [0.5] + [0] * 8, r"must be whole numbers from 0 to 25: 0.5 in 0"),
    ],
)
def test_selfing__raises(column, values, message):
    with pytest.raises(PedigreeError, match=message):
        bmv.Pedigree.from_frame(LINES.assign(selfed=values), selfing=column)


# ---------------------------------------------------------------- autotetraploids


def genes(rows, double_reduction):
    """Probabilities that two genes are identical by descent, gene by gene, four for each individual."""
    ids = [row[0] for row in rows]
    G = np.zeros((4 * len(ids), 4 * len(ids)))

    def of(name):
        return slice(4 * ids.index(name), 4 * ids.index(name) + 4)

    for i, (_, *parents) in enumerate(rows):
        before = 4 * i
        for side, parent in enumerate(parents):
            mine = [before + 2 * side, before + 2 * side + 1]
            for gene in mine:
                G[gene, gene] = 1.0
                if parent is not None:
                    G[gene, : before + 2 * side] = G[of(parent), : before + 2 * side].mean(axis=0)
                    G[: before + 2 * side, gene] = G[gene, : before + 2 * side]
            if parent is not None:
                own = G[of(parent), of(parent)]
                distinct = (own.sum() - np.trace(own)) / 12.0
                G[mine[0], mine[1]] = G[mine[1], mine[0]] = double_reduction + (1.0 - double_reduction) * distinct
            elif parents[1 - side] is not None:
                G[mine[0], mine[1]] = G[mine[1], mine[0]] = double_reduction
    return G


TETRAPLOIDS = [
    ("A", None, None),
    ("B", None, None),
    ("C", "A", "B"),
    ("D", "A", "B"),
    ("E", "C", "D"),
    ("S", "E", "E"),
    ("T", "S", None),
    ("U", "T", "E"),
    ("V", "U", "A"),
]


@pytest.mark.parametrize("double_reduction", [0.0, 0.1, 1 / 6])
def test_tetraploids__relationships_are_of_genes(double_reduction):
    frame = pd.DataFrame(TETRAPLOIDS, columns=["id", "sire", "dam"])
    pedigree = bmv.Pedigree.from_frame(frame, ploidy=4, double_reduction=double_reduction)
    G = genes(TETRAPLOIDS, double_reduction)
    n = len(TETRAPLOIDS)
    A = 4.0 * G.reshape(n, 4, n, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(pedigree.relationship(frame["id"]), A, atol=1e-12)
    np.testing.assert_allclose(np.linalg.inv(pedigree.inverse().toarray()), pedigree.relationship(), atol=1e-10)
    own = G.reshape(n, 4, n, 4)[np.arange(n), :, np.arange(n)]
    F = (own.sum(axis=(1, 2)) - 4.0) / 12.0
    np.testing.assert_allclose(pd.Series(pedigree.inbreeding, index=pedigree.ids)[frame["id"]], F, atol=1e-12)


@pytest.mark.parametrize(("double_reduction", "expected"), [(0.0, 1 / 6), (1 / 7, 3 / 14)])
def test_tetraploids__selfing_as_in_textbooks(double_reduction, expected):
    # Random chromosome and random chromatid segregation.
    frame = pd.DataFrame([("a", None, None), ("s", "a", "a")], columns=["id", "sire", "dam"])
    pedigree = bmv.Pedigree.from_frame(frame, ploidy=4, double_reduction=double_reduction)
    assert pedigree.inbreeding[1] == pytest.approx(expected, abs=1e-14)


def test_tetraploids__in_a_model_file(tmp_path):
    pd.DataFrame(TETRAPLOIDS, columns=["id", "sire", "dam"]).to_csv(tmp_path / "ped.csv", index=False)
    LINES.to_csv(tmp_path / "lines.csv", index=False)
    found = read_relationship(pedigree="ped.csv", ploidy=4, double_reduction=0.1, base=tmp_path)
    frame = pd.DataFrame(TETRAPLOIDS, columns=["id", "sire", "dam"])
    expected = bmv.Pedigree.from_frame(frame, ploidy=4, double_reduction=0.1).relationship(found.ids)
    np.testing.assert_allclose(found.covariance(), expected, atol=1e-10)
    selfed = read_relationship(pedigree="lines.csv", selfing="selfed", base=tmp_path)
    expected = bmv.Pedigree.from_frame(LINES, selfing="selfed").relationship(selfed.ids)
    np.testing.assert_allclose(selfed.covariance(), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ploidy": 3}, r"ploidy is 3; pedigrees are of diploids \(2\) or of autotetraploids \(4\)"),
        (
            {"ploidy": 4, "double_reduction": 0.3},
            r"double_reduction is 0.3; of autotetraploids \(ploidy=4\) it is from 0",
        ),
        ({"double_reduction": 0.1}, r"double_reduction is 0.1; .* of diploids there is none"),
        ({"ploidy": 4, "selfing": "selfed"}, r"generations of selfing are counted for diploids; give those of tetra"),
    ],
)
def test_tetraploids__raise(options, message):
    with pytest.raises(PedigreeError, match=message):
        bmv.Pedigree.from_frame(LINES, **options)


def test_tetraploids__have_no_dominance():
    frame = pd.DataFrame(TETRAPLOIDS, columns=["id", "sire", "dam"])
    with pytest.raises(PedigreeError, match=r"dominance relationships are those of diploids"):
        bmv.Relationship.dominance(bmv.Pedigree.from_frame(frame, ploidy=4))
