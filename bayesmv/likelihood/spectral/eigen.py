r"""d(λ) and S(λ) of a dense relationship, such as of markers: sums over eigenvalues, found once.

With M = I - X(X'X)⁻¹X' and ``Z'MZ u_i = μ_i K⁻¹ u_i``, u_i'K⁻¹u_i = 1, the nonzero eigenvalues of MHM, H = ZKZ', are
the nonzero μ_i, with eigenvectors MZu_i/√μ_i. For w_i = u_i'Z'MY/√μ_i

.. math:: d = \log|X'X| + \sum_i \log(1 + λμ_i), \quad S = Y'MY - \sum_i w_i w_i' + \sum_i \frac{w_i w_i'}{1 + λμ_i}

Source: Kang et al. (2008), Genetics 178:1709-1723.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.likelihood.spectral.univariate import conditioned_fixed, rank_of
from bayesmv.numerics import chebyshev
from bayesmv.numerics.chebyshev import Scale
from bayesmv.numerics.symmetric import packed_rows

#: Share of nonzeros in K⁻¹, and levels, from which one eigendecomposition is quicker than a factorisation a node.
_DENSE, _LEVELS = 0.1, 500


class Projected(NamedTuple):
    """Responses in the eigenvectors w (r, t), and the squares and products that are left (t, t)."""

    w: Array
    within: Array


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Eigenvalues and eigenvectors of MHM.

    Parameters
    ----------
    X, Z
        Conditioned fixed-effect design (n, p), and incidence (n, q).
    eigenvalues, vectors
        Nonzero eigenvalues μ (r,), and u_i/√μ_i (q, r), which serve other traits too.
    log_X
        What conditioning of X took from log|X'V⁻¹X|.
    """

    X: sparse.csr_array
    Z: sparse.csr_array
    eigenvalues: Array
    vectors: Array
    log_X: float

    def workspace(self) -> None:
        """Return None: nothing is written to."""

    def prepare(self, Y: Array) -> Projected:
        """Responses (n, t) as :meth:`functions` needs them."""
        E = self._residuals(Y)
        w = self.vectors.T @ (self.Z.T @ E)
        rest = E - self._residuals(self.Z @ (self.vectors @ w))
        return Projected(w, rest.T @ rest)

    def functions(self, ratio: float, projected: Projected, work: None) -> Array:
        """d(λ) and the packed lower triangle of S(λ), (1 + t(t+1)/2,)."""
        growth = 1.0 + ratio * self.eigenvalues
        S = projected.within + projected.w.T @ (projected.w / growth[:, None])
        return np.append(np.log(growth).sum() + self._log_gram, S[packed_rows(len(S))])

    def rank(self) -> int:
        """Rank of H outside the column space of X."""
        return len(self.eigenvalues)

    def scale(self, work: None) -> Scale:
        """Map of λ for the eigenvalues."""
        return chebyshev.scale_for(float(self.eigenvalues.min()), float(self.eigenvalues.max()))

    @property
    def _log_gram(self) -> float:
        return float(np.linalg.slogdet((self.X.T @ self.X).toarray())[1])

    def _residuals(self, Y: Array) -> Array:
        return np.asarray(Y - self.X @ np.linalg.solve((self.X.T @ self.X).toarray(), self.X.T @ Y))


def is_dense(design: Design) -> bool:
    """Whether the relationship of the only term has many levels and few zeros in its inverse."""
    q, relationship = len(design.terms[0].levels), design.terms[0].relationship
    return relationship is not None and q > _LEVELS and bool(relationship.precision.nnz > _DENSE * q**2)


def spectrum(design: Design) -> Spectrum:
    """Find the eigenvalues of a design: time q³, memory a few (q, q) matrices for the while, one for good."""
    X, log_X = conditioned_fixed(design)
    Z = design.terms[0].incidences[0]
    inside = linalg.solve_triangular(np.linalg.cholesky((X.T @ X).toarray()), (X.T @ Z).toarray(), lower=True)
    A = -(inside.T @ inside)
    A += (Z.T @ Z).toarray()
    values, vectors = linalg.eigh(A, design.terms[0].precision.toarray(), overwrite_a=True, overwrite_b=True)
    kept = slice(len(values) - rank_of(X, Z), None)  # the rank does not depend on K; the least of them may be tiny
    return Spectrum(X=X, Z=Z, eigenvalues=values[kept], vectors=vectors[:, kept] / np.sqrt(values[kept]), log_X=log_X)
