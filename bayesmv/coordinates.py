"""Unconstrained coordinates x of the parameters θ of covariance structures, for samplers.

A *scale* is a positive parameter. Other parameters of the same row of a factor L are *anchored* to it: with n of them,

    θ_d = exp(x_d) / sqrt(1 + Σ sinh² x_p),   θ_p = θ_d sinh x_p,   log|dθ/dx| = Σ_d (n_d + 1) log θ_d + Σ_p log cosh
    x_p

so that x_d is the logarithm of a standard deviation (the norm of the row) and x_p, for two traits, Fisher's z of the
correlation. Unlike log-Cholesky entries these do not widen with the standard deviation, which spares the sampler a
funnel.

Where a variance may well be 0, its logarithm has a long tail to -∞. *Folded* coordinates replace exp(x_d) by
``unit sinh x_d``, linear near 0 and logarithmic far away. A row with a negative x_d is that of an effect of opposite
sign: the density goes smoothly through 0 and counts every covariance matrix equally often on each side.

Parameters of other kinds have coordinates of their own: θ = x (FREE), θ = arcsin tanh x (ANGLE, so that x is Fisher's z
of the correlation sin θ) and θ = exp x (LOG, never folded).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesmv.covariance import ANGLE, FREE, LOG, Array

__all__ = ["FREE", "Coordinates"]


@dataclass(frozen=True)
class Coordinates:
    """The map between x and θ.

    Parameters
    ----------
    anchor
        For each parameter the scale that it is anchored to: itself for a scale, FREE for none, ANGLE or LOG for those
        of these kinds, (d,).
    unit
        Standard deviation below which folded coordinates are linear; None for logarithms.
    """

    anchor: npt.NDArray[np.intp]
    unit: float | None = None

    @property
    def scales(self) -> npt.NDArray[np.bool_]:
        """Which parameters are scales."""
        return np.asarray(self.anchor == np.arange(len(self.anchor)))

    @property
    def anchored(self) -> npt.NDArray[np.intp]:
        """Positions of the parameters that are anchored to another."""
        return np.flatnonzero((self.anchor >= 0) & ~self.scales)

    @property
    def angles(self) -> npt.NDArray[np.bool_]:
        """Which parameters are angles of correlations."""
        return np.asarray(self.anchor == ANGLE)

    @property
    def logs(self) -> npt.NDArray[np.bool_]:
        """Which parameters have their logarithms as coordinates."""
        return np.asarray(self.anchor == LOG)

    def constrain(self, x: Array) -> Array:
        """θ(x), (…, d) → (…, d)."""
        theta = np.array(x, dtype=float)
        off, scales = self.anchored, self.scales
        with np.errstate(over="ignore"):
            v = np.sinh(x[..., off])
            square = np.ones_like(theta)
            for k, p in enumerate(off):
                square[..., self.anchor[p]] += v[..., k] ** 2
            theta[..., scales] = self._sd(x[..., scales]) / np.sqrt(square[..., scales])
            theta[..., self.angles] = np.arctan(np.sinh(x[..., self.angles]))
            theta[..., self.logs] = np.exp(x[..., self.logs])
        theta[..., off] = theta[..., self.anchor[off]] * v
        return theta

    def unconstrain(self, theta: Array, smallest: float = 0.0) -> Array:
        """x(θ), (d,); scales below `smallest` are raised to it, which also keeps correlations off ±1."""
        theta = np.where(self.scales | self.logs, np.maximum(theta, smallest), theta)
        off, scales = self.anchored, self.scales
        square = theta**2
        np.add.at(square, self.anchor[off], theta[off] ** 2)
        x = theta.copy()
        sd = np.sqrt(square[scales])
        x[scales] = np.log(sd) if self.unit is None else np.arcsinh(sd / self.unit)
        x[off] = np.arcsinh(theta[off] / theta[self.anchor[off]])
        x[self.logs] = np.log(theta[self.logs])
        furthest = np.arctanh(1.0 - smallest) if smallest else np.inf
        x[self.angles] = np.clip(np.arcsinh(np.tan(theta[self.angles])), -furthest, furthest)
        return x

    def log_jacobian(self, x: Array) -> float:
        """log|dθ/dx| at x (d,)."""
        theta = self.constrain(x)
        off = self.anchored
        total = self._weights[self.scales] @ np.log(np.abs(theta[self.scales])) + np.sum(np.log(np.cosh(x[off])))
        total += np.sum(x[self.logs]) - np.sum(np.log(np.cosh(x[self.angles])))
        return float(total - np.sum(np.log(np.abs(self._rate(x[self.scales])))))

    def pullback(self, x: Array, by_theta: Array) -> Array:
        """Gradient by x of ``f(θ(x)) + log|dθ/dx|`` from df/dθ, (d,)."""
        theta = self.constrain(x)
        off, scales = self.anchored, self.scales
        by_x = by_theta.copy()
        # Derivative by log θ_d with the ratios θ_p / θ_d held.
        by_x[scales] = by_theta[scales] * theta[scales] + self._weights[scales]
        np.add.at(by_x, self.anchor[off], by_theta[off] * theta[off])
        scale = theta[self.anchor[off]]
        shrink = np.sinh(x[off]) * np.cosh(x[off]) * (scale / self._sd(x[self.anchor[off]])) ** 2
        by_x[off] = by_theta[off] * scale * np.cosh(x[off]) - by_x[self.anchor[off]] * shrink + np.tanh(x[off])
        if self.unit is not None:
            # From d/d log θ_d to d/dx_d, and the gradient of -log|tanh x_d|.
            by_x[scales] = by_x[scales] / self._rate(x[scales]) - 2.0 / np.sinh(2.0 * x[scales])
        by_x[self.logs] = by_theta[self.logs] * theta[self.logs] + 1.0
        by_x[self.angles] = by_theta[self.angles] / np.cosh(x[self.angles]) - np.tanh(x[self.angles])
        return by_x

    def jacobian(self, x: Array) -> Array:
        """dθ/dx, (d, d)."""
        d = len(x)
        return np.stack([self.pullback(x, e) for e in np.eye(d)]) - self.pullback(x, np.zeros(d))

    def _sd(self, x: Array) -> Array:
        """Standard deviation (signed, if folded) of the coordinate of a scale."""
        return np.asarray(np.exp(x) if self.unit is None else self.unit * np.sinh(x))

    def _rate(self, x: Array) -> Array:
        """dx / d log θ_d of a scale."""
        return np.ones_like(x) if self.unit is None else np.asarray(np.tanh(x))

    @property
    def _weights(self) -> Array:
        """n_d + 1 at every scale."""
        weights = np.ones(len(self.anchor))
        np.add.at(weights, self.anchor[self.anchored], 1.0)
        return weights
