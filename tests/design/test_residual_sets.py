"""Residuals of sets of traits and of groups that lack some, offsets, and names of any kind: held to dense equations."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError
from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.posterior.log_posterior import log_posterior


def trial(n=48, seed=1):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(rng.normal(np.array([1.0, 5.0, 9.0]), size=(n, 3)), columns=list("abc"))
    data["block"] = [f"B{k}" for k in np.arange(n) % 6]
    data["site"] = np.repeat(["N", "S"], n // 2)
    data["year"] = np.tile([2019, 2020], n // 2)
    data["known"] = rng.normal(size=n) * 3.0
    return data


def spec(residual, random="us(trait):block", traits="a + b + c", **words):
    return bmv.ModelSpec.from_formula(f"{traits} ~ 1", random=random, residual=residual, **words)


def dense_loglik(design, sigmas):
    """Restricted log-likelihood of a design at covariances in working units, from V itself."""
    t = design.response.shape[1]
    at = np.argwhere(design.observed)
    V = np.zeros((len(at), len(at)))
    for term, S in zip(design.terms, sigmas, strict=False):
        Z = term.incidences[0].toarray()
        V += (Z @ Z.T)[np.ix_(at[:, 0], at[:, 0])] * S[np.ix_(at[:, 1], at[:, 1])]
    places = [design.residual.places(g) for g in design.residual.group]
    for r, (u, i) in enumerate(at):
        for s, (v, j) in enumerate(at):
            if u == v:
                V[r, s] += sigmas[-1][places[u][i], places[u][j]]
    X = np.zeros((len(at), t))
    X[np.arange(len(at)), at[:, 1]] = 1.0
    y = (design.response / design.scale)[at[:, 0], at[:, 1]]
    Vi = np.linalg.inv(V)
    XVX = X.T @ Vi @ X
    P = Vi - Vi @ X @ np.linalg.solve(XVX, X.T @ Vi)
    logs = np.linalg.slogdet(V)[1] + np.linalg.slogdet(XVX)[1]
    return -0.5 * ((len(at) - t) * np.log(2 * np.pi) + logs + y @ P @ y) + design.log_jacobian


@pytest.mark.parametrize(
    "residual",
    [
        "us(a, b):units + idv(c):units",
        "at(site):us(a, c):units + at(site):idv(b):units",
        "at(site:year):us(trait):units",
        "diag(a, b):units + diag(c):units",
    ],
)
def test_likelihood__of_sets_and_groups(residual):
    data = trial()
    data.loc[data["site"] == "S", "b"] = np.nan  # never recorded in one group
    design = bmv.build_design(spec(residual), data)
    theta = np.random.default_rng(2).uniform(0.5, 0.9, design.blocks.n_parameters)
    sigmas = design.blocks.matrices(theta)
    value, _ = MixedModelLikelihood(design).value_and_gradient(sigmas)
    assert value == pytest.approx(dense_loglik(design, sigmas), abs=1e-8)


def test_sets__lie_between_independent_and_all_covariances():
    data = trial()
    fits = {
        name: bmv.fit_reml(bmv.build_design(spec(residual), data))
        for name, residual in {
            "diag": "diag(trait):units",
            "sets": "us(a, b):units + idv(c):units",
            "us": "us(trait):units",
        }.items()
    }
    assert fits["diag"].loglik <= fits["sets"].loglik + 1e-6 <= fits["us"].loglik + 2e-6
    assert bmv.likelihood_ratio(fits["diag"], fits["sets"]).df == 1
    assert bmv.likelihood_ratio(fits["sets"], fits["us"]).df == 2
    shown = fits["sets"].varcomp.query("term == 'Residual'")
    assert list(zip(shown["trait_i"], shown["trait_j"], strict=True)) == [
        ("a", "a"),
        ("a", "b"),
        ("b", "b"),
        ("c", "c"),
    ]


def test_sets__are_sampled_by_the_compiled_density():
    design = bmv.build_design(spec("us(a, b):units + diag(c):units"), trial())
    assert design.structure("Residual").placement is not None
    density = log_posterior(design)
    x = np.random.default_rng(3).uniform(0.3, 0.8, density.blocks.n_parameters)
    step = 1e-6 * np.eye(len(x))
    slope = [(density.value(x + e) - density.value(x - e)) / 2e-6 for e in step]
    np.testing.assert_allclose(density.gradient(x), slope, rtol=1e-5, atol=1e-5)


def test_groups__that_lack_a_trait_have_no_variance_of_it(tmp_path):
    data = trial()
    data.loc[data["site"] == "S", "b"] = np.nan
    design = bmv.build_design(spec("at(site):us(trait):units"), data)
    assert "'site' S has no record of 'b': no residual variance of it there" in design.notes
    fit = bmv.fit_reml(design)
    shown = fit.varcomp.query("term == 'Residual'")
    assert "b:S" not in {*shown["trait_i"], *shown["trait_j"]}
    assert {"b:N", "a:S", "c:S"} <= {*shown["trait_i"]}
    # Those of a model of the sites apart, where no term links them.
    alone = bmv.fit_reml(
        bmv.build_design(spec("us(trait):units", random="", traits="a + c"), data[data["site"] == "S"])
    )
    both = bmv.fit_reml(bmv.build_design(spec("at(site):us(trait):units", random=""), data))
    assert both.converged
    assert alone.converged
    fit.to_netcdf(tmp_path / "fit.nc")
    again = bmv.load_fit(tmp_path / "fit.nc")
    pd.testing.assert_frame_equal(bmv.variance_components(again), bmv.variance_components(fit))


def test_groups__of_several_columns():
    design = bmv.build_design(spec("at(site:year):diag(trait):units"), trial())
    assert design.residual.groups == ("N:2019", "N:2020", "S:2019", "S:2020")
    assert np.bincount(design.residual.group).tolist() == [12, 12, 12, 12]


def test_groups__raise_on_a_single_record():
    data = trial()
    data.loc[data["site"] == "S", "b"] = [1.0] + [np.nan] * 23
    with pytest.raises(DataError, match=r"'site' S has fewer than two records of 'b'"):
        bmv.build_design(spec("at(site):us(trait):units"), data)


# ---------------------------------------------------------------- offsets


def test_offset__is_taken_off_the_records():
    data = trial()
    design = bmv.build_design(spec("us(trait):units", offset={"a": "known", "c": "known"}), data)
    by_hand = data.assign(a=data["a"] - data["known"], c=data["c"] - data["known"])
    expected = bmv.fit_reml(bmv.build_design(spec("us(trait):units"), by_hand))
    fit = bmv.fit_reml(design)
    assert fit.loglik == pytest.approx(expected.loglik, abs=1e-9)
    simulated = bmv.simulate_records(fit, np.random.default_rng(4))
    again = bmv.simulate_records(expected, np.random.default_rng(4))
    np.testing.assert_allclose(simulated - again, data["known"].to_numpy()[:, None] * [1.0, 0.0, 1.0], atol=1e-8)


def test_offset__raises_where_it_is_missing():
    data = trial()
    data.loc[4, "known"] = np.nan
    with pytest.raises(DataError, match=r"the offset 'known' is missing or not finite in 1 rows: 4"):
        bmv.build_design(spec("us(trait):units", offset="known"), data)
    with pytest.raises(SpecError, match=r"the offset 'knwon' is not a column of the data; columns"):
        bmv.build_design(spec("us(trait):units", offset="knwon"), data)


def test_offset__other_data_are_told(tmp_path):
    from bayesmv.design.model_record import ModelRecord

    plain, shifted = (
        ModelRecord.of(bmv.build_design(spec("us(trait):units", offset=o), trial())) for o in (None, "known")
    )
    assert "the offset" in plain.differences(shifted)


# ---------------------------------------------------------------- names

AWKWARD = {
    "a": "stem volume (m³)",
    "b": "Höhe/Jahr",
    "block": "block:no.",
    "site": 'the "site"',
    "known": "κ - 1",
}


@pytest.fixture
def awkward(tmp_path):
    data = trial().rename(columns=AWKWARD)
    data["weight of it"] = 1.0 + np.arange(len(data)) % 3
    data.insert(0, "tree no", np.arange(len(data)) + 1)
    data.to_csv(tmp_path / "trial.csv", index=False)
    (tmp_path / "model.toml").write_text(
        """data = "trial.csv"
