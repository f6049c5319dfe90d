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

from bayesmv.arrays import Array, IntArray
from bayesmv.numerics.blas import KEEP, PLAIN, REPLACE, TRANSPOSED, subtract
from bayesmv.numerics.compiled import FAST, apart, njit
from bayesmv.numerics.supernodes import Supernodes

U = np.uint64

#: Products with fewer multiplications than this are quicker in a plain loop than in BLAS.
_SMALL = 30000

#: Widest panel that is subtracted from adjacent rows column by column, not as a sum.
_NARROW = 4

#: Columns of a panel that are divided by loops before BLAS takes what they contribute from the others.
_STRIP = 24


class Workspace(NamedTuple):
    """Numbers and scratch of one thread: the factor, its selected inverse, and buffers."""

    factor: Array
    inverse: Array
    product: Array
    gathered: Array
    square: Array
    place: IntArray
    head: IntArray
    following: IntArray
    progress: IntArray


def workspace(symbolic: Supernodes) -> Workspace:
    """Allocate what :func:`factorize` and :func:`selected_inverse` write to."""
    order, count = int(symbolic.start[-1]), len(symbolic.start) - 1
    width = int(np.max(np.diff(symbolic.start), initial=1))
    below = int(np.max(np.diff(symbolic.row_start), initial=0))
    columns = int(np.max(symbolic.start[1:] - symbolic.start[symbolic.run], initial=1))
    size = int(symbolic.panel_start[-1])
    return Workspace(
        factor=np.zeros(size),
        inverse=np.zeros(size),
        product=np.zeros((below + width) * columns),
        gathered=np.zeros(below * below),
        square=np.zeros(width * width),
        place=np.zeros(order, dtype=np.int64),
        head=np.zeros(count, dtype=np.int64),
        following=np.zeros(count, dtype=np.int64),
        progress=np.zeros(count, dtype=np.int64),
    )


@njit(cache=True, nogil=True, fastmath=FAST)
def factorize(symbolic, work):  # type: ignore[no-untyped-def]
    """Cholesky factor of the lower triangle in ``work.factor``, in its place; False if it is not positive definite.

    Left-looking: supernode s subtracts the products of those earlier supernodes whose next unused row lies in it
    (kept in linked lists), then is factored by itself. The last of a run subtracts for all of it.
    """
    apart()
    start, row_start, rows, panel_start, owner, run = symbolic
    values, place, head, following, progress = work.factor, work.place, work.head, work.following, work.progress
    head[:] = -1
    for s in range(len(start) - 1):
        begin, end, base = start[s], start[s + 1], panel_start[s]
        width, below = end - begin, row_start[s + 1] - row_start[s]
        height = width + below
        for i in range(width):
            place[begin + i] = i
        for p in range(below):
            place[rows[row_start[s] + p]] = width + p
        d = head[s]
        while d >= 0:
            after, first, stop = following[d], progress[d], row_start[d + 1]
            used = first
            while used < stop and rows[used] < end:
                used += 1
            lead = run[d]
            panel = panel_start[lead], start[d + 1] - start[lead], start[d + 1] - start[d] + stop - row_start[d]
            target = base - begin * height, height
            _subtract_descendant(values, rows, place, work.product, target, panel, first, stop - first, used - first)
            progress[d] = used
            if used < stop:
                _enlist(head, following, owner[rows[used]], d)
            d = after
        if not _factor_panel(values, base, width, height):
            return False
        progress[s] = row_start[s]
        if below > 0 and (s + 2 == len(start) or run[s + 1] != run[s]):
            _enlist(head, following, owner[rows[row_start[s]]], s)
    return True


@njit(cache=True, inline="always")
def _enlist(head, following, parent, s):  # type: ignore[no-untyped-def]
    following[s] = head[parent]
    head[parent] = s


# The loops below index flat arrays with unsigned numbers: numba then leaves out its check for negative ones, and the
# innermost loops vectorise. They are copied into the one function that calls them, which compiles sooner.


