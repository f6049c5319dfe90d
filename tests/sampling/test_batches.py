"""Runs that extend themselves: how far they go (draws given, fast), and chains that go on (slow)."""

import re
from functools import partial

import numpy as np
import pytest
import xarray as xr
from traces import make_design, trace_of

from bayesmv.errors import SpecError
from bayesmv.io.files import load_design
from bayesmv.reml import fit_reml
from bayesmv.sampling import batches as runs
from bayesmv.sampling.batches import Run, draws_wanted, extend, tuned, whole
from bayesmv.sampling.chains import Chains
from bayesmv.sampling.convergence import Convergence, convergence
from bayesmv.sampling.sample import sample, shortage
from bayesmv.sampling.settings import LIMIT, SamplerSettings


def run_of(draws, *, chains=4, first=0.0, accept=0.9, steps=0.5):
    """Draws that count up from `first`, and statistics of chains that accepted and stepped as given."""
    x = first + np.broadcast_to(np.arange(draws, dtype=float)[None, :, None], (chains, draws, 1))
    fields = {"mean_tree_accept": accept, "step_size_bar": steps}
    stats = {k: (("chain", "draw"), np.full((draws, chains), v).T) for k, v in fields.items()}
    return Run(x, xr.Dataset(stats, {"chain": np.arange(chains), "draw": np.arange(draws)}))


def verdict_of(ess, *, rhat=1.0, min_ess=1000.0):
    return Convergence(
        worst_rhat=rhat, smallest_bulk_ess=ess, smallest_tail_ess=2 * ess, divergences=0, chains=4, min_ess=min_ess
    )


class Source:
    """Gives more draws, of good tuning unless told; remembers how many were asked for."""

    def __init__(self, *bad):
        self.bad, self.asked = bad, []

    def __call__(self, run, draws, number):
        self.asked.append(draws)
        assert number == len(self.asked)
        return run_of(draws, first=run.x[0, -1, 0] + 1.0, accept=0.5 if number in self.bad else 0.9)


def judge_by_rate(rate, run):
    return verdict_of(rate * run.draws)


def extended(run, source, judge, limit=2000):
    return extend(run, source, judge, target_accept=0.9, limit=limit)


# ---------------------------------------------------------------- how far


def test_extend__nothing_to_do():
    source = Source()
    first = run_of(100)
    assert extended(first, source, partial(judge_by_rate, 10.0)) is first
    assert source.asked == []


def test_extend__draws_go_on_in_one_piece():
    source = Source()
    got = extended(run_of(100), source, partial(judge_by_rate, 4.0))
    assert source.asked == [175]  # 250 are needed, a tenth is added
    np.testing.assert_array_equal(got.x[2, :, 0], np.arange(275))
    np.testing.assert_array_equal(got.stats["draw"], np.arange(275))


def test_extend__stops_at_the_limit():
    source = Source()
    got = extended(run_of(100), source, partial(judge_by_rate, 0.01), limit=1000)
    assert source.asked == [300, 600]
    assert got.draws == 1000


def test_extend__draws_of_poor_tuning_are_tuning():
    """They are dropped until tuning sufficed, but count towards the limit."""
    source = Source(1)
    got = extended(run_of(100, accept=0.7), source, partial(judge_by_rate, 4.0))
    assert source.asked == [175, 100, 175]  # the first two batches are dropped
    assert got.x[0, 0, 0] == 275.0
    assert got.draws == 275
    assert (got.stats["mean_tree_accept"] == 0.9).all()


@pytest.mark.parametrize(
    ("verdict", "added"),
    [
        (verdict_of(500.0), 120),
        (verdict_of(990.0), 50),
        (verdict_of(10.0), 300),
        (verdict_of(5000.0, rhat=1.02), 100),
        (verdict_of(np.nan), 100),
        (verdict_of(50.0, min_ess=0.0), 300),
        (verdict_of(200.0, min_ess=0.0), 120),
    ],
)
def test_draws_wanted__by_what_is_lacking(verdict, added):
    assert not verdict.mixed
    assert draws_wanted(verdict, 100) == added


@pytest.mark.parametrize(
    ("accept", "steps", "suffices"),
    [
        (0.9, 0.5, True),
        (0.99, 0.5, True),
        (0.81, 0.5, True),
        ([0.9, 0.9, 0.9, 0.79], 0.5, False),
        (0.9, [0.5, 0.5, 0.9, 0.5], True),
        (0.9, [0.5, 0.5, 1.1, 0.5], False),
    ],
)
def test_tuned__acceptance_and_step_sizes_of_all_chains(accept, steps, suffices):
    assert tuned(run_of(10, accept=accept, steps=steps), 0.9) is suffices


def test_then__keeps_all():
    got = whole(Chains.of(run_of(3, accept=0.7)).then(Chains.of(run_of(2, accept=0.8, first=3.0))))
    assert got.draws == 5
    np.testing.assert_array_equal(got.stats["mean_tree_accept"][1], [0.7, 0.7, 0.7, 0.8, 0.8])


def test_metric_root__covariance_of_many_draws_and_the_old_metric_for_few():
    rng = np.random.default_rng(1)
    S = np.array([[4.0, 1.0], [1.0, 0.5]])
    x = 7.0 + rng.normal(size=(4, 5000, 2)) @ np.linalg.cholesky(S).T
    C = runs._root_of_draws(x, np.eye(2))
    np.testing.assert_allclose(C @ C.T, S, rtol=0.05)
    C = runs._root_of_draws(np.full((2, 1, 2), 3.0), np.linalg.cholesky(S))
    np.testing.assert_allclose(C @ C.T, S * 20 / 22, rtol=1e-12)


