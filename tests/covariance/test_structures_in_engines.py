"""Every structure through REML, the log posterior and its coordinates, against the dense oracle."""

from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from oracles import Case, Dense, finite_difference
from scipy import optimize, stats
from structures import in_formula, matrices, written
from traces import some_draws, trace_of

import bayesmv as bmv
from bayesmv.covariance import CovarianceBlocks
from bayesmv.model.spec import ModelSpec
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.posterior.sampler_density import PlainDensity, sampler_density

TRAITS = ["y1", "y2", "y3"]
WORDS = written(3)
every = pytest.mark.parametrize("text", WORDS)


@cache
def records(families: int = 14, plants: int = 4, complete: bool = False) -> pd.DataFrame:
    """Three traits of similar units, families with positive correlations; some records are missing."""
    rng = np.random.default_rng(7)
    data = pd.DataFrame(list(product(range(families), range(plants))), columns=["f", "plant"])
    L = np.linalg.cholesky(np.array([[1.0, 0.5, 0.3], [0.5, 1.0, 0.5], [0.3, 0.5, 1.0]]))
    Y = (rng.normal(size=(families, 3)) @ L.T)[data["f"]] + rng.normal(size=(len(data), 3)) @ L.T
    Y = Y * [1.0, 1.3, 0.8] + [5.0, 6.0, 7.0]
    if not complete:
        lost = rng.random(Y.shape) < 0.15
        lost[np.arange(len(data)), rng.integers(3, size=len(data))] = False
        Y = np.where(lost, np.nan, Y)
    return pd.concat([data, pd.DataFrame(Y, columns=TRAITS)], axis=1)


@cache
def case(text: str, complete: bool = False) -> Case:
    """The structure for the families, and us for the residual."""
    data = records(complete=complete)
    spec = ModelSpec.from_formula(
        "y1 + y2 + y3 ~ 1", random=f"{in_formula(text)}:f", residual="us(trait):units", matrices=matrices(3)
    )
    return Case(spec=spec, data=data, columns={(t, "Intercept"): np.ones(len(data)) for t in TRAITS})


@cache
def fitted(text: str) -> bmv.RemlFit:
    return bmv.fit_reml(case(text).design)


def oracle(case: Case, theta: np.ndarray) -> tuple[float, np.ndarray]:
    """Negative dense log-likelihood at θ and its gradient."""
    scales = case.scales()
    dense = Dense(case, [S * np.outer(s, s) for S, s in zip(case.design.blocks.matrices(theta), scales, strict=True)])
    gradients = [G * np.outer(s, s) for G, s in zip(dense.gradient, scales, strict=True)]
    return -dense.loglik, -case.design.blocks.pullback(theta, gradients)


@every
def test_fit_reml__is_the_maximum_of_the_dense_likelihood(text):
    fit = fitted(text)
    assert fit.converged
    assert oracle(case(text), fit.theta)[0] == pytest.approx(-fit.loglik, abs=1e-8)
    rng = np.random.default_rng(3)
    blocks = fit.design.blocks
    for _ in range(2):
        # Away from the estimate by half a unit in every parameter, to find other maxima.
        start = fit.theta + rng.normal(0.0, 0.5, blocks.n_parameters)
        best = optimize.minimize(lambda x: oracle(case(text), x), start, jac=True, method="L-BFGS-B")
        assert -best.fun <= fit.loglik + 1e-6


@every
@pytest.mark.parametrize("complete", [False, True], ids=["sparse", "strata"])
def test_log_posterior__gradient_by_finite_differences(text, complete):
    posterior = log_posterior(case(text, complete).design)
    assert posterior.engine.name == ("strata" if complete else "sparse")
    d = posterior.blocks.n_parameters
    for unit in (None, 0.25):
        folded = posterior if unit is None else posterior.planar(np.full(posterior.blocks.n_parameters, unit))
        x = np.random.default_rng(8).normal(0.4, 0.5, d)
        value, gradient = folded.value_and_gradient(x)
        assert value == pytest.approx(folded.value(x), rel=1e-11)
        expected = finite_difference(folded.value, x, 1e-3)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


