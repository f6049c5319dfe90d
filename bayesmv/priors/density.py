"""Densities of priors on the parameters θ of a covariance structure.

A covariance Σ = diag(s) Ω diag(s) has independent priors on its standard deviations s, **in units of the traits'
phenotypic standard deviations after fixed effects**, and on its correlation matrix Ω. Changing the unit of a
trait therefore changes no posterior correlation or heritability.

What the prior of a structure must define
-----------------------------------------
A structure whose parameters are standard deviations, correlations and loadings, each with a prior of its own, needs
nothing here: all below follows from ``parameters()`` and the priors of the kinds (:mod:`bayesmv.priors.parameters`).
Where the prior is one of Σ as a whole (LKJ of `us`, rotations of `fa`), three functions are registered on the class:

``log_prior(structure, prior, theta)``
    log p(θ) up to a constant, with its gradient; a density by θ, so that it holds the Jacobian of what is declared on s
    and Ω. Finite wherever scales are not 0 and angles not ±π/2; θ of either sign have it. LogPosterior and the PyMC
    models ask.
``draw_prior(structure, prior, n, rng)`` (:mod:`bayesmv.priors.draws`)
    Draws of θ of that very density, in canonical form. The contraction of posteriors asks.
``prior_words(structure, prior)`` (:mod:`bayesmv.priors.words`)
    What reports say.

``row_weights(structure, prior)`` is for compiled code: the same density on the rows of a factor, None (the default,
unless every sd stands alone in its row) for structures that are sampled through Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance import (
    Antedependence,
    Constrained,
    CovarianceBlocks,
    CovarianceStructure,
    FactorAnalytic,
    ReducedRank,
    Separate,
    StandardDeviation,
    Unstructured,
)
from bayesmv.errors import SpecError, listing
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.laws import Flat, InverseWishart
from bayesmv.priors.parameters import parameter_prior
from bayesmv.priors.shares import log_shares, shared_terms

_TINY = 1e-100


class RowWeights(NamedTuple):
    """Weights of the log prior ``Σ_i [c_i log p(s_i) - b_i log s_i] + Σ_p a_p log|θ_p|``, s_i the norm of row i of L.

    `c` and `b` are by effect (m,), `a` by parameter (n_parameters,).
    """

    c: Array
    b: Array
    a: Array


@singledispatch
def row_weights(structure: CovarianceStructure, prior: CovariancePrior) -> RowWeights | None:
    """Weights of a structure's prior on its factor L(θ), for compiled code; None if it has no such form.

    Standard deviations that stand alone in their rows count once each. For an unstructured Σ, half-t priors of the sd
    and LKJ(eta) of the correlations are, on the Cholesky factor, ``Π p(s_i) s_i^-m L_ii^(m-i+1)
    (L_ii/s_i)^(2(eta-1))``, i = 1..m: the last factor is the LKJ density, the powers the Jacobian. It is the same for
    the factor of the effects in another order, and for Σ = TL(TL)' with |T| = 1, s_i the norms of the rows of TL.

    Source: Lewandowski, Kurowicka & Joe (2009), J. Multivariate Analysis 100:1989-2001.
    """
    if structure.placement is None:
        return None
    if prior.share is not None or prior.wishart is not None:
        return None
    rows, _, parameters, _ = structure.placement
    alone = len(rows) == structure.size and (np.sort(rows) == np.arange(structure.size)).all()
    if not alone or not all(type(kind) is StandardDeviation and kind.root == 1.0 for kind, _ in structure.groups):
        return None
    c = np.zeros(structure.size)
    _, first = np.unique(parameters, return_index=True)
    c[rows[first]] = 1.0
    return RowWeights(c, np.zeros_like(c), np.zeros(structure.n_parameters))


@row_weights.register
def _(structure: Unstructured, prior: CovariancePrior) -> RowWeights | None:
    joint = prior.share is not None or prior.wishart is not None
    return None if joint else _unstructured_weights(structure, prior)


def _unstructured_weights(structure: Unstructured, prior: CovariancePrior) -> RowWeights:
    m, tilt = structure.size, 2.0 * (prior.eta - 1.0)
    a = np.zeros(structure.n_parameters)
    a[structure.positive] = m - np.arange(m) + tilt
    return RowWeights(np.ones(m), np.full(m, m + tilt), a)


@row_weights.register
def _(structure: Separate, prior: CovariancePrior) -> RowWeights | None:
    c, b, a = np.zeros(structure.size), np.zeros(structure.size), []
    for part, at in zip(structure.parts, structure.places, strict=True):
        own = row_weights(part, prior)
        if own is None:
            return None
        c[list(at)], b[list(at)] = own.c, own.b
        a.append(own.a)
    return RowWeights(c, b, np.concatenate(a))


@singledispatch
def log_prior(structure: CovarianceStructure, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Unnormalised log density of θ under `prior`, and its gradient (n_parameters,).

    Raises
    ------
    NotImplementedError
        If a parameter has no prior by its kind, and none is registered on the class of the structure.
    """
    value, gradient = 0.0, np.zeros(structure.n_parameters)
    for kind, at in structure.groups:
        own = parameter_prior(kind, prior)
        if own is None:
            raise NotImplementedError(f"no prior is registered for {type(structure).__name__}")
        value += float(np.sum(own.log_density(theta[at])))
        gradient[at] = own.derivative(theta[at])
    return value, gradient


