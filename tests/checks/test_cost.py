"""Engine, reasons and cost: which are given for which design, and in which words."""

import numpy as np
import pandas as pd
import pytest
from traces import incomplete, make_design, records

from bayesmv.checks import cost as module
from bayesmv.checks.cost import Outlook, duration, outlook
from bayesmv.likelihood import MixedModelLikelihood, StrataLikelihood, likelihood
from bayesmv.likelihood.choose import choose
from bayesmv.likelihood.spectral.engine import SpectralLikelihood
from bayesmv.posterior import dear
from bayesmv.relationship.relationship import Relationship

#: Engines of one random term, which have the same obstacles but for missing records.
TABLES = ("spectral", "covariates")
STRATA, SPECTRAL, SPARSE = (e.name for e in (StrataLikelihood, SpectralLikelihood, MixedModelLikelihood))


def animals(n=1600):
    """More animals than the strata engine takes, with two traits."""
    rng = np.random.default_rng(1)
    parents = [np.where(np.arange(n) < 40, 0, 1 + rng.integers(0, 20, n) + 20 * k) for k in (0, 1)]
    A = Relationship.from_pedigree(pd.DataFrame({"id": 1 + np.arange(n), "sire": parents[0], "dam": parents[1]}))
    return pd.DataFrame({"animal": 1 + np.arange(n), "y1": rng.normal(size=n), "y2": rng.normal(size=n)}), A


def one_term(data, A):
    return make_design("us(trait):vm(animal, A)", data, A=A)


@pytest.fixture(scope="module")
def herd():
    return animals()


@pytest.mark.parametrize(
    ("make", "engine", "reasons"),
    [
        (lambda: make_design(), STRATA, {}),
        (
            lambda: make_design(data=incomplete(records())),
            SPARSE,
            {"strata": r"\d+ records are missing", **dict.fromkeys(TABLES, "there are 2 random terms, not one")},
        ),
        (
            lambda: make_design(data=records().iloc[1:]),
            SPARSE,
            {
                "strata": "its terms are not balanced against each other",
                **dict.fromkeys(TABLES, "there are 2 random terms, not one"),
            },
        ),
        (
            lambda: make_design("at(trait, y1):us(trait):family"),
            SPARSE,
            {
                "strata": "the traits differ in their fixed effects or random terms",
                **dict.fromkeys(TABLES, "the term 'family_y1' does not act on all traits alike"),
            },
        ),
        (
            lambda: make_design("us(trait):family", records(families=300, blocks=1).iloc[1:]),
            SPECTRAL,
            {"strata": "levels have different numbers of units"},
        ),
        (lambda: one_term(*animals()), SPECTRAL, {"strata": "1600 levels are more than 1500"}),
        (
            lambda: make_design(""),
            SPARSE,
            {"strata": "there are no random terms", **dict.fromkeys(TABLES, "there are 0 random terms")},
        ),
    ],
)
def test_outlook__engine_and_reasons(make, engine, reasons):
    design = make()
    got = outlook(design)
    assert got.engine == engine == likelihood(design).name
    assert list(got.reasons) == list(reasons)
    for name, reason in reasons.items():
        assert pd.Series(got.reasons[name]).str.match(reason).all(), got.reasons[name]
    assert got.reasons == choose(design).reasons
    assert 0.0 < got.evaluation < 1.0


def test_outlook__the_spectral_engine_has_its_table_predicted(herd):
    got = outlook(one_term(*herd))
    assert 0.0 < got.preparation < 60.0
    assert got.complete is None
    assert "for its table (predicted); a posterior takes some 34,000" in got.lines[-1]


def test_outlook__what_complete_records_would_save(herd, monkeypatch):
    data, A = herd
    design = one_term(incomplete(data, 0.2), A)
    monkeypatch.setattr(module, "_SLOW", 0.0)
    got = outlook(design)
    assert got.engine == SPARSE
    assert got.complete.engine == SPECTRAL
    assert got.complete.evaluation < got.evaluation
    assert got.lines[0].startswith("not the strata or the spectral engine: ")
    assert got.lines[-1].startswith("were no records missing, the spectral engine would take")
    monkeypatch.setattr(module, "_SLOW", 1e9)
    assert outlook(design).complete is None


def test_outlook__few_missing_records_of_many_animals():
    rng = np.random.default_rng(1)
    parents = [[0 if i < 100 else 1 + rng.integers(0, i // 2) + k * (i // 2) for i in range(1200)] for k in (0, 1)]
    A = Relationship.from_pedigree(pd.DataFrame({"id": 1 + np.arange(1200), "sire": parents[0], "dam": parents[1]}))
    data = pd.DataFrame({"animal": 1 + np.arange(1200), "y1": rng.normal(size=1200), "y2": rng.normal(size=1200)})
    data.loc[[5, 70], "y1"] = np.nan
    got = outlook(one_term(data, A))
    assert got.engine == "covariates"
    assert got.reasons["spectral"] == "2 records are missing"
    assert 0.0 < got.preparation < 60.0
    assert 0.0 < got.evaluation < 0.1


def test_outlook__complete_records_would_not_help_two_terms(monkeypatch):
    monkeypatch.setattr(module, "_SLOW", 0.0)
    assert outlook(make_design(data=incomplete(records()))).complete is None


def test_outlook__words():
    complete = Outlook(engine="spectral", reasons={}, evaluation=2e-5, preparation=1.5)
    got = Outlook(engine="sparse", reasons={"strata": "a", "spectral": "b"}, evaluation=0.02, complete=complete)
    assert got.lines == (
        "not the strata engine: a",
        "not the spectral engine: b",
        "one evaluation: 20 ms of CPU (measured); a posterior takes some 34,000",
        "were no records missing, the spectral engine would take 20 µs, some 1,000 times less, "
        "after 1.5 s for its table (predicted)",
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.14e-5, "31 µs"), (0.9994e-3, "999 µs"), (0.0042, "4.2 ms"), (2.0, "2.0 s"), (750.0, "750 s")],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_outlook__says_where_draws_are_of_weighted_points(monkeypatch):
    design = make_design(data=incomplete(records()))
    assert not outlook(design).by_values
    monkeypatch.setattr(dear, "_DEAR", 0.0)
    found = outlook(design)
    assert found.by_values
    assert any(line.endswith("2,000 values by weighted points, each less than half of that") for line in found.lines)
