r"""Predictive density of blocks of records given all others, from one factorisation of the mixed-model equations.

With a flat prior on the fixed effects, the records :math:`y_B` of a block are, given the others and the covariances,

.. math:: y_B \mid y_{-B} \sim N(y_B - P_{BB}^{-1}(Py)_B,\; P_{BB}^{-1}),
          \qquad P = V^{-1} - V^{-1}X(X'V^{-1}X)^{-1}X'V^{-1}

so the log density is ``½ log|P_BB| - ½ (Py)_B' P_BB⁻¹ (Py)_B``, which is also the fall of the restricted
log-likelihood when the block is left out. P itself is never formed: ``P = Q - QW C⁻¹ W'Q``, where Q is block-diagonal
over units (R⁻¹, or V_c⁻¹ of units with absorbed levels). Blocks of one unit read C⁻¹ on the pattern of its factor,
larger ones solve with the factor along their paths in its elimination tree.

Source: Haslett (1999), J. R. Statist. Soc. B 61:603-609 (deletion of blocks); Sundararajan & Keerthi (2001), Neural
Computation 13:1103-1118.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.errors import DataError, SpecError, listing
from bayesmv.likelihood.sparse.engine import Evaluation, MixedModelLikelihood
from bayesmv.likelihood.sparse.equations import Equations
from bayesmv.numerics.cholesky import Workspace
from bayesmv.numerics.compiled import njit

#: Most records of a block: its covariance is a dense matrix.
LARGEST = 1000
#: Smallest eigenvalue of P_BB, where Q has a unit diagonal, of a block that the other records predict.
_PREDICTABLE = 1e-9


class Touched(NamedTuple):
    """Unknowns that bear on every unit.

    Parameters
    ----------
    begin
        Where those of each unit begin, (n + 1,).
    rows
        Their positions in the permuted equations, (E,).
    unit
        Their unit, (E,).
    places
        For every load, where the effects of each of its entries stand in `rows`, (entries, m).
    """

    begin: IntArray
    rows: IntArray
    unit: IntArray
    places: list[IntArray]


class LeaveOut(MixedModelLikelihood):
    """Log predictive densities of blocks of units, each given all records outside it.

    Parameters
    ----------
    design
        The design.
    block_of
        Block of every unit, counted from 0; -1 for units that are in none, (n,).
    equations
        The analysed equations of the design, to share them.

    Attributes
    ----------
    units, records
        Units of every block, and its number of records.

    Raises
    ------
    SpecError
        If a block has more than 1000 records.
    """

    def __init__(self, design: Design, block_of: IntArray, equations: Equations | None = None) -> None:
        super().__init__(design, equations)
        self.block_of = block_of
        self.units = _members(block_of)
        self.records = np.array([design.observed[units].sum() for units in self.units])
        log_unit = np.log(design.scale) - 0.5 * np.log(design.residual.weights)[:, None]  # unit of √w y
        log_units = np.array([np.sum(log_unit[units], where=design.observed[units]) for units in self.units])
        self._constants = 0.5 * self.records * np.log(2.0 * np.pi) + log_units
        if self.records.max(initial=0) > LARGEST:
            raise SpecError(
                f"a block of {self.records.max()} records is too large to leave out at once (at most {LARGEST}); "
                f"choose a factor with smaller levels, or single units (by=None)"
            )

    def fork(self) -> Self:
        """Return an engine of the same blocks that shares the analysis but not the scratch memory."""
        return type(self)(self.design, self.block_of, self.equations)

    def log_density(self, sigmas: Sequence[Array]) -> Array:
        """Log predictive density of every block, in the units of the data, (blocks,).

        Parameters
        ----------
        sigmas
            Covariance matrices of the scaled traits, in the order of ``Design.names``.

        Raises
        ------
        DataError
            If the other records do not determine the fixed effects of a block.
        """
        g, Q, WQ, work = self._weighted(sigmas)
        density = self._single(work, g, Q, WQ) if self._all_single else self._several(work, g, Q, WQ)
        return np.asarray(density - self._constants)

    def projected(self, sigmas: Sequence[Array]) -> tuple[Array, Array]:
        """Py of every unit and its block P_uu of P, where each unit is a block, (n, t) and (n, t, t).

        In scaled units, of records times √weight; rows and columns of traits that were not recorded are 0.
        """
        g, Q, WQ, work = self._weighted(sigmas)
        taken = np.zeros_like(Q)
        unit_products(self.equations.symbolic, work.inverse, self._touched.begin, self._touched.rows, WQ, taken)
        return g, Q - taken

    def _weighted(self, sigmas: Sequence[Array]) -> tuple[Array, Array, Array, Workspace]:
        """Py, Q and the rows of W'Q of every unit, with the factor of the equations."""
        small, work = self._at(sigmas, gradient=self._all_single)
        g = self._weight(small, self._residuals(self._solve(sigmas, small, work)))
        n, t = g.shape
        Q = self._weight(small, np.broadcast_to(np.eye(t), (n, t, t)))
        return g, Q, self._right_sides(small, Q), work

    @property
    def _all_single(self) -> bool:
        return all(len(units) == 1 for units in self.units)

    @cached_property
    def _touched(self) -> Touched:
        n, order = len(self.design.units), int(self.equations.symbolic.start[-1])
        scalars, units = [], []
        for load, phi in self._unit_loads(self._small):  # their sizes alone
            entries = sparse.coo_array(load.incidence)
            scalars.append(self.equations.scalar_of[entries.col][:, None] + np.arange(phi.shape[1]))
            units.append(entries.row.astype(np.int64))
        keys = [u[:, None] * order + s for u, s in zip(units, scalars, strict=True)]
        distinct, place = np.unique(
            np.concatenate([np.zeros(0, dtype=np.int64), *(k.reshape(-1) for k in keys)]), return_inverse=True
        )
        ends = np.cumsum([0, *(k.size for k in keys)])
        places = [place[a : a + k.size].reshape(k.shape) for a, k in zip(ends[:-1], keys, strict=True)]
        unit = distinct // order
        begin = np.searchsorted(unit, np.arange(n + 1)).astype(np.int64)
        return Touched(begin, distinct % order, unit, places)

    def _right_sides(self, small: Evaluation, Q: Array) -> Array:
        """Rows of W'Q of every unit that are not zero, (E, t)."""
        out = np.zeros((len(self._touched.rows), Q.shape[1]))
        for (load, phi), place in zip(self._unit_loads(small), self._touched.places, strict=True):
            entries = sparse.coo_array(load.incidence)
            # A node occurs once in an entry of a load, so that no place is met twice here.
            out[place] += entries.data[:, None, None] * np.einsum("ta,utj->uaj", phi, Q[entries.row])
        return out

    def _single(self, work: Workspace, g: Array, Q: Array, WQ: Array) -> Array:
        """Densities of blocks of one unit each, without constants."""
        at = np.concatenate(self.units)
        taken = np.zeros_like(Q)
        unit_products(self.equations.symbolic, work.inverse, self._touched.begin, self._touched.rows, WQ, taken)
        P, missing = (Q - taken)[at], ~self.design.observed[at]
        self._check(P, Q[at], missing)
        P = P + np.eye(P.shape[1]) * missing[:, None, :]  # traits that were not recorded: log 1 and 0
        error = np.linalg.solve(P, g[at][..., None])[..., 0]
        return np.asarray(0.5 * (np.linalg.slogdet(P)[1] - np.sum(g[at] * error, axis=1)))

    def _several(self, work: Workspace, g: Array, Q: Array, WQ: Array) -> Array:
        """Densities of blocks of several units each, without constants."""
        symbolic, t = self.equations.symbolic, Q.shape[1]
        widest = max(len(units) for units in self.units) * t
        scratch, visited = np.zeros((int(symbolic.start[-1]), widest)), np.zeros(len(symbolic.start), dtype=np.bool_)
        out = np.empty(len(self.units))
        for b, units in enumerate(self.units):
            taken = np.zeros((len(units) * t, len(units) * t))
            touched = self._touched.begin, self._touched.rows
            block_products(symbolic, work.factor, units, *touched, WQ, scratch, visited, taken)
            seen = self.design.observed[units].reshape(-1)
            whole = _block_diagonal(Q[units])[np.ix_(seen, seen)]
            P = whole - taken[np.ix_(seen, seen)]
            self._check(P[None], whole[None], np.zeros((1, len(P)), dtype=bool), b)
            mine = g[units].reshape(-1)[seen]
            out[b] = 0.5 * (np.linalg.slogdet(P)[1] - mine @ np.linalg.solve(P, mine))
        return out

    def _check(self, P: Array, Q: Array, missing: npt.NDArray[np.bool_], first: int = 0) -> None:
        """Refuse blocks whose P_BB is singular: without them X has a lower rank."""
        size = np.sqrt(np.where(missing, 1.0, np.diagonal(Q, axis1=1, axis2=2)))
        scaled = P / (size[:, :, None] * size[:, None, :]) + np.eye(P.shape[1]) * missing[:, None, :]
        lost = np.flatnonzero(np.linalg.eigvalsh(scaled)[:, 0] < _PREDICTABLE) + first
        if len(lost):
            names = [self.design.units[self.units[b][0]] for b in lost]
            raise DataError(
                f"{len(lost)} blocks cannot be predicted from the others, which do not determine their fixed effects: "
                f"those of units {listing(names)}; take the fixed effects that only they have out of the model"
            )


