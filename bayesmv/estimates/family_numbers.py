"""Numbers of families that were estimated with a model: thresholds, shapes and shares of extra zeros."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.estimates.source import PosteriorEstimates, RemlEstimates, describe, estimates_of
from bayesmv.families.declared import FAMILIES
from bayesmv.sampling.trace import drawn_group

#: What they are called in tables.
_WORDS = {"thresholds": "threshold {}", "shape": "shape", "zeros": "share of extra zeros"}


def family_numbers(source: Any) -> pd.DataFrame:
    """Thresholds of ordered traits, shapes of negative binomial ones, and shares of extra zeros.

    Thresholds are in residual standard deviations of the liability, from the first, which is 0. Of a fit they are those
    at which the approximate likelihood is highest, without standard errors.

    Parameters
    ----------
    source
        A fit with its design, or a posterior from :func:`bayesmv.sample`.

    Returns
    -------
    DataFrame
        parameter, trait_i, trait_j (the same), and estimate of a fit; of a posterior mean, median, sd, hdi_low,
        hdi_high, ess_bulk, ess_tail and r_hat. Without rows where no family has such a number.
    """
    estimates = estimates_of(source)
    rows = [
        {"parameter": name, "trait_i": trait, "trait_j": trait, **told}
        for trait, name, told in (
            _of_posterior(estimates) if isinstance(estimates, PosteriorEstimates) else _of_fit(estimates)
        )
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["parameter", "trait_i", "trait_j"])


def _of_fit(estimates: Any) -> Iterator[tuple[str, str, dict[str, float]]]:
    assert isinstance(estimates, RemlEstimates)
    if not estimates.record.spec.families:
        return
    for trait, family in zip(estimates.traits, estimates.fit.families, strict=True):
        for k, value in enumerate(family.numbers):
            yield trait, _WORDS[family.number].format(k + 2), {"estimate": float(value)}


def _of_posterior(estimates: PosteriorEstimates) -> Iterator[tuple[str, str, dict[str, float]]]:
    posterior = drawn_group(estimates.trace)
    for trait, stated in estimates.record.spec.families.items():
        number = FAMILIES[stated.family].number
        name = dims.family_name(trait, number)
        if number and name in posterior:
            draws: Array = posterior[name].to_numpy()
            draws = draws.reshape(*draws.shape[:2], -1)
            for k in range(draws.shape[-1]):
                yield trait, _WORDS[number].format(k + 2), describe(draws[..., k])
