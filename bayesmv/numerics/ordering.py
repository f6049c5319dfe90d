"""Fill-reducing ordering and symbolic analysis for sparse Cholesky factorisation.

The ordering is approximate minimum degree on the quotient graph (Amestoy, Davis and Duff 1996, SIAM J. Matrix
Anal. Appl. 17, 886-905). Eliminated nodes are kept as *elements*, cliques named by their pivot, so the graph
never outgrows the matrix. Nodes may stand for small dense blocks (traits per level); degrees are counted in
scalars. The elimination tree follows Liu (1990, SIAM J. Matrix Anal. Appl. 11, 134-172).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import IntArray
from bayesmv.numerics.compiled import CompiledWhenLarge, njit

__all__ = ["elimination_tree", "minimum_degree", "postorder"]


_ELEMENT = -1


class _Quotient(NamedTuple):
    """Quotient graph of a partly eliminated matrix; `lists` apart, arrays are indexed by node."""

    lists: IntArray  # adjacency: elements and then variables of a variable; variables of an element
    start: IntArray  # where a node's list starts
    length: IntArray
    elements: IntArray  # number of elements in a variable's list; _ELEMENT for an element
    size: IntArray  # scalars in a variable; 0 once absorbed, negative while in the pivot's element
    degree: IntArray  # bound on a variable's external degree; scalars in an element's list
    mark: IntArray  # time stamps; 0 for an absorbed element
    following: IntArray  # (n + degrees,) ring of the variables of degree d, closed by node n + d
    previous: IntArray  # (n + degrees,) the same backwards
    alike: IntArray  # next variable of the same hash, or -1
    key: IntArray  # hash of a variable's list
    bucket: IntArray  # first variable of each hash, or -1
    parent: IntArray  # what absorbed the node, or -1
    bottom: IntArray  # last link of the chain of variables absorbed by a variable


def minimum_degree(
    indptr: npt.NDArray[np.integer],
    indices: npt.NDArray[np.integer],
    weights: npt.NDArray[np.integer] | None = None,
) -> IntArray:
    """Order of a symmetric sparse matrix such that its Cholesky factor stays sparse.

    Approximate minimum degree (Amestoy, Davis and Duff 1996) with aggressive absorption, mass elimination and
    indistinguishable nodes. The order is a postorder of the assembly tree, so the nodes of a supernode are
    neighbours; code that relies on a postorder of the elimination tree itself must still apply `postorder`.
    Nodes with more than ``max(16, 10 * sqrt(n))`` neighbours are dense: they are left out of the graph and
    come last, fewest neighbours first. The same input always gives the same order.

    Parameters
    ----------
    indptr, indices : (n + 1,) and (nnz,) integers
        Neighbours of each node (CSR), both triangles, without duplicates; diagonal entries are ignored.
    weights : (n,) integers, optional
        Scalar unknowns in each node, at least 1; by default 1.

    Returns
    -------
    (n,) int64
        The node eliminated k-th, for k = 0, ..., n - 1.
    """
    n = len(indptr) - 1
    sizes = np.ones(n, np.int64) if weights is None else np.array(weights, dtype=np.int64)
    neighbours = np.diff(indptr)
    dense = neighbours > max(16.0, 10.0 * np.sqrt(n))
    sizes[dense] = 0
    # Copies have one layout and type, so read-only or strided input compiles nothing anew.
    tree = _assembly_tree(np.array(indptr, dtype=np.int64), np.array(indices, dtype=np.int64), sizes)
    order = postorder(tree)
    last = np.flatnonzero(dense)
    return np.concatenate([order[~dense[order]], last[np.argsort(neighbours[last], kind="stable")]])


@CompiledWhenLarge
def elimination_tree(indptr: IntArray, indices: IntArray) -> IntArray:
    """Elimination tree of a symmetric sparse matrix (Liu 1990, algorithm 4.2).

    The parent of column j is the row of the first non-zero below the diagonal in column j of the Cholesky
    factor.

    Parameters
    ----------
    indptr, indices : (n + 1,) and (nnz,) integers
        Pattern in elimination order (CSR); only entries below the diagonal are read.

    Returns
    -------
    (n,) int64
        Parent of each column, -1 for a root.
    """
    n = len(indptr) - 1
    parent = np.full(n, -1, np.int64)
    ancestor = np.full(n, -1, np.int64)
    for i in range(n):
        for neighbour in indices[indptr[i] : indptr[i + 1]]:
            j = np.int64(neighbour)
            # Climb to the root of j's subtree; ancestors then point at i, which shortens the next climb.
            while 0 <= j < i:
                above = ancestor[j]
                ancestor[j] = i
                if above < 0:
                    parent[j] = i
                j = above
    return parent


@CompiledWhenLarge
def postorder(parent: IntArray) -> IntArray:
    """Order of a forest, every node just after its descendants (Liu 1990, section 2).

    Parameters
    ----------
    parent : (n,) int64
        Parent of each node, -1 for a root; a parent may have a lower number than its children.

    Returns
    -------
    (n,) int64
        The node visited k-th; siblings, and roots, by rising number.
    """
    n = len(parent)
    # Roots are children of a node n.
    child = np.full(n + 1, -1, np.int64)
    sibling = np.full(n, -1, np.int64)
    for j in range(n - 1, -1, -1):
        above = parent[j] if parent[j] >= 0 else n
        sibling[j] = child[above]
        child[above] = j
    # A postorder is the reverse of a preorder that takes siblings backwards, as a stack does.
    stack = np.empty(n + 1, np.int64)
    stack[0] = n
    height = 1
    order = np.empty(n + 1, np.int64)
    for k in range(n, -1, -1):
        height -= 1
        order[k] = stack[height]
        j = child[order[k]]
        while j >= 0:
            stack[height] = j
            height += 1
            j = sibling[j]
    return order[:n]


@CompiledWhenLarge
def _assembly_tree(indptr: IntArray, indices: IntArray, sizes: IntArray) -> IntArray:
    """Eliminate all nodes of positive size; the postorder of the tree returned is the elimination order."""
    graph, free = _quotient_graph(indptr, indices, sizes)
    n, left, lowest = len(sizes), sizes.sum(), 0
    stamp = np.int64(2)  # a literal would compile what takes it twice
    while left > 0:
        while graph.following[n + lowest] == n + lowest:
            lowest += 1
        # A new element has at most n variables.
        if free + n > len(graph.lists):
            free = _compact(graph, free)
        left, free, lowest, stamp = _eliminate(graph, graph.following[n + lowest], left, free, stamp)
    # The children of an element go below the whole chain of variables eliminated with it.
    for e in range(n):
        if graph.elements[e] == _ELEMENT and graph.parent[e] >= 0:
            graph.parent[e] = graph.bottom[graph.parent[e]]
    return graph.parent


@njit(cache=True)
def _quotient_graph(indptr: IntArray, indices: IntArray, sizes: IntArray) -> tuple[_Quotient, int]:
    """Graph of variables only, without links to those of size 0 (dense); and where free space starts."""
    n = len(sizes)
    # Lists never outgrow the matrix; n is for the element being built, the rest makes compaction rare.
    lists = np.empty(len(indices) + n + len(indices) // 2, np.int64)
    zero, none = np.zeros((5, n), np.int64), np.full((3, n), -1, np.int64)
    start, length, degree, ring = zero[0], zero[1], zero[2], np.arange(n + sizes.sum() + 1)
    graph = _Quotient(
        lists, start, length, zero[3], sizes.copy(), degree, np.ones(n, np.int64),
        ring, ring.copy(), none[0], zero[4], none[1], none[2], np.arange(n),
    )  # fmt: skip
    free = 0
    for i in np.flatnonzero(sizes):
        start[i] = free
        for j in indices[indptr[i] : indptr[i + 1]]:
            if j != i and sizes[j] > 0:
                lists[free] = j
                free += 1
                degree[i] += sizes[j]
        length[i] = free - start[i]
        _enlist(graph, i)
    return graph, free


@njit(cache=True)
def _enlist(graph: _Quotient, i: int) -> None:
    """Put variable i first in the ring of its degree."""
    ring = len(graph.start) + graph.degree[i]
    graph.following[i], graph.previous[i] = graph.following[ring], ring
    graph.previous[graph.following[ring]] = i
    graph.following[ring] = i


@njit(cache=True)
def _delist(graph: _Quotient, i: int) -> None:
    """Take variable i out of the ring of its degree."""
    graph.following[graph.previous[i]] = graph.following[i]
    graph.previous[graph.following[i]] = graph.previous[i]


@njit(cache=True)
def _compact(graph: _Quotient, free: int) -> int:
    """Move all live lists to the front of the workspace; return where free space starts."""
    lists, start, length = graph.lists, graph.start, graph.length
    # The first item of each list gives way to its owner's name, negated to tell it from items.
    for i in np.flatnonzero(length):
        first = start[i]
        start[i] = lists[first]
        lists[first] = -1 - i
    target = 0
    for source in range(free):
        owner = -1 - lists[source]
        if owner >= 0:
            lists[target] = start[owner]
            start[owner] = target
            for p in range(1, length[owner]):
                lists[target + p] = lists[source + p]
            target += length[owner]
    return target


@njit(cache=True)
def _eliminate(graph: _Quotient, pivot: int, left: int, free: int, stamp: int) -> tuple[int, int, int, int]:
    """Make the pivot an element; return scalars left, free space, lowest degree and an unused stamp."""
    first, stop, reach = _form_element(graph, pivot, free)
    longest = _count_outside(graph, first, stop, stamp)
    for p in range(first, stop):
        _update_variable(graph, graph.lists[p], pivot, stamp)
    # `_count_outside` left marks of up to stamp + longest.
    stamp += longest + 1
    for p in range(first, stop):
        stamp = _merge_alike(graph, graph.lists[p], stamp)
    graph.size[pivot] = -graph.size[pivot]
    left -= graph.size[pivot]
    stop, lowest = _close_element(graph, pivot, first, stop, reach - graph.size[pivot], left)
    return left, max(free, stop), lowest, stamp


@njit(cache=True)
def _form_element(graph: _Quotient, pivot: int, free: int) -> tuple[int, int, int]:
    """Join the variables of the pivot and its elements; return start, stop and scalars (with the pivot's)."""
    begin, count = graph.start[pivot], graph.elements[pivot]
    reach = graph.size[pivot]
    graph.size[pivot] = -reach
    _delist(graph, pivot)
    # Without elements the list can be filtered where it stands.
    first = free if count > 0 else begin
    stop = first
    for e in graph.lists[begin : begin + count]:
        stop, reach = _collect(graph, graph.start[e], graph.length[e], stop, reach)
        _absorb_element(graph, e, pivot)
    stop, reach = _collect(graph, begin + count, graph.length[pivot] - count, stop, reach)
    graph.elements[pivot] = _ELEMENT
    return first, stop, reach


@njit(cache=True)
def _collect(graph: _Quotient, begin: int, count: int, stop: int, reach: int) -> tuple[int, int]:
    """Append to the new element what it lacks of `count` variables, making their sizes negative."""
    for i in graph.lists[begin : begin + count]:
        if graph.size[i] > 0:
            reach += graph.size[i]
            graph.size[i] = -graph.size[i]
            _delist(graph, i)
            graph.lists[stop] = i
            stop += 1
    return stop, reach


@njit(cache=True)
def _absorb_element(graph: _Quotient, e: int, into: int) -> None:
    """Drop an element whose variables are all in another."""
    graph.parent[e], graph.length[e], graph.mark[e] = into, 0, 0


@njit(cache=True)
def _absorb_variable(graph: _Quotient, i: int, into: int) -> None:
    """Let variable i, and the chain below it, be eliminated just before those at the bottom of another."""
    graph.parent[i] = graph.bottom[into]
    graph.bottom[into] = graph.bottom[i]
    graph.size[into] += graph.size[i]
    graph.size[i] = 0
    graph.length[i] = 0


@njit(cache=True)
def _count_outside(graph: _Quotient, first: int, stop: int, stamp: int) -> int:
    """Set ``mark[e] - stamp`` to the scalars outside the new element, for all elements e that meet it.

    Returns the size of the largest of them.
    """
    longest = 0
    for i in graph.lists[first:stop]:
        for e in graph.lists[graph.start[i] : graph.start[i] + graph.elements[i]]:
            if graph.mark[e] >= stamp:
                graph.mark[e] += graph.size[i]
            elif graph.mark[e] != 0:
                graph.mark[e] = stamp + graph.degree[e] + graph.size[i]
                longest = max(longest, graph.degree[e])
    return longest


@njit(cache=True)
def _update_variable(graph: _Quotient, i: int, pivot: int, stamp: int) -> None:
    """Prune the list of a member of the new element, bound its degree and file it by its hash."""
    lists, begin = graph.lists, graph.start[i]
    middle, outside, key = begin, 0, 0
    for e in lists[begin : begin + graph.elements[i]]:
        beyond = graph.mark[e] - stamp
        if beyond > 0:
            outside += beyond
            key += e
            lists[middle] = e
            middle += 1
        elif beyond == 0:
            _absorb_element(graph, e, pivot)
    end = middle
    for j in lists[begin + graph.elements[i] : begin + graph.length[i]]:
        # The new element stands for the links to its members, whose sizes are negative.
        if graph.size[j] > 0:
            outside += graph.size[j]
            key += j
            lists[end] = j
            end += 1
    if outside == 0:
        _absorb_variable(graph, i, pivot)
        return
    # The pivot, or an element it absorbed, has left the list: there is room to put the pivot first.
    lists[end], lists[middle], lists[begin] = lists[middle], lists[begin], pivot
    graph.elements[i], graph.length[i] = middle + 1 - begin, end + 1 - begin
    graph.degree[i] = min(graph.degree[i], outside)
    graph.key[i] = key % len(graph.bucket)
    graph.alike[i] = graph.bucket[graph.key[i]]
    graph.bucket[graph.key[i]] = i


@njit(cache=True)
def _merge_alike(graph: _Quotient, member: int, stamp: int) -> int:
    """Merge the indistinguishable variables in the hash bucket of a member; return an unused stamp."""
    if graph.size[member] == 0:
        return stamp
    i = graph.bucket[graph.key[member]]
    graph.bucket[graph.key[member]] = -1
    while i >= 0 and graph.alike[i] >= 0:
        for item in graph.lists[graph.start[i] : graph.start[i] + graph.length[i]]:
            graph.mark[item] = stamp
        before, j = i, graph.alike[i]
        while j >= 0:
            if _same_list(graph, i, j, stamp):
                _absorb_variable(graph, j, i)
                graph.alike[before] = graph.alike[j]
            else:
                before = j
            j = graph.alike[j]
        stamp += 1
        i = graph.alike[i]
    return stamp


@njit(cache=True)
def _same_list(graph: _Quotient, i: int, j: int, stamp: int) -> bool:
    """Whether j has the same list as i, whose items carry the stamp."""
    if graph.length[i] != graph.length[j] or graph.elements[i] != graph.elements[j]:
        return False
    for item in graph.lists[graph.start[j] : graph.start[j] + graph.length[j]]:
        if graph.mark[item] != stamp:
            return False
    return True


@njit(cache=True)
def _close_element(graph: _Quotient, pivot: int, first: int, stop: int, reach: int, left: int) -> tuple[int, int]:
    """Put the live variables of the new element back in the rings of their degrees.

    Returns where the element's list stops and the lowest degree now possible.
    """
    lowest, end = graph.degree[pivot], first
    for i in graph.lists[first:stop]:
        if graph.size[i] < 0:
            graph.size[i] = -graph.size[i]
            graph.degree[i] = min(graph.degree[i] + reach, left) - graph.size[i]
            lowest = min(lowest, graph.degree[i])
            _enlist(graph, i)
            graph.lists[end] = i
            end += 1
    graph.start[pivot], graph.length[pivot] = first, end - first
    graph.degree[pivot] = reach
    return end, lowest
