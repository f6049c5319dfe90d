"""Heights of pines at four ages: one factor beside the unstructured covariance of the mothers."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from oracles import shared_data

import bayesmv as bmv

HEIGHTS = ["HT1", "HT2", "HT3", "HT4"]
MODEL = "4-trait (HT1,HT2,HT3,HT4) ~ rep"


@cache
def fitted(structure):
    data = pd.read_csv(shared_data("pine_halfsib_4heights") / "data.csv", na_values="*")
    spec = bmv.ModelSpec.from_formula(
        f"{' + '.join(HEIGHTS)} ~ C(rep)", random=f"{structure}:female", residual="us(trait):units"
    )
    return bmv.fit_reml(bmv.build_design(spec, data))


def test_us__computed_elsewhere():
    answers = pd.read_csv(shared_data("pine_halfsib_4heights") / "answers.csv")
    answers = answers[answers["model"].str.startswith(MODEL)].set_index("quantity")["value"]
    fit = fitted("us(trait)")
    for i, a in enumerate(HEIGHTS):
        for j, b in enumerate(HEIGHTS[: i + 1]):
            expected = answers[f"female_{a}" if i == j else f"female_{b}.{a}"]
            assert fit.covariances["female"][i, j] == pytest.approx(expected, rel=2e-3)


def test_fa__one_factor_beside_us():
    us, fa = fitted("us(trait)"), fitted("fa(trait, 1)")
    assert us.converged
    assert fa.converged
    assert us.n_parameters - fa.n_parameters == 2
    test = bmv.likelihood_ratio(fa, us)
    assert test.df == 2
    assert test.p_value > 0.05
    # us is singular here (rank 3): one factor gives the correlations that us does, within their errors.
    assert us.at_boundary == ("female",)
    R_us, R_fa = (correlations(fit) for fit in (us, fa))
    assert np.abs(R_us - R_fa).max() < 0.1
    explained = bmv.factor_loadings(fa, "female").query("quantity == 'explained' and trait == 'mean'")
    assert (explained["estimate"] > 0.7).all()


def correlations(fit):
    S = fit.covariances["female"]
    sd = np.sqrt(np.diag(S))
    return S / np.outer(sd, sd)
