"""NUTS on the covariance parameters, effects drawn back afterwards, all in one DataTree in the units of the data."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.design.saved import Target
from bayesmv.errors import ConvergenceWarning, SpecError, listing
from bayesmv.likelihood import Engine, RestrictedLikelihood
from bayesmv.posterior.dear import to_order, values_suit
from bayesmv.posterior.log_posterior import LogPosterior, log_posterior
from bayesmv.posterior.suited import suited
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.reml.fit import fit_reml
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.batches import Logbook, Metric, Stage, around_mode, batch, complete, extend, whole
from bayesmv.sampling.batches import resume as resume_run
from bayesmv.sampling.chains import Chains, CutShort, Run
from bayesmv.sampling.convergence import (
    WEIGHTS,
    Convergence,
    acceptance,
    convergence,
    judge,
    steadied,
)
from bayesmv.sampling.effects import Wanted, wanted_effects
from bayesmv.sampling.latent import sample_latent
from bayesmv.sampling.settings import SamplerSettings, SettingsWords
from bayesmv.sampling.state import STATE, State, as_trace, gone_on_with, read_asked_for
from bayesmv.sampling.trace import RunRecord, assemble, covariance_dataset, tree_writer
from bayesmv.sampling.values import REPLICATES, folded_coordinates, weighted_points

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
    resume: xr.DataTree | str | Path | None = None,
    checkpoint: str | Path | Target | None = None,
    **words: Unpack[SettingsWords],
) -> xr.DataTree:
    """Sample the posterior of the covariance matrices, with NUTS or by weighted points.

    Fixed effects and breeding values are integrated out exactly (restricted likelihood), so the sampler sees only the
    covariance parameters. It starts at the posterior mode, climbed to from REML, with the metric of the curvature
    there. Where an evaluation of the likelihood is dear, and parameters few, draws are from weighted points
    (:mod:`bayesmv.sampling.values`), which take a tenth of the evaluations or fewer; `method` chooses.

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
    resume
        A trace, or the file of one, whose run was ended before its time: it goes on, with the settings that it had.
        ``draws`` and ``min_ess`` extend it, a finished one too; ``cores`` and ``progress`` may change.
    checkpoint
        A netCDF file to which the run is written as it goes, after each batch and at least every minute, to be taken
        up by `resume`. Effects are not in it; they are drawn at the end, but where traits are not Gaussian, where they
        are drawn with the covariances.
    **words
        Single settings, in place of those of `settings`: ``draws``, ``tune``, ``chains``, ``cores``, ``seed``,
        ``target_accept``, ``min_ess``, ``progress``, ``method``. See :class:`bayesmv.SamplerSettings`.

    Returns
    -------
    DataTree
        ``posterior`` with ``<term>_cov``, ``<term>_corr``, ``<term>_sd`` in the units of the data (and ``fixed``,
        ``<term>_effect``; ``<term>_loading`` and ``<term>_specific`` of factor structures, before rotation),
        ``sample_stats``, ``observed_data``, ``constant_data``, ``sampler_state``; the attributes hold the model,
        priors, seed and versions, and ``interrupted`` (1) if the run was ended by Ctrl-C: it then holds the draws that
        were complete.

    Raises
    ------
    SpecError
        If a number is out of range, a term does not exist, weighted points are asked for where there are none, or the
        REML fit or the run to resume is of another model
        or other data, or was made with other settings.
    KeyboardInterrupt
        If the run was ended before its first draw was complete.

    Warns
    -----
    ConvergenceWarning
        If the run ended at its limit, short of `min_ess`: for which parameter, how far, and what to do. If it was
        interrupted, or could not be written to `checkpoint`.

    References
    ----------
    Hoffman & Gelman (2014), J. Mach. Learn. Res. 15:1593-1623.
    """
    chosen, wanted = replace(settings or SamplerSettings(), **words), wanted_effects(design, effects)
    if reml is not None:
        ModelRecord.of(design).require_same(reml.record, "the design", "the REML fit")
    so_far = None if resume is None else as_trace(resume)
    if not design.gaussian:
        if chosen.method == "values":
            design.require_gaussian("draws are of weighted points (method='values')")
        if so_far is not None:
            _require_same(ModelRecord.of(design, design.priors(priors)), so_far)
            had, held = read_asked_for(so_far)
            chosen = gone_on_with(had, {**({} if settings is None else settings.chosen), **words})
            wanted = _held(held or {}, wanted)
        return sample_latent(design, chosen, priors, wanted, checkpoint, so_far)
    posterior = log_posterior(design, priors, engine)
    state = None if so_far is None else _state(posterior, so_far, settings, words)
    reml = fit_reml(design, engine=posterior.engine) if reml is None else reml
    posterior = suited(posterior, reml.sigmas)
    if state is not None and so_far is not None:
        _require_coordinates(posterior, state, so_far)
        keeper = _Keeper(posterior, reml, state.settings, state.effects if wanted is None else wanted)
        return _by_nuts(posterior, keeper, state, checkpoint)
    cost = type(posterior.engine).offer(design).cost
    if _takes_values(posterior, reml, chosen, cost):
        trace = _by_values(posterior, reml, chosen, wanted)
        if trace is not None:
            if checkpoint is not None:
                tree_writer(checkpoint)(trace)
            return trace
    chosen = chosen.settled(at_boundary=bool(reml.at_boundary), dear=to_order(cost))
    return _by_nuts(posterior, _Keeper(posterior, reml, chosen, wanted), None, checkpoint)


def _by_nuts(
    posterior: LogPosterior, keeper: _Keeper, state: State | None, checkpoint: str | Path | Target | None
) -> xr.DataTree:
    """Trace of a run of NUTS, begun or gone on with."""
    settings, reml = keeper.settings, keeper.reml
    logbook = Logbook(None if checkpoint is None else keeper.writer(checkpoint))
    with threadpool_limits(1, user_api="blas"):
        stage, interrupted = _drawn(posterior, reml, settings, state, keeper, logbook)
    try:
        trace = keeper.trace(stage, interrupted=interrupted)
    except KeyboardInterrupt:  # while effects are drawn: the state says which, and `resume` draws them
        interrupted, trace = True, keeper.trace(stage, interrupted=True, effects=False)
    if interrupted:
        warnings.warn(_cut_short(trace), ConvergenceWarning, stacklevel=3)
    elif settings.min_ess is not None:
        reason = shortage(trace, settings.limit, reml)
        if reason:
            warnings.warn(reason, ConvergenceWarning, stacklevel=3)
    return trace


#: Most folded parameters of weighted points, whose mirror images double with each.
_FOLDED = 8
#: Effective points that are drawn, over those that are asked for: what is resampled from them loses some.
_SPARE = 1.1


def _takes_values(posterior: LogPosterior, reml: RemlFit, asked: SamplerSettings, cost: float) -> bool:
    """Whether weighted points are tried first; `cost` in CPU seconds of an evaluation with its gradient."""
    folded, n = len(folded_coordinates(posterior)), posterior.blocks.n_parameters
    if asked.method == "values" and (not n or folded > _FOLDED):
        raise SpecError(
            f"weighted points are of 1 parameter or more, and of {_FOLDED} standard deviations that are alone in their "
            f"rows at most, not of {n} and {folded}; leave out method='values'"
        )
    if asked.method != "auto":
        return asked.method == "values"
    if reml.at_boundary or asked.draws is not None or asked.target_accept is not None:
        return False
    return values_suit(cost, n) and folded <= _FOLDED


def _by_values(
    posterior: LogPosterior, reml: RemlFit, asked: SamplerSettings, effects: dict[str, npt.NDArray[np.intp]] | None
) -> xr.DataTree | None:
    """Trace of weighted points, resampled; None where they are declined."""
    settings = asked.settled(at_boundary=False)
    want = _SPARE * (settings.min_ess or (settings.draws or 0) * REPLICATES)
    with threadpool_limits(1, user_api="blas"):
        mode = mode_metric(posterior, reml).centre
        hessian, seed = posterior.expand(mode).hessian, settings.seed or 0
        points = weighted_points(
            posterior, mode, hessian, want=want, seed=seed, workers=settings.cores, progress=settings.progress
        )
        if points.objections:
            if asked.method == "values":
                why = f"weighted points are not good enough here ({'; '.join(points.objections)})"
                warnings.warn(f"{why}: drawn with NUTS in their place", ConvergenceWarning, stacklevel=3)
            return None
        run, record = points.resampled(seed).run(), RunRecord(seed=seed, tune=0, min_ess=settings.min_ess)
        assert run is not None
        trace = assemble(posterior, run, record, effects=effects, unidentified=reml.uncertainty.unidentified)
    said = {"ess": points.ess, "values": points.values, "k": points.k, "bare": points.bare}
    trace.attrs[WEIGHTS] = json.dumps(said)
    return trace


def _state(
    posterior: LogPosterior, trace: xr.DataTree, settings: SamplerSettings | None, words: SettingsWords
) -> State:
    """State of the run to resume, with what may be changed of its settings."""
    _require_same(ModelRecord.of(posterior.design, posterior.priors), trace)
    return State.read(trace).continued({**({} if settings is None else settings.chosen), **words})


def _require_same(mine: ModelRecord, trace: xr.DataTree) -> None:
    """Refuse a run to resume of another model, other data or other priors."""
    theirs = ModelRecord.read(trace)
    theirs.require_same(mine, "the run to resume", "the design")
    changed = [name for name, prior in mine.prior_words.items() if theirs.prior_words.get(name) != prior]
    if changed:
        was = listing(theirs.prior_words.get(name, "unknown") for name in changed)
        raise SpecError(f"the run to resume has other priors of {listing(changed)}: {was}; sample again")


def _held(
    held: dict[str, npt.NDArray[np.intp]], wanted: dict[str, npt.NDArray[np.intp]] | None
) -> dict[str, npt.NDArray[np.intp]]:
    """Effects that a run holds; others cannot be had from its draws."""
    for name, at in (wanted or {}).items():
        if len(np.setdiff1d(at, held.get(name, []))):
            raise SpecError(
                f"the run to resume holds no effects of '{name}', or not of all levels that are asked for, which are "
                f"drawn with the covariances where traits are not Gaussian; sample again"
            )
    return held


def _require_coordinates(posterior: LogPosterior, state: State, trace: xr.DataTree) -> None:
    """Refuse a run whose draws mean other covariances here: it was made with another REML fit."""
    run, before = state.stage.chains.run(), trace["posterior"].to_dataset()
    if run is None:
        raise SpecError("the run to resume holds no draws; sample again")
    now = covariance_dataset(posterior.design, posterior.coordinates.constrain(run.x[:, -1:]))

    def close(name: str) -> bool:
        mine, theirs = now[name].to_numpy(), before[name].to_numpy()[:, -1:]
        return np.allclose(mine, theirs, rtol=1e-4, atol=1e-9 * float(np.abs(theirs).max()))

    same = all(close(dims.covariance_name(name)) for name in posterior.design.names)
    if not same:
        raise SpecError("the run to resume began at another REML fit, and its coordinates are others; sample again")


def _cut_short(trace: xr.DataTree) -> str:
    sizes = trace["posterior"].sizes
    return (
        f"interrupted: {sizes[dims.DRAW]} draws of each of {sizes[dims.CHAIN]} chains are complete; "
        f"`resume` goes on from here"
    )


class _Keeper:
    """Maker of traces of a run, whole or not."""

    def __init__(
        self,
        posterior: LogPosterior,
        reml: RemlFit,
        settings: SamplerSettings,
        effects: dict[str, npt.NDArray[np.intp]] | None,
    ) -> None:
        self._posterior, self.reml, self.settings, self._effects = posterior, reml, settings, effects
        self.metric: Metric | None = None

    def trace(self, stage: Stage, *, interrupted: bool, effects: bool = True) -> xr.DataTree:
        """Trace of the draws that are complete, with all that it takes to go on."""
        run, settings = stage.chains.run(), self.settings
        assert run is not None
        assert self.metric is not None
        state = State(stage=stage, metric=self.metric, settings=settings, effects=self._effects)
        record = RunRecord(
            seed=settings.seed or 0, tune=settings.tune, min_ess=settings.min_ess, interrupted=interrupted
        )
        return assemble(
            self._posterior,
            run,
            record,
            effects=self._effects if effects else None,
            unidentified=self.reml.uncertainty.unidentified,
            more={STATE: state.to_dataset()},
        )

    def writer(self, path: str | Path | Target) -> Callable[[Stage], None]:
        """Function that writes a run that is not at its end."""
        write = tree_writer(path)
        return lambda stage: write(self.trace(stage, interrupted=True, effects=False))


def shortage(trace: xr.DataTree, limit: int, reml: RemlFit) -> str:
    """Shortage of a run that ended at its limit, and what would help; empty if of nothing."""
    verdict = convergence(trace)
    if verdict.mixed:
        return ""
    reason = f"the run stopped at its limit of {limit} draws per chain: {'; '.join(verdict.shortages)}"
    return f"{reason}; {_remedy(verdict, reml)}"


def _remedy(verdict: Convergence, reml: RemlFit) -> str:
    """Remedy for a run that more draws did not help."""
    if verdict.divergences:
        return f"some transitions diverged: {verdict.less_divergence}"
    if reml.at_boundary:
        return f"REML of {listing(reml.at_boundary)} is singular: a simpler structure or a tighter prior would help"
    return "the limit is a multiple of `draws`: give more"


def _drawn(
    posterior: LogPosterior,
    reml: RemlFit,
    settings: SamplerSettings,
    state: State | None,
    keeper: _Keeper,
    logbook: Logbook,
) -> tuple[Stage, bool]:
    """Draws of a run, and whether it was interrupted; raises KeyboardInterrupt before the first draw."""
    try:
        keeper.metric = mode_metric(posterior, reml) if state is None else state.metric
        run = draw(posterior, keeper.metric, settings, logbook, None if state is None else state.stage)
    except KeyboardInterrupt as end:
        stage = logbook.stage(end.chains if isinstance(end, CutShort) else None)
        if stage is None:
            raise KeyboardInterrupt from None
        return stage, True
    done = logbook.stage()
    assert done is not None
    return done._replace(chains=Chains.of(run)), False


def mode_metric(posterior: LogPosterior, reml: RemlFit) -> Metric:
    """Coordinates around the posterior mode, climbed to from REML, by the curvature there."""
    at = posterior.blocks.from_matrices(reml.sigmas)
    mode = posterior.mode(posterior.coordinates.unconstrain(at, _SMALLEST_START * posterior.resolution))
    return Metric(mode.theta, _root_of_curvature(posterior.expand(mode.theta).hessian))


def draw(
    posterior: LogPosterior, metric: Metric, settings: SamplerSettings, logbook: Logbook, stage: Stage | None = None
) -> Run:
    """Draws of x by NUTS.

    Parameters
    ----------
    posterior
        In planar coordinates.
    metric
        Coordinates of the first batch.
    settings
        Settled settings.
    logbook
        Is told of every batch.
    stage
        Where a run stands that goes on; None begins one.
    """
    if stage is None:
        draws = settings.draws or 0
        logbook.begin(None, draws, draws, 0)
        chains = batch(posterior, metric, around_mode(metric), settings, logbook)
        run, since = whole(chains), (draws, 0)
        logbook.end(run)
    else:
        # A run may have raised its acceptance by itself: its draws say at which they were made.
        settings = replace(settings, target_accept=acceptance(stage.chains.attributes) or settings.target_accept)
        logbook.begin(stage.chains, stage.wanted, stage.drawn, stage.number)
        run, since = complete(posterior, metric, settings, stage, logbook), (stage.drawn, stage.number)
        logbook.end(run)
    if settings.min_ess is None or settings.target_accept is None:
        return run
    min_ess = settings.min_ess

    def judged(run: Run) -> Convergence:
        theta = posterior.coordinates.constrain(run.x)
        return judge(covariance_dataset(posterior.design, theta), run.stats, min_ess)

    def on(run: Run, settings: SamplerSettings, since: tuple[int, int]) -> Run:
        more, accept = partial(resume_run, posterior, metric, settings, logbook=logbook), settings.target_accept or 0.0
        return extend(run, more, judged, target_accept=accept, limit=settings.limit, logbook=logbook, since=since)

    def again(run: Run, accept: float) -> Run:
        """Run of as many draws at a higher acceptance, from where one ended; the draws before were its tuning."""
        careful, number = replace(settings, target_accept=accept), logbook.number + 1
        logbook.begin(None, run.draws, run.draws, number)
        fresh = resume_run(posterior, metric, careful, run, run.draws, number, logbook)
        logbook.end(fresh)
        return on(fresh, careful, (run.draws, number))

    return steadied(on(run, settings, since), again, judged, settings.target_accept)


def _root_of_curvature(hessian: Array) -> Array:
    """C with CC' = inverse of the negative Hessian; directions without curvature get unit variance."""
    values, vectors = np.linalg.eigh(hessian)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1.0)))
