"""The sparse engine: restricted likelihood by the mixed-model equations, for any model and any missing records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.likelihood.protocol import CALL, Offer, Solution, clipped_factor
from bayesmv.likelihood.sparse.absorption import expand, passed_on
from bayesmv.likelihood.sparse.equations import Equations, Load, build_equations, evaluation_seconds
from bayesmv.likelihood.sparse.kernels import differentiate, evaluate, solve_augmented
from bayesmv.numerics.cholesky import Workspace, solve_lower, solve_upper, workspace
from bayesmv.numerics.supernodes import locate
from bayesmv.numerics.symmetric import packed_rows, symmetric_part, unit_components

#: Eigenvalues of R, in phenotypic variances, are raised to this: the equations need its inverse.
RESIDUAL_FLOOR = 1e-8
#: Right-hand sides that are solved for at a time.
_CHUNK = 64


class Loading(NamedTuple):
    """Rows of the factors of random terms, and where they stand in the loads.

    Parameters
    ----------
    load, trait
        Load, and its row, that each of them makes up, (rows,).
    term, effect
        Random term, and the row of its factor, (rows,).
    """

    load: IntArray
    trait: IntArray
    term: IntArray
    effect: IntArray


class Evaluation(NamedTuple):
    """Matrices of one evaluation, in working units: scratch memory that the next evaluation overwrites.

    Parameters
    ----------
    loads
        Load Φ of each kind of node on the traits, (loads, t, m); rows of F for random terms.
    precisions
        Inverse covariance Q_p of the records of a unit of each class, 0 where a trait is not recorded, (classes, t, t).
    matrices
        Φ_κ'Q_pΦ_λ of each slot, of which the blocks of the equations are sums, (slots, m, m).
    gradients
        Derivative of log|C| + y'Py by each slot's matrix, (slots, m, m).
    d_loads, d_precisions
        The same by the loads (loads, t, m), and by the precisions (classes, t, t).
    solution
        (-θ̂, 1), the solution of the equations negated, in their permuted order, (scalars,).
    """

    loads: Array
    precisions: Array
    matrices: Array
    gradients: Array
    d_loads: Array
    d_precisions: Array
    solution: Array


class MixedModelLikelihood:
    """Restricted likelihood by sparse mixed-model equations.

    With W = [X Z_1F_1 …], ``-2l = (N-p) log 2π + log|R| + Σ_k m_k log|K_k| + log|C| + y'Py``, where C are the
    equations in v = F⁻¹u, so that no term needs log|Σ_k|. One evaluation costs one numerical factorisation, and one
    selected inverse for the gradient.

    Parameters
    ----------
    design
        The design.
    equations
        Its analysed equations, to share them between engines.
    """

    name: ClassVar[str] = "sparse"
    universal: ClassVar[bool] = True

    def __init__(self, design: Design, equations: Equations | None = None) -> None:
        design.require_gaussian("the mixed-model equations are")
        self.design = design
        self.equations = equations or build_equations(design)
        self._work = workspace(self.equations.symbolic)
        self._small = _allocate(design, self.equations)
        self._constant = _constant(design, self.equations)

    @classmethod
    def offer(cls, design: Design) -> Offer:
        """Offer for any design; its equations are analysed, for what an evaluation costs is their fill-in."""
        equations = build_equations(design)
        cost = CALL + evaluation_seconds(equations)
        return Offer(cost=cost, prepare=lambda progress: cls(design, equations))

    @classmethod
    def whole(cls, design: Design) -> Self:
        """Return the engine with every level in its equations, none absorbed: it draws effects of all levels."""
        return cls(design, build_equations(design, fewest=None))

    @property
    def _roots(self) -> Array:
        """√w of the units, (n,)."""
        return np.sqrt(self.design.residual.weights)

    @property
    def _terms(self) -> tuple[TermDesign, ...]:
        """Random terms of the levels that are in the equations."""
        return self.equations.reduced.terms

    @cached_property
    def _whole(self) -> MixedModelLikelihood:
        """This engine if it absorbed nothing, else one that did not."""
        if not any(len(gone.levels) for gone in self.equations.reduced.absorbed):
            return self
        return self.whole(self.design)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Arrays that compiled code needs to evaluate this engine; scratch memory included."""
        eq = self.equations
        entries = [
            (n, trait, load.term, effect)
            for n, load in enumerate(eq.loads)
            for effect, trait in zip(load.effects, load.traits, strict=True)
        ]
        loading = Loading(*np.array(entries, dtype=np.int64).reshape(-1, 4).T.copy())
        return (
            eq.symbolic,
            eq.blocks,
            eq.slots,
            self._work,
            self._small,
            loading,
            eq.reduced.classes,
            self._constant,
        )

    def fork(self) -> Self:
        """Return an engine that shares the analysis but not the scratch memory."""
        return type(self)(self.design, self.equations)

    def loglik(self, sigmas: Sequence[Array]) -> float:
        """Restricted log-likelihood; -inf where R is singular."""
        return self._evaluate(sigmas, gradient=False)

    def value_and_gradient(self, sigmas: Sequence[Array]) -> tuple[float, list[Array]]:
        """Restricted log-likelihood and its derivative by every matrix."""
        value = self._evaluate(sigmas, gradient=True)
        if not np.isfinite(value):
            return value, [np.zeros_like(S) for S in sigmas]
        factors = [clipped_factor(S) for S in sigmas[:-1]]
        gradients = [self._random_gradient(k, F, self._small) for k, F in enumerate(factors)]
        gradients.append(np.zeros_like(sigmas[-1]))
        for k, A, G in self._class_gradients(self._small):
            gradients[k] += (A.T @ G @ A)[: len(gradients[k]), : len(gradients[k])]
        return value, gradients

    def average_information(self, sigmas: Sequence[Array]) -> Array:
        """Average information of the stacked lower triangles of the matrices.

        A working variate f_i = V_i P y is made for every component; then ``AI_ij = ½ f_i'P f_j`` with
        ``f'Pf = f'R⁻¹f - |L⁻¹W'R⁻¹f|²``, L the Cholesky factor of C.
        """
        small, work = self._at(sigmas)
        F = self._working_variates(sigmas, small, self._solve(sigmas, small, work))
        weighted = self._weight(small, F)
        z = np.zeros((len(small.solution), F.shape[-1]))
        for load, phi in self._unit_loads(small):
            inside = load.incidence.T @ weighted.reshape(len(F), -1)
            self._scatter(load, np.einsum("qtf,tm->qmf", inside.reshape(-1, *F.shape[1:]), phi), z)
        solve_lower(self.equations.symbolic, work.factor, z)
        z = z[:-1]
        return np.asarray(0.5 * (np.einsum("utf,utg->fg", F, weighted) - z.T @ z))

    def solve(self, sigmas: Sequence[Array]) -> Solution:
        """Solve the mixed-model equations.

        Raises
        ------
        np.linalg.LinAlgError
            If R is singular.
        """
        small, work = self._at(sigmas)
        solution, gone = self._solve(sigmas, small, work), self.equations.reduced.absorbed
        Py = self._weight(small, self._residuals(solution))
        expanded = [expand(gone[k], U, self._passed_on(k, Py) @ sigmas[k]) for k, U in enumerate(solution.random)]
        return Solution(solution.fixed, expanded)

    def _solve(self, sigmas: Sequence[Array], small: Evaluation, work: Workspace) -> Solution:
        """Solve for the fixed effects and the levels that are in the equations."""
        solve_augmented(self.equations.symbolic, work.factor, small.solution)
        return self._unpack(-small.solution, sigmas)

    def _passed_on(self, k: int, Py: Array) -> Array:
        return passed_on(self.design.terms[k], self.equations.reduced.absorbed[k], self._roots[:, None] * Py)

    def draw(self, sigmas: Sequence[Array], rng: np.random.Generator) -> Solution:
        """Draw fixed and random effects from N(θ̂, C⁻¹), their exact distribution given the covariances."""
        if self._whole is not self:
            return self._whole.draw(sigmas, rng)
        small, work = self._at(sigmas)
        solve_augmented(self.equations.symbolic, work.factor, small.solution)
        noise = rng.standard_normal((len(small.solution), 1))
        noise[-1] = 0.0
        solve_upper(self.equations.symbolic, work.factor, noise)
        return self._unpack(noise[:, 0] - small.solution, sigmas)

    def prediction_error(self, sigmas: Sequence[Array]) -> list[Array]:
        """Prediction error covariance of the effects of every level, (q_k, m_k, m_k) for each random term."""
        if self._whole is not self:
            return self._whole.prediction_error(sigmas)
        _, work = self._at(sigmas, gradient=True)
        out = []
        for k, sigma in enumerate(sigmas[:-1]):
            F = clipped_factor(sigma)
            scalar = self._scalars(k)
            inverse = work.inverse[locate(self.equations.symbolic, *_lower_pairs(scalar))]
            out.append(np.einsum("ab,qbc,dc->qad", F, _unpack_lower(inverse, *scalar.shape), F))
        return out

    def fixed_covariance(self, sigmas: Sequence[Array]) -> Array:
        """Covariance matrix of the fixed-effect estimates, in scaled units, (coefficients, coefficients)."""
        small, work = self._at(sigmas)
        mixing = self._fixed_mixing()
        half = self._half_solved(work, len(small.solution), mixing.T.tocsc())
        return np.asarray(half.T @ half)

    def combine(
        self, sigmas: Sequence[Array], fixed: sparse.csr_array, random: Sequence[sparse.csr_array | None]
    ) -> tuple[Array, Array]:
        """Linear combinations of effects: their estimates or predictions, and the covariance of their errors.

        ``k'θ̂`` and ``k'C⁻¹k``: for fixed effects the covariance of the estimates, with random ones that of the
        prediction errors ``k'θ̂ - k'θ`` (Henderson 1975).

        Parameters
        ----------
        sigmas
            Covariance matrices of the scaled traits.
        fixed
            Weights of the fixed coefficients that are fitted, (k, coefficients).
        random
            Weights of the effects of every term, level by level, (k, q m); None for none of a term.

        Returns
        -------
        values, covariance
            (k,) and (k, k), in scaled units, without the ordinary-least-squares fit.
        """
        if self._whole is not self:
            return self._whole.combine(sigmas, fixed, random)
        small, work = self._at(sigmas)
        order = len(small.solution)
        unit = np.zeros((order, fixed.shape[0]))
        at, _ = self._fixed_scalars()
        unit[at] = (self._fixed_mixing().T @ fixed.T).toarray()
        for k, weights in enumerate(random):
            if weights is not None:
                q, m = self._scalars(k).shape
                by_level = np.asarray(weights.toarray()).reshape(-1, q, m) @ clipped_factor(sigmas[k])
                unit[self._scalars(k).reshape(-1)] = by_level.reshape(len(by_level), -1).T
        solve_augmented(self.equations.symbolic, work.factor, small.solution)
        values = -small.solution @ unit
        solve_lower(self.equations.symbolic, work.factor, unit)
        half = unit[:-1]
        return np.asarray(values), np.asarray(half.T @ half)

    def fixed_variances(self, sigmas: Sequence[Array]) -> Array:
        """Variances of the fixed-effect estimates, in scaled units, (coefficients,).

        Most come from the selected inverse; a solve is made for those of columns that were combined with others.
        """
        small, work = self._at(sigmas, gradient=True)
        mixing = self._fixed_mixing()
        at, _ = self._fixed_scalars()
        selected = work.inverse[locate(self.equations.symbolic, at, at)]
        out: Array = np.asarray(mixing.power(2) @ selected)
        several = np.flatnonzero(np.diff(mixing.indptr) > 1)
        for first in range(0, len(several), _CHUNK):
            rows = several[first : first + _CHUNK]
            half = self._half_solved(work, len(small.solution), mixing[rows].T.tocsc())
            out[rows] = np.einsum("ij,ij->j", half, half)
        return out

    def _fixed_mixing(self) -> sparse.csr_array:
        """Every coefficient as a combination of those of the well-conditioned columns, (coefficients, coefficients)."""
        present, B = self.design.fixed.present, sparse.csr_array(self.design.fixed.mixing)
        place = np.cumsum(present.reshape(-1)).reshape(present.shape) - 1
        _, size = self._fixed_scalars()
        rows, cols, values = [], [], []
        entries = B.tocoo()
        for t in range(present.shape[1]):
            both = present[entries.row, t] & present[entries.col, t]
            rows.append(place[entries.row[both], t])
            cols.append(place[entries.col[both], t])
            values.append(entries.data[both])
        n = int(present.sum())
        joined = np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))
        return sparse.csr_array(sparse.csr_array(joined, shape=(n, n)) @ sparse.diags_array(1.0 / size))

    def _half_solved(self, work: Workspace, order: int, combinations: sparse.csc_array) -> Array:
        """L⁻¹ of combinations (coefficients, k) of fixed coefficients, without y's row."""
        at, _ = self._fixed_scalars()
        unit = np.zeros((order, combinations.shape[1]))
        unit[at] = combinations.toarray()
        solve_lower(self.equations.symbolic, work.factor, unit)
        return unit[:-1]

    def _at(self, sigmas: Sequence[Array], gradient: bool = False) -> tuple[Evaluation, Workspace]:
        """Evaluate, and return the memory with what was found, which is that of these covariances until the next call.

        What is made of it takes it as an argument: nothing reads what a call before has left.
        """
        if not np.isfinite(self._evaluate(sigmas, gradient)):
            raise np.linalg.LinAlgError("the mixed-model equations are singular at these covariances")
        return self._small, self._work

    def _scalars(self, k: int) -> IntArray:
        """Position of every effect of random term k in the permuted equations, (q, m)."""
        first = self.equations.node_first[k]
        term = self._terms[k]
        return self.equations.scalar_of[first : first + len(term.levels), None] + np.arange(len(term.effects))

    def _fixed_scalars(self) -> tuple[IntArray, Array]:
        """Position of every fixed coefficient in the permuted equations, and the size of its covariate."""
        present = self.design.fixed.present
        rank = np.cumsum(present, axis=1) - 1
        variables, traits = np.nonzero(present)
        return self.equations.scalar_of[variables] + rank[variables, traits], self.equations.fixed_scale[variables]

    def _unpack(self, theta: Array, sigmas: Sequence[Array]) -> Solution:
        at, size = self._fixed_scalars()
        fixed = np.zeros(self.design.fixed.present.shape)
        fixed[self.design.fixed.present] = theta[at] / size
        fixed = np.asarray(self.design.fixed.mixing @ fixed)
        random = [theta[self._scalars(k)] @ clipped_factor(S).T for k, S in enumerate(sigmas[:-1])]
        return Solution(fixed, random)

    def _unit_loads(self, small: Evaluation) -> list[tuple[Load, Array]]:
        """Return the loads of fixed and random effects (not y's) with their matrices, trimmed to their size."""
        loads = zip(self.equations.loads, small.loads, strict=True)
        n_y = len(self.design.traits)
        return [
            (
                load,
                phi[
                    :,
                    : load.constant.shape[1] if load.term < 0 else len(self.design.terms[load.term].effects),
                ],
            )
            for load, phi in list(loads)[:-n_y]
        ]

    def _scatter(self, load: Load, values: Array, out: Array) -> None:
        """Add (nodes, m, f) values of the nodes of a load to the rows of permuted scalars."""
        nodes = np.unique(load.incidence.indices)
        rows = self.equations.scalar_of[nodes, None] + np.arange(values.shape[1])
        out[rows] += values[nodes]

    def _residuals(self, solution: Solution) -> Array:
        """√w (y - Xb - Zu) of the scaled records, 0 where not recorded, (n, t)."""
        left = self._roots[:, None] * (self.design.working_response - self.design.fixed.X @ solution.fixed)
        for term, U in zip(self._terms, solution.random, strict=True):
            left -= term.spread(U)  # their incidences are weighted
        return np.asarray(np.where(self.design.observed, left, 0.0))

    def _weight(self, small: Evaluation, F: Array) -> Array:
        """V⁻¹ f, V the covariance of the records of a unit, for unit-wise arrays (n, t, …)."""
        out = np.empty_like(F)
        for p, Q in enumerate(small.precisions):
            rows = self.equations.reduced.class_of == p
            out[rows] = np.einsum("ab,ub...->ua...", Q, F[rows])
        return out

    def _working_variates(self, sigmas: Sequence[Array], small: Evaluation, solution: Solution) -> Array:
        """V_i P y of every component, (n, t, components)."""
        Py, gone = self._weight(small, self._residuals(solution)), self.equations.reduced.absorbed
        parts = []
        for k, (term, U) in enumerate(zip(self.design.terms, solution.random, strict=True)):
            F = clipped_factor(sigmas[k])
            KZPy = expand(gone[k], np.linalg.solve(F @ F.T, U.T).T, self._passed_on(k, Py))
            parts += [self._roots[:, None] * term.spread(KZPy @ E) for E in unit_components(len(F))]
        parts += self.design.residual.derivatives(Py)
        return np.stack(parts, axis=-1) * self.design.observed[:, :, None]

    def _evaluate(self, sigmas: Sequence[Array], gradient: bool) -> float:
        log_R = self._fill(sigmas)
        if not np.isfinite(log_R):
            return -np.inf
        eq = self.equations
        arrays = (eq.symbolic, eq.blocks, eq.slots, self._work, self._small)
        ok, log_C, ypy = evaluate(*arrays)
        if ok and gradient:
            differentiate(*arrays)
        return self._constant - 0.5 * (log_R + log_C + ypy) if ok else -np.inf

    def _fill(self, sigmas: Sequence[Array]) -> float:
        """Compute loads and precisions of the classes; return Σ log|V| over all units, infinite where R is null."""
        factors = [clipped_factor(S) for S in sigmas[:-1]]
        for load, out in zip(self.equations.loads, self._small.loads, strict=True):
            if load.term >= 0:
                out[load.traits, : factors[load.term].shape[1]] = factors[load.term][load.effects]
        classes = self.equations.reduced.classes
        log_V = 0.0
        for p, seen in enumerate(classes.observed):
            V = self._class_covariance(p, factors, sigmas[-1])[np.ix_(seen, seen)]
            values, vectors = np.linalg.eigh(V)
            if values[-1] < RESIDUAL_FLOOR:
                return np.inf
            values = np.maximum(values, RESIDUAL_FLOOR)
            self._small.precisions[p][np.ix_(seen, seen)] = (vectors / values) @ vectors.T
            log_V += float(classes.units[p] * np.sum(np.log(values)))
        return log_V

    def _class_covariance(self, p: int, factors: Sequence[Array], R: Array) -> Array:
        """V of class p, (t, t)."""
        classes = self.equations.reduced.classes
        V = np.zeros((len(self.design.traits),) * 2)
        for e in range(classes.begin[p], classes.begin[p + 1]):
            k = classes.block[e]
            A = classes.matrix[e]
            if k == len(factors):
                V += A[:, : len(R)] @ R @ A[:, : len(R)].T
            else:
                AF = A[:, : len(factors[k])] @ factors[k]
                V += AF @ AF.T
        return V

    def _random_gradient(self, k: int, F: Array, small: Evaluation) -> Array:
        """dl/dΣ = ½ dl/dF F⁻¹, dl/dF = -½ d(log|C| + y'Py)/dF."""
        d_factor = np.zeros_like(F)
        for load, d_load in zip(self.equations.loads, small.d_loads, strict=True):
            if load.term == k:
                d_factor[load.effects] += d_load[load.traits, : F.shape[1]]
        return symmetric_part(-0.25 * np.linalg.solve(F.T, d_factor.T).T)

    def _class_gradients(self, small: Evaluation) -> Iterator[tuple[int, Array, Array]]:
        """Block, A and dl/dV = -½ (n Q - Q D Q) of every part of a class, D the derivative by Q = V⁻¹."""
        classes = self.equations.reduced.classes
        for p, (Q, D) in enumerate(zip(small.precisions, small.d_precisions, strict=True)):
            G = symmetric_part(-0.5 * (classes.units[p] * Q - Q @ D @ Q))
            for e in range(classes.begin[p], classes.begin[p + 1]):
                yield int(classes.block[e]), classes.matrix[e], G


