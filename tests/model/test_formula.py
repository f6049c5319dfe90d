"""Parsing of formulas in ASReml's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmv.covariance import ALIASES, STRUCTURES
from bayesmv.errors import SpecError
from bayesmv.model.basis import parse_basis
from bayesmv.model.factors import Column
from bayesmv.model.formula import parse_fixed, parse_random, parse_residual, split_top
from bayesmv.model.grammar import is_name
from bayesmv.model.terms import FixedTerm, Partner, RandomTerm, trait_prefix

names = st.from_regex(r"[A-Za-z_.][A-Za-z0-9_.]{0,6}", fullmatch=True).filter(lambda s: s != "ide" and is_name(s))


PARTNERS = (
    (),
    (Partner(column="a_dam"),),
    (Partner(column="a_pen", social=True),),
    (Partner(column="a_dam"), Partner(column="a_pen", social=True, dilution=0.5)),
)
BASES = (
    None,
    *(parse_basis(text, "") for text in ("leg(age, 2)", "leg(age, 1, 4.0, 310.5)", "1 + age", "C(year)", "site")),
)


@st.composite
def random_terms(draw):
    """Random terms of distinct factors; several traits never come without a structure."""
    factors = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    out = []
    for factor in factors:
        traits = draw(st.none() | st.lists(names, min_size=1, max_size=3, unique=True).map(tuple))
        relationship = draw(st.none() | names)
        out.append(
            RandomTerm(
                structure=draw(st.sampled_from([*sorted(STRUCTURES), "fa(2)", "exp(0, 1.5, 4)", "fixed(G)"])),
                factors=(Column(column=factor, relationship=relationship),),
                traits=traits,
                partners=draw(st.sampled_from(PARTNERS)),
                basis=draw(st.sampled_from(BASES)),
            )
        )
    return tuple(out)


@given(random_terms())
def test_parse_random__reads_what_it_writes(terms):
    if len({t.name for t in terms}) < len(terms):
        return
    assert parse_random(" + ".join(map(str, terms)), 3) == terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("us(trait):Block", {"structure": "us", "factors": (Column(column="Block"),)}),
        (" us( trait ) : Block ", {"structure": "us", "factors": (Column(column="Block"),)}),
        ("idh(trait):Block", {"structure": "diag", "factors": (Column(column="Block"),)}),
        ("us(trait):vm(animal, A)", {"structure": "us", "factors": (Column(column="animal", relationship="A"),)}),
        ("us(trait):ide(animal)", {"structure": "us", "factors": (Column(column="animal", relationship="ide"),)}),
        ("at(trait, y2):Block", {"structure": "idv", "factors": (Column(column="Block"),), "traits": ("y2",)}),
        (
            "at(trait, a, b):us(trait):Block",
            {"structure": "us", "factors": (Column(column="Block"),), "traits": ("a", "b")},
        ),
        ("fa(trait, 2):Block", {"structure": "fa(2)", "factors": (Column(column="Block"),)}),
        ("exp( trait , 0,1.5 ):Block", {"structure": "exp(0, 1.5)", "factors": (Column(column="Block"),)}),
        ("cs(trait):Block", {"structure": "corv", "factors": (Column(column="Block"),)}),
        (
            "at(trait, a, b):fa(trait, 1):Block",
            {"structure": "fa(1)", "factors": (Column(column="Block"),), "traits": ("a", "b")},
        ),
        (
            "us(trait):at(trait, a, b):Block",
            {"structure": "us", "factors": (Column(column="Block"),), "traits": ("a", "b")},
        ),
        (
            "us(trait):str(vm(animal, A), dam)",
            {
                "structure": "us",
                "factors": (Column(column="animal", relationship="A"),),
                "partners": (Partner(column="dam"),),
            },
        ),
        (
            "us(trait):str(vm(animal, A), vm(dam, A))",
            {
                "structure": "us",
                "factors": (Column(column="animal", relationship="A"),),
                "partners": (Partner(column="dam"),),
            },
        ),
        (
            "diag(trait):str(pig, mates(pen, 0.5))",
            {
                "structure": "diag",
                "factors": (Column(column="pig"),),
                "partners": (Partner(column="pen", social=True, dilution=0.5),),
            },
        ),
        (
            "us(trait:leg(age, 2)):animal",
            {"structure": "us", "factors": (Column(column="animal"),), "basis": parse_basis("leg(age, 2)", "")},
        ),
        (
            "at(trait, y2):us(1 + age):animal",
            {
                "structure": "us",
                "factors": (Column(column="animal"),),
                "traits": ("y2",),
                "basis": parse_basis("1 + age", ""),
            },
        ),
        (
            "ide(animal):diag(trait:site)",
            {
                "structure": "diag",
                "factors": (Column(column="animal", relationship="ide"),),
                "basis": parse_basis("site", ""),
            },
        ),
    ],
)
def test_parse_random__term(text, expected):
    assert parse_random(text, 2) == (RandomTerm(**expected),)


def test_parse_random__effects_that_covary_are_unstructured_on_some_traits_too():
    (one,), (some,) = (parse_random(f"{at}str(vm(animal, A), dam)", 1) for at in ("", "at(trait, y):"))
    assert (one.structure, some.structure, some.traits) == ("us", "us", ("y",))


@pytest.mark.parametrize("text", ["", "  "])
def test_parse_random__none(text):
    assert parse_random(text, 2) == ()


def test_parse_random__bare_factor_with_one_trait():
    assert parse_random("Block + vm(animal, A)", 1) == (
        RandomTerm(structure="idv", factors=(Column(column="Block"),)),
        RandomTerm(structure="idv", factors=(Column(column="animal", relationship="A"),)),
    )


def test_parse_random__one_trait_may_leave_it_out():
    assert parse_random("str(animal, dam)", 1) == parse_random("us(trait):str(animal, dam)", 1)
    assert parse_random("us(leg(age, 2)):animal", 1) == parse_random("us(trait:leg(age, 2)):animal", 1)
    assert parse_random("us(site):family", 1)[0].columns == ("family", "site")


def test_random_term__names():
    assert RandomTerm(structure="us", factors=(Column(column="Block"),)).name == "Block"
    assert RandomTerm(structure="us", factors=(Column(column="Block"),), traits=("a", "b")).name == "Block_a_b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("us(trait):Block + ", r"an empty random term: check for a '\+' too many"),
        ("Block", r"the random term 'Block' does not say how it acts on the traits; write us\(trait\):Block or diag"),
        ("us(trait):1Block", r"'1Block' in the term 'us\(trait\):1Block' is not a column name"),
        ("us(trait):", r"'' in the term 'us\(trait\):' is not a column name"),
        ("us(trait):vm(animal)", r"'vm\(animal\)' in the term .* is not understood; write a column, vm\(column, rel"),
        ("us(trait):ide(animal, A)", r"'ide\(animal, A\)' in the term .* is not understood; write a column"),
        ("us(trait):giv(animal, A)", r"'giv\(animal, A\)' in the term .* is not understood; write a column"),
        ("us(trait):vm(animal, 1)", r"'1' in the term .* is not a column name"),
        ("us(units):Block", r"'us\(units\)' in the term .* is not understood; write structure\(trait\)"),
        ("trait:Block", r"'trait' in the random term 'trait:Block' stands inside a structure, as in us\(trait\):Block"),
        ("us(trait):Block:Block", r"the random term 'us\(trait\):Block:Block' names a factor twice"),
        ("us(trait):Block:", r"'' in the term 'us\(trait\):Block:' is not a column name"),
        ("us(trait):site/", r"'' in the term 'us\(trait\):site/' is not a column name"),
        (
            "us(trait):overlay(sire)",
            r"'overlay\(sire\)' in the term .* needs two or more different columns, as in over",
        ),
        ("us(trait):pair(sire, sire)", r"'pair\(sire, sire\)' in the term .* needs two different columns, as in pair"),
        ("us(trait):pair(a, b, c)", r"needs two different columns, as in pair\(sire, dam\)"),
        ("us(trait):str(overlay(sire, dam), mates(pen))", r"'overlay\(sire, dam\)' in the term .* is not a column"),
        ("us(trait):str(animal, pair(sire, dam))", r"'pair\(sire, dam\)' in the term .* is not a column; str"),
        ("us(trait):vm(ps(day), A)", r"'vm\(ps\(day\), A\)' in the term .* the coefficients of a spline have no rel"),
        ("us(trait):ps(day, 4)", r"'ps\(day, 4\)' .* cubic splines with a penalty are 5 or more, as in ps\(day, 5\)"),
        ("us(trait):ps(day, x)", r"'x' in 'ps\(day, x\)' of the term .* is not understood; write a whole number"),
        ("us(trait):ps(2)", r"'ps\(2\)' in the term .* is not understood; write ps\(day\), ps\(day, 20\)"),
        ("at(site, A, A):us(trait):Block", r"'at\(site, A, A\)' in the term .* names a level twice, or an empty one"),
        ("shade = us(trait):site/Block", r"'shade = us\(trait\):site/Block' gives one name to 2 terms; write each by"),
        ("a = b = us(trait):Block", r"'a = b = us\(trait\):Block' is not understood; a name stands before a term, as"),
        ("us(trait)", r"the random term 'us\(trait\)' needs a factor, as in us\(trait\):Block$"),
        ("at(trait):Block", r"'at\(trait\)' in the term|unknown covariance structure 'at'"),
        ("us(trait):us(trait):Block", r"'us\(trait\)' in the term .* is not understood"),
        ("at(trait, a):at(trait, b):Block", r"'at\(trait, b\)' in the term .* is not understood"),
        ("at(trait, 2):Block", r"'2' in the term 'at\(trait, 2\):Block' is not a column name"),
        ("at(trait, a, b):Block", r"needs a structure for its traits, for example at\(trait, a, b\):us\(trait\):Block"),
        (
            "zz(trait):Block",
            r"unknown covariance structure 'zz' in the term 'zz\(trait\):Block'; known structures:.*us",
        ),
        ("us(trait:Block", r"unbalanced brackets in 'us\(trait:Block': a '\)' is missing"),
        ("us(leg(age, 2)):animal", r"or us\(trait:leg\(age, 2\)\) for effects of a covariate on every trait"),
        ("at(trait, a, b):us(leg(age, 2)):animal", r"or us\(trait:leg\(age, 2\)\) for effects of a covariate"),
        ("leg(age, 2):animal", r"needs a structure around its covariates, as in us\(leg\(age, 2\)\):animal"),
        (
            "us(trait):str(animal)",
            r"'str\(animal\)' in the term .* needs two that covary, as in str\(vm\(animal, A\), dam\)",
        ),
        ("us(trait):str(animal, animal)", r"'str\(animal, animal\)' in the term .* names the same effects twice"),
        ("us(trait):str(vm(animal, A), vm(dam, B))", r"'vm\(dam, B\)' in the term .* has a relationship of its own"),
        ("us(trait):str(animal, mates(pen, much))", r"the dilution 'much' in the term .* must be a number"),
        ("us(trait):str(animal, mates())", r"'' in the term .* is not a column name"),
        ("us(trait):str(animal, 7)", r"'7' in the term .* is not a column name"),
        ("us(trait):vm(animal, ide)", r"'vm\(animal, ide\)' in the term .*: no relationship may be called ide"),
        ("us(trait)):Block", r"unbalanced brackets in 'us\(trait\)\):Block': a '\)' too many"),
    ],
)
def test_parse_random__raises(text, message):
    with pytest.raises(SpecError, match=message):
        parse_random(text, 2)


def test_parse_random__raises_on_a_trait_named_twice():
    # Two identical effects would make every covariance of the term singular.
    with pytest.raises(SpecError, match="twice"):
        parse_random("at(trait, a, a):us(trait):Block", 2)


def test_parse_random__genetic_and_permanent_environment_of_one_column():
    terms = parse_random("us(trait):vm(animal, A) + us(trait):ide(animal)", 2)
    assert len({term.name for term in terms}) == 2


@pytest.mark.parametrize("word", sorted([*STRUCTURES, *ALIASES]))
def test_parse_residual__either_order(word):
    expected = ALIASES.get(word, word)
    assert parse_residual(f"{word}(trait):units", 2) == parse_residual(f"units:{word}(trait)", 2) == (expected, ())


@pytest.mark.parametrize("text", ["at(site):us(trait):units", "us(trait):at(site):units", "at( site ):units:us(trait)"])
def test_parse_residual__groups(text):
    assert parse_residual(text, 2) == ("us", ("site",))
    assert parse_residual("at(site):units", 1) == ("idv", ("site",))


def test_parse_residual__units_alone_is_for_one_trait():
    assert parse_residual("units", 1) == ("idv", ())
    with pytest.raises(SpecError, match="the residual 'units' does not say how it acts on the traits"):
        parse_residual("units", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("us(trait)", r"the residual 'us\(trait\)' is not understood; write for example us\(trait\):units"),
        ("", r"the residual '' is not understood"),
        ("us(trait):units:units", r"the residual .* is not understood"),
        ("a:us(trait):units", r"the residual .* is not understood"),
        ("at(a):at(b):us(trait):units", r"the residual .* is not understood"),
        (
            "at(trait, a):units + at(site):us(b):units",
            r"the residual .* has groups in some of its parts only; write at",
        ),
        ("us(a, b):us(c):units", r"the residual .* is not understood"),
        ("zz(a, b):units", r"'zz\(a, b\)' in the term 'zz\(a, b\):units' is not understood"),
        ("zz(trait):units", r"unknown covariance structure 'zz' in the term 'zz\(trait\):units'"),
        ("trait:units", r"'trait' in the term 'trait:units' is not understood"),
    ],
)
def test_parse_residual__raises(text, message):
    with pytest.raises(SpecError, match=message):
        parse_residual(text, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [("1", None)]),
        (" 1 + sex ", [("1 + sex", None)]),
        ("0 + sex:age", [("0 + sex:age", None)]),
        ("log(a + b) + C(x)", [("log(a + b) + C(x)", None)]),
        ("1 + at(trait, y1):age", [("1", None), ("age", ("y1",))]),
        ("at(trait, y1, y2):age:sex + 1", [("1", None), ("age:sex", ("y1", "y2"))]),
        ("at(trait, y1):age", [("1", None), ("age", ("y1",))]),
        ("at(trait, y1):1 + at(trait, y2):1", [("0", None), ("1", ("y1",)), ("1", ("y2",))]),
    ],
)
def test_parse_fixed__terms(text, expected):
    assert parse_fixed(text) == tuple(FixedTerm(formula=f, traits=t) for f, t in expected)


@given(
    st.lists(names, min_size=1, max_size=3),
    st.lists(st.tuples(names, st.lists(names, min_size=1, max_size=2, unique=True)), max_size=3),
)
def test_parse_fixed__reads_what_it_writes(common, restricted):
    terms = (
        FixedTerm(formula=" + ".join(common)),
        *(FixedTerm(formula=formula, traits=tuple(traits)) for formula, traits in restricted),
    )
    assert parse_fixed(" + ".join(map(str, terms))) == terms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 + ", r"an empty fixed term in '1 \+ ': check for a '\+' too many"),
        ("", r"an empty fixed term in ''"),
        ("1 + at(trait, y1)", r"'at\(trait, y1\)' restricts nothing; write at\(trait, name\):effect"),
        ("at(site, a):x", r"'at\(site, a\)' in the term .* is not understood"),
        ("at(trait, 3):x", r"'3' in the term .* is not a column name"),
        ("log(x", r"unbalanced brackets in 'log\(x': a '\)' is missing"),
    ],
)
def test_parse_fixed__raises(text, message):
    with pytest.raises(SpecError, match=message):
        parse_fixed(text)


@given(st.lists(st.from_regex(r"[a-z]{0,3}(\([a-z+:]{0,4}\))?", fullmatch=True), min_size=1, max_size=5))
def test_split_top__keeps_what_is_in_brackets(parts):
    assert split_top(" + ".join(parts), "+") == parts


@pytest.mark.parametrize("text", ["[a + b]", "{a + b}", "f(a + [b + c])"])
def test_split_top__all_brackets(text):
    assert split_top(text, "+") == [text]


def test_trait_prefix__cases():
    assert trait_prefix("us", None) == "us(trait)"
    assert trait_prefix("idv", ("a",)) == "at(trait, a)"
    assert trait_prefix("us", ("a",)) == "at(trait, a):us(trait)"
    assert trait_prefix("idv", ("a", "b")) == "at(trait, a, b):idv(trait)"
