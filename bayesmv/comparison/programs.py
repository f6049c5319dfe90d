"""Estimates of several programs, methods or models of the same data, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.errors import SpecError
from bayesmv.estimates.genetic import GeneticParameter
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.estimates.source import Estimates, estimates_of
from bayesmv.numerics.symmetric import correlation

_KEYS = ["term", "parameter", "trait_i", "trait_j"]


def compare_programs(sources: Mapping[str, Any]) -> pd.DataFrame:
    """Put estimates of the same model and data beside each other, whatever they are from.

    Parameters
    ----------
    sources
        REML fits, posteriors, or what :func:`bayesmv.read_estimates` read, by name.

    Returns
    -------
    DataFrame
        term, parameter, trait_i, trait_j, and for every source ``<name>`` (estimate, or posterior median) and
        ``<name> error`` (standard error, or posterior sd). Genetic parameters, if the model states a genetic term, have
        no term.

    Raises
    ------
    SpecError
        If fewer than two are given, or they are of other models or data.
    """
    if len(sources) < 2:
        raise SpecError("a comparison needs at least two sources")
    read = {name: estimates_of(source) for name, source in sources.items()}
    first, *others = read
    for name in others:
        read[first].record.require_same(read[name].record, first, name)
    tables = [
        _rows(estimates).rename(columns={"value": name, "error": f"{name} error"}) for name, estimates in read.items()
    ]
    whole = tables[0]
    for table in tables[1:]:
        whole = whole.merge(table, on=_KEYS, how="outer", sort=False)
    order = {tuple(key): k for table in tables for k, key in enumerate(table[_KEYS].itertuples(index=False))}
    ranks = [order[tuple(key)] for key in whole[_KEYS].itertuples(index=False)]
    return whole.iloc[np.argsort(ranks, kind="stable")].reset_index(drop=True)


def _rows(estimates: Estimates) -> pd.DataFrame:
    """Components, correlations and genetic parameters of one source: value and error."""
    components = estimates.components()
    same = components["trait_i"] == components["trait_j"]
    parts = [_told(components.assign(parameter=np.where(same, "variance", "covariance")))]
    parts.append(_told(estimates.evaluate(lambda S: _correlations(estimates, S))))
    if estimates.record.genetic is not None:
        parts.append(_told(genetic_parameters(estimates)))
    return pd.concat(parts, ignore_index=True)


def _correlations(estimates: Estimates, covariances: Mapping[str, Array]) -> list[GeneticParameter]:
    out = []
    for name, S in covariances.items():
        effects, R = estimates.record.effects_of(name), correlation(S)
        out += [
            GeneticParameter(f"{name}\0correlation", effects[j], effects[i], R[..., i, j])
            for i in range(len(effects))
            for j in range(i)
            if np.any(S[..., i, j])
        ]
    return out


def _told(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of the comparison from a table of any source."""
    value = next(name for name in ("component", "estimate", "median") if name in table)
    error = next(name for name in ("std_error", "sd") if name in table)
    if table.empty:
        return pd.DataFrame(columns=[*_KEYS, "value", "error"])
    parameter = table["parameter"].astype(str)
    split = parameter.str.split("\0", n=1, expand=True).reindex(columns=[0, 1])
    of_term = split[1].notna()
    term = table["term"] if "term" in table else split[0].where(of_term, "")
    return pd.DataFrame(
        {
            "term": term,
            "parameter": split[1].where(of_term, split[0]),
            "trait_i": table["trait_i"],
            "trait_j": table["trait_j"],
            "value": table[value].astype(float),
            "error": table[error].astype(float),
        }
    )
