"""Kernels of pedigrees, on plain arrays of parent positions.

Everywhere `sire` and `dam` are int64 arrays of shape (n,): the position of the parent, or a negative
number where it is unknown, and parents stand before their offspring. With T the lower triangular matrix
of gene flow (t_ij = (t_sj + t_dj) / 2, t_ii = 1) and D the diagonal matrix of within-family variances,
A = T D T' (Henderson 1976). T is never formed: T v and T'v are one sweep through the pedigree each.
"""
# numba's decorators carry no types.
# mypy: disallow-untyped-decorators=False, warn-return-any=False

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csc_array

from bayesmv.arrays import Array, BoolArray, IntArray
from bayesmv.numerics.compiled import CompiledWhenLarge, njit

OPEN, DONE = 1, 2
BLOCK_ENTRIES = 2**23  # numbers held at once while columns of A are made: 64 MB


@njit(cache=True)
def _unfinished_parent(x, sire, dam, state):  # type: ignore[no-untyped-def]
    for parent in (sire[x], dam[x]):
        if parent >= 0 and state[parent] != DONE:
            return parent
    return -1


@CompiledWhenLarge
def parents_first(sire: IntArray, dam: IntArray) -> tuple[IntArray, IntArray]:
    """Order by depth-first search, each animal right after its not yet listed ancestors, and a loop.

    An order that has parents first already comes back unchanged. Linear in the number of animals. Second
    comes a loop, each position in it an offspring of the next and the last of the first; empty if none.
    """
    n = sire.size
    order, stack, state = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(n, np.int8)
    filled = 0
    for root in range(n):
        depth = 0
        if state[root] != DONE:
            stack[0], state[root], depth = root, OPEN, 1
        while depth > 0:
            x = stack[depth - 1]
            parent = _unfinished_parent(x, sire, dam, state)
            if parent < 0:
                order[filled], state[x] = x, DONE
                filled, depth = filled + 1, depth - 1
            elif state[parent] == OPEN:
                first = np.flatnonzero(stack[:depth] == parent)[0]
                return order, stack[first:depth].copy()
            else:
                stack[depth], state[parent] = parent, OPEN
                depth += 1
    return order, stack[:0].copy()


