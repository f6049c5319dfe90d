"""The model files of models/: each loads, builds, goes round and fits; the reference ones give published figures."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import bayesmv as bmv
from bayesmv.simulation.datasets import PUBLISHED_LOGLIK

FOLDER = Path(__file__).resolve().parents[1] / "models"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))


@cache
def fitted(name):
    return bmv.fit_reml(bmv.load_design(FOLDER / f"{name}.toml"))


def test_models__the_reference_models_are_there():
    assert {"canty_separate", "canty_diag", "canty_us", "canty_corgh", "ril_us"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_model__builds_and_every_trait_has_its_mean(name):
    design = bmv.load_design(FOLDER / f"{name}.toml")
    means = {trait for trait, effect in design.fixed.coefficients(design.traits) if effect == "Intercept"}
    assert means == set(design.traits)
    assert design.spec.title
    # What identifies traits that are not Gaussian is said, and of eggs that they were counted on some lambs only.
    said = {note.partition(":")[0] for note in design.notes if "units without a record of any trait" not in note}
    assert said == set(design.spec.families)


@pytest.mark.parametrize("name", NAMES)
def test_model__round_trips_through_a_file(name, tmp_path):
    spec = bmv.ModelSpec.from_file(FOLDER / f"{name}.toml")
    spec.to_file(tmp_path / "again.toml")
    assert bmv.ModelSpec.from_file(tmp_path / "again.toml") == spec


@pytest.mark.parametrize("name", NAMES)
def test_model__reml_converges(name):
    fit = fitted(name)
    assert fit.converged
    # Two blocks for three traits; a specific variance of 0.
    assert fit.at_boundary == {"ril_us": ("Block",), "ril_fa": ("line",)}.get(name, ())


def test_canty_us__equals_the_published_estimates_to_the_printed_digits():
    published = bmv.published_table()
    table = fitted("canty_us").varcomp
    assert list(table["term"]) == list(published["term"])
    for ours, printed in zip(table["component"], published["component"], strict=True):
        assert f"{ours:.7g}" == f"{printed:.7g}"
    # Nothing was done to match the standard errors; issue A asks for 10 %.
    np.testing.assert_allclose(table["std_error"], published["std_error"], rtol=0.10)


def test_canty_us__family_correlation_and_gain_over_diag():
    fit = fitted("canty_us")
    parameters = bmv.genetic_parameters(fit).set_index("parameter")
    assert parameters.loc["genetic correlation", "estimate"] == pytest.approx(0.37, abs=0.005)
    gain = fit.loglik - fitted("canty_diag").loglik
    # Published 8.53; how the real records overlapped is unknown.
    assert gain == pytest.approx(10.29, abs=0.005)
    assert PUBLISHED_LOGLIK["us"] - PUBLISHED_LOGLIK["diag"] == pytest.approx(8.53, abs=0.005)
    test = bmv.likelihood_ratio(fitted("canty_diag"), fit)
    assert test.df == 3
    assert test.statistic == pytest.approx(2 * gain)


def test_canty_separate__is_canty_diag():
    separate, diag = fitted("canty_separate"), fitted("canty_diag")
    assert separate.loglik == pytest.approx(diag.loglik, abs=1e-6)
    assert separate.n_parameters == diag.n_parameters == 6
    key = ["trait_i", "component"]
    for factor in ("Block", "Family", "Residual"):
        ours = separate.varcomp[separate.varcomp["term"].str.startswith(factor)][key]
        theirs = diag.varcomp[diag.varcomp["term"] == factor][key]
        assert list(ours["trait_i"]) == list(theirs["trait_i"])
        np.testing.assert_allclose(ours["component"], theirs["component"], rtol=1e-4)


def test_canty_corgh__is_canty_us_with_correlations():
    corgh, us = fitted("canty_corgh"), fitted("canty_us")
    assert corgh.loglik == pytest.approx(us.loglik, abs=1e-6)
    assert corgh.n_parameters == us.n_parameters == 9
    for name, sigma in us.covariances.items():
        np.testing.assert_allclose(corgh.covariances[name], sigma, rtol=1e-4)
    family = corgh.varcomp.query("term == 'Family' and trait_i != trait_j")["component"].item()
    assert family == pytest.approx(0.3689, abs=5e-5)


def test_ril_us__block_has_rank_one():
    fit = fitted("ril_us")
    assert fit.ranks == {"Block": 1, "line": 3, "Residual": 3}
    warning = [w for term in bmv.identifiability(fit.design) for w in term.warnings]
    assert len(warning) == 1
    assert warning[0].startswith("Block: 2 levels give 1 degree of freedom for a 3 × 3 matrix: rank ≤ 1")


@pytest.mark.parametrize("name", NAMES)
def test_readme_of_models__gives_loglik_and_parameters(name):
    fit = fitted(name)
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| [`{name}"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[-2:] == [str(fit.n_parameters), f"{fit.loglik:.3f}".replace("-", "−")]
