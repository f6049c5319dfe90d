"""The strata engine against the sparse engine and against V written out, on balanced designs."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from oracles import Case, Dense, dense_relationship, random_kin, simple_case

from bayesmv.design.design import build_design
from bayesmv.errors import SpecError
from bayesmv.likelihood import MixedModelLikelihood, StrataLikelihood, likelihood
from bayesmv.likelihood.strata import LARGEST, SMALL, find_strata, untried
from bayesmv.model.spec import ModelSpec


def layout(n_traits, seed=0, **factors):
    """All combinations of the factors' levels, with noise as the traits."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(list(product(*(range(q) for q in factors.values()))), columns=list(factors))
    for i in range(n_traits):
        data[f"y{i + 1}"] = rng.normal(10.0 * i, 10.0 ** (i - 1), len(data))
    return data


def traits(n):
    return [f"y{i + 1}" for i in range(n)]


def latin_square(n_traits):
    data = layout(n_traits, row=4, column=4)
    return data.assign(treatment=(data["row"] + data["column"]) % 4)


def with_columns(case, formula, **columns):
    """The case with other fixed effects; `columns` are those of every trait."""
    spec = ModelSpec.from_formula(f"{' + '.join(case.spec.traits)} ~ {formula}", random=case.spec.random_formula)
    values = {(t, name): np.asarray(x, float) for t in spec.traits for name, x in columns.items()}
    return Case(spec=spec, data=case.data, columns=values)


def split_plot(n_traits):
    """Varieties on whole plots of blocks, nitrogen on split plots, as fixed effects (Yates 1935 is 6 x 3 x 4)."""
    data = layout(n_traits, block=4, variety=3, nitrogen=2)
    data["plot"] = data["block"].astype(str) + "." + data["variety"].astype(str)
    case = simple_case(traits(n_traits), "us(trait):block + us(trait):plot", data)
    columns = {"Intercept": np.ones(len(data)), "nitrogen": data["nitrogen"]}
    columns |= {f"C(variety)[T.{v}]": data["variety"] == v for v in (1, 2)}
    return with_columns(case, "C(variety) + nitrogen", **columns)


def covariate_on_blocks(n_traits):
    """A covariate that is constant within blocks lies in the stratum of blocks."""
    data = layout(n_traits, block=5, family=4)
    altitude = np.array([3.0, 1.0, 4.0, 1.5, 9.0])[data["block"]]
    case = simple_case(traits(n_traits), "us(trait):block + us(trait):family", data.assign(altitude=altitude))
    return with_columns(case, "altitude", Intercept=np.ones(len(data)), altitude=altitude)


BALANCED = {
    "one way": lambda t: simple_case(traits(t), "us(trait):g", layout(t, g=5, plant=4)),
    "complete blocks": lambda t: simple_case(traits(t), "us(trait):b + us(trait):f", layout(t, b=4, f=6)),
    "complete blocks, plots of three": lambda t: simple_case(
        traits(t), "us(trait):b + us(trait):f", layout(t, b=4, f=3, tree=3)
    ),
    "nested": lambda t: simple_case(
        traits(t),
        "us(trait):g + diag(trait):s",
        layout(t, g=4, s=3, plant=3).assign(s=lambda d: d["g"] * 10 + d["s"]),
    ),
    "crossed with interaction": lambda t: simple_case(
        traits(t),
        "us(trait):a + us(trait):b + us(trait):ab",
        layout(t, a=4, b=3, plant=2).assign(ab=lambda d: d["a"] * 10 + d["b"]),
    ),
    "latin square": lambda t: simple_case(
        traits(t), "us(trait):row + us(trait):column + us(trait):treatment", latin_square(t)
    ),
    "split plot": split_plot,
    "covariate of blocks": covariate_on_blocks,
}
#: Distinct joint eigenvalues off the mean, the residual's included.
N_STRATA = {
    "one way": 2,
    "complete blocks": 3,
    "complete blocks, plots of three": 3,
    "nested": 3,
    "crossed with interaction": 4,
    "latin square": 4,
    "split plot": 3,
    "covariate of blocks": 3,
}


