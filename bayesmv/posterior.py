"""The log posterior of the covariance parameters, on an unconstrained vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bayesmv.covariance import Array, CovarianceBlocks
from bayesmv.design import Design
from bayesmv.likelihood import Engine, RestrictedLikelihood, likelihood
from bayesmv.priors import CovariancePrior, log_prior
from bayesmv.reml.optimise import Local, Optimum, RestrictedObjective, climb


@dataclass(frozen=True, kw_only=True)
class LogPosterior:
    """Log posterior ``l(Σ(θ)) + Σ_k log p(θ_k) + log|dθ/dx|`` of x, θ with its scales on the log scale.

    The same density, up to a constant, as the marginal PyMC model's on its unconstrained parameters.

    Parameters
    ----------
    design
        What was observed.
    engine
        Restricted likelihood.
    priors
        Prior of every covariance matrix, by name of the term.
    """

    design: Design
    engine: RestrictedLikelihood
    priors: Mapping[str, CovariancePrior]

    @cached_property
    def blocks(self) -> CovarianceBlocks:
        """Structures of the covariance matrices."""
        return self.design.blocks

    @cached_property
    def _positive(self) -> npt.NDArray[np.bool_]:
        return self.blocks.positive

    def constrain(self, x: Array) -> Array:
        """θ(x), (…, d) → (…, d)."""
        with np.errstate(over="ignore"):
            return np.asarray(np.where(self._positive, np.exp(np.where(self._positive, x, 0.0)), x))

    def unconstrain(self, theta: Array, smallest: float = 0.0) -> Array:
        """x(θ), scales below `smallest` raised to it."""
        scales = np.maximum(np.where(self._positive, theta, 1.0), smallest)
        return np.where(self._positive, np.log(scales), theta)

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at x (d,); -inf with a zero gradient where the likelihood is not defined."""
        theta = self.constrain(x)
        value, gradients = self.engine.value_and_gradient(self.blocks.matrices(theta))
        if not np.isfinite(value):
            return -np.inf, np.zeros_like(x)
        prior, d_prior = self._prior(theta)
        gradient = self.blocks.pullback(theta, gradients) + d_prior
        return value + prior + float(np.sum(x[self._positive])), self._by_x(gradient, theta)

    def value(self, x: Array) -> float:
        """Log density at x (d,)."""
        theta = self.constrain(x)
        return (
            self.engine.loglik(self.blocks.matrices(theta)) + self._prior(theta)[0] + float(np.sum(x[self._positive]))
        )

    def expand(self, x: Array) -> Local:
        """Log density, gradient, and a negative Hessian from the average information and the prior's curvature."""
        theta = self.constrain(x)
        local = RestrictedObjective(self.engine, self.blocks).expand(theta)
        scale = np.where(self._positive, theta, 1.0)
        _, d_prior = self._prior(theta)
        value = local.value + self._prior(theta)[0] + float(np.sum(x[self._positive]))
        hessian = scale[:, None] * local.hessian * scale - self._prior_curvature(x)
        # d²θ/dx² = θ for a scale: what the likelihood's slope adds.
        hessian -= np.diag(np.where(self._positive, local.gradient * theta, 0.0))
        return Local(value, self._by_x(local.gradient + d_prior, theta), hessian)

    def mode(self, start: Array, limit: int = 100) -> Optimum:
        """Highest point of the density of x, climbed to from `start` (d,)."""
        return climb(self, start, limit)

    def _by_x(self, by_theta: Array, theta: Array) -> Array:
        return np.where(self._positive, by_theta * theta + 1.0, by_theta)

    def _prior(self, theta: Array) -> tuple[float, Array]:
        parts = [
            log_prior(structure, self.priors[name], theta[at])
            for name, structure, at in zip(self.design.names, self.blocks.structures, self.blocks.slices, strict=True)
        ]
        return sum(value for value, _ in parts), np.concatenate([gradient for _, gradient in parts])

    def _prior_curvature(self, x: Array) -> Array:
        """Hessian by x of the log prior, central differences of its gradient, (d, d)."""
        h = 1e-5
        columns = [
            (self._by_x(self._prior(up)[1], up) - self._by_x(self._prior(down)[1], down)) / (2 * h)
            for up, down in ((self.constrain(x + e), self.constrain(x - e)) for e in h * np.eye(len(x)))
        ]
        H = np.stack(columns)
        return np.asarray(0.5 * (H + H.T))


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
    return LogPosterior(
        design=design,
        engine=likelihood(design, engine) if isinstance(engine, str) else engine,
        priors=resolve_priors(design, priors),
    )


def resolve_priors(design: Design, priors: Mapping[str, CovariancePrior] | None) -> dict[str, CovariancePrior]:
    """Prior of every covariance matrix: the one given, else the specification's, else the default.

    Raises
    ------
    SpecError
        If a prior is given for a term that does not exist.
    """
    given = design.spec.with_priors(priors or {})
    return {name: given.prior(name) for name in design.names}
