"""Leave-out densities against refits: the fall of the dense likelihood when a block's records are taken out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cases import StructuredDense, structured_case
from oracles import RANDOM, Dense, all_patterns, random_case, simple_case
from residuals import dense_loglik, design_of, matrices, records, scaled

from bayesmv.errors import DataError, SpecError
from bayesmv.likelihood.sparse import leave_out
from bayesmv.likelihood.sparse.equations import build_equations
from bayesmv.likelihood.sparse.leave_out import LeaveOut


def without(case, units):
    """The case with all records of some units missing."""
    data = case.data.copy()
    data.loc[data.index[units], list(case.spec.traits)] = np.nan
    return replace(case, data=data)


def refits(case, covariances, block_of, dense=Dense):
    """log p(y_B | y_-B) = l(y) - l(y_-B), in the units of the data."""
    whole = dense(case, covariances).loglik
    blocks = range(block_of.max() + 1)
    return np.array([whole - dense(without(case, block_of == b), covariances).loglik for b in blocks])


def blocks_of(case, by):
    if by is None:
        return np.arange(len(case.data))
    return pd.factorize(case.data[by])[0].astype(np.int64)


@pytest.mark.parametrize("by", [None, "animal", "block"])
@pytest.mark.parametrize("fewest", [None, 1], ids=["whole", "absorbed"])
@pytest.mark.parametrize("model", [(1, RANDOM[1][2]), (2, RANDOM[2][3]), (3, RANDOM[3][1])], ids=str)
def test_log_density__equals_refits(model, fewest, by):
    t, random = model
    case = random_case(3, t, random, patterns=all_patterns(t))
    covariances = case.random_covariances(np.random.default_rng(4))
    engine = LeaveOut(case.design, blocks_of(case, by), build_equations(case.design, fewest=fewest))
    expected = refits(case, covariances, engine.block_of)
    np.testing.assert_allclose(engine.log_density(case.scaled(covariances)), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("by", [None, "animal", "pen"])
@pytest.mark.parametrize("model", ["maternal", "mates", "legendre"])
def test_log_density__of_effects_that_share_records(model, by):
    """Units bear on several levels and covariates; mates are mates whether recorded or not."""
    case = structured_case(model, t=2)
    covariances = case.random_covariances(np.random.default_rng(5))
    engine = LeaveOut(case.design, blocks_of(case, by))
    expected = refits(case, covariances, engine.block_of, StructuredDense)
    np.testing.assert_allclose(engine.log_density(case.scaled(covariances)), expected, rtol=1e-8, atol=1e-8)


def test_log_density__single_and_several_units_agree():
    """A block of one unit is the same by the selected inverse and by solving, among blocks of any size."""
    case = random_case(6, 2, RANDOM[2][3], patterns=all_patterns(2))
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(6)))
    alone = LeaveOut(case.design, np.arange(24)).log_density(sigmas)
    paired = np.minimum(np.arange(24), 22)
    np.testing.assert_allclose(LeaveOut(case.design, paired).log_density(sigmas)[:22], alone[:22], atol=1e-10)


@pytest.mark.parametrize("by", [None, "fam"])
@pytest.mark.parametrize("weights", [None, "w"])
def test_log_density__of_residual_groups_and_weighted_records(weights, by):
    data = records()
    data = data[data[["a", "b"]].notna().any(axis=1)].reset_index(drop=True)
    design = design_of(weights=weights, data=data)
    family, residuals, whole = matrices(design)
    block_of = np.arange(len(data)) if by is None else pd.factorize(data[by])[0]
    found = LeaveOut(design, block_of).log_density(scaled(design, family, whole))
    full = dense_loglik(design, data, family, residuals)
    for b in (0, 5, block_of.max()):
        part = dense_loglik(design, data[block_of != b], family, residuals)
        assert found[b] == pytest.approx(full - part, abs=1e-8)


def test_log_density__units_in_no_block():
    case = random_case(7, 2, RANDOM[2][1])
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(7)))
    some = np.full(24, -1)
    some[[4, 9, 10]] = [0, 1, 1]
    engine = LeaveOut(case.design, some)
    assert [list(units) for units in engine.units] == [[4], [9, 10]]
    alone = LeaveOut(case.design, np.arange(24)).log_density(sigmas)
    assert engine.log_density(sigmas)[0] == pytest.approx(alone[4], abs=1e-10)
    np.testing.assert_array_equal(engine.fork().log_density(sigmas), engine.log_density(sigmas))


@pytest.mark.parametrize("block_of", [np.arange(24), np.arange(24) // 2], ids=["single", "pairs"])
def test_log_density__raises_on_fixed_effects_of_one_block(block_of):
    case = random_case(8, 1, "idv(trait):block")
    data = case.data.assign(sex=["f"] * 22 + ["m"] * 2 if block_of[1] == 0 else ["f"] * 23 + ["m"])
    lonely = replace(case, data=data)
    sigmas = lonely.scaled(lonely.random_covariances(np.random.default_rng(8)))
    with pytest.raises(
        DataError, match=r"1 blocks cannot be predicted .* those of units 2[23]; take the fixed effects"
    ):
        LeaveOut(lonely.design, block_of).log_density(sigmas)


def test_leave_out__raises_on_large_blocks(monkeypatch):
    monkeypatch.setattr(leave_out, "LARGEST", 5)
    data = pd.DataFrame({"y1": np.arange(8.0), "g": list("aabbccdd")})
    with pytest.raises(SpecError, match=r"a block of 6 records is too large .* \(at most 5\); choose a factor"):
        LeaveOut(simple_case(["y1"], "g", data).design, np.array([0, 0, 0, 0, 0, 0, 1, 1]))
