"""Hostile inputs: every one of them ends in an answer or in one line, in time, and leaves the files as they were."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kind_data
import kind_formulas
import kind_models
import kind_outputs
import kind_pedigrees
import kind_posteriors
import kind_words
from harness import MODEL, model, names_are_different, run_case, trial

import bayesmv as bmv

MODULES = (kind_models, kind_formulas, kind_data, kind_pedigrees, kind_words, kind_outputs, kind_posteriors)
KINDS = {module.__name__.removeprefix("kind_"): module.CASES for module in MODULES}


def test_there_are_hundreds_of_them():
    assert sum(map(len, KINDS.values())) >= 300
    assert all(map(names_are_different, KINDS.values()))


@pytest.fixture(scope="module")
def compiled():
    """Kernels are compiled before the clock runs: engines, sampler."""
    table, missing = trial(), trial().assign(veloc=trial()["veloc"].where(trial().index % 7 > 0))
    text = model('[genetic]\nterm = "Family"\n', random='"us(leg(age, 1)):Family"', traits='["bden"]')
    for records, spec in ((table, MODEL), (missing, MODEL), (table, text)):
        design = bmv.build_design(bmv.ModelSpec.from_toml(spec), records)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bmv.sample(design, draws=2, tune=2, chains=1, seed=1)
        bmv.identifiability(design)
    # Kernels that are compiled for large models only.
    line = pd.DataFrame({"id": [f"F{i}" for i in range(20000)], "sire": [None, *(f"F{i}" for i in range(19999))]})
    relationship = bmv.Relationship.from_pedigree(line.assign(dam=None))
    spec = bmv.ModelSpec.from_toml(model(random='"us(trait):vm(Family, A)"'))
    assert len(bmv.fit_reml(bmv.build_design(spec, table, {"A": relationship})).fixed)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("kind", KINDS)
def test_every_second_one_is_clean(kind, tmp_path, monkeypatch, capsys):
    check(kind, KINDS[kind][::2], tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("kind", KINDS)
def test_all_are_clean(kind, tmp_path, monkeypatch, capsys):
    check(kind, KINDS[kind], tmp_path, monkeypatch, capsys)


def check(kind, cases, tmp_path, monkeypatch, capsys):
    """Run the inputs of a kind, and say of each that is not clean why."""
    counts, problems = Counter(clean=0, traceback=0, hang=0, wrong=0), []
    for number, case in enumerate(cases):
        outcome, why = run_case(case, tmp_path / str(number), monkeypatch, capsys)
        counts[outcome] += 1
        if outcome != "clean":
            problems.append(f"{outcome}: {case.name}: {why}")
    with capsys.disabled():
        print(f"\n{kind}: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    assert not problems, "\n" + "\n".join(problems)
