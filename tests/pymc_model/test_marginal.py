"""The marginal PyMC model against LogPosterior: the same density on the same unconstrained vector, entry by entry."""

import pickle
import threading
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import pytest
from oracles import all_patterns, finite_difference, random_case, simple_case
from pytensor.compile.mode import Mode
from pytensor.gradient import NullTypeGradError
from pytensor.graph.traversal import ancestors

from bayesmv.covariance import CovarianceStructure
from bayesmv.errors import SpecError
from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.posterior.sampler_density import sampler_density
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.pymc_model import build_model
from bayesmv.pymc_model.covariances import free_parameters, parameter_name
from bayesmv.pymc_model.restricted import RestrictedLogLikelihood
from bayesmv.sampling.trace import covariance_dataset

#: Graphs as they are written: a handful of evaluations each do not pay for rewriting.
MODE = Mode(linker="py", optimizer=None)


def incomplete(t, random, residual="us(trait):units", seed=3):
    return random_case(seed, t, random, patterns=all_patterns(t), residual=residual).design


def balanced(t, random, residual="us(trait):units"):
    data = pd.DataFrame(list(product(range(4), range(5))), columns=["b", "f"])
    rng = np.random.default_rng(t)
    for i in range(t):
        data[f"y{i + 1}"] = rng.normal(size=4)[data["b"]] + 10.0**i * rng.normal(10.0, 1.0, len(data))
    return simple_case([f"y{i + 1}" for i in range(t)], random, data, residual).design


DESIGNS = {
    "one trait, us of size one": (lambda: incomplete(1, "us(trait):vm(animal, A) + diag(trait):block"), "sparse"),
    "two traits, a term of one trait": (
        lambda: incomplete(2, "us(trait):vm(animal, A) + at(trait, y2):block + idv(trait):herd"),
        "sparse",
    ),
    "three traits, terms of two in another order": (
        lambda: incomplete(3, "us(trait):block + at(trait, y3, y1):us(trait):vm(animal, A)"),
        "sparse",
    ),
    "corgh and a diagonal residual": (lambda: incomplete(2, "corgh(trait):block", "diag(trait):units"), "sparse"),
    "factors, antedependence, one correlation": (
        lambda: incomplete(
            3, "fa(trait, 2):vm(animal, A) + corh(trait):block + rr(trait, 1):herd", "ante(trait, 1):units"
        ),
        "sparse",
    ),
    "balanced, lags and times": (
        lambda: balanced(3, "toeph(trait):b + exph(trait, 0, 1.5, 4):f", "ar1h(trait):units"),
        "strata",
    ),
    "balanced, ties and given matrices": (
        lambda: balanced(2, "corv(trait):b + id(trait):f", "toep(trait):units"),
        "strata",
    ),
    "balanced, one trait": (lambda: balanced(1, "us(trait):b + us(trait):f"), "strata"),
    "balanced, two traits": (lambda: balanced(2, "us(trait):b + diag(trait):f"), "strata"),
    "balanced, three traits": (lambda: balanced(3, "corgh(trait):b + idv(trait):f"), "strata"),
}

PRIORS = {
    "defaults": lambda design: {},
    "all different": lambda design: {
        name: CovariancePrior(sd=HalfStudentT(nu=2.0 + k, scale=0.7 + k), eta=1.5 + k)
        for k, name in enumerate(design.names)
    },
}


def density(model):
    """Log density and gradient of the vector of all value variables."""
    f = model.logp_dlogp_function(mode=MODE, ravel_inputs=True)
    f.set_extra_values({})
    return f


#: A graph takes seconds: the default priors, LKJ(1) among them, for designs that hold most structures between them.
DEFAULTS = ("two traits, a term of one trait", "factors, antedependence, one correlation", "balanced, lags and times")


