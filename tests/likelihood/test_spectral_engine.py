"""The spectral engine against V written out, against the sparse engine, and its table against direct evaluation."""

from fractions import Fraction
from functools import cache

import numpy as np
import pandas as pd
import pytest
from oracles import Case, Dense, finite_difference, random_kin
from scipy import sparse

from bayesmv.design.design import build_design
from bayesmv.errors import SpecError
from bayesmv.likelihood import MixedModelLikelihood, likelihood
from bayesmv.likelihood.spectral import engine as spectral
from bayesmv.likelihood.spectral import series
from bayesmv.likelihood.spectral.engine import SpectralLikelihood, build_table, obstacle
from bayesmv.likelihood.spectral.univariate import univariate
from bayesmv.model.spec import ModelSpec
from bayesmv.numerics import chebyshev, progress
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.relationship.relationship import Relationship
from bayesmv.reml import fit_reml


def traits(n):
    return [f"y{i + 1}" for i in range(n)]


def one_term(t, *, fixed=("sex", "x"), repeated=True, kin=True, random="us", residual="us", n=24, q=30, seed=0):
    """One random term: animals in a random order, some without records; or groups without relationship."""
    rng = np.random.default_rng([seed, t])
    ids = [f"a{i}" for i in range(q)]
    animal = rng.choice(ids[3:15], n) if repeated else rng.choice(ids[3:], n, replace=False)
    data = pd.DataFrame({"animal": animal, "x": rng.normal(5.0, 30.0, n), "year": np.arange(n) % 7})
    data["sex"] = rng.permutation(np.array(["f", "m"])[np.arange(n) % 2])
    data["line"] = [int(a[1:]) % 2 * 1.0 for a in animal]  # lies in the span of the animals
    Y = rng.normal(size=(n, t)) @ rng.normal(size=(t, t)) + 0.02 * data[["x"]].to_numpy() + 10.0
    data[traits(t)] = Y * 10.0 ** rng.uniform(-2, 3, t)
    term = "vm(animal, A)" if kin else "animal"
    formula = f"{' + '.join(traits(t))} ~ {' + '.join(fixed) or '1'}"
    spec = ModelSpec.from_formula(formula, random=f"{random}(trait):{term}", residual=f"{residual}(trait):units")
    written = {"Intercept": np.ones(n), "sex[T.m]": (data["sex"] == "m").to_numpy(float)}
    wanted = ["Intercept", *("sex[T.m]" if f == "sex" else f for f in fixed if f != "0")]
    wanted = wanted[1:] if "0" in fixed else wanted
    columns = {(y, name): written.get(name, data.get(name)) for y in traits(t) for name in wanted}
    columns = {key: np.asarray(values, float) for key, values in columns.items()}
    kinship = {"A": (ids, random_kin(q, rng))} if kin else {}
    return Case(spec=spec, data=data, columns=columns, kin=kinship)


CASES = {
    "repeated records": {},
    "one record each": {"repeated": False},
    "no relationship": {"kin": False},
    "a mean only": {"fixed": ()},
    "fixed effects within and between animals": {"fixed": ("sex", "x", "line", "year")},
    "one record each, covariates": {"fixed": ("x", "year"), "repeated": False},
    "no fixed effect": {"fixed": ("0",), "repeated": False},
}
cases = pytest.mark.parametrize("name", CASES)


@cache
def engine_of(name, t):
    case = one_term(t, **CASES[name])
    return case, SpectralLikelihood(case.design)


def gradient_of(case, dense):
    return [G * np.outer(s, s) for G, s in zip(dense.gradient, case.scales(), strict=True)]


def information_of(case, dense):
    unit = np.concatenate([np.outer(s, s)[np.tril_indices(len(s))] for s in case.scales()])
    return dense.average_information * np.outer(unit, unit)


