"""Predictions against dense equations, published tables, and weights written by hand."""

import numpy as np
import pandas as pd
import pytest
from oracles import Dense, all_patterns, random_case
from scipy import stats
from textbooks import pedigree
from textbooks import records as records_of_book
from traces import make_design, records, trace_of
from wordings import oats

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError

SPLIT = "idv(trait):block + idv(trait):block:variety"
RANDOM = "us(trait):vm(animal, A) + diag(trait):block"


def fitted(case, seed=3):
    covariances = case.random_covariances(np.random.default_rng(seed))
    covariances[1] = np.diag(np.diag(covariances[1]))
    return covariances, bmv.blup(case.design, dict(zip(case.design.names, covariances, strict=True)))


@pytest.fixture(scope="module")
def case():
    return random_case(8, 2, RANDOM, patterns=all_patterns(2), n=30)


@pytest.fixture(scope="module")
def trial():
    """Yates's oats: variety in whole plots, nitrogen in subplots."""
    (data,) = oats().values()
    spec = bmv.ModelSpec.from_formula("yield ~ variety*C(nitrogen)", random=SPLIT)
    return bmv.fit_reml(bmv.build_design(spec, data))


def by_hand(dense, case, trait, sex=0.5, x=None, animal=None, block=None):
    """Weights of (b, u_1, u_2) in the mean of a trait."""
    x = case.data["x"].mean() if x is None else x
    value = {"Intercept": 1.0, "sex[T.m]": sex, "x": x}
    weights = [value[v] if t == trait else 0.0 for t, v in dense.labels]
    e = list(case.spec.traits).index(trait)
    for k, level in enumerate((animal, block)):
        for name in dense.levels[k]:
            weights += [float(name == level and i == e) for i in range(2)]
    return np.array(weights)


@pytest.mark.parametrize("at", ["sex", "x", "animal"])
def test_predict__dense(case, at):
    covariances, fit = fitted(case)
    dense = Dense(case, covariances)
    mean, cov = dense.posterior
    asked = {
        "sex": {"sex": ["m", "f"]},
        "x": {"x": [-10.0, 40.0]},
        "animal": {"animal": ["a3", "a0"], "sex": ["f"]},
    }[at]
    found = bmv.predict(fit, asked, small_sample=False).frame
    cells = {
        "sex": [{"sex": 1.0}, {"sex": 0.0}],
        "x": [{"x": -10.0}, {"x": 40.0}],
        "animal": [{"sex": 0.0, "animal": "a3"}, {"sex": 0.0, "animal": "a0"}],
    }[at]
    rows = np.array([by_hand(dense, case, t, **cell) for cell in cells for t in case.spec.traits])
    np.testing.assert_allclose(found["predicted"], rows @ mean, rtol=1e-7)
    np.testing.assert_allclose(found["std_error"], np.sqrt(np.diag(rows @ cov @ rows.T)), rtol=1e-6)


def test_predict__differences_and_contrasts_dense(case):
    covariances, fit = fitted(case)
    dense = Dense(case, covariances)
    mean, cov = dense.posterior
    found = bmv.predict(fit, {"animal": ["a1", "a2", "a5"]})
    rows = {a: by_hand(dense, case, "y2", animal=a) for a in ("a1", "a2", "a5")}
    pairs = found.differences("y2").set_index(["first", "second"])
    row = rows["a1"] - rows["a5"]
    assert pairs.loc[("a1", "a5"), "difference"] == pytest.approx(row @ mean, rel=1e-6)
    assert pairs.loc[("a1", "a5"), "std_error"] == pytest.approx(np.sqrt(row @ cov @ row), rel=1e-6)
    contrast = found.contrasts({"one against others": {"a1": 1.0, "a2": -0.5, "a5": -0.5}}, "y2").iloc[0]
    row = rows["a1"] - 0.5 * rows["a2"] - 0.5 * rows["a5"]
    assert contrast["difference"] == pytest.approx(row @ mean, rel=1e-6)
    assert contrast["p"] == pytest.approx(2.0 * stats.norm.sf(abs(contrast["difference"] / contrast["std_error"])))
    same = found.contrasts({"c": [1.0, -0.5, -0.5]}, "y2").iloc[0]
    assert same["difference"] == contrast["difference"]


