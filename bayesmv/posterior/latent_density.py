"""The log density of parameters and location effects compiled, where structures and priors have compiled forms."""

from __future__ import annotations

import numpy as np
from numba import carray

from bayesmv.numerics.compiled import njit
from bayesmv.numerics.progress import waiting
from bayesmv.numerics.small_matrices import affine
from bayesmv.posterior.compiled import add_prior, by_parameters, fill_factors, has_compiled_prior
from bayesmv.posterior.coordinate_kernels import pull_rows
from bayesmv.posterior.latent import LatentMap, Wanted
from bayesmv.posterior.latent_kernels import evaluate, keep
from bayesmv.posterior.layout import density_layout
from bayesmv.posterior.native import DirectDensity, claim, report


class LatentDensity(DirectDensity):
    """Compiled form of :meth:`LatentMap.value_and_gradient`, up to a constant.

    Parameters
    ----------
    where
        The map, of a posterior that :func:`compiles`.
    wanted
        What is to be kept of draws.
    threads
        How many may call it at the same time.
    """

    def __init__(self, where: LatentMap, wanted: Wanted, threads: int = 1) -> None:
        latent = where.latent
        coordinates, blocks = latent.coordinates, latent.blocks
        posterior = latent.by_rows.planar(coordinates.unit)
        n = len(blocks.structures) - (blocks.structures[-1].n_parameters == 0)
        layout = density_layout(posterior, n)._replace(folded=0)
        held = latent.residual(np.zeros(blocks.n_parameters)) if n < len(blocks.structures) else np.zeros((0, 0))
        free, m = np.zeros(threads, dtype=np.int64), int(layout.size.max(initial=0))
        places = coordinates.free.astype(np.int64), coordinates.whole(np.zeros(len(coordinates.free)))
        given = (
            free,
            where.centre,
            np.ascontiguousarray(where.root),
            layout,
            places,
            held,
            latent.shape,
            where.static,
            wanted,
        )
        copies = [(*given, *np.zeros((2, n, m, m))) for _ in range(threads)]
        with waiting("Compiling the log density, once for models of its kind"):
            super().__init__(_latent, copies, _keep, latent.size + wanted.size(latent.shape.sizes))


def compiles(where: LatentMap) -> bool:
    """Whether there is a compiled density of a map: its structures and priors have compiled forms."""
    if not where.latent.factors.plain:
        return False
    posterior = where.latent.by_rows
    pairs = zip(posterior.blocks.structures, posterior.design.names, strict=True)
    return all(s.n_parameters == 0 or has_compiled_prior(s, posterior.priors[name]) for s, name in pairs)


def _latent(length, z, gradient, value, copies):  # type: ignore[no-untyped-def]
    i = claim(copies)
    return report(copies, i, _density(carray(z, (length,)), copies[i]), gradient, value)


def _keep(length, kept, z, out, copies):  # type: ignore[no-untyped-def]
    _write(carray(z, (length,)), copies[0], carray(out, (kept,)))
    return 0


@njit(cache=True)
def _whole(places, x):  # type: ignore[no-untyped-def]
    """Coordinates with those that are held."""
    free, held = places
    out = held.copy()
    for i in range(len(free)):
        out[free[i]] = x[i]
    return out


@njit(inline="always")
def _write(z, copy, out):  # type: ignore[no-untyped-def]
    _, centre, root, layout, places, held, shape, static, wanted, scratch, _ = copy
    n = len(centre)
    # Several threads may ask at once: the scratch memory of the density is not theirs.
    x, L = affine(centre, root, z[:n]), np.zeros_like(scratch)
    whole, theta = _whole(places, x), np.empty(len(layout.anchor))
    fill_factors(layout, whole, theta, L)
    R = L[-1] @ L[-1].T if len(held) == 0 else held
    keep(theta, R, x, z[n:], wanted, shape, static, out)


@njit(inline="always")
def _density(z, copy):  # type: ignore[no-untyped-def]
    _, centre, root, layout, places, held, shape, static, _, L, dL = copy
    n = len(centre)
    x = affine(centre, root, z[:n])
    whole, theta = _whole(places, x), np.empty(len(layout.anchor))
    value = fill_factors(layout, whole, theta, L)
    R = L[-1] @ L[-1].T if len(held) == 0 else held
    more, by_w, by_x, by_theta, by_R = evaluate(theta, R, x, z[n:], shape, static)
    if not np.isfinite(more):
        return np.nan, np.zeros(len(z))
    dL[:] = 0.0
    if len(held) == 0:
        dL[-1] = (by_R + by_R.T) @ L[-1]
    value += more + add_prior(layout, L, dL)
    by_theta += by_parameters(layout, theta, dL)
    by_whole = pull_rows(layout.anchor, layout.unit, layout.folded, whole, theta, by_theta)
    for i in range(len(places[0])):
        by_x[i] += by_whole[places[0][i]]
    gradient = np.empty(len(z))
    for i in range(n):
        gradient[i] = 0.0
        for j in range(n):
            gradient[i] += root[j, i] * by_x[j]
    gradient[n:] = by_w
    return value, gradient
