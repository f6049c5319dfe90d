"""Posterior predictive checks of traits that are not Gaussian."""

import numpy as np
import pytest
from not_gaussian import design, draws_near_the_mode, table

import bayesmv as bmv


def test_predictive_checks__shares_zeros_and_dispersion_of_records():
    d = design(("y", "z", "c", "o", "m"), random="diag(trait):f")
    found = bmv.predictive_checks(draws_near_the_mode(d, np.arange(2), n=40), d).set_index(["trait", "check"])
    y = dict(zip(d.traits, d.response.T, strict=True))
    assert found.loc[("z", "share of 1"), "observed"] == np.mean(y["z"])
    assert found.loc[("c", "share of 0"), "observed"] == np.mean(y["c"] == 0)
    assert found.loc[("c", "dispersion"), "observed"] == np.var(y["c"], ddof=1) / np.mean(y["c"])
    for k in (1, 2, 3):
        assert found.loc[("o", f"share of {k}"), "observed"] == np.mean(y["o"] == k)
    assert found.loc[("y", "mean"), "observed"] == pytest.approx(np.nanmean(y["y"]))
    assert ("m", "variance of the means of f") in found.index
    # Each trait was made by this model; that traits share their effects it does not know.
    alone = found[~found.index.get_level_values("check").str.contains("correlation|difference")]
    assert (alone["p"] > 0.005).all()
    assert found["predicted"].std() > 0


def test_predictive_checks__tell_zeros_that_are_too_many():
    data = table()
    data.loc[np.random.default_rng(5).uniform(size=len(data)) < 0.5, "c"] = 0
    data["c"] *= 6
    d = design(("c",), random="f", data=data)
    where = bmv.predictive_checks(draws_near_the_mode(d, np.arange(2), n=40), d).set_index("check")
    assert where.loc["share of 0", "observed"] > where.loc["share of 0", "high"]
