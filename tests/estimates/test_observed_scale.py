"""Heritabilities of fitted models on the scale of the data, against the function of numbers that they are of."""

import numpy as np
import pytest
from not_gaussian import design

import bayesmv as bmv


def column(table, name):
    return table.set_index(["parameter", "trait_i", "trait_j"])[name]


def test_fit__is_the_data_scale_of_its_estimates_averaged_over_units():
    d = design(("y", "z", "o"), residual="us(y, z):units + idv(o):units")
    fit = bmv.fit_reml(d)
    found = bmv.observed_scale(fit, genetic="f", relationship="half-sib")
    beta = fit.fixed.pivot(index="effect", columns="trait", values="estimate").loc[list(d.fixed.variables), list("yzo")]
    cuts = fit.thresholds.query("trait == 'o'")["estimate"]
    families = ["gaussian", "binary", bmv.family("ordered", thresholds=tuple(cuts))]
    G = 4.0 * fit.covariances["f"]
    P = fit.covariances["f"] + fit.covariances["Residual"] - np.diag([0.0, 1.0, 1.0])
    wanted = bmv.data_scale((d.fixed.X @ beta.to_numpy())[None], G, P, families, ["y", "z", "o"])
    np.testing.assert_allclose(column(found, "estimate"), column(wanted, "value")[column(found, "estimate").index])
    assert np.isfinite(found["std_error"]).any()


def test_fit__standard_errors_by_differences():
    d = design(("z",), random="f")
    fit = bmv.fit_reml(d)
    found = bmv.observed_scale(fit, genetic="f", relationship="animal").set_index("parameter").loc["heritability"]
    beta, v = fit.fixed["estimate"].to_numpy(), float(fit.covariances["f"][0, 0])
    means = np.asarray(d.fixed.X.mean(axis=0)).reshape(-1)

    def value(v, shift=0.0):
        mu = (d.fixed.X @ beta + shift)[None, :, None]
        return bmv.data_scale(mu, v, v, "binary").set_index("parameter").loc["heritability", "value"]

    h = 1e-4
    by_v, by_mean = (value(v + h) - value(v - h)) / (2 * h), (value(v, h) - value(v, -h)) / (2 * h)
    error = by_v**2 * fit.component_covariance[0, 0] + by_mean**2 * means @ fit.fixed_covariance().to_numpy() @ means
    assert found["std_error"] == pytest.approx(np.sqrt(error), rel=1e-3)


def test_selection__on_the_scale_of_the_data_is_by_its_g_and_p():
    d = design(("y", "z", "c"))
    fit = bmv.fit_reml(d)
    given = {"genetic": "f", "relationship": "half-sib"}
    values = column(bmv.observed_scale(fit, **given), "estimate")
    traits = list(d.traits)
    G, r = np.zeros((2, 3, 3))
    for i, first in enumerate(traits):
        G[i, i], r[i, i] = values["additive genetic variance", first, first], 1.0
        for j, second in enumerate(traits[:i]):
            G[i, j] = G[j, i] = values["additive genetic covariance", second, first]
            r[i, j] = r[j, i] = values["phenotypic correlation", second, first]
    sd = np.sqrt([values["phenotypic variance", t, t] for t in traits])
    P, w = sd[:, None] * r * sd, np.array([1.0, -2.0, 0.5])
    b = np.linalg.solve(P, G @ w)
    R = bmv.selection_intensity(0.1) * G @ b / np.sqrt(b @ P @ b)
    found = bmv.selection(fit, w, share=0.1, scale="data", **given).set_index(["quantity", "trait"])["estimate"]
    np.testing.assert_allclose(found["index"].loc[traits], b, rtol=1e-8)
    np.testing.assert_allclose(found["response"].loc[traits], R, rtol=1e-8)
    assert found["merit", "all"] == pytest.approx(R @ w)
    with pytest.raises(bmv.SpecError, match="no scale 'log'; scales: 'latent', 'data'"):
        bmv.selection(fit, w, scale="log", **given)
    with pytest.raises(bmv.SpecError, match="individuals are selected"):
        bmv.selection(fit, w, unit="family", scale="data", **given)


def test_a_genetic_term_is_needed():
    with pytest.raises(bmv.SpecError, match="genetic"):
        bmv.observed_scale(bmv.fit_reml(design(("z",), random="f")))
