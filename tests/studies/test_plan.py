"""Expected information and what is planned by it: written out, by formulas, and against simulation."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bayesmv as bmv
from bayesmv.cli.commands import app
from bayesmv.errors import SpecError
from bayesmv.likelihood import expected
from bayesmv.likelihood.expected import expected_information
from bayesmv.studies.plan import design_of, expected_errors

G, B, R = np.array([[0.4, 0.2], [0.2, 0.6]]), np.array([[0.1, 0.0], [0.0, 0.2]]), np.array([[1.0, 0.3], [0.3, 0.8]])
PLAN = {
    "models": {
        "us": {
            "traits": ["a", "b"],
            "random": "us(trait):family",
            "genetic": {"term": "family", "relationship": "half-sib"},
        }
    },
    "design": {
        "factors": {"family": [20, 40, 80], "tree": [5, 10, 20]},
        "heritability": 0.4,
        "genetic_correlation": 0.3,
    },
    "cost": {"unit": 1.0, "family": 4.0},
    "budget": 800,
}


def layout(families=12, blocks=3):
    f, b = np.meshgrid(np.arange(families), np.arange(blocks), indexing="ij")
    return pd.DataFrame({"family": f.reshape(-1).astype(str), "block": b.reshape(-1).astype(str)})


def model(random, **words):
    genetic = bmv.Genetic(term="family", relationship="half-sib")
    return bmv.ModelSpec.from_formula("a + b ~ 1", random=random, genetic=genetic, **words)


def working(design, covariances):
    return [design.to_working_units(name, np.asarray(covariances[name])) for name in design.names]


CROSSED = {"family": G, "block": B, "Residual": R}


def test_strata__are_as_written_out():
    design = design_of(model("us(trait):family + us(trait):block"), layout())
    sigmas = working(design, CROSSED)
    assert bmv.fit_reml(design).engine_name == "strata"
    np.testing.assert_allclose(
        expected_information(design, sigmas), expected._written_out(design, sigmas), rtol=1e-8, atol=1e-8
    )


def test_one_term_of_a_pedigree__is_as_written_out():
    pedigree = pd.DataFrame(
        {
            "id": [f"a{i}" for i in range(40)],
            "sire": [None] * 10 + ["a0", "a1"] * 15,
            "dam": [None] * 10 + ["a5", "a6", "a7"] * 10,
        }
    )
    A = bmv.Relationship.from_pedigree(pedigree)
    spec = bmv.ModelSpec.from_formula("a + b ~ site", random="us(trait):vm(id, A)")
    rng = np.random.default_rng(1)
    data = pedigree.assign(site=list("xyxyy") * 8, a=rng.normal(size=40), b=rng.normal(size=40))
    design = bmv.build_design(spec, data, {"A": A})
    sigmas = working(design, {"id": G, "Residual": R})
    written = expected._written_out(design, sigmas)
    found = expected.spectrum(design)
    rest = 40 - found.X.shape[1] - len(found.eigenvalues)
    over = expected._over_strata(
        np.append(found.eigenvalues, 0.0)[:, None], np.append(np.ones(len(found.eigenvalues)), rest), sigmas
    )
    np.testing.assert_allclose(over, written, rtol=1e-7, atol=1e-8)


@pytest.mark.slow
def test_information__is_the_mean_of_the_average_information():
    """Incomplete records, groups of residuals: of 400 simulated sets of records, within four standard errors."""
    rng = np.random.default_rng(2)
    data = layout(8, 3).assign(a=rng.normal(size=24), b=rng.normal(size=24))
    data.loc[::5, "a"] = np.nan
    spec = model("us(trait):family + us(trait):block")
    design = bmv.build_design(spec, data)
    sigmas = working(design, CROSSED)
    wanted = expected_information(design, sigmas)
    records = bmv.simulate_model(spec, layout(8, 3), means={"a": 0.0, "b": 0.0}, covariances=CROSSED, rng=rng)
    assert records.shape == (24, 4)
    found = []
    for _ in range(400):
        drawn = bmv.simulate_model(spec, layout(8, 3), means={"a": 0.0, "b": 0.0}, covariances=CROSSED, rng=rng)
        drawn.loc[::5, "a"] = np.nan
        own = bmv.build_design(spec, drawn)
        unit = np.sqrt(own.scale / design.scale)
        engine = bmv.likelihood.choose.likelihood(own, "sparse")
        information = engine.average_information(working(own, CROSSED))
        i, j = np.tril_indices(2)
        by = np.tile((unit[i] * unit[j]) ** 2, 3)
        found.append(information / np.outer(by, by))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / 20
    assert (np.abs(mean - wanted) < 4 * error + 1e-9).all()


def test_intraclass_correlation__has_fishers_variance():
    """Exact for balanced families: Var(t) = 2 (1-t)² (1+(k-1)t)² (sk-1) / (k² (s-1) s (k-1)), and h² = 4t."""
    s, k, h2 = 30, 8, 0.4
    units = pd.DataFrame({"family": np.repeat(np.arange(s), k).astype(str)})
    spec = bmv.ModelSpec.from_formula(
        "y ~ 1", random="family", genetic=bmv.Genetic(term="family", relationship="half-sib")
    )
    t = h2 / 4
    found = expected_errors(design_of(spec, units), {"family": [[t]], "Residual": [[1 - t]]})
    variance = 2 * (1 - t) ** 2 * (1 + (k - 1) * t) ** 2 * (s * k - 1) / (k**2 * (s - 1) * s * (k - 1))
    assert [(p.name, value) for p, value, _ in found] == [("heritability", pytest.approx(h2))]
    assert found[0][2] == pytest.approx(4 * np.sqrt(variance), rel=1e-6)


def test_genetic_correlation__has_robertsons_variance():
    """Robertson (1959) for equal heritabilities: Var(r_g) ≈ (1 - r²)² / 2 · Var(h²) / h⁴ where r_p = r_g."""
    s, k, h2, r = 200, 10, 0.4, 0.3
    units = pd.DataFrame({"family": np.repeat(np.arange(s), k).astype(str)})
    t = h2 / 4
    same = np.array([[1.0, r], [r, 1.0]])
    design = design_of(model("us(trait):family"), units)
    found = {p.name: error for p, _, error in expected_errors(design, {"family": t * same, "Residual": (1 - t) * same})}
    robertson = (1 - r**2) / np.sqrt(2) * found["heritability"] / h2
    assert found["genetic correlation"] == pytest.approx(robertson, rel=0.1)
    # Exactly, of mean squares between and within families that have the same correlations:
    between, within = (1 + (k - 1) * t) ** 2 / (s - 1), (1 - t) ** 2 / (s * (k - 1))
    exact = (1 - r**2) * np.sqrt(between + within) / (k * t)
    assert found["genetic correlation"] == pytest.approx(exact, rel=1e-6)


def test_plan__has_every_design_and_the_best():
    found = bmv.plan(PLAN)
    assert len(found.table) == 9 * 3
    row = found.table[found.table["parameter"] == "genetic correlation"].iloc[0]
    assert (row["at_family"], row["at_tree"], row["units"], row["cost"]) == (20, 5, 100, 180)
    best = found.best()
    assert best["cost"] <= 800
    assert (
        best["std_error"]
        == found.table[(found.table["parameter"] == "genetic correlation") & (found.table["cost"] <= 800)][
            "std_error"
        ].min()
    )
    assert "genetic correlation: best within 800" in repr(found)
    dear = found.best(budget=1e9)
    assert (dear["at_family"], dear["at_tree"]) == (80, 20)
    with pytest.raises(SpecError, match="no design costs at most 10; the cheapest costs 180"):
        found.best(budget=10)
    with pytest.raises(SpecError, match="no parameter 'skew'"):
        found.best("skew")


def test_power__is_that_of_the_normal_test():
    table = bmv.plan(PLAN).table
    row = table[table["parameter"] == "heritability"].iloc[0]
    from scipy.special import ndtr

    assert row["power"] == pytest.approx(ndtr(row["truth"] / row["std_error"] - 1.6448536))
    assert row["width"] == pytest.approx(2 * 1.959964 * row["std_error"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"desing": {}}, "unknown entry 'desing'"),
        ({"cost": {"tre": 1}}, "a cost is given for 'tre'"),
        ({"design": {"heritability": 0.3}}, "needs factors"),
        ({"models": {"us": {"traits": ["a"], "random": "family"}}}, "states no genetic term"),
    ],
)
def test_what_is_wrong__is_named(changed, message):
    with pytest.raises(SpecError, match=message):
        bmv.plan({**PLAN, **changed})


def test_large_unbalanced_designs__are_refused(monkeypatch):
    monkeypatch.setattr(expected, "MOST_RECORDS", 20)
    design = design_of(model("us(trait):family + us(trait):block"), layout().iloc[:-1])
    with pytest.raises(SpecError, match="plan a balanced design, or simulate it by a study"):
        expected_information(design, working(design, CROSSED))


def test_command__prints_the_plan_and_draws_it(tmp_path):
    text = """
        budget = 800
        [models.us]
        traits = ["a", "b"]
        random = "us(trait):family"
        genetic = { term = "family", relationship = "half-sib" }
        [design]
        factors = { family = [20, 40], tree = [5, 10] }
        [cost]
        unit = 1
    """
    path, picture = tmp_path / "plan.toml", tmp_path / "plan.png"
    path.write_text(text)
    out = CliRunner().invoke(app, ["plan", str(path), "--plot", str(picture)], catch_exceptions=False)
    assert "heritability: best within 800 family 40, tree 10" in out.stdout
    assert picture.stat().st_size > 1000
    with pytest.raises(SpecError, match="contours need two factors"):
        bmv.plot_plan(bmv.plan({**PLAN, "design": {"factors": {"family": [5, 9], "tree": 4}}}).table)
