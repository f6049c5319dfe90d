"""Statistics of the draws of one quantity: how much they are worth, whether chains agree, the shortest interval.

The same numbers as arviz_stats gives, whose import takes longer than all of them.

Source: Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16:667-718 (rank-normalised, split
chains); Geyer (1992), Statistical Science 7:473-483 (initial monotone sequence); Chen & Shao (1999), J. Comput. Graph.
Stat. 8:69-92 (intervals).
"""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri

from bayesmv.arrays import Array

#: Fewest draws of a chain that say anything.
_FEWEST = 4
#: Probabilities whose quantiles the tail is judged by.
_TAILS = (0.05, 0.95)


def bulk_ess(draws: Array) -> float:
    """Effective sample size of the rank-normalised draws (chains, draws); NaN for fewer than 4 a chain."""
    return _ess(_normal_scores(_split(draws))) if draws.shape[1] >= _FEWEST else np.nan


def tail_ess(draws: Array) -> float:
    """Smaller of the effective sample sizes at the 5 % and the 95 % quantile, of draws (chains, draws)."""
    if draws.shape[1] < _FEWEST:
        return np.nan
    return min(_ess(_split((draws <= np.quantile(draws, p)).astype(float))) for p in _TAILS)


def r_hat(draws: Array) -> float:
    """Larger of the rank-normalised and the folded R-hat of draws (chains, draws); NaN for one chain."""
    if draws.shape[1] < _FEWEST or draws.shape[0] < 2:
        return np.nan
    halves = _split(draws)
    return max(_ratio(_normal_scores(halves)), _ratio(_normal_scores(abs(halves - np.median(halves)))))


def shortest_interval(draws: Array, probability: float) -> tuple[Array, Array]:
    """Ends of the shortest interval that holds a share of the draws, over the first axis."""
    ordered = np.sort(draws, axis=0)
    inside = min(int(probability * len(ordered)), len(ordered) - 1)
    low = np.argmin(ordered[inside:] - ordered[: len(ordered) - inside], axis=0)[None]
    return np.take_along_axis(ordered, low, 0)[0], np.take_along_axis(ordered, low + inside, 0)[0]


def _split(draws: Array) -> Array:
    """Halves of the chains as chains of their own."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _normal_scores(draws: Array) -> Array:
    """Normal quantiles of the ranks, ties averaged."""
    _, place, count = np.unique(draws, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - 0.5 * (count - 1)
    return np.asarray(ndtri((rank - 0.375) / (draws.size + 0.25))[place].reshape(draws.shape))


def _ratio(draws: Array) -> float:
    """Square root of the variance of all draws over that within chains; infinite if no chain moved."""
    n = draws.shape[1]
    between, within = n * draws.mean(axis=1).var(ddof=1), draws.var(axis=1, ddof=1).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt((between / within + n - 1) / n))


def _ess(draws: Array) -> float:
    """``N / τ``, τ the sum of autocorrelations as far as their sums by pairs stay positive, made monotone."""
    if np.ptp(draws) == 0.0:
        return float(draws.size)
    n = draws.shape[1]
    autocovariance = _autocovariance(draws)
    within = autocovariance[0] * n / (n - 1)
    total = autocovariance[0] + (draws.mean(axis=1).var(ddof=1) if len(draws) > 1 else 0.0)
    rho = 1.0 - (within - autocovariance) / total
    rho[0] = 1.0
    last = max(0, (n - 3) // 2)
    pairs = rho[0 : 2 * last + 1 : 2] + rho[1 : 2 * last + 2 : 2]
    stop = int(np.argmax(pairs <= 0.0)) if (pairs <= 0.0).any() else last
    rest = rho[2 * stop] if pairs[stop] > 0.0 else max(rho[2 * stop], 0.0)
    tau = -1.0 + 2.0 * np.minimum.accumulate(pairs[:stop]).sum() + rest
    return float(draws.size / max(tau, 1.0 / np.log10(draws.size)))


def _autocovariance(draws: Array) -> Array:
    """Autocovariance at every lag, mean over chains, (draws,)."""
    n = draws.shape[1]
    m = next_fast_len(2 * n, real=True)
    spectrum = rfft(draws - draws.mean(axis=1, keepdims=True), m, axis=1)
    return np.asarray(irfft(abs(spectrum) ** 2, m, axis=1)[:, :n].mean(axis=0) / n)
