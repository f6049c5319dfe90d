"""Numbers beyond reason: refused before their squares overflow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.errors import DataError

#: Largest traits and weights, whose squares and products are still numbers; and largest ratio of two weights.
_LARGEST, _LARGEST_RATIO = 1e100, 1e12


def check_traits(traits: Sequence[str], response: Array) -> None:
    """Refusal of traits (n, t), NaN where missing, whose squares would overflow or vanish.

    Raises
    ------
    DataError
        Naming the trait and its largest value.
    """
    for trait, column in zip(traits, response.T, strict=True):
        sizes = np.abs(column[np.isfinite(column) & (column != 0.0)])
        if len(sizes) and not 1.0 / _LARGEST <= sizes.max() <= _LARGEST:
            raise DataError(
                f"the trait '{trait}' has values of up to {sizes.max():.3g}; give it in other units, "
                f"between {1.0 / _LARGEST:.0e} and {_LARGEST:.0e}"
            )


def check_weights(name: str, column: pd.Series[float]) -> None:
    """Refusal of weights that are so far apart, or so large or small, that records with others count for nothing.

    Raises
    ------
    DataError
        Naming the column, and the least and the largest weight.
    """
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    values = values[np.isfinite(values) & (values > 0.0)]
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if high / low > _LARGEST_RATIO or high > _LARGEST or low < 1.0 / _LARGEST:
        raise DataError(
            f"the weights '{name}' lie between {low:.3g} and {high:.3g}; they may differ by a factor of "
            f"{_LARGEST_RATIO:.0e}, and are to lie between {1.0 / _LARGEST:.0e} and {_LARGEST:.0e}"
        )
