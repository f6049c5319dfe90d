"""How much of the effects of each term the records tell, where traits are not Gaussian."""

from __future__ import annotations

import json

import pandas as pd
import xarray as xr

from bayesmv.errors import SpecError
from bayesmv.sampling.trace import INFORMED


def informed_fraction(trace: xr.DataTree) -> pd.DataFrame:
    r"""Mean share of the prior variance of effects that the records take away.

    .. math:: r = 1 - \mathrm{tr}(P\,V) / q

    with P the prior precision of the q standardised effects of a term and trait, and V their covariance in the
    approximate posterior at its mode. Near 0 the records say nothing of single levels: their effects are those of their
    relatives and of the prior, and so is, mostly, the variance.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`, of a model with traits that are not Gaussian.

    Returns
    -------
    DataFrame
        term, effect, informed.

    Raises
    ------
    SpecError
        If every trait is Gaussian: see the reliabilities of :func:`bayesmv.breeding_values`.
    """
    if INFORMED not in trace.attrs:
        raise SpecError(
            "informed fractions are of models with traits that are not Gaussian; the reliabilities of breeding_values "
            "are the same of each level"
        )
    rows = [
        {"term": term, "effect": effect, "informed": share}
        for term, shares in json.loads(trace.attrs[INFORMED]).items()
        for effect, share in shares.items()
    ]
    return pd.DataFrame(rows, columns=["term", "effect", "informed"])
