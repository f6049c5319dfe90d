"""Chebyshev series in the logarithm of a scalar."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.fft import dct

from bayesmv.arrays import Array
from bayesmv.numerics.compiled import FAST, njit

#: The last node is at this multiple of C; beyond it the series is extrapolated, over less than 0.01 in x, to λ = ∞.
_LAST = 100.0


class Scale(NamedTuple):
    """Map from λ to z in [-1, 1]: z = x/half - 1, x = log (1 + λ/low)/(1 + λ/high).

    Parameters
    ----------
    low, high
        c and C.
    half
        Half the length of the interval in x.
    """

    low: float
    high: float
    half: float


def scale_for(least: float, largest: float) -> Scale:
    """Map for eigenvalues between `least` and `largest`; rough bounds will do, within a factor of 1.5.

    A spectrum narrower than a factor of 100 is widened to it, which makes the map no slower than any.
    """
    widen = max(0.5 * np.log(100.0 * least / largest), 0.0)
    low, high = np.exp(-widen) / largest, np.exp(widen) / least
    last = _LAST * high
    return Scale(float(low), float(high), 0.5 * float(np.log1p(last / low) - np.log1p(last / high)))


def degree_for(scale: Scale, tolerance: float) -> int:
    """Degree at which the slowest series on this scale falls below a relative tolerance."""
    step = np.pi / scale.half
    return int(np.ceil(-np.log(tolerance) / np.log(step + np.hypot(1.0, step))))


def ratio_at(scale: Scale, z: float) -> float:
    """λ at z; the inverse of :func:`position`."""
    x = scale.half * (1.0 + z)
    return float(np.expm1(x) / (1.0 / scale.low - np.exp(x) / scale.high))


def nodes(degree: int) -> Array:
    """Chebyshev points cos(kπ/N), k = 0 … N, from 1 to -1."""
    return np.asarray(np.cos(np.pi * np.arange(degree + 1) / degree))


def fit(values: Array) -> Array:
    """Coefficients (N + 1, f) of the series through values (N + 1, f) at :func:`nodes`."""
    coefficients = dct(values, type=1, axis=0) / (len(values) - 1)
    coefficients[[0, -1]] *= 0.5
    return np.asarray(coefficients)


def refine(function: Callable[[Array], Array], values: Array) -> Array:
    """Double the degree: evaluate the function between the nodes and return all values, (2N + 1, f)."""
    out = np.empty((2 * len(values) - 1, values.shape[1]))
    out[::2] = values
    out[1::2] = function(nodes(len(out) - 1)[1::2])
    return out


def evaluate(coefficients: Array, z: Array) -> Array:
    """Values (m, f) of the series at z (m,)."""
    return np.asarray(np.polynomial.chebyshev.chebval(z, coefficients).T)


def tabulate(function: Callable[[Array], Array], degree: int, size: Array, tolerance: float) -> tuple[Array, float]:
    """Series fitted to functions of z, by doubling the degree until the error is small or no longer falls.

    Parameters
    ----------
    function
        From z (m,) to values (m, f).
    degree
        Degree to begin with.
    size
        What the error of each function is relative to, (f,).
    tolerance
        Relative error aimed at.

    Returns
    -------
    coefficients, error
        Coefficients (N + 1, f), and the larger of two estimates of the error: from the last coefficients, and from
        direct evaluation between the nodes.
    """
    values, error, falls = function(nodes(degree)), np.inf, True
    while error > tolerance and falls:
        values = values if error == np.inf else refine(function, values)
        coefficients = fit(values)
        previous, error = error, float((np.abs(coefficients[-4:]).sum(axis=0) / size).max())
        falls = error < 0.1 * previous
    probes = np.random.default_rng(0).uniform(-1.0, 1.0, 2)
    found = float((np.abs(evaluate(coefficients, probes) - function(probes)) / size).max())
    return coefficients, max(error, found)


@njit(cache=True, fastmath=FAST)
def position(scale, ratio):  # type: ignore[no-untyped-def]
    """Z at λ."""
    return np.log1p(ratio * (1.0 / scale.low - 1.0 / scale.high) / (1.0 + ratio / scale.high)) / scale.half - 1.0


@njit(cache=True, fastmath=FAST)
def slope(scale, a, b):  # type: ignore[no-untyped-def]
    """z[a, b] for a ≥ b."""
    width = (scale.high - scale.low) / ((scale.low + b) * (scale.high + a))
    return (width if a == b else np.log1p(width * (a - b)) / (a - b)) / scale.half


@njit(cache=True, fastmath=FAST)
def log_bend(a, b, c):  # type: ignore[no-untyped-def]
    """log[a, b, c] for a ≥ b ≥ c > 0; by Taylor's series where they are nearly equal."""
    if a > 1.02 * c:
        upper = np.log1p((a - b) / b) / (a - b) if a > b else 1.0 / a
        lower = np.log1p((b - c) / c) / (b - c) if b > c else 1.0 / b
        return (upper - lower) / (a - c)
    mean = (a + b + c) / 3.0
    x, y, z = a / mean - 1.0, b / mean - 1.0, c / mean - 1.0
    # Complete symmetric polynomials h_2, h_3 by Newton's identities; h_1 = 0 about the mean.
    p2, p3, p4 = x * x + y * y + z * z, x**3 + y**3 + z**3, x**4 + y**4 + z**4
    h4 = 0.25 * p4 + 0.125 * p2 * p2
    h5 = (x**5 + y**5 + z**5) / 5.0 + p2 * p3 / 6.0
    return -(0.5 + 0.125 * p2 - p3 / 15.0 + h4 / 6.0 - h5 / 7.0) / mean**2


@njit(cache=True, fastmath=FAST)
def first_differences(coefficients, x, y, value, difference):  # type: ignore[no-untyped-def]
    """Values of all series at x, written with their divided differences at (x, y); derivatives where x = y."""
    T, T_next, U, U_next, D, D_next = 1.0, x, 1.0, y, 0.0, 1.0
    value[:] = 0.0
    difference[:] = 0.0
    for k in range(len(coefficients)):
        for f in range(len(value)):
            value[f] += T * coefficients[k, f]
            difference[f] += D * coefficients[k, f]
        D, D_next = D_next, 2.0 * (x * D_next + U_next) - D
        T, T_next = T_next, 2.0 * x * T_next - T
        U, U_next = U_next, 2.0 * y * U_next - U


@njit(cache=True, fastmath=FAST)
def second_differences(coefficients, x, y, z, out):  # type: ignore[no-untyped-def]
    """Second divided differences of all series at (x, y, z)."""
    U, U_next, D, D_next, B, B_next = 1.0, z, 0.0, 1.0, 0.0, 0.0
    out[:] = 0.0
    for k in range(len(coefficients)):
        for f in range(len(out)):
            out[f] += B * coefficients[k, f]
        B, B_next = B_next, 2.0 * (x * B_next + D_next) - B
        D, D_next = D_next, 2.0 * (y * D_next + U_next) - D
        U, U_next = U_next, 2.0 * z * U_next - U
