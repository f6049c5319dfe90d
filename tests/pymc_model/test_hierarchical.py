"""The hierarchical PyMC model against dense Gaussian algebra: integrated over the effects it is the marginal model."""

from functools import cache

import numpy as np
import pytensor.tensor as pt
import pytest
from cases import StructuredDense, structured_case
from oracles import Dense, all_patterns, dense_relationship, finite_difference, random_case, random_kin
from pytensor.compile.mode import Mode
from traces import make_design

from bayesmv import dims
from bayesmv.errors import SpecError
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.pymc_model import build_model
from bayesmv.pymc_model.hierarchical import record_classes
from bayesmv.pymc_model.root import RelationshipRoot

#: Graphs as they are written: a handful of evaluations each do not pay for rewriting.
MODE = Mode(linker="py", optimizer=None)

#: Traits, random terms, and whether records are missing.
CASES = {
    "one trait": (1, "us(trait):vm(animal, A) + idv(trait):block", True),
    "complete records": (2, "us(trait):block + diag(trait):herd", False),
    "two traits, a term of one": (2, "us(trait):vm(animal, A) + at(trait, y2):block", True),
    "three traits, another order": (3, "us(trait):block + at(trait, y3, y1):us(trait):vm(animal, A)", True),
    "one factor and one correlation": (3, "fa(trait, 1):block + corh(trait):vm(animal, A)", True),
    "no random term": (2, "", True),
    "maternal": (2, "structured", True),
    "legendre": (1, "structured", True),
    "diluted": (1, "structured", False),
    "raw": (1, "structured", False),
    "overlay": (2, "structured", False),
    "related product": (1, "structured", False),
    "trend": (1, "structured", False),
}


def make_case(name, residual="us(trait):units"):
    t, random, incomplete = CASES[name]
    if random == "structured":
        return structured_case(name, t)
    return random_case(7, t, random, patterns=all_patterns(t) if incomplete else None, residual=residual)


class Evaluated:
    """Log density, and the effects in the units of the data, of the vector of all value variables."""

    def __init__(self, model):
        self.model = model
        self.density = model.logp_dlogp_function(mode=MODE, ravel_inputs=True)
        self.density.set_extra_values({})
        self.size = sum(value.size for value in model.initial_point().values())
        self._names = [v.name for v in model.deterministics]
        outputs = model.replace_rvs_by_values(model.deterministics)
        self._values = model.compile_fn(outputs, inputs=model.value_vars, mode=MODE, on_unused_input="ignore")

    def logp(self, x):
        return float(self.density(x)[0])

    def deterministics(self, x):
        point, begin = {}, 0
        for name, value in self.model.initial_point().items():
            point[name] = x[begin : begin + value.size].reshape(value.shape)
            begin += value.size
        return dict(zip(self._names, self._values(point), strict=True))


def log_normal(deviation, covariance):
    """log N(deviation | 0, covariance) up to a constant; standardised first: the traits' units differ widely."""
    sd = np.sqrt(np.diag(covariance))
    L = np.linalg.cholesky(covariance / np.outer(sd, sd))
    return -0.5 * np.sum(np.linalg.solve(L, deviation / sd) ** 2) - np.log(np.diag(L)).sum() - np.log(sd).sum()


def log_effects_given_records(case, evaluated, x, sigmas):
    """log N((b, u) | their posterior given y and Σ) and log|d(u, b)/d(z, raw)| up to a constant, u stacked by level."""
    design = case.design
    scaled = zip(design.names, sigmas, strict=True)
    dense_of = StructuredDense if hasattr(case, "model") else Dense
    dense = dense_of(case, [S * np.outer(design.effect_scale(n), design.effect_scale(n)) for n, S in scaled])
    values = evaluated.deterministics(x)
    by_label = dict(zip(evaluated.model.coords[dims.COEFFICIENT], values[dims.FIXED], strict=True))
    effects = [np.array([by_label[f"{trait}:{variable}"] for trait, variable in dense.labels])]
    effects += [values[dims.effect_name(term.name)].reshape(-1) for term in design.terms]
    mean, covariance = dense.posterior
    jacobian = sum(
        0.5 * len(term.levels) * np.linalg.slogdet(S)[1] for term, S in zip(design.terms, sigmas[:-1], strict=True)
    )
    return log_normal(np.concatenate(effects) - mean, covariance) + jacobian


