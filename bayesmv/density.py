"""The log posterior compiled: one call from an unconstrained vector to value and gradient, no Python in between."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from bayesmv.covariance import Array
from bayesmv.likelihood import MixedModelLikelihood, StrataLikelihood
from bayesmv.likelihood.chebyshev import restricted
from bayesmv.likelihood.cholesky import FAST
from bayesmv.likelihood.kernels import evaluate
from bayesmv.likelihood.spectral import SpectralLikelihood
from bayesmv.likelihood.symbolic import Ints
from bayesmv.posterior import LogPosterior
from bayesmv.priors import row_weights


class Layout(NamedTuple):
    """How the unconstrained vector makes up the factors L_k, and the priors on them.

    Parameters
    ----------
    anchor
        Scale that every parameter is anchored to (:mod:`bayesmv.coordinates`), (d,).
    unit
        Unit of folded coordinates; 0 for logarithms.
    block, row, col, parameter
        Where every nonzero entry of the factors stands, and the parameter that it is.
    size
        Size of each matrix (B,).
    c, a, b
        Row weights of the priors, (B, m).
    nu, scale
        Degrees of freedom and scale of the half-t priors, (B,).
    """

    anchor: Ints
    unit: float
    block: Ints
    row: Ints
    col: Ints
    parameter: Ints
    size: Ints
    c: Array
    a: Array
    b: Array
    nu: Array
    scale: Array


def layout_of(posterior: LogPosterior) -> Layout:
    """Flatten the structures and priors of a posterior."""
    blocks = posterior.blocks
    sizes = np.array([s.size for s in blocks.structures])
    weights = np.zeros((3, len(sizes), sizes.max()))
    places: list[Ints] = []
    priors = [posterior.priors[name] for name in posterior.design.names]
    for k, (structure, at, prior) in enumerate(zip(blocks.structures, blocks.slices, priors, strict=True)):
        rows, cols, parameters = structure.placement
        places.append(np.stack([np.full(len(rows), k), rows, cols, parameters + at.start]))
        weights[:, k, : structure.size] = row_weights(structure, prior)
    block, row, col, parameter = np.concatenate(places, axis=1)
    return Layout(
        anchor=blocks.anchor,
        unit=float(posterior.unit or 0.0),
        block=block,
        row=row,
        col=col,
        parameter=parameter,
        size=sizes,
        c=weights[0],
        a=weights[1],
        b=weights[2],
        nu=np.array([float(p.sd.nu) for p in priors]),
        scale=np.array([float(p.sd.scale) for p in priors]),
    )


class Density:
    """Compiled log density of z, x = centre + root z, with its own scratch memory: one for each thread.

    Equal, up to a constant, to :meth:`LogPosterior.value_and_gradient` at x.
    """

    def __init__(self, posterior: LogPosterior, centre: Array, root: Array) -> None:
        engine = posterior.engine.fork()
        self._centre, self._root, self._layout = centre, np.ascontiguousarray(root), layout_of(posterior)
        m = int(self._layout.size.max())
        self._factors = np.zeros((2, len(self._layout.size), m, m))
        self._call: Any
        self._arguments: tuple[Any, ...]
        if isinstance(engine, StrataLikelihood):
            self._call, self._arguments = _strata_density, engine.arrays
        elif isinstance(engine, MixedModelLikelihood):
            self._call, self._arguments = _sparse_density, engine.arrays
        elif isinstance(engine, SpectralLikelihood):
            self._call, self._arguments = _spectral_density, engine.arrays
        else:
            raise TypeError(f"no compiled density for {type(engine).__name__}")

    def __call__(self, z: Array) -> tuple[float, Array]:
        """Log density and gradient at z (d,); -inf and zeros where they are not finite."""
        value, gradient = self._call(
            z, self._centre, self._root, self._layout, self._factors[0], self._factors[1], self._arguments
        )
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros_like(z)
        return value, gradient


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _sd(x, unit):  # type: ignore[no-untyped-def]
    return unit * np.sinh(x) if unit > 0.0 else np.exp(x)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _fill_factors(layout, x, theta, L):  # type: ignore[no-untyped-def]
    """Write θ(x) and the factors; return log|dθ/dx|."""
    anchor = layout.anchor
    square = np.ones(len(x))
    total = 0.0
    for p in range(len(x)):
        if anchor[p] >= 0 and anchor[p] != p:
            square[anchor[p]] += np.sinh(x[p]) ** 2
            total += np.log(np.cosh(x[p]))
    for p in range(len(x)):
        theta[p] = x[p]
        if anchor[p] == p:
            theta[p] = _sd(x[p], layout.unit) / np.sqrt(square[p])
            if layout.unit > 0.0:
                total -= np.log(np.abs(np.tanh(x[p])))
    for p in range(len(x)):
        if anchor[p] >= 0:
            total += np.log(np.abs(theta[anchor[p]]))
            if anchor[p] != p:
                theta[p] = theta[anchor[p]] * np.sinh(x[p])
    for e in range(len(layout.block)):
        L[layout.block[e], layout.row[e], layout.col[e]] = theta[layout.parameter[e]]
    return total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _add_prior(layout, L, dL):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(len(layout.size)):
        m, nu, scale2 = layout.size[k], layout.nu[k], layout.scale[k] ** 2
        for i in range(m):
            s2 = 0.0
            for j in range(m):
                s2 += L[k, i, j] ** 2
            c, a, b = layout.c[k, i], layout.a[k, i], layout.b[k, i]
            total += -0.5 * c * (nu + 1.0) * np.log1p(s2 / (scale2 * nu)) - 0.5 * b * np.log(s2)
            slope = -c * (nu + 1.0) / (nu * scale2 + s2) - b / s2
            for j in range(m):
                dL[k, i, j] += slope * L[k, i, j]
            if a != 0.0:
                total += a * np.log(np.abs(L[k, i, i]))
                dL[k, i, i] += a / L[k, i, i]
    return total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _gather(layout, x, theta, dL, root):  # type: ignore[no-untyped-def]
    """Gradient by z from the derivatives by the factors."""
    anchor = layout.anchor
    by_theta = np.zeros(len(theta))
    for e in range(len(layout.block)):
        by_theta[layout.parameter[e]] += dL[layout.block[e], layout.row[e], layout.col[e]]
    by_x = by_theta.copy()
    for p in range(len(theta)):
        if anchor[p] == p:
            by_x[p] = 0.0
    for p in range(len(theta)):
        if anchor[p] >= 0:
            by_x[anchor[p]] += by_theta[p] * theta[p] + 1.0
    for p in range(len(theta)):
        d = anchor[p]
        if d >= 0 and d != p:
            shrink = np.sinh(x[p]) * np.cosh(x[p]) * (theta[d] / _sd(x[d], layout.unit)) ** 2
            by_x[p] = by_theta[p] * theta[d] * np.cosh(x[p]) - by_x[d] * shrink + np.tanh(x[p])
    for p in range(len(theta)):
        if anchor[p] == p and layout.unit > 0.0:
            by_x[p] = by_x[p] / np.tanh(x[p]) - 2.0 / np.sinh(2.0 * x[p])
    return root.T @ by_x


@njit(cache=True, nogil=True, error_model="numpy")
def _strata_density(z, centre, root, layout, L, dL, arrays):  # type: ignore[no-untyped-def]
    c, freedom, products, constant = arrays
    x = centre + root @ z
    theta = np.empty(len(x))
    value = constant + _fill_factors(layout, x, theta, L)
    dL[:] = 0.0
    t = L.shape[1]
    sigma = np.zeros_like(L)
    G = np.zeros_like(L)
    for k in range(len(L)):
        sigma[k] = L[k] @ L[k].T
    for s in range(len(freedom)):
        V = np.zeros((t, t))
        for k in range(len(L)):
            V += c[s, k] * sigma[k]
        log_det = _invert(V)
        if not np.isfinite(log_det):
            return -np.inf, np.zeros(len(z))
        quadratic = V @ products[s] @ V
        value -= 0.5 * (freedom[s] * log_det + np.sum(V * products[s]))
        for k in range(len(L)):
            G[k] -= 0.5 * c[s, k] * (freedom[s] * V - quadratic)
    for k in range(len(L)):
        dL[k] = 2.0 * G[k] @ L[k]
    value += _add_prior(layout, L, dL)
    return value, _gather(layout, x, theta, dL, root)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _invert(V):  # type: ignore[no-untyped-def]
    """Replace a positive definite V by its inverse (Gauss-Jordan on the pivots) and return log|V|; NaN if it is not."""
    log_det = 0.0
    for p in range(V.shape[0]):
        pivot = V[p, p]
        if not pivot > 0.0:
            return np.nan
        log_det += np.log(pivot)
        V[p, p] = 1.0
        V[p] /= pivot
        for i in range(V.shape[0]):
            if i != p:
                multiple = V[i, p]
                V[i, p] = 0.0
                V[i] -= multiple * V[p]
    return log_det


@njit(cache=True, nogil=True, error_model="numpy")
def _spectral_density(z, centre, root, layout, L, dL, series):  # type: ignore[no-untyped-def]
    x = centre + root @ z
    theta = np.empty(len(x))
    value = _fill_factors(layout, x, theta, L)
    G = np.empty_like(L)
    loglik = restricted(L[0] @ L[0].T, L[1] @ L[1].T, series, G[0], G[1])
    if not np.isfinite(loglik):
        return -np.inf, np.zeros(len(z))
    for k in range(len(L)):
        dL[k] = 2.0 * G[k] @ L[k]
    value += loglik + _add_prior(layout, L, dL)
    return value, _gather(layout, x, theta, dL, root)


def _sparse_density(
    z: Array, centre: Array, root: Array, layout: Layout, L: Array, dL: Array, arrays: tuple[Any, ...]
) -> tuple[float, Array]:
    # Three compiled calls, not one: compiled as a whole, the kernels of the factorisation ran at 0.6 of their speed.
    symbolic, blocks, slots, work, small, loading, patterns, units, constant = arrays
    x, theta, log_jacobian, log_R = _sparse_fill(z, centre, root, layout, L, small, loading, patterns, units)
    if not np.isfinite(log_R):
        return -np.inf, np.zeros_like(z)
    ok, log_C, ypy = evaluate(symbolic, blocks, slots, work, small, True)
    if not ok:
        return -np.inf, np.zeros_like(z)
    log_prior, gradient = _sparse_gradient(x, theta, root, layout, L, dL, small, loading, units)
    return constant + log_jacobian + log_prior - 0.5 * (log_R + log_C + ypy), gradient


@njit(cache=True, nogil=True, error_model="numpy")
def _sparse_fill(z, centre, root, layout, L, small, loading, patterns, units):  # type: ignore[no-untyped-def]
    """Write loads and residual precisions; return x, θ, log|dθ/dx| and log|R|, NaN where R is not positive definite."""
    x = centre + root @ z
    theta = np.empty(len(x))
    log_jacobian = _fill_factors(layout, x, theta, L)
    for e in range(len(loading.load)):
        small.loads[loading.load[e], loading.trait[e]] = L[loading.term[e], loading.effect[e]]
    R = L[-1] @ L[-1].T
    log_R = 0.0
    for p in range(len(patterns)):
        log_R += units[p] * _invert_observed(R, patterns[p], small.precisions[p])
    return x, theta, log_jacobian, log_R


@njit(cache=True, nogil=True, error_model="numpy")
def _sparse_gradient(x, theta, root, layout, L, dL, small, loading, units):  # type: ignore[no-untyped-def]
    """Log prior, and the gradient by z of the log posterior, from the derivatives by loads and precisions."""
    dL[:] = 0.0
    t = small.precisions.shape[1]
    R_factor, d_R_factor = np.ascontiguousarray(L[-1, :t, :t]), dL[-1, :t, :t]
    for e in range(len(loading.load)):
        for j in range(L.shape[2]):
            d = small.d_loads[loading.load[e], loading.trait[e], j]
            dL[loading.term[e], loading.effect[e], j] -= 0.5 * d
    for p in range(len(units)):
        Q = small.precisions[p]
        D = units[p] * Q - Q @ (0.5 * (small.d_precisions[p] + small.d_precisions[p].T)) @ Q
        d_R_factor -= D @ R_factor
    log_prior = _add_prior(layout, L, dL)
    return log_prior, _gather(layout, x, theta, dL, root)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _invert_observed(R, seen, out):  # type: ignore[no-untyped-def]
    """Inverse of the observed part of R, embedded in zeros; return its log-determinant."""
    index = np.flatnonzero(seen)
    part = np.empty((len(index), len(index)))
    for i in range(len(index)):
        for j in range(len(index)):
            part[i, j] = R[index[i], index[j]]
    log_det = _invert(part)
    for i in range(len(index)):
        for j in range(len(index)):
            out[index[i], index[j]] = part[i, j]
    return log_det
