r"""The spectral engine: one random term and complete records, at a cost that does not grow with the herd.

With R = LL', L⁻¹ΣL⁻ᵀ = Q diag(λ) Q' and T = Q'L⁻¹, the columns of YT' are independent with covariances λ_i H + I,
H = ZKZ', and

.. math:: -2l = const + (n-p) \log|R| + \sum_i [ d(λ_i) + (T S(λ_i) T')_{ii} ]

``d(λ) = log|λH+I| + log|X'(λH+I)⁻¹X|`` and ``S(λ) = Y'P(λ)Y`` (t, t) are functions of one number. They are tabulated
once (:mod:`bayesmv.likelihood.chebyshev`), each node by one sparse factorisation for a single trait.

Source: Meyer (1985), Biometrics 41:153-165 (canonical transformation).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple, Self

import numpy as np
from numba import njit
from scipy import sparse
from threadpoolctl import threadpool_limits

from bayesmv.covariance import Array, packed_rows, unit_components
from bayesmv.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood import chebyshev
from bayesmv.likelihood.chebyshev import Scale, Series, moments, restricted
from bayesmv.likelihood.cholesky import FAST, Workspace, factorize, solve_lower, solve_upper, workspace
from bayesmv.likelihood.ordering import elimination_tree, minimum_degree, postorder
from bayesmv.likelihood.protocol import symmetric
from bayesmv.likelihood.symbolic import Ints, Supernodes, analyse, locate

#: Interpolation error of d and of S, per unit and in sums of squares per unit: aimed at, and refused above.
TOLERANCE, REFUSED = 1e-11, 1e-9
#: A progress bar appears after this many seconds.
_PATIENCE = 2.0


def obstacle(design: Design) -> str | None:
    """Return why the spectral engine cannot serve a design; None if it can."""
    present, terms = design.fixed.present, design.terms
    if len(terms) != 1:
        return f"there are {len(terms)} random terms, not one"
    if terms[0].effects != design.traits or len(terms[0].incidences) != 1:
        return f"the term '{terms[0].name}' does not act on all traits alike"
    if not design.complete:
        return f"{(~design.observed).sum()} records are missing"
    if (present.all(axis=1) != present.any(axis=1)).any():
        return "the traits have different fixed effects"
    if np.diff(terms[0].incidences[0].indptr).max(initial=0) > 1:
        return f"units bear on several levels of '{terms[0].name}'"
    return None


class Entries(NamedTuple):
    """Numbers of the equations: where they stand in the factor (and its diagonal), the power of √λ that they take."""

    diagonal: Ints
    position: Ints
    power: Ints
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
    place: Ints
    entries: Entries
    symbolic: Supernodes

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

    @property
    def counts(self) -> Array:
        """Diagonal of Z'Z, (q,)."""
        return np.asarray(self.Z.multiply(self.Z).sum(axis=0)).reshape(-1)

    def rank(self) -> int:
        """Rank of H outside the column space of X, rank[X Z] - rank X."""
        seen, (n, p) = self.counts > 0, self.X.shape
        if seen.sum() == n:
            return n - p
        cross = (self.Z.T @ self.X)[seen]
        within = (self.X.T @ self.X - cross.T @ (sparse.diags_array(1.0 / self.counts[seen]) @ cross)).toarray()
        return int(seen.sum() - p + (np.linalg.eigvalsh(within) > 1e-9 * n).sum())

    def scale(self, work: Workspace) -> Scale:
        """Map of λ for the nonzero eigenvalues of H: above K⁻¹'s of levels with records, below Lanczos' largest."""
        seen = self.counts > 0
        inner, root = self.precision[seen][:, seen], 1.0 / np.sqrt(self.counts[seen])
        least = 1.0 / chebyshev.largest_eigenvalue(lambda v: root * (inner @ (root * v)), np.ones(len(root)))
        _factor(self.symbolic, work, self.entries, 0.0)
        p, q = self.X.shape[1], self.Z.shape[1]

        def project(v: Array) -> Array:
            return np.asarray(v - self.X @ self.solve(self.X.T @ v, np.zeros((q, 1)), work)[0])

        def apply(v: Array) -> Array:
            return project(self.Z @ self.solve(np.zeros((p, 1)), self.Z.T @ v[:, None], work)[1])[:, 0]

        start = project(np.random.default_rng(0).standard_normal((self.X.shape[0], 1)))[:, 0]
        return chebyshev.scale_for(least, max(chebyshev.largest_eigenvalue(apply, start), 1e-3 * least))