@njit(cache=True, inline="always")
def _subtract_descendant(values, rows, place, product, into, panel, first, count, cols):  # type: ignore[no-untyped-def]
    """Subtract from a panel, `into` (base at column 0, height), the products of a descendant (base, width, height).

    The descendant's rows ``rows[first:first + count]`` are still unused; the leading `cols` are columns of the target.
    """
    adjacent = place[rows[first + count - 1]] - place[rows[first]] == count - 1
    corner = into[0] + rows[first] * into[1] + place[rows[first]]
    if panel[1] * count * cols > _SMALL:
        size, tail = (count, cols, panel[1]), (values, panel[0] + panel[2] - count, panel[2])
        if adjacent:  # what this writes above the diagonal is not read
            subtract(size, PLAIN, tail, TRANSPOSED, tail, KEEP, (values, corner, into[1]))
        else:
            subtract(size, PLAIN, tail, TRANSPOSED, tail, REPLACE, (product, 0, count))
            _add(values, rows, place, product, into, first, count, cols)
    elif adjacent and panel[1] <= _NARROW:
        _subtract_adjacent(values, corner, into[1], panel, count, cols)
    else:
        _subtract(values, rows, place, product, into, panel, first, count, cols)


@njit(cache=True, inline="always")
def _subtract(values, rows, place, product, into, panel, first, count, cols):  # type: ignore[no-untyped-def]
    """Do so for any rows, by loops."""
    base, height = into
    d_base, d_width, d_height = panel
    for j in range(cols):
        tail = U(count - j)
        at = U(d_base + d_height - count + j)
        for i in range(tail):
            product[i] = 0.0
        for _ in range(d_width):
            multiple = values[at]
            for i in range(tail):
                product[i] += multiple * values[at + i]
            at += U(d_height)
        row = U(first + j)
        target = U(base + rows[row] * height)
        for i in range(tail):
            values[target + U(place[rows[row + i]])] -= product[i]


@njit(cache=True, inline="always")
def _subtract_adjacent(values, corner, height, panel, count, cols):  # type: ignore[no-untyped-def]
    """Do so where the rows are adjacent in the target, the first of them on the diagonal at `corner`."""
    d_base, d_width, d_height = panel
    for j in range(cols):
        target = U(corner + j * (height + 1))
        at = U(d_base + d_height - count + j)
        for _ in range(d_width):
            multiple = values[at]
            for i in range(U(count - j)):
                values[target + i] -= multiple * values[at + i]
            at += U(d_height)


@njit(cache=True, inline="always")
def _add(values, rows, place, product, into, first, count, cols):  # type: ignore[no-untyped-def]
    """Add a product (count, cols) to the rows ``rows[first:first + count]`` of a panel, `into`."""
    base, height = into
    for j in range(cols):
        row, at = U(first + j), U(j * count + j)
        target = U(base + rows[row] * height)
        for i in range(U(count - j)):
            values[target + U(place[rows[row + i]])] += product[at + i]


@njit(cache=True, inline="always")
def _strip(width, height):  # type: ignore[no-untyped-def]
    """Columns of a panel that are taken together."""
    return _STRIP if width * width * height > _SMALL else max(width, 1)


@njit(cache=True, inline="always")
def _factor_panel(values, base, width, height):  # type: ignore[no-untyped-def]
    """Cholesky of the square of a panel and division of the rows below, in place; False if not positive."""
    strip = _strip(width, height)
    for begin in range(0, width, strip):
        end = min(begin + strip, width)
        for j in range(begin, end):
            source = U(base + j * height + j)
            if not values[source] > 0.0:
                return False
            reciprocal = 1.0 / np.sqrt(values[source])
            for i in range(U(height - j)):
                values[source + i] *= reciprocal
            for k in range(1, end - j):
                target, right = U(base + (j + k) * (height + 1)), source + U(k)
                multiple = values[right]
                for i in range(U(height - j - k)):
                    values[target + i] -= multiple * values[right + i]
        if end < width:
            size, left = (height - end, width - end, end - begin), (values, base + begin * height + end, height)
            subtract(size, PLAIN, left, TRANSPOSED, left, KEEP, (values, base + end * (height + 1), height))
    return True


