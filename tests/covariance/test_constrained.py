"""Parameters held at values and equated."""

import numpy as np
import pytest
from oracles import finite_difference, random_psd
from structures import build, written

import bayesmv as bmv
from bayesmv.covariance import Constrained, constrained, structure
from bayesmv.covariance.constrained import _check_held_once
from bayesmv.errors import SpecError
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.density import log_prior

LABELS = ("a", "b", "c")
SCALE = np.array([2.0, 3.0, 0.5])

# structure, constraints, free parameters
CASES = [
    ("corh", {"cor": 0.5}, 3),
    ("corh", {"sd[a]": "sd[b]"}, 3),
    ("corh", {"sd[a]": "sd[b]", "sd[b]": "sd[c]"}, 2),
    ("corh", {"sd[a]": 4.0, "sd[b]": "sd[a]"}, 2),
    ("diag", {"sd[c]": 0.0}, 2),
    ("idv", {"sd": 1.5}, 0),
    ("ar1", {"cor": -0.3}, 1),
    ("exp(0, 1, 3)", {"cor": 0.25}, 1),
    ("toeph", {"partial_cor[2]": 0.0}, 4),
    ("ante(1)", {"regression[b,a]": 0.7}, 4),
    ("fa(1)", {"specific_sd[b]": 0.0, "loading[1,a]": 1.0}, 4),
    ("rr(1)", {"loading[1,a]": "loading[1,b]"}, 2),
    ("scaled(G)", {"factor": 2.0}, 0),
]
cases = pytest.mark.parametrize(("text", "constraints", "free"), CASES)


def made(text, constraints):
    return constrained(build(text, 3), constraints, LABELS).rescaled(SCALE)


@cases
def test_constrained__values_hold_in_the_units_of_the_data(text, constraints, free):
    s = made(text, constraints)
    assert isinstance(s, Constrained)
    assert s.n_parameters == free
    theta = np.random.default_rng(1).uniform(0.3, 1.2, free)
    full = s.full(theta)
    natural = {p.name: float(p.value(full[k])) * p.scale(SCALE) for k, p in enumerate(s.inner.parameters(LABELS))}
    for name, asked in constraints.items():
        expected = natural[asked] if isinstance(asked, str) else asked
        assert natural[name] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@cases
def test_constrained__derivatives(text, constraints, free):
    s, rng = made(text, constraints), np.random.default_rng(2)
    theta, G = rng.uniform(0.3, 1.2, free), random_psd(3, rng)
    assert s.jacobian(theta).shape == (free, 3, 3)
    assert s.anchor.shape == s.positive.shape == s.powers.shape == s.edges(theta).shape == (free,)
    if not free:
        return
    np.testing.assert_allclose(s.jacobian(theta), finite_difference(s.matrix, theta, 1e-3), atol=1e-8)
    slopes = finite_difference(lambda x: np.einsum("kab,ab->k", s.jacobian(x), G), theta, 1e-3)
    np.testing.assert_allclose(s.curvature(theta, G), slopes, atol=1e-8)
    by_theta = finite_difference(lambda x: log_prior(s, CovariancePrior(), x)[0], theta, 1e-4)
    if np.isfinite(by_theta).all():
        np.testing.assert_allclose(log_prior(s, CovariancePrior(), theta)[1], by_theta, rtol=1e-6, atol=1e-6)


@cases
def test_constrained__round_trip(text, constraints, free):
    s = made(text, constraints)
    sigma = s.matrix(np.random.default_rng(3).uniform(0.3, 1.2, free))
    np.testing.assert_allclose(s.matrix(s.from_matrix(sigma)), sigma, atol=1e-7)


def test_constrained__nothing_asked_is_the_structure():
    assert constrained(structure("corh", 3), {}, LABELS) == structure("corh", 3)


@pytest.mark.parametrize("text", written(3))
def test_parameters__names_are_different(text):
    names = [p.name for p in build(text, 3).parameters(LABELS)]
    assert len(set(names)) == len(names) == build(text, 3).n_parameters


@pytest.mark.parametrize(
    ("text", "constraints", "message"),
    [
        ("us", {"cor": 0.5}, r"us has no parameter 'cor'; parameters: 'sd\[\w+\]'"),
        ("corgh", {"cor": 0.5}, r"corgh has no parameter 'cor'; parameters: 'sd\["),
        ("corh", {"rho": 0.5}, r"corh has no parameter 'rho'; parameters: 'sd\[a\]', 'sd\[b\]', 'sd\[c\]', 'cor'"),
        ("corh", {"sd[a]": "sd[z]"}, r"corh has no parameter 'sd\[z\]'"),
        ("corh", {"sd[a]": "cor"}, r"sd\[a\] and cor are quantities of different kinds"),
        ("corh", {"sd[a]": "sd[a]"}, r"'sd\[a\]' is equated to itself"),
        ("corh", {"cor": 1.5}, r"cor = 1.5 is out of its bounds, -0.5 to 1"),
        ("diag", {"sd[a]": -1.0}, r"sd\[a\] = -1 is out of its bounds, 0 to inf"),
        ("diag", {"sd[a]": 1.0, "sd[b]": "sd[a]", "sd[c]": "sd[b]"}, None),
        ("diag", {"sd[b]": 1.0, "sd[a]": 2.0, "sd[c]": "sd[b]"}, None),
        ("id", {"sd": 1.0}, r"id has no parameter 'sd'; parameters: none"),
    ],
)
def test_constrained__raises(text, constraints, message):
    if message is None:
        assert isinstance(constrained(build(text, 3), constraints, LABELS), Constrained)
        return
    with pytest.raises(SpecError, match=message):
        constrained(build(text, 3), constraints, LABELS)


