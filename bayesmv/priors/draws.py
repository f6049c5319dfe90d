"""Draws from the priors of covariance structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import singledispatch

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, stdtrit

from bayesmv.arrays import Array
from bayesmv.covariance import (
    Antedependence,
    Constrained,
    CovarianceBlocks,
    CovarianceStructure,
    Diagonal,
    FactorAnalytic,
    ReducedRank,
    ScaledIdentity,
    Separate,
    Unstructured,
)
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT, ScalePrior
from bayesmv.priors.laws import Flat
from bayesmv.priors.parameters import parameter_prior
from bayesmv.priors.shares import draw_shares, shared_terms

_SIMULATED = 4000
_QUARTILES = np.array([0.25, 0.75])


@singledispatch
def draw_prior(structure: CovarianceStructure, prior: CovariancePrior, n: int, rng: np.random.Generator) -> Array:
    """Draws of θ from the prior of a structure: by default of each parameter from that of its kind.

    Parameters
    ----------
    structure, prior
        The structure and its prior.
    n
        Number of draws.
    rng
        Source of the random numbers.

    Returns
    -------
    ndarray
        θ (n, n_parameters), in phenotypic standard deviations.

    Raises
    ------
    NotImplementedError
        If no draws are known.
    """
    theta = np.zeros((n, structure.n_parameters))
    for kind, at in structure.groups:
        own = parameter_prior(kind, prior)
        if own is None:
            raise NotImplementedError(f"no draws from the prior of {type(structure).__name__}")
        theta[:, at] = own.draw(rng, (n, len(at)))
    return theta


@draw_prior.register
def _(structure: Constrained, prior: CovariancePrior, n: int, rng: np.random.Generator) -> Array:
    # Parameters with priors of their own are drawn without those that are held. Where parameters are equated, or the
    # prior is one of the whole matrix, the density is that of the structure, cut at a plane.
    if structure.equal or draw_prior.dispatch(type(structure.inner)) is not draw_prior.dispatch(object):
        raise NotImplementedError(f"no draws from the prior of {type(structure).__name__}")
    return draw_prior(structure.inner, prior, n, rng)[:, structure.leaders]


def _symmetric_beta(shape: float | Array, size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Beta on (-1, 1)."""
    return np.asarray(2.0 * rng.beta(shape, shape, size) - 1.0)


@draw_prior.register
def _(structure: Unstructured, prior: CovariancePrior, n: int, rng: np.random.Generator) -> Array:
    # Row i of the factor: a direction, and a length with 1 - r² ~ Beta (Lewandowski et al. 2009, onion method).
    m = structure.size
    if prior.wishart is not None:
        return np.stack([structure.from_matrix(S) for S in prior.wishart.draw(rng, n, m)])
    L = np.zeros((n, m, m))
    L[:, 0, 0] = 1.0
    for i in range(1, m):
        z = rng.standard_normal((n, i))
        length = np.sqrt(rng.beta(0.5 * i, prior.eta + 0.5 * (m - 1 - i), n))
        L[:, i, :i] = z * (length / np.linalg.norm(z, axis=1))[:, None]
        L[:, i, i] = np.sqrt(1.0 - length**2)
    L *= prior.sd.draw(rng, (n, m))[:, :, None]
    return np.asarray(L[:, *np.tril_indices(m)])


@draw_prior.register
def _(structure: ReducedRank, prior: CovariancePrior, n: int, rng: np.random.Generator) -> Array:
    rows, cols, *_ = structure.entries
    rows, cols = rows[: structure.n_loadings], cols[: structure.n_loadings]
    heads = (rows == cols) & (cols < structure.factors - 1)
    loadings = rng.standard_normal((n, structure.n_loadings))
    loadings[:, heads] = np.sqrt(rng.chisquare(structure.factors - cols[heads], (n, int(heads.sum()))))
    return prior.loadings * loadings


@draw_prior.register
def _(structure: FactorAnalytic, prior: CovariancePrior, n: int, rng: np.random.Generator) -> Array:
    loadings = draw_prior.dispatch(ReducedRank)(structure, prior, n, rng)
    return np.append(loadings, prior.sd.draw(rng, (n, structure.size)), axis=1)


