"""Tables of variance components, genetic parameters and breeding values, from REML fits and from posteriors."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.estimates.source import describe
from bayesmv.numerics.symmetric import packed_rows
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.trace import axis_labels, draws_of, term_names


@singledispatch
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
        median, sd, hdi_low, hdi_high (95 %), ess_bulk, ess_tail, r_hat.
    """
    raise TypeError(f"expected a RemlFit or a posterior DataTree, not {type(source).__name__}")


@variance_components.register
def _(source: RemlFit) -> pd.DataFrame:
    return source.varcomp


@variance_components.register
def _(source: xr.DataTree) -> pd.DataFrame:
    rows = []
    for name in term_names(source):
        draws = draws_of(source, dims.covariance_name(name))
        labels = axis_labels(draws, 2)
        for i, j in zip(*packed_rows(len(labels)), strict=True):
            values = draws.to_numpy()[..., i, j]
            if i == j or np.any(values):
                rows.append({"term": name, "trait_i": labels[j], "trait_j": labels[i]} | describe(values))
    return pd.DataFrame(rows)
