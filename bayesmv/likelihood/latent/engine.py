r"""Approximate restricted likelihoods where some traits are not Gaussian.

The integral over all location effects s (:mod:`.predictor`), with a flat prior on the fixed ones, has no closed form.
Two Gaussian approximations of the posterior of s stand for it. Both are exact where every trait is Gaussian.

**Variational**: the highest lower bound of the log likelihood by any N(m, H⁻¹),

.. math::

    l = \sum_r E \log p(y_r | η_r) - \tfrac12 m'Pm - \tfrac12 \mathrm{tr}(PH^{-1}) - \tfrac12 \log|H| + c, \quad
    η_r \sim N(a_r'm, a_r'H^{-1}a_r)

whose best H is that with the expected weights of the records.

**Laplace**: the mode in the place of m, the weights there in that of the expected ones. It underestimates variances of
binary traits with few records a level, and is here for comparison with other programs; for some of them (lme4,
glmmTMB) also as a likelihood that is not restricted, **Laplace ML**: fixed effects at the mode, not integrated over.

Thresholds of ordered traits, and the numbers of families of counts, are those at which l is highest; of the **joint
mode** of textbooks, at given covariances,
those at which the density of records and effects is.

Source: Opper & Archambeau (2009), Neural Comput. 21:786-792; Breslow & Clayton (1993), J. Am. Stat. Assoc. 88:9-25;
Gianola & Foulley (1983), Genet. Sel. Evol. 15:201-224 (the joint mode).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, NamedTuple, Self, override

import numpy as np
from scipy import sparse

from bayesmv.arrays import Array, BoolArray, IntArray
from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.families.declared import Censored, Family, Ordered, of_rows
from bayesmv.families.terms import Terms, averaged, averaged_free, start_of, started, terms
from bayesmv.likelihood.latent.conditioning import NORMAL
from bayesmv.likelihood.latent.predictor import Predictor, add_squares, build_predictor, carried
from bayesmv.likelihood.protocol import Offer, Solution, clipped_factor
from bayesmv.numerics.cholesky import factorize, selected_inverse, solve_lower, solve_upper, workspace
from bayesmv.numerics.supernodes import locate
from bayesmv.numerics.symmetric import packed_rows, symmetric_part

#: A search ends where the next step promises less than this in log density.
_ENOUGH = 1e-10
#: The same of a search that begins where another ended, whose error would hide small differences.
_NEAR = 1e-12
#: Share of the gain that was promised before, above which curvatures of thresholds are found anew.
_FALL = 0.25
#: Most steps of a search.
_STEPS = 200
#: Step of differences of gradients, relative to standard deviations; variances are raised by more, so that a matrix
#: that is singular has both sides; and the variance that smaller ones count as for that.
_DIFFERENCE, _LIFT, _SMALL = 1e-4, 5e-4, 1e-2
#: Precision of fixed effects in a determinant of which they are no part.
_HELD = 1e10
#: Relative step of differences by the scale of thresholds.
_SCALE_STEP = 1e-5
#: Step of differences by a free coordinate of a family.
_FREE_STEP = 1e-3


class State(NamedTuple):
    """Gaussian approximation of the posterior of the location effects at some covariances.

    Parameters
    ----------
    value
        l.
    mean
        m or the mode, (q,).
    at
        Terms of the records, averaged or at the mode, (N,) each.
    numbers
        A, slot by slot.
    spread
        A H⁻¹ on the pattern of A, slot by slot; empty at a mode, for which its gradient alone needs it.
    variance
        Variance of the latent value of each record, (N,); empty at a mode.
    families
        Families with the thresholds that hold, trait by trait.
    offset
        Latent values where all effects are 0, (N,).
    mixing
        Numbers of the conditioning on residuals.
    """

    value: float
    mean: Array
    at: Terms
    numbers: Array
    spread: Array
    variance: Array
    families: tuple[Family, ...]
    offset: Array
    mixing: Array


class Undefined(ArithmeticError):
    """No approximation at some covariances: its search found no numbers."""


class LatentLikelihood:
    """Approximate restricted likelihood; see the head of this file.

    Parameters
    ----------
    design
        The design.
    predictor
        Its analysed latent values, to share them between engines.
    """

    name: ClassVar[str]
    universal: ClassVar[bool] = True
    #: Whether fixed effects are integrated over, as in a restricted likelihood.
    restricted: ClassVar[bool] = True
    #: What is said of its estimates, in the words of a label.
    label: ClassVar[str]

    def __init__(self, design: Design, predictor: Predictor | None = None) -> None:
        self.design = design
        self.predictor = predictor or build_predictor(design)
        self._work = workspace(self.predictor.symbolic)
        y = design.working_response[self.predictor.unit, self.predictor.trait]
        p, apart = self.predictor, self.predictor.conditioning.alone
        normal = p.conditioning.kind_of(p.unit, p.trait) == NORMAL
        linear = np.array([f.linear for f in design.families])[p.trait]
        # An exact record is 0, and its latent value counted from it; its offset was taken off it, or off its bounds.
        self._y = np.where(normal, 0.0, y)
        self._given = np.where(normal, -y, np.where(linear, 0.0, design.offset[p.unit, p.trait]))
        self._records = [np.flatnonzero(p.trait == t) for t in range(len(design.traits))]
        # Records of ordered traits whose residuals are correlated with others, and those with bounds, whose residual
        # variance is free: their scale among the M.
        ordered, bounded = (np.array([isinstance(f, kind) for f in design.families]) for kind in (Ordered, Censored))
        mine = (bounded | (ordered & ~apart))[p.trait]
        own = (p.pair_row == p.pair_source) & mine[p.pair_row]
        self._scaled, self._scale_mix = p.pair_row[own], p.pair_mix[own]
        self._constant = _constant(design, self.predictor, self.restricted)
        units = [p.unit[rows] for rows in self._records]
        self._families = tuple(of_rows(f, at) for f, at in zip(design.working_families, units, strict=True))

    @classmethod
    def offer(cls, design: Design) -> Offer:
        """Offer for any design."""
        return Offer(cost=1e-6 * design.n_records, prepare=lambda progress: cls(design))

    def fork(self) -> Self:
        """Return an engine that shares the analysis but not the scratch memory."""
        return type(self)(self.design, self.predictor)

    def loglik(self, sigmas: Sequence[Array]) -> float:
        """Approximate log likelihood; -inf where there is none."""
        try:
            return self.approximation(sigmas).value
        except Undefined:
            return -np.inf

    def value_and_gradient(self, sigmas: Sequence[Array]) -> tuple[float, list[Array]]:
        """Approximate log likelihood and its derivative by every matrix."""
        try:
            state = self.approximation(sigmas)
        except Undefined:
            return -np.inf, [np.zeros_like(S) for S in sigmas]
        by_numbers, by_latent, by_scale = self._slopes(state)
        p = self.predictor
        factors = self._factors(sigmas)
        by_terms = p.weight * by_numbers[p.slot]
        flat = np.bincount(p.entry, by_terms * state.mixing[p.mix], minlength=len(factors))
        out = []
        for k, S in enumerate(sigmas[:-1]):
            F = clipped_factor(S)
            d_factor = flat[p.factor_start[k] : p.factor_start[k + 1]].reshape(F.shape)
            out.append(symmetric_part(0.5 * np.linalg.solve(F.T, d_factor.T).T))
        by_mixing = np.bincount(p.mix, by_terms * factors[p.entry], minlength=len(state.mixing))
        by_mixing += np.bincount(
            p.pair_mix, by_latent[p.pair_row] * self._given[p.pair_source], minlength=len(by_mixing)
        )
        by_mixing += np.bincount(self._scale_mix, by_scale[self._scaled], minlength=len(by_mixing))
        out.append(p.conditioning.pulled(sigmas[-1], by_mixing))
        return state.value, out

    def average_information(self, sigmas: Sequence[Array]) -> Array:
        """Negative second derivatives by the stacked lower triangles, by differences, (components, components).

        Those by components that no parameter of the structures moves are left at 0.
        """
        pieces, begin = [packed_rows(len(S)) for S in sigmas], 0
        ends = np.cumsum([len(rows) for rows, _ in pieces])
        out = np.zeros((int(ends[-1]),) * 2)
        moves = self._moves
        lifted = [S + np.diag(_LIFT * np.maximum(np.diag(S), _SMALL)) for S in sigmas]
        for k, (rows, cols) in enumerate(pieces):
            sd = np.sqrt(np.maximum(np.diag(sigmas[k]), _SMALL))
            for c, (i, j) in enumerate(zip(rows, cols, strict=True)):
                if not moves[k][i, j]:
                    continue
                step = _DIFFERENCE * sd[i] * sd[j]
                up, down = (self._packed(_moved(lifted, k, int(i), int(j), s), pieces) for s in (step, -step))
                out[begin + c] = (down - up) / (2.0 * step)
            begin = int(ends[k])
        return np.asarray(0.5 * (out + out.T))

    @cached_property
    def _moves(self) -> list[BoolArray]:
        """Which covariances the parameters of every structure move, (m, m)."""
        out = []
        for structure in self.design.blocks.structures:
            theta = structure.from_matrix(0.4 * np.eye(structure.size) + 0.1)
            out.append((structure.jacobian(theta) != 0.0).any(axis=0))
        return out

    def _packed(self, sigmas: Sequence[Array], pieces: Sequence[tuple[IntArray, IntArray]]) -> Array:
        """Gradient by the stacked lower triangles."""
        _, gradients = self.value_and_gradient(sigmas)
        parts = [
            G[rows, cols] * np.where(rows == cols, 1.0, 2.0) for G, (rows, cols) in zip(gradients, pieces, strict=True)
        ]
        return np.concatenate(parts)

    def approximation(self, sigmas: Sequence[Array]) -> State:
        """Gaussian approximation at covariances; :class:`Undefined` where its search finds none.

        Its factor is that of this engine's memory until the next call.
        """
        mixing = self.predictor.conditioning.numbers(sigmas[-1])
        families = self.started(self.scaled(self._families, mixing))
        with np.errstate(over="ignore", invalid="ignore"):
            return self._search(self.place(self._factors(sigmas), mixing, families))

    def _factors(self, sigmas: Sequence[Array]) -> Array:
        """F of all terms, and what follows them."""
        return np.concatenate([*(clipped_factor(S).reshape(-1) for S in sigmas[:-1]), np.ones(len(sigmas[-1]) + 1)])

    def scaled(self, families: Sequence[Family], mixing: Array) -> tuple[Family, ...]:
        """Families with the scales of the thresholds of ordered traits whose liabilities are known in part."""
        scale = np.ones(len(self._y))
        scale[self._scaled] = mixing[self._scale_mix]
        return tuple(
            replace(f, scale=scale[rows])
            if isinstance(f, Ordered | Censored) and np.isin(rows, self._scaled).any()
            else f
            for f, rows in zip(families, self._records, strict=True)
        )

    def place(self, factors: Array, mixing: Array, families: tuple[Family, ...]) -> State:
        """State at factors and M, with nothing found as yet."""
        p, none = self.predictor, np.zeros(0)
        return State(
            self._constant + p.conditioning.log_jacobian(mixing),
            none,
            Terms(none, none, none, none),
            p.numbers(factors, mixing),
            none,
            none,
            families,
            p.offset(self._given, mixing),
            mixing,
        )

    @abstractmethod
    def _search(self, start: State) -> State:
        """Best approximation of a kind, from a state whose value is that of the constant terms."""

    @abstractmethod
    def _slopes(self, state: State) -> tuple[Array, Array, Array]:
        """Derivatives of l by A, slot by slot, by the latent values, and by the scales of thresholds, (N,) each."""

    def _by_scale(self, state: State, of: Callable[[Sequence[Family]], Array]) -> Array:
        """Derivatives of each record's part by the scale of its thresholds, by differences, (N,)."""
        if not len(self._scaled):
            return np.zeros(len(self._y))

        def moved(step: float) -> Array:
            families = [
                replace(f, scale=f.scale * (1.0 + step)) if isinstance(f, Ordered | Censored) else f
                for f in state.families
            ]
            return of(families)

        scale = np.ones(len(self._y))
        scale[self._scaled] = state.mixing[self._scale_mix]
        return np.asarray((moved(_SCALE_STEP) - moved(-_SCALE_STEP)) / (2.0 * _SCALE_STEP * scale))

    def started(self, families: tuple[Family, ...]) -> tuple[Family, ...]:
        """Families with numbers to look for the best ones from."""
        return tuple(started(f, self._y[rows]) for f, rows in zip(families, self._records, strict=True))

    def _each(self, families: Sequence[Family], of: Callable[[Family, IntArray], Terms]) -> Terms:
        """Terms of all records from those of each trait."""
        out = np.zeros((4, len(self._y)))
        for family, rows in zip(families, self._records, strict=True):
            if len(rows):
                out[:, rows] = of(family, rows)
        return Terms(*out)

    def _terms(self, families: Sequence[Family], eta: Array) -> Terms:
        return self._each(families, lambda f, rows: terms(f, self._y[rows], eta[rows]))

    def _averaged(self, families: Sequence[Family], eta: Array, variance: Array) -> Terms:
        return self._each(families, lambda f, rows: averaged(f, self._y[rows], eta[rows], variance[rows]))

    def _factorise(self, numbers: Array, weight: Array, fixed: float = 0.0) -> None:
        """Factorise H, with a precision of the fixed effects."""
        p, factor = self.predictor, self._work.factor
        factor[:] = 0.0
        factor[p.prior_place] = p.prior_value
        if fixed:
            factor[self._diagonal[p.position[: p.first[0]]]] = fixed
        add_squares(p.indptr, p.pairs, numbers, weight, factor)
        if not np.isfinite(weight).all() or not factorize(p.symbolic, self._work):
            raise Undefined

    def _factorise_some(self, numbers: Array, weight: Array) -> bool:
        """Factorise H, or, far from a mode, what it is without the records that bend upwards; whether it was H."""
        try:
            self._factorise(numbers, weight)
        except Undefined:
            if not weight.min(initial=0.0) < 0.0:
                raise
            self._factorise(numbers, np.maximum(weight, 0.0))
            return False
        return True

    def _log_determinant(self) -> float:
        """½ log|H|."""
        return float(np.log(self._work.factor[self._diagonal]).sum())

    @property
    def _diagonal(self) -> IntArray:
        all_of_them = np.arange(self.predictor.order, dtype=np.int64)
        return locate(self.predictor.symbolic, all_of_them, all_of_them)

    def _half(self, rhs: Array) -> Array:
        """L⁻¹ r, in the order of elimination, of r (q,) or (q, k)."""
        out = np.empty((self.predictor.order, 1 if rhs.ndim == 1 else rhs.shape[1]))
        out[self.predictor.position] = rhs.reshape(len(rhs), -1)
        solve_lower(self.predictor.symbolic, self._work.factor, out)
        return out

    def _solved(self, half: Array) -> Array:
        """L'⁻¹ of what `_half` returned, (q,)."""
        out = half.copy()
        solve_upper(self.predictor.symbolic, self._work.factor, out)
        return np.asarray(out[self.predictor.position][:, 0])

    def _spread(self, numbers: Array) -> tuple[Array, Array]:
        """A H⁻¹ on the pattern of A, and the variances of the latent values."""
        p = self.predictor
        selected_inverse(p.symbolic, self._work, len(p.symbolic.start) - 1)
        spread = carried(p.indptr, p.pairs, numbers, self._work.inverse)
        return spread, np.add.reduceat(np.append(spread * numbers, 0.0), p.indptr[:-1])

    def _start(self, A: sparse.csr_array, state: State) -> Array:
        """Mode of the model that is linear about plain latent values."""
        eta = np.zeros(len(self._y))
        for family, rows in zip(state.families, self._records, strict=True):
            eta[rows] = start_of(family, self._y[rows])
        at = self._terms(state.families, eta)
        weight = np.maximum(at.weight, 0.0)
        self._factorise(state.numbers, weight)
        return self._solved(self._half(A.T @ (weight * (eta - state.offset) + at.slope)))

    def _mode(self, state: State) -> tuple[Array, Terms]:
        """Mode of the location effects, and the terms there, by Newton's method with halved steps."""
        p, A = self.predictor, self.predictor.matrix(state.numbers)
        families, offset = state.families, state.offset
        s = self._start(A, state)

        def density(at: Terms, s: Array) -> float:
            return float(at.value.sum() - 0.5 * s @ (p.prior @ s))

        at = self._terms(families, offset + A @ s)
        here = density(at, s)
        if not np.isfinite(here):
            s = np.zeros(p.order)
            at = self._terms(families, offset + A @ s)
            here = density(at, s)
        for _ in range(_STEPS):
            plain = self._factorise_some(state.numbers, at.weight)
            half = self._half(A.T @ at.slope - p.prior @ s)
            gain = float(half[:, 0] @ half[:, 0])
            if not np.isfinite(gain):
                raise Undefined
            if gain < _ENOUGH:
                if not plain:
                    raise Undefined  # no maximum
                return s, at
            step, length = self._solved(half), 1.0
            while True:
                moved = s + length * step
                there = self._terms(families, offset + A @ moved)
                value = density(there, moved)
                if value >= here - 1e-9:
                    break
                length *= 0.5
                if length < 1e-10:
                    raise Undefined
            s, at, here = moved, there, value
        raise Undefined

    def solve(self, sigmas: Sequence[Array]) -> Solution:
        """Means of the fixed and random effects in the approximation, in working units."""
        return self._unpack(self.approximation(sigmas).mean, sigmas)

    def prediction_error(self, sigmas: Sequence[Array]) -> list[Array]:
        """Approximate posterior covariance of the effects of every level, (q_k, m_k, m_k)."""
        state, p = self.approximation(sigmas), self.predictor
        self._spread(state.numbers)
        out = []
        for k, sigma in enumerate(sigmas[:-1]):
            F, place = clipped_factor(sigma), self._places(k)
            m = place.shape[1]
            low, high = (np.minimum, np.maximum)
            rows, cols = (f(place[:, :, None], place[:, None, :]).reshape(-1) for f in (high, low))
            inverse = self._work.inverse[locate(p.symbolic, rows, cols)].reshape(-1, m, m)
            out.append(np.einsum("ab,qbc,dc->qad", F, inverse, F))
        return out

    def fixed_covariance(self, sigmas: Sequence[Array]) -> Array:
        """Approximate covariance of the fixed effects, in working units, (coefficients, coefficients)."""
        present = self.design.fixed.present
        rows = sparse.csr_array(sparse.eye_array(int(present.sum())))
        return self.combine(sigmas, rows, [None] * len(self.design.terms))[1]

    def fixed_variances(self, sigmas: Sequence[Array]) -> Array:
        """Approximate variances of the fixed effects, in working units, (coefficients,)."""
        return np.asarray(np.diag(self.fixed_covariance(sigmas)))

    def combine(
        self, sigmas: Sequence[Array], fixed: sparse.csr_array, random: Sequence[sparse.csr_array | None]
    ) -> tuple[Array, Array]:
        """Linear combinations of effects on the latent scale, (k,), and their covariance, (k, k).

        Arguments are those of the equations of Gaussian traits
        (:meth:`bayesmv.likelihood.sparse.engine.MixedModelLikelihood.combine`).
        """
        state = self.approximation(sigmas)
        weights = np.zeros((self.predictor.order, fixed.shape[0]))
        weights[: self.predictor.first[0]] = (fixed @ self._mixing()).toarray().T
        for k, of_term in enumerate(random):
            if of_term is not None:
                F = clipped_factor(sigmas[k])
                by_level = np.asarray(of_term.toarray()).reshape(fixed.shape[0], -1, len(F)) @ F
                begin = int(self.predictor.first[k])
                weights[begin : begin + by_level[0].size] = by_level.reshape(len(by_level), -1).T
        half = self._half(weights)
        return np.asarray(state.mean @ weights), np.asarray(half.T @ half)

    def _places(self, k: int) -> IntArray:
        """Place in the order of elimination of every effect of a term, (q_k, m_k)."""
        term, begin = self.design.terms[k], int(self.predictor.first[k])
        m = len(term.effects)
        return self.predictor.position[begin : begin + len(term.levels) * m].reshape(-1, m)

    def _mixing(self) -> sparse.csr_array:
        """Every coefficient that is fitted as a combination of the unknowns, (coefficients, coefficients)."""
        p, present = self.predictor, self.design.fixed.present
        B = sparse.coo_array(self.design.fixed.mixing)
        rows, cols = p.fixed_of[B.row], p.fixed_of[B.col]
        both = present[B.row] & present[B.col]
        values = np.broadcast_to((B.data / p.fixed_scale[B.col])[:, None], rows.shape)[both]
        n = int(present.sum())
        return sparse.csr_array((values, (rows[both], cols[both])), shape=(n, n))

    def _unpack(self, s: Array, sigmas: Sequence[Array]) -> Solution:
        present = self.design.fixed.present
        fixed = np.zeros(present.shape)
        fixed[present] = self._mixing() @ s[: self.predictor.first[0]]
        random = []
        for k, sigma in enumerate(sigmas[:-1]):
            begin, term = int(self.predictor.first[k]), self.design.terms[k]
            V = s[begin : begin + len(term.levels) * len(sigma)].reshape(-1, len(sigma))
            random.append(V @ clipped_factor(sigma).T)
        return Solution(fixed, random)

    def estimated_families(self, sigmas: Sequence[Array]) -> tuple[Family, ...]:
        """Families of the design with the numbers that are best at some covariances."""
        return with_free(self.design.families, self.approximation(sigmas).families)

    def _moved_numbers(
        self, families: tuple[Family, ...], eta: Array, variance: Array, curvatures: dict[int, Array]
    ) -> tuple[tuple[Family, ...], float]:
        """Families with free numbers a step nearer to where the averaged density is highest, and the gain promised.

        Curvatures are found where none are given, and kept: they cost several averages.
        """
        out, gain = list(families), 0.0
        for t, family in enumerate(families):
            if family.n_free:
                rows = self._records[t]
                out[t], more, curvatures[t] = _stepped(
                    family, self._y[rows], eta[rows], variance[rows], curvatures.get(t)
                )
                gain += more
        return tuple(out), gain


