"""REML fits on disk: the same tables, comparisons, fixed effects and BLUPs without the engine."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from traces import incomplete, make_design, records, trace_of

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.model.genetic import Genetic

HALF_SIB = Genetic(term="family", relationship="half-sib", phenotypic=("family", "Residual"))


def fits():
    data = incomplete(records(families=20))
    grouped = records(families=20).assign(site=lambda d: np.where(d["block"].isin(["L0", "L1"]), "A", "B"))
    yield "us", make_design(data=data, genetic=HALF_SIB)
    yield "fa", make_design("fa(trait, 1):family", records(t=4, families=20), fixed="1 + x")
    yield "groups", make_design("diag(trait):family", grouped, residual="at(site):us(trait):units")
    yield "slope", make_design("us(trait:1 + x):family", records(families=20), genetic=Genetic(term="family"))


@pytest.fixture(scope="module", params=["us", "fa", "groups", "slope"])
def saved(request, tmp_path_factory):
    """A fit, and what was read back of it."""
    fit = bmv.fit_reml(dict(fits())[request.param])
    path = tmp_path_factory.mktemp("fit") / "fit.nc"
    fit.to_netcdf(path)
    return fit, bmv.load_fit(path)


def test_load_fit__tables_are_the_same(saved):
    fit, again = saved
    pd.testing.assert_frame_equal(again.varcomp, fit.varcomp)
    pd.testing.assert_frame_equal(again.fixed, fit.fixed, check_dtype=False)
    for name in fit.record.names[:-1]:
        pd.testing.assert_frame_equal(again.effects(name), fit.effects(name), check_dtype=False)
        pd.testing.assert_frame_equal(
            bmv.breeding_values(again, name), bmv.breeding_values(fit, name), check_dtype=False
        )
    for name in fit.record.names:
        np.testing.assert_array_equal(again.covariances[name], fit.covariances[name])
        pd.testing.assert_frame_equal(bmv.correlation_matrix(again, name), bmv.correlation_matrix(fit, name))
    assert (again.loglik, again.aic, again.bic) == (fit.loglik, fit.aic, fit.bic)
    assert (again.at_boundary, again.ranks, again.converged) == (fit.at_boundary, fit.ranks, fit.converged)
    assert (again.engine_name, again.iterations, again.given) == (fit.engine_name, fit.iterations, fit.given)
    if fit.record.genetic:
        pd.testing.assert_frame_equal(bmv.genetic_parameters(again), bmv.genetic_parameters(fit))


def test_load_fit__comparisons_need_no_engine(saved):
    fit, again = saved
    trace = trace_of(fit.design, reml=fit)
    pd.testing.assert_frame_equal(bmv.compare_reml(trace, again), bmv.compare_reml(trace, fit))
    assert again.record.differences(fit.record) == ()


def test_load_fit__what_needs_records_is_refused(saved):
    _, again = saved
    for part in ("design", "engine", "equations"):
        with pytest.raises(SpecError, match=r"a loaded fit holds no records.*build the design and fit it again"):
            getattr(again, part)
    with pytest.raises(SpecError, match="no random term 'nobody'"):
        again.effects("nobody")


def test_load_fit__likelihood_ratio_of_loaded_fits(tmp_path):
    data = incomplete(records(families=20))
    both = [bmv.fit_reml(make_design(f"{word}(trait):block + us(trait):family", data)) for word in ("diag", "us")]
    for name, fit in zip("ab", both, strict=True):
        fit.to_netcdf(tmp_path / f"{name}.nc")
    loaded = [bmv.load_fit(tmp_path / f"{name}.nc") for name in "ab"]
    assert bmv.likelihood_ratio(*loaded) == bmv.likelihood_ratio(*both)
    pd.testing.assert_frame_equal(bmv.compare_models(loaded), bmv.compare_models(both))
    with pytest.raises(SpecError, match="different data"):
        bmv.likelihood_ratio(loaded[0], bmv.fit_reml(make_design(data=incomplete(records(families=20), seed=9))))


def test_to_netcdf__has_the_dimensions_of_a_posterior(tmp_path):
    fit = bmv.fit_reml(make_design())
    fit.to_netcdf(tmp_path / "fit.nc")
    estimates = xr.open_datatree(tmp_path / "fit.nc")["estimates"].to_dataset()
    posterior = trace_of(fit.design, effects=True)["posterior"].to_dataset()
    for name in ("block_cov", "family_corr", "Residual_sd", "fixed", "block_effect"):
        assert estimates[name].dims == posterior[name].dims[2:]
    np.testing.assert_allclose(
        estimates["family_cov_se"].sel(trait="y1", trait_other="y2"), fit.component("family", 1, 0)[1]
    )
    np.testing.assert_array_equal(estimates["family_effect"].to_numpy().reshape(-1), fit.effects("family")["blup"])


def test_load_fit__raises(tmp_path):
    with pytest.raises(SpecError, match="no file"):
        bmv.load_fit(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("not netCDF\n" * 50)
    with pytest.raises(SpecError, match=r"cannot read '.*text\.nc' as netCDF"):
        bmv.load_fit(tmp_path / "text.nc")
    trace_of(make_design()).to_netcdf(tmp_path / "draws.nc")
    with pytest.raises(SpecError, match="holds no REML fit; groups: "):
        bmv.load_fit(tmp_path / "draws.nc")


def test_to_netcdf__leaves_what_was_there_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "fit.nc"
    fit = bmv.fit_reml(make_design())
    fit.to_netcdf(path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", full)
    with pytest.raises(OSError, match="No space left"):
        fit.to_netcdf(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["fit.nc"]
