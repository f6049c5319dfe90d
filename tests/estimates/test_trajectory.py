"""Covariance functions and trajectories against matrix formulas, delta-method errors, environments, pictures."""

import numpy as np
import pandas as pd
import pytest
from cases import by_age, legendre, structured_case
from traces import trace_of

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError
from bayesmv.estimates.trajectory import read_points

G = np.array([[3.0, 0.8, -0.4], [0.8, 1.2, 0.1], [-0.4, 0.1, 0.6]])
C = np.diag([1.5, 0.5, 0.2])


@pytest.fixture(scope="module")
def given():
    design = structured_case("legendre").design
    return bmv.blup(design, {"animal": G, "animal_ide": C, "Residual": [[2.0]]})


def functions(fit, ages):
    age = structured_case("legendre").data["age"]
    x = 2.0 * (np.asarray(ages) - age.min()) / (age.max() - age.min()) - 1.0
    return np.column_stack([np.broadcast_to(f, x.shape) for f in legendre(x)])


def test_covariance_function__is_the_quadratic_form(given):
    ages = [30.0, 50.0, 70.0]
    f = functions(given, ages)
    table = bmv.covariance_function(given, "animal", at=ages).set_index(["parameter", "at_i", "at_j"])["estimate"]
    K = f @ G @ f.T
    assert table["variance", 50.0, 50.0] == pytest.approx(K[1, 1])
    assert table["covariance", 30.0, 70.0] == pytest.approx(K[0, 2])
    assert table["correlation", 50.0, 70.0] == pytest.approx(K[1, 2] / np.sqrt(K[1, 1] * K[2, 2]))
    assert len(table) == 3 + 3 + 3


def test_trajectory__by_formula(given):
    ages = [30.0, 70.0]
    f = functions(given, ages)
    table = bmv.trajectory(given, "animal", at=ages).set_index(["parameter", "at"])["estimate"]
    A, P = np.diag(f @ G @ f.T), np.diag(f @ (G + C) @ f.T) + 2.0
    for i, age in enumerate(ages):
        assert table["additive genetic variance", age] == pytest.approx(A[i])
        assert table["phenotypic variance", age] == pytest.approx(P[i])
        assert table["heritability", age] == pytest.approx(A[i] / P[i])
        assert table["repeatability", age] == pytest.approx((P[i] - 2.0) / P[i])
    assert table["genetic correlation", 30.0] == 1.0
    assert table["genetic correlation", 70.0] == pytest.approx((f @ G @ f.T)[0, 1] / np.sqrt(A[0] * A[1]))


def test_trajectory__reference_and_default_grid(given):
    table = bmv.trajectory(given, "animal")
    ages = structured_case("legendre").data["age"]
    points = table["at"].unique()
    np.testing.assert_allclose(points, np.linspace(ages.min(), ages.max(), 11))
    other = bmv.trajectory(given, "animal", reference=points[5])
    r = other[other["parameter"] == "genetic correlation"].set_index("at")["estimate"]
    assert r[points[5]] == 1.0
    assert r[points[0]] == pytest.approx(table[table["parameter"] == "genetic correlation"]["estimate"].iloc[5])


def test_trajectory__average_over_records_is_that_of_genetic_parameters(given):
    """E V_A(age) over the records is the additive variance that genetic_parameters gives."""
    case = structured_case("legendre")
    V = [np.array(by_age(row, case.data)) @ G @ np.array(by_age(row, case.data)) for row in case.data.index]
    got = bmv.genetic_parameters(given, "animal").set_index("parameter")["estimate"]
    assert got["additive genetic variance"] == pytest.approx(np.mean(V))


def test_trajectory__several_traits_and_members():
    case = structured_case("everything", 2)
    S = np.diag(np.arange(1.0, 13.0))
    fit = bmv.blup(case.design, {"animal": S, "Residual": np.eye(2)})
    table = bmv.trajectory(fit, "animal", at=[2.0]).set_index(["parameter", "trait_i"])["estimate"]
    # Member by member, trait by trait: intercept and slope at age 2 give S_11 + 4 S_22.
    assert table["additive genetic variance", "y1:animal"] == pytest.approx(1.0 + 4.0 * 2.0)
    assert table["additive genetic variance", "y2:dam"] == pytest.approx(7.0 + 4.0 * 8.0)
    assert table["heritability", "y2:mates"] == pytest.approx((11 + 4 * 12) / table["phenotypic variance", "y2"])


def test_trajectory__errors_by_the_delta_method():
    """Variance at an age: f'Σf is linear in the components, so its error is exact."""
    made = bmv.load_design("models/growth_regression.toml")
    fit = bmv.fit_reml(made)
    row = bmv.trajectory(fit, at=[80.0]).set_index("parameter").loc["additive genetic variance"]
    f = legendre(0.0)[:2]
    V = fit.term_covariance("animal")
    g = np.array([f[0] ** 2, 2 * f[0] * f[1], f[1] ** 2])
    assert row["std_error"] == pytest.approx(np.sqrt(g @ V @ g), rel=1e-6)


