"""Tests of fixed effects against a naive Kenward-Roger, exact F of balanced designs, and sums of squares by hand."""

import not_gaussian
import numpy as np
import pandas as pd
import pytest
from oracles import Dense, all_patterns, random_case
from scipy import stats
from traces import make_design, records, trace_of
from wordings import oats

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.reml.small_sample import KenwardRoger

SPLIT = "idv(trait):block + idv(trait):block:variety"


def naive(dense: Dense, W: np.ndarray, L: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Φ_A, denominator and scale of Kenward & Roger (1997), sums written out; L in the order of `dense.labels`."""
    X, Vi, phi = dense.X, dense.Vi, dense.XVXi
    D = [d for mine in dense.derivatives for d in mine]
    P = [-X.T @ Vi @ d @ Vi @ X for d in D]
    middle, theta, ell = np.zeros_like(phi), L.T @ np.linalg.inv(L @ phi @ L.T) @ L, len(L)
    A1 = A2 = 0.0
    for i, a in enumerate(D):
        for j, b in enumerate(D):
            Q = X.T @ Vi @ a @ Vi @ b @ Vi @ X
            middle += W[i, j] * (Q - P[i] @ phi @ P[j])
            A1 += W[i, j] * np.trace(theta @ phi @ P[i] @ phi) * np.trace(theta @ phi @ P[j] @ phi)
            A2 += W[i, j] * np.trace(theta @ phi @ P[i] @ phi @ theta @ phi @ P[j] @ phi)
    B, g = (A1 + 6 * A2) / (2 * ell), ((ell + 1) * A1 - (ell + 4) * A2) / ((ell + 2) * A2)
    c = np.array([g, ell - g, ell + 2 - g]) / (3 * ell + 2 * (1 - g))
    mean = 1 / (1 - A2 / ell)
    variance = 2 / ell * (1 + c[0] * B) / ((1 - c[1] * B) ** 2 * (1 - c[2] * B))
    rho = variance / (2 * mean**2)
    m = 4 + (ell + 2) / (ell * rho - 1)
    return phi + 2 * phi @ middle @ phi, m, m / (mean * (m - 2))


@pytest.mark.parametrize("t", [1, 2])
def test_kenward_roger__naive(t):
    random = "idv(trait):block" if t == 1 else "us(trait):vm(animal, A) + diag(trait):block"
    case = random_case(12, t, random, patterns=all_patterns(t), n=40)
    fit = bmv.fit_reml(case.design)
    dense = Dense(case, [fit.covariances[name] for name in case.design.names])
    labels = case.design.fixed.coefficients(case.design.traits)
    order = [dense.labels.index(label) for label in labels]
    unit = np.array([case.design.scale[case.design.traits.index(trait)] for trait, _ in labels])
    D = [d for mine in dense.derivatives for d in mine]
    information = np.array([[0.5 * np.trace(dense.P @ a @ dense.P @ b) for b in D] for a in D])
    J = fit.design.blocks.jacobian(fit.theta) * fit.record.component_unit[:, None]
    free = np.linalg.norm(J, axis=0) > 1e-9 * np.linalg.norm(J)
    J = J[:, free]
    W = J @ np.linalg.pinv(J.T @ information @ J, rcond=1e-10) @ J.T
    mine = KenwardRoger(fit, case.design)
    L = np.zeros((2, len(labels)))
    L[0, 0], L[1, -1] = 1.0, 1.0
    placed = np.zeros_like(L)
    placed[:, order] = L / unit  # scaled coefficients against those in the units of the data
    adjusted, m, scale = naive(dense, W, placed)
    expected = adjusted[np.ix_(order, order)] / np.outer(unit, unit)
    np.testing.assert_allclose(mine.adjusted, expected, rtol=1e-5, atol=1e-9 * np.abs(expected).max())
    found = mine.test(L, np.ones(len(labels)))
    assert found.denominator == pytest.approx(m, rel=1e-4)
    wald = (L @ np.ones(len(labels))) @ np.linalg.solve(L @ mine.adjusted @ L.T, L @ np.ones(len(labels))) / 2
    assert found.statistic == pytest.approx(scale * wald, rel=1e-4)


def test_wald__oats_exact():
    """Analysis of variance of Yates's split plot: 1.4853 on 2, 10; 37.6857 on 3, 45; 0.3028 on 6, 45."""
    (data,) = oats().values()
    spec = bmv.ModelSpec.from_formula("yield ~ variety*C(nitrogen)", random=SPLIT)
    fit = bmv.fit_reml(bmv.build_design(spec, data))
    exact = {"variety": (1.4853, 2, 10), "C(nitrogen)": (37.6857, 3, 45), "variety:C(nitrogen)": (0.3028, 6, 45)}
    for table in (bmv.wald(fit), bmv.wald(fit, "containment")):
        rows = table[table["kind"] == "incremental"].set_index("term")
        for term, (F, df, ddf) in exact.items():
            assert rows.loc[term, "F"] == pytest.approx(F, abs=1e-4)
            assert rows.loc[term, "df"] == df
            assert rows.loc[term, "ddf"] == pytest.approx(ddf, rel=1e-5)
            assert rows.loc[term, "p"] == pytest.approx(stats.f.sf(F, df, ddf), rel=1e-3)


def test_wald__incremental_and_conditional_are_those_of_nested_least_squares():
    """Where the random variance is held at almost nothing: sums of squares of ordinary least squares."""
    data = records(t=1)
    rng = np.random.default_rng(3)
    data["sex"] = np.where(rng.random(len(data)) < 0.4, "m", "f")
    design = make_design("idv(trait):family", data, fixed="x + sex + x:sex")
    fit = bmv.blup(design, {"family": np.array([[1e-9]]), "Residual": np.array([[1.7]])})
    table = bmv.wald(fit, "containment").set_index(["term", "kind"])["F"]
    y, x, m = data["y1"].to_numpy(), data["x"].to_numpy(), (data["sex"] == "m").to_numpy(float)
    one = np.ones(len(y))
    rss = lambda *columns: np.linalg.lstsq(np.column_stack(columns), y, rcond=None)[1][0]  # noqa: E731
    assert table["x", "incremental"] == pytest.approx((rss(one) - rss(one, x)) / 1.7, rel=1e-6)
    assert table["sex", "incremental"] == pytest.approx((rss(one, x) - rss(one, x, m)) / 1.7, rel=1e-6)
    assert table["x", "conditional"] == pytest.approx((rss(one, m) - rss(one, x, m)) / 1.7, rel=1e-6)
    last = (rss(one, x, m) - rss(one, x, m, x * m)) / 1.7
    assert table["x:sex", "incremental"] == pytest.approx(last, rel=1e-6)
    assert table["x:sex", "conditional"] == pytest.approx(last, rel=1e-6)


def test_wald__traits_together_and_by_themselves():
    data = records(t=2)
    fit = bmv.fit_reml(make_design(data=data, fixed="x"))
    table = bmv.wald(fit)
    rows = table[(table["term"] == "x") & (table["kind"] == "incremental")].set_index("trait")
    assert rows["df"].to_dict() == {"y1": 1, "y2": 1, "all": 2}
    z = fit.fixed[fit.fixed["effect"] == "x"].set_index("trait")["z_ratio"]
    plain = bmv.wald(fit, "containment").query("term == 'x' and kind == 'conditional'").set_index("trait")["F"]
    # Of one trait after the others of the term: the last row of the factor, which is the z of that trait.
    assert plain["y1"] == pytest.approx(z["y1"] ** 2, rel=1e-6)
    assert plain["y2"] == pytest.approx(z["y2"] ** 2, rel=1e-6)


def test_wald__unit_of_a_trait_changes_nothing():
    data = records(t=2)
    one = bmv.wald(bmv.fit_reml(make_design(data=data, fixed="x")))
    other = bmv.wald(bmv.fit_reml(make_design(data=data.assign(y2=1000.0 * data["y2"]), fixed="x")))
    for column in ("F", "ddf", "p"):
        np.testing.assert_allclose(one[column], other[column], rtol=1e-5)


def test_wald__given_covariances_are_chi_square():
    design = make_design(fixed="x")
    given = {"block": np.eye(2), "family": np.eye(2), "Residual": np.diag([1.0, 1e4])}
    table = bmv.wald(bmv.blup(design, given))
    assert np.isinf(table["ddf"]).all()
    row = table.iloc[-1]
    assert row["p"] == pytest.approx(stats.chi2.sf(row["F"] * row["df"], row["df"]))


def test_wald__posterior_tells_how_far_out_the_null_is():
    data = records(t=1)
    data["z"] = data["y1"] - data["y1"].mean() + np.random.default_rng(1).normal(size=len(data)) * 1e-3
    data["noise"] = np.random.default_rng(2).normal(size=len(data))
    design = make_design("idv(trait):family", data, fixed="z + noise")
    table = bmv.wald(trace_of(design), design=design).query("kind == 'conditional'").set_index("term")
    assert table.loc["z", "outside"] == 0.0
    assert table.loc["noise", "outside"] > 0.001
    assert list(table.columns) == ["trait", "kind", "df", "outside"]


def test_wald__of_traits_that_are_not_gaussian_is_by_the_approximation_and_chi_square():
    d = not_gaussian.design(("z", "c"))
    fit = bmv.fit_reml(d)
    table = bmv.wald(fit).query("term == 'x' and kind == 'conditional'").set_index("trait")
    z = fit.fixed.query("effect == 'x'").set_index("trait")["z_ratio"]
    np.testing.assert_allclose(table["F"].loc[["z", "c"]], z.loc[["z", "c"]] ** 2, rtol=1e-6)
    np.testing.assert_allclose(table["p"].loc["z"], stats.chi2.sf(z["z"] ** 2, 1), rtol=1e-6)
    assert set(table["method"]) == {"chi-square"}
    assert set(bmv.wald(fit, "containment")["method"]) == {"containment"}
    with pytest.raises(SpecError, match="Kenward and Roger's denominators are so far only where every trait"):
        bmv.wald(fit, "kenward-roger")
    trace = not_gaussian.draws_near_the_mode(d, np.arange(2), n=40)
    assert bmv.wald(trace, design=d)["outside"].between(0.0, 1.0).all()


def test_wald__mistakes():
    fit = bmv.fit_reml(make_design())
    with pytest.raises(SpecError, match="no denominators 'satterthwaite'; ways: 'auto', 'kenward-roger'"):
        bmv.wald(fit, "satterthwaite")


def test_fixed_covariance__is_labelled_and_of_the_standard_errors():
    fit = bmv.fit_reml(make_design(fixed="x"))
    V = fit.fixed_covariance()
    assert V.index.tolist() == ["y1:Intercept", "y1:x", "y2:Intercept", "y2:x"]
    np.testing.assert_allclose(np.sqrt(np.diag(V)), fit.fixed["std_error"])
    assert isinstance(V, pd.DataFrame)
