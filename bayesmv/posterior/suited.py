"""Coordinates that suit a posterior, found from the REML estimates.

Planar coordinates bend at a standard deviation that is their unit. It belongs to every scale: about half of its REML
value, so that a trait whose phenotypic variance is nearly all of blocks has coordinates of its small variances too; and
at least the *noise* of the scale, below which the data cannot tell it from 0. Terms with few levels, such as two
blocks, have coordinates that keep apart what they tell (:meth:`bayesmv.covariance.CovarianceStructure.apart`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceStructure
from bayesmv.design.design import Design
from bayesmv.likelihood import RestrictedLikelihood
from bayesmv.numerics.symmetric import packed_rows
from bayesmv.posterior.coordinates import PLANAR_UNIT
from bayesmv.posterior.log_posterior import LogPosterior

#: Unit of a scale, as a share of its REML value.
_SHARE = 0.5
#: Share of a variance that is added to a residual covariance, which may be singular.
_LIFT = 1e-6


def suited(posterior: LogPosterior, sigmas: Sequence[Array]) -> LogPosterior:
    """Return a posterior in planar coordinates that suit its REML estimates Σ_k (m_k, m_k), working units."""
    noise = noises(posterior.engine, sigmas)
    levels = [len(term.levels) - 1.0 for term in posterior.design.terms]
    known = zip(posterior.blocks.structures, sigmas, noise, [*levels, np.inf], strict=True)
    design = restructured(posterior.design, [s.pivoted(S).apart(S, n, freedom) for s, S, n, freedom in known])
    structures = design.blocks.structures
    own = [_units(s, S, n) for s, S, n in zip(structures, sigmas, noise, strict=True)]
    return replace(posterior, design=design).planar(np.concatenate(own))


def noises(engine: RestrictedLikelihood, sigmas: Sequence[Array]) -> list[Array]:
    """Standard deviation (m_k,) of the effects of every term that is as large as its error.

    It is ``I_ii^(-1/4)``, I the average information on the variances of a term where that term is 0; of the residual,
    where it is. Effects s times their error add to that information: the noise is then found to be s^½ times smaller.
    Infinite where there is no information.
    """
    *terms, R = sigmas
    R = R + np.diag(_LIFT * np.maximum(np.diag(R), _LIFT))
    out = []
    for k, S in enumerate([*terms, R]):
        there = [np.zeros_like(S) if j == k else other for j, other in enumerate(terms)]
        information = np.diag(engine.average_information([*there, R]))
        begin = sum(len(each) * (len(each) + 1) // 2 for each in terms[:k])
        rows, cols = packed_rows(len(S))
        own = information[begin : begin + len(rows)][rows == cols]
        with np.errstate(divide="ignore"):
            out.append(np.where(own > 0.0, np.maximum(own, 0.0) ** -0.25, np.inf))
    return out


def restructured(design: Design, structures: Sequence[CovarianceStructure]) -> Design:
    """Return the design with other structures of the same kinds."""
    *of_terms, of_residual = structures
    terms = tuple(replace(term, structure=s) for term, s in zip(design.terms, of_terms, strict=True))
    return replace(design, terms=terms, residual=replace(design.residual, structure=of_residual))


def _units(structure: CovarianceStructure, sigma: Array, noise: Array) -> Array:
    """Units of the scales of a structure in their places, (n_parameters,)."""
    theta, anchor = structure.from_matrix(sigma), structure.anchor
    out = np.full(len(theta), PLANAR_UNIT)
    for d in np.flatnonzero(anchor == np.arange(len(theta))):
        alone = np.where(anchor < 0, theta, 0.0)
        alone[d] = 1.0
        sds = np.sqrt(np.maximum(np.diag(structure.matrix(alone)), 0.0))
        least = np.min(noise[sds > 0.0] / sds[sds > 0.0], initial=np.inf)
        out[d] = min(max(_SHARE * float(np.linalg.norm(theta[anchor == d])), float(least)), PLANAR_UNIT)
    return np.where(structure.relative, 0.0, out)
