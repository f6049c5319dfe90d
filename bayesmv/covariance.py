"""Covariance structures: one class each, the map θ → Σ with its derivatives, in NumPy only.

Every structure is parametrised so that Σ(θ) is positive semi-definite for **any** real θ: Cholesky entries or standard
deviations, never variances. A singular Σ is then an ordinary point (some θ is 0), which is what lets REML
finish on the boundary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from bayesmv.errors import SpecError

Array = npt.NDArray[np.float64]

#: Eigenvalues of a covariance in phenotypic-variance units below which it counts as singular.
SINGULAR = 1e-6


@dataclass(frozen=True)
class CovarianceStructure(ABC):
    """Covariance Σ(θ) among the `size` effects of one level.

    Parameters
    ----------
    size
        Number m of effects (traits, or traits × covariates).
    """

    size: int

    word: ClassVar[str]
    #: Off-diagonal rows are reported as correlations instead of covariances.
    reports_correlations: ClassVar[bool] = False
    #: The structure equates variances of different traits, so these traits must be measured in one unit.
    ties_scales: ClassVar[bool] = False

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Number of parameters in θ."""

    @property
    @abstractmethod
    def anchor(self) -> npt.NDArray[np.intp]:
        """For each θ the scale of its row of L; a scale, positive in a canonical θ, names itself, (n_parameters,)."""

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """Which θ are scales, (n_parameters,)."""
        return np.asarray(self.anchor == np.arange(self.n_parameters))

    @property
    @abstractmethod
    def support(self) -> tuple[tuple[int, int], ...]:
        """Positions (i, j), i ≥ j, of Σ that are not identically zero and are reported."""

    @property
    @abstractmethod
    def placement(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Row, column and parameter of every nonzero entry of the factor L(θ), Σ = LL'."""

    def factor(self, theta: Array) -> Array:
        """L(θ) with Σ = LL': (…, n_parameters) → (…, m, m)."""
        L = np.zeros((*theta.shape[:-1], self.size, self.size))
        rows, cols, parameters = self.placement
        L[..., rows, cols] = theta[..., parameters]
        return L

    def matrix(self, theta: Array) -> Array:
        """Σ(θ): (…, n_parameters) → (…, m, m)."""
        L = self.factor(theta)
        return np.asarray(L @ np.swapaxes(L, -1, -2))

    @abstractmethod
    def jacobian(self, theta: Array) -> Array:
        """dΣ/dθ, (n_parameters, m, m)."""

    @abstractmethod
    def curvature(self, theta: Array, gradient: Array) -> Array:
        """Σ_ab G_ab d²Σ_ab/dθdθ', (n_parameters, n_parameters), for symmetric G of shape (m, m)."""

    @abstractmethod
    def from_matrix(self, sigma: Array) -> Array:
        """Return θ whose Σ(θ) is `sigma`, or the member of the structure nearest to it."""

    def canonical(self, theta: Array) -> Array:
        """Return the θ with the same Σ whose scales are not negative."""
        return self.from_matrix(self.matrix(theta))


def packed_rows(m: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row and column of each entry of a lower triangle packed by rows (PyMC's order)."""
    return np.tril_indices(m)


def psd_cholesky(sigma: Array) -> Array:
    """Lower L with LL' = Σ for a positive semi-definite Σ (m, m); columns of null pivots are 0.

    Raises
    ------
    ValueError
        If Σ has an eigenvalue that is negative beyond rounding.
    """
    m = sigma.shape[0]
    L = np.zeros_like(sigma)
    rest = np.array(sigma, dtype=float)
    tolerance = 1e-12 * max(float(np.max(np.diag(sigma), initial=0.0)), 1e-300)
    for j in range(m):
        if rest[j, j] > tolerance:
            L[j:, j] = rest[j:, j] / np.sqrt(rest[j, j])
            rest[j:, j:] -= np.outer(L[j:, j], L[j:, j])
    if np.max(np.abs(L @ L.T - sigma), initial=0.0) > 1e-6 * max(float(np.max(np.diag(sigma), initial=0.0)), 1e-300):
        raise ValueError("not a positive semi-definite covariance matrix")
    return L


@dataclass(frozen=True)
class Unstructured(CovarianceStructure):
    """Unstructured covariance Σ = LL', θ the lower triangle of L packed by rows.

    Parameters
    ----------
    size
        Number of effects.
    order
        The effect of each row of the triangle; None for their own order. Then L is the triangle with its rows put in
        the places of the effects.
    """

    order: tuple[int, ...] | None = None

    word: ClassVar[str] = "us"

    @property
    def n_parameters(self) -> int:
        return self.size * (self.size + 1) // 2

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        rows, _ = packed_rows(self.size)
        return np.asarray(rows * (rows + 3) // 2)

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        return tuple((int(i), int(j)) for i, j in zip(*packed_rows(self.size), strict=True))

    @property
    def effect_of(self) -> npt.NDArray[np.intp]:
        """The effect of each row of the triangle, (m,)."""
        return np.arange(self.size) if self.order is None else np.array(self.order)

    @property
    def placement(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        rows, cols = packed_rows(self.size)
        return self.effect_of[rows], cols, np.arange(self.n_parameters)

    def jacobian(self, theta: Array) -> Array:
        L = self.factor(theta)
        J = np.zeros((self.n_parameters, self.size, self.size))
        for i, j, k in zip(*self.placement, strict=True):
            J[k, i, :] += L[:, j]
            J[k, :, i] += L[:, j]
        return J

    def curvature(self, theta: Array, gradient: Array) -> Array:
        rows, cols, _ = self.placement
        return np.asarray(2.0 * gradient[np.ix_(rows, rows)] * (cols[:, None] == cols[None, :]))

    def from_matrix(self, sigma: Array) -> Array:
        return np.asarray(psd_cholesky(sigma[np.ix_(self.effect_of, self.effect_of)])[packed_rows(self.size)])

    def pivoted(self, sigma: Array) -> Self:
        """Return the structure with the order of a pivoted Cholesky factor of `sigma` (m, m).

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


@dataclass(frozen=True)
class GeneralCorrelation(Unstructured):
    """The same covariances as `us`, reported as correlations and variances (ASReml's ``corgh``)."""

    word: ClassVar[str] = "corgh"
    reports_correlations: ClassVar[bool] = True


@dataclass(frozen=True)
class Diagonal(CovarianceStructure):
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
        return tuple((i, i) for i in range(self.size))

    @property
    def placement(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        index = np.arange(self.size)
        return index, index, index

    def jacobian(self, theta: Array) -> Array:
        J = np.zeros((self.size, self.size, self.size))
        index = np.arange(self.size)
        J[index, index, index] = 2.0 * theta
        return J

    def curvature(self, theta: Array, gradient: Array) -> Array:
        return np.asarray(np.diag(2.0 * np.diag(gradient)))

    def from_matrix(self, sigma: Array) -> Array:
        return np.asarray(np.sqrt(np.maximum(np.diag(sigma), 0.0)))


@dataclass(frozen=True)
class ScaledIdentity(CovarianceStructure):
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
        return tuple((i, i) for i in range(self.size))

    @property
    def placement(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        index = np.arange(self.size)
        return index, index, np.zeros_like(index)

    def jacobian(self, theta: Array) -> Array:
        return np.asarray(2.0 * theta[0] * np.eye(self.size))[None]

    def curvature(self, theta: Array, gradient: Array) -> Array:
        return np.array([[2.0 * np.trace(gradient)]])

    def from_matrix(self, sigma: Array) -> Array:
        return np.array([np.sqrt(max(float(np.mean(np.diag(sigma))), 0.0))])


STRUCTURES: dict[str, type[CovarianceStructure]] = {
    cls.word: cls for cls in (Unstructured, GeneralCorrelation, Diagonal, ScaledIdentity)
}
ALIASES = {"idh": "diag"}


def structure(word: str, size: int) -> CovarianceStructure:
    """Return the covariance structure that ASReml calls `word`, for `size` effects.

    Raises
    ------
    SpecError
        If there is no such structure.

    Examples
    --------
    >>> structure("us", 2).n_parameters
    3
    """
    try:
        return STRUCTURES[ALIASES.get(word, word)](size)
    except KeyError:
        known = ", ".join(sorted([*STRUCTURES, *ALIASES]))
        raise SpecError(f"unknown covariance structure '{word}'; known structures: {known}") from None


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

    @property
    def slices(self) -> list[slice]:
        """Where each structure's parameters stand in θ."""
        ends = np.cumsum([0, *(s.n_parameters for s in self.structures)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """Which θ are scales, (n_parameters,)."""
        return np.concatenate([s.positive for s in self.structures])

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        """For each θ the scale of its row of a factor, (n_parameters,)."""
        return np.concatenate([s.anchor + at.start for s, at in zip(self.structures, self.slices, strict=True)])

    def matrices(self, theta: Array) -> list[Array]:
        """Σ_k(θ) of every structure."""
        return [s.matrix(theta[..., at]) for s, at in zip(self.structures, self.slices, strict=True)]

    def from_matrices(self, sigmas: Sequence[Array]) -> Array:
        """Return θ at the given matrices."""
        return np.concatenate([s.from_matrix(m) for s, m in zip(self.structures, sigmas, strict=True)])

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


def block_diagonal(blocks: Sequence[Array]) -> Array:
    """Block-diagonal matrix of possibly rectangular blocks."""
    out = np.zeros((sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)))
    i = j = 0
    for b in blocks:
        out[i : i + b.shape[0], j : j + b.shape[1]] = b
        i, j = i + b.shape[0], j + b.shape[1]
    return out


def unit_components(m: int) -> list[Array]:
    """dΣ/dσ of every component of a symmetric (m, m) matrix, in the order of its packed lower triangle."""
    out = []
    for i, j in zip(*packed_rows(m), strict=True):
        E = np.zeros((m, m))
        E[i, j] = E[j, i] = 1.0
        out.append(E)
    return out


def vech(sigmas: Sequence[Array]) -> Array:
    """Stack the lower triangles (by rows) of symmetric matrices."""
    return np.concatenate([S[packed_rows(S.shape[0])] for S in sigmas])


def correlation(sigma: Array) -> Array:
    """Correlation matrix of (…, m, m) covariances; NaN where a variance is 0."""
    sd = np.sqrt(np.diagonal(sigma, axis1=-2, axis2=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sigma / (sd[..., :, None] * sd[..., None, :]))
