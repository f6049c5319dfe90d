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

#: Multiple of its noise from which a standard deviation is far from 0: some four times its error.
_CLEAR = 8.0
#: Levels are few with at most so many degrees of freedom an effect.
_FEW = 2.0


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
        entries = self.entries
        rows, cols, parameters, weights = entries
        values = weights * theta[..., parameters]
        if entries.single:
            F[..., rows, cols] = values
        else:
            for k, (i, j) in enumerate(zip(rows, cols, strict=True)):
                F[..., i, j] += values[..., k]
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
    far
        First rows of the triangle that are those of effects whose standard deviations are far from 0.
    """

    order: tuple[int, ...] | None = None
    shear: Matrix | None = None
    far: int = 0

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

    def apart(self, sigma: Array, noise: Array, freedom: float) -> Self:
        """Structure in which few levels tell of single parameters.

        Let the d degrees of freedom of the levels be fewer than the effects, whose variances among levels are far above
        their errors. REML is the matrix S of the d differences seen, of rank d. With T the unit factor of its leading
        d pivots, T⁻¹ST⁻ᵀ is diagonal, 0 but for them. Let the leading effects come last in the factor L of T⁻¹ΣT⁻ᵀ:
        the likelihood is then a function of their rows alone, and the rows before them have their prior. In the rows of
        L itself it would tie every row to those before it, the closer the smaller its standard deviation.
        """
        clear = np.sqrt(np.diag(sigma)) > _CLEAR * noise
        if not 0 < freedom <= _FEW * np.sum(clear):
            return self
        T, rest, leading = np.eye(self.size), np.array(sigma, dtype=float), list[int]()
        order = [int(i) for i in self.pivoted(sigma).effect_of]
        for i in (i for i in order if clear[i]):
            if len(leading) < freedom and rest[i, i] > (_CLEAR * noise[i]) ** 2:
                leading.append(i)
                others = clear & ~np.isin(np.arange(self.size), leading)
                T[others, i] = rest[others, i] / rest[i, i]
                rest -= np.outer(rest[:, i], rest[i]) / rest[i, i]
        following = [i for i in order if clear[i] and i not in leading]
        # Where the data tell of what follows as well, they are not as few as that.
        if not leading or (following and len(leading) < freedom):
            return self
        order = [*following, *leading[::-1], *(i for i in order if not clear[i])]
        shear = tuple(tuple(float(t) for t in row) for row in T[np.ix_(order, order)])
        return replace(self, order=tuple(order), shear=shear, far=int(np.sum(clear)))

    @property
    def relative(self) -> npt.NDArray[np.bool_]:
        rows, _ = packed_rows(self.size)
        return np.asarray(self.positive & (rows < self.far))

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