@njit(cache=True, nogil=True, fastmath=FAST)
def solve_lower(symbolic, factor, rhs):  # type: ignore[no-untyped-def]
    """Solution z of L z = rhs, (order, k), in its place."""
    for s in range(len(symbolic.start) - 1):
        begin, end = symbolic.start[s], symbolic.start[s + 1]
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        width = end - begin
        for j in range(width):
            column = factor[symbolic.panel_start[s] + j * (width + len(rows)) :]
            for c in range(rhs.shape[1]):
                x = rhs[begin + j, c] / column[j]
                rhs[begin + j, c] = x
                for i in range(j + 1, width):
                    rhs[begin + i, c] -= column[i] * x
                for p in range(len(rows)):
                    rhs[rows[p], c] -= column[width + p] * x


@njit(cache=True, nogil=True, fastmath=FAST)
def solve_upper(symbolic, factor, rhs):  # type: ignore[no-untyped-def]
    """Solution z of L' z = rhs, (order, k), in its place."""
    for s in range(len(symbolic.start) - 2, -1, -1):
        begin, end = symbolic.start[s], symbolic.start[s + 1]
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        width = end - begin
        for j in range(width - 1, -1, -1):
            column = factor[symbolic.panel_start[s] + j * (width + len(rows)) :]
            for c in range(rhs.shape[1]):
                x = rhs[begin + j, c]
                for i in range(j + 1, width):
                    x -= column[i] * rhs[begin + i, c]
                for p in range(len(rows)):
                    x -= column[width + p] * rhs[rows[p], c]
                rhs[begin + j, c] = x / column[j]


@njit(cache=True, fastmath=FAST)
def selected_inverse(symbolic, work, count):  # type: ignore[no-untyped-def]
    """Entries of the inverse on the pattern of the factor, for the leading `count` supernodes, into ``work.inverse``.

    Rows of the other supernodes are left as they are, 0.

    For a supernode with diagonal block L11 and rows L21, with Y = L21 L11⁻¹ and S_RR known:
    S_RJ = -S_RR Y, S_JJ = L11⁻ᵀ L11⁻¹ - Y' S_RJ.
    """
    apart()
    start, row_start, rows, panel_start, _, run = symbolic
    limit = start[count]
    gathered, size = 0, 0  # the rows whose block is in work.gathered
    s = count - 1
    while s >= 0:
        lead, width = run[s], start[s + 1] - start[s]
        height = width + row_start[s + 1] - row_start[s]
        below = height - width
        while below > 0 and rows[row_start[s] + below - 1] >= limit:
            below -= 1
        for t in range(lead, s + 1):
            Y = work.product[(start[t] - start[lead]) * below :]
            _divide_rows(work.factor, panel_start[t], width, height, below, Y)
        if not _same_rows(rows, gathered, size, row_start[s], below):
            _gather(symbolic, work.inverse, row_start[s], below, work.place, work.gathered)
            gathered, size = row_start[s], below
        corner, columns = panel_start[lead] + width, start[s + 1] - start[lead]
        _below(work.gathered, work.product, work.inverse, corner, columns, height, below)
        for t in range(lead, s + 1):
            Y = work.product[(start[t] - start[lead]) * below :]
            _square(work.factor, Y, work.square, work.inverse, panel_start[t], width, height, below)
        s = lead - 1


@njit(cache=True, inline="always")
def _same_rows(rows, a, size, b, below):  # type: ignore[no-untyped-def]
    """Whether the rows from a and from b on are the same."""
    if size != below:
        return False
    for i in range(below):
        if rows[a + i] != rows[b + i]:
            return False
    return True


