"""Exact posteriors of traits that are not Gaussian: against a grid, a published answer, and priors (calibration)."""

import numpy as np
import pandas as pd
import pytest
from not_gaussian import FAMILIES, design, written_out
from published import pedigree, table
from scipy import stats
from scipy.special import expit

import bayesmv as bmv

pytestmark = pytest.mark.slow


def test_binary_variance__is_the_posterior_on_a_grid():
    d = design(("z",), random="f", fixed="1")
    trace = bmv.sample(d, draws=2000, tune=400, chains=4, seed=5, cores=1)
    verdict = bmv.convergence(trace)
    assert verdict.divergences == 0
    assert verdict.worst_rhat < 1.01
    sd = trace["posterior"]["f_sd"].to_numpy()[..., 0]
    middles = 0.005 + 0.01 * np.arange(250)
    logs = np.array([written_out(d, each) for each in middles]) - 0.5 * middles**2
    weight = np.exp(logs - logs.max())
    cdf = np.cumsum(weight) / weight.sum()
    # Some 4,000 effective draws in the tails: 4.4 standard errors, a false alarm in 1 of 10,000 without a seed.
    for k in (1, 4, 9, 19, 29, 49, 69):
        below = float((sd < middles[k] + 0.005).mean())
        assert below == pytest.approx(cdf[k], abs=4.4 * np.sqrt(cdf[k] * (1 - cdf[k]) / 4000.0))


def test_censored_variances__are_the_posterior_on_a_grid():
    d = design(("t",), random="f", fixed="1")
    prior = bmv.CovariancePrior(sd=bmv.HalfNormal(1.0))
    trace = bmv.sample(d, draws=2000, tune=400, chains=4, seed=5, cores=1, priors={"f": prior, "Residual": prior})
    assert bmv.convergence(trace).divergences == 0
    of_f, of_e = 0.04 + 0.08 * np.arange(20), 0.56 + 0.03 * np.arange(22)
    logs = np.array([[written_out(d, s, d.families[0], r) - 0.5 * (s**2 + r**2) for r in of_e] for s in of_f])
    weight = np.exp(logs - logs.max())
    for name, nodes, axis in (("f_sd", of_f, 1), ("Residual_sd", of_e, 0)):
        density = weight.sum(axis=axis) / weight.sum()
        drawn = trace["posterior"][name].to_numpy().reshape(-1) / d.scale[0]
        mean = density @ nodes
        sd = np.sqrt(density @ (nodes - mean) ** 2)
        # Some 2,000 effective draws: 4.4 standard errors; of the standard deviation 1 / √(2 n).
        assert drawn.mean() == pytest.approx(mean, abs=4.4 * sd / np.sqrt(2000.0))
        assert drawn.std() == pytest.approx(sd, rel=4.4 / np.sqrt(4000.0) + 0.02)


@pytest.mark.published("phoenix")
def test_phoenix__binary_animal_model():
    """Heritability of the liability .522 (.365, .674), of the data .299: MCMCglmm, wamwiki (see PROVENANCE.md)."""
    animals = bmv.Relationship.from_pedigree(pedigree("phoenix"))
    spec = bmv.ModelSpec.from_formula("White ~ 1", random="animal", families={"White": "binary"})
    d = bmv.build_design(spec, table("phoenix"), {"animal": animals})
    trace = bmv.sample(d, draws=1000, tune=400, chains=4, seed=1, cores=1)
    found = bmv.genetic_parameters(trace, "animal").set_index("parameter").loc["heritability"]
    assert found["median"] == pytest.approx(0.522, abs=0.02)
    assert found["hdi_low"] == pytest.approx(0.365, abs=0.03)
    assert found["hdi_high"] == pytest.approx(0.674, abs=0.03)
    variance = trace["posterior"]["animal_cov"].to_numpy().reshape(-1)
    means = trace["posterior"]["fixed"].to_numpy().reshape(-1, 1)
    observed = bmv.data_scale(means, variance, variance, "binary").set_index("parameter")
    assert observed.loc["heritability", "median"] == pytest.approx(0.299, abs=0.02)
    own = bmv.observed_scale(trace, genetic="animal", relationship="animal", design=d, max_draws=4000)
    assert own.set_index("parameter").loc["heritability", "median"] == pytest.approx(
        observed.loc["heritability", "median"], abs=1e-6
    )


def gammas(shape, n, rng):
    """Gamma deviates of mean 1."""
    return rng.gamma(shape, 1.0 / shape, n)


