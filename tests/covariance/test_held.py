"""Correlations of unstructured matrices held one by one: members, derivatives, estimates against brute force."""

import numpy as np
import pandas as pd
import pytest
from oracles import finite_difference
from scipy.optimize import minimize

import bayesmv as bmv
from bayesmv.covariance import constrained, structure
from bayesmv.covariance.held import HeldCorrelations
from bayesmv.covariance.nesting import contains
from bayesmv.errors import SpecError
from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.posterior.log_posterior import log_posterior

LABELS = ("a", "b", "c", "d", "e")
#: What is held, by the number of effects.
CASES = {
    "one zero of two": (2, {"cor[a,b]": 0.0}),
    "one value of two": (2, {"cor[a,b]": 0.6}),
    "one of three": (3, {"cor[a,c]": -0.4}),
    "a pair of zeros": (4, {"cor[a,b]": 0.0, "cor[d,c]": 0.0}),
    "a square of zeros": (4, {"cor[a,b]": 0.0, "cor[b,c]": 0.0, "cor[c,d]": 0.0, "cor[a,d]": 0.0}),
    "two blocks": (4, {f"cor[{i},{j}]": 0.0 for i in "ab" for j in "cd"}),
    "a triangle of values": (4, {"cor[a,b]": 0.5, "cor[a,c]": 0.3, "cor[b,c]": -0.2}),
    "two single values": (5, {"cor[a,b]": 0.8, "cor[c,d]": -0.7, "cor[a,e]": 0.0}),
    "nothing": (3, {"sd[a]": 2.0}),
}


def build(case, word="us"):
    m, constraints = CASES[case]
    return m, constraints, constrained(structure(word, m), constraints, LABELS[:m])


@pytest.mark.parametrize("case", CASES)
def test_members__hold_what_is_held_and_are_covariances(case):
    m, constraints, held = build(case)
    rng = np.random.default_rng(1)
    sigmas = held.matrix(rng.normal(size=(50, held.n_parameters)) * 2.0)
    assert np.linalg.eigvalsh(sigmas).min() > -1e-12 * sigmas.max()
    sd = np.sqrt(np.diagonal(sigmas, axis1=1, axis2=2))
    for name, value in constraints.items():
        labels = name[name.index("[") + 1 : -1].split(",")
        i, j = LABELS.index(labels[0]), LABELS.index(labels[-1])
        found = sd[:, i] if name.startswith("sd") else sigmas[:, i, j] / (sd[:, i] * sd[:, j])
        np.testing.assert_allclose(found, value, atol=1e-9)
    free = m * (m + 1) // 2 - len(constraints)
    assert held.n_parameters == free


@pytest.mark.parametrize("case", CASES)
def test_derivatives__against_differences(case):
    m, _, held = build(case)
    rng = np.random.default_rng(2)
    theta = rng.uniform(0.4, 1.1, held.n_parameters) * rng.choice([-1.0, 1.0], held.n_parameters)
    G = rng.normal(size=(m, m))
    G = G + G.T
    np.testing.assert_allclose(held.jacobian(theta), finite_difference(held.matrix, theta), atol=1e-8)
    slope = finite_difference(lambda x: np.einsum("pab,ab->p", held.jacobian(x), G), theta)
    np.testing.assert_allclose(held.curvature(theta, G), slope, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_from_matrix__finds_every_member(case):
    _, _, held = build(case)
    theta = np.random.default_rng(3).normal(size=held.n_parameters)
    sigma = held.matrix(theta)
    np.testing.assert_allclose(held.matrix(held.from_matrix(sigma)), sigma, atol=1e-9)
    np.testing.assert_allclose(held.matrix(held.canonical(theta)), sigma, atol=1e-9)


def test_from_matrix__all_free_is_unstructured():
    held = HeldCorrelations(4)
    B = np.random.default_rng(4).normal(size=(4, 4))
    np.testing.assert_allclose(held.matrix(held.from_matrix(B @ B.T)), B @ B.T, atol=1e-10)


def test_nesting__between_diagonal_and_unstructured():
    us, diag, block = structure("us", 4), structure("diag", 4), build("two blocks")[2]
    pairs = [(us, block), (block, diag), (us, diag), (block, us), (diag, block)]
    assert [contains(large, small) for large, small in pairs] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("m", "constraints", "message"),
    [
        (2, {"cor[a,b]": 1.0}, r"cor\[a,b\] = 1 is out of its bounds, -1 to 1"),
        (
            3,
            {"cor[a,b]": 0.9, "cor[a,c]": 0.9, "cor[b,c]": -0.9},
            r"no correlation matrix has .* at the values that they",
        ),
        (3, {"cor[a,c]": 0.9, "cor[b,c]": 0.9}, None),
        (
            4,
            {f"cor[{p}]": 0.5 for p in ("a,b", "b,c", "c,d", "a,d")},
            r"cannot be held together at values other than 0",
        ),
        (
            2,
            {"cor[a,x]": 0.5},
            r"us has no parameter 'cor\[a,x\]'; parameters: 'sd\[a\]', 'sd\[b\]', 'partial_cor\[a,b\]'",
        ),
        (
            3,
            {"cor[a,b]": "cor[b,c]"},
            r"cor\[a,b\] cannot be equated to cor\[b,c\]: correlations of us are held at num",
        ),
    ],
)
def test_constrained__raises(m, constraints, message):
    if message is None:  # the free correlation is built around those that are held
        held = constrained(structure("us", m), constraints, LABELS[:m])
        assert held.n_parameters == 4
        return
    with pytest.raises(SpecError, match=message):
        constrained(structure("us", m), constraints, LABELS[:m])