def put_in_order(parents: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Order, loop (as of `parents_first`) and the parents' positions in that order, (2, n)."""
    order, loop = parents_first(parents[0], parents[1])
    if loop.size:
        return order, loop, parents
    place = np.append(np.argsort(order), -1)  # the last for unknown parents
    return order, loop, place[parents[:, order]]


@CompiledWhenLarge
def mark_ancestors(sire: IntArray, dam: IntArray, marked: BoolArray) -> None:
    """Mark, in place, the ancestors of every marked animal."""
    for i in range(sire.size - 1, -1, -1):
        if marked[i]:
            for parent in (sire[i], dam[i]):
                if parent >= 0:
                    marked[parent] = True


@CompiledWhenLarge
def cut_uninformative(sire: IntArray, dam: IntArray, keep: BoolArray, present: BoolArray) -> None:
    """Unmark, in place, founders outside `keep` that fill one parent's place only.

    One pass is enough: an animal whose parents are all cut is a founder when its turn comes. A founder
    that was selfed fills two places and stays, for it makes its offspring inbred.
    """
    places = np.zeros(sire.size, np.int64)
    for i in range(sire.size):
        for parent in (sire[i], dam[i]):
            if parent >= 0 and present[i]:
                places[parent] += 1
    for i in range(sire.size):
        founder = (sire[i] < 0 or not present[sire[i]]) and (dam[i] < 0 or not present[dam[i]])
        if founder and not keep[i] and places[i] == 1:
            present[i] = False


@CompiledWhenLarge
def generation_numbers(sire: IntArray, dam: IntArray) -> IntArray:
    """Longest path from a founder: 0 for founders, else one more than the later parent."""
    generation = np.zeros(sire.size, np.int64)
    for i in range(sire.size):
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                generation[i] = max(generation[i], generation[parent] + 1)
    return generation


@njit(cache=True)
def to_parents(sire: IntArray, dam: IntArray, V: Array) -> None:
    """V ← T'V in place, V (n, k)."""
    for i in range(V.shape[0] - 1, -1, -1):
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                for j in range(V.shape[1]):
                    V[parent, j] += 0.5 * V[i, j]


@njit(cache=True)
def to_offspring(sire: IntArray, dam: IntArray, V: Array) -> None:
    """V ← T V in place, V (n, k)."""
    for i in range(V.shape[0]):
        for parent in (sire[i], dam[i]):
            if parent >= 0:
                for j in range(V.shape[1]):
                    V[i, j] += 0.5 * V[parent, j]


@njit(cache=True)
def _list_ancestors(root, sire, dam, seen, stack, listed, count):  # type: ignore[no-untyped-def]
    """Append to `listed` the not yet `seen` of root and its ancestors, parents first; the new count."""
    depth = 0
    mark = seen[-1]
    if seen[root] != mark:
        stack[0], seen[root], depth = root, mark, 1
    while depth > 0:
        x = stack[depth - 1]
        parent = sire[x]
        if parent < 0 or seen[parent] == mark:
            parent = dam[x]
        if parent >= 0 and seen[parent] != mark:
            stack[depth], seen[parent] = parent, mark
            depth += 1
        else:
            listed[count] = x
            count, depth = count + 1, depth - 1
    return count


@njit(cache=True)
def _parent_mean(x, sire, dam, u):  # type: ignore[no-untyped-def]
    total = 0.0
    for parent in (sire[x], dam[x]):
        if parent >= 0:
            total += u[parent]
    return 0.5 * total


@njit(cache=True)
def _own_column(q, listed, count, sire, dam, d, w, u):  # type: ignore[no-untyped-def]
    """u[x] ← a_xq for q and its ancestors, which `listed` names parents first; w is zero and stays so."""
    w[q] = 1.0
    for j in range(count - 1, -1, -1):
        x = listed[j]
        for parent in (sire[x], dam[x]):
            if parent >= 0:
                w[parent] += 0.5 * w[x]
    for j in range(count):
        x = listed[j]
        u[x] = d[x] * w[x] + _parent_mean(x, sire, dam, u)
        w[x] = 0.0


@njit(cache=True)
def _own_inbreeding(x, sire, dam, half, selfed, ploidy, double_reduction, F):  # type: ignore[no-untyped-def]
    """F of x, `half` the half of the relationship of its parents.

    Diploids selfed n times after their cross have F = 1 - (1 - half) / 2^n. Two genes of an autotetraploid are of one
    gamete in a third of all pairs, and there copies of one by double reduction (Kerr et al. 2012).
    """
    if ploidy == 2:
        return half if selfed[x] == 0 else 1.0 - (1.0 - half) * 0.5 ** selfed[x]
    if sire[x] < 0 and dam[x] < 0:
        return 0.0
    gametes = 0.0
    for parent in (sire[x], dam[x]):
        own = F[parent] if parent >= 0 else 0.0
        gametes += double_reduction + (1.0 - double_reduction) * own
    return gametes / 6.0 + half / 3.0


@njit(cache=True)
def _mate_relationships(  # type: ignore[no-untyped-def]
    sire, dam, family, start, mate, selfed, ploidy, double_reduction
):
    """F of every animal q, and a_qm with its mates m = mate[start[q]:start[q + 1]].

    `family[i]` is the place in `mate` of the parents of i, or -1. A place belongs to one of its two
    parents and so is filled before the turn of any of their offspring.
    """
    n = sire.size
    a = np.zeros(mate.size)
    F, d, w, u = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    seen, stack, listed = np.full(n + 1, -1), np.empty(n, np.int64), np.empty(n, np.int64)
    for q in range(n):
        half = 0.5 * a[family[q]] if family[q] >= 0 else 0.0
        F[q] = _own_inbreeding(q, sire, dam, half, selfed, ploidy, double_reduction, F)
        d[q] = 1.0 + (ploidy - 1) * F[q] - half
        for parent in (sire[q], dam[q]):
            if parent >= 0:
                d[q] -= 0.25 * (1.0 + (ploidy - 1) * F[parent])
        if start[q] == start[q + 1]:
            continue
        seen[n] = q
        count = _list_ancestors(q, sire, dam, seen, stack, listed, 0)
        _own_column(q, listed, count, sire, dam, d, w, u)
        for k in range(start[q], start[q + 1]):
            done = count
            count = _list_ancestors(mate[k], sire, dam, seen, stack, listed, count)
            for j in range(done, count):
                u[listed[j]] = _parent_mean(listed[j], sire, dam, u)
            a[k] = u[mate[k]]
    return F, a


def inbreeding_coefficients(
    sire: IntArray, dam: IntArray, selfed: IntArray | None = None, ploidy: int = 2, double_reduction: float = 0.0
) -> tuple[Array, Array]:
    """F_i and a_sd / 2, (n,) each, from one traced column of A for each parent that takes a turn.

    Each pair of parents is dealt with once, whatever its number of offspring, in the turn of the parent
    with more mates; ancestors common to its mates are visited once. Memory is linear. After Sargolzaei,
    Iwaisaki & Colleau (2005) J. Anim. Breed. Genet. 122:325, where columns of A are taken sire by sire.
    """
    n = sire.size
    children = np.flatnonzero((sire >= 0) & (dam >= 0))
    low, high = np.minimum(sire, dam)[children], np.maximum(sire, dam)[children]
    pairs, member = np.unique(low * n + high, return_inverse=True)
    low, high = pairs // n, pairs % n
    mates = np.bincount(low, minlength=n) + np.bincount(high, minlength=n)
    turn = np.where(mates[low] >= mates[high], low, high)
    order = np.argsort(turn, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(turn, minlength=n))])
    family = np.full(n, -1)
    family[children] = np.argsort(order)[member]
    generations = np.zeros(n, dtype=np.int64) if selfed is None else selfed
    mate = (low + high - turn)[order]
    F, a = _mate_relationships(sire, dam, family, start, mate, generations, ploidy, float(double_reduction))
    return F, np.where(family >= 0, 0.5 * np.append(a, 0.0)[family], 0.0)


