"""Log densities of records given their latent values, with the derivatives that approximations of integrals need.

Source of the ordered probit: McCullagh (1980), J. R. Stat. Soc. B 42:109-142; of Gaussian averages of derivatives:
Opper & Archambeau (2009), Neural Comput. 21:786-792.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, expit, gammaln, log_ndtr, ndtri

from bayesmv.arrays import Array
from bayesmv.families.declared import (
    LOG_SHAPE,
    LOGIT_ZEROS,
    Binomial,
    Censored,
    Family,
    Gaussian,
    NegativeBinomial,
    Ordered,
    Poisson,
    ZeroInflatedPoisson,
)

#: Nodes of an average over a normal latent value.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
#: Latent value beyond which an expected count is held, so that it is a number.
_HIGHEST = 300.0
#: What stands for an infinite bound.
_FAR = 1e300


class Terms(NamedTuple):
    """Log density of records, and its derivatives by their latent values; all of one shape.

    Parameters
    ----------
    value
        log p(y | η).
    slope
        First derivative.
    weight
        Second derivative, negated.
    bend
        Derivative of the weight.
    """

    value: Array
    slope: Array
    weight: Array
    bend: Array


@singledispatch
def terms(family: Family, y: Array, eta: Array) -> Terms:
    """Terms of records y at latent values η, elementwise.

    Raises
    ------
    TypeError
        If the family has none: its traits can be described (:func:`bayesmv.data_scale`) and not fitted.
    """
    raise TypeError(f"no likelihood of the family '{family.word}'")


def averaged(family: Family, y: Array, mean: Array, variance: Array) -> Terms:
    """Expectations of the terms over ``η ~ N(mean, variance)``, (n,) each; the bend is of no use there, and 0."""
    if type(family) is Gaussian:
        at = terms(family, y, mean)
        return at._replace(value=at.value - 0.5 * at.weight * variance)
    at = terms(in_columns(family), y[:, None], _nodes(mean, variance))
    return Terms(at.value @ _WEIGHTS, at.slope @ _WEIGHTS, at.weight @ _WEIGHTS, np.zeros_like(mean))


def in_columns(family: Family) -> Family:
    """Family whose numbers of each record, (n,), stand in a column, for several latent values of each."""
    if isinstance(family, Binomial) and np.ndim(family.size):
        family = replace(family, size=family.size[:, None])
    if isinstance(family, Ordered | Censored) and np.ndim(family.scale):
        family = replace(family, scale=family.scale[:, None])
    if isinstance(family, Censored):
        family = replace(family, lower=np.asarray(family.lower)[:, None], upper=np.asarray(family.upper)[:, None])
    return family


@terms.register
def _(family: Gaussian, y: Array, eta: Array) -> Terms:
    precision = 1.0 / family.variance_of_records
    error = y - eta
    value = 0.5 * (np.log(precision / (2.0 * np.pi)) - precision * error**2)
    return Terms(value, precision * error, np.full_like(eta, precision), np.zeros_like(eta))


@terms.register
def _(family: Censored, y: Array, eta: Array) -> Terms:
    scale, exact = np.asarray(family.scale), family.exact
    with np.errstate(invalid="ignore"):
        high, low = (np.where(exact, end, scale * bound) for end, bound in ((1.0, family.upper), (0.0, family.lower)))
    known, (value, slope, weight, bend, _, _) = terms(Gaussian(), y, eta), between(high - eta, low - eta)
    of_bounds = Terms(value, slope, weight, bend)
    return Terms(*(np.where(exact, a, b) for a, b in zip(known, of_bounds, strict=True)))


@terms.register
def _(family: Poisson, y: Array, eta: Array) -> Terms:
    mu = np.exp(np.minimum(eta, _HIGHEST))
    return Terms(y * eta - mu - gammaln(y + 1.0), y - mu, mu, mu)


@terms.register
def _(family: Binomial, y: Array, eta: Array) -> Terms:
    size = family.size
    ways = gammaln(size + 1.0) - gammaln(y + 1.0) - gammaln(size - y + 1.0)
    if family.link == "logit":
        p = expit(eta)
        weight = size * p * (1.0 - p)
        return Terms(ways + y * eta - size * np.logaddexp(0.0, eta), y - size * p, weight, weight * (1.0 - 2.0 * p))
    yes, no = _passed(eta), _passed(-eta)
    misses = size - y
    return Terms(
        ways + y * yes.value + misses * no.value,
        y * yes.slope - misses * no.slope,
        y * yes.weight + misses * no.weight,
        y * yes.bend - misses * no.bend,
    )


def _passed(eta: Array) -> Terms:
    """Terms of log Φ(η)."""
    value = log_ndtr(eta)
    slope = np.exp(-0.5 * eta**2 - 0.5 * np.log(2.0 * np.pi) - value)
    weight = slope * (slope + eta)
    return Terms(value, slope, weight, slope * (1.0 - weight) - weight * (slope + eta))


@terms.register
def _(family: Ordered, y: Array, eta: Array) -> Terms:
    value, slope, weight, bend, _, _ = ordered(y, eta, np.array(family.thresholds), family.scale)
    return Terms(value, slope, weight, bend)


def ordered(
    y: Array, eta: Array, thresholds: Array, scale: Array | float = 1.0
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Terms of scores y = 1 … K, and the derivatives of the value by the threshold above and the one below.

    ``log p = log(Φ(c t_y - η) - Φ(c t_{y-1} - η))``, c the scale, reflected where both arguments are positive.
    """
    cut = np.concatenate([[-np.inf], thresholds, [np.inf]])
    score = np.asarray(y, dtype=int)
    *of_record, by_above, by_below = between(scale * cut[score] - eta, scale * cut[score - 1] - eta)
    value, slope, weight, bend = of_record
    return value, slope, weight, bend, scale * by_above, scale * by_below


