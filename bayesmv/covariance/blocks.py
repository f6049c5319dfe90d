"""Several covariance matrices as one parameter vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance.base import ANGLE, CovarianceStructure
from bayesmv.numerics.symmetric import block_diagonal, packed_rows


@dataclass(frozen=True)
class CovarianceBlocks:
    """Several covariance matrices seen as one parameter vector: the random terms, then the residuals.

    Shapes: θ is (…, n_parameters); the matrices Σ_1 … Σ_K are a list of (…, m_k, m_k) arrays; σ is the stacked lower
    triangles (by rows) of all matrices, (n_components,).
    """

    structures: tuple[CovarianceStructure, ...]

    @property
    def n_parameters(self) -> int:
        """Length of θ."""
        return sum(s.n_parameters for s in self.structures)

    @cached_property
    def slices(self) -> list[slice]:
        """Places of each structure's parameters in θ."""
        ends = np.cumsum([0, *(s.n_parameters for s in self.structures)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """Mask of the θ that are scales, (n_parameters,)."""
        return np.concatenate([s.positive for s in self.structures])

    @property
    def powers(self) -> Array:
        """Power of a natural value that every θ is, (n_parameters,)."""
        return np.concatenate([s.powers for s in self.structures])

    @cached_property
    def anchor(self) -> npt.NDArray[np.intp]:
        """For each θ the scale of its row of a factor, or its kind, (n_parameters,)."""
        parts = [
            np.where(s.anchor < 0, s.anchor, s.anchor + at.start)
            for s, at in zip(self.structures, self.slices, strict=True)
        ]
        return np.concatenate(parts)

    @property
    def relative(self) -> npt.NDArray[np.bool_]:
        """Mask of the scales that are far from 0, (n_parameters,)."""
        return np.concatenate([s.relative for s in self.structures])

    def inside(self, theta: Array, widest: float) -> Array:
        """θ with angles held to ± `widest`: at ±π/2 the slope by an angle vanishes."""
        return np.where(self.anchor == ANGLE, np.clip(theta, -widest, widest), theta)

    def matrices(self, theta: Array) -> list[Array]:
        """Σ_k(θ) of every structure."""
        return [s.matrix(theta[..., at]) for s, at in zip(self.structures, self.slices, strict=True)]

    def from_matrices(self, sigmas: Sequence[Array]) -> Array:
        """θ at the given matrices."""
        return np.concatenate([s.from_matrix(m) for s, m in zip(self.structures, sigmas, strict=True)])

    def canonical(self, theta: Array) -> Array:
        """θ with the same matrices, in the canonical form of every structure."""
        parts = [s.canonical(theta[at]) for s, at in zip(self.structures, self.slices, strict=True)]
        return np.concatenate(parts)

    def pullback(self, theta: Array, gradients: Sequence[Array]) -> Array:
        """dl/dθ from dl/dΣ_k: (n_parameters,)."""
        parts = [
            np.einsum("kab,ab->k", s.jacobian(theta[at]), G)
            for s, at, G in zip(self.structures, self.slices, gradients, strict=True)
        ]
        return np.concatenate(parts)

    def jacobian(self, theta: Array) -> Array:
        """dσ/dθ, (n_components, n_parameters)."""
        blocks = []
        for s, at in zip(self.structures, self.slices, strict=True):
            rows, cols = packed_rows(s.size)
            blocks.append(s.jacobian(theta[at])[:, rows, cols].T)
        return block_diagonal(blocks)

    def curvature(self, theta: Array, gradients: Sequence[Array]) -> Array:
        """Second-derivative term of the map θ → Σ in the Hessian of l(θ), (n_parameters, n_parameters)."""
        return block_diagonal(
            [s.curvature(theta[at], G) for s, at, G in zip(self.structures, self.slices, gradients, strict=True)]
        )
