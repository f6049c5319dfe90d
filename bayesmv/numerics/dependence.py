"""Columns of a sparse matrix that depend on those before them, and well-conditioned columns in their place.

Few columns are orthogonalised one by one. Many are mostly indicators of levels: their cross-products are eliminated
in an order that keeps the factor sparse, pivots that vanish give null vectors, and those say which columns depend on
the ones *before* them in the order of the matrix, whatever the order of elimination.

A column far from zero (Julian days) is nearly a multiple of the constant. So where the columns span the constant, a
column is judged by what is left of it after its mean.

Source: Davis (2006), Direct Methods for Sparse Linear Systems, ch. 4 (up-looking factorisation).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse
from scipy.sparse import linalg as sparse_linalg

from bayesmv.arrays import Array, IntArray
from bayesmv.numerics.compiled import njit
from bayesmv.numerics.ordering import elimination_tree, minimum_degree
from bayesmv.numerics.symmetric import symmetric_lu

#: Up to so many columns, and numbers, columns are orthogonalised one by one.
FEW, _NUMBERS = 150, 2 * 10**7
#: What is left of a column after those before it, relative to its size about its mean, below which it depends on them.
_TOLERANCE = 1e-10
#: The same for squares of columns of indicators, whose cross-products are whole numbers.
_PIVOT = 1e-10
_EPS = float(np.finfo(float).eps)
#: Columns that are solved for at a time.
_CHUNK = 64

type Mask = npt.NDArray[np.bool_]


def independent_columns(X: sparse.csc_array) -> Mask:
    """Which columns of X (n, p) are no linear combinations of the columns before them, (p,)."""
    X = sparse.csc_array(X)
    keep = np.zeros(X.shape[1], dtype=bool)
    there = np.flatnonzero(_norms(X) > 0)
    X = X[:, there]
    few = X.shape[1] <= FEW and X.shape[0] * X.shape[1] <= _NUMBERS
    keep[there] = _one_by_one(X.toarray()) if few else _by_elimination(X)
    return keep


def _norms(X: sparse.csc_array) -> Array:
    return np.sqrt(np.asarray(X.multiply(X).sum(axis=0)).reshape(-1))


# ---------------------------------------------------------------- few columns


def _one_by_one(A: Array) -> Mask:
    """Independence of columns without zeros, by orthogonalising each against those kept before it."""
    n, p = A.shape
    A = A / np.linalg.norm(A, axis=0)
    one = np.full(n, 1.0 / np.sqrt(n))
    left = one - A @ np.linalg.lstsq(A, one, rcond=1e-13)[0]
    spans = bool(np.linalg.norm(left) < 1e-9)
    basis = [one] if spans else []
    kept: list[Array] = []
    noise, realised = 1.0, not spans
    keep = np.zeros(p, dtype=bool)
    for j in range(p):
        about = A[:, j] - one * (one @ A[:, j]) if spans else A[:, j]
        size = float(np.linalg.norm(about))
        own = max(noise, 1.0 / max(size, 1e-8))
        rest = _less(about, basis)
        if size > 1e3 * _EPS and np.linalg.norm(rest) > (_TOLERANCE + 32.0 * _EPS * own) * size:
            keep[j], noise = True, own
            basis.append(rest / np.linalg.norm(rest))
        elif not realised and np.linalg.norm(_less(A[:, j], kept)) > 1e-9:
            # The constant is none of the columns; this is the one that completes it.
            keep[j] = realised = True
        if keep[j]:
            rest = _less(A[:, j], kept)
            kept.append(rest / np.linalg.norm(rest))
    return keep


def _less(x: Array, basis: list[Array]) -> Array:
    """Column x without its parts in an orthonormal basis, taken out twice."""
    if not basis:
        return x
    Q = np.column_stack(basis)
    x = x - Q @ (Q.T @ x)
    return np.asarray(x - Q @ (Q.T @ x))


# ---------------------------------------------------------------- many columns


def _by_elimination(X: sparse.csc_array) -> Mask:
    """Independence of columns without zeros, by null vectors of a sparse elimination."""
    p = X.shape[1]
    wide = wide_columns(X)
    moved, back = (X, sparse.csc_array(sparse.eye_array(p))) if _plain(X).all() else centred(X)
    moved = sparse.csc_array(moved)
    size = _norms(moved)
    # Nothing but rounding is left of a column that does not vary where it stands.
    nothing = size < 1e2 * _EPS * _norms(X)
    scale = sparse.diags_array(np.where(nothing, 0.0, 1.0 / np.where(size > 0, size, 1.0)))
    narrow, broad = np.flatnonzero(~wide & ~nothing), np.flatnonzero(wide & ~nothing)
    F, back = sparse.csc_array(moved @ scale), sparse.csc_array(back @ (scale + sparse.diags_array(nothing * 1.0)))
    chosen, within = _eliminated(F[:, narrow])
    vectors = [_sparse_vector(back[:, narrow] @ v) for v in within]
    vectors += [_sparse_vector(back[:, [j]]) for j in np.flatnonzero(nothing)]
    vectors += _wide_null(X, broad, F[:, narrow[chosen]], back[:, narrow[chosen]])
    return _first_independent(vectors, p)


def wide_columns(X: sparse.csc_array) -> Mask:
    """Columns with numbers in more than a tenth of the rows, at most FEW of them: means and covariates."""
    count = np.diff(X.indptr)
    wide = count > 0.1 * X.shape[0]
    if wide.sum() > FEW:
        wide &= count >= np.sort(count)[-FEW]
    # Ties may still be too many.
    wide[np.flatnonzero(wide)[FEW:]] = False
    return wide


def centred(X: sparse.csc_array, present: Mask | None = None) -> tuple[sparse.csc_array, sparse.csc_array]:
    """Columns X T, covariates less their means over the rows where they stand, and the unit triangular T (p, p).

    A column is moved where indicators of levels add up to the rows where it stands: all rows for a covariate, those of
    a level for a slope within it, whether the level has an indicator or is what others leave.

    Parameters
    ----------
    X
        Columns (n, p).
    present
        For which response each is fitted, (p, t): only indicators fitted for the same responses serve a column.
    """
    X = sparse.csc_array(X)
    X.sort_indices()
    p = X.shape[1]
    plain = _plain(X)
    rows, cols, values = [np.arange(p)], [np.arange(p)], [np.ones(p)]
    fitted = np.ones((p, 1), dtype=bool) if present is None else present
    moved = np.flatnonzero(~plain)
    for pattern in np.unique(fitted[moved], axis=0):
        own = moved[(fitted[moved] == pattern).all(axis=1)]
        around = np.flatnonzero(plain & (fitted >= pattern).all(axis=1) & (np.diff(X.indptr) > 0))
        if present is None:
            # Of responses the columns were found independent before.
            around = around[independent_columns(X[:, around])]
        normal = _normal(X[:, around])
        for first in range(0, len(own), _CHUNK):
            some = own[first : first + _CHUNK]
            weights, spanned = _indicated(X[:, some], normal)
            means = np.asarray(X[:, some].sum(axis=0)).reshape(-1) / np.diff(X.indptr)[some]
            at, which = np.nonzero((np.abs(weights) > 1e-8) & spanned)
            rows.append(around[at])
            cols.append(some[which])
            values.append(-means[which] * weights[at, which])
    T = sparse.csc_array(
        sparse.coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), shape=(p, p))
    )
    return sparse.csc_array(X @ T), T


def _indicated(X: sparse.csc_array, normal: _Normal) -> tuple[Array, Mask]:
    """Weights (q, k) of indicators that add up to the rows where each column of X stands, and whether they do, (k,)."""
    if normal.factor is None:
        return np.zeros((0, X.shape[1])), np.zeros(X.shape[1], dtype=bool)
    S = sparse.csc_array((np.ones(X.nnz), X.indices, X.indptr), shape=X.shape)
    weights = normal.factor.solve((normal.F.T @ S).toarray())
    near = sparse.csc_array(np.where(np.abs(weights) > 1e-8, weights, 0.0))
    left = abs(sparse.csc_array(normal.F @ near) - S)
    return weights, np.asarray(left.max(axis=0).toarray()).reshape(-1) < 1e-8


def _eliminated(F: sparse.csc_array) -> tuple[IntArray, list[sparse.csc_array]]:
    """Columns kept by an elimination of F'F (unit diagonal), and a null vector (q, 1) for each of the others."""
    gram = sparse.csr_array(F.T @ F)
    gram.sort_indices()
    order = minimum_degree(gram.indptr, gram.indices)
    place = np.argsort(order)
    coo = gram.tocoo()
    permuted = sparse.csr_array((coo.data, (place[coo.row], place[coo.col])), shape=gram.shape)
    permuted.sort_indices()
    parent = elimination_tree(permuted.indptr, permuted.indices)
    indptr, indices = permuted.indptr.astype(np.int64), permuted.indices.astype(np.int64)
    start, row, value, dropped = _eliminate(indptr, indices, permuted.data, parent, _PIVOT)
    out = []
    for j in np.flatnonzero(dropped):
        at, v = _null_vector(start, row, value, j)
        out.append(sparse.csc_array((v, (order[at], np.zeros(len(at), dtype=int))), shape=(len(order), 1)))
    return np.sort(order[~dropped]), out


