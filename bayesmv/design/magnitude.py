"""Numbers beyond reason: refused before their squares overflow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import DataError

#: Largest traits, whose squares and products are still numbers.
_LARGEST = 1e100


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
