"""NUTS on the covariance parameters, effects drawn back afterwards, all in one DataTree in the units of the data."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmv import dims
from bayesmv.covariance import Array, correlation
from bayesmv.design.design import Design
from bayesmv.errors import ConvergenceWarning, SpecError, listing
from bayesmv.likelihood import Engine, RestrictedLikelihood
from bayesmv.posterior.log_posterior import LogPosterior, log_posterior
from bayesmv.priors.density import CovariancePrior
from bayesmv.reml.fit import RemlFit, fit_reml
from bayesmv.sampling.batches import LIMIT, Frame, Run, batch, extend, resume
from bayesmv.sampling.convergence import Convergence, convergence, judge
from bayesmv.sampling.effects import Wanted, effect_dataset, wanted_effects

#: Draws per chain to begin with, and the effective sample size to reach, where the user names neither.
_DRAWS, _MIN_ESS = 1000, 1000.0
#: Scales (in phenotypic sd) below which a REML estimate is not used as a start: the log scale has no zero.
_SMALLEST_START = 0.05


def sample(
    design: Design,
    *,
    draws: int | None = None,
    tune: int = 200,
    chains: int = 4,
    cores: int = 2,
    seed: int | None = None,
    priors: Mapping[str, CovariancePrior] | None = None,
    engine: Engine | RestrictedLikelihood = "auto",
    reml: RemlFit | None = None,
    effects: Wanted = False,
    target_accept: float | None = None,
    min_ess: float | None = None,
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
    draws
        Draws kept per chain: so many, unless `min_ess` asks for more. By default 1000, and more until `min_ess`, by
        default 1000, is reached.
    tune, chains, cores
        Tuning draws per chain, number of chains, and how many run at once.
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
    min_ess
        Go on until the bulk and tail effective sample sizes of every covariance and correlation reach this and R-hat is
        at most 1.01: chains continue where they ended, up to 20 × `draws` draws each. Draws whose tuning did not
        suffice (acceptance 0.1 under its target, or steps of different chains a factor of 2 apart) are dropped and
        count as tuning. With `draws` and without `min_ess`, the run ends after `draws`.
    progress
        Show a progress bar; by default on a terminal only.

    Returns
    -------
    DataTree
        ``posterior`` with ``<term>_cov``, ``<term>_corr``, ``<term>_sd`` in the units of the data (and ``fixed``,
        ``<term>_effect``; ``<term>_loading`` and ``<term>_specific`` of factor structures, before rotation),
        ``sample_stats``, ``observed_data``, ``constant_data``; the attributes hold the model, priors, seed and
        versions.

    Raises
    ------
    SpecError
        If a number is out of range or a term does not exist.

    Warns
    -----
    ConvergenceWarning
        If the run ended at its limit, short of `min_ess`: for which parameter, how far, and what to do.

    References
    ----------
    Hoffman & Gelman (2014), J. Mach. Learn. Res. 15:1593-1623.
    """
    if draws is None:
        draws, min_ess = _DRAWS, _MIN_ESS if min_ess is None else min_ess
    _require_positive(draws=draws, tune=tune, chains=chains, cores=cores, min_ess=1 if min_ess is None else min_ess)
    wanted = wanted_effects(design, effects)
    seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
    posterior = log_posterior(design, priors, engine)
    reml = fit_reml(design, engine=posterior.engine) if reml is None else reml
    posterior = replace(posterior, design=pivoted(design, reml.sigmas)).planar()
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
        run = _nuts(posterior, reml, settings, min_ess)
    out = _data_tree(posterior, run, wanted, seed)
    out.attrs.update(_attributes(design, posterior, seed, tune))
    return out if min_ess is None else _accounted(out, min_ess, LIMIT * draws, reml)


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


def _require_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value >= 1:
            raise SpecError(f"{name} must be at least 1, not {value}")


def _accounted(trace: xr.DataTree, min_ess: float, limit: int, reml: RemlFit) -> xr.DataTree:
    """Record in a trace what was asked for, and warn if it ended short of it."""
    trace.attrs["min_ess"] = float(min_ess)
    verdict = convergence(trace)
    if not verdict.mixed:
        reason = f"the run stopped at its limit of {limit} draws per chain: {'; '.join(verdict.shortages)}"
        warnings.warn(f"{reason}; {_remedy(verdict, reml)}", ConvergenceWarning, stacklevel=3)
    return trace


def _remedy(verdict: Convergence, reml: RemlFit) -> str:
    """What helps a run that more draws did not."""
    if verdict.divergences:
        return "raise `target_accept`: some transitions diverged"
    if reml.at_boundary:
        return f"REML of {listing(reml.at_boundary)} is singular: a simpler structure or a tighter prior would help"
    return "the limit is a multiple of `draws`: give more"


def _nuts(posterior: LogPosterior, reml: RemlFit, settings: Mapping[str, Any], min_ess: float | None) -> Run:
    """Draws of x and the sampler's statistics; `settings` are those of ``nutpie.sample``."""
    at = posterior.blocks.from_matrices(reml.sigmas)
    mode = posterior.mode(posterior.coordinates.unconstrain(at, _SMALLEST_START))
    transform = _metric_root(posterior.expand(mode.theta).hessian)
    frame = Frame(mode.theta, transform)

    def start(seed: int) -> Array:
        return np.random.default_rng(seed).normal(0.0, 0.5, len(mode.theta))

    first = batch(posterior, frame, start, settings)
    if min_ess is None:
        return first

    def judged(run: Run) -> Convergence:
        theta = posterior.coordinates.constrain(run.x)
        return judge(covariance_dataset(posterior.design, theta), run.stats, min_ess)

    more, limit = partial(resume, posterior, frame, settings), LIMIT * settings["draws"]
    return extend(first, more, judged, target_accept=settings["target_accept"], limit=limit)


def pivoted(design: Design, sigmas: Sequence[Array]) -> Design:
    """Return the design with the rows of unstructured factors in the order of their pivots at the given matrices.

    The correlations of an effect without variance are free. In the last row of the factor, that is an ordinary point of
    the planar coordinates; in an earlier row it would be a line to which the rows below it widen.
    """
    structures = [s.pivoted(S) for s, S in zip(design.blocks.structures, sigmas, strict=True)]
    terms = tuple(replace(term, structure=s) for term, s in zip(design.terms, structures[:-1], strict=True))
    return replace(design, terms=terms, residual=replace(design.residual, structure=structures[-1]))


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
        variables |= _loadings(design, name, theta)
    coords |= {dims.CHAIN: np.arange(theta.shape[0]), dims.DRAW: np.arange(theta.shape[1])}
    return xr.Dataset(variables, coords)


def _loadings(design: Design, name: str, theta: Array) -> dict[str, Any]:
    """Loadings and specific variances of a factor structure, before rotation, in the units of the data."""
    k = design.names.index(name)
    found = design.blocks.structures[k].loadings(theta[..., design.blocks.slices[k]])
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
