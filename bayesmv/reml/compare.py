"""Likelihood-ratio tests between REML fits, with the null hypotheses that lie on the boundary treated as such."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from scipy.special import chdtrc

from bayesmv.covariance import Separate, contains
from bayesmv.design import Design, TermDesign
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing
from bayesmv.reml.fit import RemlFit


@dataclass(frozen=True, kw_only=True)
class LikelihoodRatio:
    """A likelihood-ratio test.

    Parameters
    ----------
    statistic
        ``2 (l_full - l_null)``.
    df
        Difference in covariance parameters.
    p_value
        Probability of a statistic as large under the null.
    reference
        The reference distribution, and what is to be known about it.
    """

    statistic: float
    df: int
    p_value: float
    reference: str

    def __str__(self) -> str:
        return f"LR = {self.statistic:.2f} on {self.df} df, p = {self.p_value:.3g} ({self.reference})"


def likelihood_ratio(null: RemlFit, full: RemlFit) -> LikelihoodRatio:
    r"""Test a REML fit against a larger one with the same data and fixed effects.

    Covariances that the null sets to zero are inside the parameter space: χ² on their number. Terms that it lacks
    have variances on the boundary, and so have effects that its terms lack, such as maternal ones. k
    uncorrelated variances give the mixture :math:`\sum_i \binom{k}{i} 2^{-k} χ²_i`
    (exact when their estimates are independent); for a term with covariances the plain χ² is used, which is
    conservative.

    Raises
    ------
    SpecError
        If the fits differ in data or fixed effects, or `full` is not larger.

    References
    ----------
    Self & Liang (1987), JASA 82:605-610; Stram & Lee (1994), Biometrics 50:1171-1177.
    """
    _check_nested(null, full)
    statistic = max(2.0 * (full.loglik - null.loglik), 0.0)
    df = full.n_parameters - null.n_parameters
    added = [term for term in full.design.terms if term.name not in null.design.names]
    terms = [term.name for term in null.design.terms]  # residuals of groups of units grow without a boundary
    grown = [name for name in terms if null.design.effects_of(name) != full.design.effects_of(name)]
    if not added and not grown:
        p = float(chdtrc(df, statistic))
        reference = f"chi-square on {df} df"
        if null.at_boundary or full.at_boundary:
            reference += f"; conservative: {', '.join({*null.at_boundary, *full.at_boundary})} on the boundary"
        return LikelihoodRatio(statistic=statistic, df=df, p_value=p, reference=reference)
    if (
        not grown
        and sum(term.structure.n_parameters for term in added) == df
        and all(_variances_only(t) for t in added)
    ):
        weights = np.array([comb(df, i) for i in range(df + 1)]) / 2.0**df
        tails = np.array([float(statistic <= 0), *(float(chdtrc(i, statistic)) for i in range(1, df + 1))])
        reference = f"mixture of chi-squares on 0 to {df} df: the null lies on the boundary"
        return LikelihoodRatio(statistic=statistic, df=df, p_value=float(weights @ tails), reference=reference)
    reference = f"chi-square on {df} df, conservative: the null lies on the boundary"
    return LikelihoodRatio(statistic=statistic, df=df, p_value=float(chdtrc(df, statistic)), reference=reference)


def _variances_only(term: TermDesign) -> bool:
    return all(i == j for i, j in term.structure.support)


def _contains(full: Design, null: Design, name: str) -> bool:
    """Whether the larger model's structure of a term can take any value of the smaller one's."""
    if full.effects_of(name) != null.effects_of(name):
        return _contains_some(full, null, name)
    large, small = (d.blocks.structures[d.names.index(name)] for d in (full, null))
    return contains(large, small, null.effect_scale(name) / full.effect_scale(name))


def _contains_some(full: Design, null: Design, name: str) -> bool:
    """Whether a term of the smaller model is one of the larger with some effects missing, such as maternal ones."""
    if name == RESIDUAL:
        return _contains_groups(full, null)
    here, there = full.term(name).identities, null.term(name).identities
    if not set(there) <= set(here):
        return False
    large, small = (d.blocks.structures[d.names.index(name)] for d in (full, null))
    sigma = small.matrix(np.random.default_rng(0).uniform(0.5, 1.5, small.n_parameters))
    at = [here.index(effect) for effect in there]
    scale = null.effect_scale(name) / full.effect_scale(name)[at]
    whole = np.zeros((len(here), len(here)))
    whole[np.ix_(at, at)] = sigma * np.outer(scale, scale)
    return np.allclose(large.matrix(large.from_matrix(whole)), whole)


def _contains_groups(full: Design, null: Design) -> bool:
    """Whether residuals with groups contain those that are alike in all groups."""
    large, small = full.residual.structure, null.residual.structure
    return not null.residual.groups and isinstance(large, Separate) and all(contains(s, small) for s in large.parts)


def _check_nested(null: RemlFit, full: RemlFit) -> None:
    a, b = null.design, full.design
    same = a.response.shape == b.response.shape and np.array_equal(a.response, b.response, equal_nan=True)
    if not same or a.traits != b.traits:
        raise SpecError("the two fits have different data; a likelihood ratio needs the same records")
    if a.fixed.variables != b.fixed.variables or not np.array_equal(a.fixed.present, b.fixed.present):
        raise SpecError("the two fits have different fixed effects; restricted likelihoods are then not comparable")
    strangers = [name for name in a.names if name not in b.names or not _contains(b, a, name)]
    if strangers:
        raise SpecError(
            f"the models are not nested: the second cannot take every value of {listing(strangers)} in the first"
        )
    if full.n_parameters <= null.n_parameters:
        raise SpecError(
            f"the second fit has {full.n_parameters} covariance parameters and the first {null.n_parameters}; "
            f"give the smaller model first"
        )
