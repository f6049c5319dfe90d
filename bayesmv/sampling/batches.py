"""Batches of NUTS draws, and runs that go on where they ended until they hold enough of them.

A batch begins at given points and tunes its step size and the diagonal of its metric. The batches after the first begin
where the chains stood, measure distances by the covariance of the draws so far, and so need little tuning. How many
draws are asked for depends on the draws alone, never on the clock: the same seed repeats the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.posterior.sampler_density import sampler_density
from bayesmv.sampling.chains import Chains, CutShort, Run
from bayesmv.sampling.convergence import Convergence
from bayesmv.sampling.nutpie import LogDensity, nuts_model, run_nuts
from bayesmv.sampling.settings import SamplerSettings

#: Tuning draws of a chain that goes on: its metric is known, only the step size is to be found.
_RETUNE = 100
#: Tuning sufficed if acceptance is at most this far under its target in every chain, and step sizes within this factor.
_SHORTFALL, _SPREAD = 0.1, 2.0
#: Draws per dimension that the curvature at the mode is worth, in the metric of a chain that goes on.
_WEIGHT = 10
#: Draws asked for beyond the estimate of what is needed; and growth at one step, for few draws underrate their worth.
_MARGIN, _GROWTH = 1.1, 4.0
#: Fewest draws worth the tuning of another batch.
_FEWEST = 50


class Metric(NamedTuple):
    """Coordinates z of the sampler, x = centre + root z, in which the posterior has about unit covariance."""

    centre: Array
    root: Array


class Resume(Protocol):
    """Source of further draws."""

    def __call__(self, run: Run, draws: int, number: int) -> Run:
        """Return `draws` more of every chain of a run; `number` counts the batches."""


class Stage(NamedTuple):
    """Stage of a run: all that it takes to go on.

    Parameters
    ----------
    chains
        All draws so far; chains may differ in length within a batch.
    wanted
        Draws of every chain when the batch in hand is complete.
    drawn
        Draws per chain that were asked for, dropped ones included.
    number
        Number of the batch in hand.
    """

    chains: Chains
    wanted: int
    drawn: int
    number: int


class Logbook:
    """Log of what a run has drawn, kept for the case that it is ended, and written down as it goes.

    Parameters
    ----------
    write
        Writes a stage down; None keeps it in memory.
    seconds
        Longest time between two that are written.
    """

    def __init__(self, write: Callable[[Stage], None] | None = None, seconds: float = 60.0) -> None:
        self._write, self.seconds = write, seconds
        self._before: Chains | None = None
        self._to_x: Callable[[Chains], Chains] = lambda chains: chains
        self._wanted = self._drawn = self.number = 0
        self._last: Stage | None = None

    @property
    def watch(self) -> Logbook | None:
        """Itself, if it writes and so wants to see the draws of a batch."""
        return None if self._write is None else self

    def begin(self, before: Chains | None, wanted: int, drawn: int, number: int) -> None:
        """Open a batch; `before` are the draws that its own are added to."""
        self._before, self._wanted, self._drawn, self.number = before, wanted, drawn, number

    def end(self, run: Run) -> None:
        """Close a batch."""
        self._before = Chains.of(run)
        self._last = Stage(self._before, run.draws, self._drawn, self.number)
        self._put(self._last)

    def draws_of(self, to_x: Callable[[Chains], Chains]) -> None:
        """Say how the draws of the sampler that is about to run become all the chains of x of its batch."""
        self._to_x = to_x

    def look(self, chains: Chains) -> None:
        """Write down the draws of the sampler so far."""
        self._put(self.stage(self._to_x(chains)))

    def stage(self, new: Chains | None = None) -> Stage | None:
        """Stage of the run, with the draws of the batch in hand; None before the first draw."""
        if self._before is None and self._last is not None and _count(new) < _count(self._last.chains):
            return self._last  # The batch is to take the place of draws, of which it has fewer yet.
        both = [chains for chains in (self._before, new) if chains is not None and any(chains.lengths)]
        if not both:
            return None
        chains = both[0] if len(both) == 1 else both[0].then(both[1])
        return Stage(chains, self._wanted, self._drawn, self.number)

    def _put(self, stage: Stage | None) -> None:
        if self._write is not None and stage is not None:
            self._write(stage)


def _count(chains: Chains | None) -> int:
    return 0 if chains is None else sum(chains.lengths)


def batch(
    posterior: LogPosterior,
    metric: Metric,
    start: Callable[[int], Array],
    settings: SamplerSettings,
    logbook: Logbook | None = None,
    place: Callable[[Chains], Chains] = lambda chains: chains,
) -> Chains:
    """Run NUTS.

    Parameters
    ----------
    posterior, metric
        What is sampled, and in which coordinates z.
    start
        Gives z (d,) from the seed of a chain.
    settings
        Settled settings.
    logbook
        Is shown the draws so far.
    place
        Puts the chains among those of the run, if they are not all of them.

    Raises
    ------
    CutShort
        On KeyboardInterrupt: with the draws that were complete, as `place` puts them.
    """
    threads = min(settings.cores, settings.chains)

    def make_density() -> LogDensity:
        return sampler_density(posterior, metric.centre, metric.root, threads)

    def to_x(chains: Chains) -> Chains:
        return place(replace(chains, x=[metric.centre + z @ metric.root.T if len(z) else z for z in chains.x]))

    logbook = Logbook() if logbook is None else logbook
    logbook.draws_of(to_x)
    model = nuts_model(make_density, len(metric.centre), start)
    try:
        return to_x(run_nuts(model, settings.words, logbook.watch))
    except CutShort as cut:
        raise CutShort(to_x(cut.chains)) from None


def resume(
    posterior: LogPosterior,
    metric: Metric,
    settings: SamplerSettings,
    run: Run,
    draws: int,
    number: int,
    logbook: Logbook | None = None,
) -> Run:
    """Go on with every chain of a run where it stands; `metric` and `settings` are those of its first batch."""
    seed = int(np.random.SeedSequence([settings.seed or 0, 2, number]).generate_state(1)[0])
    here = Metric(run.x.mean(axis=(0, 1)), _root_of_draws(run.x, metric.root))
    words = replace(settings, draws=draws, tune=_RETUNE, seed=seed)
    return whole(batch(posterior, here, _from_points(run.x[:, -1], here, seed), words, logbook))


def complete(posterior: LogPosterior, metric: Metric, settings: SamplerSettings, stage: Stage, logbook: Logbook) -> Run:
    """Complete the batch in which a run was cut: chains go on where they stand, and begin if they had not begun.

    The draws are others than those of the run that was not cut, and of the same distribution.
    """
    chains = stage.chains
    for part, begun in enumerate((True, False)):
        lacking = [c for c, n in enumerate(chains.lengths) if n < stage.wanted and (n > 0) == begun]
        if not lacking:
            continue
        lack = [stage.wanted - chains.lengths[c] for c in lacking]
        # Where the batch was cut belongs to the seed: cut twice, it is not to draw the same again.
        entropy = [settings.seed or 0, 3 + part, stage.number, *chains.lengths]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        words = replace(settings, chains=len(lacking), draws=max(lack), seed=seed)
        here, start = metric, around_mode(metric)
        if begun:
            x = np.concatenate([x for x in chains.x if len(x)])[None]
            here, words = Metric(x.mean(axis=(0, 1)), _root_of_draws(x, metric.root)), replace(words, tune=_RETUNE)
            start = _from_points(np.stack([chains.x[c][-1] for c in lacking]), here, seed)
        logbook.begin(chains, stage.wanted, stage.drawn, stage.number)
        place = _Placed(len(chains.x), lacking, lack)
        chains = chains.then(batch(posterior, here, start, words, logbook, place))
    return whole(chains)


class _Placed:
    """Places of some chains among all of a run; the others have nothing new."""

    def __init__(self, of: int, places: list[int], most: list[int]) -> None:
        self._of, self._places, self._most = of, places, most

    def __call__(self, chains: Chains) -> Chains:
        cut = chains.take(range(len(self._places)), self._most)
        x, stats = [cut.x[0][:0]] * self._of, [{k: v[:0] for k, v in cut.stats[0].items()}] * self._of
        for i, place in enumerate(self._places):
            x[place], stats[place] = cut.x[i], dict(cut.stats[i])
        return Chains(x=x, stats=stats, attributes=chains.attributes)


def whole(chains: Chains) -> Run:
    """Run of chains that are complete."""
    run = chains.run()
    assert run is not None
    return run


def around_mode(metric: Metric) -> Callable[[int], Array]:
    """Start of a chain: half a standard deviation around the centre of the coordinates."""
    return lambda seed: np.random.default_rng(seed).normal(0.0, 0.5, len(metric.centre))


def _from_points(x: Array, metric: Metric, seed: int) -> Callable[[int], Array]:
    """Starts of chains at given points x (chains, d), by the seeds that nutpie makes of `seed`."""
    z = np.ascontiguousarray(np.linalg.solve(metric.root, (x - metric.centre).T).T)
    return dict(zip(_chain_seeds(seed, len(z)), z, strict=True)).__getitem__


def _root_of_draws(x: Array, root: Array) -> Array:
    """Factor of the covariance of draws (chains, draws, d), drawn towards the metric so far where draws are few."""
    n, weight = x.shape[0] * x.shape[1], _WEIGHT * x.shape[2]
    centred = (x - x.mean(axis=(0, 1))).reshape(n, -1)
    return np.asarray(np.linalg.cholesky((centred.T @ centred + weight * root @ root.T) / (n + weight)))


def _chain_seeds(seed: int, chains: int) -> list[int]:
    """Seeds by which nutpie asks for the starts of chains 0, 1, …: one after the other on one core.

    It does not tell which chain a start is for, and on several cores they ask in any order.
    """
    seeds: list[int] = []

    def start(seed: int) -> Array:
        seeds.append(seed)
        return np.ones(1)

    model = nuts_model(lambda: lambda z: (-0.5 * float(z @ z), -z), 1, start)
    run_nuts(model, {"draws": 1, "tune": 2, "chains": chains, "cores": 1, "seed": seed, "progress_bar": False})
    return seeds


def extend(
    run: Run,
    more: Resume,
    judge: Callable[[Run], Convergence],
    *,
    target_accept: float,
    limit: int,
    logbook: Logbook | None = None,
    since: tuple[int, int] | None = None,
) -> Run:
    """Extend a run until it holds enough draws.

    Parameters
    ----------
    run
        The first batch. Its draws are dropped, as further tuning, if its tuning did not suffice; so are those of the
        batches after it until one did.
    more
        Draws on from a run.
    judge
        Judges a run.
    target_accept
        The acceptance that was tuned for.
    limit
        Most draws per chain, dropped ones included.
    logbook
        Is told of every batch.
    since
        Draws per chain that were asked for, and batches after the first, of a run that is taken up.
    """
    logbook = Logbook() if logbook is None else logbook
    drawn, number = (run.draws, 0) if since is None else since
    while drawn + _FEWEST <= limit:
        verdict, suffices = judge(run), tuned(run, target_accept)
        if verdict.mixed and suffices:
            break
        number += 1
        wanted = min(draws_wanted(verdict, run.draws), limit - drawn)
        drawn += wanted
        logbook.begin(Chains.of(run) if suffices else None, wanted + suffices * run.draws, drawn, number)
        new = more(run, wanted, number)
        run = whole(Chains.of(run).then(Chains.of(new))) if suffices else new
        logbook.end(run)
    return run


def tuned(run: Run, target_accept: float) -> bool:
    """Whether all chains accept about as often as they were tuned to, at about the same step size."""
    accepted = run.stats["mean_tree_accept"].mean(dims.DRAW).to_numpy()
    steps = run.stats["step_size_bar"].isel({dims.DRAW: -1}).to_numpy()
    return bool(accepted.min() >= target_accept - _SHORTFALL and steps.max() <= _SPREAD * steps.min())


def draws_wanted(verdict: Convergence, draws: int) -> int:
    """Draws per chain to add: what the effective sample size lacks, as many again if it lacks none or is unknown."""
    share = verdict.required_ess / verdict.smallest_ess if verdict.smallest_ess > 0.0 else math.nan
    factor = min(_MARGIN * share, _GROWTH) if share > 1.0 else 2.0
    return max(round((factor - 1.0) * draws), _FEWEST)
