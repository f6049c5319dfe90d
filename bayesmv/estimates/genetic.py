"""Genetic parameters as functions of covariance matrices, for estimates and draws alike.

Every function takes arrays (…, t, t) and works over the leading dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bayesmv.arrays import Array
from bayesmv.design.effect_layout import EffectLayout, plain_layout
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.model.genetic import ADDITIVE_FACTOR, DOMINANCE_FACTOR, Genetic
from bayesmv.numerics.symmetric import correlation


class GeneticParameter(NamedTuple):
    """One genetic parameter: its name, the traits that it is of, and its draws or values (…,)."""

    name: str
    trait_i: str
    trait_j: str
    draws: Array


def phenotypic(covariances: Mapping[str, Array], terms: Sequence[str] | None = None) -> Array:
    """Phenotypic covariance: the sum of the terms named, by default of all, (…, t, t).

    Raises
    ------
    SpecError
        If a term does not exist.
    """
    require_known(terms or (), covariances, "no covariance matrix of {}; terms")
    return np.asarray(sum(covariances[name] for name in terms or covariances))


def heritability(additive: Array, phenotype: Array) -> Array:
    """``h² = V_A / V_P`` of every trait, (…, t, t) and (…, t, t) → (…, t)."""
    return np.asarray(_diagonal(additive) / _diagonal(phenotype))


def family_mean_heritability(family: Array, residual: Array, records: Array) -> Array:
    """``σ²_f / (σ²_f + σ²_e / n)``, n records per family, (…, t)."""
    between = _diagonal(family)
    return np.asarray(between / (between + _diagonal(residual) / records))


def evolvability(additive: Array, means: Array) -> Array:
    """Mean-scaled evolvability ``V_A / mean²`` (Houle 1992, Genetics 130:195-204), (…, t)."""
    return np.asarray(_diagonal(additive) / np.asarray(means) ** 2)


def _diagonal(matrix: Array) -> Array:
    return np.asarray(np.diagonal(matrix, axis1=-2, axis2=-1))


def parameters(
    covariances: Mapping[str, Array],
    traits: Sequence[str],
    genetic: Genetic,
    *,
    terms: Sequence[str] | None = None,
    same_subject: Sequence[str] = (),
    records: Array | None = None,
    layouts: Mapping[str, EffectLayout] | None = None,
) -> list[GeneticParameter]:
    """Genetic parameters of one genetic term.

    Parameters
    ----------
    covariances
        Covariance matrices by name of the term, (…, m, m); without layouts (…, t, t).
    traits
        Names of the traits.
    genetic
        The genetic term and the relationship of its levels.
    terms
        Terms that make up the phenotypic variance; None for all.
    same_subject
        Other terms on the same individuals (permanent environment), for the repeatability.
    records
        Harmonic mean number of records per level (t,), for the heritability of family means.
    layouts
        How the effects of each random term make up a record; terms without one have the traits for effects.

    Notes
    -----
    Effects of covariates are averaged over the records: ``V_P`` and ``V_A`` are those of an average record. Effects of
    several members (``str(animal, dam)``) have genetic variances, ratios to ``V_P`` and genetic correlations of
    their own, and

        V_P = V_A + r (σ_AM + σ_MA) + V_M + …          r = ½, the relationship between animal and dam
        total heritability = (V_A + (1 + r) σ_AM + r V_M) / V_P      (Willham 1972, J. Anim. Sci. 35:1288-1293)

    Terms of dominance and epistasis add ``dominance ratio = V_D / V_P`` and ``broad-sense heritability = (V_A + V_D +
    V_I) / V_P``; those of dams and of common environments the shares of V_P that they take.

    With n mates ``total breeding variance = V_D + 2 n σ_DS + n² V_S`` (Bijma, Muir & van Arendonk 2007, Genetics
    175:277-288), n the mean sum of their weights.
    """
    _require_terms(genetic, covariances)
    layouts = layouts or {}
    shares = _shares(covariances, len(traits), layouts)
    layout = layouts.get(genetic.term, plain_layout(len(traits)))
    family = layout.individuals(covariances[genetic.term], len(traits))
    labels = layout.labels(traits)
    phenotype = phenotypic(shares, terms)
    out = ratios(genetic, layout, traits, family, shares, phenotype, same_subject=same_subject, records=records)
    out += _totals(layout, traits, family, phenotype)
    out += _further(genetic, layouts, traits, covariances, shares, family, phenotype)
    between = (layout.effects, covariances[genetic.term]) if layout.environments else (labels, family)
    out += _per_pair("genetic correlation", between[0], correlation(between[1]))
    out += _per_pair("residual correlation", traits, correlation(shares[RESIDUAL]))
    return out + _per_pair("phenotypic correlation", traits, correlation(phenotype))


def genetic_matrices(
    covariances: Mapping[str, Array], traits: Sequence[str], genetic: Genetic, layouts: Mapping[str, EffectLayout]
) -> tuple[Array, Array]:
    """Additive genetic (direct) and phenotypic covariance of the traits, of an average record, (…, t, t) each.

    Raises
    ------
    SpecError
        If a term of the genetic table is not in the model.
    """
    _require_terms(genetic, covariances)
    t = len(traits)
    layout = layouts.get(genetic.term, plain_layout(t))
    family = layout.individuals(covariances[genetic.term], t)[..., :t, :t]
    shares = _shares(covariances, t, layouts)
    return ADDITIVE_FACTOR[genetic.relationship] * family, phenotypic(shares, genetic.phenotypic)


def _require_terms(genetic: Genetic, covariances: Mapping[str, Array]) -> None:
    if genetic.term == RESIDUAL:
        others = listing(name for name in covariances if name != RESIDUAL)
        raise SpecError(f"'{RESIDUAL}' is not a genetic term; random terms: {others}")
    if genetic.term not in covariances:
        raise SpecError(f"the genetic term '{genetic.term}' is not in the model; terms: {listing(covariances)}")
    for role, names in genetic.roles.items():
        require_known(names, covariances, f"the {role} term {{}} is not in the model; terms")


def _shares(covariances: Mapping[str, Array], t: int, layouts: Mapping[str, EffectLayout]) -> dict[str, Array]:
    """Contribution of every term to the phenotypic covariance of the traits, (…, t, t)."""
    return {
        name: layouts[name].contribution(sigma, t) if name in layouts else sigma for name, sigma in covariances.items()
    }


def variance_word(genetic: Genetic) -> str:
    """Name of the variance of a genetic term."""
    words = {"family-mean": "family variance", "line": "genotypic variance"}
    return words.get(genetic.relationship, "additive genetic variance")


def ratios(
    genetic: Genetic,
    layout: EffectLayout,
    traits: Sequence[str],
    family: Array,
    shares: Mapping[str, Array],
    phenotype: Array,
    *,
    same_subject: Sequence[str] = (),
    records: Array | None = None,
) -> list[GeneticParameter]:
    """Genetic and phenotypic variances, heritability and repeatability: of the average record, or of one point.

    Parameters
    ----------
    genetic
        The genetic term and the relationship of its levels.
    layout
        How its effects make up a record.
    traits
        Names of the traits.
    family
        Covariance among members × traits of the term, (…, g t, g t).
    shares
        What every term adds to the phenotypic covariance of the traits, (…, t, t).
    phenotype
        Phenotypic covariance of the traits, (…, t, t).
    same_subject, records
        As in :func:`parameters`.
    """
    labels, factor = layout.labels(traits), ADDITIVE_FACTOR[genetic.relationship]
    out = _per_trait(variance_word(genetic), labels, factor * _diagonal(family))
    out += _per_trait("phenotypic variance", traits, _diagonal(phenotype))
    if genetic.relationship == "family-mean":
        if records is None:
            raise SpecError("the heritability of family means needs the number of records per family")
        ratio = family_mean_heritability(shares[genetic.term], shares[RESIDUAL], records)
        out += _per_trait("heritability", traits, ratio)
    else:
        beside = np.concatenate([_diagonal(phenotype)] * len(layout.members), axis=-1)
        out += _per_trait("heritability", labels, factor * _diagonal(family) / beside)
    if same_subject:
        direct = family[..., : len(traits), : len(traits)]
        subject = factor * direct + np.asarray(sum(shares[name] for name in same_subject))
        out += _per_trait("repeatability", traits, heritability(subject, phenotype))
    return out


def _totals(layout: EffectLayout, traits: Sequence[str], family: Array, phenotype: Array) -> list[GeneticParameter]:
    """Total heritability with maternal effects, total breeding variance with social ones."""
    g, t = len(layout.members), len(traits)
    if g == 1:
        return []
    S = np.einsum("...atbt->...tab", family.reshape(*family.shape[:-2], g, t, g, t))
    if any(layout.social):
        n = np.asarray(layout.totals)
        total = np.einsum("...ab,a,b->...", S, n, n)
        ratio = _per_trait("total breeding variance / phenotypic variance", traits, total / _diagonal(phenotype))
        return _per_trait("total breeding variance", traits, total) + ratio
    # cov(Σ_a u_ai, P_i): the sum of an animal's own effects with those that make up its record.
    total = np.einsum("...ab,b->...", S, np.asarray(layout.products)[0])
    return _per_trait("total heritability", traits, total / _diagonal(phenotype))


def _further(
    genetic: Genetic,
    layouts: Mapping[str, EffectLayout],
    traits: Sequence[str],
    covariances: Mapping[str, Array],
    shares: Mapping[str, Array],
    family: Array,
    phenotype: Array,
) -> list[GeneticParameter]:
    """Variances and shares of the terms of other roles than additive."""

    def variance(names: Sequence[str], factor: float) -> Array:
        layout = plain_layout(len(traits))
        effects = [layouts.get(name, layout).individuals(covariances[name], len(traits)) for name in names]
        return np.asarray(factor * sum(_diagonal(V)[..., : len(traits)] for V in effects))

    beside, out = _diagonal(phenotype), []
    whole = ADDITIVE_FACTOR[genetic.relationship] * _diagonal(family)[..., : len(traits)]
    for word, names in (("dominance", genetic.dominance), ("epistatic", genetic.epistasis)):
        if names:
            own = variance(names, DOMINANCE_FACTOR[genetic.relationship])
            whole = whole + own
            out += _per_trait(f"{word} variance", traits, own) + _per_trait(f"{word} ratio", traits, own / beside)
    if out:
        out += _per_trait("broad-sense heritability", traits, whole / beside)
    if genetic.maternal is not None:
        out += _per_trait("maternal ratio", traits, heritability(shares[genetic.maternal], phenotype))
    for name in genetic.environment:
        which = f" ({name})" if len(genetic.environment) > 1 else ""
        out += _per_trait(f"environmental ratio{which}", traits, heritability(shares[name], phenotype))
    return out


def _per_trait(name: str, traits: Sequence[str], values: Array) -> list[GeneticParameter]:
    return [GeneticParameter(name, trait, trait, values[..., i]) for i, trait in enumerate(traits)]


def _per_pair(name: str, traits: Sequence[str], matrix: Array) -> list[GeneticParameter]:
    # A structure without covariances has no correlations to report.
    pairs = [(i, j) for i in range(len(traits)) for j in range(i) if np.any(matrix[..., i, j])]
    return [GeneticParameter(name, traits[j], traits[i], matrix[..., i, j]) for i, j in pairs]
