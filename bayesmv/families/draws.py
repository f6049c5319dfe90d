"""Records drawn from families, given latent values and residuals."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import SpecError
from bayesmv.families.declared import (
    Binomial,
    Family,
    Gaussian,
    NegativeBinomial,
    Ordered,
    Poisson,
    ZeroInflatedPoisson,
)

#: Mean above which a Poisson count is its mean.
_LARGEST = 1e15


@singledispatch
def draw_records(family: Family, eta: Array, residual: Array, rng: np.random.Generator) -> Array:
    """Records (n,) of a family.

    Parameters
    ----------
    family
        The family, with its numbers.
    eta
        Latent values without their residuals, (n,).
    residual
        Residuals on the latent scale, (n,); those of a liability have variance 1, and decide on which side of a
        threshold it is, so that residuals which are correlated between traits give correlated records. Families whose
        distribution knows no normal residual leave them aside.
    rng
        Source of the random numbers.

    Raises
    ------
    SpecError
        If records of the family are not drawn.
    """
    raise SpecError(f"records of the family '{family.word}' are not simulated")


@draw_records.register
def _(family: Gaussian, eta: Array, residual: Array, rng: np.random.Generator) -> Array:
    return eta + residual


@draw_records.register
def _(family: Binomial, eta: Array, residual: Array, rng: np.random.Generator) -> Array:
    size = np.broadcast_to(family.size, eta.shape)
    if family.link == "probit" and (size == 1.0).all():
        return (eta + residual > 0.0).astype(float)
    trials = np.where(np.isfinite(size), size, 0.0).astype(np.int64)
    chance = replace(family, size=1.0).mean(eta)
    return rng.binomial(trials, chance).astype(float)


@draw_records.register
def _(family: Ordered, eta: Array, residual: Array, rng: np.random.Generator) -> Array:
    return np.asarray(1.0 + ((eta + residual)[:, None] > np.array(family.thresholds)).sum(axis=1))


@draw_records.register
def _(family: Poisson, eta: Array, residual: Array, rng: np.random.Generator) -> Array:
    return _counts(np.exp(eta + residual), rng)


@draw_records.register
def _(family: NegativeBinomial, eta: Array, residual: Array, rng: np.random.Generator) -> Array:
    mean = np.exp(eta)
    return _counts(mean * rng.gamma(family.shape, 1.0 / family.shape, eta.shape), rng)


@draw_records.register
def _(family: ZeroInflatedPoisson, eta: Array, residual: Array, rng: np.random.Generator) -> Array:
    counts = _counts(np.exp(eta + residual), rng)
    return np.where(rng.uniform(size=eta.shape) < family.zeros, 0.0, counts)


def _counts(mean: Array, rng: np.random.Generator) -> Array:
    """Poisson counts; those of means that are beyond whole numbers of floating point are the means."""
    return np.where(mean < _LARGEST, rng.poisson(np.minimum(mean, _LARGEST)), mean)
