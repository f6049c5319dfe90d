"""Parameters of square factors of covariance matrices, for structures whose own do not stand in one.

Compiled code knows factors F (m, m), Σ = FF', whose entries are parameters, as those of `us`, `diag` and `idv` are. Of
others, such as `fa`, the Cholesky factor of Σ(θ) stands for them, as that of an unstructured matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceStructure, Unstructured
from bayesmv.likelihood.latent.conditioning import by_matrix


def is_square(structure: CovarianceStructure) -> bool:
    """Whether the parameters of a structure stand in a square factor."""
    return structure.placement is not None and bool(structure.placement.column.max(initial=0) < structure.size)


class SquareFactors:
    """The map from the parameters of some structures to those of square factors, and back for gradients.

    Parameters
    ----------
    structures
        Structures of the random terms.
    """

    def __init__(self, structures: Sequence[CovarianceStructure]) -> None:
        self._own = tuple(structures)
        #: The structures whose parameters the factors have.
        self.structures = tuple(s if is_square(s) else Unstructured(s.size) for s in structures)
        self._slices, self.slices = _slices(self._own), _slices(self.structures)

    @property
    def plain(self) -> bool:
        """Whether all structures have square factors of their own."""
        return all(mine is theirs for mine, theirs in zip(self._own, self.structures, strict=True))

    def of(self, theta: Array) -> Array:
        """Parameters of the factors, and all that follows them in θ; as θ is where all structures have square ones."""
        if self.plain:
            return theta
        parts = [
            theta[at] if own is square else square.from_matrix(own.matrix(theta[at]))
            for own, square, at in zip(self._own, self.structures, self._slices, strict=True)
        ]
        return np.concatenate([*parts, theta[self._slices[-1].stop :]])

    def pulled(self, theta: Array, by: Array) -> Array:
        """Derivative by θ from that by the parameters of the factors."""
        if self.plain:
            return by
        parts = []
        for own, square, at, to in zip(self._own, self.structures, self._slices, self.slices, strict=True):
            if own is square:
                parts.append(by[to])
                continue
            rows, columns, parameters, _ = square.placement or (np.zeros(0, dtype=np.int64),) * 4
            L, by_L = np.zeros((2, own.size, own.size))
            L[rows, columns] = square.from_matrix(own.matrix(theta[at]))[parameters]
            by_L[rows, columns] = by[to][parameters]
            parts.append(np.einsum("pab,ab->p", own.jacobian(theta[at]), by_matrix(L, by_L)))
        return np.concatenate([*parts, by[self.slices[-1].stop :]])


def _slices(structures: Sequence[CovarianceStructure]) -> list[slice]:
    ends = np.cumsum([0, *(s.n_parameters for s in structures)])
    return [slice(int(a), int(b)) for a, b in pairwise(ends)] or [slice(0, 0)]