def univariate(design: Design) -> Univariate:
    """Analyse the equations of one trait of a design."""
    X, log_X = _condition(design.fixed.X[:, design.fixed.present.all(axis=1)])
    Z, K, relationship = design.terms[0].incidences[0], _precision(design), design.terms[0].relationship
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
        precision=sparse.csr_array(K),
        log_K=0.0 if relationship is None else relationship.log_determinant,
        log_X=log_X,
        place=place,
        entries=Entries(diagonal, locate(symbolic, rows[low], cols[low]), power[low], value[low]),
        symbolic=symbolic,
    )


def _condition(X: sparse.csc_array) -> tuple[sparse.csr_array, float]:
    """XB with columns of unit mean square, dense ones (a mean, years) orthogonal to each other, and -2 log|det B|."""
    dense = np.diff(X.indptr) > 0.5 * X.shape[0]
    Q, R = np.linalg.qr(X[:, dense].toarray())
    sizes = np.append(np.abs(np.diag(R)), sparse.linalg.norm(X[:, ~dense], axis=0)) / np.sqrt(X.shape[0])
    rest = X[:, ~dense] @ sparse.diags_array(1.0 / sizes[len(R) :])
    whole = sparse.hstack([sparse.csr_array(Q * np.sqrt(X.shape[0])), rest])
    return sparse.csr_array(whole), 2.0 * float(np.log(sizes).sum())


def _precision(design: Design) -> sparse.coo_array:
    """K⁻¹, (q, q)."""
    levels, relationship = design.terms[0].levels, design.terms[0].relationship
    return sparse.coo_array(sparse.eye_array(len(levels)) if relationship is None else relationship.precision)


def _analyse(rows: Ints, cols: Ints, order: int) -> tuple[Ints, Supernodes]:
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


@dataclass(frozen=True, kw_only=True)
class SpectralTable:
    """d and S of a design, tabulated; serves every model of these traits, or some of them, with the same X, Z and K.

    Parameters
    ----------
    design, series
        What it was made for, and the functions of Y in the units of that design; the constant is that of one trait.
    error
        Estimated interpolation error of d and S, per unit (mean square).
    factorisations
        Univariate factorisations that it took.
    """

    design: Design
    series: Series
    error: float
    factorisations: int

    def series_for(self, design: Design) -> Series:
        """Return the functions for the traits, the units and the constant of another design.

        Raises
        ------
        SpecError
            If its records, fixed effects, levels or relationship are others.
        """
        mine = self.design
        if not _same_data(mine, design):
            raise SpecError("the spectral table is of other records or another model; build it for this design")
        at = np.array([mine.traits.index(t) for t in design.traits])
        constant = len(at) * self.series.constant + design.log_jacobian
        return chebyshev.select(self.series, at, mine.scale[at] / design.scale)._replace(constant=constant)


def build_table(design: Design, *, cores: int = 2, progress: bool = False) -> SpectralTable:
    """Tabulate d and S of a design.

    Parameters
    ----------
    design
        The design.
    cores, progress
        Factorisations at once, and whether to show a progress bar if they take over two seconds.

    Raises
    ------
    SpecError
        If the engine cannot serve the design, or the functions cannot be tabulated to 1e-9 per unit.
    """
    reason = obstacle(design)
    if reason is not None:
        raise SpecError(f"the spectral engine cannot serve this design: {reason}; use engine='auto'")
    equations, Y = univariate(design), design.working_response
    spare = deque(workspace(equations.symbolic) for _ in range(cores))
    with threadpool_limits(1, user_api="blas"):
        scale, rank, freedom = equations.scale(spare[0]), equations.rank(), len(Y) - equations.X.shape[1]
        decay = 1.0 / scale.high if rank == freedom else 0.0
        nodes = _Nodes(equations, Series(scale, np.zeros((0, 0)), rank, decay, freedom, 0.0), Y, spare, progress)
        norm, (rows, cols) = np.linalg.norm(Y, axis=0), packed_rows(Y.shape[1])
        size = np.append(len(Y), norm[rows] * norm[cols])
        degree = chebyshev.degree_for(scale, 0.1 * TOLERANCE)
        coefficients, error = chebyshev.tabulate(nodes, degree, size, TOLERANCE)
    if not error <= REFUSED:
        raise SpecError(
            f"the likelihood of '{design.terms[0].name}' cannot be tabulated: error {error:.0e} per unit with "
            f"{len(coefficients)} nodes, {REFUSED:.0e} allowed; use engine='sparse'"
        )
    constant = -0.5 * (freedom * np.log(2 * np.pi) + equations.log_X)
    series = nodes.series._replace(coefficients=coefficients, constant=constant)
    return SpectralTable(design=design, series=series, error=error, factorisations=nodes.count)


