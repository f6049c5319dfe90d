"""Posterior, REML and PyMC of terms with members or covariates: gradients, the mode, recovery, tables of draws."""

import numpy as np
import pandas as pd
import pytest
from cases import MODELS, structured_case
from oracles import finite_difference
from traces import some_draws, trace_of

import bayesmv as bmv
from bayesmv.estimates.genetic import parameters
from bayesmv.model.formula import parse_fixed
from bayesmv.model.genetic import Genetic
from bayesmv.model.spec import ModelSpec
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.simulation.datasets import designs


@pytest.mark.parametrize("model", MODELS)
def test_log_posterior__gradient_and_compiled_density(model):
    posterior = log_posterior(structured_case(model).design).planar()
    d = posterior.blocks.n_parameters
    compiled = Density(posterior, np.zeros(d), np.eye(d))
    noise = 0.1 * np.random.default_rng(1).normal(size=(2, d))
    for x in np.where(posterior.coordinates.scales, 1.0, 0.1) + noise:
        value, gradient = posterior.value_and_gradient(x)
        numeric = finite_difference(posterior.value, x, 1e-3)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())
        fast, by_z = compiled(x)
        assert fast == pytest.approx(value, rel=1e-10)
        np.testing.assert_allclose(by_z, gradient, rtol=1e-9, atol=1e-9 * np.abs(gradient).max())


def two_blocks(seed=4):
    """Three traits; a and b share a structure, c has its own."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(12), 8)
    effects = rng.normal(size=(12, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.8]])
    Y = 10.0 + effects[block] + rng.normal(size=(96, 3))
    return pd.DataFrame(Y, columns=["a", "b", "c"]).assign(Block=block)


def fit_of(formula, random, residual, data):
    return bmv.fit_reml(bmv.build_design(ModelSpec.from_formula(formula, random=random, residual=residual), data))


def test_structures_of_subsets__are_the_separate_models():
    """Traits a and b with us, c alone: the log-likelihood is the sum of the two models'."""
    data = two_blocks()
    random = "at(trait, a, b):us(trait):Block + at(trait, c):Block"
    joint = fit_of("a + b + c ~ 1", random, "diag(trait):units", data)
    pair = fit_of("a + b ~ 1", "us(trait):Block", "diag(trait):units", data)
    alone = fit_of("c ~ 1", "Block", None, data)
    assert joint.loglik == pytest.approx(pair.loglik + alone.loglik, abs=1e-6)
    np.testing.assert_allclose(joint.covariances["Block_a_b"], pair.covariances["Block"], rtol=1e-4)
    np.testing.assert_allclose(joint.covariances["Block_c"], alone.covariances["Block"], rtol=1e-4)


def test_structures_of_subsets__posterior_is_the_separate_models():
    data = two_blocks()
    spec = ModelSpec.from_formula(
        "a + b + c ~ 1", random="at(trait, a, b):us(trait):Block + at(trait, c):Block", residual="diag(trait):units"
    )
    joint = log_posterior(bmv.build_design(spec, data))
    pair = log_posterior(
        bmv.build_design(
            ModelSpec.from_formula("a + b ~ 1", random="us(trait):Block", residual="diag(trait):units"), data
        )
    )
    alone = log_posterior(bmv.build_design(ModelSpec.from_formula("c ~ 1", random="Block"), data))
    differences = []
    for x in some_draws(joint, chains=1, draws=3)[0]:
        parts = pair.value(np.concatenate([x[:3], x[4:6]])) + alone.value(np.array([x[3], x[6]]))
        differences.append(joint.value(x) - parts)
    assert np.ptp(differences) < 1e-8


