"""REML estimates of a design."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.covariance.base import SINGULAR, CovarianceStructure
from bayesmv.design.design import Design
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.numerics.symmetric import vech
from bayesmv.reml.delta import component_gradient, propagate, standard_error


@dataclass(frozen=True, kw_only=True)
class RemlFit:
    """REML estimates of a design.

    Parameters
    ----------
    design
        What was fitted.
    engine
        The engine that was used.
    theta
        Estimated parameters of the covariance structures, scaled traits.
    loglik
        Restricted log-likelihood with the full constant, as lme4 prints it. ASReml leaves out ``-(N-p)/2 log 2π``.
    gradient
        dl/dθ at the end.
    iterations
        Steps taken.
    converged
        Whether the criterion was met.
    given
        The covariances were given by the user, not estimated.
    """

    design: Design
    engine: RestrictedLikelihood
    theta: Array
    loglik: float
    gradient: Array
    iterations: int
    converged: bool
    given: bool = False

    @cached_property
    def sigmas(self) -> list[Array]:
        """Covariance matrices of the scaled traits, in the order of ``design.names``."""
        return self.design.blocks.matrices(self.theta)

    @cached_property
    def covariances(self) -> dict[str, Array]:
        """Covariance matrices in the units of the data, by name of the term."""
        return {
            name: sigma * np.outer(scale, scale)
            for name, sigma, scale in zip(self.design.names, self.sigmas, self._scales, strict=True)
        }

    @property
    def _scales(self) -> list[Array]:
        return [self.design.effect_scale(name) for name in self.design.names]

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Rank of every covariance matrix; below its size the estimate lies on the boundary."""
        return {
            name: int((np.linalg.eigvalsh(S) > SINGULAR).sum())
            for name, S in zip(self.design.names, self.sigmas, strict=True)
        }

    @property
    def at_boundary(self) -> tuple[str, ...]:
        """Terms at the edge of their parameter space.

        Their covariance matrix has a lower rank than the structure allows, a specific variance is 0, or a correlation
        is at the end of its interval.
        """
        blocks = self.design.blocks
        parts = zip(self.design.names, blocks.structures, blocks.slices, strict=True)
        return tuple(n for n, s, at in parts if self.ranks[n] < s.max_rank or s.edges(self.theta[at]).any())

    @cached_property
    def component_covariance(self) -> Array:
        """Covariance matrix of the estimated components (stacked lower triangles), in the units of the data.

        ``J (J'AI J)⁺ J'``: the average information of the parameters that are free, those on the boundary being held.
        NaN for components that the data do not identify.
        """
        J = self.design.blocks.jacobian(self.theta)
        if self.given:
            return np.zeros((len(J), len(J)))
        unit = vech([np.outer(s, s) for s in self._scales])
        information = J.T @ self.engine.average_information(self.sigmas) @ J
        return np.asarray(np.outer(unit, unit) * propagate(J, information))

    def term_covariance(self, name: str) -> Array:
        """Covariance matrix of the estimated components of one term (its packed lower triangle)."""
        sizes = [len(S) * (len(S) + 1) // 2 for S in self.sigmas]
        k = self.design.names.index(name)
        at = slice(sum(sizes[:k]), sum(sizes[: k + 1]))
        return self.component_covariance[at, at]

    @cached_property
    def held_effects(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Which effects of every term take part in a null direction of its covariance matrix, (m,)."""
        out = {}
        for name, sigma, structure in zip(self.design.names, self.sigmas, self.design.blocks.structures, strict=True):
            values, vectors = np.linalg.eigh(sigma)
            null = (values <= SINGULAR) & (self.ranks[name] < structure.max_rank)
            out[name] = np.asarray((np.abs(vectors[:, null]) > 1e-3).any(axis=1))
        return out

    @cached_property
    def varcomp(self) -> pd.DataFrame:
        """Variance components: term, trait_i, trait_j, component, std_error, z_ratio, constraint.

        ``constraint`` is ``positive`` for variances and ``unconstrained`` for covariances and correlations inside the
        parameter space, ``boundary`` where the matrix is singular in that direction, ``fixed`` where it was given,
        ``not identified`` where the data cannot tell it from another component.
        """
        rows = []
        for name, structure in zip(self.design.names, self.design.blocks.structures, strict=True):
            rows += self._term_rows(name, structure)
        table = pd.DataFrame(rows, columns=["term", "trait_i", "trait_j", "component", "std_error", "constraint"])
        table.insert(5, "z_ratio", (table["component"] / table["std_error"]).where(table["std_error"] > 0))
        return table

    def _term_rows(self, name: str, structure: CovarianceStructure) -> list[tuple[object, ...]]:
        effects, held, V = self.design.effects_of(name), self.held_effects[name], self.term_covariance(name)
        rows: list[tuple[object, ...]] = []
        for i, j in structure.support:
            as_correlation = structure.reports_correlations and i != j
            value, gradient = component_gradient(self.covariances[name], i, j, as_correlation)
            error = standard_error(V, gradient)
            constraint = "boundary" if held[i] or held[j] else ("positive" if i == j else "unconstrained")
            fixed = self.given or not structure.n_parameters
            if fixed or (np.isnan(error) and constraint != "boundary"):
                constraint = "fixed" if fixed else "not identified"
            error = error if fixed or value != 0 or constraint != "boundary" else float("nan")
            rows.append((name, effects[j], effects[i], value, error, constraint))
        return rows

    @property
    def n_parameters(self) -> int:
        """Number of covariance parameters."""
        return self.design.blocks.n_parameters

    @property
    def aic(self) -> float:
        """``-2l + 2 q``, q covariance parameters; comparable between fits with the same fixed effects."""
        return -2.0 * self.loglik + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """``-2l + q log(N-p)``."""
        n_free = self.design.n_records - int(self.design.fixed.present.sum())
        return float(-2.0 * self.loglik + self.n_parameters * np.log(n_free))

    @cached_property
    def equations(self) -> MixedModelLikelihood:
        """The mixed-model equations, for effects."""
        return self.engine if isinstance(self.engine, MixedModelLikelihood) else MixedModelLikelihood(self.design)

    @cached_property
    def fixed(self) -> pd.DataFrame:
        """Generalised-least-squares fixed effects (trait, effect, estimate, std_error, z_ratio), units of the data."""
        design, solution = self.design, self.equations.solve(self.sigmas)
        labels = pd.DataFrame(design.fixed.coefficients(design.traits), columns=["trait", "effect"])
        present = design.fixed.present
        estimate = (design.fixed.ols + solution.fixed * design.scale)[present]
        unit = np.broadcast_to(design.scale, present.shape)[present]
        error = unit * np.sqrt(np.diag(self.equations.fixed_covariance(self.sigmas)))
        table = labels.assign(estimate=estimate, std_error=error, z_ratio=estimate / error)
        return table.sort_values("trait", key=lambda c: c.map(design.traits.index), kind="stable", ignore_index=True)

    def effects(self, term: str) -> pd.DataFrame:
        """BLUPs of a random term.

        Parameters
        ----------
        term
            Name of the term.

        Returns
        -------
        DataFrame
            level, trait, blup, std_error (square root of the prediction error variance), reliability
            ``1 - PEV / (σ² K_ii)`` and accuracy (its square root), in the units of the data.

        Raises
        ------
        SpecError
            If there is no such term.
        """
        part = self.design.term(term)
        k = self.design.names.index(term)
        solution = self.equations.solve(self.sigmas).random[k]
        pev = np.diagonal(self.equations.prediction_error(self.sigmas)[k], axis1=1, axis2=2)
        scale = self.design.effect_scale(term)
        prior = np.diag(self.sigmas[k])[None, :] * part.level_variance[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            reliability = np.where(prior > 0, 1.0 - pev / prior, np.nan)
        return pd.DataFrame(
            {
                "level": np.repeat(np.asarray(part.levels), len(part.effects)),
                "trait": np.tile(np.asarray(part.effects), len(part.levels)),
                "blup": (solution * scale).reshape(-1),
                "std_error": (np.sqrt(np.maximum(pev, 0.0)) * scale).reshape(-1),
                "reliability": reliability.reshape(-1),
                "accuracy": np.sqrt(np.maximum(reliability, 0.0)).reshape(-1),
            }
        )