def test_predict__new_animal_by_its_pedigree(case):
    """An offspring of a3 and a5 beside the animals of the fit: half of each, and Mendelian sampling."""
    covariances, fit = fitted(case)
    dense = Dense(case, covariances)
    mean, cov = dense.posterior
    ids, A = case.kin["A"]
    B = np.zeros(len(ids))
    B[[ids.index("a3"), ids.index("a5")]] = 0.5
    own = 1.0 + 0.5 * A[ids.index("a3"), ids.index("a5")]
    longer = np.block([[A, (A @ B)[:, None]], [(A @ B)[None], np.array([[own]])]])
    kin = bmv.Relationship.from_covariance(longer, [*ids, "calf"])
    found = bmv.predict(fit, {"animal": ["calf"]}, relationships={"A": kin}).frame
    for i, trait in enumerate(case.spec.traits):
        row = 0.5 * by_hand(dense, case, trait, animal="a3") + 0.5 * by_hand(dense, case, trait, animal="a5")
        assert found["predicted"][i] == pytest.approx(row @ mean, rel=1e-6)
        mendel = (own - B @ A @ B) * covariances[0][i, i]
        assert found["std_error"][i] == pytest.approx(np.sqrt(row @ cov @ row + mendel), rel=1e-6)
    with pytest.raises(
        DataError, match="'calf' of 'animal' are not in the relationship of the fit; give relationships="
    ):
        bmv.predict(fit, {"animal": ["calf"]})
    short = bmv.Relationship.from_covariance(longer[1:, 1:], [*ids[1:], "calf"])
    with pytest.raises(DataError, match="lacks 'a0'"):
        bmv.predict(fit, {"animal": ["calf"]}, relationships={"A": short})


def test_predict__new_level_of_independent_ones_is_the_mean_with_the_variance_of_the_term(case):
    covariances, fit = fitted(case)
    known = bmv.predict(fit, {"sex": ["f"]}, small_sample=False).frame
    new = bmv.predict(fit, {"sex": ["f"], "block": ["new"]}).frame
    np.testing.assert_allclose(new["predicted"], known["predicted"])
    np.testing.assert_allclose(new["std_error"] ** 2, known["std_error"] ** 2 + np.diag(covariances[1]))


def test_predict__oats_published(trial):
    """Yates (1935), as in ASReml-R's manual: means 80.0 … 126.8, s.e.d. 7.079 of varieties, 4.436 of nitrogen."""
    varieties = bmv.predict(trial, "variety")
    shown = dict(zip(varieties.labels, varieties.frame["predicted"], strict=True))
    assert shown == pytest.approx({"Golden": 104.5, "Marvellous": 109.7917, "Victory": 97.625}, abs=5e-5)
    assert varieties.frame["std_error"].to_numpy() == pytest.approx([7.7975] * 3, abs=5e-5)
    lsd = varieties.lsd().iloc[0]
    assert lsd["sed_mean"] == pytest.approx(7.0789, abs=5e-5)
    assert lsd["df"] == pytest.approx(10.0)
    assert lsd["lsd"] == pytest.approx(stats.t.ppf(0.975, 10) * 7.0789, rel=1e-5)
    nitrogen = bmv.predict(trial, "nitrogen")
    assert nitrogen.frame["predicted"].to_numpy() == pytest.approx([79.3889, 98.8889, 114.2222, 123.3889], abs=5e-5)
    assert nitrogen.lsd()["sed_mean"][0] == pytest.approx(4.4358, abs=1e-4)
    both = bmv.predict(trial, ["variety", "nitrogen"]).frame
    assert both["std_error"].to_numpy() == pytest.approx([9.1070] * 12, abs=5e-5)


@pytest.mark.published("mrode")
def test_predict__mrode_published():
    """Example 4.1: means of the sexes 4.358 ± 4.881 and 3.404 ± 5.666; animal 4 is a male, its own effect -0.009."""
    data = records_of_book("4.1")
    kin = bmv.Relationship.from_pedigree(pedigree("4.1"))
    spec = bmv.ModelSpec.from_formula("wwg ~ sex", random="vm(animal, A)")
    fit = bmv.blup(bmv.build_design(spec, data, {"A": kin}), {"animal": [[20.0]], "Residual": [[40.0]]})
    found = bmv.predict(fit, "sex", small_sample=False).frame.set_index("sex")
    # The book's 4.358 is 4.3585023 cut.
    assert found.loc["M", "predicted"] == pytest.approx(4.358, abs=0.503e-3)
    assert found.loc["F", "predicted"] == pytest.approx(3.404, abs=0.5e-3)
    assert found["std_error"].to_dict() == pytest.approx({"M": 4.88082357, "F": 5.66554023}, rel=1e-6)
    animal = bmv.predict(fit, {"animal": ["4"], "sex": ["M"]}).frame.iloc[0]
    assert animal["predicted"] == pytest.approx(4.358 - 0.009, abs=1.1e-3)