class _Nodes:
    """What is tabulated, at many z, several at once; `series` without coefficients says what that is."""

    def __init__(self, equations: Univariate, series: Series, Y: Array, spare: deque[Workspace], bar: bool) -> None:
        self.equations, self.series, self.Y, self.spare, self.bar = equations, series, Y, spare, bar
        self.count = 0

    def __call__(self, z: Array) -> Array:
        begin, first = monotonic(), self._one(z[0])
        slow = monotonic() - begin > _PATIENCE / len(z)
        self.count += len(z)
        with ThreadPoolExecutor(len(self.spare)) as pool:
            rest: Iterable[Array] = pool.map(self._one, z[1:])
            if self.bar and slow:
                from rich import console, progress

                screen = console.Console(stderr=True)
                rest = progress.track(rest, "Tabulating the likelihood", len(z) - 1, console=screen, transient=True)
            return np.array([first, *rest])

    def _one(self, z: float) -> Array:
        scale, ratio = self.series.scale, chebyshev.ratio_at(self.series.scale, z)
        work = self.spare.pop()
        try:
            found = self.equations.functions(ratio, self.Y, work)
        finally:
            self.spare.append(work)
        found[0] -= self.series.rank * np.log1p(ratio / scale.high)
        found[1:] *= 1.0 + self.series.decay * ratio
        return found


def _same_data(one: Design, other: Design) -> bool:
    """Whether the traits of `other` are among those of `one`, with the same records, X, Z and K."""
    if one is other:
        return True
    if obstacle(other) is not None or not set(other.traits) <= set(one.traits):
        return False
    response = one.response[:, [one.traits.index(t) for t in other.traits]]
    mine, its = ((_precision(d), d.terms[0].incidences[0], d.fixed.X[:, d.fixed.present[:, 0]]) for d in (one, other))
    return np.array_equal(response, other.response) and all(
        a.shape == b.shape and abs(a - b).max() == 0.0 for a, b in zip(mine, its, strict=True)
    )


class SpectralLikelihood:
    """Restricted likelihood of a design with one random term and complete records; O(t⁴ · nodes) an evaluation.

    Parameters
    ----------
    design, table
        The design, and its table or that of another model of the same data; tabulated if not given.
    """

    name = "spectral"

    def __init__(self, design: Design, table: SpectralTable | None = None) -> None:
        self.design = design
        self.table = build_table(design) if table is None else table
        self.arrays = self.table.series_for(design)

    def fork(self) -> Self:
        """Return self: nothing is written to."""
        return self

    def loglik(self, sigmas: Sequence[Array]) -> float:
        """Restricted log-likelihood; -inf where R is singular."""
        return self.value_and_gradient(sigmas)[0]

    def value_and_gradient(self, sigmas: Sequence[Array]) -> tuple[float, list[Array]]:
        """Restricted log-likelihood and its derivative by both matrices."""
        gradients = np.empty((2, *sigmas[0].shape))
        value = restricted(*map(np.ascontiguousarray, sigmas), self.arrays, *gradients)
        return float(value), [symmetric(G) for G in gradients]

    def average_information(self, sigmas: Sequence[Array]) -> Array:
        """½ Σ_ijk E_ij F_ik y_j'P_j G P_i H P_k y_k of all pairs of components E, F in canonical space."""
        T, middle = moments(*map(np.ascontiguousarray, sigmas), self.arrays)
        E = T @ np.stack(unit_components(len(T))) @ T.T
        return np.block([[0.5 * np.einsum("aij,bik,jik->ab", E, E, m) for m in row] for row in middle])