@pytest.mark.parametrize(
    ("case", "priors"),
    [(case, "all different") for case in DESIGNS] + [(case, "defaults") for case in DEFAULTS],
)
def test_marginal_model__log_density_and_gradient(case, priors):
    make, engine = DESIGNS[case]
    design = make()
    priors = PRIORS[priors](design)
    posterior = log_posterior(design, priors)
    assert posterior.engine.name == engine
    model = density(build_model(design, priors=priors))
    d = design.blocks.n_parameters
    planar = replace(posterior, unit=0.25)
    compiled = sampler_density(planar, np.zeros(d), np.eye(d))
    rng = np.random.default_rng(1)
    from_model, from_compiled = [], []
    for x in rng.normal(0.0, 0.7, (6, d)):
        value, gradient = posterior.value_and_gradient(x)
        tolerance = 1e-8 * max(1.0, np.abs(gradient).max())
        # PyMC's LKJ takes squared row norms as differences of cumulative sums: a few digits are lost, not more.
        mine = model(x)
        np.testing.assert_allclose(mine[1], gradient, atol=tolerance, rtol=0)
        from_model.append(mine[0] - value)
        # The sampler's own coordinates, at the same θ.
        at = planar.coordinates.unconstrain(posterior.coordinates.constrain(x))
        jacobians = planar.coordinates.log_jacobian(at) - posterior.coordinates.log_jacobian(x)
        from_compiled.append(compiled(at)[0] - jacobians - value)
    assert np.ptp(from_model) < 1e-9
    assert np.ptp(from_compiled) < 1e-9


def engine_of(model):
    """The engine that a model evaluates."""
    nodes = (variable.owner for variable in ancestors(model.potentials) if variable.owner is not None)
    (engine,) = {node.op.engine for node in nodes if isinstance(node.op, RestrictedLogLikelihood)}
    return engine


def test_marginal_model__engine():
    design = balanced(2, "us(trait):b + us(trait):f")
    engine, posterior = MixedModelLikelihood(design), log_posterior(design)
    assert [engine_of(build_model(design, engine=e)).name for e in ("strata", "sparse")] == ["strata", "sparse"]
    model = build_model(design, engine=engine)
    assert engine_of(model) is engine
    of_sparse = density(model)
    assert posterior.engine.name == "strata"
    differences = []
    for x in np.random.default_rng(0).normal(0.0, 0.5, (3, design.blocks.n_parameters)):
        value, gradient = posterior.value_and_gradient(x)
        mine = of_sparse(x)
        differences.append(mine[0] - value)
        np.testing.assert_allclose(mine[1], gradient, atol=1e-8)
    assert np.ptp(differences) < 1e-9


def test_marginal_model__value_variables():
    design = incomplete(2, "us(trait):vm(animal, A) + at(trait, y2):block + idv(trait):herd")
    model = build_model(design)
    assert [v.name for v in model.free_RVs] == [parameter_name(name) for name in design.names]
    assert model.value_vars == [model.rvs_to_values[v] for v in model.free_RVs]
    point = model.initial_point()
    assert [point[v.name].size for v in model.value_vars] == [s.n_parameters for s in design.blocks.structures]
    assert not model.observed_RVs


def test_marginal_model__deterministics_are_those_of_sample():
    design = incomplete(
        3, "us(trait):block + at(trait, y3, y1):us(trait):vm(animal, A) + at(trait, y2):diag(trait):herd"
    )
    model = build_model(design)
    posterior = log_posterior(design)
    x = np.random.default_rng(5).normal(0.0, 0.7, design.blocks.n_parameters)
    expected = covariance_dataset(design, posterior.coordinates.constrain(x)[None, None])
    point, begin = {}, 0
    for variable, structure in zip(model.value_vars, design.blocks.structures, strict=True):
        point[variable.name] = x[begin : begin + structure.n_parameters]
        begin += structure.n_parameters
    outputs = model.replace_rvs_by_values(model.deterministics)
    values = model.compile_fn(outputs, inputs=model.value_vars, mode=MODE)(point)
    assert {v.name for v in model.deterministics} == set(expected.data_vars)
    for variable, value in zip(model.deterministics, values, strict=True):
        theirs = expected[variable.name]
        assert model.named_vars_to_dims[variable.name] == theirs.dims[2:]
        for dim in theirs.dims[2:]:
            assert list(model.coords[dim]) == theirs[dim].to_numpy().tolist()
        np.testing.assert_allclose(value, theirs[0, 0], rtol=1e-10, atol=1e-12)


