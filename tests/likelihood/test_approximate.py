"""Approximate likelihoods: exact for Gaussian traits, gradients by differences, against integrals written out."""

import numpy as np
import pytest
from not_gaussian import design, some_sigmas, table, table_with_gaps, written_out
from scipy import sparse
from scipy.stats import multivariate_normal, norm, poisson

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.likelihood import MixedModelLikelihood, likelihood
from bayesmv.likelihood.latent import LaplaceLikelihood, VariationalLikelihood
from bayesmv.likelihood.latent.conditioning import COUNT, LINKED, NORMAL, build_conditioning

BOTH = pytest.mark.parametrize("engine", [VariationalLikelihood, LaplaceLikelihood], ids=lambda e: e.name)


@BOTH
def test_gaussian_traits__everything_is_that_of_the_mixed_model_equations(engine):
    d = design(("y", "w"), random="us(trait):f + diag(trait):b")
    sigmas = [np.array([[0.5, 0.2], [0.2, 0.4]]), np.diag([0.1, 0.2]), np.diag([0.6, 0.9])]
    exact, approximate = MixedModelLikelihood(d), engine(d)
    value, gradients = exact.value_and_gradient(sigmas)
    got, its = approximate.value_and_gradient(sigmas)
    assert got == pytest.approx(value, abs=1e-9)
    for G, H in zip(gradients[:-1], its[:-1], strict=True):
        np.testing.assert_allclose(H, G, atol=1e-9)
    np.testing.assert_allclose(np.diag(its[-1]), np.diag(gradients[-1]), atol=1e-9)
    for a, b in zip(exact.solve(sigmas).random, approximate.solve(sigmas).random, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-9)
    np.testing.assert_allclose(approximate.solve(sigmas).fixed, exact.solve(sigmas).fixed, atol=1e-9)
    for a, b in zip(exact.prediction_error(sigmas), approximate.prediction_error(sigmas), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-9)
    np.testing.assert_allclose(approximate.fixed_covariance(sigmas), exact.fixed_covariance(sigmas), atol=1e-9)
    rng = np.random.default_rng(0)
    fixed, random = sparse.csr_array(rng.normal(size=(3, 4))), sparse.csr_array(rng.normal(size=(3, 30)))
    for a, b in zip(
        exact.combine(sigmas, fixed, [random, None]), approximate.combine(sigmas, fixed, [random, None]), strict=True
    ):
        np.testing.assert_allclose(b, a, atol=1e-9)


def check_slope(likelihood, sigmas, gradients, k, i, j):
    """Hold a derivative by an entry of a covariance matrix against differences."""
    h, ends = 1e-4, []
    for step in (h, -h):
        moved = [S.copy() for S in sigmas]
        moved[k][i, j] += step
        if i != j:
            moved[k][j, i] += step
        ends.append(likelihood.loglik(moved))
    wanted = (ends[0] - ends[1]) / (2 * h)
    assert gradients[k][i, j] * (1.0 if i == j else 2.0) == pytest.approx(wanted, rel=1e-4, abs=1e-3)


@BOTH
@pytest.mark.parametrize(
    "traits", [("y", "z"), ("c",), ("o", "m"), ("n", "i"), ("t",), ("y", "z", "c", "o", "m", "t", "n")], ids="-".join
)
def test_value_and_gradient__by_differences(engine, traits):
    d = design(traits, random="us(trait):f", data=table(70) if len(traits) > 4 else None)
    likelihood, sigmas = engine(d), some_sigmas(d)
    _, gradients = likelihood.value_and_gradient(sigmas)
    places = [(0, i, j) for i in range(len(traits)) for j in range(i + 1)]
    places += [(1, t, t) for t, f in enumerate(d.families) if f.link_variance == 0.0 and f.number != "shape"]
    for k, i, j in places:
        check_slope(likelihood, sigmas, gradients, k, i, j)


@BOTH
@pytest.mark.parametrize("traits", [*map(tuple, ("yz", "zyw", "cyo", "cdz", "zv", "yt", "tz", "cvtoy"))], ids="-".join)
def test_correlated_residuals__gradient_by_differences(engine, traits):
    d = design(traits, data=table_with_gaps(), residual="us(trait):units")
    likelihood, sigmas = engine(d), some_sigmas(d)
    _, gradients = likelihood.value_and_gradient(sigmas)
    for k in (0, 1):
        for i, j in zip(*np.tril_indices(len(traits)), strict=True):
            check_slope(likelihood, sigmas, gradients, k, i, j)


