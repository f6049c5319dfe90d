"""Kernels interpreted on small arrays and compiled on large ones: the same answers both ways."""

import numpy as np
import pytest
from numba import njit
from scipy import sparse

from bayesmv.numerics import compiled, ordering
from bayesmv.numerics import supernodes as symbolic
from bayesmv.numerics.compiled import CompiledWhenLarge


@njit
def _inner(x):
    return x.sum()


@njit
def _outer(x):
    return 2.0 * _inner(x)


@CompiledWhenLarge
def kernel(x, start=1.0):
    """Say what it does."""
    return start + _outer(x)


def adjacency(n, degree, seed):
    rng = np.random.default_rng(seed)
    i, j = rng.integers(0, n, (2, n * degree // 2))
    A = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(n, n))
    A = sparse.csr_array(A + A.T)
    A.setdiag(0)
    A.eliminate_zeros()
    return A.indptr.astype(np.int64), A.indices.astype(np.int64)


def test_compiled_when_large__by_size(monkeypatch):
    monkeypatch.setattr(compiled, "SMALL", 10)
    assert kernel(np.ones(9)) == 19.0
    assert not kernel.compiled.signatures
    assert not _outer.signatures
    assert kernel(np.ones(10)) == 21.0
    assert len(kernel.compiled.signatures) == 1


def test_compiled_when_large__keeps_name_docstring_and_defaults():
    assert (kernel.__name__, kernel.__doc__) == ("kernel", "Say what it does.")
    assert kernel.interpreted(np.ones(2)) == kernel.compiled(np.ones(2)) == 5.0


def test_interpreted__compiles_nothing_that_it_calls():
    before = len(_inner.signatures)
    assert kernel.interpreted(np.ones(3, dtype=np.float32)) == 7.0
    assert len(_inner.signatures) == before


@pytest.mark.parametrize("n", [1, 2, 30, 400])
def test_analysis__as_compiled_as_interpreted(monkeypatch, n):
    graph = adjacency(n, 4, seed=n)
    monkeypatch.setattr(compiled, "SMALL", 0)
    expected = analysis(*graph)
    monkeypatch.setattr(compiled, "SMALL", 10**9)
    for a, b in zip(analysis(*graph), expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def analysis(indptr, indices):
    """Order, tree and supernodes of a graph whose nodes have 1 to 3 unknowns."""
    n = len(indptr) - 1
    size = 1 + np.arange(n) % 3
    order = ordering.minimum_degree(indptr, indices, size)
    A = sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(n, n))
    A = sparse.csr_array(A[order][:, order])
    order = order[ordering.postorder(ordering.elimination_tree(A.indptr, A.indices))]
    A = sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(n, n))[order][:, order]
    tree = ordering.elimination_tree(A.indptr, A.indices)
    lower = sparse.csc_array(sparse.tril(A + sparse.eye_array(n)))
    start = np.concatenate([[0], np.cumsum(size[order])])
    nodes = symbolic.analyse(start, lower.indptr.astype(np.int64), lower.indices.astype(np.int64), tree)
    return [order, tree, *nodes]