@njit(cache=True, nogil=True)
def _reach(indptr, indices, parent, j, mark, stack, out):  # type: ignore[no-untyped-def]
    """Columns of row j of the factor, in topological order, at the end of `out`; returns where they begin."""
    top = len(out)
    mark[j] = j
    for e in range(indptr[j], indptr[j + 1]):
        i = indices[e]
        if i >= j:
            continue
        n = 0
        while mark[i] != j:
            stack[n] = i
            n += 1
            mark[i] = j
            i = parent[i]
        while n > 0:
            n -= 1
            top -= 1
            out[top] = stack[n]
    return top


@njit(cache=True, nogil=True)
def _eliminate(indptr, indices, data, parent, tolerance):  # type: ignore[no-untyped-def]
    """Rows of the unit lower factor of a symmetric matrix, LDL'; rows whose pivots vanish are marked and skipped."""
    n = len(indptr) - 1
    mark, stack, out = np.full(n, -1), np.zeros(n, np.int64), np.zeros(n, np.int64)
    count = np.zeros(n, np.int64)
    start = np.zeros(n + 1, np.int64)
    for j in range(n):
        top = _reach(indptr, indices, parent, j, mark, stack, out)
        start[j + 1] = start[j] + n - top
        for k in range(top, n):
            count[out[k]] += 1
    column = np.zeros(n + 1, np.int64)
    column[1:] = np.cumsum(count)
    fill = column[:-1].copy()
    below, number = np.zeros(column[n], np.int64), np.zeros(column[n])
    row, value = np.zeros(start[n], np.int64), np.zeros(start[n])
    pivot, dropped = np.zeros(n), np.zeros(n, np.bool_)
    y = np.zeros(n)
    mark[:] = -1
    for j in range(n):
        top = _reach(indptr, indices, parent, j, mark, stack, out)
        own = 0.0
        for e in range(indptr[j], indptr[j + 1]):
            if indices[e] < j:
                y[indices[e]] = data[e]
            elif indices[e] == j:
                own = data[e]
        left = own
        for k in range(top, n):
            i = out[k]
            v = y[i]
            y[i] = 0.0
            row[start[j] + k - top] = i
            if dropped[i] or v == 0.0:
                continue
            for e in range(column[i], fill[i]):
                y[below[e]] -= number[e] * v
            scaled = v / pivot[i]
            left -= scaled * v
            value[start[j] + k - top] = scaled
        if left <= tolerance * own:
            dropped[j] = True
            continue
        pivot[j] = left
        for k in range(top, n):
            i = out[k]
            if value[start[j] + k - top] != 0.0:
                below[fill[i]] = j
                number[fill[i]] = value[start[j] + k - top]
                fill[i] += 1
    return start, row, value, dropped


