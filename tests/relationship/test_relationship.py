"""Relationships against dense formulas, textbook matrices and each other's order."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import folder
from scipy import sparse
from textbooks import RELATIONSHIPS
from textbooks import pedigree as textbook_pedigree
from textbooks import relationship as textbook_relationship

from bayesmv.design.design import build_design
from bayesmv.errors import DataError, PedigreeError
from bayesmv.model.spec import ModelSpec
from bayesmv.relationship import kernel_algebra
from bayesmv.relationship import relationship as module
from bayesmv.relationship.markers import genomic_relationship
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.relationship.relationship import Relationship
from bayesmv.reml import fit_reml

WRIGHT = {"id": [1, 2, 3, 4, 5, 6], "sire": [0, 0, 1, 1, 4, 5], "dam": [0, 0, 2, 0, 3, 2]}


def random_pedigree(n=30, founders=6, seed=0) -> Pedigree:
    rng = np.random.default_rng(seed)
    parents = np.array([(0, 0)] * founders + [tuple(rng.integers(0, i + 1, 2)) for i in range(founders, n)])
    return Pedigree.from_frame(pd.DataFrame({"id": range(1, n + 1), "sire": parents[:, 0], "dam": parents[:, 1]}))


def random_calls(n=12, m=40, seed=0, missing=0) -> pd.DataFrame:
    """Calls of n individuals t1, t2, ... at m markers m1, m2, ..., the first two alleles at even odds, all varying."""
    rng = np.random.default_rng(seed)
    calls = rng.binomial(2, rng.uniform(0.2, 0.8, m), (n, m)).astype(float)
    calls[0], calls[1] = 0.0, 2.0
    calls.flat[rng.choice(np.arange(2 * m, n * m), missing, replace=False)] = np.nan
    return pd.DataFrame(calls, index=[f"t{i + 1}" for i in range(n)], columns=[f"m{j + 1}" for j in range(m)])


def random_kernel(q=5, seed=0) -> pd.DataFrame:
    """A dense covariance among levels a, b, ..."""
    B = np.random.default_rng(seed).normal(size=(q, q))
    labels = list("abcdefghijklmnopqrstuvwxyz")[:q]
    return pd.DataFrame(B @ B.T / q + 0.2 * np.eye(q), index=labels, columns=labels)


def assert_holds(relationship: Relationship, K, tolerance=1e-9) -> None:
    """All fields of a relationship with covariance K (q, q), in its order."""
    K = np.asarray(K)
    np.testing.assert_allclose(relationship.precision.toarray() @ K, np.eye(len(K)), atol=tolerance)
    np.testing.assert_allclose(relationship.log_determinant, np.linalg.slogdet(K)[1], atol=tolerance)
    np.testing.assert_allclose(relationship.diagonal, np.diag(K), atol=tolerance)
    np.testing.assert_allclose(relationship.covariance(), K, atol=tolerance)
    assert sparse.issparse(relationship.precision)
    assert relationship.precision.format == "csc"


# ---------------------------------------------------------------- pedigrees


@pytest.mark.published("pedigrees_small")
@pytest.mark.parametrize("name", RELATIONSHIPS)
def test_from_pedigree__textbook(name):
    A = textbook_relationship(name)
    K = Relationship.from_pedigree(textbook_pedigree(name))
    assert_holds(K, A.loc[K.ids, K.ids])
    assert_holds(Relationship.from_covariance(A), A)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_from_pedigree__is_the_dense_matrix(seed):
    pedigree = random_pedigree(seed=seed)
    K = Relationship.from_pedigree(pedigree)
    assert_holds(K, pedigree.relationship())
    dense = Relationship.from_covariance(pedigree.relationship())
    assert dense.precision.nnz == K.precision.nnz  # rounding does not fill the zeros of the inverse
    np.testing.assert_allclose(dense.precision.toarray(), K.precision.toarray(), atol=1e-10)


def test_from_pedigree__keep_prunes():
    K = Relationship.from_pedigree(pd.DataFrame(WRIGHT), keep=[4])
    assert K.ids.tolist() == [4]
    assert K.notes == ("5 of 6 animals pruned away",)
    chosen, whole = [17, 25, 30], random_pedigree()
    pruned = Relationship.from_pedigree(whole, keep=pd.Series(chosen))
    assert len(pruned) < len(whole)
    np.testing.assert_allclose(pruned.covariance(chosen), whole.relationship(chosen), atol=1e-12)


def test_from_pedigree__columns_and_notes():
    frame = pd.DataFrame({"tree": ["x", "y"], "m": ["s", "s"], "f": ["d", None]})
    K = Relationship.from_pedigree(frame, id="tree", sire="m", dam="f")
    assert K.ids.tolist() == ["s", "d", "x", "y"]
    assert K.notes == ("2 parents without a row added as founders: 's', 'd'",)


def test_from_pedigree__raise_on_columns_of_a_pedigree():
    with pytest.raises(PedigreeError, match=r"'id' tell how a table is read; give them to Pedigree\.from_frame"):
        Relationship.from_pedigree(random_pedigree(), id="tree")


@pytest.mark.parametrize("make", [Relationship.from_pedigree, Relationship.dominance])
def test_from_pedigree__raise_on_genetic_groups(make):
    frame = pd.DataFrame({"id": ["a", "b"], "sire": ["G", "a"], "dam": ["G", "G"]})
    with pytest.raises(PedigreeError, match=r"genetic groups are not part of a Relationship: 'G'; .*group_shares"):
        make(Pedigree.from_frame(frame, groups=["G"]))


def test_from_pedigree__raise_on_strangers_to_keep():
    with pytest.raises(PedigreeError, match="not in the pedigree: 9"):
        Relationship.from_pedigree(pd.DataFrame(WRIGHT), keep=[9])


# ---------------------------------------------------------------- matrices


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, sparse.csr_array, sparse.coo_matrix, sparse.csc_array])
def test_from_covariance__kinds_of_matrix(kind):
    K = random_kernel()
    assert_holds(Relationship.from_covariance(K), K)
    assert_holds(Relationship.from_covariance(kind(K.to_numpy()), list("abcde")), K)
    P = np.linalg.inv(K)
    assert_holds(Relationship.from_precision(kind(P), pd.Index(list("abcde"))), K)


def test_from_covariance__aligns_columns_by_name():
    K = random_kernel()
    shuffled = K.loc[list("cabed"), list("edcba")]
    relationship = Relationship.from_covariance(shuffled)
    assert relationship.ids.tolist() == list("cabed")
    assert_holds(relationship, K.loc[list("cabed"), list("cabed")])
    P = pd.DataFrame(np.linalg.inv(K), index=K.index, columns=K.columns).loc[list("cabed"), list("edcba")]
    assert_holds(Relationship.from_precision(P), K.loc[list("cabed"), list("cabed")])


def test_from_covariance__numbers_of_rows_are_text_in_the_header_of_a_file():
    K = random_kernel(3).to_numpy()
    frame = pd.DataFrame(K, index=[30, 10, 20], columns=["30", "10", "20"])
    assert_holds(Relationship.from_covariance(frame.loc[:, ["10", "20", "30"]]), K)


def test_from_covariance__sparse_blocks_are_inverted_apart():
    blocks = [random_kernel(q, seed=q).to_numpy() for q in (1, 3, 2)]
    order = np.array([3, 0, 5, 1, 4, 2])
    K = sparse.block_diag(list(map(sparse.csr_array, blocks)), format="csr")[order][:, order]
    relationship = Relationship.from_covariance(K, range(6))
    assert_holds(relationship, K.toarray())
    assert relationship.precision.nnz == 1 + 9 + 4


def test_from_covariance__blends():
    K, B = random_kernel(seed=1), random_kernel(seed=2)
    mixed = Relationship.from_covariance(K, blend=0.1)
    assert_holds(mixed, 0.9 * K + 0.1 * np.eye(5))
    assert mixed.notes == ("blended with 0.1 of the identity",)
    assert_holds(Relationship.from_covariance(sparse.csc_array(K), list("abcde"), blend=0.1), 0.9 * K + 0.1 * np.eye(5))
    other = Relationship.from_covariance(B.loc[list("edcba"), list("edcba")])
    mixed = Relationship.from_covariance(K, blend=0.3, blend_with=other)
    assert_holds(mixed, 0.7 * K + 0.3 * B)
    assert mixed.notes == ("blended with 0.3 of another kernel",)
    alike = Relationship.from_covariance(sparse.csc_array(K), list("abcde"), blend=0.3, blend_with=other)
    assert_holds(alike, 0.7 * K + 0.3 * B)


def test_from_covariance__leaves_the_matrix_alone():
    K = random_kernel()
    before = K.copy()
    relationship = Relationship.from_covariance(K, blend=0.1)
    relationship.covariance()
    pd.testing.assert_frame_equal(K, before)


@pytest.mark.parametrize("make", [Relationship.from_covariance, Relationship.from_precision])
@pytest.mark.parametrize(
    ("change", "labels", "message"),
    [
        (lambda K: K.to_numpy(), None, r"has no labels; give labels=\[...\] in the order of its rows, or a DataFrame"),
        (lambda K: K, list("abcde"), r"labels are given twice: a DataFrame has its own; leave out labels="),
        (lambda K: K.to_numpy(), list("abcd"), r"has shape \(5, 5\) and 4 labels; give one for each"),
        (lambda K: K.to_numpy()[0], list("abcde"), r"has shape \(5,\) and 5 labels"),
        (lambda K: K.to_numpy(), list("abcda"), r"1 labels stand more than once: 'a'; keep one row and column"),
        (lambda K: K.to_numpy(), [1, 2, 3, 4, 1.0], r"1 labels stand more than once: 1; keep one"),
        (lambda K: K.to_numpy(), [*"abcd", None], r"labels are missing at positions 4; name every level"),
        (lambda K: np.empty((0, 0)), [], r"there are no labels; a relationship has one level at least"),
        (
            lambda K: K.rename(columns={"e": "z"}),
            None,
            r"different labels: 'e' in rows only, 'z' in columns only; .*index_col",
        ),
        (lambda K: K.iloc[:, :4], None, r"different labels: 'e' in rows only, none in columns only"),
        (lambda K: K.replace(K.iloc[2, 2], np.nan), None, r"missing or infinite entries in rows 'c'; fill them"),
        (lambda K: sparse.csc_array(K.replace(K.iloc[2, 2], np.inf)), list("abcde"), r"infinite entries in rows 'c'"),
        (lambda K: K.astype(object).replace(K.iloc[2, 2], "x"), None, r"the matrix is not numeric \(could not convert"),
        (
            lambda K: K + np.triu(np.ones((5, 5)), 1) * np.eye(5, k=3),
            None,
            r"not symmetric: .* for 'a', 'd' and .*both triangles",
        ),
        (lambda K: sparse.csc_array(np.triu(K)), list("abcde"), r"not symmetric: .* give both triangles"),
        (
            lambda K: K - 2.0 * np.eye(5),
            None,
            r"not positive definite: \d of 5 eigenvalues are negative, down to -1\.\d+ beside",
        ),
    ],
)
def test_from_covariance__raise_on_malformed(make, change, labels, message):
    with pytest.raises(DataError, match=message):
        make(change(random_kernel()), labels)


def test_from_covariance__clones_are_lifted_and_named():
    K = random_kernel().loc[list("abcdbe"), list("abcdbe")]
    K.index = K.columns = list("abcdfe")
    lifted = Relationship.from_covariance(K)
    high = np.linalg.eigvalsh(K)[-1]
    assert_holds(lifted, K + 1e-7 * high * np.eye(6), tolerance=1e-7)
    (note,) = lifted.notes
    assert note.endswith("identical levels: 'b = f'")
    assert "was added to the diagonal, which makes it positive definite: its smallest eigenvalue was" in note
    assert_holds(Relationship.from_covariance(K, blend=0.01), 0.99 * K + 0.01 * np.eye(6))


def with_smallest(smallest, n=40):
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
    return Q @ np.diag([smallest, *np.linspace(0.1, 1, n - 1)]) @ Q.T


def test_from_covariance__the_limit_is_on_eigenvalues():
    for smallest in (3e-9, -3e-9, -9e-7):
        (note,) = Relationship.from_covariance(with_smallest(smallest), range(40)).notes
        assert f"smallest eigenvalue was {smallest:.2g}" in note
        added = float(note.split()[0])
        assert added == pytest.approx(1e-7 - smallest, rel=0.06)  # as printed
    for smallest in (-0.3, -3e-6):
        with pytest.raises(
            DataError, match=rf"down to {smallest:.3g} beside 1, which is more than rounding; check how"
        ):
            Relationship.from_covariance(with_smallest(smallest), range(40))
    K = with_smallest(1.5e-8)
    np.testing.assert_allclose(Relationship.from_covariance(K, range(40)).log_determinant, np.linalg.slogdet(K)[1])


def test_from_covariance__rounded_to_the_digits_of_a_file():
    # A matrix without full rank, as a file with four decimals holds it.
    M = np.random.default_rng(1).normal(size=(30, 12))
    K = M @ M.T / 12
    rounded = K.round(4)
    low = np.linalg.eigvalsh(rounded)[0]
    assert low < -1e-4
    (note,) = Relationship.from_covariance(rounded, range(30)).notes
    assert f"smallest eigenvalue was {low:.2g}" in note
    with pytest.raises(DataError, match="more than rounding"):
        Relationship.from_covariance(K - 2e-3 * np.eye(30), range(30))


def test_from_covariance__exact_fractions_are_not_taken_for_rounded():
    K = np.eye(4) + 0.875 * (np.eye(4, k=1) + np.eye(4, k=-1))
    with pytest.raises(DataError, match=r"down to -0\.416 beside 2\.42, which is more than rounding"):
        Relationship.from_covariance(K, range(4))


def test_from_covariance__sparse_blocks_are_lifted_each():
    K = np.kron(np.eye(3), np.ones((2, 2))) + np.diag([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    lifted = Relationship.from_covariance(sparse.csc_array(K), list("abcdef"))
    expected = K + 2e-7 * np.diag([1.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(lifted.diagonal, np.diag(expected), rtol=1e-12)
    assert lifted.log_determinant == pytest.approx(np.linalg.slogdet(expected)[1], rel=1e-6)
    assert [note.split(", ")[0] for note in lifted.notes] == [
        "among 2 levels from 'a' on",
        "among 2 levels from 'e' on",
    ]


def test_from_precision__raise_on_improper():
    walk = np.diag([1.0, 2.0, 2.0, 1.0]) - np.eye(4, k=1) - np.eye(4, k=-1)
    with pytest.raises(
        DataError, match=r"near-singular: .*; a precision that is improper has no covariance: add a small"
    ):
        Relationship.from_precision(walk, range(4))


@pytest.mark.parametrize("blend", [-0.1, 1.0, np.nan])
def test_from_covariance__raise_on_blend(blend):
    with pytest.raises(DataError, match="is not a share; give 0 <= blend < 1"):
        Relationship.from_covariance(random_kernel(), blend=blend)


def test_from_covariance__raise_on_partner_without_share_or_levels():
    K = Relationship.from_covariance(random_kernel())
    with pytest.raises(DataError, match="blend_with is given but blend is 0; give its share"):
        Relationship.from_covariance(random_kernel(), blend_with=K)
    with pytest.raises(DataError, match=r"1 ids are not levels of the relationship: 'f'; it has 5, such as 'a'"):
        Relationship.from_covariance(random_kernel(6), blend=0.1, blend_with=K)


def test_relationship__raise_on_sizes():
    identity = sparse.eye_array(3, format="csc")
    with pytest.raises(DataError, match=r"2 ids, a precision of shape \(3, 3\) .* do not fit; use the constructors"):
        Relationship(ids=pd.Index(["a", "b"]), precision=identity, log_determinant=0.0, diagonal=np.ones(3))


@pytest.mark.parametrize("upper", [1e-17, 0.5])
def test_relationship__raise_on_asymmetric_precision(upper):
    words = {"ids": pd.Index(["a", "b"]), "log_determinant": 0.0, "diagonal": np.ones(2)}
    for lower in (0.0, 0.4):
        precision = sparse.csc_array(np.array([[2.0, upper], [lower, 2.0]]))
        with pytest.raises(DataError, match=r"the precision is not symmetric for 'a', 'b'; .*from_precision"):
            Relationship(precision=precision, **words)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_relationship__precisions_are_symmetric_in_pattern(seed):
    pedigree = random_pedigree(seed=seed)
    made = [
        Relationship.from_covariance(pedigree.relationship()),
        Relationship.from_precision(
            pedigree.inverse() + sparse.csc_array(([1e-18], ([29], [0])), shape=(30, 30)), pedigree.ids
        ),
        Relationship.single_step(pedigree, pedigree.relationship([7, 19, 30])),
    ]
    for relationship in made:
        P = relationship.precision
        assert abs(P - P.T).max() < 1e-12
        assert ((P != 0) != (P.T != 0)).nnz == 0


# ---------------------------------------------------------------- large relationships


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(kernel_algebra, "DENSE_LIMIT", 4)
    monkeypatch.setattr(kernel_algebra, "CHUNK", 64)
    monkeypatch.setattr(module, "DENSE_LIMIT", 4)


@pytest.mark.usefixtures("small_limit")
def test_large__sparse_factorisation_is_the_dense_one():
    pedigree = random_pedigree()
    A = pedigree.relationship()
    K = Relationship.from_precision(pedigree.inverse(), pedigree.ids)
    np.testing.assert_allclose(K.log_determinant, pedigree.log_determinant, atol=1e-10)
    np.testing.assert_allclose(K.diagonal, np.diag(A), atol=1e-10)
    np.testing.assert_allclose(K.covariance([30, 1, 17]), A.loc[[30, 1, 17], [30, 1, 17]], atol=1e-10)


@pytest.mark.usefixtures("small_limit")
def test_large__single_step_in_chunks():
    test_single_step__is_the_conditional_formula(1.0, 1.0)


@pytest.mark.usefixtures("small_limit")
def test_large__raise():
    K = Relationship.from_pedigree(random_pedigree())
    with pytest.raises(
        DataError, match=r"a dense matrix of 30 levels is not made above 4; name those needed in ids, or prune"
    ):
        K.covariance()
    with pytest.raises(DataError, match="a dense matrix of 30 levels is not made above 4"):
        K.hadamard(K)
    with pytest.raises(DataError, match=r"5 levels of a sparse matrix are linked .* no more than 4 .*from_precision"):
        Relationship.from_covariance(sparse.csc_array(random_kernel()), list("abcde"))


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize(
    ("P", "message"),
    [
        (np.diag([1.0, 2.0, 0.0, 1.0, 3.0]), "the precision is singular; a precision that is improper"),
        (
            np.diag([1.0, 2.0, -0.5, 1.0, 3.0]),
            "the precision is not positive definite: its smallest pivot is -0.5; a prec",
        ),
    ],
)
def test_large__raise_on_improper(P, message):
    with pytest.raises(DataError, match=message):
        Relationship.from_precision(sparse.csc_array(P), range(5))


# ---------------------------------------------------------------- markers


def vanraden(M, p, method):
    """Entry by entry, from the definition."""
    n = len(M)
    G = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            terms = (M[i] - 2 * p) * (M[j] - 2 * p)
            G[i, j] = terms.sum() / (2 * p * (1 - p)).sum() if method == 1 else (terms / (2 * p * (1 - p))).mean()
    return G


@pytest.mark.parametrize("method", [1, 2])
def test_genomic_relationship__is_vanraden(method):
    calls = random_calls()
    M = calls.to_numpy()
    G = genomic_relationship(calls, method=method)
    np.testing.assert_allclose(G, vanraden(M, M.mean(axis=0) / 2, method), atol=1e-12)
    assert G.index.tolist() == G.columns.tolist() == calls.index.tolist()
    p = np.random.default_rng(1).uniform(0.2, 0.8, M.shape[1])
    base = pd.Series(p, index=calls.columns).sample(frac=1.0, random_state=1)  # by name, not by position
    given_p = genomic_relationship(calls, method=method, frequencies=base)
    np.testing.assert_allclose(given_p, vanraden(M, p, method), atol=1e-12)
    np.testing.assert_allclose(genomic_relationship(calls, method=method, frequencies=base.to_dict()), given_p)
    assert G.attrs["notes"] == (
        f"G of 12 individuals from 40 markers by method {method}, allele frequencies estimated",
    )
    assert given_p.attrs["notes"][0].endswith("allele frequencies given")


def test_genomic_relationship__published_example():
    """Two markers by hand: p = 1/2 and 1/4, Z = [[1, 1.5], [-1, -.5], [1, -.5], [-1, -.5]], 2Σp(1-p) = 0.875."""
    calls = pd.DataFrame({"A": [2, 0, 2, 0], "B": [2, 0, 0, 0]}, index=list("wxyz"))
    G = genomic_relationship(calls)
    np.testing.assert_allclose(G.loc["w"], np.array([3.25, -1.75, 0.25, -1.75]) / 0.875)


def test_genomic_relationship__missing_calls_take_the_mean_and_are_reported():
    calls = random_calls(missing=7)
    filled = calls.fillna(calls.mean())
    G = genomic_relationship(calls)
    p = filled.to_numpy().mean(axis=0) / 2
    np.testing.assert_allclose(G, vanraden(filled.to_numpy(), p, 1), atol=1e-12)
    markers = calls.isna().any().sum()
    assert G.attrs["notes"][1:] == (f"7 missing calls (1.46%) of {markers} markers replaced by the marker's mean",)


def test_genomic_relationship__drops_markers_that_say_nothing():
    calls = random_calls()
    more = calls.assign(low=0, high=2.0, none=np.nan, half=pd.Series([2.0], index=["t3"]))
    G = genomic_relationship(more)
    np.testing.assert_allclose(G, genomic_relationship(calls), atol=1e-12)
    assert G.attrs["notes"][1:] == (
        "1 markers without calls dropped: 'none'",
        "3 markers monomorphic dropped: 'low', 'high', 'half'",
    )


def test_genomic_relationship__takes_integers_and_expected_counts():
    calls = random_calls()
    np.testing.assert_array_equal(genomic_relationship(calls.astype("Int64")), genomic_relationship(calls))
    assert np.isfinite(genomic_relationship(calls.replace(1.0, 0.9)).to_numpy()).all()


def test_genomic_relationship__order_of_markers_and_ids_changes_nothing():
    calls = random_calls(missing=9)
    shuffled = calls.sample(frac=1.0, random_state=1).sample(frac=1.0, axis=1, random_state=2)
    G = genomic_relationship(calls)
    np.testing.assert_allclose(genomic_relationship(shuffled).loc[G.index, G.columns], G, atol=1e-12)


@pytest.mark.parametrize(
    ("calls", "words", "message"),
    [
        (
            random_calls().replace(1.0, 5.0),
            {},
            r"outside 0 .. 2: 5 at marker 'm\d+' of 't3', .* \(and \d+ more\); write",
        ),
        (
            random_calls().replace(2.0, -9.0).iloc[:2, :1],
            {},
            r"outside 0 .. 2: -9 at marker 'm1' of 't2'; write missing",
        ),
        (random_calls().iloc[[0, 1, 0]], {}, r"ids stand more than once in the genotypes: 't1'; keep one"),
        (random_calls().iloc[:, [0, 1, 0]], {}, r"markers stand more than once in the genotypes: 'm1'"),
        (random_calls().reset_index(), {}, r"markers are not numeric: 'index'; code the calls .*set_index"),
        (
            random_calls().where(np.arange(480).reshape(12, 40) // 40 != 4),
            {},
            r"1 individuals have no call: 't5'; take them out",
        ),
        (random_calls().iloc[[0]], {}, r"none of the 40 markers varies; give markers with both alleles"),
        (random_calls(), {"method": 3}, r"method 3 is not known; use 1 .* or 2"),
        (
            random_calls(),
            {"frequencies": np.full(40, 0.5)},
            r"frequencies have no marker names; give a Series or a dict",
        ),
        (random_calls(), {"frequencies": {"m1": 0.5}}, r"39 markers have no frequency: 'm2', .* \(and 34 more\)"),
        (
            random_calls(m=2),
            {"frequencies": {"m1": 0.5, "m2": 1.5}},
            r"of 1 markers are outside 0 .. 1, .*: 'm2'; give",
        ),
        (random_calls(m=2), {"frequencies": {"m1": 0.0, "m2": 0.5}}, r"0 or 1 though both alleles are called: 'm1'"),
    ],
)
def test_genomic_relationship__raise(calls, words, message):
    with pytest.raises(DataError, match=message):
        genomic_relationship(calls, **words)


def test_from_markers__blends():
    calls = random_calls(missing=3)
    G = genomic_relationship(calls)
    K = Relationship.from_markers(calls, blend=0.01)
    assert_holds(K, 0.99 * G + 0.01 * np.eye(12))
    assert K.notes == (*G.attrs["notes"], "blended with 0.01 of the identity")
    frame = pd.DataFrame({"id": [f"t{i}" for i in range(12, 0, -1)], "sire": None, "dam": None})
    frame.loc[:2, "sire"] = "t1"
    A = Relationship.from_pedigree(frame)
    mixed = Relationship.from_markers(calls, method=2, blend=0.05, blend_with=A)
    expected = 0.95 * genomic_relationship(calls, method=2) + 0.05 * A.covariance(calls.index)
    assert_holds(mixed, expected)


def test_from_markers__without_blend_are_lifted():
    calls = random_calls()
    G = genomic_relationship(calls).to_numpy()
    K = Relationship.from_markers(calls)
    assert "was added to the diagonal" in K.notes[-1]
    np.testing.assert_allclose(K.covariance().to_numpy(), G + 1e-7 * np.linalg.eigvalsh(G)[-1] * np.eye(12), atol=1e-8)


def test_from_markers__clones_with_given_frequencies_are_named():
    calls = random_calls(8, 60)
    clones = pd.concat([calls, calls.iloc[[3]].rename(index={"t4": "clone"})])
    p = dict(zip(calls.columns, np.linspace(0.3, 0.7, 60), strict=True))
    assert not any("added" in note for note in Relationship.from_markers(calls, frequencies=p).notes)
    assert Relationship.from_markers(clones, frequencies=p).notes[-1].endswith("identical levels: 't4 = clone'")


# ---------------------------------------------------------------- single step


def genotyped(pedigree, ids=(30, 4, 21, 13, 28), m=50) -> pd.DataFrame:
    return random_calls(len(ids), m, seed=5).set_axis(list(ids), axis=0)


def dense_h(pedigree, G, blend, tau, omega):
    """Legarra et al. (2009): H from the distribution of the others given the genotyped, in the pedigree's order."""
    A = pedigree.relationship()
    two = G.index
    one = A.index.difference(two)
    A22 = A.loc[two, two].to_numpy()
    H22 = np.linalg.inv(
        tau * np.linalg.inv((1 - blend) * G.to_numpy() + blend * A22) + (1 - omega) * np.linalg.inv(A22)
    )
    B = A.loc[one, two].to_numpy() @ np.linalg.inv(A22)
    H = A.copy()
    H.loc[two, two] = H22
    H.loc[one, two] = B @ H22
    H.loc[two, one] = (B @ H22).T
    H.loc[one, one] = A.loc[one, one] + B @ (H22 - A22) @ B.T
    return H


