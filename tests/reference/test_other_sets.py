"""pine_halfsib_4heights, devillemereuil_multi, wheat599, milk_repeat, blupf90_sim: answers of independent REML code.

Their standard errors come from other informations than ours (average): from the observed one for the pines, from the
expected one for the simulated pedigree and the wheat. Both are computed here, and ours is held to its own definition.
"""

import numpy as np
import pytest
from information import Canonical, correlation_error, errors, observed
from published import (
    Found,
    Model,
    Stop,
    answers,
    asreml_loglik,
    cases,
    check,
    check_maximum,
    correlation,
    models_with_components,
    pedigree,
    table,
)
from scipy import sparse

import bayesmv as bmv

#: lme4's optimiser stops at 1e-3 s.e. here (V_herd of milk: 4186677, not 4185469); it prints no standard errors.
LME4 = Stop(2e-3, 0.0)


def us(traits, form):
    """Names of a packed lower triangle: ``form`` of a trait or of two traits joined by a point."""
    return {form.format(a if a == b else f"{a}.{b}"): (a, b) for i, b in enumerate(traits) for a in traits[: i + 1]}


def pairs(traits, form):
    """Names of the pairs of different traits alone."""
    return {form.format(f"{a}.{b}"): (a, b) for i, b in enumerate(traits) for a in traits[:i]}


def placed(names, term):
    return {name: (term, *traits) for name, traits in names.items()}


def smallest_eigenvalue(fit, term):
    """Smallest eigenvalue of a correlation matrix."""
    S = fit.covariances[term]
    s = np.sqrt(np.diag(S))
    return Found(np.linalg.eigvalsh(S / np.outer(s, s))[0])


def with_errors(found, fit, terms, information):
    """The same values with the standard errors of another information."""
    V = np.linalg.inv(information)
    start, out = 0, dict(found)
    for term, (component, as_correlation) in terms.items():
        traits, sigma = list(fit.design.effects_of(term)), fit.covariances[term]
        size = len(sigma) * (len(sigma) + 1) // 2
        block = V[start : start + size, start : start + size]
        start += size
        for row, (name, _) in enumerate(us(traits, component).items()):
            out[name] = Found(out[name].value, float(np.sqrt(block[row, row])))
        for name, (a, b) in pairs(traits, as_correlation).items():
            error = correlation_error(sigma, block, traits.index(b), traits.index(a))
            out[name] = Found(correlation(fit, term, a, b).value, error)
    return out


# --- pines ------------------------------------------------------------------------------------------------------------


def pine(traits):
    def others(fit):
        out = {f"min_eig_corr_{short}": smallest_eigenvalue(fit, term) for short, term in PINE_TERMS.items()}
        values = {
            name: Found(row.component, row.std_error)
            for short, term in PINE_TERMS.items()
            for name, row in zip(
                us(traits, short + "_{}"), fit.varcomp[fit.varcomp["term"] == term].itertuples(), strict=True
            )
        }
        for short, term in PINE_TERMS.items():
            values |= {name: correlation(fit, term, a, b) for name, (a, b) in pairs(traits, f"r_{short}_{{}}").items()}
        if fit.at_boundary:
            return out | values
        words = {term: (f"{short}_{{}}", f"r_{short}_{{}}") for short, term in PINE_TERMS.items()}
        return out | with_errors(values, fit, words, observed(fit))

    return Model(
        label=f"{len(traits)}_heights",
        dataset="pine_halfsib_4heights",
        formula=f"{' + '.join(traits)} ~ C(rep)",
        random="us(trait):female",
        components=placed(us(traits, "female_{}"), "female") | placed(us(traits, "R_{}"), "Residual"),
        others=others,
    )


PINE_TERMS = {"female": "female", "R": "Residual"}
PINE_NAME = "{}-trait ({}) ~ rep (fixed per trait); us female (half-sib: VA = 4 Vfemale); us residual; REML"
PINES = {
    PINE_NAME.format(len(traits), ",".join(traits)): pine(traits)
    for traits in (["HT1", "HT2", "HT3", "HT4"], ["HT1", "HT2", "HT3"], ["HT1", "HT4"])
}
FOUR_HEIGHTS, THREE_HEIGHTS, _ = PINES.values()