# ---------------------------------------------------------------- estimates


@pytest.fixture(scope="module")
def families():
    rng = np.random.default_rng(6)
    S = np.array([[1.0, 0.3, 0.5], [0.3, 1.5, 0.1], [0.5, 0.1, 0.8]])
    family = np.repeat(np.arange(30), 4)
    u = rng.multivariate_normal(np.zeros(3), S, 30)
    y = u[family] + rng.multivariate_normal(np.zeros(3), np.eye(3) + 0.4, 120)
    return pd.DataFrame(y, columns=list("abc")).assign(family=[f"F{k:02d}" for k in family])


@pytest.mark.parametrize("word", ["us", "corgh"])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_fit_reml__is_the_maximum_that_brute_force_finds(families, word, value):
    spec = bmv.ModelSpec.from_formula(
        "a + b + c ~ 1",
        random=f"{word}(trait):family",
        constraints={"family": {"cor[a,c]": value}, "Residual": {"cor[a,b]": 0.25}},
    )
    design = bmv.build_design(spec, families)
    fit = bmv.fit_reml(design)
    assert fit.converged
    S = fit.covariances["family"]
    assert S[0, 2] / np.sqrt(S[0, 0] * S[2, 2]) == pytest.approx(value, abs=1e-9)
    engine, blocks = MixedModelLikelihood(design), design.blocks

    def minus(theta):
        return -engine.value_and_gradient(blocks.matrices(theta))[0]

    start = np.full(blocks.n_parameters, 0.6)
    best = minimize(minus, start, method="Nelder-Mead", options={"maxiter": 20_000, "xatol": 1e-7, "fatol": 1e-10})
    best = minimize(minus, best.x, method="BFGS")
    assert fit.loglik == pytest.approx(-best.fun, abs=1e-6)
    rows = fit.varcomp.query("term == 'family' and trait_i != trait_j")
    shown = {tuple(sorted((r.trait_i, r.trait_j))): r for r in rows.itertuples()}
    if value == 0.0 and word == "us":
        assert ("a", "c") not in shown or shown["a", "c"].component == 0.0
    free = bmv.fit_reml(
        bmv.build_design(bmv.ModelSpec.from_formula("a + b + c ~ 1", random="us(trait):family"), families)
    )
    test = bmv.likelihood_ratio(fit, free)
    assert test.df == 2


def test_posterior__gradient_of_the_log_density(families):
    spec = bmv.ModelSpec.from_formula(
        "a + b + c ~ 1", random="us(trait):family", constraints={"family": {"cor[a,c]": 0.2, "sd[b]": 1.1}}
    )
    density = log_posterior(bmv.build_design(spec, families))
    x = np.random.default_rng(7).normal(0.3, 0.2, density.blocks.n_parameters)
    np.testing.assert_allclose(density.gradient(x), finite_difference(density.value, x), rtol=1e-5, atol=1e-6)
