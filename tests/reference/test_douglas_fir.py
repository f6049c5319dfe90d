"""douglas_fir: a two-trait provenance trial on which AI-REMLF90 ran away, and which has a regular interior maximum."""

import numpy as np
import pandas as pd
import pytest
from published import Model, answers, cases, check, check_maximum, correlation, folder, models_with_components, pedigree

import bayesmv as bmv

pytestmark = pytest.mark.published("douglas_fir")

TRAITS = ("H04", "C13")
ORIGINS = [f"p{letter}" for letter in "ABCFGHIJK"]


def univariate(trait):
    terms = {"V_block": "block", "VA": "id", "VR": "Residual"}
    return Model(
        label=trait,
        dataset="douglas_fir",
        formula=f"{trait} ~ orig",
        random="block + vm(id, A)",
        components={name: (term, trait, trait) for name, term in terms.items()},
    )


def components(short, term):
    return {
        f"{short}_H04": (term, "H04", "H04"),
        f"{short}_cov": (term, "H04", "C13"),
        f"{short}_C13": (term, "C13", "C13"),
    }


def correlations(fit):
    terms = {"r_block": "block", "r_A": "id", "r_R": "Residual"}
    return {name: correlation(fit, term, *TRAITS) for name, term in terms.items()}


BIVARIATE = Model(
    label="bivariate",
    dataset="douglas_fir",
    formula="H04 + C13 ~ 0 + orig",
    random="us(trait):block + us(trait):vm(id, A)",
    components=components("V_block", "block") | components("VA", "id") | components("VR", "Residual"),
    fixed={f"b_{trait}_{origin}": (trait, f"orig[{origin}]") for trait in TRAITS for origin in ORIGINS},
    others=correlations,
)
FAILED = (
    "biv (H04,C13) ~ orig; us block + us animal; us residual; AI-REMLF90 - FAILED: diverged after 5 rounds "
    "(block covariance ran to 3.5e9, corr -1). Do NOT use as truth; use as an example of REML failing"
)
COMPETITION = "biv (H04,C13) ~ orig; competition model (direct + competition genetic, 4x4 G); EM-REML"
MODELS = {
    "uni H04 ~ orig; block + animal; REML": univariate("H04"),
    "uni C13 ~ orig; block + animal; REML": univariate("C13"),
    "biv (H04,C13) ~ orig; us block + us animal; us residual; REML": BIVARIATE,
}
SKIPPED = {
    FAILED: "not an answer: see test_fit_reml__douglas_fir_published_failure_is_no_maximum",
    COMPETITION: "competition effects need the incidence of neighbours, which comes with a later issue",
}


@pytest.mark.parametrize(("model", "answer"), cases("douglas_fir", MODELS, SKIPPED))
def test_fit_reml__douglas_fir(model, answer):
    check(model, answer)


@pytest.mark.parametrize(("model", "name"), models_with_components(MODELS, ["computed"]))
def test_fit_reml__douglas_fir_computed_point_is_not_better(model, name):
    check_maximum(model, name, 1e-8)


def test_fit_reml__douglas_fir_interior():
    """Our answer: converged, no component on the boundary, every correlation inside (-1, 1)."""
    fit = BIVARIATE.fit
    assert fit.converged
    assert fit.at_boundary == ()
    assert set(fit.varcomp["constraint"]) == {"positive", "unconstrained"}


@pytest.fixture(scope="module")
def failed():
    """The published failure, as covariance matrices."""
    folder("douglas_fir")
    v = {a.quantity: a.value for a in answers("douglas_fir") if a.model == FAILED and not a.is_error}
    return {
        "block": np.array([[v["V_block_H04"], v["COV_block"]], [v["COV_block"], v["V_block_C13"]]]),
        "id": np.array([[v["VA_H04"], v["COVA"]], [v["COVA"], v["VA_C13"]]]),
        "Residual": np.array([[v["VR_H04"], v["COVR"]], [v["COVR"], v["VR_C13"]]]),
    }


def test_fit_reml__douglas_fir_published_failure_is_no_maximum(failed):
    """l at AI-REMLF90's last values is 278 below ours."""
    there = bmv.blup(BIVARIATE.fit.design, failed)
    assert BIVARIATE.fit.loglik - there.loglik > 250.0


def test_fit_reml__douglas_fir_likelihood_falls_towards_the_failure(failed):
    """Along the way of the block matrix from ours to the published one, l falls all the time: no second maximum."""
    ours = BIVARIATE.fit.covariances
    correlation_minus_one = failed["block"] / failed["block"][0, 0]
    values = []
    for size in (0.0, 1e2, 1e4, 1e6, 1e8, 3.545e9):
        block = ours["block"] + size * correlation_minus_one
        values.append(bmv.blup(BIVARIATE.fit.design, dict(ours) | {"block": block}).loglik)
    assert (np.diff(values) < 0).all()


def test_fit_reml__douglas_fir_from_a_runaway_start(failed):
    """Started with a block matrix of correlation -1, a hundred times too large, REML comes back to the same answer."""
    start = failed | {"block": 1e5 * failed["block"] / failed["block"][0, 0]}
    fit = bmv.fit_reml(BIVARIATE.fit.design, start=start)
    assert fit.loglik == pytest.approx(BIVARIATE.fit.loglik, abs=1e-7)


def test_fit_reml__douglas_fir_from_the_failure(failed):
    """Started at the published failure itself."""
    fit = bmv.fit_reml(BIVARIATE.fit.design, start=failed)
    assert fit.loglik == pytest.approx(BIVARIATE.fit.loglik, abs=1e-7)


def test_pedigree__douglas_fir_monoecious():
    """Four trees are both sire and dam: accepted."""
    table = pd.read_csv(folder("douglas_fir") / "pedigree.csv")
    both = set(table["sire"].dropna()) & set(table["dam"].dropna())
    assert len(both) == 4
    assert len(pedigree("douglas_fir")) == 1525


@pytest.mark.parametrize("trait", TRAITS)
def test_effects__douglas_fir_breeding_values(trait):
    """BLUPs of all 1,525 trees against independent REML (computed), four decimals and 1e-4 of their errors."""
    expected = pd.read_csv(folder("douglas_fir") / "ebv_computed.csv", index_col="id")[f"ebv_{trait}"]
    effects = BIVARIATE.fit.effects("id")
    ours = effects[effects["trait"] == trait].set_index("level").loc[expected.index]
    assert len(ours) == 1525
    assert (np.abs(ours["blup"] - expected) <= 5e-5 + 1e-4 * ours["std_error"]).all()
