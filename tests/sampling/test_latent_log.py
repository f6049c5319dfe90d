"""Draws of traits that are not Gaussian written as a run goes."""

import numpy as np
import pytest
from not_gaussian import design, keeper_and_run

import bayesmv as bmv
from bayesmv.sampling.chains import Chains
from bayesmv.sampling.latent import _Log
from bayesmv.sampling.settings import SamplerSettings
from bayesmv.sampling.trace import tree_writer


def test_log__writes_the_draws_of_all_batches_so_far(tmp_path):
    d = design(("z",), random="f")
    keeper, run = keeper_and_run(d, np.arange(3), n=6)
    log = _Log(keeper, SamplerSettings(), tree_writer(tmp_path / "so_far.nc"))
    chains = Chains.of(run)
    log.look(chains.take([0, 1], [4, 5]))
    first = bmv.load_posterior(str(tmp_path / "so_far.nc"))
    assert first.attrs["interrupted"] == 1
    assert first["posterior"].sizes["draw"] == 4
    log.before = chains
    log.look(chains.take([0, 1], [2, 2]))
    both = bmv.load_posterior(str(tmp_path / "so_far.nc"))["posterior"].to_dataset()
    assert both.sizes["draw"] == 8
    np.testing.assert_allclose(both["f_cov"].to_numpy()[:, :4], first["posterior"]["f_cov"].to_numpy())
    assert both["f_effect"].shape[2] == 3


def test_log__before_the_first_draw_writes_nothing(tmp_path):
    keeper, run = keeper_and_run(design(("z",), random="f"), np.arange(3))
    log = _Log(keeper, SamplerSettings(), tree_writer(tmp_path / "so_far.nc"))
    log.look(Chains.of(run).take([0, 1], [0, 0]))
    assert not (tmp_path / "so_far.nc").exists()


def test_tree_writer__says_once_where_it_cannot_write(tmp_path):
    keeper, run = keeper_and_run(design(("z",), random="f"), np.arange(3))
    write = tree_writer(tmp_path / "no" / "folder" / "t.nc")
    trace = keeper.trace(run, SamplerSettings(), True)
    with pytest.warns(UserWarning, match="cannot write the draws so far"):
        write(trace)
    write(trace)  # without a warning, which would be an error here
