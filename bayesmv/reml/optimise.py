"""Maximisation of the restricted likelihood over the parameters of the covariance structures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmv.covariance import Array, CovarianceBlocks
from bayesmv.likelihood.protocol import RestrictedLikelihood

#: Converged when the gain in log-likelihood that the next step promises is below this.
TOLERANCE = 1e-11
#: Below this promised gain, rounding in the likelihood is larger than the gain and the step is taken unasked.
_UNSEEN = 1e-7
_LONGEST_STEP = 0.5


class Optimum(NamedTuple):
    """Where the maximisation ended."""

    theta: Array
    loglik: float
    gradient: Array
    iterations: int
    converged: bool


class _Local(NamedTuple):
    value: float
    gradient: Array
    hessian: Array


def maximise(
    engine: RestrictedLikelihood, blocks: CovarianceBlocks, start: Array, limit: int = 200
) -> Optimum:
    """Maximise l(θ) by Newton steps on the average information.

    The Hessian of l(θ) is approximated by ``-J'AI J + Σ_ab G_ab d²Σ_ab/dθdθ'``: average information carried to θ, plus the exact
    curvature of θ → Σ(θ). The second part makes the steps converge as fast on the boundary (some θ = 0, Σ singular) as inside.

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
    A stationary point with a singular Σ could be a saddle: it is left by a small push, and the better end is kept.
    """
    optimum = _climb(engine, blocks, start, limit)
    scales = blocks.positive & (np.abs(optimum.theta) < 1e-3)
    if scales.any():
        pushed = _climb(engine, blocks, np.where(scales, 0.03, optimum.theta), limit)
        if pushed.converged and pushed.loglik > optimum.loglik - 1e-9:
            optimum = pushed._replace(iterations=optimum.iterations + pushed.iterations)
    return optimum


def _climb(engine: RestrictedLikelihood, blocks: CovarianceBlocks, theta: Array, limit: int) -> Optimum:
    converged = False
    iteration = 0
    here = _expand(engine, blocks, theta)
    while not converged and iteration < limit:
        iteration += 1
        step = _ascent(here)
        gain = float(here.gradient @ step)
        converged = gain < TOLERANCE
        moved = theta + step if gain < _UNSEEN else _search(engine, blocks, theta, step, here.value, gain)
        if moved is None:
            converged = gain < 1e-5
            break
        theta = moved
        here = _expand(engine, blocks, theta)
    return Optimum(theta, here.value, here.gradient, iteration, converged)


def _expand(engine: RestrictedLikelihood, blocks: CovarianceBlocks, theta: Array) -> _Local:
    """Value, gradient and approximate negative Hessian at θ."""
    sigmas = blocks.matrices(theta)
    value, gradients = engine.value_and_gradient(sigmas)
    J = blocks.jacobian(theta)
    hessian = J.T @ engine.average_information(sigmas) @ J - blocks.curvature(theta, gradients)
    return _Local(value, blocks.pullback(theta, gradients), hessian)


def _ascent(here: _Local) -> Array:
    """Newton step with negative curvatures reversed, shortened to the longest step allowed."""
    values, vectors = np.linalg.eigh(here.hessian)
    size = np.maximum(np.abs(values), 1e-9 * np.max(np.abs(values)))
    step = vectors @ ((vectors.T @ here.gradient) / size)
    return np.asarray(step * min(1.0, _LONGEST_STEP / max(float(np.max(np.abs(step))), 1e-300)))


def _search(
    engine: RestrictedLikelihood,
    blocks: CovarianceBlocks,
    theta: Array,
    step: Array,
    value: float,
    gain: float,
) -> Array | None:
    """Halve the step until the likelihood rises; None if it never does."""
    length = 1.0
    while length > 1e-9:
        moved = theta + length * step
        if engine.loglik(blocks.matrices(moved)) >= value + 1e-4 * length * gain:
            return np.asarray(moved)
        length *= 0.5
    return None
