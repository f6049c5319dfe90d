"""What every engine of the restricted likelihood offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bayesmv.arrays import Array

#: Eigenvalues of a covariance, in phenotypic variances, are raised to this where an engine needs a full-rank factor.
FLOOR = 1e-10


class RestrictedLikelihood(Protocol):
    r"""Restricted log-likelihood of the covariance matrices, in phenotypic-sd units of the traits.

    .. math:: l = -\tfrac12 [(N-p)\log 2\pi + \log|V| + \log|X'V^{-1}X| + y'Py]

    Matrices are given as the list Σ_1 … Σ_K, R, in the order of ``Design.names``. The value has the full constant
    **and** the Jacobian of the scaling, so it is the log-likelihood of the data in their own units.
    """

    name: str

    def loglik(self, sigmas: Sequence[Array]) -> float:
        """l; -inf where a matrix makes V singular."""

    def value_and_gradient(self, sigmas: Sequence[Array]) -> tuple[float, list[Array]]:
        """l and the symmetric dl/dΣ_k, such that dl = Σ_k tr(G_k dΣ_k)."""

    def average_information(self, sigmas: Sequence[Array]) -> Array:
        """Average information of the stacked lower triangles of the matrices, (components, components).

        ``AI_ij = ½ y'P V_i P V_j P y`` (Gilmour, Thompson & Cullis 1995, Biometrics 51:1440-1450).
        """

    def fork(self) -> RestrictedLikelihood:
        """Return an engine with scratch memory of its own, to use in another thread."""


def clipped_factor(sigma: Array) -> Array:
    """F (m, m) with FF' = Σ, eigenvalues below FLOOR raised to it so that F can be inverted."""
    values, vectors = np.linalg.eigh(sigma)
    return np.asarray(vectors * np.sqrt(np.maximum(values, FLOOR)))
