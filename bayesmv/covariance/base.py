"""What a covariance structure is: the map θ → Σ with its derivatives, and what its parameters mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.errors import SpecError
from bayesmv.numerics.symmetric import packed_rows, psd_cholesky

#: A matrix given in a model, row by row.
type Matrix = tuple[tuple[float, ...], ...]
type Placement = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]

#: Eigenvalues of a covariance in phenotypic-variance units below which it counts as singular.
SINGULAR = 1e-6

#: Anchors of parameters that belong to no row of a factor: its own coordinate, an angle of which sin θ matters, a
#: positive parameter whose coordinate is always its logarithm.
FREE, ANGLE, LOG = -1, -2, -3

#: Cosine of an angle below which its correlation is at the end of its interval.
_EDGE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What one θ is in words: a standard deviation, a correlation, a loading.

    Parameters
    ----------
    name
        ``sd[bden]``, ``cor``, ``loading[1,bden]`` …
    unit, per
        Effect in whose unit the value is, and the one whose unit divides it; None for none.
    low, high
        Bounds of the value.
    power, of
        θ = of · value ** power, for values that are not correlations.
    angle
        The value is a correlation ``low + (high - low)(1 + sin θ) / 2``.
    """

    name: str
    unit: int | None = None
    per: int | None = None
    low: float = -np.inf
    high: float = np.inf
    power: float = 1.0
    of: float = 1.0
    angle: bool = False

    def theta(self, value: float) -> float:
        """θ at a natural value, in the unit of the structure.

        Raises
        ------
        SpecError
            If the value is out of bounds.
        """
        if not self.low <= value <= self.high or not np.isfinite(value):
            raise SpecError(f"{self.name} = {value:g} is out of its bounds, {self.low:g} to {self.high:g}")
        if self.angle:
            return float(np.arcsin(2.0 * (value - self.low) / (self.high - self.low) - 1.0))
        return float(self.of * value**self.power)

    def value(self, theta: Array) -> Array:
        """Natural value at θ (…,)."""
        if self.angle:
            return np.asarray(self.low + (self.high - self.low) * 0.5 * (1.0 + np.sin(theta)))
        return np.asarray(theta if self.power == 1.0 else np.abs(theta / self.of) ** (1.0 / self.power))

    def scale(self, scale: Array) -> float:
        """Unit of the value, from the units of the effects (m,)."""
        return float((1.0 if self.unit is None else scale[self.unit]) / (1.0 if self.per is None else scale[self.per]))


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
    #: Each θ has a meaning of its own, so that it can be held at a value or equated to another.
    separable: ClassVar[bool] = True
    #: An even split of the variances, without covariances, is a stationary point: REML needs a better start.
    needs_pilot: ClassVar[bool] = False

    @classmethod
    def from_arguments(cls, size: int, arguments: Sequence[str], matrices: Mapping[str, Matrix] | None = None) -> Self:
        """Build the structure from the words between its brackets, after ``trait``."""
        if arguments:
            raise SpecError(f"{cls.word}(trait) takes no arguments besides the trait, not {', '.join(arguments)}")
        return cls(size)

    @property
    def name(self) -> str:
        """The structure as written in a model, ``fa(2)``."""
        return self.word

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Number of parameters in θ."""

    @property
    @abstractmethod
    def anchor(self) -> npt.NDArray[np.intp]:
        """What each θ is to a sampler, (n_parameters,).

        A scale, positive in a canonical θ, names itself, another entry of its row of a factor names the scale; the
        rest are FREE, ANGLE or LOG (:mod:`bayesmv.posterior.coordinates`).
        """

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """Which θ are not negative in a canonical θ, (n_parameters,)."""
        return np.asarray((self.anchor == np.arange(self.n_parameters)) | (self.anchor == LOG))

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        """Positions (i, j), i ≥ j, of Σ that are not identically zero and are reported."""
        return tuple((int(i), int(j)) for i, j in zip(*packed_rows(self.size), strict=True))

    @property
    def placement(self) -> Placement | None:
        """Row, column and parameter of every nonzero entry of a lower-triangular L(θ), Σ = LL'; None without one."""
        return None

    @property
    def max_rank(self) -> int:
        """Rank of Σ inside the parameter space."""
        return self.size

    def factor(self, theta: Array) -> Array:
        """L(θ) with Σ = LL': (n_parameters,) → (m, m)."""
        return psd_cholesky(self.matrix(theta))

    @abstractmethod
    def matrix(self, theta: Array) -> Array:
        """Σ(θ): (…, n_parameters) → (…, m, m)."""

    @abstractmethod
    def jacobian(self, theta: Array) -> Array:
        """dΣ/dθ, (n_parameters, m, m)."""

    @abstractmethod
    def curvature(self, theta: Array, gradient: Array) -> Array:
        """Σ_ab G_ab d²Σ_ab/dθdθ', (n_parameters, n_parameters), for symmetric G of shape (m, m)."""

    @abstractmethod
    def from_matrix(self, sigma: Array) -> Array:
        """Return θ whose Σ(θ) is `sigma`, or a member of the structure near it."""

    def canonical(self, theta: Array) -> Array:
        """Return the θ with the same Σ whose scales are not negative and whose angles are within ±π/2."""
        return self.from_matrix(self.matrix(theta))

    @abstractmethod
    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        """What every θ means, for effects called `labels` (m,)."""

    @property
    def powers(self) -> Array:
        """Power of its value that every θ is, (n_parameters,)."""
        return np.array([p.power for p in self.parameters([""] * self.size)])

    def edges(self, theta: Array) -> npt.NDArray[np.bool_]:
        """Which θ are at the edge of the parameter space, (n_parameters,)."""
        angles = (self.anchor == ANGLE) & (np.abs(np.cos(theta)) < _EDGE)
        return np.asarray(angles | (self.positive & (theta == 0.0)))

    def pivoted(self, sigma: Array) -> CovarianceStructure:
        """Return the structure with the rows of its factor in the order of their pivots at `sigma` (m, m)."""
        return self

    def rescaled(self, scale: Array) -> CovarianceStructure:
        """Return the structure of effects divided by `scale` (m,), for those that hold given matrices or values."""
        return self

    def loadings(self, theta: Array) -> tuple[Array, Array] | None:
        """Loadings (…, m, k) and specific variances (…, m) of a factor structure; None of others."""
        return None


def common_sd(sigma: Array) -> float:
    """Root of the mean variance of Σ (m, m)."""
    return float(np.sqrt(max(float(np.mean(np.diag(sigma))), 0.0)))


def sd_parameters(labels: Sequence[str], power: float = 1.0) -> tuple[Parameter, ...]:
    """Standard deviations of the effects."""
    return tuple(Parameter(name=f"sd[{label}]", unit=i, low=0.0, power=power) for i, label in enumerate(labels))


def common_sd_parameter() -> Parameter:
    """One standard deviation of all effects."""
    return Parameter(name="sd", unit=0, low=0.0)