def test_marginal_model__can_be_extended():
    design = balanced(2, "us(trait):b")
    plain, model = build_model(design), build_model(design)
    with model:
        pm.Potential("prefer_small", -model["b_cov"][0, 0])
        pm.Normal("other", 0.0, 1.0)
    x = np.random.default_rng(0).normal(0.0, 0.5, design.blocks.n_parameters)
    value, gradient = density(model)(np.append(x, 0.0))
    posterior = log_posterior(design)
    variance = posterior.blocks.matrices(posterior.coordinates.constrain(x))[0][0, 0] * design.scale[0] ** 2
    before = density(plain)(x)
    assert value == pytest.approx(before[0] - variance - 0.5 * np.log(2 * np.pi), abs=1e-9)
    assert gradient[0] == pytest.approx(before[1][0] - 2.0 * variance, abs=1e-8)


def test_build_model__raises_on_unknown_words():
    design = balanced(1, "us(trait):b")
    with pytest.raises(SpecError, match="effects must be 'marginal' or 'sampled', not 'both'"):
        build_model(design, effects="both")
    with pytest.raises(SpecError, match="unknown engine 'fast'"):
        build_model(design, engine="fast")
    with pytest.raises(SpecError, match="nobody"):
        build_model(design, priors={"nobody": CovariancePrior()})


def test_free_parameters__raises_on_unregistered_structure():
    with pytest.raises(NotImplementedError, match="no PyMC variable is registered for object"):
        free_parameters(object(), "a_theta", CovariancePrior())


def test_free_parameters__every_structure_is_registered():
    def leaves(cls):
        return {cls}.union(*(leaves(c) for c in cls.__subclasses__()))

    ours = {c for c in leaves(CovarianceStructure) - {CovarianceStructure} if c.__module__.startswith("bayesmv.")}
    default = free_parameters.dispatch(object)
    assert [c.__name__ for c in ours if free_parameters.dispatch(c) is default] == []


# ---------------------------------------------------------------- the operation


@pytest.fixture
def engine():
    return MixedModelLikelihood(incomplete(2, "us(trait):vm(animal, A)"))


def matrices(seed=0):
    rng = np.random.default_rng(seed)
    return [B @ B.T + np.eye(2) for B in rng.normal(size=(2, 2, 2))]


def run(operation, sigmas):
    storage = [[None] for _ in range(len(sigmas) + 1)]
    operation.perform(None, sigmas, storage)
    return [cell[0] for cell in storage]


def test_restricted__is_the_engine(engine):
    sigmas = matrices()
    value, *gradients = run(RestrictedLogLikelihood(engine), sigmas)
    expected = engine.value_and_gradient(sigmas)
    assert value == expected[0]
    np.testing.assert_array_equal(gradients, expected[1])


def test_restricted__gradient_by_finite_differences(engine):
    S, R = pt.dmatrix("S"), pt.dmatrix("R")
    inner = pt.exp(0.1 * RestrictedLogLikelihood(engine)(S, R))
    f = pm.pytensorf.compile([S, R], [inner, *pt.grad(inner, [S, R])], mode=MODE)
    sigmas = matrices()
    _, by_S, _ = f(*sigmas)
    E = np.array([[0.3, 0.1], [0.1, -0.2]])
    slope = finite_difference(lambda x: f(sigmas[0] + x[0] * E, sigmas[1])[0], np.zeros(1), step=1e-3)[0]
    assert np.sum(by_S * E) == pytest.approx(slope, rel=1e-7)


def test_restricted__has_no_second_derivative(engine):
    S, R = pt.dmatrix("S"), pt.dmatrix("R")
    first = pt.grad(RestrictedLogLikelihood(engine)(S, R), S)
    with pytest.raises(NullTypeGradError, match="not implemented"):
        pt.grad(first.sum(), S)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_restricted__not_finite(engine, bad):
    sigmas = matrices()
    sigmas[0][0, 0] = bad
    value, *gradients = run(RestrictedLogLikelihood(engine), sigmas)
    assert value == -np.inf
    np.testing.assert_array_equal(gradients, np.zeros((2, 2, 2)))


def test_restricted__pickle(engine):
    operation = RestrictedLogLikelihood(engine)
    expected = run(operation, matrices())
    again = run(pickle.loads(pickle.dumps(operation)), matrices())
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))


def test_restricted__threads_have_engines_of_their_own(engine):
    operation = RestrictedLogLikelihood(engine)
    expected = {seed: run(operation, matrices(seed)) for seed in range(4)}
    wrong = []

    def work(seed):
        for _ in range(200):
            found = run(operation, matrices(seed))
            if not all(np.array_equal(a, b) for a, b in zip(found, expected[seed], strict=True)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
