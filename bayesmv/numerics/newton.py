"""Newton ascent with step control and line search.

A climb ends where its gain ends. A step that promises the gain γ in log-likelihood moves the estimates by √γ standard
errors (√(g'H⁻¹g), along the step), so a promise of 1e-11 is worth 3e-6 of a standard error, less than is ever printed.
Where rounding keeps the promise from falling, one of 1e-9 (3e-5 of a standard error) is as good.

The Hessian that an objective gives is approximate: the average information is a good one where the model fits. Far from
that, as with a rank that is too low, steps on it creep or overshoot. What the gradients of the last steps say of it is
put right by symmetric updates of rank one, which cost no evaluation: those of short steps, for on the way the Hessian
itself changes, and after many steps those of any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import numpy as np

from bayesmv.arrays import Array

#: Converged when the gain in log-likelihood that the next step promises is below this.
TOLERANCE = 1e-11
#: Below this promised gain, rounding in the likelihood is larger than the gain and the step is taken unasked.
_UNSEEN = 1e-7
_LONGEST_STEP = 0.5
#: Promised gain that suffices where it fell no lower for some steps.
_ENOUGH, _STALLED = 1e-9, 4
#: Promised gain below which a step says something of the Hessian at the maximum; iterations after which each does.
_SHORT, _PATIENCE = 1e-3, 25
#: Steps that are remembered.
_MEMORY = 30
#: Cosine of a step and what its update would change, below which there is nothing to learn but rounding.
_LEAST = 1e-8


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


def climb(
    objective: Objective,
    theta: Array,
    limit: int = 200,
    tolerance: float = TOLERANCE,
    say: Callable[[str], None] = lambda text: None,
) -> Optimum:
    """Maximum reached from θ (d,) by Newton steps with a line search, until the next promises less than `tolerance`.

    After every step `say` is told its number and the log density there.
    """
    converged = not len(theta)
    iteration, stalled, least = 0, 0, np.inf
    here = objective.expand(theta)
    steps = deque[Step](maxlen=_MEMORY)
    while not converged and iteration < limit:
        if not (np.isfinite(here.hessian).all() and np.isfinite(here.gradient).all()):
            break
        iteration += 1
        updated = here._replace(hessian=_updated(here.hessian, steps))
        step = _ascent(updated, _LONGEST_STEP * max(1.0, float(np.max(np.abs(theta)))))
        gain = float(here.gradient @ step)
        stalled, least = (stalled + 1 if gain >= least else 0), min(least, gain)
        converged = gain < tolerance or (stalled >= _STALLED and gain < _ENOUGH)
        moved = theta + step if gain < _UNSEEN else _search(objective, theta, step, here.value, gain)
        if moved is None:
            converged = gain < 1e-5
            break
        there = objective.expand(moved)
        if gain < _SHORT or iteration > _PATIENCE:
            steps.append(Step(moved - theta, here.gradient - there.gradient))
        theta, here = moved, there
        say(f"iteration {iteration}, log-likelihood {here.value:.4f}")
    return Optimum(theta, here.value, here.gradient, iteration, converged)


class Step(NamedTuple):
    """Step (d,) that was taken, and by how much the gradient fell along it, which is the Hessian's mean times it."""

    move: Array
    fall: Array


def _updated(hessian: Array, steps: Iterable[Step]) -> Array:
    """Negative Hessian with what steps say of it: symmetric updates of rank one, the last step's holding exactly.

    Source: Nocedal & Wright (2006), Numerical Optimization, section 6.2.
    """
    H = np.array(hessian)
    for move, fall in steps:
        error = fall - H @ move
        along = float(error @ move)
        if abs(along) > _LEAST * float(np.linalg.norm(error) * np.linalg.norm(move)):
            H += np.outer(error, error) / along
    return H


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