@njit(cache=True, nogil=True)
def _null_vector(start, row, value, j):  # type: ignore[no-untyped-def]
    """Null vector with 1 at the skipped row j: places and values, by substitution in the rows that it reaches."""
    seen = {j: 1.0}
    waiting = [-j]
    done = [j for _ in range(0)]
    while len(waiting) > 0:
        # The largest index first: all that bears on it has been added by then.
        i = -_pop(waiting)
        done.append(i)
        x = seen[i]
        for e in range(start[i], start[i + 1]):
            if value[e] == 0.0:
                continue
            k = row[e]
            if k not in seen:
                seen[k] = 0.0
                _push(waiting, -k)
            seen[k] -= value[e] * x
    at = np.zeros(len(done), np.int64)
    v = np.zeros(len(done))
    for k in range(len(done)):
        at[k], v[k] = done[k], seen[done[k]]
    return at, v


@njit(cache=True, nogil=True)
def _push(heap, item):  # type: ignore[no-untyped-def]
    """Add to a binary heap, the least first."""
    heap.append(item)
    i = len(heap) - 1
    while i > 0 and heap[(i - 1) // 2] > heap[i]:
        heap[(i - 1) // 2], heap[i] = heap[i], heap[(i - 1) // 2]
        i = (i - 1) // 2


@njit(cache=True, nogil=True)
def _pop(heap):  # type: ignore[no-untyped-def]
    """Take the least of a binary heap."""
    least, last = heap[0], heap.pop()
    if len(heap) > 0:
        heap[0] = last
        i = 0
        while 2 * i + 1 < len(heap):
            c = 2 * i + 1
            if c + 1 < len(heap) and heap[c + 1] < heap[c]:
                c += 1
            if heap[i] <= heap[c]:
                break
            heap[i], heap[c] = heap[c], heap[i]
            i = c
    return least


def _sparse_vector(v: sparse.csc_array) -> tuple[IntArray, Array]:
    """Places (rising) and values of a sparse vector (p, 1), without what rounding left."""
    coo = sparse.coo_array(v)
    coo.sum_duplicates()
    value = np.asarray(coo.data)
    real = np.abs(value) > 1e-8 * np.abs(value).max()
    order = np.argsort(coo.row[real])
    return coo.row[real][order], value[real][order]


class _Normal(NamedTuple):
    """Least squares on independent sparse columns: the columns and the factored cross-products."""

    F: sparse.csc_array
    factor: sparse_linalg.SuperLU | None

    def coefficients(self, S: Array) -> Array:
        """Coefficients of the columns for responses (n, k), refined once."""
        if self.factor is None:
            return np.zeros((0, S.shape[1]))
        b = self.factor.solve(np.asarray(self.F.T @ S))
        return np.asarray(b + self.factor.solve(np.asarray(self.F.T @ (S - self.F @ b))))


def _normal(F: sparse.csc_array) -> _Normal:
    if not F.shape[1]:
        return _Normal(F, None)
    return _Normal(F, symmetric_lu(F.T @ F))


def _wide_null(
    X: sparse.csc_array, wide: IntArray, F: sparse.csc_array, back: sparse.csc_array
) -> list[tuple[IntArray, Array]]:
    """Null vectors of the wide columns that depend on the narrow ones F that are kept, or on each other."""
    if not len(wide):
        return []
    n = X.shape[0]
    normal = _normal(F)
    S = X[:, wide].toarray()
    S = S / np.linalg.norm(S, axis=0)
    one = np.full((n, 1), 1.0 / np.sqrt(n))
    spans = np.linalg.norm(_residual(np.hstack([F @ normal.coefficients(one), S]), one)) < 1e-9
    about = S - one @ (one.T @ S) if spans else S
    size = np.linalg.norm(about, axis=0)
    rest = about - F @ normal.coefficients(about)
    rest = rest - F @ normal.coefficients(rest)
    plain = S - F @ normal.coefficients(S)
    out: list[tuple[IntArray, Array]] = []
    kept: list[int] = []
    basis: list[Array] = []
    without: list[Array] = []
    left_one = one[:, 0] - (F @ normal.coefficients(one))[:, 0]
    free = spans and np.linalg.norm(left_one) > 1e-9
    if free:
        basis.append(left_one / np.linalg.norm(left_one))
    noise, realised = 1.0, not free
    for j in range(len(wide)):
        own = max(noise, 1.0 / max(size[j], 1e-8))
        r = _less(rest[:, j], basis)
        if size[j] > 1e3 * _EPS and np.linalg.norm(r) > (_TOLERANCE + 32.0 * _EPS * own) * size[j]:
            kept.append(j)
            noise = own
            basis.append(r / np.linalg.norm(r))
        elif not realised and np.linalg.norm(_less(plain[:, j], without)) > 1e-9:
            # The constant is none of the columns; this is the one that completes it.
            kept.append(j)
            realised = True
        else:
            out.append(_combination(X, int(wide[j]), wide[kept], normal, back))
            continue
        r = _less(plain[:, j], without)
        without.append(r / np.linalg.norm(r))
    return out


def _residual(A: Array, y: Array) -> Array:
    return np.asarray(y - A @ np.linalg.lstsq(A, y, rcond=1e-13)[0])


def _combination(
    X: sparse.csc_array, j: int, kept: IntArray, normal: _Normal, back: sparse.csc_array
) -> tuple[IntArray, Array]:
    """Null vector of a wide column that is a combination of narrow ones and of wide ones kept before it."""
    S, x = X[:, kept].toarray(), X[:, [j]].toarray()
    S_left, x_left = S - normal.F @ normal.coefficients(S), x - normal.F @ normal.coefficients(x)
    scale = np.linalg.norm(S, axis=0)
    b = np.linalg.lstsq(S_left / scale, x_left, rcond=1e-13)[0] / scale[:, None] if len(kept) else np.zeros((0, 1))
    narrow_part = np.asarray(back @ normal.coefficients(x - S @ b)).reshape(-1)
    value = -narrow_part
    value[kept] -= b.reshape(-1)
    value[j] += 1.0
    # What matters is how much of the column each part makes up, whatever its unit.
    weight = np.abs(value) * _norms(X)
    at = np.flatnonzero(weight > 1e-7 * weight.max())
    return at, value[at]


def _first_independent(vectors: list[tuple[IntArray, Array]], p: int) -> Mask:
    """Columns that do not depend on earlier ones, given a basis of the null space, which is reduced from the right."""
    last: dict[int, tuple[IntArray, Array]] = {}
    # Short vectors first: they are in the way of none, and long ones become shorter.
    for vector in sorted(vectors, key=lambda v: len(v[0])):
        at, value = vector
        while len(at) and int(at[-1]) in last:
            other_at, other = last[int(at[-1])]
            both = np.union1d(at, other_at)
            sum_ = np.zeros(len(both))
            sum_[np.searchsorted(both, at)] = value
            factor = value[-1] / other[-1]
            sum_[np.searchsorted(both, other_at)] -= factor * other
            size = max(np.abs(value).max(), abs(factor) * np.abs(other).max())
            real = np.abs(sum_) > 1e-8 * size
            real[-1] = False
            at, value = both[real], sum_[real]
        if len(at):
            last[int(at[-1])] = (at, value)
    keep = np.ones(p, dtype=bool)
    keep[list(last)] = False
    return keep


# ---------------------------------------------------------------- conditioning and least squares


class Conditioned(NamedTuple):
    """Columns W = X B that span the same as X, and the triangular B (p, p) in some order of the columns."""

    W: sparse.csc_array
    B: sparse.csc_array


def conditioned(X: sparse.csc_array, present: Mask) -> Conditioned:
    """Well-conditioned combinations of columns: covariates about their means and orthogonal, all of unit size.

    Indicators of levels stay as sparse as they are.

    Parameters
    ----------
    X
        Columns (n, p).
    present
        For which response each column is fitted, (p, t). A column is combined only with columns that are fitted for
        all responses that it is fitted for, so that every response keeps its span.
    """
    X = sparse.csc_array(X)
    n, p = X.shape
    used = present.any(axis=1) & (np.diff(X.indptr) > 0)
    plain = _plain(X)
    W, B = X, sparse.csc_array(sparse.eye_array(p))
    if not plain[used].all():
        W, B = centred(X, present)
        W, B = _orthogonal(W, B, plain, used, present)
    size = _norms(W) / np.sqrt(max(n, 1))
    scale = sparse.diags_array(1.0 / np.where(size > 0, size, 1.0))
    return Conditioned(sparse.csc_array(W @ scale), sparse.csc_array(B @ scale))


def _plain(X: sparse.csc_array) -> Mask:
    """Columns whose numbers are all the same: indicators of levels, the mean."""
    first, there = X.indptr[:-1], np.diff(X.indptr) > 0
    plain = np.ones(X.shape[1], dtype=bool)
    if there.any():
        at = first[there]
        plain[there] = np.minimum.reduceat(X.data, at) == np.maximum.reduceat(X.data, at)
    return plain


def _orthogonal(
    W: sparse.csc_array, B: sparse.csc_array, plain: Mask, used: Mask, present: Mask
) -> tuple[sparse.csc_array, sparse.csc_array]:
    """Wide covariates made orthogonal to each other, with the wide indicators if there are slopes within levels."""
    n, p = W.shape
    wide = wide_columns(W) & used
    slopes = bool((wide & ~plain & (np.diff(W.indptr) < 0.9 * n)).any())
    joined = np.flatnonzero(wide if slopes else wide & (~plain | (np.diff(W.indptr) == n)))
    others = np.setdiff1d(np.arange(p), joined)
    S = W[:, joined].toarray()
    size = np.linalg.norm(S, axis=0)
    S = S / size
    rows, cols, values = [others], [others], [np.ones(len(others))]
    new = np.zeros_like(S)
    for pattern in np.unique(present[joined], axis=0):
        own = np.flatnonzero((present[joined] == pattern).all(axis=1))
        above = (present[joined] >= pattern).all(axis=1)
        above[own] = False
        mine = np.concatenate([np.flatnonzero(above), own])
        Q, R = np.linalg.qr(S[:, mine])
        last = slice(len(mine) - len(own), len(mine))
        if R.shape[0] < len(mine) or np.abs(np.diag(R)).min() < 1e-13:
            # Columns that depend on others for some responses only are left as they are.
            new[:, own], inverse = S[:, own], np.eye(len(mine))
        else:
            new[:, own], inverse = Q[:, last], linalg.solve_triangular(R, np.eye(len(mine)))
        part = sparse.coo_array(inverse[:, last] / size[mine, None])
        rows.append(joined[mine][part.row])
        cols.append(joined[own][part.col])
        values.append(part.data)
    T = sparse.csc_array(
        sparse.coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), shape=(p, p))
    )
    # The orthogonal columns themselves, which are more accurate than the product.
    order = np.argsort(np.concatenate([others, joined]))
    both = sparse.csc_array(sparse.hstack([W[:, others], sparse.csc_array(new)]))[:, order]
    return sparse.csc_array(both), sparse.csc_array(B @ T)


