r"""Comparison of covariance matrices: of populations, environments, sexes.

- **Krzanowski's subspaces**: with A_p the first k eigenvectors of matrix p, the eigenvalues of ``H = Σ_p A_pA_p'`` lie
  between 0 and the number of matrices; where they reach it, a direction is common to all (Krzanowski 1979, J. Am. Stat.
  Assoc. 74:703-707).
- **Random skewers**: mean correlation of the responses of two matrices to the same random gradients (Cheverud 1996, J.
  Evol. Biol. 9:5-42).
- **Fourth-order tensor**: eigenvalues of the covariance tensor of the matrices, the coordinates of each matrix on the
  eigentensors, and the directions of the greatest difference (Hine, Chenoweth, Rundle & Blows 2009, Phil. Trans. R.
  Soc. B 364:1567-1578; Aguirre, Hine, McGuigan & Blows 2014, Heredity 112:21-29).
- **Eigenvalues**: their differences between two matrices.

All are computed for every draw: of the posterior, or of the sampling distribution of REML (Houle & Meyer 2015, J. Evol.
Biol. 28:1542-1549). Eigenvectors and tensors of draws differ even between equal populations; what there is beyond that
the **null** tells: matrices of breeding values that were dealt to the populations at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.arrays import Array, Shown
from bayesmv.errors import SpecError, listing
from bayesmv.estimates.genetic import genetic_matrices
from bayesmv.estimates.source import HDI, Estimates, estimates_of
from bayesmv.numerics.symmetric import packed_rows
from bayesmv.sampling.ess import shortest_interval


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MatrixComparison(Shown):
    """Comparison of covariance matrices.

    Parameters
    ----------
    names
        Names of the matrices.
    effects
        Labels of their rows.
    krzanowski
        index, eigenvalue (mean, hdi_low, hdi_high), the same of the null where there is one, and prob_null: the
        probability that a draw of the null is at least as small.
    skewers
        first, second, correlation of responses (mean, interval, null, prob_null).
    tensor
        index, eigenvalue of the covariance tensor (mean, interval, null, prob_null: that a draw of the null is at
        least as large).
    coordinates
        index, matrix, coordinate of each matrix on the eigentensors of the mean matrices (mean, interval).
    directions
        index, the eigenvectors of the first eigentensor and its eigenvalues: where the matrices differ most.
    eigenvalues
        first, second, index, difference of eigenvalues (mean, interval, prob_positive).
    """

    names: tuple[str, ...]
    effects: tuple[str, ...]
    krzanowski: pd.DataFrame
    skewers: pd.DataFrame
    tensor: pd.DataFrame
    coordinates: pd.DataFrame
    directions: pd.DataFrame
    eigenvalues: pd.DataFrame

    def summary(self) -> str:
        """All tables."""
        parts = ("krzanowski", "skewers", "tensor", "coordinates", "directions", "eigenvalues")
        return "\n\n".join(f"{part}\n{getattr(self, part).to_string(index=False)}" for part in parts)


def compare_matrices(
    matrices: Mapping[str, Any],
    *,
    sizes: Mapping[str, int] | int | None = None,
    subspace: int | None = None,
    vectors: int = 1000,
    max_draws: int = 1000,
    seed: int = 1,
) -> MatrixComparison:
    """Compare covariance matrices draw by draw.

    Parameters
    ----------
    matrices
        By name: a fit or posterior (its additive genetic covariance), a pair of one and the name of a term, or an
        array (m, m) or (draws, m, m). Matrices of one posterior are compared within its draws, others are independent.
    sizes
        Numbers of individuals with breeding values, of all or by name: for the null, in which breeding values of all
        populations are dealt at random. None for no null.
    subspace
        Number k of eigenvectors of Krzanowski's subspaces; by default half of them.
    vectors
        Number of random gradients.
    max_draws
        Most draws, evenly spaced; and the number of draws of the sampling distribution of a REML fit.
    seed
        Of gradients, of the sampling distribution and of the null.

    Returns
    -------
    MatrixComparison

    Raises
    ------
    SpecError
        If there are fewer than two matrices, they are of different effects, or a size is not given.
    """
    if len(matrices) < 2:
        raise SpecError("give two matrices or more to compare, by name")
    rng = np.random.default_rng(seed)
    drawn = {name: _draws(each, max_draws, rng) for name, each in matrices.items()}
    shapes = {name: (effects, S.shape[-1]) for name, (effects, S) in drawn.items()}
    if len({size for _, size in shapes.values()}) > 1:
        words = [f"{name} ({size})" for name, (_, size) in shapes.items()]
        raise SpecError(f"matrices of different sizes cannot be compared: {listing(words)}")
    labelled = {effects for effects, _ in shapes.values() if effects}
    if len(labelled) > 1:
        raise SpecError(f"the matrices are of different effects: {' against '.join(map(listing, sorted(labelled)))}")
    m = next(iter(shapes.values()))[1]
    effects = labelled.pop() if labelled else tuple(map(str, range(m)))
    n = max(len(S) for _, S in drawn.values())
    stacked = np.stack([_to(S, n) for _, S in drawn.values()], axis=1)  # (draws, p, m, m)
    null = None if sizes is None else _randomised(stacked, _sizes(sizes, list(matrices)), rng)
    gradients = rng.standard_normal((vectors, m))
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    k = max(1, m // 2) if subspace is None else subspace
    if not 1 <= k <= m:
        raise SpecError(f"a subspace of {k} of {m} eigenvectors: give a number from 1 to {m}")
    return _compared(tuple(matrices), effects, stacked, null, gradients, k)


def _draws(each: Any, most: int, rng: np.random.Generator) -> tuple[tuple[str, ...], Array]:
    """Labels of the effects and draws of a matrix, (draws, m, m)."""
    if isinstance(each, np.ndarray | list | pd.DataFrame):
        S = np.asarray(each, dtype=float)
        if S.ndim not in (2, 3) or S.shape[-1] != S.shape[-2]:
            raise SpecError(f"a matrix has the shape (m, m), or (draws, m, m), not {S.shape}")
        effects = tuple(map(str, each.columns)) if isinstance(each, pd.DataFrame) else ()
        return effects, _picked(S.reshape(-1, *S.shape[-2:]), most)
    source, term = each if isinstance(each, tuple) else (each, None)
    estimates = estimates_of(source)
    effects = estimates.traits if term is None else estimates.record.effects_of(term)
    if estimates.fit is not None:
        covariances = _sampled(estimates, most, rng)
    else:
        covariances = {name: _picked(S.reshape(-1, *S.shape[-2:]), most) for name, S in estimates.covariances().items()}
    if term is not None:
        return effects, covariances[term]
    return effects, genetic_matrices(covariances, estimates.traits, estimates.genetic(), estimates.layouts)[0]


def _picked(S: Array, most: int) -> Array:
    return np.asarray(S[np.unique(np.linspace(0, len(S) - 1, most).astype(int))])


def _to(S: Array, n: int) -> Array:
    """Draws repeated in turn until there are n."""
    return S[np.arange(n) % len(S)]


def _sampled(estimates: Estimates, n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Draws of the sampling distribution of REML: normal about the estimates, negative eigenvalues made 0."""
    fit = estimates.fit
    assert fit is not None
    values, vectors = np.linalg.eigh(np.nan_to_num(fit.component_covariance))
    moved = rng.standard_normal((n, len(values))) * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    out = {}
    for name, S in fit.covariances.items():
        rows, cols = packed_rows(len(S))
        drawn = np.repeat(S[None], n, axis=0)
        drawn[:, rows, cols] += moved[:, fit.components_of(name)]
        drawn[:, cols, rows] = drawn[:, rows, cols]
        λ, V = np.linalg.eigh(drawn)
        out[name] = (V * np.maximum(λ, 0.0)[:, None, :]) @ np.swapaxes(V, -1, -2)
    return out