def _members(block_of: IntArray) -> list[IntArray]:
    """Units of every block."""
    order = np.argsort(block_of, kind="stable").astype(np.int64)
    count = np.bincount(block_of[block_of >= 0])
    return np.split(order[(block_of < 0).sum() :], np.cumsum(count)[:-1])


def _block_diagonal(blocks: Array) -> Array:
    """(k, t, t) blocks on the diagonal of a (kt, kt) matrix."""
    k, t, _ = blocks.shape
    out = np.zeros((k, t, k, t))
    out[np.arange(k), :, np.arange(k), :] = blocks
    return out.reshape(k * t, k * t)


@njit(cache=True, nogil=True)
def unit_products(symbolic, inverse, begin, rows, values, out):  # type: ignore[no-untyped-def]
    """B_u' C⁻¹ B_u of every unit into `out` (n, t, t), B_u its rows of `values`, C⁻¹ on the pattern of its factor."""
    t = values.shape[1]
    for u in range(len(begin) - 1):
        for a in range(begin[u], begin[u + 1]):
            for b in range(begin[u], a + 1):
                S = _entry(symbolic, inverse, max(rows[a], rows[b]), min(rows[a], rows[b]))
                for i in range(t):
                    for j in range(t):
                        out[u, i, j] += S * values[a, i] * values[b, j]
                        if a != b:
                            out[u, j, i] += S * values[a, i] * values[b, j]


