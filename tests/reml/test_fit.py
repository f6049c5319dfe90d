"""REML against exact analyses of variance, itself under changes of units and order, and published answers."""

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Dense, random_case, simple_case
from scipy.stats import chi2

from bayesmv.comparison.likelihood_ratio import likelihood_ratio
from bayesmv.design.design import build_design
from bayesmv.errors import ConvergenceWarning, DataError, SpecError
from bayesmv.io.files import load_design
from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.model.spec import ModelSpec
from bayesmv.reml import fit_reml

engines = pytest.mark.parametrize("engine", ["strata", "sparse"])
BY_CONVERGENCE = 1e-6  # steps end where the next one promises 1e-11 in l, that is 3e-6 standard errors


def fit(formula, random, data, relationships=None, residual=None, **words):
    return fit_reml(
        build_design(ModelSpec.from_formula(formula, random=random, residual=residual), data, relationships), **words
    )


def grouped(seed, groups, plants, t, between):
    """One-way data; `between` scales the group effects."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), plants)
    L = np.tril(np.full((t, t), 0.6)) + 0.4 * np.eye(t)
    Y = between * (rng.normal(size=(groups, t)) @ L.T)[g] + rng.normal(size=(len(g), t)) @ L
    Y = Y * 10.0 ** np.arange(t) + 5.0
    return pd.DataFrame(Y, columns=[f"y{i + 1}" for i in range(t)]).assign(g=g)


def trial(seed=3, blocks=6, families=8, t=2, missing=0.0, lost=0.0):
    """A block trial with strong blocks and families; some records missing, some trees lost."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"b": np.repeat(np.arange(blocks), families), "f": np.tile(np.arange(families), blocks)})
    L = np.tril(np.full((t, t), 0.4)) + 0.6 * np.eye(t)
    Y = 1.5 * rng.normal(size=(blocks, t))[data["b"]] + 1.2 * (rng.normal(size=(families, t)) @ L.T)[data["f"]]
    Y = Y + rng.normal(size=Y.shape) @ L.T
    Y[rng.random(Y.shape) < missing] = np.nan
    data[[f"y{i + 1}" for i in range(t)]] = (Y + 4.0) * 10.0 ** np.arange(t)
    return data[rng.random(len(data)) >= lost].reset_index(drop=True)


def mean_squares(data, traits):
    """Between and within groups of equal size, with their degrees of freedom and the size."""
    Y = data[traits].to_numpy()
    means = data.groupby("g")[traits].transform("mean").to_numpy()
    groups = data["g"].nunique()
    n = len(data) // groups
    df_b, df_w = groups - 1, groups * (n - 1)
    deviation = means - Y.mean(axis=0)
    return deviation.T @ deviation / df_b, (Y - means).T @ (Y - means) / df_w, df_b, df_w, n


def one_way_answer(data, traits):
    """Exact REML of a balanced one-way layout, positive semi-definite .

    In the coordinates where the mean squares are Λ and I, the roots below 1 are pooled with the error
    (Anderson, Anderson & Olkin 1986, Ann. Stat. 14:405-417).
    Returns Σ_g, R and l.
    """
    B, W, df_b, df_w, n = mean_squares(data, traits)
    roots, T = scipy.linalg.eigh(B, W)
    M = np.linalg.inv(T).T
    pooled = (df_b * roots + df_w) / (df_b + df_w)
    error, between = np.where(roots < 1, pooled, 1.0), np.where(roots < 1, pooled, roots)
    R, V_b = (M * error) @ M.T, (M * between) @ M.T
    t = len(traits)
    logs = df_b * np.linalg.slogdet(V_b)[1] + df_w * np.linalg.slogdet(R)[1] + t * np.log(len(data))
    squares = df_b * np.trace(np.linalg.solve(V_b, B)) + df_w * np.trace(np.linalg.solve(R, W))
    return (V_b - R) / n, R, -0.5 * ((df_b + df_w) * t * np.log(2 * np.pi) + logs + squares)


def assert_covariance(mine, exact, rel=BY_CONVERGENCE):
    sd = np.sqrt(np.maximum(np.diag(exact), 1e-300))
    np.testing.assert_allclose(mine / np.outer(sd, sd), exact / np.outer(sd, sd), atol=rel, rtol=0)


