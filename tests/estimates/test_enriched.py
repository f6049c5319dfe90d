"""Groups for ArviZ against dense densities; priors before the data; sensitivity and predictive checks."""

import arviz as az
import numpy as np
import pandas as pd
import pytest
from oracles import Dense, all_patterns, random_case
from scipy import stats
from traces import draws_around, incomplete, make_design, records, trace_of

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.posterior.log_posterior import log_posterior

GENETIC = bmv.Genetic(term="family", relationship="half-sib")


@pytest.fixture(scope="module")
def design():
    return make_design(data=incomplete(records()), genetic=GENETIC)


@pytest.fixture(scope="module")
def trace(design):
    fit = bmv.fit_reml(design)
    return trace_of(design, draws_around(log_posterior(design), fit.theta, 2, 100, spread=0.15), reml=fit)


@pytest.fixture(scope="module")
def rich(trace, design):
    return bmv.enrich(trace, design)


def test_enrich__densities_are_those_of_the_records_given_all_others():
    case = random_case(4, 2, "us(trait):vm(animal, A) + us(trait):block", patterns=all_patterns(2), n=20)
    x = np.full((1, 1, case.design.blocks.n_parameters), 0.1)
    trace = trace_of(case.design, x)
    covariances = [trace["posterior"][f"{name}_cov"].to_numpy()[0, 0] for name in case.design.names]
    dense = Dense(case, covariances)
    rich = bmv.enrich(trace, case.design, ("log_likelihood", "posterior_predictive"))
    for t, trait in enumerate(case.spec.traits):
        at = np.flatnonzero(dense.trait == t)
        at = at[np.argsort(dense.unit[at])]
        sd = 1.0 / np.sqrt(np.diag(dense.P)[at])
        exact = stats.norm(dense.y[at] - dense.Py[at] * sd**2, sd).logpdf(dense.y[at])
        np.testing.assert_allclose(rich["log_likelihood"][trait].to_numpy()[0, 0], exact, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(rich["observed_data"][trait].to_numpy(), dense.y[at])
    unit = bmv.enrich(trace, case.design, ("log_likelihood",), pointwise="unit")["log_likelihood"]["response"]
    assert unit.dims == ("chain", "draw", "unit")
    for u in (0, 7):
        at = np.flatnonzero(dense.unit == u)
        block = np.linalg.inv(dense.P[np.ix_(at, at)])
        exact = stats.multivariate_normal(dense.y[at] - block @ dense.Py[at], block).logpdf(dense.y[at])
        assert unit.to_numpy()[0, 0, u] == pytest.approx(exact, rel=1e-7)


def test_enrich__predictive_draws_are_of_those_densities():
    """200 draws at one Σ: standardised by the exact mean and sd they are standard normal; false alarm 1e-4."""
    design = make_design()
    trace = trace_of(design, np.full((2, 100, design.blocks.n_parameters), 0.1))
    rich = bmv.enrich(trace, design)
    predicted, density = rich["posterior_predictive"]["y1"], rich["log_likelihood"]["y1"]
    sd = predicted.std(("chain", "draw")).to_numpy()
    assert np.ptp(density.to_numpy().reshape(200, -1), axis=0).max() < 1e-9
    z = (predicted - predicted.mean(("chain", "draw"))) / sd
    assert stats.kstest(z.to_numpy().reshape(-1)[:5000], "norm").pvalue > 1e-4


def test_enrich__packs_every_covariance_once_and_thins(rich, trace, design):
    assert rich["posterior"].sizes["draw"] == 100
    assert set(rich["posterior"].data_vars) == {f"{t}_{k}" for t in design.names for k in ("var", "cov", "corr")}
    assert rich["posterior"]["family_corr"].coords["family_pair"].to_numpy().tolist() == ["y1, y2"]
    np.testing.assert_array_equal(
        rich["posterior"]["family_cov"].to_numpy()[..., 0], trace["posterior"]["family_cov"].to_numpy()[..., 0, 1]
    )
    few = bmv.enrich(trace, design, ("log_prior",), max_draws=20)
    assert few["posterior"].sizes["draw"] == few["log_prior"].sizes["draw"] == 10
    assert "method" in few["log_prior"].attrs


def test_enrich__log_prior_is_that_of_the_posterior_density(rich, trace, design):
    posterior = log_posterior(design)
    for chain, draw in ((0, 0), (1, 57)):
        sigmas = [
            design.to_working_units(n, trace["posterior"][f"{n}_cov"].to_numpy()[chain, draw]) for n in design.names
        ]
        theta = design.blocks.from_matrices(sigmas)
        assert rich["log_prior"]["prior"].to_numpy()[chain, draw] == pytest.approx(posterior.prior(theta)[0])


def test_enrich__arviz_reads_it_without_a_word(rich):
    """Functions that need no picture; those that draw are in the slow tests."""
    assert len(az.summary(rich)) == 12
    found = az.loo(rich, var_name="y1", pointwise=True)
    assert np.isfinite(found.elpd)
    assert len(az.compare({"a": found, "b": found})) == 2
    pit = az.loo_pit(rich)["y1"].to_numpy()
    assert ((pit >= 0) & (pit <= 1)).all()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"groups": ["log_lik"]}, "no group 'log_lik'; groups: 'log_prior'"),
        ({"pointwise": "trait"}, "the log likelihood of a 'trait' is not known"),
    ],
)
def test_enrich__mistakes(trace, design, words, match):
    with pytest.raises(SpecError, match=match):
        bmv.enrich(trace, design, **words)
    with pytest.raises(SpecError, match="not of the same model and data"):
        bmv.enrich(trace, make_design())


