"""Dense relationships by eigenvalues, against V written out and against factorisations."""

import numpy as np
import pandas as pd
import pytest
from test_spectral_engine import CASES, assert_is_dense, one_term

from bayesmv.design.design import build_design
from bayesmv.likelihood import likelihood
from bayesmv.likelihood.spectral import eigen
from bayesmv.likelihood.spectral.eigen import Spectrum, is_dense, spectrum
from bayesmv.likelihood.spectral.engine import SpectralLikelihood, build_table
from bayesmv.likelihood.spectral.univariate import Univariate, univariate
from bayesmv.model.spec import ModelSpec
from bayesmv.numerics import chebyshev
from bayesmv.relationship.relationship import Relationship

KIN = [name for name, words in CASES.items() if words.get("kin", True)]


@pytest.fixture
def always(monkeypatch):
    """Eigenvalues for few levels too."""
    monkeypatch.setattr(eigen, "_LEVELS", 0)
    monkeypatch.setattr(eigen, "_DENSE", 0.0)


@pytest.mark.parametrize("t", [1, 2, 3])
@pytest.mark.parametrize("name", KIN)
def test_spectrum__value_gradient_and_information_are_dense(always, name, t):
    case = one_term(t, **CASES[name])
    engine = SpectralLikelihood(case.design)
    assert isinstance(engine.table.equations, Spectrum)
    rng = np.random.default_rng(7)
    for _ in range(3):
        assert_is_dense(case, engine, case.scaled(case.random_covariances(rng)))


@pytest.mark.parametrize("name", KIN)
def test_spectrum__functions_are_those_of_factorisations(name):
    case = one_term(2, **CASES[name])
    one, other, Y = spectrum(case.design), univariate(case.design), case.design.working_response
    assert one.rank() == other.rank()
    assert one.log_X == other.log_X
    work = other.workspace()
    for ratio in (0.0, 1e-3, 0.4, 1.0, 30.0, 1e4):
        mine = one.functions(ratio, one.prepare(Y), None)
        np.testing.assert_allclose(mine, other.functions(ratio, other.prepare(Y), work), rtol=1e-9, atol=1e-9)


def test_spectrum__eigenvalues_by_hand():
    case = one_term(1, repeated=True)
    X, Z = case.design.fixed.X.toarray(), case.design.terms[0].incidences[0].toarray()
    M = np.eye(len(X)) - X @ np.linalg.pinv(X)
    K = np.linalg.inv(case.design.terms[0].relationship.precision.toarray())
    expected = np.linalg.eigvalsh(M @ Z @ K @ Z.T @ M)
    got = spectrum(case.design)
    np.testing.assert_allclose(got.eigenvalues, expected[-got.rank() :], rtol=1e-8)
    np.testing.assert_allclose(expected[: -got.rank()], 0.0, atol=1e-10 * expected.max())
    scale = got.scale(None)
    assert scale == chebyshev.scale_for(got.eigenvalues.min(), got.eigenvalues.max())


def genotyped(q=600, n=700, seed=1):
    """A marker relationship of q levels, some with two records, two traits."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"g{i}" for i in range(q)])
    G = Relationship.from_markers(pd.DataFrame(rng.binomial(2, 0.3, (q, 400)), index=ids), blend=0.05)
    data = pd.DataFrame({"line": ids[np.arange(n) % q], "x": rng.normal(size=n)})
    data[["y1", "y2"]] = rng.normal(size=(n, 2)) @ [[1.0, 0.4], [0.0, 1.0]]
    return build_design(ModelSpec.from_formula("y1 + y2 ~ x", random="us(trait):vm(line, G)"), data, {"G": G})


def test_is_dense__markers_of_many_levels_only():
    assert is_dense(genotyped())
    assert not is_dense(genotyped(q=100, n=100))
    assert not is_dense(one_term(2, kin=False).design)


def test_build_table__markers_by_eigenvalues():
    design = genotyped()
    table = build_table(design)
    assert isinstance(table.equations, Spectrum)
    sigmas = [np.array([[0.4, 0.2], [0.2, 0.5]]), np.array([[0.6, 0.1], [0.1, 0.5]])]
    value, gradient = SpectralLikelihood(design, table).value_and_gradient(sigmas)
    other, its_gradient = likelihood(design, "sparse").value_and_gradient(sigmas)
    assert value == pytest.approx(other, abs=1e-7)
    np.testing.assert_allclose(gradient, its_gradient, atol=1e-6)


def test_build_table__sparse_relationships_are_factored():
    assert isinstance(build_table(one_term(1, kin=False).design).equations, Univariate)
