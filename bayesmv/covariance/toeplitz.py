"""Correlations that depend on the lag between effects only, through their partial autocorrelations.

The autocorrelations r_1 … r_{m-1} of a positive semi-definite Toeplitz matrix correspond to partial autocorrelations
π_k in [-1, 1], each free of the others (Barndorff-Nielsen & Schou 1973, J. Multivariate Analysis 3:408-419): the
recursion of Durbin and Levinson, which without divisions is a polynomial of the π_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance.base import Correlation, Parameter
from bayesmv.covariance.scaled import Pattern, ScaledCorrelation


@dataclass(frozen=True, eq=False)
class _Jet:
    """Vector (…, n) with its first (p, …, n) and second (q, q, …, n) derivatives; q is p, or 0 for none."""

    value: Array
    first: Array
    second: Array

    def __mul__(self, other: _Jet) -> _Jet:
        q = len(self.second)
        cross = self.first[:q, None] * other.first[None, :q]
        return _Jet(
            self.value * other.value,
            self.first * other.value + self.value * other.first,
            self.second * other.value + self.value * other.second + cross + np.swapaxes(cross, 0, 1),
        )

    def __add__(self, other: _Jet) -> _Jet:
        return _Jet(self.value + other.value, self.first + other.first, self.second + other.second)

    def __sub__(self, other: _Jet) -> _Jet:
        return _Jet(self.value - other.value, self.first - other.first, self.second - other.second)

    def __getitem__(self, at: slice) -> _Jet:
        return _Jet(self.value[..., at], self.first[..., at], self.second[..., at])

    def sum(self) -> _Jet:
        """Sum over the last axis, kept."""
        return _Jet(*(x.sum(axis=-1, keepdims=True) for x in (self.value, self.first, self.second)))


def _join(a: _Jet, b: _Jet) -> _Jet:
    pairs = ((a.value, b.value), (a.first, b.first), (a.second, b.second))
    return _Jet(*(np.concatenate(pair, axis=-1) for pair in pairs))


def _autocorrelations(partial: _Jet, one: _Jet) -> _Jet:
    """r_0 … r_n from π_1 … π_n, by the recursion of Durbin and Levinson."""
    r, coefficients, variance = one, one[:0], one
    for k in range(partial.value.shape[-1]):
        pi = partial[k : k + 1]
        r = _join(r, (coefficients * r[1:][::-1]).sum() + pi * variance)
        coefficients = _join(coefficients - coefficients[::-1] * pi, pi)
        variance = variance - variance * pi * pi
    return r


def _partial(r: Array) -> Array:
    """π_1 … π_n from r_1 … r_n (n,), held to [-1, 1]; 0 where r is NaN or nothing is left to predict."""
    partial = np.zeros(len(r))
    coefficients, variance, filled = np.zeros(0), 1.0, np.array(r)
    for k in range(len(r)):
        predicted = coefficients @ filled[:k][::-1]
        if not np.isnan(r[k]) and variance > 1e-12:
            partial[k] = np.clip((r[k] - predicted) / variance, -1.0, 1.0)
        filled[k] = predicted + partial[k] * variance
        coefficients = np.append(coefficients - partial[k] * coefficients[::-1], partial[k])
        variance *= 1.0 - partial[k] ** 2
    return partial


@dataclass(frozen=True)
class Toeplitz(ScaledCorrelation):
    """One variance, and one correlation for each lag: Σ_ij = s² r_|i-j|; π_k = sin φ_k."""

    word: ClassVar[str] = "toep"
    ties_scales: ClassVar[bool] = True

    @property
    def n_angles(self) -> int:
        return self.size - 1

    @property
    def _lags(self) -> Array:
        index = np.arange(self.size)
        return np.abs(index[:, None] - index)

    def pattern(self, angles: Array) -> Array:
        lead = angles.shape[:-1]
        none = np.zeros((0, *lead, self.n_angles)), np.zeros((0, 0, *lead, self.n_angles))
        one = _Jet(np.ones((*lead, 1)), np.zeros((0, *lead, 1)), np.zeros((0, 0, *lead, 1)))
        return np.asarray(_autocorrelations(_Jet(np.sin(angles), *none), one).value[..., self._lags])

    def expand(self, angles: Array) -> Pattern:
        n = self.n_angles
        second = np.zeros((n, n, n))
        second[np.arange(n), np.arange(n), np.arange(n)] = -np.sin(angles)
        one = _Jet(np.ones(1), np.zeros((n, 1)), np.zeros((n, n, 1)))
        r = _autocorrelations(_Jet(np.sin(angles), np.diag(np.cos(angles)), second), one)
        return Pattern(r.value[self._lags], r.first[..., self._lags], r.second[..., self._lags])

    def angles(self, correlations: Array) -> Array:
        means = np.full(self.n_angles, np.nan)
        for lag in range(1, self.size):
            known = np.diagonal(correlations, lag)
            known = known[~np.isnan(known)]
            means[lag - 1] = known.mean() if known.size else np.nan
        return np.arcsin(_partial(means))

    def angle_parameters(self) -> tuple[Parameter, ...]:
        return tuple(
            Correlation(name=f"partial_cor[{lag}]", word="partial autocorrelation") for lag in range(1, self.size)
        )


@dataclass(frozen=True)
class HeterogeneousToeplitz(Toeplitz):
    """One correlation for each lag, and variances of the effects' own: Σ_ij = s_i s_j r_|i-j|."""

    word: ClassVar[str] = "toeph"
    own_variances: ClassVar[bool] = True
    ties_scales: ClassVar[bool] = False