@cache
def sampled(name, residual="us(trait):units"):
    """A case, its priors, and the compiled model: one graph for all tests of a case."""
    case = make_case(name, residual)
    priors = effect_priors(case.design)
    return case, priors, Evaluated(build_model(case.design, priors=priors, effects="sampled"))


def effect_priors(design):
    return {n: CovariancePrior(sd=HalfStudentT(nu=4.0, scale=0.8), eta=2.0) for n in design.names}


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][1]])
def test_sampled_model__is_the_marginal_model_times_the_effects(name):
    case, priors, evaluated = sampled(name)
    posterior = log_posterior(case.design, priors)
    d = case.design.blocks.n_parameters
    rng = np.random.default_rng(2)
    differences = []
    for _ in range(5):
        x = np.concatenate([rng.normal(0.0, 0.5, d), rng.normal(0.0, 1.0, evaluated.size - d)])
        sigmas = case.design.blocks.matrices(posterior.coordinates.constrain(x[:d]))
        expected = posterior.value(x[:d]) + log_effects_given_records(case, evaluated, x, sigmas)
        differences.append(evaluated.logp(x) - expected)
    # Densities are of order 1e2 to 1e3 and covariances of the data's units conditioned to 1e6 and worse.
    assert np.ptp(differences) < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_sampled_model__gradient(name):
    _, _, evaluated = sampled(name, "diag(trait):units") if name == "no random term" else sampled(name)
    rng = np.random.default_rng(0)
    x, directions = rng.normal(0.0, 0.4, evaluated.size), rng.normal(0.0, 1.0, (3, evaluated.size))
    gradient = evaluated.density(x)[1]
    for v in directions:
        slope = finite_difference(lambda h, v=v: evaluated.logp(x + h[0] * v), np.zeros(1), step=1e-4)[0]
        assert gradient @ v == pytest.approx(slope, abs=1e-6 * max(1.0, np.abs(gradient).max()))


def test_sampled_model__names_dims_coords():
    design = make_case("two traits, a term of one").design
    model = build_model(design, effects="sampled")
    assert [v.name for v in model.free_RVs] == [
        "animal_theta",
        "block_y2_theta",
        "Residual_theta",
        "fixed_raw",
        "animal_z",
        "block_y2_z",
    ]
    dimensions = {
        "fixed": ("coefficient",),
        "animal_effect": ("animal_level", "trait"),
        "block_y2_effect": ("block_y2_level", "block_y2_trait"),
        "animal_cov": ("trait", "trait_other"),
        "block_y2_sd": ("block_y2_trait",),
        "records_y1": ("records_y1_unit", "records_y1_trait"),
        "records_y1+y2": ("records_y1+y2_unit", "trait"),
    }
    assert {name: model.named_vars_to_dims[name] for name in dimensions} == dimensions
    assert list(model.coords["coefficient"]) == ["y1:Intercept", "y2:Intercept", "y1:sex[T.m]", "y2:sex[T.m]", "y1:x"]
    assert list(model.coords["animal_level"]) == [f"a{i}" for i in range(10)]
    assert list(model.coords["block_y2_trait"]) == ["y2"]
    assert list(model.coords["records_y1_trait"]) == ["y1"]


