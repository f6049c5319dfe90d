"""Levels of products, overlays, pairs, conditions and trends, and what the records bear on them."""

import numpy as np
import pandas as pd
import pytest
from oracles import dense_relationship, random_kin

import bayesmv as bmv
from bayesmv.design.random import row_products
from bayesmv.errors import DataError, SpecError
from bayesmv.reml import blup


def design(random, data, fixed="1", **relationships):
    spec = bmv.ModelSpec.from_formula(f"y ~ {fixed}", random=random)
    return bmv.build_design(spec, data, relationships)


def trial(**columns):
    data = {
        "y": [1.0, 2.5, 3.0, 4.0, 5.5, 6.0, 4.2, 2.0],
        "site": list("AAAABBBB"),
        "Block": ["B1", "B1", "B2", "B2", "B1", "B1", "B2", "B2"],
        "Family": ["F1", "F2", "F1", "F2", "F1", "F3", "F1", "F3"],
        "day": [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0],
    }
    return pd.DataFrame(data | columns)


def test_row_products__are_kronecker_products_of_rows():
    rng = np.random.default_rng(1)
    A, B = (rng.normal(size=(6, q)) * (rng.random((6, q)) < 0.5) for q in (3, 4))
    from scipy import sparse

    found = row_products(sparse.csr_array(A), sparse.csr_array(B)).toarray()
    np.testing.assert_array_equal(found, np.array([np.kron(a, b) for a, b in zip(A, B, strict=True)]))


def test_product__levels_are_the_combinations_with_records():
    (term,) = design("Block:Family", trial()).terms
    assert list(term.levels) == ["B1:F1", "B1:F2", "B1:F3", "B2:F1", "B2:F2", "B2:F3"]
    (term,) = design("site:Family", trial()).terms
    assert list(term.levels) == ["A:F1", "A:F2", "B:F1", "B:F3"]
    assert term.incidences[0].toarray().tolist()[5] == [0.0, 0.0, 0.0, 1.0]


def test_product__of_numbers_is_in_their_order():
    (term,) = design("Block:Family", trial(Block=[10, 10, 9, 9, 10, 10, 9, 9])).terms
    assert list(term.levels)[:3] == ["9:F1", "9:F2", "9:F3"]


def test_product__equals_a_column_of_the_combinations():
    data = trial()
    by_hand = data.assign(plot=data["Block"] + ":" + data["Family"])
    one, other = (bmv.fit_reml(design(random, by_hand)).loglik for random in ("Block:Family", "plot"))
    assert one == pytest.approx(other, abs=1e-9)


def test_product__raises_on_labels_that_are_not_told_apart():
    data = trial(Block=["a:b", "a"] * 4, Family=["c", "b:c"] * 4)
    with pytest.raises(DataError, match=r"two combinations of levels would be called 'a:b:c'; take the ':' out of the"):
        design("Block:Family", data)


def test_product__raises_on_a_single_combination():
    with pytest.raises(DataError, match=r"the random term 'one:two' has a single level, 'a:b'"):
        design("one:two", trial(one="a", two="b"))


def test_kronecker__covers_all_combinations_and_is_the_product_of_the_inverses():
    rng = np.random.default_rng(2)
    G, W = random_kin(3, rng), np.array([[1.0, 0.4], [0.4, 2.0]])
    kin = {"G": dense_relationship(["F1", "F2", "F3"], G), "W": dense_relationship(["A", "B"], W)}
    (term,) = design("vm(Family, G):vm(site, W)", trial(), **kin).terms
    assert list(term.levels) == ["F1:A", "F1:B", "F2:A", "F2:B", "F3:A", "F3:B"]
    related = term.relationship
    np.testing.assert_allclose(np.linalg.inv(related.precision.toarray()), np.kron(G, W), rtol=1e-10)
    assert related.log_determinant == pytest.approx(np.linalg.slogdet(np.kron(G, W))[1], abs=1e-10)
    np.testing.assert_allclose(related.diagonal, np.diag(np.kron(G, W)), rtol=1e-12)


