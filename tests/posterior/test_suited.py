"""Coordinates that suit a posterior: units by scale, and what few levels tell kept apart."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from oracles import finite_difference
from traces import make_design, records

import bayesmv as bmv
from bayesmv.covariance import CovarianceBlocks, structure
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.coordinates import PLANAR_UNIT
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.posterior.suited import noises, suited
from bayesmv.reml import fit_reml


def trial(blocks, far, traits=3, lines=40, seed=2):
    """Trial with all lines in every block, block effects that many error sd apart."""
    rng = np.random.default_rng(seed)
    effects = np.array(far) * np.array([[1.0, -1.0, 0.4], [-1.0, 1.0, -0.4], [0.1, 0.9, -1.0]])[:blocks, :traits]
    Y = (effects[:, None] + rng.normal(size=(lines, traits)) + rng.normal(size=(blocks, lines, traits))).reshape(
        -1, traits
    )
    names = [f"y{i}" for i in range(traits)]
    labels = {"block": np.repeat(np.arange(blocks), lines), "line": np.tile(np.arange(lines), blocks)}
    return pd.DataFrame(Y, columns=names).assign(**labels)


@cache
def case(blocks, *far, engine="strata"):
    data = trial(blocks, far)
    spec = bmv.ModelSpec.from_formula("y0 + y1 + y2 ~ 1", random="us(trait):block + us(trait):line")
    plain = log_posterior(bmv.build_design(spec, data), engine=engine)
    reml = fit_reml(plain.design, engine=plain.engine)
    return plain, reml, suited(plain, reml.sigmas)


CASES = {
    "two blocks": (2, 20.0, 20.0, 20.0),
    "two blocks, a trait without effects": (2, 20.0, 20.0, 0.0),
    "three blocks": (3, 20.0, 15.0, 30.0),
}
cases = pytest.mark.parametrize("name", CASES)


@cases
@pytest.mark.parametrize("engine", ["strata", "sparse"])
def test_suited__is_the_same_posterior(name, engine):
    """Densities of one Σ differ by the Jacobians only; value and gradient, compiled and not, agree."""
    plain, reml, other = case(*CASES[name], engine=engine)
    assert other.blocks.structures[0].shear is not None
    d = other.blocks.n_parameters
    centre = other.coordinates.unconstrain(other.blocks.from_matrices(reml.sigmas), 0.2 * other.resolution)
    density, differences = Density(other, np.zeros(d), np.eye(d)), []
    for step in np.random.default_rng(1).normal(0.0, 0.5, (4, d)):
        at = centre + step
        value, gradient = density(at)
        expected, by_x = other.value_and_gradient(at)
        assert value == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(gradient, by_x, rtol=1e-9, atol=1e-9 * np.abs(by_x).max())
        numeric = finite_difference(other.value, at, 1e-4)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-6 * np.abs(by_x).max())
        sigmas = other.blocks.matrices(other.coordinates.constrain(at))
        x = plain.coordinates.unconstrain(plain.blocks.from_matrices(sigmas))
        np.testing.assert_allclose(plain.blocks.matrices(plain.coordinates.constrain(x))[0], sigmas[0], rtol=1e-8)
        differences.append(plain.value(x) - log_volume(plain, x) - value + log_volume(other, at))
    np.testing.assert_allclose(differences, differences[0], atol=1e-6)


def log_volume(posterior, x):
    """log|J| of x → the components of all Σ."""
    J = posterior.blocks.jacobian(posterior.coordinates.constrain(x)) @ posterior.coordinates.jacobian(x)
    return np.linalg.slogdet(J)[1]


def test_apart__likelihood_rests_on_the_last_rows_alone():
    """With one degree of freedom, one row of L tells all of the likelihood; those before it have none."""
    _, reml, other = case(2, 20.0, 20.0, 20.0)
    block = other.blocks.structures[0]
    assert block.far == 3
    theta = other.blocks.from_matrices(reml.sigmas)
    np.testing.assert_allclose(theta[:5], 0.0, atol=1e-5)
    d = np.sqrt(2.0) * np.linalg.cholesky(reml.sigmas[0] + 1e-12 * np.eye(3))[:, 0]  # REML of two levels: dd'/2
    rng = np.random.default_rng(3)
    t = rng.normal(size=6)

    def loglik(t):
        S = block.matrix(t)
        return -0.5 * (np.linalg.slogdet(S)[1] + d @ np.linalg.solve(S, d))

    slopes = finite_difference(loglik, t, 1e-5)
    np.testing.assert_allclose(slopes[[1, 3, 4]], 0.0, atol=1e-4)
    np.testing.assert_allclose(slopes[[0, 2]], -1.0 / t[[0, 2]], rtol=1e-3)


def test_apart__a_trait_without_effects_has_planar_coordinates():
    _, _, other = case(2, 20.0, 20.0, 0.0)
    block = other.blocks.structures[0]
    assert (block.far, block.order[-1]) == (2, 2)
    np.testing.assert_array_equal(np.array(block.shear)[2], [0.0, 0.0, 1.0])
    assert other.unit[5] > 0.0
    np.testing.assert_array_equal(other.unit[[0, 2]], 0.0)


def test_apart__many_levels_change_nothing():
    S = structure("us", 3).matrix(np.arange(1.0, 7.0))
    s = structure("us", 3).pivoted(S)
    assert s.apart(S, np.full(3, 1e-3), 7.0) == s
    assert s.apart(S, np.full(3, 1e-3), 6.0).far == 3
    assert s.apart(S, np.full(3, np.inf), 1.0) == s
    assert s.apart(S, np.full(3, 1e-3), 0.0) == s


def test_apart__rank_below_the_degrees_of_freedom_changes_nothing():
    v = np.array([1.0, 2.0, 3.0])
    s = structure("us", 3).pivoted(np.outer(v, v))
    assert s.apart(np.outer(v, v), np.full(3, 1e-3), 2.0) == s
    assert s.apart(np.outer(v, v), np.full(3, 1e-3), 1.0).far == 3


def test_suited__units_follow_the_scales():
    """A block variance far above the others does not put these into the bend, whatever the traits' units."""
    _, reml, other = case(2, 20.0, 20.0, 20.0)
    line, residual = (np.sqrt(np.diag(S)) for S in reml.sigmas[1:])
    unit = other.unit[other.coordinates.scales]
    order = [np.array(s.order) for s in other.blocks.structures]
    np.testing.assert_allclose(unit[3:], 0.5 * np.append(line[order[1]], residual[order[2]]), rtol=1e-6)
    data = trial(2, (20.0, 20.0, 20.0)).assign(y1=lambda frame: 1e3 * frame["y1"])
    design = bmv.build_design(other.design.spec, data)
    scaled = suited(log_posterior(design), fit_reml(design).sigmas)
    np.testing.assert_allclose(scaled.unit, other.unit, rtol=1e-4)


