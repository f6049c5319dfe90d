"""Selection against closed forms and textbook examples, evolution and comparisons of G against their definitions."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from traces import make_design, records, trace_of

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.estimates import selection as formulas
from bayesmv.estimates.evolution import angle
from bayesmv.numerics.symmetric import correlation

GENETIC = bmv.Genetic(term="family", relationship="half-sib")
P = np.array([[4.0, 1.0, 0.3], [1.0, 9.0, -0.6], [0.3, -0.6, 1.0]])
G = np.array([[1.6, 0.5, 0.2], [0.5, 2.7, -0.3], [0.2, -0.3, 0.4]])


@pytest.fixture(scope="module")
def design():
    return make_design(genetic=GENETIC)


@pytest.fixture(scope="module")
def fit(design):
    return bmv.blup(
        design,
        {
            "block": np.diag([0.1, 100.0]),
            "family": np.array([[0.4, 5.0], [5.0, 900.0]]),
            "Residual": np.array([[2.0, 1.0], [1.0, 4000.0]]),
        },
    )


# ---------------------------------------------------------------- intensity


@pytest.mark.parametrize(("share", "i"), [(0.01, 2.665), (0.05, 2.063), (0.1, 1.755), (0.2, 1.400), (0.5, 0.798)])
def test_intensity__falconer_and_mackay_appendix_a(share, i):
    """Falconer & Mackay (1996), table A of the appendix, three decimals."""
    assert bmv.selection_intensity(share) == pytest.approx(i, abs=5.1e-4)


def test_intensity__few_candidates_is_near_the_mean_of_order_statistics():
    """The best 2 of 10: mean of the expected order statistics 1.5388, 1.0014 (Harter 1961); Burrows is within 0.01."""
    assert bmv.selection_intensity(0.2, 10) == pytest.approx((1.5388 + 1.0014) / 2, abs=0.01)
    assert bmv.selection_intensity(1.0) == 0.0


# ---------------------------------------------------------------- indices


def test_smith_hazel__is_the_best_of_all_indices():
    w = np.array([1.0, 0.2, -2.0])
    b = formulas.smith_hazel(G, P, w)
    np.testing.assert_allclose(P @ b, G @ w)
    best = w @ formulas.response(G, P, b, 1.0)
    rng = np.random.default_rng(1)
    for other in rng.normal(size=(200, 3)):
        assert w @ formulas.response(G, P, other, 1.0) <= best + 1e-12
    assert best == pytest.approx(np.sqrt(w @ G @ np.linalg.solve(P, G @ w)))


def test_restricted__the_trait_stays_and_no_other_index_that_leaves_it_gains_more():
    w, C = np.array([1.0, 0.5, 1.0]), np.eye(3)[:, [1]]
    b = formulas.restricted(G, P, w, C)
    R = formulas.response(G, P, b, 1.0)
    assert R[1] == pytest.approx(0.0, abs=1e-12)
    free = np.linalg.svd((G @ C).T)[2][1:].T  # indices with C'Gb = 0
    rng = np.random.default_rng(2)
    for other in rng.normal(size=(200, 2)) @ free.T:
        assert w @ formulas.response(G, P, other, 1.0) <= w @ R + 1e-12


def test_desired_gains__stand_in_their_proportions():
    d = np.array([1.0, -0.5, 2.0])
    R = formulas.response(G, P, formulas.desired_gains(G, P, d), 1.7)
    np.testing.assert_allclose(R / R[0], d / d[0])
    np.testing.assert_allclose(formulas.desired_gains(G, P, d), np.linalg.solve(G, d))
    part = formulas.response(G, P, formulas.desired_gains(G, P, np.array([1.0, np.nan, 2.0])), 1.0)
    assert part[2] / part[0] == pytest.approx(2.0)
    # With a free trait the index is the shortest of those with these gains: more response than with any value of it.
    for value in np.linspace(-3, 3, 25):
        other = formulas.response(G, P, formulas.desired_gains(G, P, np.array([1.0, value, 2.0])), 1.0)
        assert other[0] <= part[0] + 1e-12


def test_mass_selection__is_i_h2_sigma_and_correlated_response_i_hx_hy_rg_sigma(fit):
    table = (
        bmv.selection(fit, index={"y1": 1.0}, share=0.1).query("quantity == 'response'").set_index("trait")["estimate"]
    )
    V = fit.covariances
    A, PP = 4.0 * V["family"], sum(V.values())
    i = bmv.selection_intensity(0.1)
    h2 = A[0, 0] / PP[0, 0]
    assert table["y1"] == pytest.approx(i * h2 * np.sqrt(PP[0, 0]))
    hx, hy = np.sqrt(np.diag(A) / np.diag(PP))
    assert table["y2"] == pytest.approx(i * hx * hy * correlation(A)[0, 1] * np.sqrt(PP[1, 1]))


def test_family_selection__is_i_sigma_f_over_the_sd_of_family_means(fit):
    """Half-sib family means of 8 records: R = i σ²_f / √(σ²_f + σ²_e / n), twice that with both parents selected."""
    words = {"index": {"y1": 1.0}, "share": 0.2, "unit": "family"}
    one = bmv.selection(fit, **words).query("quantity == 'response' and trait == 'y1'")["estimate"].iloc[0]
    f, e = fit.covariances["family"][0, 0], fit.covariances["Residual"][0, 0]
    assert one == pytest.approx(bmv.selection_intensity(0.2) * f / np.sqrt(f + e / 8))
    both = (
        bmv.selection(fit, **words, control=2.0).query("quantity == 'response' and trait == 'y1'")["estimate"].iloc[0]
    )
    assert both == pytest.approx(2.0 * one)


def test_selection__quantities_agree_with_each_other(fit):
    w = {"y1": 3.0, "y2": 0.01}
    table = bmv.selection(fit, w, share=0.05, interval=5.0).set_index(["quantity", "trait"])["estimate"]
    R = table["response"]
    assert table["merit", "all"] == pytest.approx(3.0 * R["y1"] + 0.01 * R["y2"])
    A = 4.0 * fit.covariances["family"]
    weights = np.array([3.0, 0.01])
    i = bmv.selection_intensity(0.05)
    assert table["merit", "all"] == pytest.approx(i * table["accuracy", "all"] * np.sqrt(weights @ A @ weights))
    assert table["regret", "all"] == pytest.approx(0.0, abs=1e-12)
    assert table["response by year", "y2"] == pytest.approx(R["y2"] / 5.0)
    assert table["response by sd", "y1"] == pytest.approx(R["y1"] / np.sqrt(A[0, 0]))


def test_selection__unit_of_a_trait_changes_no_merit():
    data = records()
    one = bmv.selection(bmv.fit_reml(make_design(data=data, genetic=GENETIC)), {"y1": 1.0, "y2": 0.1})
    scaled = make_design(data=data.assign(y2=1000.0 * data["y2"]), genetic=GENETIC)
    other = bmv.selection(bmv.fit_reml(scaled), {"y1": 1.0, "y2": 1e-4})
    for quantity in ("merit", "accuracy", "response by sd"):
        mine, theirs = (t[t["quantity"] == quantity]["estimate"].to_numpy() for t in (one, other))
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)


def test_selection__regret_of_the_index_of_another_fit_is_what_each_draw_says(design, fit):
    trace = trace_of(design)
    w = {"y1": 3.0, "y2": 0.01}
    table = bmv.selection(trace, w, index=fit).set_index("quantity")
    V = fit.covariances
    b = np.linalg.solve(sum(V.values()), 4.0 * V["family"] @ [3.0, 0.01])
    lost = []
    draws = {n: trace["posterior"][f"{n}_cov"].to_numpy().reshape(-1, 2, 2) for n in design.names}
    for d in range(100):
        A, PP = 4.0 * draws["family"][d], sum(D[d] for D in draws.values())
        best = np.sqrt([3.0, 0.01] @ A @ np.linalg.solve(PP, A @ [3.0, 0.01]))
        lost.append(1.0 - [3.0, 0.01] @ A @ b / np.sqrt(b @ PP @ b) / best)
    assert table.loc["regret", "mean"] == pytest.approx(np.mean(lost))
    assert min(lost) >= 0.0
    own = bmv.selection(trace, w, index=trace).set_index("quantity")  # the index of the mean matrices
    assert 0.0 <= own.loc["regret", "mean"] < 1.0


def test_culling__one_trait_is_mass_selection_and_two_by_the_truncated_normal(fit):
    """Truncation of both traits at their means: E(z₁ | both > 0) = (1 + ρ) φ(0) ½ / P(both), Tallis (1961)."""
    V = fit.covariances
    A, PP = 4.0 * V["family"], sum(V.values())
    one = bmv.independent_culling(fit, {"y1": 0.2}).set_index(["quantity", "trait"])["estimate"]
    exact = bmv.selection_intensity(0.2) * A[:, 0] / np.sqrt(PP[0, 0])
    # 20,000 selected: four standard errors.
    for trait, value, sd in zip(("y1", "y2"), exact, np.sqrt(np.diag(A)), strict=True):
        assert abs(one["response", trait] - value) < 4 * sd / np.sqrt(20_000)
    assert one["selected", "all"] == pytest.approx(0.2, abs=4 * 0.4 / np.sqrt(1e5))
    both = bmv.independent_culling(fit, {"y1": 0.5, "y2": 0.5}).set_index(["quantity", "trait"])["estimate"]
    rho = correlation(PP)[0, 1]
    share = 0.25 + np.arcsin(rho) / (2 * np.pi)
    mean = (1 + rho) * stats.norm.pdf(0) * 0.5 / share * np.sqrt(np.diag(PP))
    assert both["selected", "all"] == pytest.approx(share, abs=4 * 0.5 / np.sqrt(1e5))
    for i, trait in enumerate(("y1", "y2")):
        value = (A @ np.linalg.solve(PP, mean))[i]
        assert abs(both["response", trait] - value) < 4 * np.sqrt(A[i, i]) / np.sqrt(25_000)


MISTAKES = {
    "nothing": ({}, "what to select for"),
    "both": ({"weights": {"y1": 1}, "desired": {"y1": 1}}, "weights or desired gains, not both"),
    "trait": ({"weights": {"height": 1}}, "weights name 'height', which is not a trait; traits: 'y1', 'y2'"),
    "length": ({"weights": [1, 2, 3]}, "weights are 3 numbers for 2 traits"),
    "all": ({"weights": [1, 2], "restrict": ["y1", "y2"]}, "all traits are restricted"),
    "restrict": ({"weights": [1, 2], "restrict": ["y3"]}, "'restrict' names 'y3'"),
    "gain": ({"desired": {"y1": 1}, "restrict": ["y2"]}, "a restricted trait has a desired gain of 0"),
    "unit": ({"weights": [1, 2], "unit": "clone"}, "no selection of 'clone'; units: 'individual', 'family'"),
    "share": ({"weights": [1, 2], "share": 0.0}, "a share of 0.0 cannot be selected"),
    "few": ({"weights": [1, 2], "share": 0.01, "candidates": 20}, "less than one of them"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_selection__mistakes(fit, mistake):
    words, match = MISTAKES[mistake]
    with pytest.raises(SpecError, match=match):
        bmv.selection(fit, **words)


def test_culling__that_nobody_passes_is_refused(fit):
    with pytest.raises(SpecError, match="simulated candidates pass all levels"):
        bmv.independent_culling(fit, {"y1": 1e-5, "y2": 1e-5}, n=1000)


# ---------------------------------------------------------------- evolution


def test_evolvability__along_a_direction(fit):
    A = 4.0 * fit.covariances["family"]
    beta = np.array([3.0, 0.5])
    found = bmv.evolvability(fit, {"y1": 3.0, "y2": 0.5}).set_index("quantity")["estimate"]
    b = beta / np.linalg.norm(beta)
    assert found["evolvability"] == pytest.approx(b @ A @ b)
    assert found["respondability"] == pytest.approx(np.linalg.norm(A @ b))
    assert found["conditional evolvability"] == pytest.approx(1.0 / (b @ np.linalg.solve(A, b)))
    assert found["autonomy"] == pytest.approx(found["conditional evolvability"] / found["evolvability"])


def test_evolvability__mean_over_directions_is_the_mean_eigenvalue(fit):
    """ē = tr(G) / k (Hansen & Houle 2008, eq. 5); 1,000 directions, four standard errors of their mean."""
    A = 4.0 * fit.covariances["family"]
    found = bmv.evolvability(fit).set_index("quantity")["estimate"]
    values = np.linalg.eigvalsh(A)
    assert abs(found["evolvability"] - values.mean()) < 4 * (values[-1] - values[0]) / np.sqrt(8 * 1000)


def test_evolvability__mean_scaled_is_houles(fit, design):
    found = bmv.evolvability(fit, {"y1": 1.0}, mean_scaled=True).set_index("quantity")["estimate"]
    mean = fit.fixed["estimate"][0]
    assert found["evolvability"] == pytest.approx(4.0 * fit.covariances["family"][0, 0] / mean**2)
    with pytest.raises(SpecError, match="the direction names 'y7'; effects"):
        bmv.evolvability(fit, {"y7": 1.0})
    data = records()
    low = bmv.fit_reml(make_design(data=data.assign(y1=data["y1"] - 100.0), genetic=GENETIC))
    with pytest.raises(SpecError, match="the mean of 'y1' is not positive"):
        bmv.evolvability(low, mean_scaled=True)


def test_principal_components__are_the_eigenvectors(fit, design):
    values, vectors = np.linalg.eigh(fit.covariances["family"])
    found = bmv.principal_components(fit, "family", direction={"y2": 1.0}).set_index("quantity")["estimate"]
    assert found["eigenvalue 1"] == pytest.approx(values[1])
    assert found["share 1"] == pytest.approx(values[1] / values.sum())
    assert abs(found["vector 1: y1"]) == pytest.approx(abs(vectors[0, 1]))
    assert found["angle"] == pytest.approx(angle(vectors[:, 1], np.array([0.0, 1.0])))
    assert angle(np.array([1.0, 1.0]), np.array([-2.0, 0.0])) == pytest.approx(45.0)
    drawn = bmv.principal_components(trace_of(design), "family", as_correlation=True).set_index("quantity")
    r = trace_of(design)["posterior"]["family_corr"].to_numpy()[..., 0, 1]
    assert drawn.loc["eigenvalue 1", "mean"] == pytest.approx((1 + np.abs(r)).mean())


def test_price__differentials_and_gradients(fit):
    found = bmv.price(fit, "y2").set_index("quantity")["estimate"]
    V, mean = fit.covariances, fit.fixed["estimate"][1]
    A, PP = 4.0 * V["family"], sum(V.values())
    assert found["S: y1"] == pytest.approx(PP[0, 1] / mean)
    assert found["beta: y1"] == pytest.approx(PP[0, 1] / mean / PP[0, 0])
    assert found["s_A: y1"] == pytest.approx(A[0, 1] / mean)
    assert found["beta_A: y1"] == pytest.approx(A[0, 1] / mean / A[0, 0])
    assert found["G beta: y1"] == pytest.approx(A[0, 0] * PP[0, 1] / mean / PP[0, 0])
    assert found["opportunity"] == pytest.approx(PP[1, 1] / mean**2)
    with pytest.raises(SpecError, match="no trait 'w'; traits"):
        bmv.price(fit, "w")
    alone = bmv.fit_reml(make_design("idv(trait):family", records(t=1), genetic=GENETIC))
    with pytest.raises(SpecError, match="'y1' is the only trait"):
        bmv.price(alone, "y1")


def test_evolution__posterior_uses_its_draws(design):
    trace = trace_of(design)
    found = bmv.evolvability(trace, {"y1": 1.0}).set_index("quantity")
    draws = 4.0 * trace["posterior"]["family_cov"].to_numpy()[..., 0, 0]
    assert found.loc["evolvability", "median"] == pytest.approx(np.median(draws))
    scaled = bmv.evolvability(trace, {"y1": 1.0}, mean_scaled=True, design=design, max_draws=40)
    assert np.isfinite(scaled["mean"]).all()
    assert isinstance(scaled, pd.DataFrame)
