"""Runs that are ended: what is kept of them, and how they go on."""

import json
import signal
import threading
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import xarray as xr
from traces import make_design, trace_of

from bayesmv.errors import ConvergenceWarning, SpecError
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.reml import fit_reml
from bayesmv.sampling import sample as sampling
from bayesmv.sampling.batches import Logbook, Metric, Stage
from bayesmv.sampling.chains import Chains, CutShort
from bayesmv.sampling.convergence import acceptance, convergence, higher_acceptance
from bayesmv.sampling.sample import sample
from bayesmv.sampling.settings import SamplerSettings
from bayesmv.sampling.state import STATE, State
from bayesmv.sampling.trace import load_posterior, was_interrupted


def chains_of(*lengths, first=0.0):
    """Chains of given lengths whose draws count up."""
    x = [first + 100.0 * c + np.arange(n, dtype=float)[:, None] for c, n in enumerate(lengths)]
    stats = [
        {"accept": draws[:, 0] / 7.0, "diverging": draws[:, 0] > 3, "word": np.full(len(draws), None)} for draws in x
    ]
    return Chains(x=x, stats=stats)


@pytest.mark.parametrize(
    ("lengths", "kept", "draws"),
    [
        ((5, 5, 5), [0, 1, 2], 5),
        ((5, 4, 5), [0, 1, 2], 4),
        ((9, 0, 8, 0), [0, 2], 8),
        ((9, 1, 8, 2), [0, 2], 8),
        ((3, 0, 0, 0), [0], 3),
        ((6, 3), [0, 1], 3),
    ],
)
def test_chains__the_most_draws_of_chains_of_one_length(lengths, kept, draws):
    run = chains_of(*lengths).run()
    np.testing.assert_array_equal(run.x[:, :, 0], 100.0 * np.array(kept)[:, None] + np.arange(draws))
    np.testing.assert_array_equal(run.stats["accept"], run.x[:, :, 0] / 7.0)


def test_chains__no_draws():
    assert chains_of(0, 0).run() is None


def test_chains__of_a_run_and_after_each_other():
    both = chains_of(2, 3).then(chains_of(0, 4, first=10.0))
    assert both.lengths == [2, 7]
    np.testing.assert_array_equal(both.x[1][:, 0], [100, 101, 102, 110, 111, 112, 113])
    run = chains_of(4, 4).run()
    again = Chains.of(run).run()
    np.testing.assert_array_equal(again.x, run.x)
    xr.testing.assert_identical(again.stats, run.stats)


# ---------------------------------------------------------------- the state in a trace


def state(*lengths, **settings):
    chosen = SamplerSettings(seed=3, chains=len(lengths), **settings).settled(at_boundary=False)
    metric = Metric(np.array([1.0]), np.array([[2.0]]))
    return State(stage=Stage(chains_of(*lengths), 9, 12, 1), metric=metric, settings=chosen)


def with_state(given):
    trace = trace_of(make_design())
    trace[STATE] = xr.DataTree(given.to_dataset())
    return trace


