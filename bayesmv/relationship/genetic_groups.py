"""Genetic groups of unknown parents, as fixed covariates.

With u = Qg + a, Q the expected shares of the groups in each animal, a ~ N(0, A σ²) and g fixed, the group effects
are ordinary covariates: the columns of Q, one left out beside an intercept, because the shares of an animal add up
to 1. This is the model of Westell, Quaas & Van Vleck (1988), J. Dairy Sci. 71:1310-1318; its breeding value is u =
Qg + a.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.linalg import spsolve_triangular

from bayesmv.errors import PedigreeError
from bayesmv.relationship.pedigree import Pedigree


def group_shares(pedigree: Pedigree) -> pd.DataFrame:
    """Expected share of every genetic group in the genes of every animal, Q (animals × groups).

    ``Q_i = (Q_sire + Q_dam) / 2``, an unknown parent being its group.

    Parameters
    ----------
    pedigree
        From ``Pedigree.from_frame(…, groups=[…])``.

    Returns
    -------
    DataFrame
        Indexed by the ids: join it to the data and add its columns, all but one, to the fixed effects.

    Raises
    ------
    PedigreeError
        If the pedigree has no groups.
    """
    if pedigree.group_slots is None:
        raise PedigreeError("the pedigree has no genetic groups; name unknown parents in from_frame(..., groups=[...])")
    n = len(pedigree)
    halves, own = sparse.csr_array((n, n)), np.zeros((n, len(pedigree.groups)))
    for parent, slot in zip((pedigree.sire, pedigree.dam), pedigree.group_slots.T, strict=True):
        known, grouped = np.flatnonzero(parent >= 0), np.flatnonzero(slot >= 0)
        halves = halves + sparse.csr_array((np.full(len(known), 0.5), (known, parent[known])), shape=(n, n))
        np.add.at(own, (grouped, slot[grouped]), 0.5)
    # Parents come first, so I - P is lower triangular.
    shares = spsolve_triangular(sparse.csr_array(sparse.eye_array(n) - halves), own, lower=True)
    return pd.DataFrame(shares, index=pedigree.ids, columns=[str(group) for group in pedigree.groups])


def without_groups(pedigree: Pedigree) -> Pedigree:
    """Same animals with their unknown parents simply unknown, for :meth:`Relationship.from_pedigree`."""
    return replace(pedigree, groups=pd.Index([], dtype=object), group_slots=None)
