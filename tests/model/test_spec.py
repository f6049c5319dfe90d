"""The specification: its checks, and model files read back as written."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesmv.errors import SpecError
from bayesmv.model.factors import Column
from bayesmv.model.genetic import ADDITIVE_FACTOR, Genetic
from bayesmv.model.spec import ModelSpec
from bayesmv.model.terms import FixedTerm, RandomTerm
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT

words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
line = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
#: Structures that fit any number of traits.
STRUCTURES = ("us", "corgh", "diag", "idv", "id", "corh", "ar1", "toep", "fa(1)", "ante(1)")
positive = st.floats(0.01, 100.0)


@st.composite
def specs(draw):
    traits = tuple(draw(st.lists(words, min_size=1, max_size=3, unique=True)))
    some = st.none() | st.lists(st.sampled_from(traits), min_size=1, unique=True).map(tuple)
    terms = {}
    for factor in draw(st.lists(words, max_size=3, unique=True)):
        term = RandomTerm(
            structure=draw(st.sampled_from(sorted(STRUCTURES))),
            factors=(Column(column=factor, relationship=draw(st.none() | words)),),
            traits=draw(some),
        )
        terms[term.name] = term
    names = [*terms, "Residual"]
    genetic = None
    if terms and draw(st.booleans()):
        genetic = Genetic(
            term=draw(st.sampled_from(sorted(terms))), relationship=draw(st.sampled_from(sorted(ADDITIVE_FACTOR)))
        )
    priors = {
        name: CovariancePrior(eta=draw(positive), sd=HalfStudentT(nu=draw(positive), scale=draw(positive)))
        for name in draw(st.lists(st.sampled_from(names), unique=True))
    }
    restricted = draw(st.lists(st.tuples(words, some.filter(bool)), max_size=2))
    return ModelSpec(
        traits=traits,
        fixed=(FixedTerm(formula="1 + sex"), *(FixedTerm(formula=f, traits=t) for f, t in restricted)),
        random=tuple(terms.values()),
        residual=draw(st.sampled_from(sorted(STRUCTURES))),
        unit=draw(st.none() | line),
        genetic=genetic,
        priors=priors,
        relationships=draw(
            st.dictionaries(
                line, st.fixed_dictionaries({"pedigree": line}, optional={"id": line, "dam": line}), max_size=2
            )
        ),
        data=draw(st.none() | line),
        name=draw(line),
        title=draw(line | st.just("")),
    )


@settings(max_examples=50)
@given(specs())
def test_to_file__reads_back_equal(tmp_path_factory, spec):
    path = tmp_path_factory.mktemp("spec") / "model.toml"
    spec.to_file(path)
    back = ModelSpec.from_file(path)
    assert back == spec
    assert back.base == path.parent


@given(text)
def test_to_file__any_title(tmp_path_factory, title):
    path = tmp_path_factory.mktemp("spec") / "model.toml"
    spec = ModelSpec(traits=("y",), title=title)
    spec.to_file(path)
    assert ModelSpec.from_file(path).title == title


def test_to_file__numpy_numbers_in_priors(tmp_path):
    prior = CovariancePrior(eta=np.float64(2.0), sd=HalfStudentT(nu=np.float64(4.0)))
    spec = ModelSpec(traits=("y",), priors={"Residual": prior})
    spec.to_file(tmp_path / "model.toml")
    assert ModelSpec.from_file(tmp_path / "model.toml") == spec


@settings(max_examples=50)
@given(specs())
def test_str__reads_back_through_from_formula(spec):
    again = ModelSpec.from_formula(
        f"{' + '.join(spec.traits)} ~ {spec.fixed_formula}", random=spec.random_formula, residual=spec.residual_formula
    )
    assert str(again) == str(spec)


def test_from_formula__canty_model():
    spec = ModelSpec.from_formula(
        "bden + veloc ~ 1",
        random="us(trait):Block + us(trait):Family",
        residual="us(trait):units",
        genetic=Genetic(term="Family", relationship="half-sib"),
    )
    assert spec.traits == ("bden", "veloc")
    assert [t.name for t in spec.random] == ["Block", "Family"]
    assert spec.residual == "us"
    assert spec.fixed == (FixedTerm(formula="1"),)
    assert str(spec) == ("bden + veloc ~ 1, random = us(trait):Block + us(trait):Family, residual = us(trait):units")


def test_from_formula__defaults():
    spec = ModelSpec.from_formula("y ~ 1")
    assert (spec.random, spec.residual, spec.unit, spec.genetic, dict(spec.priors)) == ((), "us", None, None, {})


def test_prior__default_and_replaced():
    own = CovariancePrior(eta=4.0)
    spec = ModelSpec.from_formula("a + b ~ 1", random="us(trait):g", priors={"g": own})
    assert spec.prior("g") == own
    assert spec.prior("Residual") == CovariancePrior()


def test_model_spec__is_frozen():
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'traits'"):
        ModelSpec(traits=("y",)).traits = ("z",)


def test_from_file__minimal(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text('traits = ["a", "b"]\n')
    assert ModelSpec.from_file(path) == ModelSpec(traits=("a", "b"), name="small")
    assert ModelSpec.from_file(str(path)) == ModelSpec.from_file(path)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ModelSpec.from_formula("a + b"), r"the formula 'a \+ b' needs one '~', as in"),
        (lambda: ModelSpec.from_formula("a ~ 1 ~ 2"), r"needs one '~'"),
        (lambda: ModelSpec(traits=()), r"a model needs at least one trait"),
        (lambda: ModelSpec.from_formula("a + a + b ~ 1"), r"the trait 'a' is named twice"),
        (
            lambda: ModelSpec.from_formula("a + ~ 1"),
            r"an empty trait name: check the left side of the formula for a '\+'",
        ),
        (lambda: ModelSpec(traits=("a",), residual="zz"), r"unknown covariance structure 'zz'; known structures"),
        (
            lambda: ModelSpec.from_formula("a + b ~ 1", random="at(trait, c):g"),
            r"'at\(trait, c\):g' names 'c', which is not a trait; traits: 'a', 'b'",
        ),
        (
            lambda: ModelSpec.from_formula("a + b ~ 1 + at(trait, c):x"),
            r"'at\(trait, c\):x' names 'c', which is not a trait",
        ),
        (
            lambda: ModelSpec.from_formula("a ~ 1", random="g", genetic=Genetic(term="h")),
            r"the genetic term 'h' is not a random term; random terms: 'g'",
        ),
        (
            lambda: ModelSpec.from_formula("a ~ 1", random="g", priors={"h": CovariancePrior()}),
            r"a prior is given for 'h'; terms: 'g', 'Residual'",
        ),
        (
            lambda: Genetic(term="g", relationship="cousins"),
            r"unknown relationship 'cousins' among the levels of g; allowed: 'animal', 'half-sib'",
        ),
    ],
)
def test_model_spec__raises(build, message):
    with pytest.raises(SpecError, match=message):
        build()


def test_model_spec__raises_on_a_term_named_like_the_residual():
    # Results are held by name: a factor called Residual would hide the residual.
    with pytest.raises(SpecError, match="Residual"):
        ModelSpec.from_formula("a ~ 1", random="Residual")


def test_model_spec__raises_on_two_terms_of_one_name():
    g = RandomTerm(structure="us", factors=(Column(column="g"),))
    with pytest.raises(SpecError, match="two random terms are called 'g'"):
        ModelSpec(traits=("a",), random=(g, g))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("traits = [", r"is not valid TOML"),
        ('traits = ["a"]\nresponse = "a"', r"unknown entry 'response' in '.*'; allowed: 'name', 'title'"),
        ('traits = "a"', r"'traits' in '.*' must be a list, not 'a'"),
        ('traits = ["a"]\nfixed = 1', r"'fixed' in '.*' must be a string, not 1"),
        ('fixed = "1"', r"names no traits; add for example traits = "),
        ("traits = [1, 2]", r"'traits' in '.*' must be a list of column names, not \[1, 2\]"),
        (
            'traits = ["a"]\n[genetic]\nrelationship = "animal"',
            r"\[genetic\] needs 'term' \(or 'additive', the same\) and may have 'relationship'",
        ),
        ('traits = ["a"]\nrandom = "g"\n[genetic]\nterm = "g"\nx = 1', r"\[genetic\] needs 'term'"),
        (
            'traits = ["a"]\n[relationships]\nA = "x.csv"',
            r"\[relationships.A\] must be a table of the model file, not 'x",
        ),
        (
            'traits = ["a"]\n[relationships.A]\nid = "x"',
            r"\[relationships.A\] needs one of 'pedigree', 'markers', 'covariance', 'precision', a file each",
        ),
        (
            'traits = ["a"]\n[relationships.A]\npedigree = "x"\nmum = "m"',
            r"unknown entry 'mum' in \[relationships.A\]; all",
        ),
        ('traits = ["a"]\n[relationships.A]\npedigree = 1', r"'pedigree' in \[relationships.A\] must be a file, or"),
        ('traits = ["a"]\n[priors]\nResidual = 3', r"\[priors.Residual\] must be a table of the model file, not 3"),
        ('traits = ["a"]\n[priors.Residual]\ndf = 3', r"unknown key 'df' in the prior of Residual"),
        ('traits = ["a"]\n[priors.g]\neta = 3', r"a prior is given for 'g'; terms: 'Residual'"),
    ],
)
def test_from_file__raises(tmp_path, content, message):
    path = tmp_path / "model.toml"
    path.write_text(content)
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_file(path)


def test_from_file__raises_on_absent_file(tmp_path):
    with pytest.raises(SpecError, match=r"no model file '.*absent\.toml'"):
        ModelSpec.from_file(tmp_path / "absent.toml")


def test_from_file__raises_on_a_folder_and_on_bytes(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read the model file"):
        ModelSpec.from_file(tmp_path)
    path = tmp_path / "latin1.toml"
    path.write_bytes(b'traits = ["\xe9"]')
    with pytest.raises(SpecError, match=r"cannot read the model file '.*latin1\.toml'"):
        ModelSpec.from_file(path)


@pytest.mark.parametrize(
    ("random", "words"),
    [
        ("us(trait):Block + us(trait):Block", "two random terms are called 'Block'; name them, as in shade = us"),
        ("us(trait):Residual", "'Residual' is the name of the residual"),
    ],
)
def test_model_spec__raises_on_names(random: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        ModelSpec.from_formula("a + b ~ 1", random=random)


def test_model_spec__relationship_and_unrelated_levels_of_one_factor() -> None:
    spec = ModelSpec.from_formula("a ~ 1", random="vm(animal, A) + ide(animal)")
    assert [term.name for term in spec.random] == ["animal", "animal_ide"]
    assert spec.random_formula == "idv(trait):vm(animal, A) + idv(trait):ide(animal)"


def test_from_formula__one_word_is_no_list_of_codes():
    assert ModelSpec.from_formula("y ~ 1", random="b", missing=[-999.0, "x"]).missing == ("-999", "x")
    for missing in ("-999", -999, [True]):
        with pytest.raises(SpecError, match="missing must be a list of codes"):
            ModelSpec.from_formula("y ~ 1", random="b", missing=missing)


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        (
            "us(a, b):units",
            r"the sets of traits of the residual 'us\(a, b\)' must hold each trait once: 'c' is in none",
        ),
        (
            "us(a, b):units + us(b, c):units",
            r"must hold each trait once: 'b' is in none of them or in two; traits: 'a'",
        ),
        ("at(trait, a):units", r"must hold each trait once: 'b', 'c' is in none"),
        ("us(a, x):units + us(b, c):units", r"the residual .* names 'x', which is not a trait; traits: 'a', 'b', 'c'"),
    ],
)
def test_residual_sets__raise(residual, message):
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_formula("a + b + c ~ 1", residual=residual)


@pytest.mark.parametrize(
    ("residual", "written"),
    [
        ("us(a, b):units + idv(c):units", "us(a, b):units + idv(c):units"),
        ("us(a, b) + idv(c)", "us(a, b):units + idv(c):units"),
        ("at(trait, a, b):us(trait):units + at(trait, c):units", "us(a, b):units + idv(c):units"),
        (
            "at(site:year):us(a, c) + at(site:year):diag(b)",
            "at(site:year):us(a, c):units + at(site:year):diag(b):units",
        ),
        ("fa(a, b, c, 1):units", "fa(trait, 1):units"),
        ("at(site:`my year`):us(trait):units", "at(site:`my year`):us(trait):units"),
    ],
)
def test_residual_sets__read_what_they_write(residual, written):
    spec = ModelSpec.from_formula("a + b + c ~ 1", residual=residual)
    assert spec.residual_formula == written
    again = ModelSpec.from_toml(spec.to_toml())
    assert (again.residual_formula, again.residual_sets) == (written, spec.residual_sets)


def test_residual_sets__constraints_are_of_a_set():
    spec = ModelSpec.from_formula(
        "a + b + c ~ 1", residual="us(a, b) + idv(c)", constraints={"Residual": {"cor[a,b]": 0.3}}
    )
    assert spec.residual_covariance().n_parameters == 3
    with pytest.raises(SpecError, match=r"\[constraints.Residual\]: 'cor\[a,c\]' is of no one set of traits"):
        ModelSpec.from_formula(
            "a + b + c ~ 1", residual="us(a, b) + idv(c)", constraints={"Residual": {"cor[a,c]": 0.3}}
        )


def test_offset__read_back():
    one = ModelSpec.from_toml('traits = ["a", "b"]\noffset = "known"\n')
    assert one.offset == {"a": "known", "b": "known"}
    assert 'offset = "known"' in one.to_toml()
    several = ModelSpec.from_toml('traits = ["a", "b"]\noffset = {a = "x", b = "y"}\n')
    for spec in (one, several, ModelSpec.from_formula("a + b ~ 1", offset={"a": "x"})):
        assert ModelSpec.from_toml(spec.to_toml()).offset == spec.offset
    with pytest.raises(SpecError, match=r"an offset is given for 'c', which is not a trait; traits: 'a'"):
        ModelSpec.from_formula("a ~ 1", offset={"c": "x"})
    with pytest.raises(SpecError, match=r"'offset' in '.*' must be a string or a table, not 3"):
        ModelSpec.from_toml('traits = ["a"]\noffset = 3\n')
    with pytest.raises(SpecError, match=r"'offset' must be a column, or columns by trait, not 3"):
        ModelSpec.from_toml('traits = ["a"]\noffset = {a = 3}\n')


def test_from_formula__knots_are_kept_to_all_digits():
    spec = ModelSpec.from_formula(
        "y + z ~ 0 + at(trait, y):(b + bs(x, knots=[1234567.5, 2e6])) - b", random="diag(trait):g"
    )
    assert "knots=[1234567.5, 2000000]" in spec.fixed_formula
