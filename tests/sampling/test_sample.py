"""The posterior as a DataTree: its content with draws given (fast), and NUTS itself (slow)."""

import json
from functools import cache
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from oracles import Dense, simple_case
from scipy import integrate
from traces import incomplete, make_design, records, some_draws, trace_of

from bayesmv import dims
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.design.design import build_design, records_per_level
from bayesmv.design.model_record import ModelRecord
from bayesmv.errors import SpecError
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.io.files import load_design
from bayesmv.model.genetic import Genetic
from bayesmv.model.spec import ModelSpec
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.reml import fit_reml
from bayesmv.sampling.convergence import convergence, draw_statistics
from bayesmv.sampling.effects import effect_dataset, wanted_effects
from bayesmv.sampling.sample import _root_of_curvature, sample
from bayesmv.sampling.trace import covariance_dataset, load_posterior
from bayesmv.simulation.datasets import load_dataset

MODELS = "models/{}.toml"


# ---------------------------------------------------------------- covariances


@pytest.fixture(scope="module")
def design():
    return make_design("us(trait):block + at(trait, y3, y1):us(trait):family", incomplete(records(t=3)))


def test_covariance_dataset__dims_and_coords(design):
    theta = np.ones((2, 5, design.blocks.n_parameters))
    got = covariance_dataset(design, theta)
    assert dict(got.sizes) == {
        "chain": 2,
        "draw": 5,
        "trait": 3,
        "trait_other": 3,
        "family_y3_y1_trait": 2,
        "family_y3_y1_trait_other": 2,
    }
    assert set(got) == {f"{n}_{kind}" for n in ("block", "family_y3_y1", "Residual") for kind in ("cov", "corr", "sd")}
    assert got["block_cov"].dims == ("chain", "draw", "trait", "trait_other")
    assert got["block_sd"].dims == ("chain", "draw", "trait")
    assert got["family_y3_y1_corr"].dims == ("chain", "draw", "family_y3_y1_trait", "family_y3_y1_trait_other")
    for dim in ("trait", "trait_other"):
        assert got.coords[dim].to_numpy().tolist() == ["y1", "y2", "y3"]
        assert got.coords[f"family_y3_y1_{dim}"].to_numpy().tolist() == ["y3", "y1"]
    assert got.coords["draw"].to_numpy().tolist() == [0, 1, 2, 3, 4]


def test_covariance_dataset__units_of_the_data(design):
    theta = np.random.default_rng(3).normal(size=(2, 4, design.blocks.n_parameters))
    got = covariance_dataset(design, theta)
    for name, at, scale in zip(
        design.names, design.blocks.slices, (design.scale, design.scale[[2, 0]], design.scale), strict=True
    ):
        for chain, draw in np.ndindex(2, 4):
            m = len(scale)
            L = np.zeros((m, m))
            L[np.tril_indices(m)] = theta[chain, draw, at]
            sigma = np.diag(scale) @ L @ L.T @ np.diag(scale)
            sd = np.sqrt(np.diag(sigma))
            np.testing.assert_allclose(got[f"{name}_cov"][chain, draw], sigma, rtol=1e-12)
            np.testing.assert_allclose(got[f"{name}_sd"][chain, draw], sd, rtol=1e-12)
            np.testing.assert_allclose(got[f"{name}_corr"][chain, draw], sigma / np.outer(sd, sd), rtol=1e-12)


def test_records_per_level__harmonic_mean_over_levels_that_have_any():
    data = pd.DataFrame({"family": ["a"] * 4 + ["b"] * 2 + ["c"] * 2, "y1": [1.0, 5, 2, 8, 3, 9, np.nan, np.nan]})
    data["y2"] = [2.0, np.nan, np.nan, np.nan, 4, 4.5, 1, 7]
    got = records_per_level(make_design("us(trait):family", data), "family")
    np.testing.assert_allclose(got, [2 / (1 / 4 + 1 / 2), 3 / (1 / 1 + 1 / 2 + 1 / 2)])


