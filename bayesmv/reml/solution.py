"""Sources of what follows from REML estimates: standard errors, fixed effects, BLUPs, by an engine or from a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.likelihood.latent import LatentLikelihood
from bayesmv.likelihood.protocol import EffectEquations, RestrictedLikelihood
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.reml.delta import Uncertainty

if TYPE_CHECKING:
    from bayesmv.reml.result import RemlFit


class Solution(Protocol):
    """Source of what follows from the estimates of a fit.

    A fit that was just made computes it from its engine, a loaded one reads it. Tables ask the fit, which asks this.
    """

    @property
    def design(self) -> Design:
        """Design that was fitted."""

    @property
    def engine(self) -> RestrictedLikelihood:
        """The engine of the fit."""

    @property
    def equations(self) -> EffectEquations:
        """The mixed-model equations."""

    def uncertainty(self, fit: RemlFit) -> Uncertainty:
        """Uncertainty of the components."""

    def fixed(self, fit: RemlFit) -> pd.DataFrame:
        """Table of fixed effects."""

    def effects(self, fit: RemlFit, term: str) -> pd.DataFrame:
        """Table of BLUPs of a term."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineSolution:
    """Solution by the engine that fitted the design."""

    design: Design
    engine: RestrictedLikelihood

    @cached_property
    def equations(self) -> EffectEquations:
        """The mixed-model equations, whatever engine was used."""
        if isinstance(self.engine, MixedModelLikelihood | LatentLikelihood):
            return self.engine
        return MixedModelLikelihood(self.design)

    def uncertainty(self, fit: RemlFit) -> Uncertainty:
        """Average information of the free parameters, carried to the components."""
        if fit.given:
            return Uncertainty.none(fit.record.component_unit)
        J = self.design.blocks.jacobian(fit.theta)
        information = J.T @ self.engine.average_information(fit.sigmas) @ J
        return Uncertainty.of(J, information, fit.record.component_unit)

    def fixed(self, fit: RemlFit) -> pd.DataFrame:
        """Generalised least squares, from the mixed-model equations."""
        design, solution = self.design, self.equations.solve(fit.sigmas)
        labels = pd.DataFrame(design.fixed.coefficients(design.traits), columns=["trait", "effect"])
        present = design.fixed.present
        estimate = (design.fixed.ols + solution.fixed * design.scale)[present]
        unit = np.broadcast_to(design.scale, present.shape)[present]
        error = unit * np.sqrt(self.equations.fixed_variances(fit.sigmas))
        table = labels.assign(estimate=estimate, std_error=error, z_ratio=estimate / error)
        return table.sort_values("trait", key=lambda c: c.map(design.traits.index), kind="stable", ignore_index=True)

    def effects(self, fit: RemlFit, term: str) -> pd.DataFrame:
        """BLUPs and prediction error variances, from the mixed-model equations."""
        part, k = self.design.term(term), self.design.position(term)
        solution = self.equations.solve(fit.sigmas).random[k]
        pev = np.diagonal(self.equations.prediction_error(fit.sigmas)[k], axis1=1, axis2=2)
        scale = self.design.effect_scale(term)
        prior = np.diag(fit.sigmas[k])[None, :] * part.level_variance[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            reliability = np.where(prior > 0, 1.0 - pev / prior, np.nan)
        return blup_table(
            part.levels, part.effects, solution * scale, np.sqrt(np.maximum(pev, 0.0)) * scale, reliability
        )


def blup_table(
    levels: pd.Index, effects: tuple[str, ...], blup: Array, std_error: Array, reliability: Array
) -> pd.DataFrame:
    """Long table of (levels, effects) arrays."""
    return pd.DataFrame(
        {
            "level": np.repeat(np.asarray(levels), len(effects)),
            "trait": np.tile(np.asarray(effects), len(levels)),
            "blup": blup.reshape(-1),
            "std_error": std_error.reshape(-1),
            "reliability": reliability.reshape(-1),
            "accuracy": np.sqrt(np.maximum(reliability, 0.0)).reshape(-1),
        }
    )
