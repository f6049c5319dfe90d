"""Averages over a normal residual on the latent scale, and what is expected of a record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesmv.arrays import Array
from bayesmv.families.declared import Family

#: Nodes of an average over a standard normal variable, and the logarithms of their weights.
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
LOG_WEIGHTS = np.log(_WEIGHTS / _WEIGHTS.sum())


def over_residual(f: Callable[[Array], Array], eta: Array, variance: Array) -> Array:
    """Average of f over ``N(η, variance)``, elementwise; the variance is spread to the shape of η."""
    nodes = eta[..., None] + np.sqrt(variance)[..., None] * NODES
    return np.asarray(f(nodes) @ np.exp(LOG_WEIGHTS))


def expected_record(family: Family, eta: Array, variance: Array) -> Array:
    """E(y | η), of counts with their residual averaged over; that of a liability is in its distribution function."""
    return over_residual(family.mean, eta, variance) if family.counts else np.asarray(family.mean(eta))
