"""Runs of traits that are not Gaussian taken up where they were ended; batches are points near the mode."""

import numpy as np
import pytest
from not_gaussian import design, keeper_and_run

import bayesmv as bmv
from bayesmv.likelihood.latent.engine import Undefined
from bayesmv.sampling import latent
from bayesmv.sampling.chains import Chains
from bayesmv.sampling.settings import SamplerSettings

WORDS = {"chains": 2, "seed": 1, "tune": 5}


@pytest.fixture
def batches(monkeypatch):
    """Arguments of the batches that are asked for; what they draw are points near the mode, anew each time."""
    asked = []

    def run(model, words, log):
        asked.append(words)
        _, near = keeper_and_run(design(("z",), random="f"), np.arange(3), n=words["draws"])
        chains = Chains.of(near)
        return chains.take(range(words["chains"]), [words["draws"]] * words["chains"])

    monkeypatch.setattr(latent, "run_nuts", run)
    return asked


def part(chains, draws):
    """Trace of a run that was ended before its time."""
    keeper, run = keeper_and_run(design(("z",), random="f"), np.arange(3), n=draws)
    run = Chains.of(run).take(range(chains), [draws] * chains).run()
    return keeper.trace(run, SamplerSettings(draws=10, **WORDS), True)


def test_resume__draws_what_is_left_after_what_there_is(batches, tmp_path):
    part(2, 4).to_netcdf(tmp_path / "t.nc")
    d = design(("z",), random="f")
    trace = bmv.sample(d, resume=tmp_path / "t.nc")
    assert [(words["draws"], words["chains"]) for words in batches] == [(6, 2)]
    assert trace["posterior"].sizes["draw"] == trace["sample_stats"].sizes["draw"] == 10
    before = part(2, 4)["posterior"]["f_cov"].to_numpy()
    np.testing.assert_allclose(trace["posterior"]["f_cov"].to_numpy()[:, :4], before)
    assert "interrupted" not in trace.attrs
    again = bmv.sample(d, resume=trace, draws=12)
    assert batches[-1]["draws"] == 2
    assert batches[-1]["seed"] != batches[0]["seed"]
    np.testing.assert_array_equal(again["posterior"]["draw"], np.arange(12))


def test_resume__draws_chains_that_had_not_begun(batches):
    trace = bmv.sample(design(("z",), random="f"), resume=part(1, 4))
    assert [(words["draws"], words["chains"]) for words in batches] == [(4, 1), (6, 2)]
    assert dict(trace["posterior"].sizes) | {"chain": 2, "draw": 10} == dict(trace["posterior"].sizes)


def test_resume__what_is_complete_is_returned(batches):
    trace = bmv.sample(design(("z",), random="f"), resume=part(2, 10))
    assert not batches
    assert trace["posterior"].sizes["draw"] == 10


def test_sample__says_so_where_no_mode_is_found(monkeypatch):
    def nothing(*_):
        raise Undefined

    monkeypatch.setattr(latent, "LatentMap", nothing)
    with pytest.raises(bmv.SpecError, match="no mode that could be found: look at the records of 'z'"):
        bmv.sample(design(("z",), random="f"), draws=5)


@pytest.mark.parametrize(
    ("traits", "words", "message"),
    [
        (("z",), {"seed": 2}, "keeps its settings"),
        (("z",), {"effects": True}, "holds no effects of 'f', or not of all levels"),
        (("c",), {}, "the run to resume"),
        (("z",), {"priors": {"f": bmv.CovariancePrior(sd=bmv.HalfNormal(3.0))}}, "has other priors of 'f'"),
    ],
)
def test_resume__mistakes(batches, traits, words, message):
    with pytest.raises(bmv.SpecError, match=message):
        bmv.sample(design(traits, random="f"), resume=part(2, 4), **words)
    assert not batches