@njit(cache=True)
def _entry(symbolic, numbers, row, col):  # type: ignore[no-untyped-def]
    """Number at (row, col) of a lower triangle kept in panels."""
    start, row_start, rows, panel_start, owner, _ = symbolic
    s = owner[col]
    width = start[s + 1] - start[s]
    column = panel_start[s] + (col - start[s]) * (width + row_start[s + 1] - row_start[s])
    if row < start[s + 1]:
        return numbers[column + row - start[s]]
    return numbers[column + width + np.searchsorted(rows[row_start[s] : row_start[s + 1]], row)]


@njit(cache=True, nogil=True)
def block_products(symbolic, factor, units, begin, rows, values, Z, visited, out):  # type: ignore[no-untyped-def]
    """B' C⁻¹ B of one block into `out` (k, k), by ``L Z = B`` on the supernodes that B reaches.

    `Z` (order, ≥ k) and `visited` (supernodes) are scratch memory of zeros, and are left so.
    """
    start, row_start, below, panel_start, owner, _ = symbolic
    t, last = values.shape[1], len(start) - 2
    k = len(units) * t
    for position, u in enumerate(units):
        for e in range(begin[u], begin[u + 1]):
            s = owner[rows[e]]
            while s < last and not visited[s]:
                visited[s] = True
                s = owner[below[row_start[s]]] if row_start[s + 1] > row_start[s] else last
            for j in range(t):
                Z[rows[e], position * t + j] = values[e, j]
    for s in np.flatnonzero(visited):
        visited[s] = False
        width, under = start[s + 1] - start[s], below[row_start[s] : row_start[s + 1]]
        for j in range(width):
            column = factor[panel_start[s] + j * (width + len(under)) :]
            z = Z[start[s] + j, :k]
            z /= column[j]
            for i in range(j + 1, width):
                Z[start[s] + i, :k] -= column[i] * z
            for i in range(len(under)):
                Z[under[i], :k] -= column[width + i] * z
        solved = Z[start[s] : start[s + 1], :k].copy()
        out += solved.T @ solved
        Z[start[s] : start[s + 1], :k] = 0.0
    Z[start[last] :, :k] = 0.0