@pytest.mark.parametrize("n_traits", [1, 2, 3])
@pytest.mark.parametrize("name", BALANCED)
def test_strata__dense_and_sparse(name, n_traits):
    case = BALANCED[name](n_traits)
    strata = likelihood(case.design, "strata")
    assert isinstance(strata, StrataLikelihood)
    sparse = MixedModelLikelihood(case.design)
    rng = np.random.default_rng(4)
    for _ in range(3):
        covariances = case.random_covariances(rng)
        sigmas, dense = case.scaled(covariances), Dense(case, covariances)
        value, gradient = strata.value_and_gradient(sigmas)
        other, other_gradient = sparse.value_and_gradient(sigmas)
        assert value == strata.loglik(sigmas)
        assert value == pytest.approx(dense.loglik, abs=1e-8)
        assert value == pytest.approx(other, abs=1e-8)
        scales = case.scales()
        for mine, its, exact, s in zip(gradient, other_gradient, dense.gradient, scales, strict=True):
            np.testing.assert_allclose(mine, exact * np.outer(s, s), atol=1e-6)
            np.testing.assert_allclose(mine, its, atol=1e-6)
        information = strata.average_information(sigmas)
        largest = np.abs(information).max()
        np.testing.assert_allclose(information, sparse.average_information(sigmas), atol=1e-8 * largest, rtol=0)


@pytest.mark.parametrize("name", BALANCED)
def test_find_strata__counts(name):
    case = BALANCED[name](1)
    strata = find_strata(case.design)
    assert len(strata.freedom) == N_STRATA[name]
    assert strata.freedom.sum() == len(case.data) - len(case.columns)


def test_find_strata__complete_blocks_by_hand():
    """The analysis of variance of 4 blocks x 6 families: mean squares, degrees of freedom, multipliers."""
    case = BALANCED["complete blocks"](1)
    strata = find_strata(case.design)
    y = case.data["y1"].to_numpy().reshape(4, 6)
    rows, columns = y.mean(1) - y.mean(), y.mean(0) - y.mean()
    rest = y - y.mean() - rows[:, None] - columns[None, :]
    squares = [6 * rows @ rows, 4 * columns @ columns, np.sum(rest**2)]
    expected = np.column_stack([[6, 0, 0], [0, 4, 0], [3, 5, 15], squares])
    mine = np.column_stack([strata.coefficients, strata.freedom, strata.products[:, 0, 0] * case.design.scale[0] ** 2])
    np.testing.assert_allclose(mine[np.argsort(mine[:, 2])], expected, atol=1e-8)


def test_strata__relationship_with_equal_eigenvalues():
    """Full-sib-like K = (1-r)I + rJ commutes with a complete block design."""
    case = BALANCED["complete blocks"](2)
    K = 0.75 * np.eye(6) + 0.25
    kin = Case(
        spec=ModelSpec.from_formula("y1 + y2 ~ 1", random="us(trait):b + us(trait):vm(f, A)"),
        data=case.data,
        columns=case.columns,
        kin={"A": (list(range(6)), K)},
    )
    covariances = kin.random_covariances(np.random.default_rng(1))
    engine = likelihood(kin.design, "strata")
    assert engine.loglik(kin.scaled(covariances)) == pytest.approx(Dense(kin, covariances).loglik, abs=1e-8)


def test_strata__relationship_of_one_term_has_a_stratum_for_each_eigenvalue():
    data, K = layout(2, g=6, plant=3), random_kin(6, np.random.default_rng(5))
    spec = ModelSpec.from_formula("y1 + y2 ~ 1", random="us(trait):vm(g, A)")
    columns = {(t, "Intercept"): np.ones(len(data)) for t in traits(2)}
    case = Case(spec=spec, data=data, columns=columns, kin={"A": (list(range(6)), K)})
    strata = find_strata(case.design)
    centre = np.eye(6) - 1 / 6
    np.testing.assert_allclose(
        np.unique(strata.coefficients.round(8)), np.unique((3 * np.linalg.eigvalsh(centre @ K @ centre)).round(8))
    )
    covariances = case.random_covariances(np.random.default_rng(1))
    engine = likelihood(case.design, "strata")
    assert engine.loglik(case.scaled(covariances)) == pytest.approx(Dense(case, covariances).loglik, abs=1e-8)