def test_kronecker__with_unrelated_levels():
    kin = dense_relationship(["F1", "F2", "F3"], random_kin(3, np.random.default_rng(3)))
    data = trial()
    products = design("vm(Family, G):site", data, G=kin)
    environments = design("idv(site):vm(Family, G)", data, G=kin)
    assert bmv.fit_reml(products).loglik == pytest.approx(bmv.fit_reml(environments).loglik, abs=1e-8)


def test_kronecker__raises_where_it_would_be_too_large(monkeypatch):
    monkeypatch.setattr("bayesmv.relationship.relationship.MOST_NUMBERS", 8)
    kin = dense_relationship(["F1", "F2", "F3"], random_kin(3, np.random.default_rng(3)))
    with pytest.raises(DataError, match=r"relationships of 3 and 2 levels has 10 numbers, more than 8; leave out"):
        design("vm(Family, G):site", trial(), G=kin)


# ---------------------------------------------------------------- conditions


def test_condition__leaves_out_the_levels_of_other_records():
    (term,) = design("at(site, A):Family", trial()).terms
    assert list(term.levels) == ["F1", "F2"]
    np.testing.assert_array_equal(term.incidences[0].toarray().sum(axis=1), [1, 1, 1, 1, 0, 0, 0, 0])


def test_condition__one_term_at_each_level():
    built = design("at(site):Family", trial(site=[10] * 4 + [9] * 4))
    assert built.names == ("Family.9", "Family.10", "Residual")
    assert [list(term.levels) for term in built.terms] == [["F1", "F3"], ["F1", "F2"]]
    assert str(built.spec.random[0]) == "at(site, 9):idv(trait):Family"


def test_condition__equals_heterogeneous_variances_of_a_nested_factor():
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"site": np.repeat(["A", "B"], 30), "Block": np.tile(np.repeat(list("abcdef"), 5), 2)})
    data["y"] = rng.normal(size=60) + np.repeat(rng.normal(size=12) * np.repeat([1.0, 3.0], 6), 5)
    each, diagonal = (bmv.fit_reml(design(random, data)) for random in ("at(site):Block", "diag(site):Block"))
    assert each.loglik == pytest.approx(diagonal.loglik, abs=1e-6)
    variances = [each.varcomp.set_index("term").loc[name, "component"] for name in ("Block.A", "Block.B")]
    of_block = diagonal.varcomp.query("term == 'Block' and trait_i == trait_j")["component"]
    np.testing.assert_allclose(variances, of_block, rtol=1e-4)


def test_condition__adds_its_share_to_the_phenotypic_variance():
    (term,) = design("at(site, A):Family", trial(site=list("AABBBBBB"))).terms
    assert term.layout.contribution(np.array([[4.0]]), 1) == pytest.approx(4.0 * 2 / 8)


def test_condition__raises():
    with pytest.raises(DataError, match=r"'at\(site, C\)': no level 'C' of 'site'; levels: 'A', 'B'"):
        design("at(site, C):Family", trial())
    with pytest.raises(DataError, match=r"the random factor 'site' is missing in 1 rows"):
        design("at(site, A):Family", trial(site=["A", None, *"ABBBBB"]))
    with pytest.raises(SpecError, match=r"the partner or covariate 'place' is not a column of the data"):
        design("at(place, A):Family", trial())


# ---------------------------------------------------------------- parents in either role


def crosses():
    return pd.DataFrame(
        {
            "y": [3.0, 2.0, 4.5, 6.0, 5.0, 1.0],
            "sire": ["P1", "P2", "P1", "P3", "P2", None],
            "dam": ["P2", "P1", "P3", "P3", "P3", "P1"],
        }
    )


def test_overlay__one_effect_in_either_role():
    built = design("overlay(sire, dam)", crosses())
    (term,) = built.terms
    assert list(term.levels) == ["P1", "P2", "P3"]
    expected = [[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 2], [0, 1, 1], [1, 0, 0]]
    np.testing.assert_array_equal(term.incidences[0].toarray(), expected)
    assert "1 records have no 'sire': they get no effect of it (a row of zeros)" in built.notes


