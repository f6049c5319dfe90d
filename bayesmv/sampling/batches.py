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
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.posterior.sampler_density import sampler_density
from bayesmv.sampling.convergence import Convergence
from bayesmv.sampling.nutpie import LogDensity, import_nutpie, nuts_model, read_trace
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


class Run(NamedTuple):
    """Draws of x (chains, draws, d) and the sampler's statistics on them."""

    x: Array
    stats: xr.Dataset

    @property
    def draws(self) -> int:
        """Draws per chain."""
        return int(self.x.shape[1])


class Metric(NamedTuple):
    """Coordinates z of the sampler, x = centre + root z, in which the posterior has about unit covariance."""

    centre: Array
    root: Array


class Resume(Protocol):
    """Where the next draws come from."""

    def __call__(self, run: Run, draws: int, number: int) -> Run:
        """Return `draws` more of every chain of a run; `number` counts the batches."""


def batch(posterior: LogPosterior, metric: Metric, start: Callable[[int], Array], settings: SamplerSettings) -> Run:
    """Run NUTS; `start` gives z (d,) from the seed of a chain, `settings` are settled."""
    threads = min(settings.cores, settings.chains)

    def make_density() -> LogDensity:
        return sampler_density(posterior, metric.centre, metric.root, threads)

    model = nuts_model(make_density, len(metric.centre), start)
    raw = import_nutpie().sample(model, save_warmup=False, return_raw_trace=True, **settings.words)
    z, stats = read_trace(raw, settings.words)
    return Run(metric.centre + z @ metric.root.T, stats)


def resume(
    posterior: LogPosterior, metric: Metric, settings: SamplerSettings, run: Run, draws: int, number: int
) -> Run:
    """Go on with every chain of a run where it stands; `metric` and `settings` are those of its first batch."""
    seed = int(np.random.SeedSequence([settings.seed or 0, 2, number]).generate_state(1)[0])
    metric = Metric(run.x.mean(axis=(0, 1)), _root_of_draws(run.x, metric.root))
    last = np.ascontiguousarray(np.linalg.solve(metric.root, (run.x[:, -1] - metric.centre).T).T)
    begin = dict(zip(_chain_seeds(seed, len(last)), last, strict=True))
    return batch(posterior, metric, begin.__getitem__, replace(settings, draws=draws, tune=_RETUNE, seed=seed))


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
    settings = {"draws": 1, "tune": 2, "chains": chains, "cores": 1, "seed": seed, "progress_bar": False}
    import_nutpie().sample(model, return_raw_trace=True, **settings)
    return seeds


def extend(run: Run, more: Resume, judge: Callable[[Run], Convergence], *, target_accept: float, limit: int) -> Run:
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
    """
    drawn, number = run.draws, 0
    while drawn + _FEWEST <= limit:
        verdict, suffices = judge(run), tuned(run, target_accept)
        if verdict.mixed and suffices:
            break
        number += 1
        wanted = min(draws_wanted(verdict, run.draws), limit - drawn)
        new = more(run, wanted, number)
        run = concatenate(run, new) if suffices else new
        drawn += wanted
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


def concatenate(run: Run, new: Run) -> Run:
    """Put the draws of each chain one after the other."""
    stats = xr.concat([run.stats, new.stats], dims.DRAW).assign_coords({dims.DRAW: np.arange(run.draws + new.draws)})
    return Run(np.concatenate([run.x, new.x], axis=1), stats)