def test_strata__singular_covariance_of_a_term():
    case = BALANCED["complete blocks"](2)
    covariances = case.random_covariances(np.random.default_rng(1), rank=1)
    covariances[0] = np.zeros((2, 2))
    value = likelihood(case.design).loglik(case.scaled(covariances))
    assert value == pytest.approx(Dense(case, covariances).loglik, abs=1e-8)


def unbalanced():
    case = BALANCED["complete blocks"](2)
    data, spec = case.data, case.spec
    missing = data.copy()
    missing.loc[3, "y2"] = np.nan
    drifting = data.assign(x=np.random.default_rng(77).normal(size=len(data)))
    return {
        "a record is missing": (spec, missing),
        "a unit is missing": (spec, data.iloc[1:]),
        "a covariate varies within blocks": (
            ModelSpec.from_formula("y1 + y2 ~ x", random=spec.random_formula),
            drifting,
        ),
        "fixed effects differ between traits": (
            ModelSpec.from_formula("y1 + y2 ~ 1 + at(trait, y1):C(b)", random="us(trait):f"),
            data,
        ),
        "a term for one trait": (ModelSpec.from_formula("y1 + y2 ~ 1", random="at(trait, y1):b"), data),
        "no random terms": (ModelSpec.from_formula("y1 + y2 ~ 1"), data),
    }


@pytest.mark.parametrize("name", unbalanced())
def test_find_strata__none(name):
    design = build_design(*unbalanced()[name])
    assert find_strata(design) is None
    assert isinstance(likelihood(design), MixedModelLikelihood)
    with pytest.raises(SpecError, match=r"the strata engine cannot serve this design: .*; use engine='auto'"):
        likelihood(design, "strata")


def test_find_strata__none_for_a_relationship_that_does_not_commute():
    case = BALANCED["complete blocks"](1)
    data = case.data.iloc[np.r_[0:24, 0:3]].reset_index(drop=True)  # some families have more trees
    A = dense_relationship(range(6), 0.9 ** np.abs(np.subtract.outer(range(6), range(6))))
    design = build_design(ModelSpec.from_formula("y1 ~ 1", random="b + vm(f, A)"), data, {"A": A})
    assert find_strata(design) is None


def test_find_strata__balanced_incomplete_blocks_do_not_commute():
    """Seven treatments in seven blocks of three, every pair once: equal replication, and yet no common eigenvectors."""
    lines = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5)]
    data = pd.DataFrame([(b, f) for b, treatments in enumerate(lines) for f in treatments], columns=["b", "f"])
    data["y1"] = np.random.default_rng(2).normal(size=len(data))
    case = simple_case(["y1"], "us(trait):b + us(trait):f", data)
    assert untried(case.design) is None
    assert find_strata(case.design) is None
    covariances = case.random_covariances(np.random.default_rng(3))
    assert likelihood(case.design).loglik(case.scaled(covariances)) == pytest.approx(Dense(case, covariances).loglik)


def test_find_strata__complete_blocks_of_many_families():
    """More levels than are tried on any design."""
    case = simple_case(["y1"], "us(trait):b + us(trait):f", layout(1, b=3, f=SMALL + 3))
    engine = likelihood(case.design, "strata")
    np.testing.assert_allclose(np.sort(engine.strata.freedom), [2, SMALL + 2, 2 * (SMALL + 2)])
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(3)))
    assert engine.loglik(sigmas) == pytest.approx(MixedModelLikelihood(case.design).loglik(sigmas), abs=1e-8)


def test_find_strata__none_when_too_large():
    n = LARGEST + 1
    data = pd.DataFrame({"y": np.random.default_rng(0).normal(size=2 * n), "g": np.arange(2 * n) // 2})
    assert find_strata(build_design(ModelSpec.from_formula("y ~ 1", random="g"), data)) is None
