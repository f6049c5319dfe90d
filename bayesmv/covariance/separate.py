"""Several structures side by side: groups of effects without covariance between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance.base import CovarianceStructure, Parameter, Placement
from bayesmv.covariance.blocks import CovarianceBlocks


@dataclass(frozen=True)
class Separate(CovarianceStructure):
    """Covariance with one structure for each of several sets of effects, and 0 between sets.

    Parameters
    ----------
    size
        Number of effects; those in no set have variance 0.
    parts
        The structures.
    places
        The effects of each, in order.
    """

    parts: tuple[CovarianceStructure, ...] = ()
    places: tuple[tuple[int, ...], ...] = ()

    word = "separate"

    @property
    def name(self) -> str:
        return self.parts[0].name

    @property
    def _blocks(self) -> CovarianceBlocks:
        return CovarianceBlocks(self.parts)

    @property
    def n_parameters(self) -> int:
        return self._blocks.n_parameters

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        return self._blocks.anchor

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        pairs = [
            (max(at[i], at[j]), min(at[i], at[j]))
            for part, at in zip(self.parts, self.places, strict=True)
            for i, j in part.support
        ]
        return tuple(sorted(pairs))

    @property
    def placement(self) -> Placement | None:
        placed: list[Placement] = []
        for part, places, own in zip(self.parts, self.places, self._blocks.slices, strict=True):
            if part.placement is None:
                return None
            (r, c, p, weight), at = part.placement, np.array(places, dtype=np.intp)
            placed.append(Placement(at[r], at[c], p + own.start, weight))
        return Placement(*(np.concatenate(parts) for parts in zip(*placed, strict=True)))

    @property
    def max_rank(self) -> int:
        return sum(part.max_rank for part in self.parts)

    def matrix(self, theta: Array) -> Array:
        out = np.zeros((*theta.shape[:-1], self.size, self.size))
        for sigma, at in zip(self._blocks.matrices(theta), self.places, strict=True):
            out[..., np.array(at)[:, None], at] = sigma
        return out

    def factor(self, theta: Array) -> Array:
        out = np.zeros((self.size, self.size))
        for part, at, own in zip(self.parts, self.places, self._blocks.slices, strict=True):
            out[np.ix_(at, at)] = part.factor(theta[own])
        return out

    def jacobian(self, theta: Array) -> Array:
        out = np.zeros((self.n_parameters, self.size, self.size))
        for part, at, own in zip(self.parts, self.places, self._blocks.slices, strict=True):
            out[np.ix_(np.arange(own.start, own.stop), at, at)] = part.jacobian(theta[own])
        return out

    def curvature(self, theta: Array, gradient: Array) -> Array:
        return self._blocks.curvature(theta, [gradient[np.ix_(at, at)] for at in self.places])

    def from_matrix(self, sigma: Array) -> Array:
        return self._blocks.from_matrices([sigma[np.ix_(at, at)] for at in self.places])

    def canonical(self, theta: Array) -> Array:
        return self._blocks.canonical(theta)

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        return tuple(
            replace(p, unit=None if p.unit is None else at[p.unit], per=None if p.per is None else at[p.per])
            for part, at in zip(self.parts, self.places, strict=True)
            for p in part.parameters([labels[i] for i in at])
        )

    def edges(self, theta: Array) -> npt.NDArray[np.bool_]:
        return np.concatenate(
            [part.edges(theta[own]) for part, own in zip(self.parts, self._blocks.slices, strict=True)]
        )

    def rescaled(self, scale: Array) -> Self:
        parts = tuple(part.rescaled(scale[list(at)]) for part, at in zip(self.parts, self.places, strict=True))
        return replace(self, parts=parts)

    def pivoted(self, sigma: Array) -> Self:
        parts = tuple(part.pivoted(sigma[np.ix_(at, at)]) for part, at in zip(self.parts, self.places, strict=True))
        return replace(self, parts=parts)

    def apart(self, sigma: Array, noise: Array, freedom: float) -> Self:
        pairs = [(part, list(at)) for part, at in zip(self.parts, self.places, strict=True)]
        return replace(self, parts=tuple(part.apart(sigma[np.ix_(at, at)], noise[at], freedom) for part, at in pairs))

    @property
    def relative(self) -> npt.NDArray[np.bool_]:
        return self._blocks.relative
