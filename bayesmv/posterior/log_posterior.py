"""The log posterior of the covariance parameters, on an unconstrained vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceBlocks
from bayesmv.design.design import Design
from bayesmv.likelihood import Engine, RestrictedLikelihood, likelihood
from bayesmv.numerics.newton import Local, Optimum, climb
from bayesmv.posterior.coordinates import PLANAR_UNIT, Coordinates, PlanarCoordinates
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.density import joint_log_prior
from bayesmv.reml.maximise import RestrictedObjective

#: The mode is only a start for the sampler: gain in log density below which it is found.
_NEAR_ENOUGH = 1e-6
_LARGEST = 1e100


@dataclass(frozen=True, kw_only=True, eq=False)
class LogPosterior:
    """Log posterior ``l(Σ(θ)) + Σ_k log p(θ_k) + log|dθ/dx|`` of unconstrained x (:mod:`.coordinates`).

    Without the Jacobian it is, up to a constant, the density of the marginal PyMC model by θ.

    Parameters
    ----------
    design
        What was observed.
    engine
        Restricted likelihood.
    priors
        Prior of every covariance matrix, by name of the term.
    unit
        Units of planar coordinates (:class:`PlanarCoordinates`), (d,); None for the coordinates of the PyMC model.
    """

    design: Design
    engine: RestrictedLikelihood
    priors: Mapping[str, CovariancePrior]
    unit: Array | None = None

    @cached_property
    def blocks(self) -> CovarianceBlocks:
        """Structures of the covariance matrices."""
        return self.design.blocks

    @cached_property
    def coordinates(self) -> Coordinates:
        """The map between x and θ."""
        if self.unit is None:
            return Coordinates(self.blocks.anchor)
        return PlanarCoordinates(self.blocks.anchor, self.unit)

    def planar(self, unit: Array | None = None) -> LogPosterior:
        """Return the same posterior in the coordinates of the sampler, in one unit if none are given."""
        return replace(self, unit=np.full(self.blocks.n_parameters, PLANAR_UNIT) if unit is None else unit)

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at x (d,); -inf with a zero gradient where the likelihood is not defined."""
        with np.errstate(all="ignore"):
            theta = self.coordinates.constrain(x)
            if not _usable(theta):
                return -np.inf, np.zeros_like(x)
            value, gradients = self.engine.value_and_gradient(self.blocks.matrices(theta))
            prior, d_prior = self.prior(theta)
            value += prior + self.coordinates.log_jacobian(x)
            gradient = self.coordinates.pullback(x, self.blocks.pullback(theta, gradients) + d_prior)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros_like(x)
        return value, gradient

    def value(self, x: Array) -> float:
        """Log density at x (d,)."""
        with np.errstate(all="ignore"):
            theta = self.coordinates.constrain(x)
            if not _usable(theta):
                return -np.inf
            value = self.engine.loglik(self.blocks.matrices(theta))
            value += self.prior(theta)[0] + self.coordinates.log_jacobian(x)
        return value if np.isfinite(value) else -np.inf

    def gradient(self, x: Array) -> Array:
        """Gradient at x (d,)."""
        return self.value_and_gradient(x)[1]

    def expand(self, x: Array) -> Local:
        """Log density, gradient, and a negative Hessian with the average information for the likelihood's."""
        theta = self.coordinates.constrain(x)
        local = RestrictedObjective(self.engine, self.blocks).expand(theta)
        J = self.coordinates.jacobian(x)

        def rest(at: Array) -> Array:
            moved = self.coordinates.constrain(at)
            return self.coordinates.pullback(at, local.gradient + self.prior(moved)[1])

        h = 1e-5
        curvature = np.stack([(rest(x + e) - rest(x - e)) / (2 * h) for e in h * np.eye(len(x))])
        hessian = J.T @ local.hessian @ J - 0.5 * (curvature + curvature.T)
        value = local.value + self.prior(theta)[0] + self.coordinates.log_jacobian(x)
        return Local(value, rest(x), hessian)

    @cached_property
    def resolution(self) -> Array:
        """Size of the scales that the coordinates resolve, in their places, (d,)."""
        unit = np.zeros(self.blocks.n_parameters) if self.unit is None else self.unit
        return np.where(unit > 0.0, unit, PLANAR_UNIT)

    def mode(self, start: Array, limit: int = 100) -> Optimum:
        """Highest point of the density of x, climbed to from `start` (d,)."""
        return climb(self, start, limit, tolerance=_NEAR_ENOUGH)

    def prior(self, theta: Array) -> tuple[float, Array]:
        """Unnormalised log prior density of θ, and its gradient (d,)."""
        return joint_log_prior(self.blocks, self.design.names, self.design.traits_of, self.priors, theta)


def _usable(theta: Array) -> bool:
    """Whether squares of the parameters are numbers, not overflows."""
    return bool(np.all(np.abs(theta) < _LARGEST))


def log_posterior(
    design: Design,
    priors: Mapping[str, CovariancePrior] | None = None,
    engine: Engine | RestrictedLikelihood = "auto",
) -> LogPosterior:
    """Build the log posterior of a design.

    Parameters
    ----------
    design
        The design.
    priors
        Priors by name of the term, in place of those of the specification.
    engine
        Likelihood engine, or the word of one.
    """
    design.require_gaussian("posteriors are sampled")
    return LogPosterior(
        design=design,
        engine=likelihood(design, engine) if isinstance(engine, str) else engine,
        priors=design.priors(priors),
    )
