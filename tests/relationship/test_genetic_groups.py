"""Genetic groups as covariates: shares against the definition, and the model against Quaas's equations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayesmv import ModelSpec, Pedigree, Relationship, blup, build_design, group_shares, without_groups
from bayesmv.errors import PedigreeError


@pytest.fixture
def pedigree() -> Pedigree:
    """Seven animals and two groups of unknown parents; f is inbred."""
    frame = pd.DataFrame(
        [
            ("a", "G1", "G1"),
            ("b", "G1", "G2"),
            ("c", "G2", "G2"),
            ("d", "a", "b"),
            ("e", "a", "G2"),
            ("f", "d", "e"),
            ("g", "c", "f"),
        ],
        columns=["id", "sire", "dam"],
    )
    return Pedigree.from_frame(frame, groups=["G1", "G2"])


def test_group_shares__half_of_each_parent(pedigree):
    shares = group_shares(pedigree)
    assert list(shares.columns) == ["G1", "G2"]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    np.testing.assert_allclose(shares["G1"][list("abcdefg")], [1.0, 0.5, 0.0, 0.75, 0.5, 0.625, 0.3125])


def test_group_shares__block_of_the_inverse_with_groups(pedigree):
    """The off-diagonal block of Quaas's matrix is -A⁻¹Q."""
    n = len(pedigree)
    whole = pedigree.inverse_with_groups().toarray()
    plain = without_groups(pedigree).inverse().toarray()
    np.testing.assert_allclose(whole[:n, :n], plain, atol=1e-12)
    np.testing.assert_allclose(whole[:n, n:], -plain @ group_shares(pedigree).to_numpy(), atol=1e-12)


def test_group_shares__solutions_are_those_of_quaas(pedigree):
    """u = Qg + a of the covariate model equals u of the equations with Quaas's inverse, the first group being 0."""
    y = np.array([4.1, 3.2, 5.0, 3.9, 4.4, 2.7, 4.8])
    data = pd.DataFrame({"animal": list("abcdefg"), "y": y}).join(group_shares(pedigree), on="animal")
    spec = ModelSpec.from_formula("y ~ 1 + G2", random="vm(animal, A)")
    relationship = Relationship.from_pedigree(without_groups(pedigree))
    fit = blup(build_design(spec, data, {"A": relationship}), {"animal": [[0.6]], "Residual": [[0.9]]})
    effects = fit.effects("animal").set_index("level")["blup"][list(pedigree.ids)].to_numpy()
    fixed = fit.fixed.set_index("effect")["estimate"]
    n = len(pedigree)
    order = pedigree.ids.get_indexer(list("abcdefg"))
    Z = np.eye(n + 2)[order]  # records of animals; groups have none
    inverse = pedigree.inverse_with_groups().toarray()
    C = np.block([[np.ones((1, n)) @ np.ones((n, 1)), np.ones((1, n)) @ Z], [Z.T @ np.ones((n, 1)), Z.T @ Z]])
    C[1:, 1:] += inverse * 0.9 / 0.6
    keep = np.delete(np.arange(n + 3), 1 + n)  # group 1 set to zero
    solution = np.zeros(n + 3)
    solution[keep] = np.linalg.solve(C[np.ix_(keep, keep)], np.concatenate([[y.sum()], Z.T @ y])[keep])
    assert fixed["Intercept"] == pytest.approx(solution[0], abs=1e-9)
    assert fixed["G2"] == pytest.approx(solution[-1], abs=1e-9)
    total = effects + group_shares(pedigree)["G2"].to_numpy() * fixed["G2"]
    np.testing.assert_allclose(total, solution[1 : 1 + n], atol=1e-9)


def test_group_shares__raises_without_groups(pedigree):
    with pytest.raises(PedigreeError, match="the pedigree has no genetic groups; name unknown parents in from_frame"):
        group_shares(without_groups(pedigree))
