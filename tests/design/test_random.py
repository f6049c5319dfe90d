"""Terms with several members or covariates: incidences, labels, and the likelihood against naive dense equations."""

import numpy as np
import pandas as pd
import pytest
from cases import MODELS, StructuredDense, structured_case

import bayesmv as bmv
from bayesmv.design.random import TermDesign
from bayesmv.errors import DataError
from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.reml import blup

CASES = [(model, t) for model in MODELS for t in (1, 2)]


def dense_and_engine(model, t):
    case = structured_case(model, t)
    covariances = case.random_covariances(np.random.default_rng(3))
    return case, covariances, StructuredDense(case, covariances)


@pytest.mark.parametrize(("model", "t"), CASES)
def test_likelihood__value_and_gradient_of_dense_equations(model, t):
    case, covariances, dense = dense_and_engine(model, t)
    value, gradients = MixedModelLikelihood(case.design).value_and_gradient(case.scaled(covariances))
    assert value == pytest.approx(dense.loglik, abs=1e-8)
    for G, S, expected in zip(gradients, case.scales(), dense.gradient, strict=True):
        np.testing.assert_allclose(G / np.outer(S, S), expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize(("model", "t"), CASES)
def test_blup__effects_and_errors_of_dense_equations(model, t):
    case = structured_case(model, t)
    drawn = case.random_covariances(np.random.default_rng(3))
    covariances = [s.matrix(s.from_matrix(S)) for s, S in zip(case.design.blocks.structures, drawn, strict=True)]
    dense = StructuredDense(case, covariances)
    fit = blup(case.design, dict(zip(case.design.names, covariances, strict=True)))
    for k, term in enumerate(case.design.terms):
        table = fit.effects(term.name)
        np.testing.assert_allclose(table["blup"], dense.blup(k).reshape(-1), rtol=1e-6, atol=1e-9)
        variances = np.diagonal(dense.pev(k), axis1=1, axis2=2).reshape(-1)
        np.testing.assert_allclose(table["std_error"] ** 2, variances, rtol=1e-6)


def terms(random, data, **relationships) -> dict[str, TermDesign]:
    spec = bmv.ModelSpec.from_formula("y ~ 1", random=random)
    design = bmv.build_design(spec, data, relationships)
    return {term.name: term for term in design.terms} | {"notes": design.notes}


def pens(**columns):
    base = {"y": [1.0, 2.5, 3.0, 4.0, 5.5, 6.0], "animal": list("abcdef"), "pen": [1, 1, 1, 2, 2, 3]}
    return pd.DataFrame(base | columns)


def test_mates__weigh_the_other_members_of_the_pen():
    Z = terms("str(animal, mates(pen))", pens())["animal"].incidences[1].toarray()
    expected = np.array(
        [[0, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
    )
    np.testing.assert_array_equal(Z, [*expected.tolist(), [0] * 6])


def test_mates__diluted():
    Z = terms("str(animal, mates(pen, 0.5))", pens())["animal"].incidences[1].toarray()
    np.testing.assert_allclose(Z[0], [0, np.sqrt(0.5), np.sqrt(0.5), 0, 0, 0])
    np.testing.assert_allclose(Z[3], [0, 0, 0, 0, 1, 0])


def test_mates__an_animal_alone_is_noted():
    assert terms("str(animal, mates(pen))", pens())["notes"] == (
        "1 records have no mates in 'pen': they get no effect of it (a row of zeros)",
    )


def test_mates__count_without_a_record():
    """A pen mate that was not weighed still has its effect on the others."""
    data = pens(y=[1.0, 2.5, np.nan, 4.0, 5.5, 6.0])
    Z = terms("str(animal, mates(pen))", data)["animal"].incidences[1].toarray()
    np.testing.assert_array_equal(Z[0], [0, 1, 1, 0, 0, 0])
    assert len(Z) == 5


def test_mates__repeated_records_are_one_mate():
    data = pens(animal=["a", "a", "b", "c", "d", "e"])
    Z = terms("str(animal, mates(pen))", data)["animal"].incidences[1].toarray()
    np.testing.assert_array_equal(Z[:3], [[0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 0, 0]])


def test_partner__unknown_dams_get_a_row_of_zeros_and_a_note():
    data = pens(dam=[None, "a", "b", None, "x", "x"])
    got = terms("str(animal, dam) + ide(dam)", data)
    assert list(got["animal"].levels) == ["a", "b", "c", "d", "e", "f", "x"]
    for Z in (got["animal"].incidences[1], got["dam_ide"].incidences[0]):
        np.testing.assert_array_equal(Z.sum(axis=1), [0, 1, 1, 0, 1, 1])
    assert got["notes"] == ("2 records have no 'dam': they get no effect of it (a row of zeros)",)


def test_partner__numbers_with_gaps_are_the_same_animals():
    data = pens(animal=[1, 2, 3, 4, 5, 6], dam=[np.nan, 1.0, 1.0, 2.0, 2.0, 9.0])
    term = terms("str(animal, dam)", data)["animal"]
    assert term.levels.tolist() == [1, 2, 3, 4, 5, 6, 9]
    np.testing.assert_array_equal(term.incidences[1].toarray()[1], [1, 0, 0, 0, 0, 0, 0])


def test_partner__relationship_called_like_the_factor_is_shared():
    animals = [*"abcdef", "x"]
    K = bmv.Relationship.from_covariance(pd.DataFrame(np.eye(7), index=animals, columns=animals))
    term = terms("str(animal, dam)", pens(dam=[None, "a", "b", None, "a", "x"]), animal=K)["animal"]
    assert term.relationship is K
    assert term.incidences[1].toarray()[5].tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_partner__some_traits_only():
    data = pens(dam=list("xxaabb"), z=[2.0, 1.0, 4.0, 3.0, 5.0, 7.0])
    spec = bmv.ModelSpec.from_formula(
        "y + z ~ 1", random="at(trait, z):diag(trait):str(animal, dam)", residual="diag(trait):units"
    )
    term = bmv.build_design(spec, data).terms[0]
    assert (term.name, term.effects, term.trait_of.tolist()) == ("animal_z", ("z:animal", "z:dam"), [1, 1])
    np.testing.assert_allclose(term.layout.contribution(np.diag([2.0, 3.0]), 2), [[0.0, 0.0], [0.0, 5.0]])


def test_partner__raises_on_dams_without_relationship():
    A = bmv.Relationship.from_covariance(pd.DataFrame(np.eye(6), index=list("abcdef"), columns=list("abcdef")))
    with pytest.raises(DataError, match="1 levels of 'dam' are not in its relationship: 'x'"):
        terms("str(vm(animal, A), dam)", pens(dam=[None, "a", "b", None, "a", "x"]), A=A)


@pytest.mark.parametrize("random", ["str(animal, dam)", "us(leg(dam, 1)):animal", "str(animal, mates(dam))"])
def test_columns__raises_on_those_that_are_not_there(random):
    with pytest.raises(bmv.SpecError, match="the partner or covariate 'dam' is not a column of the data; columns: 'y'"):
        terms(random, pens())


def test_factor__raises_on_missing_animals_of_str():
    with pytest.raises(DataError, match="the random factor 'animal' is missing in 1 rows"):
        terms("str(animal, dam)", pens(animal=[None, *"bcdef"], dam=list("bcdefg")))


@pytest.mark.parametrize(
    ("random", "labels"),
    [
        ("diag(trait):str(animal, dam)", ("y:animal", "y:dam")),
        ("diag(trait):str(animal, dam, mates(pen))", ("y:animal", "y:dam", "y:mates")),
        ("diag(1 + age):animal", ("Intercept", "age")),
        ("diag(1 + leg(age, 2)):animal", ("age_leg0", "age_leg1", "age_leg2")),
        ("diag(spl(age, 4)):animal", ("age_spl1", "age_spl2", "age_spl3", "age_spl4")),
        ("diag(C(pen)):animal", ("1", "2", "3")),
        ("diag(leg(age, 1)):str(animal, dam)", ("age_leg0:animal", "age_leg1:animal", "age_leg0:dam", "age_leg1:dam")),
    ],
)
def test_effects__labels(random, labels):
    data = pens(age=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dam=list("abcabc"))
    assert terms(random, data)["animal"].effects == labels


def test_effects__labels_of_two_traits():
    case = structured_case("everything", 2)
    first = ("y1:Intercept:animal", "y1:age:animal", "y2:Intercept:animal", "y2:age:animal", "y1:Intercept:dam")
    assert case.design.terms[0].effects[:5] == first
    np.testing.assert_array_equal(case.design.terms[0].trait_of[:8], [0, 0, 1, 1, 0, 0, 1, 1])
    np.testing.assert_array_equal(case.design.terms[0].load_of[:8], [0, 1, 0, 1, 2, 3, 2, 3])


def test_raw_covariate__its_unit_changes_nothing_but_its_own_unit():
    """Days or weeks: the same likelihood, and priors in units of the trait over the covariate."""
    case = structured_case("raw")
    weeks = case.data.assign(age=case.data["age"] / 7.0)
    other = bmv.build_design(case.spec, weeks, case.relationships)
    sigma = np.array([[0.5, 0.1], [0.1, 0.3]])
    one, two = (MixedModelLikelihood(d).loglik([sigma, np.eye(1)]) for d in (case.design, other))
    assert one == pytest.approx(two, abs=1e-9)
    scale, scale_weeks = case.design.effect_scale("animal"), other.effect_scale("animal")
    np.testing.assert_allclose(scale_weeks / scale, [1.0, 7.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, np.nan, 3.0, 4.0, 5.0, 6.0], "the covariate 'age' is missing or not finite in 1 rows: 1"),
        ([2.0] * 6, r"the covariate 'age' is 2 in all records; leg\(age, 1\) needs it to vary"),
        (list("abcdef"), r"the covariate 'age' is not numeric; leg\(age, 1\) needs numbers"),
    ],
)
def test_covariate__raises(values, message):
    with pytest.raises(DataError, match=message):
        terms("us(leg(age, 1)):animal", pens(age=values))


def test_covariate__raises_outside_limits():
    with pytest.raises(DataError, match=r"the covariate 'age' is outside 2 to 6: 1.0; widen the limits, leg\(age, 1,"):
        terms("us(leg(age, 1, 2, 6)):animal", pens(age=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))


def test_layout__average_record_is_the_mean_of_dense_variances():
    """V_P of an average record = mean of the diagonal of ZGZ' of a dense model, K with a unit diagonal."""
    for model in ("mates", "raw", "sites"):
        case = structured_case(model)
        S = case.random_covariances(np.random.default_rng(1))[0]
        ids, K = case.kin["A"]
        root = np.sqrt(np.diag(K))
        flat = type(case)(**{**vars_of(case), "kin": {"A": (ids, K / np.outer(root, root))}})
        dense = StructuredDense(flat, [S, np.eye(1)])
        expected = np.mean(np.diag(dense.Z[0] @ dense.G[0] @ dense.Z[0].T))
        got = case.design.terms[0].layout.contribution(S, 1)
        np.testing.assert_allclose(got, [[expected]], rtol=1e-10)


def vars_of(case):
    return {name: getattr(case, name) for name in ("spec", "data", "columns", "kin", "model")}


def test_layout__round_trips_through_json():
    import json

    layout = structured_case("everything", 2).design.terms[0].layout
    assert type(layout).from_mapping(json.loads(json.dumps(layout.to_mapping()))) == layout
    assert str(layout.resolved) == "1 + age"


# ---------------------------------------------------------------- labels of several types, unknown parents


FAMILY = pd.DataFrame({"id": range(1, 13), "sire": [0] * 6 + [1, 2, 3] * 2, "dam": [0] * 6 + [4, 5, 6] * 2})


def records(**columns):
    y = np.random.default_rng(0).normal(size=12)
    return pd.DataFrame({"id": FAMILY["id"], "y": y, "dam": FAMILY["dam"]} | columns)


@pytest.mark.parametrize(
    ("ids", "pedigree", "note"),
    [
        (FAMILY["id"], FAMILY, None),
        (FAMILY["id"].astype(float), FAMILY, None),
        (
            FAMILY["id"].astype(str),
            FAMILY,
            "levels of 'id', text in the data, matched with numbers in the relationship",
        ),
        (
            FAMILY["id"],
            FAMILY.astype(str),
            "levels of 'id', numbers in the data, matched with text in the relationship",
        ),
    ],
)
def test_levels__match_across_types_with_a_note(ids, pedigree, note):
    A = bmv.Relationship.from_pedigree(pedigree)
    got = terms("vm(id, A)", records(id=ids), A=A)
    np.testing.assert_array_equal(got["id"].incidences[0].toarray(), np.eye(12))
    matched = [n for n in got["notes"] if "matched" in n]
    assert matched == ([] if note is None else [f"{note} as written"])


@pytest.mark.parametrize(
    "ids", [FAMILY["id"] + 0.5, FAMILY["id"].astype(str) + ".0", FAMILY["id"].astype(str).str.zfill(3)]
)
def test_levels__that_are_written_otherwise_do_not_match(ids):
    with pytest.raises(DataError, match="12 levels of 'id' are not in its relationship"):
        terms("vm(id, A)", records(id=ids), A=bmv.Relationship.from_pedigree(FAMILY))


def test_levels__of_columns_of_two_types():
    data = records(dam=FAMILY["dam"].astype(str).replace("0", None))
    got = terms("str(id, dam)", data)
    assert got["id"].levels.tolist() == [str(i) for i in range(1, 13)]
    assert "levels of 'id' and 'dam', some numbers and some text, matched as written" in got["notes"]
    same = terms("str(id, dam)", records())
    for Z, expected in zip(got["id"].incidences, same["id"].incidences, strict=True):
        np.testing.assert_array_equal(Z.toarray(), expected.toarray())


def test_levels__text_of_numbers_is_in_their_order():
    assert terms("id", records(id=FAMILY["id"].astype(str)))["id"].levels.tolist() == [str(i) for i in range(1, 13)]


@pytest.mark.parametrize("code", [0, "0", "000", "-9", "unknown", -999, "?"])
@pytest.mark.parametrize("random", ["str(vm(id, A), dam)", "vm(id, A) + vm(dam, A)", "ide(dam)", "vm(dam, A)", "dam"])
def test_unknown_dams__are_empty_cells(code, random):
    A = bmv.Relationship.from_pedigree(FAMILY)
    coded = terms(random, records(dam=FAMILY["dam"].astype(object).replace(0, code)), A=A)
    empty = terms(random, records(dam=FAMILY["dam"].where(FAMILY["dam"] > 0)), A=A)
    assert coded.keys() == empty.keys()
    for name in coded.keys() - {"notes"}:
        for Z, expected in zip(coded[name].incidences, empty[name].incidences, strict=True):
            np.testing.assert_array_equal(Z.toarray(), expected.toarray())
    assert f"'{code}' in 6 records of 'dam' read as unknown" in coded["notes"]
    assert "6 records have no 'dam': they get no effect of it (a row of zeros)" in empty["notes"]


def test_unknown_dams__second_factor_on_a_relationship_and_named_codes():
    A = bmv.Relationship.from_pedigree(FAMILY.replace(0, "x"), unknown=["x"])
    got = terms("vm(id, A) + vm(mor, A)", records(mor=FAMILY["dam"].replace(0, "x")), A=A)
    assert "'x' in 6 records of 'mor' read as unknown" in got["notes"]


def test_unknown_dams__a_code_that_is_an_animal_is_its_level():
    family = (FAMILY - 1).astype({"sire": float, "dam": float})
    family[["sire", "dam"]] = family[["sire", "dam"]].where(family[["sire", "dam"]] >= 0)
    A = bmv.Relationship.from_pedigree(family)
    data = records(id=family["id"], dam=[1, 2, 0, 1, 2, 0] * 2)
    assert not any("unknown" in note for note in terms("str(vm(id, A), dam)", data, A=A)["notes"])


def test_zeros__of_other_factors_are_levels():
    assert terms("pen", records(pen=[0, 1, 2] * 4))["pen"].levels.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="1 levels of 'id' are not in its relationship: 0"):
        terms("vm(id, A)", records(id=range(12)), A=bmv.Relationship.from_pedigree(FAMILY))


def test_zeros__of_pens_are_pens():
    data = records(pen=[0, 0, 1, 1, 2, 2] * 2)
    got = terms("str(id, mates(pen)) + pen", data)
    assert got["pen"].levels.tolist() == [0, 1, 2]
    assert not any("unknown" in note for note in got["notes"])


def test_mates__of_unknown_parents_are_those_that_are_known():
    data = pens(dam=["a", "b", "0", "a", "b", "c"])
    Z = terms("str(dam, mates(pen))", data)["dam"].incidences[1].toarray()
    np.testing.assert_array_equal(Z, [[0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("random", ["vm(id, A) + vm(mor, A)", "vm(mor, A) + vm(id, A)"])
def test_unknown_dams__are_not_those_of_the_genetic_term(random):
    data = records(mor=FAMILY["dam"].astype(str))
    spec = bmv.ModelSpec.from_formula("y ~ 1", random=random, genetic=bmv.Genetic(term="id"))
    design = bmv.build_design(spec, data, {"A": bmv.Relationship.from_pedigree(FAMILY)})
    assert "'0' in 6 records of 'mor' read as unknown" in design.notes
