"""The command init: a model file beside the table, that check takes as it is."""

import pandas as pd
import pytest
from test_commands import folder, trial  # noqa: F401 - a fixture

from bayesmv.model.spec import ModelSpec


@pytest.fixture
def table(folder):  # noqa: F811
    trial().drop(columns=["age"], errors="ignore").to_csv(folder.path / "trees.csv", index=False)
    return folder


def test_init__writes_a_file_that_check_takes(table):
    assert table.run("init", table.path / "trees.csv") == 0
    target = table.path / "trees.toml"
    assert f"wrote {target}; next: bayesmv check {target}" in table.err
    spec = ModelSpec.from_file(target)
    assert (spec.data, spec.unit) == ("trees.csv", "tree")
    assert table.run("check", target) == 0


def test_init__to_the_screen_and_to_another_folder(table):
    assert table.run("init", table.path / "trees.csv", "-o", "-", "--traits", "bden") == 0
    assert 'traits = ["bden"]' in table.out
    assert not (table.path / "trees.toml").exists()
    (table.path / "models").mkdir()
    target = table.path / "models" / "first.toml"
    assert table.run("init", table.path / "trees.csv", "-o", target) == 0
    assert ModelSpec.from_file(target).data == "../trees.csv"
    assert table.run("check", target) == 0


def test_init__with_a_pedigree(table):
    pedigree = pd.DataFrame({"id": [f"F{i}" for i in range(10)], "sire": None, "dam": None})
    pedigree.to_csv(table.path / "ped.csv", index=False, sep=";")
    assert table.run("init", table.path / "trees.csv", "--pedigree", table.path / "ped.csv") == 0
    spec = ModelSpec.from_file(table.path / "trees.toml")
    assert spec.relationships == {"A": {"pedigree": "ped.csv"}}
    assert "vm(Family, A)" in spec.random_formula
    assert table.run("check", table.path / "trees.toml") == 0


def test_init__replaces_nothing(table):
    (table.path / "trees.toml").write_text("mine")
    assert table.run("init", table.path / "trees.csv") == 2
    assert "exists and is not replaced; name another file by -o, or -o - for the screen" in table.err
    assert (table.path / "trees.toml").read_text() == "mine"


def test_init__says_what_is_lacking(table):
    trial()[["tree", "Block"]].to_csv(table.path / "none.csv", index=False)
    assert table.run("init", table.path / "none.csv") == 2
    assert "no column looks like a trait" in table.err
