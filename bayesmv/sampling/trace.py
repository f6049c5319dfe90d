"""Posterior as a DataTree: assembled of draws, loaded, read."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.design.saved import Target, read_tree
from bayesmv.errors import SpecError, listing
from bayesmv.families.declared import Family
from bayesmv.numerics.symmetric import correlation
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.sampling.chains import Run
from bayesmv.sampling.effects import effect_dataset

#: Movements of the components that the data do not identify, in working units.
_UNIDENTIFIED = "unidentified"
#: Attribute of a trace that holds the mean informed fractions of effects, by term and effect.
INFORMED = "informed"
#: Attribute of the trace of a run that was ended before its time.
_INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Record of the run that made a trace.

    Parameters
    ----------
    seed, tune
        Seed and tuning draws per chain.
    min_ess
        Effective sample size that was asked for; None for none.
    interrupted
        Whether it was ended before its time.
    """

    seed: int
    tune: int
    min_ess: float | None = None
    interrupted: bool = False


def assemble(
    posterior: LogPosterior,
    run: Run,
    record: RunRecord,
    *,
    effects: dict[str, npt.NDArray[np.intp]] | None = None,
    unidentified: Array | None = None,
    more: Mapping[str, xr.Dataset] | None = None,
    theta: Array | None = None,
    drawn: xr.Dataset | None = None,
    engine: str | None = None,
) -> xr.DataTree:
    """Posterior in the units of the data, from draws of the sampler's coordinates.

    Parameters
    ----------
    posterior
        What was sampled.
    run
        Draws of its coordinates x, (chains, draws, d), and the sampler's statistics.
    record
        What is to be said of the run.
    effects
        Positions of the levels whose effects are drawn too, by name of the term; None for no effects.
    unidentified
        Movements of the components that the data do not identify, in working units, (c, k).
    more
        Further groups.
    theta
        Draws of the parameters, where the coordinates are not those of the posterior.
    drawn
        Effects that were drawn with the covariances.
    engine
        Name of what evaluated the density, where it is not the posterior's engine.

    Returns
    -------
    DataTree
        As :func:`bayesmv.sample` returns it.
    """
    design = posterior.design
    theta = posterior.coordinates.constrain(run.x) if theta is None else theta
    variables = covariance_dataset(design, theta)
    if effects is not None:
        variables = variables.merge(effect_dataset(design, theta, effects, np.random.default_rng([record.seed, 1])))
    if drawn is not None:
        variables = variables.merge(drawn)
    model = ModelRecord.of(design, posterior.priors)
    groups = {
        "posterior": variables,
        "sample_stats": run.stats,
        "observed_data": _observed(design),
        "constant_data": _constant(design, model, unidentified),
        **(more or {}),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(_attributes(model, engine or posterior.engine.name, record))
    return tree


def _attributes(model: ModelRecord, engine: str, run: RunRecord) -> dict[str, Any]:
    packages = ("bayesmv", "nutpie", "numpy", "xarray")
    asked: dict[str, Any] = {} if run.min_ess is None else {"min_ess": float(run.min_ess)}
    if run.interrupted:
        asked[_INTERRUPTED] = 1
    return {
        **model.to_attributes(),
        "engine": engine,
        "seed": run.seed,
        "tune": run.tune,
        "versions": json.dumps({name: version(name) for name in packages}),
        **asked,
    }


def covariance_dataset(design: Design, theta: Array) -> xr.Dataset:
    """Covariances, correlations and standard deviations of all terms in the units of the data.

    Parameters
    ----------
    design
        The design.
    theta
        Draws of the parameters, (chains, draws, d).
    """
    pairs = zip(design.names, design.blocks.matrices(theta), strict=True)
    whole = matrices_dataset(design, {name: design.to_data_units(name, sigma) for name, sigma in pairs})
    loadings = {k: v for name in design.names for k, v in _loadings(design, name, theta).items()}
    return whole.assign(loadings) if loadings else whole


def matrices_dataset(design: Design, matrices: Mapping[str, Array]) -> xr.Dataset:
    """Covariances, correlations and standard deviations from covariance matrices (chains, draws, m, m) by term."""
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, matrix in matrices.items():
        effects = design.effects_of(name)
        i, j = dims.effect_dims(name, effects, design.traits)
        variables[dims.covariance_name(name)] = ((dims.CHAIN, dims.DRAW, i, j), matrix)
        variables[dims.correlation_name(name)] = ((dims.CHAIN, dims.DRAW, i, j), correlation(matrix))
        sd = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
        variables[dims.sd_name(name)] = ((dims.CHAIN, dims.DRAW, i), sd)
        coords |= {i: list(effects), j: list(effects)}
    chains, draws = next(iter(matrices.values())).shape[:2]
    coords |= {dims.CHAIN: np.arange(chains), dims.DRAW: np.arange(draws)}
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


def _constant(design: Design, model: ModelRecord, unidentified: Array | None) -> xr.Dataset:
    """Phenotypic scale of the traits, records per level of every term and trait, and what is not identified."""
    variables: dict[str, Any] = {"scale": (dims.TRAIT, design.scale)}
    for term, values in model.records_per_level.items():
        variables[f"{term}_records"] = (dims.TRAIT, np.array(values))
    if unidentified is not None and unidentified.size:
        variables[_UNIDENTIFIED] = (("component", "direction"), unidentified)
    return xr.Dataset(variables, {dims.TRAIT: list(design.traits)})


def was_interrupted(trace: xr.DataTree) -> bool:
    """Whether a run was ended before its time, or is not yet at its end."""
    return bool(trace.attrs.get(_INTERRUPTED, 0))


def unidentified_of(trace: xr.DataTree) -> Array:
    """Movements of the components that the data do not identify, in working units, (c, k); (0, 0) where all are."""
    constant = trace["constant_data"].to_dataset() if "constant_data" in trace.children else xr.Dataset()
    return np.asarray(constant[_UNIDENTIFIED].to_numpy()) if _UNIDENTIFIED in constant else np.zeros((0, 0))


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
        If the posterior is of another design: naming what differs.
    """
    ModelRecord.read(trace).require_same(ModelRecord.of(design), "the posterior", "the design")
    scaled = []
    for name in design.names:
        draws = draws_of(trace, dims.covariance_name(name)).to_numpy()
        scaled.append(design.to_working_units(name, draws.reshape(-1, *draws.shape[2:])))
    return [[S[d] for S in scaled] for d in picked_draws(len(scaled[0]), most)]


def picked_draws(n: int, most: int) -> npt.NDArray[np.intp]:
    """Positions of at most so many draws of n, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, most).astype(np.intp))