def assert_is_dense(case, engine, sigmas, value=1e-8, gradient=1e-6, information=1e-6):
    covariances = [S * np.outer(s, s) for S, s in zip(sigmas, case.scales(), strict=True)]
    dense = Dense(case, covariances)
    mine, by_matrix = engine.value_and_gradient(sigmas)
    assert mine == engine.loglik(sigmas)
    assert mine == pytest.approx(dense.loglik, abs=value)
    for G, expected in zip(by_matrix, gradient_of(case, dense), strict=True):
        np.testing.assert_array_equal(G, G.T)
        np.testing.assert_allclose(G, expected, atol=gradient, rtol=gradient)
    expected = information_of(case, dense)
    np.testing.assert_allclose(
        engine.average_information(sigmas), expected, rtol=information, atol=information * np.abs(expected).max()
    )


@pytest.mark.parametrize("t", [1, 2, 3, 4])
@cases
def test_spectral__dense_and_sparse(name, t):
    case, engine = engine_of(name, t)
    other = MixedModelLikelihood(case.design)
    rng = np.random.default_rng(4)
    for _ in range(2):
        sigmas = case.scaled(case.random_covariances(rng))
        assert_is_dense(case, engine, sigmas)
        value, gradient = engine.value_and_gradient(sigmas)
        its, its_gradient = other.value_and_gradient(sigmas)
        assert value == pytest.approx(its, abs=1e-8)
        np.testing.assert_allclose(gradient, its_gradient, atol=1e-6)
        information = other.average_information(sigmas)
        np.testing.assert_allclose(
            engine.average_information(sigmas), information, atol=1e-8 * np.abs(information).max(), rtol=0
        )


@pytest.mark.parametrize("rank", [0, 1, 2])
@cases
def test_spectral__singular_covariance_of_the_term(name, rank):
    """Eigenvalues λ that are 0: the matrix of the term has rank 0, 1 or 2 of 3."""
    case, engine = engine_of(name, 3)
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(5), rank=max(rank, 1)))
    sigmas[0] = sigmas[0] if rank else np.zeros((3, 3))
    assert_is_dense(case, engine, sigmas)


@pytest.mark.parametrize("apart", [0.0, 1e-12, 1e-7, 1e-4, 1e-2])
@cases
def test_spectral__equal_and_nearly_equal_ratios(name, apart):
    """Σ = 0.7 R but for little: divided differences are derivatives."""
    case, engine = engine_of(name, 3)
    R = case.scaled(case.random_covariances(np.random.default_rng(6)))[1]
    L = np.linalg.cholesky(R)
    assert_is_dense(case, engine, [0.7 * L @ np.diag([1.0, 1.0 + apart, 1.0 - apart]) @ L.T, R])


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1e2, 1e4])
@cases
def test_spectral__extreme_ratios(name, size):
    """Heritabilities near 0 and 1; at 1e4 the dense V itself loses digits."""
    case, engine = engine_of(name, 2)
    genetic, R = case.scaled(case.random_covariances(np.random.default_rng(7)))
    loose = max(1.0, size / 1e2) ** 2
    assert_is_dense(case, engine, [size * genetic, R], 1e-8 * loose, 1e-6 * loose, 1e-6 * loose)


def test_spectral__ratios_of_all_sizes_at_once():
    case, engine = engine_of("one record each", 4)
    R = case.scaled(case.random_covariances(np.random.default_rng(8)))[1]
    L = np.linalg.cholesky(R)
    assert_is_dense(case, engine, [L @ np.diag([0.0, 1e-8, 1.0, 300.0]) @ L.T, R])


@pytest.mark.parametrize("repeated", [False, True])
def test_spectral__calendar_years_as_a_covariate(repeated):
    """Nearly a constant: V is written out for years and records less their means, which l does not see."""
    case = one_term(2, fixed=("x", "year"), repeated=repeated)
    raw = build_design(case.spec, case.data.assign(year=2003.0 + case.data["year"]), case.relationships)
    centred = case.data[traits(2)] - case.data[traits(2)].mean()
    dense_case = Case(spec=case.spec, data=case.data.assign(**centred), columns=case.columns, kin=case.kin)
    engine = SpectralLikelihood(raw)
    for size in (1e-9, 1e-4, 1.0):
        covariances = dense_case.random_covariances(np.random.default_rng(7))
        covariances[0] *= size
        assert engine.loglik(case.scaled(covariances)) == pytest.approx(Dense(dense_case, covariances).loglik, abs=1e-8)


