"""The sparse engine against V written out."""

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import RANDOM, Dense, all_patterns, finite_difference, packed, random_case
from scipy.stats import chi2, norm

from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.likelihood.protocol import FLOOR
from bayesmv.numerics.symmetric import unit_components, vech

MODELS = [(t, random) for t, models in RANDOM.items() for random in models]
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def cases(draw, complete=None):
    """A random case with covariances in the units of the data; some records missing unless told."""
    t, random = draw(st.sampled_from(MODELS))
    patterns = None
    if not (draw(st.booleans()) if complete is None else complete):
        patterns = draw(st.lists(st.sampled_from(all_patterns(t)), min_size=1, max_size=4))
        patterns = [tuple([True] * t), *patterns]
    seed = draw(SEEDS)
    case = random_case(seed, t, random, patterns=patterns, n=draw(st.integers(18, 30)))
    return case, case.random_covariances(np.random.default_rng(seed))


def scaled_gradient(case, gradient):
    """dl/dΣ in phenotypic-sd units."""
    return [G * np.outer(s, s) for G, s in zip(gradient, case.scales(), strict=True)]


def component_units(case):
    """Unit of every packed component."""
    return vech([np.outer(s, s) for s in case.scales()])


def assert_agrees(case, covariances, value_tolerance=1e-8):
    """Value to 1e-8 and gradient to 1e-6 (of 1, and of the gradient where that is larger)."""
    dense, engine = Dense(case, covariances), MixedModelLikelihood(case.design)
    sigmas = case.scaled(covariances)
    assert engine.loglik(sigmas) == pytest.approx(dense.loglik, abs=value_tolerance, rel=1e-10)
    value, gradient = engine.value_and_gradient(sigmas)
    assert value == pytest.approx(dense.loglik, abs=value_tolerance, rel=1e-10)
    for mine, exact in zip(gradient, scaled_gradient(case, dense.gradient), strict=True):
        np.testing.assert_allclose(mine, exact, atol=1e-6 * max(1.0, np.abs(exact).max()), rtol=0)


# ---------------------------------------------------------------- value and gradient


@settings(max_examples=40)
@given(cases())
def test_value_and_gradient__dense(drawn):
    assert_agrees(*drawn)


@pytest.mark.parametrize(("t", "random"), MODELS)
def test_value_and_gradient__every_model(t, random):
    case = random_case(11, t, random, patterns=all_patterns(t))
    assert_agrees(case, case.random_covariances(np.random.default_rng(3)))


def covering(patterns):
    """Sets of patterns of which each trait is in one at least."""
    sets = chain.from_iterable(combinations(patterns, k) for k in range(1, len(patterns) + 1))
    return [s for s in sets if np.any(s, axis=0).all()]


COVERING = covering(all_patterns(3))


def test_covering__counts_every_set_of_patterns():
    # Inclusion-exclusion over the traits that no pattern records: 2^7 - 3·2^3 + 3·2^1 - 1 = 109.
    assert len(COVERING) == 109


@pytest.mark.parametrize("patterns", COVERING[::9], ids=str)
def test_value_and_gradient__every_missing_pattern(patterns):
    case = random_case(5, 3, "us(trait):vm(animal, A)", patterns=list(patterns))
    assert set(map(tuple, case.design.observed)) == set(patterns)
    assert_agrees(case, case.random_covariances(np.random.default_rng(8)))


def test_loglik__every_set_of_missing_patterns():
    for patterns in COVERING:
        case = random_case(6, 3, "us(trait):block", patterns=list(patterns), n=21)
        covariances = case.random_covariances(np.random.default_rng(8))
        value = MixedModelLikelihood(case.design).loglik(case.scaled(covariances))
        assert value == pytest.approx(Dense(case, covariances).loglik, abs=1e-8, rel=1e-10), patterns


