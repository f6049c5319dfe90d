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
from scipy.special import bdtr, betainc, expit, ndtr, ndtri, pdtr

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.families.averages import expected_record, over_residual
from bayesmv.families.declared import (
    Binomial,
    Censored,
    Family,
    Gaussian,
    NegativeBinomial,
    Ordered,
    Poisson,
    ZeroInflatedPoisson,
    of_rows,
)
from bayesmv.reml.result import RemlFit

#: Least distance of a probability from 0 and 1.
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
def _(family: Censored, y: Array, eta: Array, variance: Array) -> tuple[Array, Array]:
    sd = np.sqrt(variance)
    below, up_to = (ndtr((np.where(family.exact, y, bound) - eta) / sd) for bound in (family.lower, family.upper))
    return below, up_to


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
    def below(nodes: Array) -> Array:
        return np.where(y[:, None] > 0.0, pdtr(np.maximum(y[:, None] - 1.0, 0.0), np.exp(nodes)), 0.0)

    up_to = over_residual(lambda nodes: pdtr(y[:, None], np.exp(nodes)), eta, variance)
    return over_residual(below, eta, variance), up_to


@distribution.register
def _(family: NegativeBinomial, y: Array, eta: Array, variance: Array) -> tuple[Array, Array]:
    chance = expit(np.log(family.shape) - eta)
    # P(Y <= y) of a shape that need not be whole.
    below = np.where(y > 0.0, betainc(family.shape, np.maximum(y, 1.0), chance), 0.0)
    return below, np.asarray(betainc(family.shape, y + 1.0, chance))


@distribution.register
def _(family: ZeroInflatedPoisson, y: Array, eta: Array, variance: Array) -> tuple[Array, Array]:
    below, up_to = distribution(Poisson(), y, eta, variance)
    share = family.zeros
    return np.where(y > 0.0, share + (1.0 - share) * below, 0.0), share + (1.0 - share) * up_to


def quantile_residuals(fit: RemlFit, design: Design, seed: int = 1) -> tuple[Array, Array]:
    """Expected records and randomised quantile residuals at the predicted effects of a fit, (n, t) each."""
    rng, solution = np.random.default_rng(seed), fit.equations.solve(fit.sigmas)
    eta = np.asarray(design.fixed.X @ solution.fixed)
    for term, effects in zip(design.terms, solution.random, strict=True):
        eta = eta + term.spread(effects)
    eta = np.asarray(eta * design.scale + design.fixed.fitted + design.offset)
    variance = design.residual.variances(fit.sigmas[-1]) * design.scale**2
    expected, residual = np.full(eta.shape, np.nan), np.full(eta.shape, np.nan)
    for i, family in enumerate(fit.families):
        seen = design.observed[:, i]
        law = of_rows(family, seen)
        y = design.response[seen, i] + (design.offset[seen, i] if law.linear else 0.0)
        below, up_to = distribution(law, y, eta[seen, i], variance[seen, i])
        at = below + rng.uniform(size=len(y)) * (up_to - below)
        residual[seen, i] = ndtri(np.clip(at, _SMALL, 1.0 - _SMALL))
        trials = law.size if isinstance(law, Binomial) else 1.0
        expected[seen, i] = trials * expected_record(law, eta[seen, i], variance[seen, i])
    return expected, residual
