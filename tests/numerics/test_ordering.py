"""Fill-reducing ordering, elimination tree and postorder."""

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import splu

from bayesmv.numerics.ordering import elimination_tree, minimum_degree, postorder

type IntArray = npt.NDArray[np.int64]


def graph(n: int, edges: list[tuple[int, int]] | IntArray) -> sp.csr_array:
    """Symmetric pattern (n, n) without a diagonal."""
    i, j = np.asarray(edges, dtype=np.int64).reshape(-1, 2).T
    i, j = i[i != j], j[i != j]
    A = sp.coo_array((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(n, n)).tocsr()
    A.data[:] = 1.0
    return A


def grid(side: int) -> sp.csr_array:
    """Five-point grid."""
    k = np.arange(side * side).reshape(side, side)
    across = np.c_[k[:, :-1].ravel(), k[:, 1:].ravel()]
    down = np.c_[k[:-1].ravel(), k[1:].ravel()]
    return graph(side * side, np.r_[across, down])


def animal_model(n: int, rng: np.random.Generator, group_size: int) -> sp.csr_array:
    """Pattern of A^-1 of ten overlapping generations, bordered by contemporary groups of one generation."""
    generation = np.arange(n) * 10 // n
    sires: list[IntArray] = []
    dams: list[IntArray] = []
    edges = []
    for g in range(10):
        born = np.flatnonzero(generation == g)
        if g:
            # Parents come from the last three generations.
            sire = rng.choice(np.concatenate(sires[-3:]), len(born))
            dam = rng.choice(np.concatenate(dams[-3:]), len(born))
            edges += [np.c_[born, sire], np.c_[born, dam], np.c_[sire, dam]]
        males, females = np.array_split(rng.permutation(born), 2)
        sires.append(males[: max(2, len(males) // 20)])
        dams.append(females[: len(females) // 2])
    groups = n // group_size // 10
    group = n + generation * groups + rng.integers(0, groups, n)
    return graph(n + 10 * groups, np.concatenate([*edges, np.c_[np.arange(n), group]]))


def permuted(A: sp.csr_array, order: IntArray) -> sp.csr_array:
    return A[order][:, order].tocsr()


def column_structures(A: sp.csr_array) -> list[set[int]]:
    """Rows below the diagonal of each column of the factor: the column's own and its children's."""
    n = A.shape[0]
    structures = [{int(i) for i in A.indices[A.indptr[j] : A.indptr[j + 1]] if i > j} for j in range(n)]
    for j in range(n):
        if structures[j]:
            parent = min(structures[j])
            structures[parent] |= structures[j] - {parent}
    return structures


def scalar_fill(A: sp.csr_array, order: IntArray, weights: IntArray | None = None) -> int:
    """Non-zeros in the factor, diagonal included, when nodes are dense blocks."""
    w = (np.ones(A.shape[0], int) if weights is None else weights)[order].tolist()
    columns = column_structures(permuted(A, order))
    return sum(w[j] * (w[j] + 1) // 2 + w[j] * sum(w[i] for i in rows) for j, rows in enumerate(columns))


def superlu_order(A: sp.csr_array) -> IntArray:
    """SuperLU's multiple minimum degree on A + A'."""
    M = (A + sp.diags_array(A.sum(axis=1) + 1.0)).tocsc()
    options = {"SymmetricMode": True}
    lu = splu(M, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    return np.argsort(lu.perm_c)


def exact_minimum_degree(A: sp.csr_array) -> IntArray:
    """Greedy elimination of the node of least true degree, with explicit fill."""
    neighbours = {i: set(A.indices[A.indptr[i] : A.indptr[i + 1]].tolist()) for i in range(A.shape[0])}
    order = []
    while neighbours:
        pivot = min(neighbours, key=lambda i: (len(neighbours[i]), i))
        front = neighbours.pop(pivot)
        for i in front:
            neighbours[i] = (neighbours[i] | front) - {i, pivot}
        order.append(pivot)
    return np.array(order)


def dense_parents(A: sp.csr_array) -> list[int]:
    """First non-zero below the diagonal of each column, by elimination on a full matrix."""
    L = A.toarray() != 0
    for k in range(len(L)):
        below = np.flatnonzero(L[k + 1 :, k]) + k + 1
        L[np.ix_(below, below)] = True
    return [next((i for i in range(k + 1, len(L)) if L[i, k]), -1) for k in range(len(L))]


@st.composite
def graphs(draw: st.DrawFn, most: int = 40) -> sp.csr_array:
    """Sparse graphs, often in several pieces, with isolated nodes and now and then a dense row."""
    n = draw(st.integers(0, most))
    if n == 0:
        return graph(0, [])
    node = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=3 * n))
    hubs = draw(st.lists(node, max_size=2))
    return graph(n, edges + [(hub, i) for hub in hubs for i in range(0, n, draw(st.integers(1, 3)))])


properties = settings(deadline=None, max_examples=100)


@properties
@given(A=graphs(most=120))
def test_minimum_degree__is_a_permutation(A: sp.csr_array) -> None:
    order = minimum_degree(A.indptr, A.indices)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(A.shape[0]))


@properties
@given(A=graphs(), data=st.data())
def test_minimum_degree__weighted_is_a_permutation(A: sp.csr_array, data: st.DataObject) -> None:
    n = A.shape[0]
    weights = np.array(data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n)), dtype=int)
    order = minimum_degree(A.indptr, A.indices, weights)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


@properties
@given(A=graphs(), scale=st.integers(1, 5))
def test_minimum_degree__equal_weights_change_nothing(A: sp.csr_array, scale: int) -> None:
    order = minimum_degree(A.indptr, A.indices)
    scaled = minimum_degree(A.indptr, A.indices, np.full(A.shape[0], scale))
    np.testing.assert_array_equal(scaled, order)


@properties
@given(A=graphs())
def test_minimum_degree__same_input_same_order(A: sp.csr_array) -> None:
    order = minimum_degree(A.indptr, A.indices)
    indptr, indices = A.indptr.astype(np.int64), A.indices.astype(np.int64)
    indptr.flags.writeable = indices.flags.writeable = False
    np.testing.assert_array_equal(minimum_degree(indptr, indices), order)


def test_minimum_degree__diagonal_is_ignored() -> None:
    A = grid(12)
    B = (A + sp.eye_array(A.shape[0])).tocsr()
    A.sort_indices()
    B.sort_indices()
    np.testing.assert_array_equal(minimum_degree(B.indptr, B.indices), minimum_degree(A.indptr, A.indices))


def test_minimum_degree__leaves_its_input_alone() -> None:
    A = grid(12)
    weights = np.arange(1, A.shape[0] + 1)
    before = A.indptr.copy(), A.indices.copy(), weights.copy()
    minimum_degree(A.indptr, A.indices, weights)
    for array, copy in zip((A.indptr, A.indices, weights), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_minimum_degree__no_edges(n: int) -> None:
    order = minimum_degree(np.zeros(n + 1, int), np.zeros(0, int))
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


@pytest.mark.parametrize("n", [2, 3, 17, 200])
def test_minimum_degree__path_has_no_fill(n: int) -> None:
    shuffled = np.random.default_rng(n).permutation(n)
    A = graph(n, np.c_[shuffled[:-1], shuffled[1:]])
    assert scalar_fill(A, minimum_degree(A.indptr, A.indices)) == 2 * n - 1


@pytest.mark.parametrize("n", [5, 17, 18, 500])
def test_minimum_degree__star_has_no_fill(n: int) -> None:
    hub = n // 2
    A = graph(n, [(hub, i) for i in range(n) if i != hub])
    order = minimum_degree(A.indptr, A.indices)
    assert scalar_fill(A, order) == 2 * n - 1
    assert hub in order[-2:]


@pytest.mark.parametrize("seed", range(5))
def test_minimum_degree__tree_has_no_fill(seed: int) -> None:
    n = 300
    rng = np.random.default_rng(seed)
    A = graph(n, [(i, int(rng.integers(0, i))) for i in range(1, n)])
    assert scalar_fill(A, minimum_degree(A.indptr, A.indices)) == 2 * n - 1


@pytest.mark.parametrize("n", [4, 5, 50])
def test_minimum_degree__cycle_has_least_fill(n: int) -> None:
    A = graph(n, [(i, (i + 1) % n) for i in range(n)])
    # A triangulated polygon has n - 3 chords.
    assert scalar_fill(A, minimum_degree(A.indptr, A.indices)) == n + n + (n - 3)


def test_minimum_degree__clique_stays_together() -> None:
    cliques = np.random.default_rng(3).permutation(60).reshape(6, 10)
    A = graph(60, [(i, j) for clique in cliques for i in clique for j in clique if i < j])
    order = minimum_degree(A.indptr, A.indices)
    runs = {frozenset(run.tolist()) for run in order.reshape(6, 10)}
    assert runs == {frozenset(clique.tolist()) for clique in cliques}


def test_minimum_degree__dense_rows_come_last() -> None:
    n = 1000
    chain = [(i, i + 1) for i in range(2, n - 1)]
    hubs = [(0, i) for i in range(2, n)] + [(1, i) for i in range(2, n, 2)]
    A = graph(n, chain + hubs)
    np.testing.assert_array_equal(minimum_degree(A.indptr, A.indices)[-2:], [1, 0])


@pytest.mark.parametrize("side", [10, 30, 45])
def test_minimum_degree__grid_fill_is_near_superlu(side: int) -> None:
    A = grid(side)
    fill = scalar_fill(A, minimum_degree(A.indptr, A.indices))
    assert fill <= 1.1 * scalar_fill(A, superlu_order(A))
    # Nested dissection: 31/4 n log2(sqrt(n)) + O(n) (George 1973, SIAM J. Numer. Anal. 10, 345-363).
    assert fill <= 7.75 * side**2 * np.log2(side)


def test_minimum_degree__fill_is_near_exact_minimum_degree() -> None:
    rng = np.random.default_rng(11)
    approximate = exact = 0
    for _ in range(40):
        n = int(rng.integers(20, 80))
        A = graph(n, rng.integers(0, n, (2 * n, 2)))
        approximate += scalar_fill(A, minimum_degree(A.indptr, A.indices))
        exact += scalar_fill(A, exact_minimum_degree(A))
    assert approximate <= 1.02 * exact


@pytest.mark.parametrize("heavy", [[0, 1], [2, 3]])
def test_minimum_degree__degrees_count_scalars(heavy: list[int]) -> None:
    A = graph(4, [(0, 2), (0, 3), (1, 2), (1, 3)])
    weights = np.ones(4, int)
    weights[heavy] = 10
    # Each light node has degree 20, each heavy one degree 2.
    assert minimum_degree(A.indptr, A.indices, weights)[0] in heavy


@pytest.mark.parametrize("seed", range(3))
def test_minimum_degree__weighted_fill_is_that_of_the_scalar_graph(seed: int) -> None:
    A = grid(14)
    n = A.shape[0]
    weights = np.random.default_rng(seed).integers(1, 6, n)
    owner = np.repeat(np.arange(n), weights)
    blocks = permuted((A + sp.eye_array(n)).tocsr(), owner)
    scalars = (blocks - sp.eye_array(len(owner))).tocsr()
    scalars.eliminate_zeros()
    weighted = scalar_fill(A, minimum_degree(A.indptr, A.indices, weights), weights)
    assert weighted <= 1.05 * scalar_fill(scalars, minimum_degree(scalars.indptr, scalars.indices))
    assert weighted < 0.95 * scalar_fill(A, minimum_degree(A.indptr, A.indices), weights)


@pytest.mark.parametrize("group_size", [25, 100])
def test_minimum_degree__animal_model_fill_is_near_superlu(group_size: int) -> None:
    A = animal_model(5000, np.random.default_rng(group_size), group_size)
    fill = scalar_fill(A, minimum_degree(A.indptr, A.indices))
    assert fill <= 1.15 * scalar_fill(A, superlu_order(A))


@properties
@given(A=graphs(most=30))
def test_elimination_tree__matches_dense_factorisation(A: sp.csr_array) -> None:
    assert elimination_tree(A.indptr, A.indices).tolist() == dense_parents(A)


def test_elimination_tree__animal_model() -> None:
    A = animal_model(1000, np.random.default_rng(5), 25)
    A = permuted(A, minimum_degree(A.indptr, A.indices))
    first = [min(rows, default=-1) for rows in column_structures(A)]
    assert elimination_tree(A.indptr, A.indices).tolist() == first


@properties
@given(data=st.data(), n=st.integers(0, 40))
def test_postorder__descendants_come_just_before(data: st.DataObject, n: int) -> None:
    names = data.draw(st.permutations(range(n)))
    parent = np.full(n, -1)
    for k in range(1, n):
        above = data.draw(st.integers(-1, k - 1))
        parent[names[k]] = names[above] if above >= 0 else -1
    order = postorder(parent)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    place = np.argsort(order)
    descendants: dict[int, set[int]] = {j: {j} for j in range(n)}
    for j in names[::-1]:
        if parent[j] >= 0:
            descendants[int(parent[j])] |= descendants[j]
    for j, below in descendants.items():
        places = {int(place[i]) for i in below}
        assert places == set(range(place[j] - len(below) + 1, place[j] + 1))


@properties
@given(A=graphs())
def test_postorder__keeps_the_fill(A: sp.csr_array) -> None:
    order = minimum_degree(A.indptr, A.indices)
    B = permuted(A, order)
    again = order[postorder(elimination_tree(B.indptr, B.indices))]
    assert scalar_fill(A, again) == scalar_fill(A, order)