@pytest.mark.parametrize(("tau", "omega"), [(1.0, 1.0), (1.2, 0.8), (1.0, 0.6)])
def test_single_step__is_the_conditional_formula(tau, omega):
    pedigree = random_pedigree()
    calls = genotyped(pedigree)
    G = genomic_relationship(calls)
    H = Relationship.single_step(pedigree, calls, blend=0.1, tau=tau, omega=omega)
    expected = dense_h(pedigree, G, 0.1, tau, omega)
    np.testing.assert_allclose(H.precision.toarray() @ expected.to_numpy(), np.eye(30), atol=1e-9)
    np.testing.assert_allclose(H.log_determinant, np.linalg.slogdet(expected)[1], atol=1e-9)
    np.testing.assert_allclose(H.diagonal, np.diag(expected), atol=1e-9)
    assert H.ids.tolist() == pedigree.ids.tolist()
    assert H.notes[-1] == f"5 of 30 animals genotyped; A22 is 0.1 of G, τ = {tau:g}, ω = {omega:g}"
    assert G.attrs["notes"][0] in H.notes


def test_single_step__determinant_by_parts():
    pedigree = random_pedigree()
    G = genomic_relationship(genotyped(pedigree))
    A22 = pedigree.relationship(G.index)
    logdet = [np.linalg.slogdet(K)[1] for K in (0.95 * G + 0.05 * A22, A22)]
    H = Relationship.single_step(pedigree, G)
    assert H.log_determinant == pytest.approx(pedigree.log_determinant + logdet[0] - logdet[1], abs=1e-10)


