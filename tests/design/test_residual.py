"""Residuals of groups of units and known weights, against V written out record by record."""

import numpy as np
import pytest
from oracles import finite_difference
from residuals import SITES, dense_loglik, design_of, matrices, records, scaled

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError
from bayesmv.likelihood import MixedModelLikelihood, likelihood
from bayesmv.likelihood.sparse.equations import build_equations
from bayesmv.numerics.symmetric import vech
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.pymc_model import build_model
from bayesmv.simulation.simulate import simulate_model, simulate_records

MODELS = pytest.mark.parametrize("weights", [None, "w"])
RESIDUALS = pytest.mark.parametrize(
    "residual", ["at(site):us(trait):units", "at(site):diag(trait):units", "us(trait):units"]
)


@MODELS
@RESIDUALS
@pytest.mark.parametrize("fewest", [1, None])
def test_likelihood__dense(residual, weights, fewest):
    data = records()
    design = design_of(residual, weights, data)
    family, residuals, whole = matrices(design)
    by_site = residuals if design.residual.groups else dict.fromkeys(SITES, residuals["all"])
    kept = data[design.kept]
    engine = MixedModelLikelihood(design, build_equations(design, fewest))
    sigmas = scaled(design, family, whole)
    value, gradients = engine.value_and_gradient(sigmas)
    assert value == pytest.approx(dense_loglik(design, kept, family, by_site), abs=1e-8)

    def at(theta):
        return engine.loglik(design.blocks.matrices(theta))

    theta = design.blocks.from_matrices(sigmas)
    mine = design.blocks.pullback(theta, gradients)
    np.testing.assert_allclose(mine, finite_difference(at, theta, 1e-4), rtol=1e-6, atol=1e-6)


@MODELS
@pytest.mark.parametrize("fewest", [1, None])
def test_residuals__satisfy_the_normal_equations(weights, fewest):
    """X'Py = 0, Py being V⁻¹(y - Xb), of records multiplied by the roots of their weights."""
    design = design_of(weights=weights)
    engine = MixedModelLikelihood(design, build_equations(design, fewest))
    sigmas = scaled(design, *matrices(design)[::2])
    small, work = engine._at(sigmas)
    Py = engine._weight(small, engine._residuals(engine._solve(sigmas, small, work)))
    np.testing.assert_allclose(design.fixed.X.T @ (engine._roots[:, None] * Py), 0.0, atol=1e-10)


@MODELS
def test_average_information__is_the_hessian_of_the_quadratic_form(weights):
    """AI is half the curvature of y'Py along the components, V being linear in them: ½ y'P V_i P V_j P y."""
    design = design_of(weights=weights)
    engine = MixedModelLikelihood(design, build_equations(design, 1))
    whole = MixedModelLikelihood(design, build_equations(design, None))
    sigmas = scaled(design, *matrices(design)[::2])
    AI = engine.average_information(sigmas)
    np.testing.assert_allclose(AI, whole.average_information(sigmas), rtol=1e-7, atol=1e-8)
    theta = design.blocks.from_matrices(sigmas)
    J = design.blocks.jacobian(theta)
    free = J.T @ AI @ J
    assert np.linalg.eigvalsh(free)[0] > 0
    fit = bmv.fit_reml(design)
    assert fit.converged
    assert np.abs(fit.gradient).max() < 1e-3


@MODELS
@RESIDUALS
def test_density__is_the_log_posterior(residual, weights):
    design = design_of(residual, weights)
    posterior = log_posterior(design).planar()
    d = posterior.blocks.n_parameters
    x = np.where(posterior.coordinates.scales, 1.0, 0.1) + 0.1 * np.random.default_rng(0).normal(size=d)
    value, gradient = Density(posterior, x, np.eye(d))(np.zeros(d))
    expected, by_x = posterior.value_and_gradient(x)
    assert value == pytest.approx(expected, rel=1e-11)
    np.testing.assert_allclose(gradient, by_x, rtol=1e-8, atol=1e-8)


def test_weights__halved_are_a_doubled_variance():
    data = records()
    one, half = (
        design_of("us(trait):units", data=data.assign(w=1.0)),
        design_of("us(trait):units", data=data.assign(w=0.5)),
    )
    first, second = bmv.fit_reml(one), bmv.fit_reml(half)
    assert first.engine.name == second.engine.name == "sparse"
    np.testing.assert_allclose(second.covariances["Residual"], 0.5 * first.covariances["Residual"], rtol=1e-4)
    np.testing.assert_allclose(second.covariances["fam"], first.covariances["fam"], rtol=1e-3, atol=1e-4)
    assert first.loglik == pytest.approx(second.loglik, abs=1e-6)


def test_groups__of_one_structure_hold_the_model_without_groups():
    data = records(200)
    null, full = (
        bmv.fit_reml(design_of("us(trait):units", None, data)),
        bmv.fit_reml(design_of(weights=None, data=data)),
    )
    test = bmv.likelihood_ratio(null, full)
    assert test.df == 6
    assert test.statistic >= 0.0
    assert "null lies on the boundary" not in test.reference