@cases
def test_value_and_gradient__no_ratio_is_out_of_range(name):
    """R may go towards singularity as far as it likes: value and slope by log-scale stay smooth and finite."""
    _, engine = engine_of(name, 2)
    genetic = np.array([[1.0, 0.3], [0.3, 0.5]])

    def at(u):
        return engine.loglik([genetic, np.exp(u[0]) * np.eye(2)])

    for u in (-5.0, -10.0, -15.0):
        value, (_, by_R) = engine.value_and_gradient([genetic, np.exp(u) * np.eye(2)])
        slope = np.exp(u) * np.trace(by_R)
        expected = finite_difference(at, np.array([u]), 1e-2)[0]
        assert np.isfinite(value)
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_value_and_gradient__by_finite_differences():
    case, engine = engine_of("repeated records", 3)
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(9)))
    _, gradient = engine.value_and_gradient(sigmas)
    for k, (i, j) in [(0, (0, 0)), (0, (2, 1)), (1, (1, 1)), (1, (2, 0))]:
        E = np.zeros((3, 3))
        E[i, j] = E[j, i] = 1.0

        def moved(x, k=k, E=E):
            return engine.loglik([S + x[0] * E * (n == k) for n, S in enumerate(sigmas)])

        expected = finite_difference(moved, np.zeros(1), 1e-4)[0]
        assert np.sum(gradient[k] * E) == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("R", [np.zeros((2, 2)), np.ones((2, 2)), np.diag([1.0, -1.0]), np.full((2, 2), np.nan)])
def test_spectral__minus_infinity_unless_R_is_positive_definite(R):
    _, engine = engine_of("repeated records", 2)
    value, gradient = engine.value_and_gradient([np.eye(2), R])
    assert value == engine.loglik([np.eye(2), R]) == -np.inf
    assert not np.any(gradient)


def test_spectral__minus_infinity_where_numbers_overflow():
    _, engine = engine_of("repeated records", 2)
    for genetic, R in [(np.inf, 1.0), (np.nan, 1.0), (1e300, 1e-300), (1.0, 1e-320)]:
        value, gradient = engine.value_and_gradient([np.diag([genetic, genetic]), np.diag([R, R])])
        assert value == -np.inf
        assert not np.any(gradient)


def test_spectral__order_of_records_and_levels_changes_nothing():
    case, engine = engine_of("repeated records", 2)
    sigmas = case.scaled(case.random_covariances(np.random.default_rng(1)))
    data = case.data.sample(frac=1.0, random_state=3).reset_index(drop=True)
    ids, K = case.kin["A"]
    order = np.random.default_rng(2).permutation(len(ids))
    kin = {"A": ([ids[i] for i in order], K[np.ix_(order, order)])}
    other = SpectralLikelihood(Case(spec=case.spec, data=data, columns={}, kin=kin).design)
    value, gradient = engine.value_and_gradient(sigmas)
    its, its_gradient = other.value_and_gradient(sigmas)
    assert its == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(its_gradient, gradient, atol=1e-8)


# The table.

#: Of log-determinants and sums of squares of thousands of units, per unit.
ROUNDING = 1e-12