class VariationalLikelihood(LatentLikelihood):
    """Highest Gaussian lower bound of the restricted log-likelihood; see the head of this file."""

    name: ClassVar[str] = "variational"
    label: ClassVar[str] = "REML, approximate (variational)"
    #: Where the last search ended: the next, at covariances that are mostly near, begins there.
    _ended: State | None = None

    @override
    def _search(self, start: State) -> State:
        if self._ended is not None:
            families = with_free(start.families, self._ended.families)
            try:
                self._ended = self._climb(start, self._ended.mean, self._ended.at.weight, families)
            except Undefined:
                self._ended = None
            else:
                return self._ended
        m, at = self._mode(start)
        self._ended = self._climb(start, m, at.weight, start.families)
        return self._ended

    def _climb(self, start: State, m: Array, weight: Array, families: tuple[Family, ...]) -> State:
        """State at the highest bound, from means, weights and thresholds."""
        p, numbers = self.predictor, start.numbers
        A = p.matrix(numbers)
        held, best, last, curvatures = 0.0, -np.inf, np.inf, dict[int, Array]()
        for _ in range(_STEPS):
            self._factorise(numbers, weight)
            spread, variance = self._spread(numbers)
            eta = start.offset + A @ m
            at = self._averaged(families, eta, variance)
            value = (
                start.value
                + float(at.value.sum() - 0.5 * m @ (p.prior @ m) + 0.5 * weight @ variance)
                - self._log_determinant()
            )
            half = self._half(A.T @ at.slope - p.prior @ m)
            moved, gain = self._moved_numbers(families, eta, variance, curvatures)
            gain += float(half[:, 0] @ half[:, 0])
            if not np.isfinite(value) or not np.isfinite(gain):
                raise Undefined
            change = float(np.abs((at.weight - weight) * variance).max(initial=0.0))
            if gain < _NEAR and change < 1e-9:
                at = at._replace(weight=weight)
                return start._replace(value=value, mean=m, at=at, spread=spread, variance=variance, families=families)
            # Where the bound falls, weights and effects overshoot: nearer steps from then on.
            held = min(0.8, held + 0.2) if value < best - 1e-8 else held
            best = max(best, value)
            if gain > _FALL * last:
                curvatures.clear()
            last = gain
            m = m + (1.0 - held) * self._solved(half)
            if min(weight.min(initial=1.0), at.weight.min(initial=1.0)) > 0.0:
                weight = weight**held * at.weight ** (1.0 - held)
            else:
                weight = held * weight + (1.0 - held) * at.weight
            families = moved
        raise Undefined

    @override
    def _slopes(self, state: State) -> tuple[Array, Array, Array]:
        # The bound is highest in m, H and thresholds: what A does through them is nothing.
        p = self.predictor
        per_slot = np.repeat(np.arange(len(self._y)), np.diff(p.indptr))
        by_numbers = state.at.slope[per_slot] * state.mean[p.column] - state.at.weight[per_slot] * state.spread
        eta = state.offset + p.matrix(state.numbers) @ state.mean
        by_scale = self._by_scale(state, lambda families: self._averaged(families, eta, state.variance).value)
        return by_numbers, state.at.slope, by_scale