@pytest.mark.parametrize("trait", ["z", "c", "o", "n", "i"])
def test_calibration__ranks_are_uniform(trait):
    """40 data sets with a variance from its prior: the rank of the truth among thinned draws (Talts et al. 2018)."""
    rng, ranks = np.random.default_rng(8), []
    prior = bmv.CovariancePrior(sd=bmv.HalfNormal(1.0))
    for seed in range(40):
        sd = abs(rng.normal())
        f = np.repeat(np.arange(30), 6)
        eta = 0.3 * rng.normal() + sd * rng.normal(size=30)[f]
        noise = rng.normal(size=len(f))
        values = {
            "z": (eta + noise > 0).astype(float),
            "c": rng.poisson(np.exp(np.minimum(eta + abs(rng.normal()) * noise, 12.0))),
            "n": rng.poisson(np.exp(np.minimum(eta, 12.0)) * gammas(np.exp(1.0 + 1.5 * rng.normal()), len(f), rng)),
            "i": rng.poisson(np.exp(np.minimum(eta + abs(rng.normal()) * noise, 12.0)))
            * (rng.uniform(size=len(f)) < expit(1.5 * rng.normal())),
            "o": 1.0 + (eta + noise > 0.0) + (eta + noise > np.exp(rng.normal()) * np.sqrt(1.0 + sd**2)),
        }[trait]
        if len(np.unique(values)) < (3 if trait == "o" else 2):
            continue
        if trait == "i" and not (values == 0).any():
            continue
        family = FAMILIES[trait]
        spec = bmv.ModelSpec.from_formula("t ~ 1", random="f", families={"t": family})
        d = bmv.build_design(spec, pd.DataFrame({"f": [f"F{i}" for i in f], "t": values}))
        priors = {"f": prior} | ({"Residual": prior} if trait in "ci" else {})
        trace = bmv.sample(d, draws=250, tune=250, chains=1, seed=seed, cores=1, priors=priors)
        draws = trace["posterior"]["f_sd"].to_numpy()[..., 0].reshape(-1)[::5]
        ranks.append(((draws < sd).sum() + 0.5) / (len(draws) + 1))
    # The mean over a flat prior of μ is not drawn from its prior: gross errors only. False alarm 0.1 %.
    assert stats.kstest(ranks, "uniform").pvalue > 0.001


def test_calibration__gaussian_and_binary_with_correlated_residuals():
    """40 data sets with correlations from LKJ(1): ranks of both correlations and of the sd of the liability."""
    rng, ranks = np.random.default_rng(9), []
    prior = bmv.CovariancePrior(sd=bmv.HalfNormal(1.0))
    spec = bmv.ModelSpec.from_formula("y + z ~ 1", random="us(trait):f", families={"z": "binary"})
    f = np.repeat(np.arange(30), 7)
    for seed in range(40):
        sd, (r_f, r_e) = np.abs(rng.normal(size=2)), rng.uniform(-1.0, 1.0, 2)
        roots = [np.linalg.cholesky([[1.0, r], [r, 1.0]]) for r in (r_f, r_e)]
        u = rng.normal(size=(30, 2)) @ roots[0].T * sd
        e = rng.normal(size=(len(f), 2)) @ roots[1].T
        # The prior of a Gaussian trait is in units of its standard deviation, which is then about 1.
        scale = 1.0 / np.sqrt(1.0 + sd[0] ** 2)
        y, liability = (scale * (u[f, 0] + e[:, 0]), 0.3 * rng.normal() + u[f, 1] + e[:, 1])
        if not 10 <= (liability > 0).sum() <= len(f) - 10:
            continue
        data = pd.DataFrame({"f": [f"F{i}" for i in f], "y": y, "z": (liability > 0).astype(float)})
        d = bmv.build_design(spec, data)
        priors = {"f": prior, "Residual": prior}
        trace = bmv.sample(d, draws=250, tune=250, chains=1, seed=seed, cores=1, priors=priors)
        posterior = trace["posterior"]
        drawn = (
            (posterior["f_corr"].to_numpy()[..., 0, 1], r_f),
            (posterior["Residual_corr"].to_numpy()[..., 0, 1], r_e),
            (posterior["f_sd"].to_numpy()[..., 1], sd[1]),
        )
        ranks.append([((x.reshape(-1)[::5] < true).sum() + 0.5) / 51.0 for x, true in drawn])
    assert len(ranks) > 30
    for each in np.array(ranks).T:
        assert stats.kstest(each, "uniform").pvalue > 0.001
