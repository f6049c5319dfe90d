"""Supernodal Cholesky factor, solves and selected inverse of a symmetric matrix of small dense blocks.

The matrix is given as lower-triangular blocks between *nodes* of a few scalar unknowns each. Analysed once, it is
then refactored at every evaluation without allocating. Supernode s with w columns and r rows below holds a panel of
``(w, w + r)`` numbers, columns of the factor contiguous, so that short products vectorise and long ones run in BLAS.

Source: Ng & Peyton (1993), SIAM J. Sci. Comput. 14:1034-1056 (left-looking supernodes); Takahashi, Fagan & Chin
(1973) and Erisman & Tinney (1975), Comm. ACM 18:177-179 (selected inverse).
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
        product=np.zeros((below + width) * max(width, 1)),
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
            if extra == 0 or zeros + extra <= (0.6 if width <= 8 else 0.2 if width <= 32 else 0.05) * total:
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
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        local = row[b] - begin if row[b] < end else end - begin + np.searchsorted(rows, row[b])
        out[b] = symbolic.panel_start[s] + (col[b] - begin) * (end - begin + len(rows)) + local
    return out


@njit(cache=True, inline="always")
def _panel(values, symbolic, s):  # type: ignore[no-untyped-def]
    """Panel (w, w + r) of supernode s: row j holds column j of the factor."""
    width = symbolic.start[s + 1] - symbolic.start[s]
    height = width + symbolic.row_start[s + 1] - symbolic.row_start[s]
    begin = symbolic.panel_start[s]
    return values[begin : begin + height * width].reshape(width, height)


@njit(cache=True)
def factorize(symbolic, work):  # type: ignore[no-untyped-def]
    """Replace the lower triangle in ``work.factor`` by its Cholesky factor; False if it is not positive definite."""
    head, following, progress, place = work.head, work.following, work.progress, work.place
    head[:] = -1
    for s in range(len(symbolic.start) - 1):
        P = _panel(work.factor, symbolic, s)
        begin, end = symbolic.start[s], symbolic.start[s + 1]
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        for i in range(begin, end):
            place[i] = i - begin
        for p in range(len(rows)):
            place[rows[p]] = end - begin + p
        d = head[s]
        while d >= 0:
            after = following[d]
            below = symbolic.rows[symbolic.row_start[d] : symbolic.row_start[d + 1]]
            done = _subtract(P, _panel(work.factor, symbolic, d), below, progress[d], end, begin, place, work.product)
            progress[d] = done
            if done < len(below):
                parent = symbolic.owner[below[done]]
                following[d] = head[parent]
                head[parent] = d
            d = after
        if not _factor_panel(P):
            return False
        progress[s] = 0
        if len(rows) > 0:
            parent = symbolic.owner[rows[0]]
            following[s] = head[parent]
            head[parent] = s
    return True


@njit(cache=True, fastmath=FAST)
def _subtract(P, D, rows, first, end, begin, place, product):  # type: ignore[no-untyped-def]
    """Subtract from panel P the products of a descendant's panel D; return how far its rows are used up."""
    stop = first
    while stop < len(rows) and rows[stop] < end:
        stop += 1
    width, height, cols = D.shape[0], len(rows) - first, stop - first
    offset = D.shape[1] - len(rows) + first
    if width * height * cols > _SMALL:
        part = np.ascontiguousarray(D[:, offset:])
        update = product[: height * cols].reshape(cols, height)
        np.dot(np.ascontiguousarray(part[:, :cols]).T, part, update)
        for j in range(cols):
            target = P[rows[first + j] - begin]
            for i in range(j, height):
                target[place[rows[first + i]]] -= update[j, i]
        return stop
    for j in range(cols):
        tail = height - j
        sums = product[:tail]
        sums[:] = 0.0
        for k in range(width):
            source = D[k, offset + j :]
            multiple = source[0]
            for i in range(tail):
                sums[i] += multiple * source[i]
        target = P[rows[first + j] - begin]
        below = rows[first + j :]
        for i in range(tail):
            target[place[below[i]]] -= sums[i]
    return stop


@njit(cache=True, fastmath=FAST)
def _factor_panel(P):  # type: ignore[no-untyped-def]
    """Cholesky of the square of a panel and division of the rows below, in place; False if not positive."""
    width, height = P.shape
    for j in range(width):
        if not P[j, j] > 0.0:
            return False
        source = P[j, j:]
        source *= 1.0 / np.sqrt(source[0])
        for k in range(1, width - j):
            target, from_k = P[j + k, j + k :], source[k:]
            multiple = from_k[0]
            for i in range(height - j - k):
                target[i] -= multiple * from_k[i]
    return True


