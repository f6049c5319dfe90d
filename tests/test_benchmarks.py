"""What `make bench` prints, and how it runs other programs; no benchmark is run."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import answers
import peers
from answers import Answer, Problem, Row


def test_table__ratio_of_effective_draws_and_of_times():
    sampled = Row(
        case="a",
        ours=Answer(cpu=2.0, ess=5000.0),
        peers={"MCMCglmm": Answer(cpu=10.0, ess=500.0), "x": Answer(cpu=1, ess=1)},
    )
    fitted = Row(case="b", ours=Answer(cpu=0.5), peers={"lme4": Answer(cpu=2.0)})
    assert answers.table([sampled, fitted]).splitlines()[2:] == [
        "| a | 2 | 5,000 | 2,500 | MCMCglmm 50 per s, ratio 50; x 1 per s, ratio 2,500 |",
        "| b | 0.5 |  |  | lme4 2 s, ratio 4 |",
    ]


def test_cpu_seconds__counts_child_processes():
    begin = answers.cpu_seconds()
    peers.subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert answers.cpu_seconds() - begin > 0.05


def test_missing__no_rscript(monkeypatch):
    monkeypatch.setattr(peers.shutil, "which", lambda _: None)
    assert peers.missing.__wrapped__("MCMCglmm") == "no Rscript"


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="no Rscript")
def test_missing__no_such_package():
    assert peers.missing("nosuchpackage") == "R has no package nosuchpackage"


def test_run__hands_over_the_problem_and_reads_the_answer(monkeypatch, tmp_path):
    """A stand-in for Rscript writes what it was given, and draws that are ready."""
    script, draws = tmp_path / "Rscript", np.random.default_rng(1).normal(size=(200, 2))
    pd.DataFrame(draws).to_csv(tmp_path / "ready.csv", index=False)
    script.write_text(
        f'#!/bin/sh\nhead -3 "$3" > {tmp_path}/seen\necho "$1 $4 $5 $6 $8" >> {tmp_path}/seen\n'
        f'cp {tmp_path}/ready.csv "$7"\necho 2.5 NA\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    data = pd.DataFrame({"animal": ["c", "b"], "y1": [1.0, np.nan], "y2": [2.0, 3.0]})
    pedigree = pd.DataFrame({"id": ["c", "a", "b"], "sire": ["a", None, None], "dam": ["b", None, None]})
    problem = Problem(data=data, pedigree=pedigree, traits=("y1", "y2"), terms=("animal",))
    assert peers.run("MCMCglmm", problem, 100) == Answer(cpu=2.5, ess=answers.worst_of_draws(draws[None]))
    header, *rows, words = (tmp_path / "seen").read_text().splitlines()
    assert header == "animal,sire,dam"
    assert {"a,NA,NA", "b,NA,NA"} == set(rows)
    assert words == f"{peers.HERE / 'MCMCglmm.R'} y1,y2 animal - 100"


def test_run__says_what_the_script_said(monkeypatch, tmp_path):
    script = tmp_path / "Rscript"
    script.write_text("#!/bin/sh\necho singular >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(RuntimeError, match=r"sommer\.R failed: singular"):
        peers.run("sommer", answers.trial())
