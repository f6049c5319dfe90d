"""Posterior beside REML: values, contraction from the prior, and the verdict in every case."""

from functools import cache

import numpy as np
import pytest
from traces import draws_around, incomplete, make_design, records, trace_of

from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.errors import SpecError
from bayesmv.estimates.source import describe
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.reml import fit_reml

COLUMNS = [
    *("term", "parameter", "trait_i", "trait_j", "reml", "std_error", "constraint"),
    *("mean", "median", "sd", "hdi_low", "hdi_high", "ess_bulk", "ess_tail", "r_hat"),
    *("contraction", "difference", "verdict"),
]
CHAINS, DRAWS = 4, 1000
#: Draws where no figure depends on how many there are.
FEW = 200


def around(design, fit, draws=DRAWS):
    """Draws of x around REML, (chains, draws, d)."""
    return draws_around(log_posterior(design), fit.theta, CHAINS, draws)


def uniform_correlations(m, n, rng):
    """Draws of LKJ(1), (n, m, m): entries uniform on the cube, kept where the matrix is positive definite."""
    candidates = np.repeat(np.eye(m)[None], 4 * n, axis=0)
    i, j = np.tril_indices(m, -1)
    candidates[:, i, j] = candidates[:, j, i] = rng.uniform(-1, 1, (4 * n, len(i)))
    return candidates[np.linalg.eigvalsh(candidates)[:, 0] > 0][:n]


def from_prior(size, prior, rng):
    """Draws of the covariance of `size` effects in phenotypic sd, (chains, draws, m, m): half-t sd, LKJ(1)."""
    sd = np.abs(prior.sd.scale * rng.standard_t(prior.sd.nu, (CHAINS, DRAWS, size)))
    omega = uniform_correlations(size, CHAINS * DRAWS, rng).reshape(CHAINS, DRAWS, size, size)
    return omega * sd[..., :, None] * sd[..., None, :]


def with_term(design, x, name, sigma):
    """Return the draws with one unstructured covariance (…, m, m) replaced: log sd, and sinh x = L_ij / L_ii."""
    i, j = np.tril_indices(sigma.shape[-1])
    L = np.linalg.cholesky(sigma)
    out = x.copy()
    out[..., design.blocks.slices[design.names.index(name)]] = np.where(
        i == j, 0.5 * np.log(sigma[..., i, i]), np.arcsinh(L[..., i, j] / L[..., i, i])
    )
    return out


@pytest.fixture(scope="module")
def fitted():
    """A fit inside the parameter space."""
    fit = fit_reml(make_design(data=incomplete(records(blocks=10, families=30))))
    assert fit.at_boundary == ()
    return fit


@pytest.fixture(scope="module")
def trace(fitted):
    return trace_of(fitted.design, around(fitted.design, fitted, FEW), reml=fitted)


@pytest.fixture(scope="module")
def table(fitted, trace):
    return compare_reml(trace, fitted)


@cache
def complete(t=2):
    """A fit of complete records."""
    return fit_reml(make_design(data=records(t=t, blocks=10, families=30)))


def rows_of(table, term, parameter=None):
    mine = table[table["term"] == term]
    return mine if parameter is None else mine[mine["parameter"] == parameter]


# ---------------------------------------------------------------- the table


def test_compare_reml__rows_and_columns(table):
    assert list(table.columns) == COLUMNS
    labels = table[["term", "parameter", "trait_i", "trait_j"]].to_numpy().tolist()
    assert labels == [
        [term, *row]
        for term in ("block", "family", "Residual")
        for row in (
            ("variance", "y1", "y1"),
            ("covariance", "y1", "y2"),
            ("variance", "y2", "y2"),
            ("correlation", "y1", "y2"),
        )
    ]


def test_compare_reml__reml_columns(table, fitted):
    components = table[table["parameter"] != "correlation"]
    np.testing.assert_allclose(components["reml"], fitted.varcomp["component"], rtol=1e-12)
    np.testing.assert_allclose(components["std_error"], fitted.varcomp["std_error"], rtol=1e-9)
    assert components["constraint"].tolist() == fitted.varcomp["constraint"].tolist()
    for term in ("block", "family", "Residual"):
        S = fitted.covariances[term]
        (row,) = rows_of(table, term, "correlation").to_dict("records")
        r = S[0, 1] / np.sqrt(S[0, 0] * S[1, 1])
        assert row["reml"] == pytest.approx(r, rel=1e-12)
        g = r * np.array([-0.5 / S[0, 0], 1 / S[0, 1], -0.5 / S[1, 1]])
        assert row["std_error"] == pytest.approx(np.sqrt(g @ fitted.term_covariance(term) @ g), rel=1e-9)
        assert row["constraint"] == "unconstrained"