def _sizes(sizes: Mapping[str, int] | int, names: Sequence[str]) -> list[int]:
    given = dict.fromkeys(names, sizes) if isinstance(sizes, int) else dict(sizes)
    lacking = [name for name in names if name not in given]
    if lacking:
        raise SpecError(f"the null needs the number of individuals of {listing(lacking)} too")
    small = [name for name in names if given[name] < 2]
    if small:
        raise SpecError(f"the null needs two individuals or more of {listing(small)}")
    return [int(given[name]) for name in names]


def _randomised(stacked: Array, sizes: Sequence[int], rng: np.random.Generator) -> Array:
    """Matrices of breeding values that are dealt to the populations at random, (draws, p, m, m)."""
    out = np.empty_like(stacked)
    ends = np.cumsum(sizes)[:-1]
    m = stacked.shape[-1]
    for d, each in enumerate(stacked):
        λ, V = np.linalg.eigh(each)
        roots = V * np.sqrt(np.maximum(λ, 0.0))[:, None, :]
        values = [rng.standard_normal((n, m)) @ F.T for n, F in zip(sizes, roots, strict=True)]
        dealt = np.split(rng.permutation(np.concatenate(values)), ends)
        out[d] = [np.cov(part.T).reshape(m, m) for part in dealt]
    return out


