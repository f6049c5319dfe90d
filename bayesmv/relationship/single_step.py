"""Single-step relationship matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.relationship.kernel_algebra import CHUNK, IMPROPER, invert
from bayesmv.relationship.pedigree import Pedigree


def single_step_inverse(
    animals: Pedigree, place: IntArray, A22: Array, G_w: Array, weights: tuple[float, float]
) -> tuple[sparse.csc_array, float, Array]:
    """H⁻¹ (n, n), log|H| and H_ii (n,) of a pedigree joined with G_w (m, m) at `place`; see `single_step`."""
    ids, (tau, omega) = animals.ids[place], weights
    A22_inverse, log_A22 = invert(A22, ids)
    inner = tau * invert(G_w, ids, remedy="raise blend, the share of A22")[0] + (1.0 - omega) * A22_inverse
    apart = f"τ = {tau:g} and ω = {omega:g} do not go together, take both nearer 1"
    H22, log_inner = invert(inner, ids, limit=IMPROPER, remedy=apart)
    delta, n = inner - A22_inverse, len(animals)
    rows, columns = (index.ravel() for index in np.meshgrid(place, place, indexing="ij"))
    added = sparse.csc_array((delta.ravel(), (rows, columns)), shape=(n, n))
    precision = animals.inverse() + added
    log_determinant = animals.log_determinant - log_A22 - log_inner
    change = _added_variance(animals, place, A22_inverse, A22_inverse @ (H22 - A22))
    return sparse.csc_array(0.5 * (precision + precision.T)), log_determinant, animals.relationship_diagonal + change


def _added_variance(animals: Pedigree, place: IntArray, left: Array, right: Array) -> Array:
    """Diagonal (n,) of A·2 left right' A2·, some columns of both (m, m) at a time."""
    total, width = np.zeros(len(animals)), max(1, CHUNK // (2 * len(animals)))
    for first in range(0, place.size, width):
        chunk = np.hstack([left[:, first : first + width], right[:, first : first + width]])
        padded = np.zeros((len(animals), chunk.shape[1]))
        padded[place] = chunk
        a, b = np.hsplit(animals.times(padded), 2)
        total += (a * b).sum(axis=1)
    return total
