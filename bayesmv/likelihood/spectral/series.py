r"""Functions of a variance ratio λ in [0, ∞) as Chebyshev series, and the restricted likelihood made of them.

A sum over eigenvalues e of terms like log(1 + λe) or 1/(1 + λe) is singular at λ = -1/e only. The variable

.. math:: x = \log\frac{1 + λ/c}{1 + λ/C}, \qquad 1/C \le e \le 1/c

sends **all** these points to the lines Im x = ±π and the half-line λ ≥ 0, both ends included, to [0, log C/c]. On an
interval of length 2h the series then converges like ρ^-N, ρ = π/h + √(1 + π²/h²) (Bernstein's ellipse), and no λ is out
of range. In log λ, the ends would have to be cut off and the interval would be longer.

Divided differences follow from the recurrence of the Chebyshev polynomials and Leibniz' rule,

.. math:: T_{k+1}[x,y] = 2 (x T_k[x,y] + T_k(y)) - T_{k-1}[x,y]

so that nothing cancels where λ's are equal or nearly so. With H = ZKZ', every derivative of the likelihood is one:

.. math:: P_a H P_b = -P[a,b], \quad P_a H P_b H P_c = P[a,b,c], \quad P_a P_b = P_a - b P_a H P_b

Source: Trefethen (2013), Approximation Theory and Approximation Practice, chapters 3 and 8; de Boor (2005), Surveys in
Approximation Theory 1:46-69 (divided differences).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmv.arrays import Array, IntArray
from bayesmv.numerics.chebyshev import Scale, first_differences, log_bend, position, second_differences, slope
from bayesmv.numerics.compiled import FAST, njit
from bayesmv.numerics.symmetric import packed_rows


class Series(NamedTuple):
    """d(λ) and the packed lower triangle of S(λ), 1 + t(t+1)/2 functions, as the likelihood needs them.

    ``d = f_0 + rank · log(1 + λ/C)`` and ``S = f / (1 + decay · λ)``, so that the f that are tabulated have limits.

    Parameters
    ----------
    scale
        Map from λ to z.
    coefficients
        Coefficients (N + 1, 1 + t(t+1)/2).
    rank
        Rank of H outside the column space of X.
    decay
        1/C where S goes to zero with 1/λ, 0 where it does not.
    freedom
        n - p.
    constant
        What is to be added to the log-likelihood.
    """

    scale: Scale
    coefficients: Array
    rank: float
    decay: float
    freedom: float
    constant: float


def select(series: Series, at: IntArray, unit: Array) -> Series:
    """Return the functions of the traits `at` (t,), each multiplied by its unit."""
    rows, cols = packed_rows(len(at))
    high, low = np.maximum(at[rows], at[cols]), np.minimum(at[rows], at[cols])
    S = series.coefficients[:, 1 + high * (high + 1) // 2 + low] * unit[rows] * unit[cols]
    return series._replace(coefficients=np.column_stack([series.coefficients[:, 0], S]))


@njit(cache=True, fastmath=FAST)
def differences(series, a, b, value, difference):  # type: ignore[no-untyped-def]
    """Write d and S at λ = a, and their divided differences at (a, b), a ≥ b."""
    scale, decay = series.scale, series.decay
    first_differences(series.coefficients, position(scale, a), position(scale, b), value, difference)
    width, left, right = slope(scale, a, b), 1.0 / (1.0 + decay * a), 1.0 / (1.0 + decay * b)
    for f in range(1, len(value)):
        difference[f] = difference[f] * width * right - value[f] * decay * left * right
        value[f] *= left
    lag = 1.0 / (scale.high + a) if a == b else np.log1p((a - b) / (scale.high + b)) / (a - b)
    difference[0] = difference[0] * width + series.rank * lag
    value[0] += series.rank * np.log1p(a / scale.high)


@njit(cache=True)
def weights(series, a, b):  # type: ignore[no-untyped-def]
    """Weights (2, N + 1) of the coefficients in S(a) and in S[a, b], a ≥ b, for many S at once: see `differences`."""
    scale, decay = series.scale, series.decay
    x, y, n = position(scale, a), position(scale, b), len(series.coefficients)
    values, slopes = np.empty(n), np.empty(n)
    first_differences(np.eye(n), x, y, values, slopes)
    left, right = 1.0 / (1.0 + decay * a), 1.0 / (1.0 + decay * b)
    out = np.empty((2, n))
    out[0] = left * values
    out[1] = slope(scale, a, b) * right * slopes - decay * left * right * values
    return out


@njit(cache=True, fastmath=FAST)
def second(series, a, b, c, out):  # type: ignore[no-untyped-def]
    """Write S[a, b, c] for a ≥ b ≥ c (and nothing of meaning for d)."""
    scale, decay, width = series.scale, series.decay, len(out)
    x, y, z = position(scale, a), position(scale, b), position(scale, c)
    value, difference = np.empty(width), np.empty(width)
    first_differences(series.coefficients, x, y, value, difference)
    second_differences(series.coefficients, x, y, z, out)
    low, high = scale.low, scale.high
    bend = (log_bend(a + low, b + low, c + low) - log_bend(a + high, b + high, c + high)) / scale.half
    steps = slope(scale, a, c) * slope(scale, b, c)
    left, middle, right = 1.0 / (1.0 + decay * a), 1.0 / (1.0 + decay * b), 1.0 / (1.0 + decay * c)
    for f in range(width):
        whole = value[f] * decay**2 * left * middle * right
        once = -difference[f] * slope(scale, a, b) * decay * middle * right
        out[f] = whole + once + (difference[f] * bend + out[f] * steps) * right


@njit(cache=True, fastmath=FAST)
def cross(T, i, j, packed):  # type: ignore[no-untyped-def]
    """(T S T')_ij of a packed symmetric S that stands behind d."""
    total = 0.0
    f = 1
    for a in range(T.shape[1]):
        for b in range(a):
            total += (T[i, a] * T[j, b] + T[i, b] * T[j, a]) * packed[f]
            f += 1
        total += T[i, a] * T[j, a] * packed[f]
        f += 1
    return total


@njit(cache=True)
def canonical(sigma, R):  # type: ignore[no-untyped-def]
    """log|R|, ascending λ and T with TRT' = I, TΣT' = diag(λ); log|R| is NaN where R is not positive definite."""
    t = len(R)
    L, inverse = np.zeros((t, t)), np.zeros((t, t))
    log_R = 0.0
    for j in range(t):
        pivot = R[j, j] - np.sum(L[j, :j] ** 2)
        if not pivot > 1e-14 * R[j, j] or not np.isfinite(pivot):
            return np.nan, np.zeros(t), L
        log_R += np.log(pivot)
        L[j, j] = np.sqrt(pivot)
        for i in range(j + 1, t):
            L[i, j] = (R[i, j] - np.sum(L[i, :j] * L[j, :j])) / L[j, j]
    for j in range(t):
        inverse[j, j] = 1.0 / L[j, j]
        for i in range(j + 1, t):
            inverse[i, j] = -np.sum(L[i, j:i] * inverse[j:i, j]) / L[i, i]
    A = inverse @ sigma @ inverse.T
    if not np.isfinite(A).all():
        return np.nan, np.zeros(t), L
    ratios, Q = np.linalg.eigh(0.5 * (A + A.T))
    return log_R, np.maximum(ratios, 0.0), np.ascontiguousarray(Q.T) @ inverse


@njit(cache=True, nogil=True)
def restricted(sigma, R, series, by_sigma, by_R):  # type: ignore[no-untyped-def]
    """l at Σ and R (t, t); dl/dΣ and dl/dR are written, zeros where l is -inf."""
    by_sigma[:] = 0.0
    by_R[:] = 0.0
    log_R, ratios, T = canonical(sigma, R)
    if not np.isfinite(log_R):
        return -np.inf
    functions = series.coefficients.shape[1]
    value, difference = np.empty(functions), np.empty(functions)
    A, B = np.zeros_like(T), np.zeros_like(T)
    total = series.freedom * log_R
    for i in range(len(T)):
        for j in range(i + 1):
            differences(series, ratios[i], ratios[j], value, difference)
            S, slope_S = cross(T, i, j, value), cross(T, i, j, difference)
            A[i, j] = A[j, i] = -0.5 * slope_S
            B[i, j] = B[j, i] = 0.5 * (S + ratios[j] * slope_S)
        total += value[0] + S
        A[i, i] -= 0.5 * difference[0]
        B[i, i] -= 0.5 * (series.freedom - ratios[i] * difference[0])
    if not np.isfinite(total):
        return -np.inf
    by_sigma[:] = T.T @ A @ T
    by_R[:] = T.T @ B @ T
    return series.constant - 0.5 * total


@njit(cache=True, nogil=True)
def moments(sigma, R, series):  # type: ignore[no-untyped-def]
    """T, and the products of `products` of the records, Y T'."""
    _, ratios, T = canonical(sigma, R)
    return T, products(ratios, T, series)


@njit(cache=True, nogil=True)
def products(ratios, T, series):  # type: ignore[no-untyped-def]
    """y_j'P_j F P_i G P_k y_k for F, G of (H, I): (2, 2, t, t, t) by F, G, j, i, k; y_j made by the rows of T."""
    t, functions = len(T), series.coefficients.shape[1]
    out = np.empty((2, 2, t, t, t))
    value, left, right, both = np.empty((4, functions))
    for i in range(t):
        for j in range(t):
            differences(series, ratios[i], ratios[i], value, left)
            differences(series, max(ratios[i], ratios[j]), min(ratios[i], ratios[j]), right, left)
            for k in range(t):
                high, low = max(ratios[i], ratios[k]), min(ratios[i], ratios[k])
                differences(series, high, low, both, right)
                a, b, c = np.sort(np.array([ratios[i], ratios[j], ratios[k]]))
                second(series, c, b, a, both)
                S, S_j, S_k, S_jk = (
                    cross(T, j, k, value),
                    cross(T, j, k, left),
                    cross(T, j, k, right),
                    cross(T, j, k, both),
                )
                out[0, 0, j, i, k] = S_jk
                out[1, 0, j, i, k] = -S_k - ratios[j] * S_jk
                out[0, 1, j, i, k] = -S_j - ratios[k] * S_jk
                out[1, 1, j, i, k] = S + ratios[j] * S_j + ratios[k] * S_k + ratios[j] * ratios[k] * S_jk
    return out
