"""Supernodal Cholesky factor, solves and selected inverse of a symmetric matrix of small dense blocks.

The matrix is given as lower-triangular blocks between *nodes* of a few scalar unknowns each. Analysed once, it is
then refactored at every evaluation without allocating. Panels are row-major: supernode s with w columns and r rows below holds
``(w + r, w)`` numbers, so that the rows of a panel are contiguous and the products run in BLAS.

Source: Ng & Peyton (1993), SIAM J. Sci. Comput. 14:1034-1056 (left-looking supernodes); Takahashi, Fagan & Chin (1973) and
Erisman & Tinney (1975), Comm. ACM 18:177-179 (selected inverse).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from bayesmv.covariance import Array

#: Sums may be reordered (vectorised), but NaN and infinity keep their meaning.
FAST = {"reassoc", "contract", "arcp"}

Ints = npt.NDArray[np.int64]

#: Widest supernode, in scalar columns: beyond it the triangular kernels, which are not BLAS, would dominate.
WIDEST = 96
#: Products with fewer multiplications than this are quicker in a plain loop than in BLAS.
_SMALL = 4096


class Supernodes(NamedTuple):
    """Symbolic factor: where every panel is and which rows it has.

    Parameters
    ----------
    start
        First scalar column of each supernode, and the order of the matrix at the end (S + 1,).
    row_start
        Where the rows of each supernode begin in `rows` (S + 1,).
    rows
        Scalar rows below the diagonal block of each supernode, ascending.
    panel_start
        Where each panel begins among the numbers (S + 1,).
    owner
        Supernode of each scalar column (order,).
    """

    start: Ints
    row_start: Ints
    rows: Ints
    panel_start: Ints
    owner: Ints


class Workspace(NamedTuple):
    """Numbers and scratch of one thread: the factor, its selected inverse, and buffers."""

    factor: Array
    inverse: Array
    product: Array
    gathered: Array
    place: Ints
    head: Ints
    following: Ints
    progress: Ints


def workspace(symbolic: Supernodes) -> Workspace:
    """Allocate what :func:`factorize` and :func:`selected_inverse` write to."""
    order, count = int(symbolic.start[-1]), len(symbolic.start) - 1
    width = int(np.max(np.diff(symbolic.start), initial=1))
    below = int(np.max(np.diff(symbolic.row_start), initial=0))
    size = int(symbolic.panel_start[-1])
    return Workspace(
        factor=np.zeros(size),
        inverse=np.zeros(size),
        product=np.zeros((below + width) * width),
        gathered=np.zeros(below * below),
        place=np.zeros(order, dtype=np.int64),
        head=np.zeros(count, dtype=np.int64),
        following=np.zeros(count, dtype=np.int64),
        progress=np.zeros(count, dtype=np.int64),
    )


def analyse(node_start: Ints, indptr: Ints, indices: Ints, parent: Ints, last_alone: bool = True) -> Supernodes:
    """Find the supernodes of a permuted (postordered) matrix.

    Parameters
    ----------
    node_start
        First scalar unknown of each node, and the order at the end (n + 1,).
    indptr, indices
        Rows below the diagonal of each column of the lower triangle, in nodes.
    parent
        Elimination tree over nodes.
    last_alone
        Keep the last node in a supernode of its own.
    """
    n = len(node_start) - 1
    count, below_start, below = _column_structures(n, indptr, indices, parent)
    first = _merge_columns(node_start, parent, count, last_alone)
    start = node_start[first]
    ends = first[1:] - 1
    row_start, rows = _expand_rows(first[:-1], ends, below_start, below, node_start)
    width = np.diff(start)
    panel_start = np.concatenate([[0], np.cumsum(width * (width + np.diff(row_start)))])
    owner = np.repeat(np.arange(len(width)), width)
    return Supernodes(start, row_start, rows, panel_start, owner)


@njit(cache=True)
def _column_structures(n, indptr, indices, parent):  # type: ignore[no-untyped-def]
    """Rows of every column of the factor, in nodes, ascending: own entries merged with those of its children."""
    mark = np.full(n, -1, np.int64)
    count = np.zeros(n, np.int64)
    child_head = np.full(n, -1, np.int64)
    child_next = np.full(n, -1, np.int64)
    for j in range(n - 1, -1, -1):
        if parent[j] >= 0:
            child_next[j] = child_head[parent[j]]
            child_head[parent[j]] = j
    capacity = max(4 * len(indices), 16)
    below = np.empty(capacity, np.int64)
    below_start = np.zeros(n + 1, np.int64)
    top = 0
    for j in range(n):
        mark[j] = j
        begin = top
        need = indptr[j + 1] - indptr[j]
        child = child_head[j]
        while child >= 0:
            need += count[child]
            child = child_next[child]
        if top + need > capacity:
            capacity = 2 * (top + need)
            larger = np.empty(capacity, np.int64)
            larger[:top] = below[:top]
            below = larger
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            if i > j and mark[i] != j:
                mark[i] = j
                below[top] = i
                top += 1
        child = child_head[j]
        while child >= 0:
            for p in range(below_start[child], below_start[child + 1]):
                i = below[p]
                if i > j and mark[i] != j:
                    mark[i] = j
                    below[top] = i
                    top += 1
            child = child_next[child]
        below[begin:top].sort()
        count[j] = top - begin
        below_start[j + 1] = top
    return count, below_start, below[:top].copy()


@njit(cache=True)
def _merge_columns(node_start, parent, count, last_alone):  # type: ignore[no-untyped-def]
    """First node of every supernode: columns of equal structure, and neighbours that cost few zeros."""
    n = len(parent)
    first = np.empty(n + 1, np.int64)
    supernodes = 0
    begin = 0
    zeros = 0
    for j in range(n):
        if j == begin:
            zeros = 0
        joined = j + 1 < n and parent[j] == j + 1 and not (last_alone and j + 1 == n - 1)
        width = node_start[j + 2] - node_start[begin] if j + 1 < n else 0
        if joined and width <= WIDEST:
            # Joining adds, for each column so far, the rows of j+1 that it lacks.
            extra = (count[j + 1] + 1 - count[j]) * (j + 1 - begin)
            total = (j + 2 - begin) * (count[j + 1] + 1 + (j + 1 - begin))
            if extra == 0 or zeros + extra <= 0.2 * total or (width <= 8 and zeros + extra <= 0.5 * total):
                zeros += extra
                continue
        first[supernodes] = begin
        supernodes += 1
        begin = j + 1
    first[supernodes] = n
    return first[: supernodes + 1].copy()


@njit(cache=True)
def _expand_rows(first, last, below_start, below, node_start):  # type: ignore[no-untyped-def]
    """Scalar rows of each supernode: those of its last column, which holds the rows of the columns before it."""
    count = len(first)
    row_start = np.zeros(count + 1, np.int64)
    for s in range(count):
        size = 0
        for p in range(below_start[last[s]], below_start[last[s] + 1]):
            size += node_start[below[p] + 1] - node_start[below[p]]
        row_start[s + 1] = row_start[s] + size
    rows = np.empty(row_start[count], np.int64)
    top = 0
    for s in range(count):
        for p in range(below_start[last[s]], below_start[last[s] + 1]):
            for i in range(node_start[below[p]], node_start[below[p] + 1]):
                rows[top] = i
                top += 1
    return row_start, rows


@njit(cache=True)
def locate(symbolic, row, col):  # type: ignore[no-untyped-def]
    """Positions among the panel numbers of the entries (row, col) of the lower triangle."""
    out = np.empty(len(row), np.int64)
    for b in range(len(row)):
        s = symbolic.owner[col[b]]
        begin, end = symbolic.start[s], symbolic.start[s + 1]
        width = end - begin
        if row[b] < end:
            local = row[b] - begin
        else:
            rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
            local = width + np.searchsorted(rows, row[b])
        out[b] = symbolic.panel_start[s] + local * width + col[b] - begin
    return out


@njit(cache=True, inline="always")
def _panel(values, symbolic, s):  # type: ignore[no-untyped-def]
    width = symbolic.start[s + 1] - symbolic.start[s]
    height = width + symbolic.row_start[s + 1] - symbolic.row_start[s]
    begin = symbolic.panel_start[s]
    return values[begin : begin + height * width].reshape(height, width)


@njit(cache=True, fastmath=FAST)
def _outer_product(A, B, out):  # type: ignore[no-untyped-def]
    """Write A B' to out."""
    if A.shape[0] * B.shape[0] * A.shape[1] > _SMALL:
        np.dot(A, B.T, out)
        return
    for i in range(A.shape[0]):
        for j in range(B.shape[0]):
            total = 0.0
            for k in range(A.shape[1]):
                total += A[i, k] * B[j, k]
            out[i, j] = total


