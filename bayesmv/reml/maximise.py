"""Maximisation of a log density over the parameters of the covariance structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceBlocks
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.numerics.newton import Local, Optimum, climb

#: Angles beyond this (correlations above 0.9998) may have come to rest on the edge of their interval.
_WIDEST = 1.55
#: Differences of log-likelihoods that are rounding, and from which maxima are different ones.
_ROUNDING, _APART = 1e-7, 1e-4


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
        with np.errstate(all="ignore"):  # far from the maximum it may overflow, and is then no improvement
            return self.engine.loglik(self.blocks.matrices(x))

    def gradient(self, x: Array) -> Array:
        """dl/dθ."""
        return self.blocks.pullback(x, self.engine.value_and_gradient(self.blocks.matrices(x))[1])

    def expand(self, x: Array) -> Local:
        """l(θ) with its derivatives."""
        with np.errstate(all="ignore"):  # climb ends where a derivative is not finite
            sigmas = self.blocks.matrices(x)
            value, gradients = self.engine.value_and_gradient(sigmas)
            J = self.blocks.jacobian(x)
            hessian = J.T @ self.engine.average_information(sigmas) @ J - self.blocks.curvature(x, gradients)
            return Local(value, self.blocks.pullback(x, gradients), hessian)


class Best(NamedTuple):
    """Highest of the maxima that several starts led to, and how far below it (log-likelihood) the others ended."""

    optimum: Optimum
    below: tuple[float, ...]


def maximise_from(
    engine: RestrictedLikelihood,
    blocks: CovarianceBlocks,
    starts: Sequence[Array],
    limit: int = 200,
    say: Callable[[str], None] = lambda text: None,
) -> Best:
    """Maximise the restricted likelihood from every start, in turn; `say` is told how far that is.

    The first start's end is kept unless another is higher by more than rounding.
    """
    ends = []
    for n, start in enumerate(starts, 1):

        def from_here(text: str, n: int = n) -> None:
            say(f"REML, start {n} of {len(starts)}: {text}" if len(starts) > 1 else f"REML: {text}")

        ends.append(maximise_reml(engine, blocks, start, limit, from_here))
    reached = [end.loglik + (_ROUNDING if k == 0 else 0.0) for k, end in enumerate(ends)]
    best = int(np.argmax(np.where([end.converged for end in ends], reached, -np.inf)))
    below = [ends[best].loglik - end.loglik for end in ends if end.converged]
    return Best(ends[best], tuple(gap for gap in below if gap > _APART))


def maximise_reml(
    engine: RestrictedLikelihood,
    blocks: CovarianceBlocks,
    start: Array,
    limit: int = 200,
    say: Callable[[str], None] = lambda text: None,
) -> Optimum:
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
    say
        Is told how far it is.

    Notes
    -----
    A stationary point at the edge of the parameter space could be a saddle: it is left by a small push, and the better
    end is kept.
    """
    objective = RestrictedObjective(engine, blocks)
    optimum = climb(objective, start, limit, say=say)
    scales = blocks.positive & (np.abs(optimum.theta) < 1e-3**blocks.powers)
    moved = blocks.inside(np.where(scales, 0.03**blocks.powers, optimum.theta), _WIDEST)
    if not np.array_equal(moved, optimum.theta):
        pushed = climb(objective, moved, limit, say=say)
        if pushed.converged and pushed.loglik > optimum.loglik - 1e-9:
            optimum = pushed._replace(iterations=optimum.iterations + pushed.iterations)
    return optimum
