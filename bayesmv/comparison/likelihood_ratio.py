"""Likelihood-ratio tests between REML fits, with the null hypotheses that lie on the boundary treated as such."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bayesmv.comparison.boundary import Cone, added, changed, grown, parted, together, vanishes
from bayesmv.covariance import Separate, contains
from bayesmv.design.model_record import ModelRecord
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing
from bayesmv.reml.result import RemlFit


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

    Covariances that the null sets to zero are inside the parameter space: χ² on their number. Variances that it lacks
    are on its boundary, whole terms as well as effects of a term (maternal effects, a slope), and give mixtures:
    ½χ²_q + ½χ²_{q+1} for a variance that comes with q covariances, :math:`\sum_i \binom{k}{i} 2^{-k} χ²_i` for k
    uncorrelated variances (exact when their estimates are independent). Where no exact mixture is known, as for several
    effects at once with their covariances, the p-value is an upper bound, and `reference` says ``conservative``
    (:mod:`bayesmv.comparison.boundary`).

    Raises
    ------
    SpecError
        If the fits differ in data or fixed effects, or `full` is not larger.

    References
    ----------
    Self & Liang (1987), JASA 82:605-610; Stram & Lee (1994), Biometrics 50:1171-1177.
    """
    check_comparable(null, full)
    reason = why_not_nested(null, full)
    if reason is not None:
        raise SpecError(reason)
    statistic = max(2.0 * (full.loglik - null.loglik), 0.0)
    df = full.n_parameters - null.n_parameters
    cone = together(_cones(null, full))
    return LikelihoodRatio(
        statistic=statistic, df=df, p_value=cone.p_value(statistic), reference=_reference(cone, null, full)
    )


def _cones(null: RemlFit, full: RemlFit) -> Iterator[Cone]:
    """Cones that the terms of the larger model add to the null."""
    a, b = null.record, full.record
    for name, large in zip(b.names, b.blocks.structures, strict=True):
        if name not in a.names:
            yield added(large)
            continue
        small = a.structure(name)
        if isinstance(large, Separate) and not isinstance(small, Separate):
            yield parted(large.parts, small)
        elif a.effects_of(name) != b.effects_of(name):
            yield grown(large, small)
        elif large.n_parameters > small.n_parameters:
            yield changed(large, small, a.effect_scale(name) / b.effect_scale(name))


def _reference(cone: Cone, null: RemlFit, full: RemlFit) -> str:
    """Say what the statistic was referred to."""
    # An estimate of 0 is what a mixture allows for in the larger model, but not in the null.
    edges = dict.fromkeys((*null.at_boundary, *(() if cone.variances else full.at_boundary)))
    reasons = [f"{', '.join(edges)} on the boundary"] if edges else []
    if cone.variances:
        reasons.insert(0, "the null lies on the boundary")
    elif not cone.exact:
        reasons.insert(0, "the null is a singular point of the larger model")
    if not reasons:
        return str(cone)
    if edges or not cone.exact:
        return f"{cone}; conservative: {', '.join(reasons)}"
    return f"{cone}: {reasons[0]}"


def _contains(full: ModelRecord, null: ModelRecord, name: str) -> bool:
    """Whether the larger model's structure of a term can take any value of the smaller one's."""
    if full.effects_of(name) != null.effects_of(name):
        return _contains_some(full, null, name)
    large, small = (d.structure(name) for d in (full, null))
    return contains(large, small, null.effect_scale(name) / full.effect_scale(name))


def _contains_some(full: ModelRecord, null: ModelRecord, name: str) -> bool:
    """Whether a term of the smaller model is one of the larger with some effects missing, such as maternal ones."""
    if name == RESIDUAL:
        return _contains_groups(full, null)
    here, there = full.identities[name], null.identities[name]
    if not set(there) <= set(here):
        return False
    large, small = (d.structure(name) for d in (full, null))
    at = [here.index(effect) for effect in there]
    return contains(large, small, null.effect_scale(name) / full.effect_scale(name)[at], at)


def _contains_groups(full: ModelRecord, null: ModelRecord) -> bool:
    """Whether residuals with groups contain those that are alike in all groups."""
    large, small = full.structure(RESIDUAL), null.structure(RESIDUAL)
    return not null.residual_groups and isinstance(large, Separate) and all(contains(s, small) for s in large.parts)


def check_comparable(a: RemlFit, b: RemlFit) -> None:
    """Refuse fits whose restricted likelihoods are of different data.

    Raises
    ------
    SpecError
        If records or fixed effects differ, or covariances were given, not estimated.
    """
    changed = a.record.differences(b.record, model=False)
    if "records" in changed:
        raise SpecError("the two fits have different data; a likelihood ratio needs the same records")
    if "fixed effects" in changed:
        raise SpecError("the two fits have different fixed effects; restricted likelihoods are then not comparable")
    if a.given or b.given:
        raise SpecError("the covariances of a fit were given, not estimated; compare fits from fit_reml")


def _differ(a: ModelRecord, b: ModelRecord, name: str) -> bool:
    """Whether a term has other relationships in two fits, or with the same effects other levels."""
    parts = [f"relationship of {name}", *([f"levels of {name}"] if a.effects_of(name) == b.effects_of(name) else [])]
    return any(a.fingerprint.get(part) != b.fingerprint.get(part) for part in parts)


def why_not_nested(null: RemlFit, full: RemlFit) -> str | None:
    """Reason why a fit is not a special case of another with the same records and fixed effects; None if it is."""
    a, b = null.record, full.record
    if a.spec.weights != b.spec.weights:
        words = [f"weights = {r.spec.weights}" if r.spec.weights else "no weights" for r in (a, b)]
        return f"the models are not nested: {words[0]} in the first, {words[1]} in the second"
    others = [name for name in a.names if name in b.names and _differ(a, b, name)]
    if others:
        return f"the models are not nested: {listing(others)} has other levels or relationships in the second"
    strangers = [name for name in a.names if name not in b.names or not _contains(b, a, name)]
    if strangers:
        return f"the models are not nested: the second cannot take every value of {listing(strangers)} in the first"
    lasting = [
        name for name, s in zip(b.names, b.blocks.structures, strict=True) if name not in a.names and not vanishes(s)
    ]
    if lasting:
        return f"the models are not nested: {listing(lasting)} of the second, which the first has not, cannot be 0"
    if full.n_parameters <= null.n_parameters:
        return (
            f"the second fit has {full.n_parameters} covariance parameters and the first {null.n_parameters}; "
            f"give the smaller model first"
        )
    return None