@cache
def livestock(n=2500, seed=1, repeated=False):
    """Return a design of two traits of a pedigree of n animals in which sires have many progeny."""
    rng = np.random.default_rng(seed)
    sire = np.array([0 if i < 60 else 1 + rng.integers(0, 1 + i // 40) for i in range(n)])
    dam = np.array([0 if i < 60 else 1 + rng.integers(i // 2, i) for i in range(n)])
    dam[dam == sire] = 0
    A = Relationship.from_pedigree(pd.DataFrame({"id": np.arange(1, n + 1), "sire": sire, "dam": dam}), sexes="ignore")
    animal = np.concatenate([np.arange(1, n + 1), np.arange(1, n // 2)]) if repeated else np.arange(1, n + 1)
    data = pd.DataFrame({"animal": animal, "herd": rng.integers(0, 12, len(animal)).astype(str)})
    data[["y1", "y2"]] = rng.normal(size=(len(animal), 2)) @ [[1.0, 0.4], [0.0, 1.0]]
    spec = ModelSpec.from_formula("y1 + y2 ~ herd", random="us(trait):vm(animal, A)")
    return build_design(spec, data, {"A": A})


def direct(design, table, z):
    """What is tabulated, by factorisations at z (m,)."""
    return spectral._Nodes(univariate(design), table.series, design.working_response, 1, False)(z)


@pytest.mark.parametrize("repeated", [False, True])
def test_build_table__error_is_not_larger_than_it_says(repeated):
    design = livestock(repeated=repeated)
    table = build_table(design)
    z = np.cos(np.pi * np.random.default_rng(0).random(25))
    found = np.abs(chebyshev.evaluate(table.series.coefficients, z) - direct(design, table, z))
    assert table.error < spectral.TOLERANCE
    assert (found / len(design.units)).max() < max(table.error, ROUNDING)
    assert table.factorisations < 60


@pytest.mark.parametrize("degree", [12, 20, 28, 36])
def test_tabulate__estimate_bounds_the_error_of_short_series(degree):
    """With few nodes the error is far above rounding; the last coefficients bound it and not by much."""
    design = livestock()
    table = build_table(design)
    values = direct(design, table, chebyshev.nodes(degree))
    coefficients = chebyshev.fit(values)
    z = np.cos(np.pi * np.random.default_rng(1).random(15))
    found = np.abs(chebyshev.evaluate(coefficients, z) - direct(design, table, z)).max()
    estimate = np.abs(coefficients[-4:]).sum(axis=0).max()
    assert found < estimate < 1e4 * found + 1e-9


def test_build_table__sparse_engine_at_2500_animals():
    design = livestock()
    engine, other = SpectralLikelihood(design), MixedModelLikelihood(design)
    sigmas = [np.array([[0.4, 0.2], [0.2, 0.5]]), np.array([[0.6, 0.1], [0.1, 0.5]])]
    value, gradient = engine.value_and_gradient(sigmas)
    its, its_gradient = other.value_and_gradient(sigmas)
    assert value == pytest.approx(its, abs=1e-8)
    np.testing.assert_allclose(gradient, its_gradient, atol=1e-6)
    np.testing.assert_allclose(
        engine.average_information(sigmas), other.average_information(sigmas), rtol=1e-8, atol=1e-6
    )


def test_build_table__at_no_variance_it_is_least_squares():
    """d(0) = log|X'X| and S(0) = Y'MY."""
    case, engine = engine_of("repeated records", 2)
    value, slope = np.empty((2, 4))
    series.differences(engine.arrays, 0.0, 0.0, value, slope)
    X, Y = case.design.fixed.X.toarray(), case.design.working_response
    log_gram = np.linalg.slogdet(X.T @ X)[1] - univariate(case.design).log_X
    expected = [log_gram, *(Y.T @ Y)[np.tril_indices(2)]]
    np.testing.assert_allclose(value, expected, atol=1e-10)


def test_rank__with_fixed_effects_between_and_within_levels():
    for name, expected in [("one record each", 21), ("no fixed effect", 24), ("repeated records", None)]:
        case, engine = engine_of(name, 1)
        design = case.design
        X, Z = design.fixed.X.toarray(), design.terms[0].incidences[0].toarray()
        rank = np.linalg.matrix_rank(np.hstack([X / np.maximum(np.abs(X).max(0, initial=1e-9), 1e-9), Z])) - X.shape[1]
        assert univariate(design).rank() == engine.arrays.rank == rank
        assert expected in (None, rank)


def test_build_table__cores_and_progress_change_nothing(monkeypatch, capfd):
    design = livestock()
    table = build_table(design, cores=1)
    build_table(design, progress=True)  # takes less than two seconds
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    watched = build_table(design, cores=2, progress=True)
    np.testing.assert_array_equal(watched.series.coefficients, table.series.coefficients)
    assert capfd.readouterr().out == ""


def test_build_table__doubles_the_nodes_until_it_suffices(monkeypatch):
    case = one_term(2)
    usual = build_table(case.design)
    monkeypatch.setattr(chebyshev, "degree_for", lambda scale, tolerance: 6)
    table = build_table(case.design)
    assert len(table.series.coefficients) in (25, 49)
    assert table.factorisations == len(table.series.coefficients) + 2
    z = np.linspace(-1.0, 1.0, 50)
    np.testing.assert_allclose(*(chebyshev.evaluate(each.series.coefficients, z) for each in (usual, table)), atol=1e-8)


def test_build_table__raises_where_it_is_not_accurate(monkeypatch):
    case = one_term(2)
    monkeypatch.setattr(spectral, "REFUSED", 0.0)
    with pytest.raises(SpecError, match=r"the likelihood of '.*' cannot be tabulated: error .* use engine='sparse'"):
        build_table(case.design)


def test_series_for__other_models_of_the_same_data():
    """Fewer traits, in another order, in other units and with other structures, from one table."""
    case = one_term(3)
    table = build_table(case.design)
    for formula, random in [("y3 + y1 ~ sex + x", "us"), ("y2 ~ sex + x", "us"), ("y1 + y2 + y3 ~ sex + x", "idv")]:
        spec = ModelSpec.from_formula(formula, random=f"{random}(trait):vm(animal, A)")
        design = build_design(spec, case.data, case.relationships)
        t = len(design.traits)
        sigmas = [0.3 * np.eye(t) + 0.1, np.eye(t)]
        value, gradient = SpectralLikelihood(design, table).value_and_gradient(sigmas)
        expected, its_gradient = MixedModelLikelihood(design).value_and_gradient(sigmas)
        assert value == pytest.approx(expected, abs=1e-8)
        np.testing.assert_allclose(gradient, its_gradient, atol=1e-6)


def other_data():
    case = one_term(2)
    return {
        "a record changed": (case.spec, case.data.assign(y1=case.data["y1"] + (case.data.index == 3))),
        "fewer records": (case.spec, case.data.iloc[1:]),
        "other fixed effects": (
            ModelSpec.from_formula("y1 + y2 ~ x", random="us(trait):vm(animal, A)"),
            case.data,
        ),
        "a covariate changed": (case.spec, case.data.assign(x=case.data["x"] + (case.data.index == 3))),
        "no relationship": (ModelSpec.from_formula("y1 + y2 ~ sex + x", random="us(trait):animal"), case.data),
        "another trait": (
            ModelSpec.from_formula("y1 + year ~ sex + x", random="us(trait):vm(animal, A)"),
            case.data,
        ),
        "a missing record": (case.spec, case.data.assign(y1=case.data["y1"].where(case.data.index != 3))),
    }


@pytest.mark.parametrize("name", other_data())
def test_series_for__raises_on_other_data(name):
    case = one_term(2)
    spec, data = other_data()[name]
    table = build_table(case.design)
    with pytest.raises(SpecError, match="the spectral table is of other records or another model"):
        table.series_for(build_design(spec, data, case.relationships))


def more_traits():
    """A design of three traits, and of the first two of them on the same animals."""
    case = one_term(3)
    spec = ModelSpec.from_formula("y1 + y2 ~ sex + x", random="us(trait):vm(animal, A)")
    return case.design, build_design(spec, case.data, case.relationships)


def test_build_table__extended_by_a_trait_equals_a_fresh_one(monkeypatch):
    three, two = more_traits()
    first, fresh = build_table(two), build_table(three)
    monkeypatch.setattr(spectral, "univariate", lambda _: pytest.fail("analysed again"))
    extended = build_table(three, reuse=first)
    assert extended.equations is first.equations
    np.testing.assert_allclose(extended.series.coefficients, fresh.series.coefficients, rtol=1e-12, atol=1e-12)
    assert extended.series._replace(coefficients=None) == fresh.series._replace(coefficients=None)
    assert extended.error == pytest.approx(fresh.error, rel=1e-3, abs=1e-14)
    sigmas = [0.3 * np.eye(3) + 0.1, np.eye(3)]
    one, other = (SpectralLikelihood(three, table).value_and_gradient(sigmas) for table in (extended, fresh))
    assert one[0] == pytest.approx(other[0], abs=1e-10)


def test_build_table__extended_serves_the_first_design_too():
    three, two = more_traits()
    table = build_table(three, reuse=build_table(two))
    sigmas = [0.3 * np.eye(2) + 0.1, np.eye(2)]
    expected = MixedModelLikelihood(two).loglik(sigmas)
    assert SpectralLikelihood(two, table).loglik(sigmas) == pytest.approx(expected, abs=1e-8)


def test_build_table__of_fewer_traits_is_there_already():
    three, two = more_traits()
    table = build_table(three)
    assert build_table(two, reuse=table) is table
    assert build_table(three, reuse=table) is table


@pytest.mark.parametrize("name", ["fewer records", "other fixed effects", "a covariate changed", "no relationship"])
def test_build_table__raises_on_a_table_of_other_equations(name):
    case = one_term(2)
    spec, data = other_data()[name]
    table = build_table(case.design)
    with pytest.raises(SpecError, match="the table to reuse has other fixed effects, levels or relationships"):
        build_table(build_design(spec, data, case.relationships), reuse=table)


# Which designs.


def refused():
    case = one_term(2)
    data, random = case.data, "us(trait):vm(animal, A)"
    return {
        "there are 2 random terms, not one": ("y1 + y2 ~ sex", f"{random} + us(trait):year", data),
        "there are 0 random terms, not one": ("y1 + y2 ~ sex", "", data),
        "1 records are missing": ("y1 + y2 ~ sex", random, data.assign(y1=data["y1"].where(data.index != 3))),
        "the traits have different fixed effects": ("y1 + y2 ~ sex + at(trait, y1):x", random, data),
        "does not act on all traits alike": ("y1 + y2 ~ sex", "at(trait, y1):vm(animal, A)", data),
    }


@pytest.mark.parametrize("reason", refused())
def test_spectral__raises_on_designs_it_cannot_serve(reason):
    formula, random, data = refused()[reason]
    design = build_design(ModelSpec.from_formula(formula, random=random), data, one_term(2).relationships)
    assert reason in obstacle(design)
    with pytest.raises(SpecError, match=f"the spectral engine cannot serve this design: .*{reason}; use engine='auto'"):
        likelihood(design, "spectral")


def test_obstacle__a_unit_on_several_levels():
    case = one_term(1)
    design, term = case.design, case.design.terms[0]
    both = term.incidences[0] + sparse.csr_array(np.eye(*term.incidences[0].shape))
    term = type(term)(**{**vars(term), "incidences": (sparse.csr_array(both),)})
    broken = type(design)(**{**vars(design), "terms": (term,)})
    assert "units bear on several levels" in obstacle(broken)


# REML and the compiled density.


@pytest.mark.parametrize("random", ["us", "diag"])
@pytest.mark.parametrize("t", [1, 2, 3])
def test_fit_reml__equals_sparse(t, random):
    design = one_term(t, n=200, q=90, random=random, seed=3).design
    mine, other = fit_reml(design, engine="spectral"), fit_reml(design, engine="sparse")
    assert mine.engine.name == "spectral"
    assert mine.converged
    assert mine.loglik == pytest.approx(other.loglik, abs=1e-6)
    for name, sigma in other.covariances.items():
        unit = np.outer(design.scale, design.scale)
        np.testing.assert_allclose(mine.covariances[name] / unit, sigma / unit, atol=2e-5)
    assert list(mine.varcomp["constraint"]) == list(other.varcomp["constraint"])
    np.testing.assert_allclose(mine.varcomp["std_error"], other.varcomp["std_error"], rtol=1e-3)


@pytest.mark.parametrize(("random", "residual"), [("us", "us"), ("diag", "us"), ("us", "diag"), ("idv", "corgh")])
@pytest.mark.parametrize("t", [1, 2, 4])
def test_density__is_the_log_posterior_compiled(t, random, residual):
    design = one_term(t, random=random, residual=residual).design
    priors = {name: CovariancePrior(sd=HalfStudentT(nu=4.0, scale=0.7), eta=1.5) for name in design.names}
    posterior = log_posterior(design, priors, "spectral").planar()
    rng = np.random.default_rng(9)
    d = posterior.blocks.n_parameters
    centre, root = np.where(posterior.coordinates.scales, 1.0, 0.0), np.eye(d) + 0.2 * rng.normal(size=(d, d))
    density = Density(posterior, centre, root)
    for z in rng.normal(0.0, 0.3, (4, d)):
        value, gradient = density(z)
        expected, by_x = posterior.value_and_gradient(centre + root @ z)
        assert value == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(gradient, root.T @ by_x, rtol=1e-9, atol=1e-9 * np.abs(by_x).max())


def test_density__far_out_is_finite_or_minus_infinity():
    posterior = log_posterior(one_term(2).design, engine="spectral").planar()
    d = posterior.blocks.n_parameters
    density = Density(posterior, np.zeros(d), np.eye(d))
    for size in (10.0, 30.0, 100.0):
        for x in (*(size * np.eye(d)), *(-size * np.eye(d)), np.full(d, size), np.full(d, -size)):
            value, gradient = density(x)
            assert np.isfinite(value) or value == -np.inf
            assert np.isfinite(gradient).all()


# The series.


@pytest.mark.parametrize("points", [(0.3, 0.3, 0.3), (0.5, 0.5 - 1e-9, -0.2), (1.0, 0.0, -1.0), (-1.0, -1.0, -0.99)])
def test_divided_differences__of_polynomials_in_exact_arithmetic(points):
    """x³ has [x, y] = x² + xy + y² and [x, y, z] = x + y + z."""
    a, b, c = (Fraction(p) for p in points)
    cube = np.array([[0.0], [0.75], [0.0], [0.25]])  # x³ = (3 T_1 + T_3)/4
    value, first, second = np.empty((3, 1))
    chebyshev.first_differences(cube, points[0], points[1], value, first)
    chebyshev.second_differences(cube, *points, second)
    assert value[0] == pytest.approx(float(a**3), abs=1e-15)
    assert first[0] == pytest.approx(float(a * a + a * b + b * b), abs=1e-14)
    assert second[0] == pytest.approx(float(a + b + c), abs=1e-14)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-4, 5e-3, 0.0099, 0.0101, 0.1, 10.0])
def test_log_bend__by_its_integral(spread):
    """log[a, b, c] = -∫ ds / ((a+s)(b+s)(c+s)) over s > 0."""
    a, b, c = 2.0 * (1.0 + 2.0 * spread), 2.0 * (1.0 + 0.7 * spread), 2.0
    x, w = np.polynomial.legendre.leggauss(200)
    u, w = 0.5 * (x + 1.0), 0.5 * w
    s = 2.0 * u / (1.0 - u)
    integral = -np.sum(w * 2.0 / (1.0 - u) ** 2 / ((a + s) * (b + s) * (c + s)))
    assert chebyshev.log_bend(a, b, c) == pytest.approx(integral, rel=1e-11)


def test_scale_for__ends_of_the_half_line():
    scale = chebyshev.scale_for(0.01, 500.0)
    assert chebyshev.position(scale, 0.0) == -1.0
    assert chebyshev.ratio_at(scale, -1.0) == 0.0
    assert chebyshev.position(scale, 1e300) < 1.01
    for z in (-0.9, 0.0, 0.7, 1.0):
        assert chebyshev.position(scale, chebyshev.ratio_at(scale, z)) == pytest.approx(z, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(3.0, 3.0), (3.0, 3.0 - 1e-10), (3.0, 0.0), (1e6, 1e-6), (1e5, 1e5 - 1.0)])
def test_slope__is_the_divided_difference_of_position(a, b):
    scale = chebyshev.scale_for(0.02, 300.0)
    low, high = Fraction(scale.low), Fraction(scale.high)
    u = float((Fraction(a) - Fraction(b)) * (high - low) / ((low + Fraction(b)) * (high + Fraction(a))))
    expected = np.log1p(u) / (a - b) if a != b else float((high - low) / ((low + Fraction(a)) * (high + Fraction(a))))
    assert chebyshev.slope(scale, a, b) == pytest.approx(expected / scale.half, rel=1e-12)
    far = (chebyshev.position(scale, a) - chebyshev.position(scale, b)) / (a - b) if a - b >= 1.0 else None
    assert far is None or far == pytest.approx(expected / scale.half, rel=1e-6)


def test_tabulate__stops_where_the_error_no_longer_falls():
    calls = []

    def rough(z):
        calls.append(len(z))
        return np.abs(z)[:, None]

    _, error = chebyshev.tabulate(rough, 8, np.ones(1), 1e-12)
    assert error > 1e-3
    assert calls == [9, 8, 2]
