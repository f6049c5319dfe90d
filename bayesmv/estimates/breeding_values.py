"""Predicted effects of levels: breeding values, their errors, ranks, and the heritability of a trial that they give."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.elsewhere import Combinations
from bayesmv.errors import SpecError, listing
from bayesmv.estimates.source import estimates_of
from bayesmv.relationship.labels import as_text

#: Most effects whose prediction errors are given with their covariances: that matrix is dense.
_DENSE = 4000


def breeding_values(
    source: Any,
    term: str,
    *,
    levels: Collection[Any] | None = None,
    best: int | None = None,
    design: Design | None = None,
    max_draws: int = 400,
) -> pd.DataFrame:
    """Predicted effects of the levels of a term (breeding values for a genetic one).

    Parameters
    ----------
    source
        A REML fit (BLUPs), or a posterior.
    term
        Name of the random term.
    levels
        Candidates: the levels that are ranked; by default all.
    best
        For a posterior, also the probability that a level is among this many best candidates.
    design
        For a posterior that holds no draws of these effects: its design, to accumulate their moments over draws of the
        covariances without storing any.
    max_draws
        Most draws of the covariances to accumulate over, evenly spaced.

    Returns
    -------
    DataFrame
        level, trait and, for REML, blup, std_error, reliability, accuracy; for a posterior, mean, sd and, from a
        design, reliability ``1 - var / (σ² K_ii)`` and accuracy (its square root), from draws, hdi_low, hdi_high. Then
        rank among the candidates, 1 for the largest value of a trait, and prob_best.

    Raises
    ------
    SpecError
        If the posterior holds no draws of these effects and no design is given, or the design is another; if a level
        does not exist; if `best` is asked of a REML fit, which has no distribution of ranks.
    """
    estimates = estimates_of(source)
    table = estimates.effects(term, design=design, max_draws=max_draws)
    wanted = _chosen(table, term, levels)
    table = table[wanted].reset_index(drop=True)
    value = "blup" if "blup" in table else "mean"
    table["rank"] = table.groupby("trait")[value].rank(ascending=False, method="min").astype(int)
    if best is not None:
        n_levels = table["level"].nunique()
        if not 0 < best <= n_levels:
            raise SpecError(f"best={best} of {n_levels} candidates: give a number from 1 to {n_levels}")
        effects = table["trait"].nunique()
        chosen = np.flatnonzero(wanted.to_numpy().reshape(-1, effects)[:, 0])
        table["prob_best"] = estimates.among_best(term, best, chosen, design, max_draws).reshape(-1)
    return table


def _chosen(table: pd.DataFrame, term: str, levels: Collection[Any] | None) -> pd.Series:
    """Which rows are of candidates."""
    texts = table["level"].map(as_text)
    if levels is None:
        return pd.Series(True, index=table.index)
    wanted = {as_text(level) for level in levels}
    absent = wanted - set(texts)
    if absent:
        raise SpecError(f"no level {listing(sorted(absent))} of '{term}'; levels: {listing(texts.unique())}")
    return texts.isin(wanted)


def prediction_errors(
    source: Any, term: str, levels: Collection[Any] | None = None, *, design: Design | None = None, max_draws: int = 400
) -> pd.DataFrame:
    """Covariance matrix of the prediction errors of the effects of some levels of a term.

    Parameters
    ----------
    source
        A REML fit, or a posterior (of which it is the covariance of the effects).
    term
        Name of the random term.
    levels
        The levels; by default all.
    design
        For a posterior: its design.
    max_draws
        Most draws of the covariances of a posterior to use.

    Returns
    -------
    DataFrame
        ``var(û - u)``, with (level, trait) for both axes, in the units of the data. The block of C⁻¹ of these levels:
        only it is computed.

    Raises
    ------
    SpecError
        If a level does not exist, or there are more than 4,000 effects.
    """
    estimates = estimates_of(source)
    design = estimates.design_of(design)
    part = design.term(term)
    texts = [as_text(level) for level in part.levels]
    chosen = range(len(texts)) if levels is None else [texts.index(t) for t in _known(levels, texts, term)]
    combinations = effects_of_levels(design, term, np.asarray(chosen, dtype=np.intp))
    if len(combinations) > _DENSE:
        raise SpecError(f"the errors of {len(combinations)} effects are too many (at most {_DENSE}); name fewer levels")
    V = estimates.combine(combinations, design, max_draws, 1).covariance
    axis = pd.MultiIndex.from_product([[part.levels[i] for i in chosen], part.effects], names=["level", "trait"])
    return pd.DataFrame(V, index=axis, columns=axis)


def _known(levels: Collection[Any], texts: list[str], term: str) -> list[str]:
    wanted = [as_text(level) for level in levels]
    absent = [level for level in wanted if level not in set(texts)]
    if absent:
        raise SpecError(f"no level {listing(absent)} of '{term}'; levels: {listing(texts)}")
    return wanted


def effects_of_levels(design: Design, term: str, levels: Any) -> Combinations:
    """Effects of some levels of a term, each by itself, level by level."""
    k, part = design.position(term), design.term(term)
    m, q = len(part.effects), len(part.levels)
    at = (np.asarray(levels)[:, None] * m + np.arange(m)).reshape(-1)
    n = len(at)
    chosen = sparse.csr_array((np.ones(n), (np.arange(n), at)), shape=(n, q * m))
    random: list[sparse.csr_array | None] = [None] * len(design.terms)
    random[k] = chosen
    return Combinations(
        unit=np.tile(design.effect_scale(term), len(levels)),
        known=np.zeros(n),
        fixed=sparse.csr_array((n, int(design.fixed.present.sum()))),
        random=tuple(random),
        estimable=np.ones(n, dtype=np.bool_),
    )


def trial_heritability(source: Any, term: str, *, design: Design | None = None) -> pd.DataFrame:
    r"""Heritability of a trial: of the differences among its entries, from their prediction errors.

    Parameters
    ----------
    source
        A REML fit, or a posterior (at its mean covariances).
    term
        The term of the entries: lines, families, animals.
    design
        For a posterior: its design.

    Returns
    -------
    DataFrame
        trait, and over the entries with records

        - cullis: ``1 - v̄_Δ(BLUP) / v̄_Δ(prior)``, means over pairs of entries of the prediction error variance of a
          difference and of its variance ``σ² (K_ii + K_jj - 2 K_ij)``; for unrelated entries the latter is ``2 σ²``
          (Cullis, Smith & Coombes 2006, J. Agric. Biol. Environ. Stat. 11:381-393);
        - piepho: ``v̄_Δ(prior) / (v̄_Δ(prior) + v̄_Δ(BLUE))``, the latter the mean variance of a difference of the
          adjusted means of the entries, as fixed effects (Piepho & Möhring 2007, Genetics 177:1881-1888);
        - reliability: the mean of ``1 - PEV / (σ² K_ii)``.

    Raises
    ------
    SpecError
        If there are more than 4,000 effects of entries with records.
    """
    estimates = estimates_of(source)
    design = estimates.design_of(design)
    fit = estimates.at_mean(design)
    part = design.term(term)
    entries = np.flatnonzero(abs(part.bearers[0]).sum(axis=0) > 0)
    m = len(part.effects)
    if len(entries) * m > _DENSE:
        raise SpecError(f"{len(entries)} entries with {m} effects each are too many (at most {_DENSE} effects)")
    C = estimates_of(fit).combine(effects_of_levels(design, term, entries), design, 1, 1).covariance
    related = part.relationship
    K = np.eye(len(entries)) if related is None else related.covariance(part.levels[entries]).to_numpy()
    sigma = fit.covariances[term]
    information = np.linalg.pinv(C, rcond=1e-12, hermitian=True) - np.linalg.pinv(np.kron(K, sigma), hermitian=True)
    blue = np.linalg.pinv(information, rcond=1e-9, hermitian=True)
    rows = []
    for e, effect in enumerate(part.effects):
        prior = _mean_difference(K) * sigma[e, e]
        error = _mean_difference(C[e::m, e::m])
        adjusted = _mean_difference(blue[e::m, e::m])
        with np.errstate(invalid="ignore", divide="ignore"):
            reliability = np.mean(1.0 - np.diag(C)[e::m] / (np.diag(K) * sigma[e, e]))
            cullis = 1.0 - np.divide(error, prior)
        rows.append((effect, len(entries), cullis, prior / (prior + adjusted), reliability))
    return pd.DataFrame(rows, columns=["trait", "entries", "cullis", "piepho", "reliability"])


def _mean_difference(V: Array) -> float:
    """Mean over pairs of the variance of a difference, of a covariance matrix."""
    n = len(V)
    return float(2.0 * (n * np.trace(V) - V.sum()) / (n * (n - 1)))