def test_trajectory__of_draws_is_that_of_each_draw(given):
    trace = trace_of(given.design, reml=given)
    draws = trace["posterior"]["animal_cov"].to_numpy()
    f = functions(given, [50.0])[0]
    values = np.einsum("i,cdij,j->cd", f, draws, f)
    row = bmv.trajectory(trace, "animal", at=[50.0]).set_index("parameter").loc["additive genetic variance"]
    assert row["mean"] == pytest.approx(values.mean())
    assert row["median"] == pytest.approx(np.median(values))


def environments():
    case = structured_case("sites")
    S = np.array([[4.0, 1.0], [1.0, 1.0]])
    return bmv.blup(case.design, {"animal": S, "Residual": [[3.0]]})


def test_trajectory__of_environments():
    table = bmv.trajectory(environments(), "animal").set_index(["parameter", "at"])["estimate"]
    assert table["heritability", "north"] == pytest.approx(4.0 / 7.0)
    assert table["heritability", "south"] == pytest.approx(1.0 / 4.0)
    assert table["genetic correlation", "south"] == pytest.approx(0.5)


def test_genetic_parameters__correlations_between_environments():
    got = bmv.genetic_parameters(environments(), "animal").set_index(["parameter", "trait_i", "trait_j"])["estimate"]
    assert got["genetic correlation", "north", "south"] == pytest.approx(0.5)


def test_correlation_matrix__of_reml_and_of_draws():
    fit = environments()
    expected = pd.DataFrame([[1.0, 0.5], [0.5, 1.0]], index=["north", "south"], columns=["north", "south"])
    pd.testing.assert_frame_equal(bmv.correlation_matrix(fit, "animal"), expected)
    trace = trace_of(fit.design, reml=fit)
    got = bmv.correlation_matrix(trace, "animal")
    r = trace["posterior"]["animal_corr"].to_numpy()[..., 0, 1]
    assert got.loc["north", "south"] == pytest.approx(np.median(r))
    assert list(got.columns) == ["north", "south"]


def test_read_points():
    assert read_points(None) is None
    assert read_points("20, 60") == [20.0, 60.0]
    assert read_points("A,B") == ["A", "B"]


def test_covariance_function__raises(given):
    with pytest.raises(SpecError, match="no random term 'cow'; random terms: 'animal', 'animal_ide'"):
        bmv.covariance_function(given, "cow")
    with pytest.raises(DataError, match="the covariate 'age' is outside"):
        bmv.covariance_function(given, "animal", at=[1000.0])
    with pytest.raises(SpecError, match=r"the reference 33.0 is not a point"):
        bmv.trajectory(given, "animal", reference=33.0)


def test_covariance_function__raises_without_covariates_or_points():
    maternal, raw = (bmv.fit_reml(structured_case(m).design) for m in ("maternal", "raw"))
    with pytest.raises(SpecError, match=r"the term 'animal' has no covariates; write for example us\(leg\(age, 2\)\)"):
        bmv.covariance_function(maternal, "animal")
    with pytest.raises(SpecError, match=r"give the points of 'age': at=\[…\]"):
        bmv.covariance_function(raw, "animal")
    with pytest.raises(SpecError, match="no points of 'age', which 'animal' needs"):
        bmv.covariance_function(raw, "animal", at={"time": [1.0]})


# ---------------------------------------------------------------- pictures


def test_plot_trajectory__draws_the_table(given, tmp_path):
    axes = bmv.plot_trajectory(given, "animal", at=[30.0, 50.0], path=tmp_path / "curve.png")
    table = bmv.trajectory(given, "animal", at=[30.0, 50.0])
    assert [ax.get_ylabel() for ax in axes] == list(dict.fromkeys(table["parameter"]))
    assert {ax.get_xlabel() for ax in axes} == {"age"}
    line = next(ax for ax in axes if ax.get_ylabel() == "heritability").lines[0]
    np.testing.assert_allclose(line.get_ydata(), table[table["parameter"] == "heritability"]["estimate"])
    assert (tmp_path / "curve.png").stat().st_size > 0


def test_plot_trajectory__of_environments_and_draws():
    fit = environments()
    for source in (fit, trace_of(fit.design, reml=fit)):
        axes = bmv.plot_trajectory(source, "animal")
        axes[0].figure.canvas.draw()
        assert [t.get_text() for t in axes[0].get_xticklabels()] == ["north", "south"]


def test_plot_correlations__writes_every_number(tmp_path):
    ax = bmv.plot_correlations(environments(), "animal", tmp_path / "map.png")
    assert [t.get_text() for t in ax.texts] == ["1.00", "0.50", "0.50", "1.00"]
    assert (tmp_path / "map.png").stat().st_size > 0