@every
def test_log_posterior__mode_is_reml_where_priors_are_flat(text):
    """By θ: the log posterior without prior and Jacobian, climbed in the sampler's coordinates."""
    fit = fitted(text)
    posterior = log_posterior(fit.design)
    coordinates = posterior.coordinates

    def flat(x):
        theta = coordinates.constrain(x)
        value, gradient = posterior.value_and_gradient(x)
        prior, by_theta = posterior.prior(theta)
        # pullback is affine: its constant is the gradient of the log-Jacobian.
        rest = coordinates.pullback(x, by_theta)
        return -(value - prior - coordinates.log_jacobian(x)), -(gradient - rest)

    start = coordinates.unconstrain(fit.theta, 0.05)
    best = optimize.minimize(flat, start + 0.1, jac=True, method="BFGS", options={"maxiter": 2000, "gtol": 1e-6})
    # Where REML is on the boundary, logarithms and Fisher's z only come near it.
    assert -best.fun == pytest.approx(fit.loglik, abs=1e-2 if fit.at_boundary else 1e-6)


@every
def test_sampler_density__is_the_log_posterior(text):
    posterior = log_posterior(case(text).design).planar()
    d = posterior.blocks.n_parameters
    rng = np.random.default_rng(2)
    centre, root = rng.normal(0.3, 0.3, d), np.eye(d) + 0.1 * rng.normal(size=(d, d))
    density = sampler_density(posterior, centre, root)
    assert isinstance(density, Density if text in ("us", "corgh", "diag", "idv") else PlainDensity)
    z = rng.normal(0.0, 0.3, d)
    value, gradient = density(z)
    expected, by_x = posterior.value_and_gradient(centre + root @ z)
    assert value == pytest.approx(expected, rel=1e-11)
    np.testing.assert_allclose(gradient, root.T @ by_x, rtol=1e-8, atol=1e-8 * np.abs(by_x).max())


@pytest.mark.parametrize("text", [t for t in WORDS if t not in ("id", "fixed(G)")])
def test_fit_reml__recovers_what_was_simulated(text):
    """Twice the log-likelihood over that of the truth is about chi-square: 1e-5 false alarms, seeded."""
    rng = np.random.default_rng(5)
    layout = pd.DataFrame(list(product(range(150), range(4))), columns=["f", "plant"])
    design = bmv.build_design(case(text).spec, records(150, 4, complete=True))
    s = design.blocks.structures[0].rescaled(1.0 / design.scale)  # in the units of the data
    truth = {"f": s.matrix(np.where(s.positive, 0.9, 0.4)), "Residual": np.eye(3) + 0.3}
    data = bmv.simulate_traits(layout, traits=TRAITS, means=dict.fromkeys(TRAITS, 5.0), covariances=truth, rng=rng)
    fit = bmv.fit_reml(bmv.build_design(case(text).spec, data))
    assert fit.converged
    at_truth = bmv.blup(fit.design, truth).loglik
    gain = 2.0 * (fit.loglik - at_truth)
    assert -1e-6 < gain < stats.chi2.ppf(1.0 - 1e-5, fit.n_parameters)
    # Variances of 150 families: s.e. of some 12 % plus the share of the residual; 5 of them.
    np.testing.assert_allclose(fit.covariances["f"], truth["f"], atol=0.75 * np.diag(truth["f"]).max())


NESTED = [
    ("us", "fa(3)"),
    ("us", "rr(3)"),
    ("us", "ante(2)"),
    ("us", "corgh"),
]


@pytest.mark.parametrize(("text", "same"), NESTED)
def test_fit_reml__full_orders_are_us(text, same):
    assert same == "fa(3)" or fitted(same).n_parameters == fitted(text).n_parameters
    np.testing.assert_allclose(fitted(same).covariances["f"], fitted(text).covariances["f"], rtol=1e-4)
    assert fitted(same).loglik == pytest.approx(fitted(text).loglik, abs=1e-6)