@njit(cache=True, fastmath=FAST)
def _factor_panel(P):  # type: ignore[no-untyped-def]
    """Cholesky of the top square of a panel and division of the rows below, in place; False if not positive."""
    width = P.shape[1]
    for i in range(P.shape[0]):
        for j in range(min(i + 1, width)):
            total = P[i, j]
            for k in range(j):
                total -= P[i, k] * P[j, k]
            if i > j:
                P[i, j] = total * P[j, j]
            elif total > 0.0:
                P[i, i] = 1.0 / np.sqrt(total)  # reciprocals while the rows are divided
            else:
                return False
    for j in range(width):
        P[j, j] = 1.0 / P[j, j]
    return True


@njit(cache=True)
def factorize(symbolic, work):  # type: ignore[no-untyped-def]
    """Replace the lower triangle in ``work.factor`` by its Cholesky factor; False if it is not positive definite."""
    count = len(symbolic.start) - 1
    work.head[:] = -1
    for s in range(count):
        P = _panel(work.factor, symbolic, s)
        begin, end = symbolic.start[s], symbolic.start[s + 1]
        width = end - begin
        for i in range(begin, end):
            work.place[i] = i - begin
        for p in range(symbolic.row_start[s], symbolic.row_start[s + 1]):
            work.place[symbolic.rows[p]] = width + p - symbolic.row_start[s]
        d = work.head[s]
        while d >= 0:
            following = work.following[d]
            _subtract_descendant(symbolic, work, P, d, begin, end)
            d = following
        if not _factor_panel(P):
            return False
        work.progress[s] = 0
        if P.shape[0] > width:
            parent = symbolic.owner[symbolic.rows[symbolic.row_start[s]]]
            work.following[s] = work.head[parent]
            work.head[parent] = s
    return True


