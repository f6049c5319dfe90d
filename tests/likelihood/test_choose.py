"""Choice of the engine: which one a design gets, and why not another."""

import numpy as np
import pandas as pd
import pytest
from test_engines import ROWS, any_model, complete_blocks, many_families

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.likelihood import MixedModelLikelihood, StrataLikelihood, likelihood, strata
from bayesmv.likelihood.choose import ENGINES, choose
from bayesmv.likelihood.protocol import Offer
from bayesmv.likelihood.spectral import engine as spectral
from bayesmv.likelihood.spectral.engine import SpectralLikelihood

#: Engines of one random term, which have the same obstacles but for missing records.
TABLES = ("spectral", "covariates")


@pytest.fixture
def trial():
    """A design that strata serve, and the spectral engine does not."""
    return complete_blocks().design


@pytest.fixture
def families():
    """A design that the spectral engine serves, and strata do not."""
    return many_families().design


@pytest.mark.parametrize(
    ("serving", "reasons"),
    [
        (StrataLikelihood, {}),
        (SpectralLikelihood, {"strata": "levels have different numbers of units"}),
        (
            MixedModelLikelihood,
            {"strata": "16 records are missing", **dict.fromkeys(TABLES, "there are 2 random terms, not one")},
        ),
    ],
)
def test_choose__first_without_an_obstacle(serving, reasons):
    design = ROWS[serving]().design
    choice = choose(design)
    assert choice.engine is serving
    assert choice.name == serving.name
    assert choice.reasons == reasons
    assert choice.cost == serving.offer(design).cost > 0
    assert type(likelihood(design)) is type(choice.offer.prepare(False)) is serving


def test_choose__predicted_costs_rank_the_engines_as_they_are_listed(trial, families):
    """Of those that can serve a design: what ``auto`` takes is what a rule by cost would take."""
    for design in (trial, families):
        costs = [offer.cost for offer in (engine.offer(design) for engine in ENGINES) if offer.obstacle is None]
        assert costs == sorted(costs)
        assert len(costs) == 2


def test_choose__many_strata_are_left_to_the_spectral_engine():
    """A dense relationship has a stratum for every line: the table of a spectrum has a few dozen nodes."""
    rng = np.random.default_rng(1)
    Z = rng.normal(size=(250, 400))
    ids = [f"L{i}" for i in range(250)]
    G = bmv.Relationship.from_covariance(pd.DataFrame(Z @ Z.T / 400 + 0.01 * np.eye(250), index=ids, columns=ids))
    data = pd.DataFrame({"line": ids, "y": rng.normal(size=250), "w": rng.normal(size=250)})
    spec = bmv.ModelSpec.from_formula("y + w ~ 1", random="us(trait):vm(line, G)")
    design = bmv.build_design(spec, data, {"G": G})
    choice = choose(design)
    assert choice.name == "spectral"
    assert "times as long as by another" in choice.reasons["strata"]
    assert choice.cost < StrataLikelihood.offer(design).cost


def test_choose__cost_is_infinite_where_there_is_an_obstacle():
    assert StrataLikelihood.offer(any_model().design).cost == np.inf


def test_choose__engines_known_to_be_refused_are_not_asked(trial, monkeypatch):
    monkeypatch.setattr(strata, "find_strata", lambda _: pytest.fail("asked"))
    choice = choose(trial, {"strata": "no"})
    assert choice.engine is MixedModelLikelihood
    assert choice.reasons == {"strata": "no", **dict.fromkeys(TABLES, "there are 2 random terms, not one")}


def test_choose__raises_where_no_engine_is_left(trial):
    with pytest.raises(SpecError, match=r"no engine can serve this design: .*'sparse': 'no'"):
        choose(trial, {engine.name: "no" for engine in ENGINES})


def test_likelihood__strata_are_looked_for_once(trial, monkeypatch):
    found = []
    monkeypatch.setattr(strata, "find_strata", lambda design, find=strata.find_strata: found.append(1) or find(design))
    assert isinstance(likelihood(trial), StrataLikelihood)
    assert len(found) == 1


def test_likelihood__by_name(trial, families):
    assert isinstance(likelihood(trial, "sparse"), MixedModelLikelihood)
    assert isinstance(likelihood(families, "sparse"), MixedModelLikelihood)
    assert isinstance(likelihood(families, "spectral"), SpectralLikelihood)


@pytest.mark.parametrize(
    ("word", "reason"), [("strata", "16 records are missing"), ("spectral", "there are 2 random terms, not one")]
)
def test_likelihood__raises_if_the_engine_cannot_serve_the_design(word, reason):
    with pytest.raises(SpecError, match=f"the {word} engine cannot serve this design: {reason}; use engine='auto'"):
        likelihood(any_model().design, word)


def test_likelihood__raises_on_unknown_engine(trial):
    with pytest.raises(
        SpecError, match=r"unknown engine 'dense'; engines: auto, strata, spectral, covariates, sparse$"
    ):
        likelihood(trial, "dense")


def refuse(*_, **__):
    raise SpecError("not accurate")


def test_likelihood__auto_takes_the_next_where_the_table_is_refused(families, monkeypatch):
    monkeypatch.setattr(spectral, "build_table", refuse)
    assert isinstance(likelihood(families), MixedModelLikelihood)
    with pytest.raises(SpecError, match="not accurate"):
        likelihood(families, "spectral")


def test_likelihood__auto_does_not_hide_an_error_of_the_last_engine(monkeypatch):
    monkeypatch.setattr(MixedModelLikelihood, "offer", classmethod(lambda *_: Offer(cost=1.0, prepare=refuse)))
    with pytest.raises(SpecError, match="not accurate"):
        likelihood(any_model().design)
