"""Published answers of traits that are not Gaussian: Mrode's threshold models at given matrices, and lme4's cbpp."""

import csv

import numpy as np
import pandas as pd
import pytest
from published import HOMES
from scipy.stats import norm

import bayesmv as bmv


def folder(name):
    found = [home / name for home in HOMES if (home / name).is_dir()]
    return found[0] if found else pytest.skip(f"no set {name}")


def answers(name):
    with (folder(name) / "answers.csv").open() as file:
        return {row["quantity"]: float(row["value"]) for row in csv.DictReader(file)}


def text(path):
    return pd.read_csv(path, dtype=str)


@pytest.mark.published("mrode_threshold")
def test_mrode_13_1__ordered_scores_at_a_given_sire_variance():
    data = text(folder("mrode_threshold") / "data_13.1.csv").astype({"score": int})
    pedigree = text(folder("mrode_threshold") / "pedigree_13.1.csv").assign(mother=None)
    A = bmv.Relationship.from_pedigree(bmv.Pedigree.from_frame(pedigree, id="sire", sire="father", dam="mother"))
    spec = bmv.ModelSpec.from_formula(
        "score ~ herd + sex",
        random="vm(sire, A)",
        families={"score": "ordered"},
        constraints={"sire": {"sd": (1 / 19) ** 0.5}},
    )
    fit = bmv.fit_reml(bmv.build_design(spec, data, {"A": A}), engine="mode")
    printed = answers("mrode_threshold")
    cut = fit.thresholds["estimate"].to_numpy()
    assert cut[1] == pytest.approx(printed["t2-t1"], abs=5e-5)
    fixed = fit.fixed.set_index("effect")["estimate"]
    assert fixed["herd[T.2]"] == pytest.approx(printed["herd 2 - 1"], abs=1e-4)
    assert fixed["sex[T.2]"] == pytest.approx(printed["sex 2 - 1"], abs=1e-4)
    sires = bmv.breeding_values(fit, "sire").set_index("level")["blup"]
    for sire in "1234":
        assert sires[sire] == pytest.approx(printed[f"sire {sire}"], abs=3e-4)
    # The printed example: a calf of sire 1 in herd 1, of sex 2.
    eta = fixed["Intercept"] + fixed["sex[T.2]"] + sires["1"]
    p = np.diff(np.concatenate([[0.0], norm.cdf(cut - eta), [1.0]]))
    # Printed so that they add to 1: the last is .0708.
    np.testing.assert_allclose(p, [0.800, 0.130, 0.070], atol=1e-3)


@pytest.mark.published("mrode_threshold")
def test_mrode_13_2__weight_and_difficulty_at_given_matrices():
    data = text(folder("mrode_threshold") / "data_13.2.csv").astype({"birth_weight": float, "difficult": int})
    grandsires = text(folder("mrode_threshold") / "pedigree_13.2.csv")
    sires = [(r.sire, r.sire_of_sire, f"dam of {r.sire}") for r in grandsires.itertuples()]
    dams = [(f"dam of {r.sire}", r.maternal_grandsire, None) for r in grandsires.itertuples()]
    A = bmv.Relationship.from_pedigree(
        bmv.Pedigree.from_frame(
            pd.DataFrame(sires + dams, columns=["sire", "father", "mother"]), id="sire", sire="father", dam="mother"
        )
    )
    weight = 20.0**0.5
    spec = bmv.ModelSpec.from_formula(
        "difficult + birth_weight ~ origin + season + sex",
        random="us(trait):vm(sire, A)",
        residual="us(trait):units",
        families={"difficult": "binary"},
        constraints={
            "sire": {
                "sd[difficult]": 0.03**0.5,
                "sd[birth_weight]": 0.7178**0.5,
                "cor[difficult,birth_weight]": 0.0302 / (0.03 * 0.7178) ** 0.5,
            },
            "Residual": {"sd[birth_weight]": weight, "cor[difficult,birth_weight]": 2.0527 / weight},
        },
    )
    fit = bmv.fit_reml(bmv.build_design(spec, data, {"A": A}), engine="mode")
    printed = answers("mrode_threshold")
    found = bmv.breeding_values(fit, "sire").set_index(["level", "trait"])["blup"]
    fixed = fit.fixed.set_index(["effect", "trait"])["estimate"]
    for trait, word in (("difficult", "difficulty"), ("birth_weight", "weight")):
        for sire in "123456":
            assert found[sire, trait] == pytest.approx(printed[f"sire {sire} {word}"], abs=5.1e-5)
        for factor in ("origin", "season", "sex"):
            assert fixed[f"{factor}[T.2]", trait] == pytest.approx(printed[f"{factor} 2 - 1 {word}"], abs=2e-4)


@pytest.mark.published("cbpp")
def test_cbpp__laplace_ml_against_the_constants_of_lme4s_tests():
    data = text(folder("cbpp") / "data.csv").astype({"incidence": int, "size": int})
    spec = bmv.ModelSpec.from_formula(
        "incidence ~ period",
        random="herd",
        families={"incidence": {"family": "binomial", "size": "size", "link": "logit"}},
    )
    fit = bmv.fit_reml(bmv.build_design(spec, data), engine="laplace_ml")
    printed = answers("cbpp")
    names = ["beta Intercept", "beta period2", "beta period3", "beta period4"]
    np.testing.assert_allclose(fit.fixed["estimate"], [printed[name] for name in names], atol=2e-5)
    assert fit.component("herd", 0, 0)[0] ** 0.5 == pytest.approx(printed["sd herd"], abs=2e-5)
    assert fit.loglik == pytest.approx(printed["logLik"], abs=2e-6)
    assert fit.method.startswith("ML, approximate")
    assert fit.aic == pytest.approx(-2 * fit.loglik + 2 * 5)


def test_mode__is_of_given_covariances():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"f": rng.integers(0, 9, 60).astype(str), "z": rng.integers(0, 2, 60)})
    spec = bmv.ModelSpec.from_formula("z ~ 1", random="f", families={"z": "binary"})
    with pytest.raises(bmv.SpecError, match="whose covariances are all given: hold every parameter"):
        bmv.fit_reml(bmv.build_design(spec, data), engine="mode")
