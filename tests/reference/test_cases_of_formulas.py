"""Small inputs that once failed, with right values from an independent dense REML: covariates far from zero, names."""

from pathlib import Path

import pandas as pd
import pytest

import bayesmv as bmv

CASES = Path(__file__).parent / "cases"


def fit(case, model):
    return bmv.fit_reml(bmv.load_design(CASES / case / model))


def test_covariate_far_from_zero__fixed():
    table = fit("covariate_far_from_zero", "jd.toml").fixed.set_index("effect")
    assert table["estimate"]["jd"] == pytest.approx(0.0174, abs=5e-5)


def test_covariate_far_from_zero__random_regression():
    """The log-likelihood is that of the covariate about its mean."""
    data = pd.read_csv(CASES / "covariate_far_from_zero" / "d.csv")
    spec = bmv.ModelSpec.from_formula("y ~ 1", random="us(1 + jd):fam")
    centred = bmv.fit_reml(bmv.build_design(spec, data.assign(jd=data["jd"] - data["jd"].mean())))
    assert fit("covariate_far_from_zero", "rr.toml").loglik == pytest.approx(centred.loglik, abs=1e-5)
    assert centred.loglik == pytest.approx(-319.151, abs=5e-4)


@pytest.mark.parametrize("model", ["m1.toml", "m2.toml", "m3.toml", "m4.toml"])
def test_dotted_names(model):
    assert fit("dotted_names", model).converged
