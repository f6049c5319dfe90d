"""The command line keeps what it has, says what it did, and tells a bug from bad input."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_commands import GENETIC, MODEL, TINY, folder, trial  # noqa: F401 - a fixture

import bayesmv as bmv
from bayesmv.cli import commands as cli
from bayesmv.report.documents import TABLES
from bayesmv.sampling.trace import load_posterior

NOTE = "2 units without a record of any trait were left out: 't3', 't8'"


@pytest.fixture
def noted(folder):  # noqa: F811
    """Folder with a model of a genetic term, and data of which something is left out."""
    data = trial()
    data.loc[[3, 8], ["bden", "veloc"]] = np.nan
    return folder.write(MODEL + GENETIC, data)


# ---------------------------------------------------------------- notes, tables, facts


@pytest.mark.parametrize("command", ["check", "reml", "rank"])
def test_notes__are_told_in_every_form(noted, command):
    other = noted.path / "small.toml"
    other.write_text((MODEL + GENETIC).replace("us(trait):Block", "diag(trait):Block"))
    words = (command, noted.model, other) if command == "rank" else (command, noted.model)
    assert noted.run(*words) == 0
    assert f"note: {NOTE}" in noted.out
    assert noted.run(*words, "--json") == 0
    assert json.loads(noted.out)["notes"] == [NOTE]
    assert noted.run(*words, "--csv") == 0
    assert noted.err == f"note: {NOTE}\n"
    assert "note" not in noted.out


@pytest.mark.parametrize("command", ["check", "reml"])
def test_table__every_one_by_name(noted, command):
    assert noted.run(command, noted.model, "--json") == 0
    answer = json.loads(noted.out)
    for name in set(TABLES[command]) - {"relationships", "families", "profile"}:  # not asked for, or none
        assert noted.run(command, noted.model, "--table", name) == 0
        assert pd.read_csv(io.StringIO(noted.out)).columns.tolist() == list(answer[name][0])
    assert noted.run(command, noted.model, "--table", "nosuch") == cli.BAD_INPUT
    assert noted.err.startswith(f"bayesmv: no table 'nosuch' of bayesmv {command}; tables: '{TABLES[command][0]}'")


def test_check__relationships_as_a_table(folder):  # noqa: F811
    pedigree = pd.DataFrame({"id": [f"F{i}" for i in range(10)], "sire": None, "dam": None})
    pedigree.loc[2:, ["sire", "dam"]] = ["F0", "F1"]
    pedigree.to_csv(folder.path / "ped.csv", index=False)
    folder.write(MODEL + '[relationships.Family]\npedigree = "ped.csv"\n')
    assert folder.run("check", folder.model, "--table", "relationships") == 0
    (row,) = pd.read_csv(io.StringIO(folder.out)).to_dict("records")
    assert (row["term"], row["levels"], row["recorded"], row["records"]) == ("Family", 10, 10, 100)
    A = bmv.Relationship.from_pedigree(pedigree)
    assert row["smallest"] == pytest.approx(np.linalg.eigvalsh(A.covariance())[0], rel=1e-3)
    assert row["nonzeros"] == A.precision.nnz / 10


def test_table__that_the_model_does_not_have(folder):  # noqa: F811
    assert folder.run("reml", folder.model, "--table", "genetic") == cli.BAD_INPUT
    assert folder.err == "bayesmv: no table 'genetic'; tables: 'varcomp', 'fixed'\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "compare"])
def test_json__holds_notes_engine_fixed_effects_and_reml(noted, command):
    assert noted.run(command, noted.model, *TINY, "--json") == cli.NOT_CONVERGED
    answer = json.loads(noted.out)
    assert answer["notes"] == [NOTE]
    assert (answer["engine"], answer["interrupted"], answer["draws"]) == ("sparse", False, 30)
    assert answer["reml"]["iterations"] == answer["iterations"] > 0
    assert {row["effect"] for row in answer["fixed"]} == {"1"} or answer["fixed"]
    assert set(TABLES[command]) <= set(answer)
    for name in set(TABLES[command]) - {"relationships", "families", "profile"}:  # not asked for, or none
        assert noted.run(command, noted.model, *TINY, "--table", name) == cli.NOT_CONVERGED
        assert len(pd.read_csv(io.StringIO(noted.out))) == len(answer[name])


# ---------------------------------------------------------------- what cannot be written


@pytest.mark.slow
def test_output__table_is_printed_if_the_disk_is_full(folder):  # noqa: F811
    picture = folder.path / "p.png"
    folder.monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    code = folder.run("compare", folder.model, *TINY, "-o", folder.path / "draws.nc", "--plot", picture)
    assert code == cli.BAD_INPUT
    assert "REML beside the posterior" in folder.out
    first, last = folder.err.splitlines()
    assert first == f"bayesmv: cannot write the draws so far to '{folder.path}/draws.nc': No space left on device"
    assert last == (
        f"bayesmv: cannot write the draws to '{folder.path}/draws.nc': No space left on device; "
        f"cannot write the picture to '{picture}': No space left on device"
    )
    assert sorted(p.name for p in folder.path.iterdir()) == ["model.toml", "trial.csv"]


def test_stdout__full(folder):  # noqa: F811
    with open("/dev/full", "w") as full:
        done = process("reml", folder.model, stdout=full)
    assert done.returncode == cli.BAD_INPUT
    assert done.stderr == "bayesmv: cannot write to standard output: No space left on device\n"


# ---------------------------------------------------------------- bugs


def broken(*_, **__):
    raise ZeroDivisionError("of [bold]something[/bold]\nelse")


def test_bug__is_not_blamed_on_the_user(folder):  # noqa: F811
    folder.monkeypatch.setattr("bayesmv.reml.fit.fit_reml", broken)
    assert folder.run("reml", folder.model) == cli.BUG
    assert folder.err.startswith("bayesmv: this is a bug of bayesmv ")
    assert "ZeroDivisionError at test_trust.py:" in folder.err
    assert "of [bold]something[/bold] else; please report what the same command prints with --debug" in folder.err
    assert folder.err.count("\n") == 1
    for words in (("--debug", "reml", folder.model), ("reml", folder.model, "--debug")):
        assert folder.run(*words) == cli.BUG
        assert "Traceback (most recent call last)" in folder.err


def test_debug__shows_where_bad_input_was_found(folder):  # noqa: F811
    assert folder.run("check", folder.path / "no.toml", "--debug") == cli.BAD_INPUT
    assert "Traceback" in folder.err
    assert folder.err.splitlines()[-1].startswith("bayesmv: no model file")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("Unable to allocate 7 TiB"), "out of memory: Unable to allocate 7 TiB; a smaller model"),
        (PermissionError(13, "Permission denied", "x.csv"), "Permission denied: 'x.csv'"),
    ],
)
def test_error__of_the_machine_is_one_line(folder, error, message):  # noqa: F811
    def fail(*_, **__):
        raise error

    folder.monkeypatch.setattr("bayesmv.reml.fit.fit_reml", fail)
    assert folder.run("reml", folder.model) == cli.BAD_INPUT
    assert folder.err.startswith(f"bayesmv: {message}")


def test_message__shows_what_would_move_the_cursor(folder):  # noqa: F811
    assert folder.run("check", "\x1b[2J.toml") == cli.BAD_INPUT
    assert folder.err == "bayesmv: no model file '\\x1b[2J.toml'\n"


# ---------------------------------------------------------------- interrupts


def interrupt(*_, **__):
    signal.raise_signal(signal.SIGINT)


def test_interrupt__of_reml_is_one_line(folder):  # noqa: F811
    before = signal.getsignal(signal.SIGINT)
    folder.monkeypatch.setattr("bayesmv.reml.fit.fit_reml", interrupt)
    assert folder.run("reml", folder.model) == cli.INTERRUPTED
    assert (folder.out, folder.err) == ("", "bayesmv: interrupted\n")
    assert signal.getsignal(signal.SIGINT) == before


def test_interrupt__by_a_request_to_end(folder):  # noqa: F811
    folder.monkeypatch.setattr("bayesmv.reml.fit.fit_reml", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert folder.run("reml", folder.model) == 128 + signal.SIGTERM


def process(*words, start=subprocess.run, **options):
    code = "import sys; sys.argv[0] = 'bayesmv'; from bayesmv.cli import main; main()"
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, **options.pop("env", {})}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return start([sys.executable, "-c", code, *map(str, words)], env=environment, **streams)


def begun(folder, *words):  # noqa: F811
    """A run of many draws, that has written some."""
    output = folder.path / "draws.nc"
    running = process(
        "sample", folder.model, "--draws", 100, "--min-ess", 10**6, "--cores", 1, "-o", output, *words,
        start=subprocess.Popen,
    )  # fmt: skip
    for _ in range(600):
        if output.exists() or running.poll() is not None:
            return running, output
        time.sleep(0.1)
    raise AssertionError("no draws within a minute")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_process__interrupted(folder, number, code):  # noqa: F811
    running, output = begun(folder)
    running.send_signal(number)
    out, err = running.communicate(timeout=120)
    assert running.returncode == code
    assert "INTERRUPTED: " in out
    assert "Posterior (co)variances" in out
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "bayesmv: interrupted"
    assert load_posterior(str(output)).attrs["interrupted"] == 1
    assert sorted(p.name for p in folder.path.iterdir()) == ["draws.nc", "model.toml", "trial.csv"]


@pytest.mark.slow
def test_process__killed_and_resumed(folder):  # noqa: F811
    running, output = begun(folder)
    running.kill()
    running.communicate(timeout=60)
    draws = load_posterior(str(output))["posterior"].sizes["draw"]
    assert draws >= 100
    done = process("sample", folder.model, "--resume", output, "--min-ess", 400, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"wrote the draws to {output}\n"
    trace = load_posterior(str(output))
    assert trace["posterior"].sizes["draw"] >= draws
    assert "interrupted" not in trace.attrs
    done = process("sample", folder.model, "--resume", output, "--seed", 5, timeout=120)
    assert done.returncode == cli.BAD_INPUT
    assert "a run that is resumed keeps its settings (seed 1); leave out 'seed'" in done.stderr


@pytest.mark.slow
def test_process__two_runs_with_one_output(folder):  # noqa: F811
    running, output = begun(folder)
    second = process("sample", folder.model, *TINY, "-o", output, timeout=120)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    said = second.stderr + err
    assert f"'{output}' was written by another run in the meantime, and is kept" in said
    sizes = [load_posterior(str(folder.path / name))["posterior"].sizes["draw"] for name in ("draws.nc", "draws.2.nc")]
    assert 30 in sizes
    assert max(sizes) > 30


# ---------------------------------------------------------------- terminals


#: One process for every encoding; the others are slow.
PLAIN = [("check", "ascii"), ("reml", "cp1252"), ("--help", "latin-1")]


@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        pytest.param(command, encoding, marks=[] if (command, encoding) in PLAIN else pytest.mark.slow)
        for command in ("check", "reml", "--help")
        for encoding in ("ascii", "latin-1", "cp1252")
    ],
)
def test_process__plain_characters(folder, encoding, command):  # noqa: F811
    folder.write((MODEL + GENETIC).replace("A small trial", "木 × – [/]"), trial().replace({"Family": {"F1": "Fö木"}}))
    words = ("--help",) if command == "--help" else (command, folder.model)
    done = process(*words, env={"PYTHONIOENCODING": encoding}, text=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.decode(encoding)) > 500
    if encoding == "ascii" and command == "check":
        assert "2 x 2" in done.stdout.decode()


@pytest.mark.slow
def test_process__closed_streams(folder):  # noqa: F811
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f"{sys.executable} -c 'from bayesmv.cli import main; main()' reml {folder.model} {closed}"
        done = subprocess.run(command, shell=True, capture_output=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
