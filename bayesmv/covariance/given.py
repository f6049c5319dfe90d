"""Structures whose matrix is given, in the units of the data: not estimated, or estimated up to a factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance.base import CovarianceStructure, Matrix, Parameter, VarianceFactor, common_sd
from bayesmv.errors import SpecError, require_known
from bayesmv.numerics.symmetric import packed_rows

_ROUNDING = 1e-10


def checked_matrix(values: object, name: str) -> Matrix:
    """Symmetric positive semi-definite matrix as nested tuples.

    Raises
    ------
    SpecError
        If it is not one.
    """
    try:
        matrix = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise SpecError(f"the matrix '{name}' must be a square table of numbers, not {values!r}") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all() or not matrix.size:
        raise SpecError(f"the matrix '{name}' must be a square table of finite numbers; its shape is {matrix.shape}")
    sd = np.sqrt(np.where(np.diag(matrix) > 0, np.diag(matrix), 1.0))
    standard = matrix / np.outer(sd, sd)
    if not np.allclose(standard, standard.T, rtol=0, atol=_ROUNDING):
        raise SpecError(f"the matrix '{name}' must be symmetric")
    smallest = float(np.linalg.eigvalsh(standard)[0])
    if smallest < -_ROUNDING:
        raise SpecError(
            f"the matrix '{name}' is not positive semi-definite: scaled to unit variances it has the eigenvalue "
            f"{smallest:.3g}"
        )
    return tuple(tuple(float(x) for x in row) for row in 0.5 * (matrix + matrix.T))


@dataclass(frozen=True)
class FixedMatrix(CovarianceStructure):
    """Given covariance matrix, nothing estimated: Σ = G.

    Parameters
    ----------
    label
        Name of the matrix in the model.
    values
        G (m, m), in the units of the data until the structure is rescaled with the design.
    """

    label: str = ""
    values: Matrix = ()

    word: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        if len(self.values) != self.size:
            raise SpecError(
                f"{self.name} stands for {self.size} effects, but the matrix is {len(self.values)} × {len(self.values)}"
            )

    @classmethod
    def from_arguments(cls, size: int, arguments: Sequence[str], matrices: Mapping[str, Matrix] | None = None) -> Self:
        if len(arguments) != 1:
            raise SpecError(f"{cls.word}(trait, G) needs the name of one matrix, not {len(arguments)}")
        there = matrices or {}
        what = f"{cls.word}(trait, …) names the matrix {{}}, which is not under [matrices]; matrices"
        require_known(arguments, there, what)
        return cls(size, arguments[0], there[arguments[0]])

    @property
    def name(self) -> str:
        return f"{self.word}({self.label})"

    @property
    def given(self) -> Array:
        """G, (m, m)."""
        return np.array(self.values)

    @property
    def n_parameters(self) -> int:
        return 0

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        return np.arange(self.n_parameters)

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        return tuple((int(i), int(j)) for i, j in zip(*packed_rows(self.size), strict=True) if self.given[i, j] != 0)

    @property
    def max_rank(self) -> int:
        return int(np.linalg.matrix_rank(self.given, hermitian=True))

    def matrix(self, theta: Array) -> Array:
        return np.broadcast_to(self.given, (*theta.shape[:-1], self.size, self.size)).copy()

    def jacobian(self, theta: Array) -> Array:
        return np.zeros((0, self.size, self.size))

    def curvature(self, theta: Array, gradient: Array) -> Array:
        return np.zeros((0, 0))

    def from_matrix(self, sigma: Array) -> Array:
        return np.zeros(0)

    def canonical(self, theta: Array) -> Array:
        return theta

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        return ()

    def rescaled(self, scale: Array) -> CovarianceStructure:
        values = self.given / np.outer(scale, scale)
        return replace(self, values=tuple(tuple(float(x) for x in row) for row in values))


@dataclass(frozen=True)
class Identity(FixedMatrix):
    """Independent effects of variance 1 in the units of the data, nothing estimated."""

    word: ClassVar[str] = "id"

    @classmethod
    def from_arguments(cls, size: int, arguments: Sequence[str], matrices: Mapping[str, Matrix] | None = None) -> Self:
        if arguments:
            raise SpecError(f"id(trait) takes no arguments besides the trait, not {', '.join(arguments)}")
        return cls(size, "", tuple(tuple(row) for row in np.eye(size).tolist()))

    @property
    def name(self) -> str:
        return self.word


@dataclass(frozen=True)
class ScaledMatrix(FixedMatrix):
    """Given matrix times an unknown factor: Σ = θ² G / g, g the mean variance of G, so that θ² is that of Σ."""

    word: ClassVar[str] = "scaled"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.trace(self.given) > 0:
            raise SpecError(f"the matrix of {self.name} is zero: no factor can scale it")

    @property
    def n_parameters(self) -> int:
        return 1

    @property
    def _shape(self) -> Array:
        return self.given / np.mean(np.diag(self.given))

    def matrix(self, theta: Array) -> Array:
        return np.asarray(theta[..., None] ** 2 * self._shape)

    def jacobian(self, theta: Array) -> Array:
        return np.asarray(2.0 * theta[0] * self._shape)[None]

    def curvature(self, theta: Array, gradient: Array) -> Array:
        return np.array([[2.0 * np.sum(gradient * self._shape)]])

    def from_matrix(self, sigma: Array) -> Array:
        return np.array([common_sd(sigma)])

    def canonical(self, theta: Array) -> Array:
        return np.abs(theta)

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        return (VarianceFactor(name="factor", of=float(np.sqrt(np.mean(np.diag(self.given))))),)
