"""Symmetric matrices: packed triangles, factors, correlations, the largest eigenvalue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import eigvalsh_tridiagonal
from scipy.sparse.linalg import SuperLU, splu

from bayesmv.arrays import Array


@lru_cache(maxsize=256)
def packed_rows(m: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the packed lower triangle of an (m, m) matrix, row by row; they cannot be written to."""
    rows, cols = np.tril_indices(m)
    rows.flags.writeable = cols.flags.writeable = False
    return rows, cols


def psd_cholesky(sigma: Array) -> Array:
    """Lower L with LL' = Σ for a positive semi-definite Σ (m, m); columns of null pivots are 0.

    Raises
    ------
    ValueError
        If Σ has an eigenvalue that is negative beyond rounding.
    """
    m = sigma.shape[0]
    L = np.zeros_like(sigma)
    rest = np.array(sigma, dtype=float)
    tolerance = 1e-12 * max(float(np.max(np.diag(sigma), initial=0.0)), 1e-300)
    for j in range(m):
        if rest[j, j] > tolerance:
            L[j:, j] = rest[j:, j] / np.sqrt(rest[j, j])
            rest[j:, j:] -= np.outer(L[j:, j], L[j:, j])
    if np.max(np.abs(L @ L.T - sigma), initial=0.0) > 1e-6 * max(float(np.max(np.diag(sigma), initial=0.0)), 1e-300):
        raise ValueError("not a positive semi-definite covariance matrix")
    return L


def correlation(sigma: Array) -> Array:
    """Correlation matrix of (…, m, m) covariances; NaN where a variance is 0 or, by a step of differences, below."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(np.diagonal(sigma, axis1=-2, axis2=-1))
        out = np.asarray(sigma / (sd[..., :, None] * sd[..., None, :]))
    # That of an effect with itself is 1, not 1 up to rounding.
    place = np.arange(sigma.shape[-1])
    out[..., place, place] = np.where(np.isfinite(out[..., place, place]), 1.0, np.nan)
    return out


def block_diagonal(blocks: Sequence[Array]) -> Array:
    """Block-diagonal matrix of possibly rectangular blocks."""
    out = np.zeros((sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)))
    i = j = 0
    for b in blocks:
        out[i : i + b.shape[0], j : j + b.shape[1]] = b
        i, j = i + b.shape[0], j + b.shape[1]
    return out


def unit_components(m: int) -> list[Array]:
    """dΣ/dσ of every component of a symmetric (m, m) matrix, in the order of its packed lower triangle."""
    out = []
    for i, j in zip(*packed_rows(m), strict=True):
        E = np.zeros((m, m))
        E[i, j] = E[j, i] = 1.0
        out.append(E)
    return out


def vech(sigmas: Sequence[Array]) -> Array:
    """Stack the lower triangles (by rows) of symmetric matrices."""
    return np.concatenate([S[packed_rows(S.shape[0])] for S in sigmas])


def symmetric_part(G: Array) -> Array:
    """Symmetric part of a square matrix."""
    return np.asarray(0.5 * (G + G.T))


def largest_eigenvalue(apply: Callable[[Array], Array], start: Array, steps: int = 12) -> float:
    """Largest eigenvalue of a symmetric map, from below, by Lanczos' method."""
    v, previous, beta = start / np.linalg.norm(start), np.zeros_like(start), 0.0
    diagonal, beside = [], []
    for _ in range(min(steps, len(start))):
        w = apply(v) - beta * previous
        alpha = float(v @ w)
        w -= alpha * v
        beta = float(np.linalg.norm(w))
        diagonal.append(alpha)
        beside.append(beta)
        if beta <= 1e-8 * max(diagonal):
            break
        previous, v = v, w / beta
    return float(eigvalsh_tridiagonal(diagonal, beside[:-1])[-1])


def symmetric_lu(A: sparse.sparray | sparse.spmatrix) -> SuperLU:
    """LU factors of a sparse positive definite matrix, as sparse as Cholesky's: pivots stay on the diagonal.

    Raises
    ------
    RuntimeError
        If A is exactly singular.
    """
    options = {"SymmetricMode": True}
    return splu(sparse.csc_matrix(A), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
