"""Symbolic factorisation: the supernodes of a matrix of small dense blocks, and where every entry stands.

Source: Liu (1990), SIAM J. Matrix Anal. Appl. 11:134-172 (elimination trees); Ashcraft & Grimes (1989), ACM Trans.
Math. Softw. 15:291-309 (relaxed supernodes).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmv.arrays import IntArray
from bayesmv.numerics.compiled import CompiledWhenLarge, njit

#: Widest supernode, in scalar columns: beyond it the triangular kernels, which are not BLAS, would dominate.
WIDEST = 96


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
    run
        First of the *run* of each supernode (S,): neighbours of equal width with the same rows, such as families that
        are in all blocks. Below their diagonal blocks, their panels make up one matrix of evenly spaced columns.
    """

    start: IntArray
    row_start: IntArray
    rows: IntArray
    panel_start: IntArray
    owner: IntArray
    run: IntArray


def analyse(
    node_start: IntArray, indptr: IntArray, indices: IntArray, parent: IntArray, last_alone: bool = True
) -> Supernodes:
    """Supernodes of a permuted (postordered) matrix.

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
    return Supernodes(start, row_start, rows, panel_start, owner, _runs(start, row_start, rows))


@njit(cache=True)
def _children(parent):  # type: ignore[no-untyped-def]
    """First child of every node of a tree, and the next child of the same parent; -1 for none."""
    head = np.full(len(parent), -1, np.int64)
    following = np.full(len(parent), -1, np.int64)
    for j in range(len(parent) - 1, -1, -1):
        if parent[j] >= 0:
            following[j] = head[parent[j]]
            head[parent[j]] = j
    return head, following


@njit(cache=True)
def _merge_rows(source, mark, j, out, top):  # type: ignore[no-untyped-def]
    """Append the rows below j that are not yet marked for j; return the new end."""
    for i in source:
        if i > j and mark[i] != j:
            mark[i] = j
            out[top] = i
            top += 1
    return top


@CompiledWhenLarge
def _column_structures(n, indptr, indices, parent):  # type: ignore[no-untyped-def]
    """Rows of every column of the factor, in nodes, ascending: own entries merged with those of its children."""
    child, sibling = _children(parent)
    mark = np.full(n, -1, np.int64)
    below_start = np.zeros(n + 1, np.int64)
    below = np.empty(max(4 * len(indices), 16), np.int64)
    for j in range(n):
        begin = below_start[j]
        need = indptr[j + 1] - indptr[j]
        c = child[j]
        while c >= 0:
            need += below_start[c + 1] - below_start[c]
            c = sibling[c]
        if begin + need > len(below):
            below = np.concatenate((below[:begin], np.empty(begin + 2 * need, np.int64)))
        top = _merge_rows(indices[indptr[j] : indptr[j + 1]], mark, j, below, begin)
        c = child[j]
        while c >= 0:
            top = _merge_rows(below[below_start[c] : below_start[c + 1]], mark, j, below, top)
            c = sibling[c]
        below[begin:top].sort()
        below_start[j + 1] = top
    return np.diff(below_start), below_start, below[: below_start[n]].copy()


@CompiledWhenLarge
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


@CompiledWhenLarge
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


@CompiledWhenLarge
def _runs(start, row_start, rows):  # type: ignore[no-untyped-def]
    """First supernode of every run; runs are no wider than the widest supernode."""
    run = np.arange(len(start) - 1)
    for s in range(1, len(run)):
        a, b, size = row_start[s - 1], row_start[s], row_start[s] - row_start[s - 1]
        alike = start[s + 1] - start[s] == start[s] - start[s - 1] and row_start[s + 1] - b == size > 0
        if alike and start[s + 1] - start[run[s - 1]] <= WIDEST and np.all(rows[a:b] == rows[b : b + size]):
            run[s] = run[s - 1]
    return run


def locate(symbolic: Supernodes, row: IntArray, col: IntArray) -> IntArray:
    """Positions among the panel numbers of the entries (row, col) of the lower triangle."""
    s = symbolic.owner[col]
    begin, end, first = symbolic.start[s], symbolic.start[s + 1], symbolic.row_start[s]
    # Rows ascend within a supernode, so rows and supernodes together ascend throughout.
    order = symbolic.start[-1]
    owner = np.repeat(np.arange(len(symbolic.start) - 1), np.diff(symbolic.row_start))
    below = np.searchsorted(owner * order + symbolic.rows, s * order + row) - first
    local = np.where(row < end, row - begin, end - begin + below)
    return symbolic.panel_start[s] + (col - begin) * (end - begin + symbolic.row_start[s + 1] - first) + local
