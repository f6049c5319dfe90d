"""Records of traits that are not Gaussian in the hierarchical model, given latent values and residual covariances.

Residuals of a unit are L z, LL' = R: z of exact records is known from them, that of a count is a variable, and that of
a threshold record is integrated out (:mod:`bayesmv.likelihood.latent.conditioning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.dist_math import normal_lcdf

from bayesmv import dims
from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.errors import SpecError, listing
from bayesmv.families.declared import (
    LOG_SHAPE,
    LOGIT_ZEROS,
    Binomial,
    Censored,
    Family,
    NegativeBinomial,
    Ordered,
    Poisson,
    ZeroInflatedPoisson,
    of_rows,
)
from bayesmv.likelihood.latent.conditioning import ABSENT, BARE, COUNT, LINKED, NORMAL, build_conditioning
from bayesmv.pymc_model.covariances import Covariance


def add_records_of_families(design: Design, mean: Any, covariances: Mapping[str, Covariance]) -> None:
    """Add the records of a design some of whose traits are not Gaussian.

    Parameters
    ----------
    design
        The design.
    mean
        Latent values without residuals and offsets, less the least-squares fit of linear traits, (n, t), phenotypic sd.
    covariances
        Covariance matrices of all terms.

    Raises
    ------
    SpecError
        If residuals of several threshold records of a unit are correlated.
    """
    conditioning = build_conditioning(design)
    several = np.flatnonzero((conditioning.kinds == LINKED).any(axis=0))
    if len(several):
        raise SpecError(
            f"PyMC models are built so far of one threshold trait with correlated residuals, not of "
            f"{listing(design.traits[t] for t in several)}; write their residuals apart"
        )
    numbers = _numbers(design, covariances)
    R = covariances[dims.RESIDUAL].sigma
    for p, kinds in enumerate(conditioning.kinds):
        units = np.flatnonzero(conditioning.pattern == p)
        at = [int(t) for t in conditioning.order[p] if kinds[t] not in (ABSENT, BARE)]
        residuals = _Residuals(design, f"{p}", units, at, kinds, mean, R)
        for t in np.flatnonzero(kinds >= COUNT):
            eta = mean[units, t] + (0.0 if design.families[t].linear else design.offset[units, t])
            shift, scale = residuals.of(int(t))
            family = of_rows(design.working_families[t], units)
            name = f"records_{design.traits[t]}_{p}"
            add_records(family, name, design.working_response[units, t], eta + shift, scale, numbers.get(int(t)))


class _Residuals:
    """Residuals of the units of a pattern: exact records observed, those of counts as variables."""

    def __init__(
        self, design: Design, label: str, units: IntArray, at: list[int], kinds: IntArray, mean: Any, R: Any
    ) -> None:
        self._at, self._kinds = at, kinds
        self._L: Any = pt.linalg.cholesky(R[np.ix_(at, at)]) if at else None
        known = [t for t in at if kinds[t] == NORMAL]
        counts = [t for t in at if kinds[t] == COUNT]
        self._z: list[Any] = []
        if known:
            n, y, mu = len(known), design.working_response[np.ix_(units, known)], mean[np.ix_(units, known)]
            chol = cast(Any, self._L)[:n, :n]
            name = f"records_{'+'.join(design.traits[t] for t in known)}_{label}"
            pm.MvNormal(name, mu=mu, chol=chol, observed=y)
            z = pt.linalg.solve_triangular(chol, (y - mu).T, lower=True)
            self._z += [z[k] for k in range(n)]
        if counts:
            epsilon = pm.Normal(f"{dims.RESIDUAL}_z_{label}", shape=(len(units), len(counts)))
            self._z += [epsilon[:, k] for k in range(len(counts))]

    def of(self, t: int) -> tuple[Any, Any]:
        """What is known of the residuals of a trait, (units,), and the standard deviation of the rest."""
        if t not in self._at:
            return 0.0, 1.0
        row = self._at.index(t)
        # Other threshold records, whose z is not known, have residuals of their own.
        before = row + 1 if self._kinds[t] == COUNT else min(row, len(self._z))
        shift = sum((self._L[row, k] * self._z[k] for k in range(before)), 0.0)
        return shift, self._L[row, row]


def _numbers(design: Design, covariances: Mapping[str, Covariance]) -> dict[int, Any]:
    """Thresholds after the first, and other numbers of families, by trait; added with their priors."""
    excess = [pt.as_tensor(0.0)] * len(design.traits)
    for term in design.terms:
        variances = pt.diag(covariances[term.name].sigma)
        for e, t in enumerate(term.trait_of):
            excess[t] = excess[t] + variances[e]
    out = {}
    for t, family in enumerate(design.families):
        if not family.n_free:
            continue
        trait = design.traits[t]
        x = pm.Normal(f"{trait}_free", shape=family.n_free)
        if isinstance(family, Ordered):
            value = pt.cumsum(pt.exp(x)) * pt.sqrt(1.0 + excess[t] / family.link_variance)
        elif isinstance(family, NegativeBinomial):
            value = pt.exp(LOG_SHAPE[0] + LOG_SHAPE[1] * x)[0]
        else:
            value = pm.math.sigmoid(LOGIT_ZEROS * x)[0]
        out[t] = pm.Deterministic(dims.family_name(trait, family.number), value)
    return out


@singledispatch
def add_records(family: Family, name: str, y: Array, eta: Any, scale: Any, numbers: Any) -> None:
    """Add records y (n,) at latent values η (n,), with a residual of standard deviation `scale` in thresholds."""
    raise SpecError(f"PyMC models have no records of the family '{family.word}'")


@add_records.register
def _(family: Binomial, name: str, y: Array, eta: Any, scale: Any, numbers: Any) -> None:
    x = eta / scale
    # log Φ(x) - log Φ(-x): a logit that no tail rounds off.
    logit = normal_lcdf(0.0, 1.0, x) - normal_lcdf(0.0, 1.0, -x) if family.link == "probit" else eta
    size: npt.NDArray[np.int64] = np.broadcast_to(family.size, y.shape).astype(int)
    pm.Binomial(name, n=size, logit_p=logit, observed=y.astype(int))


@add_records.register
def _(family: Ordered, name: str, y: Array, eta: Any, scale: Any, numbers: Any) -> None:
    cuts = [0.0] if numbers is None else pt.concatenate([[0.0], numbers])
    pm.OrderedProbit(name, eta=eta / scale, cutpoints=cuts / scale, compute_p=False, observed=y.astype(int) - 1)


@add_records.register
def _(family: Censored, name: str, y: Array, eta: Any, scale: Any, numbers: Any) -> None:
    low, high = (np.clip(bound, -1e6, 1e6) for bound in (family.lower, family.upper))
    above, below = (normal_lcdf(0.0, 1.0, (bound - eta) / scale) for bound in (high, low))
    left, right = (normal_lcdf(0.0, 1.0, (eta - bound) / scale) for bound in (low, high))
    # Of the two tails the one that is the smaller, so that no difference is one of numbers near 1.
    tail = pt.lt(0.5 * (low + high), eta)
    value = pt.switch(tail, pm.math.logdiffexp(above, below), pm.math.logdiffexp(left, right))
    pm.Potential(name, pt.sum(value))


@add_records.register
def _(family: Poisson, name: str, y: Array, eta: Any, scale: Any, numbers: Any) -> None:
    pm.Poisson(name, mu=pt.exp(eta), observed=y.astype(int))


@add_records.register
def _(family: NegativeBinomial, name: str, y: Array, eta: Any, scale: Any, numbers: Any) -> None:
    pm.NegativeBinomial(name, mu=pt.exp(eta), alpha=numbers, observed=y.astype(int))


@add_records.register
def _(family: ZeroInflatedPoisson, name: str, y: Array, eta: Any, scale: Any, numbers: Any) -> None:
    pm.ZeroInflatedPoisson(name, psi=1.0 - numbers, mu=pt.exp(eta), observed=y.astype(int))
