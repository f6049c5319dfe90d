"""Newton ascent with step control and line search."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from bayesmv.arrays import Array

#: Converged when the gain in log-likelihood that the next step promises is below this.
TOLERANCE = 1e-11
#: Below this promised gain, rounding in the likelihood is larger than the gain and the step is taken unasked.
_UNSEEN = 1e-7
_LONGEST_STEP = 0.5
#: Iterations after which the Hessian is computed by differences.
_PATIENCE = 25


class Optimum(NamedTuple):
    """End of a maximisation."""

    theta: Array
    loglik: float
    gradient: Array
    iterations: int
    converged: bool


class Local(NamedTuple):
    """Log density near a point: value, gradient (d,), approximate negative Hessian (d, d)."""

    value: float
    gradient: Array
    hessian: Array


class Objective(Protocol):
    """Log density to be maximised."""

    def value(self, x: Array) -> float:
        """Log density at x (d,); -inf outside its domain."""

    def gradient(self, x: Array) -> Array:
        """Gradient at x (d,)."""

    def expand(self, x: Array) -> Local:
        """Log density with its gradient and about its curvature at x (d,)."""


def climb(objective: Objective, theta: Array, limit: int = 200, tolerance: float = TOLERANCE) -> Optimum:
    """Maximum reached from θ (d,) by Newton steps with a line search, until the next promises less than `tolerance`."""
    converged = not len(theta)
    iteration = 0
    here = objective.expand(theta)
    while not converged and iteration < limit:
        iteration += 1
        step = _ascent(here, _LONGEST_STEP * max(1.0, float(np.max(np.abs(theta)))))
        gain = float(here.gradient @ step)
        converged = gain < tolerance
        moved = theta + step if gain < _UNSEEN else _search(objective, theta, step, here.value, gain)
        if moved is None:
            converged = gain < 1e-5
            break
        theta = moved
        here = objective.expand(theta)
        if iteration >= _PATIENCE:
            here = _sharpened(objective, theta, here)
    return Optimum(theta, here.value, here.gradient, iteration, converged)


def _sharpened(objective: Objective, theta: Array, here: Local) -> Local:
    """Replace the Hessian by differences of the gradient.

    The average information is a good Hessian where the model fits. Far from that, as with a rank that is too low,
    Newton steps on it creep.
    """
    h = 1e-5
    steps = h * np.eye(len(theta))
    slopes = np.stack([(objective.gradient(theta - e) - objective.gradient(theta + e)) / (2.0 * h) for e in steps])
    return here._replace(hessian=0.5 * (slopes + slopes.T))


def _ascent(here: Local, longest: float) -> Array:
    """Newton step with negative curvatures reversed, shortened to the longest step allowed."""
    values, vectors = np.linalg.eigh(here.hessian)
    size = np.maximum(np.abs(values), 1e-9 * np.max(np.abs(values)))
    step = vectors @ ((vectors.T @ here.gradient) / size)
    return np.asarray(step * min(1.0, longest / max(float(np.max(np.abs(step))), 1e-300)))


def _search(objective: Objective, theta: Array, step: Array, value: float, gain: float) -> Array | None:
    """Halve the step until the density rises; None if it never does."""
    length = 1.0
    while length > 1e-9:
        moved = theta + length * step
        if objective.value(moved) >= value + 1e-4 * length * gain:
            return np.asarray(moved)
        length *= 0.5
    return None