@BOTH
def test_correlated_residuals__of_gaussian_traits_are_those_of_the_mixed_model_equations(engine):
    d = design(("y", "w"), residual="us(trait):units")
    sigmas = [np.array([[0.5, 0.2], [0.2, 0.4]]), np.array([[0.6, 0.3], [0.3, 0.9]])]
    (value, gradients), (got, its) = (e(d).value_and_gradient(sigmas) for e in (MixedModelLikelihood, engine))
    assert got == pytest.approx(value, abs=1e-9)
    for G, H in zip(gradients, its, strict=True):
        np.testing.assert_allclose(H, G, atol=1e-9)


def test_correlated_residuals__density_is_that_written_out():
    """N(e of Gaussian traits and counts) · Poisson · Φ of the liability given them, unit by unit."""
    d = design(("o", "c", "y", "w"), data=table_with_gaps(), residual="us(trait):units")
    sigmas = some_sigmas(d)
    engine = LaplaceLikelihood(d)
    p, R = engine.predictor, sigmas[-1]
    state = engine.approximation(sigmas)
    rng = np.random.default_rng(0)
    s = 0.3 * rng.normal(size=p.order)
    epsilon = s[p.first[-1] :]
    got = engine._terms(state.families, state.offset + p.matrix(state.numbers) @ s).value.sum()
    got += p.conditioning.log_jacobian(state.mixing) + norm.logpdf(epsilon).sum()
    # Latent values without residuals: those of the same effects where nothing is conditioned on.
    alone = LaplaceLikelihood(design(("o", "c", "y", "w"), data=table_with_gaps()))
    start = alone.place(
        alone._factors([sigmas[0], np.eye(4)]), alone.predictor.conditioning.numbers(np.eye(4)), alone._families
    )
    nothing = np.append(s[: p.first[-1]], np.zeros(len(epsilon)))
    table = np.full(d.observed.shape, np.nan)
    table[p.unit, p.trait] = alone.predictor.matrix(start.numbers) @ nothing
    y, wanted, cuts = d.working_response, 0.0, np.array([-np.inf, *state.families[0].thresholds, np.inf])
    count = {int(p.unit[r]): k for k, r in enumerate(p.drawn_record)}
    for unit, seen in enumerate(d.observed):
        g = [t for t in (2, 3) if seen[t]]
        e, known = y[unit, g] - table[unit, g], list(g)
        if seen[1]:
            L = np.linalg.cholesky(R[np.ix_([*g, 1], [*g, 1])])
            z = np.append(np.linalg.solve(L[: len(g), : len(g)], e), epsilon[count[unit]])
            wanted += poisson.logpmf(y[unit, 1], np.exp(table[unit, 1] + L[-1] @ z))
            # The density of e of the count, times de / dε.
            e, known = np.append(e, L[-1] @ z), [*g, 1]
            wanted += np.log(L[-1, -1])
        if known:
            wanted += multivariate_normal.logpdf(e, cov=R[np.ix_(known, known)])
        if seen[0]:
            b = np.linalg.solve(R[np.ix_(known, known)], R[known, 0]) if known else np.zeros(0)
            mean, sd = table[unit, 0] + b @ e, np.sqrt(R[0, 0] - b @ R[known, 0])
            above, below = (norm.cdf((cuts[int(y[unit, 0]) - k] - mean) / sd) for k in (0, 1))
            wanted += np.log(above - below)
    assert got == pytest.approx(wanted, abs=1e-8)


def test_conditioning__of_several_thresholds_has_the_covariances_of_the_residuals():
    """e = s (N ε + u) given the exact records, u independent: with the residuals of these, of covariance R."""
    d = design(tuple("zyvocw"), data=table_with_gaps(), residual="us(trait):units")
    conditioning, R = build_conditioning(d), some_sigmas(d)[-1]
    for kinds, numbers in zip(conditioning.kinds, conditioning.numbers(R).reshape(-1, 2, 6, 6), strict=True):
        M, N = numbers
        seen = np.flatnonzero(kinds >= 0)
        s = 1.0 / np.diag(M)[seen]
        known, counts, several = (kinds[seen] == kind for kind in (NORMAL, COUNT, LINKED))
        unknown = np.diag(np.where(known | counts, 0.0, 1.0))
        # (1 less the regression on exact records) e is what N and u make, and z of the exact ones.
        own = s[:, None] * (N[np.ix_(seen, seen)] @ N[np.ix_(seen, seen)].T + unknown) * s + np.diag(known * s**2)
        back = np.linalg.inv(s[:, None] * M[np.ix_(seen, seen)])
        back[known] = np.linalg.inv(M[np.ix_(seen, seen)])[known] / s
        np.testing.assert_allclose(back @ own @ back.T, R[np.ix_(seen, seen)], atol=1e-10)
        assert several.sum() != 1


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1.5])
def test_loglik__binary_families_against_the_integralwritten_out(sigma):
    d = design(("z",), random="f", fixed="1")
    exact = written_out(d, sigma)
    sigmas = [np.array([[sigma**2]]), np.eye(1)]
    variational, laplace = (engine(d).loglik(sigmas) for engine in (VariationalLikelihood, LaplaceLikelihood))
    assert variational <= exact + 1e-6  # a lower bound
    assert variational == pytest.approx(exact, abs=0.1)
    assert laplace == pytest.approx(exact, abs=0.2)
    assert exact - variational < abs(exact - laplace)