@njit(cache=True)
def solve_lower(symbolic, factor, x):  # type: ignore[no-untyped-def]
    """Solve L z = x in place, x (order, k)."""
    for s in range(len(symbolic.start) - 1):
        P = _panel(factor, symbolic, s)
        begin, width = symbolic.start[s], P.shape[0]
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        for j in range(width):
            x[begin + j] /= P[j, j]
            for i in range(j + 1, width):
                x[begin + i] -= P[j, i] * x[begin + j]
            for p in range(len(rows)):
                x[rows[p]] -= P[j, width + p] * x[begin + j]


@njit(cache=True)
def solve_upper(symbolic, factor, x):  # type: ignore[no-untyped-def]
    """Solve L' z = x in place, x (order, k)."""
    for s in range(len(symbolic.start) - 2, -1, -1):
        P = _panel(factor, symbolic, s)
        begin, width = symbolic.start[s], P.shape[0]
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        for j in range(width - 1, -1, -1):
            for p in range(len(rows)):
                x[begin + j] -= P[j, width + p] * x[rows[p]]
            for i in range(j + 1, width):
                x[begin + j] -= P[j, i] * x[begin + i]
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
        width = P.shape[0]
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        height = len(rows)
        while height > 0 and rows[height - 1] >= limit:
            height -= 1
        Y = work.product[: height * width].reshape(width, height)
        _divide_rows(P, Y)
        R = work.gathered[: height * height].reshape(height, height)
        _gather(symbolic, work.inverse, rows[:height], R)
        _below(R, Y, S)
        _square(P, Y, S)


@njit(cache=True, fastmath=FAST)
def _divide_rows(P, Y):  # type: ignore[no-untyped-def]
    """Y' = L11⁻ᵀ L21', row j the column j of Y."""
    width, height = Y.shape
    for j in range(width - 1, -1, -1):
        target, source = Y[j], P[j, width:]
        for i in range(height):
            target[i] = source[i]
        for k in range(j + 1, width):
            multiple, known = P[j, k], Y[k]
            for i in range(height):
                target[i] -= multiple * known[i]
        target *= 1.0 / P[j, j]


@njit(cache=True, fastmath=FAST)
def _gather(symbolic, inverse, rows, R):  # type: ignore[no-untyped-def]
    """Symmetric (r, r) block of the inverse at `rows`, read from the panels of their supernodes."""
    n = len(rows)
    local = np.empty(n, np.int64)
    b = 0
    while b < n:
        t = symbolic.owner[rows[b]]
        begin, end = symbolic.start[t], symbolic.start[t + 1]
        S = _panel(inverse, symbolic, t)
        below = symbolic.rows[symbolic.row_start[t] : symbolic.row_start[t + 1]]
        stop, p = b, 0
        for i in range(b, n):
            if rows[i] < end:
                local[i] = rows[i] - begin
                stop = i + 1
            else:
                while below[p] < rows[i]:
                    p += 1
                local[i] = end - begin + p
        for j in range(b, stop):
            column, target, places = S[rows[j] - begin], R[j, j:], local[j:]
            for i in range(n - j):
                target[i] = column[places[i]]
        b = stop
    for j in range(n):
        target = R[j]
        for i in range(j):
            target[i] = R[i, j]


@njit(cache=True, fastmath=FAST)
def _below(R, Y, S):  # type: ignore[no-untyped-def]
    """Write S_RJ = -R Y to the part of panel S below its square."""
    width, height = Y.shape
    if height * height * width > _SMALL:
        S[:, width : width + height] = -np.dot(Y, R)
        return
    for j in range(width):
        target = S[j, width : width + height]
        target[:] = 0.0
        for k in range(height):
            multiple, source = Y[j, k], R[k]
            for i in range(height):
                target[i] -= multiple * source[i]


@njit(cache=True, fastmath=FAST)
def _square(P, Y, S):  # type: ignore[no-untyped-def]
    """Write S_JJ = (L11 L11')⁻¹ - Y' S_RJ to the square of panel S."""
    width, height = Y.shape
    inv = np.zeros((width, width))  # column j of L11⁻¹ in row j
    for j in range(width):
        inv[j, j] = 1.0 / P[j, j]
        for i in range(j + 1, width):
            total = 0.0
            for k in range(j, i):
                total += P[k, i] * inv[j, k]
            inv[j, i] = -total / P[i, i]
    for i in range(width):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, width):
                total += inv[i, k] * inv[j, k]
            left, right = Y[i], S[j, width:]
            for k in range(height):
                total -= left[k] * right[k]
            S[j, i] = total
            S[i, j] = total