# ---------------------------------------------------------------- exact answers of balanced designs


@engines
@pytest.mark.parametrize("t", [1, 2, 3])
def test_fit_reml__one_way_manova(t, engine):
    data = grouped(1, groups=9, plants=5, t=t, between=1.5)
    traits = [f"y{i + 1}" for i in range(t)]
    group, R, loglik = one_way_answer(data, traits)
    B, W, df_b, df_w, n = mean_squares(data, traits)
    np.testing.assert_allclose(group, (B - W) / n, rtol=1e-9)  # inside the parameter space
    reml = fit(f"{' + '.join(traits)} ~ 1", "us(trait):g", data, engine=engine)
    assert reml.converged
    assert reml.at_boundary == ()
    assert_covariance(reml.covariances["g"], group)
    assert_covariance(reml.covariances["Residual"], R)
    assert reml.loglik == pytest.approx(loglik, abs=1e-8)
    # Var(M_ij) = (M_ii M_jj + M_ij²)/df of a Wishart mean square.
    var_b, var_w = ((np.outer(np.diag(S), np.diag(S)) + S**2) / df for S, df in ((B, df_b), (W, df_w)))
    errors = reml.varcomp.groupby("term", sort=False)["std_error"].apply(list)
    lower = np.tril_indices(t)
    np.testing.assert_allclose(errors["g"], np.sqrt((var_b + var_w)[lower]) / n, rtol=1e-5)
    np.testing.assert_allclose(errors["Residual"], np.sqrt(var_w[lower]), rtol=1e-5)
    np.testing.assert_allclose(reml.fixed["estimate"], data[traits].mean(), rtol=1e-9)
    np.testing.assert_allclose(reml.fixed["std_error"], np.sqrt(np.diag(B) / len(data)), rtol=1e-6)


@engines
def test_fit_reml__randomised_complete_blocks(engine):
    data, traits = trial(), ["y1", "y2"]
    Y = data[traits].to_numpy().reshape(6, 8, 2)
    rows, columns = Y.mean(axis=1) - Y.mean(axis=(0, 1)), Y.mean(axis=0) - Y.mean(axis=(0, 1))
    rest = (Y - Y.mean(axis=(0, 1)) - rows[:, None] - columns[None]).reshape(-1, 2)
    MS_b, MS_f, MS_e = 8 * rows.T @ rows / 5, 6 * columns.T @ columns / 7, rest.T @ rest / 35
    exact = {"b": (MS_b - MS_e) / 8, "f": (MS_f - MS_e) / 6, "Residual": MS_e}
    assert all(np.linalg.eigvalsh(S).min() > 0 for S in exact.values())  # else these are not the REML estimates
    reml = fit("y1 + y2 ~ 1", "us(trait):b + us(trait):f", data, engine=engine)
    for name, S in exact.items():
        assert_covariance(reml.covariances[name], S)


@engines
@pytest.mark.parametrize("seed", range(6))
def test_fit_reml__negative_anova_estimate_is_zero(seed, engine):
    data = grouped(seed, groups=4, plants=6, t=1, between=0.0)
    B, W, df_b, df_w, _ = mean_squares(data, ["y1"])
    group, R, loglik = one_way_answer(data, ["y1"])
    reml = fit("y1 ~ 1", "g", data, engine=engine)
    assert reml.converged
    assert reml.loglik == pytest.approx(loglik, abs=1e-7)
    assert reml.covariances["Residual"][0, 0] == pytest.approx(R[0, 0], rel=1e-5)
    assert reml.covariances["g"][0, 0] == pytest.approx(group[0, 0], abs=1e-5 * R[0, 0])
    row = reml.varcomp.iloc[0]
    if B[0, 0] < W[0, 0]:
        assert R[0, 0] == pytest.approx((df_b * B[0, 0] + df_w * W[0, 0]) / (df_b + df_w))
        assert (reml.at_boundary, row["constraint"]) == (("g",), "boundary")
        assert row["component"] == 0.0
        assert np.isnan(row["std_error"])
        assert reml.varcomp.iloc[1]["std_error"] == pytest.approx(R[0, 0] * np.sqrt(2 / (df_b + df_w)), rel=1e-4)
    else:
        assert (reml.at_boundary, row["constraint"]) == ((), "positive")


