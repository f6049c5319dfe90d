"""Errors, ranks and heritability of effects, and residuals, against dense matrices."""

import numpy as np
import pytest
from oracles import Dense, all_patterns, random_case
from traces import make_design, records, trace_of

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.sampling.trace import draws_of


@pytest.fixture(scope="module")
def case():
    return random_case(5, 2, "us(trait):vm(animal, A) + us(trait):block", patterns=all_patterns(2), n=32)


@pytest.fixture(scope="module")
def both(case):
    covariances = case.random_covariances(np.random.default_rng(4))
    return Dense(case, covariances), bmv.blup(case.design, dict(zip(case.design.names, covariances, strict=True)))


def test_prediction_errors__dense(both):
    dense, fit = both
    ZG = dense.Z[0] @ dense.G[0]
    full = dense.G[0] - ZG.T @ dense.P @ ZG
    found = bmv.prediction_errors(fit, "animal", ["a7", "a2"])
    at = np.array([2 * dense.levels[0].index(a) + e for a in ("a7", "a2") for e in (0, 1)])
    np.testing.assert_allclose(found, full[np.ix_(at, at)], rtol=1e-6, atol=1e-9 * full.max())
    assert found.index.tolist() == [("a7", "y1"), ("a7", "y2"), ("a2", "y1"), ("a2", "y2")]
    with pytest.raises(SpecError, match="no level 'calf' of 'animal'; levels: 'a0'"):
        bmv.prediction_errors(fit, "animal", ["calf"])


def test_breeding_values__ranks_of_candidates(both):
    _, fit = both
    table = bmv.breeding_values(fit, "animal")
    mine = table[table["trait"] == "y2"]
    assert mine.sort_values("blup", ascending=False)["rank"].tolist() == list(range(1, 11))
    few = bmv.breeding_values(fit, "animal", levels=["a4", "a5", "a9"])
    assert sorted(few[few["trait"] == "y1"]["rank"]) == [1, 2, 3]
    with pytest.raises(SpecError, match="no level 'calf' of 'animal'"):
        bmv.breeding_values(fit, "animal", levels=["calf"])
    with pytest.raises(SpecError, match="a REML fit has no distribution of ranks"):
        bmv.breeding_values(fit, "animal", best=2)


def test_breeding_values__probability_of_being_among_the_best_is_the_share_of_draws():
    design = make_design()
    trace = trace_of(design, effects=True)
    table = bmv.breeding_values(trace, "family", best=3)
    draws = draws_of(trace, "family_effect").to_numpy().reshape(-1, 8, 2)
    top = np.array([[(d[:, e] >= np.sort(d[:, e])[-3]) for e in (0, 1)] for d in draws]).mean(axis=0)
    np.testing.assert_allclose(table["prob_best"].to_numpy().reshape(8, 2), top.T)
    assert table.groupby("trait")["prob_best"].sum().to_numpy() == pytest.approx([3.0, 3.0])
    given = bmv.breeding_values(trace_of(design), "family", best=3, design=design, max_draws=100)
    # Two samples of 100 draws: four standard errors of a difference of two shares.
    error = 4 * np.sqrt(2 * 0.25 / 100)
    assert (np.abs(given["prob_best"] - table["prob_best"]) < error).all()
    with pytest.raises(SpecError, match="best=9 of 8 candidates: give a number from 1 to 8"):
        bmv.breeding_values(trace, "family", best=9)


def test_trial_heritability__by_hand_in_a_balanced_trial():
    """Complete blocks, 4 with 2 plants a plot: var(BLUE difference) is 2 σ² / 8, and Cullis's is Piepho's."""
    fit = bmv.fit_reml(make_design("idv(trait):block + idv(trait):family", records(t=1)))
    found = bmv.trial_heritability(fit, "family").iloc[0]
    g, e = fit.covariances["family"][0, 0], fit.covariances["Residual"][0, 0]
    assert found["piepho"] == pytest.approx(g / (g + e / 8), rel=1e-6)
    assert found["cullis"] == pytest.approx(g / (g + e / 8), rel=1e-6)
    assert found["entries"] == 8


def test_trial_heritability__dense(case, both):
    """Of related entries with gaps: from P, and from the information on entries as fixed effects."""
    dense, fit = both
    table = bmv.trial_heritability(fit, "animal").set_index("trait")
    there = np.flatnonzero(np.abs(dense.Z[0]).sum(axis=0).reshape(-1, 2).any(axis=1))
    K, G = dense.K[0][np.ix_(there, there)], dense.covariances[0]
    Z = dense.Z[0].reshape(len(dense.y), -1, 2)[:, there].reshape(len(dense.y), -1)
    rest = dense.V - Z @ np.kron(K, G) @ Z.T
    Ri = np.linalg.inv(rest)
    M = Ri - Ri @ dense.X @ np.linalg.inv(dense.X.T @ Ri @ dense.X) @ dense.X.T @ Ri
    blue = np.linalg.pinv(Z.T @ M @ Z, rcond=1e-10)
    blup = np.linalg.inv(Z.T @ M @ Z + np.linalg.inv(np.kron(K, G)))
    pairs = [(i, j) for i in range(len(there)) for j in range(i)]
    mean = lambda V: np.mean([V[i, i] + V[j, j] - 2 * V[i, j] for i, j in pairs])  # noqa: E731
    for e, trait in enumerate(["y1", "y2"]):
        prior = G[e, e] * mean(K)
        assert table.loc[trait, "cullis"] == pytest.approx(1 - mean(blup[e::2, e::2]) / prior, rel=1e-6)
        assert table.loc[trait, "piepho"] == pytest.approx(prior / (prior + mean(blue[e::2, e::2])), rel=1e-5)


