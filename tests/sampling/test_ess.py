"""Statistics of draws against arviz_stats, and against what is known of them."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from bayesmv.sampling.ess import bulk_ess, r_hat, shortest_interval, tail_ess

KINDS = ("independent", "slow", "antithetic", "rounded", "heavy", "apart")


def draws_of_kind(kind, chains, draws):
    rng = np.random.default_rng([len(kind), chains, draws])
    noise = rng.normal(size=(chains, draws))
    if kind in ("slow", "antithetic"):
        phi = 0.9 if kind == "slow" else -0.5
        for i in range(1, draws):
            noise[:, i] += phi * noise[:, i - 1]
    changed = {"rounded": np.round(noise, 1), "heavy": noise**5, "apart": noise + np.arange(chains)[:, None]}
    return changed.get(kind, noise)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 1000), (2, 501), (3, 40), (4, 10), (2, 7), (1, 300)])
def test_sizes_and_r_hat__those_of_arviz(kind, shape):
    x = draws_of_kind(kind, *shape)
    assert bulk_ess(x) == pytest.approx(float(array_stats.ess(x, method="bulk")), rel=1e-9)
    assert tail_ess(x) == pytest.approx(float(array_stats.ess(x, method="tail", prob=(0.05, 0.95))), rel=1e-9)
    if shape[0] > 1:
        assert r_hat(x) == pytest.approx(float(array_stats.rhat(x)), rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 19, 20, 4000])
def test_shortest_interval__that_of_arviz(kind, n):
    x = draws_of_kind(kind, 1, n).reshape(-1)
    np.testing.assert_array_equal(shortest_interval(x, 0.95), array_stats.hdi(x, 0.95))


def test_shortest_interval__over_the_first_axis():
    x = np.random.default_rng(0).normal(size=(200, 3, 2))
    low, high = shortest_interval(x, 0.9)
    assert low.shape == high.shape == (3, 2)
    assert (low[1, 1], high[1, 1]) == shortest_interval(x[:, 1, 1], 0.9)
    np.testing.assert_array_equal(((x >= low) & (x <= high)).sum(axis=0), 181)


@pytest.mark.parametrize("statistic", [bulk_ess, tail_ess, r_hat])
def test_statistics__too_few_draws(statistic):
    assert np.isnan(statistic(np.random.default_rng(0).normal(size=(4, 3))))


def test_r_hat__one_chain():
    assert np.isnan(r_hat(np.random.default_rng(0).normal(size=(1, 100))))


def test_r_hat__chains_that_never_moved():
    assert r_hat(np.repeat([[0.0], [1.0]], 50, axis=1)) == np.inf
