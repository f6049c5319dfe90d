"""``bayesmv models``: shipped models listed and copied, and taken by name by the other commands."""

import json

import pytest

import bayesmv as bmv
from bayesmv.cli import commands as cli
from bayesmv.io.shipped import shipped_models


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The command line in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr("sys.argv", ["bayesmv", *words])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        return ending.value.code or 0, *capsys.readouterr()

    return call


def test_models__lists_name_title_and_model(run):
    code, out, err = run("models")
    assert (code, err) == (0, "")
    words = out.split()
    assert [name for name in words if name in shipped_models()] == list(shipped_models())
    title = "Wood quality of a progeny trial: all covariances unstructured"
    assert title in out
    assert f"{title} {bmv.load_design('canty_us').spec}" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 100


def test_models__json(run):
    code, out, _ = run("models", "--json")
    rows = json.loads(out)["models"]
    assert code == 0
    assert [row["name"] for row in rows] == list(shipped_models())
    assert all(row["title"] and " ~ " in row["model"] for row in rows)


def test_models_copy__writes_a_model_that_runs(run, tmp_path):
    assert run("models", "copy", "canty_us") == (0, "", "wrote canty_us.toml\n")
    assert run("models", "copy", "canty_diag", "-o", "mine.toml") == (0, "", "wrote mine.toml\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canty_us.toml", "mine.toml"]
    code, out, _ = run("rank", "canty_us.toml", "mine.toml", "--csv")
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == ["mine", "canty_us"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["canty_us"], "'canty_us.toml' exists and is not overwritten"),
        (["canty_us", "-o", "canty_us.toml"], "'canty_us.toml' exists and is not overwritten"),
        (["cants"], "no shipped model 'cants'"),
        (["ril_us", "-o", "."], "cannot write '.': it is a folder; name a file"),
        (["ril_us", "-o", "no/where.toml"], "cannot write 'no/where.toml': there is no folder 'no'"),
        ([], "Missing argument 'name'"),
    ],
)
def test_models_copy__refuses_in_one_line(run, tmp_path, words, message):
    (tmp_path / "canty_us.toml").write_text("mine")
    code, out, err = run("models", "copy", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"bayesmv: {message}")
    assert (tmp_path / "canty_us.toml").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_commands__take_the_name_of_a_shipped_model(run):
    code, out, _ = run("reml", "canty_us")
    assert code == 0
    assert "logLik -1872.163" in out
    assert run("reml", "canty_us.toml")[:2] == (code, out)
    code, out, _ = run("rank", "canty_us", "canty_diag", "--csv")
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == ["canty_diag", "canty_us"]


def test_commands__refuse_a_word_that_is_no_model(run):
    expected = "bayesmv: no model file 'canti', and no model of that name is shipped; see bayesmv models\n"
    assert run("check", "canti") == (2, "", expected)


def test_simulate__of_a_shipped_model_writes_beside_no_other(run, tmp_path):
    assert run("simulate", "canty_us", "-o", "new.csv")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]
