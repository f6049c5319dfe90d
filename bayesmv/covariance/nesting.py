"""Nesting of structures: special cases of one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance.base import CovarianceStructure

_MEMBERS = 4
_PRECISION = 1e-6


def contains(
    large: CovarianceStructure,
    small: CovarianceStructure,
    scale: Array | None = None,
    at: Sequence[int] | None = None,
) -> bool:
    """Whether `large` can take every value of `small`: a likelihood-ratio test between them makes sense.

    Judged on some members of `small` drawn with a fixed seed: of structures that are not nested, almost no member of
    one is a member of the other.

    Parameters
    ----------
    large, small
        The structures.
    scale
        Units of the effects of `small` over those of `large` (m,), where they differ.
    at
        Where the effects of `small` stand in `large` (m,), if it has effects that `small` has not: these are 0.

    Examples
    --------
    >>> from bayesmv.covariance import structure
    >>> contains(structure("us", 3), structure("fa(1)", 3)), contains(structure("ar1", 3), structure("corv", 3))
    (True, False)
    """
    if at is None and large.size != small.size:
        return False
    rng = np.random.default_rng(0)
    unit = 1.0 if scale is None else np.outer(scale, scale)
    place = np.ix_(*(2 * [np.arange(large.size) if at is None else np.asarray(at)]))
    members = np.zeros((_MEMBERS, large.size, large.size))
    for member in members:
        member[place] = unit * small.matrix(rng.normal(0.0, 1.0, small.n_parameters))
    return all(_has(large, sigma) for sigma in members)


def _has(structure: CovarianceStructure, sigma: Array) -> bool:
    found = structure.matrix(structure.from_matrix(sigma))
    return bool(np.max(np.abs(found - sigma)) <= _PRECISION * np.max(np.diag(sigma)))
