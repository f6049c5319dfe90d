"""What a design can say about each covariance matrix: counts against NumPy, warnings word by word."""

import sys

import numpy as np
import pandas as pd
import pytest
from oracles import dense_relationship
from traces import incomplete, make_design, records

from bayesmv.checks.identifiability import identifiability
from bayesmv.io.files import load_design

RIL = (
    "Block: 2 levels give 1 degree of freedom for a 3 × 3 matrix: rank ≤ 1; expect a boundary REML estimate; "
    "the posterior of its correlations will be mostly prior"
)


def by_term(design):
    return {i.term: i for i in identifiability(design)}


def test_identifiability__ril_as_promised():
    got = by_term(load_design("models/ril_us.toml"))
    assert list(got) == ["Block", "line", "Residual"]
    assert got["Block"].warnings == (RIL,)
    assert (got["line"].warnings, got["Residual"].warnings) == ((), ())
    assert (got["Block"].levels, got["Block"].freedom, got["Block"].rank, got["Block"].size) == (2, 1, 1, 3)
    assert (got["line"].levels, got["line"].freedom, got["line"].rank) == (159, 158, 3)
    assert got["Residual"].levels == 318


def test_identifiability__canty_says_nothing():
    assert [i.warnings for i in identifiability(load_design("models/canty_us.toml"))] == [(), (), ()]


def test_identifiability__freedom_is_the_rank_left_by_fixed_effects():
    """Families nested in blocks that are fixed: 4 blocks × 3 families leave 8 degrees of freedom."""
    data = records(blocks=4, families=3, plants=2)
    data["plot"] = data["block"] + data["family"]
    got = by_term(make_design("us(trait):plot", data, fixed="block"))["plot"]
    assert (got.levels, got.freedom, got.exact, got.rank) == (12, 8, True, 2)
    X = pd.get_dummies(data["block"]).to_numpy(float)
    Z = pd.get_dummies(data["plot"]).to_numpy(float)
    M = np.eye(len(X)) - X @ np.linalg.pinv(X)
    assert got.freedom == np.linalg.matrix_rank(M @ Z)


def test_identifiability__term_confounded_with_fixed_effects_has_no_freedom():
    got = by_term(make_design("us(trait):block + us(trait):family", fixed="block"))["block"]
    assert (got.freedom, got.rank) == (0, 0)
    assert got.warnings == ("block: confounded with the fixed effects: nothing is left to estimate it from",)


def test_identifiability__few_degrees_of_freedom():
    got = by_term(make_design())
    assert got["block"].warnings == (
        "block: 3 degrees of freedom for 2 × 2: expect wide intervals, and a prior that shows",
    )
    assert got["family"].warnings == (
        "family: 7 degrees of freedom for 2 × 2: expect wide intervals, and a prior that shows",
    )
    assert by_term(make_design("us(trait):block", records(blocks=11)))["block"].warnings == ()


def test_identifiability__diagonal_matrices_are_not_said_to_be_singular():
    """Two blocks give two variances one degree of freedom each: a wide interval, no boundary."""
    got = by_term(make_design("diag(trait):block", records(t=3, blocks=2)))["block"]
    assert got.warnings == ("block: 1 degree of freedom for 3 × 3: expect wide intervals, and a prior that shows",)
    assert not got.free_covariances


def test_identifiability__links_count_levels_and_units_with_both_traits():
    data = incomplete(records(blocks=3, families=5, plants=1), 0.5)
    got = by_term(make_design(data=data))
    seen = data[["y1", "y2"]].notna()
    per_family = seen.groupby(data["family"]).any().to_numpy(int)
    np.testing.assert_array_equal(got["family"].links, per_family.T @ per_family)
    np.testing.assert_array_equal(got["Residual"].links, seen.to_numpy(int).T @ seen.to_numpy(int))


def test_identifiability__traits_that_no_unit_links():
    data = records(blocks=4, families=12)
    first = np.arange(len(data)) % 2 == 0
    data["y1"], data["y2"] = data["y1"].where(first), data["y2"].where(~first)
    got = by_term(make_design("us(trait):family", data))
    assert got["Residual"].warnings == (
        "Residual: no unit links 'y1' and 'y2': their covariance rests on the prior alone; "
        "use residual = diag(trait):units",
    )
    assert got["family"].warnings == ()
    assert by_term(make_design("us(trait):family", data, residual="diag(trait):units"))["Residual"].warnings == ()


def test_identifiability__traits_that_no_level_links():
    data = records(blocks=4, families=24)
    first = data["family"].isin(data["family"].unique()[:12])
    data["y1"], data["y2"] = data["y1"].where(first), data["y2"].where(~first)
    assert (
        "family: no level links 'y1' and 'y2': their covariance rests on the prior alone"
        in by_term(make_design("us(trait):family", data))["family"].warnings
    )


def test_identifiability__term_of_one_trait_counts_its_own_records():
    data = records(blocks=6, families=3)
    data.loc[data["block"].isin(["L4", "L5"]), "y2"] = np.nan
    got = by_term(make_design("at(trait, y2):block + us(trait):family", data))["block_y2"]
    assert (got.size, got.effects, got.levels, got.freedom) == (1, ("y2",), 4, 3)


def test_identifiability__levels_without_records_do_not_count():
    """A pedigree brings ancestors; they are no replication."""
    data = records()
    ids = [f"L{i}" for i in range(8)] + ["dam", "sire"]
    design = make_design("us(trait):vm(family, A)", data, A=dense_relationship(ids, np.eye(10)))
    assert len(design.terms[0].levels) == 10
    got = by_term(design)["family"]
    assert (got.levels, got.freedom) == (8, 7)


def test_identifiability__many_levels_get_a_bound(monkeypatch):
    # The package's attribute of that name is the function.
    monkeypatch.setattr(sys.modules["bayesmv.checks.identifiability"], "_LARGEST", 5)
    got = by_term(make_design())["family"]
    assert (got.exact, got.freedom) == (False, 7)


@pytest.mark.parametrize("term", ["block", "family", "Residual"])
def test_identifiability__one_trait(term):
    got = by_term(make_design(data=records(t=1, blocks=11, families=12)))[term]
    assert got.warnings == ()
    assert got.links.shape == (1, 1)


def test_identifiability__traits_that_no_unit_links_in_one_group():
    data = records(blocks=4, families=12)
    data["site"] = np.where(np.arange(len(data)) % 4 < 2, "A", "B")
    lost = (data["site"] == "B") & (np.arange(len(data)) % 2 == 0)
    data["y1"], data["y2"] = data["y1"].mask(lost), data["y2"].mask((data["site"] == "B") & ~lost)
    got = by_term(make_design("us(trait):family", data, residual="at(site):us(trait):units"))
    assert any("no unit links 'y1' and 'y2'" in warning for warning in got["Residual"].warnings)
    assert by_term(make_design("us(trait):family", data))["Residual"].warnings == ()