@draw_prior.register
def _(structure: Antedependence, prior: CovariancePrior, n: int, rng: np.random.Generator) -> Array:
    m, k = structure.size, structure.order
    omega = np.broadcast_to(np.eye(m), (n, m, m)).copy()
    for lag in range(1, k + 1):
        for a in range(m - lag):
            # Partial correlation of effects a and b given those between: D-vine of Lewandowski et al. (2009).
            b = a + lag
            shape = prior.eta + 0.5 * (min(k - lag, m - 1 - b) + min(k - lag, a))
            rho = _from_partial(omega, a, b, _symmetric_beta(shape, (n,), rng))
            omega[:, a, b] = omega[:, b, a] = rho
    s = prior.sd.draw(rng, (n, m))
    return np.stack([structure.from_matrix(S) for S in omega * s[:, :, None] * s[:, None, :]])


def _from_partial(omega: Array, a: int, b: int, partial: Array) -> Array:
    """Correlation of a and b, from their partial correlation given the effects between."""
    between = slice(a + 1, b)
    P, left, right = omega[:, between, between], omega[:, between, a], omega[:, between, b]
    by_left, by_right = (np.linalg.solve(P, x[..., None])[..., 0] for x in (left, right))
    rest = (1.0 - np.sum(left * by_left, axis=1)) * (1.0 - np.sum(right * by_right, axis=1))
    return np.asarray(np.sum(left * by_right, axis=1) + partial * np.sqrt(np.maximum(rest, 0.0)))


@draw_prior.register
def _(structure: Separate, prior: CovariancePrior, n: int, rng: np.random.Generator) -> Array:
    return np.concatenate([draw_prior(part, prior, n, rng) for part in structure.parts], axis=1)


def draw_priors(
    blocks: CovarianceBlocks,
    names: Sequence[str],
    traits_of: Mapping[str, npt.NDArray[np.intp]],
    priors: Mapping[str, CovariancePrior],
    n: int,
    rng: np.random.Generator,
) -> Array:
    """Draws of the parameters of all matrices from their joint prior, (n, d).

    Parameters as in :func:`bayesmv.priors.density.joint_log_prior`.

    Raises
    ------
    NotImplementedError
        If no draws are known of a structure.
    """
    shared = shared_terms(priors)
    theta = np.zeros((n, blocks.n_parameters))
    if shared:
        weights = [priors[name].share or 0.0 for name in shared]
        size = n, len(traits_of[shared[0]])
        sds = dict(zip(shared, draw_shares(weights, priors[shared[0]].sd, rng, size), strict=True))
    for name, structure, at in zip(names, blocks.structures, blocks.slices, strict=True):
        if name not in shared:
            theta[:, at] = draw_prior(structure, priors[name], n, rng)
            continue
        unit = structure.matrix(draw_prior(structure, replace(priors[name], sd=Flat()), n, rng))
        own = sds[name][:, np.argsort(np.argsort(traits_of[name]))]
        theta[:, at] = np.stack([structure.from_matrix(S) for S in unit * own[:, :, None] * own[:, None, :]])
    return theta


@singledispatch
def prior_spread(structure: CovarianceStructure, prior: CovariancePrior, i: int, j: int) -> float:
    """Interquartile range of the prior of standard deviation i (i = j) or correlation (i, j); NaN if it is not known.

    By simulation with a fixed seed, unless it is known in closed form.
    """
    try:
        theta = draw_prior(structure, prior, _SIMULATED, np.random.default_rng(0))
    except NotImplementedError:
        return float("nan")
    sigma = structure.matrix(theta)
    values = np.sqrt(sigma[:, i, i])
    if i != j:
        values = sigma[:, i, j] / (values * np.sqrt(sigma[:, j, j]))
    return float(np.ptp(np.quantile(values, _QUARTILES)))


@prior_spread.register(Unstructured)
@prior_spread.register(Diagonal)
@prior_spread.register(ScaledIdentity)
def _(structure: CovarianceStructure, prior: CovariancePrior, i: int, j: int) -> float:
    if prior.wishart is not None:
        return prior_spread.dispatch(CovarianceStructure)(structure, prior, i, j)
    if i == j:
        return float("nan") if prior.share is not None else deviation_spread(prior.sd)
    # One correlation of an LKJ(eta) matrix of size m is Beta(a, a) on (-1, 1), a = eta - 1 + m/2.
    a = prior.eta - 1.0 + 0.5 * structure.size
    return float(np.ptp(2.0 * betaincinv(a, a, _QUARTILES) - 1.0))


@singledispatch
def deviation_spread(prior: ScalePrior) -> float:
    """Interquartile range of the prior of a standard deviation, by simulation with a fixed seed by default."""
    return float(np.ptp(np.quantile(prior.draw(np.random.default_rng(0), (_SIMULATED,)), _QUARTILES)))


@deviation_spread.register
def _(prior: HalfStudentT) -> float:
    return float(np.ptp(prior.scale * stdtrit(prior.nu, (1 + _QUARTILES) / 2)))