# ---------------------------------------------------------------- effects


@pytest.fixture(scope="module")
def case():
    """Two terms, a covariate for one trait, incomplete records; and one value of the covariances, as x."""
    data = incomplete(records(blocks=3, families=4, plants=1), 0.2)
    case = simple_case(["y1", "y2"], "us(trait):block + at(trait, y2):family", data)
    x = some_draws(log_posterior(case.design), 1, 1)[0, 0]
    return case, x


@cache
def many_effects(n=4000):
    data = incomplete(records(blocks=3, families=4, plants=1), 0.2)
    design = simple_case(["y1", "y2"], "us(trait):block + at(trait, y2):family", data).design
    posterior = log_posterior(design)
    x = some_draws(posterior, 1, 1)[0, 0]
    theta = np.broadcast_to(posterior.coordinates.constrain(x), (2, n // 2, len(x)))
    return effect_dataset(design, theta, wanted_effects(design, True), np.random.default_rng(2))


def test_effect_dataset__dims_and_coords():
    got = many_effects()
    assert got["fixed"].dims == ("chain", "draw", "coefficient")
    assert got.coords["coefficient"].to_numpy().tolist() == ["y1:Intercept", "y2:Intercept"]
    assert got["block_effect"].dims == ("chain", "draw", "block_level", "trait")
    assert got["family_y2_effect"].dims == ("chain", "draw", "family_y2_level", "family_y2_trait")
    assert got.coords["family_y2_level"].to_numpy().tolist() == ["L0", "L1", "L2", "L3"]


def test_effect_dataset__mean_and_covariance_are_those_given_the_covariances(case):
    """Means to 5 standard errors, variances to 5 of theirs: a false alarm once in some 50,000 runs; seeded."""
    case, x = case
    posterior = log_posterior(case.design)
    sigmas = case.design.blocks.matrices(posterior.coordinates.constrain(x))
    units = [np.outer(s, s) for s in case.scales()]
    mean, cov = Dense(case, [S * u for S, u in zip(sigmas, units, strict=True)]).posterior
    got = many_effects()
    draws = np.concatenate(
        [got[v].to_numpy().reshape(4000, -1) for v in ("fixed", "block_effect", "family_y2_effect")], axis=1
    )
    sd = np.sqrt(np.diag(cov))
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - mean) / sd, 5.0 / np.sqrt(4000))
    correlation = cov / np.outer(sd, sd)
    standard = (draws - mean) / sd
    np.testing.assert_array_less(np.abs(standard.T @ standard / 4000 - correlation), 5.0 * np.sqrt(2.0 / 4000))


def test_effect_dataset__follows_each_draw_s_own_covariances():
    """With a residual of almost nothing the effects are the data's; with a term of almost nothing they vanish."""
    data = records(t=1, blocks=3, families=1, plants=5)
    posterior = log_posterior(make_design("us(trait):block", data))
    theta = np.array([[[1.0, 1e-4], [1e-4, 1.0]]])  # standard deviations
    got = effect_dataset(posterior.design, theta, {"block": np.arange(3)}, np.random.default_rng(1))
    means = data.groupby("block")["y1"].mean().to_numpy()
    sums = got["fixed"].to_numpy()[0, :, :1] + got["block_effect"].to_numpy()[0, ..., 0]
    scale = posterior.design.scale[0]
    np.testing.assert_allclose(sums[0], means, atol=1e-3 * scale)
    assert np.abs(got["block_effect"].to_numpy()[0, 1]).max() < 1e-3 * scale


# ---------------------------------------------------------------- the tree


@pytest.fixture(scope="module")
def trace():
    genetic = Genetic(term="family", relationship="half-sib", phenotypic=("family", "Residual"))
    design = make_design(data=incomplete(records()), genetic=genetic)
    return trace_of(design, priors={"block": CovariancePrior(sd=HalfStudentT(nu=5.0, scale=0.5))}, effects=["block"])