@njit(cache=True)
def _subtract_descendant(symbolic, work, P, d, begin, end):  # type: ignore[no-untyped-def]
    """Subtract from panel P what supernode d contributes, and pass d on to the next supernode it touches."""
    D = _panel(work.factor, symbolic, d)
    width = D.shape[1]
    rows = symbolic.rows[symbolic.row_start[d] : symbolic.row_start[d + 1]]
    k0 = work.progress[d]
    k1 = k0
    while k1 < len(rows) and rows[k1] < end:
        k1 += 1
    height, cols = len(rows) - k0, k1 - k0
    update = work.product[: height * cols].reshape(height, cols)
    _outer_product(D[width + k0 :], D[width + k0 : width + k1], update)
    for i in range(height):
        row = work.place[rows[k0 + i]]
        for j in range(min(i + 1, cols)):
            P[row, rows[k0 + j] - begin] -= update[i, j]
    work.progress[d] = k1
    if k1 < len(rows):
        parent = symbolic.owner[rows[k1]]
        work.following[d] = work.head[parent]
        work.head[parent] = d


@njit(cache=True)
def solve_lower(symbolic, factor, x):  # type: ignore[no-untyped-def]
    """Solve L z = x in place, x (order, k)."""
    for s in range(len(symbolic.start) - 1):
        P = _panel(factor, symbolic, s)
        begin, width = symbolic.start[s], P.shape[1]
        for j in range(width):
            x[begin + j] /= P[j, j]
            for i in range(j + 1, width):
                x[begin + i] -= P[i, j] * x[begin + j]
        for p in range(P.shape[0] - width):
            row = symbolic.rows[symbolic.row_start[s] + p]
            for j in range(width):
                x[row] -= P[width + p, j] * x[begin + j]


@njit(cache=True)
def solve_upper(symbolic, factor, x):  # type: ignore[no-untyped-def]
    """Solve L' z = x in place, x (order, k)."""
    for s in range(len(symbolic.start) - 2, -1, -1):
        P = _panel(factor, symbolic, s)
        begin, width = symbolic.start[s], P.shape[1]
        for p in range(P.shape[0] - width):
            row = symbolic.rows[symbolic.row_start[s] + p]
            for j in range(width):
                x[begin + j] -= P[width + p, j] * x[row]
        for j in range(width - 1, -1, -1):
            for i in range(j + 1, width):
                x[begin + j] -= P[i, j] * x[begin + i]
            x[begin + j] /= P[j, j]


