r"""Evolutionary quantities of G matrices.

For a selection gradient β and additive genetic covariance G (Hansen & Houle 2008, J. Evol. Biol. 21:1201-1219):

- evolvability ``e(β) = β'Gβ / |β|²``: response along the gradient;
- respondability ``r(β) = √(β'G²β) / |β|``: length of the response;
- conditional evolvability ``c(β) = |β|² / (β'G⁻¹β)``: response along the gradient where the others are held;
- autonomy ``a(β) = c(β) / e(β)``.

Mean-standardised matrices are ``G_ij / (μ_i μ_j)`` (Houle 1992, Genetics 130:195-204), their evolvability is the
proportional change of a trait by selection as strong as that on fitness itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.estimates.derived import Quantities, derive
from bayesmv.estimates.source import estimates_of
from bayesmv.model.genetic import Genetic

#: Random directions over which means are taken, the same for all draws.
_DIRECTIONS = 1000


def evolvability(
    source: Any,
    direction: Mapping[str, float] | Sequence[float] | None = None,
    *,
    mean_scaled: bool = False,
    genetic: str | Genetic | None = None,
    relationship: str | None = None,
    design: Design | None = None,
    max_draws: int | None = None,
    seed: int = 1,
) -> pd.DataFrame:
    """Evolvability, respondability, conditional evolvability and autonomy, along a direction or on average.

    Parameters
    ----------
    source
        A REML fit, or a posterior.
    direction
        Selection gradient β by trait; by default the mean over directions that are uniform on the sphere.
    mean_scaled
        Of traits divided by their means; a trait whose mean is not positive is refused.
    genetic, relationship
        The genetic term; by default the one that the model states.
    design
        Design of a posterior, for the means.
    max_draws
        Most draws of a posterior to use.
    seed
        Of the random directions.

    Returns
    -------
    DataFrame
        quantity (evolvability, respondability, conditional evolvability, autonomy) and the columns of
        :func:`bayesmv.derive`. In squared units of the traits, which should be the same; without unit if mean-scaled.

    Raises
    ------
    SpecError
        If a trait of the direction does not exist, or a mean is not positive.
    """
    traits = estimates_of(source).traits
    rng = np.random.default_rng(seed)
    beta = rng.standard_normal((_DIRECTIONS, len(traits))) if direction is None else _vector(direction, traits)[None]
    beta = beta / np.linalg.norm(beta, axis=1, keepdims=True)

    def function(q: Quantities) -> dict[str, float]:
        G = _scaled(q.additive, q, mean_scaled)
        e = np.einsum("di,ij,dj->d", beta, G, beta)
        r = np.linalg.norm(beta @ G, axis=1)
        values, vectors = np.linalg.eigh(G)
        inverse = (beta @ vectors) ** 2 @ (1.0 / np.maximum(values, 1e-12 * max(values[-1], 1e-300)))
        c = 1.0 / inverse
        return {
            "evolvability": float(e.mean()),
            "respondability": float(r.mean()),
            "conditional evolvability": float(c.mean()),
            "autonomy": float((c / e).mean()),
        }

    words: Any = {"genetic": genetic, "relationship": relationship, "design": design, "max_draws": max_draws}
    return derive(source, function, **words)


def principal_components(
    source: Any,
    term: str | None = None,
    *,
    as_correlation: bool = False,
    direction: Mapping[str, float] | Sequence[float] | None = None,
    genetic: str | Genetic | None = None,
    relationship: str | None = None,
) -> pd.DataFrame:
    """Eigenvalues and eigenvectors of a covariance matrix; the first is g_max of a G matrix.

    Parameters
    ----------
    source
        A REML fit, or a posterior.
    term
        The term; by default the additive genetic covariance.
    as_correlation
        Of its correlation matrix.
    direction
        Also the angle of the first eigenvector to this direction, in degrees from 0 to 90.
    genetic, relationship
        The genetic term; by default the one that the model states.

    Returns
    -------
    DataFrame
        quantity: ``eigenvalue k``, ``share k`` of the total, ``vector k: effect`` and ``angle``, with the columns of
        :func:`bayesmv.derive`. Vectors of draws point the same way as those of the estimate, or of the mean matrix.

    Raises
    ------
    SpecError
        If a term or an effect does not exist.
    """
    estimates = estimates_of(source)
    effects = estimates.traits if term is None else estimates.record.effects_of(term)
    beta = None if direction is None else _vector(direction, effects)
    reference: list[Array] = []

    def function(q: Quantities) -> dict[str, float]:
        S = q.additive if term is None else q[term]
        if as_correlation:
            sd = np.sqrt(np.diag(S))
            S = S / np.outer(sd, sd)
        values, vectors = np.linalg.eigh(S)
        values, vectors = values[::-1], vectors[:, ::-1]
        if not reference:
            reference.append(vectors * np.where(vectors.sum(axis=0) < 0, -1.0, 1.0))
        vectors = vectors * np.where(np.sum(vectors * reference[0], axis=0) < 0, -1.0, 1.0)
        out = {f"eigenvalue {k + 1}": float(v) for k, v in enumerate(values)}
        out |= {f"share {k + 1}": float(v / values.sum()) for k, v in enumerate(values)}
        for k in range(len(values)):
            out |= {f"vector {k + 1}: {effect}": float(vectors[i, k]) for i, effect in enumerate(effects)}
        if beta is not None:
            out["angle"] = angle(vectors[:, 0], beta)
        return out

    return derive(source, function, genetic=genetic, relationship=relationship)


def angle(one: Array, other: Array) -> float:
    """Angle between two axes, in degrees from 0 to 90."""
    cosine = abs(float(one @ other)) / (np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def price(
    source: Any,
    fitness: str,
    *,
    genetic: str | Genetic | None = None,
    relationship: str | None = None,
    design: Design | None = None,
    max_draws: int | None = None,
) -> pd.DataFrame:
    r"""Selection differentials and gradients from a model in which fitness is one of the traits.

    With relative fitness ``w = W / mean W``: the phenotypic differential ``S = cov_P(w, z)``, the gradient ``β = P⁻¹S``
    (Lande & Arnold 1983, Evolution 37:1210-1226), the additive genetic covariance with fitness ``s = cov_A(w, z)``, the
    response that the Robertson-Price identity predicts (Robertson 1966; Price 1970, Nature 227:520-521), the genetic
    gradient ``β_A = G⁻¹s``, and the breeder's prediction ``Gβ``, which differs from s where the environment makes both.

    Parameters
    ----------
    source
        A REML fit, or a posterior.
    fitness
        The trait that is absolute fitness, on the scale of its mean (such as the number of offspring).
    genetic, relationship
        The genetic term; by default the one that the model states.
    design
        Design of a posterior, for the mean of fitness.
    max_draws
        Most draws of a posterior to use.

    Returns
    -------
    DataFrame
        quantity: ``S``, ``beta``, ``s_A``, ``beta_A``, ``G beta`` of every other trait (S, s_A and G beta in the unit
        of the trait a generation; gradients per unit of it), and ``opportunity`` for selection, ``var_P(w)``; with the
        columns of :func:`bayesmv.derive`.

    Raises
    ------
    SpecError
        If the trait does not exist, is the only one, or its mean is not positive.
    """
    traits = estimates_of(source).traits
    require_known([fitness], traits, "no trait {}; traits")
    others = [t for t in traits if t != fitness]
    if not others:
        raise SpecError(f"'{fitness}' is the only trait; selection needs others beside fitness")
    w, z = traits.index(fitness), [traits.index(t) for t in others]

    def function(q: Quantities) -> dict[str, float]:
        mean = q.means[w]
        if not mean > 0:
            raise SpecError(f"the mean of '{fitness}' is {mean:.4g}; relative fitness needs a positive one")
        P, G = q.phenotypic, q.additive
        S, s = P[z, w] / mean, G[z, w] / mean
        beta = np.linalg.solve(P[np.ix_(z, z)], S)
        Gz = G[np.ix_(z, z)]
        found = {"S": S, "beta": beta, "s_A": s, "beta_A": np.linalg.pinv(Gz, hermitian=True) @ s, "G beta": Gz @ beta}
        out = {f"{name}: {t}": float(values[i]) for name, values in found.items() for i, t in enumerate(others)}
        return out | {"opportunity": float(P[w, w] / mean**2)}

    words: Any = {"genetic": genetic, "relationship": relationship, "design": design, "max_draws": max_draws}
    return derive(source, function, **words)


def _vector(direction: Mapping[str, float] | Sequence[float], effects: Sequence[str]) -> Array:
    if isinstance(direction, Mapping):
        require_known(direction, effects, "the direction names {}; effects")
        found = np.array([float(direction.get(e, 0.0)) for e in effects])
    else:
        found = np.asarray(direction, dtype=float)
    if found.shape != (len(effects),) or not np.any(found):
        raise SpecError(f"a direction has a number for each of {listing(effects)}, not all of them 0")
    return found


def _scaled(G: Array, q: Quantities, mean_scaled: bool) -> Array:
    if not mean_scaled:
        return G
    means = q.means
    if not (means > 0).all():
        bad = [t for t, m in zip(q.traits, means, strict=True) if not m > 0]
        raise SpecError(f"the mean of {listing(bad)} is not positive; mean-scaled evolvability needs positive means")
    return G / np.outer(means, means)