def test_overlay__contribution_counts_related_parents():
    K = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    data = crosses().iloc[:3]
    (term,) = design("vm(overlay(sire, dam), A)", data, A=dense_relationship(["P1", "P2", "P3"], K)).terms
    Z = term.incidences[0].toarray()
    assert term.layout.contribution(np.array([[1.0]]), 1) == pytest.approx(np.mean(np.diag(Z @ K @ Z.T)))


def test_pair__has_no_order():
    built = design("pair(sire, dam)", crosses())
    (term,) = built.terms
    assert list(term.levels) == ["P1:P2", "P1:P3", "P2:P3", "P3:P3"]
    np.testing.assert_array_equal(term.incidences[0].toarray().argmax(axis=1)[:5], [0, 0, 1, 3, 2])
    assert any(note.startswith("1 records lack a parent in 'sire' or 'dam'") for note in built.notes)


def test_pair__with_a_relationship_of_pairs():
    labels = ["P1:P2", "P1:P3", "P2:P3", "P3:P3"]
    K = random_kin(4, np.random.default_rng(4))
    (term,) = design("vm(pair(sire, dam), D)", crosses(), D=dense_relationship(labels, K)).terms
    assert list(term.levels) == labels
    with pytest.raises(DataError, match=r"1 levels of 'sire:dam' are not in its relationship: 'P3:P3'"):
        design("vm(pair(sire, dam), D)", crosses(), D=dense_relationship(labels[:3], K[:3, :3]))


def test_predictive_density__raises_where_units_bear_on_several_levels():
    from bayesmv.comparison.predictive import block_labels

    with pytest.raises(SpecError, match=r"units bear on several levels of 'sire\+dam' each; give `by` labels"):
        block_labels(design("overlay(sire, dam)", crosses()), "sire+dam")


# ---------------------------------------------------------------- trends


def test_trend__is_the_penalised_spline_of_eilers_and_marx():
    # The BLUP at λ = σ²_e / σ²_z minimises |y - Bb|² + λ |Db|².
    rng = np.random.default_rng(6)
    x = np.sort(rng.uniform(0.0, 10.0, 60))
    data = pd.DataFrame({"y": np.sin(x) + 0.2 * rng.normal(size=60), "x": x})
    built = design("ps(x, 15)", data, "x")
    fit = blup(built, {"ps(x)": np.array([[0.7]]), "Residual": np.array([[0.3]])})
    (term,) = built.terms
    fitted = (
        built.fixed.X @ fit.fixed["estimate"].to_numpy() + term.incidences[0] @ fit.effects("ps(x)")["blup"].to_numpy()
    )
    from scipy.interpolate import BSpline

    step = (x.max() - x.min()) / 12
    B = BSpline.design_matrix(x, x.min() + step * np.arange(-3, 16), 3, extrapolate=True).toarray()
    D = np.diff(np.eye(15), n=2, axis=0)
    raw = B @ np.linalg.pinv(D)
    size = np.mean((raw**2).sum(axis=1) / (term.incidences[0].toarray() ** 2).sum(axis=1))  # σ² in units of an average
    b = np.linalg.solve(B.T @ B + 0.3 / 0.7 * size * D.T @ D, B.T @ data["y"])
    np.testing.assert_allclose(fitted, B @ b, atol=1e-8)


def test_trend__asks_for_its_straight_line():
    straight = "a smooth trend is what the straight line leaves; add day to the fixed effects"
    assert any(straight in note for note in design("ps(day, 6)", trial()).notes)
    assert not any(straight in note for note in design("ps(day, 6)", trial(), "day").notes)


def test_trend__of_every_animal():
    (term,) = design("ps(day, 6):Family", trial(), "day").terms
    assert list(term.levels)[:4] == ["day_ps1:F1", "day_ps1:F2", "day_ps1:F3", "day_ps2:F1"]


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ([1.0] * 8, r"the covariate 'day' is 1 in all records; ps\(day, 6\) needs it to vary"),
        (list("abcdefgh"), r"the covariate 'day' is not numeric; ps\(day, 6\) needs numbers"),
        ([1.0, np.nan, *range(6)], r"the covariate 'day' is missing or not finite in 1 rows"),
    ],
)
def test_trend__raises(days, message):
    with pytest.raises(DataError, match=message):
        design("ps(day, 6)", trial(day=days))