def test_predict__averages():
    data = records(t=1)
    data["sex"] = np.where(np.arange(len(data)) % 3 == 0, "m", "f")
    data["pen"] = np.where((data["sex"] == "m") | (np.arange(len(data)) % 2 == 0), "p", "q")
    fit = bmv.fit_reml(make_design("idv(trait):family", data, fixed="sex + pen"))
    b = fit.fixed.set_index("effect")["estimate"]
    value = lambda **words: bmv.predict(fit, **words).frame["predicted"]  # noqa: E731
    assert value()[0] == pytest.approx(b["Intercept"] + 0.5 * b["sex[T.m]"] + 0.5 * b["pen[T.q]"])
    male, q = (data["sex"] == "m").mean(), (data["pen"] == "q").mean()
    assert value(average="observed")[0] == pytest.approx(b["Intercept"] + male * b["sex[T.m]"] + q * b["pen[T.q]"])
    given = value(average={"sex": {"f": 1, "m": 3}})[0]
    assert given == pytest.approx(b["Intercept"] + 0.75 * b["sex[T.m]"] + 0.5 * b["pen[T.q]"])
    females, males = value(at="sex", average="present")
    assert females == pytest.approx(b["Intercept"] + 0.5 * b["pen[T.q]"])
    assert males == pytest.approx(b["Intercept"] + b["sex[T.m]"])  # no male stood in pen q


def test_predict__cells_that_the_data_do_not_determine_are_said():
    data = records(t=1)
    data["sex"] = np.where(np.arange(len(data)) % 3 == 0, "m", "f")
    data["pen"] = np.where((data["sex"] == "m") | (np.arange(len(data)) % 2 == 0), "p", "q")
    fit = bmv.fit_reml(make_design("idv(trait):family", data, fixed="sex*pen"))
    found = bmv.predict(fit, ["sex", "pen"])
    status = dict(zip(found.labels, found.frame["status"], strict=True))
    assert status == {"f:p": "", "f:q": "", "m:p": "", "m:q": "not estimable"}
    assert found.frame["predicted"].isna().tolist() == [False, False, False, True]
    assert bmv.predict(fit, "sex").frame["status"].tolist() == ["", "not estimable"]
    assert bmv.predict(fit, "sex", average="present").frame["status"].tolist() == ["", ""]
    pairs = found.differences().set_index(["first", "second"])
    assert np.isnan(pairs.loc[("f:p", "m:q"), "difference"])


def test_predict__confounded_levels_that_were_set_to_zero_are_estimable_only_together():
    data = records(t=1)
    data["site"] = np.where(data["block"].isin(["L0", "L1"]), "A", "B")
    fit = bmv.fit_reml(make_design("idv(trait):family", data, fixed="site + block"))
    found = bmv.predict(fit, pd.DataFrame({"site": ["A", "A", "B"], "block": ["L0", "L2", "L2"]}))
    assert found.frame["status"].tolist() == ["", "not estimable", ""]
    means = data.groupby("block")["y1"].mean()
    assert found.frame["predicted"][0] == pytest.approx(means["L0"])
    assert found.frame["predicted"][2] == pytest.approx(means["L2"])


@pytest.mark.parametrize(
    "formula",
    [
        "poly(x, 2)",
        "bs(x, df=5)",
        "cr(x, df=4)",
        "ns(x, df=3)",
        "leg(x, 2)",
        "spl(x, 5)",
        "scale(x):C(plant)",
        "log(x + 10)",
    ],
)
def test_predict__functions_of_covariates_are_those_of_the_data(formula):
    """At the values of a record the fixed part is the fit of that record."""
    data = records(t=1)
    data["plant"] = np.arange(len(data)) % 2
    fit = bmv.fit_reml(make_design("idv(trait):family", data, fixed=formula))
    some = [3, 17, 40]
    at = data.loc[some, ["x", "plant"] if "plant" in formula else ["x"]]
    found = bmv.predict(fit, at.reset_index(drop=True), small_sample=False).frame
    b = fit.fixed["estimate"].to_numpy()
    np.testing.assert_allclose(
        found["predicted"], (fit.design.fixed.X[:, fit.design.fixed.present[:, 0]] @ b)[some], rtol=1e-9
    )


def test_predict__random_regression_and_environments():
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"id": np.repeat([f"a{i}" for i in range(12)], 5), "age": np.tile(np.arange(5.0), 12)})
    data["y1"] = (
        rng.normal(size=12)[np.repeat(np.arange(12), 5)] * (1 + data["age"]) + rng.normal(size=60) + data["age"]
    )
    design = make_design("us(leg(age, 1)):id", data, fixed="age")
    fit = bmv.blup(design, {"id": np.array([[1.0, 0.3], [0.3, 0.5]]), "Residual": np.array([[1.0]])})
    found = bmv.predict(fit, {"id": ["a3"], "age": [0.5, 4.0]}).frame
    u = fit.effects("id").set_index(["level", "trait"])["blup"]["a3"]
    z = 2.0 * np.array([0.5, 4.0]) / 4.0 - 1.0
    b = fit.fixed["estimate"].to_numpy()
    mine = b[0] + b[1] * np.array([0.5, 4.0]) + u.iloc[0] * np.sqrt(0.5) + u.iloc[1] * np.sqrt(1.5) * z
    np.testing.assert_allclose(found["predicted"], mine, rtol=1e-9)


