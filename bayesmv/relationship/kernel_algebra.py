"""Algebra of relationship matrices: read and checked with their labels, blended, inverted, and columns of inverses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.linalg import eigvalsh, lapack
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU

from bayesmv.arrays import Array, IntArray
from bayesmv.errors import DataError, listing
from bayesmv.numerics.symmetric import symmetric_lu
from bayesmv.relationship.labels import DENSE_LIMIT, Labels, Notes, as_text, find_labels, plain_labels

type Matrix = Array | sparse.csc_array
type Given = pd.DataFrame | npt.ArrayLike | sparse.sparray | sparse.spmatrix

ASYMMETRY = 1e-8  # of the largest entry
SINGULAR_KERNEL = 1e-8  # smallest eigenvalue of a covariance, of the largest
LIFTED = 1e-7  # the same of one that was lifted
SINGLE = 1e-6  # eigenvalues below zero, of the largest, that single precision may leave
IMPROPER = 1e-12  # the same of a precision, which no engine inverts
ROUNDING = 1e-13  # entries of an inverse, of √(p_ii p_jj), that stand for zero
_DIGITS, _ENDINGS = range(3, 9), 8  # decimals that files are rounded to, and last digits that rounded numbers have
CHUNK = 2**23  # numbers held at once while columns of K are looked through
BLEND = (
    "blend it (blend=0.01 for 1 % of the identity, or of another kernel: blend_with=A), "
    "or give levels that are identical, such as clones, one label"
)
PROPER = "a precision that is improper has no covariance: add a small number to its diagonal, or fix some levels"


def numbers(matrix: Any) -> Matrix:
    """Matrix as float64, dense or csc."""
    entries: Any = matrix
    try:
        if sparse.issparse(matrix):
            return sparse.csc_array(entries, dtype=np.float64)
        return np.array(entries, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the matrix is not numeric ({error}); give numbers only, labels apart") from None


def symmetrised(K: Matrix, ids: Labels) -> Matrix:
    """(K + K')/2, if K (q, q) is finite and symmetric but for rounding."""
    entries = K.data if isinstance(K, sparse.csc_array) else K
    if not np.isfinite(entries).all():
        rows = sparse.coo_array(~np.isfinite(K)).row if isinstance(K, np.ndarray) else K.indices[~np.isfinite(entries)]
        raise DataError(
            f"the matrix has missing or infinite entries in rows {listing(ids[np.unique(rows)])}; fill them"
        )
    gap: Any = abs(K - K.T)
    i, j = map(int, np.unravel_index(int(gap.argmax()), K.shape))
    if gap[i, j] > ASYMMETRY * np.abs(entries).max(initial=0.0):
        raise DataError(
            f"the matrix is not symmetric: {K[i, j]:g} for {ids[i]!r}, {ids[j]!r} and {K[j, i]:g} for {ids[j]!r}, "
            f"{ids[i]!r}; give both triangles, in one order of labels"
        )
    return 0.5 * (K + K.T)


def has_own_labels(frame: pd.DataFrame) -> bool:
    """Whether rows and columns have the same labels, those of a matrix among levels."""
    return frame.shape[0] == frame.shape[1] and set(map(as_text, frame.index)) == set(map(as_text, frame.columns))


def labelled(matrix: Given, labels: Iterable[object] | None) -> tuple[Matrix, Labels]:
    """Numbers of a symmetric matrix (q, q), and the labels of its rows and columns."""
    if isinstance(matrix, pd.DataFrame):
        if labels is not None:
            raise DataError("labels are given twice: a DataFrame has its own; leave out labels=")
        values, ids = _aligned(matrix)
    elif labels is None:
        raise DataError("the matrix has no labels; give labels=[...] in the order of its rows, or a DataFrame")
    else:
        ids = plain_labels(labels)
        values = numbers(matrix)
    if values.shape != (len(ids), len(ids)):
        raise DataError(f"the matrix has shape {values.shape} and {len(ids)} labels; give one for each row and column")
    return symmetrised(values, ids), ids


def _aligned(frame: pd.DataFrame) -> tuple[Matrix, Labels]:
    """Columns in the order of the rows."""
    rows, columns = plain_labels(frame.index), plain_labels(frame.columns)
    place = find_labels(columns, rows)
    only = rows[place < 0], columns[np.isin(np.arange(len(columns)), place, invert=True)]
    if any(map(len, only)):
        raise DataError(
            f"rows and columns have different labels: {listing(only[0]) or 'none'} in rows only, "
            f"{listing(only[1]) or 'none'} in columns only; label both alike (read_csv needs index_col=0)"
        )
    return numbers(frame.iloc[:, place]), rows


def asymmetric_pair(P: sparse.csc_array) -> tuple[int, int] | None:
    """Entry of P that differs from its mirror, or is stored where that is not: orderings read both triangles."""
    gap: Any = abs(P - P.T) > ASYMMETRY * abs(P).max()
    stored = sparse.csc_array((np.ones(P.nnz), P.indices, P.indptr), shape=P.shape)
    mirror: Any = stored.T
    wrong = sparse.coo_array(gap + (stored != mirror))
    return (int(wrong.row[0]), int(wrong.col[0])) if wrong.nnz else None


def dense(K: Matrix) -> Array:
    """K as an array."""
    return K.toarray() if isinstance(K, sparse.csc_array) else K


def mix(K: Matrix, share: float, B: Array | None) -> tuple[Matrix, Notes]:
    """(1 - share) K + share B, the identity if B is None, and a note."""
    if not 0.0 <= share < 1.0:
        raise DataError(f"blend={share!r} is not a share; give 0 <= blend < 1, such as 0.01")
    if share == 0.0:
        return K, ()
    note = f"blended with {share:g} of {'the identity' if B is None else 'another kernel'}"
    if B is None and isinstance(K, sparse.csc_array):
        return sparse.csc_array((1.0 - share) * K + share * sparse.eye_array(K.shape[0])), (note,)
    return (1.0 - share) * dense(K) + share * (np.eye(K.shape[0]) if B is None else B), (note,)


def invert(K: Array, ids: Labels, *, limit: float = SINGULAR_KERNEL, remedy: str = BLEND) -> tuple[Array, float]:
    """K⁻¹ (q, q) and log|K| by Cholesky; DataError unless the smallest eigenvalue is above `limit` of the largest."""
    L, failed = lapack.dpotrf(K, lower=1, clean=1)
    norm = float(np.abs(K).sum(axis=0).max())
    if failed or lapack.dpocon(L, norm, uplo="L")[0] < limit:  # a bound on the ratio of eigenvalues
        _check_eigenvalues(K, ids, limit, remedy)
    P = lapack.dpotri(L, lower=1)[0]
    return np.tril(P) + np.tril(P, -1).T, 2.0 * float(np.log(L.diagonal()).sum())


def _check_eigenvalues(K: Array, ids: Labels, limit: float, remedy: str) -> None:
    values = eigvalsh(K)
    low, high = float(values[0]), float(values[-1])
    if low < -limit * abs(high):
        raise DataError(
            f"the matrix is not positive definite: {(values < 0).sum()} of {len(values)} eigenvalues are negative, "
            f"down to {low:.3g} beside {high:.3g}; check how it was made (pair by pair, rounded, "
            f"wrong signs); {remedy}"
        )
    if low <= limit * high:
        raise DataError(
            f"the matrix is near-singular: its smallest eigenvalue is {low:.2g}, the largest {high:.3g}, "
            f"and a ratio of {limit:g} is needed{_identical(K, ids)}; {remedy}"
        )


def _identical(K: Array, ids: Labels) -> str:
    """Names of the pairs that do not differ: k_ii + k_jj - 2 k_ij of nothing."""
    d = K.diagonal()
    alike = np.abs(d[:, None] + d - 2.0 * K) <= SINGULAR_KERNEL * np.maximum(d[:, None], d)
    rows, columns = np.nonzero(np.tril(alike, -1))
    pairs = [f"{ids[j]} = {ids[i]}" for i, j in zip(rows.tolist(), columns.tolist(), strict=True)]
    return f"; identical levels: {listing(pairs)}" if pairs else ""


def _trimmed(P: Array) -> sparse.csc_array:
    """P without the entries that rounding left where an exact inverse has none."""
    scale = np.sqrt(P.diagonal())
    return sparse.csc_array(np.where(np.abs(P) > ROUNDING * np.multiply.outer(scale, scale), P, 0.0))


def definite(K: Array, ids: Labels, remedy: str = BLEND) -> tuple[Array, Notes]:
    """K (q, q) lifted to be positive definite, by as little as that takes, and a note; K itself where it is.

    A smallest eigenvalue near or below 0 is that of a matrix without full rank (G of estimated allele frequencies,
    clones), or is left by rounding: of single precision, or of the digits that a file has. Then so much is added to the
    diagonal that it is `LIFTED` of the largest; the condition number and with it all likelihoods stay accurate to 1e-9.

    Raises
    ------
    DataError
        If the smallest eigenvalue is below zero by more than rounding can do.
    """
    L, failed = lapack.dpotrf(K, lower=1, clean=1)
    if not failed and lapack.dpocon(L, float(np.abs(K).sum(axis=0).max()), uplo="L")[0] >= SINGULAR_KERNEL:
        return K, ()
    values = eigvalsh(K)
    low, high = float(values[0]), float(values[-1])
    if low > SINGULAR_KERNEL * high:
        return K, ()
    if not low >= -max(_rounding(K), SINGLE * high):
        raise DataError(
            f"the matrix is not positive definite: {(values < 0).sum()} of {len(values)} eigenvalues are negative, "
            f"down to {low:.3g} beside {high:.3g}, which is more than rounding; check how it was made (pair by pair, "
            f"wrong signs); {remedy}"
        )
    added = LIFTED * high - low
    note = (
        f"{added:.2g} was added to the diagonal, which makes it positive definite: its smallest eigenvalue was "
        f"{low:.2g}, the largest is {high:.3g}{_identical(K, ids)}"
    )
    return K + added * np.eye(len(K)), (note,)


def _rounding(K: Array) -> float:
    """Largest eigenvalue that rounding to the digits that the entries have may leave; 0 for those of all digits.

    Fractions that are exact, such as the eighths of pedigrees, end in few of the ten digits; rounded numbers in all.
    """
    for digits in _DIGITS:
        shifted = K * 10.0**digits
        whole = np.rint(shifted)
        if np.abs(shifted - whole).max() < 1e-4:
            endings = np.unique(np.abs(whole) % 10.0)
            # Of a symmetric matrix of independent errors, each at most half a unit of the last digit.
            return float(10.0**-digits * np.sqrt(len(K))) if len(endings) >= _ENDINGS else 0.0
    return 0.0


def inverse_of(K: Matrix, ids: Labels) -> tuple[Matrix, sparse.csc_array, float, Notes]:
    """K as far as it had to be lifted, K⁻¹, log|K| and notes, one block of related levels after the other if sparse."""
    if isinstance(K, np.ndarray):
        whole, told = definite(K, ids)
        P, log_determinant = invert(whole, ids)
        return whole, _trimmed(P), log_determinant, told
    count, block_of = connected_components(K, directed=False)
    order = np.argsort(block_of, kind="stable")
    ends = np.cumsum(np.bincount(block_of, minlength=count))
    largest = int(np.diff(ends, prepend=0).max())
    if largest > DENSE_LIMIT:
        raise DataError(
            f"{largest} levels of a sparse matrix are linked with each other, and no more than {DENSE_LIMIT} "
            "are inverted; give the sparse inverse instead: Relationship.from_precision"
        )
    sorted_K, diagonal = K[order][:, order], np.asarray(K.diagonal())[order]
    sizes = np.diff(ends, prepend=0)
    # Most levels are alone where few are related.
    alone = np.repeat(sizes == 1, sizes) & (diagonal > 0.0)
    places = [np.flatnonzero(alone)]
    blocks, inverses, log_determinant = [diagonal[alone]], [1.0 / diagonal[alone]], float(np.log(diagonal[alone]).sum())
    said: list[str] = []
    for first, last in pairwise([0, *ends.tolist()]):
        if alone[first]:
            continue
        block, notes = definite(sorted_K[first:last, first:last].toarray(), ids[order[first:last]])
        P, log_block = invert(block, ids[order[first:last]])
        said += [f"among {last - first} levels from {ids[order[first]]!r} on, {note}" for note in notes]
        places.append(np.arange(first, last))
        blocks.append(block)
        inverses.append(_trimmed(P).toarray())
        log_determinant += log_block
    back = np.argsort(order)
    lifted, precision = (_assembled(parts, places, len(ids))[back][:, back] for parts in (blocks, inverses))
    more = [f"and so of {len(said) - 5} more blocks"] if len(said) > 5 else []
    return sparse.csc_array(lifted), sparse.csc_array(precision), log_determinant, (*said[:5], *more)


def _assembled(blocks: list[Array], places: list[IntArray], q: int) -> sparse.csc_array:
    """Matrix (q, q) of dense blocks, and of levels that are alone, by their places."""
    rows, columns, data = [], [], []
    for block, place in zip(blocks, places, strict=True):
        i, j = np.nonzero(block) if block.ndim == 2 else (np.arange(len(block)),) * 2
        rows.append(place[i])
        columns.append(place[j])
        data.append(block[i, j] if block.ndim == 2 else block)
    at = np.concatenate(rows), np.concatenate(columns)
    return sparse.csc_array((np.concatenate(data), at), shape=(q, q))


def inverse_diagonal(P: Matrix, ids: Labels) -> tuple[float, Array]:
    """log|P| and the diagonal (q,) of P⁻¹, by blocks of columns if P is large."""
    if len(ids) <= DENSE_LIMIT:
        K, log_determinant = invert(dense(P), ids, limit=IMPROPER, remedy=PROPER)
        return log_determinant, K.diagonal().copy()
    factor = _factorise(sparse.csc_array(P))
    columns = np.arange(len(ids))
    diagonal = np.concatenate([K[block, np.arange(block.size)] for block, K in _columns(factor, columns)])
    return float(np.log(factor.U.diagonal()).sum()), diagonal


def inverse_block(P: sparse.csc_array, place: IntArray) -> Array:
    """K[place, place] (m, m) of K = P⁻¹."""
    if P.shape[0] <= DENSE_LIMIT:
        return invert(P.toarray(), pd.RangeIndex(P.shape[0]), limit=0.0)[0][np.ix_(place, place)]
    K = np.hstack([columns[place] for _, columns in _columns(_factorise(P), place)])
    return 0.5 * (K + K.T)


def _factorise(P: sparse.csc_array) -> SuperLU:
    try:
        factor = symmetric_lu(P)
    except RuntimeError:
        raise DataError(f"the precision is singular; {PROPER}") from None
    pivots = factor.U.diagonal()
    if (factor.perm_r != factor.perm_c).any() or (pivots <= IMPROPER * pivots.max()).any():
        raise DataError(f"the precision is not positive definite: its smallest pivot is {pivots.min():.3g}; {PROPER}")
    return factor


def _columns(factor: SuperLU, place: IntArray) -> Iterator[tuple[IntArray, Array]]:
    """Columns of P⁻¹, some (q, b) at a time."""
    q = factor.shape[0]
    width = max(1, CHUNK // q)
    for first in range(0, place.size, width):
        block = place[first : first + width]
        units = np.zeros((q, block.size))
        units[block, np.arange(block.size)] = 1.0
        yield block, factor.solve(units)
