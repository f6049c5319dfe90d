"""Genetic parameters of a fit or a posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import xarray as xr

from bayesmv.arrays import Array
from bayesmv.estimates.genetic import GeneticParameter, parameters
from bayesmv.estimates.source import _records, chosen_genetic, layouts, same_subject, tabulate, trait_names
from bayesmv.model.genetic import Genetic
from bayesmv.reml.result import RemlFit


def genetic_parameters(
    source: RemlFit | xr.DataTree,
    genetic: str | Genetic | None = None,
    *,
    relationship: str | None = None,
    phenotypic: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Additive genetic variances, heritabilities and correlations.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    genetic
        The genetic term; by default the one that the model names.
    relationship
        Relationship among the levels of the term: ``animal`` (V_A = σ²), ``half-sib`` (4σ²), ``full-sib`` (2σ²),
        ``family-mean`` … See :class:`bayesmv.Genetic`.
    phenotypic
        Terms that make up the phenotypic variance; by default those that the model states, else all.

    Returns
    -------
    DataFrame
        parameter, trait_i, trait_j and estimate, std_error (delta method) for REML; mean, median, sd, … for a
        posterior.

    Raises
    ------
    SpecError
        If no genetic term is known.
    """
    if not isinstance(source, RemlFit | xr.DataTree):
        raise TypeError(f"expected a RemlFit or a posterior DataTree, not {type(source).__name__}")
    spec_genetic = chosen_genetic(source, genetic, relationship)

    def compute(covariances: Mapping[str, Array]) -> list[GeneticParameter]:
        return parameters(
            covariances,
            trait_names(source),
            spec_genetic,
            terms=phenotypic or spec_genetic.phenotypic,
            same_subject=same_subject(source, spec_genetic.term),
            records=_records(source, spec_genetic.term),
            layouts=layouts(source),
        )

    return tabulate(source, compute)
