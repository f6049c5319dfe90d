"""Structures whose θ stand directly in a factor F: Σ = FF'."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance.base import (
    CovarianceStructure,
    Matrix,
    Parameter,
    Placement,
    common_sd,
    common_sd_parameter,
    sd_parameters,
)
from bayesmv.numerics.symmetric import packed_rows, psd_cholesky


@dataclass(frozen=True)
class LinearFactor(CovarianceStructure):
    """Σ = F(θ)F(θ)', F (m, width) with entries that are 0, one of θ or a fixed combination of them."""

    @property
    def width(self) -> int:
        """Columns of F."""
        return self.size

    @property
    @abstractmethod
    def entries(self) -> Placement:
        """Places of θ in F(θ)."""

    @property
    def placement(self) -> Placement | None:
        return self.entries

    def loads(self, theta: Array) -> Array:
        """F(θ): (…, n_parameters) → (…, m, width)."""
        F = np.zeros((*theta.shape[:-1], self.size, self.width))
        rows, cols, parameters, weights = self.entries
        np.add.at(F, (..., rows, cols), weights * theta[..., parameters])
        return F

    def factor(self, theta: Array) -> Array:
        return self.loads(theta)

    def matrix(self, theta: Array) -> Array:
        F = self.loads(theta)
        return np.asarray(F @ np.swapaxes(F, -1, -2))

    def jacobian(self, theta: Array) -> Array:
        rows, cols, parameters, weights = self.entries
        J = np.zeros((self.n_parameters, self.size, self.size))
        np.add.at(J, (parameters, rows), weights[:, None] * self.loads(theta)[:, cols].T)
        return J + np.swapaxes(J, 1, 2)

    def curvature(self, theta: Array, gradient: Array) -> Array:
        rows, cols, parameters, weights = self.entries
        pairs = 2.0 * gradient[np.ix_(rows, rows)] * (cols[:, None] == cols[None, :])
        to_parameters = weights[:, None] * np.eye(self.n_parameters)[parameters]
        return np.asarray(to_parameters.T @ pairs @ to_parameters)


@dataclass(frozen=True)
class Unstructured(LinearFactor):
    """Unstructured covariance Σ = LL', θ the lower triangle of L packed by rows.

    Parameters
    ----------
    size
        Number of effects.
    order
        The effect of each row of the triangle; None for their own order. Then L is the triangle with its rows put in
        the places of the effects.
    shear
        Matrix T (m, m) with Σ = TL(TL)' in the order of the rows, 1 on its diagonal and |T| = 1; None for I.
    relative
        Rows of the triangle whose sd is far from 0, for samplers.
    """

    order: tuple[int, ...] | None = None
    shear: Matrix | None = None
    far: tuple[int, ...] = ()

    word: ClassVar[str] = "us"
    separable: ClassVar[bool] = False

    @property
    def n_parameters(self) -> int:
        return self.size * (self.size + 1) // 2

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        rows, _ = packed_rows(self.size)
        return np.asarray(rows * (rows + 3) // 2)

    @property
    def effect_of(self) -> npt.NDArray[np.intp]:
        """Effect of each row of the triangle, (m,)."""
        return np.arange(self.size) if self.order is None else np.array(self.order)

    @property
    def entries(self) -> Placement:
        rows, cols = packed_rows(self.size)
        plain = Placement.plain(self.effect_of[rows], cols, np.arange(self.n_parameters))
        if self.shear is None:
            return plain
        # Row i of TL is that of L and, of all others j, T_ij times theirs.
        T = np.array(self.shear) - np.eye(self.size)
        to, parameter = np.nonzero(T[:, rows])
        sheared = Placement(self.effect_of[to], cols[parameter], parameter, T[to, rows[parameter]])
        return Placement(*(np.concatenate(pair) for pair in zip(plain, sheared, strict=True)))

    def from_matrix(self, sigma: Array) -> Array:
        own = sigma[np.ix_(self.effect_of, self.effect_of)]
        if self.shear is not None:
            T = np.linalg.inv(np.array(self.shear))
            own = T @ own @ T.T
        return np.asarray(psd_cholesky(own)[packed_rows(self.size)])

    def pivoted(self, sigma: Array) -> Self:
        """Structure with the order of a pivoted Cholesky factor of `sigma` (m, m).

        The effect with the largest variance comes first, then that with the largest variance given it, and so on.
        """
        rest, order = np.array(sigma, dtype=float), list[int]()
        while len(order) < self.size:
            left = np.setdiff1d(np.arange(self.size), order)
            p = int(left[np.argmax(np.diag(rest)[left])])
            order.append(p)
            if rest[p, p] > 0.0:
                rest -= np.outer(rest[:, p], rest[p]) / rest[p, p]
        return replace(self, order=tuple(order))

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        return tuple(
            Parameter(name=f"cholesky[{labels[i]},{labels[j]}]", unit=int(i), low=0.0 if i == j else -np.inf)
            for i, j in zip(*packed_rows(self.size), strict=True)
        )


@dataclass(frozen=True)
class GeneralCorrelation(Unstructured):
    """Covariances of `us`, reported as correlations and variances (ASReml's ``corgh``)."""

    word: ClassVar[str] = "corgh"
    reports_correlations: ClassVar[bool] = True


@dataclass(frozen=True)
class Diagonal(LinearFactor):
    """Independent effects with variances of their own: Σ = diag(θ²), θ the standard deviations."""

    word: ClassVar[str] = "diag"

    @property
    def n_parameters(self) -> int:
        return self.size

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        return np.arange(self.size)

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        return _on_diagonal(self.size)

    @property
    def entries(self) -> Placement:
        index = np.arange(self.size)
        return Placement.plain(index, index, index)

    def from_matrix(self, sigma: Array) -> Array:
        return np.asarray(np.sqrt(np.maximum(np.diag(sigma), 0.0)))

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        return sd_parameters(labels)


@dataclass(frozen=True)
class ScaledIdentity(LinearFactor):
    """Independent effects with one variance: Σ = θ² I."""

    word: ClassVar[str] = "idv"
    ties_scales: ClassVar[bool] = True

    @property
    def n_parameters(self) -> int:
        return 1

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        return np.zeros(1, dtype=np.intp)

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        return _on_diagonal(self.size)

    @property
    def entries(self) -> Placement:
        index = np.arange(self.size)
        return Placement.plain(index, index, np.zeros_like(index))

    def from_matrix(self, sigma: Array) -> Array:
        return np.array([common_sd(sigma)])

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        return (common_sd_parameter(),)


def _on_diagonal(size: int) -> tuple[tuple[int, int], ...]:
    return tuple((i, i) for i in range(size))
