"""Factor, solves and selected inverse of sparse block matrices against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bayesmv.numerics import cholesky
from bayesmv.numerics import supernodes as symbolic
from bayesmv.numerics.ordering import elimination_tree, minimum_degree, postorder


class Problem:
    """A random SPD matrix of dense blocks, analysed; `inside` are the positions of the factor's pattern."""

    def __init__(self, sizes, edges, seed, last_alone=True):
        rng = np.random.default_rng(seed)
        n = len(sizes)
        adjacency = np.zeros((n, n), bool)
        for i, j in edges:
            adjacency[i, j] = adjacency[j, i] = i != j
        if last_alone:  # the last node touches all, as the records do in the mixed-model equations
            adjacency[-1, :-1] = adjacency[:-1, -1] = True
        inner = sparse.csr_array(adjacency[:-1, :-1].astype(float))
        order = minimum_degree(inner.indptr, inner.indices, np.asarray(sizes[:-1]))
        order = order[postorder(tree_of(adjacency[np.ix_(order, order)]))]
        order = np.append(order, n - 1)
        adjacency, sizes = adjacency[np.ix_(order, order)], np.asarray(sizes)[order]
        start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        lower = sparse.csc_array(np.tril(adjacency | np.eye(n, dtype=bool)).astype(float))
        lower.sort_indices()
        self.symbolic = symbolic.analyse(
            start, lower.indptr.astype(np.int64), lower.indices.astype(np.int64), tree_of(adjacency), last_alone
        )
        pattern = np.repeat(np.repeat(adjacency | np.eye(n, dtype=bool), sizes, axis=0), sizes, axis=1)
        A = np.where(pattern, rng.normal(size=pattern.shape), 0.0)
        A = A + A.T
        self.A = A + np.diag(np.abs(A).sum(axis=1) + rng.uniform(0.1, 1.0, len(A)))
        self.work = cholesky.workspace(self.symbolic)
        self.rows, self.cols = np.nonzero(np.tril(pattern))
        self.fill()

    def fill(self):
        self.work.factor[:] = 0.0
        self.work.factor[self.locate(self.rows, self.cols)] = self.A[self.rows, self.cols]

    def locate(self, rows, cols):
        return symbolic.locate(self.symbolic, rows.astype(np.int64), cols.astype(np.int64))

    def entries(self):
        """Rows and columns of all entries of the panels, lower triangle."""
        rows, cols = [], []
        for s in range(len(self.symbolic.start) - 1):
            own = np.arange(self.symbolic.start[s], self.symbolic.start[s + 1])
            below = self.symbolic.rows[self.symbolic.row_start[s] : self.symbolic.row_start[s + 1]]
            r, c = np.meshgrid(np.concatenate([own, below]), own, indexing="ij")
            keep = r >= c
            rows.append(r[keep])
            cols.append(c[keep])
        return np.concatenate(rows), np.concatenate(cols)


def tree_of(adjacency):
    graph = sparse.csr_array(adjacency.astype(float))
    return elimination_tree(graph.indptr.astype(np.int64), graph.indices.astype(np.int64))


@st.composite
def problems(draw, largest=4):
    n = draw(st.integers(2, 25))
    sizes = draw(st.lists(st.integers(1, largest), min_size=n, max_size=n))
    edges = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=3 * n))
    return Problem(sizes, edges, draw(st.integers(0, 2**32 - 1)), draw(st.booleans()))


WIDE = {
    "one node of 130": ([130, 1], []),
    "forty full nodes of 4": ([4] * 40 + [1], [(i, j) for i in range(40) for j in range(i)]),
    "a wide node below a chain": ([3] * 30 + [120, 2, 1], [(i, i + 1) for i in range(31)] + [(0, 30)]),
    "an arrow": ([2] * 50 + [110, 1], [(i, 50) for i in range(50)]),
    "every other row of a full tail": (
        [100, *[4] * 50, 1],
        [(i, j) for i in range(1, 51) for j in range(1, i)] + [(0, j) for j in range(1, 51, 2)],
    ),
}


@pytest.fixture(params=WIDE, scope="module")
def wide(request):
    return Problem(*WIDE[request.param], seed=1)


