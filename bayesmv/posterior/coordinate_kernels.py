"""Planar coordinates of :mod:`.coordinates` in compiled code, single scales folded or on a half-line."""

from __future__ import annotations

import numpy as np

from bayesmv.numerics.compiled import FAST, njit
from bayesmv.posterior.coordinates import BEND, STRAIGHT


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _rows(anchor, unit, x):  # type: ignore[no-untyped-def]
    """Count n, b and q² of the row of every scale, in its place; 1 + Σ sinh² for q² of those that are relative."""
    count, b, square = np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(x))
    for p in range(len(x)):
        if anchor[p] == p and unit[p] == 0.0:
            square[p] += 1.0
        elif anchor[p] == p:
            b[p] = np.log1p(np.exp(-BEND * abs(x[p]))) / BEND + max(x[p], 0.0)
            square[p] += b[p] ** 2
        elif anchor[p] >= 0:
            count[anchor[p]] += 1.0
            square[anchor[p]] += (np.sinh(x[p]) if unit[anchor[p]] == 0.0 else x[p]) ** 2
    return count, b, square


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _radial(square, n, unit):  # type: ignore[no-untyped-def]
    """g, d log s / d log q and its derivative by log q, from q²."""
    r = np.sqrt(square) / STRAIGHT
    sinh, rest = np.sinh(r), 1.0 + square
    slope = r * np.cosh(r) / sinh
    gain = unit * (square / rest) ** (0.5 * n) * sinh / r
    return gain, n / rest + slope, -2.0 * n * square / rest**2 + slope - (r / sinh) ** 2


@njit(cache=True, fastmath=FAST, error_model="numpy")
def constrain(anchor, unit, folded, x, theta):  # type: ignore[no-untyped-def]
    """Write θ(x); return log|dθ/dx|."""
    count, b, square = _rows(anchor, unit, x)
    gain = np.ones(len(x))
    total = 0.0
    for d in range(len(x)):
        theta[d] = x[d]
        if anchor[d] != d:
            continue
        if unit[d] == 0.0:
            theta[d] = gain[d] = np.exp(x[d]) / np.sqrt(square[d])
            total += (count[d] + 1.0) * (x[d] - 0.5 * np.log(square[d]))
        elif count[d] == 0.0 and not folded:
            theta[d] = unit[d] * b[d]
            total += np.log(unit[d]) - np.log1p(np.exp(-BEND * x[d]))
        elif count[d] == 0.0:
            theta[d] = unit[d] * STRAIGHT * np.sinh(x[d] / STRAIGHT)
            total += np.log(unit[d] * np.cosh(x[d] / STRAIGHT))
        else:
            gain[d], elasticity, _ = _radial(square[d], count[d], unit[d])
            theta[d] = gain[d] * b[d]
            total += (count[d] + 1.0) * np.log(gain[d]) + np.log(elasticity) - np.log1p(np.exp(-BEND * x[d]))
    for p in range(len(x)):
        d = anchor[p]
        if d >= 0 and d != p:
            theta[p] = gain[d] * (np.sinh(x[p]) if unit[d] == 0.0 else x[p])
            total += np.log(np.cosh(x[p])) if unit[d] == 0.0 else 0.0
    return total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def pull_rows(anchor, unit, folded, x, theta, by_theta):  # type: ignore[no-untyped-def]
    """Gradient by x, that of log|dθ/dx| included, from the derivatives by θ."""
    by_x = by_theta.copy()
    count, b, square = _rows(anchor, unit, x)
    along = np.zeros(len(x))
    for p in range(len(x)):
        if anchor[p] >= 0:
            along[anchor[p]] += theta[p] * by_theta[p]
    for p in range(len(x)):
        d = anchor[p]
        if d < 0:
            continue
        if unit[d] == 0.0:
            # By log θ_d with the ratios to it held.
            whole, sinh, cosh = along[d] + count[d] + 1.0, np.sinh(x[p]), np.cosh(x[p])
            turned = cosh * (theta[d] * by_theta[p] - whole * sinh / square[d]) + sinh / cosh
            by_x[p] = whole if p == d else turned
        elif count[d] == 0.0 and not folded:
            rate = 1.0 / (1.0 + np.exp(-BEND * x[d]))
            by_x[d] = by_theta[d] * unit[d] * rate + BEND * (1.0 - rate)
        elif count[d] == 0.0:
            r = x[d] / STRAIGHT
            by_x[d] = by_theta[d] * unit[d] * np.cosh(r) + np.tanh(r) / STRAIGHT
        else:
            gain, elasticity, bend = _radial(square[d], count[d], unit[d])
            radial = ((along[d] + count[d] + 1.0) * (elasticity - 1.0) + bend / elasticity) / square[d]
            by_x[p] = gain * by_theta[p] + radial * (b[d] if p == d else x[p])
            if p == d:
                rate = 1.0 / (1.0 + np.exp(-BEND * x[d]))
                by_x[d] = by_x[d] * rate + BEND * (1.0 - rate)
    return by_x