def least_squares(W: sparse.csc_array, y: Array) -> Array:
    """Coefficients of independent, well-conditioned columns W (n, p) for y (n,)."""
    if not W.shape[1]:
        return np.zeros(0)
    if W.shape[1] <= FEW and W.shape[0] * W.shape[1] <= _NUMBERS:
        return np.asarray(np.linalg.lstsq(W.toarray(), y, rcond=1e-14)[0])
    return _normal(W).coefficients(y[:, None])[:, 0]


def left_of_cross_products(X: sparse.csc_array, Z: sparse.csc_array) -> Array:
    """Cross-products Z'MZ (q, q) of what the columns of X, some of which may depend on others, leave of Z (n, q)."""
    X = sparse.csc_array(X)[:, independent_columns(X)]
    gram = (Z.T @ Z).toarray()
    if not X.shape[1]:
        return np.asarray(gram)
    if X.shape[1] <= FEW:
        inside = Z.T @ np.linalg.qr(X.toarray())[0]
        return np.asarray(gram - inside @ inside.T)
    cross, factor = (X.T @ Z).toarray(), _normal(X).factor
    assert factor is not None
    return np.asarray(gram - cross.T @ factor.solve(cross))


def projection(X: sparse.csc_array, Y: Array) -> Array:
    """Projection of the columns of Y (n, k) on those of X (n, p), some of which may depend on others, (n, k)."""
    X = sparse.csc_array(X)[:, independent_columns(X)]
    if not X.shape[1]:
        return np.zeros_like(Y)
    if X.shape[1] <= FEW:
        Q, _ = np.linalg.qr(X.toarray())
        return np.asarray(Q @ (Q.T @ Y))
    return np.asarray(X @ _normal(X).coefficients(Y))