def test_grouped__seeds_reach_both_sides_of_the_boundary():
    below = []
    for seed in range(6):
        B, W, *_ = mean_squares(grouped(seed, groups=4, plants=6, t=1, between=0.0), ["y1"])
        below.append(B[0, 0] < W[0, 0])
    assert 0 < sum(below) < 6


@engines
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("t", [2, 3])
def test_fit_reml__singular_manova(t, seed, engine):
    """Weak groups: some roots of the mean squares are below 1, the estimate of Σ_g is singular in these directions."""
    data = grouped(seed, groups=5, plants=6, t=t, between=0.35)
    traits = [f"y{i + 1}" for i in range(t)]
    group, R, loglik = one_way_answer(data, traits)
    B, W, *_ = mean_squares(data, traits)
    rank = int((scipy.linalg.eigh(B, W, eigvals_only=True) > 1).sum())
    reml = fit(f"{' + '.join(traits)} ~ 1", "us(trait):g", data, engine=engine)
    assert reml.converged
    assert reml.loglik == pytest.approx(loglik, abs=1e-6)
    assert_covariance(reml.covariances["Residual"], R, rel=1e-3)
    sd = np.sqrt(np.diag(R))
    np.testing.assert_allclose(reml.covariances["g"] / np.outer(sd, sd), group / np.outer(sd, sd), atol=1e-3)
    assert reml.ranks["g"] == rank
    assert reml.at_boundary == (("g",) if rank < t else ())
    assert (reml.varcomp["constraint"] == "boundary").any() == (rank < t)


@engines
def test_fit_reml__fewer_blocks_than_traits(engine):
    """Three blocks have two degrees of freedom: a 3 x 3 matrix among blocks has rank 2 at most."""
    data = grouped(2, groups=3, plants=12, t=3, between=2.0)
    traits = ["y1", "y2", "y3"]
    group, _, loglik = one_way_answer(data, traits)
    reml = fit("y1 + y2 + y3 ~ 1", "us(trait):g", data, engine=engine)
    assert reml.converged
    assert reml.ranks == {"g": 2, "Residual": 3}
    assert reml.loglik == pytest.approx(loglik, abs=1e-6)
    assert_covariance(reml.covariances["g"], group, rel=1e-3)


def test_fit_reml__no_random_terms_is_least_squares():
    data = grouped(1, groups=9, plants=5, t=2, between=1.0)
    reml = fit("y1 + y2 ~ 1", "", data)
    assert_covariance(reml.covariances["Residual"], np.cov(data[["y1", "y2"]].T))


# ---------------------------------------------------------------- what must follow from a change of the data


MODEL = "us(trait):b + us(trait):f"


@pytest.fixture(scope="module")
def incomplete():
    return trial(missing=0.15, lost=0.1)


@pytest.fixture(scope="module")
def reference(incomplete):
    return fit("y1 + y2 ~ 1", MODEL, incomplete)


def test_fit_reml__gradient_is_zero_at_the_optimum(reference):
    assert reference.converged
    assert reference.at_boundary == ()
    assert np.abs(reference.gradient).max() < 1e-4
    _, gradients = reference.engine.value_and_gradient(reference.sigmas)
    assert max(np.abs(G).max() for G in gradients) < 1e-3


def test_fit_reml__no_neighbour_is_better(reference):
    rng = np.random.default_rng(0)
    blocks = reference.design.blocks
    for _ in range(30):
        theta = reference.theta + 0.01 * rng.normal(size=len(reference.theta))
        assert reference.engine.loglik(blocks.matrices(theta)) < reference.loglik


