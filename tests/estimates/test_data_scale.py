"""Parameters on the scale of the data against published figures of QGglmm, closed forms, and simulation."""

import numpy as np
import pytest
from scipy import stats

import bayesmv as bmv
from bayesmv.errors import SpecError

#: QGglmm's documentation ("How to use QGglmm", 7 digits): latent mean, V_A, V_P; mean, V_P, V_A and h² of the data.
PUBLISHED = {
    "probit": ("binary", {}, (-0.764782, 1.150605, 1.150605), (0.3010079, 0.2104021, 0.06487425, 0.3083345)),
    "poisson": ("poisson", {}, (0.89, 0.54, 1.05), (4.116486, 35.59524, 9.150549, 0.2570723)),
    "logit": ("binary", {"link": "logit"}, (0.5, 0.5, 1.0), (0.6020271, 0.2395905, 0.0197978, 0.08263184)),
}
NAMES = ["mean", "phenotypic variance", "additive genetic variance", "heritability"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_data_scale__qgglmm(name):
    word, numbers, latent, published = PUBLISHED[name]
    table = bmv.data_scale(*latent, bmv.family(word, **numbers)).set_index("parameter")["value"]
    # The inputs of the first two were found from the output, with six digits.
    assert table[NAMES].to_numpy() == pytest.approx(published, rel=2e-6)


def test_data_scale__closed_forms():
    """Probit: P = Φ(μ/√(1+V)), slope φ(·)/√(1+V). Poisson: mean exp(μ + V/2), slope the same."""
    mu, va, vp = -0.3, 0.6, 1.4
    k = np.sqrt(1 + vp)
    p, slope = stats.norm.cdf(mu / k), stats.norm.pdf(mu / k) / k
    table = bmv.data_scale(mu, va, vp, "binary").set_index("parameter")["value"]
    assert table[NAMES].to_numpy() == pytest.approx(
        [p, p * (1 - p), slope**2 * va, slope**2 * va / (p * (1 - p))], rel=1e-10
    )
    assert table["latent heritability"] == pytest.approx(va / (vp + 1.0))
    m = np.exp(mu + vp / 2)
    v = m**2 * (np.exp(vp) - 1) + m
    table = bmv.data_scale(mu, va, vp, "poisson").set_index("parameter")["value"]
    assert table[NAMES].to_numpy() == pytest.approx([m, v, m**2 * va, m**2 * va / v], rel=1e-10)


def test_data_scale__two_traits_by_simulation():
    """200,000 pairs of latent values, records and breeding values: five standard errors."""
    mu, rng = np.array([0.2, 0.5]), np.random.default_rng(1)
    G = np.array([[0.5, 0.3], [0.3, 0.4]])
    P = G + np.array([[0.4, -0.1], [-0.1, 0.3]])
    table = bmv.data_scale(mu, G, P, ["binary", "poisson"], ["scab", "eggs"])
    value = table.set_index(["parameter", "trait_i", "trait_j"])["value"]
    n = 200_000
    a = rng.multivariate_normal([0, 0], G, n)
    eta = mu + a + rng.multivariate_normal([0, 0], P - G, n)
    y = np.column_stack([rng.random(n) < stats.norm.cdf(eta[:, 0]), rng.poisson(np.exp(eta[:, 1]))]).astype(float)
    r = np.corrcoef(y.T)[0, 1]
    assert abs(value["phenotypic correlation", "scab", "eggs"] - r) < 5 / np.sqrt(n)
    for i, trait in enumerate(("scab", "eggs")):
        assert abs(value["mean", trait, trait] - y[:, i].mean()) < 5 * y[:, i].std() / np.sqrt(n)
        # The additive value on the scale of the data: the regression of records on latent breeding values.
        b = np.cov(a[:, i], y[:, i])[0, 1] / a[:, i].var()
        error = 5 * y[:, i].std() / a[:, i].std() / np.sqrt(n)
        assert abs(np.sqrt(value["additive genetic variance", trait, trait] / G[i, i]) - b) < error
    assert value["genetic correlation", "scab", "eggs"] == pytest.approx(0.3 / np.sqrt(0.2))


def test_data_scale__gaussian_is_left_as_it_is():
    G, P = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[4.0, 1.0], [1.0, 3.0]])
    value = bmv.data_scale([10.0, 20.0], G, P, "gaussian").set_index(["parameter", "trait_i", "trait_j"])["value"]
    assert value["heritability", "trait 1", "trait 1"] == pytest.approx(0.5)
    assert value["additive genetic covariance", "trait 1", "trait 2"] == pytest.approx(0.5)
    assert value["phenotypic correlation", "trait 1", "trait 2"] == pytest.approx(1.0 / np.sqrt(12.0))


