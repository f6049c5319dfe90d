"""Dependent columns against a dense rank, one by one and by elimination; well-conditioned columns keep the span."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse import csgraph

from bayesmv.numerics import dependence
from bayesmv.numerics.dependence import conditioned, independent_columns, least_squares, left_of_cross_products

N = 60


def indicators(codes):
    return np.eye(codes.max() + 1)[codes]


def greedy(A):
    """Columns that raise the rank, one at a time."""
    keep = []
    for j in range(A.shape[1]):
        size = np.linalg.norm(A[:, [*keep, j]], axis=0)
        if size[-1] > 0 and np.linalg.matrix_rank(A[:, [*keep, j]] / size, tol=1e-7) == len(keep) + 1:
            keep.append(j)
    return np.isin(np.arange(A.shape[1]), keep)


@st.composite
def designs(draw):
    """Factors, nested factors, slopes, means, covariates near and far from zero, in any order and number."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    herd, year = (rng.integers(0, draw(st.integers(2, 9)), N) for _ in range(2))
    nested = np.unique(herd * 9 + year, return_inverse=True)[1]
    parts = [
        np.ones((N, 1)),
        indicators(herd),
        indicators(herd)[:, 1:],
        indicators(year),
        indicators(nested),
        rng.normal(size=(N, 2)),
        rng.normal(size=(N, 1)) + 1e5,
        indicators(herd) * (rng.normal(size=(N, 1)) + 50),
        indicators(herd)[:, [0]] * 2,
        indicators(year) @ rng.normal(size=(year.max() + 1, 1)),
        np.zeros((N, 1)),
    ]
    chosen = draw(st.lists(st.sampled_from(range(len(parts))), min_size=1, max_size=5, unique=True))
    return np.hstack([parts[i] for i in chosen])


@settings(max_examples=60, deadline=None)
@given(designs())
def test_independent_columns__one_by_one_and_by_elimination(A):
    expected = greedy(A)
    there = np.linalg.norm(A, axis=0) > 0
    X = sparse.csc_array(A)
    np.testing.assert_array_equal(independent_columns(X), expected)
    if there.any():
        np.testing.assert_array_equal(dependence._by_elimination(X[:, np.flatnonzero(there)]), expected[there])


def test_independent_columns__nested_factors_drop_the_last_of_each_group():
    """2,000 groups within 200 herds, herds first: the last group of every herd depends on what comes before it."""
    group = np.repeat(np.arange(2000), 3)
    herd = group // 10
    X = sparse.hstack([sparse.csc_array(np.ones((len(group), 1))), *(_sparse(c, 1) for c in (herd, group))])
    keep = independent_columns(sparse.csc_array(X))
    dropped = np.flatnonzero(~keep) - 200 + 1
    assert keep.sum() == 2000
    # Herd 0 is the reference of herds and group 0 that of groups: herd 0 keeps its last group.
    np.testing.assert_array_equal(dropped, np.arange(19, 2000, 10))


def _sparse(codes, first=0):
    there = np.flatnonzero(codes >= first)
    return sparse.csc_array(
        (np.ones(len(there)), (there, codes[there] - first)), shape=(len(codes), codes.max() + 1 - first)
    )


def test_independent_columns__fill_is_linear_in_the_levels():
    """Rows of the factor hold as many numbers as there are columns, so that the work is linear in the records."""
    counts = []
    for levels in (500, 1000, 2000):
        group = np.random.default_rng(0).integers(0, levels, 10 * levels)
        F = _sparse(group, 1)
        gram = sparse.csr_array(F.T @ F)
        counts.append(gram.nnz)
        assert independent_columns(sparse.csc_array(sparse.hstack([np.ones((len(group), 1)), F]))).all()
    assert counts == [499, 999, 1999]


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e6])
def test_conditioned__far_from_zero(offset):
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(2, N)) + offset
    sex = indicators(np.arange(N) % 2)
    X = sparse.csc_array(np.column_stack([np.ones(N), sex[:, 1], x, z, sex[:, 1] * x]))
    assert independent_columns(X).all()
    W, B = conditioned(X, np.ones((5, 1), dtype=bool))
    assert np.linalg.cond(W.toarray()) < 20
    np.testing.assert_allclose((X @ B).toarray(), W.toarray(), atol=1e-9 * (1 + offset))
    y = rng.normal(size=N)
    centred = np.column_stack([np.ones(N), sex[:, 1], x - offset, z - offset, sex[:, 1] * (x - offset)])
    expected = centred @ np.linalg.lstsq(centred, y, rcond=None)[0]
    np.testing.assert_allclose(W @ least_squares(W, y), expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(designs(), st.integers(0, 2**32 - 1))
def test_conditioned__keeps_the_span_of_every_response(A, seed):
    rng = np.random.default_rng(seed)
    A = A[:, greedy(A)]
    present = rng.random((A.shape[1], 2)) < 0.7
    W, B = conditioned(sparse.csc_array(A), present)
    assert (B.diagonal() != 0).all()
    for t in range(2):
        mine = np.flatnonzero(present[:, t])
        if not len(mine):
            continue
        # Triangular in some order (no column is made of itself by way of others), so that det B is its diagonal's.
        block = B[mine][:, mine].toarray()
        assert csgraph.connected_components(block, connection="strong")[0] == len(mine)
        np.testing.assert_allclose(A[:, mine] @ block, W[:, mine].toarray(), atol=1e-6)


def test_left_of_cross_products__few_and_many_columns():
    rng = np.random.default_rng(0)
    Z = sparse.csc_array(indicators(rng.integers(0, 6, 400)))
    for X in (indicators(rng.integers(0, 9, 400)), np.hstack([np.ones((400, 1)), indicators(np.arange(400) % 180)])):
        Q, s, _ = np.linalg.svd(X, full_matrices=False)
        Q = Q[:, s > 1e-9]
        left = Z.toarray() - Q @ (Q.T @ Z.toarray())
        np.testing.assert_allclose(left_of_cross_products(sparse.csc_array(X), Z), left.T @ left, atol=1e-8)