@settings(max_examples=10)
@given(st.floats(1e-5, 1e5), st.floats(1e-5, 1e5), st.floats(-50, 50))
def test_fit_reml__units_of_traits(incomplete, reference, a, b, shift):
    data = incomplete.assign(y1=a * incomplete["y1"] + a * shift, y2=b * incomplete["y2"])
    scaled = fit("y1 + y2 ~ 1", MODEL, data)
    for name, S in reference.covariances.items():
        assert_covariance(scaled.covariances[name] / np.outer([a, b], [a, b]), S)
    free = reference.design.observed.sum(axis=0) - 1
    assert scaled.loglik == pytest.approx(reference.loglik - free @ np.log([a, b]), abs=1e-6)
    np.testing.assert_allclose(scaled.varcomp["z_ratio"], reference.varcomp["z_ratio"], rtol=1e-4)


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1))
def test_fit_reml__order_of_rows_levels_and_traits(incomplete, reference, seed):
    rng = np.random.default_rng(seed)
    names = rng.permutation(8)
    data = incomplete.iloc[rng.permutation(len(incomplete))].assign(f=lambda d: names[d["f"]])
    other = fit("y2 + y1 ~ 1", "us(trait):f + us(trait):b", data)
    assert other.loglik == pytest.approx(reference.loglik, abs=1e-8)
    for name, S in reference.covariances.items():
        assert_covariance(other.covariances[name][::-1, ::-1], S)
    theirs = reference.effects("f").set_index(["level", "trait"])["blup"]
    mine = other.effects("f").set_index(["level", "trait"])["blup"]
    for (level, trait), value in theirs.items():
        assert mine[names[level], trait] == pytest.approx(value, abs=1e-5 * theirs.abs().max())


