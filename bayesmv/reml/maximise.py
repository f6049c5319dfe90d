"""Maximisation of a log density over the parameters of the covariance structures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceBlocks
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.numerics.newton import Local, Optimum, climb

#: Angles beyond this (correlations above 0.9998) may have come to rest on the edge of their interval.
_WIDEST = 1.55


class RestrictedObjective(NamedTuple):
    """l(θ) of a design.

    The Hessian is approximated by ``-J'AI J + Σ_ab G_ab d²Σ_ab/dθdθ'``: average information carried to θ, plus the
    exact curvature of θ → Σ(θ). The second part makes Newton steps converge as fast on the boundary (some θ = 0, Σ
    singular) as inside.
    """

    engine: RestrictedLikelihood
    blocks: CovarianceBlocks

    def value(self, x: Array) -> float:
        """l(θ)."""
        return self.engine.loglik(self.blocks.matrices(x))

    def gradient(self, x: Array) -> Array:
        """dl/dθ."""
        return self.blocks.pullback(x, self.engine.value_and_gradient(self.blocks.matrices(x))[1])

    def expand(self, x: Array) -> Local:
        """l(θ) with its derivatives."""
        sigmas = self.blocks.matrices(x)
        value, gradients = self.engine.value_and_gradient(sigmas)
        J = self.blocks.jacobian(x)
        hessian = J.T @ self.engine.average_information(sigmas) @ J - self.blocks.curvature(x, gradients)
        return Local(value, self.blocks.pullback(x, gradients), hessian)


def maximise_reml(engine: RestrictedLikelihood, blocks: CovarianceBlocks, start: Array, limit: int = 200) -> Optimum:
    """Maximise the restricted likelihood by Newton steps on the average information.

    Parameters
    ----------
    engine
        Restricted likelihood.
    blocks
        Structures of the covariance matrices.
    start
        θ to start from.
    limit
        Most iterations.

    Notes
    -----
    A stationary point at the edge of the parameter space could be a saddle: it is left by a small push, and the better
    end is kept.
    """
    objective = RestrictedObjective(engine, blocks)
    optimum = climb(objective, start, limit)
    scales = blocks.positive & (np.abs(optimum.theta) < 1e-3**blocks.powers)
    moved = blocks.inside(np.where(scales, 0.03**blocks.powers, optimum.theta), _WIDEST)
    if not np.array_equal(moved, optimum.theta):
        pushed = climb(objective, moved, limit)
        if pushed.converged and pushed.loglik > optimum.loglik - 1e-9:
            optimum = pushed._replace(iterations=optimum.iterations + pushed.iterations)
    return optimum
