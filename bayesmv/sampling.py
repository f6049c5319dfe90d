"""NUTS on the covariance parameters, effects drawn back afterwards, all in one DataTree in the units of the data."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmv import dims
from bayesmv.covariance import Array, correlation
from bayesmv.density import Density
from bayesmv.design import Design
from bayesmv.effects import Wanted, effect_dataset, wanted_effects
from bayesmv.errors import SpecError, listing
from bayesmv.likelihood import Engine, RestrictedLikelihood
from bayesmv.posterior import LogPosterior, log_posterior
from bayesmv.priors import CovariancePrior
from bayesmv.reml.fit import RemlFit, fit_reml

#: Scales (in phenotypic sd) below which a REML estimate is not used as a start: the log scale has no zero.
_SMALLEST_START = 0.05
#: Standard deviation (in phenotypic sd) below which the sampler moves on a linear scale.
_FOLD = 0.25


def sample(
    design: Design,
    *,
    draws: int = 1000,
    tune: int = 300,
    chains: int = 4,
    cores: int = 2,
    seed: int | None = None,
    priors: Mapping[str, CovariancePrior] | None = None,
    engine: Engine | RestrictedLikelihood = "auto",
    reml: RemlFit | None = None,
    effects: Wanted = False,
    target_accept: float | None = None,
    progress: bool | None = None,
) -> xr.DataTree:
    """Sample the posterior of the covariance matrices with NUTS.

    Fixed effects and breeding values are integrated out exactly (restricted likelihood), so the sampler sees only the
    covariance parameters. It starts at the posterior mode, climbed to from REML, with the metric of the curvature
    there.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.
    draws, tune, chains, cores
        Draws kept and tuning draws per chain, number of chains, and how many run at once.
    seed
        Seed; the same seed repeats the run (but for rounding, which a fresh compilation may change).
    priors
        Priors by name of the term, in place of those of the specification.
    engine
        Likelihood engine, or the word of one.
    reml
        A REML fit of the same design, to start from; fitted if not given.
    effects
        Also draw fixed effects and the effects of these random terms, exactly, given each draw of the covariances:
        names of terms, ``{term: levels}`` for chosen levels only, True for all. For many levels prefer
        ``breeding_values(trace, term, design=design)``, which accumulates means and standard deviations.
    target_accept
        Target acceptance probability of NUTS; by default 0.9, and 0.95 where REML lies on the boundary, because there
        the curvature of the posterior varies most.
    progress
        Show a progress bar; by default on a terminal only.

    Returns
    -------
    DataTree
        ``posterior`` with ``<term>_cov``, ``<term>_corr``, ``<term>_sd`` in the units of the data (and ``fixed``,
        ``<term>_effect``), ``sample_stats``, ``observed_data``, ``constant_data``; the attributes hold the model,
        priors, seed and versions.

    Raises
    ------
    SpecError
        If a number is out of range or a term does not exist.

    References
    ----------
    Hoffman & Gelman (2014), J. Mach. Learn. Res. 15:1593-1623.
    """
    _require_positive(draws=draws, tune=tune, chains=chains, cores=cores)
    wanted = wanted_effects(design, effects)
    seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
    posterior = replace(log_posterior(design, priors, engine), unit=_FOLD)
    reml = fit_reml(design, engine=posterior.engine) if reml is None else reml
    settings = {
        "draws": draws,
        "tune": tune,
        "chains": chains,
        "cores": cores,
        "seed": seed,
        "target_accept": target_accept or (0.95 if reml.at_boundary else 0.9),
        "progress_bar": sys.stderr.isatty() if progress is None else progress,
    }
    with threadpool_limits(1, user_api="blas"):
        x, stats = _nuts(posterior, reml, settings)
    theta = posterior.coordinates.constrain(x)
    draws_of_all = covariance_dataset(design, theta)
    if wanted is not None:
        rng = np.random.default_rng([seed, 1])
        draws_of_all = draws_of_all.merge(effect_dataset(design, theta, wanted, rng))
    groups = {"posterior": draws_of_all, "sample_stats": stats}
    out = xr.DataTree.from_dict(groups | {"observed_data": _observed(design), "constant_data": _constant(design)})
    out.attrs.update(_attributes(design, posterior, seed, tune))
    return out


def _require_positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise SpecError(f"{name} must be at least 1, not {value}")


def _nuts(posterior: LogPosterior, reml: RemlFit, settings: Mapping[str, Any]) -> tuple[Array, xr.Dataset]:
    """Draws of x (chains, draws, d) and the sampler's statistics; `settings` are those of ``nutpie.sample``."""
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    mode = posterior.mode(posterior.coordinates.unconstrain(reml.theta, _SMALLEST_START))
    transform = _metric_root(posterior.expand(mode.theta).hessian)
    d = len(mode.theta)

    def make_density() -> Density:
        return Density(posterior, mode.theta, transform)

    def make_expand(seed1: int, seed2: int, chain: int) -> Any:
        return lambda z: {"x": mode.theta + transform @ z}

    def make_start(seed: int) -> Array:
        return np.random.default_rng(seed).normal(0.0, 0.5, d)

    compiled = from_pyfunc(
        d, make_density, make_expand, [np.dtype("float64")], [(d,)], ["x"], make_initial_point_fn=make_start
    )
    result = nutpie.sample(compiled, save_warmup=False, **settings)
    return np.asarray(result["posterior"]["x"].values), result["sample_stats"].to_dataset()


def _metric_root(hessian: Array) -> Array:
    """C with CC' = inverse of the negative Hessian; directions without curvature get unit variance."""
    values, vectors = np.linalg.eigh(hessian)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1.0)))


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
        scale, effects = design.effect_scale(name), design.effects_of(name)
        i, j = dims.effect_dims(name, effects, design.traits)
        matrix = sigma * np.outer(scale, scale)
        variables[dims.covariance_name(name)] = ((dims.CHAIN, dims.DRAW, i, j), matrix)
        variables[dims.correlation_name(name)] = ((dims.CHAIN, dims.DRAW, i, j), correlation(matrix))
        sd = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
        variables[dims.sd_name(name)] = ((dims.CHAIN, dims.DRAW, i), sd)
        coords |= {i: list(effects), j: list(effects)}
    coords |= {dims.CHAIN: np.arange(theta.shape[0]), dims.DRAW: np.arange(theta.shape[1])}
    return xr.Dataset(variables, coords)


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


def records_per_level(design: Design, term: str) -> Array:
    """Harmonic mean number of records of each trait per level that has any, (t,)."""
    counts = abs(design.term(term).bearers[0]).T @ design.observed.astype(float)
    with np.errstate(divide="ignore"):
        return np.asarray((counts > 0).sum(axis=0) / np.where(counts > 0, 1.0 / counts, 0.0).sum(axis=0))


def _attributes(design: Design, posterior: LogPosterior, seed: int, tune: int) -> dict[str, Any]:
    genetic = design.spec.genetic
    packages = ("bayesmv", "nutpie", "numpy", "xarray")
    return {
        "model": design.spec.to_toml(),
        "priors": json.dumps({name: prior.to_mapping() for name, prior in posterior.priors.items()}),
        "structures": json.dumps({n: s.word for n, s in zip(design.names, design.blocks.structures, strict=True)}),
        "layouts": json.dumps({term.name: term.layout.to_mapping() for term in design.terms}),
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
