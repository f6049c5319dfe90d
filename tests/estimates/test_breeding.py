"""The simulated flock: what it holds, that the truth is found again, and breeding values against dense algebra."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2
from traces import draws_around, trace_of

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.sampling.effects import effect_dataset, effect_moments, wanted_effects
from bayesmv.simulation.datasets import load_truth
from bayesmv.simulation.datasets.breeding import TRUE_COVARIANCES, make_breeding, true_values

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
TRAITS = ["wwt", "fat"]
LEVEL = ["level", "trait"]
LAMBS, PARENTS = bmv.load_dataset("breeding"), bmv.load_pedigree("breeding")
PEDIGREE = bmv.Pedigree.from_frame(PARENTS)
TRUTH = load_truth("breeding")
CHOSEN = ["A599", "A001", "A153"]


@pytest.fixture(scope="module")
def design():
    return bmv.load_design(MODELS / "breeding_us.toml")


@pytest.fixture(scope="module")
def fit(design):
    return bmv.fit_reml(design)


@pytest.fixture(scope="module")
def ideal(design):
    return bmv.blup(design, TRUTH.covariances)


@pytest.fixture(scope="module")
def thetas(design, fit):
    """Five synthetic draws of the covariances around REML, (5, d)."""
    coordinates = log_posterior(design).coordinates
    x = draws_around(log_posterior(design), fit.theta, 1, 5, spread=0.3)[0]
    return np.array([coordinates.constrain(row) for row in x])


def predictions(source):
    return bmv.breeding_values(source, "animal").merge(TRUTH.breeding_values, on=LEVEL, validate="1:1")


def true_matrix():
    """True breeding values (600, 2) in the order of the pedigree."""
    table = TRUTH.breeding_values
    return np.column_stack([table[table["trait"] == t].set_index("level").loc[PEDIGREE.ids, "true"] for t in TRAITS])


# ---------------------------------------------------------------- what was shipped


def test_make_breeding__shipped_files_are_what_it_makes():
    made = make_breeding()
    pd.testing.assert_frame_equal(LAMBS, made.records, rtol=1e-14, atol=0.0)
    pd.testing.assert_frame_equal(PARENTS, made.pedigree)
    truth, again = TRUTH.breeding_values, true_values(made.breeding_values).breeding_values
    pd.testing.assert_frame_equal(truth, again, rtol=0.0, atol=1.5e-6)


def test_make_breeding__other_seed_other_flock():
    assert not make_breeding(2).pedigree.equals(make_breeding(3).pedigree)


def test_breeding__columns_and_counts():
    assert list(LAMBS.columns) == ["animal", "sex", "year", "litter", *TRAITS]
    assert list(PARENTS.columns) == ["id", "sire", "dam"]
    assert LAMBS[TRAITS].count().tolist() == [450, 360]
    assert sorted(LAMBS["year"].unique()) == [2016, 2017, 2018, 2019, 2020]
    assert set(LAMBS["sex"]) == {"F", "M"}
    assert LAMBS["animal"].is_unique


def test_breeding__true_breeding_values_are_not_in_what_a_user_fits():
    for trait, true in TRUTH.breeding_values.groupby("trait")["true"]:
        for column in (*LAMBS.select_dtypes("number"), trait):
            assert not set(true.round(3)) >= set(LAMBS[column].dropna().round(3))
    assert not {"true", "bv"} & {*LAMBS.columns, *PARENTS.columns}


def test_breeding__pedigree_needs_no_mending():
    assert PEDIGREE.notes == ()
    assert list(PEDIGREE.ids) == list(PARENTS["id"])
    assert set(LAMBS["animal"]) < set(PARENTS["id"])
    bmv.Pedigree.from_frame(PARENTS, sexes="error")
    sex = LAMBS.set_index("animal")["sex"]
    assert set(sex.reindex(PARENTS["sire"].dropna()).dropna()) == {"M"}
    assert set(sex.reindex(PARENTS["dam"].dropna()).dropna()) == {"F"}


def test_breeding__generations_overlap_and_some_lambs_are_inbred():
    lambs = LAMBS.merge(PARENTS, left_on="animal", right_on="id")
    assert lambs.groupby("sire")["year"].nunique().max() == 3
    assert lambs.groupby("dam")["year"].nunique().max() >= 4
    sires = lambs[lambs["sire"].isin(lambs["animal"])].merge(LAMBS, left_on="sire", right_on="animal")
    assert set(sires["year_x"] - sires["year_y"]) == {1, 2, 3}
    summary = PEDIGREE.summary()
    assert (summary.animals, summary.founders) == (600, 60)
    assert summary.inbred >= 50
    assert summary.max_inbreeding >= 0.25


def test_breeding__a_litter_is_one_ewe_in_one_year():
    lambs = LAMBS.merge(PARENTS, left_on="animal", right_on="id")
    litters = lambs[["litter", "dam", "year", "sire"]].drop_duplicates()
    assert litters["litter"].is_unique
    assert not litters.duplicated(["dam", "year"]).any()
    assert lambs["litter"].value_counts().value_counts().to_dict() == {2: 135, 1: 45, 3: 45}


def test_breeding__fat_is_missing_at_random():
    # wwt, sex and year of lambs with and without fat: |z| < 3.5 each; false alarms below 1 in 1000 flocks.
    lost = LAMBS["fat"].isna()
    assert lost.mean() == 0.2
    for column in (LAMBS["wwt"], (LAMBS["sex"] == "M").astype(float), LAMBS["year"].astype(float)):
        error = column.std() * np.sqrt(1 / lost.sum() + 1 / (~lost).sum())
        assert abs(column[lost].mean() - column[~lost].mean()) < 3.5 * error


def test_load_truth__covariances_are_proper():
    assert {name: S.tolist() for name, S in TRUTH.covariances.items()} == {
        name: [list(row) for row in S] for name, S in TRUE_COVARIANCES.items()
    }
    for S in TRUTH.covariances.values():
        np.testing.assert_array_equal(S, S.T)
        assert np.linalg.eigvalsh(S)[0] > 0


def test_load_truth__breeding_values_have_covariance_g_a():
    # U'A⁻¹U ~ Wishart(600, G): elements within 4 of their standard errors; false alarms below 1 in 5000 flocks.
    U = true_matrix()
    G, n = TRUTH.covariances["animal"], len(U)
    error = np.sqrt((np.outer(np.diag(G), np.diag(G)) + G**2) / n)
    assert (np.abs(U.T @ (PEDIGREE.inverse() @ U) / n - G) < 4 * error).all()


def test_load_pedigree__raises_without_one():
    with pytest.raises(SpecError, match="the data set 'canty' has no pedigree; with pedigree: 'breeding'"):
        bmv.load_pedigree("canty")


def test_load_truth__raises_without_one():
    with pytest.raises(SpecError, match="the truth of the data set 'calves' is not stored; stored: 'breeding'"):
        load_truth("calves")


# ---------------------------------------------------------------- models


def test_breeding_us__is_the_model_of_the_formula(design):
    spec = bmv.ModelSpec.from_formula(
        "wwt + fat ~ sex + C(year)",
        random="us(trait):vm(animal, A) + us(trait):litter",
        genetic=bmv.Genetic(term="animal"),
    )
    assert (str(design.spec), design.spec.genetic) == (str(spec), spec.genetic)
    other = bmv.build_design(spec, LAMBS, {"A": bmv.Relationship.from_pedigree(PEDIGREE)})
    assert bmv.blup(other, TRUTH.covariances).loglik == pytest.approx(
        bmv.blup(design, TRUTH.covariances).loglik, abs=1e-9
    )


def test_breeding_us__checks_without_warnings(design):
    assert design.notes == ()
    assert not any(term.warnings for term in bmv.identifiability(design))


def test_breeding_us__keeps_lambs_without_fat(design):
    assert len(design.units) == 450
    assert design.observed.sum() == 810
    assert [len(term.levels) for term in design.terms] == [600, 225]


def test_breeding_univariate__is_the_one_trait_of_the_two(fit):
    alone = bmv.fit_reml(bmv.load_design(MODELS / "breeding_univariate.toml"))
    assert (alone.converged, alone.at_boundary, alone.n_parameters) == (True, (), 3)
    h2 = [bmv.genetic_parameters(f).query("parameter == 'heritability'")["estimate"].iloc[0] for f in (alone, fit)]
    # fat tells little more about wwt, which every lamb has.
    assert h2[0] == pytest.approx(h2[1], abs=0.02)


def test_breeding__relatives_ignored_is_said_to_be_confounded():
    spec = bmv.ModelSpec.from_formula("wwt + fat ~ sex + C(year)", random="us(trait):ide(animal) + us(trait):litter")
    information = bmv.identifiability(bmv.build_design(spec, LAMBS))
    assert "animal_ide: groups the units as Residual does" in information[0].warnings[0]


# ---------------------------------------------------------------- truth recovered


def test_reml__within_three_standard_errors_of_truth(fit):
    # 9 normal z-ratios: 1 flock in 40 has one beyond 3. (Of seeds 1 to 40, 7: standard errors shrink near a singular
    # matrix. The likelihood ratio below does not suffer from that.)
    assert (fit.converged, fit.at_boundary) == (True, ())
    true = np.concatenate([S[np.tril_indices(2)] for S in TRUTH.covariances.values()])
    assert ((fit.varcomp["component"] - true).abs() < 3 * fit.varcomp["std_error"]).all()


def test_reml__likelihood_ratio_to_truth(fit, ideal):
    # χ² on 9 df, if anything smaller: false alarms in 1 of 1000 flocks.
    assert 0 < 2 * (fit.loglik - ideal.loglik) < chi2.isf(1e-3, 9)


@pytest.mark.slow
def test_reml__likelihood_ratio_to_truth_over_flocks():
    # The sum of 20 is χ² on 180 df, if anything smaller: 1 run in 1000 beyond either bound (were the seeds not fixed).
    spec, total = bmv.ModelSpec.from_file(MODELS / "breeding_us.toml"), 0.0
    for seed in range(101, 121):
        made = make_breeding(seed)
        flock = bmv.build_design(spec, made.records, {"A": bmv.Relationship.from_pedigree(made.pedigree)})
        total += 2 * (bmv.fit_reml(flock).loglik - bmv.blup(flock, TRUTH.covariances).loglik)
    assert chi2.ppf(5e-4, 180) < total < chi2.isf(5e-4, 180)


def test_reml__fixed_effects_near_truth(fit):
    # 12 estimates within 4 standard errors: false alarms below 1 in 1000 flocks.
    table = fit.fixed.merge(TRUTH.fixed, on=["trait", "effect"], how="outer", validate="1:1", indicator=True)
    assert set(table["_merge"]) == {"both"}
    assert ((table["estimate"] - table["true"]).abs() < 4 * table["std_error"]).all()


def test_blup__accuracy_near_what_it_predicts(ideal):
    # Over seeds 1 to 40 the difference has sd 0.05 (wwt) and 0.06 (fat): false alarms below 1 in 500 flocks.
    table = predictions(ideal)
    for _, lambs in table[table["level"].isin(LAMBS["animal"])].groupby("trait"):
        assert lambs["blup"].corr(lambs["true"]) == pytest.approx(lambs["accuracy"].mean(), abs=0.2)


def test_blup__lambs_without_fat_have_fat_breeding_values(fit):
    table = bmv.breeding_values(fit, "animal").query("trait == 'fat'").set_index("level")["reliability"]
    lost = LAMBS["fat"].isna()
    without, with_fat = (table[LAMBS.loc[rows, "animal"]] for rows in (lost, ~lost))
    assert (without > 0.05).all()
    assert without.mean() < with_fat.mean() - 0.05


# ---------------------------------------------------------------- against dense algebra


@pytest.fixture(scope="module")
def dense(design):
    """BLUP (1200,) and prediction error covariance (1200, 1200), animals within traits: û = CPy, PEV = G⊗A - CPC'."""
    A = PEDIGREE.relationship().to_numpy()
    at = PEDIGREE.ids.get_indexer(LAMBS["animal"])
    litter = pd.get_dummies(LAMBS["litter"]).to_numpy(float)
    kernels = {"animal": A[np.ix_(at, at)], "litter": litter @ litter.T, "Residual": np.eye(len(LAMBS))}
    seen = LAMBS[TRAITS].notna().to_numpy().T.reshape(-1)
    V = sum(np.kron(TRUTH.covariances[name], K) for name, K in kernels.items())[np.ix_(seen, seen)]
    C = np.kron(TRUTH.covariances["animal"], A[:, at])[:, seen]
    X = np.kron(np.eye(2), design.fixed.X.toarray())[seen]
    VX = np.linalg.solve(V, X)
    P = np.linalg.inv(V) - VX @ np.linalg.solve(X.T @ VX, VX.T)
    y = LAMBS[TRAITS].to_numpy().T.reshape(-1)[seen]
    return C @ P @ y, np.kron(TRUTH.covariances["animal"], A) - C @ P @ C.T