@pytest.mark.parametrize(("model", "answer"), cases("pine_halfsib_4heights", PINES, {}))
def test_fit_reml__pine(model, answer):
    if answer.value == 1.32e-14:  # a zero: what is left of it is rounding
        assert abs(model.found[answer.quantity].value) < 1e-8
        return
    check(model, answer)


@pytest.mark.parametrize(("model", "name"), models_with_components(dict(list(PINES.items())[1:]), ["computed"]))
def test_fit_reml__pine_computed_point_is_not_better(model, name):
    check_maximum(model, name, 1e-8)


@pytest.mark.published("pine_halfsib_4heights")
def test_fit_reml__pine_four_heights_on_the_boundary():
    """A singular matrix of families is an answer, with a label; three heights have an interior one."""
    fit = FOUR_HEIGHTS.fit
    assert fit.converged
    assert fit.at_boundary == ("female",)
    assert fit.ranks == {"female": 3, "Residual": 4}
    labels = fit.varcomp.groupby("term")["constraint"].agg(set)
    assert labels["female"] == {"boundary"}
    assert labels["Residual"] == {"positive", "unconstrained"}
    assert THREE_HEIGHTS.fit.at_boundary == ()


@pytest.mark.published("pine_halfsib_4heights")
def test_fit_reml__pine_average_and_observed_information_differ_by_little():
    """Average information is the mean of observed and expected: within 5 % of the published (observed) errors."""
    fit = THREE_HEIGHTS.fit
    np.testing.assert_allclose(fit.varcomp["std_error"], errors(observed(fit)), rtol=0.05)


# --- one term with a relationship matrix, records complete ------------------------------------------------------------


def canonical(label, dataset, traits, random, term, components, correlations, extra):
    def others(fit):
        values = {name: Found(fit.covariances[at][_place(traits, pair)]) for name, (at, *pair) in components.items()}
        V = np.linalg.inv(Canonical.of(fit).expected)
        out = {}
        for number, at in enumerate((term, "Residual")):
            size = len(V) // 2
            block = V[number * size :, number * size :][:size, :size]
            names = [name for name, place in components.items() if place[0] == at]
            for row, name in enumerate(names):
                out[name] = Found(values[name].value, float(np.sqrt(block[row, row])))
            for name, (a, b) in pairs(traits, correlations[at]).items():
                error = correlation_error(fit.covariances[at], block, traits.index(b), traits.index(a))
                out[name] = Found(correlation(fit, at, a, b).value, error)
        return out | extra(fit, V)

    return Model(
        label=label,
        dataset=dataset,
        formula=f"{' + '.join(traits)} ~ 1",
        random=random,
        components=components,
        fixed={f"b_{i + 1}": (trait, "Intercept") for i, trait in enumerate(traits)},
        others=others,
    )


def _place(traits, pair):
    return tuple(traits.index(trait) for trait in reversed(pair))


def heritabilities(fit, V):
    """h² with the delta-method error of the expected information."""
    G, R = fit.covariances.values()
    out = {}
    for i, row in enumerate((0, 2)):
        at = [row, row + 3]
        phenotypic = G[i, i] + R[i, i]
        gradient = np.array([R[i, i], -G[i, i]]) / phenotypic**2
        out[f"h2_{i + 1}"] = Found(G[i, i] / phenotypic, float(np.sqrt(gradient @ V[np.ix_(at, at)] @ gradient)))
    return out


def phen(short, cov, term):
    pairs = {f"{short}_1": ("phen1", "phen1"), cov: ("phen1", "phen2"), f"{short}_2": ("phen2", "phen2")}
    return placed(pairs, term)