@pytest.mark.parametrize("kind", ["conditional", "marginal", "deletion"])
def test_residuals__dense(case, both, kind):
    dense, fit = both
    table = bmv.residuals(fit, kind)
    R = dense._residual(dense.covariances[-1])
    if kind == "conditional":
        residual, V = R @ dense.Py, R @ dense.P @ R
    elif kind == "marginal":
        residual, V = dense.y - dense.X @ dense.blue, dense.V - dense.X @ dense.XVXi @ dense.X.T
    else:
        # Of each unit given all others.
        residual, V = np.zeros(len(dense.y)), np.zeros_like(dense.V)
        for u in np.unique(dense.unit):
            at = np.flatnonzero(dense.unit == u)
            inverse = np.linalg.inv(dense.P[np.ix_(at, at)])
            residual[at], V[np.ix_(at, at)] = inverse @ dense.Py[at], inverse
    order = np.lexsort((dense.trait, dense.unit))
    np.testing.assert_allclose(table["residual"], residual[order], rtol=1e-6, atol=1e-8 * np.abs(residual).max())
    np.testing.assert_allclose(table["standardised"], (residual / np.sqrt(np.diag(V)))[order], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(table["fitted"] + table["residual"], table["observed"])


def test_residuals__marginal_of_repeated_bearers():
    """Records that bear on several related levels: diag(Z K Z') solved for, not read off."""
    case = random_case(6, 1, "us(trait):vm(animal, A)", n=20)
    data = case.data.assign(dam=np.roll(case.data["animal"].to_numpy(), 3))
    spec = bmv.ModelSpec.from_formula("y1 ~ 1", random="us(trait):vm(overlay(animal, dam), A)")
    design = bmv.build_design(spec, data, case.relationships)
    name = design.terms[0].name
    fit = bmv.blup(design, {name: [[2.0]], "Residual": [[3.0]]})
    Z, K = design.terms[0].incidences[0].toarray(), case.kin["A"][1]
    V = 2.0 * Z @ K @ Z.T + 3.0 * np.eye(20)
    phi = 1.0 / np.linalg.inv(V).sum()
    one = np.ones(20)
    residual = data["y1"] - phi * one @ np.linalg.solve(V, data["y1"])
    found = bmv.residuals(fit, "marginal")
    np.testing.assert_allclose(found["residual"], residual, rtol=1e-7)
    np.testing.assert_allclose(found["standardised"], residual / np.sqrt(np.diag(V) - phi), rtol=1e-7)


def test_residuals__an_outlier_is_flagged_and_weights_count():
    data = records(t=1)
    rng = np.random.default_rng(2)
    data["w"] = rng.uniform(0.5, 2.0, len(data))
    data.loc[7, "y1"] += 40.0 * data["y1"].std()
    spec = bmv.ModelSpec.from_formula("y1 ~ 1", random="idv(trait):family", weights="w")
    fit = bmv.fit_reml(bmv.build_design(spec, data))
    found = bmv.residuals(fit)
    assert found.loc[found["outlier"], "unit"].tolist() == [7]
    g, e = fit.covariances["family"][0, 0], fit.covariances["Residual"][0, 0]
    V = g * (data["family"].to_numpy()[:, None] == data["family"].to_numpy()) + np.diag(e / data["w"])
    Vi = np.linalg.inv(V)
    P = Vi - np.outer(Vi.sum(1), Vi.sum(1)) / Vi.sum()
    R = np.diag(e / data["w"])
    np.testing.assert_allclose(found["residual"], R @ P @ data["y1"], rtol=1e-6)
    np.testing.assert_allclose(found["standardised"], (R @ P @ data["y1"]) / np.sqrt(np.diag(R @ P @ R)), rtol=1e-6)


def test_residuals__of_a_posterior_are_those_at_its_mean():
    design = make_design()
    trace = trace_of(design)
    means = {name: draws_of(trace, f"{name}_cov").mean(("chain", "draw")).to_numpy() for name in design.names}
    np.testing.assert_allclose(
        bmv.residuals(trace, design=design)["residual"], bmv.residuals(bmv.blup(design, means))["residual"]
    )
    with pytest.raises(SpecError, match="no residuals 'pearson'; kinds: 'conditional', 'marginal', 'deletion'"):
        bmv.residuals(trace, "pearson", design=design)