def check_everything(p):
    rows, cols = p.entries()
    L = np.linalg.cholesky(p.A)
    p.fill()
    assert cholesky.factorize(p.symbolic, p.work)
    np.testing.assert_allclose(p.work.factor[p.locate(rows, cols)], L[rows, cols], atol=1e-11, rtol=1e-11)
    outside = np.ones(p.A.shape, bool)
    outside[rows, cols] = False
    np.testing.assert_array_equal(np.tril(L)[outside], 0.0)  # the pattern misses no fill
    b = np.random.default_rng(0).normal(size=(len(p.A), 3))
    z = b.copy()
    cholesky.solve_lower(p.symbolic, p.work.factor, z)
    np.testing.assert_allclose(L @ z, b, atol=1e-10)
    z = b.copy()
    cholesky.solve_upper(p.symbolic, p.work.factor, z)
    np.testing.assert_allclose(L.T @ z, b, atol=1e-10)
    check_selected_inverse(p, len(p.symbolic.start) - 1)
    check_selected_inverse(p, len(p.symbolic.start) - 2)


def check_selected_inverse(p, count):
    """Inverse of what comes before supernode `count`, on the pattern of the factor."""
    order = p.symbolic.start[count]
    rows, cols = p.entries()
    inside = (rows < order) & (cols < order)
    rows, cols = rows[inside], cols[inside]
    exact = np.linalg.inv(p.A[:order, :order])
    cholesky.selected_inverse(p.symbolic, p.work, count)
    scale = np.abs(exact).max(initial=0.0)
    np.testing.assert_allclose(p.work.inverse[p.locate(rows, cols)], exact[rows, cols], atol=1e-12 * scale, rtol=1e-9)


@settings(max_examples=100)
@given(problems())
def test_cholesky__numpy(p):
    check_everything(p)


def test_cholesky__wide_supernodes(wide):
    check_everything(wide)


def test_analyse__wide_nodes_are_split_at_the_widest():
    p = Problem(*WIDE["forty full nodes of 4"], seed=1)
    assert np.diff(p.symbolic.start).max() <= symbolic.WIDEST
    assert len(p.symbolic.start) - 1 >= 3
    assert max(WIDE["one node of 130"][0]) > symbolic.WIDEST


@settings(max_examples=50)
@given(problems())
def test_analyse__partition(p):
    start = p.symbolic.start
    assert start[0] == 0
    assert start[-1] == len(p.A)
    assert (np.diff(start) > 0).all()
    for s in range(len(start) - 1):
        rows = p.symbolic.rows[p.symbolic.row_start[s] : p.symbolic.row_start[s + 1]]
        assert (np.diff(rows) > 0).all()
        assert (rows >= start[s + 1]).all()


def test_analyse__keeps_the_last_node_alone():
    p = Problem([2, 2, 2, 1], [(0, 1), (1, 2), (0, 2)], 0)
    assert p.symbolic.start[-2] == len(p.A) - 1
    merged = Problem([2, 2, 2, 1], [(i, j) for i in range(4) for j in range(i)], 0, last_alone=False)
    assert len(merged.symbolic.start) == 2


@settings(max_examples=40)
@given(problems(), st.integers(0, 2**32 - 1))
def test_factorize__false_if_not_positive_definite(p, seed):
    at = np.random.default_rng(seed).integers(len(p.A))
    p.A[at, at] = -1.0
    p.fill()
    assert not cholesky.factorize(p.symbolic, p.work)


def test_factorize__false_on_nan():
    p = Problem([2, 2, 1], [(0, 1)], 0)
    p.A[0, 0] = np.nan
    p.fill()
    assert not cholesky.factorize(p.symbolic, p.work)


@settings(max_examples=20)
@given(problems())
def test_factorize__again_after_a_failure(p):
    good = p.A.copy()
    p.A[-1, -1] = -1.0
    p.fill()
    assert not cholesky.factorize(p.symbolic, p.work)
    p.A = good
    check_everything(p)


@settings(max_examples=50)
@given(problems(largest=2))
def test_analyse__runs_are_neighbours_alike(p):
    start, row_start, rows, _, _, run = p.symbolic
    for s in range(1, len(run)):
        mine, its = (rows[row_start[t] : row_start[t + 1]] for t in (s, s - 1))
        alike = np.array_equal(mine, its) and len(mine) > 0 and start[s + 1] - start[s] == start[s] - start[s - 1]
        assert run[s] == (run[s - 1] if alike else s)


def test_analyse__runs_are_no_wider_than_supernodes():
    p = Problem(*WIDE["an arrow"], seed=1)
    widths = p.symbolic.start[1:] - p.symbolic.start[p.symbolic.run]
    assert widths[:50].tolist() == [2 * (i % 48 + 1) for i in range(50)]
