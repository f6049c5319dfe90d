"""What of the density of records and effects depends on the parameters alone, compiled, with the steps backwards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmv.arrays import Array, IntArray
from bayesmv.families.declared import LOG_SHAPE, LOGIT_ZEROS, Family, Ordered
from bayesmv.likelihood.latent.conditioning import NORMAL, mixed, pulled_back
from bayesmv.numerics.compiled import njit

#: Families by number, as kernels know them.
GAUSSIAN, PROBIT, LOGIT, POISSON, ORDERED, CENSORED, NEGATIVE_BINOMIAL, ZERO_INFLATED = range(8)


class Shape(NamedTuple):
    """Where the parameters stand: arrays that no evaluation changes.

    Parameters
    ----------
    term, row, column, parameter, weight
        Entries of the factors F of the terms, sums of weighted parameters.
    sizes
        Effects of every term, (terms,).
    pivot
        Row of the scale of every column of a factor, (terms, most).
    trait_of
        Trait of every effect, (terms, most).
    link
        Variance of the link of every trait, 0 for none, (t,).
    gaps
        Free coordinates, and thresholds, of the family of every trait, (t, 2).
    families
        Number of the family of every trait, (t,).
    tau
        τ of every effect of the terms, and of every trait's residual, (terms + 1, most).
    counts
        Number of unknowns of every group of the centring: fixed effects, effects, residuals of traits.
    fixed
        Number of fixed effects of every trait, (t,).
    residuals
        Kinds, order and numbers of units of the patterns of the conditioning.
    """

    term: IntArray
    row: IntArray
    column: IntArray
    parameter: IntArray
    weight: Array
    sizes: IntArray
    pivot: IntArray
    trait_of: IntArray
    link: Array
    gaps: IntArray
    families: IntArray
    tau: Array
    counts: Array
    fixed: Array
    residuals: tuple[IntArray, IntArray, Array]


class Place(NamedTuple):
    """What depends on a point, and not on the effects.

    Parameters
    ----------
    factors
        F of every random term, (terms, most, most).
    residual
        Residual covariances R, (t, t).
    mixing
        Numbers by which residuals are conditioned on (:mod:`bayesmv.likelihood.latent.conditioning`), flat.
    centring
        c of every column of the factors of the terms, and of the residuals of counts, (terms + 1, most).
    spread
        √(1 + Σσ²/v) of threshold traits, 1 of others, (t,).
    gaps
        Thresholds of every ordered trait relative to the spread, from 0, or the one number of a family, (t, most).
    """

    factors: Array
    residual: Array
    mixing: Array
    centring: Array
    spread: Array
    gaps: Array

    def numbers(self, t: int, family: Family) -> Array:
        """Numbers of the family of a trait that are free, (n_free,)."""
        if isinstance(family, Ordered):
            return np.asarray(self.gaps[t, 1 : 1 + family.n_free] * self.spread[t])
        return np.asarray(self.gaps[t, : family.n_free])

    @property
    def residual_sd(self) -> Array:
        """Residual standard deviations, (t,)."""
        return np.sqrt(np.diag(self.residual))


@njit(cache=True, error_model="numpy")
def placed(theta, R, logs, shape):  # type: ignore[no-untyped-def]
    """Arrays of :class:`Place` at parameters θ (d,), R, and logarithms of distances of thresholds."""
    K, width, t = len(shape.sizes), shape.tau.shape[1], len(shape.link)
    F, c, excess = np.zeros((K, width, width)), np.ones((K + 1, width)), np.zeros(t)
    for e in range(len(shape.term)):
        F[shape.term[e], shape.row[e], shape.column[e]] += shape.weight[e] * theta[shape.parameter[e]]
    for k in range(K):
        for j in range(shape.sizes[k]):
            c[k, j] = 1.0 / np.sqrt(1.0 + (F[k, shape.pivot[k, j], j] / shape.tau[k, j]) ** 2)
            for i in range(shape.sizes[k]):
                excess[shape.trait_of[k, i]] += F[k, i, j] ** 2
    spread, gaps, at = np.ones(t), np.zeros((t, max(1, shape.gaps[:, 1].max()))), 0
    for i in range(t):
        c[K, i] = 1.0 / np.sqrt(1.0 + R[i, i] / shape.tau[K, i] ** 2)
        if shape.link[i] > 0.0:
            spread[i] = np.sqrt(1.0 + excess[i] / shape.link[i])
        if shape.families[i] == NEGATIVE_BINOMIAL:
            gaps[i, 0] = np.exp(LOG_SHAPE[0] + LOG_SHAPE[1] * logs[at])
        elif shape.families[i] == ZERO_INFLATED:
            gaps[i, 0] = 1.0 / (1.0 + np.exp(-LOGIT_ZEROS * logs[at]))
        else:
            for g in range(shape.gaps[i, 0]):
                gaps[i, g + 1] = gaps[i, g] + np.exp(logs[at + g])
        at += shape.gaps[i, 0]
    kinds, order, _ = shape.residuals
    return F, R, mixed(R, kinds, order).reshape(-1), c, spread, gaps


@njit(cache=True, error_model="numpy")
def cuts_of(place, shape):  # type: ignore[no-untyped-def]
    """Thresholds of ordered traits between -∞ and ∞, or the one number of a family, (t, most categories + 1)."""
    spread, gaps = place[4:]
    cuts = np.full((len(spread), gaps.shape[1] + 2), np.inf)
    for i in range(len(spread)):
        cuts[i, 0] = gaps[i, 0] if shape.families[i] in (NEGATIVE_BINOMIAL, ZERO_INFLATED) else -np.inf
        for g in range(shape.gaps[i, 1]):
            cuts[i, 1 + g] = gaps[i, g] * spread[i]
    return cuts


@njit(cache=True, error_model="numpy")
def in_predictor(place, shape):  # type: ignore[no-untyped-def]
    """What A is made of, and T.

    Returns
    -------
    tuple
        Factors, column by column times c, sizes of fixed effects and 1, as they stand in A; numbers of the conditioning
        with the coefficients of ε centred; squares of the centring of every group; T = F / c of every term, and of the
        residuals of counts.
    """
    F, R, mixing, c, spread, _ = place
    K, t, sizes = len(shape.sizes), len(spread), shape.sizes
    joined, squares = np.ones((sizes**2).sum() + t + 1), np.ones(len(shape.counts))
    T, ratio, centred = np.zeros(F.shape), np.empty(t), mixing.copy().reshape(-1, 2, t, t)
    at, group = 0, 1
    for k in range(K):
        for i in range(sizes[k]):
            for j in range(sizes[k]):
                joined[at] = F[k, i, j] * c[k, j]
                T[k, i, j] = F[k, i, j] / c[k, j]
                at += 1
        for j in range(sizes[k]):
            squares[group] = c[k, j] ** 2
            group += 1
    for i in range(t):
        joined[at + i] = spread[i]
        squares[group + i] = c[K, i] ** 2
        ratio[i] = np.sqrt(R[i, i]) / c[K, i]
        centred[:, 1, :, i] *= c[K, i]
    return joined, centred.reshape(-1), squares, T, ratio


@njit(cache=True, error_model="numpy")
def of_place(place, squares, shape):  # type: ignore[no-untyped-def]
    """Log density that depends on the place alone: determinants of the priors of V, and Jacobians."""
    mixing, spread = place[2], place[4]
    kinds, _, units = shape.residuals
    t, value = len(spread), 0.0
    for g in range(1, len(squares)):
        if shape.counts[g] > 0.0:
            value += 0.5 * shape.counts[g] * np.log(squares[g])
    # Jacobian of fixed effects relative to the spread, and of the Gaussian records.
    M = mixing.reshape(-1, 2, t, t)
    for i in range(t):
        value += shape.fixed[i] * np.log(spread[i])
        for p in range(len(kinds)):
            if kinds[p, i] == NORMAL:
                value += units[p] * np.log(M[p, 0, i, i])
    return value


@njit(cache=True, error_model="numpy")
def pulled(place, squares, shape, by, by_theta, by_R, by_logs):  # type: ignore[no-untyped-def]
    """Write the gradient by parameters, R and logarithms of distances, of all of the log density.

    Parameters
    ----------
    place, squares, shape
        As above.
    by
        Derivatives by what stands in A, numbers of the conditioning centred and plain, squares (overwritten) and cuts;
        sums of G g' of every term, and of the residuals of counts, through which the map of s depends on θ.
    by_theta, by_R, by_logs
        Written to, (d,), (t, t) and (free distances,).
    """
    by_joined, by_centred, by_mixing, by_squares, by_cuts, crosses, drawn_crosses = by
    for g in range(1, len(squares)):
        by_squares[g] += 0.5 * shape.counts[g] / squares[g]
    by_excess = _by_spread(place, shape, by_joined[(shape.sizes**2).sum() :], by_cuts, by_logs)
    dF, begin = _by_factors(place, shape, by_joined, by_squares, crosses, by_excess)
    by_theta[:] = 0.0
    for e in range(len(shape.term)):
        by_theta[shape.parameter[e]] += shape.weight[e] * dF[shape.term[e], shape.row[e], shape.column[e]]
    by_R[:] = _by_residual(place, shape, by_centred, by_mixing, by_squares[begin:], drawn_crosses)


@njit(cache=True, error_model="numpy")
def _by_spread(place, shape, by_spread, by_cuts, by_logs):  # type: ignore[no-untyped-def]
    """Derivatives by Σσ² of every trait; those by logarithms of distances are written to `by_logs`."""
    spread, gaps = place[4:]
    out, at = np.zeros(len(spread)), 0
    for i in range(len(spread)):
        own, rest = shape.fixed[i] / spread[i] + by_spread[i], 0.0
        for g in range(shape.gaps[i, 1]):
            own += gaps[i, g] * by_cuts[i, 1 + g]
        if shape.link[i] > 0.0:
            out[i] = 0.5 * own / (spread[i] * shape.link[i])
        if shape.families[i] == NEGATIVE_BINOMIAL:
            by_logs[at] = by_cuts[i, 0] * LOG_SHAPE[1] * gaps[i, 0]
        elif shape.families[i] == ZERO_INFLATED:
            by_logs[at] = by_cuts[i, 0] * LOGIT_ZEROS * gaps[i, 0] * (1.0 - gaps[i, 0])
        else:
            for g in range(shape.gaps[i, 0] - 1, -1, -1):
                rest += spread[i] * by_cuts[i, 2 + g]
                by_logs[at + g] = rest * (gaps[i, g + 1] - gaps[i, g])
        at += shape.gaps[i, 0]
    return out


@njit(cache=True, error_model="numpy")
def _by_factors(place, shape, by_joined, by_squares, crosses, by_excess):  # type: ignore[no-untyped-def]
    """Derivatives by the factors of the terms, and the number of the first group after theirs."""
    F, c, tau = place[0], place[3], shape.tau
    out, start, group = np.zeros(F.shape), 0, 1
    for k in range(len(shape.sizes)):
        m = shape.sizes[k]
        for j in range(m):
            pivot, cj, by_c = shape.pivot[k, j], c[k, j], 2.0 * c[k, j] * by_squares[group + j]
            for i in range(m):
                own, cross = by_joined[start + i * m + j], crosses[k, i, j]
                out[k, i, j] = own * cj + cross / cj + 2.0 * by_excess[shape.trait_of[k, i]] * F[k, i, j]
                by_c += own * F[k, i, j] - cross * F[k, i, j] / cj**2
            out[k, pivot, j] -= by_c * cj**3 * F[k, pivot, j] / tau[k, j] ** 2
        start += m * m
        group += m
    return out, group


@njit(cache=True, error_model="numpy")
def _by_residual(place, shape, by_centred, by_mixing, by_squares, crosses):  # type: ignore[no-untyped-def]
    """Derivatives by R; those by the plain numbers of the conditioning are overwritten."""
    R, mixing, c = place[1], place[2], place[3][-1]
    kinds, order, units = shape.residuals
    n, t = kinds.shape
    numbers, centred = mixing.reshape(n, 2, t, t), by_centred.reshape(n, 2, t, t)
    plain, by_sd = by_mixing.reshape(n, 2, t, t), np.zeros(t)
    for i in range(t):
        sd, by_c = np.sqrt(R[i, i]), 2.0 * c[i] * by_squares[i]
        by_c -= crosses[i] * sd / c[i] ** 2
        for p in range(n):
            for j in range(t):
                by_c += centred[p, 1, j, i] * numbers[p, 1, j, i]
                plain[p, 1, j, i] += centred[p, 1, j, i] * c[i]
                plain[p, 0, j, i] += centred[p, 0, j, i]
        by_sd[i] = crosses[i] / c[i] - by_c * c[i] ** 3 * sd / shape.tau[-1, i] ** 2
    out = pulled_back(R, kinds, order, units, plain)
    for i in range(t):
        out[i, i] += 0.5 * by_sd[i] / max(np.sqrt(R[i, i]), 1e-150)
    return out