class LaplaceLikelihood(LatentLikelihood):
    """Laplace's approximation of the restricted log-likelihood; see the head of this file."""

    name: ClassVar[str] = "laplace"
    label: ClassVar[str] = "REML, approximate (laplace; variances of binary traits are underestimated)"

    @override
    def _search(self, start: State) -> State:
        families = start.families
        logs = np.concatenate([f.free for f in families])

        def at(logs: Array) -> State:
            return self.at_mode(start._replace(families=freed(families, logs)))

        h = _FREE_STEP
        state = at(logs)
        for _ in range(_STEPS if len(logs) else 0):
            steps = h * np.eye(len(logs))
            up, down = (np.array([at(logs + sign * e).value for e in steps]) for sign in (1.0, -1.0))
            slope, curve = (up - down) / (2 * h), np.maximum((2 * state.value - up - down) / h**2, 1e-6)
            H = np.diag(curve)
            for i, j in zip(*np.tril_indices(len(logs), -1), strict=True):
                both = at(logs + steps[i] + steps[j]).value - up[i] - up[j] + state.value
                H[i, j] = H[j, i] = -both / h**2
            step = np.linalg.solve(H, slope) if np.linalg.eigvalsh(H)[0] > 0.0 else slope / curve
            if float(slope @ step) < _ENOUGH * 100.0:
                break
            length = min(1.0, 0.5 / float(np.abs(step).max()))
            while length > 1e-6 and (there := at(logs + length * step)).value < state.value:
                length *= 0.5
            logs, state = logs + length * step, there
        # The memory holds the factor of the last mode that was found.
        return at(logs) if len(logs) else state

    def at_mode(self, start: State) -> State:
        """State at the mode of the effects, for given thresholds."""
        s, at = self._mode(start)
        value = float(at.value.sum() - 0.5 * s @ (self.predictor.prior @ s)) - self._half_log_determinant(start, at)
        return start._replace(value=start.value + value, mean=s, at=at)

    def _half_log_determinant(self, start: State, at: Terms) -> float:
        """½ log|H| of the effects that are integrated over; the factor of all is left in the memory."""
        return self._log_determinant()

    def _spread_at(self, state: State) -> tuple[Array, Array]:
        """What `_spread` returns, of the effects that are integrated over, whose factor is left in the memory."""
        return self._spread(state.numbers)

    @override
    def _slopes(self, state: State) -> tuple[Array, Array, Array]:
        p, A = self.predictor, self.predictor.matrix(state.numbers)
        per_slot = np.repeat(np.arange(len(self._y)), np.diff(p.indptr))
        at, s = state.at, state.mean
        spread, variance = self._spread_at(state)
        through = -0.5 * at.bend * variance  # dl / dη of the weights
        back = self._solved(self._half(A.T @ through))
        carried_back = A @ back
        by_latent = at.slope + through - at.weight * carried_back
        by_numbers = (
            by_latent[per_slot] * s[p.column] - at.weight[per_slot] * spread + at.slope[per_slot] * back[p.column]
        )
        eta = state.offset + A @ s

        def of_scales(families: Sequence[Family]) -> Array:
            moved = self._terms(families, eta)
            return np.asarray(moved.value - 0.5 * variance * moved.weight + carried_back * moved.slope)

        return by_numbers, by_latent, self._by_scale(state, of_scales)