def test_sample__groups(trace):
    assert set(trace.children) == {"posterior", "sample_stats", "observed_data", "constant_data"}
    posterior = trace["posterior"].to_dataset()
    assert {"block_cov", "family_corr", "Residual_sd", "fixed", "block_effect"} <= set(posterior)
    assert "family_effect" not in posterior


def test_sample__observed_and_constant_data(trace):
    data = incomplete(records())
    response = trace["observed_data"].to_dataset()["response"]
    assert response.dims == ("unit", "trait")
    np.testing.assert_array_equal(response, data[["y1", "y2"]])
    constant = trace["constant_data"].to_dataset()
    np.testing.assert_allclose(constant["scale"], data[["y1", "y2"]].std(), rtol=1e-12)
    np.testing.assert_allclose(
        constant["family_records"], [8 / (1 / data.groupby("family")[y].count()).sum() for y in ("y1", "y2")]
    )


def test_assemble__attributes_say_what_was_done(trace, tmp_path):
    attrs = trace.attrs
    (tmp_path / "model.toml").write_text(attrs["model"])
    spec = ModelSpec.from_file(tmp_path / "model.toml")
    assert spec == make_design(data=incomplete(records()), genetic=spec.genetic).spec
    record = ModelRecord.read(trace)
    assert record.genetic == Genetic(term="family", relationship="half-sib", phenotypic=("family", "Residual"))
    assert record.priors == {
        "block": CovariancePrior(sd=HalfStudentT(nu=5.0, scale=0.5)),
        "family": CovariancePrior(),
        "Residual": CovariancePrior(),
    }
    assert [(n, record.structure(n).name) for n in record.names] == [(n, "us") for n in ("block", "family", "Residual")]
    assert record.notes == ()
    assert json.loads(attrs["versions"]) == {n: version(n) for n in ("bayesmv", "nutpie", "numpy", "xarray")}
    assert (attrs["engine"], attrs["seed"], attrs["tune"]) == ("sparse", 1, 200)


def test_sample__effects_repeat_with_the_seed_and_change_with_it():
    design = make_design()
    one, again, other = (trace_of(design, seed=s, effects=True)["posterior"].to_dataset() for s in (1, 1, 2))
    xr.testing.assert_identical(one, again)
    np.testing.assert_array_equal(one["block_cov"], other["block_cov"])
    assert (one["family_effect"] != other["family_effect"]).all()


def test_sample__no_seed_is_recorded():
    traces = [trace_of(make_design(), seed=None) for _ in range(2)]
    assert traces[0].attrs["seed"] != traces[1].attrs["seed"]


@pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")  # zarr's, of any Zarr 3 store xarray writes
@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_load_posterior__unchanged(trace, tmp_path, form):
    path = str(tmp_path / f"trace.{form}")
    getattr(trace, f"to_{form}")(path)
    got = load_posterior(path)
    try:
        assert set(got.children) == set(trace.children)
        for group in trace.children:
            xr.testing.assert_identical(got[group].to_dataset().load(), trace[group].to_dataset())
            for name, variable in trace[group].to_dataset().variables.items():
                assert got[group].to_dataset()[name].dtype.kind == variable.dtype.kind, name
        assert dict(got.attrs) == dict(trace.attrs)
        assert all(type(got.attrs[k])(v) == v for k, v in trace.attrs.items())
        pd.testing.assert_frame_equal(genetic_parameters(got), genetic_parameters(trace))
    finally:
        got.close()


def test_load_posterior__not_ours(tmp_path):
    path = str(tmp_path / "other.nc")
    xr.DataTree.from_dict({"prior": xr.Dataset({"a": 1.0})}).to_netcdf(path)
    with pytest.raises(SpecError, match=r"other.nc' holds no bayesmv posterior; groups: 'prior'"):
        load_posterior(path)