def test_constrained__raises_on_two_values_for_one():
    # A dict cannot hold sd[a] twice, but b can be held while it is equated to a that is held.
    s = Constrained(3, structure("diag", 3), ((0, 1.0), (1, 2.0)), ((0, 1),), LABELS, (1.0, 1.0, 1.0))
    with pytest.raises(SpecError, match=r"'sd\[b\]' is both held and equated"):
        _check_held_once(s)


def spec(structure, constraints, matrices=None):
    return bmv.ModelSpec.from_formula(
        "bden + veloc ~ 1",
        random=f"diag(trait):Block + {structure}:Family",
        constraints={"Family": constraints},
        matrices=matrices,
    )


def test_fit_reml__held_correlation_of_zero_is_diag():
    data = bmv.load_dataset("canty_complete")
    held = bmv.fit_reml(bmv.build_design(spec("corh(trait)", {"cor": 0.0}), data))
    diag = bmv.fit_reml(bmv.build_design(spec("diag(trait)", {}), data))
    assert held.loglik == pytest.approx(diag.loglik, abs=1e-6)
    assert held.n_parameters == diag.n_parameters
    np.testing.assert_allclose(held.covariances["Family"], diag.covariances["Family"], rtol=1e-4, atol=1e-9)


def test_fit_reml__held_sd_is_in_the_units_of_the_data():
    data = bmv.load_dataset("canty_complete")
    fit = bmv.fit_reml(bmv.build_design(spec("corh(trait)", {"sd[bden]": 9.0}), data))
    assert fit.covariances["Family"][0, 0] == pytest.approx(81.0, rel=1e-12)
    free = bmv.fit_reml(bmv.build_design(spec("corh(trait)", {}), data))
    test = bmv.likelihood_ratio(fit, free)
    assert test.df == 1
    assert test.statistic > 0


def test_model_spec__matrices_and_constraints_go_round(tmp_path):
    model = spec(
        "fa(trait, 1)", {"specific_sd[bden]": 0.0, "loading[1,veloc]": 0.5}, {"my G": [[2.0, 0.5], [0.5, 1.0]]}
    )
    model.to_file(tmp_path / "model.toml")
    again = bmv.ModelSpec.from_file(tmp_path / "model.toml")
    assert (again.matrices, again.constraints, again.random) == (model.matrices, model.constraints, model.random)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"constraints": {"Famly": {"cor": 0.5}}}, "constraints are given for 'Famly'; terms: 'Family', 'Residual'"),
        ({"matrices": {"G": [[1.0, 2.0], [2.0, 1.0]]}}, "the matrix 'G' is not positive semi-definite"),
        ({"matrices": {"G": [[1.0, 0.5], [0.1, 1.0]]}}, "the matrix 'G' must be symmetric"),
        ({"matrices": {"G": [[1.0, 0.5]]}}, "the matrix 'G' must be a square table"),
        ({"matrices": {"G": [["a"]]}}, "the matrix 'G' must be a square table of numbers"),
        ({"residual": "rr(trait, 1):units"}, r"the residual rr\(1\) has rank 1 for 2 traits"),
        (
            {"residual": "us(trait):units", "constraints": {"Residual": {"cor": 0.0}}},
            r"\[constraints.Residual\]: us has no parameter 'cor'",
        ),
    ],
)
def test_model_spec__raises(change, message):
    with pytest.raises(SpecError, match=message):
        bmv.ModelSpec.from_formula("bden + veloc ~ 1", **({"random": "us(trait):Family"} | change))


@pytest.mark.parametrize(
    ("random", "message"),
    [
        ("fa(trait):Family", r"fa\(trait, k\) needs the number k of factors"),
        ("fa(trait, 3):Family", r"fa\(3\) needs from 1 to 2 factors for 2 effects"),
        ("rr(trait, x):Family", r"rr\(trait, k\) needs the number k of factors"),
        ("ante(trait, 2):Family", r"ante\(2\) needs an order from 1 to 1"),
        ("ante(trait, a):Family", "needs the order k of the dependence"),
        ("exp(trait, 1):Family", "exp has 1 times for 2 effects"),
        ("exp(trait, 1, 1):Family", r"the times of exp\(1, 1\) must be different"),
        ("exp(trait, 1, b):Family", "the times of exp.* must be numbers, not 1, b"),
        (
            "fixed(trait, H):Family",
            r"fixed\(trait, …\) names the matrix 'H', which is not under .*; matrices: 'G', 'Z'",
        ),
        ("fixed(trait):Family", "needs the name of one matrix, not 0"),
        ("fixed(trait, G):Family", r"fixed\(G\) stands for 2 effects, but the matrix is 3 × 3"),
        ("scaled(trait, Z):Family", r"the matrix of scaled\(Z\) is zero"),
        ("us(trait, 2):Family", r"us\(trait\) takes no arguments besides the trait, not 2"),
        ("id(trait, 2):Family", r"id\(trait\) takes no arguments"),
    ],
)
def test_build_design__raises_on_arguments(random, message):
    matrices = {"G": np.eye(3), "Z": np.zeros((2, 2))}
    model = bmv.ModelSpec.from_formula("bden + veloc ~ 1", random=random, matrices=matrices)
    with pytest.raises(SpecError, match=message):
        bmv.build_design(model, bmv.load_dataset("canty_complete"))


def test_from_file__raises_on_constraints(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text('traits = ["a"]\nrandom = "idv(trait):f"\n[constraints.f]\nsd = true\n')
    with pytest.raises(SpecError, match=r"'sd' in \[constraints.f\] must be a number or the name of another parameter"):
        bmv.ModelSpec.from_file(path)