unit = "tree no"
traits = ["stem volume (m³)", "Höhe/Jahr"]
fixed = '1 + at(trait, `Höhe/Jahr`):`the "site"`'
random = 'us(trait):`block:no.` + at(`the "site"`, N):diag(trait):`block:no.`:`year`'
residual = 'at(`the "site"`):us(trait):units'
weights = "weight of it"
offset = {"Höhe/Jahr" = "κ - 1"}
[genetic]
term = "block:no."
relationship = "line"
[priors."block:no."]
eta = 2.0
[constraints."block:no."]
"cor[stem volume (m³),Höhe/Jahr]" = 0.1
""",
        encoding="utf-8",
    )
    return tmp_path


def test_names__hold_anything_from_the_file_to_a_saved_fit(awkward):
    design = bmv.load_design(awkward / "model.toml")
    assert design.traits == ("stem volume (m³)", "Höhe/Jahr")
    fit = bmv.fit_reml(design)
    fit.to_netcdf(awkward / "fit.nc")
    again = bmv.load_fit(awkward / "fit.nc")
    pd.testing.assert_frame_equal(bmv.variance_components(again), bmv.variance_components(fit))
    pd.testing.assert_frame_equal(bmv.genetic_parameters(again), bmv.genetic_parameters(fit))
    assert bmv.ModelSpec.from_toml(design.spec.to_toml()).random_formula == design.spec.random_formula


def test_names__with_a_stroke_are_saved(tmp_path):
    data = trial().rename(columns={"block": "farm/block"})
    fit = bmv.fit_reml(bmv.build_design(spec("us(trait):units", random="us(trait):`farm/block`"), data))
    fit.to_netcdf(tmp_path / "fit.nc")
    again = bmv.load_fit(tmp_path / "fit.nc")
    assert "farm/block" in set(bmv.variance_components(again)["term"])
    pd.testing.assert_frame_equal(again.effects("farm/block"), fit.effects("farm/block"))


@pytest.mark.parametrize("weights", ["weight of it", "`weight of it`"])
def test_weights__are_a_column_with_or_without_back_quotes(weights):
    data = trial()
    data["weight of it"] = 1.0 + np.arange(len(data)) % 3
    design = bmv.build_design(spec("us(trait):units", weights=weights), data)
    assert not design.residual.plain
