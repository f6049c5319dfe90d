"""Pedigrees against the tabular method, dense inverses and textbook answers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textbooks import PRINTED_2_1, RELATIONSHIPS, relationship
from textbooks import pedigree as textbook_pedigree

from bayesmv.errors import DataError, PedigreeError, SpecError
from bayesmv.relationship import pedigree as module
from bayesmv.relationship import pedigree_kernels as kernels
from bayesmv.relationship.pedigree import Pedigree

WRIGHT = {"id": [1, 2, 3, 4, 5, 6], "sire": [0, 0, 1, 1, 4, 5], "dam": [0, 0, 2, 0, 3, 2]}


def frame_of(parents: list[tuple[int, int]]) -> pd.DataFrame:
    """Animals 1, 2, ... with these parents, 0 unknown."""
    sire, dam = zip(*parents, strict=True)
    return pd.DataFrame({"id": range(1, len(parents) + 1), "sire": sire, "dam": dam})


def tabular(sire, dam):
    """A by the tabular method (Emik & Terrill 1949), parents first."""
    n = len(sire)
    A = np.zeros((n + 1, n + 1))  # the last row for unknown parents
    for i in range(n):
        A[i, :i] = A[:i, i] = 0.5 * (A[sire[i], :i] + A[dam[i], :i])
        A[i, i] = 1.0 + 0.5 * A[sire[i], dam[i]]
    return A[:n, :n]


def gene_flow(sire, dam):
    T = np.zeros((len(sire) + 1, len(sire)))
    for i in range(len(sire)):
        T[i] = 0.5 * (T[sire[i]] + T[dam[i]])
        T[i, i] = 1.0
    return T[:-1]


@st.composite
def pedigrees(draw, largest=18):
    """Parents of 1 .. n among the earlier, one or both unknown, selfing and backcrosses allowed."""
    n = draw(st.integers(1, largest))
    return [(draw(st.integers(0, i)), draw(st.integers(0, i))) for i in range(n)]


def random_pedigree(n, founders, seed):
    rng = np.random.default_rng(seed)
    parents = [(0, 0)] * founders
    parents += [tuple(rng.integers(max(0, i - 40), i + 1, 2)) for i in range(founders, n)]
    return Pedigree.from_frame(frame_of(parents))


# ---------------------------------------------------------------- reading


def test_from_frame__keeps_an_order_that_has_parents_first():
    pedigree = Pedigree.from_frame(pd.DataFrame(WRIGHT))
    assert pedigree.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert pedigree.sire.tolist() == [-1, -1, 0, 0, 3, 4]
    assert pedigree.dam.tolist() == [-1, -1, 1, -1, 2, 1]
    assert pedigree.notes == ()
    assert len(pedigree) == 6


def test_from_frame__puts_parents_first_and_says_so():
    pedigree = Pedigree.from_frame(pd.DataFrame(WRIGHT).iloc[::-1])
    assert (np.maximum(pedigree.sire, pedigree.dam) < np.arange(6)).all()
    assert "animals moved to put parents first" in pedigree.notes[0]


def test_from_frame__moves_no_more_than_it_must():
    frame = pd.DataFrame({"id": list("abcde"), "sire": [None, "d", None, None, "a"], "dam": None})
    assert Pedigree.from_frame(frame).ids.tolist() == ["a", "d", "b", "c", "e"]


def test_from_frame__adds_parents_without_a_row_and_says_so():
    frame = pd.DataFrame({"tree": ["x", "y"], "m": ["s", "s"], "f": ["d", ""]})
    pedigree = Pedigree.from_frame(frame, id="tree", sire="m", dam="f")
    assert pedigree.ids.tolist() == ["s", "d", "x", "y"]
    assert pedigree.ids.name == "tree"
    assert pedigree.notes == ("2 parents without a row added as founders: 's', 'd'",)


def test_from_frame__drops_repeated_rows_and_says_so():
    frame = pd.concat([pd.DataFrame(WRIGHT)] * 2)
    pedigree = Pedigree.from_frame(frame)
    assert len(pedigree) == 6
    assert pedigree.notes == ("6 repeated rows dropped: 1, 2, 3, 4, 5 (and 1 more)",)


@pytest.mark.parametrize(
    "unknown", [np.nan, None, pd.NA, "", " ", 0, 0.0, "0", "NA", ".", "nan"], ids=lambda value: repr(value)
)
@pytest.mark.parametrize("ids", [[1, 2, 3], ["a", "b", "c"]])
def test_from_frame__knows_the_words_for_unknown(unknown, ids):
    frame = pd.DataFrame({"id": ids, "sire": pd.Series([unknown, unknown, ids[0]], dtype=object), "dam": unknown})
    pedigree = Pedigree.from_frame(frame)
    assert pedigree.ids.tolist() == ids
    assert pedigree.sire.tolist() == [-1, -1, 0]
    assert pedigree.dam.tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("ids", "sires", "dams"),
    [
        ([41, 42, 43], [np.nan, 41.0, 41.0], [np.nan, np.nan, 42.0]),
        ([41.0, 42.0, 43.0], [0, 41, 41], [0, 0, 42]),
        ([41, 42, 43], ["NA", "41", "41"], [".", ".", "42"]),
        ([41, 42.0, 43], [None, 41.0, "41"], [None, None, 42]),
        (pd.array([41, 42, 43], dtype="Int64"), pd.array([None, 41, 41], dtype="Int64"), [0, 0, 42]),
        (pd.array([41, 42, 43], dtype="Int64"), pd.array([None, 41, 41], dtype="Float64"), ["", "", "42"]),
    ],
)
def test_from_frame__takes_equal_numbers_for_one_id(ids, sires, dams):
    pedigree = Pedigree.from_frame(pd.DataFrame({"id": ids, "sire": sires, "dam": dams}))
    assert pedigree.ids.dtype == np.int64
    assert pedigree.ids.tolist() == [41, 42, 43]
    assert pedigree.sire.tolist() == [-1, 0, 0]
    assert pedigree.dam.tolist() == [-1, -1, 1]


def test_from_frame__makes_mixed_ids_text_and_says_so():
    frame = pd.DataFrame({"id": ["a", 41, 41.0, "b"], "sire": [None, "a", "a", 41.0], "dam": None})
    pedigree = Pedigree.from_frame(frame)
    assert pedigree.ids.tolist() == ["a", "41", "b"]
    assert pedigree.sire.tolist() == [-1, 0, 1]
    assert pedigree.notes == ("ids of mixed types were read as text", "1 repeated rows dropped: '41'")


def test_from_frame__does_not_take_padded_text_for_a_number():
    pedigree = Pedigree.from_frame(pd.DataFrame({"id": [7, 8], "sire": ["NA", "007"], "dam": "NA"}))
    assert pedigree.ids.tolist() == ["007", "7", "8"]
    assert "ids of mixed types were read as text" in pedigree.notes


def test_from_frame__reads_categories_and_fractions():
    frame = pd.DataFrame({"id": ["a", "b"], "sire": [None, "a"], "dam": None}, dtype="category")
    assert Pedigree.from_frame(frame).sire.tolist() == [-1, 0]
    fractions = Pedigree.from_frame(pd.DataFrame({"id": [1.5, 2.0], "sire": [0, 1.5], "dam": np.nan}))
    assert fractions.ids.tolist() == [1.5, 2.0]


def test_from_frame__accepts_long_whole_numbers():
    frame = pd.DataFrame({"id": [2**60 + 1, 2**60], "sire": [2**60, 0], "dam": [0, 0]})
    assert Pedigree.from_frame(frame).ids.tolist() == [2**60, 2**60 + 1]


def test_from_frame__raise_on_numbers_a_float_rounds():
    frame = pd.DataFrame({"id": [2**60 + 1, 2**60], "sire": [2.0**60, np.nan], "dam": np.nan})
    with pytest.raises(PedigreeError, match=r"too large for a floating column.*read the columns as text or as Int64"):
        Pedigree.from_frame(frame)


def test_from_frame__raise_on_absent_columns():
    with pytest.raises(PedigreeError, match=r"lacks columns 'id', 'sire', 'dam'; .*'tree', 'm', 'f'.*id=\.\.\., sire="):
        Pedigree.from_frame(pd.DataFrame({"tree": [1], "m": [0], "f": [0]}))


def test_from_frame__raise_on_no_rows():
    with pytest.raises(PedigreeError, match="no rows"):
        Pedigree.from_frame(pd.DataFrame({"id": [], "sire": [], "dam": []}))


def test_from_frame__raise_on_missing_own_id():
    frame = pd.DataFrame({"id": ["a", None, "*"], "sire": None, "dam": None})
    with pytest.raises(PedigreeError, match=r"own id is missing in rows 1, 2 \(the first row is 0\)"):
        Pedigree.from_frame(frame)


def test_from_frame__raise_on_nothing_but_missing():
    with pytest.raises(PedigreeError, match=r"own id is missing in rows 0, 1, 2, 3, 4 \(and 1 more\)"):
        Pedigree.from_frame(pd.DataFrame({"id": [None] * 6, "sire": None, "dam": None}))


def test_from_frame__raise_on_different_parents():
    frame = pd.DataFrame({"id": ["a", "b", "c", "c"], "sire": [None, None, "a", "b"], "dam": None})
    with pytest.raises(PedigreeError, match="rows with different parents: 'c'; keep one row"):
        Pedigree.from_frame(frame)


def test_from_frame__raise_on_a_loop():
    frame = pd.DataFrame({"id": list("xabc"), "sire": ["a", "b", "c", None], "dam": [None, None, None, "a"]})
    with pytest.raises(PedigreeError, match="its own ancestor: a -> b -> c -> a; mend"):
        Pedigree.from_frame(frame)


def test_from_frame__raise_on_own_parent():
    with pytest.raises(PedigreeError, match="its own ancestor: 2 -> 2; mend"):
        Pedigree.from_frame(pd.DataFrame({"id": [1, 2], "sire": [0, 2], "dam": [0, 1]}))


def test_from_frame__shortens_a_long_loop():
    n = 1000
    frame = pd.DataFrame({"id": range(1, n + 1), "sire": [*range(2, n + 1), 1], "dam": 0})
    with pytest.raises(PedigreeError, match=r"1 -> 2 -> .* -> 20 -> \.\.\. -> 1; mend"):
        Pedigree.from_frame(frame)


BOTH = pd.DataFrame({"id": list("abc"), "sire": [None, "a", "b"], "dam": [None, None, "a"]})


def test_from_frame__sexes():
    assert len(Pedigree.from_frame(BOTH)) == 3
    with pytest.warns(UserWarning, match="both sire and dam: 'a'; mend the rows"):
        Pedigree.from_frame(BOTH, sexes="warn")
    with pytest.raises(PedigreeError, match="both sire and dam: 'a'; mend the rows, or use sexes='ignore'"):
        Pedigree.from_frame(BOTH, sexes="error")
    assert len(Pedigree.from_frame(pd.DataFrame({"id": [1], "sire": 0, "dam": 0}), sexes="error")) == 1


def test_from_frame__raise_on_unknown_sexes():
    with pytest.raises(PedigreeError, match="sexes='warning' is not known; use 'ignore', 'warn' or 'error'"):
        Pedigree.from_frame(BOTH, sexes="warning")


def test_pedigree__raise_on_wrong_arrays():
    none = np.array([-1, -1])
    with pytest.raises(PedigreeError, match="differ in length; give one entry"):
        Pedigree(ids=pd.Index(["a"]), sire=none, dam=none)
    with pytest.raises(PedigreeError, match=r"stand twice or before their parents: 'a'; .*from_frame"):
        Pedigree(ids=pd.Index(["a", "a"]), sire=none, dam=none)
    with pytest.raises(PedigreeError, match="stand twice or before their parents: 'a'"):
        Pedigree(ids=pd.Index(["a", "b"]), sire=np.array([1, -1]), dam=none)


# ---------------------------------------------------------------- A


@pytest.mark.published("pedigrees_small")
@pytest.mark.parametrize("name", RELATIONSHIPS)
def test_relationship__textbook(name):
    pedigree, A = Pedigree.from_frame(textbook_pedigree(name)), relationship(name)
    np.testing.assert_allclose(pedigree.relationship(A.index), A, atol=1e-12)
    F = pd.Series(pedigree.inbreeding, index=pedigree.ids)
    np.testing.assert_allclose(F[A.index], np.diag(A) - 1.0, atol=1e-12)


@pytest.mark.published("pedigrees_small")
def test_relationship__mrode_as_printed():
    """Three decimals are printed."""
    A = Pedigree.from_frame(textbook_pedigree("Mrode2")).relationship().loc[range(1, 7), range(1, 7)].to_numpy()
    np.testing.assert_allclose(A[np.tril_indices(6)], np.array(PRINTED_2_1.split(), float), atol=5.1e-4)


@settings(deadline=None)
@given(pedigrees())
def test_inbreeding__is_tabular(parents):
    pedigree = Pedigree.from_frame(frame_of(parents))
    A = tabular(pedigree.sire, pedigree.dam)
    np.testing.assert_allclose(pedigree.inbreeding, A.diagonal() - 1, atol=1e-14)
    np.testing.assert_allclose(pedigree.relationship_diagonal, A.diagonal(), atol=1e-14)
    np.testing.assert_allclose(pedigree.relationship(), A, atol=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_inbreeding__is_tabular_in_a_larger_pedigree(seed):
    pedigree = random_pedigree(600, 30, seed)
    assert pedigree.inbreeding.max() > 0.2
    np.testing.assert_allclose(1 + pedigree.inbreeding, tabular(pedigree.sire, pedigree.dam).diagonal())


def test_inbreeding__selfing_line():
    pedigree = Pedigree.from_frame(frame_of([(i, i) for i in range(8)]))
    np.testing.assert_allclose(pedigree.inbreeding, 1 - 0.5 ** np.arange(8))


def test_mendelian_variance__henderson():
    pedigree = Pedigree.from_frame(frame_of([(0, 0), (1, 1), (2, 0), (2, 1)]))
    F = pedigree.inbreeding
    expected = [1.0, 0.5 - 0.5 * F[0], 0.75 - 0.25 * F[1], 0.5 - 0.25 * (F[1] + F[0])]
    np.testing.assert_allclose(pedigree.mendelian_variance, expected)


@settings(deadline=None)
@given(pedigrees())
def test_inverse__times_a_is_identity(parents):
    pedigree = Pedigree.from_frame(frame_of(parents))
    A = tabular(pedigree.sire, pedigree.dam)
    inverse = pedigree.inverse()
    np.testing.assert_allclose(inverse @ A, np.eye(len(A)), atol=1e-8)
    assert (inverse != inverse.T).nnz == 0
    assert pedigree.log_determinant == pytest.approx(np.linalg.slogdet(A)[1], abs=1e-8)


def test_inverse__is_sorted_csc():
    inverse = random_pedigree(200, 10, 1).inverse()
    assert inverse.format == "csc"
    assert inverse.has_canonical_format


def test_inverse__raise_on_a_singular_a():
    pedigree = Pedigree.from_frame(frame_of([(i, i) for i in range(60)]))
    with pytest.raises(PedigreeError, match=r"A is singular: parents are fully inbred of 5\d.*one animal"):
        pedigree.inverse()
    with pytest.raises(PedigreeError, match="A is singular"):
        _ = pedigree.log_determinant


@settings(deadline=None)
@given(pedigrees(), st.randoms(use_true_random=False))
def test_pedigree__row_order_and_labels_change_nothing(parents, random):
    frame = frame_of(parents)
    pedigree = Pedigree.from_frame(frame)
    other = frame.map(lambda value: f"tree {value}" if value else None).sample(
        frac=1, random_state=random.randrange(2**31)
    )
    shuffled = Pedigree.from_frame(other)
    names = [f"tree {value}" for value in pedigree.ids]
    assert sorted(shuffled.ids) == sorted(names)
    np.testing.assert_allclose(shuffled.relationship(names), pedigree.relationship(), atol=1e-14)
    place = shuffled.ids.get_indexer(names)
    np.testing.assert_allclose(shuffled.inbreeding[place], pedigree.inbreeding, atol=1e-14)
    np.testing.assert_allclose(
        shuffled.inverse().toarray()[np.ix_(place, place)],
        pedigree.inverse().toarray(),
        rtol=1e-10,
        atol=1e-12,
    )


def test_relationship__chosen_in_the_order_asked(monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK_ENTRIES", 700)  # several blocks of columns
    pedigree = random_pedigree(300, 20, 5)
    chosen = [250, 3, 77, 300, 12, 299]
    A = pedigree.relationship(chosen)
    assert A.index.tolist() == A.columns.tolist() == chosen
    place = pedigree.ids.get_indexer(chosen)
    np.testing.assert_allclose(A, tabular(pedigree.sire, pedigree.dam)[np.ix_(place, place)], atol=1e-12)


def test_relationship__finds_numbers_however_written():
    pedigree = Pedigree.from_frame(pd.DataFrame(WRIGHT))
    assert pedigree.relationship([5.0, "6"]).iloc[0, 1] == 0.6875
    text = Pedigree.from_frame(pd.DataFrame(WRIGHT).astype(str))
    assert text.relationship([5, 6.0]).index.tolist() == ["5", "6"]


def test_relationship__raise_on_strangers():
    pedigree = Pedigree.from_frame(pd.DataFrame(WRIGHT))
    with pytest.raises(PedigreeError, match=r"not in the pedigree: 7, 'x'; it has 6 animals, such as 1, 2"):
        pedigree.relationship([1, 7, "x"])


def test_relationship__raise_on_all_of_many(monkeypatch):
    monkeypatch.setattr(module, "DENSE_LIMIT", 5)
    pedigree = Pedigree.from_frame(pd.DataFrame(WRIGHT))
    with pytest.raises(PedigreeError, match=r"all 6 animals is not made above 5; name the animals in ids"):
        pedigree.relationship()
    with pytest.raises(PedigreeError, match="not made above 5"):
        pedigree.dominance()
    assert pedigree.relationship(pedigree.ids).shape == (6, 6)


def test_times__is_a_product():
    pedigree = random_pedigree(300, 20, 2)
    A = tabular(pedigree.sire, pedigree.dam)
    v = np.asfortranarray(np.random.default_rng(1).normal(size=(300, 3)))
    before = v.copy()
    np.testing.assert_allclose(pedigree.times(v), A @ v, atol=1e-10)
    np.testing.assert_allclose(pedigree.times(v[:, 0]), A @ v[:, 0], atol=1e-10)
    np.testing.assert_array_equal(v, before)


def test_times__undoes_the_inverse():
    pedigree = random_pedigree(2000, 50, 3)
    v = np.random.default_rng(2).normal(size=(2000, 2))
    np.testing.assert_allclose(pedigree.inverse() @ pedigree.times(v), v, atol=1e-8)


@pytest.mark.parametrize("shape", [(5,), (5, 6), (6, 1, 1), ()])
def test_times__raise_on_wrong_shape(shape):
    pedigree = Pedigree.from_frame(pd.DataFrame(WRIGHT))
    with pytest.raises(DataError, match=r"vectors have shape .*; give \(6,\) or \(6, k\)"):
        pedigree.times(np.zeros(shape))
    with pytest.raises(DataError, match="vectors have shape"):
        pedigree.cholesky_times(np.zeros(shape))


def test_cholesky_times__squares_to_a():
    pedigree = random_pedigree(200, 10, 4)
    L = pedigree.cholesky_times(np.eye(200))
    np.testing.assert_array_equal(L, np.tril(L))
    np.testing.assert_allclose(L @ L.T, tabular(pedigree.sire, pedigree.dam), atol=1e-12)
    z = np.arange(200.0)
    before = z.copy()
    np.testing.assert_allclose(pedigree.cholesky_times(z), L @ z)
    np.testing.assert_array_equal(z, before)


# ---------------------------------------------------------------- pruning


@settings(deadline=None)
@given(pedigrees(), st.data())
def test_prune__keeps_a_among_the_kept(parents, data):
    pedigree = Pedigree.from_frame(frame_of(parents))
    keep = data.draw(st.lists(st.sampled_from(pedigree.ids.tolist()), min_size=1, unique=True))
    pruned = pedigree.prune(keep)
    assert set(keep) <= set(pruned.ids)
    assert pruned.ids.tolist() == [label for label in pedigree.ids if label in set(pruned.ids)]
    np.testing.assert_allclose(pruned.relationship(keep), pedigree.relationship(keep), atol=1e-14)


def test_prune__drops_what_links_nothing():
    #            1       2       3       4 (1x2) 5 (4x3) 6 (4x0)  7 (5x0) childless
    parents = [(0, 0), (0, 0), (0, 0), (1, 2), (4, 3), (4, 0), (5, 0)]
    pruned = Pedigree.from_frame(frame_of(parents)).prune([5, 6])
    assert pruned.ids.tolist() == [4, 5, 6]
    assert pruned.sire.tolist() == [-1, 0, 0]
    assert pruned.notes == ("4 of 7 animals pruned away",)


def test_prune__keeps_a_selfed_founder():
    pruned = Pedigree.from_frame(frame_of([(0, 0), (1, 1)])).prune([2])
    assert pruned.inbreeding.tolist() == [0.0, 0.5]


def test_prune__raise_on_strangers():
    with pytest.raises(PedigreeError, match="not in the pedigree: 9"):
        Pedigree.from_frame(pd.DataFrame(WRIGHT)).prune([9])


# ---------------------------------------------------------------- genetic groups


def grouped() -> Pedigree:
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3, 4, 5, 6],
            "sire": ["G1", "G1", 1, 1, 4, 5],
            "dam": ["G2", "G2", 2, "G2", 3, 2],
        }
    )
    return Pedigree.from_frame(frame, groups=["G1", "G2"])


def shares(pedigree):
    slots = np.zeros((len(pedigree), len(pedigree.groups)))
    for i, j in zip(*np.nonzero(pedigree.group_slots >= 0), strict=True):
        slots[i, pedigree.group_slots[i, j]] += 0.5
    return gene_flow(pedigree.sire, pedigree.dam) @ slots


def test_inverse_with_groups__is_quaas():
    pedigree = grouped()
    Q = shares(pedigree)
    np.testing.assert_allclose(Q.sum(axis=1), 1.0)
    H = np.linalg.inv(tabular(pedigree.sire, pedigree.dam))
    expected = np.block([[H, -H @ Q], [-Q.T @ H, Q.T @ H @ Q]])
    np.testing.assert_allclose(pedigree.inverse_with_groups().toarray(), expected, atol=1e-12)


def test_from_frame__groups_are_not_animals():
    pedigree = grouped()
    assert pedigree.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert pedigree.ids.dtype == np.int64
    assert pedigree.groups.tolist() == ["G1", "G2"]
    assert pedigree.group_slots.tolist() == [[0, 1], [0, 1], [-1, -1], [-1, 1], [-1, -1], [-1, -1]]
    assert pedigree.notes == ()
    plain = Pedigree.from_frame(pd.DataFrame(WRIGHT))
    np.testing.assert_array_equal(pedigree.inverse().toarray(), plain.inverse().toarray())


@pytest.mark.parametrize("labels", [(-1, -2), ("G1", "G2"), (100, 200)])
def test_from_frame__groups_of_any_type_in_any_order(labels):
    one, two = labels
    frame = pd.DataFrame({"id": [3, 2, 1], "sire": [1, one, one], "dam": [2, two, 0]})
    pedigree = Pedigree.from_frame(frame, groups=labels)
    assert pedigree.ids.tolist() == [1, 2, 3]
    assert pedigree.group_slots.tolist() == [[0, -1], [0, 1], [-1, -1]]
    assert pedigree.notes[-1] == "1 unknown parents are in no genetic group"


def test_from_frame__added_founders_are_in_no_group():
    frame = pd.DataFrame({"id": ["a"], "sire": ["s"], "dam": ["G"]})
    pedigree = Pedigree.from_frame(frame, groups=["G"])
    assert pedigree.ids.tolist() == ["s", "a"]
    assert pedigree.group_slots.tolist() == [[-1, -1], [-1, 0]]
    assert pedigree.notes[-1] == "2 unknown parents are in no genetic group"


def test_from_frame__raise_on_groups_that_are_none():
    frame = pd.DataFrame({"id": ["a", "b"], "sire": ["G", "G"], "dam": [None, "a"]})
    with pytest.raises(PedigreeError, match="nobody's parent or have rows of their own: 'a', 'H'; put each"):
        Pedigree.from_frame(frame, groups=["G", "a", "H"])


def test_from_frame__a_group_may_be_sire_and_dam():
    frame = pd.DataFrame({"id": ["a", "b"], "sire": ["G", "a"], "dam": ["G", "G"]})
    assert Pedigree.from_frame(frame, groups=["G"], sexes="error").groups.tolist() == ["G"]


def test_inverse_with_groups__raise_without_groups():
    with pytest.raises(PedigreeError, match=r"has no genetic groups; .*groups=\["):
        Pedigree.from_frame(pd.DataFrame(WRIGHT)).inverse_with_groups()


def test_prune__keeps_the_groups():
    pedigree = grouped()
    pruned = pedigree.prune([5])
    assert pruned.ids.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(shares(pruned), shares(pedigree)[:5])


# ---------------------------------------------------------------- dominance, counts


@settings(deadline=None)
@given(pedigrees())
def test_dominance__is_henderson(parents):
    pedigree = Pedigree.from_frame(frame_of(parents))
    s, d = pedigree.sire, pedigree.dam
    A = np.pad(tabular(s, d), (0, 1))  # the last row for unknown parents
    D = (A[np.ix_(s, s)] * A[np.ix_(d, d)] + A[np.ix_(s, d)] * A[np.ix_(d, s)]) / 4
    np.fill_diagonal(D, 1.0)
    np.testing.assert_allclose(pedigree.dominance(), D, atol=1e-14)


def test_dominance__sibs():
    #            1       2       3       4, 5 full sibs  6 half sib
    pedigree = Pedigree.from_frame(frame_of([(0, 0), (0, 0), (0, 0), (1, 2), (1, 2), (1, 3)]))
    D = pedigree.dominance([5, 6, 4])
    assert D.loc[4, 5] == 0.25
    assert D.loc[4, 6] == 0.0
    assert (np.diag(D) == 1.0).all()


@settings(deadline=None)
@given(pedigrees())
def test_generations__longest_path(parents):
    pedigree = Pedigree.from_frame(frame_of(parents))
    longest = {-1: -1}
    for i, (s, d) in enumerate(zip(pedigree.sire, pedigree.dam, strict=True)):
        longest[i] = 1 + max(longest[s], longest[d])
    assert pedigree.generations.tolist() == [longest[i] for i in range(len(pedigree))]


def test_summary__counts():
    #            1       2       3       4, 5, 6 of 1x2          7 of 1x3 8: 4x5  9 selfed 10 of 2 x unknown
    parents = [(0, 0), (0, 0), (0, 0), (1, 2), (1, 2), (2, 1), (1, 3), (4, 5), (8, 8), (0, 2)]
    summary = Pedigree.from_frame(frame_of(parents)).summary()
    assert (summary.animals, summary.founders, summary.sires, summary.dams) == (10, 3, 4, 5)
    assert (summary.generations, summary.inbred) == (3, 2)
    assert summary.max_inbreeding == 0.625
    assert summary.mean_inbreeding == pytest.approx(0.0875)
    full, by_sire, by_dam = summary.full_sibs, summary.half_sibs_by_sire, summary.half_sibs_by_dam
    assert (full.count, full.mean, full.largest) == (1, 3.0, 3)  # 4, 5 and 6, of a reciprocal cross
    assert (by_sire.count, by_sire.mean, by_sire.largest) == (1, 3.0, 3)  # 1
    assert (by_dam.count, by_dam.mean, by_dam.largest) == (1, 3.0, 3)  # 2


def test_summary__of_founders():
    summary = Pedigree.from_frame(frame_of([(0, 0)])).summary()
    assert (summary.animals, summary.generations, summary.full_sibs.count, summary.full_sibs.mean) == (
        1,
        0,
        0,
        0.0,
    )


def test_pedigree__works_on_arrays_that_cannot_be_written():
    pedigree = random_pedigree(50, 5, 1)
    for array in (pedigree.sire, pedigree.dam):
        array.flags.writeable = False
    assert pedigree.inverse().shape == (50, 50)
    assert pedigree.prune([50]).relationship([50]).iloc[0, 0] == pedigree.relationship_diagonal[-1]


def test_from_frame__one_word_is_no_list_of_codes():
    frame = pd.DataFrame({"id": [1, 2], "sire": [9, 9], "dam": [0, 0]})
    with pytest.raises(SpecError, match="unknown must be a list of codes"):
        Pedigree.from_frame(frame, unknown="-9999")
