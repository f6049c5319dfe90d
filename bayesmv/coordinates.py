"""Unconstrained coordinates x of the parameters θ of covariance structures, for samplers.

A *scale* is a positive parameter. Other parameters of the same row of a factor L are *anchored* to it: with n of them,

    θ_d = exp(x_d) / sqrt(1 + Σ sinh² x_p),   θ_p = θ_d sinh x_p,   log|dθ/dx| = Σ_d (n_d + 1) log θ_d + Σ_p log cosh
    x_p

so that x_d is the logarithm of a standard deviation (the norm of the row) and x_p, for two traits, Fisher's z of the
correlation. Unlike log-Cholesky entries these do not widen with the standard deviation, which spares the sampler a
funnel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesmv.covariance import Array

#: Anchor of a parameter that is its own coordinate.
FREE = -1


@dataclass(frozen=True)
class Coordinates:
    """The map between x and θ.

    Parameters
    ----------
    anchor
        For each parameter the scale that it is anchored to: itself for a scale, FREE for none, (d,).
    """

    anchor: npt.NDArray[np.intp]

    @property
    def scales(self) -> npt.NDArray[np.bool_]:
        """Which parameters are scales."""
        return np.asarray(self.anchor == np.arange(len(self.anchor)))

    @property
    def anchored(self) -> npt.NDArray[np.intp]:
        """Positions of the parameters that are anchored to another."""
        return np.flatnonzero((self.anchor != FREE) & ~self.scales)

    def constrain(self, x: Array) -> Array:
        """θ(x), (…, d) → (…, d)."""
        theta = np.array(x, dtype=float)
        off, scales = self.anchored, self.scales
        with np.errstate(over="ignore"):
            v = np.sinh(x[..., off])
            square = np.ones_like(theta)
            for k, p in enumerate(off):
                square[..., self.anchor[p]] += v[..., k] ** 2
            theta[..., scales] = np.exp(x[..., scales]) / np.sqrt(square[..., scales])
        theta[..., off] = theta[..., self.anchor[off]] * v
        return theta

    def unconstrain(self, theta: Array, smallest: float = 0.0) -> Array:
        """x(θ), (d,); scales below `smallest` are raised to it, which also keeps correlations off ±1."""
        theta = np.where(self.scales, np.maximum(theta, smallest), theta)
        off, scales = self.anchored, self.scales
        square = theta**2
        np.add.at(square, self.anchor[off], theta[off] ** 2)
        x = theta.copy()
        x[scales] = 0.5 * np.log(square[scales])
        x[off] = np.arcsinh(theta[off] / theta[self.anchor[off]])
        return x

    def log_jacobian(self, x: Array) -> float:
        """log|dθ/dx| at x (d,)."""
        theta = self.constrain(x)
        off = self.anchored
        return float(self._weights[self.scales] @ np.log(theta[self.scales]) + np.sum(np.log(np.cosh(x[off]))))

    def pullback(self, x: Array, by_theta: Array) -> Array:
        """Gradient by x of ``f(θ(x)) + log|dθ/dx|`` from df/dθ, (d,)."""
        theta = self.constrain(x)
        off, scales = self.anchored, self.scales
        by_x = by_theta.copy()
        # Derivative by log θ_d with the ratios θ_p / θ_d held.
        by_x[scales] = by_theta[scales] * theta[scales] + self._weights[scales]
        np.add.at(by_x, self.anchor[off], by_theta[off] * theta[off])
        scale = theta[self.anchor[off]]
        shrink = np.sinh(x[off]) * np.cosh(x[off]) * (scale / np.exp(x[self.anchor[off]])) ** 2
        by_x[off] = by_theta[off] * scale * np.cosh(x[off]) - by_x[self.anchor[off]] * shrink + np.tanh(x[off])
        return by_x

    def jacobian(self, x: Array) -> Array:
        """dθ/dx, (d, d)."""
        d = len(x)
        return np.stack([self.pullback(x, e) for e in np.eye(d)]) - self.pullback(x, np.zeros(d))

    @property
    def _weights(self) -> Array:
        """n_d + 1 at every scale."""
        weights = np.ones(len(self.anchor))
        np.add.at(weights, self.anchor[self.anchored], 1.0)
        return weights
