"""Comparison of covariance matrices: definitions, textbook cases, and that equal matrices are within the null."""

import numpy as np
import pandas as pd
import pytest
from oracles import random_psd
from traces import make_design, records, trace_of

import bayesmv as bmv
from bayesmv.comparison.matrices import krzanowski, skewers, tensor
from bayesmv.errors import SpecError


def wishart(S, n, draws, seed):
    """Draws of sample covariance matrices of n individuals, (draws, m, m)."""
    rng = np.random.default_rng(seed)
    F = np.linalg.cholesky(S)
    return np.array([np.cov((rng.normal(size=(n, len(S))) @ F.T).T) for _ in range(draws)])


def test_krzanowski__common_and_orthogonal_subspaces():
    one = np.diag([3.0, 2.0, 1.0, 0.5])
    same = krzanowski(np.stack([one, 2.0 * one])[None], 2)[0]
    assert same == pytest.approx([2.0, 2.0, 0.0, 0.0])
    other = krzanowski(np.stack([one, one[::-1, ::-1]])[None], 2)[0]
    assert other == pytest.approx([1.0, 1.0, 1.0, 1.0])


def test_skewers__of_proportional_matrices_is_one_and_of_opposite_correlations_less():
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(500, 2))
    S = np.array([[1.0, 0.8], [0.8, 1.0]])
    assert skewers(S[None], 3.0 * S[None], gradients)[0] == pytest.approx(1.0)
    T = np.array([[1.0, -0.8], [-0.8, 1.0]])
    by_hand = np.mean([(g @ S @ T @ g) / np.linalg.norm(S @ g) / np.linalg.norm(T @ g) for g in gradients])
    assert skewers(S[None], T[None], gradients)[0] == pytest.approx(by_hand)


def test_tensor__is_the_covariance_of_the_elements_written_out():
    rng = np.random.default_rng(3)
    G = np.stack([random_psd(3, rng) for _ in range(4)])
    values, E = (x[0] for x in tensor(G[None]))
    full = np.einsum("pij,pkl->ijkl", G - G.mean(0), G - G.mean(0)) / 3
    for k in range(6):
        assert np.linalg.norm(E[k]) == pytest.approx(1.0)
        np.testing.assert_allclose(np.einsum("ijkl,kl->ij", full, E[k]), values[k] * E[k], atol=1e-10)
    assert values.sum() == pytest.approx(np.einsum("ijij->", full))


def test_compare_matrices__equal_populations_lie_within_the_null():
    """Sample covariances of two populations with one G: the null of as many individuals covers them."""
    S = random_psd(4, np.random.default_rng(5))
    drawn = {"a": wishart(S, 60, 300, 1), "b": wishart(S, 60, 300, 2)}
    found = bmv.compare_matrices(drawn, sizes=60)
    assert found.tensor["prob_null"][0] > 0.05
    assert (found.krzanowski["prob_null"] > 0.05).all()
    assert found.skewers["prob_null"][0] > 0.05
    zero = found.eigenvalues
    assert ((zero["hdi_low"] < 0) & (zero["hdi_high"] > 0)).all()


def test_compare_matrices__different_populations_do_not():
    one = np.diag([4.0, 1.0, 0.5, 0.1])
    drawn = {"a": wishart(one, 200, 200, 1), "b": wishart(one[::-1, ::-1], 200, 200, 2), "c": wishart(one, 200, 200, 3)}
    found = bmv.compare_matrices(drawn, sizes={"a": 200, "b": 200, "c": 200})
    assert found.tensor["prob_null"][0] < 0.01
    assert found.skewers.set_index(["first", "second"]).loc[("a", "b"), "prob_null"] < 0.01
    assert found.skewers.set_index(["first", "second"]).loc[("a", "c"), "prob_null"] > 0.05
    # The first eigentensor is the contrast of the first and last trait.
    first = found.directions.iloc[:2]
    assert sorted(np.abs(first["eigenvalue"]) > 0.5) == [True, True]
    assert set(np.abs(first[["0", "3"]].to_numpy()).max(axis=1).round()) == {1.0}
    by = found.coordinates[found.coordinates["index"] == 1].set_index("matrix")["mean"]
    assert abs(by["a"] - by["b"]) > 10 * abs(by["a"] - by["c"])
    assert "prob_null" in str(found)


def test_compare_matrices__of_posteriors_fits_and_terms():
    genetic = bmv.Genetic(term="family", relationship="half-sib")
    design = make_design(genetic=genetic)
    trace, fit = trace_of(design), bmv.fit_reml(make_design(data=records(seed=4), genetic=genetic))
    found = bmv.compare_matrices({"posterior": trace, "reml": fit, "blocks": (trace, "block")}, max_draws=80)
    assert found.effects == ("y1", "y2")
    assert "null" not in found.krzanowski
    spectra = np.linalg.eigvalsh(4.0 * trace["posterior"]["family_cov"].to_numpy().reshape(-1, 2, 2))[:, ::-1]
    blocks = np.linalg.eigvalsh(trace["posterior"]["block_cov"].to_numpy().reshape(-1, 2, 2))[:, ::-1]
    picked = np.unique(np.linspace(0, 99, 80).astype(int))
    row = found.eigenvalues.query("first == 'posterior' and second == 'blocks' and index == 1").iloc[0]
    assert row["mean"] == pytest.approx((spectra - blocks)[picked, 0].mean())


def test_compare_matrices__reml_draws_have_the_sampling_covariance():
    """2,000 draws of an estimate well inside: variances within five standard errors of theirs."""
    from bayesmv.comparison.matrices import _sampled
    from bayesmv.estimates.source import estimates_of

    data = pd.concat([records(seed=s, families=30).assign(block=f"b{s}") for s in range(3)], ignore_index=True)
    fit = bmv.fit_reml(make_design("us(trait):family", data))
    drawn = _sampled(estimates_of(fit), 2000, np.random.default_rng(1))["Residual"]
    V = fit.term_covariance("Residual")
    mine = np.cov(np.stack([drawn[:, 0, 0], drawn[:, 1, 0], drawn[:, 1, 1]]))
    np.testing.assert_allclose(np.diag(mine) / np.diag(V), 1.0, atol=5 * np.sqrt(2 / 2000))
    np.testing.assert_allclose(drawn.mean(axis=0), fit.covariances["Residual"], rtol=0.05)


@pytest.mark.parametrize(
    ("matrices", "words", "match"),
    [
        ({"a": np.eye(2)}, {}, "give two matrices or more"),
        ({"a": np.eye(2), "b": np.eye(3)}, {}, "matrices of different sizes"),
        ({"a": np.eye(2), "b": np.zeros(3)}, {}, "a matrix has the shape"),
        ({"a": np.eye(2), "b": np.eye(2)}, {"sizes": {"a": 10}}, "the number of individuals of 'b' too"),
        ({"a": np.eye(2), "b": np.eye(2)}, {"sizes": 1}, "two individuals or more"),
        ({"a": np.eye(2), "b": np.eye(2)}, {"subspace": 3}, "a subspace of 3 of 2 eigenvectors"),
        (
            {"a": pd.DataFrame(np.eye(2), columns=["x", "y"]), "b": pd.DataFrame(np.eye(2), columns=["x", "z"])},
            {},
            "of different effects",
        ),
    ],
)
def test_compare_matrices__mistakes(matrices, words, match):
    with pytest.raises(SpecError, match=match):
        bmv.compare_matrices(matrices, **words)