def test_fit_reml__diag_is_separate_univariates(incomplete):
    both = fit("y1 + y2 ~ 1", "diag(trait):b + diag(trait):f", incomplete, residual="diag(trait):units")
    single = [fit(f"{y} ~ 1", "b + f", incomplete) for y in ("y1", "y2")]
    assert both.loglik == pytest.approx(sum(s.loglik for s in single), abs=1e-7)
    for name, S in both.covariances.items():
        np.testing.assert_allclose(np.diag(S), [s.covariances[name][0, 0] for s in single], rtol=1e-5)
        assert S[0, 1] == 0
    np.testing.assert_allclose(
        both.varcomp.sort_values(["trait_i", "term"])["std_error"],
        np.concatenate([s.varcomp.sort_values("term")["std_error"] for s in single]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("word", ["us", "diag", "idv", "corgh"])
def test_fit_reml__one_trait_is_univariate_in_every_structure(word):
    data = trial()
    other = fit("y1 ~ 1", f"{word}(trait):b + {word}(trait):f", data, residual=f"{word}(trait):units")
    plain = fit("y1 ~ 1", "b + f", data)
    assert other.loglik == pytest.approx(plain.loglik, abs=1e-9)
    for name, S in plain.covariances.items():
        assert_covariance(other.covariances[name], S)


def test_fit_reml__idv_equates_the_variances():
    data = grouped(1, groups=9, plants=5, t=1, between=1.5)
    data["y2"] = data["y1"].sample(frac=1.0, random_state=1).to_numpy()
    reml = fit("y1 + y2 ~ 1", "idv(trait):g", data, residual="idv(trait):units")
    long = pd.concat([data.assign(y=data[y], g2=data["g"].astype(str) + y, trait=y) for y in ("y1", "y2")])
    plain = fit("y ~ trait", "g2", long.reset_index(drop=True))
    assert reml.covariances["g"][0, 0] == pytest.approx(plain.covariances["g2"][0, 0], rel=1e-5)
    assert reml.covariances["g"][1, 1] == reml.covariances["g"][0, 0]
    assert reml.n_parameters == 2


def test_fit_reml__units_without_records_change_nothing(incomplete, reference):
    empty = pd.DataFrame({"y1": [np.nan] * 3, "y2": [np.nan] * 3, "b": [0, 1, 77], "f": [1, 1, 88]})
    more = fit("y1 + y2 ~ 1", MODEL, pd.concat([incomplete, empty], ignore_index=True))
    assert more.loglik == pytest.approx(reference.loglik, abs=1e-9)
    assert any("3 units without a record" in note for note in more.design.notes)


def test_fit_reml__complete_records_in_both_engines_are_one_answer():
    strata, sparse = (fit("y1 + y2 ~ 1", MODEL, trial(), engine=e) for e in ("strata", "sparse"))
    assert (strata.engine.name, sparse.engine.name) == ("strata", "sparse")
    assert strata.loglik == pytest.approx(sparse.loglik, abs=1e-8)
    for column in ("component", "std_error"):
        np.testing.assert_allclose(strata.varcomp[column], sparse.varcomp[column], rtol=1e-5)
    pd.testing.assert_frame_equal(strata.effects("f"), sparse.effects("f"), rtol=1e-5)


def test_fit_reml__covariate_of_another_unit(incomplete):
    data = incomplete.assign(x=np.random.default_rng(0).normal(20, 3, len(incomplete)))
    one = fit("y1 + y2 ~ x", MODEL, data)
    two = fit("y1 + y2 ~ x", MODEL, data.assign(x=1000 * data["x"]))
    assert two.loglik == pytest.approx(one.loglik - 2 * np.log(1000), abs=1e-7)  # log|X'V⁻¹X|, once for each trait
    np.testing.assert_allclose(two.fixed["z_ratio"], one.fixed["z_ratio"], rtol=1e-5)


# ---------------------------------------------------------------- results


def test_effects_and_fixed__dense_at_the_estimates():
    case = random_case(41, 2, "us(trait):vm(animal, A) + diag(trait):block", n=60)
    reml = fit_reml(case.design)
    dense = Dense(case, [reml.covariances[name] for name in case.design.names])
    assert reml.loglik == pytest.approx(dense.loglik, abs=1e-7)
    fixed = reml.fixed.set_index(["trait", "effect"])
    assert list(reml.fixed["trait"]) == sorted(reml.fixed["trait"])
    for label, value, error in zip(dense.labels, dense.blue, np.sqrt(np.diag(dense.XVXi)), strict=True):
        assert fixed.loc[label, "estimate"] == pytest.approx(value, abs=1e-7 * error, rel=1e-8)
        assert fixed.loc[label, "std_error"] == pytest.approx(error, rel=1e-7)
        assert fixed.loc[label, "z_ratio"] == pytest.approx(value / error, rel=1e-7)
    table = reml.effects("animal")
    scale = np.tile(reml.design.scale, 10)
    assert list(table.columns) == ["level", "trait", "blup", "std_error", "reliability", "accuracy"]
    assert list(table["level"][::2]) == dense.levels[0]
    np.testing.assert_allclose(table["blup"] / scale, dense.blup(0).ravel() / scale, atol=1e-6)
    variances = np.diagonal(dense.pev(0), axis1=1, axis2=2)
    np.testing.assert_allclose((table["std_error"] / scale) ** 2, variances.ravel() / scale**2, atol=1e-6)
    genetic = np.outer(np.diag(dense.K[0]), np.diag(dense.covariances[0]))
    if "animal" not in reml.at_boundary:
        np.testing.assert_allclose(table["reliability"], (1 - variances / genetic).ravel(), atol=1e-5)


def test_effects__raises_on_unknown_term(reference):
    with pytest.raises(SpecError, match=r"no random term 'animal'; random terms: 'b', 'f'"):
        reference.effects("animal")


def test_varcomp__table(reference):
    table = reference.varcomp
    assert list(table.columns) == [
        "term",
        "trait_i",
        "trait_j",
        "component",
        "std_error",
        "z_ratio",
        "constraint",
    ]
    assert list(table["term"]) == ["b"] * 3 + ["f"] * 3 + ["Residual"] * 3
    assert list(zip(table["trait_i"], table["trait_j"], strict=True))[:3] == [("y1", "y1"), ("y1", "y2"), ("y2", "y2")]
    assert list(table["constraint"][:3]) == ["positive", "unconstrained", "positive"]
    assert table.loc[4, "component"] == reference.covariances["f"][1, 0]
    np.testing.assert_allclose(table["z_ratio"], table["component"] / table["std_error"])


def test_varcomp__standard_errors_are_the_inverse_average_information(reference):
    unit = np.tile(np.outer(reference.design.scale, reference.design.scale)[np.tril_indices(2)], 3)
    information = reference.engine.average_information(reference.sigmas)
    error = unit * np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(reference.varcomp["std_error"], error, rtol=1e-6)


def test_varcomp__correlations_of_corgh(incomplete, reference):
    corgh = fit("y1 + y2 ~ 1", "us(trait):b + corgh(trait):f", incomplete)
    assert corgh.loglik == pytest.approx(reference.loglik, abs=1e-9)
    S = reference.covariances["f"]
    row = corgh.varcomp.iloc[4]
    r = S[1, 0] / np.sqrt(S[0, 0] * S[1, 1])
    assert row["component"] == pytest.approx(r, rel=1e-5)
    C = reference.component_covariance[3:6, 3:6]
    slope = np.array([-0.5 * r / S[0, 0], r / S[1, 0], -0.5 * r / S[1, 1]])  # the delta method
    assert row["std_error"] == pytest.approx(np.sqrt(slope @ C @ slope), rel=1e-4)


def test_aic_bic__definitions(reference):
    free = reference.design.n_records - 2
    assert reference.n_parameters == 9
    assert reference.aic == pytest.approx(-2 * reference.loglik + 18)
    assert reference.bic == pytest.approx(-2 * reference.loglik + 9 * np.log(free))


# ---------------------------------------------------------------- start values


@pytest.mark.parametrize(
    "start",
    [
        {"b": np.diag([1e-4, 50.0])},
        {"f": np.zeros((2, 2)), "Residual": np.diag([10.0, 1000.0])},
        {"f": np.array([[1.0, -9.0], [-9.0, 100.0]])},
    ],
)
def test_fit_reml__start_values_do_not_matter(incomplete, reference, start):
    other = fit("y1 + y2 ~ 1", MODEL, incomplete, start=start)
    assert other.loglik == pytest.approx(reference.loglik, abs=1e-8)
    for name, S in reference.covariances.items():
        assert_covariance(other.covariances[name], S)


def test_fit_reml__starts_from_another_fit(incomplete, reference):
    again = fit("y1 + y2 ~ 1", MODEL, incomplete, start=reference)
    assert again.iterations <= 2 < reference.iterations
    assert again.loglik == pytest.approx(reference.loglik, abs=1e-9)
    smaller = fit("y1 + y2 ~ 1", "us(trait):f", incomplete, start=reference)  # its blocks are not wanted
    assert smaller.loglik == pytest.approx(fit("y1 + y2 ~ 1", "us(trait):f", incomplete).loglik, abs=1e-8)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"g": np.eye(2)}, r"start values for 'g'; terms: 'b', 'f', 'Residual'"),
        ({"b": np.eye(3)}, r"the covariance of b must be a symmetric 2 × 2 matrix"),
        ({"b": np.array([[1.0, 0.5], [0.1, 1.0]])}, r"the covariance of b must be a symmetric 2 × 2 matrix"),
        ({"b": np.array([[1.0, 50.0], [50.0, 100.0]])}, r"covariance of b"),
    ],
)
def test_fit_reml__raises_on_start(incomplete, start, message):
    with pytest.raises(SpecError, match=message):
        fit("y1 + y2 ~ 1", MODEL, incomplete, start=start)


