"""Log densities of records given their latent values, with the derivatives that approximations of integrals need.

Source of the ordered probit: McCullagh (1980), J. R. Stat. Soc. B 42:109-142; of Gaussian averages of derivatives:
Opper & Archambeau (2009), Neural Comput. 21:786-792.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import NamedTuple

import numpy as np
from scipy.special import expit, gammaln, log_ndtr

from bayesmv.arrays import Array
from bayesmv.families.declared import Binomial, Family, Gaussian, Ordered, Poisson

#: Nodes of an average over a normal latent value.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
#: Latent value beyond which an expected count is held, so that it is a number.
_HIGHEST = 300.0


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
    if isinstance(family, Gaussian):
        at = terms(family, y, mean)
        return at._replace(value=at.value - 0.5 * at.weight * variance)
    eta = mean[:, None] + np.sqrt(np.maximum(variance, 0.0))[:, None] * _NODES
    if isinstance(family, Binomial) and np.ndim(family.size):
        family = replace(family, size=family.size[:, None])
    if isinstance(family, Ordered) and np.ndim(family.scale):
        family = replace(family, scale=family.scale[:, None])
    at = terms(family, y[:, None], eta)
    return Terms(at.value @ _WEIGHTS, at.slope @ _WEIGHTS, at.weight @ _WEIGHTS, np.zeros_like(mean))


@terms.register
def _(family: Gaussian, y: Array, eta: Array) -> Terms:
    precision = 1.0 / family.variance_of_records
    error = y - eta
    value = 0.5 * (np.log(precision / (2.0 * np.pi)) - precision * error**2)
    return Terms(value, precision * error, np.full_like(eta, precision), np.zeros_like(eta))


@terms.register
def _(family: Poisson, y: Array, eta: Array) -> Terms:
    if type(family) is not Poisson:
        raise TypeError(f"no likelihood of the family '{family.word}'")
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
    above, below = scale * cut[score] - eta, scale * cut[score - 1] - eta
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
    return value, slope, weight, -2.0 * slope * weight - third + curve * slope, scale * a, -scale * b


def _ratio(x: Array, log_p: Array) -> Array:
    """φ(x) / p."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(x), np.exp(-0.5 * x**2 - 0.5 * np.log(2.0 * np.pi) - log_p), 0.0)


def averaged_thresholds(y: Array, mean: Array, variance: Array, family: Ordered) -> Array:
    """Gradient by the thresholds, (K - 1,), of the expected log density summed over records."""
    eta = mean[:, None] + np.sqrt(np.maximum(variance, 0.0))[:, None] * _NODES
    scale, thresholds = np.broadcast_to(family.scale, len(y))[:, None], np.array(family.thresholds)
    *_, above, below = ordered(y[:, None], eta, thresholds, scale)
    score, k = np.asarray(y, dtype=int), len(thresholds)
    by = np.bincount(score, above @ _WEIGHTS, minlength=k + 2) + np.append(
        np.bincount(score, below @ _WEIGHTS, minlength=k + 2)[1:], 0.0
    )
    return np.asarray(by[1 : k + 1])


def start_of(family: Family, y: Array) -> Array:
    """Latent values at which a search for the best may begin, (n,)."""
    return np.log(y + 0.5) if isinstance(family, Poisson) else np.zeros(len(y))