def test_single_step__takes_g_and_tables_in_any_order():
    pedigree = random_pedigree()
    G = genomic_relationship(genotyped(pedigree))
    H = Relationship.single_step(pedigree, G)
    shuffled = G.loc[[4, 13, 21, 28, 30], [28, 13, 30, 4, 21]].rename(columns=str)
    again = Relationship.single_step(pedigree, shuffled)
    np.testing.assert_allclose(again.precision.toarray(), H.precision.toarray(), atol=1e-9)
    frame = pd.DataFrame(WRIGHT)
    small = genomic_relationship(random_calls(2).set_axis([6.0, 3.0], axis=0))
    by_frame = Relationship.single_step(frame, small, blend=0.2)
    np.testing.assert_allclose(
        by_frame.covariance(), dense_h(Pedigree.from_frame(frame), small, 0.2, 1.0, 1.0), atol=1e-9
    )


def test_single_step__with_g_equal_to_a_is_a():
    pedigree = random_pedigree()
    H = Relationship.single_step(pedigree, pedigree.relationship([7, 19, 30]))
    A = Relationship.from_pedigree(pedigree)
    np.testing.assert_allclose(H.precision.toarray(), A.precision.toarray(), atol=1e-10)
    np.testing.assert_allclose(H.diagonal, A.diagonal, atol=1e-12)
    assert H.log_determinant == pytest.approx(A.log_determinant, abs=1e-10)


