"""NUTS on the covariance parameters, effects drawn back afterwards, all in one DataTree in the units of the data."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import ConvergenceWarning, SpecError, listing
from bayesmv.likelihood import Engine, RestrictedLikelihood
from bayesmv.posterior.log_posterior import LogPosterior, log_posterior
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.reml.fit import fit_reml
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.batches import LIMIT, Metric, Run, batch, extend, resume
from bayesmv.sampling.convergence import Convergence, convergence, judge
from bayesmv.sampling.effects import Wanted, wanted_effects
from bayesmv.sampling.trace import _attributes, _data_tree, covariance_dataset

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
    transform = _root_of_curvature(posterior.expand(mode.theta).hessian)
    frame = Metric(mode.theta, transform)

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


def _root_of_curvature(hessian: Array) -> Array:
    """C with CC' = inverse of the negative Hessian; directions without curvature get unit variance."""
    values, vectors = np.linalg.eigh(hessian)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1.0)))
