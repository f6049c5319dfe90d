"""Terms that the data cannot tell apart: against dense matrices, and one case of every kind."""

import numpy as np
import pandas as pd
import pytest
from oracles import dense_relationship, random_kin
from traces import incomplete, make_design, records

import bayesmv as bmv
from bayesmv.checks.confounding import confounding
from bayesmv.checks.identifiability import identifiability


def kin(q=8, K=None):
    return dense_relationship([f"L{i}" for i in range(q)], random_kin(q, np.random.default_rng(2)) if K is None else K)


def one_a_family(t=2):
    """One record of each of 32 levels."""
    data = records(t=t, blocks=4, families=8, plants=1)
    return data.assign(family=[f"L{i}" for i in range(len(data))])


CASES = {
    "a trial": (lambda: make_design(), {}),
    "incomplete": (lambda: make_design(data=incomplete(records())), {}),
    "the same grouping twice": (
        lambda: make_design("us(trait):family + us(trait):again", records().assign(again=lambda d: d["family"])),
        {"family": ("again",), "again": ("family",)},
    ),
    "one record a level": (
        lambda: make_design("us(trait):family", one_a_family()),
        {"family": ("Residual",), "Residual": ("family",)},
    ),
    "one record a level, relatives": (
        lambda: make_design("us(trait):family", one_a_family(), family=kin(32)),
        {},
    ),
    "K = I and one record": (
        lambda: make_design("us(trait):family", one_a_family(), family=kin(32, np.eye(32))),
        {"family": ("Residual",), "Residual": ("family",)},
    ),
    "K = 3I and repeated records": (lambda: make_design("us(trait):family", family=kin(8, 3.0 * np.eye(8))), {}),
    "K = I beside independent levels": (
        lambda: make_design("us(trait):vm(family, A) + us(trait):ide(family)", A=kin(8, np.eye(8))),
        {"family": ("family_ide",), "family_ide": ("family",)},
    ),
    "relatives beside independent levels": (
        lambda: make_design("us(trait):vm(family, A) + us(trait):ide(family)", A=kin()),
        {},
    ),
    "a relationship that is the mean and independence": (
        # Equal relations: K = I + J; J is the mean's, which is fixed.
        lambda: make_design("us(trait):family", one_a_family(), family=kin(32, np.eye(32) + 0.5)),
        {"family": ("Residual",), "Residual": ("family",)},
    ),
    "fixed and random": (lambda: make_design("us(trait):block + us(trait):family", fixed="block"), {}),
    "a trait of its own": (
        lambda: make_design("at(trait, y2):family", one_a_family()),
        {"family_y2": ("Residual",), "Residual": ("family_y2",)},
    ),
    "groups of residuals": (
        lambda: make_design(
            "us(trait):block",
            records().assign(g=lambda d: d["family"].isin(["L0", "L1"]).map({True: "a", False: "b"})),
            residual="at(g):us(trait):units",
        ),
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_confounding__by_name(name):
    make, expected = CASES[name]
    design = make()
    assert confounding(design) == {n: expected.get(n, ()) for n in design.names}


@pytest.mark.parametrize("name", CASES)
def test_confounding__is_the_rank_of_the_dense_matrices(name):
    """M V_k M of every term, stacked, are dependent where it says so, and only there."""
    design = CASES[name][0]()
    for t in range(len(design.traits)):
        rows = design.observed[:, t]
        X = design.fixed.X.toarray()[rows][:, design.fixed.present[:, t]]
        M = np.eye(rows.sum()) - X @ np.linalg.pinv(X)
        stack = []
        for term in design.terms:
            for load in term.load_of[term.trait_of == t]:
                Z = term.incidences[load].toarray()[rows]
                stack.append(M @ Z @ np.linalg.inv(term.precision.toarray()) @ Z.T @ M)
        group, weights = design.residual.group[rows], design.residual.weights[rows]
        stack += [M @ np.diag((group == g) / weights) @ M for g in np.unique(group)]
        stack = [V.reshape(-1) / np.linalg.norm(V) for V in stack if np.linalg.norm(V) > 1e-9]
        lost = np.linalg.svd(np.array(stack), compute_uv=False)[-1] < 1e-7
        told = {n for n, others in confounding(design).items() if others}
        mine = {term.name for term in design.terms if t in term.trait_of} | {"Residual"}
        assert bool(told and told <= mine) == lost


def test_identifiability__warns_of_founders_only():
    pedigree = pd.DataFrame({"id": [f"L{i}" for i in range(32)], "sire": None, "dam": None})
    A = bmv.Relationship.from_pedigree(pedigree)
    family, residual = identifiability(make_design("us(trait):vm(family, A)", one_a_family(), A=A))
    assert family.warnings[0] == (
        "family: no relatives or repeated records tell it from Residual: their variances are not identified, and what "
        "is made of them; add relatives to the pedigree, or take the term out"
    )
    assert not any("tell" in w for w in residual.warnings)


def test_confounding__and_reml_agree():
    for name in ("one record a level", "K = I and one record", "the same grouping twice", "a trial"):
        make, expected = CASES[name]
        table = bmv.fit_reml(make()).varcomp
        assert set(table.loc[table["constraint"] == "not identified", "term"]) == set(expected), name
