"""Genomic relationships from markers, and the algebra of kernels: checks, inverses, blends, single step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.linalg import eigvalsh, lapack
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu

from bayesmv.errors import DataError, listing
from bayesmv.relationship.pedigree import DENSE_LIMIT, Labels, Notes, Pedigree
from bayesmv.relationship.pedigree_kernels import BoolArray, FloatArray, IntArray

type Frequencies = Mapping[str, float] | pd.Series[float]
type Matrix = FloatArray | sparse.csc_array

ASYMMETRY = 1e-8  # of the largest entry
SINGULAR = 1e-8  # smallest eigenvalue of a covariance, of the largest
IMPROPER = 1e-12  # the same of a precision, which no engine inverts
ROUNDING = 1e-13  # entries of an inverse, of √(p_ii p_jj), that stand for zero
CHUNK = 2**23  # numbers held at once while columns of K are looked through
BLEND = (
    "blend it (blend=0.01 for 1 % of the identity, or of another kernel: blend_with=A), "
    "or give levels that are identical, such as clones, one label"
)
PROPER = "a precision that is improper has no covariance: add a small number to its diagonal, or fix some levels"


def genomic_relationship(
    genotypes: pd.DataFrame, *, method: Literal[1, 2] = 1, frequencies: Frequencies | None = None
) -> pd.DataFrame:
    """Genomic relationships G (n, n) among genotyped individuals.

    With M (n, m) the counts of one allele, p (m,) its frequencies and Z = M - 2p, method 1 is
    G = ZZ' / Σ 2p(1 - p), in which markers weigh by their variance; method 2 is
    G = Z diag(1 / (m 2p(1 - p))) Z', in which all weigh the same. With estimated frequencies the
    columns of Z sum to zero, so that G is singular: it is blended before it is inverted.

    Parameters
    ----------
    genotypes
        Counts 0, 1, 2 (or expected counts between), NaN where missing; a row per individual, whose id is
        the index, and a column per marker (n, m).
    method
        1 or 2.
    frequencies
        Frequency of the counted allele in the base population, by marker name; by default those of the data.

    Returns
    -------
    DataFrame
        G, labelled by individual in rows and columns. ``attrs["notes"]`` tells which markers were dropped
        (without calls, or with p of 0 or 1) and how many missing calls were replaced by their marker's mean.

    Raises
    ------
    DataError
        If ids or markers stand twice, calls are not within 0 .. 2, an individual has no call, markers have
        no frequency or one outside 0 .. 1 or at odds with the calls, no marker is left, or the method is unknown.

    References
    ----------
    VanRaden (2008), J. Dairy Sci. 91:4414.
    """
    if method not in (1, 2):
        raise DataError(f"method {method!r} is not known; use 1 (markers by variance) or 2 (equal weights)")
    called, empty = _without_empty(_read_calls(genotypes))
    counts = called.to_numpy()
    means = np.nanmean(counts, axis=0) if counts.size else np.empty(0)
    p = means / 2.0 if frequencies is None else _given(frequencies, called)
    variance = 2.0 * p * (1.0 - p)
    use = variance > 0.0
    if not use.any():
        raise DataError(f"none of the {genotypes.shape[1]} markers varies; give markers with both alleles")
    Z = np.where(np.isnan(counts), means, counts)[:, use] - 2.0 * p[use]
    G = Z @ Z.T / variance[use].sum() if method == 1 else (Z / variance[use]) @ Z.T / use.sum()
    out = pd.DataFrame(0.5 * (G + G.T), index=genotypes.index, columns=genotypes.index)
    source = "estimated" if frequencies is None else "given"
    out.attrs["notes"] = (
        f"G of {len(out)} individuals from {use.sum()} markers by method {method}, allele frequencies {source}",
        *_dropped(empty, "without calls"),
        *_dropped(called.columns[~use], "monomorphic"),
        *_imputed(np.isnan(counts[:, use])),
    )
    return out


def _read_calls(genotypes: pd.DataFrame) -> pd.DataFrame:
    """The calls as float, checked."""
    for what, labels in (("ids", genotypes.index), ("markers", genotypes.columns)):
        if labels.has_duplicates:
            raise DataError(
                f"{what} stand more than once in the genotypes: {listing(labels[labels.duplicated()].unique())}; "
                "keep one of each"
            )
    text = [name for name, kind in genotypes.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    if text:
        raise DataError(
            f"markers are not numeric: {listing(text)}; code the calls as counts 0, 1, 2 and NaN, "
            "and put the ids in the index by set_index"
        )
    values = genotypes.to_numpy(dtype=np.float64, na_value=np.nan)
    rows, columns = np.nonzero((values < 0.0) | (values > 2.0))
    if rows.size:
        where = [
            f"{values[i, j]:g} at marker {genotypes.columns[j]!r} of {genotypes.index[i]!r}"
            for i, j in zip(rows[:5], columns[:5], strict=True)
        ]
        more = f" (and {rows.size - 5} more)" if rows.size > 5 else ""
        raise DataError(f"calls are outside 0 .. 2: {', '.join(where)}{more}; write missing calls as NaN")
    bare = np.isnan(values).all(axis=1)
    if bare.any():
        raise DataError(f"{bare.sum()} individuals have no call: {listing(genotypes.index[bare])}; take them out")
    return pd.DataFrame(values, index=genotypes.index, columns=genotypes.columns)


def _without_empty(calls: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index]:
    empty = calls.isna().to_numpy().all(axis=0)
    return calls.loc[:, ~empty], calls.columns[empty]


def _given(frequencies: Frequencies, calls: pd.DataFrame) -> FloatArray:
    """The frequencies in the order of the markers (m,), checked against the calls."""
    if not isinstance(frequencies, pd.Series | Mapping):
        raise DataError("frequencies have no marker names; give a Series or a dict by marker, never by position")
    by_name = pd.Series(frequencies, dtype=np.float64)
    absent = calls.columns.difference(by_name.index[by_name.notna()], sort=False)
    if len(absent):
        raise DataError(f"{len(absent)} markers have no frequency: {listing(absent)}; give theirs, or drop them")
    p = by_name[calls.columns].to_numpy()
    mean = np.nanmean(calls.to_numpy(), axis=0)
    wrong = (p < 0.0) | (p > 1.0) | ((p == 0.0) & (mean > 0.0)) | ((p == 1.0) & (mean < 2.0))
    if wrong.any():
        raise DataError(
            f"frequencies of {wrong.sum()} markers are outside 0 .. 1, or 0 or 1 though both alleles are called: "
            f"{listing(calls.columns[wrong])}; give the frequency of the allele that is counted"
        )
    return np.asarray(p, dtype=np.float64)


def _dropped(markers: pd.Index, why: str) -> Notes:
    return (f"{len(markers)} markers {why} dropped: {listing(markers)}",) if len(markers) else ()


def _imputed(missing: BoolArray) -> Notes:
    if not missing.any():
        return ()
    share, markers = missing.mean(), missing.any(axis=0).sum()
    return (f"{missing.sum()} missing calls ({share:.2%}) of {markers} markers replaced by the marker's mean",)


# ---------------------------------------------------------------- kernels


def numbers(matrix: Any) -> Matrix:
    """The matrix as float64, dense or csc."""
    entries: Any = matrix
    try:
        if sparse.issparse(matrix):
            return sparse.csc_array(entries, dtype=np.float64)
        return np.array(entries, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the matrix is not numeric ({error}); give numbers only, labels apart") from None


def symmetric(K: Matrix, ids: Labels) -> Matrix:
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


def asymmetric_pair(P: sparse.csc_array) -> tuple[int, int] | None:
    """An entry of P that differs from its mirror, or is stored where that is not: orderings read both triangles."""
    gap: Any = abs(P - P.T) > ASYMMETRY * abs(P).max()
    stored = sparse.csc_array((np.ones(P.nnz), P.indices, P.indptr), shape=P.shape)
    mirror: Any = stored.T
    wrong = sparse.coo_array(gap + (stored != mirror))
    return (int(wrong.row[0]), int(wrong.col[0])) if wrong.nnz else None


def dense(K: Matrix) -> FloatArray:
    """K as an array."""
    return K.toarray() if isinstance(K, sparse.csc_array) else K


def mix(K: Matrix, share: float, B: FloatArray | None) -> tuple[Matrix, Notes]:
    """(1 - share) K + share B, the identity if B is None, and a note."""
    if not 0.0 <= share < 1.0:
        raise DataError(f"blend={share!r} is not a share; give 0 <= blend < 1, such as 0.01")
    if share == 0.0:
        return K, ()
    note = f"blended with {share:g} of {'the identity' if B is None else 'another kernel'}"
    if B is None and isinstance(K, sparse.csc_array):
        return sparse.csc_array((1.0 - share) * K + share * sparse.eye_array(K.shape[0])), (note,)
    return (1.0 - share) * dense(K) + share * (np.eye(K.shape[0]) if B is None else B), (note,)


def invert(K: FloatArray, ids: Labels, *, limit: float = SINGULAR, remedy: str = BLEND) -> tuple[FloatArray, float]:
    """K⁻¹ (q, q) and log|K| by Cholesky; DataError unless the smallest eigenvalue is above `limit` of the largest."""
    L, failed = lapack.dpotrf(K, lower=1, clean=1)
    norm = float(np.abs(K).sum(axis=0).max())
    if failed or lapack.dpocon(L, norm, uplo="L")[0] < limit:  # a bound on the ratio of eigenvalues
        _check_eigenvalues(K, ids, limit, remedy)
    P = lapack.dpotri(L, lower=1)[0]
    return np.tril(P) + np.tril(P, -1).T, 2.0 * float(np.log(L.diagonal()).sum())


def _check_eigenvalues(K: FloatArray, ids: Labels, limit: float, remedy: str) -> None:
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


def _identical(K: FloatArray, ids: Labels) -> str:
    """Name the pairs that do not differ: k_ii + k_jj - 2 k_ij of nothing."""
    d = K.diagonal()
    alike = np.abs(d[:, None] + d - 2.0 * K) <= SINGULAR * np.maximum(d[:, None], d)
    rows, columns = np.nonzero(np.tril(alike, -1))
    pairs = [f"{ids[j]} = {ids[i]}" for i, j in zip(rows.tolist(), columns.tolist(), strict=True)]
    return f"; identical levels: {listing(pairs)}" if pairs else ""


def _trimmed(P: FloatArray) -> sparse.csc_array:
    """P without the entries that rounding left where an exact inverse has none."""
    scale = np.sqrt(P.diagonal())
    return sparse.csc_array(np.where(np.abs(P) > ROUNDING * np.multiply.outer(scale, scale), P, 0.0))


def invert_blocks(K: Matrix, ids: Labels) -> tuple[sparse.csc_array, float]:
    """K⁻¹ and log|K|, one block of related levels after the other if K is sparse."""
    if isinstance(K, np.ndarray):
        P, log_determinant = invert(K, ids)
        return _trimmed(P), log_determinant
    count, block_of = connected_components(K, directed=False)
    order = np.argsort(block_of, kind="stable")
    ends = np.cumsum(np.bincount(block_of, minlength=count))
    largest = int(np.diff(ends, prepend=0).max())
    if largest > DENSE_LIMIT:
        raise DataError(
            f"{largest} levels of a sparse matrix are linked with each other, and no more than {DENSE_LIMIT} "
            "are inverted; give the sparse inverse instead: Relationship.from_precision"
        )
    sorted_K, inverses, log_determinant = K[order][:, order], [], 0.0
    for first, last in pairwise([0, *ends.tolist()]):
        P, log_block = invert(sorted_K[first:last, first:last].toarray(), ids[order[first:last]])
        inverses.append(_trimmed(P))
        log_determinant += log_block
    back = np.argsort(order)
    return sparse.csc_array(sparse.block_diag(inverses, format="csc")[back][:, back]), log_determinant


def inverse_diagonal(P: Matrix, ids: Labels) -> tuple[float, FloatArray]:
    """log|P| and the diagonal (q,) of P⁻¹, by blocks of columns if P is large."""
    if len(ids) <= DENSE_LIMIT:
        K, log_determinant = invert(dense(P), ids, limit=IMPROPER, remedy=PROPER)
        return log_determinant, K.diagonal().copy()
    factor = _factorise(sparse.csc_array(P))
    columns = np.arange(len(ids))
    diagonal = np.concatenate([K[block, np.arange(block.size)] for block, K in _columns(factor, columns)])
    return float(np.log(factor.U.diagonal()).sum()), diagonal


def inverse_block(P: sparse.csc_array, place: IntArray) -> FloatArray:
    """K[place, place] (m, m) of K = P⁻¹."""
    if P.shape[0] <= DENSE_LIMIT:
        return invert(P.toarray(), pd.RangeIndex(P.shape[0]), limit=0.0)[0][np.ix_(place, place)]
    K = np.hstack([columns[place] for _, columns in _columns(_factorise(P), place)])
    return 0.5 * (K + K.T)


def _factorise(P: sparse.csc_array) -> SuperLU:
    try:
        factor = splu(P, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError:
        raise DataError(f"the precision is singular; {PROPER}") from None
    pivots = factor.U.diagonal()
    if (factor.perm_r != factor.perm_c).any() or (pivots <= IMPROPER * pivots.max()).any():
        raise DataError(f"the precision is not positive definite: its smallest pivot is {pivots.min():.3g}; {PROPER}")
    return factor


def _columns(factor: SuperLU, place: IntArray) -> Iterator[tuple[IntArray, FloatArray]]:
    """Columns of P⁻¹, some (q, b) at a time."""
    q = factor.shape[0]
    width = max(1, CHUNK // q)
    for first in range(0, place.size, width):
        block = place[first : first + width]
        units = np.zeros((q, block.size))
        units[block, np.arange(block.size)] = 1.0
        yield block, factor.solve(units)


# ---------------------------------------------------------------- single step


def join(
    animals: Pedigree, place: IntArray, A22: FloatArray, G_w: FloatArray, weights: tuple[float, float]
) -> tuple[sparse.csc_array, float, FloatArray]:
    """H⁻¹ (n, n), log|H| and H_ii (n,) of a pedigree joined with G_w (m, m) at `place`; see `single_step`."""
    ids, (tau, omega) = animals.ids[place], weights
    A22_inverse, log_A22 = invert(A22, ids)
    inner = tau * invert(G_w, ids, remedy="raise blend, the share of A22")[0] + (1.0 - omega) * A22_inverse
    apart = f"τ = {tau:g} and ω = {omega:g} do not go together, take both nearer 1"
    H22, log_inner = invert(inner, ids, limit=IMPROPER, remedy=apart)
    delta, n = inner - A22_inverse, len(animals)
    rows, columns = (index.ravel() for index in np.meshgrid(place, place, indexing="ij"))
    added = sparse.csc_array((delta.ravel(), (rows, columns)), shape=(n, n))
    precision = animals.inverse() + added
    log_determinant = animals.log_determinant - log_A22 - log_inner
    change = _added_variance(animals, place, A22_inverse, A22_inverse @ (H22 - A22))
    return sparse.csc_array(0.5 * (precision + precision.T)), log_determinant, animals.relationship_diagonal + change


def _added_variance(animals: Pedigree, place: IntArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """Diagonal (n,) of A·2 left right' A2·, some columns of both (m, m) at a time."""
    total, width = np.zeros(len(animals)), max(1, CHUNK // (2 * len(animals)))
    for first in range(0, place.size, width):
        chunk = np.hstack([left[:, first : first + width], right[:, first : first + width]])
        padded = np.zeros((len(animals), chunk.shape[1]))
        padded[place] = chunk
        a, b = np.hsplit(animals.times(padded), 2)
        total += (a * b).sum(axis=1)
    return total