def _lower_pairs(scalar: IntArray) -> tuple[IntArray, IntArray]:
    """Scalar (row, column) of the lower triangle of every level's block."""
    rows, cols = packed_rows(scalar.shape[1])
    return scalar[:, rows].reshape(-1), scalar[:, cols].reshape(-1)


def _unpack_lower(values: Array, q: int, m: int) -> Array:
    """(q·m(m+1)/2,) packed lower triangles to symmetric (q, m, m)."""
    out = np.zeros((q, m, m))
    rows, cols = packed_rows(m)
    out[:, rows, cols] = out[:, cols, rows] = values.reshape(q, -1)
    return out


def _allocate(design: Design, equations: Equations) -> Evaluation:
    t = len(design.traits)
    m = max([t, *(len(term.effects) for term in design.terms)])
    n_loads, n_slots = len(equations.loads), len(equations.slots.klass)
    loads = np.zeros((n_loads, t, m))
    for load, out in zip(equations.loads, loads, strict=True):
        if load.term < 0:
            out[:, : load.constant.shape[1]] = load.constant
    precisions = np.zeros((len(equations.reduced.classes.units), t, t))
    return Evaluation(
        loads=loads,
        precisions=precisions,
        matrices=np.zeros((n_slots, m, m)),
        gradients=np.zeros((n_slots, m, m)),
        d_loads=np.zeros_like(loads),
        d_precisions=np.zeros_like(precisions),
        solution=np.zeros(int(equations.symbolic.start[-1])),
    )


def _constant(design: Design, equations: Equations) -> float:
    """Terms of l that no covariance changes, with the scaling of traits and fixed covariates undone."""
    n_free = design.n_records - design.fixed.present.sum()
    log_K = sum(
        len(term.effects) * term.relationship.log_determinant
        for term in equations.reduced.terms
        if term.relationship is not None
    )
    # Of the columns that the user wrote, not of those that the equations hold.
    log_X = 2.0 * design.fixed.present.sum(axis=1) @ (np.log(equations.fixed_scale) - design.fixed.log_mixing)
    log_W = design.observed.sum(axis=1) @ np.log(design.residual.weights)
    return float(-0.5 * (n_free * np.log(2 * np.pi) + log_K + log_X - log_W) + design.log_jacobian)
