r"""Residual covariances of traits of several kinds: what is conditioned on exactly, and what becomes an unknown.

Residuals of the observed traits of a unit are e = L z, with LL' the residual covariance R of these traits, Gaussian
ones first, then counts, then a threshold trait. z of Gaussian traits is known from their records,
:math:`z_g = L_{gg}^{-1}(y_g - η_g)`; those of counts are unknowns ε; that of a threshold trait is integrated out by its
distribution function. So every record has a density of its own, of a latent value that is linear in the location
effects and ε,

.. math:: \tilde η = M (η - y_g) + N ε

.. math::

    M_{gg} = L_{gg}^{-1}, \quad M_{ig} = -\frac{L_{ig} L_{gg}^{-1}}{s_i}, \quad M_{ii} = \frac{1}{s_i}, \quad
    N_{ic} = \frac{L_{ic}}{s_i}

with s = 1 of counts and s = L_ii of a threshold trait, by which its thresholds are divided too. A Gaussian record is
N(0, 1) at :math:`\tilde η`, with the Jacobian log M_gg. Nothing is augmented, and nothing approximated. Traits whose
distribution knows no normal residual (a logit, negative binomial) stand alone, with M = 1.

Source: Foulley, Gianola & Thompson (1983), Genet. Sel. Evol. 15:401-424 (a normal and a binary trait).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.families.declared import Binomial, Family, Gaussian, Poisson
from bayesmv.numerics.compiled import njit

#: Kinds of traits, in the order in which they are conditioned on.
NORMAL, COUNT, THRESHOLD, BARE = range(4)
#: Variance left of a residual given those before it, relative to its own, that smaller ones are raised to.
_LEAST = 1e-10


class Conditioning(NamedTuple):
    """Which records share residuals, and where the numbers M and N of every pattern of traits stand.

    Parameters
    ----------
    kinds
        Kind of every trait, (t,).
    order
        Traits in the order in which they are conditioned on, (t,).
    patterns
        Sets of observed traits that occur, (patterns, t).
    pattern
        Pattern of every unit, (n,).
    records
        Number of units of every pattern.
    linked
        Which traits have residuals that are correlated, through others or not, (t, t).
    """

    kinds: IntArray
    order: IntArray
    patterns: npt.NDArray[np.bool_]
    pattern: IntArray
    records: Array
    linked: npt.NDArray[np.bool_]

    @property
    def alone(self) -> npt.NDArray[np.bool_]:
        """Which traits have residuals of their own, (t,)."""
        return np.asarray(self.linked.sum(axis=1) == 1)

    def numbers(self, R: Array) -> Array:
        """M and N of all patterns, flat, (patterns · 2 t²,)."""
        return np.asarray(mixed(np.ascontiguousarray(R), self.kinds, self.order, self.patterns).reshape(-1))

    def log_jacobian(self, numbers: Array) -> float:
        """Sum of log M_gg over the Gaussian records."""
        M = numbers.reshape(len(self.patterns), 2, len(self.kinds), -1)[:, 0]
        own = np.einsum("pii->pi", M)
        normal = self.patterns & (self.kinds == NORMAL)
        return float(self.records @ np.log(np.where(normal, own, 1.0)).sum(axis=1))

    def pulled(self, R: Array, by_numbers: Array) -> Array:
        """Derivative by R, (t, t), of a function of M and N, with the Jacobian of the Gaussian records."""
        t = len(self.kinds)
        by = np.array(by_numbers, dtype=float).reshape(len(self.patterns), 2, t, t)
        return np.asarray(pulled_back(np.ascontiguousarray(R), self.kinds, self.order, self.patterns, self.records, by))


def build_conditioning(design: Design) -> Conditioning:
    """Analyse the residuals of a design."""
    kinds = np.array([kind_of(f) for f in design.families], dtype=np.int64)
    patterns, pattern = np.unique(design.observed, axis=0, return_inverse=True)
    linked = np.eye(len(kinds), dtype=bool)
    for i, j in design.residual.structure.support:
        linked[i, j] = linked[j, i] = True
    for _ in kinds:
        linked = linked @ linked
    return Conditioning(
        kinds=kinds,
        order=np.argsort(kinds, kind="stable").astype(np.int64),
        patterns=patterns,
        pattern=pattern.reshape(-1).astype(np.int64),
        records=np.bincount(pattern.reshape(-1), minlength=len(patterns)).astype(float),
        linked=linked,
    )


def kind_of(family: Family) -> int:
    """Kind of a trait."""
    if isinstance(family, Gaussian):
        return NORMAL
    if isinstance(family, Poisson):
        return COUNT
    return BARE if isinstance(family, Binomial) and family.link == "logit" else THRESHOLD


@njit(cache=True, error_model="numpy")
def mixed(R, kinds, order, patterns):  # type: ignore[no-untyped-def]
    """M and N of every pattern, (patterns, 2, t, t); rows and columns of traits as the design has them."""
    n, t = patterns.shape
    out = np.zeros((n, 2, t, t))
    for p in range(n):
        at = order[patterns[p][order]]
        M, N = conditioned(cholesky(R, at), kinds[at])
        for a in range(len(at)):
            for b in range(a + 1):
                out[p, 0, at[a], at[b]] = M[a, b]
                out[p, 1, at[a], at[b]] = N[a, b]
    return out


@njit(cache=True, error_model="numpy")
def pulled_back(R, kinds, order, patterns, records, by):  # type: ignore[no-untyped-def]
    """Derivative by R from those by M and N, and of the Jacobian of the Gaussian records."""
    n, t = patterns.shape
    out = np.zeros((t, t))
    for p in range(n):
        at = order[patterns[p][order]]
        m = len(at)
        by_M, by_N = np.zeros((m, m)), np.zeros((m, m))
        for a in range(m):
            for b in range(a + 1):
                by_M[a, b], by_N[a, b] = by[p, 0, at[a], at[b]], by[p, 1, at[a], at[b]]
        L = cholesky(R, at)
        M, N = conditioned(L, kinds[at])
        for a in range(m):
            if kinds[at[a]] == NORMAL:
                by_M[a, a] += records[p] / M[a, a]
        by_R = by_matrix(L, by_factor(L, M, N, kinds[at], by_M, by_N))
        for a in range(m):
            for b in range(m):
                out[at[a], at[b]] += by_R[a, b]
    return out


@njit(cache=True, error_model="numpy")
def cholesky(R, at):  # type: ignore[no-untyped-def]
    """Cholesky factor of R of the traits `at`, (m, m), its pivots kept off 0."""
    m = len(at)
    L = np.zeros((m, m))
    for a in range(m):
        for b in range(a + 1):
            left = R[at[a], at[b]]
            for c in range(b):
                left -= L[a, c] * L[b, c]
            if a == b:
                L[a, a] = np.sqrt(max(left, _LEAST * max(R[at[a], at[a]], _LEAST)))
            else:
                L[a, b] = left / L[b, b]
    return L


@njit(cache=True, error_model="numpy")
def _divisor(kind, pivot):  # type: ignore[no-untyped-def]
    """s of the head of this file, and of a Gaussian trait the pivot, by which its row is divided too."""
    return pivot if kind in (NORMAL, THRESHOLD) else 1.0


@njit(cache=True, error_model="numpy")
def conditioned(L, kinds):  # type: ignore[no-untyped-def]
    """M and N of the traits of a factor, (m, m) each."""
    m = len(L)
    M, N = np.zeros((m, m)), np.zeros((m, m))
    for a in range(m):
        s = _divisor(kinds[a], L[a, a])
        M[a, a] = 1.0 / s
        for b in range(a):
            # The row of L_gg⁻¹ of a Gaussian trait before this one is that of M.
            if kinds[b] == NORMAL:
                M[a, : b + 1] -= L[a, b] * M[b, : b + 1] / s
            else:
                N[a, b] = L[a, b] / s
        if kinds[a] == COUNT:
            N[a, a] = L[a, a]
    return M, N


@njit(cache=True, error_model="numpy")
def by_factor(L, M, N, kinds, by_M, by_N):  # type: ignore[no-untyped-def]
    """Derivative by L, (m, m), from those by M (overwritten) and N: the steps of `conditioned` backwards."""
    m = len(L)
    out = np.zeros((m, m))
    for a in range(m - 1, -1, -1):
        s = _divisor(kinds[a], L[a, a])
        by_s = -(by_M[a] * M[a]).sum() / s
        for b in range(a):
            if kinds[b] == NORMAL:
                out[a, b] -= (by_M[a, : b + 1] * M[b, : b + 1]).sum() / s
                by_M[b, : b + 1] -= by_M[a, : b + 1] * L[a, b] / s
            else:
                out[a, b] += by_N[a, b] / s
                by_s -= by_N[a, b] * N[a, b] / s
        if kinds[a] == COUNT:
            out[a, a] += by_N[a, a]
        elif kinds[a] != BARE:
            out[a, a] += by_s
    return out


@njit(cache=True, error_model="numpy")
def by_matrix(L, by):  # type: ignore[no-untyped-def]
    """Symmetric derivative by R = LL' from that by L (overwritten): the steps of `cholesky` backwards."""
    m = len(L)
    out = np.zeros((m, m))
    for a in range(m - 1, -1, -1):
        for b in range(a, -1, -1):
            if a == b:
                by_left = 0.5 * by[a, a] / L[a, a]
            else:
                by_left = by[a, b] / L[b, b]
                by[b, b] -= by[a, b] * L[a, b] / L[b, b]
            out[a, b] += 0.5 * by_left
            out[b, a] += 0.5 * by_left
            for c in range(b):
                by[a, c] -= by_left * L[b, c]
                by[b, c] -= by_left * L[a, c]
    return out