@settings(max_examples=15)
@given(cases())
def test_gradient__finite_differences(drawn):
    case, covariances = drawn
    engine, sigmas = MixedModelLikelihood(case.design), case.scaled(covariances)
    _, gradient = engine.value_and_gradient(sigmas)
    for k, G in enumerate(gradient):
        for E in unit_components(len(G)):

            def along(x, k=k, E=E):
                return engine.loglik([S + x[0] * E if i == k else S for i, S in enumerate(sigmas)])

            slope = finite_difference(along, np.zeros(1), step=1e-3)[0]
            # Eigenvalues are above 0.1: truncation is about N (step/0.1)⁴/30 ~ 1e-8, rounding 1e-13 N/step ~ 1e-8.
            assert np.sum(G * E) == pytest.approx(slope, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("random", RANDOM[3])
def test_value_and_gradient__singular_covariance(random, rank):
    case = random_case(17, 3, random, patterns=all_patterns(3))
    covariances = case.random_covariances(np.random.default_rng(rank), rank=rank)
    dense = Dense(case, covariances)
    # The engine lifts null eigenvalues to FLOOR: the value moves by FLOOR times the slope there.
    slope = sum(np.abs(np.linalg.eigvalsh(G)).sum() for G in scaled_gradient(case, dense.gradient))
    assert_agrees(case, covariances, value_tolerance=1e-8 + 2 * FLOOR * slope)


def test_value_and_gradient__zero_covariance():
    case = random_case(2, 2, "us(trait):block + us(trait):vm(animal, A)")
    covariances = case.random_covariances(np.random.default_rng(0))
    covariances[0] = np.zeros((2, 2))
    assert_agrees(case, covariances, value_tolerance=1e-7)


@pytest.mark.parametrize("t", [1, 2, 3])
def test_value_and_gradient__no_random_terms(t):
    case = random_case(9, t, "", patterns=all_patterns(t))
    assert_agrees(case, case.random_covariances(np.random.default_rng(0)))


def test_loglik__not_changed_by_what_was_evaluated_before():
    case = random_case(4, 2, RANDOM[2][2], patterns=all_patterns(2))
    engine, rng = MixedModelLikelihood(case.design), np.random.default_rng(1)
    one, other = (case.scaled(case.random_covariances(rng)) for _ in range(2))
    first = engine.loglik(one)
    engine.value_and_gradient(other)
    assert engine.loglik(one) == first


def test_fork__shares_no_scratch():
    case = random_case(4, 2, RANDOM[2][2])
    engine, rng = MixedModelLikelihood(case.design), np.random.default_rng(1)
    one, other = (case.scaled(case.random_covariances(rng)) for _ in range(2))
    value = engine.loglik(one)
    fork = engine.fork()
    fork.value_and_gradient(other)
    assert not np.shares_memory(fork._work.factor, engine._work.factor)
    assert fork.loglik(one) == value


def test_loglik__singular_residual_is_minus_infinity():
    case = random_case(4, 2, "us(trait):block")
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(1)))
    assert MixedModelLikelihood(case.design).loglik([sigmas[0], np.zeros((2, 2))]) == -np.inf


def test_solve__raises_on_singular_residual():
    case = random_case(4, 2, "us(trait):block")
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(1)))
    with pytest.raises(np.linalg.LinAlgError, match="mixed-model equations are singular"):
        MixedModelLikelihood(case.design).solve([sigmas[0], np.zeros((2, 2))])


# ---------------------------------------------------------------- average information


@settings(max_examples=25)
@given(cases())
def test_average_information__dense(drawn):
    case, covariances = drawn
    exact = Dense(case, covariances).average_information * np.outer(*[component_units(case)] * 2)
    mine = MixedModelLikelihood(case.design).average_information(case.scaled(covariances))
    np.testing.assert_allclose(mine, exact, rtol=0, atol=1e-8 * np.abs(exact).max())


