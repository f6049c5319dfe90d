"""Convergence: the statistics on draws whose answers are known, and the judgement in words."""

import numpy as np
import pytest
from traces import make_design, some_draws, trace_of

from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.sampling.convergence import Convergence, convergence, draw_statistics, higher_acceptance, steadied
from bayesmv.sampling.trace import draws_of

GOOD = {
    "worst_rhat": 1.003,
    "smallest_bulk_ess": 2100.4,
    "smallest_tail_ess": 1800.6,
    "divergences": 0,
    "chains": 4,
}


def autoregressive(phi, chains=4, draws=4000, seed=1):
    rng = np.random.default_rng(seed)
    x = np.empty((chains, draws))
    x[:, 0] = rng.normal(size=chains)
    for i in range(1, draws):
        x[:, i] = phi * x[:, i - 1] + np.sqrt(1 - phi**2) * rng.normal(size=chains)
    return x


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.8])
def test_draw_statistics__bulk_ess_of_an_autoregression(phi):
    """n (1 - φ) / (1 + φ): the estimate is within 15 % with 16,000 draws; seeded."""
    got = draw_statistics(autoregressive(phi))
    assert got["ess_bulk"] == pytest.approx(16_000 * (1 - phi) / (1 + phi), rel=0.15)
    assert got["r_hat"] == pytest.approx(1.0, abs=0.01)
    assert 0 < got["ess_tail"] < 30_000


def test_draw_statistics__do_not_depend_on_location_and_scale():
    x = autoregressive(0.5, draws=500)
    for other in (1e-9 * x, 1e9 * x, 5.0 - 3.0 * x):
        assert draw_statistics(other)["ess_bulk"] == pytest.approx(draw_statistics(x)["ess_bulk"], rel=1e-6)


def test_draw_statistics__a_chain_elsewhere_shows():
    x = autoregressive(0.0, draws=500)
    x[2] += 3.0
    got = draw_statistics(x)
    assert got["r_hat"] > 1.3
    assert got["ess_bulk"] < 50


def test_draw_statistics__one_chain_has_no_r_hat():
    got = draw_statistics(autoregressive(0.0, chains=1))
    assert np.isnan(got["r_hat"])
    assert got["ess_bulk"] > 3000


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-300, -7e5])
def test_draw_statistics__nothing_to_say_of_constants(value):
    got = draw_statistics(np.full((4, 100), value))
    assert set(got) == {"ess_bulk", "ess_tail", "r_hat"}
    assert np.isnan(list(got.values())).all()


def test_draw_statistics__rounding_of_a_constant_is_a_constant():
    draws = 1.0 + np.random.default_rng(0).integers(-1, 2, (4, 100)) * 1e-16
    assert np.isnan(list(draw_statistics(draws).values())).all()


def test_convergence__good():
    verdict = Convergence(**GOOD)
    assert verdict.converged
    assert verdict.problems == ()
    assert str(verdict) == "converged: R-hat ≤ 1.003, bulk ESS ≥ 2100, tail ESS ≥ 1801, 0 divergences, 4 chains"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"worst_rhat": 1.0101}, "R-hat 1.010 is over 1.01: run more draws"),
        ({"worst_rhat": 1.2}, "R-hat 1.200 is over 1.01: run more draws"),
        ({"worst_rhat": np.nan}, "R-hat nan is over 1.01: run more draws"),
        ({"smallest_bulk_ess": 399.0}, "effective sample size 399 is under 400: run more draws"),
        ({"smallest_tail_ess": 20.0}, "effective sample size 20 is under 400: run more draws"),
        ({"divergences": 3}, "3 divergent transitions: raise target_accept, to 0.95 for example"),
        (
            {"divergences": 3, "target_accept": 0.95},
            "3 divergent transitions: raise target_accept, to 0.983 for example",
        ),
        (
            {"divergences": 3, "target_accept": 0.994},
            "3 divergent transitions: a simpler structure or a tighter prior would help",
        ),
        ({"chains": 1, "worst_rhat": np.nan}, "one chain cannot show convergence: run at least 2"),
    ],
)
def test_convergence__each_problem_in_words(change, problem):
    verdict = Convergence(**GOOD | change)
    assert verdict.problems == (problem,)
    assert not verdict.converged
    assert str(verdict).startswith("NOT converged: R-hat ≤ ")
    assert str(verdict).endswith(". " + problem)


@pytest.mark.parametrize(
    "change", [{"worst_rhat": 1.01}, {"smallest_bulk_ess": 400.0, "smallest_tail_ess": 400.0}, {"chains": 18}]
)
def test_convergence__limits_themselves_pass(change):
    assert Convergence(**GOOD | change).converged


