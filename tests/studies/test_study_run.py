"""Runs of studies: rows, resumption, failures, coverage."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bayesmv as bmv
from bayesmv.cli.commands import app
from bayesmv.errors import DataError, SpecError
from bayesmv.studies import fits, run, store

TEXT = """
name = "trial"
methods = ["delta", "z", "profile"]
[models.us]
traits = ["a", "b"]
random = "us(trait):family"
[models.us.genetic]
term = "family"
relationship = "full-sib"
[[simulate]]
name = "full-sibs"
replicates = 3
factors = { family = 24 }
units = 5
heritability = 0.5
genetic_correlation = 0.5
"""


def spec(*changes, text=TEXT):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return bmv.StudySpec.from_toml(text)


def untimed(rows):
    return rows.drop(columns="seconds")


def test_rows__are_those_of_the_fits(tmp_path):
    rows = bmv.study(spec(), tmp_path / "out")
    assert len(rows) == 3 * 3 * 3
    assert (rows["failure"] == "").all()
    free = rows[(rows["parameter"] == "genetic correlation") & (rows["verdict"] == "free")]["replicate"].iloc[0]
    case = spec().cases[free]
    data = fits.data_of(spec(), case, spec().models["us"])
    fit = bmv.fit_reml(bmv.build_design(spec().models["us"], data.table))
    mine = rows[(rows["replicate"] == free) & (rows["parameter"] == "genetic correlation")].set_index("method")
    value, error, _ = fit.component("family", 1, 0, as_correlation=True)
    assert mine["estimate"].to_numpy() == pytest.approx([value] * 3)
    assert (mine["truth"] == 0.5).all()
    assert mine.loc["delta", "high"] == pytest.approx(value + 1.959964 * error)
    assert mine.loc["z", "low"] == pytest.approx(np.tanh(np.arctanh(value) - 1.959964 * error / (1 - value**2)))
    profile = bmv.profile(fit, "genetic correlation")
    assert (mine.loc["profile", "low"], mine.loc["profile", "high"]) == pytest.approx(
        (profile.low, profile.high), abs=2e-3
    )


def test_run__goes_on_where_it_was_ended(tmp_path, monkeypatch):
    folder, whole = tmp_path / "out", bmv.study(spec(), tmp_path / "whole")
    ran = []

    def ended(study, case, run_case=run.run_case):
        ran.append(case.key)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return run_case(study, case)

    monkeypatch.setattr(run, "run_case", ended)
    with pytest.raises(KeyboardInterrupt):
        bmv.study(spec(), folder)
    assert len(store.Store(folder).rows()) == 2 * 9
    pd.testing.assert_frame_equal(untimed(bmv.study(spec(), folder)), untimed(whole))
    assert len(ran) == 4
    more = bmv.study(spec(("replicates = 3", "replicates = 4")), folder)
    assert len(ran) == 5
    pd.testing.assert_frame_equal(untimed(more[more["replicate"] < 3].reset_index(drop=True)), untimed(whole))


def test_folder__of_other_things_is_refused(tmp_path):
    bmv.study(spec(("replicates = 3", "replicates = 1")), tmp_path / "out")
    with pytest.raises(DataError, match="holds the results of another study"):
        bmv.study(spec(("0.5\n", "0.6\n")), tmp_path / "out")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty and holds no study"):
        bmv.study(spec(), tmp_path)
    with pytest.raises(DataError, match="holds no results of a study"):
        bmv.study_summary(tmp_path / "nothing")


def test_what_fails__is_a_row(tmp_path, monkeypatch):
    whole = fits.fit_reml
    monkeypatch.setattr(fits, "fit_reml", lambda d: whole(d) if d.response[0, 0] > 0 else 1 / 0)
    rows = bmv.study(spec(), tmp_path / "out")
    failed = rows[rows["failure"] != ""]
    assert 0 < failed["replicate"].nunique() < 3
    assert (failed["failure"] == "ZeroDivisionError: division by zero").all()
    summary = bmv.study_summary(rows)
    lost = failed["replicate"].nunique()
    row = summary[(summary["parameter"] == "genetic correlation") & (summary["method"] == "delta")].iloc[0]
    assert row["n"] == 3 - lost
    assert row["failed"] == pytest.approx(lost / 3)


def test_full_disk__loses_no_whole_part(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    monkeypatch.setattr(run, "_PART", 0.0)
    write, count = pd.DataFrame.to_parquet, []

    def full(self, path, **words):
        count.append(path)
        write(self, path, **words)
        if len(count) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        bmv.study(spec(), folder)
    assert not list(folder.glob(".part*"))
    assert len(store.Store(folder).rows()) >= 9
    assert len(bmv.study(spec(), folder)) == 27


def test_max_cpu__ends_the_run(tmp_path):
    rows = bmv.study(spec(), tmp_path / "out", max_cpu=0.0)
    assert set(rows["replicate"]) == {0}


def test_summary__has_the_measures_of_its_rows():
    rows = pd.DataFrame(
        {
            "key": list("abcd"), "case": "c", "at_family": 10, "replicate": range(4), "model": "us", "prior": "",
            "method": "delta", "parameter": "heritability", "term": "", "trait_i": "a", "trait_j": "a", "truth": 0.5,
            "estimate": [0.4, 0.7, 0.5, np.nan], "low": [0.2, 0.6, 0.3, np.nan], "high": [0.6, 0.8, 0.7, np.nan],
            "verdict": ["free", "free", "free", "boundary"], "seconds": [1.0, 1, 1, 3], "failure": "",
        }
    )  # fmt: skip
    row = bmv.study_summary(rows).iloc[0]
    assert row["bias"] == pytest.approx(0.1 / 3)
    assert row["rmse"] == pytest.approx(np.sqrt((0.01 + 0.04) / 3))
    assert (row["covered"], row["covered_of_all"]) == pytest.approx((2 / 3, 0.5))
    assert row["covered_of_all_mc"] == pytest.approx(0.25)
    assert (row["boundary"], row["intervals"], row["seconds"]) == (0.25, 0.75, 1.5)
    assert row["width"] == pytest.approx(0.4)


def test_bootstrap__is_about_the_estimate(tmp_path):
    text = (
        ('["delta", "z", "profile"]', '["bootstrap"]'),
        ("[models.us]", "\n[models.us]"),
        ('name = "trial"', "bootstrap = 40"),
    )
    rows = bmv.study(spec(*text, ("replicates = 3", "replicates = 1")), tmp_path / "out")
    assert (rows["failure"] == "").all()
    assert (rows["low"] < rows["high"]).all()
    assert ((rows["low"] - 0.1 < rows["estimate"]) & (rows["estimate"] < rows["high"] + 0.1)).all()


def test_command__prints_the_summary_and_writes_a_page(tmp_path):
    path, folder = tmp_path / "study.toml", tmp_path / "out"
    path.write_text(TEXT)
    words = [
        "study",
        str(path),
        "-o",
        str(folder),
        "--page",
        str(tmp_path / "s.html"),
        "--plot",
        str(tmp_path / "s.png"),
    ]
    out = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "3 data sets" in out.stdout
    assert "profile" in (tmp_path / "s.html").read_text()
    assert (tmp_path / "s.png").stat().st_size > 1000
    table = CliRunner().invoke(app, [*words[:4], "--csv"], catch_exceptions=False).stdout
    assert len(table.splitlines()) == 1 + 3 * 2
    with pytest.raises(SpecError, match=r"its name must end in \.html"):
        CliRunner().invoke(app, [*words[:4], "--page", "x.txt"], catch_exceptions=False)


def test_workers__must_be_some(tmp_path):
    with pytest.raises(SpecError, match="workers must be at least 1"):
        bmv.study(spec(), tmp_path / "out", workers=0)


@pytest.mark.slow
def test_workers__do_not_change_the_results_nor_does_a_killed_one(tmp_path):
    """Two processes, one of them killed: the same rows as one process."""
    distributed = pytest.importorskip("distributed")
    study = spec(("replicates = 3", "replicates = 12"))
    alone = bmv.study(study, tmp_path / "one")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        killed = []
        add = store.Store.add

        def kill_one(self, rows):
            if not killed:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)
            add(self, rows)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "_PART", 0.0)
            patch.setattr(store.Store, "add", kill_one)
            both = bmv.study(study, tmp_path / "two", client=client)
    assert killed
    pd.testing.assert_frame_equal(untimed(both), untimed(alone))


@pytest.mark.slow
def test_killed_run__is_taken_up(tmp_path):
    folder = tmp_path / "out"
    study = tmp_path / "study.toml"
    study.write_text(TEXT.replace("replicates = 3", "replicates = 200"))
    code = f"""
        from bayesmv.studies import run, study
        run._PART = 0.2
        study({str(study)!r}, {str(folder)!r})
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    end = time.monotonic() + 120
    while time.monotonic() < end and len(list(folder.glob("part-*"))) < 2:
        time.sleep(0.1)
    process.kill()
    process.wait()
    before = store.Store(folder).rows()
    assert 0 < before["key"].nunique() < 200
    few = bmv.StudySpec.from_toml(TEXT.replace("replicates = 3", f"replicates = {before['replicate'].max() + 3}"))
    rows = bmv.study(few, folder)
    assert rows["key"].nunique() == len(few.cases)
    whole = bmv.study(few, tmp_path / "whole")
    pd.testing.assert_frame_equal(untimed(rows), untimed(whole))


@pytest.mark.slow
def test_killed_scheduler__ends_the_run_with_what_was_done(tmp_path, monkeypatch):
    """A scheduler in a process of its own, killed when the first rows are written."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(run, "_PART", 0.0)
    address = "tcp://127.0.0.1:18786"
    python = [sys.executable, "-m"]
    scheduler = subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", "--port", "18786", "--no-dashboard"], stderr=subprocess.DEVNULL
    )
    worker = subprocess.Popen(
        [*python, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"],
        stderr=subprocess.DEVNULL,
    )
    add = store.Store.add

    def then_kill(self, rows):
        add(self, rows)
        scheduler.kill()

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store.Store, "add", then_kill)
            with pytest.raises(OSError, match="the connection to the Dask scheduler was lost"):
                bmv.study(spec(("replicates = 3", "replicates = 60")), tmp_path / "out", scheduler=address)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    assert len(store.Store(tmp_path / "out").rows()) > 0