def test_blup__equals_dense_algebra(ideal, dense):
    table = predictions(ideal).sort_values("trait", key=lambda c: c.map(TRAITS.index), kind="stable")
    assert list(table["level"]) == 2 * list(PEDIGREE.ids)
    np.testing.assert_allclose(table["blup"], dense[0], atol=1e-8)
    np.testing.assert_allclose(table["std_error"] ** 2, np.diag(dense[1]), rtol=1e-8)
    prior = np.kron(np.diag(TRUTH.covariances["animal"]), 1 + PEDIGREE.inbreeding)
    np.testing.assert_allclose(table["reliability"], 1 - np.diag(dense[1]) / prior, atol=1e-9)


def test_blup__errors_have_the_covariance_that_it_states(dense):
    # (u - û)'PEV⁻¹(u - û) ~ χ² on 1200 df exactly, in repeated flocks: false alarms in 1 of 500.
    error = true_matrix().T.reshape(-1) - dense[0]
    assert chi2.ppf(1e-3, 1200) < error @ np.linalg.solve(dense[1], error) < chi2.isf(1e-3, 1200)


# ---------------------------------------------------------------- posterior breeding values, without sampling


def test_effect_moments__at_one_draw_are_blup_and_pev(design, thetas):
    sigmas = design.blocks.matrices(thetas[0])
    mean, variance, prior = effect_moments(design, [sigmas], "animal")
    scales = {name: design.effect_scale(name) for name in design.names}
    given = {n: S * np.outer(scales[n], scales[n]) for n, S in zip(design.names, sigmas, strict=True)}
    table = bmv.blup(design, given).effects("animal")
    np.testing.assert_allclose(mean.reshape(-1), table["blup"], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(np.sqrt(variance).reshape(-1), table["std_error"], rtol=1e-9)
    np.testing.assert_allclose(1 - (variance / prior).reshape(-1), table["reliability"], atol=1e-9)


def test_effect_moments__are_the_laws_of_total_mean_and_variance(design, thetas):
    """Over many draws, by arrays of all of them: E u = mean E(u | Σ), var u = mean var(u | Σ) + var E(u | Σ)."""
    draws = [design.blocks.matrices(theta) for theta in thetas]
    each = [effect_moments(design, [sigmas], "animal") for sigmas in draws]
    means, variances, priors = (np.array(values) for values in zip(*each, strict=True))
    mean, variance, prior = effect_moments(design, draws, "animal")
    np.testing.assert_allclose(mean, means.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(variance, variances.mean(axis=0) + means.var(axis=0), rtol=1e-9)
    np.testing.assert_allclose(prior, priors.mean(axis=0), rtol=1e-12)


def test_effect_moments__equal_those_of_direct_draws(design, thetas):
    # 600 draws of 1200 effects: every mean within 5.5 and every variance within 6.5 standard errors of sqrt(2/n);
    # false alarms below 1 in 5000, were the seed not fixed.
    n = 600
    theta = np.tile(thetas, (n // len(thetas), 1))[None]
    U = effect_dataset(design, theta, wanted_effects(design, ["animal"]), np.random.default_rng(7))["animal_effect"]
    mean, variance, _ = effect_moments(design, [design.blocks.matrices(row) for row in thetas], "animal")
    assert (np.abs(U.to_numpy()[0].mean(axis=0) - mean) < 5.5 * np.sqrt(variance / n)).all()
    assert (np.abs(U.to_numpy()[0].var(axis=0) / variance - 1) < 6.5 * np.sqrt(2 / n)).all()


def test_effect_dataset__chosen_animals_are_those_of_all(design, thetas):
    drawn = {}
    for name, effects in (("all", ["animal"]), ("chosen", {"animal": CHOSEN})):
        wanted = wanted_effects(design, effects)
        drawn[name] = effect_dataset(design, thetas[None], wanted, np.random.default_rng(3))
    chosen = drawn["chosen"]["animal_effect"]
    assert chosen.shape == (1, 5, 3, 2)
    assert list(chosen["animal_level"].to_numpy()) == CHOSEN
    np.testing.assert_array_equal(chosen, drawn["all"]["animal_effect"].sel(animal_level=CHOSEN))


def test_breeding_values__from_a_design_and_from_draws(design, fit, thetas):
    """One trace serves both: moments of all animals from the covariances, draws of the chosen ones."""
    x = draws_around(log_posterior(design), fit.theta, 2, 10)
    trace = trace_of(design, x, reml=fit, effects={"animal": CHOSEN})
    everyone = bmv.breeding_values(trace, "animal", design=design)
    assert list(everyone["level"]) == list(np.repeat(PEDIGREE.ids, 2))
    assert list(everyone.columns) == [*LEVEL, "mean", "sd", "reliability", "accuracy", "rank"]
    three = bmv.breeding_values(trace, "animal")
    assert list(three["level"]) == list(np.repeat(CHOSEN, 2))
    both = three.merge(everyone, on=LEVEL, suffixes=("_drawn", ""))
    # 20 independent draws of 6 effects within 5 standard errors of their mean.
    assert ((both["mean_drawn"] - both["mean"]).abs() < 5 * both["sd"] / np.sqrt(20)).all()


def test_wanted_effects__raises_on_unknown_animal(design):
    with pytest.raises(SpecError, match="no level 'A999' of 'animal'; levels: "):
        wanted_effects(design, {"animal": ["A001", "A999"]})


def test_wanted_effects__raises_on_unknown_litter_or_term(design):
    with pytest.raises(SpecError, match="no level 'A001-15' of 'litter'; levels: "):
        wanted_effects(design, {"litter": ["A001-15"]})
    with pytest.raises(SpecError, match="no random term 'dam'; random terms: 'animal', 'litter'"):
        wanted_effects(design, ["dam"])


@pytest.mark.slow
def test_example__runs_and_says_what_the_truth_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAYESMV_DRAWS", "50")
    runpy.run_path(str(ROOT / "examples" / "02_animal_model.py"))
    printed = capsys.readouterr().out
    assert "600 animals: 60 founders, 15 sires, 90 dams" in printed
    for expected in ("correlation with truth", "posterior sd / standard error of BLUP", "without litter: LR = "):
        assert expected in printed
    assert not list(tmp_path.iterdir())
