"""From data to arrays: every check of the design and of its fixed effects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import dense_relationship, random_kin
from scipy import sparse

from bayesmv.design.design import Design, build_design
from bayesmv.errors import DataError, SpecError
from bayesmv.model.spec import ModelSpec
from bayesmv.numerics.dependence import independent_columns
from bayesmv.relationship.relationship import Relationship

N = 24


def frame(seed=0, n=N):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "y1": rng.normal(10, 2, n),
            "y2": rng.normal(0.5, 0.01, n),
            "block": rng.permutation(np.arange(n) % 4),
            "family": rng.permutation(np.array(["f1", "f2", "f10"])[np.arange(n) % 3]),
            "sex": np.array(["f", "m"])[np.arange(n) % 2],
            "x": rng.normal(100, 5, n),
        }
    )


def build(formula="y1 + y2 ~ 1", random="us(trait):block", data=None, relationships=None, unit=None, **words) -> Design:
    spec = ModelSpec.from_formula(formula, random=random, unit=unit, **words)
    return build_design(spec, frame() if data is None else data, relationships)


def missing(*cells, **values):
    """The frame with (row, column) emptied, and columns replaced."""
    data = frame().assign(**values)
    for row, column in cells:
        data.loc[row, column] = np.nan
    return data


# ---------------------------------------------------------------- what it holds


def test_build_design__arrays():
    data = missing((3, "y2"))
    design = build("y1 + y2 ~ sex + at(trait, y2):x", "us(trait):block + at(trait, y1):family", data)
    assert design.traits == ("y1", "y2")
    assert design.names == ("block", "family_y1", "Residual")
    assert [list(t.levels) for t in design.terms] == [[0, 1, 2, 3], ["f1", "f10", "f2"]]
    np.testing.assert_array_equal(design.response, data[["y1", "y2"]])
    assert (design.n_records, design.complete) == (2 * N - 1, False)
    assert not design.observed[3, 1]
    assert design.fixed.variables == ("Intercept", "sex[T.m]", "x")
    np.testing.assert_array_equal(design.fixed.present, [[True, True], [True, True], [False, True]])
    assert design.fixed.coefficients(design.traits) == [
        ("y1", "Intercept"),
        ("y2", "Intercept"),
        ("y1", "sex[T.m]"),
        ("y2", "sex[T.m]"),
        ("y2", "x"),
    ]
    for term, column in zip(design.terms, ("block", "family"), strict=True):
        Z = term.incidences[0].toarray()
        np.testing.assert_array_equal(Z, data[column].to_numpy()[:, None] == np.asarray(term.levels)[None, :])
    assert (design.effects_of("family_y1"), design.effects_of("Residual")) == (("y1",), ("y1", "y2"))
    assert design.terms[1].trait_of.tolist() == [0]
    assert design.notes == ()


def test_build_design__ols_is_least_squares_trait_by_trait():
    data = missing((3, "y2"), (7, "y1"))
    design = build("y1 + y2 ~ sex + x", data=data)
    for j, trait in enumerate(("y1", "y2")):
        seen = data[trait].notna().to_numpy()
        X = np.column_stack([np.ones(N), data["sex"] == "m", data["x"]]).astype(float)[seen]
        y = data[trait].to_numpy()[seen]
        b, (rss,), *_ = np.linalg.lstsq(X, y, rcond=None)
        np.testing.assert_allclose(design.fixed.ols[:, j], b, rtol=1e-7)
        assert design.scale[j] == pytest.approx(np.sqrt(rss / (seen.sum() - 3)), rel=1e-9)
        residual = np.zeros(N)
        residual[seen] = (y - X @ b) / design.scale[j]
        np.testing.assert_allclose(design.working_response[:, j], residual, atol=1e-7)


def test_build_design__log_jacobian():
    design = build("y1 + y2 ~ 1 + at(trait, y1):x", data=missing((0, "y2")))
    exact = -(N - 2) * np.log(design.scale[0]) - (N - 1 - 1) * np.log(design.scale[1])
    assert design.log_jacobian == pytest.approx(exact, rel=1e-12)


def test_build_design__does_not_modify_the_data():
    data = missing((3, "y2"), (3, "y1"))
    copy = data.copy()
    build(data=data)
    pd.testing.assert_frame_equal(data, copy)


def test_build_design__relationship_by_factor_by_name_or_none():
    K = random_kin(5, np.random.default_rng(0))
    A = dense_relationship(range(5), K)
    given_ = {"block": A, "A": A}
    assert build(random="us(trait):vm(block, A)", relationships={"A": A}).terms[0].relationship is A
    assert build(relationships=given_).terms[0].relationship is A
    assert build(random="us(trait):ide(block)", relationships=given_).terms[0].relationship is None
    term = build(relationships=given_).terms[0]
    assert list(term.levels) == list(range(5))
    np.testing.assert_allclose(term.level_variance, np.diag(K))
    np.testing.assert_array_equal(term.incidences[0].toarray()[:, 4], 0.0)
    np.testing.assert_array_equal(build().terms[0].level_variance, np.ones(4))


def test_build_design__unit_column():
    data = frame().assign(tree=[f"t{i}" for i in range(N)])
    assert list(build(data=data, unit="tree").units) == list(data["tree"])
    assert list(build(data=data).units) == list(range(N))


def test_term__raises_on_unknown_name():
    with pytest.raises(SpecError, match=r"no random term 'family'; random terms: 'block'"):
        build().term("family")


# ---------------------------------------------------------------- what must change nothing


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_build_design__permutation_of_rows(seed):
    data = missing((3, "y2"), (5, "y1"))
    order = np.random.default_rng(seed).permutation(N)
    one, two = (build("y1 + y2 ~ sex + x", "us(trait):block + us(trait):family", d) for d in (data, data.iloc[order]))
    np.testing.assert_array_equal(two.units, one.units[order])
    np.testing.assert_array_equal(two.response, one.response[order])
    np.testing.assert_allclose(two.scale, one.scale, rtol=1e-10)
    np.testing.assert_allclose(two.working_response, one.working_response[order], atol=1e-9)
    for a, b in zip(one.terms, two.terms, strict=True):
        assert list(a.levels) == list(b.levels)
        np.testing.assert_array_equal(b.incidences[0].toarray(), a.incidences[0].toarray()[order])


@settings(max_examples=20)
@given(st.floats(1e-6, 1e6), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_build_design__units_of_traits(a, b, shift):
    data = frame()
    one = build("y1 + y2 ~ sex", data=data)
    two = build("y1 + y2 ~ sex", data=data.assign(y1=a * data["y1"], y2=b * (data["y2"] + shift)))
    np.testing.assert_allclose(two.scale, one.scale * [a, b], rtol=1e-8)
    np.testing.assert_allclose(two.working_response, one.working_response, atol=1e-7)


def test_build_design__relabelled_levels_have_the_same_groups():
    data = frame()
    other = build(data=data.assign(block=data["block"].map({0: "d", 1: "c", 2: "b", 3: "a"})))
    np.testing.assert_array_equal(
        other.terms[0].incidences[0].toarray()[:, ::-1], build().terms[0].incidences[0].toarray()
    )


@pytest.mark.parametrize(
    ("random", "residual", "tied"),
    [
        ("us(trait):block", "us(trait):units", []),
        ("idv(trait):block", "us(trait):units", [(0, 1, 2)]),
        ("at(trait, y1, y3):idv(trait):block", "us(trait):units", [(0, 2)]),
        ("at(trait, y1, y2):idv(trait):block + at(trait, y2, y3):idv(trait):family", "us(trait):units", [(0, 1, 2)]),
        ("us(trait):block", "idv(trait):units", [(0, 1, 2)]),
        ("at(trait, y2):block", "us(trait):units", []),
    ],
)
def test_build_design__tied_variances_share_a_unit(random, residual, tied):
    data = frame().assign(y3=np.random.default_rng(8).normal(0, 50, N))
    free = build("y1 + y2 + y3 ~ 1", "us(trait):block", data).scale
    expected = free.copy()
    for group in tied:
        expected[list(group)] = np.exp(np.mean(np.log(free[list(group)])))
    np.testing.assert_allclose(build("y1 + y2 + y3 ~ 1", random, data, residual=residual).scale, expected, rtol=1e-12)


def test_effect_scale__of_subsets():
    design = build("y1 + y2 ~ 1", "at(trait, y2):block")
    np.testing.assert_array_equal(design.effect_scale("block_y2"), design.scale[[1]])
    np.testing.assert_array_equal(design.effect_scale("Residual"), design.scale)


# ---------------------------------------------------------------- notes


def test_notes__units_without_records():
    design = build(data=missing((4, "y1"), (4, "y2"), (9, "y1"), (9, "y2")))
    assert design.notes == ("2 units without a record of any trait were left out: 4, 9",)
    assert len(design.units) == N - 2
    assert 4 not in design.units


def test_notes__left_out_units_may_lack_anything():
    data = missing((4, "y1"), (4, "y2"), (4, "x"), (4, "block"))
    assert build("y1 + y2 ~ x", data=data).n_records == 2 * (N - 1)


def test_notes__empty_categories():
    data = frame().assign(block=lambda d: pd.Categorical(d["block"].astype(str), categories=list("012345")))
    assert build(data=data).notes == ("2 levels of 'block' without records were left out: '4', '5'",)


def test_notes__confounded_levels_are_set_to_zero():
    data = frame().assign(group=lambda d: np.where(d["sex"] == "m", "p", "q"))
    design = build("y1 + y2 ~ sex + group", data=data)
    assert len(design.notes) == 2
    assert design.notes[0] == "1 fixed effects of 'y1' are confounded with others and set to zero: 'group[T.q]'"
    assert design.fixed.present.sum(axis=0).tolist() == [2, 2]


def test_notes__level_without_records_of_one_trait():
    data = frame()
    data.loc[data["sex"] == "m", "y2"] = np.nan
    design = build("y1 + y2 ~ sex", data=data)
    assert design.notes == ("1 fixed effects of 'y2' are confounded with others and set to zero: 'sex[T.m]'",)
    np.testing.assert_array_equal(design.fixed.present, [[True, True], [True, False]])


# ---------------------------------------------------------------- errors of the columns


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": {"y1": [1.0]}}, DataError, r"data must be a pandas DataFrame, not dict"),
        ({"data": pd.concat([frame(), frame()[["x"]]], axis=1)}, DataError, r"the data have two columns called 'x'"),
        (
            {"formula": "y1 + y9 ~ 1"},
            SpecError,
            r"the trait 'y9' is not a column of the data; columns: 'y1', 'y2', 'block'",
        ),
        ({"random": "us(trait):herd"}, SpecError, r"the random factor 'herd' is not a column of the data"),
        ({"unit": "tree"}, SpecError, r"the unit 'tree' is not a column of the data"),
        ({"data": frame().iloc[:0]}, DataError, r"the data have no rows"),
        ({"data": frame().set_index("sex")}, DataError, r"the index of the data names 'f', 'm' more than once"),
        ({"unit": "family"}, DataError, r"the unit column 'family' names .* more than once; each row must be a unit"),
        (
            {"data": frame().assign(tree=[np.nan, *range(1, N)]), "unit": "tree"},
            DataError,
            r"the unit column 'tree' has missing values in rows 1",
        ),
        (
            {"data": frame().assign(y1=["7.5", "tall", *["8"] * (N - 2)])},
            DataError,
            r"the trait 'y1' is not numeric: 'tall' in 1 rows; leave a record that is missing empty",
        ),
        ({"data": missing(y1=[np.inf, *range(1, N)])}, DataError, r"the trait 'y1' is infinite in rows 0"),
        ({"data": missing(y2=np.nan)}, DataError, r"the trait 'y2' was not recorded on any unit"),
        ({"data": missing(y2=4.0)}, DataError, r"the trait 'y2' is constant \(4 on all 24 units\); it has no variance"),
        (
            {"data": missing((2, "block"), (3, "block"))},
            DataError,
            r"the random factor 'block' is missing in 2 rows: 2, 3; give these units a level",
        ),
        (
            {"data": missing(block="only")},
            DataError,
            r"the random factor 'block' has a single level, 'only': its variance",
        ),
        (
            {"random": "us(trait):vm(block, A)"},
            SpecError,
            r"the term 'us\(trait\):vm\(block, A\)' names the relationship 'A', which was not given; relat",
        ),
    ],
)
def test_build_design__raises(arguments, error, message):
    with pytest.raises(error, match=message):
        build(**arguments)


def test_build_design__numbers_as_text_are_numbers():
    data = frame()
    np.testing.assert_allclose(build(data=data.assign(y1=data["y1"].astype(str))).response[:, 0], data["y1"])


def test_build_design__raises_on_levels_outside_the_relationship():
    A = dense_relationship(range(3), np.eye(3))  # blocks are 0 … 3
    with pytest.raises(DataError, match="3"):
        build(random="us(trait):vm(block, A)", relationships={"A": A})


def test_relationship__raises_on_an_asymmetric_precision():
    # An inverse from np.linalg.inv may have 1e-17 where its mirror has 0: the ordering then reads outside its arrays.
    precision = sparse.csc_array(np.array([[2.0, 1e-17], [0.0, 2.0]]))
    with pytest.raises(DataError, match="symmetric"):
        Relationship(ids=pd.Index(["a", "b"]), precision=precision, log_determinant=0.0, diagonal=np.ones(2))


# ---------------------------------------------------------------- errors of fixed effects


@pytest.mark.parametrize(
    ("formula", "data", "error", "message"),
    [
        (
            "y1 ~ 1 + age",
            None,
            SpecError,
            r"the fixed effects '1 \+ age' name 'age', which is not a column of the data",
        ),
        ("y1 ~ trait + trait:x", None, SpecError, "write 1 where ASReml has 'trait', and x for 'trait:x'"),
        ("y1 ~ at(trait, y1):age", None, SpecError, r"'at\(trait, y1\):age' name 'age', which is not a column"),
        (
            "y1 ~ 1 + * x",
            None,
            SpecError,
            r"the formula '1 \+ \* x' is not understood: '\*' at character 5; a formula has",
        ),
        (
            "y1 ~ 1 + nonsense(x)",
            None,
            SpecError,
            r"'1 \+ nonsense\(x\)' is not understood: the function 'nonsense' at character 5; .*functions C leg spl",
        ),
        ("y1 ~ x | sex", None, SpecError, r"the formula 'x \| sex' is not understood: '\|' at character 3"),
        ("y1 ~ 1 + np.linalg.inv(x)", None, SpecError, r"the function 'np.linalg.inv' at character 5"),
        ("y1 ~ x", missing((5, "x")), DataError, r"the fixed effect 'x' is missing in 1 rows: 5; fill the values in"),
        (
            "y1 ~ x",
            missing(x=[np.inf, *range(1, N)]),
            DataError,
            r"the fixed effect 'x' in 'x' has values that are not finite",
        ),
        (
            "y1 ~ x + z",
            frame().assign(z=lambda d: 2 * d["x"] - 7),
            DataError,
            r"the fixed effect 'z' is a linear combination of the others on the records of 'y1'; take it out",
        ),
        ("y1 ~ x", missing(x=3.0), DataError, r"the fixed effect 'x' is a linear combination of the others"),
    ],
)
def test_build_fixed__raises(formula, data, error, message):
    with pytest.raises(error, match=message):
        build(formula, "block", data)


def test_build_fixed__large_covariate_is_not_taken_for_collinear():
    data = frame().assign(year=lambda d: 2000.0 + d.index % 12)
    design = build("y1 ~ year", "block", data)
    assert design.fixed.present.all()
    slope = np.polyfit(data["year"] - 2005, data["y1"], 1)[0]
    assert design.fixed.ols[1, 0] == pytest.approx(slope, rel=1e-5)


def test_build_fixed__same_effect_twice_is_one_column():
    design = build("y1 + y2 ~ 1 + at(trait, y1):x + at(trait, y2):x")
    assert design.fixed.variables == ("Intercept", "x")
    assert design.fixed.present.all()


def test_build_fixed__restricted_factor_has_no_second_mean():
    design = build("y1 + y2 ~ 1 + at(trait, y1):sex")
    rank = design.fixed.present.sum(axis=0)
    assert rank.tolist() == [2, 1]


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_independent_columns__is_the_rank(independent, dependent, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, independent)) * 10.0 ** rng.uniform(-3, 3, independent)
    X = np.column_stack([X, X @ rng.normal(size=(independent, dependent)), np.zeros((30, 1))])
    keep = independent_columns(sparse.csc_array(X))
    np.testing.assert_array_equal(keep, [True] * independent + [False] * (dependent + 1))


# ---------------------------------------------------------------- errors of the size


def test_check_size__nothing_left_for_variances():
    data = missing(group=[f"g{i}" for i in range(N)])
    with pytest.raises(DataError, match=r"the trait 'y1' has 24 records for 24 fixed effects: nothing is left"):
        build("y1 ~ group", "block", data)


@pytest.mark.parametrize("random", ["us(trait):block", "idv(trait):block"])
def test_check_size__exact_fit(random):
    data = frame().assign(y2=lambda d: np.where(d["sex"] == "m", 3.0, 1.0))
    with pytest.raises(DataError, match=r"the fixed effects fit the trait 'y2' exactly; it has no variance left"):
        build("y1 + y2 ~ sex", random, data)


def test_check_size__fewer_records_than_parameters():
    data = frame().iloc[:4].assign(block=[0, 0, 1, 1])
    with pytest.raises(
        DataError, match=r"6 records after fixed effects are fewer than the 9 \(co\)variance parameters"
    ):
        build("y1 + y2 ~ 1", "us(trait):block + us(trait):family", data)


@pytest.mark.parametrize("factor", [2.0, -0.001])
def test_check_size__duplicated_traits(factor):
    data = frame().assign(y2=lambda d: factor * d["y1"] + 3)
    with pytest.raises(DataError, match=r"the trait 'y2' is a linear combination of 'y1' after fixed effects"):
        build(data=data)