def test_single_step__raise():
    pedigree = random_pedigree()
    calls = genotyped(pedigree, ids=(30, 99, 98))
    with pytest.raises(PedigreeError, match=r"2 genotyped animals are not in the pedigree: 99, 98; add them to it"):
        Relationship.single_step(pedigree, calls)
    assert any(
        "was added to the diagonal" in n
        for n in Relationship.single_step(pedigree, genotyped(pedigree), blend=0.0).notes
    )
    with pytest.raises(DataError, match=r"blend=1.0 is not a share"):
        Relationship.single_step(pedigree, genotyped(pedigree), blend=1.0)
    with pytest.raises(DataError, match=r"not positive definite: .*; τ = 0.1 and ω = 3 do not go together, take"):
        Relationship.single_step(pedigree, genotyped(pedigree), tau=0.1, omega=3.0)


# ---------------------------------------------------------------- dominance and products


def test_dominance__is_the_kernel_of_the_pedigree():
    #            1       2       3, 4, 5 full sibs       6, 7 double first cousins' parents and so on
    parents = [(0, 0), (0, 0), (0, 0), (0, 0), (1, 2), (1, 2), (3, 4), (3, 4), (5, 7), (6, 8), (1, 7)]
    frame = pd.DataFrame({"id": range(1, 12), "sire": [s for s, _ in parents], "dam": [d for _, d in parents]})
    D = Relationship.dominance(frame)
    assert_holds(D, Pedigree.from_frame(frame).dominance())
    K = D.covariance()
    assert (K.loc[5, 6], K.loc[9, 10], K.loc[5, 9]) == pytest.approx((0.25, 0.0625, 0.0))  # full sibs, double cousins
    assert D.notes == ()
    chosen = Relationship.dominance(frame, [10, 9])
    assert chosen.ids.tolist() == [10, 9]
    assert_holds(chosen, K.loc[[10, 9], [10, 9]])