def test_likelihood_ratio__of_maternal_effects_and_of_a_slope():
    """Effects that the smaller model's term lacks count their variances and covariances."""
    data, A = bmv.load_dataset("calves"), bmv.Relationship.from_pedigree(bmv.load_pedigree("calves"))

    def fit(random, table=data, **related):
        return bmv.fit_reml(bmv.build_design(ModelSpec.from_formula("weight ~ sex", random=random), table, related))

    small, large = fit("vm(calf, A) + ide(dam)", A=A), fit("us(trait):str(vm(calf, A), dam) + ide(dam)", A=A)
    test = bmv.likelihood_ratio(small, large)
    assert (test.df, test.statistic) == (2, pytest.approx(2 * (large.loglik - small.loglik)))
    assert test.reference == "mixture of chi-squares on 1 to 2 df: the null lies on the boundary"
    growth = bmv.load_dataset("growth")
    level, line = fit("us(leg(age, 0)):animal", growth), fit("us(leg(age, 1)):animal", growth)
    assert bmv.likelihood_ratio(level, line).df == 2
    with pytest.raises(bmv.SpecError, match=r"the models are not nested: .* every value of 'animal'"):
        bmv.likelihood_ratio(fit("us(leg(age, 0, 0, 200)):animal", growth), line)


FIXED = {"calves": "sex + C(year)", "growth": "sex + leg(age, 2)", "pens": "1", "sites": "site"}


def simulated_fit(name, seed):
    made = getattr(designs, f"make_{name}")(seed)
    related = {} if made.pedigree is None else {"A": bmv.Relationship.from_pedigree(made.pedigree)}
    model = designs.MODELS[name]
    spec = ModelSpec(traits=model.traits, fixed=parse_fixed(FIXED[name]), random=model.random, residual=model.residual)
    return bmv.fit_reml(bmv.build_design(spec, made.records, related))


@pytest.mark.slow
@pytest.mark.parametrize("name", designs.MODELS)
def test_fit_reml__recovers_the_truth_on_average(name):
    """Means of 20 fits within 4 standard errors of the truth.

    The standard error is that of the mean of 20, from their own spread. REML is biased where it is pushed to the
    boundary, by up to a quarter of the spread of one fit in these designs, that is 1.1 such standard errors; with at
    most 22 components, P(|t_19| > 2.9) · 22 = 0.2 bounds a false alarm, and the seeds are fixed.
    """
    found = [simulated_fit(name, seed).covariances for seed in range(100, 120)]
    for term, truth in designs.TRUE_COVARIANCES[name].items():
        values = np.array([covariances[term] for covariances in found])
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        assert (np.abs(values.mean(axis=0) - truth) < 4.0 * error).all(), term


# ---------------------------------------------------------------- derived parameters


def family(n_dams=6):
    """Offspring of unrelated parents: an animal and its dam have relationship ½ exactly."""
    dams = [f"d{i}" for i in range(n_dams)]
    young = [f"y{i}" for i in range(3 * n_dams)]
    pedigree = pd.DataFrame({"id": dams + young, "sire": None, "dam": [None] * n_dams + list(np.repeat(dams, 3))})
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"animal": young, "dam": np.repeat(dams, 3), "y": rng.normal(size=len(young))})
    data["z"] = rng.normal(size=len(young))
    return data, bmv.Relationship.from_pedigree(pedigree)


def by_name(source, **words):
    return bmv.genetic_parameters(source, **words).set_index(["parameter", "trait_i", "trait_j"])["estimate"]


def test_genetic_parameters__maternal_by_hand():
    """Willham (1963, 1972): V_P = A + AM + M + C + E, total heritability (A + 1.5 AM + 0.5 M) / V_P."""
    data, A = family()
    spec = ModelSpec.from_formula("y ~ 1", random="us(trait):str(vm(animal, A), dam) + ide(dam)")
    given = {"animal": [[3.0, -0.8], [-0.8, 1.5]], "dam_ide": [[0.7]], "Residual": [[4.0]]}
    got = by_name(bmv.blup(bmv.build_design(spec, data, {"A": A}), given), genetic="animal")
    V_P = 3.0 - 0.8 + 1.5 + 0.7 + 4.0
    expected = {
        ("additive genetic variance", "y:animal", "y:animal"): 3.0,
        ("additive genetic variance", "y:dam", "y:dam"): 1.5,
        ("phenotypic variance", "y", "y"): V_P,
        ("heritability", "y:animal", "y:animal"): 3.0 / V_P,
        ("heritability", "y:dam", "y:dam"): 1.5 / V_P,
        ("total heritability", "y", "y"): (3.0 - 1.5 * 0.8 + 0.5 * 1.5) / V_P,
        ("genetic correlation", "y:animal", "y:dam"): -0.8 / np.sqrt(3.0 * 1.5),
    }
    assert got.to_dict() == pytest.approx(expected, rel=1e-12)