def new_positions(marked: BoolArray) -> IntArray:
    """Positions among the marked, (n + 1,); -1 for others and, last, for unknown parents."""
    return np.append(np.where(marked, np.cumsum(marked) - 1, -1), -1)


def within_family_variance(sire: IntArray, dam: IntArray, diagonal: Array, half: Array) -> Array:
    """d_i = a_ii - a_sd / 2 - Σ a_pp / 4 over the known parents p of i, (n,); `half` is a_sd / 2."""
    share = np.append(0.25 * diagonal, 0.0)  # the last, for unknown parents, is zero
    return diagonal - half - share[np.maximum(sire, -1)] - share[np.maximum(dam, -1)]


def inverse_from_parents(sire: IntArray, dam: IntArray, d: Array, size: int) -> csc_array:
    """B'D⁻¹B of shape (size, size), where row i of B (n, size) is e_i - (e_s + e_d) / 2.

    Positions at or above n are genetic groups; without any, B = T⁻¹ and the result is A⁻¹.
    """
    n = sire.size
    rows, columns = np.tile(np.arange(n), 3), np.concatenate([np.arange(n), sire, dam])
    values, known = np.repeat([1.0, -0.5, -0.5], n), columns >= 0
    B = coo_array((values[known], (rows[known], columns[known])), shape=(n, size)).tocsr()
    weighted = B.copy()
    weighted.data /= np.repeat(d, np.diff(B.indptr))
    return (B.T.tocsr() @ weighted).tocsc()


def factor_times(sire: IntArray, dam: IntArray, d: Array, z: Array) -> Array:
    """T D^½ z for z (n,) or (n, k)."""
    V = np.ascontiguousarray((z.T * np.sqrt(d)).T).reshape(z.shape[0], -1)
    to_offspring(sire, dam, V)
    return V.reshape(z.shape)


def relationship_times(sire: IntArray, dam: IntArray, d: Array, v: Array) -> Array:
    """T D T'v for v (n,) or (n, k)."""
    V = np.array(v, order="C").reshape(v.shape[0], -1)
    to_parents(sire, dam, V)
    V *= d[:, None]
    to_offspring(sire, dam, V)
    return V.reshape(v.shape)


def relationship_block(sire: IntArray, dam: IntArray, d: Array, chosen: IntArray) -> Array:
    """A[chosen, chosen], (m, m): T D T' on unit vectors in the ancestry of the chosen (Colleau 2002)."""
    marked = ancestry(sire, dam, chosen, cut=False)
    members, place = np.flatnonzero(marked), new_positions(marked)
    s, p, rows = place[sire[members]], place[dam[members]], place[chosen]
    A = np.empty((rows.size, rows.size))
    width = max(1, BLOCK_ENTRIES // max(members.size, 1))
    for first in range(0, rows.size, width):
        block = rows[first : first + width]
        V = np.zeros((members.size, block.size))
        V[block, np.arange(block.size)] = 1.0
        A[:, first : first + width] = relationship_times(s, p, d[members], V)[rows]
    return A


def dominance_block(sire: IntArray, dam: IntArray, d: Array, chosen: IntArray) -> Array:
    """D[chosen, chosen], (m, m), from A among the parents; an unknown parent is related to nobody."""
    s, p = sire[chosen], dam[chosen]
    parents = np.unique(np.concatenate([s, p]))
    parents = parents[parents >= 0]
    K = np.zeros((parents.size + 1, parents.size + 1))
    K[:-1, :-1] = relationship_block(sire, dam, d, parents)
    i = np.where(s >= 0, np.searchsorted(parents, s), -1)
    j = np.where(p >= 0, np.searchsorted(parents, p), -1)
    D = 0.25 * (K[np.ix_(i, i)] * K[np.ix_(j, j)] + K[np.ix_(i, j)] * K[np.ix_(j, i)])
    np.fill_diagonal(D, 1.0)
    return D


def ancestry(sire: IntArray, dam: IntArray, chosen: IntArray, *, cut: bool) -> BoolArray:
    """Mask (n,) of the chosen and their ancestors, without the uninformative of these if `cut`."""
    keep = np.zeros(sire.size, np.bool_)
    keep[chosen] = True
    present = keep.copy()
    mark_ancestors(sire, dam, present)
    if cut:
        cut_uninformative(sire, dam, keep, present)
    return present


def sibship_sizes(parent: IntArray, mate: IntArray) -> tuple[IntArray, IntArray]:
    """Offspring numbers of each cross with two or more, and of each parent with two or more mates.

    An unknown mate is taken to be another one each time, and makes no cross.
    """
    n = parent.size
    child = np.flatnonzero(parent >= 0)
    other = np.where(mate < 0, n + np.arange(n), mate)[child]
    crosses, sizes = np.unique(parent[child] * (2 * n) + other, return_counts=True)
    mates = np.bincount(crosses // (2 * n), minlength=n)
    offspring = np.bincount(parent[child], minlength=n)
    return sizes[sizes > 1], offspring[mates > 1]