@pytest.mark.published("pedigrees_small")
def test_dominance__mrode_example():
    """The pedigree of Mrode (2005) example 9.1 has no inbreeding; full sibs share 1/4."""
    D = Relationship.dominance(textbook_pedigree("Mrode9"))
    A = Relationship.from_pedigree(textbook_pedigree("Mrode9"))
    assert (D.diagonal == 1.0).all()
    full_sibs = D.covariance([9, 10]).loc[9, 10]
    assert full_sibs == pytest.approx(0.25)
    assert A.covariance([9, 10]).loc[9, 10] == pytest.approx(0.5)


def test_dominance__says_who_is_inbred():
    D = Relationship.dominance(pd.DataFrame(WRIGHT), [3, 5, 6])
    assert D.notes == ("2 animals are inbred, which dominance relationships do not allow for: 5, 6",)


def test_dominance__raise_on_strangers():
    with pytest.raises(PedigreeError, match="not in the pedigree: 9"):
        Relationship.dominance(pd.DataFrame(WRIGHT), [9])


def test_hadamard__is_by_label():
    A, B = random_kernel(seed=1), random_kernel(seed=2).loc[list("dbeac"), list("dbeac")]
    product = Relationship.from_covariance(A).hadamard(Relationship.from_covariance(B))
    assert product.ids.tolist() == list("abcde")
    assert_holds(product, A * B.loc[A.index, A.columns])
    assert product.notes == ()


