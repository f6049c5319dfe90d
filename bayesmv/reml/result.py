"""REML estimates of a design: components with their standard errors, fixed effects, BLUPs; saved and loaded."""

from __future__ import annotations

import html
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from bayesmv.arrays import Array, BoolArray, Shown
from bayesmv.covariance.base import SINGULAR
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.families.declared import Family, Ordered
from bayesmv.likelihood.choose import APPROXIMATE
from bayesmv.likelihood.latent.engine import LaplaceML, LatentLikelihood
from bayesmv.likelihood.protocol import EffectEquations, RestrictedLikelihood
from bayesmv.numerics.symmetric import correlation, packed_rows
from bayesmv.reml.delta import Uncertainty, component_gradient, moving
from bayesmv.reml.solution import EngineSolution, Solution


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RemlFit(Shown):
    """REML estimates of a design.

    Parameters
    ----------
    record
        What was fitted: model, names, units, and the fingerprint of the data.
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
    engine_name
        The engine that was used.
    solution
        Source of what follows from the estimates: the engine of a fit, or the file of a loaded one.
    """

    record: ModelRecord
    theta: Array
    loglik: float
    gradient: Array
    iterations: int
    converged: bool
    given: bool = False
    engine_name: str
    solution: Solution = field(repr=False)

    @property
    def state(self) -> str:
        """Likelihood and convergence in a line."""
        how = "at the covariances that were given" if self.given else f"in {self.iterations} iterations"
        found = "solved" if self.given else "converged" if self.converged else "NOT converged"
        edge = f"; on the boundary: {', '.join(f'{n} (rank {self.ranks[n]})' for n in self.at_boundary)}"
        return (
            f"logLik {self.loglik:.3f}, {self.n_parameters} covariance parameters, AIC {self.aic:.1f}, "
            f"BIC {self.bic:.1f}; {found} {how}, {self.engine_name} engine" + (edge if self.at_boundary else "")
        )

    def summary(self) -> str:
        """Model, likelihood and variance components."""
        shown = self.varcomp.to_string(index=False, float_format=lambda v: f"{v:.5g}")
        return "\n".join([self.method, str(self.record.spec), self.state, "", shown])

    def _repr_html_(self) -> str:
        head = "<br>".join(html.escape(line) for line in (self.method, str(self.record.spec), self.state))
        return f"<p>{head}</p>{self.varcomp.to_html(index=False, float_format=lambda v: f'{v:.5g}')}"

    @property
    def method(self) -> str:
        """Name of what was maximised; where a trait is not Gaussian, that it is approximate."""
        if not self.record.spec.families:
            return "REML"
        return next(each.label for each in APPROXIMATE if each.name == self.engine_name)

    @property
    def design(self) -> Design:
        """Design that was fitted; a loaded fit has none."""
        return self.solution.design

    @property
    def engine(self) -> RestrictedLikelihood:
        """The engine that was used; a loaded fit has none."""
        return self.solution.engine

    @property
    def equations(self) -> EffectEquations:
        """The mixed-model equations, for effects; a loaded fit has none."""
        return self.solution.equations

    @cached_property
    def sigmas(self) -> list[Array]:
        """Covariance matrices of the scaled traits, in the order of ``record.names``."""
        return self.record.blocks.matrices(self.theta)

    @cached_property
    def covariances(self) -> dict[str, Array]:
        """Covariance matrices in the units of the data, by name of the term."""
        pairs = zip(self.record.names, self.sigmas, strict=True)
        return {name: self.record.to_data_units(name, sigma) for name, sigma in pairs}

    @cached_property
    def correlations(self) -> dict[str, Array]:
        """Correlation matrices by name of the term; NaN where a variance is 0."""
        return {name: correlation(sigma) for name, sigma in self.covariances.items()}

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Rank of every covariance matrix; below its size the estimate lies on the boundary."""
        pairs = zip(self.record.names, self.sigmas, strict=True)
        return {name: int((np.linalg.eigvalsh(S) > SINGULAR).sum()) for name, S in pairs}

    @property
    def at_boundary(self) -> tuple[str, ...]:
        """Terms at the edge of their parameter space.

        Their covariance matrix has a lower rank than the structure allows, a specific variance is 0, or a correlation
        is at the end of its interval.
        """
        blocks = self.record.blocks
        parts = zip(self.record.names, blocks.structures, blocks.slices, strict=True)
        return tuple(n for n, s, at in parts if self.ranks[n] < s.max_rank or s.edges(self.theta[at]).any())

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """Uncertainty of the components and of functions of them: standard errors, and why there is none."""
        edge, held = self._on_the_boundary()
        return replace(self.solution.uncertainty(self), edge=edge, held=held)

    def _on_the_boundary(self) -> tuple[BoolArray, BoolArray]:
        """Components of terms with parameters on the boundary, and those of effects in a null direction, (c,) each."""
        blocks = self.record.blocks
        free, edge, held = moving(blocks.jacobian(self.theta)), [], []
        for name, at in zip(self.record.names, blocks.slices, strict=True):
            null = self.held_effects[name]
            i, j = packed_rows(len(null))
            held.append(null[i] | null[j])
            edge.append(np.full(len(i), name in self.at_boundary or not free[at].all()))
        return np.concatenate(edge), np.concatenate(held)

    @cached_property
    def component_covariance(self) -> Array:
        """Covariance matrix of the estimated components (stacked lower triangles), in the units of the data.

        ``J (J'AI J)⁺ J'``: the average information of the parameters that are free, those on the boundary being held.
        NaN for components that the data do not identify.
        """
        return self.uncertainty.covariance

    def components_of(self, name: str) -> slice:
        """Place of the packed lower triangle of a term among the stacked components."""
        sizes = [len(S) * (len(S) + 1) // 2 for S in self.sigmas]
        k = self.record.position(name)
        return slice(sum(sizes[:k]), sum(sizes[: k + 1]))

    def term_covariance(self, name: str) -> Array:
        """Covariance matrix of the estimated components of one term (its packed lower triangle)."""
        at = self.components_of(name)
        return self.component_covariance[at, at]

    @cached_property
    def held_effects(self) -> dict[str, BoolArray]:
        """Which effects of every term take part in a null direction of its covariance matrix, (m,)."""
        out = {}
        for name, sigma, structure in zip(self.record.names, self.sigmas, self.record.blocks.structures, strict=True):
            values, vectors = np.linalg.eigh(sigma)
            null = (values <= SINGULAR) & (self.ranks[name] < structure.max_rank)
            out[name] = np.asarray((np.abs(vectors[:, null]) > 1e-3).any(axis=1))
        return out

    def component(self, name: str, i: int, j: int, as_correlation: bool = False) -> tuple[float, float, str]:
        """Estimate, standard error and constraint of a covariance or correlation (i, j) of a term.

        Returns
        -------
        tuple
            The standard error is NaN where there is none to give. The constraint is ``positive`` for variances and
            ``unconstrained`` for covariances and correlations inside the parameter space, ``boundary`` where the matrix
            is singular in that direction, ``fixed`` where it was given, ``not identified``, with an estimate of NaN,
            where the data cannot tell it from another component.
        """
        value, own = component_gradient(self.covariances[name], i, j, as_correlation)
        gradient = np.zeros(len(self.record.component_unit))
        gradient[self.components_of(name)] = own
        error, standing = self.uncertainty.judge(gradient)
        if standing == "not identified":
            return np.nan, error, standing
        if standing == "free":
            return value, error, "positive" if i == j else "unconstrained"
        return value, error, standing

    @cached_property
    def varcomp(self) -> pd.DataFrame:
        """Variance components: term, trait_i, trait_j, component, std_error, z_ratio, constraint (see `component`)."""
        rows = []
        for name, structure in zip(self.record.names, self.record.blocks.structures, strict=True):
            effects = self.record.effects_of(name)
            for i, j in structure.support:
                as_correlation = structure.reports_correlations and i != j
                rows.append((name, effects[j], effects[i], *self.component(name, i, j, as_correlation)))
        table = pd.DataFrame(rows, columns=["term", "trait_i", "trait_j", "component", "std_error", "constraint"])
        table.insert(5, "z_ratio", (table["component"] / table["std_error"]).where(table["std_error"] > 0))
        return table

    @property
    def n_parameters(self) -> int:
        """Number of covariance parameters."""
        return self.record.blocks.n_parameters

    @property
    def aic(self) -> float:
        """``-2l + 2 q``, q covariance parameters; comparable between fits with the same fixed effects.

        Of a likelihood that is not restricted (``laplace_ml``) q counts fixed effects too.
        """
        return -2.0 * self.loglik + 2.0 * (self.n_parameters + self._fixed_fitted)

    @property
    def _fixed_fitted(self) -> int:
        """Number of fixed effects that the likelihood was maximised by."""
        return self.record.n_coefficients if self.engine_name == LaplaceML.name else 0

    @property
    def bic(self) -> float:
        """``-2l + q log(N-p)``."""
        fitted = self._fixed_fitted
        n_free = self.record.n_records - (self.record.n_coefficients - fitted)
        return float(-2.0 * self.loglik + (self.n_parameters + fitted) * np.log(n_free))

    @cached_property
    def thresholds(self) -> pd.DataFrame:
        """Thresholds of ordered traits (trait, threshold, estimate), in residual standard deviations, from 0."""
        pairs = zip(self.design.traits, self.families, strict=True)
        cuts = {trait: f.thresholds for trait, f in pairs if isinstance(f, Ordered)}
        rows = [(trait, k + 1, float(t)) for trait, own in cuts.items() for k, t in enumerate(own)]
        return pd.DataFrame(rows, columns=["trait", "threshold", "estimate"])

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """Families of the traits, with the estimates of their thresholds, shapes and shares of zeros."""
        engine = self.engine
        return engine.estimated_families(self.sigmas) if isinstance(engine, LatentLikelihood) else self.design.families

    @cached_property
    def fixed(self) -> pd.DataFrame:
        """Generalised-least-squares fixed effects (trait, effect, estimate, std_error, z_ratio), units of the data."""
        return self.solution.fixed(self)

    def fixed_covariance(self) -> pd.DataFrame:
        """Covariance matrix of the estimated fixed effects, ``(X'V⁻¹X)⁻¹``, in the order and units of `fixed`.

        Raises
        ------
        SpecError
            If the fit was loaded from a file: it holds the standard errors alone.
        """
        design, table = self.design, self.fixed
        coefficients = design.fixed.coefficients(design.traits)
        place = {label: i for i, label in enumerate(coefficients)}
        order = [place[label] for label in zip(table["trait"], table["effect"], strict=True)]
        unit = np.array([design.scale[design.traits.index(trait)] for trait, _ in coefficients])
        V = self.equations.fixed_covariance(self.sigmas) * np.outer(unit, unit)
        names = [f"{trait}:{effect}" for trait, effect in zip(table["trait"], table["effect"], strict=True)]
        return pd.DataFrame(V[np.ix_(order, order)], index=names, columns=names)

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
        return self.solution.effects(self, term)

    def to_netcdf(self, path: str | Path) -> None:
        """Write the fit, with fixed effects and BLUPs, to a netCDF file that :func:`bayesmv.load_fit` reads.

        The variables have the names and dimensions of a posterior's, without chains and draws: ``<term>_cov``,
        ``<term>_corr``, ``<term>_sd``, ``fixed``, ``<term>_effect``, each with its standard errors beside it
        (``<term>_cov_se``, …).

        Raises
        ------
        OSError
            If the file cannot be written; one that stood there stays as it was.
        """
        from bayesmv.reml.storage import save_fit

        save_fit(self, path)


def fitted(
    design: Design,
    engine: RestrictedLikelihood,
    theta: Array,
    *,
    loglik: float,
    gradient: Array,
    iterations: int,
    converged: bool,
    given: bool = False,
) -> RemlFit:
    """REML fit of a design, with its engine."""
    return RemlFit(
        record=ModelRecord.of(design),
        theta=theta,
        loglik=loglik,
        gradient=gradient,
        iterations=iterations,
        converged=converged,
        given=given,
        engine_name=engine.name,
        solution=EngineSolution(design=design, engine=engine),
    )
