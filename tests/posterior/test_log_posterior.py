"""The log posterior: its gradient, its curvature, its mode, and the compiled density that NUTS sees."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from oracles import all_patterns, finite_difference, random_case
from traces import incomplete, make_design, records

from bayesmv.errors import SpecError
from bayesmv.numerics.symmetric import vech
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.posterior.suited import restructured
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.reml import fit_reml


def animals(t, random, residual="us(trait):units"):
    return random_case(3, t, random, patterns=all_patterns(t), residual=residual).design


DESIGNS = {
    "strata, one trait": (lambda: make_design("us(trait):block + idv(trait):family", records(t=1)), "strata"),
    "strata, us": (make_design, "strata"),
    "strata, diag and idv": (lambda: make_design("diag(trait):block + idv(trait):family"), "strata"),
    "strata, three traits, corgh": (
        lambda: make_design("corgh(trait):block + us(trait):family", records(t=3), residual="corgh(trait):units"),
        "strata",
    ),
    "sparse, complete": (lambda: make_design("us(trait):block + at(trait, y2):family"), "sparse"),
    "sparse, one trait": (lambda: animals(1, "us(trait):vm(animal, A) + diag(trait):block"), "sparse"),
    "sparse, us": (lambda: make_design(data=incomplete(records())), "sparse"),
    "sparse, diag and idv": (lambda: animals(2, "diag(trait):block + idv(trait):herd", "diag(trait):units"), "sparse"),
    "sparse, corgh and a term of one trait": (
        lambda: animals(2, "corgh(trait):vm(animal, A) + at(trait, y2):block"),
        "sparse",
    ),
    "sparse, three traits, a term of two in another order": (
        lambda: animals(3, "us(trait):block + at(trait, y3, y1):us(trait):vm(animal, A)"),
        "sparse",
    ),
    "sparse, no random term": (lambda: make_design("", incomplete(records(t=3))), "sparse"),
}
designs = pytest.mark.parametrize("name", DESIGNS)


@cache
def posterior_of(name, informed=False):
    make, engine = DESIGNS[name]
    design = make()
    priors = {
        term: CovariancePrior(sd=HalfStudentT(nu=2.0 + k, scale=0.7 + k), eta=1.5 + k)
        for k, term in enumerate(design.names)
    }
    posterior = log_posterior(design, priors if informed else None)
    assert posterior.engine.name == engine
    return posterior


def random_points(posterior, n=3, seed=8):
    d = posterior.blocks.n_parameters
    x = np.random.default_rng(seed).normal(0.0, 0.7, (n, d))
    return x - 0.5 * posterior.coordinates.scales


@designs
@pytest.mark.parametrize("informed", [False, True], ids=["default priors", "other priors"])
def test_value_and_gradient__by_finite_differences(name, informed):
    posterior = posterior_of(name, informed)
    for x in random_points(posterior):
        value, gradient = posterior.value_and_gradient(x)
        assert value == pytest.approx(posterior.value(x), rel=1e-11)
        expected = finite_difference(posterior.value, x, 1e-3)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


def test_value__is_likelihood_prior_and_jacobian():
    """Written out for one block matrix of two traits and its residual, in the coordinates sd and correlation."""
    design = make_design("us(trait):block")
    prior = CovariancePrior(sd=HalfStudentT(nu=4.0, scale=0.5), eta=2.5)
    posterior = log_posterior(design, {"block": prior})

    def written_out(x):
        value = posterior.engine.loglik(posterior.blocks.matrices(posterior.coordinates.constrain(x)))
        for (a, z, b), nu, scale, eta in ((x[:3], 4.0, 0.5, 2.5), (x[3:], 3.0, 1.0, 1.0)):
            for log_sd in (a, b):
                value += -0.5 * (nu + 1) * np.log1p(np.exp(2 * log_sd) / (nu * scale**2)) + log_sd
            # LKJ(eta) of a correlation r = tanh z, and dr/dz = 1 - r².
            value += eta * np.log(1.0 - np.tanh(z) ** 2)
        return value

    first, *others = random_points(posterior, 5)
    constant = posterior.value(first) - written_out(first)
    for x in others:
        assert posterior.value(x) - written_out(x) == pytest.approx(constant, abs=1e-8)


@designs
@pytest.mark.parametrize("informed", [False, True], ids=["default priors", "other priors"])
def test_density__is_the_log_posterior_compiled(name, informed):
    posterior = planar(posterior_of(name, informed))
    rng = np.random.default_rng(9)
    d = posterior.blocks.n_parameters
    centre, root = np.where(posterior.coordinates.scales, 1.0, 0.0), np.eye(d) + 0.2 * rng.normal(size=(d, d))
    density = Density(posterior, centre, root)
    for z in rng.normal(0.0, 0.3, (4, d)):
        value, gradient = density(z)
        expected, by_x = posterior.value_and_gradient(centre + root @ z)
        assert value == pytest.approx(expected, rel=1e-11)
        scale = np.abs(root.T @ by_x).max()
        np.testing.assert_allclose(gradient, root.T @ by_x, rtol=1e-10, atol=1e-10 * scale)


@designs
def test_density__planar_coordinates(name):
    """The compiled density and its gradient, on both sides of 0 for a lone scale, and the same posterior of θ."""
    plain = posterior_of(name, informed=True)
    other = planar(plain)
    d = plain.blocks.n_parameters
    mirror = first_columns(plain.blocks)
    density = Density(other, np.zeros(d), np.eye(d))
    differences = []
    for sign, x in zip((1, -1, 1), random_points(plain), strict=True):
        theta = plain.coordinates.constrain(x)
        at = other.coordinates.unconstrain(theta)
        at[mirror] *= sign
        value, gradient = density(at)
        expected, by_x = other.value_and_gradient(at)
        assert value == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(gradient, by_x, rtol=1e-10, atol=1e-10 * np.abs(by_x).max())
        numeric = finite_difference(other.value, at, 1e-4)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6 * np.abs(by_x).max())
        jacobians = plain.coordinates.log_jacobian(x) - other.coordinates.log_jacobian(at)
        differences.append(plain.value(x) - value - jacobians)
    np.testing.assert_allclose(differences, 0.0, atol=1e-8)


def first_columns(blocks):
    """Parameters in the columns of the lone scales: with all their signs changed, Σ is the same."""
    out = []
    for s, at in zip(blocks.structures, blocks.slices, strict=True):
        _, cols, parameters, _ = s.placement
        lone = s.positive & (np.bincount(s.anchor, minlength=s.n_parameters) == 1)
        out += [at.start + p for p, c in zip(parameters, cols, strict=True) if lone[parameters[cols == c]].any()]
    return np.unique(out)


@designs
def test_density__order_of_the_rows_changes_nothing(name):
    """The same Σ through a factor with its rows in another order: densities differ by the Jacobians only."""
    plain = planar(posterior_of(name, informed=True))
    blocks = plain.blocks
    turned = planar(
        replace(
            plain,
            design=restructured(
                plain.design, [s.pivoted(np.diag(np.arange(1.0, s.size + 1))) for s in blocks.structures]
            ),
        )
    )
    differences = []
    for x in random_points(plain) + 1.5 * plain.coordinates.scales:
        sigmas = blocks.matrices(plain.coordinates.constrain(x))
        theta = turned.blocks.from_matrices(sigmas)
        for one, two in zip(sigmas, turned.blocks.matrices(theta), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
        at = turned.coordinates.unconstrain(theta)
        value, gradient = Density(turned, np.zeros(len(x)), np.eye(len(x)))(at)
        expected, by_x = turned.value_and_gradient(at)
        assert value == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(gradient, by_x, rtol=1e-9, atol=1e-9 * np.abs(by_x).max())
        differences.append(plain.value(x) - log_volume(plain, x) - value + log_volume(turned, at))
    np.testing.assert_allclose(differences, 0.0, atol=1e-7)


def log_volume(posterior, x):
    """½ log|J'J| of x → the components of all Σ, which is log|J| up to what the structure leaves out."""
    J = posterior.blocks.jacobian(posterior.coordinates.constrain(x)) @ posterior.coordinates.jacobian(x)
    return 0.5 * np.linalg.slogdet(J.T @ J)[1]