@log_prior.register
def _(structure: Unstructured, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    if prior.wishart is not None:
        return _wishart(structure, prior.wishart, theta)
    c, b, a = _unstructured_weights(structure, prior)
    L, diagonal = structure.factor(theta), structure.positive
    s = np.sqrt(np.sum(L**2, axis=1))
    value = c @ prior.sd.log_density(s) + a[diagonal] @ np.log(np.abs(theta[diagonal])) - b @ np.log(s)
    by_L = ((c * prior.sd.derivative(s) - b / s) / s)[:, None] * L
    rows, cols, parameters, weights = structure.entries
    by_theta = np.bincount(parameters, weights * by_L[rows, cols], minlength=structure.n_parameters)
    by_theta[diagonal] += a[diagonal] / theta[diagonal]
    return float(value), by_theta


def _wishart(structure: Unstructured, prior: InverseWishart, theta: Array) -> tuple[float, Array]:
    """Inverse Wishart of Σ, with the Jacobian ``2^m Π L_ii^(m-i+1)`` of its factor."""
    value, by_sigma = prior.log_density(structure.matrix(theta))
    power = structure.size - np.arange(structure.size)
    diagonal = theta[structure.positive]
    gradient = np.einsum("kab,ab->k", structure.jacobian(theta), by_sigma)
    gradient[structure.positive] += power / diagonal
    return value + float(power @ np.log(np.abs(diagonal))), gradient


def joint_log_prior(
    blocks: CovarianceBlocks,
    names: Sequence[str],
    traits_of: Mapping[str, npt.NDArray[np.intp]],
    priors: Mapping[str, CovariancePrior],
    theta: Array,
) -> tuple[float, Array]:
    """Unnormalised log density of the parameters of all matrices, and its gradient (d,).

    Parameters
    ----------
    blocks, names
        Structures of the matrices, and their names.
    traits_of
        Trait of every effect, by name, for matrices that share a variance.
    priors
        Priors by name.
    theta
        All parameters (d,).

    Raises
    ------
    SpecError
        If matrices that share a variance are not of one effect for each trait.
    """
    shared = shared_terms(priors)
    value, gradient = 0.0, np.zeros(blocks.n_parameters)
    for name, structure, at in zip(names, blocks.structures, blocks.slices, strict=True):
        own = replace(priors[name], sd=Flat()) if name in shared else priors[name]
        more, slope = log_prior(structure, own, theta[at])
        value += more
        gradient[at] += slope
    if not shared:
        return value, gradient
    matrices = dict(zip(names, blocks.matrices(theta), strict=True))
    _require_one_each(shared, traits_of)
    sds = [np.sqrt(np.diag(matrices[name])) for name in shared]
    ordered = [sd[np.argsort(traits_of[name])] for sd, name in zip(sds, shared, strict=True)]
    more, slopes = log_shares(ordered, [priors[name].share or 0.0 for name in shared], priors[shared[0]].sd)
    for name, sd, slope in zip(shared, sds, slopes, strict=True):
        k = list(names).index(name)
        at, structure = blocks.slices[k], blocks.structures[k]
        back = np.empty_like(slope)
        back[np.argsort(traits_of[name])] = slope
        gradient[at] += np.einsum("kaa,a->k", structure.jacobian(theta[at]), back / (2.0 * sd))
    return value + more, gradient


def _require_one_each(shared: Sequence[str], traits_of: Mapping[str, npt.NDArray[np.intp]]) -> None:
    sets = {tuple(np.sort(traits_of[name]).tolist()) for name in shared}
    once = all(len(set(traits)) == len(traits) for traits in sets)
    if len(sets) > 1 or not once:
        raise SpecError(
            f"{listing(shared)} share variances trait by trait: each must have one effect for each of the same traits"
        )


@log_prior.register
def _(structure: ReducedRank, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Independent N(0, scale²) of all loadings before the rotation that takes them above the diagonal to 0.

    The rotation gives the head of column j of k, j = 1..k, the density factor ``|λ_jj|^(k-j)``, so that the prior of
    ΛΛ' does not depend on the order of the effects (Leung & Drton 2016, Statist. Sinica 26:1-27).
    """
    rows, cols, *_ = structure.entries
    tilt = np.where(rows == cols, structure.factors - 1.0 - cols, 0.0)[: structure.n_loadings]
    loadings = theta[: structure.n_loadings]
    heads = np.where(tilt > 0.0, loadings, 1.0)
    value = -0.5 * np.sum((loadings / prior.loadings) ** 2) + tilt @ np.log(np.abs(heads))
    return float(value), -loadings / prior.loadings**2 + tilt / heads


@log_prior.register
def _(structure: FactorAnalytic, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    loadings, specific = theta[: structure.n_loadings], theta[structure.n_loadings :]
    value, by_loadings = log_prior.dispatch(ReducedRank)(structure, prior, loadings)
    value += float(np.sum(prior.sd.log_density(np.abs(specific))))
    return value, np.append(by_loadings, np.sign(specific) * prior.sd.derivative(np.abs(specific)))


@log_prior.register
def _(structure: Antedependence, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Half-t of the sds s, and ``|Ω|^(eta-1)`` over the correlations that are free; order m - 1 is that of `us`.

    With P_i the covariance of the effects before i, the map from (β_i, d_i) to (s_i, free correlations of i) has the
    Jacobian ``|P_i| d_i / (s_i Π_j s_i s_j)``, and ``|Ω| = Π (d_i / s_i)²``.
    """
    sigma, d = structure.matrix(theta), structure.innovations(theta)
    s, m = np.sqrt(np.diag(sigma)), structure.size
    followers = np.array([sum(i in range(m)[structure.before(j)] for j in range(m)) for i in range(m)])
    before = np.array([len(range(m)[structure.before(i)]) for i in range(m)])
    power = 2.0 * prior.eta - 1.0
    weights = power + before + followers
    value = np.sum(prior.sd.log_density(s)) + power * np.sum(np.log(np.abs(d))) - weights @ np.log(s)
    by_sigma = np.diag((prior.sd.derivative(s) - weights / s) / (2.0 * s))
    for i in range(1, m):
        at = structure.before(i)
        value += np.linalg.slogdet(sigma[at, at])[1]
        by_sigma[at, at] += np.linalg.inv(sigma[at, at])
    gradient = np.einsum("kab,ab->k", structure.jacobian(theta), by_sigma)
    gradient[structure.positive] += power / d
    return float(value), gradient


@log_prior.register
def _(structure: Separate, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    slices = CovarianceBlocks(structure.parts).slices
    found = [log_prior(part, prior, theta[at]) for part, at in zip(structure.parts, slices, strict=True)]
    return sum(value for value, _ in found), np.concatenate([gradient for _, gradient in found])


@log_prior.register
def _(structure: Constrained, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Prior of the structure where the constraints hold."""
    full = structure.full(theta)
    # A parameter held at 0 adds a constant, which must not be log 0.
    value, gradient = log_prior(structure.inner, prior, np.where(full == 0.0, _TINY, full))
    return value, gradient @ structure.expansion
