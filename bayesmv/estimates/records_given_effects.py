r"""Densities and draws of records given fixed and random effects, where traits are not Gaussian.

With η the linear predictor of a record and R its residual variance on the latent scale,

.. math:: p(y \mid η) = \int p(y \mid η + e)\, N(e; 0, R)\, de

in closed form for Gaussian traits, liabilities (whose residual is in the distribution function) and families without a
residual, by Gauss-Hermite quadrature for counts. Where residuals of a unit are correlated, densities are of all its
records together, and of each given the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayesmv import dims
from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.families.averages import LOG_WEIGHTS, NODES
from bayesmv.families.declared import Censored, Family, Gaussian, Ordered, of_rows
from bayesmv.families.draws import draw_records
from bayesmv.families.terms import between, in_columns, terms
from bayesmv.likelihood.latent.conditioning import (
    ABSENT,
    COUNT,
    LINKED,
    NORMAL,
    THRESHOLD,
    Conditioning,
    build_conditioning,
    mixed,
)
from bayesmv.likelihood.latent.engine import with_free
from bayesmv.sampling.effects import kept_levels
from bayesmv.sampling.trace import families_of


class RecordsGivenEffects:
    """Records of a design given the effects of draws.

    Parameters
    ----------
    posterior
        Draws, of effects of all levels that have records too.
    design
        The design that was sampled.

    Raises
    ------
    SpecError
        If effects of levels that have records are not in the posterior.
    """

    def __init__(self, posterior: xr.Dataset, design: Design) -> None:
        self._posterior, self.design = posterior, design
        borne = {t.name: np.unique(np.concatenate([Z.tocoo().col for Z in t.incidences])) for t in design.terms}
        self._rows = {term.name: kept_levels(posterior, term, borne[term.name]) for term in design.terms}

    def predictor(self, at: tuple[int, ...]) -> Array:
        """Latent values of all units without residuals, units of the data, (n, t)."""
        design, posterior = self.design, self._posterior
        beta = np.zeros(design.fixed.present.shape)
        beta[design.fixed.present] = posterior[dims.FIXED].to_numpy()[at]
        eta = np.asarray(design.fixed.X @ beta) / design.scale
        for term in design.terms:
            U = np.zeros((len(term.levels), len(term.effects)))
            U[self._rows[term.name]] = posterior[dims.effect_name(term.name)].to_numpy()[at]
            eta = eta + term.spread(U / design.effect_scale(term.name))
        return np.asarray(eta * design.scale + design.offset)

    @cached_property
    def _conditioning(self) -> Conditioning:
        return build_conditioning(self.design)

    @property
    def _correlated(self) -> bool:
        """Whether residuals of several records of some unit are correlated."""
        c = self._conditioning
        return bool((((c.kinds != ABSENT)[:, None, :] & c.linked).sum(axis=2) > 1)[c.kinds != ABSENT].any())

    def log_density(self, at: tuple[int, ...], sigmas: Sequence[Array]) -> tuple[Array, Array]:
        """Log density of every record given its effects and the other records of its unit, and of every unit.

        Returns
        -------
        tuple
            (n, t), NaN where there is no record, and (n,).
        """
        if self._correlated:
            return self._joint(at, sigmas[-1])
        density = self._alone(at, sigmas)
        return density, np.nansum(density, axis=1)

    def _joint(self, at: tuple[int, ...], R: Array) -> tuple[Array, Array]:
        """The densities where residuals are correlated: of a unit, less that of its other records."""
        design, c = self.design, self._conditioning
        families = with_free(design.working_families, families_of(self._posterior, design, at))
        eta = self.predictor(at)
        linear = np.array([f.linear for f in families])
        eta = np.where(linear, (eta - design.offset - design.fixed.fitted) / design.scale, eta)
        out, whole = np.full(design.observed.shape, np.nan), np.empty(len(eta))
        for p, kinds in enumerate(c.kinds):
            units = np.flatnonzero(c.pattern == p)
            whole[units] = _of_units(design, families, eta, R, kinds, units)
            for t in np.flatnonzero(kinds != ABSENT):
                others = kinds.copy()
                others[t] = ABSENT
                several = others == LINKED
                if several.sum() == 1:
                    others[several] = THRESHOLD
                out[units, t] = whole[units] - _of_units(design, families, eta, R, others, units)
        return out, whole

    def _alone(self, at: tuple[int, ...], sigmas: Sequence[Array]) -> Array:
        design = self.design
        eta, out = self.predictor(at), np.full(design.observed.shape, np.nan)
        variance = design.residual.variances(sigmas[-1]) * design.scale**2
        for i, law in enumerate(families_of(self._posterior, design, at)):
            seen = design.observed[:, i]
            law = of_rows(law, seen)
            y = design.response[seen, i] + (design.offset[seen, i] if law.linear else 0.0)
            out[seen, i] = log_density(law, y, eta[seen, i], variance[seen, i])
        return out

    def draw(self, at: tuple[int, ...], sigmas: Sequence[Array], rng: np.random.Generator) -> Array:
        """Records of new residuals, (n, t); NaN where there is none."""
        design, eta = self.design, self.predictor(at)
        F = design.residual.structure.factor(design.residual.structure.from_matrix(sigmas[-1]))
        standard = rng.standard_normal((len(eta), len(F)))
        residual = np.asarray(design.residual.spread(standard @ F.T)) * design.scale
        laws = enumerate(families_of(self._posterior, design, at))
        drawn = np.column_stack([draw_records(law, eta[:, i], residual[:, i], rng) for i, law in laws])
        return np.where(design.observed, drawn, np.nan)


def _of_units(
    design: Design, families: Sequence[Family], eta: Array, R: Array, kinds: IntArray, units: IntArray
) -> Array:
    """Log density of the records of some kinds together, (units,), at latent values η (n, t) in working units.

    Unknowns of the residuals (:mod:`bayesmv.likelihood.latent.conditioning`) are averaged over by quadrature.
    """
    order = np.argsort(kinds, kind="stable")
    M, N = mixed(np.ascontiguousarray(R), kinds[None], order[None])[0]
    y = design.working_response[units]
    plain = (eta[units] - np.where(kinds == NORMAL, y, 0.0)) @ M.T
    drawn = np.flatnonzero((kinds == COUNT) | (kinds == LINKED))
    nodes, log_weights = _grid(len(drawn))
    total = np.broadcast_to(log_weights, (len(units), len(log_weights))).copy()
    for t in np.flatnonzero(kinds != ABSENT):
        at = plain[:, t, None] + N[t, drawn] @ nodes
        if kinds[t] == NORMAL:
            total += -0.5 * at**2 + np.log(M[t, t] / (np.sqrt(2.0 * np.pi) * design.scale[t]))
            continue
        family = of_rows(families[int(t)], units)
        if isinstance(family, Ordered | Censored):
            family = replace(family, scale=M[t, t])
        total += terms(in_columns(family), y[:, t, None], at).value
    return np.asarray(logsumexp(total, axis=1))


def _grid(m: int) -> tuple[Array, Array]:
    """Nodes (m, points) of an average over m standard normal variables, and the logarithms of their weights."""
    each = {0: 1, 1: len(NODES), 2: 21}.get(m, 9)
    x, w = (NODES, LOG_WEIGHTS) if m == 1 else np.polynomial.hermite_e.hermegauss(each)
    logs = w if m == 1 else np.log(w / w.sum())
    if m == 0:
        return np.zeros((0, 1)), np.zeros(1)
    grid = np.stack([axis.reshape(-1) for axis in np.meshgrid(*[x] * m, indexing="ij")])
    weights = sum(axis.reshape(-1) for axis in np.meshgrid(*[logs] * m, indexing="ij"))
    return grid, np.asarray(weights)


def log_density(law: Family, y: Array, eta: Array, variance: Array) -> Array:
    """Log density of records y (n,) given η without residuals, which have a variance (n,)."""
    if isinstance(law, Censored):
        sd = np.sqrt(variance)
        exact, bounds = law.exact, between((law.upper - eta) / sd, (law.lower - eta) / sd)
        return np.where(exact, log_density(Gaussian(), y, eta, variance), bounds[0])
    if isinstance(law, Gaussian):
        return np.asarray(-0.5 * (np.log(2.0 * np.pi * variance) + (y - eta) ** 2 / variance))
    if not law.counts:
        return terms(law, y, eta).value
    nodes = eta[:, None] + np.sqrt(variance)[:, None] * NODES
    return np.asarray(logsumexp(terms(law, y[:, None], nodes).value + LOG_WEIGHTS, axis=1))


def prior_families(design: Design, sigmas: Sequence[Array], rng: np.random.Generator) -> tuple[Family, ...]:
    """Families with thresholds, and other numbers, from their prior at covariances in working units.

    Distances of thresholds are log-normal(0, 1) times the standard deviation of the liability.
    """
    spread = np.ones(len(design.traits))
    for term, S in zip(design.terms, sigmas, strict=False):
        np.add.at(spread, term.trait_of, np.diag(S))
    drawn = [law.freed(rng.standard_normal(law.n_free)) for law in design.families]
    sd = np.sqrt(spread)
    return tuple(f.numbered(f.numbers * sd[i]) if isinstance(f, Ordered) else f for i, f in enumerate(drawn))
