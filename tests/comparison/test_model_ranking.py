"""Models side by side: REML fits by likelihood, posteriors by predictive density."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from traces import incomplete, make_design, records, some_draws, trace_of

from bayesmv.comparison.likelihood_ratio import likelihood_ratio
from bayesmv.comparison.models import compare_models
from bayesmv.comparison.predictive import predictive_density
from bayesmv.errors import SpecError
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.reml import blup, fit_reml

DATA = incomplete(records())


def fitted(random, data=DATA, fixed="1", residual=None):
    return fit_reml(make_design(random, data, fixed=fixed, residual=residual))


@pytest.fixture(scope="module")
def fits():
    return {
        "us": fitted("us(trait):block + us(trait):family"),
        "diag": fitted("diag(trait):block + diag(trait):family"),
        "no family": fitted("us(trait):block"),
        "no block": fitted("us(trait):family"),
    }


def test_compare_models__reml(fits):
    frame = compare_models(fits).set_index("model")
    assert list(frame.index[-1:]) == ["us"]
    assert (frame["parameters"].diff().dropna() >= 0).all()
    for name, fit in fits.items():
        row = frame.loc[name]
        assert (row["loglik"], row["parameters"]) == (fit.loglik, fit.n_parameters)
        assert (row["aic"], row["bic"]) == (fit.aic, fit.bic)


def test_compare_models__tests_against_the_nearest_special_case(fits):
    frame = compare_models({name: fits[name] for name in ("us", "diag", "no family")}).set_index("model")
    smaller = max("diag", "no family", key=lambda name: (fits[name].n_parameters, fits[name].loglik))
    test = likelihood_ratio(fits[smaller], fits["us"])
    row = frame.loc["us"]
    assert (row["against"], row["reference"]) == (smaller, test.reference)
    assert (row["statistic"], row["df"], row["p_value"]) == (test.statistic, test.df, test.p_value)
    assert frame.loc["diag", "against"] == ""
    assert frame["df"].isna().tolist() == [True, True, False]


def test_compare_models__not_nested_models_have_no_test(fits):
    frame = compare_models([fits["no family"], fits["no block"]])
    assert set(frame["model"]) == {"1", "2"}  # their specifications have the same name
    assert (frame["against"] == "").all()
    assert frame["p_value"].isna().all()


def test_compare_models__residuals_by_group_have_no_boundary(fits):
    data = DATA.assign(site=np.where(np.arange(len(DATA)) % 2, "n", "s"))
    frame = compare_models(
        {"alike": fits["no family"], "by site": fitted("us(trait):block", data, residual="at(site):us(trait):units")}
    ).set_index("model")
    assert (frame.loc["by site", "against"], frame.loc["by site", "df"]) == ("alike", 3)
    assert frame.loc["by site", "reference"].startswith("chi-square on 3 df")


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_compare_models__ties_stay_in_the_order_given(fits, order):
    """Models of one size whose likelihoods differ by rounding, in whichever direction."""
    off = {"a": 1e-9, "b": -1e-9, "c": 2e-7}
    fit = fits["no family"]
    tied = {name: replace(fit, loglik=fit.loglik + off[name]) for name in order}
    names = [*order, "better"]
    frame = compare_models({"better": replace(fit, loglik=fit.loglik + 1e-3), **tied})
    assert list(frame["model"]) == names


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: fitted("us(trait):block", DATA.assign(y1=DATA["y1"] + 1.0)), r"'a' and 'b' .* have different data"),
        (lambda: fitted("us(trait):block", fixed="x"), r"'b' and 'a' .* different fixed effects"),
        (
            lambda: blup(make_design("us(trait):block", DATA), {"block": np.eye(2), "Residual": np.eye(2)}),
            r"covariances of a fit were given, not estimated",
        ),
    ],
)
def test_compare_models__raises_on_fits_that_are_not_comparable(fits, other, message):
    with pytest.raises(SpecError, match=message):
        compare_models({"a": fits["no family"], "b": other()})


def sampled(random, data=DATA, fixed="1", spread=0.1):
    design = make_design(random, data, fixed=fixed)
    return trace_of(design, some_draws(log_posterior(design), spread=spread)), design


@pytest.fixture(scope="module")
def posteriors():
    return {"both": sampled("us(trait):block + us(trait):family"), "blocks": sampled("us(trait):block")}


def test_compare_models__posteriors(posteriors):
    frame = compare_models(posteriors, max_draws=60).set_index("model")
    alone = {name: predictive_density(*pair, max_draws=60) for name, pair in posteriors.items()}
    best, worst = sorted(alone, key=lambda name: -alone[name].elpd)
    assert list(frame.index) == [best, worst]
    pairs = alone[worst].log_density - alone[best].log_density
    assert frame.loc[worst, "difference"] == pytest.approx(pairs.sum())
    assert frame.loc[worst, "difference_se"] == pytest.approx(np.sqrt(len(pairs)) * pairs.std(ddof=1))
    assert frame.loc[best, ["difference", "difference_se"]].tolist() == [0.0, 0.0]
    for name, density in alone.items():
        row = frame.loc[name]
        assert (row["elpd"], row["se"], row["p_loo"]) == (density.elpd, density.se, density.p_loo)
        assert (row["high_k"], row["warning"]) == (density.high_k, density.warning)
    pd.testing.assert_frame_equal(frame, compare_models(alone).set_index("model"))


@pytest.fixture(scope="module")
def density(posteriors):
    return predictive_density(*posteriors["blocks"], max_draws=30)


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_compare_models__equal_predictions_stay_in_the_order_given(density, order):
    off = {"a": 1e-12, "b": -1e-12, "c": 0.0}
    tied = {name: replace(density, log_density=density.log_density + off[name]) for name in order}
    frame = compare_models({"worse": replace(density, log_density=density.log_density - 1.0), **tied})
    assert list(frame["model"]) == [*order, "worse"]
    assert frame["difference"].iloc[0] == 0.0


def test_compare_models__leaves_out_levels_of_a_term_that_a_model_lacks(posteriors):
    frame = compare_models(posteriors, by="family", max_draws=60).set_index("model")
    trace, design = posteriors["blocks"]
    given = predictive_density(trace, design, DATA["family"], max_draws=60)
    assert frame.loc["blocks", "elpd"] == pytest.approx(given.elpd)


def test_compare_models__predictions_of_other_fixed_effects_are_comparable(posteriors):
    frame = compare_models({**posteriors, "x": sampled("us(trait):block", fixed="x")}, max_draws=40)
    assert len(frame) == 3


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (lambda f, p: {"a": f["us"]}, r"give at least two models to compare, not 1"),
        (lambda f, p: {"a": f["us"], "b": p["both"]}, r"REML fits, or posteriors, not both at once; REML fits: 'a'"),
        (lambda f, p: {"a": p["both"], "b": p["both"][0]}, r"the model b must be a REML fit, a pair .* not DataTree"),
        (
            lambda f, p: {"a": p["both"], "b": sampled("us(trait):block", records())},
            r"'a' and 'b' have different records",
        ),
        (
            lambda f, p: {
                "a": predictive_density(*p["both"], max_draws=30),
                "b": predictive_density(*p["both"], "family", max_draws=30),
            },
            r"leaves out \w+ and '\w' \w+; choose one",
        ),
    ],
)
def test_compare_models__raises(fits, posteriors, models, message):
    with pytest.raises(SpecError, match=message):
        compare_models(models(fits, posteriors))


def test_compare_models__raises_on_a_term_of_no_model(posteriors):
    with pytest.raises(SpecError, match="no random term 'herd'"):
        compare_models(posteriors, by="herd")
