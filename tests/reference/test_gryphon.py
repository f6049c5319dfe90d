"""gryphon: birth weight and tarsus, many missing; ASReml-R answers (Wilson et al. 2010; Postma; Martin et al.)."""

import numpy as np
import pandas as pd
import pytest
from published import (
    ASREML,
    Found,
    Model,
    asreml_loglik,
    cases,
    check,
    check_maximum,
    correlation,
    folder,
    models_with_components,
    parameter,
)
from scipy.optimize import minimize

import bayesmv as bmv

pytestmark = pytest.mark.published("gryphon")

UNIVARIATE = {"VA": ("animal", "bwt", "bwt"), "VR": ("Residual", "bwt", "bwt")}
SEX = {"b_intercept(sex1)": ("bwt", "Intercept"), "b_sex2": ("bwt", "C(sex)[T.2]")}


def pair(short, term):
    """Names of the three components of a term."""
    return {
        f"V{short}_bwt": (term, "bwt", "bwt"),
        f"COV{short}": (term, "bwt", "tarsus"),
        f"V{short}_tarsus": (term, "tarsus", "tarsus"),
    }


SIMPLE = pair("A", "animal") | pair("R", "Residual")
FULL = SIMPLE | pair("_byear", "byear") | pair("_mother", "mother")
TERMS = "us(trait):vm(animal, A) + us(trait):byear + us(trait):mother"


def heritability(fit):
    return {"h2": parameter(fit, "animal", "heritability", "bwt")}


def simple_parameters(fit):
    sd = {
        f"sd{short}_{t}": Found(np.sqrt(fit.covariances[term][i, i]))
        for short, term in (("A", "animal"), ("R", "Residual"))
        for i, t in enumerate(("bwt", "tarsus"))
    }
    return sd | {
        "rA": correlation(fit, "animal", "bwt", "tarsus"),
        "rR": correlation(fit, "Residual", "bwt", "tarsus"),
        "h2_bwt": parameter(fit, "animal", "heritability", "bwt"),
        "h2_tarsus": parameter(fit, "animal", "heritability", "tarsus"),
    }


def profile(fit, term, r):
    """Largest l of a bivariate model in which the correlation of one term is held at r."""
    blocks, k = fit.design.blocks, fit.design.names.index(term)
    at, C = blocks.slices[k], np.array([[1.0, r], [r, 1.0]])

    def negative(x):
        sigmas, sd = blocks.matrices(x), np.exp(x[at][:2])
        sigmas[k] = C * np.outer(sd, sd)
        value, gradients = fit.engine.value_and_gradient(sigmas)
        slope = blocks.pullback(x, gradients)
        slope[at] = 0.0
        slope[at][:2] = 2.0 * sd * ((gradients[k] * C) @ sd)
        return -value, -slope

    start = fit.theta.copy()
    start[at][:2] = 0.5 * np.log(np.diag(fit.sigmas[k]))
    best = minimize(negative, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-15, "gtol": 1e-7})
    return -best.fun


def restricted(term):
    """l of the full model with no covariance between traits in one term."""
    return fit_of(TERMS.replace(f"us(trait):{term}", f"diag(trait):{term}")).loglik


def fit_of(random):
    return Model(label="", dataset="gryphon", formula="bwt + tarsus ~ C(sex)", random=random, components={}).fit


def full_parameters(fit):
    no_mother = restricted("mother")
    out = {f"r_{term}": correlation(fit, term, "bwt", "tarsus") for term in ("byear", "mother")}
    return out | {
        "rA": correlation(fit, "animal", "bwt", "tarsus"),
        "rR": correlation(fit, "Residual", "bwt", "tarsus"),
        "logLik_REML if COV_mother=0": Found(asreml_loglik(fit) + no_mother - fit.loglik),
        "LRT_COV_mother=0 (2*dlogL)": Found(2 * (fit.loglik - no_mother)),
        "LRT_COV_byear=0 (2*dlogL)": Found(2 * (fit.loglik - restricted("byear"))),
    }


def model(label, formula, random, components, **words):
    return Model(
        label=label,
        dataset="gryphon",
        formula=formula,
        random=random,
        components=components,
        stop=ASREML,
        **words,
    )


