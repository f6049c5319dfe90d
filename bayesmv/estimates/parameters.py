"""Genetic parameters of a fit or a posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.design.model_record import ModelRecord
from bayesmv.estimates.genetic import GeneticParameter, parameters
from bayesmv.estimates.points import Compute
from bayesmv.estimates.source import estimates_of
from bayesmv.model.genetic import Genetic

#: Parameters that are of the phenotypic variance.
_OF_PHENOTYPES = (
    "phenotypic variance",
    "heritability",
    "total heritability",
    "broad-sense heritability",
    "total breeding variance / phenotypic variance",
)


def genetic_parameters(
    source: Any,
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
        posterior; and constraint: ``unconstrained``, ``boundary`` (it rests on a direction that is held on the
        boundary, and so has no standard error) or ``not identified`` (and so has no estimate) for REML, empty or
        ``prior only`` for a posterior.

    Raises
    ------
    SpecError
        If no genetic term is known.

    Notes
    -----
    Negative binomial traits have no residual on the latent scale, and so no phenotypic variance and heritability there;
    those on the scale of the data are of :func:`bayesmv.observed_scale`.
    """
    estimates = estimates_of(source)
    chosen = estimates.genetic(genetic, relationship)
    table = estimates.evaluate(parameters_of(estimates.record, chosen, phenotypic))
    families = estimates.record.spec.families
    bare = [trait for trait, family in families.items() if family.residual_sd == 0.0]
    # Without a residual on the latent scale there is no phenotypic variance there to be a share of.
    return table[~(table["trait_i"].isin(bare) & table["parameter"].isin(_OF_PHENOTYPES))].reset_index(drop=True)


def parameters_of(record: ModelRecord, genetic: Genetic, phenotypic: Sequence[str] | None = None) -> Compute:
    """Genetic parameters of a model as a function of its covariance matrices.

    Parameters
    ----------
    record
        The model.
    genetic
        Its genetic term.
    phenotypic
        Terms that make up the phenotypic variance; by default those that `genetic` states.
    """
    known = record.records_per_level.get(genetic.term)

    def compute(covariances: Mapping[str, Array]) -> list[GeneticParameter]:
        return parameters(
            covariances,
            record.traits,
            genetic,
            terms=phenotypic or genetic.phenotypic,
            same_subject=record.same_subject(genetic.term),
            records=None if known is None else np.asarray(known),
            layouts=record.layouts,
        )

    return compute
