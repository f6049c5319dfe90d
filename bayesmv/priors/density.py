"""Prior declarations and their densities on the parameters θ of a covariance structure.

A covariance Σ = diag(s) Ω diag(s) has independent priors on its standard deviations s, **in units of the traits'
phenotypic standard deviations after fixed effects**, and on its correlation matrix Ω. Changing the unit of a
trait therefore changes no posterior correlation or heritability.
"""

from __future__ import annotations

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
    Diagonal,
    FactorAnalytic,
    FixedMatrix,
    ReducedRank,
    ScaledCorrelation,
    ScaledIdentity,
    ScaledMatrix,
    Separate,
    Unstructured,
)
from bayesmv.priors.declarations import CovariancePrior

_TINY = 1e-100


class RowWeights(NamedTuple):
    """Weights (m,) of the log prior ``Σ_i [c_i log p(s_i) + a_i log D_i - b_i log s_i]``, s_i the norm of row i of L.

    D_i is the last nonzero of row i, the diagonal of the triangle; `column` says where it stands, (m,).
    """

    c: Array
    a: Array
    b: Array
    column: npt.NDArray[np.intp]


@singledispatch
def row_weights(structure: CovarianceStructure, prior: CovariancePrior) -> RowWeights:
    """Weights of a structure's prior on its factor L(θ).

    For an unstructured Σ, half-t priors of the sd and LKJ(eta) of the correlations are, on the Cholesky factor,
    ``Π p(s_i) s_i^-m L_ii^(m-i+1) (L_ii/s_i)^(2(eta-1))``, i = 1..m: the last factor is the LKJ density, the powers
    the Jacobian. It is the same for the factor of the effects in another order.

    Source: Lewandowski, Kurowicka & Joe (2009), J. Multivariate Analysis 100:1989-2001.
    """
    raise NotImplementedError(f"no prior is registered for {type(structure).__name__}")


@row_weights.register
def _(structure: Unstructured, prior: CovariancePrior) -> RowWeights:
    m, tilt = structure.size, 2.0 * (prior.eta - 1.0)
    column = np.argsort(structure.effect_of)
    return RowWeights(np.ones(m), np.asarray(m - column + tilt), np.full(m, m + tilt), column)


@row_weights.register
def _(structure: Diagonal, prior: CovariancePrior) -> RowWeights:
    m = structure.size
    return RowWeights(np.ones(m), np.zeros(m), np.zeros(m), np.arange(m))


@row_weights.register
def _(structure: ScaledIdentity, prior: CovariancePrior) -> RowWeights:
    # One standard deviation, which stands in every row: it counts once.
    m = structure.size
    return RowWeights(np.eye(m)[0], np.zeros(m), np.zeros(m), np.arange(m))


@row_weights.register
def _(structure: Separate, prior: CovariancePrior) -> RowWeights:
    m = structure.size
    out = RowWeights(np.zeros(m), np.zeros(m), np.zeros(m), np.arange(m))
    for part, at in zip(structure.parts, structure.places, strict=True):
        own, places = row_weights(part, prior), np.array(at)
        for whole, values in zip(out[:3], own[:3], strict=True):
            whole[places] = values
        out.column[places] = places[own.column]
    return out


@singledispatch
def log_prior(structure: CovarianceStructure, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Unnormalised log density of θ under `prior`, and its gradient (n_parameters,).

    A builder for another structure is registered on its class.
    """
    raise NotImplementedError(f"no prior is registered for {type(structure).__name__}")


@log_prior.register(Unstructured)
@log_prior.register(Diagonal)
@log_prior.register(ScaledIdentity)
def _(structure: Unstructured | Diagonal | ScaledIdentity, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    c, a, b, column = row_weights(structure, prior)
    L = structure.factor(theta)
    index = np.arange(len(L))
    s, diagonal = np.sqrt(np.sum(L**2, axis=1)), L[index, column]
    value = c @ prior.sd.log_density(s) + a @ np.log(np.abs(diagonal)) - b @ np.log(s)
    by_L = ((c * prior.sd.derivative(s) - b / s) / s)[:, None] * L
    by_L[index, column] += a / diagonal
    rows, cols, parameters = structure.entries
    return float(value), np.bincount(parameters, by_L[rows, cols], minlength=structure.n_parameters)


@log_prior.register
def _(structure: ScaledCorrelation, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Half-t of the sds; ``|cos φ|^(2 eta - 1)``, which is Beta(eta, eta) of (1 + sin φ)/2."""
    own, angles = theta[: structure.n_sds], theta[structure.n_sds :]
    if structure.own_variances:  # s = θ²
        sds = float(np.sum(prior.sd.log_density(own**2) + np.log(np.abs(own))))
        by_sds = 2.0 * own * prior.sd.derivative(own**2) + 1.0 / own
    else:
        sds, by_sds = float(np.sum(prior.sd.log_density(own))), prior.sd.derivative(own)
    power = 2.0 * prior.eta - 1.0
    value = sds + power * float(np.sum(np.log(np.abs(np.cos(angles)))))
    return value, np.append(by_sds, -power * np.tan(angles))


@log_prior.register
def _(structure: ReducedRank, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Independent N(0, scale²) of all loadings before the rotation that takes them above the diagonal to 0.

    The rotation gives the head of column j of k, j = 1..k, the density factor ``|λ_jj|^(k-j)``, so that the prior of
    ΛΛ' does not depend on the order of the effects (Leung & Drton 2016, Statist. Sinica 26:1-27).
    """
    rows, cols, _ = structure.entries
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
    return value, np.append(by_loadings, prior.sd.derivative(specific))


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
def _(structure: FixedMatrix, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    return 0.0, np.zeros(0)


@log_prior.register
def _(structure: ScaledMatrix, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    return float(np.sum(prior.sd.log_density(theta))), prior.sd.derivative(theta)


@log_prior.register
def _(structure: Separate, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    slices = CovarianceBlocks(structure.parts).slices
    found = [log_prior(part, prior, theta[at]) for part, at in zip(structure.parts, slices, strict=True)]
    return sum(value for value, _ in found), np.concatenate([gradient for _, gradient in found])


@log_prior.register
def _(structure: Constrained, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Return the prior of the structure where the constraints hold."""
    full = structure.full(theta)
    # A parameter held at 0 adds a constant, which must not be log 0.
    value, gradient = log_prior(structure.inner, prior, np.where(full == 0.0, _TINY, full))
    return value, gradient @ structure.expansion