def test_compare_reml__posterior_columns_and_difference(trace, table):
    posterior = trace["posterior"].to_dataset()
    for _, row in table.iterrows():
        kind = "corr" if row["parameter"] == "correlation" else "cov"
        draws = posterior[f"{row['term']}_{kind}"].sel(trait=row["trait_i"], trait_other=row["trait_j"]).to_numpy()
        for name, value in describe(draws).items():
            assert row[name] == pytest.approx(value, rel=1e-12), name
        assert row["difference"] == pytest.approx((np.median(draws) - row["reml"]) / draws.std(ddof=1), rel=1e-9)


def test_compare_reml__contraction_of_the_sd_by_interquartile_ranges(fitted, trace, table):
    """The quartiles of half-t(3, 1) are those of t at 5/8 and 7/8: 0.3492 and 1.4226."""
    posterior = trace["posterior"].to_dataset()
    sd = posterior["family_sd"].sel(trait="y2").to_numpy() / fitted.design.scale[1]
    ratio = np.subtract(*np.quantile(sd, [0.75, 0.25])) / (1.4226 - 0.3492)
    assert rows_of(table, "family", "variance").iloc[1]["contraction"] == pytest.approx(1 - ratio**2, abs=1e-4)


def test_compare_reml__structures_without_covariances_have_no_such_rows():
    design = make_design("diag(trait):block + at(trait, y2):family")
    fit = fit_reml(design)
    got = compare_reml(trace_of(design, around(design, fit, FEW), reml=fit), fit)
    assert rows_of(got, "block")["parameter"].tolist() == ["variance", "variance"]
    assert rows_of(got, "family_y2")[["trait_i", "parameter"]].to_numpy().tolist() == [["y2", "variance"]]
    assert len(rows_of(got, "Residual")) == 4


def test_compare_reml__corgh_is_compared_as_us_is():
    """The structure's parameters are reported on all scales: variances, covariances and correlations."""
    data = records(blocks=10, families=30)
    corgh = make_design("corgh(trait):block + corgh(trait):family", data, residual="corgh(trait):units")
    fits = [complete(), fit_reml(corgh)]
    tables = [compare_reml(trace_of(f.design, around(f.design, f, FEW), reml=f), f) for f in fits]
    np.testing.assert_allclose(tables[0]["reml"], tables[1]["reml"], rtol=1e-5)
    np.testing.assert_allclose(tables[0]["std_error"], tables[1]["std_error"], rtol=1e-4)


# ---------------------------------------------------------------- verdicts


def test_verdict__agree(table):
    assert set(table["verdict"]) == {"agree"}


def test_verdict__differs_by_k_posterior_sd(fitted):
    design = fitted.design
    x = around(design, fitted)
    family = design.blocks.slices[1]
    # All standard deviations of the term up by 3 of the draws' own spreads, correlations as they were.
    shift = 3 * 0.05 * log_posterior(design).coordinates.scales
    x[..., family] += shift[family]
    got = compare_reml(trace_of(design, x, reml=fitted), fitted)
    moved = rows_of(got, "family", "variance")
    # Lognormal variances of log-sd 0.05 moved up by 0.15: (e^0.3 - 1) / (0.1 e^0.3) = 2.6.
    np.testing.assert_allclose(moved["difference"], 2.6, atol=0.15)
    assert moved["verdict"].tolist() == [f"differ by {d:.1f} posterior s.d." for d in moved["difference"]]
    assert set(rows_of(got, "block")["verdict"]) == {"agree"}
    assert set(rows_of(got, "family", "correlation")["verdict"]) == {"agree"}
    x[..., family] -= 2 * shift[family]
    down = rows_of(compare_reml(trace_of(design, x, reml=fitted), fitted), "family", "variance")
    np.testing.assert_allclose(down["difference"], -3.5, atol=0.2)
    assert (down["verdict"] == [f"differ by {-d:.1f} posterior s.d." for d in down["difference"]]).all()


@pytest.mark.parametrize(
    ("t", "prior"), [(3, CovariancePrior()), (2, CovariancePrior(sd=HalfStudentT(nu=7.0, scale=0.4)))], ids=str
)
def test_contraction__posterior_equal_to_the_prior(t, prior):
    """Zero up to Monte Carlo error: 4 standard errors of two quartiles of 4000 draws are about 0.2; seeded."""
    fit = complete(t)
    design = fit.design
    sigma = from_prior(t, prior, np.random.default_rng(6))
    x = with_term(design, around(design, fit), "block", sigma)
    got = compare_reml(trace_of(design, x, reml=fit, priors={"block": prior}), fit)
    own = rows_of(got, "block")
    assert own["contraction"].abs().max() < 0.2
    assert own["verdict"].str.contains("posterior dominated by prior").all()
    assert (rows_of(got, "family")["contraction"] > 0.8).all()


def test_contraction__other_eta():
    """A correlation from LKJ(4) of two traits is Beta(4, 4) on (-1, 1): no contraction against that prior."""
    rng = np.random.default_rng(7)
    fit = complete()
    sigma = from_prior(2, CovariancePrior(), rng)
    sd = np.sqrt(np.diagonal(sigma, axis1=-2, axis2=-1))
    r = 2 * rng.beta(4.0, 4.0, sd.shape[:2]) - 1
    sigma[..., 0, 1] = sigma[..., 1, 0] = r * sd[..., 0] * sd[..., 1]
    x = with_term(fit.design, around(fit.design, fit), "block", sigma)
    got = compare_reml(trace_of(fit.design, x, reml=fit, priors={"block": CovariancePrior(eta=4.0)}), fit)
    assert rows_of(got, "block", "correlation")["contraction"].abs().max() < 0.2


