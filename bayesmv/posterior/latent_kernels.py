"""Log density of records and whitened effects together, and its derivatives: the inner loop of the exact sampler."""

from __future__ import annotations

import math

import numpy as np

from bayesmv.numerics.compiled import njit

#: Families by number, as the kernel knows them.
GAUSSIAN, PROBIT, LOGIT, POISSON, ORDERED = range(5)
_ROOT_2, _HALF_LOG_2PI, _FAR = math.sqrt(2.0), 0.5 * math.log(2.0 * math.pi), -20.0
#: Latent value beyond which an expected count is held, so that it is a number.
_HIGHEST = 300.0


@njit(cache=True, error_model="numpy")
def log_normal_cdf(x):  # type: ignore[no-untyped-def]
    """log Φ(x) and its derivative, by the error function and, far below, an asymptotic series."""
    if x > _FAR:
        p = 0.5 * math.erfc(-x / _ROOT_2)
        return math.log(p), math.exp(-0.5 * x * x - _HALF_LOG_2PI) / p
    z = 1.0 / (x * x)
    s = 1.0 - z * (1.0 - 3.0 * z * (1.0 - 5.0 * z))
    return -0.5 * x * x - math.log(-x) - _HALF_LOG_2PI + math.log(s), -x / s


@njit(cache=True, error_model="numpy")
def between(above, below):  # type: ignore[no-untyped-def]
    """log(Φ(above) - Φ(below)), φ(above) and φ(below) over that probability."""
    high, low = (-below, -above) if below > 0.0 else (above, below)
    upper = 0.0 if high == np.inf else log_normal_cdf(high)[0]
    value = upper if low == -np.inf else upper + math.log(-math.expm1(min(log_normal_cdf(low)[0] - upper, -1e-300)))
    a = 0.0 if abs(above) == np.inf else math.exp(-0.5 * above * above - _HALF_LOG_2PI - value)
    b = 0.0 if abs(below) == np.inf else math.exp(-0.5 * below * below - _HALF_LOG_2PI - value)
    return value, a, b


@njit(cache=True, error_model="numpy")
def joint(s, numbers, indptr, column, prior, scale_of, squares, records, traits, by):  # type: ignore[no-untyped-def]
    """Log density of records y given s, and of s, up to a constant; derivatives are written to `by`.

    Parameters
    ----------
    s
        Unknowns (q,).
    numbers, indptr, column
        Rows of A; see :class:`~bayesmv.likelihood.latent.predictor.Predictor`.
    prior
        CSR arrays of the precision of s.
    scale_of, squares
        Group of each unknown, and by how much its prior precision is multiplied, group by group.
    records
        y, offset, number of trials, trait (N,) each.
    traits
        Family's number and residual variance (t,) each, cuts (t, categories + 1), infinite at both ends.
    by
        Derivatives by s (q,), numbers (slots,), squares, residual variances (t,) and cuts, set to 0 before.
    """
    y, offset, size, trait_of = records
    family, variance, cuts = traits
    pointer, index, data = prior
    by_s, by_numbers, by_squares, by_variance, by_cuts = by
    value = 0.0
    for i in range(len(s)):
        inner = 0.0
        for p in range(pointer[i], pointer[i + 1]):
            inner += data[p] * s[index[p]]
        value -= 0.5 * squares[scale_of[i]] * s[i] * inner
        by_squares[scale_of[i]] -= 0.5 * s[i] * inner
        by_s[i] = -squares[scale_of[i]] * inner
    for r in range(len(y)):
        eta, t = offset[r], trait_of[r]
        for a in range(indptr[r], indptr[r + 1]):
            eta += numbers[a] * s[column[a]]
        if family[t] == GAUSSIAN:
            error = y[r] - eta
            g = error / variance[t]
            value -= 0.5 * error * g + 0.5 * math.log(variance[t])
            by_variance[t] += 0.5 * (g * g - 1.0 / variance[t])
        elif family[t] == PROBIT:
            g = 0.0
            if y[r] > 0.0:
                log_p, slope = log_normal_cdf(eta)
                value += y[r] * log_p
                g += y[r] * slope
            if y[r] < size[r]:
                log_p, slope = log_normal_cdf(-eta)
                value += (size[r] - y[r]) * log_p
                g -= (size[r] - y[r]) * slope
        elif family[t] == LOGIT:
            value += y[r] * eta - size[r] * (max(eta, 0.0) + math.log1p(math.exp(-abs(eta))))
            g = y[r] - size[r] / (1.0 + math.exp(-eta))
        elif family[t] == POISSON:
            mu = math.exp(min(eta, _HIGHEST))
            value += y[r] * eta - mu
            g = y[r] - mu
        else:
            score = int(y[r])
            log_p, above, below = between(cuts[t, score] - eta, cuts[t, score - 1] - eta)
            value += log_p
            g = below - above
            by_cuts[t, score] += above
            by_cuts[t, score - 1] -= below
        for a in range(indptr[r], indptr[r + 1]):
            by_s[column[a]] += g * numbers[a]
            by_numbers[a] = g * s[column[a]]
    return value
