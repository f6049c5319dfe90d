"""Mixed-model equations of one trait, analysed once and factored for many variance ratios λ: d(λ) and S(λ).

They serve sparse relationships; :mod:`bayesmv.likelihood.spectral.eigen` serves dense ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.numerics import chebyshev
from bayesmv.numerics.chebyshev import Scale
from bayesmv.numerics.cholesky import Workspace, factorize, solve_lower, solve_upper, workspace
from bayesmv.numerics.compiled import FAST, njit
from bayesmv.numerics.ordering import elimination_tree, minimum_degree, postorder
from bayesmv.numerics.supernodes import Supernodes, analyse, locate
from bayesmv.numerics.symmetric import largest_eigenvalue, packed_rows


class Entries(NamedTuple):
    """Numbers of the equations: where they stand in the factor (and its diagonal), the power of √λ that they take."""

    diagonal: IntArray
    position: IntArray
    power: IntArray
    value: Array


@dataclass(frozen=True, kw_only=True)
class Univariate:
    """Mixed-model equations of one trait with unit residual variance, analysed once for all λ.

    With s = √λ and u = s v: ``M(s) = [X'X, s X'Z; s Z'X, s² Z'Z + K⁻¹]``.

    Parameters
    ----------
    X, Z
        Conditioned fixed-effect design (n, p), and incidence (n, q), at most one number in a row.
    precision, log_K, log_X
        K⁻¹ (q, q), log|K|, and what conditioning of X took from log|X'V⁻¹X|.
    place, entries, symbolic
        Permuted position of each unknown (p + q,), assembly and symbolic factor.
    """

    X: sparse.csr_array
    Z: sparse.csr_array
    precision: sparse.csr_array
    log_K: float
    log_X: float
    place: IntArray
    entries: Entries
    symbolic: Supernodes

    def workspace(self) -> Workspace:
        """Allocate what :meth:`functions` and :meth:`scale` write to: one for each thread."""
        return workspace(self.symbolic)

    def prepare(self, Y: Array) -> Array:
        """Responses (n, t) as :meth:`functions` needs them."""
        return Y

    def functions(self, ratio: float, Y: Array, work: Workspace) -> Array:
        """d(λ) and the packed lower triangle of S(λ), (1 + t(t+1)/2,), for Y (n, t).

        ``S = E'E + V'K⁻¹V`` from residuals E and effects V: a sum of squares, least at the solution, so that neither
        cancellation nor, to first order, errors in the solution reach it.
        """
        root = np.sqrt(ratio)
        ok = _factor(self.symbolic, work, self.entries, root)
        log_C = 2.0 * np.log(work.factor[self.entries.diagonal]).sum() if ok else np.nan  # summed in pairs
        b, V = self.solve(self.X.T @ Y, root * (self.Z.T @ Y), work)
        E = Y - self.X @ b - root * (self.Z @ V)
        S = E.T @ E + V.T @ (self.precision @ V)
        return np.append(log_C + self.log_K, S[packed_rows(len(S))])

    def solve(self, fixed: Array, random: Array, work: Workspace) -> tuple[Array, Array]:
        """Solve the factored equations for right-hand sides (p, k) and (q, k)."""
        rhs = np.empty((len(self.place), fixed.shape[1]))
        rhs[self.place] = np.concatenate([fixed, random])
        solve_lower(self.symbolic, work.factor, rhs)
        solve_upper(self.symbolic, work.factor, rhs)
        solution = rhs[self.place]
        return solution[: len(fixed)], solution[len(fixed) :]

    def rank(self) -> int:
        """Rank of H outside the column space of X."""
        return rank_of(self.X, self.Z)

    def scale(self, work: Workspace) -> Scale:
        """Map of λ for the nonzero eigenvalues of H: above K⁻¹'s of levels with records, below Lanczos' largest."""
        counts = _counts(self.Z)
        seen = counts > 0
        inner, root = self.precision[seen][:, seen], 1.0 / np.sqrt(counts[seen])
        least = 1.0 / largest_eigenvalue(lambda v: root * (inner @ (root * v)), np.ones(len(root)))
        _factor(self.symbolic, work, self.entries, 0.0)
        p, q = self.X.shape[1], self.Z.shape[1]

        def project(v: Array) -> Array:
            return np.asarray(v - self.X @ self.solve(self.X.T @ v, np.zeros((q, 1)), work)[0])

        def apply(v: Array) -> Array:
            return project(self.Z @ self.solve(np.zeros((p, 1)), self.Z.T @ v[:, None], work)[1])[:, 0]

        start = project(np.random.default_rng(0).standard_normal((self.X.shape[0], 1)))[:, 0]
        return chebyshev.scale_for(least, max(largest_eigenvalue(apply, start), 1e-3 * least))


def _counts(Z: sparse.csr_array) -> Array:
    """Diagonal of Z'Z, (q,)."""
    return np.asarray(Z.multiply(Z).sum(axis=0)).reshape(-1)


