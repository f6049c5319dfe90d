"""Covariance structures: one table, every structure through every property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles import finite_difference, packed, random_psd
from structures import TABLE, build, written

from bayesmv.covariance import ALIASES, STRUCTURES, CovarianceBlocks, structure
from bayesmv.errors import SpecError
from bayesmv.numerics.symmetric import block_diagonal, correlation, packed_rows, psd_cholesky, unit_components, vech

OLD = ("us", "corgh", "diag", "idv")
SIZES = [1, 2, 3, 5]
ALL = [(text, m) for m in SIZES for text in written(m)]
every = pytest.mark.parametrize(("text", "m"), ALL)


def numbers(shape):
    return hnp.arrays(float, shape, elements=st.floats(-3, 3, allow_subnormal=False))


@st.composite
def points(draw, shape=()):
    """A structure and any real θ of it."""
    m = draw(st.integers(1, 4))
    s = build(draw(st.sampled_from(written(m))), m)
    return s, draw(numbers((*shape, s.n_parameters)))


def test_table__has_every_structure():
    assert set(TABLE) == set(STRUCTURES)
    assert {text.partition("(")[0] for text in written(4)} == set(STRUCTURES)


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("word", TABLE)
def test_n_parameters__table(word, m):
    row = TABLE[word]
    s, n_parameters, n_support = build(row.texts(m)[0], m), row.n_parameters(m), row.n_support(m)
    assert (s.n_parameters, s.positive.shape, s.anchor.shape) == (n_parameters, (n_parameters,), (n_parameters,))
    assert len(set(s.support)) == n_support
    assert set(s.support) <= set(packed(m))


@pytest.mark.parametrize(("k", "n"), [(1, 20), (2, 29), (3, 37)])
def test_n_parameters__factors(k, n):
    assert structure(f"fa({k})", 10).n_parameters == n == 10 * k - k * (k - 1) // 2 + 10
    assert structure(f"rr({k})", 10).n_parameters == n - 10


@given(points())
def test_matrix__symmetric_and_psd_for_any_theta(point):
    s, theta = point
    sigma = s.matrix(theta)
    assert sigma.shape == (s.size, s.size)
    np.testing.assert_array_equal(sigma, sigma.T)
    assert np.linalg.eigvalsh(sigma).min() >= -1e-13 * max(1.0, np.trace(sigma))


@given(points((2, 3)))
def test_matrix__broadcasts(point):
    s, theta = point
    sigma = s.matrix(theta)
    assert sigma.shape == (2, 3, s.size, s.size)
    np.testing.assert_allclose(sigma[1, 2], s.matrix(theta[1, 2]), rtol=1e-13, atol=1e-13)


@given(points())
def test_matrix__zero_outside_support(point):
    s, theta = point
    sigma = s.matrix(theta)
    assert all(sigma[i, j] == 0 for i, j in packed(s.size) if (i, j) not in s.support)


@given(points())
def test_from_matrix__round_trip(point):
    s, theta = point
    sigma = s.matrix(theta)
    # psd_cholesky drops pivots below 1e-12 of the largest variance.
    np.testing.assert_allclose(s.matrix(s.from_matrix(sigma)), sigma, atol=2e-6 * max(np.trace(sigma), 1e-12), rtol=0)


@every
def test_from_matrix__round_trip_is_exact_inside(text, m):
    s, rng = build(text, m), np.random.default_rng(m)
    theta = np.where(s.positive, rng.uniform(0.5, 2.0, s.n_parameters), rng.uniform(-1.2, 1.2, s.n_parameters))
    sigma = s.matrix(theta)
    np.testing.assert_allclose(s.matrix(s.from_matrix(sigma)), sigma, atol=1e-9 * np.trace(sigma))
    # fa(m-1) and rr are not unique in θ.
    if not text.startswith(("fa", "rr")):
        np.testing.assert_allclose(s.from_matrix(sigma), theta, rtol=1e-8)


@given(points())
def test_canonical__same_matrix_scales_not_negative(point):
    s, theta = point
    canonical = s.canonical(theta)
    assert (canonical[s.positive] >= 0).all()
    sigma = s.matrix(theta)
    np.testing.assert_allclose(s.matrix(canonical), sigma, atol=2e-6 * max(np.trace(sigma), 1e-12), rtol=0)


@given(points())
def test_jacobian__finite_differences(point):
    s, theta = point
    if not s.n_parameters:
        assert s.jacobian(theta).shape == (0, s.size, s.size)
        return
    exact = finite_difference(s.matrix, theta, step=1e-3)
    np.testing.assert_allclose(s.jacobian(theta), exact, atol=1e-7 * (1.0 + np.abs(exact).max()))


@given(points(), st.integers(0, 2**32 - 1))
def test_curvature__finite_differences(point, seed):
    s, theta = point
    G = random_psd(s.size, np.random.default_rng(seed)) - 0.5
    G = 0.5 * (G + G.T)
    if not s.n_parameters:
        assert s.curvature(theta, G).shape == (0, 0)
        return
    exact = finite_difference(lambda x: np.einsum("kab,ab->k", s.jacobian(x), G), theta, step=1e-3)
    np.testing.assert_allclose(s.curvature(theta, G), exact, atol=1e-7 * (1.0 + np.abs(exact).max()))


def test_from_matrix__nearest_member():
    sigma = np.array([[4.0, 1.0], [1.0, 16.0]])
    np.testing.assert_allclose(structure("diag", 2).from_matrix(sigma), [2.0, 4.0])
    np.testing.assert_allclose(structure("idv", 2).from_matrix(sigma), [np.sqrt(10.0)])


def test_nesting__us_with_zero_correlations_is_diag():
    us, diag = structure("us", 3), structure("diag", 3)
    theta = np.zeros(6)
    theta[us.positive] = [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(us.matrix(theta), diag.matrix(np.array([1.0, 2.0, 3.0])))


@pytest.mark.parametrize(("alias", "word"), ALIASES.items())
def test_structure__alias(alias, word):
    times = "(0, 1)" if word == "exp" else ""
    assert structure(alias + times, 2) == structure(word + times, 2)


def test_structure__raises_on_unknown_word():
    with pytest.raises(SpecError, match=r"unknown covariance structure 'zz'; known structures: .*us"):
        structure("zz", 2)


# ---------------------------------------------------------------- Cholesky of a singular matrix


@given(hnp.arrays(float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=4), elements=st.floats(-2, 2)))
def test_psd_cholesky__any_rank(B):
    sigma = B @ B.T
    L = psd_cholesky(sigma)
    assert np.array_equal(L, np.tril(L))
    assert (np.diag(L) >= 0).all()
    np.testing.assert_allclose(L @ L.T, sigma, atol=2e-6 * max(np.trace(sigma), 1e-12), rtol=0)


@pytest.mark.parametrize(
    ("sigma", "L"),
    [
        ([[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]),
        ([[0.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]),
        ([[1.0, 2.0], [2.0, 4.0]], [[1.0, 0.0], [2.0, 0.0]]),
        ([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 9.0]], [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 3.0]]),
    ],
)
def test_psd_cholesky__null_pivots_have_null_columns(sigma, L):
    np.testing.assert_allclose(psd_cholesky(np.array(sigma)), L, atol=1e-15)


def test_psd_cholesky__is_numpy_s_for_a_regular_matrix():
    sigma = random_psd(4, np.random.default_rng(0))
    np.testing.assert_allclose(psd_cholesky(sigma), np.linalg.cholesky(sigma), rtol=1e-12, atol=1e-14)


def test_psd_cholesky__leaves_its_argument_alone():
    sigma = random_psd(3, np.random.default_rng(0))
    copy = sigma.copy()
    psd_cholesky(sigma)
    np.testing.assert_array_equal(sigma, copy)


@pytest.mark.parametrize(
    "sigma", [[[1.0, 2.0], [2.0, 1.0]], [[0.0, 1.0], [1.0, 5.0]], [[1.0, 0.0], [0.0, -0.1]], [[-1.0]]]
)
def test_psd_cholesky__raises_on_indefinite(sigma):
    with pytest.raises(ValueError, match="not a positive semi-definite covariance matrix"):
        psd_cholesky(np.array(sigma))


# ---------------------------------------------------------------- several matrices as one vector


@st.composite
def blocks(draw):
    chosen = draw(st.lists(st.tuples(st.sampled_from(OLD), st.integers(1, 3)), min_size=1, max_size=4))
    out = CovarianceBlocks(tuple(structure(word, m) for word, m in chosen))
    return out, draw(numbers(out.n_parameters))


@given(blocks())
def test_blocks__sizes(drawn):
    b, _ = drawn
    assert b.n_parameters == sum(s.n_parameters for s in b.structures) == len(b.positive)
    np.testing.assert_array_equal(
        np.concatenate([np.arange(b.n_parameters)[at] for at in b.slices]), range(b.n_parameters)
    )


@given(blocks(), st.integers(0, 2**32 - 1))
def test_blocks_pullback__finite_differences(drawn, seed):
    b, theta = drawn
    rng = np.random.default_rng(seed)
    G = [random_psd(s.size, rng) for s in b.structures]

    def linear(x):
        return sum(np.sum(g * S) for g, S in zip(G, b.matrices(x), strict=True))

    np.testing.assert_allclose(b.pullback(theta, G), finite_difference(linear, theta, step=1e-2), atol=1e-10)
    slopes = finite_difference(lambda x: b.pullback(x, G), theta, step=1e-2)
    np.testing.assert_allclose(b.curvature(theta, G), slopes, atol=1e-10)


@given(blocks())
def test_blocks_jacobian__finite_differences(drawn):
    b, theta = drawn
    exact = finite_difference(lambda x: vech(b.matrices(x)), theta, step=1e-2).T
    np.testing.assert_allclose(b.jacobian(theta), exact, atol=1e-11)


@given(blocks())
def test_blocks_from_matrices__round_trip(drawn):
    b, theta = drawn
    sigmas = b.matrices(theta)
    for mine, sigma in zip(b.matrices(b.from_matrices(sigmas)), sigmas, strict=True):
        np.testing.assert_allclose(mine, sigma, atol=2e-6 * max(np.trace(sigma), 1e-12), rtol=0)


def test_block_diagonal__rectangular():
    out = block_diagonal([np.ones((1, 2)), np.zeros((0, 1)), 2.0 * np.ones((2, 1))])
    np.testing.assert_array_equal(out, [[1, 1, 0, 0], [0, 0, 0, 2], [0, 0, 0, 2]])


def test_unit_components__span_symmetric_matrices():
    sigma = random_psd(3, np.random.default_rng(1))
    weights = sigma[packed_rows(3)]
    np.testing.assert_allclose(sum(w * E for w, E in zip(weights, unit_components(3), strict=True)), sigma)


def test_correlation__of_covariances():
    sigma = np.array([[4.0, 3.0], [3.0, 9.0]])
    np.testing.assert_allclose(correlation(np.stack([sigma, 10 * sigma]))[:, 0, 1], [0.5, 0.5])


def test_correlation__nan_where_a_variance_is_zero():
    R = correlation(np.diag([0.0, 1.0]))
    assert np.isnan(R[0]).all()
    assert R[1, 1] == 1.0