def test_hadamard__additive_by_additive():
    pedigree = random_pedigree()
    A = Relationship.from_pedigree(pedigree)
    assert_holds(A.hadamard(A), pedigree.relationship() ** 2)


def test_hadamard__leaves_out_what_only_one_has_and_says_so():
    A = Relationship.from_pedigree(pd.DataFrame(WRIGHT))
    labels = ["7", "5", "2"]
    K = Relationship.from_covariance(random_kernel(3).to_numpy(), labels, notes=("mine",))
    product = A.hadamard(K)
    assert product.ids.tolist() == [2, 5]
    assert product.notes == ("mine", "5 levels of one kernel only left out of the product: 1, 3, 4, 6, '7'")
    expected = K.covariance(["2", "5"]).to_numpy() * A.covariance([2, 5]).to_numpy()
    assert_holds(product, expected)


def test_hadamard__raise_on_nothing_shared():
    A = Relationship.from_pedigree(pd.DataFrame(WRIGHT))
    with pytest.raises(DataError, match=r"share no label: 1, 2, .* and 'a', 'b', .*; name the levels alike"):
        A.hadamard(Relationship.from_covariance(random_kernel()))


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("labels", [[41, 7, 103], [41.0, 7.0, 103.0], ["41", "7", "103"], ["41", 7, 103.0]])
@pytest.mark.parametrize(
    "column",
    [
        pd.Series([103, 41, 103]),
        pd.Series([103.0, 41.0, 103.0]),
        pd.Series(["103", "41", "103"]),
        pd.Series([103, "41", 103.0], dtype=object),
        pd.Series(pd.array([103, 41, 103], dtype="Int64")),
        pd.Series([103, 41, 103], dtype="category"),
        pd.Series(["103", "41", "103"], dtype="category"),
    ],
)
def test_locate__takes_equal_numbers_for_one_level(labels, column):
    K = Relationship.from_covariance(random_kernel(3).to_numpy(), labels)
    assert K.locate(column, "line").tolist() == [2, 0, 2]


