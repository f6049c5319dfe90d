"""Random terms: names, terms of several factors, and one term at each level of a column."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmv.errors import SpecError
from bayesmv.model.factors import Column, Overlay, Pair
from bayesmv.model.formula import parse_random
from bayesmv.model.genetic import Genetic
from bayesmv.model.spec import ModelSpec
from bayesmv.model.terms import Condition
from bayesmv.priors.declarations import CovariancePrior


def spec(random, traits="y", **words):
    return ModelSpec.from_formula(f"{traits} ~ 1", random=random, **words)


@pytest.mark.parametrize(
    ("random", "names"),
    [
        ("Block:Family", ["Block:Family"]),
        ("site/Block", ["site", "site:Block"]),
        ("site/Block/plot", ["site", "site:Block", "site:Block:plot"]),
        ("site/Block:plot", ["site", "site:Block:plot"]),
        ("vm(id, A) + vm(id, D)", ["id.A", "id.D"]),
        ("vm(id, A) + vm(id, D) + ide(id)", ["id.A", "id.D", "id_ide"]),
        ("gen + idv(site):gen", ["gen", "gen.site"]),
        ("gen + gen:site", ["gen", "gen:site"]),
        ("vm(line, G) + vm(line, G):vm(env, W)", ["line", "line:env"]),
        ("vm(id, A) + dominance = vm(id, D)", ["id", "dominance"]),
        ("`non-additive` = vm(id, D)", ["non-additive"]),
        ("at(site, A):Block", ["Block.A"]),
        ("at(site, A, B):Block", ["Block.A", "Block.B"]),
        ("at(site, A):at(year, 2019):Block", ["Block.A.2019"]),
        ("at(site):Block + at(site):Block:plot", ["Block.site", "Block:plot.site"]),
        ("overlay(sire, dam) + pair(sire, dam)", ["sire+dam", "sire:dam"]),
        ("ps(day) + ps(day):animal", ["ps(day)", "ps(day):animal"]),
        ("at(trait, y):Block", ["Block_y"]),
    ],
)
def test_names(random, names):
    assert [term.name for term in spec(random).random] == names


def test_names__of_several_traits():
    random = "us(trait):vm(id, A) + at(trait, a):vm(id, D) + us(trait):Block:Family"
    assert [t.name for t in spec(random, "a + b").random] == ["id", "id_a", "Block:Family"]


@pytest.mark.parametrize(
    ("random", "same"),
    [
        ("us(trait):id(Block)", "us(trait):Block"),
        ("us(trait):idv(Block)", "us(trait):Block"),
        ("us(trait):site/Block", "us(trait):site + us(trait):site:Block"),
        ("us(trait):a:b/c", "us(trait):a:b + us(trait):a:b:c"),
        ("at(site, A, B):us(trait):Block", "at(site, A):us(trait):Block + at(site, B):us(trait):Block"),
        ("us(trait):at(site, `A B`):Block", "at(site, `A B`):us(trait):Block"),
        ("us(trait):vm(overlay(sire,dam),A)", "us(trait):vm(overlay(sire, dam), A)"),
    ],
)
def test_parse_random__means_the_same(random, same):
    assert parse_random(random, 2) == parse_random(same, 2)


@pytest.mark.parametrize(
    "random",
    [
        "us(trait):vm(line, G):vm(env, W) + us(trait):line:env",
        "at(site, A):us(trait):vm(id, A) + at(site):diag(trait):Block + at(`my site`, `A B`):us(trait):Block:plot",
        "us(trait):vm(id, A) + us(trait):vm(id, D) + D2 = us(trait):vm(id, D) + `a name` = us(trait):ide(id)",
        "us(trait):vm(overlay(sire, dam), A) + us(trait):pair(sire, dam) + us(trait):ps(day, 12):vm(animal, A)",
        "at(trait, b):ps(day) + at(site, A):us(trait:leg(age, 2)):str(vm(animal, A), dam)",
    ],
)
def test_parse_random__reads_what_it_writes(random):
    once = spec(random, "a + b")
    again = spec(once.random_formula, "a + b")
    assert again.random == once.random
    assert again.random_formula == once.random_formula


@given(
    st.lists(st.sampled_from(["a", "b", "vm(c, K)", "ide(c)", "overlay(d, e)", "pair(d, e)", "ps(x, 9)"]), min_size=1)
)
def test_parse_random__products_read_what_they_write(factors):
    text = "us(trait):" + ":".join(dict.fromkeys(factors))
    (term,) = parse_random(text, 2)
    assert parse_random(str(term), 2) == (term,)
    assert len(term.factors) == len(set(factors))


def test_terms__given_by_name(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text(
        'traits = ["a", "b"]\nrandom = "us(trait):vm(id, A)"\n[terms]\ndominance = "us(trait):vm(id, D)"\n'
        '"within pen" = "diag(trait):pen:id"\n[priors.dominance]\neta = 2.0\n'
    )
    read = ModelSpec.from_file(path)
    assert [term.name for term in read.random] == ["id", "dominance", "within pen"]
    assert read.random_formula == (
        "us(trait):vm(id, A) + dominance = us(trait):vm(id, D) + `within pen` = diag(trait):pen:id"
    )
    assert ModelSpec.from_toml(read.to_toml()).random == read.random
    terms = {"dominance": "us(trait):vm(id, D)", "within pen": "diag(trait):pen:id"}
    assert spec("us(trait):vm(id, A)", "a + b", terms=terms).random == read.random


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "[terms]\nd = 3",
            r"\[terms\] must hold random terms by name, such as dominance = \"us\(trait\):vm\(id, D\)\"",
        ),
        ('[terms]\nd = " "', r"\[terms\] must hold random terms by name"),
        ('[terms]\nd = "site/Block"', r"the term 'd' must be one random term without another name, not 'site/Block'"),
        ('[terms]\nd = "e = Block"', r"the term 'd' must be one random term without another name"),
        ('random = "Block"\n[terms]\nBlock = "pen"', r"two random terms are called 'Block'; name them, as in shade"),
        ('[terms]\nResidual = "pen"', r"'Residual' is the name of the residual"),
        (
            'random = "g"\n[genetic]\nterm = "g"\nadditive = "g"',
            r"\[genetic\] needs 'term' \(or 'additive', the same\)",
        ),
        (
            'random = "g"\n[genetic]\nterm = "g"\ndominance = "d"',
            r"the dominance term 'd' is not a random term; random",
        ),
        ('random = "g"\n[genetic]\nterm = "g"\ndominance = []', r"'dominance' in \[genetic\] must be a list of terms"),
    ],
)
def test_terms__raises(tmp_path, table, message):
    path = tmp_path / "model.toml"
    path.write_text('traits = ["a"]\n' + table)
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_file(path)


def test_genetic__roles_read_back(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text(
        'traits = ["a"]\nrandom = "vm(id, A) + vm(id, D) + vm(id, AA) + ide(id) + dam"\n[genetic]\n'
        'additive = "id.A"\ndominance = "id.D"\nepistasis = ["id.AA"]\nmaternal = "dam"\nenvironment = "id_ide"\n'
    )
    read = ModelSpec.from_file(path)
    assert read.genetic == Genetic(
        term="id.A", dominance="id.D", epistasis=("id.AA",), maternal="dam", environment=("id_ide",)
    )
    assert ModelSpec.from_toml(read.to_toml()).genetic == read.genetic


def test_at_each__writes_out_terms_with_their_priors_and_roles():
    prior = CovariancePrior(eta=3.0)
    whole = spec(
        "at(site):Block + line",
        priors={"Block.site": prior},
        constraints={"Block.site": {"sd": 1.0}},
        genetic=Genetic(term="line", relationship="line", phenotypic=("Block.site", "line", "Residual")),
    )
    assert whole.split_by == ("site",)
    out = whole.at_each("site", ["A", "B"])
    assert [str(t) for t in out.random] == [
        "at(site, A):idv(trait):Block",
        "at(site, B):idv(trait):Block",
        "idv(trait):line",
    ]
    assert out.priors == {"Block.A": prior, "Block.B": prior}
    assert out.constraints == {"Block.A": {"sd": 1.0}, "Block.B": {"sd": 1.0}}
    assert out.genetic is not None
    assert out.genetic.phenotypic == ("Block.A", "Block.B", "line", "Residual")
    assert out.split_by == ()


def test_at_each__keeps_names_that_were_given():
    out = spec("shade = at(site):Block").at_each("site", ["A", "B"])
    assert [t.name for t in out.random] == ["shade.A", "shade.B"]
    assert ModelSpec.from_toml(out.to_toml()).random == out.random


def test_factors__columns_and_parents():
    (term,) = parse_random("at(site, A):us(trait:1 + age):str(vm(animal, A), dam)", 2)
    assert term.conditions == (Condition(column="site", level="A"),)
    assert term.factors == (Column(column="animal", relationship="A"),)
    assert term.columns == ("animal", "dam", "age", "site")
    overlay, pair = (parse_random(text, 1)[0].factors[0] for text in ("overlay(a, b, c)", "pair(a, b)"))
    assert overlay == Overlay(roles=("a", "b", "c"))
    assert pair == Pair(roles=("a", "b"))
    assert (overlay.parents, pair.parents) == (("a", "b", "c"), ("a", "b"))