SIMULATED = canonical(
    "simulated",
    "devillemereuil_multi",
    ["phen1", "phen2"],
    "us(trait):vm(animal, A)",
    "animal",
    phen("VA", "COVA", "animal") | phen("VR", "COVR", "Residual"),
    {"animal": "rA", "Residual": "rR"},
    heritabilities,
)
DE_VILLEMEREUIL = {
    "biv (phen1,phen2) ~ trait; us animal + us residual; REML": SIMULATED,
    "biv (phen1,phen2) ~ trait-1; us animal(ped) + us units; MCMCglmm prior IW(V=I/2,nu=2) both; "
    "nitt 100000 burnin 1000 thin 10": SIMULATED,
}


@pytest.mark.parametrize(
    ("model", "answer"), cases("devillemereuil_multi", DE_VILLEMEREUIL, {"DIC": "an MCMC criterion; REML has none"})
)
def test_fit_reml__devillemereuil(model, answer):
    check(model, answer)


ENVIRONMENTS = ["env1", "env2", "env3", "env4"]
WHEAT = canonical(
    "wheat",
    "wheat599",
    ENVIRONMENTS,
    "us(trait):vm(line, A)",
    "line",
    placed(us(ENVIRONMENTS, "VG_{}"), "line") | placed(us(ENVIRONMENTS, "VR_{}"), "Residual"),
    {"line": "rG_{}", "Residual": "rR_{}"},
    lambda fit, V: _phenotypic(),
)


def _phenotypic():
    r = table("wheat599")[ENVIRONMENTS].corr()
    return {name: Found(r.loc[a, b]) for name, (a, b) in us(ENVIRONMENTS, "rP_{}").items()}


WHEATS = {
    "4-trait (env1..env4) ~ 1; us line (pedigree A) + us residual; REML": WHEAT,
    "phenotypic correlation of line means": WHEAT,
}


@pytest.mark.parametrize(("model", "answer"), cases("wheat599", WHEATS, {}))
def test_fit_reml__wheat(model, answer):
    check(model, answer)


@pytest.mark.parametrize(
    "model",
    [pytest.param(m, marks=pytest.mark.published(m.dataset)) for m in (SIMULATED, WHEAT)],
    ids=["simulated", "wheat"],
)
def test_fit_reml__rotated_oracle(model):
    """l, and the average information behind our standard errors, by rotation to independent records."""
    fit = model.fit
    oracle = Canonical.of(fit)
    assert asreml_loglik(fit) == pytest.approx(oracle.loglik, abs=1e-6)
    np.testing.assert_allclose(fit.varcomp["std_error"], errors(oracle.average), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name"),
    models_with_components({k: m for k, m in (DE_VILLEMEREUIL | WHEATS).items() if "REML" in k}, ["computed"]),
)
def test_fit_reml__rotated_computed_point_is_not_better(model, name):
    check_maximum(model, name, 1e-8)


# --- milk -------------------------------------------------------------------------------------------------------------


def milk(trait):
    terms = {"V_id": "id", "V_herd": "herd", "V_Residual": "Residual"}
    return Model(
        label=trait,
        dataset="milk_repeat",
        formula=f"{trait} ~ C(lact) + log(dim)",
        random="id + herd",
        components={name: (term, trait, trait) for name, term in terms.items()},
        stop=LME4,
    )


MILK = {
    f"uni {trait} ~ factor(lact) + log(dim); cow(identity) + herd; REML": milk(trait)
    for trait in ("scs", "milk", "fat", "prot")
}
#: Fits of three seconds each; one of the four traits is enough for every run.
FAST, SLOW = dict(list(MILK.items())[:1]), dict(list(MILK.items())[1:])


@pytest.mark.parametrize(("model", "answer"), cases("milk_repeat", MILK, {}, kinds=["computed"], slow=SLOW.values()))
def test_fit_reml__milk(model, answer):
    check(model, answer)


