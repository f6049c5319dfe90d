"""Randomised quantile residuals of records of any family, given the predicted effects.

With F the distribution function of a record at its predicted latent value, its residual averaged over, and v uniform,
``Φ⁻¹(F(y - 1) + v (F(y) - F(y - 1)))`` is standard normal where the model is right, of counts and classes as of
Gaussian records.

Source: Dunn & Smyth (1996), J. Comput. Graph. Stat. 5:236-244.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np
from scipy.special import bdtr, ndtr, ndtri, pdtr

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.families.declared import Binomial, Family, Gaussian, Ordered, Poisson
from bayesmv.reml.result import RemlFit

#: Nodes of the average over a residual.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_SMALL = 1e-15


@singledispatch
def distribution(family: Family, y: Array, eta: Array, variance: Array) -> tuple[Array, Array]:
    """Probabilities below a record and up to it, (n,) each, given η and the residual variance (n,)."""
    raise TypeError(f"no distribution function of the family '{family.word}'")


@distribution.register
def _(family: Gaussian, y: Array, eta: Array, variance: Array) -> tuple[Array, Array]:
    up_to = ndtr((y - eta) / np.sqrt(variance))
    return up_to, up_to


@distribution.register
def _(family: Binomial, y: Array, eta: Array, variance: Array) -> tuple[Array, Array]:
    p = replace(family, size=1.0).mean(eta)
    size = np.broadcast_to(np.asarray(family.size), y.shape).astype(np.int64)
    below = np.where(y > 0.0, bdtr(np.maximum(y - 1.0, 0.0), size, p), 0.0)
    return below, np.asarray(bdtr(y, size, p))


@distribution.register
def _(family: Ordered, y: Array, eta: Array, variance: Array) -> tuple[Array, Array]:
    passed = np.cumsum(family.probabilities(eta), axis=-1)
    ends = np.concatenate([np.zeros((len(y), 1)), passed], axis=1)
    rows, score = np.arange(len(y)), y.astype(int)
    return ends[rows, score - 1], ends[rows, score]


@distribution.register
def _(family: Poisson, y: Array, eta: Array, variance: Array) -> tuple[Array, Array]:
    mean = np.exp(eta[:, None] + np.sqrt(variance)[:, None] * _NODES)
    below = np.where(y[:, None] > 0.0, pdtr(np.maximum(y[:, None] - 1.0, 0.0), mean), 0.0)
    return below @ _WEIGHTS, pdtr(y[:, None], mean) @ _WEIGHTS


def quantile_residuals(fit: RemlFit, design: Design, seed: int = 1) -> tuple[Array, Array]:
    """Expected records and randomised quantile residuals at the predicted effects of a fit, (n, t) each."""
    rng, solution = np.random.default_rng(seed), fit.equations.solve(fit.sigmas)
    eta = np.asarray(design.fixed.X @ solution.fixed)
    for term, effects in zip(design.terms, solution.random, strict=True):
        eta = eta + term.spread(effects)
    eta = np.asarray(eta * design.scale + design.fixed.fitted + design.offset)
    variance = residual_variances(design, fit.sigmas[-1])
    cuts = {str(trait): tuple(own["estimate"]) for trait, own in fit.thresholds.groupby("trait")}
    expected, residual = np.full(eta.shape, np.nan), np.full(eta.shape, np.nan)
    for i, (trait, law) in enumerate(zip(design.traits, design.families, strict=True)):
        seen = design.observed[:, i]
        if isinstance(law, Ordered):
            law = Ordered(cuts[trait])
        if isinstance(law, Binomial):
            law = replace(law, size=np.broadcast_to(law.size, seen.shape)[seen])
        y = design.response[seen, i] + (design.offset[seen, i] if isinstance(law, Gaussian) else 0.0)
        below, up_to = distribution(law, y, eta[seen, i], variance[seen, i])
        at = below + rng.uniform(size=len(y)) * (up_to - below)
        residual[seen, i] = ndtri(np.clip(at, _SMALL, 1.0 - _SMALL))
        expected[seen, i] = _mean(law, eta[seen, i], variance[seen, i])
    return expected, residual


def _mean(law: Family, eta: Array, variance: Array) -> Array:
    """Expected record, of counts with their overdispersion averaged over."""
    if isinstance(law, Binomial):
        return np.asarray(law.size * replace(law, size=1.0).mean(eta))
    if not isinstance(law, Poisson):
        return law.mean(eta)
    return np.asarray(law.mean(eta[:, None] + np.sqrt(variance)[:, None] * _NODES) @ _WEIGHTS)


def residual_variances(design: Design, sigma: Array) -> Array:
    """Residual variance of every record, units of the data, (n, t), from the covariance in working units."""
    structure = design.residual.structure
    F, n = structure.factor(structure.from_matrix(sigma)), len(design.units)
    out = np.zeros(design.observed.shape)
    for column in F.T:
        out += np.asarray(design.residual.spread(np.broadcast_to(column, (n, len(F))))) ** 2
    return np.asarray(out * design.scale**2)
