"""Posterior as a DataTree: assembled, saved, loaded, read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design, records_per_level
from bayesmv.errors import SpecError, listing
from bayesmv.numerics.symmetric import correlation
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.priors.words import prior_words
from bayesmv.sampling.batches import Run
from bayesmv.sampling.effects import effect_dataset


def _data_tree(
    posterior: LogPosterior, run: Run, wanted: Mapping[str, npt.NDArray[np.intp]] | None, seed: int
) -> xr.DataTree:
    """Draws and data in the units of the data."""
    design, theta = posterior.design, posterior.coordinates.constrain(run.x)
    variables = covariance_dataset(design, theta)
    if wanted is not None:
        variables = variables.merge(effect_dataset(design, theta, wanted, np.random.default_rng([seed, 1])))
    groups = {"posterior": variables, "sample_stats": run.stats}
    return xr.DataTree.from_dict(groups | {"observed_data": _observed(design), "constant_data": _constant(design)})


def covariance_dataset(design: Design, theta: Array) -> xr.Dataset:
    """Covariances, correlations and standard deviations of all terms in the units of the data.

    Parameters
    ----------
    design
        The design.
    theta
        Draws of the parameters, (chains, draws, d).
    """
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, sigma in zip(design.names, design.blocks.matrices(theta), strict=True):
        effects = design.effects_of(name)
        i, j = dims.effect_dims(name, effects, design.traits)
        matrix = design.to_data_units(name, sigma)
        variables[dims.covariance_name(name)] = ((dims.CHAIN, dims.DRAW, i, j), matrix)
        variables[dims.correlation_name(name)] = ((dims.CHAIN, dims.DRAW, i, j), correlation(matrix))
        sd = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
        variables[dims.sd_name(name)] = ((dims.CHAIN, dims.DRAW, i), sd)
        coords |= {i: list(effects), j: list(effects)}
        variables |= _loadings(design, name, theta)
    coords |= {dims.CHAIN: np.arange(theta.shape[0]), dims.DRAW: np.arange(theta.shape[1])}
    return xr.Dataset(variables, coords)


def _loadings(design: Design, name: str, theta: Array) -> dict[str, Any]:
    """Loadings and specific variances of a factor structure, before rotation, in the units of the data."""
    found = design.structure(name).loadings(theta[..., design.parameters_of(name)])
    if found is None:
        return {}
    scale, (i, _) = design.effect_scale(name), dims.effect_dims(name, design.effects_of(name), design.traits)
    axes = (dims.CHAIN, dims.DRAW, i)
    return {
        dims.loading_name(name): ((*axes, dims.factor_dim(name)), found[0] * scale[:, None]),
        dims.specific_name(name): (axes, found[1] * scale**2),
    }


def _observed(design: Design) -> xr.Dataset:
    units = [str(u) for u in design.units]
    return xr.Dataset(
        {"response": ((dims.UNIT, dims.TRAIT), design.response)}, {dims.UNIT: units, dims.TRAIT: list(design.traits)}
    )


def _constant(design: Design) -> xr.Dataset:
    """Phenotypic scale of the traits, and the harmonic mean number of records per level of every term and trait."""
    variables: dict[str, Any] = {"scale": (dims.TRAIT, design.scale)}
    for term in design.terms:
        variables[f"{term.name}_records"] = (dims.TRAIT, records_per_level(design, term.name))
    return xr.Dataset(variables, {dims.TRAIT: list(design.traits)})


def _model_text(design: Design) -> str:
    return design.spec.without_unwritten_priors().to_toml()


def _attributes(design: Design, posterior: LogPosterior, seed: int, tune: int) -> dict[str, Any]:
    genetic = design.spec.genetic
    packages = ("bayesmv", "nutpie", "numpy", "xarray")
    return {
        "model": _model_text(design),
        # A prior that a user wrote has words, but no numbers to read back.
        "priors": json.dumps({n: p.to_mapping() if p.is_written else None for n, p in posterior.priors.items()}),
        "prior_words": json.dumps({n: prior_words(design.structure(n), p) for n, p in posterior.priors.items()}),
        "structures": json.dumps({n: s.name for n, s in zip(design.names, design.blocks.structures, strict=True)}),
        "layouts": json.dumps({name: layout.to_mapping() for name, layout in design.layouts.items()}),
        "factors": json.dumps({term.name: [term.factor, term.traits] for term in design.spec.random}),
        "genetic": json.dumps(None if genetic is None else genetic.to_mapping()),
        "notes": json.dumps(list(design.notes)),
        "engine": posterior.engine.name,
        "seed": seed,
        "tune": tune,
        "versions": json.dumps({name: version(name) for name in packages}),
    }


def load_posterior(path: str) -> xr.DataTree:
    """Read a posterior written by ``trace.to_netcdf(path)`` or ``trace.to_zarr(path)``.

    Raises
    ------
    SpecError
        If the file holds no posterior of this package.
    """
    tree = xr.open_datatree(path)
    if "posterior" not in tree.children or "model" not in tree.attrs:
        raise SpecError(f"'{path}' holds no bayesmv posterior; groups: {listing(tree.children)}")
    return tree


def draws_of(trace: xr.DataTree, name: str) -> xr.DataArray:
    """Return the draws of one posterior variable."""
    return trace["posterior"].to_dataset()[name]


def scaled_draws(trace: xr.DataTree, design: Design, most: int) -> list[list[Array]]:
    """Covariance matrices of the scaled traits in the order of ``design.names``, for evenly spaced draws.

    Parameters
    ----------
    trace
        A posterior.
    design
        The design that was sampled.
    most
        Most draws to take.

    Raises
    ------
    SpecError
        If the posterior is of another design.
    """
    if trace.attrs["model"] != _model_text(design) or tuple(json.loads(trace.attrs["structures"])) != design.names:
        raise SpecError("the posterior is not of this design; give the design that was sampled")
    scaled = []
    for name in design.names:
        draws = draws_of(trace, dims.covariance_name(name)).to_numpy()
        scaled.append(design.to_working_units(name, draws.reshape(-1, *draws.shape[2:])))
    picked = np.unique(np.linspace(0, len(scaled[0]) - 1, most).astype(int))
    return [[S[d] for S in scaled] for d in picked]


def axis_labels(array: xr.DataArray, axis: int) -> list[str]:
    """Labels of one axis of an array."""
    return [str(label) for label in array.coords[array.dims[axis]].to_numpy()]


def term_names(trace: xr.DataTree) -> tuple[str, ...]:
    """Names of the covariance matrices of a posterior, residual last."""
    return tuple(json.loads(trace.attrs["structures"]))
