"""NUTS on the covariance parameters, effects drawn back afterwards, all in one DataTree in the units of the data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Unpack

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.errors import ConvergenceWarning, listing
from bayesmv.likelihood import Engine, RestrictedLikelihood
from bayesmv.posterior.log_posterior import LogPosterior, log_posterior
from bayesmv.posterior.suited import suited
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.reml.fit import fit_reml
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.batches import Metric, Run, batch, extend, resume
from bayesmv.sampling.convergence import Convergence, convergence, judge, steadied
from bayesmv.sampling.effects import Wanted, wanted_effects
from bayesmv.sampling.settings import SamplerSettings, SettingsWords
from bayesmv.sampling.trace import RunRecord, assemble, covariance_dataset

#: Scales, in units of their coordinates, below which a REML estimate is not used as a start: correlations there are
#: free, and logarithms have no zero.
_SMALLEST_START = 0.2


def sample(
    design: Design,
    *,
    settings: SamplerSettings | None = None,
    priors: Mapping[str, CovariancePrior] | None = None,
    engine: Engine | RestrictedLikelihood = "auto",
    reml: RemlFit | None = None,
    effects: Wanted = False,
    **words: Unpack[SettingsWords],
) -> xr.DataTree:
    """Sample the posterior of the covariance matrices with NUTS.

    Fixed effects and breeding values are integrated out exactly (restricted likelihood), so the sampler sees only the
    covariance parameters. It starts at the posterior mode, climbed to from REML, with the metric of the curvature
    there.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.
    settings
        Settings of the sampler, all in one.
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
    **words
        Single settings, in place of those of `settings`: ``draws``, ``tune``, ``chains``, ``cores``, ``seed``,
        ``target_accept``, ``min_ess``, ``progress``. See :class:`bayesmv.SamplerSettings`.

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
        If a number is out of range, a term does not exist, or the REML fit is of another model or other data.

    Warns
    -----
    ConvergenceWarning
        If the run ended at its limit, short of `min_ess`: for which parameter, how far, and what to do.

    References
    ----------
    Hoffman & Gelman (2014), J. Mach. Learn. Res. 15:1593-1623.
    """
    chosen = replace(settings or SamplerSettings(), **words)
    wanted = wanted_effects(design, effects)
    posterior = log_posterior(design, priors, engine)
    if reml is None:
        reml = fit_reml(design, engine=posterior.engine)
    else:
        ModelRecord.of(design).require_same(reml.record, "the design", "the REML fit")
    chosen = chosen.settled(at_boundary=bool(reml.at_boundary))
    posterior = suited(posterior, reml.sigmas)
    with threadpool_limits(1, user_api="blas"):
        run = draw(posterior, reml, chosen)
    record = RunRecord(seed=chosen.seed or 0, tune=chosen.tune, min_ess=chosen.min_ess)
    trace = assemble(posterior, run, record, effects=wanted, unidentified=reml.uncertainty.unidentified)
    if chosen.min_ess is not None:
        reason = shortage(trace, chosen.limit, reml)
        if reason:
            warnings.warn(reason, ConvergenceWarning, stacklevel=2)
    return trace


def shortage(trace: xr.DataTree, limit: int, reml: RemlFit) -> str:
    """What a run that ended at its limit fell short of, and what would help; empty if of nothing."""
    verdict = convergence(trace)
    if verdict.mixed:
        return ""
    reason = f"the run stopped at its limit of {limit} draws per chain: {'; '.join(verdict.shortages)}"
    return f"{reason}; {_remedy(verdict, reml)}"


def _remedy(verdict: Convergence, reml: RemlFit) -> str:
    """What helps a run that more draws did not."""
    if verdict.divergences:
        return f"some transitions diverged: {verdict.less_divergence}"
    if reml.at_boundary:
        return f"REML of {listing(reml.at_boundary)} is singular: a simpler structure or a tighter prior would help"
    return "the limit is a multiple of `draws`: give more"


def draw(posterior: LogPosterior, reml: RemlFit, settings: SamplerSettings) -> Run:
    """Draws of x by NUTS, from the posterior mode on.

    Parameters
    ----------
    posterior
        In planar coordinates.
    reml
        REML fit of its design, to start from.
    settings
        Settled settings.
    """
    at = posterior.blocks.from_matrices(reml.sigmas)
    mode = posterior.mode(posterior.coordinates.unconstrain(at, _SMALLEST_START * posterior.resolution))
    metric = Metric(mode.theta, _root_of_curvature(posterior.expand(mode.theta).hessian))

    def start(seed: int) -> Array:
        return np.random.default_rng(seed).normal(0.0, 0.5, len(mode.theta))

    first = batch(posterior, metric, start, settings)
    if settings.min_ess is None or settings.target_accept is None:
        return first
    min_ess = settings.min_ess

    def judged(run: Run) -> Convergence:
        theta = posterior.coordinates.constrain(run.x)
        return judge(covariance_dataset(posterior.design, theta), run.stats, min_ess)

    def again(run: Run, accept: float) -> Run:
        seed = int(np.random.SeedSequence([settings.seed or 0, 4]).generate_state(1)[0])
        careful = replace(settings, target_accept=accept, seed=seed)
        more = partial(resume, posterior, metric, careful)
        return extend(more(run, run.draws, 0), more, judged, target_accept=accept, limit=settings.limit)

    more = partial(resume, posterior, metric, settings)
    run = extend(first, more, judged, target_accept=settings.target_accept, limit=settings.limit)
    return steadied(run, again, judged, settings.target_accept)


def _root_of_curvature(hessian: Array) -> Array:
    """C with CC' = inverse of the negative Hessian; directions without curvature get unit variance."""
    values, vectors = np.linalg.eigh(hessian)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1.0)))