def draws_of(trace: xr.DataTree, name: str) -> xr.DataArray:
    """Draws of one variable: of the posterior, or of the prior where there is no posterior."""
    return drawn_group(trace)[name]


def families_of(posterior: xr.Dataset, design: Design, at: tuple[int, ...]) -> tuple[Family, ...]:
    """Families of a design with the thresholds, and other numbers, of a draw."""
    pairs = zip(design.traits, design.families, strict=True)
    return tuple(
        f.numbered(np.atleast_1d(posterior[dims.family_name(trait, f.number)].to_numpy()[at])) if f.n_free else f
        for trait, f in pairs
    )


def drawn_group(trace: xr.DataTree) -> xr.Dataset:
    """Group that draws are read from: the posterior, or the prior where there is no posterior."""
    return trace["posterior" if "posterior" in trace.children else "prior"].to_dataset()


def tree_writer(path: str | Path | Target) -> Callable[[xr.DataTree], None]:
    """Function that writes trees to a file; where it cannot, it says so once, and the run goes on."""
    target, failed = path if isinstance(path, Target) else Target(path), False

    def write(tree: xr.DataTree) -> None:
        nonlocal failed
        try:
            target.write_tree(tree)
        except OSError as error:
            if not failed:
                why = error.strerror or error
                warnings.warn(f"cannot write the draws so far to '{target.path}': {why}", UserWarning, stacklevel=2)
            failed = True

    return write


def joined(before: xr.DataTree, after: xr.DataTree, dim: str) -> xr.DataTree:
    """Trace of the draws of two runs one after the other, or of their chains side by side; all else of the second."""
    groups = {str(name): group.to_dataset() for name, group in after.children.items()}
    for name in ("posterior", "sample_stats"):
        first, second = before[name].to_dataset(), groups[name]
        both = [str(variable) for variable in second.data_vars if variable in first]
        moved = second.assign_coords({dim: second[dim] + first.sizes[dim]})
        groups[name] = xr.concat([first[both], moved[both]], dim).assign_attrs(second.attrs)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(after.attrs)
    return tree


def assemble_prior(groups: Mapping[str, xr.Dataset], record: ModelRecord, seed: int) -> xr.DataTree:
    """Draws of a prior, to be read as those of a posterior are."""
    tree = xr.DataTree.from_dict(dict(groups))
    tree.attrs.update({**record.to_attributes(), "seed": seed})
    return tree


def axis_labels(array: xr.DataArray, axis: int) -> list[str]:
    """Labels of one axis of an array."""
    return [str(label) for label in array.coords[array.dims[axis]].to_numpy()]


def load_posterior(path: str) -> xr.DataTree:
    """Read a posterior written by ``trace.to_netcdf(path)`` or ``trace.to_zarr(path)``, into memory.

    Raises
    ------
    SpecError
        If the file is absent, cannot be read, or holds no posterior of this version of the package.
    """
    tree = read_tree(path)
    if "posterior" not in tree.children:
        raise SpecError(f"'{path}' holds no bayesmv posterior; groups: {listing(tree.children) or 'none'}")
    ModelRecord.read(tree)
    return tree