def test_state__round_trip(tmp_path):
    effects = {"family": np.array([0, 2])}
    before = replace(state(4, 0, 7, min_ess=50.0), effects=effects)
    with_state(before).to_netcdf(tmp_path / "draws.nc")
    after = State.read(load_posterior(str(tmp_path / "draws.nc")))
    assert after.settings == before.settings
    assert after.stage[1:] == before.stage[1:]
    assert after.stage.chains.lengths == [4, 0, 7]
    for mine, theirs, stats in zip(before.stage.chains.x, after.stage.chains.x, after.stage.chains.stats, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(stats["accept"], mine[:, 0] / 7.0)
        assert stats["diverging"].dtype == bool
    np.testing.assert_array_equal(after.metric.root, before.metric.root)
    np.testing.assert_array_equal(after.effects["family"], [0, 2])


def test_state__more_draws_and_other_cores_but_not_another_seed():
    given = state(9, 9, draws=9)
    more = given.continued({"draws": 20, "cores": 1, "seed": 3, "chains": None})
    assert (more.settings.cores, more.stage.wanted, more.stage.drawn) == (1, 20, 23)
    assert given.continued({"draws": 5}).stage.wanted == 9
    with pytest.raises(
        SpecError, match=r"keeps its settings \(seed 3, chains 2\); leave out|keeps its settings \(chains 2"
    ):
        given.continued({"seed": 4, "chains": 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.0.1"}, r"cannot resume a run of bayesmv 0\.0\.1"),
        ({"settings": "["}, "cannot be read"),
        ({"stage": "[1]"}, "cannot be read"),
    ],
)
def test_state__raises(change, message):
    trace = with_state(state(4, 4))
    trace[STATE].attrs.update(change)
    with pytest.raises(SpecError, match=message):
        State.read(trace)


def test_resume__raises_on_other_runs():
    design = make_design()
    with pytest.raises(SpecError, match="does not say how its run stood"):
        sample(design, resume=trace_of(design))
    with pytest.raises(SpecError, match="the run to resume and the design are not of the same model"):
        sample(design, resume=trace_of(make_design(random="us(trait):family")))
    tight = {"family": CovariancePrior(sd=HalfStudentT(nu=5.0, scale=0.1))}
    with pytest.raises(SpecError, match=r"other priors of 'family'"):
        sample(design, resume=trace_of(design), priors=tight)
    with pytest.raises(SpecError, match="no file"):
        sample(design, resume="nowhere.nc")


# ---------------------------------------------------------------- what is kept when a run is ended


def test_logbook__what_stands_when_a_batch_is_cut():
    seen = []
    logbook = Logbook(seen.append)
    assert logbook.stage() is None
    logbook.begin(None, 6, 6, 0)
    assert logbook.stage(chains_of(0, 0)) is None
    assert logbook.stage(chains_of(4, 2))[1:] == (6, 6, 0)
    logbook.end(chains_of(6, 6).run())
    assert [stage.chains.lengths for stage in seen] == [[6, 6]]
    logbook.begin(chains_of(6, 6), 10, 10, 1)
    stage = logbook.stage(chains_of(3, 1))
    assert (stage.chains.lengths, stage.wanted, stage.drawn, stage.number) == ([9, 7], 10, 10, 1)
    # A batch in the place of one whose tuning did not suffice: until it has as many draws, those stand.
    logbook.begin(None, 8, 18, 2)
    assert logbook.stage(chains_of(0, 0)).chains.lengths == [6, 6]
    assert logbook.stage(chains_of(1, 2)).chains.lengths == [6, 6]
    assert logbook.stage(chains_of(8, 5))[1:] == (8, 18, 2)
    assert logbook.stage(chains_of(8, 5)).chains.lengths == [8, 5]


def test_settings__numbers_of_numpy_can_be_written():
    settings = SamplerSettings(min_ess=np.int64(100), target_accept=np.float32(0.75), chains=np.int64(3))
    assert json.loads(json.dumps(asdict(settings)))["min_ess"] == 100.0
    assert settings.target_accept == 0.75


def test_resume__defaults_of_settings_are_no_wishes():
    given = state(9, 9, draws=9, cores=1)
    more = given.continued(SamplerSettings(draws=20).chosen)
    assert (more.settings.chains, more.settings.cores, more.settings.seed, more.stage.wanted) == (2, 1, 3, 20)


@pytest.fixture(scope="module")
def fitted():
    design = make_design()
    return design, fit_reml(design)


WORDS = {"draws": 60, "min_ess": 700.0, "seed": 3, "tune": 100}


def cut_by(monkeypatch, name, fake):
    monkeypatch.setattr(sampling, name, fake)


def raise_interrupt(*_, **__):
    raise KeyboardInterrupt


def test_sample__interrupted_before_the_first_draw(fitted, monkeypatch):
    design, reml = fitted
    monkeypatch.setattr(sampling, "mode_metric", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample(design, reml=reml, **WORDS)


@pytest.mark.slow
def test_resume__at_the_end_of_a_batch_is_the_run_that_was_not_cut(fitted, monkeypatch, tmp_path):
    design, reml = fitted
    whole = sample(design, reml=reml, **WORDS)
    path = tmp_path / "draws.nc"
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "extend", raise_interrupt)
        with pytest.warns(ConvergenceWarning, match="interrupted: 60 draws of each of 4 chains are complete"):
            cut = sample(design, reml=reml, effects=["family"], checkpoint=path, **WORDS)
    assert was_interrupted(cut)
    assert cut["posterior"].sizes["draw"] == 60
    assert "family_effect" in cut["posterior"]
    # As after a power failure: nothing but the file.
    assert was_interrupted(load_posterior(str(path)))
    again = sample(design, reml=reml, resume=path)
    assert not was_interrupted(again)
    assert "family_effect" in again["posterior"]
    for name in ("family_cov", "Residual_cov"):
        xr.testing.assert_identical(again["posterior"][name], whole["posterior"][name])
    finished = sample(design, reml=reml, resume=again, min_ess=1500.0)
    assert finished["posterior"].sizes["draw"] > again["posterior"].sizes["draw"]
    assert convergence(finished).smallest_ess >= 1500.0


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 3])
def test_resume__in_the_middle_of_a_batch(fitted, monkeypatch, cores):
    """Chains cut to unequal lengths, and chains that had not begun, go on to the answer of a run that was not cut."""
    design, reml = fitted
    words = {**WORDS, "draws": 2000, "min_ess": None, "cores": cores}
    whole = sample(design, reml=reml, **words)
    run_nuts = sampling.batch

    def cut(*arguments):
        chains = run_nuts(*arguments)
        raise CutShort(chains.take(range(4), [400, 130, 7, 0]))

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "batch", cut)
        with pytest.warns(ConvergenceWarning, match="interrupted: 400 draws of each of 1 chains"):
            part = sample(design, reml=reml, **words)
    again = sample(design, reml=reml, resume=part)
    assert again["posterior"].sizes["chain"] == 4
    assert again["posterior"].sizes["draw"] == 2000
    assert convergence(again).converged
    for name in ("family_cov", "Residual_cov"):
        one, other = (t["posterior"][name].mean(("chain", "draw")) for t in (whole, again))
        sd = whole["posterior"][name].std(("chain", "draw"))
        # Monte Carlo error at an effective sample size of 1000 each: 0.045 sd; five of it in 12 comparisons.
        assert float((abs(one - other) / sd).max()) < 0.22