def test_locate__texts_fractions_and_times():
    kernel = random_kernel(3).to_numpy()
    assert Relationship.from_covariance(kernel, ["b", "a", "c"]).locate(pd.Series(["c", "b"]), "f").tolist() == [2, 0]
    assert Relationship.from_covariance(kernel, [0.5, 1.0, 2.0]).locate(pd.Series([1, 0.5]), "f").tolist() == [1, 0]
    days = pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"])
    assert Relationship.from_covariance(kernel, days).locate(pd.Series(days[::-1]), "f").tolist() == [2, 1, 0]
    assert Relationship.from_covariance(kernel, range(3)).locate(pd.Series([0, 2]), "f").tolist() == [0, 2]


def test_locate__raise_on_absent_levels():
    K = Relationship.from_pedigree(pd.DataFrame(WRIGHT))
    column = pd.Series([1, 11, 12, 13, 14, 15, 16, 11])
    message = (
        r"6 levels of 'animal' are not in its relationship: 11, 12, 13, 14, 15 \(and 1 more\); it has 6 levels, such"
    )
    with pytest.raises(DataError, match=message + " as 1, 2.*add them to the pedigree"):
        K.locate(column, "animal")


@pytest.mark.parametrize("labels", [[1, 2, 3], ["a", "b", "nan"]])
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_locate__raise_on_missing_levels(labels, missing):
    K = Relationship.from_covariance(random_kernel(3).to_numpy(), labels)
    with pytest.raises(DataError, match=r"1 levels of 'line' are not in its relationship: (nan|None|<NA>)"):
        K.locate(pd.Series([labels[0], missing], dtype=object), "line")