def test_sampled_model__every_record_is_observed_once():
    design = make_case("two traits, a term of one").design
    model = build_model(design, effects="sampled")
    assert sorted(v.name for v in model.observed_RVs) == ["records_y1", "records_y1+y2", "records_y2"]
    seen = {}
    for variable in model.observed_RVs:
        unit, trait = model.named_vars_to_dims[variable.name]
        values = model.rvs_to_values[variable].data
        for (u, t), value in np.ndenumerate(values):
            seen[model.coords[unit][u], model.coords[trait][t]] = value
    expected = {
        (str(design.units[u]), design.traits[t]): design.working_response[u, t]
        for u, t in zip(*np.nonzero(design.observed), strict=True)
    }
    assert seen == expected


def test_sampled_model__complete_records_are_one_variable():
    design = make_case("complete records").design
    model = build_model(design, effects="sampled")
    (records,) = model.observed_RVs
    assert records.name == "records_y1+y2"
    assert model.named_vars_to_dims[records.name] == ("unit", "trait")


def test_sampled_model__effects_are_zero_at_the_initial_point():
    # The initial point is then the least-squares fit.
    case, _, evaluated = sampled("complete records")
    start = np.concatenate([v.reshape(-1) for v in evaluated.model.initial_point().values()])
    values = evaluated.deterministics(start)
    np.testing.assert_allclose(values["fixed"], case.design.fixed.ols[case.design.fixed.present], rtol=1e-12)
    assert not values["block_effect"].any()


def test_record_classes__partition_the_units():
    class Some:
        observed = np.array([[1, 1], [0, 1], [1, 1], [1, 0], [1, 1]], dtype=bool)

        class residual:
            group = np.array([0, 0, 0, 0, 1])

    found = [(traits.tolist(), group, units.tolist()) for traits, group, units in record_classes(Some)]
    assert found == [([1], 0, [1]), ([0], 0, [3]), ([0, 1], 0, [0, 2]), ([0, 1], 1, [4])]


# ---------------------------------------------------------------- the root of a relationship


@pytest.fixture
def kin():
    return random_kin(12, np.random.default_rng(4))


def multiply(operation, x):
    storage = [[None]]
    operation.perform(None, [x], storage)
    return storage[0][0]


def test_root__squares_to_the_relationship(kin):
    root = RelationshipRoot.of(dense_relationship([f"a{i}" for i in range(12)], kin))
    B = multiply(root, np.eye(12))
    np.testing.assert_allclose(B @ B.T, kin, atol=1e-12)


def test_root__transposed(kin):
    root = RelationshipRoot.of(dense_relationship([f"a{i}" for i in range(12)], kin))
    transposed = RelationshipRoot(root.upper, root.place, transposed=True)
    np.testing.assert_allclose(multiply(transposed, np.eye(12)), multiply(root, np.eye(12)).T, atol=1e-12)


def test_root__gradient(kin):
    root = RelationshipRoot.of(dense_relationship([f"a{i}" for i in range(12)], kin))
    weights = np.random.default_rng(0).normal(size=(12, 2))
    z = pt.dmatrix("z")
    gradient = pt.grad((root(z) * weights).sum(), z).eval({z: weights}, mode=MODE)
    np.testing.assert_allclose(gradient, multiply(root, np.eye(12)).T @ weights, atol=1e-12)


def test_root__second_derivative(kin):
    root = RelationshipRoot.of(dense_relationship([f"a{i}" for i in range(12)], kin))
    z = pt.dmatrix("z")
    first = pt.grad((root(z) ** 2).sum(), z)
    second = pt.grad(first.sum(), z).eval({z: np.ones((12, 1))}, mode=MODE)
    B = multiply(root, np.eye(12))
    np.testing.assert_allclose(second[:, 0], 2.0 * B.T @ B @ np.ones(12), atol=1e-10)


def test_fixed_prior__mistakes():
    design = make_design()
    with pytest.raises(SpecError, match="needs a finite scale > 0, not -1"):
        build_model(design, effects="sampled", fixed_prior=-1.0)
    with pytest.raises(SpecError, match="fixed_prior is for effects='sampled'"):
        build_model(design, fixed_prior=1.0)
