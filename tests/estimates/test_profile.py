"""Profile likelihoods against one written out, and against fits with the quantity held."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.estimates.profile import profiler_of
from bayesmv.estimates.quantity import quantities, quantity_of

#: Half the quantile of chi-square on 1 df.
CRITICAL = 1.920729


def families(n=16, m=6, seed=1, share=0.6):
    rng = np.random.default_rng(seed)
    f = np.repeat(np.arange(n), m)
    y = np.sqrt(share) * rng.normal(size=n)[f] + np.sqrt(1 - share) * rng.normal(size=n * m)
    z = 0.5 * y + np.sqrt(share) * rng.normal(size=n)[f] + rng.normal(size=n * m)
    return pd.DataFrame({"f": [f"F{i:02d}" for i in f], "y": 10 * y, "z": z})


def fitted(formula="y ~ 1", data=None, **words):
    spec = bmv.ModelSpec.from_formula(formula, random="us(trait):f", **words)
    return bmv.fit_reml(bmv.build_design(spec, families() if data is None else data))


def restricted_profile(data, ratio):
    """l of y ~ 1 with intraclass correlation `ratio`, highest over the total variance, by V written out."""
    y, f = data["y"].to_numpy(), data["f"].to_numpy()
    V = ratio * (f[:, None] == f[None, :]) + (1 - ratio) * np.eye(len(y))
    W = np.linalg.inv(V)
    one = np.ones(len(y))
    b = one @ W @ y / (one @ W @ one)
    n, total = len(y) - 1, (y - b) @ W @ (y - b) / (len(y) - 1)
    logdet = np.linalg.slogdet(V)[1] + np.log(one @ W @ one)
    return -0.5 * (n * np.log(2 * np.pi) + n * np.log(total) + logdet + n)


def repeatability(q):
    return q["f"][0, 0] / (q["f"][0, 0] + q["Residual"][0, 0])


def test_interval__is_where_the_profile_written_out_falls_by_half_the_quantile():
    data, fit = families(), fitted()
    found = bmv.profile(fit, repeatability)
    for row in found.table.itertuples():
        assert row.loglik == pytest.approx(restricted_profile(data, row.value), abs=1e-4)
    level = fit.loglik - CRITICAL
    low = brentq(lambda r: restricted_profile(data, r) - level, 0.0, found.estimate)
    high = brentq(lambda r: restricted_profile(data, r) - level, found.estimate, 0.99)
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-3)
    assert not found.low_at_end
    zeta = np.sign(found.table["value"] - found.estimate) * np.sqrt(2 * (fit.loglik - found.table["loglik"]))
    np.testing.assert_allclose(found.table["zeta"], zeta, atol=1e-3)


def test_correlation__has_the_likelihood_of_fits_with_it_held():
    fit = fitted("y + z ~ 1")
    found = bmv.profile(fit, "correlation", term="f")
    assert found.quantity == "correlation of f, y, z"
    for end in (found.low, found.high):
        held = fitted("y + z ~ 1", constraints={"f": {"partial_cor[y,z]": end}})
        assert held.loglik == pytest.approx(fit.loglik - CRITICAL, abs=5e-3)
    at_0 = fitted("y + z ~ 1", constraints={"f": {"partial_cor[y,z]": 0.0}})
    ratio = bmv.likelihood_ratio(at_0, fit)
    assert found.p_value(0.0) == pytest.approx(ratio.p_value, rel=1e-3)


def test_transformed_quantity__has_the_transformed_interval():
    fit = fitted("y + z ~ 1")
    variance = bmv.profile(fit, "variance", "y", term="f")
    sd = bmv.profile(fit, lambda q: np.sqrt(q["f"][0, 0]))
    assert (sd.low**2, sd.high**2) == pytest.approx((variance.low, variance.high), rel=2e-3)


def test_estimate_on_the_boundary__has_an_interval():
    data = families(8, 4, seed=5, share=0.05)
    data["z"] = data.groupby("f")["y"].transform("mean") * 3 + np.random.default_rng(2).normal(size=len(data))
    fit = fitted("y + z ~ 1", data)
    assert fit.at_boundary == ("f",)
    found = bmv.profile(fit, "correlation", term="f")
    assert np.isnan(found.std_error)
    assert found.estimate == pytest.approx(1.0, abs=1e-6)
    assert found.high == 1.0
    assert found.high_at_end
    assert -1.0 < found.low < 0.95
    held = fitted("y + z ~ 1", data, constraints={"f": {"partial_cor[y,z]": found.low}})
    assert held.loglik == pytest.approx(fit.loglik - CRITICAL, abs=5e-3)
    assert found.p_value(1.0) == pytest.approx(0.5, abs=0.02)
    assert "the high end is the end of its range" in repr(found)


def test_correlation_of_weak_variances__has_the_likelihood_of_fits_with_it_held():
    """Also where the best variance at a correlation is 0, where it can be anything."""
    data = families(8, 3, seed=11, share=0.05)
    fit = fitted("y + z ~ 1", data)
    found = bmv.profile(fit, "correlation", term="f")
    for value in (-0.9, -0.3, 0.2):
        point = found.profiler.reach(value, min(found.points, key=lambda p: abs(p.value - value)))
        held = fitted("y + z ~ 1", data, constraints={"f": {"partial_cor[y,z]": value}})
        assert point.loglik == pytest.approx(held.loglik, abs=1e-3)


def test_variance_of_nothing__has_an_upper_end():
    data = families(share=0.0, seed=3)
    data["y"] -= 1.2 * data.groupby("f")["y"].transform("mean")
    fit = fitted(data=data)
    found = bmv.profile(fit, "variance", term="f")
    assert (found.estimate, found.low, found.low_at_end) == (pytest.approx(0.0, abs=1e-9), 0.0, True)
    share = bmv.profile(fit, repeatability)
    level = fit.loglik - CRITICAL
    high = brentq(lambda r: restricted_profile(data, r) - level, 0.0, 0.9)
    assert share.high == pytest.approx(high, abs=2e-3)


def test_heritability__is_that_of_the_model():
    genetic = bmv.Genetic(term="f", relationship="half-sib")
    fit = fitted("y + z ~ 1", genetic=genetic)
    found = bmv.profile(fit, "heritability", "y", level=0.8)
    own = bmv.profile(fit, lambda q: 4 * q["f"][0, 0] / (q["f"] + q["Residual"])[0, 0], level=0.8)
    assert (found.low, found.high) == pytest.approx((own.low, own.high), rel=2e-3, abs=1e-4)
    table = bmv.profile_intervals(fit, level=0.8)
    row = table[(table["parameter"] == "heritability") & (table["trait_i"] == "y")].iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((found.low, found.high), rel=2e-3, abs=1e-4)
    assert set(table["term"]) == {"f", "Residual", ""}


def test_quantities__are_functions_of_matrices_without_correlation_too():
    """A correlation that is exactly 0 is left out of tables, and is 0."""
    fit = fitted("y + z ~ 1", genetic=bmv.Genetic(term="f", relationship="half-sib"))
    apart = {name: np.diag(np.diag(S)) for name, S in fit.covariances.items()}
    for q in quantities(fit):
        value = float(q.function(apart))
        assert (value == 0.0) == ("correlation" in q.parameter)


@pytest.mark.parametrize(
    ("quantity", "words", "message"),
    [
        ("correlation", {"term": "g"}, "no covariance matrix of 'g'|no term 'g'|'g'"),
        ("skewness", {"term": "f"}, "no 'skewness' of f; there: 'variance', 'covariance', 'correlation'"),
        ("variance", {"term": "f"}, "say which traits the variance is of: 'y', 'z'"),
        ("heritability", {}, "which term is genetic"),
        ("variance", {"term": "f", "level": 1.0}, "the level must be between 0 and 1"),
        (lambda q: q.means[0], {}, "the function must be one of covariance matrices"),
        (lambda q: q["f"], {}, "must return one number"),
    ],
)
def test_what_has_no_profile__is_refused(quantity, words, message):
    with pytest.raises(SpecError, match=message):
        bmv.profile(fitted("y + z ~ 1"), quantity, **words)


def test_p_values__of_what_cannot_be_are_refused():
    found = bmv.profile(fitted(), "variance", term="f")
    with pytest.raises(SpecError, match="cannot be -1"):
        found.p_value(-1.0)
    with pytest.raises(SpecError, match=r"bmv\.likelihood_ratio"):
        found.p_value(0.0)


def test_higher_maximum__is_told():
    fit = fitted()
    chosen = quantity_of(fit, "variance", None, "f")
    profiler = profiler_of(fit, chosen)
    profiler.best -= 3.0
    assert profiler.trace(apart=0.4).above > 1.0
