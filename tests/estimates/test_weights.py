"""Weights of records: the phenotypic variance is that of an average record, whatever unit the weights are in."""

import numpy as np
import pandas as pd
import pytest
from traces import records, trace_of

import bayesmv as bmv
from bayesmv.posterior.log_posterior import log_posterior


def fit(factor, t=2, residual=None, by_trait=1.0):
    data = records(t=t, families=12)
    rng = np.random.default_rng(8)
    data["w"] = factor * rng.uniform(0.2, 3.0, len(data))
    data["site"] = np.where(rng.random(len(data)) < 0.4, "A", "B")
    data["y1"] *= by_trait
    traits = " + ".join(f"y{i + 1}" for i in range(t))
    spec = bmv.ModelSpec.from_formula(
        f"{traits} ~ 1",
        random="us(trait):family",
        residual=residual,
        weights="w",
        genetic=bmv.Genetic(term="family", relationship="half-sib"),
    )
    return bmv.fit_reml(bmv.build_design(spec, data)), data


@pytest.mark.parametrize("residual", [None, "at(site):us(trait):units"])
@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_weights__times_a_constant_change_no_heritability(factor, residual):
    (one, _), (other, _) = fit(1.0, residual=residual), fit(factor, residual=residual)
    assert other.loglik == pytest.approx(one.loglik, abs=1e-7)
    np.testing.assert_allclose(other.covariances["Residual"], factor * one.covariances["Residual"], rtol=1e-6)
    a, b = (bmv.genetic_parameters(f) for f in (one, other))
    np.testing.assert_allclose(b["estimate"], a["estimate"], rtol=1e-6)
    np.testing.assert_allclose(b["std_error"], a["std_error"], rtol=1e-5)
    assert set(other.varcomp["constraint"]) == set(one.varcomp["constraint"])


@pytest.mark.parametrize("t", [1, 2])
def test_weights__phenotypic_variance_takes_their_mean(t):
    found, data = fit(7.0, t=t)
    mean = (1.0 / data["w"]).mean()
    table = bmv.genetic_parameters(found).set_index(["parameter", "trait_i"])["estimate"]
    for i in range(t):
        family, residual = (found.covariances[n][i, i] for n in ("family", "Residual"))
        phenotype = family + residual * mean
        assert table["phenotypic variance", f"y{i + 1}"] == pytest.approx(phenotype, rel=1e-9)
        assert table["heritability", f"y{i + 1}"] == pytest.approx(4 * family / phenotype, rel=1e-9)


def test_weights__posterior_is_the_same_in_any_unit():
    """Same density at the same coordinates, and the same genetic parameters of the same draws."""
    (one, _), (other, _) = fit(1.0), fit(1e-4)
    rng = np.random.default_rng(3)
    densities = [log_posterior(f.design).planar() for f in (one, other)]
    x = rng.normal(size=(3, densities[0].blocks.n_parameters))
    values = np.array([[d.value_and_gradient(row)[0] for row in x] for d in densities])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    tables = [bmv.genetic_parameters(trace_of(f.design, reml=f)) for f in (one, other)]
    moments = ["mean", "median", "sd", "hdi_low", "hdi_high"]  # ranks of draws hang on rounding
    pd.testing.assert_frame_equal(tables[0][moments], tables[1][moments], rtol=1e-9)
    compared = [bmv.compare_reml(trace_of(f.design, reml=f), f) for f in (one, other)]
    assert compared[0]["verdict"].tolist() == compared[1]["verdict"].tolist()
    np.testing.assert_allclose(compared[0]["contraction"], compared[1]["contraction"], rtol=1e-7)


def test_weights__simulated_residuals_have_the_variance_over_the_weight():
    layout = pd.DataFrame({"w": np.repeat([0.5, 8.0], 4000), "g": np.tile(["a", "b"], 4000)})
    spec = bmv.ModelSpec.from_formula("y ~ 1", random="us(trait):g", weights="w")
    made = bmv.simulate_model(
        spec, layout, means={"y": 0.0}, covariances={"g": [[1e-12]], "Residual": [[2.0]]}, rng=np.random.default_rng(1)
    )
    # Variances of 4,000 normals: 5 standard errors are 11 %; seeded.
    np.testing.assert_allclose(made.groupby("w")["y"].var(), [4.0, 0.25], rtol=0.11)
