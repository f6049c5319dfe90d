"""Predictive densities of posteriors: weights against brute force, blocks, what is said of them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from oracles import Dense, simple_case
from scipy.special import logsumexp
from traces import incomplete, make_design, records, some_draws, trace_of

from bayesmv.comparison.predictive import PredictiveDensity, predictive_density
from bayesmv.errors import SpecError
from bayesmv.likelihood.sparse.leave_out import LeaveOut
from bayesmv.posterior.log_posterior import log_posterior


@pytest.fixture(scope="module")
def design():
    return make_design(data=incomplete(records()))


@pytest.fixture(scope="module")
def trace(design):
    return trace_of(design, some_draws(log_posterior(design), spread=0.1))


def integral(log_values):
    """Logarithm of the trapezoidal sum over the grid of 15 × 15 points, but for a constant."""
    ends = np.ones(15)
    ends[[0, -1]] = 0.5
    return logsumexp(log_values, b=np.outer(ends, ends).reshape(-1))


@pytest.mark.slow
def test_predictive_density__equals_the_posterior_without_the_block():
    """One trait in two variances, in a box: draws by rejection, posteriors by quadrature, likelihoods by dense V."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(list("abcdef"), 4)})
    data["y1"] = np.repeat(rng.normal(size=6), 4) + rng.normal(size=24)
    case = simple_case(["y1"], "g", data)
    posterior = log_posterior(case.design)
    blocks, coordinates = case.design.blocks, posterior.coordinates
    grid = np.array(list(product(np.linspace(-2.0, 1.0, 15), np.linspace(-0.5, 0.5, 15))))
    log_full = np.array([posterior.value(x) for x in grid])
    tried = rng.uniform([-2.0, -0.5], [1.0, 0.5], (12000, 2))
    kept = np.array([posterior.value(x) for x in tried]) - log_full.max() - 0.05 > np.log(rng.random(len(tried)))
    found = predictive_density(trace_of(case.design, tried[kept][None]), case.design, "g", max_draws=1000)
    assert (found.draws, list(found.labels)) == (1000, list("abcdef"))

    def logliks(data):
        """Dense log-likelihoods over the grid; V is linear in the two variances."""
        unit = Dense(simple_case(["y1"], "g", data), [np.eye(1), np.eye(1)])
        among, X, y = unit.Z[0] @ unit.K[0] @ unit.Z[0].T, unit.X, unit.y
        out = []
        for x in grid:
            (g,), (r,) = (S[0] * case.design.scale[0] ** 2 for S in blocks.matrices(coordinates.constrain(x)))
            V = g * among + r * np.eye(len(y))
            Vi_X, Vi_y = np.linalg.solve(V, X), np.linalg.solve(V, y)
            P_y = Vi_y - Vi_X @ np.linalg.solve(X.T @ Vi_X, X.T @ Vi_y)
            out.append(np.linalg.slogdet(V)[1] + np.linalg.slogdet(X.T @ Vi_X)[1] + y @ P_y)
        return -0.5 * (np.array(out) + (len(y) - X.shape[1]) * np.log(2.0 * np.pi))

    whole = logliks(data)
    for level in (2, 3, 4):
        change = whole - logliks(data.assign(y1=data["y1"].where(data["g"] != "abcdef"[level])))
        before = log_full - change  # log posterior that has not seen the level
        mean, square = integral(before) - integral(log_full), integral(before - change) - integral(log_full)
        # Four standard errors of 1000 weights 1/p: three false alarms in 16,000, were the seed not fixed.
        error = 4.0 * np.sqrt(np.expm1(square - 2.0 * mean) / 1000)
        assert error < 0.1
        assert found.log_density[level] == pytest.approx(integral(log_full) - integral(before), abs=error)
        assert found.fitted[level] == pytest.approx(integral(log_full + change) - integral(log_full), abs=error)
        assert found.fitted[level] - found.log_density[level] > error


