"""Densities and draws of records given effects, where traits are not Gaussian."""

import arviz as az
import numpy as np
import pytest
from not_gaussian import design, draws_near_the_mode, table
from scipy import integrate, stats

import bayesmv as bmv
from bayesmv import dims
from bayesmv.estimates.records_given_effects import RecordsGivenEffects, prior_families

KINDS = ("y", "z", "c", "o", "m")


@pytest.fixture(scope="module")
def d():
    return design(KINDS, random="diag(trait):f")


@pytest.fixture(scope="module")
def trace(d):
    return draws_near_the_mode(d, np.arange(len(d.term("f").levels)), n=20)


@pytest.fixture(scope="module")
def rich(trace, d):
    return bmv.enrich(trace, d)


def predictor(trace, d, at, trait, i):
    """η of a unit, from what the trace says."""
    posterior = trace["posterior"].to_dataset()
    names = [f"{trait}:{v}" for v in d.fixed.variables]
    beta = posterior["fixed"].sel(coefficient=names).to_numpy()[at]
    level = table().f[int(d.units[i])]
    u = posterior[dims.effect_name("f")].sel({dims.level_dim("f"): level}).to_numpy()[at]
    return float(d.fixed.X.toarray()[i] @ beta + u[KINDS.index(trait)])


@pytest.mark.parametrize("i", [0, 20, 77])
def test_log_likelihood__is_the_density_of_a_record_given_its_effects(trace, rich, d, i):
    at = (1, 7)
    posterior, found = trace["posterior"].to_dataset(), rich["log_likelihood"].to_dataset()
    eta = {t: predictor(trace, d, at, t, i) for t in KINDS}
    y = dict(zip(KINDS, d.response[i], strict=True))
    variance = np.diag(posterior["Residual_cov"].to_numpy()[at])
    cut = float(posterior[dims.family_name("o", "thresholds")].to_numpy()[at][0])
    steps = stats.norm.cdf(np.array([0.0, cut]) - eta["o"])
    sd = np.sqrt(variance[2])
    count = integrate.quad(
        lambda e: stats.poisson.pmf(y["c"], np.exp(eta["c"] + e)) * stats.norm.pdf(e, 0.0, sd), -8 * sd, 8 * sd
    )[0]
    wanted = {
        "y": stats.norm.logpdf(y["y"], eta["y"], np.sqrt(variance[0])),
        "z": stats.norm.logcdf(eta["z"] if y["z"] else -eta["z"]),
        "c": np.log(count),
        "o": np.log(np.diff([0.0, *steps, 1.0])[int(y["o"]) - 1]),
        "m": stats.binom.logpmf(y["m"], 5, 1.0 / (1.0 + np.exp(-eta["m"]))),
    }
    for trait in KINDS:
        axis = next(str(dim) for dim in found[trait].dims if str(dim).endswith("unit"))
        mine = float(found[trait].sel({axis: str(d.units[i])}).to_numpy()[at])
        assert mine == pytest.approx(wanted[trait], rel=1e-6), trait


def test_units__have_the_sum_of_their_records(trace, rich, d):
    whole = bmv.enrich(trace, d, ("log_likelihood",), pointwise="unit")["log_likelihood"]["response"]
    records = rich["log_likelihood"].to_dataset()
    assert float(whole.sum()) == pytest.approx(sum(float(records[t].sum()) for t in KINDS))


def test_posterior_predictive__has_the_means_of_the_families(rich, trace, d):
    drawn = rich["posterior_predictive"].to_dataset()
    expected = np.mean([stats.norm.cdf(predictor(trace, d, (0, k), "z", 0)) for k in range(20)])
    mean = float(drawn["z"].isel({drawn["z"].dims[-1]: 0, "chain": 0}).mean())
    assert abs(mean - expected) < 4.0 * np.sqrt(0.25 / 20)
    assert set(np.unique(drawn["o"].to_numpy())) == {1.0, 2.0, 3.0}
    assert float(drawn["m"].max()) <= 5.0


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")
def test_loo__reads_it(rich):
    assert np.isfinite(az.loo(rich, var_name="c").elpd)