@njit(cache=True)
def selected_inverse(symbolic, work, count):  # type: ignore[no-untyped-def]
    """Entries of the inverse on the pattern of the factor, for the leading `count` supernodes, into ``work.inverse``.

    For a supernode with diagonal block L11 and rows L21, with Y = L21 L11⁻¹ and S_RR known:
    S_RJ = -S_RR Y, S_JJ = L11⁻ᵀ L11⁻¹ - Y' S_RJ.
    """
    limit = symbolic.start[count]
    for s in range(count - 1, -1, -1):
        P = _panel(work.factor, symbolic, s)
        S = _panel(work.inverse, symbolic, s)
        width = P.shape[1]
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        height = len(rows)
        while height > 0 and rows[height - 1] >= limit:
            height -= 1
        S[:width] = 0.0
        _inverse_square(P, S)
        if height == 0:
            continue
        Y = work.product[: height * width].reshape(height, width)
        _divide_rows(P, Y)
        R = work.gathered[: height * height].reshape(height, height)
        _gather(symbolic, work, rows[:height], R)
        _outer_product_into(R, Y, S[width : width + height])
        _finish_square(Y, S)


@njit(cache=True, fastmath=FAST)
def _inverse_square(P, S):  # type: ignore[no-untyped-def]
    """Write (L11 L11')⁻¹ to the top square of S."""
    width = P.shape[1]
    inv = np.zeros((width, width))
    for j in range(width):
        inv[j, j] = 1.0 / P[j, j]
        for i in range(j + 1, width):
            total = 0.0
            for k in range(j, i):
                total += P[i, k] * inv[k, j]
            inv[i, j] = -total / P[i, i]
    for i in range(width):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, width):
                total += inv[k, i] * inv[k, j]
            S[i, j] = total
            S[j, i] = total


@njit(cache=True, fastmath=FAST)
def _divide_rows(P, Y):  # type: ignore[no-untyped-def]
    """Y = L21 L11⁻¹, row by row from the last column."""
    width = P.shape[1]
    for i in range(Y.shape[0]):
        for j in range(width):
            Y[i, j] = P[width + i, j]
        for j in range(width - 1, -1, -1):
            Y[i, j] /= P[j, j]
            for k in range(j):
                Y[i, k] -= Y[i, j] * P[j, k]


@njit(cache=True)
def _gather(symbolic, work, rows, R):  # type: ignore[no-untyped-def]
    """Symmetric (r, r) block of the inverse at `rows`, read from the panels of their supernodes."""
    n = len(rows)
    b = 0
    while b < n:
        t = symbolic.owner[rows[b]]
        begin, end = symbolic.start[t], symbolic.start[t + 1]
        S = _panel(work.inverse, symbolic, t)
        width = S.shape[1]
        below = symbolic.rows[symbolic.row_start[t] : symbolic.row_start[t + 1]]
        stop = b
        while stop < n and rows[stop] < end:
            stop += 1
        p = 0
        for i in range(b, n):
            if rows[i] < end:
                local = rows[i] - begin
            else:
                while below[p] < rows[i]:
                    p += 1
                local = width + p
            for j in range(b, min(stop, i + 1)):
                value = S[local, rows[j] - begin]
                R[i, j] = value
                R[j, i] = value
        b = stop


@njit(cache=True, fastmath=FAST)
def _outer_product_into(R, Y, out):  # type: ignore[no-untyped-def]
    """Write -R Y to out."""
    if R.shape[0] * R.shape[1] * Y.shape[1] > _SMALL:
        np.dot(R, Y, out)
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = -out[i, j]
        return
    for i in range(R.shape[0]):
        for j in range(Y.shape[1]):
            out[i, j] = 0.0
        for k in range(R.shape[1]):
            for j in range(Y.shape[1]):
                out[i, j] -= R[i, k] * Y[k, j]


@njit(cache=True, fastmath=FAST)
def _finish_square(Y, S):  # type: ignore[no-untyped-def]
    """Subtract Y' S_RJ from the top square of S, keeping it symmetric."""
    width = Y.shape[1]
    for k in range(Y.shape[0]):
        for i in range(width):
            for j in range(i + 1):
                S[i, j] -= Y[k, i] * S[width + k, j]
    for i in range(width):
        for j in range(i):
            S[j, i] = S[i, j]