def planar(posterior):
    """The posterior in the coordinates of the sampler."""
    return replace(posterior, unit=np.full(posterior.blocks.n_parameters, 0.25))


def test_density__threads_share_nothing():
    posterior = planar(posterior_of("sparse, us"))
    d = posterior.blocks.n_parameters
    one, other = (Density(posterior, np.zeros(d), np.eye(d)) for _ in range(2))
    x, far = random_points(posterior, 2)
    value, gradient = one(x)
    kept = gradient.copy()
    other(far)
    assert one(x)[0] == value
    np.testing.assert_array_equal(gradient, kept)


def test_density__no_engine_no_density():
    posterior = posterior_of("strata, us")

    class Other:
        def fork(self):
            return self

    broken = planar(replace(posterior, engine=Other()))
    with pytest.raises(TypeError, match="no compiled density for Other"):
        Density(broken, np.zeros(9), np.eye(9))


@designs
def test_mode__gradient_vanishes_and_curvature_is_positive(name):
    posterior = posterior_of(name)
    mode = posterior.mode(np.where(posterior.coordinates.scales, -0.5, 0.0))
    local = posterior.expand(mode.theta)
    eigenvalues = np.linalg.eigvalsh(local.hessian)
    assert eigenvalues[0] > 0
    # In units of the posterior's own spread.
    assert np.abs(local.gradient / np.sqrt(np.diag(local.hessian))).max() < 1e-3
    value, gradient = posterior.value_and_gradient(mode.theta)
    assert local.value == pytest.approx(value, rel=1e-11)
    np.testing.assert_allclose(local.gradient, gradient, atol=1e-7 * (1 + np.abs(local.hessian).max()))
    for step in np.random.default_rng(3).normal(size=(20, len(mode.theta))):
        assert posterior.value(mode.theta + 0.2 * step / np.sqrt(np.diag(local.hessian))) < value


