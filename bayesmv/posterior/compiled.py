"""The log posterior compiled: one call from an unconstrained vector to value and gradient, no Python in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
from numba import carray

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceStructure
from bayesmv.likelihood import MixedModelLikelihood, RestrictedLikelihood, StrataLikelihood
from bayesmv.likelihood.sparse.kernels import differentiate, evaluate
from bayesmv.likelihood.spectral.engine import SpectralLikelihood
from bayesmv.likelihood.spectral.series import restricted
from bayesmv.numerics.compiled import FAST, njit
from bayesmv.numerics.progress import waiting
from bayesmv.numerics.small_matrices import (
    add_square,
    affine,
    by_covariance,
    invert,
    multiply,
    pull_affine,
    subtract_product,
    weighted_sum,
)
from bayesmv.posterior.coordinate_kernels import constrain, pull_rows
from bayesmv.posterior.layout import density_layout
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.posterior.native import DirectDensity, claim, report
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.density import row_weights

# Copied into the density where they are called: compiled by themselves they would be optimised twice.
_evaluate, _differentiate = njit(inline="always")(evaluate), njit(inline="always")(differentiate)


class Density(DirectDensity):
    """Compiled log density of z, x = centre + root z.

    Equal, up to a constant, to :meth:`LogPosterior.value_and_gradient` at x.

    Parameters
    ----------
    posterior
        The posterior in planar coordinates.
    centre, root
        Map from z to x, (d,) and (d, d).
    threads
        How many may call it at the same time.
    """

    def __init__(self, posterior: LogPosterior, centre: Array, root: Array, threads: int = 1) -> None:
        function, layout = c_function(posterior.engine), density_layout(posterior)
        if function is None:
            raise TypeError(f"no compiled density for {type(posterior.engine).__name__}")
        free = np.zeros(threads, dtype=np.int64)
        given = free, np.ascontiguousarray(centre), np.ascontiguousarray(root), layout
        m = int(layout.size.max())
        copies = []
        for _ in range(threads):
            engine: Any = posterior.engine.fork()
            L, dL = np.zeros((2, len(layout.size), m, m))
            copies.append((*given, L, dL, engine.arrays))
        with waiting("Compiling the log density, once for models of its kind"):
            super().__init__(function, copies)


@singledispatch
def c_function(engine: RestrictedLikelihood) -> Callable[..., int] | None:
    """C function of the density of an engine, registered on its class; None for those that have none.

    It is called as :class:`~bayesmv.posterior.native.DirectDensity` says, with copies of (flags, centre, root, layout,
    L, dL, ``engine.arrays``).
    """
    return None


@c_function.register
def _(engine: StrataLikelihood) -> Callable[..., int]:
    return _strata


@c_function.register
def _(engine: SpectralLikelihood) -> Callable[..., int]:
    return _spectral


@c_function.register
def _(engine: MixedModelLikelihood) -> Callable[..., int]:
    return _sparse


def compiles(posterior: LogPosterior) -> bool:
    """Whether a posterior has a compiled density: its engine has one, all its structures and priors do."""
    pairs = zip(posterior.blocks.structures, posterior.design.names, strict=True)
    flat = all(has_compiled_prior(s, posterior.priors[name]) for s, name in pairs)
    return flat and c_function(posterior.engine) is not None


def has_compiled_prior(structure: CovarianceStructure, prior: CovariancePrior) -> bool:
    """Whether a structure has a factor that compiled code knows, and a prior of its rows."""
    known = structure.placement is not None and row_weights(structure, prior) is not None
    return known and prior.sd.compiled is not None


# The C functions differ in the density that they copy into themselves.


def _strata(length, z, gradient, value, copies):  # type: ignore[no-untyped-def]
    i = claim(copies)
    return report(copies, i, _strata_density(carray(z, (length,)), copies[i]), gradient, value)


def _sparse(length, z, gradient, value, copies):  # type: ignore[no-untyped-def]
    i = claim(copies)
    return report(copies, i, _sparse_density(carray(z, (length,)), copies[i]), gradient, value)


def _spectral(length, z, gradient, value, copies):  # type: ignore[no-untyped-def]
    i = claim(copies)
    return report(copies, i, _spectral_density(carray(z, (length,)), copies[i]), gradient, value)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def fill_factors(layout, x, theta, L):  # type: ignore[no-untyped-def]
    """Write θ(x) and the factors; return log|dθ/dx| and what the priors say of single parameters."""
    total = constrain(layout.anchor, layout.unit, layout.folded, x, theta)
    for p in range(len(x)):
        if layout.a[p] != 0.0:
            total += layout.a[p] * np.log(np.abs(theta[p]))
    for e in range(len(layout.block)):
        L[layout.block[e], layout.row[e], layout.col[e]] = 0.0
    for e in range(len(layout.block)):
        L[layout.block[e], layout.row[e], layout.col[e]] += layout.weight[e] * theta[layout.parameter[e]]
    return total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def add_prior(layout, L, dL):  # type: ignore[no-untyped-def]
    """Log prior of the rows of the factors; its derivatives are added to dL. Half-normal where ν is infinite."""
    total = 0.0
    for k in range(len(layout.size)):
        m, nu, scale2 = layout.size[k], layout.nu[k], layout.scale[k] ** 2
        for i in range(m):
            s2 = 0.0
            for j in range(m):
                s2 += L[k, i, j] ** 2
            c, b = layout.c[k, i], layout.b[k, i]
            if c == 0.0 and b == 0.0:
                continue
            total -= 0.5 * b * np.log(s2)
            slope = -b / s2
            if nu == np.inf:
                total -= 0.5 * c * s2 / scale2
                slope -= c / scale2
            else:
                total -= 0.5 * c * (nu + 1.0) * np.log1p(s2 / (scale2 * nu))
                slope -= c * (nu + 1.0) / (nu * scale2 + s2)
            for j in range(m):
                dL[k, i, j] += slope * L[k, i, j]
    return total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def by_parameters(layout, theta, dL):  # type: ignore[no-untyped-def]
    """Gradient by θ from the derivatives by the factors, what the priors say of single parameters included."""
    by_theta = np.zeros(len(theta))
    for e in range(len(layout.block)):
        by_theta[layout.parameter[e]] += layout.weight[e] * dL[layout.block[e], layout.row[e], layout.col[e]]
    for p in range(len(theta)):
        if layout.a[p] != 0.0:
            by_theta[p] += layout.a[p] / theta[p]
    return by_theta


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _gather(layout, x, theta, dL, root):  # type: ignore[no-untyped-def]
    """Gradient by z from the derivatives by the factors."""
    by_theta = by_parameters(layout, theta, dL)
    return pull_affine(root, pull_rows(layout.anchor, layout.unit, layout.folded, x, theta, by_theta))


@njit(inline="always")
def _strata_density(z, copy):  # type: ignore[no-untyped-def]
    _, centre, root, layout, L, dL, arrays = copy
    c, freedom, products, constant = arrays
    x = affine(centre, root, z)
    theta = np.empty(len(x))
    value = constant + fill_factors(layout, x, theta, L)
    t = L.shape[1]
    sigma, G, half = np.zeros_like(L), np.zeros_like(L), np.empty((3, t, t))
    V, seen = half[0], np.ones(t, np.bool_)
    for k in range(len(L)):
        add_square(L[k], seen, sigma[k])
    for s in range(len(freedom)):
        weighted_sum(c[s], sigma, V)
        log_det = invert(V, seen)
        if not np.isfinite(log_det):
            return np.nan, np.zeros(len(z))
        multiply(V, products[s], half[1])
        multiply(half[1], V, half[2])
        value -= 0.5 * freedom[s] * log_det
        for i in range(t):
            value -= 0.5 * half[1, i, i]
            for j in range(t):
                for k in range(len(L)):
                    G[k, i, j] -= c[s, k] * (freedom[s] * V[i, j] - half[2, i, j])
    for k in range(len(L)):
        multiply(G[k], L[k], dL[k])
    value += add_prior(layout, L, dL)
    return value, _gather(layout, x, theta, dL, root)


@njit(inline="always")
def _spectral_density(z, copy):  # type: ignore[no-untyped-def]
    _, centre, root, layout, L, dL, series = copy
    x = affine(centre, root, z)
    theta = np.empty(len(x))
    value = fill_factors(layout, x, theta, L)
    sigma, G, seen = np.zeros_like(L), np.empty_like(L), np.ones(L.shape[1], np.bool_)
    for k in range(len(L)):
        add_square(L[k], seen, sigma[k])
    loglik = restricted(sigma[0], sigma[1], series, G[0], G[1])
    if not np.isfinite(loglik):
        return np.nan, np.zeros(len(z))
    for k in range(len(L)):
        multiply(G[k], L[k], dL[k])
        for i in range(L.shape[1]):
            for j in range(L.shape[2]):
                dL[k, i, j] *= 2.0
    value += loglik + add_prior(layout, L, dL)
    return value, _gather(layout, x, theta, dL, root)


@njit(inline="always")
def _sparse_density(z, copy):  # type: ignore[no-untyped-def]
    _, centre, root, layout, L, dL, arrays = copy
    symbolic, blocks, slots, work, small, loading, classes, constant = arrays
    x = affine(centre, root, z)
    theta = np.empty(len(x))
    value = constant + fill_factors(layout, x, theta, L)
    log_V = _fill_small(L, small, loading, classes)
    if not np.isfinite(log_V):
        return np.nan, np.zeros(len(z))
    ok, log_C, ypy = _evaluate(symbolic, blocks, slots, work, small)
    if not ok:
        return np.nan, np.zeros(len(z))
    _differentiate(symbolic, blocks, slots, work, small)
    _factor_gradient(L, small, loading, classes, dL)
    value += add_prior(layout, L, dL) - 0.5 * (log_V + log_C + ypy)
    return value, _gather(layout, x, theta, dL, root)


@njit(cache=True, error_model="numpy")
def _fill_small(L, small, loading, classes):  # type: ignore[no-untyped-def]
    """Write loads and precisions; return Σ log|V|, NaN where a V is not positive definite."""
    for e in range(len(loading.load)):
        for j in range(small.loads.shape[2]):
            small.loads[loading.load[e], loading.trait[e], j] = L[loading.term[e], loading.effect[e], j]
    AL = np.empty(classes.matrix.shape[1:])
    log_V = 0.0
    for p in range(len(classes.units)):
        V = small.precisions[p]
        V[:] = 0.0
        for e in range(classes.begin[p], classes.begin[p + 1]):
            multiply(classes.matrix[e], L[classes.block[e]], AL)
            add_square(AL, classes.observed[p], V)
        log_V += classes.units[p] * invert(V, classes.observed[p])
    return log_V


@njit(cache=True, error_model="numpy")
def _factor_gradient(L, small, loading, classes, dL):  # type: ignore[no-untyped-def]
    """Write the derivatives of the log likelihood by the factors, from those by loads and precisions."""
    dL[:] = 0.0
    for e in range(len(loading.load)):
        for j in range(small.loads.shape[2]):
            d = small.d_loads[loading.load[e], loading.trait[e], j]
            dL[loading.term[e], loading.effect[e], j] -= 0.5 * d
    t, m = classes.matrix.shape[1:]
    D, half, AL, DAL = np.empty((t, t)), np.empty((t, t)), np.empty((t, m)), np.empty((t, m))
    for p in range(len(classes.units)):
        by_covariance(small.precisions[p], small.d_precisions[p], classes.units[p], half, D)
        for e in range(classes.begin[p], classes.begin[p + 1]):
            multiply(classes.matrix[e], L[classes.block[e]], AL)
            multiply(D, AL, DAL)
            subtract_product(classes.matrix[e], DAL, dL[classes.block[e]])
