"""Log priors against PyMC's densities, and their gradients."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import finite_difference
from structures import build, written

from bayesmv.covariance import ANGLE, CovarianceStructure, Parameter, structure
from bayesmv.errors import SpecError
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.priors.density import log_prior
from bayesmv.priors.words import prior_words

shapes = st.floats(0.3, 8.0)
PRIORS = [
    CovariancePrior(),
    CovariancePrior(eta=2.5, sd=HalfStudentT(nu=4.0, scale=0.7)),
    CovariancePrior(eta=0.6, sd=HalfStudentT(nu=1.0, scale=2.5)),
]


def random_theta(s, rng):
    return np.where(s.positive, rng.uniform(0.05, 2.0, s.n_parameters), rng.normal(size=s.n_parameters))


def pymc_lkj(m, prior):
    """Log density of the packed Cholesky factor, (m(m+1)/2,) → float."""
    sd = pm.HalfStudentT.dist(nu=prior.sd.nu, sigma=prior.sd.scale, size=m)
    rv = pm.LKJCholeskyCov.dist(n=m, eta=prior.eta, sd_dist=sd, compute_corr=False)
    value = pt.dvector("value")
    return pytensor.function([value], pm.logp(rv, value), mode="FAST_COMPILE")


def pymc_scales(prior):
    value = pt.dvector("value")
    sd = pm.HalfStudentT.dist(nu=prior.sd.nu, sigma=prior.sd.scale)
    return pytensor.function([value], pm.logp(sd, value).sum(), mode="FAST_COMPILE")


def assert_equal_up_to_a_constant(s, prior, reference):
    rng = np.random.default_rng(s.size)
    thetas = [random_theta(s, rng) for _ in range(12)]
    difference = [log_prior(s, prior, x)[0] - float(reference(x)) for x in thetas]
    np.testing.assert_allclose(difference, difference[0], atol=1e-9)  # sums of about ten logs, each exact to 1e-15


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("m", [2, 3, 4])
def test_log_prior__us_is_pymc_s_lkj_cholesky_cov(m, prior):
    assert_equal_up_to_a_constant(structure("us", m), prior, pymc_lkj(m, prior))


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize(("word", "m"), [("us", 1), ("corgh", 1), ("diag", 3), ("idv", 3), ("idv", 1)])
def test_log_prior__scales_are_pymc_s_half_student_t(word, m, prior):
    assert_equal_up_to_a_constant(structure(word, m), prior, pymc_scales(prior))


def test_log_prior__corgh_is_us():
    theta = random_theta(structure("us", 3), np.random.default_rng(0))
    us, corgh = (log_prior(structure(word, 3), PRIORS[1], theta) for word in ("us", "corgh"))
    assert us[0] == corgh[0]
    np.testing.assert_array_equal(us[1], corgh[1])


@given(st.data(), st.integers(1, 4), shapes, shapes, shapes, st.integers(0, 2**32 - 1))
def test_log_prior__gradient(data, m, nu, scale, eta, seed):
    s = build(data.draw(st.sampled_from(written(m))), m)
    prior = CovariancePrior(eta=eta, sd=HalfStudentT(nu=nu, scale=scale))
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-1.4, 1.4, s.n_parameters)
    theta = np.where(s.anchor == ANGLE, angles, random_theta(s, rng))
    if not s.n_parameters:
        assert log_prior(s, prior, theta)[0] == 0.0
        return
    exact = finite_difference(lambda x: log_prior(s, prior, x)[0], theta, step=1e-3)
    # Scales are above 0.05: truncation (1e-3/0.05)⁴/30 of a slope of up to 30/0.05.
    np.testing.assert_allclose(log_prior(s, prior, theta)[1], exact, atol=1e-4, rtol=1e-5)


def test_log_prior__ante_of_full_order_is_us():
    """Both are densities of one Σ: they differ by the Jacobian between their θ, found by finite differences."""
    us, ante, prior = structure("us", 3), structure("ante(2)", 3), PRIORS[1]
    difference = []
    for seed in range(6):
        theta = random_theta(ante, np.random.default_rng(seed))
        J = finite_difference(lambda x: us.from_matrix(ante.matrix(x)), theta, 1e-4)
        mine = log_prior(us, prior, us.from_matrix(ante.matrix(theta)))[0] + np.linalg.slogdet(J)[1]
        difference.append(mine - log_prior(ante, prior, theta)[0])
    np.testing.assert_allclose(difference, difference[0], atol=1e-6)


@pytest.mark.parametrize("loadings", [0.0, -1.0, float("inf")])
def test_covariance_prior__raises_on_loadings(loadings):
    with pytest.raises(SpecError, match="a prior of loadings needs a finite scale > 0"):
        CovariancePrior(loadings=loadings)


def test_log_prior__eta_pulls_correlations_to_zero():
    s = structure("us", 2)
    near, far = (np.array([1.0, r, np.sqrt(1 - r**2)]) for r in (0.1, 0.9))

    def odds(eta):
        return log_prior(s, CovariancePrior(eta=eta), near)[0] - log_prior(s, CovariancePrior(eta=eta), far)[0]

    # |Ω|^(eta-1) is all that eta changes: (eta-1) log[(1-0.01)/(1-0.81)].
    assert odds(3.0) - odds(1.0) == pytest.approx(2.0 * np.log(0.99 / 0.19), rel=1e-10)


def test_log_prior__raises_on_unregistered_structure():
    class Mystery(CovarianceStructure):
        def parameters(self, labels):
            return (Parameter(name="x"),)

    Mystery.__abstractmethods__ = frozenset()
    Mystery.n_parameters = 1
    with pytest.raises(NotImplementedError, match="no prior is registered for Mystery"):
        log_prior(Mystery(2), CovariancePrior(), np.ones(1))


@given(shapes, shapes, st.floats(0.01, 20.0))
def test_half_student_t__derivative(nu, scale, s):
    prior = HalfStudentT(nu=nu, scale=scale)
    exact = finite_difference(lambda x: prior.log_density(x)[0], np.array([s]), step=1e-3)[0]
    assert prior.derivative(np.array([s]))[0] == pytest.approx(exact, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("values", [{"nu": 0.0}, {"nu": -1.0}, {"scale": 0.0}, {"scale": float("nan")}])
def test_half_student_t__raises(values):
    with pytest.raises(SpecError, match=r"needs finite nu > 0 and scale > 0, not nu=.*, scale="):
        HalfStudentT(**values)


@pytest.mark.parametrize("values", [{"nu": np.inf}, {"scale": np.inf}])
def test_half_student_t__infinite_is_refused_or_has_a_density(values):
    try:
        prior = HalfStudentT(**values)
    except SpecError:
        return
    assert np.isfinite(prior.log_density(np.array([0.5, 2.0]))).all()
    assert np.isfinite(prior.derivative(np.array([0.5, 2.0]))).all()


@pytest.mark.parametrize("eta", [0.0, -1.0, float("nan")])
def test_covariance_prior__raises_on_eta(eta):
    with pytest.raises(SpecError, match=r"an LKJ prior needs eta > 0, not"):
        CovariancePrior(eta=eta)


@given(shapes, shapes, shapes)
def test_covariance_prior__mapping_round_trip(nu, scale, eta):
    prior = CovariancePrior(eta=eta, sd=HalfStudentT(nu=nu, scale=scale))
    assert CovariancePrior.from_mapping(prior.to_mapping(), "Block") == prior


def test_covariance_prior__mapping_defaults():
    assert CovariancePrior.from_mapping({}, "Block") == CovariancePrior()


def test_covariance_prior__raises_on_unknown_key():
    with pytest.raises(
        SpecError, match=r"unknown key 'df' in the prior of Block; allowed: 'eta', 'loadings', 'nu', 'scale'"
    ):
        CovariancePrior.from_mapping({"df": 3}, "Block")


@pytest.mark.parametrize("value", ["3", True, None])
def test_covariance_prior__raises_on_not_a_number(value):
    with pytest.raises(SpecError, match=r"eta in the prior of Block must be a number, not"):
        CovariancePrior.from_mapping({"eta": value}, "Block")


def test_covariance_prior__says_what_it_is():
    assert str(CovariancePrior(eta=2.0)) == "sd ~ half-Student-t(3, 1) phenotypic sd, correlations ~ LKJ(2)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("us", "sd ~ half-Student-t(3, 1) phenotypic sd, correlations ~ LKJ(1)"),
        ("ante(1)", "sd ~ half-Student-t(3, 1) phenotypic sd, correlations ~ LKJ(1)"),
        ("diag", "sd ~ half-Student-t(3, 1) phenotypic sd"),
        ("corh", "sd ~ half-Student-t(3, 1) phenotypic sd, cor ~ beta(1, 1) over its interval"),
        ("toep", "sd ~ half-Student-t(3, 1) phenotypic sd, partial autocorrelation ~ beta(1, 1) over its interval"),
        ("fa(2)", "specific sd ~ half-Student-t(3, 1), loadings ~ normal(0, 0.5) phenotypic sd"),
        ("rr(2)", "loadings ~ normal(0, 0.5) phenotypic sd"),
        ("idv", "sd ~ half-Student-t(3, 1) phenotypic sd"),
        ("scaled(G)", "sd ~ half-Student-t(3, 1) phenotypic sd"),
        ("id", "given, not estimated"),
        ("fixed(G)", "given, not estimated"),
    ],
)
def test_prior_words__of_structures(text, words):
    assert prior_words(build(text, 4), CovariancePrior()) == words
