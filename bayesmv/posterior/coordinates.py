"""Unconstrained coordinates x of the parameters θ of covariance structures, for samplers.

A *scale* is a positive parameter. Other parameters of the same row of a factor L are *anchored* to it, n of them.

:class:`Coordinates` are those of the PyMC models:

    θ_d = exp(x_d) / sqrt(1 + Σ sinh² x_p),   θ_p = θ_d sinh x_p,   log|dθ/dx| = Σ_d (n_d + 1) log θ_d + Σ_p log cosh
    x_p

so that x_d is the logarithm of a standard deviation (the norm of the row) and x_p, for two traits, Fisher's z of the
correlation. Unlike log-Cholesky entries these do not widen with the standard deviation, which spares the sampler a
funnel.

:class:`PlanarCoordinates` are those of the package's own sampler, where a variance may well be 0. There the logarithm
of its standard deviation s has a long tail to -∞ and, whatever the scale of s, the correlations are free: a sampler
meets a bow tie. So a row is a point of a half-space instead, b > 0 for its scale and a_p for the others,

    θ = g(q) (b, a),   g = unit (q / sqrt(1 + q²))ⁿ sinh(q / c) c / q,   q² = b² + |a|²,
    b = log(1 + exp(k x_d)) / k,   a = x_p

in which a uniform correlation matrix with any smooth prior of s has a smooth density at s = 0: s ∝ qⁿ⁺¹ there, s ∝ q
further away, and log s ∝ q in the tail. The scale of a row of its own (n = 0) is folded, θ_d = unit c sinh(x_d / c):
the density goes smoothly through 0 and counts every covariance matrix equally often on each side.

Both are of use: a row that is far from 0 (unit 0) is *relative* in planar coordinates too, and has the former.

Parameters of other kinds have the same coordinates in both: θ = x (FREE), θ = arcsin tanh x (ANGLE, so that x is
Fisher's z of the correlation sin θ) and θ = exp x (LOG).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance import ANGLE, FREE, LOG

__all__ = ["BEND", "FREE", "PLANAR_UNIT", "STRAIGHT", "Coordinates", "PlanarCoordinates"]

#: Standard deviation, in phenotypic sd, below which planar coordinates bend, where nothing is known of a scale.
PLANAR_UNIT = 0.25
#: Sharpness k of the bend of b(x) at 0.
BEND = 2.0
#: Value c of q beyond which the standard deviation grows exponentially.
STRAIGHT = 4.0


@dataclass(frozen=True)
class Coordinates:
    """The map between x and θ, scales by their logarithms.

    Parameters
    ----------
    anchor
        For each parameter the scale that it is anchored to: itself for a scale, FREE for none, ANGLE or LOG for those
        of these kinds, (d,).
    """

    anchor: npt.NDArray[np.intp]

    @cached_property
    def scales(self) -> npt.NDArray[np.bool_]:
        """Which parameters are scales."""
        return np.asarray(self.anchor == np.arange(len(self.anchor)))

    @cached_property
    def relative(self) -> npt.NDArray[np.bool_]:
        """Which scales have their logarithms as coordinates, and ratios to them in their rows."""
        return self.scales

    @cached_property
    def anchored(self) -> npt.NDArray[np.intp]:
        """Positions of the parameters that are anchored to another."""
        return np.flatnonzero((self.anchor >= 0) & ~self.scales)

    @cached_property
    def _ratios(self) -> npt.NDArray[np.intp]:
        """Positions of those anchored to a relative scale."""
        off = self.anchored
        return off[self.relative[self.anchor[off]]]

    @cached_property
    def angles(self) -> npt.NDArray[np.bool_]:
        """Which parameters are angles of correlations."""
        return np.asarray(self.anchor == ANGLE)

    @cached_property
    def logs(self) -> npt.NDArray[np.bool_]:
        """Which parameters have their logarithms as coordinates."""
        return np.asarray(self.anchor == LOG)

    def constrain(self, x: Array) -> Array:
        """θ(x), (…, d) → (…, d)."""
        theta = np.array(x, dtype=float)
        with np.errstate(over="ignore"):
            self._constrain_rows(x, theta)
            theta[..., self.angles] = np.arctan(np.sinh(x[..., self.angles]))
            theta[..., self.logs] = np.exp(x[..., self.logs])
        return theta

    def unconstrain(self, theta: Array, smallest: Array | float = 0.0) -> Array:
        """x(θ), (d,); scales below `smallest` (d,) are raised to it, which also keeps correlations off ±1."""
        smallest = np.broadcast_to(smallest, theta.shape)
        theta = np.where(self.scales | self.logs, np.maximum(theta, smallest), theta)
        x = theta.copy()
        self._unconstrain_rows(theta, x)
        x[self.logs] = np.log(theta[self.logs])
        with np.errstate(divide="ignore"):
            furthest = np.arctanh(1.0 - smallest[self.angles])
        x[self.angles] = np.clip(np.arcsinh(np.tan(theta[self.angles])), -furthest, furthest)
        return x

    def log_jacobian(self, x: Array) -> float:
        """log|dθ/dx| at x (d,)."""
        others = np.sum(x[self.logs]) - np.sum(np.log(np.cosh(x[self.angles])))
        return float(self._log_jacobian_rows(x) + others)

    def pullback(self, x: Array, by_theta: Array) -> Array:
        """Gradient by x of ``f(θ(x)) + log|dθ/dx|`` from df/dθ, (d,)."""
        by_x = by_theta.copy()
        self._pull_rows(x, self.constrain(x), by_theta, by_x)
        self._pull_others(x, by_theta, by_x)
        return by_x

    def _pull_others(self, x: Array, by_theta: Array, by_x: Array) -> None:
        """Write the gradient by x of logarithms and angles."""
        by_x[self.logs] = by_theta[self.logs] * np.exp(x[self.logs]) + 1.0
        by_x[self.angles] = by_theta[self.angles] / np.cosh(x[self.angles]) - np.tanh(x[self.angles])

    def jacobian(self, x: Array) -> Array:
        """dθ/dx, (d, d)."""
        d = len(self.anchor)
        return np.stack([self.pullback(x, e) for e in np.eye(d)]) - self.pullback(x, np.zeros(d))

    def _constrain_rows(self, x: Array, theta: Array) -> None:
        """Write θ of the scales and what is anchored to them."""
        off, scales = self._ratios, self.relative
        v = np.sinh(x[..., off])
        square = np.ones_like(theta)
        for k, p in enumerate(off):
            square[..., self.anchor[p]] += v[..., k] ** 2
        theta[..., scales] = np.exp(x[..., scales]) / np.sqrt(square[..., scales])
        theta[..., off] = theta[..., self.anchor[off]] * v

    def _unconstrain_rows(self, theta: Array, x: Array) -> None:
        off, scales = self._ratios, self.relative
        square = theta**2
        np.add.at(square, self.anchor[off], theta[off] ** 2)
        x[scales] = 0.5 * np.log(square[scales])
        x[off] = np.arcsinh(theta[off] / theta[self.anchor[off]])

    def _log_jacobian_rows(self, x: Array) -> float:
        theta, off, scales = self.constrain(x), self._ratios, self.relative
        return float(self._weights[scales] @ np.log(theta[scales]) + np.sum(np.log(np.cosh(x[off]))))

    def _pull_rows(self, x: Array, theta: Array, by_theta: Array, by_x: Array) -> None:
        """Write the gradient by x of the scales and what is anchored to them."""
        off, scales = self._ratios, self.relative
        # Derivative by log θ_d with the ratios θ_p / θ_d held.
        by_x[scales] = by_theta[scales] * theta[scales] + self._weights[scales]
        np.add.at(by_x, self.anchor[off], by_theta[off] * theta[off])
        scale = theta[self.anchor[off]]
        shrink = np.sinh(x[off]) * np.cosh(x[off]) * (scale / np.exp(x[self.anchor[off]])) ** 2
        by_x[off] = by_theta[off] * scale * np.cosh(x[off]) - by_x[self.anchor[off]] * shrink + np.tanh(x[off])

    @cached_property
    def _weights(self) -> Array:
        """n_d + 1 at every scale."""
        weights = np.ones(len(self.anchor))
        np.add.at(weights, self.anchor[self.anchored], 1.0)
        return weights


@dataclass(frozen=True)
class PlanarCoordinates(Coordinates):
    """The map between x and θ, rows as points of a half-space.

    Parameters
    ----------
    anchor
        See :class:`Coordinates`.
    unit
        Standard deviation below which the map bends, for every scale in its place, (d,); 0 for a scale that is far from
        0 and has the coordinates of :class:`Coordinates`.
    """

    unit: Array

    @cached_property
    def relative(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.scales & (self.unit == 0.0))

    @cached_property
    def rows(self) -> list[tuple[int, npt.NDArray[np.intp]]]:
        """Every scale that is not relative, with the parameters anchored to it."""
        off = self.anchored
        return [(int(d), off[self.anchor[off] == d]) for d in np.flatnonzero(self.scales & ~self.relative)]

    def _constrain_rows(self, x: Array, theta: Array) -> None:
        super()._constrain_rows(x, theta)
        for d, off in self.rows:
            if len(off):
                b, square = self._half_space(x, d, off)
                gain = self.unit[d] * self._gain(square, len(off))
                theta[..., d], theta[..., off] = gain * b, gain[..., None] * x[..., off]
            else:
                theta[..., d] = self.unit[d] * STRAIGHT * np.sinh(x[..., d] / STRAIGHT)

    def _unconstrain_rows(self, theta: Array, x: Array) -> None:
        super()._unconstrain_rows(theta, x)
        for d, off in self.rows:
            if len(off):
                s = float(np.hypot(theta[d], np.linalg.norm(theta[off])))
                shrink = self._radius(s / self.unit[d], len(off)) / s
                b = shrink * theta[d]
                x[d], x[off] = b + np.log(-np.expm1(-BEND * b)) / BEND, shrink * theta[off]
            else:
                x[d] = STRAIGHT * np.arcsinh(theta[d] / (self.unit[d] * STRAIGHT))

    def _log_jacobian_rows(self, x: Array) -> float:
        total = super()._log_jacobian_rows(x)
        for d, off in self.rows:
            n = len(off)
            if n:
                _, square = self._half_space(x, d, off)
                log_volume = (n + 1) * np.log(self.unit[d] * self._gain(square, n)) + np.log(
                    self._elasticity(square, n)
                )
                total += float(log_volume - np.log1p(np.exp(-BEND * x[d])))
            else:
                total += float(np.log(self.unit[d] * np.cosh(x[d] / STRAIGHT)))
        return total

    def _pull_rows(self, x: Array, theta: Array, by_theta: Array, by_x: Array) -> None:
        super()._pull_rows(x, theta, by_theta, by_x)
        for d, off in self.rows:
            n = len(off)
            if not n:
                by_x[d] = by_theta[d] * self.unit[d] * np.cosh(x[d] / STRAIGHT) + np.tanh(x[d] / STRAIGHT) / STRAIGHT
                continue
            b, square = self._half_space(x, d, off)
            gain, elasticity = self.unit[d] * self._gain(square, n), self._elasticity(square, n)
            along = theta[d] * by_theta[d] + theta[off] @ by_theta[off]
            radial = ((along + n + 1) * (elasticity - 1.0) + self._bend(square, n) / elasticity) / square
            rate = 1.0 / (1.0 + np.exp(-BEND * x[d]))
            by_x[off] = gain * by_theta[off] + radial * x[off]
            by_x[d] = (gain * by_theta[d] + radial * b) * rate + BEND * (1.0 - rate)

    @staticmethod
    def _half_space(x: Array, d: int, off: npt.NDArray[np.intp]) -> tuple[Array, Array]:
        """b and q² of a row."""
        b = np.logaddexp(0.0, BEND * x[..., d]) / BEND
        return b, b**2 + np.sum(x[..., off] ** 2, axis=-1)

    @staticmethod
    def _gain(square: Array, n: int) -> Array:
        """g / unit from q²."""
        r = np.sqrt(square) / STRAIGHT
        return np.asarray((square / (1.0 + square)) ** (0.5 * n) * np.sinh(r) / r)

    @staticmethod
    def _elasticity(square: Array, n: int) -> Array:
        """d log s / d log q from q², s = g q."""
        r = np.sqrt(square) / STRAIGHT
        return np.asarray(n / (1.0 + square) + r / np.tanh(r))

    @staticmethod
    def _bend(square: Array, n: int) -> Array:
        """d elasticity / d log q from q²."""
        r = np.sqrt(square) / STRAIGHT
        return np.asarray(-2.0 * n * square / (1.0 + square) ** 2 + r / np.tanh(r) - (r / np.sinh(r)) ** 2)

    def _radius(self, s: float, n: int) -> float:
        """Return q of a row of norm s · unit, by Newton's method on the logarithms."""
        log_q = np.asarray(np.log(s) / (n + 1))
        for _ in range(60):
            square = np.asarray(np.exp(2.0 * log_q))
            excess = np.log(self._gain(square, n)) + log_q - np.log(s)
            step = np.clip(excess / self._elasticity(square, n), -1.0, 1.0)
            log_q = np.asarray(log_q - step)
            if abs(step) < 1e-14:
                break
        return float(np.exp(log_q))