@pytest.mark.parametrize("name", ["draws", "tune", "chains", "cores"])
def test_sample__raises_on_numbers_below_one(name):
    with pytest.raises(SpecError, match=f"{name} must be at least 1, not 0"):
        sample(make_design(), **{name: 0})


@pytest.mark.parametrize("effects", ["famly", ["block", "famly"]])
def test_sample__raises_on_effects_of_an_unknown_term(effects):
    with pytest.raises(SpecError, match="no random term 'famly'; random terms: 'block', 'family'"):
        sample(make_design(), effects=effects)


def test_sample__one_name_of_a_term_is_one_term():
    assert "block_effect" in trace_of(make_design(), effects="block")["posterior"].to_dataset()


def test_metric_root__whitens_and_leaves_flat_directions_alone():
    rng = np.random.default_rng(4)
    Q, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    H = Q @ np.diag([100.0, 4.0, 0.2, -3.0]) @ Q.T
    C = _root_of_curvature(H)
    np.testing.assert_allclose(C @ C.T, Q @ np.diag([0.01, 0.25, 1.0, 1.0]) @ Q.T, atol=1e-12)


# ---------------------------------------------------------------- NUTS


@cache
def canty(bden=1.0, veloc=1.0, seed=1):
    data = load_dataset("canty")
    data = data.assign(bden=bden * data["bden"], veloc=veloc * data["veloc"])
    design = build_design(ModelSpec.from_file(MODELS.format("canty_us")), data)
    reml = fit_reml(design)
    return sample(design, reml=reml, seed=seed), reml


@pytest.mark.slow
def test_sample__canty_converges():
    trace, reml = canty()
    verdict = convergence(trace)
    assert verdict.converged, str(verdict)
    frame = compare_reml(trace, reml)
    assert frame["r_hat"].max() <= 1.01
    assert frame["ess_bulk"].min() >= 1000
    assert verdict.divergences == 0
    assert verdict.chains == 4


@pytest.mark.slow
def test_sample__same_seed_same_draws_whatever_the_cores():
    design = load_design(MODELS.format("canty_us"))
    words = {"draws": 50, "tune": 100, "chains": 2, "effects": ["Family"]}
    one, again, other = (
        sample(design, seed=s, cores=c, **words)["posterior"].to_dataset() for s, c in ((7, 2), (7, 1), (8, 2))
    )
    xr.testing.assert_identical(one, again)
    assert (one["Family_cov"] != other["Family_cov"]).all()


@pytest.mark.slow
def test_sample__units_of_the_traits_change_nothing():
    """bden × 1000, veloc / 1000: draws may drift apart by rounding, what is said about them may not.

    Differences of medians in units of their Monte Carlo error, 1.25 sd √(2 / ESS): beyond 5 for one row of 36 once in
    50,000 runs; seeded.
    """
    (trace, reml), (other_trace, other_reml) = canty(), canty(1000.0, 1e-3)
    one, other = compare_reml(trace, reml), compare_reml(other_trace, other_reml)
    assert one["verdict"].tolist() == other["verdict"].tolist()
    assert one["constraint"].tolist() == other["constraint"].tolist()
    np.testing.assert_allclose(other["ess_bulk"], one["ess_bulk"], rtol=0.5)
    correlations = one["parameter"] == "correlation"
    np.testing.assert_allclose(other["reml"][correlations], one["reml"][correlations], rtol=1e-4)
    assert_same_medians(one[correlations], other[correlations])
    h2, h2_other = (g[g["parameter"] == "heritability"] for g in map(genetic_parameters, (trace, other_trace)))
    assert_same_medians(h2, h2_other)
    unit = {"bden": 1000.0, "veloc": 1e-3}
    factor = (one["trait_i"].map(unit) * one["trait_j"].map(unit))[~correlations]
    scaled = other[~correlations][["median", "sd"]].div(factor, axis=0)
    assert_same_medians(one[~correlations], other[~correlations].assign(**scaled))


