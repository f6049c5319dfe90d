"""Covariance matrices as PyMC variables.

Any structure with any prior is one variable with the density of :mod:`bayesmv.priors.density`. Those that PyMC has
distributions of (`us`, `diag`, `idv` with half-t or half-normal standard deviations) are built of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayesmv import dims
from bayesmv.covariance import CovarianceStructure, Diagonal, ScaledIdentity, Unstructured
from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood.protocol import FLOOR
from bayesmv.posterior.coordinates import Coordinates
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT, ScalePrior
from bayesmv.priors.draws import draw_prior
from bayesmv.priors.laws import Exponential, Flat, HalfNormal, LogNormal
from bayesmv.priors.shares import shared_terms
from bayesmv.pymc_model.structure_ops import StructureMatrix, StructurePrior
from bayesmv.pymc_model.unconstrained import UnconstrainedRows

#: Standard deviation of every term at the initial point, in phenotypic sd.
_START = 0.5


class Covariance(NamedTuple):
    """A covariance matrix Σ (m, m) of the model, and a factor L (m, m), Σ = LL', both in phenotypic-sd units."""

    sigma: Any
    factor: Any


@singledispatch
def free_parameters(structure: CovarianceStructure, name: str, prior: CovariancePrior) -> Any:
    """Free variable θ (n_parameters,) of a structure, called `name`, added to the model with its prior.

    Its transform is that of :func:`unconstrained`, so that the value variable is x as ``LogPosterior`` has it.
    """
    raise NotImplementedError(f"no PyMC variable is registered for {type(structure).__name__}")


@free_parameters.register
def _(structure: Unstructured, name: str, prior: CovariancePrior) -> Any:
    if structure.size == 1 and prior.wishart is None:
        return _standard_deviations(structure, name, prior)  # an LKJ distribution needs two effects
    family = None if prior.wishart is not None else pymc_family(prior.sd)
    if family is None:
        return _any_parameters(structure, name, prior)
    distribution, constants = family
    # The starting value is given because PyMC would compile the random generator of the LKJ to find one.
    return pm.LKJCholeskyCov(
        name,
        eta=prior.eta,
        n=structure.size,
        sd_dist=distribution.dist(**constants, shape=structure.size),
        compute_corr=False,
        initval=np.where(structure.positive, _START, 0.0),
        default_transform=unconstrained(structure),
    )


@free_parameters.register(CovarianceStructure)
def _any_parameters(structure: CovarianceStructure, name: str, prior: CovariancePrior) -> Any:
    density = StructurePrior(structure, prior)

    def drawn(rng: np.random.Generator, size: Any = None) -> Any:
        draws = draw_prior(structure, prior, int(np.prod(size[:-1])) if size else 1, rng)
        return draws.reshape(*(size[:-1] if size else ()), structure.n_parameters)

    return pm.CustomDist(
        name,
        logp=lambda value: density(value),
        random=drawn,
        shape=structure.n_parameters,
        initval=np.where(structure.positive, _START**structure.powers, 0.0),
        default_transform=unconstrained(structure),
    )


@free_parameters.register(Diagonal)
@free_parameters.register(ScaledIdentity)
def _(structure: CovarianceStructure, name: str, prior: CovariancePrior) -> Any:
    return _standard_deviations(structure, name, prior)


def _standard_deviations(structure: CovarianceStructure, name: str, prior: CovariancePrior) -> Any:
    family = pymc_family(prior.sd)
    if family is None:
        return _any_parameters(structure, name, prior)
    distribution, constants = family
    return distribution(
        name,
        **constants,
        shape=structure.n_parameters,
        initval=np.full(structure.n_parameters, _START),
        default_transform=unconstrained(structure),
    )


@singledispatch
def pymc_family(prior: ScalePrior) -> tuple[Any, dict[str, float]] | None:
    """Distribution of PyMC that a prior of standard deviations is, and its constants; None if it is none."""
    return None


@pymc_family.register
def _(prior: HalfStudentT) -> tuple[Any, dict[str, float]]:
    return pm.HalfStudentT, {"nu": prior.nu, "sigma": prior.scale}


@pymc_family.register
def _(prior: HalfNormal) -> tuple[Any, dict[str, float]]:
    return pm.HalfNormal, {"sigma": prior.scale}