def test_fit_reml__warns_when_stopped(incomplete):
    design = build_design(ModelSpec.from_formula("y1 + y2 ~ 1", random=MODEL), incomplete)
    with pytest.warns(ConvergenceWarning, match=r"REML stopped after 1 iterations with gradient"):
        reml = fit_reml(design, max_iterations=1)
    assert not reml.converged


# ---------------------------------------------------------------- likelihood ratios


def test_likelihood_ratio__covariances(incomplete, reference):
    null = fit("y1 + y2 ~ 1", "us(trait):b + diag(trait):f", incomplete)
    test = likelihood_ratio(null, reference)
    statistic = 2 * (reference.loglik - null.loglik)
    assert (test.df, test.statistic) == (1, pytest.approx(statistic))
    assert test.p_value == pytest.approx(chi2.sf(statistic, 1))
    assert test.reference == "chi-square on 1 df"
    assert str(test).startswith(f"LR = {statistic:.2f} on 1 df, p = ")


def test_likelihood_ratio__one_variance():
    data = trial(t=1)
    null, full = fit("y1 ~ 1", "b", data), fit("y1 ~ 1", "b + f", data)
    test = likelihood_ratio(null, full)
    assert test.p_value == pytest.approx(0.5 * chi2.sf(test.statistic, 1))  # Self & Liang (1987), case 5
    assert "mixture of chi-squares on 0 to 1 df" in test.reference


def test_likelihood_ratio__two_variances(incomplete):
    null, full = (fit("y1 + y2 ~ 1", r, incomplete) for r in ("us(trait):b", "us(trait):b + diag(trait):f"))
    test = likelihood_ratio(null, full)
    expected = 0.5 * chi2.sf(test.statistic, 1) + 0.25 * chi2.sf(test.statistic, 2)
    assert (test.df, test.p_value) == (2, pytest.approx(expected))