def rank_of(X: sparse.csr_array, Z: sparse.csr_array) -> int:
    """Return rank[X Z] - rank X for X (n, p) of full rank, Z (n, q) with at most one number in a row."""
    counts, (n, p) = _counts(Z), X.shape
    seen = counts > 0
    if seen.sum() == n:
        return n - p
    cross = (Z.T @ X)[seen]
    within = (X.T @ X - cross.T @ (sparse.diags_array(1.0 / counts[seen]) @ cross)).toarray()
    return int(seen.sum() - p + (np.linalg.eigvalsh(within) > 1e-9 * n).sum())


def univariate(design: Design) -> Univariate:
    """Analyse the equations of one trait of a design."""
    X, log_X = conditioned_fixed(design)
    term = design.terms[0]
    Z, K = term.incidences[0], sparse.coo_array(term.precision)
    p, W = X.shape[1], sparse.csr_array(sparse.hstack([X, Z]))
    gram = sparse.coo_array(W.T @ W)
    rows, cols = np.hstack([[gram.row, gram.col], np.add([K.row, K.col], p)]).astype(np.int64)
    power = np.concatenate([(gram.row >= p) * 1 + (gram.col >= p), np.zeros(K.nnz, dtype=np.int64)])
    place, symbolic = _analyse(rows, cols, W.shape[1])
    diagonal = locate(symbolic, np.arange(W.shape[1]), np.arange(W.shape[1]))
    rows, cols, value = place[rows], place[cols], np.concatenate([gram.data, K.data])
    low = rows >= cols
    return Univariate(
        X=X,
        Z=Z,
        precision=term.precision,
        log_K=0.0 if term.relationship is None else term.relationship.log_determinant,
        log_X=log_X,
        place=place,
        entries=Entries(diagonal, locate(symbolic, rows[low], cols[low]), power[low], value[low]),
        symbolic=symbolic,
    )


def conditioned_fixed(design: Design) -> tuple[sparse.csr_array, float]:
    """Conditioned fixed effects of every trait, and what conditioning took from log|X'V⁻¹X| of the user's columns."""
    fitted = design.fixed.present.all(axis=1)
    W, log_W = condition(design.fixed.working[:, fitted])
    return W, log_W - 2.0 * float(design.fixed.log_mixing[fitted].sum())


def condition(X: sparse.csc_array) -> tuple[sparse.csr_array, float]:
    """XB with columns of unit mean square, dense ones (a mean, years) orthogonal to each other, and -2 log|det B|."""
    dense = np.diff(X.indptr) > 0.5 * X.shape[0]
    Q, R = np.linalg.qr(X[:, dense].toarray())
    sizes = np.append(np.abs(np.diag(R)), sparse.linalg.norm(X[:, ~dense], axis=0)) / np.sqrt(X.shape[0])
    rest = X[:, ~dense] @ sparse.diags_array(1.0 / sizes[len(R) :])
    whole = sparse.hstack([sparse.csr_array(Q * np.sqrt(X.shape[0])), rest])
    return sparse.csr_array(whole), 2.0 * float(np.log(sizes).sum())


def _analyse(rows: IntArray, cols: IntArray, order: int) -> tuple[IntArray, Supernodes]:
    """Permuted position of each unknown, fill-reducing and postordered, and the symbolic factor."""
    ones = np.ones(len(rows))
    graph = sparse.csr_array((ones, (rows, cols)), shape=(order, order))  # sums what stands twice
    first = np.argsort(minimum_degree(graph.indptr, graph.indices))
    graph = sparse.csr_array((ones, (first[rows], first[cols])), shape=(order, order))
    place = np.argsort(postorder(elimination_tree(graph.indptr, graph.indices)))[first]
    graph = sparse.csr_array((ones, (place[rows], place[cols])), shape=(order, order))  # symmetric
    parent = elimination_tree(graph.indptr, graph.indices)
    indptr, indices = graph.indptr.astype(np.int64), graph.indices.astype(np.int64)
    return place, analyse(np.arange(order + 1), indptr, indices, parent, last_alone=False)


@njit(cache=True, nogil=True, fastmath=FAST)
def _factor(symbolic, work, entries, root):  # type: ignore[no-untyped-def]
    """Factor M(√λ); False if it is not positive definite."""
    work.factor[:] = 0.0
    for e in range(len(entries.value)):
        work.factor[entries.position[e]] += entries.value[e] * root ** entries.power[e]
    return factorize(symbolic, work)
