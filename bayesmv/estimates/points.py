"""Points at which functions of estimates are evaluated, and linear combinations of effects at given covariances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.elsewhere import Combinations
from bayesmv.errors import SpecError
from bayesmv.estimates.genetic import GeneticParameter
from bayesmv.likelihood.protocol import EffectEquations, Solution
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.numerics.symmetric import packed_rows, vech

#: Functions of the covariance matrices, (…, m, m) by name of the term.
type Compute = Callable[[Mapping[str, Array]], list[GeneticParameter]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """Estimates, or one draw of a posterior.

    Parameters
    ----------
    covariances
        Covariance matrices by name of the term, (m, m), in the units of the data.
    means
        Source of the means of the traits over the units, (t,).
    effects
        Source of the effects of a term, (levels, m).
    """

    covariances: Mapping[str, Array]
    means: Callable[[], Array]
    effects: Callable[[str], Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Combined:
    """Estimates of linear combinations, in the units of the data.

    Parameters
    ----------
    value
        Estimate, prediction or posterior mean, (k,).
    covariance
        Covariance of the errors, or of the posterior, (k, k).
    draws
        Draws of the posterior, (draws, k); None for a point estimate.
    """

    value: Array
    covariance: Array
    draws: Array | None = None


def root_of(V: Array) -> Array:
    """F with FF' = V, of a covariance matrix that may be singular."""
    values, vectors = np.linalg.eigh(V)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def combined_at(equations: EffectEquations, sigmas: Sequence[Array], combinations: Combinations) -> tuple[Array, Array]:
    """Values (k,) and covariance of the errors (k, k) of combinations at given covariances, units of the data."""
    value, covariance = equations.combine(sigmas, combinations.fixed, combinations.random)
    unit = combinations.unit
    covariance = covariance + combinations.added_variance(sigmas)
    return combinations.known + unit * value, covariance * np.outer(unit, unit)


def no_effects(term: str) -> Array:
    raise SpecError("effects of a REML fit are predictions without a distribution; derive functions of a posterior")


def drawn_point(
    equations: MixedModelLikelihood,
    design: Design,
    covariances: Mapping[str, Array],
    sigmas: Sequence[Array],
    rng: np.random.Generator,
) -> Point:
    """Draw of a posterior, whose means and effects are drawn together when one of them is asked for."""

    @cache
    def solution() -> Solution:
        return equations.draw(sigmas, rng)

    def means() -> Array:
        fitted = design.fixed.ols + solution().fixed * design.scale
        return np.asarray(design.fixed.X.mean(axis=0) @ fitted)

    def effects(term: str) -> Array:
        return solution().random[design.position(term)] * design.effect_scale(term)

    return Point(covariances=covariances, means=means, effects=effects)


def trait_means(design: Design) -> Combinations:
    """Means of the fixed part of every trait over the units."""
    t = len(design.traits)
    variables, traits = np.nonzero(design.fixed.present)
    mean = np.asarray(design.fixed.X.mean(axis=0)).reshape(-1)
    fixed = sparse.csr_array((mean[variables], (traits, np.arange(len(variables)))), shape=(t, len(variables)))
    return Combinations(
        unit=design.scale,
        known=np.asarray(mean @ design.fixed.ols),
        fixed=fixed,
        random=(None,) * len(design.terms),
        estimable=np.ones(t, dtype=np.bool_),
    )


def pointwise(compute: Callable[[Point], Array], means: Callable[[], Array]) -> Compute:
    """Functions (k,) of one point as functions of covariance matrices (shifts, m, m)."""

    def over(covariances: Mapping[str, Array]) -> list[GeneticParameter]:
        shifts = range(len(next(iter(covariances.values()))))
        points = (
            Point(covariances={n: S[i] for n, S in covariances.items()}, means=means, effects=no_effects)
            for i in shifts
        )
        values = np.array([compute(point) for point in points])
        return [GeneticParameter(str(k), "", "", values[:, k]) for k in range(values.shape[1])]

    return over


def slopes(
    covariances: Mapping[str, Array], unit: Array, compute: Compute
) -> list[tuple[GeneticParameter, float, Array]]:
    """Functions of covariance matrices (m, m), each with its value and its gradient by the stacked components, (c,).

    Central differences, with steps relative to the unit of a component.
    """
    steps = 1e-6 * np.maximum(np.abs(vech(list(covariances.values()))), unit)
    shifts = np.concatenate([np.zeros((1, len(steps))), np.diag(steps), -np.diag(steps)])
    out = []
    for p in compute(_shifted(covariances, shifts)):
        up, down = p.draws[1 : 1 + len(steps)], p.draws[1 + len(steps) :]
        out.append((p, float(p.draws[0]), np.asarray((up - down) / (2 * steps))))
    return out


def _shifted(covariances: Mapping[str, Array], shifts: Array) -> dict[str, Array]:
    """Covariance matrices (shifts, m, m) with the stacked components moved by each row of `shifts`."""
    out = {}
    start = 0
    for name, sigma in covariances.items():
        rows, cols = packed_rows(len(sigma))
        moved = np.repeat(sigma[None], len(shifts), axis=0)
        delta = shifts[:, start : start + len(rows)]
        moved[:, rows, cols] += delta
        off = rows != cols
        moved[:, cols[off], rows[off]] += delta[:, off]
        start += len(rows)
        out[name] = moved
    return out