def test_correlations_of_a_trait_with_itself_are_one(trace):
    for name in ("block", "family", "Residual"):
        R = trace["posterior"][f"{name}_corr"].to_numpy()
        assert (np.diagonal(R, axis1=-2, axis2=-1) == 1.0).all()


# ---------------------------------------------------------------- priors


def test_prior_predictive__is_read_as_a_posterior_is(design):
    tree = bmv.prior_predictive(design, draws=2000)
    table = bmv.genetic_parameters(tree).set_index(["parameter", "trait_i", "trait_j"])
    r = table.loc[("genetic correlation", "y1", "y2")]
    assert abs(r["median"]) < 0.1  # uniform on (-1, 1)
    assert r["hdi_high"] - r["hdi_low"] == pytest.approx(1.9, abs=0.06)
    h2 = tree["prior"]["family_cov"].to_numpy()[0, :, 0, 0]
    sd = np.sqrt(h2) / design.scale[0]
    assert stats.kstest(sd, lambda x: 2 * stats.t(3).cdf(x) - 1).pvalue > 1e-4
    assert set(tree["prior_predictive"].data_vars) == {"y1", "y2"}
    derived = bmv.derive(tree, lambda q: q.correlation("block")[0, 1])
    assert abs(derived["mean"][0]) < 0.1


def test_prior_predictive__of_what_has_no_draws():
    spec = bmv.ModelSpec.from_formula(
        "y1 + y2 ~ 1", random="diag(trait):family", constraints={"family": {"sd[y1]": "sd[y2]"}}
    )
    with pytest.raises(SpecError, match="have a prior without draws"):
        bmv.prior_predictive(bmv.build_design(spec, records()))


def test_sensitivity__tight_prior_against_the_data_is_told():
    """A prior that holds a large variance down moves it; the default one hardly does."""
    design = make_design("us(trait):family", records(families=40, plants=3))
    tight = {"family": bmv.CovariancePrior(sd=bmv.HalfNormal(0.05))}
    fit = bmv.fit_reml(design)
    verdicts = {}
    for name, priors in (("default", None), ("tight", tight)):
        x = draws_around(log_posterior(design, priors), fit.theta, 4, 250, spread=0.1)
        table = bmv.sensitivity(trace_of(design, x, priors=priors, reml=fit), design)
        verdicts[name] = table.query("term == 'family' and parameter == 'variance'")["prior"].max()
    assert verdicts["default"] < verdicts["tight"]
    assert verdicts["tight"] > 0.05
    assert list(table.columns) == ["term", "parameter", "effect", "prior", "likelihood", "verdict"]


# ---------------------------------------------------------------- predictive checks


def test_predictive_checks__model_without_the_families_does_not_make_their_variance():
    data = records(families=20, plants=4)
    data["y1"] += 3.0 * data.groupby("family")["y1"].transform("mean")
    full = make_design("us(trait):family", data)
    fit = bmv.fit_reml(full)
    good = bmv.predictive_checks(trace_of(full, draws_around(log_posterior(full), fit.theta, 2, 50), reml=fit), full)
    assert good.set_index(["check", "trait"]).loc[("variance of the means of family", "y1"), "p"] > 0.05
    # The same families with a covariance that is far too small for them.
    small = {n: S * (1e-4 if n == "family" else 1.0) for n, S in fit.covariances.items()}
    theta = full.blocks.from_matrices([full.to_working_units(n, small[n]) for n in full.names])
    bad = bmv.predictive_checks(trace_of(full, draws_around(log_posterior(full), theta, 2, 50), reml=fit), full)
    assert bad.set_index(["check", "trait"]).loc[("variance of the means of family", "y1"), "p"] < 0.05


def test_predictive_checks__relatives_and_missing_records():
    case = random_case(3, 2, "us(trait):vm(animal, A)", patterns=all_patterns(2), n=60)
    data = case.data.copy()
    # y2 is missing where y1 is large: not at random.
    large = data["y1"] > data["y1"].median()
    data["y2"] = np.random.default_rng(1).normal(size=len(data))
    data.loc[large & data["y1"].notna(), "y2"] = np.nan
    design = bmv.build_design(case.spec, data, case.relationships)
    fit = bmv.fit_reml(design)
    x = draws_around(log_posterior(design), np.where(fit.theta == 0, 0.05, fit.theta), 2, 50)
    table = bmv.predictive_checks(trace_of(design, x, reml=fit), design).set_index(["check", "trait"])
    assert any("parents, full sibs" in check for check, _ in table.index)
    row = table.loc[("difference where y2 is missing", "y1")]
    assert row["observed"] > 1.0
    assert row["p"] < 0.05
    assert isinstance(table, pd.DataFrame)


def test_compare_priors__mistakes():
    design = make_design()
    with pytest.raises(SpecError, match="no prior set 'tight'; sets: 'model', 'default', 'skeptical'"):
        bmv.compare_priors(design, ["model", "tight"])
    with pytest.raises(SpecError, match="give two sets of priors or more"):
        bmv.compare_priors(design, ["flat"])
