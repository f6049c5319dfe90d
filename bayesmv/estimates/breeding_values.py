"""Predicted effects of levels: breeding values."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bayesmv.design.design import Design
from bayesmv.estimates.source import estimates_of


def breeding_values(source: Any, term: str, *, design: Design | None = None, max_draws: int = 400) -> pd.DataFrame:
    """Predicted effects of the levels of a term (breeding values for a genetic one).

    Parameters
    ----------
    source
        A REML fit (BLUPs), or a posterior.
    term
        Name of the random term.
    design
        For a posterior that holds no draws of these effects: its design, to accumulate their moments over draws of the
        covariances without storing any.
    max_draws
        Most draws of the covariances to accumulate over, evenly spaced.

    Returns
    -------
    DataFrame
        level, trait and, for REML, blup, std_error, reliability, accuracy; for a posterior, mean, sd and, from a
        design, reliability ``1 - var / (σ² K_ii)`` and accuracy (its square root), from draws, hdi_low, hdi_high.

    Raises
    ------
    SpecError
        If the posterior holds no draws of these effects and no design is given, or the design is another.
    """
    return estimates_of(source).effects(term, design=design, max_draws=max_draws)