def test_data_scale__fixed_parts_of_units_are_averaged_over():
    """Half of the units at each of two means: mean and slope are the means of both, variances within."""
    two = bmv.data_scale(np.array([[[-1.0], [1.0]]]), 0.5, 0.5, "binary").set_index("parameter")["value"]
    one = [bmv.data_scale(mu, 0.5, 0.5, "binary").set_index("parameter")["value"] for mu in (-1.0, 1.0)]
    assert two["mean"] == pytest.approx(0.5)
    assert two["phenotypic variance"] == pytest.approx(np.mean([o["phenotypic variance"] for o in one]))
    slopes = [np.sqrt(o["additive genetic variance"] / 0.5) for o in one]
    assert two["additive genetic variance"] == pytest.approx(0.5 * np.mean(slopes) ** 2)


def test_data_scale__draws_are_summarised():
    rng = np.random.default_rng(2)
    va = rng.uniform(0.2, 0.6, 300)
    table = bmv.data_scale(rng.normal(size=(300, 1)), va, va + 0.4, "poisson").set_index("parameter")
    assert list(table.columns) == ["trait_i", "trait_j", "mean", "median", "sd", "hdi_low", "hdi_high"]
    assert table.loc["latent heritability", "median"] == pytest.approx(np.median(va / (va + 0.4)))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0.0, 1.0, np.eye(2), "binary"), "the additive covariance is 1 × 1, the phenotypic one 2 × 2"),
        (([0.0, 1.0, 2.0], np.eye(2), np.eye(2), "binary"), r"means of 2 traits have the shape \(2,\)"),
        (([0.0, 1.0], np.array([[1.0, 2.0], [2.0, 1.0]]), np.eye(2), "binary"), "not symmetric and positive"),
        ((np.zeros((3, 1)), np.ones(4), 1.0, "binary"), "are of 3, 4 and 1 draws"),
        ((0.0, np.nan, 1.0, "binary"), "of finite numbers"),
    ],
)
def test_data_scale__mistakes(arguments, match):
    with pytest.raises(SpecError, match=match):
        bmv.data_scale(*arguments)


def covariance_of(families, mu, P):
    """Covariance on the scale of the data of two traits with latent means mu and covariance P without the link's."""
    table = bmv.data_scale([mu], [np.zeros((2, 2))], [P], families).set_index("parameter")
    variances = table.loc["phenotypic variance", "value"].to_numpy()
    return float(table.loc["phenotypic correlation", "value"] * np.sqrt(variances.prod()))


def test_data_scale__covariances_of_liabilities_have_those_of_their_residuals():
    """Where little of a liability is latent, P without its residual is no covariance matrix."""
    P = np.array([[1e-6, 0.3], [0.3, 0.4]])
    mu, sd = np.array([-0.3, 0.5]), np.sqrt(1.0 + 1e-6)
    with_count = covariance_of(["binary", "poisson"], mu, P)
    mean = np.exp(0.5 + 0.2)
    wanted = mean * (stats.norm.cdf((mu[0] + 0.3) / sd) - stats.norm.cdf(mu[0] / sd))  # E e^η 1(l > 0) in closed form
    assert with_count == pytest.approx(wanted, rel=1e-8)
    assert covariance_of(["poisson", "binary"], mu[::-1], P[::-1, ::-1]) == pytest.approx(wanted, rel=1e-8)
    with_normal = covariance_of(["binary", "gaussian"], mu, P)
    assert with_normal == pytest.approx(0.3 * stats.norm.pdf(mu[0] / sd) / sd, rel=1e-8)


def test_data_scale__covariances_of_two_liabilities_are_those_of_the_bivariate_normal():
    P = np.array([[0.2, 0.7], [0.7, 0.1]])
    mu, whole, cuts = np.array([-0.3, 0.5]), np.array([[1.2, 0.7], [0.7, 1.1]]), (0.0, 0.8)

    def both(a, b):
        return stats.multivariate_normal.cdf([mu[0] - a, mu[1] - b], cov=whole)

    first, second = (stats.norm.cdf((m - np.array(cuts)) / np.sqrt(v)) for m, v in ((mu[0], 1.2), (mu[1], 1.1)))
    got = covariance_of([bmv.family("ordered", thresholds=cuts), "binary"], mu, P)
    wanted = sum(both(a, 0.0) for a in cuts) - first.sum() * second[0]
    assert got == pytest.approx(wanted, abs=1e-5)