def test_likelihood_ratio__variances_with_a_covariance(incomplete, reference):
    test = likelihood_ratio(fit("y1 + y2 ~ 1", "us(trait):b", incomplete), reference)
    bound = 0.5 * chi2.sf(test.statistic, 2) + 0.5 * chi2.sf(test.statistic, 3)
    assert (test.df, test.p_value) == (3, pytest.approx(bound))
    assert "conservative: the null lies on the boundary" in test.reference


def test_likelihood_ratio__term_that_cannot_be_zero(incomplete):
    spec = ModelSpec.from_formula(
        "y1 + y2 ~ 1", random="us(trait):b + fixed(trait, G):f", matrices={"G": np.diag([1e-3, 10.0])}
    )
    full = fit_reml(build_design(spec, incomplete))
    with pytest.raises(SpecError, match=r"not nested: 'f' of the second, which the first has not, cannot be 0"):
        likelihood_ratio(fit("y1 + y2 ~ 1", "us(trait):b", incomplete), full)


def test_likelihood_ratio__nothing_gained_is_p_of_one():
    data = grouped(0, groups=4, plants=6, t=1, between=0.0)
    data["y1"] -= data.groupby("g")["y1"].transform("mean")  # groups without any difference
    null, full = fit("y1 ~ 1", "", data), fit("y1 ~ 1", "g", data)
    test = likelihood_ratio(null, full)
    assert (test.statistic, test.p_value) == (pytest.approx(0.0, abs=1e-6), pytest.approx(1.0, abs=1e-3))


def test_likelihood_ratio__says_when_a_fit_is_on_the_boundary():
    data = grouped(2, groups=3, plants=12, t=3, between=2.0)
    null, full = (fit("y1 + y2 + y3 ~ 1", f"{word}(trait):g", data) for word in ("diag", "us"))
    assert "conservative: g on the boundary" in likelihood_ratio(null, full).reference


@pytest.mark.parametrize(
    ("formula", "random", "change", "message"),
    [
        (
            "y1 + y2 ~ 1",
            "us(trait):b",
            {"y1": 2.0},
            r"the two fits have different data; a likelihood ratio needs the same",
        ),
        ("y1 ~ 1", "b", {}, r"the two fits have different data"),
        ("y1 + y2 ~ x", "us(trait):b", {}, r"different fixed effects; restricted likelihoods are then not comparable"),
        ("y1 + y2 ~ 1", "us(trait):b + us(trait):f", {}, r"the second fit has 9 covariance parameters and the first 9"),
    ],
)
def test_likelihood_ratio__raises(incomplete, reference, formula, random, change, message):
    data = incomplete.assign(x=np.arange(len(incomplete)), **{k: c * incomplete[k] for k, c in change.items()})
    with pytest.raises(SpecError, match=message):
        likelihood_ratio(fit(formula, random, data), reference)


def test_likelihood_ratio__raises_on_models_that_are_not_nested(incomplete):
    null, full = (fit("y1 + y2 ~ 1", r, incomplete) for r in ("diag(trait):b", "us(trait):f"))
    with pytest.raises(SpecError, match="nested"):
        likelihood_ratio(null, full)


def test_simple_case__agrees_with_fit():
    """The oracle's own l at the estimates, on a trial with lost trees."""
    data = trial(missing=0.1)
    case = simple_case(["y1", "y2"], MODEL, data)
    reml = fit_reml(case.design)
    assert Dense(case, list(reml.covariances.values())).loglik == pytest.approx(reml.loglik, abs=1e-8)


# ---------------------------------------------------------------- what the data cannot tell apart


def test_fit_reml__one_unit_per_level_is_not_identified():
    """A random term with a level for every unit cannot be told from the residual: no standard error is claimed."""
    data = grouped(3, groups=6, plants=5, t=1, between=1.0)
    data["plant"] = np.arange(len(data))
    reml = fit("y1 ~ 1", "g + plant", data, engine="sparse")
    table = reml.varcomp.set_index("term")
    assert list(table.loc[["plant", "Residual"], "constraint"]) == ["not identified"] * 2
    assert table.loc[["plant", "Residual"], "std_error"].isna().all()
    alone = fit("y1 ~ 1", "g", data, engine="sparse").varcomp.set_index("term")
    assert table.loc["g", "constraint"] == "positive"
    assert table.loc["g", "std_error"] == pytest.approx(alone.loc["g", "std_error"], rel=1e-3)


