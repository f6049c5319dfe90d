"""Simulation from covariances, matching of REML estimates, and that the generators make the shipped data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from not_gaussian import design as latent_design
from scipy import sparse

from bayesmv.design.design import build_design
from bayesmv.errors import DataError, SpecError
from bayesmv.model.spec import ModelSpec
from bayesmv.relationship.relationship import Relationship
from bayesmv.reml import fit_reml
from bayesmv.simulation.datasets import load_dataset
from bayesmv.simulation.datasets.generators import make_canty, make_canty_complete, make_ril, match_reml
from bayesmv.simulation.simulate import simulate_model, simulate_records, simulate_traits

G = np.array([[2.0, 0.6], [0.6, 1.0]])
R = np.array([[3.0, -0.5], [-0.5, 2.0]])
LAYOUT = pd.DataFrame({"Family": np.repeat([f"F{i:02d}" for i in range(12)], 5)})


def simulate(layout: pd.DataFrame = LAYOUT, *, seed: int = 1, **changes: Any) -> pd.DataFrame:
    arguments: dict[str, Any] = {
        "traits": ("a", "b"),
        "means": {"a": 10.0, "b": -3.0},
        "covariances": {"Family": G, "Residual": R},
        "rng": np.random.default_rng(seed),
    }
    return simulate_traits(layout, **(arguments | changes))


def tridiagonal_relationship(q: int) -> Relationship:
    """K⁻¹ of an autoregressive chain, with labels that are not in sorted order."""
    Q = sparse.diags_array([-0.5, 1.25, -0.5], offsets=[-1, 0, 1], shape=(q, q)).tocsc()
    K = np.linalg.inv(Q.toarray())
    ids = pd.Index([f"L{(7 * i) % q:03d}" for i in range(q)])
    return Relationship(ids=ids, precision=Q, log_determinant=float(np.linalg.slogdet(K)[1]), diagonal=np.diag(K))


def test_simulate_traits__adds_traits_and_leaves_layout() -> None:
    before = LAYOUT.copy()
    data = simulate()
    assert list(data.columns) == ["Family", "a", "b"]
    pd.testing.assert_frame_equal(LAYOUT, before)
    pd.testing.assert_index_equal(data.index, LAYOUT.index)


def test_simulate_traits__same_seed_same_data() -> None:
    pd.testing.assert_frame_equal(simulate(seed=3), simulate(seed=3))
    assert not simulate(seed=3).equals(simulate(seed=4))


def test_simulate_traits__zero_covariances_give_means() -> None:
    zero = np.zeros((2, 2))
    fixed = np.linspace(0.0, 1.0, len(LAYOUT))
    data = simulate(covariances={"Residual": zero}, means={"a": fixed, "b": 2.0})
    np.testing.assert_array_equal(data[["a", "b"]], np.column_stack([fixed, np.full(len(LAYOUT), 2.0)]))


def test_simulate_traits__level_shares_its_effect() -> None:
    data = simulate(covariances={"Family": G, "Residual": np.zeros((2, 2))})
    assert len(data[["a", "b"]].drop_duplicates()) == 12
    assert len(data.drop_duplicates()) == 12


def test_simulate_traits__effects_belong_to_levels_not_rows() -> None:
    no_residual = {"Family": G, "Residual": np.zeros((2, 2))}
    turned = simulate(LAYOUT[::-1], covariances=no_residual)
    pd.testing.assert_frame_equal(turned[::-1], simulate(covariances=no_residual))


def test_simulate_traits__unit_of_trait_changes_nothing_else() -> None:
    D = np.diag([1000.0, 0.001])
    scaled = simulate(covariances={"Family": D @ G @ D, "Residual": D @ R @ D}, means={"a": 10000.0, "b": -0.003})
    np.testing.assert_allclose(scaled[["a", "b"]] / np.diag(D), simulate()[["a", "b"]], rtol=1e-12)


def test_simulate_traits__moments() -> None:
    # 20000 families of 2: each element of 8 within 5 of its standard errors; false alarms below 1 in 100 000.
    n = 20_000
    layout = pd.DataFrame({"Family": np.repeat(np.arange(n), 2)})
    Y = simulate(layout)[["a", "b"]].to_numpy().reshape(n, 2, 2) - [10.0, -3.0]
    between = Y[:, 0].T @ Y[:, 1] / n
    within = (Y[:, 0] - Y[:, 1]).T @ (Y[:, 0] - Y[:, 1]) / (2 * n)
    P = G + R
    error = 5 * np.sqrt(np.outer(np.diag(P), np.diag(P)) * 2 / n)
    assert (np.abs((between + between.T) / 2 - G) < error).all()
    assert (np.abs(within - R) < error).all()


def test_simulate_traits__semi_definite_matrix() -> None:
    data = simulate(covariances={"Residual": [[4.0, 2.0], [2.0, 1.0]]})
    np.testing.assert_allclose(data["a"] - 10.0, 2.0 * (data["b"] + 3.0), atol=1e-7)


def test_simulate_traits__zero_variance_of_one_trait() -> None:
    data = simulate(covariances={"Residual": np.diag([1.0, 0.0])})
    assert (data["b"] == -3.0).all()
    assert data["a"].nunique() == len(LAYOUT)


def test_simulate_traits__relationship_covariance() -> None:
    # Every entry of K (5, 5) from 5000 traits, within 5.5 standard errors; false alarms below 1 in 100 000.
    K, t = tridiagonal_relationship(5), 5000
    layout = pd.DataFrame({"line": K.ids[[3, 0, 1, 4, 2]]})
    names = [f"t{i}" for i in range(50)]
    draws = []
    rng = np.random.default_rng(8)
    for _ in range(t // 50):
        data = simulate_traits(
            layout,
            traits=names,
            means=dict.fromkeys(names, 0.0),
            covariances={"line": np.eye(50), "Residual": np.zeros((50, 50))},
            relationships={"line": K},
            rng=rng,
        )
        draws.append(data[names].to_numpy())
    U = np.hstack(draws)
    expected = np.linalg.inv(K.precision.toarray())[np.ix_([3, 0, 1, 4, 2], [3, 0, 1, 4, 2])]
    error = 5.5 * np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / t)
    assert (np.abs(U @ U.T / t - expected) < error).all()


def test_simulate_traits__reml_recovers_what_was_assumed() -> None:
    # 400 families of 5 in 1 seed: all 6 estimates within 4 standard errors; false alarms below 1 in 2000.
    layout = pd.DataFrame({"Family": np.repeat(np.arange(400), 5)})
    spec = ModelSpec.from_formula("a + b ~ 1", random="us(trait):Family")
    table = fit_reml(build_design(spec, simulate(layout))).varcomp
    assumed = [*G[np.tril_indices(2)], *R[np.tril_indices(2)]]
    assert ((table["component"] - assumed).abs() < 4 * table["std_error"]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"covariances": {"Famly": G, "Residual": R}}, "given for 'Famly', which is not a column of the layout"),
        ({"covariances": {"Family": G}}, "no covariance of the residuals; give it under 'Residual'"),
        ({"covariances": {"Family": np.eye(3), "Residual": R}}, r"Family has shape \(3, 3\); 2 traits need a 2 × 2"),
        ({"covariances": {"Residual": [1.0, 2.0]}}, r"Residual has shape \(2,\)"),
        ({"covariances": {"Residual": [[1.0, 2.0], [2.0, 1.0]]}}, "Residual is not positive semi-definite"),
        ({"covariances": {"Residual": [[-1.0, 0.0], [0.0, 1.0]]}}, "smallest eigenvalue -1 for unit variances"),
        ({"covariances": {"Residual": [[0.0, 0.5], [0.5, 1.0]]}}, "Residual is not positive semi-definite"),
        ({"covariances": {"Residual": [[1.0, 0.5], [0.0, 1.0]]}}, "Residual must be finite and symmetric"),
        ({"covariances": {"Residual": [[np.nan, 0.0], [0.0, 1.0]]}}, "Residual must be finite and symmetric"),
        ({"covariances": {"Residual": [[np.inf, 0.0], [0.0, 1.0]]}}, "Residual must be finite and symmetric"),
        ({"means": {"a": 1.0}}, "no mean of the trait 'b'; traits with a mean: 'a'"),
        ({"means": {"a": 1.0, "b": [1.0, 2.0]}}, r"the mean of 'b' has shape \(2,\); give one number, or one for each"),
        ({"traits": ("a", "a")}, "traits must be different names, at least one; got 'a', 'a'"),
        ({"traits": ()}, "at least one; got none"),
        ({"relationships": {"line": tridiagonal_relationship(3)}}, "relationship is given for 'line', which has no"),
    ],
)
def test_simulate_traits__raises_spec_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        simulate(**changes)


def test_simulate_traits__raises_on_missing_level() -> None:
    layout = LAYOUT.assign(Family=LAYOUT["Family"].where(LAYOUT["Family"] != "F03"))
    with pytest.raises(DataError, match="'Family' is missing in 5 rows: 15, 16, 17, 18, 19; give them a level"):
        simulate(layout)


def test_simulate_traits__raises_on_level_without_relationship() -> None:
    layout = pd.DataFrame({"Family": ["L000", "L001", "X1"]})
    with pytest.raises(DataError, match="'X1'"):
        simulate(layout, relationships={"Family": tridiagonal_relationship(5)})


def standard_effects(rng: np.random.Generator) -> dict[str, Any]:
    families = rng.standard_normal((12, 2))[np.repeat(np.arange(12), 5)]
    return {"Family": families, "Residual": rng.standard_normal((60, 2))}


def match(**changes: Any) -> pd.DataFrame:
    arguments: dict[str, Any] = {
        "traits": ("a", "b"),
        "means": {"a": 0.0, "b": 5.0},
        "effects": standard_effects(np.random.default_rng(2)),
        "targets": {"Family": 4 * G, "Residual": R},
    }
    return match_reml(LAYOUT, **(arguments | changes))


@pytest.mark.parametrize("n_missing", [0, 9])
def test_match_reml__estimates_equal_targets(n_missing: int) -> None:
    observed = np.ones((60, 2), dtype=bool)
    observed[:n_missing, 1] = False
    data = match(observed=observed)
    assert data["b"].isna().sum() == n_missing
    spec = ModelSpec.from_formula("a + b ~ 1", random="us(trait):Family")
    estimates = fit_reml(build_design(spec, data)).covariances
    np.testing.assert_allclose(estimates["Family"], 4 * G, rtol=1e-6)
    np.testing.assert_allclose(estimates["Residual"], R, rtol=1e-6)


def test_match_reml__raises_on_other_names() -> None:
    with pytest.raises(SpecError, match="effects are of 'Family', 'Residual', but targets of 'Block', 'Residual'"):
        match(targets={"Block": G, "Residual": R})


def test_match_reml__raises_on_singular_target() -> None:
    with pytest.raises(SpecError, match="the target of Family is not positive definite"):
        match(targets={"Family": [[1.0, 1.0], [1.0, 1.0]], "Residual": R})


def test_match_reml__raises_where_estimate_is_singular() -> None:
    effects = standard_effects(np.random.default_rng(2))
    effects["Family"] = np.zeros((60, 2))
    with pytest.raises(DataError, match="REML estimate of Family is singular with these effects; draw others"):
        match(effects=effects)


def test_match_reml__raises_after_too_few_fits() -> None:
    with pytest.raises(DataError, match="did not come within 1e-12 of the targets in 2 fits"):
        match(max_iterations=2)


@pytest.mark.parametrize(
    ("name", "make"), [("canty", make_canty), ("canty_complete", make_canty_complete), ("ril", make_ril)]
)
def test_make__shipped_data_are_what_it_makes(name: str, make: Callable[[], pd.DataFrame]) -> None:
    pd.testing.assert_frame_equal(load_dataset(name), make(), rtol=1e-14, atol=0.0)


def test_make_ril__other_seed_other_data() -> None:
    assert not make_ril(1)["height"].equals(make_ril(2)["height"])


def test_make_canty__raises_where_no_solution() -> None:
    with pytest.raises(DataError, match="the REML estimate of Block is singular"):
        make_canty(5)


def test_simulate_traits__of_families_are_drawn_from_their_latent_values() -> None:
    plain = simulate()
    data = simulate(families={"b": "poisson"})
    pd.testing.assert_series_equal(plain["a"], data["a"])
    assert (data["b"] == data["b"].round()).all()
    with pytest.raises(SpecError, match="a family is given for 'c', which is not a trait"):
        simulate(families={"c": "binary"})


def test_simulate_model__of_families_needs_thresholds_and_trials() -> None:
    families = {"s": "ordered", "m": {"family": "binomial", "size": "n"}}
    terms = {"random": "diag(trait):Family", "residual": "diag(trait):units"}
    spec = ModelSpec.from_formula("y + s + m ~ 1", families=families, **terms)
    layout = LAYOUT.assign(n=7)
    given: dict[str, Any] = {
        "means": {"y": 3.0, "s": 0.2, "m": 0.1},
        "covariances": {"Family": 0.2 * np.eye(3), "Residual": np.eye(3)},
        "rng": np.random.default_rng(1),
    }
    data = simulate_model(spec, layout, thresholds={"s": (0.0, 1.0)}, **given)
    assert set(data["s"]) == {1.0, 2.0, 3.0}
    assert data["m"].between(0, 7).all()
    assert data["m"].nunique() > 3
    with pytest.raises(SpecError, match="the ordered trait 's' has no thresholds"):
        simulate_model(spec, layout, **given)
    with pytest.raises(SpecError, match="thresholds are given for 'y', which is not an ordered trait"):
        simulate_model(spec, layout, thresholds={"s": (0.0, 1.0), "y": (0.0,)}, **given)
    with pytest.raises(SpecError, match="no column 'n' of trials"):
        simulate_model(spec, LAYOUT, thresholds={"s": (0.0, 1.0)}, **given)


def test_simulate_records__of_families_have_the_cells_of_the_data() -> None:
    fit = fit_reml(latent_design(("y", "z", "c", "o"), random="diag(trait):f"))
    records = simulate_records(fit, np.random.default_rng(1))
    np.testing.assert_array_equal(np.isnan(records), ~fit.design.observed)
    assert set(records[:, 1]) == {0.0, 1.0}
    assert set(records[:, 3]) == {1.0, 2.0, 3.0}
    assert (records[:, 2] == np.round(records[:, 2])).all()
