"""What every engine is held to: one row of a table each. A new engine gets a row here."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from oracles import RANDOM, Case, Dense, all_patterns, random_case, simple_case

from bayesmv.likelihood import MixedModelLikelihood, StrataLikelihood, likelihood
from bayesmv.likelihood.choose import ENGINES
from bayesmv.likelihood.sparse.equations import build_equations
from bayesmv.likelihood.sparse.leave_out import LeaveOut
from bayesmv.likelihood.spectral.engine import SpectralLikelihood
from bayesmv.likelihood.spectral.missing import MissingCells
from bayesmv.likelihood.strata import SMALL


def noise(n: int) -> np.ndarray:
    """Records of two traits in different units, (n, 2)."""
    return np.random.default_rng(0).normal(size=(n, 2)) * [0.1, 30.0]


def complete_blocks() -> Case:
    """Four blocks of six families: no engine but the spectral has an obstacle."""
    data = pd.DataFrame(list(product(range(4), range(6))), columns=["b", "f"])
    data[["y1", "y2"]] = noise(len(data))
    return simple_case(["y1", "y2"], "us(trait):b + us(trait):f", data)


def many_families() -> Case:
    """More families than strata are looked for in, one of them smaller: no engine but the strata has an obstacle."""
    data = pd.DataFrame({"f": np.arange(1, 2 * SMALL + 4) // 2})
    data[["y1", "y2"]] = noise(len(data))
    return simple_case(["y1", "y2"], "us(trait):f", data)


def few_missing() -> Case:
    """Families, one of them smaller, that lack a record of each trait, a unit its first and another its second."""
    data = many_families().data
    data.loc[[3, 4, 200], "y1"] = np.nan
    data.loc[[7, 100], "y2"] = np.nan
    return simple_case(["y1", "y2"], "us(trait):f", data)


def any_model() -> Case:
    """Several terms, and every pattern of missing records: no engine but the sparse serves it."""
    return random_case(4, 2, RANDOM[2][2], patterns=all_patterns(2))


#: A case that the engine serves.
ROWS: dict[type, Callable[[], Case]] = {
    StrataLikelihood: complete_blocks,
    SpectralLikelihood: many_families,
    MissingCells: few_missing,
    MixedModelLikelihood: any_model,
}
rows = pytest.mark.parametrize(("engine", "make"), ROWS.items(), ids=[engine.name for engine in ROWS])


def given(case, seed):
    return case.scaled(case.random_covariances(np.random.default_rng(seed)))


def singular(sigmas):
    return [*sigmas[:-1], np.zeros_like(sigmas[-1])]


def test_engines__each_has_a_row():
    assert tuple(ROWS) == ENGINES
    assert len({engine.name for engine in ENGINES}) == len(ENGINES)
    assert [engine.universal for engine in ENGINES] == [False] * (len(ENGINES) - 1) + [True]


@rows
def test_offer__cost_and_the_engine_itself(engine, make):
    design = make().design
    offer = engine.offer(design)
    assert offer.obstacle is None
    assert 1e-6 < offer.cost < 1e-3
    assert type(offer.prepare(False)) is type(likelihood(design, engine.name)) is engine


@rows
def test_engine__dense(engine, make):
    case = make()
    covariances = case.random_covariances(np.random.default_rng(1))
    sigmas, dense, scales = case.scaled(covariances), Dense(case, covariances), case.scales()
    mine = likelihood(case.design, engine.name)
    value, gradient = mine.value_and_gradient(sigmas)
    assert value == pytest.approx(mine.loglik(sigmas), rel=1e-14)
    assert value == pytest.approx(dense.loglik, abs=1e-8)
    for G, expected, s in zip(gradient, dense.gradient, scales, strict=True):
        np.testing.assert_allclose(G, expected * np.outer(s, s), atol=1e-6)
    unit = np.concatenate([np.outer(s, s)[np.tril_indices(len(s))] for s in scales])
    information = dense.average_information * np.outer(unit, unit)
    np.testing.assert_allclose(mine.average_information(sigmas), information, atol=1e-8 * np.abs(information).max())


@rows
def test_engine__where_V_is_singular(engine, make):
    case = make()
    null = singular(given(case, 1))
    mine = likelihood(case.design, engine.name)
    value, gradient = mine.value_and_gradient(null)
    assert value == mine.loglik(null) == -np.inf
    for G, sigma in zip(gradient, null, strict=True):
        np.testing.assert_array_equal(G, np.zeros_like(sigma))
    with pytest.raises(np.linalg.LinAlgError, match="singular at these covariances"):
        mine.average_information(null)


# ---------------------------------------------------------------- answers from the arguments alone

ALL = {
    "loglik": lambda engine, sigmas: [engine.loglik(sigmas)],
    "value_and_gradient": lambda engine, sigmas: _flat(*engine.value_and_gradient(sigmas)),
    "average_information": lambda engine, sigmas: [engine.average_information(sigmas)],
}
EQUATIONS = ALL | {
    "solve": lambda engine, sigmas: _effects(engine.solve(sigmas)),
    "draw": lambda engine, sigmas: _effects(engine.draw(sigmas, np.random.default_rng(5))),
    "prediction_error": lambda engine, sigmas: engine.prediction_error(sigmas),
    "fixed_covariance": lambda engine, sigmas: [engine.fixed_covariance(sigmas)],
}
LEFT_OUT = EQUATIONS | {"log_density": lambda engine, sigmas: [engine.log_density(sigmas)]}


def _flat(value, gradient):
    return [value, *gradient]


def _effects(solution):
    return [solution.fixed, *solution.random]


def _blocks(case, size):
    """Blocks of `size` units that the others can predict."""
    return np.arange(len(case.design.units)) // size


def of_word(engine):
    return lambda case: likelihood(case.design, engine.name)


FRESH = {
    **{engine.name: (of_word(engine), make, ALL) for engine, make in ROWS.items()},
    "sparse, effects": (lambda case: MixedModelLikelihood(case.design), any_model, EQUATIONS),
    "sparse, levels absorbed": (
        lambda case: MixedModelLikelihood(case.design, build_equations(case.design, fewest=1)),
        any_model,
        EQUATIONS,
    ),
    "units left out": (lambda case: LeaveOut(case.design, _blocks(case, 1)), any_model, LEFT_OUT),
    "blocks left out": (lambda case: LeaveOut(case.design, _blocks(case, 3)), any_model, LEFT_OUT),
}


@pytest.mark.parametrize("name", FRESH)
def test_engine__answers_do_not_depend_on_the_call_before(name):
    """Any method after any other at other covariances, or at some where it fails, as from an engine that is new."""
    fresh, make, methods = FRESH[name]
    case = make()
    one, other = given(case, 1), given(case, 2)
    expected = {method: call(fresh(case), one) for method, call in methods.items()}
    engine = fresh(case)
    for (before, disturb), (after, call) in product(methods.items(), methods.items()):
        for sigmas in (other, singular(other)):
            _whatever(disturb, engine, sigmas)
            for mine, its in zip(call(engine, one), expected[after], strict=True):
                np.testing.assert_array_equal(mine, its, err_msg=f"{after} after {before}")


@pytest.mark.parametrize("name", FRESH)
def test_engine__answers_at_singular_covariances_do_not_depend_on_the_call_before(name):
    fresh, make, methods = FRESH[name]
    case = make()
    null = singular(given(case, 1))
    for seed in (2, 3):
        engine = fresh(case)
        engine.value_and_gradient(given(case, seed))
        for method, call in methods.items():
            new, used = _whatever(call, fresh(case), null), _whatever(call, engine, null)
            assert str(new) == str(used), method


def _whatever(call, engine, sigmas):
    """Answer, or the error that is one."""
    try:
        return call(engine, sigmas)
    except np.linalg.LinAlgError as error:
        return [error]


@rows
def test_fork__does_not_disturb_and_is_not_disturbed(engine, make):
    case = make()
    one, other = given(case, 1), given(case, 2)
    mine = likelihood(case.design, engine.name)
    expected = mine.value_and_gradient(one)
    fork = mine.fork()
    for first, second in ((mine, fork), (fork, mine)):
        second.value_and_gradient(other)
        value, gradient = first.value_and_gradient(one)
        assert value == expected[0]
        for G, its in zip(gradient, expected[1], strict=True):
            np.testing.assert_array_equal(G, its)
