"""Equations without the levels that have a single record, against V written out and against the whole equations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import RANDOM, Dense, all_patterns, random_case
from test_sparse_engine import scaled_gradient

from bayesmv.design.design import build_design
from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.likelihood.sparse.absorption import reduce_design
from bayesmv.likelihood.sparse.equations import build_equations
from bayesmv.model.spec import ModelSpec
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.relationship.relationship import Relationship

MODELS = [(t, random) for t, models in RANDOM.items() for random in models]


def absorbing(design):
    """The engine with every level absorbed that can be, whatever the size of its class."""
    return MixedModelLikelihood(design, build_equations(design, fewest=1))


def whole(design):
    return MixedModelLikelihood(design, build_equations(design, fewest=None))


def drawn_case(t, random, seed):
    case = random_case(seed, t, random, patterns=all_patterns(t))
    return case, case.random_covariances(np.random.default_rng(seed))


@settings(max_examples=40)
@given(st.sampled_from(MODELS), st.integers(0, 2**32 - 1))
def test_value_and_gradient__dense(model, seed):
    case, covariances = drawn_case(*model, seed)
    dense, engine = Dense(case, covariances), absorbing(case.design)
    value, gradient = engine.value_and_gradient(case.scaled(covariances))
    assert value == pytest.approx(dense.loglik, abs=1e-8, rel=1e-10)
    for mine, exact in zip(gradient, scaled_gradient(case, dense.gradient), strict=True):
        np.testing.assert_allclose(mine, exact, atol=1e-6 * max(1.0, np.abs(exact).max()), rtol=0)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_effects_and_information__equal_those_of_the_whole_equations(model):
    case, covariances = drawn_case(*model, 5)
    sigmas = case.scaled(covariances)
    one, other = absorbing(case.design), whole(case.design)
    np.testing.assert_allclose(one.average_information(sigmas), other.average_information(sigmas), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(one.fixed_covariance(sigmas), other.fixed_covariance(sigmas), rtol=1e-7, atol=1e-9)
    mine, theirs = one.solve(sigmas), other.solve(sigmas)
    np.testing.assert_allclose(mine.fixed, theirs.fixed, atol=1e-8)
    for u, v in zip(mine.random, theirs.random, strict=True):
        np.testing.assert_allclose(u, v, atol=1e-8)
    for u, v in zip(one.prediction_error(sigmas), other.prediction_error(sigmas), strict=True):
        np.testing.assert_allclose(u, v, atol=1e-8)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_density__equals_the_log_posterior(model):
    case, _ = drawn_case(*model, 6)
    posterior = log_posterior(case.design, engine=absorbing(case.design)).planar()
    d = posterior.blocks.n_parameters
    x = np.random.default_rng(7).normal(0.4, 0.2, d)
    value, gradient = Density(posterior, x, np.eye(d))(np.zeros(d))
    expected, its_gradient = posterior.value_and_gradient(x)
    assert value == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(gradient, its_gradient, rtol=1e-7, atol=1e-7)


def family_design(records, traits=("y",)):
    """Two parents, twelve offspring; `records` gives the animal of each record."""
    ids = [f"a{i:02d}" for i in range(14)]
    pedigree = pd.DataFrame({"id": ids, "sire": [None] * 2 + ["a00"] * 12, "dam": [None] * 2 + ["a01"] * 12})
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"animal": records} | {t: rng.normal(size=len(records)) for t in traits})
    random = "us(trait):animal" if len(traits) > 1 else "animal"
    spec = ModelSpec.from_formula(f"{' + '.join(traits)} ~ 1", random=random)
    return build_design(spec, data, {"animal": Relationship.from_pedigree(pedigree)})


def test_reduce_design__offspring_become_parts_of_the_residual():
    reduced = reduce_design(family_design([f"a{i:02d}" for i in range(2, 14)]))
    (gone,), classes = reduced.absorbed, reduced.classes
    assert gone.kept.tolist() == [0, 1]
    np.testing.assert_allclose(gone.regression.toarray(), 0.5)
    np.testing.assert_allclose(gone.variance, 0.5)  # Mendelian sampling
    assert classes.units.tolist() == [12]
    assert classes.block.tolist() == [1, 0]
    np.testing.assert_allclose(classes.matrix[:, 0, 0], [1.0, np.sqrt(0.5)])
    # Parents are unrelated once their offspring are integrated out.
    np.testing.assert_allclose(reduced.terms[0].relationship.precision.toarray(), np.eye(2), atol=1e-12)
    assert reduced.terms[0].relationship.log_determinant == pytest.approx(0.0, abs=1e-12)


def test_reduce_design__keeps_levels_with_several_records():
    records = [f"a{i:02d}" for i in range(2, 14)] + ["a02", "a03"]
    (gone,) = reduce_design(family_design(records)).absorbed
    assert gone.kept.tolist() == [0, 1, 2, 3]


def test_reduce_design__levels_without_records_go_whatever_the_size():
    reduced = reduce_design(family_design(["a00", "a01"] + [f"a{i:02d}" for i in range(2, 6)]))
    (gone,) = reduced.absorbed
    assert gone.kept.tolist() == [0, 1, 2, 3, 4, 5]  # four offspring are too few for a class of their own
    assert set(gone.unit.tolist()) == {-1}


def test_reduce_design__absorbs_nothing_when_told():
    reduced = reduce_design(family_design([f"a{i:02d}" for i in range(2, 14)]), fewest=None)
    assert not len(reduced.absorbed[0].levels)
    assert reduced.classes.units.tolist() == [12]


def test_reduce_design__adjacent_levels_are_not_absorbed_together():
    # A chain 0 - 1 - 2 - 3: every level has at most two ties.
    K = np.linalg.inv(np.eye(4) * 2.0 - np.eye(4, k=1) - np.eye(4, k=-1))
    data = pd.DataFrame({"g": list("abcd"), "y": [1.0, 2.0, 4.0, 3.0]})
    spec = ModelSpec.from_formula("y ~ 1", random="g")
    design = build_design(spec, data, {"g": Relationship.from_covariance(pd.DataFrame(K, list("abcd"), list("abcd")))})
    (gone,) = reduce_design(design, fewest=1).absorbed
    ties = design.terms[0].relationship.precision.toarray()[np.ix_(gone.levels, gone.levels)]
    assert len(gone.levels) == 2
    np.testing.assert_allclose(ties - np.diag(np.diag(ties)), 0.0, atol=1e-12)