def correlated(traits):
    """Records given the effects of a draw, latent values, residual covariances and densities, data units."""
    d = design(tuple(traits), random="diag(trait):f", residual="us(trait):units")
    trace = draws_near_the_mode(d, np.arange(len(d.term("f").levels)), n=2)
    posterior, at = trace["posterior"].to_dataset(), (0, 1)
    sigmas = [d.to_working_units(n, posterior[f"{n}_cov"].to_numpy()[at]) for n in d.names]
    given = RecordsGivenEffects(posterior, d)
    return d, given.predictor(at), posterior["Residual_cov"].to_numpy()[at], *given.log_density(at, sigmas)


def test_correlated_residuals__of_a_normal_and_a_binary_trait():
    d, eta, R, records, units = correlated("yz")
    y, sign = d.response[:, 0], 2.0 * d.response[:, 1] - 1.0
    both, e = d.observed.all(axis=1), y - eta[:, 0]
    of_y = stats.norm.logpdf(e, 0.0, np.sqrt(R[0, 0]))
    rest = np.sqrt(R[1, 1] - R[0, 1] ** 2 / R[0, 0])
    of_z = stats.norm.logcdf(sign * (eta[:, 1] + R[0, 1] / R[0, 0] * e) / rest)
    np.testing.assert_allclose(units[both], (of_y + of_z)[both], rtol=1e-8)
    np.testing.assert_allclose(records[both, 1], of_z[both], rtol=1e-8)
    alone = stats.norm.logcdf(sign * eta[:, 1])
    np.testing.assert_allclose(records[both, 0], (of_y + of_z - alone)[both], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(units[~both], alone[~both], rtol=1e-8)


def test_correlated_residuals__of_two_binary_traits_are_the_bivariate_normal():
    d, eta, R, records, units = correlated("zv")
    signs = 2.0 * d.response - 1.0
    for unit in range(0, len(d.units), 10):
        s = signs[unit]
        joint = stats.multivariate_normal.cdf(s * eta[unit], cov=[[1.0, s.prod() * R[0, 1]], [s.prod() * R[0, 1], 1.0]])
        assert units[unit] == pytest.approx(np.log(joint), abs=2e-4)
        given = np.log(joint) - stats.norm.logcdf(s[1] * eta[unit, 1])
        assert records[unit, 0] == pytest.approx(given, abs=2e-4)


def test_correlated_residuals__of_a_normal_trait_and_a_count():
    d, eta, R, records, _ = correlated("yc")
    slope, rest = R[0, 1] / R[0, 0], np.sqrt(R[1, 1] - R[0, 1] ** 2 / R[0, 0])
    for unit in np.flatnonzero(d.observed.all(axis=1))[::20]:
        y, mean = d.response[unit], eta[unit, 1] + slope * (d.response[unit, 0] - eta[unit, 0])

        def integrand(e, y=y, mean=mean):
            return stats.poisson.pmf(y[1], np.exp(mean + rest * e)) * stats.norm.pdf(e)

        assert records[unit, 1] == pytest.approx(np.log(integrate.quad(integrand, -8.0, 8.0)[0]), rel=1e-5)


def test_effects_that_were_not_kept__are_asked_for(d):
    with pytest.raises(bmv.SpecError, match=r"holds no effects of .* sample with effects=True"):
        bmv.enrich(draws_near_the_mode(d, np.arange(2), n=3), d, ("log_likelihood",))


def test_prior_predictive__of_liabilities_with_their_variance_held():
    d = design(("y", "z", "o"), random="diag(trait):f", residual="us(y, z):units + idv(o):units")
    prior = bmv.prior_predictive(d, draws=400)
    R = prior["prior"]["Residual_cov"].to_numpy()[0]
    np.testing.assert_allclose(R[:, [1, 2], [1, 2]], 1.0)
    correlation = R[:, 0, 1] / np.sqrt(R[:, 0, 0])
    # LKJ(1) of two traits.
    assert stats.kstest(correlation, stats.uniform(-1.0, 2.0).cdf).pvalue > 0.01
    assert set(np.unique(prior["prior_predictive"]["o"].to_numpy())) == {1.0, 2.0, 3.0}


def test_prior_families__are_log_normal_relative_to_the_liability(d):
    rng, sigmas = np.random.default_rng(1), [0.5 * np.eye(5), np.eye(5)]
    logs = [np.log(prior_families(d, sigmas, rng)[d.traits.index("o")].numbers[0] / np.sqrt(1.5)) for _ in range(400)]
    assert stats.kstest(logs, stats.norm.cdf).pvalue > 0.01
