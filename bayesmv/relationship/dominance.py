"""Dominance relationships of any number of animals, through the families of full sibs that they are of.

The dominance effect of an animal is that of its family, the pair of its parents, and what is its own:

    d_i = f_sd + δ_i,    Var(f_sd) = F_sd,sd,    Var(δ_i) = 1 - F_sd,sd
    Cov(f_sd, f_s'd') = (a_ss' a_dd' + a_sd' a_ds') / 4

so that D = W F W' + diag(Var δ), W the families of the animals. Few pairs of families are related by both parents: F is
sparse, and smaller than D. With the families as further levels beside the animals, which need no records, the precision
is as sparse as F⁻¹.

Source: Hoeschele & VanRaden (1991), J. Dairy Sci. 74:557-569.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from bayesmv.arrays import Array, IntArray
from bayesmv.errors import DataError
from bayesmv.numerics.progress import watched
from bayesmv.relationship import kernel_algebra
from bayesmv.relationship import pedigree_kernels as kernels
from bayesmv.relationship.labels import DENSE_LIMIT, Labels, Notes, as_text
from bayesmv.relationship.pedigree import Pedigree

#: Numbers of a block of columns of A, and families of a block of rows of F, that are held at once.
_NUMBERS, _ROWS = 2**24, 500
#: Most non-zeros of A among the parents, and of F.
_MOST = 50_000_000
#: Relationships that rounding leaves.
_ZERO = 1e-12
#: Least variance of what is an animal's own, where its parents are so inbred that full sibs do not differ.
_OWN = 1e-7


class Families(NamedTuple):
    """Families of full sibs.

    Parameters
    ----------
    of
        Family of every animal, -1 where a parent is unknown, (n,).
    parents
        The two parents of every family, positions of animals, (families, 2).
    F
        Dominance covariance among families, (families, families).
    dropped
        Covariances that were left out, and the largest of them.
    """

    of: IntArray
    parents: IntArray
    F: sparse.csc_array
    dropped: tuple[int, float]


def dominance_families(pedigree: Pedigree, cutoff: float = 0.0, progress: bool = False) -> Families:
    """Families of a pedigree and their dominance covariances, without those below `cutoff`.

    Raises
    ------
    DataError
        If more are left than can be held.
    """
    pedigree.require_diploid("dominance relationships")
    pairs = np.sort(np.column_stack([pedigree.sire, pedigree.dam]), axis=1)
    known = pairs[:, 0] >= 0
    families, place = np.unique(pairs[known], axis=0, return_inverse=True)
    of = np.full(len(pedigree), -1, dtype=np.int64)
    of[known] = place.reshape(-1)
    members, where = np.unique(families, return_inverse=True)
    A = _among_parents(pedigree, members.astype(np.int64), cutoff, progress)
    s, d = where.reshape(-1, 2).T
    blocks, left_out, largest, total = [], 0, 0.0, 0
    rows = range(0, len(families), _ROWS)
    for first in watched(rows, "Dominance of families", len(rows), progress):
        b = slice(first, first + _ROWS)
        near = A[s[b]], A[d[b]]
        straight = near[0][:, s].multiply(near[1][:, d])
        crossed = near[0][:, d].multiply(near[1][:, s])
        block = sparse.coo_array(0.25 * (straight + crossed))
        small = (np.abs(block.data) <= max(cutoff, _ZERO)) & (block.row + first != block.col)
        if cutoff > 0.0 and small.any():
            left_out += int(small.sum())
            largest = max(largest, float(np.abs(block.data[small]).max()))
        kept = ~small
        total += int(kept.sum())
        if total > _MOST:
            raise _too_many("families", len(families), cutoff)
        blocks.append((block.data[kept], block.row[kept] + first, block.col[kept]))
    data, row, column = (np.concatenate(part) for part in zip(*blocks, strict=True))
    F = sparse.csc_array((data, (row, column)), shape=(len(families), len(families)))
    return Families(of, families.astype(np.int64), F, (left_out // 2, largest))


def _among_parents(pedigree: Pedigree, members: IntArray, cutoff: float, progress: bool) -> sparse.csr_array:
    """A among some animals, (m, m), without entries that no covariance above `cutoff` can come from."""
    marked = kernels.ancestry(pedigree.sire, pedigree.dam, members, cut=False)
    there, place = np.flatnonzero(marked), kernels.new_positions(marked)
    sire, dam, rows = place[pedigree.sire[there]], place[pedigree.dam[there]], place[members]
    d, width, total = pedigree.mendelian_variance[there], max(1, _NUMBERS // max(there.size, 1)), 0
    blocks = []
    starts = range(0, rows.size, width)
    # A covariance is at most the mean of two products with a_ii <= 2 in each.
    least = max(cutoff, _ZERO)
    for first in watched(starts, "Relationships of parents", len(starts), progress):
        block = rows[first : first + width]
        V = np.zeros((there.size, block.size))
        V[block, np.arange(block.size)] = 1.0
        columns = kernels.relationship_times(sire, dam, d, V)[rows].T
        blocks.append(sparse.csr_array(np.where(columns > least, columns, 0.0)))
        total += blocks[-1].nnz
        if total > _MOST:
            raise _too_many("parents", len(members), cutoff)
    return sparse.csr_array(sparse.vstack(blocks))


def _too_many(what: str, count: int, cutoff: float) -> DataError:
    return DataError(
        f"more than {_MOST:,} pairs of the {count} {what} are related: leave covariances out that are small, as in "
        f"cutoff={max(0.01, 2 * cutoff):g}, or name the animals that matter in ids"
    )


class Joint(NamedTuple):
    """Precision of the effects of animals and families: labels, K⁻¹, log|K|, K_ii and notes."""

    ids: Labels
    precision: sparse.csc_array
    log_determinant: float
    diagonal: Array
    notes: Notes


def joint_precision(pedigree: Pedigree, families: Families) -> Joint:
    """Precision of animals and their families, which are labelled ``sire x dam``.

    Raises
    ------
    DataError
        If too many families are linked with each other for their covariance to be inverted.
    """
    count, block_of = connected_components(families.F, directed=False)
    largest = int(np.bincount(block_of, minlength=max(count, 1)).max(initial=0))
    if largest > DENSE_LIMIT:
        raise DataError(
            f"{largest} families are linked with each other by dominance, and no more than {DENSE_LIMIT} are inverted; "
            f"leave small covariances out, as in cutoff=0.01, which unlinks them"
        )
    n, of = len(pedigree), families.of
    animals = pd.Index([as_text(label) for label in pedigree.ids])
    names = pd.Index([f"{animals[s]} x {animals[d]}" for s, d in families.parents], dtype=object)
    F, inverse, log_F, lifted = kernel_algebra.inverse_of(families.F, names)
    whole = np.asarray(F.diagonal())
    own = np.where(of >= 0, 1.0 - np.append(whole, 0.0)[of], 1.0)
    fixed = own < _OWN
    own = np.maximum(own, _OWN)
    W = sparse.csr_array((np.ones((of >= 0).sum()), (np.flatnonzero(of >= 0), of[of >= 0])), shape=(n, len(names)))
    scaled = sparse.csr_array(sparse.diags_array(1.0 / own) @ W)
    precision = sparse.block_array(
        [[sparse.diags_array(1.0 / own), -scaled], [-scaled.T, inverse + sparse.csc_array(W.T @ scaled)]], format="csc"
    )
    notes = [
        f"levels are {n} animals and the {len(names)} families of full sibs that they are of",
        *lifted,
    ]
    left_out, most = families.dropped
    if left_out:
        notes.append(f"{left_out} covariances of families up to {most:.3g} left out")
    if fixed.any():
        notes.append(f"{fixed.sum()} animals of parents so inbred that full sibs do not differ in dominance")
    return Joint(
        ids=animals.append(names),
        precision=sparse.csc_array(precision),
        log_determinant=log_F + float(np.log(own).sum()),
        diagonal=np.concatenate([np.where(of >= 0, own + np.append(whole, 0.0)[of], 1.0), whole]),
        notes=tuple(notes),
    )