# ---------------------------------------------------------------- what is asked for, and what is said


@pytest.mark.parametrize(
    ("words", "draws", "min_ess"),
    [
        ({}, 1000, 1000.0),
        ({"min_ess": 50.0}, 1000, 50.0),
        ({"draws": 7}, 7, None),
        ({"draws": 7, "min_ess": 50.0}, 7, 50.0),
    ],
)
def test_settled__goes_on_unless_only_draws_are_given(words, draws, min_ess):
    settled = SamplerSettings(**words).settled(at_boundary=False)
    assert (settled.draws, settled.min_ess, settled.limit) == (draws, min_ess, LIMIT * draws)


def test_settled__fewer_draws_to_begin_with_where_evaluations_are_dear():
    assert SamplerSettings().settled(False, dear=True).draws == 250
    assert SamplerSettings(min_ess=400).settled(False, dear=True).draws == 250
    assert SamplerSettings(draws=900).settled(False, dear=True).draws == 900


def test_settled__acceptance_seed_and_progress():
    settled = [SamplerSettings(seed=np.int64(3)).settled(at_boundary=edge) for edge in (False, True)]
    assert [s.target_accept for s in settled] == [0.9, 0.95]
    assert [s.seed for s in settled] == [3, 3]
    assert type(settled[0].seed) is int
    assert settled[0].progress is False  # no terminal here
    assert SamplerSettings().settled(False).seed != SamplerSettings().settled(False).seed
    assert SamplerSettings(target_accept=0.7).settled(at_boundary=True).target_accept == 0.7


def test_words__are_those_of_nutpie():
    words = SamplerSettings(draws=5, seed=1).settled(at_boundary=False).words
    assert words == {
        "draws": 5, "tune": 200, "chains": 4, "cores": 2, "seed": 1, "target_accept": 0.9, "progress_bar": False
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"draws": 0}, "draws must be at least 1, not 0"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"chains": 2.5}, "chains must be a whole number, not 2.5"),
        ({"tune": True}, "tune must be a whole number, not True"),
        ({"target_accept": 1.0}, "target_accept must lie between 0 and 1, not 1.0"),
        ({"target_accept": -0.1}, "target_accept must lie between 0 and 1, not -0.1"),
        ({"min_ess": 0.5}, "min_ess must be at least 1, not 0.5"),
        ({"min_ess": float("nan")}, "min_ess must be at least 1, not nan"),
    ],
)
def test_settings__raise(words, message):
    with pytest.raises(SpecError, match=message):
        SamplerSettings(**words)


def test_shortage__where_the_limit_came_first():
    fit = fit_reml(make_design())
    trace = trace_of(fit.design, reml=fit, min_ess=1e6, draws=1)
    reason = shortage(trace, 20, fit)
    assert re.search(r"stopped at its limit of 20 draws per chain: .*_cov\[.*\] \(.* a draw", reason)
    assert trace.attrs["min_ess"] == 1e6
    verdict = convergence(trace)
    assert not verdict.converged
    assert "is under 1000000: run more draws" in str(verdict)


def test_sample__raises_on_an_ess_below_one():
    with pytest.raises(SpecError, match=r"min_ess must be at least 1, not 0\.5"):
        sample(make_design(), min_ess=0.5)


# ---------------------------------------------------------------- NUTS


def islands(_posterior, centre, root, _threads):
    """Log density of normals around multiples of 1000, which no chain crosses between, and its gradient by z."""

    def density(z):
        off = centre + root @ z
        off -= 1000.0 * np.round(off / 1000.0)
        return -0.5 * float(off @ off), -root.T @ off

    return density


@pytest.mark.slow
def test_resume__every_chain_goes_on_where_it_stood(monkeypatch):
    monkeypatch.setattr(runs, "sampler_density", islands)
    islets = 1000.0 * np.array([3.0, 0.0, 2.0, 1.0])
    x = islets[:, None, None] + np.random.default_rng(1).normal(size=(4, 20, 2))
    frame = runs.Metric(np.zeros(2), np.eye(2))
    settings = SamplerSettings(seed=1, draws=60).settled(at_boundary=False)
    # The covariance of draws so far apart would let the chains jump.
    monkeypatch.setattr(runs, "_root_of_draws", lambda x, root: root)
    got = runs.resume(None, frame, settings, Run(x, xr.Dataset()), 60, 1)
    assert got.x.shape == (4, 60, 2)
    np.testing.assert_allclose(got.x, islets[:, None, None] + np.zeros(got.x.shape), atol=10.0)
    np.testing.assert_allclose(got.x.std(axis=1), 1.0, rtol=0.5)


@pytest.mark.slow
def test_sample__extends_itself_and_repeats_whatever_the_cores():
    design = load_design("models/canty_us.toml")
    words = {"draws": 60, "min_ess": 900.0, "seed": 3, "reml": fit_reml(design)}
    one, again = (sample(design, cores=c, **words) for c in (2, 1))
    xr.testing.assert_identical(one["posterior"].to_dataset(), again["posterior"].to_dataset())
    assert convergence(one).converged
    assert 60 < one["posterior"].sizes["draw"] < 60 * LIMIT
