"""Latent values of the records as a sparse function of all location effects, and the Hessian of these, analysed once.

With every effect written u = F v (Σ = FF', v ~ N(0, K ⊗ I)) the latent values of the records, Gaussian ones and
counts conditioned on (:mod:`.conditioning`), are o + A s, with s = (β, v_1 … v_K, ε). ε are residuals of counts, one
for each record. The Hessian of s,

    H = ⊕(0, K_k⁻¹ ⊗ I, I) + A'W A

with W the weights of the records, has one pattern whatever F, W and the residual covariances: it is ordered and
analysed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.likelihood.latent.conditioning import COUNT, LINKED, NORMAL, Conditioning, build_conditioning
from bayesmv.likelihood.sparse.equations import column_size
from bayesmv.numerics.compiled import FAST, njit
from bayesmv.numerics.ordering import elimination_tree, minimum_degree, postorder
from bayesmv.numerics.supernodes import Supernodes, analyse, locate


class Predictor(NamedTuple):
    """The map from s to the latent values of the records, and places in the factor of H.

    Parameters
    ----------
    unit, trait
        Unit and trait of each record, (N,).
    indptr, column
        Unknowns of each record, as rows of a CSR matrix A; its numbers are *slots*.
    slot, weight, entry, mix
        A[slot] is the sum of weight · F[entry] · M[mix], (terms,): F all factors one after the other, then the sizes of
        the fixed effects of every trait, then a 1; M the numbers of the conditioning.
    factor_start
        Where each factor begins in F, (K + 2,): of the random terms, then the sizes of fixed effects.
    conditioning
        How residuals are conditioned on.
    pair_row, pair_source, pair_mix
        o is the sum of M[mix] times what is given of a record, over pairs of a record and one that it depends on.
    drawn_record
        Record of every ε.
    drawn_row, drawn_of, drawn_mix
        Coefficient M[mix] of an ε in a row of A, pair by pair.
    prior
        Precision of s, (q, q): 0 for fixed effects.
    first
        First unknown of each random term, and of the residuals, (K + 1,).
    fixed_of
        Unknown of every fixed coefficient, (v, t); -1 where not fitted.
    fixed_scale
        Size by which the columns of fixed effects were divided, (v,).
    symbolic
        Analysis of H.
    position
        Place of every unknown in the order of elimination, (q,).
    pairs
        Place in the factor of the product of two slots of a record, slot by slot with those up to it.
    prior_place, prior_value
        Places and numbers of the lower triangle of the precision.
    """

    unit: IntArray
    trait: IntArray
    indptr: IntArray
    column: IntArray
    slot: IntArray
    weight: Array
    entry: IntArray
    mix: IntArray
    factor_start: IntArray
    conditioning: Conditioning
    pair_row: IntArray
    pair_source: IntArray
    pair_mix: IntArray
    drawn_record: IntArray
    drawn_row: IntArray
    drawn_of: IntArray
    drawn_mix: IntArray
    prior: sparse.csr_array
    first: IntArray
    fixed_of: IntArray
    fixed_scale: Array
    symbolic: Supernodes
    position: IntArray
    pairs: IntArray
    prior_place: IntArray
    prior_value: Array

    def prior_place_of(self, row: IntArray, col: IntArray) -> IntArray:
        """Places in the factor of entries (row, col) of its lower triangle, in the order of elimination."""
        return locate(self.symbolic, np.maximum(row, col), np.minimum(row, col))

    @property
    def order(self) -> int:
        """Number q of unknowns."""
        return len(self.position)

    def numbers(self, factors: Array, mixing: Array) -> Array:
        """A at factors, which may lack what follows those of the terms, and M; slot by slot."""
        F = np.concatenate([factors, np.ones(int(self.factor_start[-1]) + 1 - len(factors))])
        return np.bincount(self.slot, self.weight * F[self.entry] * mixing[self.mix], minlength=len(self.column))

    def offset(self, given: Array, mixing: Array) -> Array:
        """o from what is given of every record: its offset, or the negative record of a Gaussian trait, (N,)."""
        return np.bincount(self.pair_row, mixing[self.pair_mix] * given[self.pair_source], minlength=len(self.unit))

    def unmixed(self, slope: Array, mixing: Array) -> tuple[Array, Array]:
        """Derivatives by the latent values before conditioning, (N,), and by every ε, from those after, (N,)."""
        return (
            np.bincount(self.pair_source, mixing[self.pair_mix] * slope[self.pair_row], minlength=len(self.unit)),
            np.bincount(
                self.drawn_of, mixing[self.drawn_mix] * slope[self.drawn_row], minlength=len(self.drawn_record)
            ),
        )

    def matrix(self, numbers: Array) -> sparse.csr_array:
        """A (N, q)."""
        return sparse.csr_array((numbers, self.column, self.indptr), shape=(len(self.unit), self.order))


def build_predictor(design: Design) -> Predictor:
    """Analyse the latent values of a design."""
    unit, trait = np.nonzero(design.observed)
    record = np.full(design.observed.shape, -1)
    record[unit, trait] = np.arange(len(unit))
    conditioning = build_conditioning(design)
    X = design.fixed.working
    fixed_scale = column_size(X)
    fixed_of, order = _numbered(design.fixed.present)
    sizes = [len(term.effects) ** 2 for term in design.terms]
    factor_start = np.cumsum([0, *sizes, len(design.traits)])
    parts = [_fixed(X, fixed_scale, fixed_of, record, trait, int(factor_start[-2]))]
    first = []
    for k, term in enumerate(design.terms):
        first.append(order)
        m = len(term.effects)
        for e in range(m):
            Z = sparse.coo_array(term.incidences[int(term.load_of[e])])
            rows = record[Z.row, term.trait_of[e]]
            seen = rows >= 0
            for j in range(m):
                where = order + Z.col[seen] * m + j
                parts.append((rows[seen], where, Z.data[seen], np.full(seen.sum(), factor_start[k] + e * m + j)))
        order += len(term.levels) * m
    first.append(order)
    row, column, weight, entry = (np.concatenate([part[i] for part in parts]) for i in range(4))
    pair_row, pair_source, pair_mix = _pairs_of_records(conditioning, unit, trait, record, (NORMAL,))
    copies, at = _joined(row, pair_source)
    row, column, weight, entry, mix = pair_row[at], column[copies], weight[copies], entry[copies], pair_mix[at]
    drawn_record = np.flatnonzero(np.isin(conditioning.kind_of(unit, trait), (COUNT, LINKED)))
    number = np.full(len(unit), -1)
    number[drawn_record] = np.arange(len(drawn_record))
    drawn_row, count_source, drawn_mix = _pairs_of_records(conditioning, unit, trait, record, (COUNT, LINKED))
    of = number[count_source]
    row, column, weight, entry, mix = (
        np.concatenate(two)
        for two in (
            (row, drawn_row),
            (column, order + of),
            (weight, np.ones(len(of))),
            (entry, np.full(len(of), factor_start[-1])),
            (mix, drawn_mix),
        )
    )
    order += len(drawn_record)
    key, slot = np.unique(row.astype(np.int64) * order + column, return_inverse=True)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(key // order, minlength=len(unit)))]).astype(np.int64)
    column = (key % order).astype(np.int64)
    prior = _prior(design, int(fixed_of.max(initial=-1)) + 1, len(drawn_record))
    symbolic, position = _analysed(indptr, column, prior, _together(design, first, order))
    low = sparse.coo_array(sparse.tril(_permuted(prior, position)))
    return Predictor(
        unit=unit,
        trait=trait,
        indptr=indptr,
        column=column,
        slot=slot.reshape(-1),
        weight=weight.astype(float),
        entry=entry.astype(np.int64),
        mix=mix.astype(np.int64),
        factor_start=factor_start,
        conditioning=conditioning,
        pair_row=pair_row,
        pair_source=pair_source,
        pair_mix=pair_mix,
        drawn_record=drawn_record,
        drawn_row=drawn_row,
        drawn_of=of,
        drawn_mix=drawn_mix,
        prior=prior,
        first=np.array(first),
        fixed_of=fixed_of,
        fixed_scale=fixed_scale,
        symbolic=symbolic,
        position=position,
        pairs=locate(symbolic, *_pairs(indptr, position[column])),
        prior_place=locate(symbolic, low.row.astype(np.int64), low.col.astype(np.int64)),
        prior_value=low.data,
    )


def _numbered(present: npt.NDArray[np.bool_]) -> tuple[IntArray, int]:
    """Number of every coefficient that is fitted, -1 for others, and how many there are."""
    out = np.full(present.shape, -1)
    out[present] = np.arange(present.sum())
    return out, int(present.sum())


def _fixed(
    X: sparse.csc_array, size: Array, fixed_of: IntArray, record: IntArray, trait: IntArray, first: int
) -> tuple[IntArray, IntArray, Array, IntArray]:
    entries = sparse.coo_array(X)
    rows, columns = record[entries.row], fixed_of[entries.col]  # (entries, t) each
    both = (rows >= 0) & (columns >= 0)
    values = np.broadcast_to((entries.data / size[entries.col])[:, None], rows.shape)[both]
    return rows[both], columns[both], values, first + trait[rows[both]]


def _pairs_of_records(
    conditioning: Conditioning, unit: IntArray, trait: IntArray, record: IntArray, kinds: tuple[int, ...]
) -> tuple[IntArray, IntArray, IntArray]:
    """Records, those of the same unit that they depend on, and the place of their number M, or N of ε.

    A record depends on itself, and on those of correlated traits of the kinds before it in the order of conditioning;
    of ε, on its own where it has one.
    """
    c, t, known = conditioning, conditioning.kinds.shape[1], NORMAL in kinds
    before = np.argsort(c.order, axis=1)
    rows, sources, mixes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for i in range(t):
        mine = np.flatnonzero(trait == i)
        for j in range(t):
            pattern = c.pattern[unit[mine]]
            if j != i and not c.linked[i, j]:
                continue
            both = np.isin(c.kinds[pattern, j], kinds) & (before[pattern, j] < before[pattern, i] + (i == j))
            if i == j and known:
                both[:] = True
            rows.append(mine[both])
            sources.append(record[unit[mine[both]], j])
            block = 2 * pattern[both] + (not known)
            mixes.append((block * t + i) * t + j)
    return np.concatenate(rows), np.concatenate(sources), np.concatenate(mixes)


def _joined(left: IntArray, right: IntArray) -> tuple[IntArray, IntArray]:
    """Positions in both of every pair of equal numbers."""
    order = np.argsort(right, kind="stable")
    begin, end = (np.searchsorted(right[order], left, side=side) for side in ("left", "right"))
    copies = np.repeat(np.arange(len(left)), end - begin)
    within = np.arange(len(copies)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
    return copies, order[np.repeat(begin, end - begin) + within]


def _prior(design: Design, n_fixed: int, n_residual: int) -> sparse.csr_array:
    parts = [sparse.csr_array((n_fixed, n_fixed))]
    parts += [
        sparse.csr_array(sparse.kron(term.precision, sparse.eye_array(len(term.effects)))) for term in design.terms
    ]
    whole = sparse.csr_array(sparse.block_diag([*parts, sparse.eye_array(n_residual)], format="csr"))
    # A Kronecker product of small matrices comes as dense blocks: their zeros have no place in the factor.
    whole.eliminate_zeros()
    return whole


def _permuted(matrix: sparse.csr_array, position: IntArray) -> sparse.coo_array:
    M = sparse.coo_array(matrix)
    return sparse.coo_array((M.data, (position[M.row], position[M.col])), shape=M.shape)


def _together(design: Design, first: Sequence[int], order: int) -> sparse.csr_array:
    """A row for every level: its effects, whose covariances are asked for also where it has no record."""
    rows = [np.zeros(0, dtype=np.int64)]
    for term in design.terms:
        levels = np.repeat(np.arange(len(term.levels)), len(term.effects))
        rows.append(levels + 1 + rows[-1].max(initial=-1))
    row = np.concatenate(rows)
    column = np.arange(len(row)) + (first[0] if len(first) else 0)
    return sparse.csr_array((np.ones(len(row)), (row, column)), shape=(int(row.max(initial=-1)) + 1, order))


def _analysed(
    indptr: IntArray, column: IntArray, prior: sparse.csr_array, together: sparse.csr_array
) -> tuple[Supernodes, IntArray]:
    """Supernodes of H, and the place of every unknown in its order."""
    q = prior.shape[0]
    records = sparse.csr_array((np.ones(len(column)), column, indptr), shape=(len(indptr) - 1, q))
    touched = sparse.csr_array(sparse.vstack([records, together]))
    graph = sparse.csr_array(touched.T @ touched + abs(prior))
    graph.setdiag(0.0)
    graph.eliminate_zeros()
    order = minimum_degree(*_pattern(graph), np.ones(q, dtype=np.int64))
    order = order[postorder(elimination_tree(*_pattern(_reordered(graph, order))))]
    permuted = _reordered(graph, order)
    parent = elimination_tree(*_pattern(permuted))
    lower = sparse.csc_array(sparse.tril(permuted + sparse.eye_array(q)))
    lower.sort_indices()
    node_start = np.arange(q + 1, dtype=np.int64)
    symbolic = analyse(node_start, *_pattern(lower), parent, last_alone=False)
    return symbolic, np.argsort(order).astype(np.int64)


def _reordered(graph: sparse.csr_array, order: IntArray) -> sparse.csr_array:
    out = sparse.csr_array(graph[order][:, order])
    out.sort_indices()
    return out


def _pattern(matrix: sparse.csr_array | sparse.csc_array) -> tuple[IntArray, IntArray]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)


@njit(cache=True)
def _pairs(indptr, place):  # type: ignore[no-untyped-def]
    """Row and column in the lower triangle of every pair of slots of a record."""
    n = 0
    for r in range(len(indptr) - 1):
        width = indptr[r + 1] - indptr[r]
        n += width * (width + 1) // 2
    row, col = np.empty(n, np.int64), np.empty(n, np.int64)
    k = 0
    for r in range(len(indptr) - 1):
        for a in range(indptr[r], indptr[r + 1]):
            for b in range(indptr[r], a + 1):
                row[k], col[k] = max(place[a], place[b]), min(place[a], place[b])
                k += 1
    return row, col


@njit(cache=True, fastmath=FAST)
def add_squares(indptr, pairs, numbers, weight, factor):  # type: ignore[no-untyped-def]
    """Add the lower triangle of A'W A to the numbers of the factor."""
    k = 0
    for r in range(len(indptr) - 1):
        for a in range(indptr[r], indptr[r + 1]):
            for b in range(indptr[r], a + 1):
                factor[pairs[k]] += weight[r] * numbers[a] * numbers[b]
                k += 1


@njit(cache=True, fastmath=FAST)
def carried(indptr, pairs, numbers, inverse):  # type: ignore[no-untyped-def]
    """Numbers of A S on the pattern of A, slot by slot, from the selected inverse S."""
    out = np.zeros(len(numbers))
    k = 0
    for r in range(len(indptr) - 1):
        for a in range(indptr[r], indptr[r + 1]):
            for b in range(indptr[r], a + 1):
                out[a] += inverse[pairs[k]] * numbers[b]
                if a != b:
                    out[b] += inverse[pairs[k]] * numbers[a]
                k += 1
    return out
