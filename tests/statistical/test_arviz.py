"""What `sample` returns, in the hands of ArviZ and of PyMC: nothing fails, nothing warns, and the numbers are right."""

import logging

import arviz as az
import arviz_plots as azp
import numpy as np
import pymc as pm
import pytest
from matplotlib import pyplot as plt
from scipy import stats
from traces import make_design, records

import bayesmv as bmv

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rich():
    design = bmv.load_design("canty_us")
    trace = bmv.sample(design, draws=500, seed=1, progress=False)
    return bmv.enrich(trace, design)


#: What users call, with nothing but the tree; `loo` names one of two observed variables, as ArviZ asks.
CALLS = {
    "summary": az.summary,
    "loo": lambda tree: az.loo(tree, var_name="bden"),
    "compare": lambda tree: az.compare({"a": az.loo(tree, var_name="veloc"), "b": az.loo(tree, var_name="veloc")}),
    "loo_pit": az.loo_pit,
    "psense_summary": az.psense_summary,
    "plot_trace_dist": azp.plot_trace_dist,
    "plot_rank": azp.plot_rank,
    "plot_forest": azp.plot_forest,
    "plot_pair": lambda tree: azp.plot_pair(tree, var_names=["Family_var", "Family_corr"]),
    "plot_energy": azp.plot_energy,
    "plot_ppc_dist": azp.plot_ppc_dist,
    "plot_loo_pit": azp.plot_loo_pit,
    "plot_psense_dist": azp.plot_psense_dist,
    "plot_prior_posterior": azp.plot_prior_posterior,
}


@pytest.mark.parametrize("name", CALLS)
def test_arviz__without_an_error_or_warning(rich, name, caplog):
    plt.switch_backend("agg")
    with caplog.at_level(logging.ERROR):
        assert CALLS[name](rich) is not None
    plt.close("all")
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_loo_pit__is_uniform_where_the_model_is_right():
    """Records simulated from the model: Kolmogorov-Smirnov of 480 values of each of two traits, false alarm 1e-4 each.

    Values of one family share its effect, but not given all others: they are nearly independent.
    """
    data = records(seed=3, blocks=6, families=20, plants=4)
    design = make_design(data=data)
    rich = bmv.enrich(bmv.sample(design, draws=500, seed=2, progress=False), design)
    pit = az.loo_pit(rich)
    for trait in ("y1", "y2"):
        assert stats.kstest(pit[trait].to_numpy(), "uniform").pvalue > 1e-4


def test_loo__is_that_of_predictive_density():
    design = make_design()
    trace = bmv.sample(design, draws=1000, seed=4, progress=False)
    rich = bmv.enrich(trace, design, ("log_likelihood",), pointwise="unit", max_draws=4000)
    theirs, mine = az.loo(rich), bmv.predictive_density(trace, design, max_draws=4000)
    assert theirs.elpd == pytest.approx(mine.elpd, abs=0.05)
    assert theirs.p == pytest.approx(mine.p_loo, abs=0.3)


def test_shares__posterior_of_a_heritability_under_a_beta_prior():
    """No data to speak of: two families of two records leave the prior of the share, Beta(2, 6), nearly as it was."""
    data = records(t=1, blocks=1, families=2, plants=2)
    design = make_design("us(trait):family", data)
    priors = {"family": bmv.CovariancePrior(share=2.0), "Residual": bmv.CovariancePrior(share=6.0)}
    trace = bmv.sample(design, priors=priors, draws=2000, seed=5, progress=False)
    found = bmv.derive(trace, lambda q: q["family"][0, 0] / (q["family"] + q["Residual"])[0, 0])
    exact = stats.beta(2.0, 6.0)
    assert found["median"][0] == pytest.approx(exact.median(), abs=0.08)
    assert found["hdi_high"][0] < 0.8


def test_inverse_wishart__posterior_is_conjugate_where_nothing_else_is_unknown():
    """One trait of two records a family... of the residual alone: Σ | y ~ IW(nu + n - 1, Ψ + S)."""
    rng = np.random.default_rng(6)
    data = records(t=2)
    data[["y1", "y2"]] = rng.normal(size=(len(data), 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
    design = make_design("", data)
    prior = bmv.InverseWishart(5.0, 0.5)
    trace = bmv.sample(
        design, priors={"Residual": bmv.CovariancePrior(wishart=prior)}, draws=2000, seed=7, progress=False
    )
    z = data[["y1", "y2"]].to_numpy() / design.scale
    S = (z - z.mean(axis=0)).T @ (z - z.mean(axis=0))
    exact = stats.invwishart(5.0 + len(z) - 1, prior.scale(2) + S)
    mean = exact.mean() * np.outer(design.scale, design.scale)
    draws = trace["posterior"]["Residual_cov"].to_numpy().reshape(-1, 2, 2)
    # 8,000 draws of effective size above 1,000: five standard errors.
    error = 5 * draws.std(axis=0) / np.sqrt(1000)
    assert (np.abs(draws.mean(axis=0) - mean) < error).all()


def test_pymc__prior_and_posterior_predictive_of_the_sampled_model():
    data = records()
    data.loc[:5, "y2"] = np.nan
    design = make_design(data=data, fixed="x")
    with bmv.build_model(design, effects="sampled", fixed_prior=3.0):
        prior = pm.sample_prior_predictive(draws=200, random_seed=1)
        posterior = pm.sample(draws=50, tune=100, chains=2, cores=1, random_seed=1, progressbar=False)
        predicted = pm.sample_posterior_predictive(posterior, random_seed=1, progressbar=False)
    for tree, group in ((prior, "prior_predictive"), (predicted, "posterior_predictive")):
        one = bmv.records_of(tree, design, group)
        assert one.dims == ("chain", "draw", "unit", "trait")
        np.testing.assert_array_equal(np.isnan(one.to_numpy()[0, 0]), ~design.observed)
    means = bmv.records_of(predicted, design).mean(("chain", "draw", "unit")).to_numpy()
    np.testing.assert_allclose(means, data[["y1", "y2"]].mean(), rtol=0.1)
    # Prior of a slope: 3 phenotypic sd for one sd of x.
    slope = prior["prior"]["fixed"].sel(coefficient="y1:x").to_numpy().reshape(-1)
    assert slope.std() == pytest.approx(3.0 * design.scale[0] / data["x"].std(ddof=0), rel=0.25)