@pytest.mark.parametrize(("t", "random"), [m for m in MODELS if m[1]])
def test_average_information__needs_no_gradient_before(t, random):
    case = random_case(3, t, random, patterns=all_patterns(t))
    covariances = case.random_covariances(np.random.default_rng(5))
    engine = MixedModelLikelihood(case.design)
    engine.loglik(case.scaled(case.random_covariances(np.random.default_rng(6))))  # of other covariances
    exact = Dense(case, covariances).average_information * np.outer(*[component_units(case)] * 2)
    mine = engine.average_information(case.scaled(covariances))
    np.testing.assert_allclose(mine, exact, rtol=0, atol=1e-8 * np.abs(exact).max())


def test_average_information__singular_covariance():
    case = random_case(3, 3, RANDOM[3][1], patterns=all_patterns(3))
    covariances = case.random_covariances(np.random.default_rng(5), rank=1)
    exact = Dense(case, covariances).average_information * np.outer(*[component_units(case)] * 2)
    mine = MixedModelLikelihood(case.design).average_information(case.scaled(covariances))
    # Σ⁻¹û with eigenvalues of 1e-10: half of the digits of û are lost.
    np.testing.assert_allclose(mine, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


# ---------------------------------------------------------------- effects


def fixed_by_label(case, values):
    """{(trait, variable): value} from coefficients in the package's order."""
    return dict(zip(case.design.fixed.coefficients(case.design.traits), values, strict=True))


@settings(max_examples=25)
@given(cases())
def test_solve__blue_and_blup(drawn):
    case, covariances = drawn
    dense, design = Dense(case, covariances), case.design
    solution = MixedModelLikelihood(design).solve(case.scaled(covariances))
    coefficients = (design.fixed.ols + solution.fixed * design.scale)[design.fixed.present]
    mine = fixed_by_label(case, coefficients)
    assert set(mine) == set(dense.labels)
    error = np.sqrt(np.diag(dense.XVXi))
    for label, exact, unit in zip(dense.labels, dense.blue, error, strict=True):
        assert mine[label] == pytest.approx(exact, abs=1e-8 * unit, rel=1e-8)
    for k, (U, term) in enumerate(zip(solution.random, design.terms, strict=True)):
        assert list(term.levels) == dense.levels[k]
        scale = design.effect_scale(term.name)
        np.testing.assert_allclose(U * scale / scale, dense.blup(k) / scale, atol=1e-9, rtol=1e-8)


@settings(max_examples=25)
@given(cases())
def test_prediction_error__dense(drawn):
    case, covariances = drawn
    dense = Dense(case, covariances)
    mine = MixedModelLikelihood(case.design).prediction_error(case.scaled(covariances))
    assert len(mine) == len(case.spec.random)
    for k, pev in enumerate(mine):
        s = case.scales()[k]
        np.testing.assert_allclose(pev, dense.pev(k) / np.outer(s, s), atol=1e-9, rtol=1e-8)


@settings(max_examples=25)
@given(cases())
def test_fixed_covariance__dense(drawn):
    case, covariances = drawn
    dense, design = Dense(case, covariances), case.design
    labels = design.fixed.coefficients(design.traits)
    order = [dense.labels.index(label) for label in labels]
    unit = np.array([design.scale[design.traits.index(t)] for t, _ in labels])
    mine = MixedModelLikelihood(design).fixed_covariance(case.scaled(covariances)) * np.outer(unit, unit)
    exact = dense.XVXi[np.ix_(order, order)]
    error = np.sqrt(np.diag(exact))
    np.testing.assert_allclose(mine / np.outer(error, error), exact / np.outer(error, error), atol=1e-8, rtol=0)


@pytest.mark.parametrize(("t", "random"), [(1, RANDOM[1][2]), (2, RANDOM[2][2]), (3, RANDOM[3][2])])
def test_draw__mean_and_covariance(t, random):
    """False alarms: 1e-6 for each of the three checks, were the seed drawn anew."""
    case = random_case(23, t, random, patterns=all_patterns(t), n=28)
    covariances = case.random_covariances(np.random.default_rng(2))
    dense, design = Dense(case, covariances), case.design
    engine, sigmas, rng = MixedModelLikelihood(design), case.scaled(covariances), np.random.default_rng(99)
    order = [dense.labels.index(label) for label in design.fixed.coefficients(design.traits)]
    draws = []
    for _ in range(2000):
        solution = engine.draw(sigmas, rng)
        b = np.empty(len(order))
        b[order] = (design.fixed.ols + solution.fixed * design.scale)[design.fixed.present]
        U = [(U * s).ravel() for U, s in zip(solution.random, case.scales()[:-1], strict=True)]
        draws.append(np.concatenate([b, *U]))
    mean, covariance = dense.posterior
    unit = np.sqrt(np.diag(covariance))
    L = np.linalg.cholesky(covariance / np.outer(unit, unit))
    z = np.linalg.solve(L, ((np.array(draws) - mean) / unit).T).T  # N(0, I) if the draws are right
    n, d = z.shape
    assert n * np.sum(z.mean(axis=0) ** 2) < chi2.isf(1e-6, d)
    total = np.sum((z - z.mean(axis=0)) ** 2)
    assert chi2.isf(1 - 0.5e-6, (n - 1) * d) < total < chi2.isf(0.5e-6, (n - 1) * d)
    excess = np.sqrt(n) * (z.T @ z / n - np.eye(d)) / np.sqrt(1.0 + np.eye(d))
    assert np.abs(excess).max() < norm.isf(0.5e-6 / (d * (d + 1) / 2)) * 1.1  # chi² tails at n = 2000: 10 %


def test_draw__same_seed_same_draw():
    case = random_case(23, 2, RANDOM[2][2])
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(2)))
    engine = MixedModelLikelihood(case.design)
    one, two, other = (engine.draw(sigmas, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.fixed, two.fixed)
    assert np.abs(one.random[0] - other.random[0]).min() > 0


# ---------------------------------------------------------------- what must change nothing


@settings(max_examples=15)
@given(cases(), SEEDS)
def test_loglik__permutation_of_rows(drawn, seed):
    case, covariances = drawn
    order = np.random.default_rng(seed).permutation(len(case.data))
    shuffled = type(case)(spec=case.spec, data=case.data.iloc[order], columns={}, kin=case.kin)
    one = MixedModelLikelihood(case.design).loglik(case.scaled(covariances))
    two = MixedModelLikelihood(shuffled.design).loglik(shuffled.scaled(covariances))
    assert two == pytest.approx(one, abs=1e-9, rel=1e-11)


def test_loglik__permutation_of_levels():
    case = random_case(31, 2, RANDOM[2][2], patterns=all_patterns(2))
    ids, K = case.kin["A"]
    order = np.random.default_rng(0).permutation(len(ids))
    other = type(case)(
        spec=case.spec,
        data=case.data,
        columns=case.columns,
        kin={"A": ([ids[i] for i in order], K[np.ix_(order, order)])},
    )
    covariances = case.random_covariances(np.random.default_rng(4))
    one = MixedModelLikelihood(case.design).loglik(case.scaled(covariances))
    two = MixedModelLikelihood(other.design).loglik(case.scaled(covariances))
    assert two == pytest.approx(one, abs=1e-9)


def test_loglik__confounded_level_has_no_column():
    case = random_case(13, 2, "us(trait):block", patterns=[(True, True), (True, False)])
    data = case.data.assign(group=np.where(case.data["sex"] == "m", "p", "q"))  # sex again
    spec = type(case.spec).from_formula("y1 + y2 ~ sex + group + at(trait, y1):x", random=case.spec.random_formula)
    other = type(case)(spec=spec, data=data, columns=case.columns)
    covariances = case.random_covariances(np.random.default_rng(4))
    assert_agrees(other, covariances)
    assert any("confounded" in note for note in other.design.notes)


def test_packed__order_is_that_of_the_package():
    E = unit_components(3)
    assert [tuple(np.argwhere(np.tril(e))[0]) for e in E] == packed(3)