@pymc_family.register
def _(prior: Exponential) -> tuple[Any, dict[str, float]]:
    return pm.Exponential, {"lam": prior.rate}


@pymc_family.register
def _(prior: LogNormal) -> tuple[Any, dict[str, float]]:
    return pm.LogNormal, {"mu": float(np.log(prior.median)), "sigma": prior.spread}


def unconstrained(structure: CovarianceStructure) -> UnconstrainedRows:
    """Transform of a structure's θ."""
    return UnconstrainedRows(Coordinates(structure.anchor))


def parameter_name(term: str) -> str:
    """Name of the free variable of the parameters θ of a term's covariance matrix, in phenotypic sd."""
    return f"{term}_theta"


def covariance_coords(design: Design) -> dict[str, list[str]]:
    """Coordinates of the dimensions of all covariance matrices."""
    coords: dict[str, list[str]] = {}
    for name in design.names:
        effects = design.effects_of(name)
        coords |= {dim: list(effects) for dim in dims.effect_dims(name, effects, design.traits)}
    return coords


def add_covariances(design: Design, priors: Mapping[str, CovariancePrior]) -> dict[str, Covariance]:
    """Covariance matrices of all terms, added to the model in context.

    Returns
    -------
    dict
        By name of the term.
    """
    shared = shared_terms(priors)
    out = {
        name: _add_covariance(
            design, name, structure, replace(priors[name], sd=Flat()) if name in shared else priors[name]
        )
        for name, structure in zip(design.names, design.blocks.structures, strict=True)
    }
    if shared:
        _add_shares(design, {name: out[name].sigma for name in shared}, priors)
    return out


def _add_shares(design: Design, sigmas: Mapping[str, Any], priors: Mapping[str, CovariancePrior]) -> None:
    """Joint prior of the variances that share their sum, as a potential (:mod:`bayesmv.priors.shares`)."""
    total = next(priors[name].sd for name in sigmas)
    family = pymc_family(total)
    if family is None:
        raise SpecError(f"the prior {total.describe()} of a shared variance has no distribution in PyMC; use half-t")
    distribution, constants = family
    s = pt.stack([pt.sqrt(pt.diag(S))[np.argsort(design.traits_of[name])] for name, S in sigmas.items()])
    a = np.array([priors[name].share for name in sigmas])[:, None]
    V = pt.sum(s**2, axis=0)
    powers = pt.sum((2.0 * a - 1.0) * pt.log(s), axis=0) - (a.sum() - 0.5) * pt.log(V)
    pm.Potential("shares", pt.sum(powers + pm.logp(distribution.dist(**constants), pt.sqrt(V))))


def _add_covariance(design: Design, name: str, structure: CovarianceStructure, prior: CovariancePrior) -> Covariance:
    free = structure.n_parameters > 0
    theta = free_parameters(structure, parameter_name(name), prior) if free else pt.zeros(0)
    covariance = _covariance(structure, theta)
    _report(design, name, covariance.sigma)
    return covariance


def _covariance(structure: CovarianceStructure, theta: Any) -> Covariance:
    if structure.placement is None:
        sigma = StructureMatrix(structure)(theta)
        # A structure of low rank has no Cholesky factor of its own.
        return Covariance(sigma, pt.linalg.cholesky(sigma + FLOOR * np.eye(structure.size)))
    rows, cols, parameters, weights = structure.placement
    L = pt.zeros((structure.size, structure.size))[rows, cols].inc(weights * theta[parameters])
    return Covariance(L @ L.T, L)


def _report(design: Design, name: str, sigma: Any) -> None:
    """Register Σ, its correlations and standard deviations, in the units of the data."""
    scale = design.effect_scale(name)
    i, j = dims.effect_dims(name, design.effects_of(name), design.traits)
    sd = pt.sqrt(pt.diag(sigma))
    pm.Deterministic(dims.covariance_name(name), design.to_data_units(name, sigma), dims=(i, j))
    size = pt.maximum(sd, 1e-150)  # families without a residual have one of 0
    pm.Deterministic(dims.correlation_name(name), sigma / (size[:, None] * size[None, :]), dims=(i, j))
    pm.Deterministic(dims.sd_name(name), sd * scale, dims=(i,))