SMALLER = [
    ("diag", "corh"),
    ("idv", "corv"),
    ("corv", "corh"),
    ("corh", "us"),
    ("ar1", "ar1h"),
    ("ar1", "toep"),
    ("corv", "toep"),
    ("toep", "toeph"),
    ("toeph", "us"),
    ("ar1h", "ante(1)"),
    ("ante(1)", "us"),
    ("diag", "fa(1)"),
    ("rr(1)", "fa(1)"),
    ("rr(1)", "rr(2)"),
    ("fa(1)", "us"),
    ("fixed(G)", "scaled(G)"),
    ("scaled(G)", "us"),
    ("id", "idv"),
]


@pytest.mark.parametrize(("small", "large"), SMALLER)
def test_fit_reml__nested_structures_gain_likelihood(small, large):
    a, b = fitted(small), fitted(large)
    assert a.loglik <= b.loglik + 1e-6
    if b.n_parameters > a.n_parameters:
        test = bmv.likelihood_ratio(a, b)
        assert test.df == b.n_parameters - a.n_parameters


def test_likelihood_ratio__raises_on_structures_that_are_not_nested():
    with pytest.raises(bmv.SpecError, match="the second cannot take every value of 'f' in the first"):
        bmv.likelihood_ratio(fitted("corv"), fitted("ar1h"))


def test_fit_reml__nothing_to_estimate():
    spec = ModelSpec.from_formula(
        "y1 + y2 + y3 ~ 1",
        random="fixed(trait, G):f",
        residual="id(trait):units",
        matrices={"G": np.eye(3) + 0.5},
    )
    fit = bmv.fit_reml(bmv.build_design(spec, records()))
    assert (fit.converged, fit.n_parameters, fit.at_boundary) == (True, 0, ())
    np.testing.assert_allclose(fit.covariances["f"], np.eye(3) + 0.5, rtol=1e-12)
    np.testing.assert_allclose(fit.covariances["Residual"], np.eye(3), rtol=1e-12)
    assert set(fit.varcomp["constraint"]) == {"fixed"}


def test_fit_reml__heywood_case_is_a_boundary_result():
    """The first trait is the factor itself: its specific variance, 0 in truth, is 0 in the estimate of these data."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"f": np.repeat(np.arange(40), 5)})
    u = rng.normal(size=40)
    effects = np.column_stack([u, 0.8 * u + 0.6 * rng.normal(size=40), 0.5 * u + 0.8 * rng.normal(size=40)])
    data[TRAITS] = effects[data["f"]] + rng.normal(size=(200, 3))
    spec = ModelSpec.from_formula("y1 + y2 + y3 ~ 1", random="fa(trait, 1):f")
    fit = bmv.fit_reml(bmv.build_design(spec, data))
    _, specific = fit.design.blocks.structures[0].loadings(fit.theta[:6])
    assert fit.converged
    assert fit.at_boundary == ("f",)
    assert (specific == 0.0).tolist() == [True, False, False]
    assert fit.ranks["f"] == 3
    assert np.isfinite(fit.varcomp["std_error"]).all()


def test_blocks__inside_keeps_angles_off_the_edge():
    blocks = CovarianceBlocks((case("ar1").design.blocks.structures[0],))
    np.testing.assert_array_equal(blocks.inside(np.array([3.0, 1.57]), 1.2), [3.0, 1.2])


@every
def test_compare_reml__every_structure(text, monkeypatch):
    """Draws of every structure stand beside its REML fit; what is given is not compared."""
    monkeypatch.setattr("bayesmv.priors.draws._SIMULATED", 200)  # for the contraction, here only to be finite
    design = case(text).design
    trace = trace_of(design, some_draws(log_posterior(design), 2, 20))
    table = bmv.compare_reml(trace, fitted(text))
    terms = {"Residual"} if text in ("id", "fixed(G)") else {"f", "Residual"}
    assert set(table["term"]) == terms
    assert np.isfinite(table["contraction"]).all()
    assert set(bmv.variance_components(trace)["term"]) == {"f", "Residual"}
    assert bmv.identifiability(design)[0].warnings == () or text not in ("id", "fixed(G)")