def test_suited__ordinary_models_keep_their_unit():
    data = records(blocks=12, families=8, plants=4)
    posterior = log_posterior(make_design(data=data))
    reml = fit_reml(posterior.design, engine=posterior.engine)
    units = suited(posterior, reml.sigmas).unit
    own = [np.sqrt(np.diag(S)) for S in reml.sigmas]
    assert units.max() == PLANAR_UNIT
    assert units[-1] == min(PLANAR_UNIT, 0.5 * own[-1].min())


@pytest.mark.parametrize(
    "word", ["diag(trait)", "idv(trait)", "us(trait)", "corh(trait)", "fa(trait, 1)", "ante(trait, 1)"]
)
def test_suited__variances_of_zero_have_units_of_their_noise(word):
    posterior = log_posterior(make_design(f"{word}:block", records(t=3)))
    zero = np.zeros((3, 3))
    other = suited(posterior, [zero, np.eye(3)])
    (noise, residual) = noises(posterior.engine, [zero, np.eye(3)])
    scales = other.coordinates.scales
    assert (other.unit[scales] > 0.0).all()
    inside = other.unit[: other.blocks.slices[0].stop][scales[: other.blocks.slices[0].stop]]
    assert ((inside >= noise.min() - 1e-12) | (inside == PLANAR_UNIT)).all()
    assert np.isfinite(residual).all()


def test_noises__where_the_error_is_as_large_as_the_effect():
    """Balanced levels that differ as by chance: a variance of 0 is known to sqrt(2 / (q - 1)) σ²/n."""
    e = np.random.default_rng(5).normal(size=(6, 10))
    e -= e.mean(axis=1, keepdims=True)
    effects = np.array([1.0, -1.0, 2.0, -2.0, 0.5, -0.5])
    effects *= np.sqrt(5.0 / 10.0 / np.sum(effects**2))  # σ² = 1: n Σ b² = q - 1
    data = pd.DataFrame({"y1": (e + effects[:, None]).reshape(-1), "block": np.repeat(np.arange(6), 10)})
    posterior = log_posterior(make_design("us(trait):block", data))
    (scale,) = posterior.design.scale
    (noise, _) = noises(posterior.engine, [np.zeros((1, 1)), np.array([[scale**-2]])])
    assert noise[0] ** 2 == pytest.approx(np.sqrt(2.0 / 5.0) / scale**2 / 10.0, rel=1e-3)


def test_relative__by_structure():
    S = structure("us", 3).matrix(np.arange(1.0, 7.0))
    us = structure("us", 3).pivoted(S).apart(S, np.array([1e-3, 1e-3, 1e3]), 2.0)
    assert us.relative.tolist() == [True, False, True, False, False, False]
    assert CovarianceBlocks((us, structure("diag", 2))).relative.tolist() == [*us.relative, False, False]
