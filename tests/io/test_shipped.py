"""Model files that come with the package: found by name, copied, never overwritten."""

from pathlib import Path

import pytest

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.io import shipped
from bayesmv.io.shipped import copy_model, find_model, shipped_models

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shipped_models__are_those_of_the_repository():
    assert shipped_models() == {path.stem: path for path in sorted(MODELS.glob("*.toml"))}
    assert len(shipped_models()) > 20


def test_shipped_models__name_no_file_beside_them():
    """A copy works in any folder: data and pedigrees are those of the package."""
    for path in shipped_models().values():
        spec = bmv.ModelSpec.from_file(path)
        sources = [spec.data, *(entry["pedigree"] for entry in spec.relationships.values())]
        assert all(source.startswith("dataset:") for source in sources)


def test_shipped_models__within_the_package_come_first(empty, monkeypatch):
    """As in a wheel, which holds them inside the package."""
    (empty / "inside").mkdir()
    (empty / "inside" / "mine.toml").write_text('traits = ["y"]')
    monkeypatch.setattr(shipped, "_HOMES", (empty / "inside", MODELS))
    assert list(shipped_models()) == ["mine"]
    monkeypatch.setattr(shipped, "_HOMES", (empty / "nowhere",))
    assert shipped_models() == {}


@pytest.mark.parametrize("name", ["canty_us", "canty_us.toml"])
def test_find_model__by_name(name):
    assert find_model(name) == MODELS / "canty_us.toml"
    assert bmv.load_design(name).spec == bmv.load_design(MODELS / "canty_us.toml").spec


@pytest.mark.parametrize("name", ["canty_us", "canty_us.toml"])
def test_find_model__a_file_comes_before_a_name(empty, name):
    (empty / name).write_text('traits = ["y"]')
    assert find_model(name) == Path(name)


def test_find_model__a_path_is_no_name():
    assert find_model("models/canty_us.toml") == Path("models/canty_us.toml")
    with pytest.raises(SpecError, match=r"no model file 'models/canty_us.toml'"):
        bmv.load_design("models/canty_us.toml")


def test_find_model__raises_on_a_word_that_is_neither():
    with pytest.raises(SpecError, match="no model file 'canti_us', and no model of that name is shipped; see"):
        bmv.load_design("canti_us")
    with pytest.raises(SpecError, match=r"no model file 'canti_us.toml'"):
        bmv.load_design("canti_us.toml")


def test_copy_model__is_the_file(empty):
    assert copy_model("canty_us") == Path("canty_us.toml")
    assert (empty / "canty_us.toml").read_bytes() == (MODELS / "canty_us.toml").read_bytes()
    assert copy_model("ril_us.toml", "lines.toml") == Path("lines.toml")
    assert (empty / "lines.toml").read_bytes() == (MODELS / "ril_us.toml").read_bytes()


def test_copy_model__overwrites_nothing(empty):
    (empty / "canty_us.toml").write_text("mine")
    with pytest.raises(SpecError, match=r"'canty_us.toml' exists and is not overwritten; name another file with -o"):
        copy_model("canty_us")
    assert (empty / "canty_us.toml").read_text() == "mine"


def test_copy_model__raises_on_an_unknown_name(empty):
    with pytest.raises(SpecError, match=r"no shipped model 'cants'; shipped are 'breeding_.*\(and \d+ more\); see"):
        copy_model("cants")
    assert list(empty.iterdir()) == []