# ---------------------------------------------------------------- in a model


def fitted(K: Relationship, data: pd.DataFrame):
    spec = ModelSpec.from_formula("y1 + y2 ~ 1", random="us(trait):line", residual="us(trait):units")
    return fit_reml(build_design(spec, data, {"line": K}))


@pytest.mark.parametrize("seed", [0, 1])
def test_build_design__order_of_kernel_and_data_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    K = random_kernel(12, seed=3).set_axis(range(100, 112), axis=0).set_axis(range(100, 112), axis=1)
    u = np.linalg.cholesky(K) @ rng.normal(size=(12, 2))
    line = np.repeat(np.arange(12), 4)
    values = u[line] + rng.normal(size=(48, 2))
    data = pd.DataFrame({"line": line + 100, "y1": values[:, 0], "y2": values[:, 1]})
    reml = fitted(Relationship.from_covariance(K), data)
    order = rng.permutation(K.index)
    shuffled = data.sample(frac=1.0, random_state=seed).assign(line=lambda d: d["line"].astype(str))
    again = fitted(Relationship.from_covariance(K.loc[order, rng.permutation(K.index)]), shuffled)
    assert again.loglik == pytest.approx(reml.loglik, abs=1e-8)
    np.testing.assert_allclose(again.varcomp["component"], reml.varcomp["component"], rtol=1e-4)


@pytest.mark.published("wheat599")
def test_build_design__wheat():
    """Crossa et al. (2010), A given as a matrix, beside an independent REML code without the constant of log 2π."""
    data = pd.read_csv(folder("wheat599") / "data.csv")
    A = pd.read_csv(folder("wheat599") / "A_relationship.csv.gz", header=None).to_numpy()
    K = Relationship.from_covariance(A, data["line"])
    np.testing.assert_allclose(K.precision @ A, np.eye(599), atol=1e-6)
    spec = ModelSpec.from_formula("env1 + env2 + env3 + env4 ~ 1", random="us(trait):line", residual="us(trait):units")
    reml = fit_reml(build_design(spec, data.sample(frac=1.0, random_state=1).astype({"line": str}), {"line": K}))
    answers = pd.read_csv(folder("wheat599") / "answers.csv").set_index("quantity")["value"].astype(float)
    constant = 0.5 * (4 * 599 - 4) * np.log(2 * np.pi)
    assert reml.loglik + constant == pytest.approx(answers["logLik_REML"], abs=1e-3)
    line = reml.varcomp.query("term == 'line'").set_index(["trait_i", "trait_j"])["component"]
    for name, value in answers.filter(regex="^VG_").items():
        first, second = (*name.removeprefix("VG_").split("."), *name.removeprefix("VG_").split("."))[:2]
        assert line.get((first, second), line.get((second, first))) == pytest.approx(value, abs=2e-5)