def test_convergence__all_problems_are_named():
    verdict = Convergence(worst_rhat=2.0, smallest_bulk_ess=5.0, smallest_tail_ess=5.0, divergences=1, chains=2)
    assert len(verdict.problems) == 3


# ---------------------------------------------------------------- of a trace


@pytest.fixture(scope="module")
def draws():
    """Independent draws of the covariances of a diagonal and an unstructured matrix."""
    posterior = log_posterior(make_design("diag(trait):block"))
    return posterior.design, some_draws(posterior, 4, 500)


def test_convergence__of_a_trace_is_the_worst_covariance_or_correlation(draws):
    design, x = draws
    trace = trace_of(design, x)
    verdict = convergence(trace)
    statistics = []
    for name in ("block_cov", "Residual_cov", "Residual_corr"):
        values = draws_of(trace, name).to_numpy()
        entries = [(0, 0), (1, 0), (1, 1)] if name == "Residual_cov" else [(0, 0), (1, 1)]
        entries = [(1, 0)] if name == "Residual_corr" else entries
        statistics += [draw_statistics(values[..., i, j]) for i, j in entries]
    assert verdict.worst_rhat == max(s["r_hat"] for s in statistics)
    assert verdict.smallest_bulk_ess == min(s["ess_bulk"] for s in statistics)
    assert verdict.smallest_tail_ess == min(s["ess_tail"] for s in statistics)
    assert (verdict.divergences, verdict.chains, verdict.converged) == (0, 4, True)


def test_convergence__counts_divergences(draws):
    design, x = draws
    assert convergence(trace_of(design, x, divergences=7)).divergences == 7


def test_convergence__one_chain_elsewhere(draws):
    design, x = draws
    x = x.copy()
    x[1, :, 0] += 1.0
    verdict = convergence(trace_of(design, x))
    assert verdict.worst_rhat > 1.1
    assert not verdict.converged


def test_convergence__nothing_moved(draws):
    design, x = draws
    verdict = convergence(trace_of(design, np.broadcast_to(x[0, 0], x.shape)))
    assert np.isnan(verdict.worst_rhat)
    assert not verdict.converged


def test_convergence__draws_that_are_not_finite_are_a_problem(draws):
    design, x = draws
    trace = trace_of(design, x)
    draws_of(trace, "block_cov").to_numpy()[0, 3, 0, 0] = np.nan
    assert not convergence(trace).converged


@pytest.mark.parametrize("accept", [0.0, 0.5, 0.9, 0.95, 0.983, 0.9899])
def test_higher_acceptance__is_never_the_one_in_use(accept):
    assert max(accept, 0.949) < higher_acceptance(accept) < 1.0
    assert f"{higher_acceptance(accept):g}" in Convergence(**GOOD, target_accept=accept).less_divergence


@pytest.mark.parametrize(
    ("change", "rare"),
    [
        ({}, False),
        ({"divergences": 1}, True),
        ({"divergences": 3}, True),
        ({"divergences": 4}, False),
        ({"divergences": 1, "worst_rhat": 1.02}, False),
        ({"divergences": 1, "smallest_tail_ess": 300.0}, False),
        ({"divergences": 1, "not_finite": 1}, False),
        ({"divergences": 1, "draws": 100}, True),
        ({"divergences": 2, "draws": 100}, False),
    ],
)
def test_rarely_diverged__few_and_all_else_well(change, rare):
    assert Convergence(**{**GOOD, "draws": 1000, **change}).rarely_diverged == rare


def verdict_of(divergences):
    return Convergence(**{**GOOD, "draws": 1000, "divergences": divergences})


@pytest.mark.parametrize(
    ("counts", "accepts"),
    [
        ([0], []),
        ([9], []),
        ([1, 0], [0.967]),
        ([1, 9], [0.967]),
        ([1, 1, 0], [0.967, 0.989]),
        ([1, 1, 1, 1], [0.967, 0.989, 0.996]),
    ],
)
def test_steadied__goes_on_at_a_higher_acceptance_until_nothing_diverges(counts, accepts):
    """Runs here are numbers: that of the run among those that follow each other."""
    asked = []

    def again(run, accept):
        asked.append(accept)
        return run + 1

    end = steadied(0, again, lambda run: verdict_of(counts[run]), 0.9)
    assert (end, asked) == (len(counts) - 1, accepts)


def test_convergence__knows_the_acceptance_in_use():
    trace = trace_of(make_design())
    assert convergence(trace).target_accept == 0.0
    trace["sample_stats"].attrs["inference_library_settings"] = '{"target_accept": 0.95}'
    assert convergence(trace).target_accept == 0.95
