r"""The spectral engine where some records are missing: each is a fixed effect of its own.

With any number in place of a missing record and a fixed effect D_c = e_trait ⊗ e_unit for it, the restricted likelihood
of the complete records is that of those observed. With P of the complete design, M = D'PD and ŷ = y - D M⁻¹D'Py,

.. math:: -2l = const + \log|V| + \log|X'V^{-1}X| + \log|M| + ŷ'Pŷ

M and D'Py are sums over canonical traits i of ``T_ia T_ib e_u'P(λ_i)e_v``: the functions of λ that are tabulated for
records (:mod:`bayesmv.likelihood.spectral.engine`) are tabulated for columns e_u of units with a missing record too.
Derivatives have the form of the complete ones, with ŷ for y and traces of M⁻¹ beside the squares:

.. math:: ŷ_i'P_i F P_j ŷ_j + \sum_{c,c'} (M^{-1})_{cc'} T_{ia} T_{ja'} e_u'P_i F P_j e_{u'}, \quad F = H, I

Source: Bartlett (1937), J. R. Stat. Soc. Suppl. 4:137-183 (missing plots by analysis of covariance).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.likelihood.protocol import CALL, MULTIPLICATION, Offer, declined
from bayesmv.likelihood.spectral import series as functions
from bayesmv.likelihood.spectral.engine import NODES, analysed, structural_obstacle, tabulated
from bayesmv.likelihood.spectral.series import Series, canonical, products, weights
from bayesmv.numerics.symmetric import packed_rows, symmetric_part, unit_components

#: Most missing records, and units that have one: of more, the tables are larger than what they save.
MOST_CELLS = 400
#: Evaluations that cost nothing else which one takes, in Python: it is not called by compiled code.
_BASE = 40


class _Pair(NamedTuple):
    """S(λ_i) and S[λ_i, λ_j] of the columns [Y, E_U], (s, s) each, and d and d[λ_i, λ_j]; λ_i ≥ λ_j."""

    value: Array
    slope: Array
    d: float
    d_slope: float


class _State(NamedTuple):
    """What an evaluation has found."""

    total: float
    ratios: Array
    T: Array
    W: Array
    pairs: dict[tuple[int, int], _Pair]
    inverse: Array


class MissingCells:
    """Restricted likelihood of a design with one random term and some records missing.

    Parameters
    ----------
    design
        The design.
    series
        d and S of [Y, E_U], the columns of records and of units with a missing one; tabulated if not given.
    """

    name: ClassVar[str] = "covariates"
    universal: ClassVar[bool] = False

    def __init__(self, design: Design, series: Series | None = None, *, progress: bool = False) -> None:
        self.design = design
        missing = ~design.observed
        self.units = np.flatnonzero(missing.any(axis=1))
        place = np.full(len(design.units), -1)
        place[self.units] = np.arange(len(self.units))
        rows, self.traits = np.nonzero(missing)
        #: Column of [Y, E_U] of every missing record.
        self.columns = len(design.traits) + place[rows]
        self.series = _table(design, self.units, progress) if series is None else series
        size = len(design.traits) + len(self.units)
        i, j = packed_rows(size)
        self._full = np.empty((size, size), dtype=np.intp)
        self._full[i, j] = self._full[j, i] = np.arange(len(i))
        self._constant = (
            len(design.traits) * self.series.constant + 0.5 * len(rows) * float(np.log(2 * np.pi)) + design.log_jacobian
        )

    @classmethod
    def offer(cls, design: Design) -> Offer:
        """Offer for designs of one term with few missing records."""
        reason = structural_obstacle(design) or _few(design)
        if reason is not None:
            return declined(cls.name, reason)
        t, cells = len(design.traits), int((~design.observed).sum())
        size = t + int((~design.observed).any(axis=1).sum())
        pairs = t * (t + 1) // 2
        tabled = NODES * pairs * size * (size + 1) + 4 * pairs * size**2
        cost = _BASE * CALL + 0.3 * MULTIPLICATION * (tabled + cells**3 + 3 * pairs * cells**2)
        return Offer(cost=cost, prepare=lambda progress: cls(design, progress=progress))

    def fork(self) -> Self:
        """Return self: nothing is written to."""
        return self

    def loglik(self, sigmas: Sequence[Array]) -> float:
        """Restricted log-likelihood; -inf where R is singular."""
        state = self._evaluated(sigmas)
        return -np.inf if state is None else self._constant - 0.5 * state.total

    def value_and_gradient(self, sigmas: Sequence[Array]) -> tuple[float, list[Array]]:
        """Restricted log-likelihood and its derivative by both matrices."""
        state = self._evaluated(sigmas)
        if state is None:
            return -np.inf, [np.zeros_like(S) for S in sigmas]
        A, B = np.zeros_like(state.T), np.zeros_like(state.T)
        for (i, j), pair in state.pairs.items():
            value = state.W[i] @ pair.value @ state.W[j] + self._trace(state, i, j, pair.value)
            slope = state.W[i] @ pair.slope @ state.W[j] + self._trace(state, i, j, pair.slope)
            A[i, j] = A[j, i] = -0.5 * slope
            B[i, j] = B[j, i] = 0.5 * (value + state.ratios[j] * slope)
            if i == j:
                A[i, i] -= 0.5 * pair.d_slope
                B[i, i] -= 0.5 * (self.series.freedom - state.ratios[i] * pair.d_slope)
        gradients = [symmetric_part(state.T.T @ G @ state.T) for G in (A, B)]
        return self._constant - 0.5 * state.total, gradients

    def average_information(self, sigmas: Sequence[Array]) -> Array:
        """½ q_a'P q_b less the part that the missing records take, q_a = V_a P ŷ."""
        state = self._evaluated(sigmas)
        if state is None:
            raise np.linalg.LinAlgError("R is singular at these covariances")
        T, t = state.T, len(state.T)
        E = T @ np.stack(unit_components(t)) @ T.T
        middle = products(state.ratios, np.ascontiguousarray(state.W), self.series)
        whole = np.block([[0.5 * np.einsum("aij,bik,jik->ab", E, E, m) for m in row] for row in middle])
        # D'P q_a: of the genetic components e_u'P_iHP_j ŷ_j, of the residual ones e_u'P_iP_j ŷ_j.
        taken = np.zeros((2, len(E), len(self.columns)))
        for i in range(t):
            for j in range(t):
                pair = state.pairs[max(i, j), min(i, j)]
                slope = (pair.slope @ state.W[j])[self.columns]
                value = (pair.value @ state.W[j])[self.columns] + state.ratios[min(i, j)] * slope
                both = T[i, self.traits] * np.stack([-slope, value])
                taken += E[None, :, i, j, None] * both[:, None, :]
        flat = taken.reshape(2 * len(E), -1)
        return np.asarray(whole - 0.5 * flat @ state.inverse @ flat.T)

    def _trace(self, state: _State, i: int, j: int, S: Array) -> float:
        """Σ (M⁻¹)_cc' T_ia T_ja' S_uu'."""
        left, right = state.T[i, self.traits], state.T[j, self.traits]
        return float(left @ (state.inverse * S[np.ix_(self.columns, self.columns)]) @ right)

    def _evaluated(self, sigmas: Sequence[Array]) -> _State | None:
        log_R, ratios, T = canonical(*map(np.ascontiguousarray, sigmas))
        if not np.isfinite(log_R):
            return None
        t = len(T)
        pairs = self._pairs(ratios)
        M, c = np.zeros((len(self.columns),) * 2), np.zeros(len(self.columns))
        for i in range(t):
            S, own = pairs[i, i].value, T[i, self.traits]
            M += np.outer(own, own) * S[np.ix_(self.columns, self.columns)]
            c += own * (S[np.ix_(self.columns, np.arange(t))] @ T[i])
        try:
            factor = cho_factor(M, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        inverse = cho_solve(factor, np.eye(len(M)), check_finite=False)
        beta = inverse @ c
        W = np.zeros((t, self._full.shape[0]))
        W[:, :t] = T
        np.subtract.at(W.T, self.columns, (T[:, self.traits] * beta).T)
        total = self.series.freedom * log_R + 2.0 * float(np.log(np.diag(factor[0])).sum())
        total += sum(pairs[i, i].d + float(W[i] @ pairs[i, i].value @ W[i]) for i in range(t))
        return _State(total, ratios, T, W, pairs, inverse) if np.isfinite(total) else None

    def _pairs(self, ratios: Array) -> dict[tuple[int, int], _Pair]:
        """All functions at every pair of ratios, by one product of matrices."""
        order = [(i, j) for i in range(len(ratios)) for j in range(i + 1)]
        by = np.concatenate([weights(self.series, ratios[i], ratios[j]) for i, j in order])
        whole = (by @ self.series.coefficients[:, 1:])[:, self._full]
        out = {}
        log = self.series._replace(coefficients=np.ascontiguousarray(self.series.coefficients[:, :1]))
        for k, (i, j) in enumerate(order):
            d, slope = np.empty(1), np.empty(1)
            functions.differences(log, ratios[i], ratios[j], d, slope)
            out[i, j] = _Pair(whole[2 * k], whole[2 * k + 1], float(d[0]), float(slope[0]))
        return out


def _few(design: Design) -> str | None:
    cells = int((~design.observed).sum())
    if not cells:
        return "no records are missing"
    if not design.observed.all(axis=1).any():
        return "no unit has records of all traits"
    return f"{cells} missing records are more than {MOST_CELLS}" if cells > MOST_CELLS else None


def _table(design: Design, units: npt.NDArray[np.intp], progress: bool) -> Series:
    """d and S of [Y, E_U]."""
    E = np.zeros((len(design.units), len(units)))
    E[units, np.arange(len(units))] = 1.0
    return tabulated(
        analysed(design), np.hstack([design.working_response, E]), design.terms[0].name, progress=progress
    )[0]
