"""Factor-analytic and reduced-rank structures: few latent effects behind many.

    fa(k)  Σ = ΛΛ' + diag(ψ²)        rr(k)  Σ = ΛΛ'

Λ (m, k) is zero above its diagonal, which takes out the rotation. Any ΛΛ' of rank k can be written so (the triangle of
Λ' = QL'), and reports rotate it again (:mod:`bayesmv.estimates.loadings`).

Sources: Smith, Cullis & Thompson (2001), Biometrics 57:1138-1147; Meyer & Kirkpatrick (2005), Genet. Sel. Evol.
37:1-30.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance.base import FREE, LOG, Loading, Matrix, Parameter, Placement, StandardDeviation
from bayesmv.covariance.linear import LinearFactor
from bayesmv.errors import SpecError
from bayesmv.numerics.symmetric import packed_rows

_PRINCIPAL_STEPS = 30
_OFF_ZERO = 1e-3


@dataclass(frozen=True)
class ReducedRank(LinearFactor):
    """Covariance of rank k, Σ = ΛΛ'.

    Parameters
    ----------
    factors
        Number k of latent effects.
    """

    factors: int = 1

    word: ClassVar[str] = "rr"
    needs_pilot: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.factors <= self.size:
            raise SpecError(
                f"{self.name} needs from 1 to {self.size} factors for {self.size} effects, not {self.factors}"
            )

    @classmethod
    def from_arguments(cls, size: int, arguments: Sequence[str], matrices: Mapping[str, Matrix] | None = None) -> Self:
        if len(arguments) != 1 or not arguments[0].isdigit():
            raise SpecError(f"{cls.word}(trait, k) needs the number k of factors, as in {cls.word}(trait, 1)")
        return cls(size, int(arguments[0]))

    @property
    def name(self) -> str:
        return f"{self.word}({self.factors})"

    @property
    def n_loadings(self) -> int:
        """Loadings that are not zero: mk - k(k-1)/2."""
        return self.size * self.factors - self.factors * (self.factors - 1) // 2

    @property
    def n_parameters(self) -> int:
        return self.n_loadings

    @property
    def width(self) -> int:
        return self.factors

    @property
    def placement(self) -> Placement | None:
        return None

    @property
    def entries(self) -> Placement:
        return Placement.plain(*self._triangle, np.arange(self.n_loadings))

    @property
    def _triangle(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        return np.tril_indices(self.size, 0, self.factors)

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        rows, cols = self._triangle
        # The prior vanishes where the head of a column is 0, except for the last: there the sign may change freely.
        return np.where((rows == cols) & (cols < self.factors - 1), LOG, FREE)

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        rows, cols = self._triangle
        return np.asarray(rows == cols)

    @property
    def max_rank(self) -> int:
        return self.factors

    def edges(self, theta: Array) -> npt.NDArray[np.bool_]:
        vanished = ~self._loadings(theta).any(axis=0)
        _, cols = self._triangle
        return np.asarray(vanished[cols] & self.positive)

    def _loadings(self, theta: Array) -> Array:
        L = np.zeros((*theta.shape[:-1], self.size, self.factors))
        L[(..., *self._triangle)] = theta[..., : self.n_loadings]
        return L

    def loadings(self, theta: Array) -> tuple[Array, Array] | None:
        return self._loadings(theta), np.zeros((*theta.shape[:-1], self.size))

    def canonical(self, theta: Array) -> Array:
        return np.asarray(upright(self._loadings(theta))[self._triangle])

    def from_matrix(self, sigma: Array) -> Array:
        return np.asarray(upright(principal_loadings(sigma, self.factors))[self._triangle])

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        return tuple(
            Loading(name=f"loading[{j + 1},{labels[i]}]", unit=int(i)) for i, j in zip(*self._triangle, strict=True)
        )


@dataclass(frozen=True)
class FactorAnalytic(ReducedRank):
    """Covariance of k latent effects and independent specific ones, Σ = ΛΛ' + diag(ψ²); θ is Λ by rows, then ψ."""

    word: ClassVar[str] = "fa"

    @property
    def n_parameters(self) -> int:
        return self.n_loadings + self.size

    @property
    def width(self) -> int:
        return self.factors + self.size

    @property
    def entries(self) -> Placement:
        rows, cols = self._triangle
        own = np.arange(self.size)
        return Placement.plain(
            np.append(rows, own),
            np.append(cols, self.factors + own),
            np.arange(self.n_parameters),
        )

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        return np.append(super().anchor, np.arange(self.n_loadings, self.n_parameters))

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        return np.append(super().positive, np.ones(self.size, dtype=bool))

    @property
    def max_rank(self) -> int:
        return self.size

    def edges(self, theta: Array) -> npt.NDArray[np.bool_]:
        # A latent effect that is not needed, or a specific variance of 0 (Heywood case).
        vanished = ~self._loadings(theta).any(axis=0)
        _, cols = self._triangle
        return np.append(vanished[cols] & super().positive, theta[self.n_loadings :] == 0.0)

    def loadings(self, theta: Array) -> tuple[Array, Array] | None:
        return self._loadings(theta), np.asarray(theta[..., self.n_loadings :] ** 2)

    def canonical(self, theta: Array) -> Array:
        loadings = upright(self._loadings(theta))[self._triangle]
        return np.append(loadings, np.abs(theta[self.n_loadings :]))

    def from_matrix(self, sigma: Array) -> Array:
        """Principal factors, then least squares on the covariances."""
        start = self._principal(sigma)
        rows, cols = packed_rows(self.size)
        if self.factors == self.size or not np.any(sigma):
            return start
        size = float(np.max(np.diag(sigma)))
        # At ψ = 0 the slope by ψ vanishes, so the start keeps off it.
        start = np.where(self.anchor >= 0, np.maximum(start / np.sqrt(size), _OFF_ZERO), start / np.sqrt(size))

        def misfit(x: Array) -> Array:
            return np.asarray((self.matrix(x) - sigma / size)[rows, cols])

        def slopes(x: Array) -> Array:
            return np.asarray(self.jacobian(x)[:, rows, cols].T)

        from scipy.optimize import least_squares  # a tenth of a second to load, and few models need it

        fit = least_squares(
            misfit,
            start,
            jac=slopes,
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=200,
        )
        return self.canonical(fit.x * np.sqrt(size))

    def _principal(self, sigma: Array) -> Array:
        total = np.maximum(np.diag(sigma), 0.0)
        specific = np.zeros_like(total) if self.factors == self.size else 0.5 * total
        for _ in range(_PRINCIPAL_STEPS):
            loadings = principal_loadings(sigma - np.diag(specific), self.factors)
            common = np.minimum(np.sum(loadings**2, axis=1), total)
            specific = np.zeros_like(total) if self.factors == self.size else total - common
        return np.append(upright(loadings)[self._triangle], np.sqrt(specific))

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        specific = (
            StandardDeviation(name=f"specific_sd[{x}]", word="specific sd", unit=i) for i, x in enumerate(labels)
        )
        return (*super().parameters(labels), *specific)


def principal_loadings(sigma: Array, k: int) -> Array:
    """Λ (m, k) with ΛΛ' the nearest positive semi-definite matrix of rank k to Σ (m, m)."""
    values, vectors = np.linalg.eigh(sigma)
    return np.asarray(vectors[:, ::-1][:, :k] * np.sqrt(np.maximum(values[::-1][:k], 0.0)))


def upright(loadings: Array) -> Array:
    """Λ (m, k) rotated to be zero above its diagonal, with heads of the columns that are not negative."""
    _, R = np.linalg.qr(loadings.T)
    L = R.T
    return np.asarray(L * np.where(np.diagonal(L) < 0.0, -1.0, 1.0))