class LaplaceML(LaplaceLikelihood):
    """Laplace's approximation of the likelihood, fixed effects at its mode; see the head of this file."""

    name: ClassVar[str] = "laplace_ml"
    label: ClassVar[str] = "ML, approximate (laplace; variances of binary traits are underestimated)"
    restricted: ClassVar[bool] = False

    def _hold(self, numbers: Array, weight: Array) -> None:
        """Factorise H with fixed effects that cannot move: its determinant is that of the others, but for `_HELD`."""
        self._factorise(numbers, weight, _HELD)

    @override
    def _half_log_determinant(self, start: State, at: Terms) -> float:
        self._hold(start.numbers, at.weight)
        value = self._log_determinant() - 0.5 * int(self.predictor.first[0]) * np.log(_HELD)
        self._factorise(start.numbers, at.weight)
        return float(value)

    @override
    def _spread_at(self, state: State) -> tuple[Array, Array]:
        self._hold(state.numbers, state.at.weight)
        return self._spread(state.numbers)

    @override
    def _mode(self, state: State) -> tuple[Array, Terms]:
        """Fixed effects at which the approximation is highest, the others at their mode given these."""
        p, A = self.predictor, self.predictor.matrix(state.numbers)
        s, at = super()._mode(state)
        for _ in range(_STEPS):
            self._hold(state.numbers, at.weight)
            _, variance = self._spread(state.numbers)
            through = -0.5 * at.bend * variance
            by_fixed = A.T @ (through - at.weight * (A @ self._solved(self._half(A.T @ through))))
            rhs = A.T @ at.slope - p.prior @ s
            rhs[: p.first[0]] += by_fixed[: p.first[0]]
            self._factorise(state.numbers, at.weight)
            half = self._half(rhs)
            gain = float(half[:, 0] @ half[:, 0])
            if gain < _ENOUGH:
                return s, at
            s = s + self._solved(half)
            at = self._terms(state.families, state.offset + A @ s)
            if not np.isfinite(gain):
                break
        raise Undefined