def assert_same_medians(one, other):
    error = 1.25 * one["sd"] * np.sqrt(2.0 / np.minimum(one["ess_bulk"], other["ess_bulk"]))
    np.testing.assert_array_less((one["median"] - other["median"]).abs() / error, 5.0)
    np.testing.assert_allclose(other["sd"], one["sd"], rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4, 11])
def test_sample__ril_converges_though_reml_is_singular(seed):
    # Seeds 4 and 11 diverged, and stuck, when the sampler moved on the logarithms of the standard deviations.
    design = load_design(MODELS.format("ril_us"))
    reml = fit_reml(design)
    assert (reml.converged, reml.at_boundary, reml.ranks["Block"]) == (True, ("Block",), 1)
    trace = sample(design, reml=reml, seed=seed)
    verdict = convergence(trace)
    assert verdict.converged, str(verdict)
    frame = compare_reml(trace, reml)
    block = frame[frame["term"] == "Block"]
    assert block["verdict"].str.startswith("REML on boundary").all()
    off = block["parameter"] != "variance"
    assert block["verdict"][off].str.contains("posterior dominated by prior").all()
    assert (frame[frame["term"] != "Block"]["verdict"] == "agree").all()


@pytest.mark.slow
def test_sample__one_way_layout_by_quadrature():
    """Posterior means of the two variances and of the intraclass correlation against a grid over the exact density.

    z beyond 5 Monte Carlo standard errors once in 10⁶; seeded.
    """
    data = records(t=1, blocks=6, families=1, plants=5)
    design = make_design("us(trait):block", data)
    trace = sample(design, draws=4000, tune=500, seed=3)["posterior"].to_dataset()
    groups = data.groupby("block")["y1"]
    between = 5 * ((groups.mean() - data["y1"].mean()) ** 2).sum()
    within = ((data["y1"] - groups.transform("mean")) ** 2).sum()
    scale = design.scale[0]

    def density(a, b):
        """Of the variances of groups and residuals: restricted likelihood by mean squares × half-t(3, 1) of the sd."""
        log_l = -0.5 * (5 * np.log(b + 5 * a) + between / (b + 5 * a) + 24 * np.log(b) + within / b)
        log_prior = sum(-2.0 * np.log1p(v / scale**2 / 3.0) - 0.5 * np.log(v) for v in (a, b))
        return np.exp(log_l + log_prior)

    u = np.linspace(-16.0, 10.0, 1500)  # logarithms of variance / scale²
    A, B = np.meshgrid(np.exp(u) * scale**2, np.exp(u) * scale**2, indexing="ij")
    with np.errstate(over="ignore", under="ignore"):
        weight = density(A, B) * A * B
    weight /= integrate.trapezoid(integrate.trapezoid(weight, u), u)

    def expected(f):
        return integrate.trapezoid(integrate.trapezoid(f * weight, u), u)

    a, b = (trace[f"{n}_cov"].to_numpy()[..., 0, 0] for n in ("block", "Residual"))
    for draws, exact in (
        (np.log(a), expected(np.log(A))),
        (b, expected(B)),
        (a / (a + b), expected(A / (A + B))),
        ((a / (a + b)) ** 2, expected((A / (A + B)) ** 2)),
    ):
        error = draws.std() / np.sqrt(draw_statistics(draws)["ess_bulk"])
        assert abs(draws.mean() - exact) / error < 5.0


@pytest.mark.slow
def test_sample__one_chain_and_one_draw_are_enough_to_run():
    trace = sample(make_design(), draws=1, tune=10, chains=1, seed=1)
    assert trace["posterior"].to_dataset()["block_cov"].shape == (1, 1, 2, 2)
    assert dims.CHAIN in trace["sample_stats"].to_dataset().dims
    assert not convergence(trace).converged