@pytest.mark.slow
def test_sample__interrupted_while_effects_are_drawn(fitted, monkeypatch):
    design, reml = fitted
    with monkeypatch.context() as patch:
        patch.setattr("bayesmv.sampling.trace.effect_dataset", raise_interrupt)
        with pytest.warns(ConvergenceWarning, match="interrupted: 60 draws of each of 4 chains are complete"):
            cut = sample(design, reml=reml, effects=["family"], **{**WORDS, "min_ess": None})
    assert was_interrupted(cut)
    assert "family_effect" not in cut["posterior"]
    again = sample(design, reml=reml, resume=cut)
    assert "family_effect" in again["posterior"]
    xr.testing.assert_identical(again["posterior"]["family_cov"], cut["posterior"]["family_cov"])


@pytest.mark.slow
def test_resume__at_the_acceptance_that_the_run_had_raised(fitted, monkeypatch):
    design, reml = fitted

    def raised(run, again, judged, accept):
        return again(run, higher_acceptance(accept)) if accept < 0.95 else run

    monkeypatch.setattr(sampling, "steadied", raised)
    words = {**WORDS, "draws": 100}
    whole = sample(design, reml=reml, **words)
    assert acceptance(whole["sample_stats"].attrs) == higher_acceptance(0.9)
    more = sample(design, reml=reml, resume=whole, draws=whole["posterior"].sizes["draw"] + 100)
    assert acceptance(more["sample_stats"].attrs) == higher_acceptance(0.9)
    n = whole["posterior"].sizes["draw"]
    xr.testing.assert_identical(more["posterior"]["family_cov"].isel(draw=slice(n)), whole["posterior"]["family_cov"])


@pytest.mark.slow
def test_sample__ctrl_c_while_chains_run(fitted):
    design, reml = fitted
    timer = threading.Timer(2.0, signal.raise_signal, (signal.SIGINT,))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        timer.start()
        trace = sample(design, reml=reml, draws=10**6, seed=1, cores=1)
    assert [str(w.message).split(":")[0] for w in said] == ["interrupted"]
    assert was_interrupted(trace)
    assert np.isfinite(trace["posterior"]["family_cov"]).all()
    assert trace["sample_stats"].sizes["draw"] == trace["posterior"].sizes["draw"]
