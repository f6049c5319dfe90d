r"""Residual covariances of traits of several kinds: what is conditioned on exactly, and what becomes an unknown.

Residuals of the observed traits of a unit are e = L z, with LL' the residual covariance R of these traits: first
records that are known exactly, then counts, then those of which a threshold, or bounds, are known. z of the first is
known, :math:`z_g = L_{gg}^{-1}(y_g - η_g)`; those of counts are unknowns ε; that of a single threshold record is
integrated out by its distribution function. So every record has a density of its own, of a latent value that is linear
in the location effects and ε,

.. math:: \tilde η = M (η - y_g) + N ε

.. math::

    M_{gg} = L_{gg}^{-1}, \quad M_{ig} = -\frac{L_{ig} L_{gg}^{-1}}{s_i}, \quad M_{ii} = \frac{1}{s_i}, \quad
    N_{ic} = \frac{L_{ic}}{s_i}

with s = 1 of counts and s = L_ii of a threshold record, by which its thresholds are divided too. An exact record is
N(0, 1) at :math:`\tilde η`, with the Jacobian log M_gg. Traits whose distribution knows no normal residual (a logit,
negative binomial) stand alone, with M = 1.

Of **m > 1 threshold records with correlated residuals** the probability is an integral in m dimensions. A part of each
residual that is independent of all others is taken out of R, with variance

.. math:: s_i^2 = δ S_{ii}, \quad δ = \left(\frac{m - 1}{m}\right)^{m - 1} \frac{|S|}{\prod S_{jj}}

S being their covariance given the records before them: δ is below the smallest eigenvalue of their correlation matrix,
whatever that is (the inequality of the means of its eigenvalues). With L the factor of R less these, the rest are
unknowns ε as those of counts, N_ii = L_ii / s_i among them, and given ε each record has its own distribution function.

Source: Foulley, Gianola & Thompson (1983), Genet. Sel. Evol. 15:401-424 (a normal and a binary trait).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.families.declared import Censored, Family
from bayesmv.numerics.compiled import njit

#: Kinds of records, in the order in which they are conditioned on; ABSENT ones are not.
NORMAL, COUNT, LINKED, THRESHOLD, BARE = range(5)
ABSENT = -1
#: Variance left of a residual given those before it, relative to its own, that smaller ones are raised to.
_LEAST = 1e-10


class Conditioning(NamedTuple):
    """Which records share residuals, and where the numbers M and N of every pattern of records stand.

    Parameters
    ----------
    kinds
        Kinds of the records of the traits in every pattern that occurs, ABSENT where there is none, (patterns, t).
    order
        Traits of every pattern in the order in which they are conditioned on, (patterns, t).
    pattern
        Pattern of every unit, (n,).
    records
        Number of units of every pattern.
    linked
        Which traits have residuals that are correlated, through others or not, (t, t).
    """

    kinds: IntArray
    order: IntArray
    pattern: IntArray
    records: Array
    linked: npt.NDArray[np.bool_]

    @property
    def alone(self) -> npt.NDArray[np.bool_]:
        """Which traits have residuals of their own, (t,)."""
        return np.asarray(self.linked.sum(axis=1) == 1)

    def kind_of(self, unit: IntArray, trait: IntArray) -> IntArray:
        """Kind of every record."""
        return np.asarray(self.kinds[self.pattern[unit], trait])

    def numbers(self, R: Array) -> Array:
        """M and N of all patterns, flat, (patterns · 2 t²,)."""
        return np.asarray(mixed(np.ascontiguousarray(R), self.kinds, self.order).reshape(-1))

    def log_jacobian(self, numbers: Array) -> float:
        """Sum of log M_gg over the records that are known exactly."""
        n, t = self.kinds.shape
        own = np.einsum("pii->pi", numbers.reshape(n, 2, t, t)[:, 0])
        return float(self.records @ np.log(np.where(self.kinds == NORMAL, own, 1.0)).sum(axis=1))

    def pulled(self, R: Array, by_numbers: Array) -> Array:
        """Derivative by R, (t, t), of a function of M and N, with the Jacobian of the exact records."""
        n, t = self.kinds.shape
        by = np.array(by_numbers, dtype=float).reshape(n, 2, t, t)
        return np.asarray(pulled_back(np.ascontiguousarray(R), self.kinds, self.order, self.records, by))


def build_conditioning(design: Design) -> Conditioning:
    """Analyse the residuals of a design."""
    t = len(design.traits)
    linked = np.eye(t, dtype=bool)
    for i, j in design.residual.structure.support:
        linked[i, j] = linked[j, i] = True
    for _ in range(t):
        linked = linked @ linked
    of_records = np.column_stack([kinds_of(f, len(design.units)) for f in design.families])
    kinds, pattern = np.unique(np.where(design.observed, of_records, ABSENT), axis=0, return_inverse=True)
    liability = kinds == THRESHOLD
    several = (liability[:, None, :] & linked).sum(axis=2) > 1
    kinds[liability & several] = LINKED
    pattern = pattern.reshape(-1).astype(np.int64)
    return Conditioning(
        kinds=kinds,
        order=np.argsort(kinds, axis=1, kind="stable").astype(np.int64),
        pattern=pattern,
        records=np.bincount(pattern, minlength=len(kinds)).astype(float),
        linked=linked,
    )


def kinds_of(family: Family, n: int) -> IntArray:
    """Kinds of the n records of a trait, each taken by itself."""
    if isinstance(family, Censored):
        return np.where(family.exact, NORMAL, THRESHOLD).astype(np.int64)
    if family.linear:
        kind = NORMAL
    elif family.is_threshold:
        kind = THRESHOLD
    else:
        kind = COUNT if family.counts and family.has_residual else BARE
    return np.full(n, kind, dtype=np.int64)


@njit(cache=True, error_model="numpy")
def _present(kinds, order):  # type: ignore[no-untyped-def]
    """Traits of a pattern that were recorded, in the order of conditioning."""
    return order[kinds[order] != ABSENT]


@njit(cache=True, error_model="numpy")
def mixed(R, kinds, order):  # type: ignore[no-untyped-def]
    """M and N of every pattern, (patterns, 2, t, t); rows and columns of traits as the design has them."""
    n, t = kinds.shape
    out = np.zeros((n, 2, t, t))
    for p in range(n):
        at = _present(kinds[p], order[p])
        own = kinds[p][at]
        L = cholesky(R, at, np.zeros(len(at)))
        s = divisors(L, own)
        if (own == LINKED).any():
            L = cholesky(R, at, _taken(s, own))
        M, N = conditioned(L, s, own)
        for a in range(len(at)):
            for b in range(a + 1):
                out[p, 0, at[a], at[b]] = M[a, b]
                out[p, 1, at[a], at[b]] = N[a, b]
    return out


@njit(cache=True, error_model="numpy")
def pulled_back(R, kinds, order, records, by):  # type: ignore[no-untyped-def]
    """Derivative by R from those by M and N, and of the Jacobian of the exact records."""
    n, t = kinds.shape
    out = np.zeros((t, t))
    for p in range(n):
        at = _present(kinds[p], order[p])
        m, own = len(at), kinds[p][at]
        by_M, by_N = np.zeros((m, m)), np.zeros((m, m))
        whole = cholesky(R, at, np.zeros(m))
        s, L = divisors(whole, own), whole
        if (own == LINKED).any():
            L = cholesky(R, at, _taken(s, own))
        M, N = conditioned(L, s, own)
        for a in range(m):
            for b in range(a + 1):
                by_M[a, b], by_N[a, b] = by[p, 0, at[a], at[b]], by[p, 1, at[a], at[b]]
            by_M[a, a] += records[p] / M[a, a] if own[a] == NORMAL else 0.0
        by_L, by_s = by_factor(L, M, N, s, own, by_M, by_N)
        by_R = by_matrix(L, by_L)
        by_s -= np.where(own == LINKED, 2.0 * s * np.diag(by_R), 0.0)
        by_R += by_matrix(whole, by_divisors(whole, s, own, by_s))
        for a in range(m):
            for b in range(m):
                out[at[a], at[b]] += by_R[a, b]
    return out


@njit(cache=True, error_model="numpy")
def cholesky(R, at, taken):  # type: ignore[no-untyped-def]
    """Cholesky factor of R of the traits `at` less what is taken of their variances, (m, m), pivots kept off 0."""
    m = len(at)
    L = np.zeros((m, m))
    for a in range(m):
        for b in range(a + 1):
            left = R[at[a], at[b]]
            for c in range(b):
                left -= L[a, c] * L[b, c]
            if a == b:
                L[a, a] = np.sqrt(max(left - taken[a], _LEAST * max(R[at[a], at[a]], _LEAST)))
            else:
                L[a, b] = left / L[b, b]
    return L


@njit(cache=True, error_model="numpy")
def _taken(s, kinds):  # type: ignore[no-untyped-def]
    """Variances that are independent of all else, of threshold records of correlated residuals."""
    return np.where(kinds == LINKED, s**2, 0.0)


@njit(cache=True, error_model="numpy")
def divisors(L, kinds):  # type: ignore[no-untyped-def]
    """s of every record, and of exact ones the pivot, by which their rows are divided too; L of all of R."""
    s, several = np.ones(len(L)), kinds == LINKED
    m, log_delta = several.sum(), 0.0
    if m:
        log_delta = (m - 1) * np.log((m - 1) / m)
    for a in range(len(L)):
        if kinds[a] == NORMAL or kinds[a] == THRESHOLD:
            s[a] = L[a, a]
        elif kinds[a] == LINKED:
            log_delta += np.log(L[a, a] ** 2 / (L[a][several] ** 2).sum())
    for a in range(len(L)):
        if kinds[a] == LINKED:
            s[a] = np.sqrt(np.exp(log_delta) * (L[a][several] ** 2).sum())
    return s


@njit(cache=True, error_model="numpy")
def by_divisors(L, s, kinds, by_s):  # type: ignore[no-untyped-def]
    """Derivative by L, (m, m), of what depends on s."""
    out, several = np.zeros((len(L), len(L))), kinds == LINKED
    total = (by_s * s)[several].sum()
    for a in range(len(L)):
        if kinds[a] == NORMAL or kinds[a] == THRESHOLD:
            out[a, a] = by_s[a]
        elif kinds[a] == LINKED:
            variance = (L[a][several] ** 2).sum()
            for b in range(a + 1):
                if kinds[b] == LINKED:
                    out[a, b] = (by_s[a] * s[a] - total) * L[a, b] / variance
            out[a, a] += total / L[a, a]
    return out


@njit(cache=True, error_model="numpy")
def conditioned(L, divisor, kinds):  # type: ignore[no-untyped-def]
    """M and N of the records of a factor, (m, m) each."""
    m = len(L)
    M, N = np.zeros((m, m)), np.zeros((m, m))
    for a in range(m):
        s = divisor[a]
        M[a, a] = 1.0 / s
        for b in range(a):
            # The row of L_gg⁻¹ of an exact record before this one is that of M.
            if kinds[b] == NORMAL:
                M[a, : b + 1] -= L[a, b] * M[b, : b + 1] / s
            else:
                N[a, b] = L[a, b] / s
        if kinds[a] == COUNT or kinds[a] == LINKED:
            N[a, a] = L[a, a] / s
    return M, N


@njit(cache=True, error_model="numpy")
def by_factor(L, M, N, divisor, kinds, by_M, by_N):  # type: ignore[no-untyped-def]
    """Derivatives by L, (m, m), and s, from those by M (overwritten) and N: the steps of `conditioned` backwards."""
    m = len(L)
    out, by_s = np.zeros((m, m)), np.zeros(m)
    for a in range(m - 1, -1, -1):
        s = divisor[a]
        by_s[a] = -(by_M[a] * M[a]).sum() / s
        for b in range(a):
            if kinds[b] == NORMAL:
                out[a, b] -= (by_M[a, : b + 1] * M[b, : b + 1]).sum() / s
                by_M[b, : b + 1] -= by_M[a, : b + 1] * L[a, b] / s
            else:
                out[a, b] += by_N[a, b] / s
                by_s[a] -= by_N[a, b] * N[a, b] / s
        if kinds[a] == COUNT or kinds[a] == LINKED:
            out[a, a] += by_N[a, a] / s
            by_s[a] -= by_N[a, a] * N[a, a] / s
    return out, by_s


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
