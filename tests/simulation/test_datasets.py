"""The shipped data: what they hold, and that REML gives the published figures for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayesmv.design.design import build_design
from bayesmv.errors import SpecError
from bayesmv.model.spec import ModelSpec
from bayesmv.reml import RemlFit, fit_reml
from bayesmv.simulation.datasets import (
    DATASETS,
    PUBLISHED_LOGLIK,
    load_dataset,
    load_pedigree,
    load_truth,
    published_table,
)
from bayesmv.simulation.datasets.scored import make_lambs_scored

US = ModelSpec.from_formula("bden + veloc ~ 1", random="us(trait):Block + us(trait):Family")
DIAG = ModelSpec.from_formula(
    "bden + veloc ~ 1", random="diag(trait):Block + diag(trait):Family", residual="diag(trait):units"
)
RIL = ModelSpec.from_formula("heading + height + grain_yield ~ 1", random="us(trait):Block + us(trait):line")


@pytest.fixture(scope="module")
def canty_us() -> RemlFit:
    return fit_reml(build_design(US, load_dataset("canty")))


@pytest.fixture(scope="module")
def canty_diag() -> RemlFit:
    return fit_reml(build_design(DIAG, load_dataset("canty")))


@pytest.fixture(scope="module")
def ril() -> RemlFit:
    return fit_reml(build_design(RIL, load_dataset("ril")))


def seven_digits(values: pd.Series) -> list[str]:
    return [f"{value:.6e}" for value in values]


def test_load_dataset__every_one_listed_is_there() -> None:
    for name, description in DATASETS.items():
        assert len(load_dataset(name)) > 0
        assert "simulated" in description


def test_load_dataset__raises_on_unknown_name() -> None:
    with pytest.raises(SpecError, match=r"no data set 'cantry'; data sets: 'canty', 'canty_complete', 'ril'"):
        load_dataset("cantry")


def test_load_dataset__raises_on_path() -> None:
    with pytest.raises(SpecError, match=r"no data set '\.\./datasets/ril'"):
        load_dataset("../datasets/ril")


def test_load_dataset__new_table_each_time() -> None:
    first = load_dataset("ril")
    first["height"] = 0.0
    assert (load_dataset("ril")["height"] > 0).all()


def test_load_dataset__labels_are_strings() -> None:
    canty, ril = load_dataset("canty"), load_dataset("ril")
    assert canty.loc[0, ["tree", "Block", "Family"]].tolist() == ["T001", "B01", "F01"]
    assert ril.loc[0, ["plot", "Block", "line"]].tolist() == ["P001", "B01", "L001"]
    assert canty["tree"].is_unique
    assert ril["plot"].is_unique


def test_load_dataset__canty_counts() -> None:
    data = load_dataset("canty")
    assert list(data.columns) == ["tree", "Block", "Family", "bden", "veloc"]
    assert data[["bden", "veloc"]].count().tolist() == [484, 648]
    assert data[["Block", "Family"]].nunique().tolist() == [11, 43]
    assert data[["bden", "veloc"]].notna().any(axis=1).all()
    assert data.groupby(["Block", "Family"]).size().value_counts().to_dict() == {1: 293, 2: 180}


def test_load_dataset__canty_residual_degrees_of_freedom() -> None:
    # 2 z² of the published residual variances: 432.5 for bden, 606.7 for veloc.
    free = load_dataset("canty")[["bden", "veloc"]].count() - 1 - 10 - 42
    published = published_table().query("term == 'Residual' and trait_i == trait_j")
    implied = 2.0 * (published["component"] / published["std_error"]).to_numpy() ** 2
    np.testing.assert_allclose(free, implied, rtol=0.02)


def test_load_dataset__canty_complete_balanced() -> None:
    data = load_dataset("canty_complete")
    assert data.notna().all(axis=None)
    assert (data.groupby(["Block", "Family"]).size() == 1).all()
    assert len(data) == 473


def test_load_dataset__ril_two_plots_a_line() -> None:
    data = load_dataset("ril")
    assert data.notna().all(axis=None)
    assert (data.groupby(["Block", "line"]).size() == 1).all()
    assert data[["Block", "line"]].nunique().tolist() == [2, 159]


def test_published_table__figures() -> None:
    table = published_table()
    assert list(table.columns) == ["term", "trait_i", "trait_j", "component", "std_error", "diag_component"]
    family = table.query("term == 'Family'")["component"].to_numpy()
    assert family[1] / np.sqrt(family[0] * family[2]) == pytest.approx(0.37, abs=0.005)
    assert table["diag_component"].isna().sum() == 3
    assert PUBLISHED_LOGLIK["us"] - PUBLISHED_LOGLIK["diag"] == pytest.approx(8.531)


def test_published_table__rows_as_in_varcomp(canty_us: RemlFit) -> None:
    names = ["term", "trait_i", "trait_j"]
    pd.testing.assert_frame_equal(published_table()[names], canty_us.varcomp[names], check_dtype=False)


def test_canty__reml_equals_published_digits(canty_us: RemlFit) -> None:
    assert canty_us.converged
    assert seven_digits(canty_us.varcomp["component"]) == seven_digits(published_table()["component"])


def test_canty__standard_errors_within_tenth(canty_us: RemlFit) -> None:
    ratio = canty_us.varcomp["std_error"] / published_table()["std_error"]
    assert ratio.between(1 / 1.1, 1.1).all()
    assert ratio.min() == pytest.approx(0.914, abs=5e-4)
    assert ratio.max() == pytest.approx(1.083, abs=5e-4)


def test_canty__family_correlation(canty_us: RemlFit) -> None:
    S = canty_us.covariances["Family"]
    assert S[0, 1] / np.sqrt(S[0, 0] * S[1, 1]) == pytest.approx(0.3689, abs=5e-5)


def test_canty__gain_of_us_over_diag(canty_us: RemlFit, canty_diag: RemlFit) -> None:
    # 8.531 is published; how the real records overlapped is not known.
    assert canty_us.loglik - canty_diag.loglik == pytest.approx(10.29, abs=0.005)


def test_canty__diag_near_published(canty_diag: RemlFit) -> None:
    # Not constructed: the published diag estimates follow from the real records, these from the simulated ones.
    published = published_table().dropna()["diag_component"]
    ours = canty_diag.varcomp.query("trait_i == trait_j")["component"]
    np.testing.assert_allclose(ours.to_numpy(), published.to_numpy(), rtol=0.03)


@pytest.mark.parametrize("engine", ["auto", "sparse"])
def test_canty_complete__reml_equals_published_digits(engine: str) -> None:
    fit = fit_reml(build_design(US, load_dataset("canty_complete")), engine=engine)
    assert fit.engine.name == {"auto": "strata"}.get(engine, engine)
    assert seven_digits(fit.varcomp["component"]) == seven_digits(published_table()["component"])


def test_canty_complete__mean_squares_give_components() -> None:
    # In a balanced trial REML inside the parameter space is the analysis of variance.
    data = load_dataset("canty_complete")
    Y = data[["bden", "veloc"]].to_numpy().reshape(11, 43, 2)
    centred = Y - Y.mean((0, 1))
    block, family = centred.mean(1), centred.mean(0)
    rest = (centred - block[:, None] - family[None]).reshape(-1, 2)
    R = rest.T @ rest / 420
    B, F = block.T @ block / 10 - R / 43, family.T @ family / 42 - R / 11
    ours = pd.Series(np.concatenate([S[np.tril_indices(2)] for S in (B, F, R)]))
    assert seven_digits(ours) == seven_digits(published_table()["component"])


def test_ril__reml_ends_on_boundary(ril: RemlFit) -> None:
    assert ril.converged
    assert ril.at_boundary == ("Block",)
    assert ril.ranks == {"Block": 1, "line": 3, "Residual": 3}
    assert set(ril.varcomp.query("term == 'Block'")["constraint"]) == {"boundary"}


def test_ril__line_mean_heritabilities(ril: RemlFit) -> None:
    G, R = np.diag(ril.covariances["line"]), np.diag(ril.covariances["Residual"])
    heritability = G / (G + R / 2)
    assert ((heritability > 0.5) & (heritability < 0.9)).all()
    assert ril.covariances["line"][0, 1] > 0


def test_lambs_scored__is_what_its_generator_makes_and_has_a_truth() -> None:
    made = make_lambs_scored()
    pd.testing.assert_frame_equal(load_dataset("lambs_scored"), made.records, check_dtype=False)
    pd.testing.assert_frame_equal(load_pedigree("lambs_scored"), made.pedigree, check_dtype=False)
    truth = load_truth("lambs_scored")
    assert truth.covariances["Residual"][1, 1] == truth.covariances["Residual"][2, 2] == 1.0
    assert list(truth.fixed["trait"].unique()) == ["weight", "scab", "ease", "eggs", "days"]
    known = made.records["days_high"].notna()
    assert (made.records["days_high"] - made.records["days_low"])[known].eq(7).all()
    assert made.records["days_low"][~known].eq(140).all()
    assert 0.05 < (~known).mean() < 0.4
    assert len(truth.breeding_values) == 5 * len(made.pedigree)
    # Latent values decide: sires with high breeding values have more lambs with scab.
    values = truth.breeding_values.query("trait == 'scab'").set_index("level")["true"]
    data = made.records.assign(scab=made.records["scab"] == "yes", true=made.records["sire"].map(values))
    assert data.groupby("sire")[["scab", "true"]].mean().corr().iloc[0, 1] > 0.4