def between(above: Array, below: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Terms of ``log(Φ(above) - Φ(below))`` by what both are lowered by, and its derivatives by either."""
    flip = below > 0.0
    high, low = np.where(flip, -below, above), np.where(flip, -above, below)
    upper, lower = log_ndtr(high), log_ndtr(low)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(np.isneginf(lower), upper, upper + np.log(-np.expm1(np.minimum(lower - upper, -1e-300))))
    a, b = _ratio(above, value), _ratio(below, value)
    # Where a threshold is infinite its terms are 0.
    x, z = np.where(np.isfinite(above), above, 0.0), np.where(np.isfinite(below), below, 0.0)
    slope = b - a
    curve = z * b - x * a  # second derivative of P over P
    weight = slope**2 - curve
    third = a * (1.0 - x**2) - b * (1.0 - z**2)
    return value, slope, weight, -2.0 * slope * weight - third + curve * slope, a, -b


def _ratio(x: Array, log_p: Array) -> Array:
    """φ(x) / p."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(x), np.exp(-0.5 * x**2 - 0.5 * np.log(2.0 * np.pi) - log_p), 0.0)


@terms.register
def _(family: NegativeBinomial, y: Array, eta: Array) -> Terms:
    shape = family.shape
    # p is the share of the mean in mean + shape.
    p = expit(eta - np.log(shape))
    log_p, log_q = -np.logaddexp(0.0, np.log(shape) - eta), -np.logaddexp(0.0, eta - np.log(shape))
    ways = gammaln(y + shape) - gammaln(shape) - gammaln(y + 1.0)
    weight = (y + shape) * p * (1.0 - p)
    return Terms(ways + y * log_p + shape * log_q, y - (y + shape) * p, weight, weight * (1.0 - 2.0 * p))


@terms.register
def _(family: ZeroInflatedPoisson, y: Array, eta: Array) -> Terms:
    plain, share = terms(Poisson(), y, eta), family.zeros
    # q is the probability that a zero is one of the Poisson distribution.
    none, q = _zero(eta, share)
    slope = -plain.weight * q
    turn = 1.0 - plain.weight * (1.0 - q)
    weight = plain.weight * q * turn
    # With w = μ q t: dw = μ q t² + μ q dt, dt = -μ (1 - q) (1 + μ q).
    bend = weight * turn - plain.weight * q * plain.weight * (1.0 - q) * (1.0 + plain.weight * q)
    zero = y == 0.0
    counted = plain._replace(value=plain.value + np.log1p(-share))
    return Terms(*(np.where(zero, a, b) for a, b in zip(Terms(none, slope, weight, bend), counted, strict=True)))


def _zero(eta: Array, share: float) -> tuple[Array, Array]:
    """log P(y = 0) of a share of extra zeros, and the share of Poisson zeros in it."""
    mu = np.exp(np.minimum(eta, _HIGHEST))
    with np.errstate(divide="ignore"):
        value = np.logaddexp(np.log(share), np.log1p(-share) - mu)
    return value, np.exp(np.log1p(-share) - mu - value)


@singledispatch
def averaged_free(family: Family, y: Array, mean: Array, variance: Array) -> Array:
    """Gradient by the free coordinates, (n_free,), of the expected log density summed over records."""
    return np.zeros(0)


def _nodes(mean: Array, variance: Array) -> Array:
    return np.asarray(mean[:, None] + np.sqrt(np.maximum(variance, 0.0))[:, None] * _NODES)


@averaged_free.register
def _(family: NegativeBinomial, y: Array, mean: Array, variance: Array) -> Array:
    shape, eta = family.shape, _nodes(mean, variance)
    log_q = -np.logaddexp(0.0, eta - np.log(shape))
    total = (digamma(y + shape) - digamma(shape)).sum() + float(
        ((log_q + 1.0 - (y + shape)[:, None] / shape * np.exp(log_q)) @ _WEIGHTS).sum()
    )
    return np.array([LOG_SHAPE[1] * shape * total])


@averaged_free.register
def _(family: ZeroInflatedPoisson, y: Array, mean: Array, variance: Array) -> Array:
    share, zero = family.zeros, y == 0.0
    _, q = _zero(_nodes(mean[zero], variance[zero]), share)
    # By the share, times share (1 - share): (1 - q) (1 - share) - q share of a zero, and - share of others.
    total = float(((1.0 - q - share) @ _WEIGHTS).sum()) - share * float((~zero).sum())
    return np.array([LOGIT_ZEROS * total])


@averaged_free.register
def _(family: Ordered, y: Array, mean: Array, variance: Array) -> Array:
    by = _averaged_thresholds(y, mean, variance, family)[1:]
    return np.asarray(np.cumsum(by[::-1])[::-1] * np.diff(family.thresholds))


def _averaged_thresholds(y: Array, mean: Array, variance: Array, family: Ordered) -> Array:
    """Gradient by the thresholds, (K - 1,), of the expected log density summed over records."""
    eta = _nodes(mean, variance)
    scale, thresholds = np.broadcast_to(family.scale, len(y))[:, None], np.array(family.thresholds)
    *_, above, below = ordered(y[:, None], eta, thresholds, scale)
    score, k = np.asarray(y, dtype=int), len(thresholds)
    by = np.bincount(score, above @ _WEIGHTS, minlength=k + 2) + np.append(
        np.bincount(score, below @ _WEIGHTS, minlength=k + 2)[1:], 0.0
    )
    return np.asarray(by[1 : k + 1])


def start_of(family: Family, y: Array) -> Array:
    """Latent values at which a search for the best may begin, (n,)."""
    if isinstance(family, Censored):
        low, high = np.maximum(family.lower, -_FAR), np.minimum(family.upper, _FAR)
        middle = np.where(low == -_FAR, high, np.where(high == _FAR, low, 0.5 * (low + high)))
        return np.where(family.exact, 0.0, family.scale * np.where(np.abs(middle) < _FAR, middle, 0.0))
    return np.log(y + 0.5) if family.counts else np.zeros(len(y))


def started(family: Family, y: Array) -> Family:
    """Family with numbers to look for the best ones from: thresholds from the shares of scores, moments of counts."""
    if isinstance(family, Ordered):
        counts = np.bincount(y.astype(int), minlength=len(family.thresholds) + 2)[1:] + 0.5
        cut = ndtri(np.cumsum(counts)[:-1] / counts.sum())
        return replace(family, thresholds=tuple(cut - cut[0]))
    if isinstance(family, NegativeBinomial):
        mean, excess = float(y.mean()), float(y.var() - y.mean())
        return replace(family, shape=float(np.clip(mean**2 / max(excess, 1e-3), 0.3, 30.0)))
    return replace(family, zeros=0.2) if isinstance(family, ZeroInflatedPoisson) else family