@pytest.mark.parametrize("trait", ["t", "n"])
def test_loglik__of_bounds_and_overdispersed_counts_against_the_integral_written_out(trait):
    d, sd = design((trait,), random="f", fixed="1"), 0.8 if trait == "t" else 0.0
    sigmas = [np.array([[0.3]]), np.array([[sd**2]])]
    for engine, error in ((VariationalLikelihood, 0.05), (LaplaceLikelihood, 0.2)):
        family = engine(d).estimated_families(sigmas)[0]
        exact = written_out(d, np.sqrt(0.3), family, sd)
        # The least-squares line, and phenotypic standard deviations, of records that are known.
        exact += d.log_jacobian
        assert engine(d).loglik(sigmas) == pytest.approx(exact, abs=error)


def test_thresholds__two_scores_are_a_binary_trait():
    data = table()
    data["o"] = data["z"] + 1
    binary, ordered = design(("z",), random="f"), design(("o",), random="f", data=data)
    sigmas = [np.array([[0.4]]), np.eye(1)]
    for engine in (VariationalLikelihood, LaplaceLikelihood):
        assert engine(ordered).loglik(sigmas) == pytest.approx(engine(binary).loglik(sigmas), abs=1e-8)
    assert VariationalLikelihood(ordered).estimated_families(sigmas)[-1].thresholds == (0.0,)


def test_missing_records__are_the_model_of_those_that_are_there():
    data = table()
    data.loc[::3, "z"] = np.nan
    whole, part = design(("z",), random="f", data=data), design(("z",), random="f", data=data.dropna(subset=["z"]))
    sigmas = [np.array([[0.4]]), np.eye(1)]
    assert VariationalLikelihood(whole).loglik(sigmas) == pytest.approx(VariationalLikelihood(part).loglik(sigmas))


def test_choice__gaussian_engines_do_not_serve_other_traits():
    d = design(("z",), random="f")
    assert likelihood(d).name == "variational"
    with pytest.raises(
        SpecError, match=r"unknown engine 'sparse' of traits that are not Gaussian; engines: auto, vari"
    ):
        likelihood(d, "sparse")
    with pytest.raises(SpecError, match="only where every trait is Gaussian, and 'z' is not"):
        MixedModelLikelihood(d)


def test_fit_reml__singular_estimates_have_standard_errors():
    fit = bmv.fit_reml(design(("z", "c")))
    assert fit.converged
    assert fit.at_boundary
    assert np.isfinite(fit.varcomp["component"]).all()
    assert np.isfinite(fit.varcomp["std_error"]).any()


def test_fit_reml__says_that_it_is_approximate():
    fit = bmv.fit_reml(design(("z",), random="f"))
    assert fit.converged
    assert fit.method == "REML, approximate (variational)"
    rows = fit.varcomp.set_index("term")
    assert rows.loc["Residual", "component"] == 1.0
    assert rows.loc["Residual", "constraint"] == "fixed"
    assert str(fit).startswith("REML, approximate (variational)")
    assert "underestimated" in bmv.fit_reml(design(("z",), random="f"), engine="laplace").method


@pytest.mark.parametrize("traits", [("o",), ("z", "c", "o")], ids="-".join)
def test_variational__begun_elsewhere_ends_at_the_same_bound(traits):
    d = design(traits, random="diag(trait):f")
    fresh, used = VariationalLikelihood(d), VariationalLikelihood(d)
    sigmas = some_sigmas(d)
    used.loglik([4.0 * S for S in sigmas[:-1]] + sigmas[-1:])
    (value, gradients), (other, theirs) = (engine.value_and_gradient(sigmas) for engine in (fresh, used))
    assert value == pytest.approx(other, abs=1e-8)
    for mine, its in zip(gradients, theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)


def test_variational__ends_where_thresholds_are_far_from_their_start():
    """Of an animal model with four scores, whose curvature at the start is not that at the end."""
    d = bmv.load_design("lambs_ease")
    assert VariationalLikelihood(d).loglik([np.array([[0.478264]]), np.eye(1)]) == pytest.approx(-761.756, abs=1e-3)
