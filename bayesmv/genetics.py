"""Genetic parameters as functions of covariance matrices, for estimates and draws alike.

Every function takes arrays (…, t, t) and works over the leading dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bayesmv.covariance import Array, correlation
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing
from bayesmv.spec import ADDITIVE_FACTOR, Genetic


class Parameter(NamedTuple):
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
    strangers = [name for name in terms or () if name not in covariances]
    if strangers:
        raise SpecError(f"no covariance matrix of {listing(strangers)}; terms: {listing(covariances)}")
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
) -> list[Parameter]:
    """Genetic parameters of one genetic term.

    Parameters
    ----------
    covariances
        Covariance matrices by name of the term, (…, t, t), 0 where a term does not act on a trait.
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
    """
    if genetic.term not in covariances:
        raise SpecError(f"the genetic term '{genetic.term}' is not in the model; terms: {listing(covariances)}")
    family = covariances[genetic.term]
    additive = ADDITIVE_FACTOR[genetic.relationship] * family
    phenotype = phenotypic(covariances, terms)
    of_means = genetic.relationship == "family-mean"
    variance = "family variance" if of_means else "additive genetic variance"
    if genetic.relationship == "line":
        variance = "genotypic variance"
    out = _per_trait(variance, traits, _diagonal(additive))
    out += _per_trait("phenotypic variance", traits, _diagonal(phenotype))
    if of_means:
        if records is None:
            raise SpecError("the heritability of family means needs the number of records per family")
        out += _per_trait("heritability", traits, family_mean_heritability(family, covariances[RESIDUAL], records))
    else:
        out += _per_trait("heritability", traits, heritability(additive, phenotype))
    if same_subject:
        subject = additive + np.asarray(sum(covariances[name] for name in same_subject))
        out += _per_trait("repeatability", traits, heritability(subject, phenotype))
    out += _per_pair("genetic correlation", traits, correlation(family))
    out += _per_pair("residual correlation", traits, correlation(covariances[RESIDUAL]))
    return out + _per_pair("phenotypic correlation", traits, correlation(phenotype))


def _per_trait(name: str, traits: Sequence[str], values: Array) -> list[Parameter]:
    return [Parameter(name, trait, trait, values[..., i]) for i, trait in enumerate(traits)]


def _per_pair(name: str, traits: Sequence[str], matrix: Array) -> list[Parameter]:
    # A structure without covariances has no correlations to report.
    pairs = [(i, j) for i in range(len(traits)) for j in range(i) if np.any(matrix[..., i, j])]
    return [Parameter(name, traits[j], traits[i], matrix[..., i, j]) for i, j in pairs]