@pytest.mark.parametrize(("model", "name"), models_with_components(FAST, ["computed"]))
def test_fit_reml__milk_computed_point_is_not_better(model, name):
    """lme4 stops up to 1e-3 s.e. from the maximum, which is less than 1e-6 in l."""
    check_maximum(model, name, 1e-6)


# --- weights of records -----------------------------------------------------------------------------------------------


def without_inbreeding(pedigree):
    """A as BLUPF90 makes it unless told otherwise: Mendelian variances ¾ and ½ whatever the inbreeding."""
    n, parents = len(pedigree), np.column_stack([pedigree.sire, pedigree.dam])
    known = parents >= 0
    T = sparse.eye_array(n) - sparse.coo_array(
        (np.full(known.sum(), 0.5), (np.nonzero(known)[0], parents[known])), (n, n)
    )
    mendelian = 1.0 - 0.25 * known.sum(axis=1)
    flow = np.eye(n)  # T⁻¹, parents first
    for child in range(n):
        flow[child] += 0.5 * flow[parents[child, known[child]]].sum(axis=0)
    return bmv.Relationship(
        ids=pedigree.ids,
        precision=sparse.csc_array(T.T @ sparse.diags_array(1.0 / mendelian) @ T),
        log_determinant=float(np.log(mendelian).sum()),
        diagonal=flow**2 @ mendelian,
    )


@pytest.fixture(scope="module")
def blupf90():
    data, known = table("blupf90_sim"), pedigree("blupf90_sim")
    spec = bmv.ModelSpec.from_formula(
        "y1 ~ C(farm) + C(sex) + C(year)",
        random="vm(id, A)",
        residual="units",
        weights="weight",
        genetic=bmv.Genetic(term="id"),
    )
    relationships = {"inbreeding": bmv.Relationship.from_pedigree(known), "none": without_inbreeding(known)}
    return {name: bmv.fit_reml(bmv.build_design(spec, data, {"A": A})) for name, A in relationships.items()}


@pytest.mark.published("blupf90_sim")
def test_fit_reml__blupf90_sim(blupf90):
    """All digits of the estimates; the s.e. to 1e-3 of themselves: which information they come from is not said."""
    found = [answer for answer in answers("blupf90_sim") if answer.kind == "published"]
    value = {answer.quantity: answer.value for answer in found if not answer.is_error}
    error = {answer.quantity: answer.value for answer in found if answer.is_error}
    fit = blupf90["none"]
    V = fit.component_covariance
    for k, name in enumerate(("VA", "VR")):
        assert fit.varcomp["component"][k] == pytest.approx(value[name], abs=0.5e-3)
        assert np.sqrt(V[k, k]) == pytest.approx(error[name], rel=2e-3)
    assert V[0, 1] == pytest.approx(value["cov(VA,VR)"], rel=2e-3)
    # The source's heritability is that of a record of weight 1, VA / (VA + VR); ours is that of an average record.
    VA, VR = fit.varcomp["component"]
    assert pytest.approx(value["h2"], abs=0.5e-4) == VA / (VA + VR)
    g = np.array([VR, -VA]) / (VA + VR) ** 2
    assert np.sqrt(g @ V @ g) == pytest.approx(error["h2"], rel=2e-3)
    mean = (1.0 / table("blupf90_sim")["weight"]).mean()
    h2 = bmv.genetic_parameters(fit).set_index("parameter").loc["heritability"]
    assert h2["estimate"] == pytest.approx(VA / (VA + VR * mean), rel=1e-9)


@pytest.mark.published("blupf90_sim")
def test_fit_reml__blupf90_sim_leaves_out_inbreeding(blupf90):
    """With inbreeding, as it should be, the estimates are 0.02 and 0.04 s.e. higher, and l is 0.25 higher."""
    right, published = blupf90["inbreeding"], blupf90["none"]
    shift = (right.varcomp["component"] - published.varcomp["component"]) / right.varcomp["std_error"]
    assert 0.01 < shift.min() < shift.max() < 0.05
    assert right.loglik - published.loglik == pytest.approx(0.246, abs=0.01)
