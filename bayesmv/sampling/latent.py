"""NUTS on covariances and location effects together, where some traits are not Gaussian."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmv import dims
from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.design.saved import Target
from bayesmv.errors import ConvergenceWarning, SpecError, listing
from bayesmv.families.declared import Ordered
from bayesmv.likelihood.latent import LaplaceLikelihood
from bayesmv.likelihood.latent.engine import Undefined
from bayesmv.likelihood.protocol import Solution
from bayesmv.posterior.latent import LatentMap, LatentPosterior, best_known_first
from bayesmv.posterior.latent_density import LatentDensity, compiles
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.sampling.chains import Chains, CutShort, Run
from bayesmv.sampling.convergence import HIGHEST_ACCEPT, convergence, higher_acceptance
from bayesmv.sampling.effects import as_dataset
from bayesmv.sampling.nutpie import import_nutpie, nuts_model, run_nuts
from bayesmv.sampling.settings import SamplerSettings
from bayesmv.sampling.state import STATE, asked_for
from bayesmv.sampling.trace import INFORMED, RunRecord, assemble, joined, tree_writer

#: Target acceptance where every scale is known to a quarter of itself, and elsewhere.
_ACCEPT, _ACCEPT_WEAK = 0.8, 0.9
#: Standard deviation of starts in coordinates that are nearly standard normal.
_START = 0.5
#: Most draws of a further batch, as a multiple of the first.
_MOST = 4
#: Longest step of exact trajectories: a quarter of a turn, after which a position is forgotten. Where a density is
#: as good as standard normal all steps are accepted, and half a turn only turns the sign of the coordinates.
_LONGEST = 0.5 * np.pi
#: Undocumented setting of nutpie; a test tells when it is gone.
_EXACT = "exact_normal_trajectory"


def sample_latent(
    design: Design,
    settings: SamplerSettings,
    priors: Mapping[str, CovariancePrior] | None,
    effects: dict[str, npt.NDArray[np.intp]] | None,
    checkpoint: str | Path | Target | None = None,
    before: xr.DataTree | None = None,
) -> xr.DataTree:
    """Posterior of a design with traits that are not Gaussian; see :func:`bayesmv.sample`.

    Fixed effects and effects are drawn with the covariances, so that ``fixed`` is always in the trace.

    Parameters
    ----------
    design, priors
        See there.
    settings
        Settings of the sampler.
    effects
        Positions of the levels to keep, by name of the term; None for none.
    checkpoint
        File to which the draws so far are written as the run goes.
    before
        Trace of a run to go on with; its draws come first. Chains are started and tuned anew.
    """
    posterior = LogPosterior(design=design, engine=LaplaceLikelihood(design), priors=design.priors(priors))
    with threadpool_limits(1, user_api="blas"):
        where = _mapped(posterior)
        accept = settings.target_accept or (_ACCEPT if where.tight else _ACCEPT_WEAK)
        chosen = replace(settings, target_accept=accept).settled(at_boundary=False)
        keeper = _Keeper(where, effects or {}, before)
        log = None if checkpoint is None else _Log(keeper, chosen, tree_writer(checkpoint))
        # An acceptance that was chosen, and that of a run that is gone on with, stays.
        if settings.target_accept is None and chosen.min_ess is not None:
            chains, chosen, interrupted = _steadied(keeper, chosen, log)
        else:
            chains, interrupted = _drawn(keeper, chosen, log)
    trace = keeper.of_chains(chains, chosen, interrupted)
    if trace is None:
        raise KeyboardInterrupt
    if interrupted:
        warnings.warn("interrupted: the draws so far are kept", ConvergenceWarning, stacklevel=3)
    elif chosen.min_ess is not None and not (verdict := convergence(trace)).mixed:
        reason = f"the run stopped at its limit of {chosen.limit} draws per chain: {'; '.join(verdict.shortages)}"
        warnings.warn(reason, ConvergenceWarning, stacklevel=3)
    return trace


def _mapped(posterior: LogPosterior) -> LatentMap:
    """Coordinates to sample in.

    Raises
    ------
    SpecError
        If no mode of the effects is found where the search for that of the covariances ends.
    """
    try:
        return LatentMap(*best_known_first(LatentPosterior(posterior)))
    except Undefined:
        traits = [t for t, f in zip(posterior.design.traits, posterior.design.families, strict=True) if not f.linear]
        raise SpecError(
            f"the density of effects and records has no mode that could be found: look at the records of "
            f"{listing(traits)} for values that nothing explains, at the model for terms that they cannot tell apart"
        ) from None


class _Log:
    """Writes the draws so far while a batch runs, and after it."""

    def __init__(
        self, keeper: _Keeper, settings: SamplerSettings, write: Callable[[xr.DataTree], None], seconds: float = 60.0
    ) -> None:
        self._keeper, self._settings, self._write, self.seconds = keeper, settings, write, seconds
        self.before: Chains | None = None

    def look(self, chains: Chains) -> None:
        """Write the draws of a batch so far, after those of the batches before."""
        if any(chains.lengths):
            trace = self._keeper.of_chains(_then(self.before, chains), self._settings, True)
            if trace is not None:
                self._write(trace)


def _then(before: Chains | None, new: Chains) -> Chains:
    return new if before is None else before.then(new)


def _steadied(
    keeper: _Keeper, settings: SamplerSettings, log: _Log | None
) -> tuple[Chains | None, SamplerSettings, bool]:
    """What `_drawn` returns, with the settings, at a higher acceptance in place of a first batch that diverged.

    Steps were then too long for a narrow place, as weak variances have; what was drawn with them counts as tuning.
    """
    first = replace(settings, min_ess=None)
    while True:
        chains, interrupted = _drawn(keeper, first, log)
        trace = keeper.of_chains(chains, first, interrupted)
        accept = first.target_accept or _ACCEPT_WEAK
        if interrupted or trace is None or not convergence(trace).divergences or accept >= HIGHEST_ACCEPT:
            break
        first = replace(first, target_accept=higher_acceptance(accept))
        if log is not None:
            log.before = None
    settings = replace(settings, target_accept=first.target_accept)
    if interrupted:
        return chains, settings, True
    chains, interrupted = _drawn(keeper, settings, log, chains)
    return chains, settings, interrupted


def _drawn(
    keeper: _Keeper, settings: SamplerSettings, log: _Log | None = None, chains: Chains | None = None
) -> tuple[Chains | None, bool]:
    """Chains of as many draws as asked for, or until they suffice, after some; and whether they were cut short."""
    if not _all_chains(keeper, settings):
        return None, True
    done = keeper.n_before + (0 if chains is None else max(chains.lengths))
    more = (settings.draws or 0) - done
    while True:
        if more > 0:
            # Of another seed than a batch that was cut short, whose draws it would repeat.
            seed = int(np.random.default_rng([settings.seed or 0, done]).integers(2**31))
            try:
                new = run_nuts(keeper.model(settings.chains), _words(settings, more, seed), log)
            except CutShort as cut:
                return _then(chains, cut.chains), True
            chains, done = _then(chains, new), done + more
            if log is not None:
                log.look(new)
                log.before = chains
        trace = keeper.of_chains(chains, settings, False)
        if settings.min_ess is None or trace is None:
            return chains, False
        verdict = convergence(trace)
        if verdict.mixed or done >= settings.limit:
            return chains, False
        least = max(min(verdict.smallest_bulk_ess, verdict.smallest_tail_ess), 1.0)
        wanted = max(1.2 * done * verdict.required_ess / least - done, 0.5 * done)
        more = int(min(wanted, _MOST * done, settings.limit - done))


def _all_chains(keeper: _Keeper, settings: SamplerSettings) -> bool:
    """Draw the chains that a run to go on with had not begun, or hardly; False where this was cut short."""
    lacking = keeper.chains_lacking(settings)
    if not lacking:
        return True
    seed = int(np.random.default_rng([settings.seed or 0, lacking, keeper.n_before]).integers(2**31))
    try:
        new = run_nuts(keeper.model(lacking), _words(replace(settings, chains=lacking), keeper.n_before, seed), None)
    except CutShort:
        return False
    keeper.add_chains(new, settings)
    return True


def _words(settings: SamplerSettings, draws: int, seed: int) -> dict[str, Any]:
    """Keywords of ``nutpie.sample``; trajectories that are exact for a standard normal density where it has them."""
    words = {**settings.words, "draws": draws, "seed": seed, "adaptation": "diag"}
    return words | ({_EXACT: True, "max_step_size": _LONGEST} if has_exact_trajectories() else {})


@cache
def has_exact_trajectories() -> bool:
    """Whether nutpie has trajectories that are exact for a standard normal density."""
    settings = import_nutpie()._lib.PyNutsSettings.Diag(0)
    try:
        settings.update({_EXACT: True})
    except AttributeError:
        return False
    return True


class _Keeper:
    """What is kept of the draws of (z, w), and traces of it."""

    def __init__(
        self, where: LatentMap, effects: dict[str, npt.NDArray[np.intp]], before: xr.DataTree | None = None
    ) -> None:
        self._map, self._latent, self._effects, self._before = where, where.latent, effects, before
        design = self._latent.design
        self._n_fixed = int(design.fixed.present.sum())
        self._mixing, self._wanted = self._latent.engine._mixing(), where.wanted(effects)

    def model(self, chains: int) -> Any:
        """What nutpie draws from."""
        where, wanted = self._map, self._wanted
        size = self._latent.size + where.n_unknowns

        def start(seed: int) -> Array:
            return _START * np.random.default_rng(seed).standard_normal(size)

        if compiles(where):
            density = LatentDensity(where, wanted, chains)
            return nuts_model(lambda: density, size, start)
        kept = self._latent.size + wanted.size(self._latent.shape.sizes)
        return nuts_model(lambda: where.value_and_gradient, size, start, lambda z: where.kept(z, wanted), kept)

    @property
    def n_before(self) -> int:
        """Draws of each chain of the run that is gone on with."""
        return 0 if self._before is None else self._before["posterior"].sizes[dims.DRAW]

    def chains_lacking(self, settings: SamplerSettings) -> int:
        """Chains that the run that is gone on with has not."""
        return 0 if self._before is None else settings.chains - self._before["posterior"].sizes[dims.CHAIN]

    def add_chains(self, chains: Chains, settings: SamplerSettings) -> None:
        """Put further chains beside those of the run that is gone on with."""
        run = chains.run()
        assert run is not None
        assert self._before is not None
        self._before = joined(self._before, self.trace(run, settings, True), dims.CHAIN)

    def of_chains(self, chains: Chains | None, settings: SamplerSettings, interrupted: bool) -> xr.DataTree | None:
        """Trace of the run that is gone on with and of chains after it; None for no draw."""
        run = None if chains is None else chains.run()
        if run is None:
            return self._before
        trace = self.trace(run, settings, interrupted)
        return trace if self._before is None else joined(self._before, trace, dims.DRAW)

    def trace(self, run: Run, settings: SamplerSettings, interrupted: bool) -> xr.DataTree:
        """Trace of draws of what is kept."""
        latent, design = self._latent, self._latent.design
        n, shape = latent.size, run.x.shape[:2]
        x = run.x[..., :n]
        begin = n + self._n_fixed
        own: dict[str, Array] = {}
        for name, at in self._effects.items():
            m = len(design.term(name).effects)
            own[name] = run.x[..., begin : begin + len(at) * m].reshape(*shape, len(at), m)
            begin += len(at) * m

        def solution(index: tuple[int, ...]) -> Solution:
            fixed = np.zeros(design.fixed.present.shape)
            fixed[design.fixed.present] = self._mixing @ run.x[index][n : n + self._n_fixed]
            none = np.zeros((0, 0))
            return Solution(fixed, [own[t.name][index] if t.name in own else none for t in design.terms])

        all_of = {name: np.arange(len(at)) for name, at in self._effects.items()}
        drawn = as_dataset(design, shape, self._effects, all_of, solution)
        drawn = drawn.merge(self._numbers(x))
        record = RunRecord(
            seed=settings.seed or 0, tune=settings.tune, min_ess=settings.min_ess, interrupted=interrupted
        )
        theta = latent.stated(latent.coordinates.constrain(x[..., : latent.d]))
        more = {STATE: asked_for(settings, self._effects)}
        tree = assemble(
            latent.posterior, Run(x, run.stats), record, theta=theta, drawn=drawn, engine="latent", more=more
        )
        tree.attrs[INFORMED] = json.dumps(self._informed())
        return tree

    def _informed(self) -> dict[str, dict[str, float]]:
        """Mean informed fractions, by term and effect."""
        design, begin, out = self._latent.design, 1, {}
        for term in design.terms:
            shares = self._map.informed[begin : begin + len(term.effects)]
            out[term.name] = dict(zip(term.effects, map(float, shares), strict=True))
            begin += len(term.effects)
        return out

    def _numbers(self, x: Array) -> xr.Dataset:
        """Numbers of families: thresholds of ordered traits after the first, which is 0, and those of counts."""
        design, coords = self._latent.design, dict[str, IntArray]()
        variables: dict[str, tuple[tuple[str, ...], Array]] = {}
        free = {t: f for t, f in enumerate(design.families) if f.n_free}
        if not free:
            return xr.Dataset()
        values = {t: np.empty((*x.shape[:2], f.n_free)) for t, f in free.items()}
        for index in np.ndindex(*x.shape[:2]):
            place = self._latent.place(x[index])
            for t, family in free.items():
                values[t][index] = place.numbers(t, family)
        for t, family in free.items():
            trait, of_draws = design.traits[t], (dims.CHAIN, dims.DRAW)
            name = dims.family_name(trait, family.number)
            if isinstance(family, Ordered):
                dim = f"threshold_{trait}"
                variables[name] = ((*of_draws, dim), values[t])
                coords[dim] = np.arange(2, family.n_free + 2)
            else:
                variables[name] = (of_draws, values[t][..., 0])
        return xr.Dataset(variables, coords)