@njit(cache=True, inline="always")
def _divide_rows(factor, base, width, height, below, Y):  # type: ignore[no-untyped-def]
    """Y' = L11⁻ᵀ L21', (width, below): row j is column j of Y."""
    n, end, strip = U(below), width, _strip(width, below)
    while end > 0 and below > 0:
        begin = max(end - strip, 0)
        for j in range(end - 1, begin - 1, -1):
            target, source = U(j * below), U(base + j * height + width)
            for i in range(n):
                Y[target + i] = factor[source + i]
        if end < width:
            known, square = (Y, end * below, below), (factor, base + begin * height + end, height)
            size = below, end - begin, width - end
            subtract(size, PLAIN, known, PLAIN, square, KEEP, (Y, begin * below, below))
        for j in range(end - 1, begin - 1, -1):
            target = U(j * below)
            for k in range(j + 1, end):
                multiple, right = factor[base + j * height + k], U(k * below)
                for i in range(n):
                    Y[target + i] -= multiple * Y[right + i]
            reciprocal = 1.0 / factor[base + j * height + j]
            for i in range(n):
                Y[target + i] *= reciprocal
        end = begin


@njit(cache=True, inline="always")
def _gather(symbolic, inverse, first, n, place, R):  # type: ignore[no-untyped-def]
    """Symmetric (n, n) block of the inverse at ``rows[first:first + n]``, read from the panels of their supernodes."""
    start, row_start, rows, panel_start, owner, _ = symbolic
    b = 0
    while b < n:
        t = owner[rows[first + b]]
        begin, end, p = start[t], start[t + 1], row_start[t]
        height = end - begin + row_start[t + 1] - row_start[t]
        stop = b
        for i in range(b, n):
            row = rows[first + i]
            if row < end:
                place[i] = row - begin
                stop = i + 1
            else:
                while rows[p] < row:
                    p += 1
                place[i] = end - begin + p - row_start[t]
        for j in range(b, stop):
            column, target = U(panel_start[t] + (rows[first + j] - begin) * height), U(j * n)
            for i in range(U(j), U(n)):
                R[target + i] = inverse[column + U(place[i])]
        b = stop
    for corner in range(0, n, _STRIP):  # in strips, so that what is read stays near
        for i in range(corner, n):
            for j in range(corner, min(corner + _STRIP, i)):
                R[U(i) * U(n) + U(j)] = R[U(j) * U(n) + U(i)]


@njit(cache=True, inline="always")
def _below(R, Y, inverse, corner, columns, height, below):  # type: ignore[no-untyped-def]
    """Write S_RJ = -R Y to the part of a run of panels below their squares, which begins at `corner`."""
    if below * below * columns > _SMALL:
        size, block = (below, columns, below), (R, 0, below)
        subtract(size, PLAIN, block, PLAIN, (Y, 0, below), REPLACE, (inverse, corner, height))
        return
    n = U(below)
    for j in range(columns):
        target = U(corner + j * height)
        for i in range(n):
            inverse[target + i] = 0.0
        for k in range(n):
            multiple, source = Y[U(j * below) + k], k * n
            for i in range(n):
                inverse[target + i] -= multiple * R[source + i]


@njit(cache=True, inline="always")
def _square(factor, Y, inv, inverse, base, width, height, below):  # type: ignore[no-untyped-def]
    """Write S_JJ = (L11 L11')⁻¹ - Y' S_RJ to the square of a panel; `inv` is scratch for L11⁻¹."""
    for j in range(width):  # column j of L11⁻¹ in row j of inv
        column = U(j * width)
        inv[column + U(j)] = 1.0 / factor[base + j * height + j]
        for i in range(j + 1, width):
            total = 0.0
            for k in range(j, i):
                total += factor[base + k * height + i] * inv[column + U(k)]
            inv[column + U(i)] = -total / factor[base + i * height + i]
    large = width * width * below > _SMALL
    for i in range(width):
        for j in range(i + 1):
            total = 0.0
            for k in range(U(i), U(width)):
                total += inv[U(i * width) + k] * inv[U(j * width) + k]
            if not large:
                left, right = U(i * below), U(base + j * height + width)
                for k in range(U(below)):
                    total -= Y[left + k] * inverse[right + k]
            inverse[base + j * height + i] = total
            inverse[base + i * height + j] = total
    if large:
        rows = inverse, base + width, height
        subtract((width, width, below), TRANSPOSED, (Y, 0, below), PLAIN, rows, KEEP, (inverse, base, height))
