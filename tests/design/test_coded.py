"""Records of traits that are not Gaussian: how they are read, and what is refused, with what to do."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError
from bayesmv.model.families import TraitFamily
from bayesmv.model.reading import LongLayout

RNG = np.random.default_rng(4)


def build(values, family, n=60, random="f", fixed="1", **columns):
    data = pd.DataFrame({"f": [f"F{i % 6}" for i in range(n)], "t": values, **columns})
    spec = bmv.ModelSpec.from_formula(f"t ~ {fixed}", random=random, families={"t": family})
    return bmv.build_design(spec, data)


def ones(n=60):
    return (RNG.random(n) < 0.4).astype(float)


def test_words_are_coded_in_their_order():
    words = np.where(ones() > 0, "yes", "no")
    words[3] = ""
    d = build(words, {"family": "binary", "levels": ["no", "yes"]})
    assert np.array_equal(d.response[:, 0], (np.delete(words, 3) == "yes").astype(float))
    scores = np.array(["mild", "none", "bad"])[RNG.integers(0, 3, 60)]
    d = build(scores, {"family": "ordered", "levels": ["none", "mild", "bad"]})
    assert np.array_equal(d.response[:, 0], [{"none": 1, "mild": 2, "bad": 3}[s] for s in scores])
    assert len(d.families[0].thresholds) == 2


def test_words_for_missing_are_missing_and_counted():
    words = np.where(ones() > 0, "yes", "no").astype(object)
    words[:4] = [".", "*", "NA", None]
    words[4] = "lost"
    data = pd.DataFrame({"f": [f"F{i % 6}" for i in range(60)], "t": words})
    spec = bmv.ModelSpec.from_formula(
        "t ~ 1", random="f", families={"t": {"family": "binary", "levels": ["no", "yes"]}}, missing=["lost"]
    )
    d = bmv.build_design(spec, data)
    assert len(d.units) == 55
    assert "'lost' in 1 records of 't' read as missing" in d.notes[0]


def test_scores_are_numbered_from_one_and_a_note_says_so():
    scores = RNG.integers(3, 6, 60).astype(float)
    d = build(scores, "ordered")
    assert np.array_equal(d.response[:, 0], scores - 2)
    said = "t: ordered, probit: residual variance 1, first threshold 0"
    assert d.notes == ("t: scores 3 to 5 are numbered 1 to 3", said)
    d = build(ones() + 1.0, "binary")
    assert d.notes == ("t: 1 and 2 were read as 0 and 1", "t: binary, probit: residual variance 1")


def test_rare_classes_are_said():
    values = np.zeros(60)
    values[::20] = 1.0
    assert build(values, "binary").notes[0] == "t: only 3 of 60 records are 1: they say little"


def test_sizes_of_binomial_traits():
    sown = RNG.integers(4, 9, 60)
    d = build(RNG.binomial(sown, 0.4), {"family": "binomial", "size": "sown"}, sown=sown)
    assert np.array_equal(d.families[0].size, sown)
    assert build(RNG.binomial(5, 0.4, 60), {"family": "binomial", "size": 5}).families[0].size.tolist() == [5.0] * 60


def test_offsets_stay_with_latent_values_and_scale_is_theirs():
    data = pd.DataFrame(
        {"f": [f"F{i % 6}" for i in range(60)], "c": RNG.poisson(3.0, 60), "log_n": RNG.normal(size=60)}
    )
    spec = bmv.ModelSpec.from_formula("c ~ 1", random="f", families={"c": "poisson"}, offset={"c": "log_n"})
    d = bmv.build_design(spec, data)
    assert np.array_equal(d.response[:, 0], data.c)
    assert np.array_equal(d.offset[:, 0], data.log_n)
    assert d.scale.tolist() == [1.0]
    assert not d.fixed.ols.any()


def separated():
    return {"values": np.r_[np.ones(10), ones(50)], "fixed": "g", "g": ["a"] * 10 + ["b", "c"] * 25}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"values": ones() * 3.0, "family": "binary"}, r"'t' holds '3' \(.*not 0 or 1; is it ordered"),
        ({"values": np.tile([0.5, 1.0], 30), "family": "poisson"}, "a proportion is binomial: give the number"),
        (
            {"values": np.r_[-1.0, RNG.poisson(3, 59)], "family": "poisson"},
            "holds '-1' .*not a whole number of 0 or more",
        ),
        (
            {"values": np.tile([1.0, 2.0, 4.0], 20), "family": "ordered"},
            "no record of the trait 't' is '?3'?: .* merge it",
        ),
        (
            {"values": np.tile([1.0, 1.5], 30), "family": "ordered"},
            "holds '1.5' .* not a whole number; scores are whole",
        ),
        (
            {"values": np.array(["a", "b", "?"] * 20), "family": {"family": "binary", "levels": ["a", "b"]}},
            "holds '\\?' .*not among its levels 'a', 'b'",
        ),
        (
            {"values": np.tile([1.0, 7.0], 30), "family": {"family": "binomial", "size": 5}},
            "holds '7' .*not at most the number of trials",
        ),
        ({"values": np.arange(60.0), "family": "ordered"}, "has 60 scores; an ordered trait has 30 at most"),
        ({"values": np.ones(60), "family": {"family": "binomial", "size": 1}}, "constant|ended alike"),
        (
            {"values": ones(), "family": {"family": "binomial", "size": "sown"}, "sown": np.tile([1.0, 2.5], 30)},
            "number of trials 'sown' of 't' is not a whole number of 1 or more",
        ),
        (
            {"values": ones(), "family": {"family": "binomial", "size": "sown"}, "sown": np.tile([1.0, np.nan], 30)},
            "number of trials 'sown'.*missing",
        ),
        (
            {
                "values": np.tile([2.0, 3.0], 30),
                "family": {"family": "binomial", "size": "tried"},
                "tried": np.tile([2, 3], 30),
            },
            "ended alike",
        ),
        (
            {"values": ones(), "family": "binary", "random": "own", "own": range(60)},
            "every level of own has one record",
        ),
        ({**separated(), "family": "binary"}, "at the reference level of g is of the highest kind"),
    ],
)
def test_refusals(given, message):
    with pytest.raises(DataError, match=message):
        build(**given)


def test_one_class_is_refused():
    with pytest.raises(DataError, match=r"t.*constant|all records of the trait 't' are"):
        build(np.zeros(60), "binary")


def test_results_of_gaussian_models_are_refused():
    d = build(ones(), "binary")
    with pytest.raises(
        SpecError, match=r"effects are integrated out of PyMC models .* so far only where every trait is Gaussian"
    ):
        bmv.build_model(d)
    fit = bmv.fit_reml(d)
    with pytest.raises(SpecError, match="the REML fit"):
        bmv.sample(build(ones(), "binary"), reml=fit)


def test_ordered_categories__have_their_order():
    rng = np.random.default_rng(1)
    words = np.array(["easy", "assisted", "hard"])
    scores = rng.integers(0, 3, 60)
    column = pd.Categorical(words[scores], categories=words, ordered=True)
    data = pd.DataFrame({"f": [f"F{i}" for i in rng.integers(0, 8, 60)], "ease": column})
    spec = bmv.ModelSpec.from_formula("ease ~ 1", random="f", families={"ease": "ordered"})
    np.testing.assert_array_equal(bmv.build_design(spec, data).response[:, 0], scores + 1.0)
    with pytest.raises(DataError, match=r"holds words: .*'easy'.*; say which is low and which is high, as in ease ="):
        bmv.build_design(spec, data.astype({"ease": str}))


def test_separated_level__may_have_a_proper_prior_of_its_effect():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"herd": np.repeat(list("abcde"), 40), "sire": np.tile(np.repeat(list("pqrst"), 8), 5)})
    data["scab"] = (rng.random(200) < 0.3).astype(int)
    data.loc[data.herd == "d", "scab"] = 0
    families = {"scab": "binary"}
    with pytest.raises(DataError, match=r"herd\[T.d\] is of the lowest kind.*random = fixed\(trait, V\):herd with V"):
        bmv.build_design(bmv.ModelSpec.from_formula("scab ~ herd", random="sire", families=families), data)
    held = bmv.ModelSpec.from_formula(
        "scab ~ 1", random="sire + fixed(trait, V):herd", families=families, matrices={"V": [[4.0]]}
    )
    fit = bmv.fit_reml(bmv.build_design(held, data))
    assert fit.covariances["herd"] == pytest.approx(4.0)
    effect = bmv.breeding_values(fit, term="herd").set_index("level")["blup"]
    assert effect.idxmin() == "d"
    assert -6.0 < effect["d"] < -1.0


BOUNDS = {"family": "censored", "lower": "low", "upper": "high"}


def bounded(low, high, **more):
    n = len(low)
    data = pd.DataFrame({"f": [f"F{i % 6}" for i in range(n)], "low": low, "high": high, **more})
    return bmv.build_design(bmv.ModelSpec.from_formula("t ~ 1", random="f", families={"t": BOUNDS}), data)


def test_bounds__are_read_and_counted():
    low = ["1.5", "", "2", "-inf", "NA", "4", *map(str, range(6))]
    high = ["1.5", "3", "inf", "2.5", "", "6", *map(str, range(6))]
    d = bounded(low, high, t=1.0)
    family = d.families[0]
    np.testing.assert_array_equal(family.lower[:5], [1.5, -np.inf, 2.0, -np.inf, 4.0])
    np.testing.assert_array_equal(family.upper[:5], [1.5, 3.0, np.inf, 2.5, 6.0])
    np.testing.assert_array_equal(d.response[:5, 0], [1.5, 3.0, 2.0, 2.5, 5.0])
    assert d.censored[:5, 0].tolist() == [False, True, True, True, True]
    assert "t: 7 of 11 records are known, 2 from above only, 1 from below only, 1 between two bounds" in d.notes
    assert "t: the column 't' is not read; the bounds 'low', 'high' are" in d.notes


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (
            ["a", *"123456789"],
            list("1234567890"),
            "the bound 'low' holds 'a' .*, not a number; leave a bound that is open",
        ),
        ([5.0, *range(9)], [4.0, *range(9)], "the lower bound 'low' of 't' is above the upper one 'high'"),
        ([1.0, *range(2, 11)], [np.nan] * 10, "every record of the trait 't' is known from below only"),
    ],
)
def test_bounds__that_cannot_be_are_refused(low, high, message):
    with pytest.raises(DataError, match=message):
        bounded(low, high)


def test_bounds__are_not_the_column_of_the_trait():
    with pytest.raises(SpecError, match="a bound is a column of another name than the trait"):
        bmv.ModelSpec.from_formula("low ~ 1", random="f", families={"low": BOUNDS})


def test_bounds__are_not_the_column_of_the_trait_in_a_family_that_was_made_before():
    family = TraitFamily(family="censored", lower="low", upper="high")
    with pytest.raises(SpecError, match="a bound is a column of another name than the trait"):
        bmv.ModelSpec.from_formula("low ~ 1", random="f", families={"low": family})


def test_bounds__are_both_needed_and_of_wide_tables():
    with pytest.raises(SpecError, match="a censored trait needs the columns of its bounds, 'lower' and 'upper'"):
        bmv.ModelSpec.from_formula("t ~ 1", random="f", families={"t": {"family": "censored", "lower": "low"}})
    long = LongLayout(trait="trait", value="value", unit="id")
    spec = bmv.ModelSpec.from_formula("t ~ 1", random="f", families={"t": BOUNDS}, long=long)
    with pytest.raises(SpecError, match="give the table with a row a unit"):
        bmv.build_design(spec, pd.DataFrame({"id": [1], "trait": ["t"], "value": [1.0], "f": ["a"]}))


@pytest.mark.parametrize("family", ["negative_binomial", "zero_inflated_poisson"])
def test_counts__of_other_families_are_whole_and_have_zeros_where_these_are_modelled(family):
    y = np.random.default_rng(1).poisson(1.0, 60).astype(float)
    assert build(y, family).response[:, 0].tolist() == y.tolist()
    with pytest.raises(DataError, match="not a whole number of 0 or more"):
        build(y + 0.5, family)
    if family == "zero_inflated_poisson":
        with pytest.raises(DataError, match="it has no extra zeros; its family is poisson"):
            build(y + 1.0, family)


def test_negative_binomial__has_no_residual_to_correlate():
    families = {"n": "negative_binomial"}
    with pytest.raises(SpecError, match="which is negative binomial, is no normal deviate"):
        bmv.ModelSpec.from_formula("y + n ~ 1", random="us(trait):f", residual="us(trait):units", families=families)