def test_predictive_density__given_covariances_need_no_weights(design):
    x = np.repeat(some_draws(log_posterior(design), 1, 1), 30, axis=1)
    found = predictive_density(trace_of(design, x), design)
    sigmas = design.blocks.matrices(log_posterior(design).coordinates.constrain(x[0, 0]))
    expected = LeaveOut(design, np.arange(len(design.units))).log_density(sigmas)
    np.testing.assert_allclose(found.log_density, expected, rtol=1e-8)
    assert found.p_loo == pytest.approx(0.0, abs=1e-8)
    assert (found.pareto_k < 0.7).all()


def test_predictive_density__blocks(design, trace):
    units = predictive_density(trace, design, max_draws=50)
    assert (units.by, len(units.labels), units.draws) == ("unit", len(design.units), 50)
    np.testing.assert_array_equal(units.records, design.observed.sum(axis=1))
    families = predictive_density(trace, design, "family", max_draws=50)
    assert (families.by, sorted(families.labels)) == ("family", list(design.term("family").levels))
    assert families.records.sum() == design.n_records
    labels = incomplete(records())["family"]
    given = predictive_density(trace, design, labels, max_draws=50)
    pd.testing.assert_frame_equal(given.frame, families.frame)
    assert list(given.frame.columns) == ["family", "records", "log_density", "pareto_k"]


def test_predictive_density__units_of_the_data_shift_it_by_the_jacobian():
    data = incomplete(records())
    plain, scaled = make_design(data=data), make_design(data=data.assign(y1=1000.0 * data["y1"]))
    x = some_draws(log_posterior(plain), spread=0.1)
    one, other = (predictive_density(trace_of(d, x), d, max_draws=40) for d in (plain, scaled))
    np.testing.assert_allclose(
        other.log_density, one.log_density - np.log(1000.0) * plain.observed[:, 0], rtol=1e-6, atol=1e-6
    )


def test_predictive_density__raises(design, trace):
    with pytest.raises(
        SpecError, match="the posterior and the design are not of the same model and data; they differ in random terms"
    ):
        predictive_density(trace, make_design("us(trait):family"))
    with pytest.raises(SpecError, match="no random term 'herd'; random terms: 'block', 'family'"):
        predictive_density(trace, design, "herd")
    with pytest.raises(SpecError, match=r"`by` has 3 labels for 64 units; give one for every unit"):
        predictive_density(trace, design, ["a", "b", "c"])
    with pytest.raises(SpecError, match=r"10 draws are too few to weight; at least 25"):
        predictive_density(trace, design, max_draws=10)


def density(design, log_density, k):
    log_density = np.array(log_density)
    return PredictiveDensity(
        design=design,
        by="unit",
        labels=pd.Index(["u", "v", "w"][: len(log_density)]),
        records=np.ones(len(log_density), dtype=np.int64),
        log_density=log_density,
        fitted=log_density + 0.5,
        pareto_k=np.array(k),
        draws=400,
    )


def test_predictive_density__says_what_it_found(design):
    found = density(design, [-1.0, -3.0, -2.0], [0.1, 0.9, 0.75])
    assert (found.elpd, found.p_loo, found.high_k) == (-6.0, 1.5, 2)
    assert found.se == pytest.approx(np.sqrt(3.0))  # √(3 var), the variance being 1
    assert found.warning.startswith("2 of 3 blocks have Pareto k above 0.7 (largest 0.90, v): the covariances depend")
    assert str(found).startswith("elpd = -6.00 (s.e. 1.73) over 3 blocks (unit), p_loo = 1.50; 2 of 3 blocks")
    fine = density(design, [-1.0, -3.0, -2.0], [0.1, 0.2, 0.3])
    assert (fine.warning, str(fine)) == ("", "elpd = -6.00 (s.e. 1.73) over 3 blocks (unit), p_loo = 1.50")
    assert np.isnan(density(design, [-1.0], [0.1]).se)
