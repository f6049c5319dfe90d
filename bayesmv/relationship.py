"""Relationship matrices among levels: labels, sparse inverse and log-determinant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse


@dataclass(frozen=True, kw_only=True)
class Relationship:
    """Covariance K among the levels of a term, held as its sparse inverse.

    Parameters
    ----------
    ids
        Labels of the levels (q,).
    precision
        K⁻¹ (q, q), symmetric.
    log_determinant
        log|K|.
    diagonal
        K_ii (q,).
    """

    ids: pd.Index
    precision: sparse.csc_array
    log_determinant: float
    diagonal: npt.NDArray[np.float64]

    def locate(self, column: pd.Series[Any], factor: str) -> npt.NDArray[np.intp]:
        """Return the position of each value among `ids`."""
        return np.asarray(self.ids.get_indexer(pd.Index(column)), dtype=np.intp)