def test_design__labels_layout_and_genetic_parameters():
    design = design_of(genetic=bmv.Genetic(term="fam", relationship="half-sib"), weights=None)
    assert design.effects_of("Residual") == ("a:A", "a:B", "a:C", "b:A", "b:B", "b:C")
    fit = bmv.fit_reml(design)
    share = np.bincount(design.residual.group) / len(design.units)
    R = fit.covariances["Residual"]
    expected = np.array([[share @ np.diag(R[:3, :3]), share @ np.diag(R[:3, 3:])], [0, share @ np.diag(R[3:, 3:])]])
    table = bmv.genetic_parameters(fit).set_index(["parameter", "trait_i", "trait_j"])["estimate"]
    assert table["phenotypic variance", "a", "a"] == pytest.approx(expected[0, 0] + fit.covariances["fam"][0, 0])
    assert table["residual correlation", "a", "b"] == pytest.approx(
        expected[0, 1] / np.sqrt(expected[0, 0] * expected[1, 1])
    )


def test_trajectory__heritability_at_each_site_has_the_residual_of_the_site():
    data = records(150)
    spec = bmv.ModelSpec.from_formula(
        "a ~ site", random="us(site):fam", residual="at(site):units", genetic=bmv.Genetic(term="fam")
    )
    fit = bmv.fit_reml(bmv.build_design(spec, data))
    table = bmv.trajectory(fit).set_index(["parameter", "at"])["estimate"]
    G, R = np.diag(fit.covariances["fam"]), np.diag(fit.covariances["Residual"])
    for k, site in enumerate(SITES):
        assert table["heritability", site] == pytest.approx(G[k] / (G[k] + R[k]), rel=1e-9)


def test_sampled_model__has_the_records_of_every_group():
    design = design_of()
    model = build_model(design, effects="sampled")
    names = {rv.name for rv in model.observed_RVs}
    assert {"records_a+b_A", "records_a+b_B", "records_a+b_C"} <= names
    assert sum(int(np.prod(model[name].shape.eval())) for name in names) == design.n_records


def test_simulate__has_the_variance_of_each_group_and_weight():
    rng = np.random.default_rng(5)
    layout = records(6000).drop(columns=["a", "b"])
    spec = bmv.ModelSpec.from_formula("a ~ 1", random="fam", residual="at(site):units", weights="w")
    R = np.diag([1.0, 4.0, 0.25])
    data = simulate_model(spec, layout, means={"a": 0.0}, covariances={"fam": [[0.0]], "Residual": R}, rng=rng)
    for k, site in enumerate(SITES):
        mine = data[data["site"] == site]
        n = len(mine)  # variance of a mean of n squared normals: 2/n; five standard errors
        assert np.mean(mine["w"] * mine["a"] ** 2) / R[k, k] == pytest.approx(1.0, abs=5 * np.sqrt(2 / n))
    fit = bmv.fit_reml(bmv.build_design(spec, data))
    assert simulate_records(fit, rng).shape == (len(data), 1)
    np.testing.assert_allclose(np.diag(fit.covariances["Residual"]), np.diag(R), rtol=0.2)


def test_spec__toml_round_trip(tmp_path):
    spec = design_of().spec
    spec.to_file(tmp_path / "m.toml")
    again = bmv.ModelSpec.from_file(tmp_path / "m.toml")
    assert (again.residual, again.residual_by, again.weights) == ("us", ("site",), "w")
    assert again.residual_formula == "at(site):us(trait):units"


def test_engine__groups_and_weights_need_the_sparse_one():
    data = records().assign(b=lambda d: d["b"].fillna(0.0), a=lambda d: d["a"].fillna(0.0))
    for engine in ("strata", "spectral"):
        with pytest.raises(SpecError):
            likelihood(design_of(data=data), engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"site": None}, "the residual group 'site' is missing in 1 rows"),
        ({"w": 0.0}, "the weight 'w' is not a positive number in 1 rows"),
        ({"w": np.nan}, "the weight 'w' is not a positive number in 1 rows"),
        ({"site": "D"}, "'site' D has fewer than two records of 'a', 'b'"),
    ],
)
def test_build_design__raises(change, message):
    data = records()
    data["site"] = data["site"].astype(object)
    for column, value in change.items():
        data.loc[5, column] = value
    spec = bmv.ModelSpec.from_formula(
        "a + b ~ 1", random="us(trait):fam", residual="at(site):us(trait):units", weights="w"
    )
    with pytest.raises(DataError, match=message):
        bmv.build_design(spec, data)


@pytest.mark.parametrize("role", ["residual group", "weight"])
def test_build_design__raises_on_a_column_that_is_not_there(role):
    words = {"residual": "at(nowhere):us(trait):units"} if role == "residual group" else {"weights": "nowhere"}
    with pytest.raises(SpecError, match=f"the {role} 'nowhere' is not a column"):
        bmv.build_design(bmv.ModelSpec.from_formula("a + b ~ 1", **words), records())


def test_compare__reports_every_group():
    design = design_of()
    fit = bmv.fit_reml(design)
    assert len(fit.varcomp[fit.varcomp["term"] == "Residual"]) == 9
    assert len(vech(list(fit.covariances.values()))) == 3 + 21


def test_groups__are_written_as_levels_are():
    data = records(60).assign(site=np.repeat([1.0, 2.0], 30))
    design = design_of("at(site):us(trait):units", None, data)
    assert design.residual.groups == ("1", "2")
