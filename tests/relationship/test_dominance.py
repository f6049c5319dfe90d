"""Dominance of many animals through their families: the dense matrix, as sparse as the families are linked."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.errors import DataError
from bayesmv.relationship import relationship as module
from bayesmv.relationship.dominance import dominance_families, joint_precision


def bred(sires, dams, offspring, generations, seed=1, unknown=0.0):
    """Pedigree of generations of selected parents, some of them unknown."""
    rng = np.random.default_rng(seed)
    rows = [(i, 0, 0) for i in range(1, sires + dams + 1)]
    fathers, mothers = list(range(1, sires + 1)), list(range(sires + 1, sires + dams + 1))
    for _ in range(generations):
        new = []
        for mother in mothers:
            father = int(rng.choice(fathers))
            for _ in range(offspring):
                new.append(len(rows) + 1)
                rows.append((new[-1], 0 if rng.random() < unknown else father, mother))
        chosen = [int(animal) for animal in rng.permutation(new)]
        fathers, mothers = chosen[:sires], chosen[sires : sires + dams]
    return bmv.Pedigree.from_frame(pd.DataFrame(rows, columns=["id", "sire", "dam"]))


@pytest.mark.parametrize(
    "shape", [(3, 9, 3, 2), (5, 10, 2, 3), (2, 2, 4, 4), (4, 12, 3, 3)], ids=["half sibs", "deep", "inbred", "wide"]
)
@pytest.mark.parametrize("unknown", [0.0, 0.2])
def test_joint__covariance_is_that_of_henderson(shape, unknown):
    pedigree = bred(*shape, unknown=unknown)
    families = dominance_families(pedigree)
    joint = joint_precision(pedigree, families)
    D, n = pedigree.dominance().to_numpy(), len(pedigree)
    whole = np.linalg.inv(joint.precision.toarray())
    np.testing.assert_allclose(whole[:n, :n], D, atol=1e-10)
    np.testing.assert_allclose(whole.diagonal(), joint.diagonal, atol=1e-10)
    assert joint.log_determinant == pytest.approx(np.linalg.slogdet(whole)[1], abs=1e-8)


def test_families__their_covariance_is_that_of_two_sibs():
    pedigree = bred(3, 9, 3, 2)
    D, families = pedigree.dominance().to_numpy(), dominance_families(pedigree)
    F = families.F.toarray()
    i, j = np.nonzero((families.of[:, None] >= 0) & (families.of[None, :] >= 0) & ~np.eye(len(pedigree), dtype=bool))
    np.testing.assert_allclose(F[families.of[i], families.of[j]], D[i, j], atol=1e-12)


def test_dominance__many_animals_have_the_likelihood_of_the_dense_matrix(monkeypatch):
    pedigree = bred(4, 12, 3, 2)
    rng = np.random.default_rng(3)
    ids = pedigree.ids[16:]
    data = pd.DataFrame({"id": np.repeat(ids, 2), "y": rng.normal(size=2 * len(ids))})
    data["y"] += np.repeat(rng.normal(size=len(ids)), 2)
    spec = bmv.ModelSpec.from_formula("y ~ 1", random="vm(id, A) + vm(id, D)")
    A = bmv.Relationship.from_pedigree(pedigree)
    covariances = {"id.A": [[0.6]], "id.D": [[0.5]], "Residual": [[0.9]]}
    fits = {}
    for limit in (10_000, 20):
        monkeypatch.setattr(module, "DENSE_LIMIT", limit)
        D = bmv.Relationship.dominance(pedigree)
        design = bmv.build_design(spec, data, {"A": A, "D": D})
        fits[limit] = bmv.blup(design, {name: np.array(S) for name, S in covariances.items()})
    dense, joint = fits.values()
    assert joint.loglik == pytest.approx(dense.loglik, abs=1e-8)
    left, right = (fit.effects("id.D").astype({"level": str}).set_index("level")["blup"] for fit in (dense, joint))
    np.testing.assert_allclose(right[left.index], left, atol=1e-8)
    assert "levels are 88 animals and the 24 families of full sibs that they are of" in D.notes


def test_cutoff__leaves_out_small_covariances_and_says_so(monkeypatch):
    pedigree = bred(4, 12, 3, 3)
    whole, cut = dominance_families(pedigree), dominance_families(pedigree, cutoff=0.02)
    F, kept = whole.F.toarray(), cut.F.toarray()
    np.testing.assert_allclose(kept, np.where((np.abs(F) > 0.02) | np.eye(len(F), dtype=bool), F, 0.0), atol=1e-12)
    gone = F[(kept == 0.0) & (F > 1e-12)]
    assert cut.dropped == (len(gone) // 2, pytest.approx(gone.max()))
    monkeypatch.setattr(module, "DENSE_LIMIT", 20)
    notes = bmv.Relationship.dominance(pedigree, cutoff=0.02).notes
    assert any(f"{len(gone) // 2} covariances of families up to {gone.max():.3g} left out" in note for note in notes)


def test_dominance__raises_where_too_much_is_related(monkeypatch):
    pedigree = bred(4, 12, 3, 3)
    monkeypatch.setattr("bayesmv.relationship.dominance.DENSE_LIMIT", 10)
    with pytest.raises(
        DataError, match=r"\d+ families are linked with each other by dominance, and no more than 10 are"
    ):
        joint_precision(pedigree, dominance_families(pedigree))
    monkeypatch.setattr("bayesmv.relationship.dominance._MOST", 30)
    with pytest.raises(
        DataError, match=r"more than 30 pairs of the \d+ parents are related: leave .* as in cutoff=0.01"
    ):
        dominance_families(pedigree)


def test_dominance__of_inbred_lines_has_nothing_of_its_own():
    # F1 of two lines selfed for long: full sibs are alike in dominance.
    rows = [(1, 0, 0), (2, 0, 0)]
    for line in (1, 2):
        parent = line
        for _ in range(60):
            rows.append((len(rows) + 1, parent, parent))
            parent = len(rows)
        rows.append((f"P{line}", parent, parent))
    rows += [("x", "P1", "P2"), ("y", "P1", "P2")]
    pedigree = bmv.Pedigree.from_frame(pd.DataFrame(rows, columns=["id", "sire", "dam"]).astype(str))
    joint = joint_precision(pedigree, dominance_families(pedigree))
    assert "animals of parents so inbred that full sibs do not differ in dominance" in " ".join(joint.notes)