def test_predict__posterior_is_the_mean_over_draws(case):
    design = make_design(fixed="x")
    trace = trace_of(design, effects=True)
    found = bmv.predict(trace, {"x": [0.0, 1.0]}, design=design, max_draws=100)
    fixed = trace["posterior"]["fixed"].mean(("chain", "draw")).to_series()
    # Draws of effects given each Σ are about the same conditional means; their noise is that of 100 draws.
    error = found.frame["sd"].to_numpy() / np.sqrt(100)
    for row, (x, trait) in enumerate([(0, "y1"), (0, "y2"), (1, "y1"), (1, "y2")]):
        mine = fixed[f"{trait}:Intercept"] + x * fixed[f"{trait}:x"]
        assert abs(found.frame["mean"][row] - mine) < 5 * error[row]
    assert (found.frame["hdi_low"] < found.frame["median"]).all()
    assert set(found.differences()["prob_positive"].between(0, 1)) == {True}
    again = bmv.predict(trace, {"x": [0.0, 1.0]}, design=design, max_draws=100)
    pd.testing.assert_frame_equal(found.frame, again.frame)


def test_predict__posterior_of_one_sigma_is_that_of_the_mixed_model_equations(case):
    """Draws that are all alike: mean and variance are exact, intervals those of a normal distribution."""
    design = make_design()
    x = np.full((2, 40, design.blocks.n_parameters), 0.1)
    trace = trace_of(design, x)
    given = {n: trace["posterior"][f"{n}_cov"].to_numpy()[0, 0] for n in design.names}
    found = bmv.predict(trace, "family", design=design).frame
    exact = bmv.predict(bmv.blup(design, given), "family").frame
    np.testing.assert_allclose(found["mean"], exact["predicted"])
    np.testing.assert_allclose(found["sd"], exact["std_error"])
    width = (found["hdi_high"] - found["hdi_low"]) / found["sd"]
    assert width.between(2 * 1.96 * 0.75, 2 * 1.96 * 1.15).all()


MISTAKES = {
    "column": (
        {"at": "farm"},
        SpecError,
        "'at' names 'farm', which the model does not use; its columns: 'x', 'block'",
    ),
    "covariate": ({"at": "x"}, SpecError, "'x' is a covariate: say at which values"),
    "number": ({"at": {"x": ["high"]}}, SpecError, "'x' is a covariate, and 'high' are not all numbers"),
    "term": ({"terms": ["farm"]}, SpecError, "no random term 'farm'; random terms: 'block', 'family'"),
    "way": ({"average": "median"}, SpecError, "average='median' is not a way to average; ways: 'equal'"),
    "factor": ({"average": {"x": "equal"}}, SpecError, "'average' names 'x', which is not averaged over"),
    "small": ({"at": "family", "small_sample": True}, SpecError, "with no random terms"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_predict__mistakes(mistake):
    words, error, match = MISTAKES[mistake]
    fit = bmv.fit_reml(make_design(fixed="x"))
    with pytest.raises(error, match=match):
        bmv.predict(fit, **words)


def test_predict__level_that_no_record_has(trial):
    with pytest.raises(DataError, match="'variety' has no level 'Oat' among the records; levels: 'Golden'"):
        bmv.predict(trial, {"variety": ["Oat"]})


def test_contrasts__mistakes(trial):
    found = bmv.predict(trial, "variety")
    with pytest.raises(SpecError, match="the contrast 'c' names 'Oat', which is no cell; cells: 'Golden'"):
        found.contrasts({"c": {"Oat": 1.0}})
    with pytest.raises(SpecError, match="the contrast 'c' has 2 weights for 3 cells"):
        found.contrasts({"c": [1.0, -1.0]})
    with pytest.raises(SpecError, match="no trait 'weight'; traits: 'yield'"):
        found.differences("weight")


def test_predict__needs_the_design_of_a_posterior_or_loaded_fit(tmp_path, trial):
    design = make_design()
    trace = trace_of(design)
    with pytest.raises(SpecError, match="a posterior holds no design; give design="):
        bmv.predict(trace, "family")
    with pytest.raises(SpecError, match="not of the same model and data"):
        bmv.predict(trace, "family", design=make_design(fixed="x"))
    trial.to_netcdf(tmp_path / "fit.nc")
    loaded = bmv.load_fit(tmp_path / "fit.nc")
    pd.testing.assert_frame_equal(
        bmv.predict(loaded, "variety", design=trial.design).frame, bmv.predict(trial, "variety").frame
    )
