"""Variance components and correlations of a REML fit or a posterior."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bayesmv.estimates.source import estimates_of


def variance_components(source: Any) -> pd.DataFrame:
    """Table of variances and covariances of all terms, in the units of the data.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.

    Returns
    -------
    DataFrame
        term, trait_i, trait_j and, for REML, component, std_error, z_ratio, constraint; for a posterior, mean,
        median, sd, hdi_low, hdi_high (95 %), ess_bulk, ess_tail, r_hat, constraint (``prior only`` where the data do
        not identify it).
    """
    return estimates_of(source).components()


def correlation_matrix(source: Any, term: str) -> pd.DataFrame:
    """Correlations among the effects of a term, such as environments: REML estimates or posterior medians.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    term
        Name of a term, or ``"Residual"``.

    Returns
    -------
    DataFrame
        Effects × effects, 1 on the diagonal.

    Raises
    ------
    SpecError
        If there is no such term.
    """
    estimates = estimates_of(source)
    labels = pd.Index(estimates.record.effects_of(term))
    return pd.DataFrame(estimates.correlations(term), index=labels, columns=labels)
