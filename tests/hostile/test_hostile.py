"""Hostile inputs: every one of them ends in an answer or in one line, in time, and leaves the files as they were."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import data
import formulas
import outputs
import pedigrees
import posteriors
import words
from harness import MODEL, model, names_are_different, run_case, trial

import bayesmv as bmv
import models

KINDS = {module.__name__: module.CASES for module in (models, formulas, data, pedigrees, words, outputs, posteriors)}


def test_there_are_hundreds_of_them():
    assert sum(map(len, KINDS.values())) >= 300
    assert all(map(names_are_different, KINDS.values()))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Kernels are compiled before the clock runs: engines, sampler."""
    table, missing = trial(), trial().assign(veloc=trial()["veloc"].where(trial().index % 7 > 0))
    text = model('[genetic]\nterm = "Family"\n', random='"us(leg(age, 1)):Family"', traits='["bden"]')
    for records, spec in ((table, MODEL), (missing, MODEL), (table, text)):
        design = bmv.build_design(bmv.ModelSpec.from_toml(spec), records)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bmv.sample(design, draws=2, tune=2, chains=1, seed=1)
        bmv.identifiability(design)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("kind", KINDS)
def test_all_are_clean(kind, tmp_path, monkeypatch, capsys):
    counts, problems = Counter(clean=0, traceback=0, hang=0, wrong=0), []
    for number, case in enumerate(KINDS[kind]):
        outcome, why = run_case(case, tmp_path / str(number), monkeypatch, capsys)
        counts[outcome] += 1
        if outcome != "clean":
            problems.append(f"{outcome}: {case.name}: {why}")
    with capsys.disabled():
        print(f"\n{kind}: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    assert not problems, "\n" + "\n".join(problems)