def test_fit_reml__means_stated_per_trait():
    """``at(trait, y1):1 + at(trait, y2):1`` is the common intercept, written trait by trait."""
    data = grouped(4, groups=6, plants=5, t=2, between=1.0)
    one = fit("y1 + y2 ~ 1", "us(trait):g", data)
    each = fit("y1 + y2 ~ at(trait, y1):1 + at(trait, y2):1", "us(trait):g", data)
    assert each.loglik == pytest.approx(one.loglik, abs=1e-8)
    np.testing.assert_allclose(each.fixed["estimate"], one.fixed["estimate"])


def test_fit_reml__factors_from_several_starts():
    """The likelihood of one factor of three traits has two maxima, with grain yield on either side of it."""
    design = load_design("ril_fa")
    fit = fit_reml(design)
    assert fit.loglik == pytest.approx(-2334.99643290, abs=1e-6)
    (note,) = (note for note in fit.design.notes if "maxima" in note)
    assert note == (
        "REML has several maxima: of 3 starts, 2 ended lower, by 0.0067, 0.0067 in log-likelihood; the highest is given"
    )
    given = fit_reml(design, start=fit)
    assert given.design.notes == design.notes
    assert given.loglik == pytest.approx(fit.loglik, abs=1e-8)


def test_fit_reml__one_maximum_has_no_note():
    design = load_design("ril_rr")
    assert fit_reml(design).design is design


def test_fit_reml__many_traits_with_missing_records_end_soon():
    """Steps are few, and none costs a gradient for every parameter."""
    rng = np.random.default_rng(81)
    traits = [f"t{i}" for i in range(8)]
    family = np.repeat(np.arange(20), 5)
    Y = rng.normal(size=(20, 8))[family] + rng.normal(size=(100, 8))
    Y[rng.random(Y.shape) < 0.1] = np.nan
    spec = ModelSpec.from_formula(" + ".join(traits) + " ~ 1", random="fa(trait, 1):fam", residual="us(trait):units")
    design = build_design(spec, pd.DataFrame(Y, columns=traits).assign(fam=family))

    class Counted(MixedModelLikelihood):
        gradients = 0

        def value_and_gradient(self, sigmas):
            type(self).gradients += 1
            return super().value_and_gradient(sigmas)

    fit = fit_reml(design, engine=Counted(design))
    assert fit.converged
    assert Counted.gradients < 250
    assert np.abs(fit.gradient).max() < 1e-3


@pytest.mark.parametrize("lost", [False, True], ids=["strata", "sparse"])
def test_fit_reml__no_residual_variance(lost):
    """Refused without a warning of NumPy on the way: the suite turns them into errors."""
    rng = np.random.default_rng(3)
    line, block = np.tile(np.arange(30), 2), np.repeat([0, 1], 30)
    data = pd.DataFrame({"y1": line + 1e-9 * rng.normal(size=60), "y2": rng.normal(size=60)})
    data = data.assign(line=line, block=block)
    if lost:
        data.loc[::7, "y2"] = np.nan
    spec = ModelSpec.from_formula("y1 + y2 ~ 1", random="us(trait):line + us(trait):block")
    with pytest.raises(DataError, match="the residual variance of 'y1' goes to 0, and the likelihood has no maximum"):
        fit_reml(build_design(spec, data))


def test_fit_reml__blocks_far_apart():
    """A variance that is 1e6 and 1e8 times another changes nothing in the rest."""
    rng = np.random.default_rng(6)
    line, block = np.tile(np.arange(30), 2), np.repeat([0, 1], 30)
    Y = rng.normal(size=(30, 2))[line] + rng.normal(size=(60, 2))
    spec = ModelSpec.from_formula("y1 + y2 ~ 1", random="us(trait):line + us(trait):block")

    def fit(step):
        data = pd.DataFrame(Y + step * block[:, None], columns=["y1", "y2"]).assign(line=line, block=block)
        return fit_reml(build_design(spec, data))

    near, far = fit(1e3), fit(1e4)
    for name in ("line", "Residual"):
        np.testing.assert_allclose(far.covariances[name], near.covariances[name], rtol=1e-4)