@pytest.mark.parametrize(("spread", "verdict"), [(0.4, "undetermined"), (0.15, "agree")])
def test_verdict__agreement_needs_a_posterior_that_says_something(fitted, spread, verdict):
    """A correlation whose 95 % interval, some four standard deviations, is wider than 0.95 agrees with nothing."""
    rng = np.random.default_rng(5)
    sigma = np.repeat(np.repeat(fitted.sigmas[1][None, None], 4, 0), 1000, 1)
    middle = fitted.correlations["family"][1, 0]
    r = np.clip(middle + spread * rng.normal(size=sigma.shape[:2]), -0.999, 0.999)
    sigma[..., 0, 1] = sigma[..., 1, 0] = r * np.sqrt(sigma[..., 0, 0] * sigma[..., 1, 1])
    x = with_term(fitted.design, around(fitted.design, fitted), "family", sigma)
    got = rows_of(compare_reml(trace_of(fitted.design, x, reml=fitted), fitted), "family", "correlation")
    assert abs(got["difference"].item()) < 0.5
    assert got["verdict"].item() == verdict


@pytest.fixture(scope="module")
def singular():
    """Two blocks for three traits: a Block matrix of rank 1."""
    fit = fit_reml(make_design(data=records(seed=2, t=3, blocks=2, families=30)))
    assert fit.ranks["block"] == 1
    return fit


def test_verdict__reml_on_boundary(singular):
    got = compare_reml(trace_of(singular.design, around(singular.design, singular, FEW), reml=singular), singular)
    block = rows_of(got, "block")
    assert (block["constraint"] == "boundary").all()
    assert (block["verdict"] == "REML on boundary").all()
    correlations = rows_of(block, "block", "correlation")
    np.testing.assert_allclose(correlations["reml"].abs(), 1.0, atol=1e-5)
    assert correlations["std_error"].isna().all()
    assert set(rows_of(got, "Residual")["verdict"]) == {"agree"}


def test_verdict__reml_on_boundary_and_posterior_dominated_by_prior(singular):
    sigma = from_prior(3, CovariancePrior(), np.random.default_rng(8))
    x = with_term(singular.design, around(singular.design, singular), "block", sigma)
    got = compare_reml(trace_of(singular.design, x, reml=singular), singular)
    assert set(rows_of(got, "block")["verdict"]) == {"REML on boundary; posterior dominated by prior"}


def test_component__on_the_edge_has_no_error(singular):
    value, error, constraint = singular.component("block", 1, 0, as_correlation=True)
    assert abs(value) == pytest.approx(1.0, abs=1e-5)
    assert np.isnan(error)
    assert constraint == "boundary"
    assert np.isfinite(singular.component("block", 1, 0)[:2]).all()


@pytest.mark.parametrize("factors", [(1000.0, 1e-3), (1e-4, 1.0)])
def test_compare_reml__units_change_no_verdict(fitted, factors, table):
    data = incomplete(records(blocks=10, families=30))
    fit = fit_reml(make_design(data=data.assign(y1=factors[0] * data["y1"], y2=factors[1] * data["y2"])))
    x = around(fitted.design, fitted, FEW)
    got = compare_reml(trace_of(fit.design, x, reml=fit), fit)
    for name in ("difference", "contraction"):
        np.testing.assert_allclose(got[name], table[name], rtol=1e-3, atol=1e-4)
    for name in ("verdict", "constraint"):
        assert got[name].tolist() == table[name].tolist()
    unit = dict(zip(("y1", "y2"), factors, strict=True))
    factor = (table["trait_i"].map(unit) * table["trait_j"].map(unit)).where(table["parameter"] != "correlation", 1.0)
    np.testing.assert_allclose(got["sd"], factor * table["sd"], rtol=1e-9)


# ---------------------------------------------------------------- errors


def test_compare_reml__raises_on_another_model(fitted):
    design = make_design("diag(trait):block + us(trait):family", incomplete(records(blocks=10, families=30)))
    with pytest.raises(SpecError, match="they differ in random terms "):
        compare_reml(trace_of(design), fitted)


def test_compare_reml__raises_on_other_terms(fitted):
    with pytest.raises(SpecError, match="they differ in random terms, records, units"):
        compare_reml(trace_of(make_design("us(trait):block")), fitted)


def test_compare_reml__raises_on_other_data(fitted):
    data = incomplete(records(blocks=10, families=30))
    data.loc[3, "y1"] += 1e-9
    with pytest.raises(SpecError, match="they differ in records "):
        compare_reml(trace_of(make_design(data=data)), fitted)