class JointMode(LaplaceLikelihood):
    """Mode of effects and thresholds together at given covariances; see the head of this file."""

    name: ClassVar[str] = "mode"
    label: ClassVar[str] = "joint mode of effects and thresholds at given covariances"

    @classmethod
    @override
    def offer(cls, design: Design) -> Offer:
        if design.blocks.n_parameters:
            raise SpecError(
                "the engine 'mode' is of models whose covariances are all given: hold every parameter in [constraints]"
            )
        return super().offer(design)

    @override
    def _half_log_determinant(self, start: State, at: Terms) -> float:
        return 0.0


def with_free(families: Sequence[Family], others: Sequence[Family]) -> tuple[Family, ...]:
    """Families with the free numbers of others."""
    return tuple(f.freed(other.free) for f, other in zip(families, others, strict=True))


def freed(families: Sequence[Family], x: Array) -> tuple[Family, ...]:
    """Families at free coordinates x, of one trait after the other."""
    ends = np.cumsum([f.n_free for f in families])
    return tuple(f.freed(own) for f, own in zip(families, np.split(x, ends[:-1]), strict=True))


def _stepped(
    family: Family, y: Array, eta: Array, variance: Array, curvature: Array | None
) -> tuple[Family, float, Array]:
    """Newton step of the free coordinates of a family; gain, and curvature."""

    def gradient(x: Array) -> Array:
        return averaged_free(family.freed(x), y, eta, variance)

    x, h = family.free, 1e-5
    here, H = gradient(x), curvature
    if H is None:
        H = np.stack([(gradient(x - e) - gradient(x + e)) / (2 * h) for e in h * np.eye(len(x))])
        H = 0.5 * (H + H.T)
    values, vectors = np.linalg.eigh(H)
    step = vectors @ ((vectors.T @ here) / np.maximum(np.abs(values), 1e-8))
    step *= min(1.0, 0.5 / max(float(np.abs(step).max()), 1e-300))
    return family.freed(x + step), float(here @ step), H


def _moved(sigmas: Sequence[Array], k: int, i: int, j: int, step: float) -> list[Array]:
    out = [np.array(S) for S in sigmas]
    out[k][i, j] += step
    if i != j:
        out[k][j, i] += step
    return out


def _constant(design: Design, p: Predictor, restricted: bool) -> float:
    """Terms of l that nothing changes, as of the (restricted) likelihood of Gaussian traits."""
    log_K = sum(
        len(term.effects) * term.relationship.log_determinant for term in design.terms if term.relationship is not None
    )
    if not restricted:
        return float(-0.5 * log_K + design.log_jacobian)
    log_X = 2.0 * design.fixed.present.sum(axis=1) @ (np.log(p.fixed_scale) - design.fixed.log_mixing)
    of_fixed = int(design.fixed.present.sum()) * np.log(2 * np.pi)
    return float(-0.5 * (log_K + log_X - of_fixed) + design.log_jacobian)