def test_genetic_parameters__maternal_of_two_traits_by_hand():
    data, A = family()
    spec = ModelSpec.from_formula("y + z ~ 1", random="us(trait):str(vm(animal, A), dam)")
    rng = np.random.default_rng(5)
    G = np.cov(rng.normal(size=(4, 9)))
    R = np.array([[4.0, 1.0], [1.0, 3.0]])
    got = by_name(bmv.blup(bmv.build_design(spec, data, {"A": A}), {"animal": G, "Residual": R}), genetic="animal")
    D, M, C = G[:2, :2], G[2:, 2:], G[:2, 2:]
    P = D + M + 0.5 * (C + C.T) + R
    assert got["phenotypic variance", "z", "z"] == pytest.approx(P[1, 1])
    assert got["phenotypic correlation", "y", "z"] == pytest.approx(P[0, 1] / np.sqrt(P[0, 0] * P[1, 1]))
    assert got["genetic correlation", "z:animal", "y:dam"] == pytest.approx(G[1, 2] / np.sqrt(G[1, 1] * G[2, 2]))
    assert got["total heritability", "z", "z"] == pytest.approx((D[1, 1] + 1.5 * C[1, 1] + 0.5 * M[1, 1]) / P[1, 1])


def test_genetic_parameters__social_by_hand():
    """Unrelated animals in pens of four: V_P = D + 3 S + E, total breeding variance D + 6 DS + 9 S (Bijma 2007)."""
    data = pd.DataFrame({"animal": range(20), "pen": np.arange(20) // 4, "y": np.random.default_rng(1).normal(size=20)})
    spec = ModelSpec.from_formula("y ~ 1", random="str(animal, mates(pen))")
    given = {"animal": [[2.0, 0.1], [0.1, 0.3]], "Residual": [[5.0]]}
    got = by_name(bmv.blup(bmv.build_design(spec, data), given), genetic="animal")
    assert got["phenotypic variance", "y", "y"] == pytest.approx(2.0 + 3 * 0.3 + 5.0)
    total = 2.0 + 6 * 0.1 + 9 * 0.3
    assert got["total breeding variance", "y", "y"] == pytest.approx(total)
    assert got["total breeding variance / phenotypic variance", "y", "y"] == pytest.approx(total / 7.9)


def test_genetic_parameters__relatives_in_a_pen_raise_the_phenotypic_variance():
    """With relationship r among all members, n mates: V_P = D + 2 n r DS + n (1 + (n - 1) r) S + E."""
    q, r = 4, 0.25
    K = pd.DataFrame((1 - r) * np.eye(q) + r, index=range(q), columns=range(q))
    data = pd.DataFrame({"animal": range(q), "pen": 1, "y": [1.0, 2.0, 4.0, 3.5]})
    spec = ModelSpec.from_formula("y ~ 1", random="diag(trait):str(vm(animal, K), mates(pen))")
    design = bmv.build_design(spec, data, {"K": bmv.Relationship.from_covariance(K)})
    G = np.array([[2.0, 0.1], [0.1, 0.3]])
    got = parameters(
        {"animal": G, "Residual": np.array([[5.0]])},
        ["y"],
        Genetic(term="animal"),
        layouts={"animal": design.terms[0].layout},
    )
    V_P = next(p.draws for p in got if p.name == "phenotypic variance")
    assert pytest.approx(2.0 + 2 * 3 * r * 0.1 + 3 * (1 + 2 * r) * 0.3 + 5.0) == V_P


def test_genetic_parameters__the_same_from_draws():
    """A posterior of one draw repeated gives what REML gives at these covariances."""
    for model in ("maternal", "mates", "legendre", "sites"):
        case = structured_case(model)
        posterior = log_posterior(case.design)
        x = np.repeat(some_draws(posterior, chains=2, draws=1)[:1], 6, axis=1).repeat(2, axis=0)
        theta = posterior.coordinates.constrain(x[0, 0])
        given = {
            name: S * np.outer(case.design.effect_scale(name), case.design.effect_scale(name))
            for name, S in zip(case.design.names, case.design.blocks.matrices(theta), strict=True)
        }
        fit, trace = bmv.blup(case.design, given), trace_of(case.design, x, reml=bmv.blup(case.design, given))
        ours = bmv.genetic_parameters(trace, "animal")
        np.testing.assert_allclose(ours["median"], bmv.genetic_parameters(fit, "animal")["estimate"], rtol=1e-9)
        values = bmv.breeding_values(trace, "animal", design=case.design)
        np.testing.assert_allclose(values["mean"], fit.effects("animal")["blup"], atol=1e-9)
        assert values["trait"].tolist() == fit.effects("animal")["trait"].tolist()


def test_trace__round_trips_with_effects_of_its_own(tmp_path):
    design = structured_case("legendre").design
    trace = trace_of(design, effects=["animal"], reml=bmv.fit_reml(design))
    assert trace["posterior"]["animal_cov"].dims[2:] == ("animal_trait", "animal_trait_other")
    assert trace["posterior"]["animal_effect"].coords["animal_trait"].to_numpy().tolist() == list(
        design.terms[0].effects
    )
    trace.to_netcdf(tmp_path / "draws.nc")
    again = bmv.load_posterior(str(tmp_path / "draws.nc"))
    pd.testing.assert_frame_equal(bmv.trajectory(again, "animal"), bmv.trajectory(trace, "animal"))
    pd.testing.assert_frame_equal(bmv.breeding_values(again, "animal"), bmv.breeding_values(trace, "animal"))


def test_compare_reml__labels_of_the_effects():
    design = structured_case("maternal").design
    fit = bmv.fit_reml(design)
    table = bmv.compare_reml(trace_of(design, reml=fit), fit)
    assert "y1:dam" in set(table["trait_j"])


@pytest.mark.slow
def test_simulate_records__has_the_covariance_of_the_model():
    """Variance of records of a maternal model over 4000 simulations, within 4 s.e. = 4 sqrt(2/4000) of it."""
    case = structured_case("maternal")
    fit = bmv.blup(case.design, {"animal": [[3.0, 1.0], [1.0, 2.0]], "dam_ide": [[1.0]], "Residual": [[2.0]]})
    rng = np.random.default_rng(7)
    Y = np.stack([bmv.simulate_records(fit, rng)[:, 0] for _ in range(4000)])
    ids, K = case.kin["A"]
    for u in (0, 5):
        animal, dam = ids.index(case.data["animal"][u]), case.data["dam"][u]
        expected = 3.0 * K[animal, animal] + 2.0
        if dam is not None:
            d = ids.index(dam)
            expected += 2.0 * K[d, d] + 2.0 * K[animal, d] + 1.0
        assert Y[:, u].var() == pytest.approx(expected, rel=4.0 * np.sqrt(2.0 / 4000))


def test_simulate_model__raw_covariates_in_their_own_unit():
    """4000 animals at age 30 and 4000 at age 60: variances within 4 s.e. of (1, x) S (1, x)' + R."""
    n = 4000
    layout = pd.DataFrame({"animal": range(2 * n), "age": np.repeat([30.0, 60.0], n)})
    spec = ModelSpec.from_formula("y ~ 1", random="us(1 + age):animal")
    S = np.array([[4.0, -0.02], [-0.02, 0.002]])
    given = {"animal": S, "Residual": [[1.0]]}
    data = bmv.simulate_model(spec, layout, means={"y": 100.0}, covariances=given, rng=np.random.default_rng(3))
    for age, rows in data.groupby("age"):
        f = np.array([1.0, age])
        assert rows["y"].var() == pytest.approx(f @ S @ f + 1.0, rel=4.0 * np.sqrt(2.0 / n))


def test_simulate_model__raises_on_a_missing_covariance():
    layout = pd.DataFrame({"pig": range(6), "pen": [1, 1, 1, 2, 2, 2]})
    spec = ModelSpec.from_formula("y ~ 1", random="str(pig, mates(pen))")
    with pytest.raises(bmv.SpecError, match="no covariance of 'pig'; give those of 'pig', 'Residual'"):
        bmv.simulate_model(
            spec, layout, means={"y": 1.0}, covariances={"Residual": [[1.0]]}, rng=np.random.default_rng(1)
        )