def test_expand__hessian_of_a_large_balanced_design_is_near_finite_differences():
    """The average information is the Hessian in expectation: it comes near with many levels at every stratum."""
    data = records(blocks=40, families=60, plants=1)
    posterior = log_posterior(make_design(data=data))
    reml = fit_reml(posterior.design, engine=posterior.engine)
    mode = posterior.mode(posterior.coordinates.unconstrain(reml.theta, 0.05))
    H = posterior.expand(mode.theta).hessian
    exact = -finite_difference(lambda at: posterior.value_and_gradient(at)[1], mode.theta, 1e-4)
    unit = np.sqrt(np.diag(exact))
    difference = H / np.outer(unit, unit) - exact / np.outer(unit, unit)
    assert np.abs(difference).max() < 0.15


def far_points(posterior, size):
    d = posterior.blocks.n_parameters
    return (*(size * np.eye(d)), *(-size * np.eye(d)), np.full(d, size), np.full(d, -size))


@designs
@pytest.mark.parametrize("size", [10.0, 30.0, 100.0])
def test_density__far_out_is_finite_or_minus_infinity(name, size):
    posterior = planar(posterior_of(name))
    d = posterior.blocks.n_parameters
    density = Density(posterior, np.zeros(d), np.eye(d))
    for x in far_points(posterior, size):
        assert_defined(*density(x))
        assert_defined(*posterior.value_and_gradient(x))


@pytest.mark.parametrize("size", [400.0, 2000.0, 1e300])
def test_density__overflow_is_minus_infinity(size):
    """A wild step of a sampler is a divergence, not the end of the run."""
    for name in DESIGNS:
        posterior = planar(posterior_of(name))
        d = posterior.blocks.n_parameters
        density = Density(posterior, np.zeros(d), np.eye(d))
        for x in far_points(posterior, size):
            assert_defined(*density(x))


@pytest.mark.parametrize("size", [400.0, 2000.0, 1e300])
def test_value_and_gradient__overflow_is_minus_infinity(size):
    for name in DESIGNS:
        posterior = posterior_of(name)
        for x in far_points(posterior, size):
            assert_defined(*posterior.value_and_gradient(x))


def assert_defined(value, gradient):
    assert np.isfinite(value) or value == -np.inf
    assert np.isfinite(gradient).all()
    assert np.isfinite(value) or not gradient.any()


def test_value_and_gradient__falls_without_bound():
    """Proper tails: whichever way x goes, the density goes down."""
    posterior = posterior_of("strata, us")
    d = posterior.blocks.n_parameters
    centre = posterior.mode(np.where(posterior.coordinates.scales, -0.5, 0.0)).theta
    best = posterior.value(centre)
    for direction in (*np.eye(d), *-np.eye(d)):
        near, far = (posterior.value(centre + step * direction) for step in (5.0, 15.0))
        assert far < near < best


def test_design_priors__given_before_stated_before_default():
    tight, wide = CovariancePrior(eta=9.0), CovariancePrior(eta=0.5)
    design = make_design()
    stated = type(design)(**{**vars(design), "spec": design.spec.with_priors({"block": tight, "family": tight})})
    got = stated.priors({"family": wide})
    assert got == {"block": tight, "family": wide, "Residual": CovariancePrior()}


def test_log_posterior__prior_for_unknown_term():
    with pytest.raises(SpecError, match="a prior is given for 'famly'; terms: 'block', 'family', 'Residual'"):
        log_posterior(make_design(), {"famly": CovariancePrior()})


def test_log_posterior__unit_of_a_trait_shifts_it_by_a_constant():
    """y·c changes l by -(N_t - p_t) log c and nothing else."""
    data = incomplete(records())
    one = log_posterior(make_design(data=data))
    other = log_posterior(make_design(data=data.assign(y1=1000.0 * data["y1"], y2=data["y2"] / 1000.0)))
    counts = [data[t].notna().sum() - 1 for t in ("y1", "y2")]
    shift = (counts[1] - counts[0]) * np.log(1000.0)
    for x in random_points(one):
        assert other.value(x) - one.value(x) == pytest.approx(shift, rel=1e-9)
        np.testing.assert_allclose(other.value_and_gradient(x)[1], one.value_and_gradient(x)[1], rtol=1e-6, atol=1e-6)


def test_expand__average_information_and_component_order_agree():
    """J of θ → σ used by expand stacks components as vech does."""
    posterior = posterior_of("strata, three traits, corgh")
    x = random_points(posterior, 1)[0]
    theta = posterior.coordinates.constrain(x)
    numeric = finite_difference(lambda at: vech(posterior.blocks.matrices(at)), theta).T
    np.testing.assert_allclose(posterior.blocks.jacobian(theta), numeric, rtol=1e-8, atol=1e-8)
