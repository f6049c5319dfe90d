r"""Profile likelihood of a function of the covariance matrices.

.. math:: l_p(c) = \max \{ l(θ) : g(Σ(θ)) = c \}, \qquad ζ(c) = sign(c - ĉ) \sqrt{2 (l(\hatθ) - l_p(c))}

The interval of level 1 - α is where ζ² is at most the quantile of χ²₁. It needs no standard error, follows the skewness
of the likelihood, and ends at the end of the range where the data do not exclude it.

Every point is found by an augmented Lagrangian: l(θ) + λ (g - c) - ρ/2 (g - c)², in units of the step, climbed by the
Newton steps of REML, with λ raised by what g misses, and ρ where that does not help, until it misses nothing.

Source: Bates & Watts (1988), Nonlinear Regression Analysis, section 6.1 (ζ); Nocedal & Wright (2006), Numerical
Optimization, section 17.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceBlocks
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.numerics.newton import Local, climb
from bayesmv.reml.maximise import RestrictedObjective

#: Penalty ρ of a miss of one step, and misses (in steps) that count as none.
_PENALTY, _MISSED = 100.0, 1e-4
#: Gain of log-likelihood by a step of which a climb ends.
_GAIN = 1e-6
#: Rises of λ at most for a point; ρ is multiplied where one leaves more than this share of the miss, and a climb ends
#: where three leave nearly all.
_ROUNDS, _RAISED, _FALLS, _STUCK = 30, 10.0, 0.25, 0.9
#: Points at most to each side.
_MOST = 40
#: Nearness of ζ to its quantile at the end of an interval.
_NEAR = 2e-3
#: Distance from the end of a range, in steps, at which it counts as reached.
_END = 1e-3
#: Log-likelihood above the maximum that is not rounding.
_ABOVE = 1e-4
#: Least size of what a quantity is a share of, in phenotypic variances, that misses are measured by.
_LEAST = 0.02
#: Scales and angles that a climb starts from where θ lies on the boundary and slopes vanish.
_OFF, _WIDEST = 0.05, 1.4
#: Step of central differences.
_SHIFT = 1e-6

#: Function of θ, of any leading dimensions: (…, p) → (…).
type Function = Callable[[Array], Array]


class ProfilePoint(NamedTuple):
    """One point of a profile: c, l_p(c), ζ(c), θ there and the multiplier λ, by which l_p falls with c in steps."""

    value: float
    loglik: float
    zeta: float
    theta: Array
    multiplier: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Traced:
    """Profile of a function of θ.

    Parameters
    ----------
    points
        In the order of c.
    low, high
        Ends of the interval.
    at_end
        Whether each end is the end of what the function can be, not excluded by the data.
    above
        How far the highest point is above the maximum that was given, in log-likelihood: 0, unless REML had missed it.
    """

    points: tuple[ProfilePoint, ...]
    low: float
    high: float
    at_end: tuple[bool, bool]
    above: float = 0.0


class _Constrained(NamedTuple):
    """l(θ) + λ m - ρ/2 m², m the miss of a target."""

    inner: RestrictedObjective
    misses: Function
    multiplier: float
    penalty: float

    def miss(self, x: Array) -> float:
        return float(self.misses(x))

    def value(self, x: Array) -> float:
        m = self.miss(x)
        out = self.inner.value(x) + self.multiplier * m - 0.5 * self.penalty * m * m
        return out if np.isfinite(out) else -np.inf

    def gradient(self, x: Array) -> Array:
        m, slope = self.miss(x), slopes_of(self.misses, x)
        return self.inner.gradient(x) + (self.multiplier - self.penalty * m) * slope

    def expand(self, x: Array) -> Local:
        here, m = self.inner.expand(x), self.miss(x)
        slope = slopes_of(self.misses, x)
        force = self.multiplier - self.penalty * m
        return Local(
            here.value + self.multiplier * m - 0.5 * self.penalty * m * m,
            here.gradient + force * slope,
            here.hessian + self.penalty * np.outer(slope, slope),
        )


def slopes_of(function: Function, x: Array) -> Array:
    """Gradient (p,) of a function of θ, by central differences."""
    shifts = _SHIFT * np.maximum(np.abs(x), 1.0)
    ends = function(x + np.concatenate([np.diag(shifts), -np.diag(shifts)]))
    return np.asarray((ends[: len(x)] - ends[len(x) :]) / (2 * shifts))


class Profiler:
    """Profile likelihood of a function, from a maximum.

    Parameters
    ----------
    engine, blocks
        Restricted likelihood, and structures of the covariance matrices.
    function
        g of θ, in any leading dimensions.
    theta, loglik
        The maximum.
    step
        Standard error of g, or another length over which it changes; None to find one.
    bounds
        What g can be at most.
    size
        D(θ) of a ratio g = N/D that may be 0/0, in working units: then D (g - c) is held at 0. A correlation can be
        anything where a variance is 0, and its profile has the likelihood of that.
    """

    def __init__(
        self,
        engine: RestrictedLikelihood,
        blocks: CovarianceBlocks,
        function: Function,
        theta: Array,
        loglik: float,
        *,
        step: float | None = None,
        bounds: tuple[float, float] = (-np.inf, np.inf),
        size: Function | None = None,
    ) -> None:
        self.size = size
        self.objective, self.blocks, self.function = RestrictedObjective(engine, blocks), blocks, function
        self.theta, self.best, self.bounds = theta, loglik, bounds
        self.estimate = self._estimate()
        self.step = step if step is not None and np.isfinite(step) and step > 0 else self._reach()

    @property
    def margin(self) -> float:
        """Distance from the end of its range at which g counts as there."""
        return _END * self.step

    def _estimate(self) -> float:
        """g at the maximum; where it has no value there (a correlation of no variance), a little off it."""
        value = float(self.function(self.theta))
        return value if np.isfinite(value) else float(self.function(self._off(self.theta)))

    def _misses(self, target: float) -> Function:
        """(g(θ) - c) in steps, times the size of what g is a share of."""
        if self.size is None:
            return lambda theta: np.asarray((self.function(theta) - target) / self.step)
        size, unit = self.size, self.step * max(float(self.size(self.theta)), _LEAST)

        def misses(theta: Array) -> Array:
            of = size(theta)
            return np.asarray(np.where(of > 0.0, (self.function(theta) - target) * of / unit, 0.0))

        return misses

    def _off(self, theta: Array) -> Array:
        """θ pushed off the boundary."""
        small = self.blocks.positive & (np.abs(theta) < _OFF**self.blocks.powers)
        return self.blocks.inside(np.where(small, _OFF**self.blocks.powers, theta), _WIDEST)

    def _reach(self) -> float:
        """Length over which g changes when θ moves by a third of a phenotypic sd."""
        here = self._off(self.theta)
        moved = self.function(here + 0.3 * np.concatenate([np.eye(len(here)), -np.eye(len(here))]))
        length = float(np.nanmax(np.abs(moved - float(self.function(here)))))
        low, high = self.bounds
        return min(length, 0.25 * (high - low)) if np.isfinite(high - low) else length

    def at(self, target: float, near: ProfilePoint) -> ProfilePoint | None:
        """Point of the profile at a value, from one near it; None where the function cannot take the value."""
        moved = near.value - self.estimate
        multiplier = near.multiplier * (target - self.estimate) / moved if moved else 0.0
        # Where scales are near 0 slopes vanish: a climb from there may not find the way.
        off = self._off(near.theta)
        end = self._climbed(target, off, multiplier)
        if end is None and not np.array_equal(off, near.theta):
            end = self._climbed(target, near.theta, multiplier)
        if end is None:
            return None
        theta, loglik, multiplier = end
        zeta = np.sign(target - self.estimate) * np.sqrt(2.0 * max(self.best - loglik, 0.0))
        return ProfilePoint(target, loglik, float(zeta), theta, multiplier)

    def reach(self, target: float, near: ProfilePoint) -> ProfilePoint | None:
        """Point at a value that may be far: by way of others where one step does not lead there."""
        here, share = near, 1.0
        for _ in range(_MOST):
            there = self.at(here.value + share * (target - here.value), here)
            if there is None:
                share /= 2
            elif share == 1.0:
                return there
            else:
                here, share = there, min(1.0, 2.0 * share)
        return None

    def _climbed(self, target: float, theta: Array, multiplier: float) -> tuple[Array, float, float] | None:
        """θ, l and λ where g is the target."""
        penalty, before, stuck = _PENALTY, np.inf, 0
        misses = self._misses(target)
        for _ in range(_ROUNDS):
            goal = _Constrained(self.objective, misses, multiplier, penalty)
            if not np.isfinite(goal.value(theta)):
                return None
            theta = climb(goal, theta, tolerance=_GAIN).theta
            miss = goal.miss(theta)
            multiplier -= penalty * miss
            if abs(miss) < _MISSED:
                return theta, self.objective.value(theta) + multiplier * miss, multiplier
            stuck = stuck + 1 if abs(miss) > _STUCK * before else 0
            if stuck == 3:
                return None
            penalty, before = penalty * (_RAISED if abs(miss) > _FALLS * before else 1.0), abs(miss)
        return None

    def trace(self, level: float = 0.95, *, apart: float | None = None) -> Traced:
        """Follow the profile from the maximum to both sides, until the level is passed or the range ends.

        Points are `apart` in ζ; None takes the fewest that the interval needs.
        """
        quantile = float(ndtri(0.5 + 0.5 * level))
        middle = ProfilePoint(self.estimate, self.best, 0.0, self.theta)
        below, low, low_end = self._side(-1, quantile, middle, apart or quantile)
        above, high, high_end = self._side(1, quantile, middle, apart or quantile)
        points = (*reversed(below), middle, *above)
        return Traced(
            points=points,
            low=low,
            high=high,
            at_end=(low_end, high_end),
            above=max(0.0, max(p.loglik for p in points) - self.best - _ABOVE),
        )

    def _side(
        self, sign: int, quantile: float, middle: ProfilePoint, apart: float
    ) -> tuple[list[ProfilePoint], float, bool]:
        """Points to one side, the end of the interval, and whether that is the end of the range."""
        end = self.bounds[0] if sign < 0 else self.bounds[1]
        last = end - sign * self.margin
        points, here, length = list[ProfilePoint](), middle, apart * self.step
        if sign * (last - middle.value) <= 0:
            return points, end, True
        for _ in range(_MOST):
            target = here.value + sign * length
            if sign * (target - last) > 0:
                target = last
            there = self.at(target, here)
            if there is None:  # beyond what it can be, or too far for one step
                length /= 4
                if length < _END * self.step:
                    return points, here.value, True
                continue
            points.append(there)
            if abs(there.zeta) >= quantile:
                return points, self._crossing(points, here, there, sign * quantile), False
            if target == last:
                return points, end, True
            slope = self._slope(there)
            length = min(
                3.0 * length,
                max(min(apart, 1.02 * quantile - abs(there.zeta)) / slope, 0.2 * length) if slope > 0 else 3.0 * length,
            )
            here = there
        return points, here.value, False

    def _crossing(self, points: list[ProfilePoint], inside: ProfilePoint, outside: ProfilePoint, zeta: float) -> float:
        """Value at which ζ is reached between two points, by Newton steps; points on the way are added."""
        nearest = min(inside, outside, key=lambda p: abs(p.zeta - zeta))
        for _ in range(12):
            if abs(nearest.zeta - zeta) < _NEAR:
                break
            low, high = sorted((inside.value, outside.value))
            target = nearest.value + (zeta - nearest.zeta) / (self._slope(nearest) or np.inf)
            if not low < target < high or target == nearest.value:
                target = 0.5 * (low + high)
            between = self.at(target, nearest)
            if between is None:
                break
            points.append(between)
            inside, outside = (between, outside) if abs(between.zeta) < abs(zeta) else (inside, between)
            nearest = min(inside, outside, key=lambda p: abs(p.zeta - zeta))
        points.sort(key=lambda p: abs(p.value - self.estimate))
        return nearest.value

    def _slope(self, point: ProfilePoint) -> float:
        """Slope of ζ by c: λ is that of -l_p by the miss."""
        if not point.zeta:
            return 0.0
        by_c = float(self._misses(point.value - self.step)(point.theta)) / self.step
        return point.multiplier * by_c / point.zeta
