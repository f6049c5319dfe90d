r"""Densities and draws of records given fixed and random effects, where traits are not Gaussian.

With η the linear predictor of a record and R its residual variance on the latent scale,

.. math:: p(y \mid η) = \int p(y \mid η + e)\, N(e; 0, R)\, de

in closed form for Gaussian traits, liabilities (whose residual is in the distribution function) and families without a
residual, by Gauss-Hermite quadrature for counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import SpecError, listing
from bayesmv.families.averages import LOG_WEIGHTS, NODES
from bayesmv.families.declared import Censored, Family, Gaussian, Ordered, of_rows
from bayesmv.families.draws import draw_records
from bayesmv.families.terms import between, terms
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

    def log_density(self, at: tuple[int, ...], sigmas: Sequence[Array]) -> Array:
        """Log density of every record given its effects, (n, t); NaN where there is none.

        Raises
        ------
        SpecError
            If residuals are correlated: a record then depends on others of its unit.
        """
        design = self.design
        linked = [(i, j) for i, j in design.residual.structure.support if i != j]
        if linked and design.observed.sum(axis=1).max() > 1:
            pairs = listing([f"{design.traits[j]} and {design.traits[i]}" for i, j in linked])
            raise SpecError(
                f"densities of records given their effects are so far of residuals that are independent, and those of "
                f"{pairs} are correlated; ask for other groups, or sample with residual = 'diag(trait):units'"
            )
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