BYEAR = UNIVARIATE | {"V_byear": ("byear", "bwt", "bwt")}
MOTHER = BYEAR | {"V_mother": ("mother", "bwt", "bwt")}
NO_COVARIATE = model("bwt", "bwt ~ 1", "vm(animal, A)", UNIVARIATE, others=heritability)
WITH_SEX = model("bwt_sex", "bwt ~ C(sex)", "vm(animal, A)", UNIVARIATE, others=heritability, fixed=SEX)
WITH_BYEAR = model("bwt_byear", "bwt ~ C(sex)", "vm(animal, A) + byear", BYEAR)
WITH_MOTHER = model(
    "bwt_mother",
    "bwt ~ C(sex)",
    "vm(animal, A) + byear + mother",
    MOTHER,
    others=lambda fit: {"LRT_mother(2*dlogL)": Found(2 * (fit.loglik - WITH_BYEAR.fit.loglik))},
)
BIVARIATE = model(
    "simple",
    "bwt + tarsus ~ 1",
    "us(trait):vm(animal, A)",
    SIMPLE,
    others=simple_parameters,
    fixed={f"b_{trait}": (trait, "Intercept") for trait in ("bwt", "tarsus")},
)
COMPLETE_PAIRS = model(
    "pairs", "bwt + tarsus ~ 1", "us(trait):vm(animal, A)", SIMPLE, others=simple_parameters, complete=True
)
BIVARIATE_FULL = model(
    "full",
    "bwt + tarsus ~ C(sex)",
    TERMS,
    FULL,
    others=full_parameters,
    fixed={f"b_{trait}": (trait, "Intercept") for trait in ("bwt", "tarsus")}
    | {f"b_{trait}_sex2": (trait, "C(sex)[T.2]") for trait in ("bwt", "tarsus")},
)
PRIOR = "MCMCglmm prior IW(V=I2,nu=1.002)"
FULL_NAME = (
    "biv (bwt,tarsus) ~ trait + trait:sex; us(trait):animal + us(trait):byear + us(trait):mother; us residual; REML"
)
MODELS = {
    "uni bwt ~ 1; animal; REML (omit missing)": NO_COVARIATE,
    "uni bwt ~ sex; animal; REML": WITH_SEX,
    "uni bwt ~ sex; animal + byear; REML": WITH_BYEAR,
    "uni bwt ~ sex; animal + byear + mother; REML": WITH_MOTHER,
    "biv (bwt,tarsus) ~ trait; us(trait):animal; us residual; REML": BIVARIATE,
    FULL_NAME: BIVARIATE_FULL,
    f"biv (bwt,tarsus) ~ trait-1; us animal + us units; {PRIOR} both; nitt 13000 (short, ESS~80; use as rough only)": (
        BIVARIATE
    ),
    f"biv (bwt,tarsus) ~ trait-1; us animal + us units; {PRIOR} both; nitt 130000 burnin 30000 thin 100": BIVARIATE,
    f"biv (bwt,tarsus) ~ trait-1+trait:sex; us animal + us byear + us mother; us units; {PRIOR} each; "
    "nitt 130000 burnin 30000 thin 100": BIVARIATE_FULL,
    "biv (bwt,tarsus) ~ 1; (1|a|gr(animal,cov=A)); rescor; brms default priors (half-t3 on sd, LKJ(1)); "
    "complete pairs only, low ESS (27-100)": COMPLETE_PAIRS,
    "uni bwt ~ sex; animal; MCMCglmm prior IW(V=1,nu=0.002); nitt 65000": WITH_SEX,
    "uni bwt ~ 1; animal; MCMCglmm prior IW(V=1,nu=0.002); nitt 65000": NO_COVARIATE,
}


#: Not reproduced to its digits, for the reason shown below.
LATE = "LRT_rA=0.99999 (2*dlogL)"


@pytest.mark.parametrize(
    ("model", "answer"), cases("gryphon", MODELS, {LATE: "see test_fit_reml__gryphon_genetic_correlation_of_one"})
)
def test_fit_reml__gryphon(model, answer):
    check(model, answer)


@pytest.mark.parametrize(("model", "name"), models_with_components(MODELS, ["published"]))
def test_fit_reml__gryphon_published_point_is_not_better(model, name):
    """l at ASReml's components is below ours, by far less than the 0.002 at which ASReml stops."""
    check_maximum(model, name, 1e-6)


def test_design__gryphon_keeps_every_record():
    """ASReml keeps animals that lack one trait (missing at random): 1,537 values, and 854 for birth weight alone."""
    design = BIVARIATE.fit.design
    assert design.n_records == 1537
    assert NO_COVARIATE.fit.design.n_records == 854


def test_fit_reml__gryphon_genetic_correlation_of_one():
    """Published likelihood ratio of r_A = 0.99999: 5.544679. Ours, 5.544351, is smaller by 0.00033.

    A ratio is the smaller the better its null is maximised, so ours is nearer the truth: ASReml stopped its null model
    1.6e-4 short in l, within its rule of 0.002; the tutorial runs that model once, without update().
    """
    fit, printed = BIVARIATE_FULL.fit, 5.544679
    ratio = 2.0 * (fit.loglik - profile(fit, "animal", 0.99999))
    assert 0.0 < printed - ratio < 4e-4


def test_likelihood_ratio__gryphon_maternal_covariance():
    test = bmv.likelihood_ratio(fit_of(TERMS.replace("us(trait):mother", "diag(trait):mother")), BIVARIATE_FULL.fit)
    assert (test.df, test.statistic) == (1, pytest.approx(11.59835, abs=1e-4))


@pytest.mark.parametrize("trait", ["bwt", "tarsus"])
@pytest.mark.parametrize("case", ["simple", "full"])
def test_effects__gryphon_breeding_values(case, trait):
    """BLUPs of all 1,309 animals against independent REML (computed), six decimals and 1e-4 of their errors."""
    expected = pd.read_csv(folder("gryphon") / f"ebv_computed_biv_{case}.csv", index_col="id")[f"ebv_{trait}"]
    effects = {"simple": BIVARIATE, "full": BIVARIATE_FULL}[case].fit.effects("animal")
    ours = effects[effects["trait"] == trait].set_index("level").loc[expected.index]
    assert len(ours) == 1309
    assert (np.abs(ours["blup"] - expected) <= 5e-7 + 1e-4 * ours["std_error"]).all()