def _compared(
    names: tuple[str, ...], effects: tuple[str, ...], G: Array, null: Array | None, gradients: Array, k: int
) -> MatrixComparison:
    pairs = list(combinations(range(len(names)), 2))

    def table(labels: list[dict[str, Any]], function: Any, larger: bool) -> pd.DataFrame:
        """Rows of labels, with summaries of what a function makes of the draws, (draws, rows), and of the null."""
        values = function(G)
        others = None if null is None else function(null)
        rows = []
        for i, label in enumerate(labels):
            row = {**label, **_summary(values[:, i])}
            if others is not None:
                low, high = shortest_interval(others[:, i], HDI)
                beyond = others[:, i] >= values[:, i] if larger else others[:, i] <= values[:, i]
                row |= {"null": float(others[:, i].mean()), "null_low": float(low), "null_high": float(high)}
                row |= {"prob_null": float(beyond.mean())}
            rows.append(row)
        return pd.DataFrame(rows)

    by_index = [{"index": i + 1} for i in range(len(effects))]
    by_pair = [{"first": names[a], "second": names[b]} for a, b in pairs]
    tensor_rank = min(len(names) - 1, len(effects) * (len(effects) + 1) // 2)
    middle = G.mean(axis=0)
    _, eigentensors = tensor(middle[None])
    basis = eigentensors[0, :tensor_rank]
    coordinates = np.einsum("kab,dpab->dkp", basis, G)
    coordinate_rows = [
        {"index": i + 1, "matrix": name, **_summary(coordinates[:, i, p])}
        for i in range(tensor_rank)
        for p, name in enumerate(names)
    ]
    values, vectors = np.linalg.eigh(basis[0])
    order = np.argsort(-np.abs(values))
    directions = pd.DataFrame(
        [
            {"index": i + 1, "eigenvalue": values[j], **dict(zip(effects, vectors[:, j], strict=True))}
            for i, j in enumerate(order)
        ]
    )
    spectra = np.linalg.eigvalsh(G)[..., ::-1]
    differences = [
        {
            **by_pair[q],
            "index": i + 1,
            **_summary(D := spectra[:, a, i] - spectra[:, b, i]),
            "prob_positive": float((D > 0).mean()),
        }
        for q, (a, b) in enumerate(pairs)
        for i in range(len(effects))
    ]
    return MatrixComparison(
        names=names,
        effects=effects,
        krzanowski=table(by_index, lambda S: krzanowski(S, k), larger=False),
        skewers=table(by_pair, lambda S: np.stack([skewers(S[:, a], S[:, b], gradients) for a, b in pairs], 1), False),
        tensor=table([{"index": i + 1} for i in range(tensor_rank)], lambda S: tensor(S)[0], larger=True),
        coordinates=pd.DataFrame(coordinate_rows),
        directions=directions,
        eigenvalues=pd.DataFrame(differences),
    )


def _summary(draws: Array) -> dict[str, float]:
    low, high = shortest_interval(draws, HDI)
    return {"mean": float(draws.mean()), "hdi_low": float(low), "hdi_high": float(high)}


def krzanowski(G: Array, k: int) -> Array:
    """Eigenvalues of ``H = Σ_p A_pA_p'``, the largest first, (draws, p, m, m) → (draws, m)."""
    A = np.linalg.eigh(G)[1][..., -k:]
    H = np.einsum("dpik,dpjk->dij", A, A)
    return np.asarray(np.linalg.eigvalsh(H)[:, ::-1])


def skewers(one: Array, other: Array, gradients: Array) -> Array:
    """Mean correlation of responses to the same gradients (v, m), (draws, m, m) twice → (draws,)."""
    R, S = (np.einsum("vi,dij->dvj", gradients, G) for G in (one, other))
    size = np.linalg.norm(R, axis=-1) * np.linalg.norm(S, axis=-1)
    return np.asarray((np.sum(R * S, axis=-1) / np.maximum(size, 1e-300)).mean(axis=-1))


def tensor(G: Array) -> tuple[Array, Array]:
    """Eigenvalues (draws, c) and eigentensors (draws, c, m, m) of the covariance tensor of matrices (draws, p, m, m).

    ``Σ_ijkl = cov_p(G_ij, G_kl)`` as a matrix over the lower triangle, its off-diagonal elements times √2, so that
    eigentensors have a unit Frobenius norm.
    """
    m = G.shape[-1]
    rows, cols = packed_rows(m)
    root = np.where(rows == cols, 1.0, np.sqrt(2.0))
    x = G[..., rows, cols] * root
    x = x - x.mean(axis=1, keepdims=True)
    S = np.einsum("dpa,dpb->dab", x, x) / (G.shape[1] - 1)
    values, vectors = np.linalg.eigh(S)
    E = np.zeros((len(G), len(rows), m, m))
    packed = np.swapaxes(vectors[:, :, ::-1], 1, 2) / root
    E[:, :, rows, cols] = packed
    E[:, :, cols, rows] = packed
    return np.asarray(values[:, ::-1]), E
