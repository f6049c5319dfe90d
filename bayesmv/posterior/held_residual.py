"""Residual structures with standard deviations held, as structures of rows with some of their coordinates held.

A liability has residual variance 1. `us` with variances held is a correlation matrix built from angles
(:mod:`bayesmv.covariance.held`), which compiled code does not know; the same matrices are those of a factor whose rows
have given norms. In the coordinates of :mod:`.coordinates` the logarithm of the norm of a row is a coordinate of its
own, independent of the others under the priors: holding it holds the standard deviation, and leaves the prior of all
else as it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance import Constrained, CovarianceStructure, Separate, Unstructured
from bayesmv.covariance.held import HeldCorrelations
from bayesmv.covariance.linear import Diagonal

#: Variance that stands for none, whose logarithm is a number.
_NONE = 1e-100


def with_rows(structure: CovarianceStructure) -> tuple[CovarianceStructure, Array]:
    """Structure of rows of a factor, and the coordinates that are held, (n_parameters,), NaN where they are free.

    Structures without such a form, and those that have it, are returned as they are, with nothing held.
    """
    if isinstance(structure, Separate):
        parts = [with_rows(part) for part in structure.parts]
        return replace(structure, parts=tuple(s for s, _ in parts)), np.concatenate([held for _, held in parts])
    none = np.full(structure.n_parameters, np.nan)
    if not isinstance(structure, Constrained) or structure.equal:
        return structure, none
    inner = structure.inner
    rows: CovarianceStructure = inner
    if isinstance(inner, HeldCorrelations) and not inner.held:
        rows = Unstructured(inner.size)
    elif not isinstance(inner, Diagonal):
        return structure, none
    inside = np.full(structure.n_parameters, 0.7)
    fixed = ~np.any(np.einsum("pii->pi", structure.jacobian(inside)), axis=0)
    # The residual of a family without one has variance 0.
    log_sd = 0.5 * np.log(np.maximum(np.diag(structure.matrix(inside)), _NONE))
    held = np.full(rows.n_parameters, np.nan)
    scales = np.flatnonzero(rows.anchor == np.arange(rows.n_parameters))
    held[scales] = np.where(fixed, log_sd, np.nan)
    return rows, held
