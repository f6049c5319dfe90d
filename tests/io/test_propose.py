"""First models of tables: what columns are taken for, and why; the file is a model file as it is."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError
from bayesmv.io.files import load_design
from bayesmv.io.tables import read_table

#: Model that an experienced person would begin with, for each shipped data set: traits, fixed, random, genetic term.
SHIPPED = {
    "canty": (("bden", "veloc"), "1", "us(trait):Block + us(trait):Family", ("Family", "half-sib")),
    "canty_complete": (("bden", "veloc"), "1", "us(trait):Block + us(trait):Family", ("Family", "half-sib")),
    "ril": (("heading", "height", "grain_yield"), "1 + Block", "us(trait):line", ("line", "line")),
    "breeding": (
        ("wwt", "fat"),
        "1 + sex + C(year)",
        "us(trait):litter + us(trait):vm(animal, A)",
        ("animal", "animal"),
    ),
    "calves": (("weight",), "1 + sex + C(year)", "idv(trait):vm(calf, A) + idv(trait):dam", ("calf", "animal")),
    "growth": (
        ("weight",),
        "1 + sex + age",
        "idv(trait):vm(animal, A) + idv(trait):ide(animal)",
        ("animal", "animal"),
    ),
    "pens": (("gain",), "1", "idv(trait):pen + idv(trait):vm(pig, A)", ("pig", "animal")),
    "sites": (
        ("yield",),
        "1 + site",
        "idv(trait):block + idv(trait):variety + idv(trait):variety:site",
        ("variety", "line"),
    ),
}


def pedigree_of(name):
    try:
        return bmv.load_pedigree(name)
    except (ValueError, KeyError):
        return None


@pytest.mark.parametrize("name", SHIPPED)
def test_propose__shipped_data(name):
    traits, fixed, random, genetic = SHIPPED[name]
    spec = bmv.propose(bmv.load_dataset(name), pedigree_of(name)).spec
    assert spec.traits == traits
    assert (spec.fixed_formula, spec.random_formula) == (fixed, random)
    assert spec.genetic is not None
    assert (spec.genetic.term, spec.genetic.relationship) == genetic


@pytest.mark.parametrize("name", ["canty", "breeding", "sites"])
def test_propose__its_file_builds_a_design(tmp_path, name):
    bmv.load_dataset(name).to_csv(tmp_path / "data.csv", index=False)
    pedigree = pedigree_of(name)
    if pedigree is not None:
        pedigree.to_csv(tmp_path / "ped.csv", index=False)
    kin = None if pedigree is None else read_table(tmp_path / "ped.csv")
    proposal = bmv.propose(read_table(tmp_path / "data.csv"), kin, data_file="data.csv", pedigree_file="ped.csv")
    (tmp_path / "model.toml").write_text(proposal.to_toml(), encoding="utf-8")
    design = load_design(tmp_path / "model.toml")
    assert design.spec.random_formula == proposal.spec.random_formula == SHIPPED[name][2]


def trial(**columns):
    rng = np.random.default_rng(1)
    n = 120
    data = {
        "plot": np.arange(n) + 1,
        "rep": np.arange(n) % 6 + 1,
        "family": [f"F{k:02d}" for k in np.arange(n) // 6 % 20],
        "height": rng.normal(10.0, 2.0, n).round(2),
    }
    return pd.DataFrame(data | columns)


def roles(table, *args, **options):
    return {c.column: (c.role, c.reason) for c in bmv.propose(table, *args, **options).choices}


N = 120
#: Column, what it is taken for and why.
RULES = [
    ("plot", {}, "unit", "names each of the 120 rows"),
    ("rep", {}, "random", "6 levels of 20.0 rows, by its name a block"),
    ("rep", {"rep": np.arange(N) % 3}, "fixed", "3 levels of 40.0 rows: too few for a variance"),
    ("family", {}, "family", "20 levels of 6.0 rows, by its name a family"),
    ("sex", {"sex": ["m", "f"] * (N // 2)}, "fixed", "2 levels"),
    ("year", {"year": 2000 + np.arange(N) % 4}, "fixed", "4 years"),
    ("year", {"year": 1980 + np.arange(N) % 20}, "random", "20 years"),
    ("age", {"age": np.arange(N) % 40 + 2.5}, "fixed", "a covariate by its name"),
    ("row", {"row": np.arange(N) // 12}, "none", "a position in the field"),
    ("score", {"score": np.arange(N) % 4}, "none", "4 different values: no trait with normal residuals"),
    ("cm", {"cm": trial()["height"] * 100.0}, "none", "the trait 'height' in other units"),
    ("trial", {"trial": "T1"}, "none", "the same in all rows"),
    ("note", {"note": [f"said {k}" for k in range(N)]}, "none", "another name of the rows"),
    ("colour", {"colour": ["red", "blue"] * (N // 2)}, "fixed", "2 levels of words"),
    ("bloque", {"bloque": [f"b{k % 8}" for k in range(N)]}, "random", "8 levels of 15.0 rows, by its name a block"),
    ("famille", {"family": 1.0, "famille": [f"f{k % 30}" for k in range(N)]}, "family", "30 levels of 4.0 rows"),
    ("Vater", {"family": 1.0, "Vater": [f"v{k % 30}" for k in range(N)]}, "family", "30 sires, of 4.0 records each"),
]


@pytest.mark.parametrize(("column", "changes", "role", "reason"), RULES)
def test_rules__role_and_reason(column, changes, role, reason):
    found = roles(trial(**changes))[column]
    assert found[0] == role
    assert found[1].startswith(reason)


def test_rules__further_traits_stand_as_a_comment():
    rng = np.random.default_rng(2)
    table = trial(**{f"t{k}": rng.normal(size=N) for k in range(4)})
    proposal = bmv.propose(table)
    assert proposal.spec.traits == ("height", "t0", "t1")
    assert "# also: t2, t3" in proposal.to_toml()
    assert bmv.propose(table, traits=["t3"]).spec.traits == ("t3",)


def test_rules__blocks_nested_in_sites():
    site = np.random.default_rng(5).permutation(np.repeat(["A", "B"], N // 2))
    proposal = bmv.propose(trial(site=site))
    assert proposal.spec.random_formula == "idv(trait):site:rep + idv(trait):family + idv(trait):family:site"
    assert "its labels come again at each site, where they are others" in proposal.to_toml()
    assert 'a variance at each site, and covariances: random = "site:rep + us(site):family"' in proposal.to_toml()


def test_rules__plots_of_several_trees_stand_as_a_comment():
    table = pd.concat([trial(), trial().assign(plot=np.arange(N) + 1 + N)], ignore_index=True)
    assert 'random = "rep + family + rep:family"' in bmv.propose(table).to_toml()


def test_rules__pedigree_in_the_table_itself(tmp_path):
    rows = [(f"a{i}", "", "") for i in range(10)] + [(f"a{i}", f"a{i % 4}", f"a{4 + i % 6}") for i in range(10, 60)]
    table = pd.DataFrame(rows, columns=["animal", "sire", "dam"]).replace("", None)
    table["weight"] = np.random.default_rng(3).normal(50.0, 5.0, 60).round(1)
    table.to_csv(tmp_path / "data.csv", index=False)
    proposal = bmv.propose(read_table(tmp_path / "data.csv"), data_file="data.csv")
    assert proposal.entries["relationships.A"] == {"pedigree": "data.csv", "id": "animal", "sire": "sire", "dam": "dam"}
    (tmp_path / "model.toml").write_text(proposal.to_toml())
    assert len(load_design(tmp_path / "model.toml").terms[0].levels) == 60


def test_rules__pedigree_with_other_names_and_dams_without_sires():
    table = pd.DataFrame({"tree": [f"t{i}" for i in range(40)], "female": [f"m{i % 8}" for i in range(40)]})
    table["height"] = np.random.default_rng(4).normal(size=40)
    pedigree = pd.DataFrame({"tree_id": table["tree"], "father": None, "mother": table["female"]})
    pedigree = pedigree.rename(columns={"tree_id": "individual"})
    proposal = bmv.propose(table, pedigree)
    assert proposal.spec.random_formula == "idv(trait):vm(tree, A)"
    assert proposal.entries["relationships.A"] == {
        "pedigree": "pedigree.csv",
        "id": "individual",
        "sire": "father",
        "dam": "mother",
    }
    assert "beside unknown sires no variance of its own could be told" in proposal.to_toml()


def test_propose__raises():
    with pytest.raises(
        DataError, match=r"no column looks like a trait, numbers of 8 different values or more; name those"
    ):
        bmv.propose(trial().drop(columns="height"))
    with pytest.raises(
        DataError, match=r"nothing groups the rows: no animal of a pedigree, family, line or block with"
    ):
        bmv.propose(trial().drop(columns=["rep", "family"]))
    with pytest.raises(SpecError, match=r"the trait 'dbh' is not a column of the data; columns: 'plot', 'rep'"):
        bmv.propose(trial(), traits=["dbh"])
