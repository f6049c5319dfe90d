"""Standard deviations times a patterned correlation matrix: Σ = diag(s) C(φ) diag(s), φ angles.

A correlation is ``low + (high - low)(1 + sin φ)/2``, so that any φ gives one inside its interval and the ends are
ordinary points. One common standard deviation is a θ itself. Standard deviations of the effects' own are s = θ²: with
s = θ a negative θ would turn the signs of correlations, and leave the structure.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance.base import (
    ANGLE,
    LOG,
    Correlation,
    CovarianceStructure,
    Matrix,
    Parameter,
    common_sd,
    common_sd_parameter,
    sd_parameters,
)
from bayesmv.errors import SpecError
from bayesmv.numerics.symmetric import correlation

#: Share of the largest variance below which a variance counts as 0.
_NOTHING = 1e-20


class Pattern(NamedTuple):
    """Correlation matrix (m, m) with its first (p, m, m) and second (p, p, m, m) derivatives by the angles."""

    value: Array
    first: Array
    second: Array


@dataclass(frozen=True)
class ScaledCorrelation(CovarianceStructure):
    """Σ = diag(s) C(φ) diag(s); θ is the common sd, or the roots of the effects' own, then the angles φ."""

    own_variances: ClassVar[bool] = False
    reports_correlations: ClassVar[bool] = True

    @property
    @abstractmethod
    def n_angles(self) -> int:
        """Number of angles."""

    @abstractmethod
    def pattern(self, angles: Array) -> Array:
        """C(φ): (…, n_angles) → (…, m, m)."""

    @abstractmethod
    def expand(self, angles: Array) -> Pattern:
        """C(φ) with its derivatives."""

    @abstractmethod
    def angles(self, correlations: Array) -> Array:
        """φ of a correlation matrix (m, m), NaN where it is not known."""

    @abstractmethod
    def angle_parameters(self) -> tuple[Parameter, ...]:
        """Meaning of the angles."""

    @property
    def n_sds(self) -> int:
        """Number of standard deviations."""
        return self.size if self.own_variances else 1

    @property
    def n_parameters(self) -> int:
        return self.n_sds + self.n_angles

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        sds = np.full(self.n_sds, LOG) if self.own_variances else np.zeros(1, dtype=np.intp)
        return np.append(sds, np.full(self.n_angles, ANGLE))

    def _sds(self, theta: Array) -> Array:
        """S(θ), (…, m)."""
        own = theta[..., : self.n_sds]
        return np.asarray(own**2) if self.own_variances else np.repeat(own, self.size, axis=-1)

    def matrix(self, theta: Array) -> Array:
        s = self._sds(theta)
        return np.asarray(s[..., :, None] * s[..., None, :] * self.pattern(theta[..., self.n_sds :]))

    def _sd_slopes(self, theta: Array) -> Array:
        """ds/dθ, (n_sds, m)."""
        return np.diag(2.0 * theta[: self.n_sds]) if self.own_variances else np.ones((1, self.size))

    def jacobian(self, theta: Array) -> Array:
        s, C = self._sds(theta), self.expand(theta[self.n_sds :])
        half = self._sd_slopes(theta)[:, :, None] * s * C.value
        return np.concatenate([half + np.swapaxes(half, 1, 2), np.outer(s, s) * C.first])

    def curvature(self, theta: Array, gradient: Array) -> Array:
        s, C, D = self._sds(theta), self.expand(theta[self.n_sds :]), self._sd_slopes(theta)
        M = gradient * C.value
        sds = 2.0 * D @ M @ D.T
        if self.own_variances:
            sds += np.diag(4.0 * M @ s)
        across = 2.0 * D @ (gradient * C.first @ s).T
        angles = np.einsum("pqab,ab->pq", C.second, gradient * np.outer(s, s))
        return np.block([[sds, across], [across.T, angles]])

    def from_matrix(self, sigma: Array) -> Array:
        sds = np.sqrt(np.sqrt(np.maximum(np.diag(sigma), 0.0))) if self.own_variances else [common_sd(sigma)]
        # Next to nothing, a variance bears no correlations.
        known = np.diag(sigma) > _NOTHING * np.max(np.diag(sigma))
        correlations = correlation(np.where(np.outer(known, known), sigma, 0.0))
        return np.append(sds, self.angles(np.where(np.outer(known, known), correlations, np.nan)))

    def canonical(self, theta: Array) -> Array:
        return np.append(np.abs(theta[: self.n_sds]), np.arcsin(np.sin(theta[self.n_sds :])))

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        sds = sd_parameters(labels, 0.5) if self.own_variances else (common_sd_parameter(),)
        return sds + self.angle_parameters()


@dataclass(frozen=True)
class _OneCorrelation(ScaledCorrelation):
    """Patterns of one correlation ρ between `low` and 1."""

    @property
    def low(self) -> float:
        """Lower end of the interval of ρ."""
        return -1.0

    @property
    def n_angles(self) -> int:
        return 1 if self.size > 1 else 0

    def angle_parameters(self) -> tuple[Parameter, ...]:
        return (Correlation(name="cor", low=self.low),)[: self.n_angles]

    def _rho(self, angles: Array) -> Array:
        """ρ as (…, 1, 1); 1 for a single effect."""
        if not self.n_angles:
            return np.ones((*angles.shape[:-1], 1, 1))
        return np.asarray(self.low + (1.0 - self.low) * 0.5 * (1.0 + np.sin(angles)))[..., None]

    def _expansion(self, angles: Array, first: Array, second: Array) -> Pattern:
        return Pattern(self.pattern(angles), first, second[:, None][:, : self.n_angles])

    def _angle(self, rho: float) -> Array:
        return np.arcsin(np.clip([2.0 * (rho - self.low) / (1.0 - self.low) - 1.0], -1.0, 1.0))[: self.n_angles]


@dataclass(frozen=True)
class UniformCorrelation(_OneCorrelation):
    """One variance and one correlation: Σ = s²[(1-ρ)I + ρJ], -1/(m-1) ≤ ρ ≤ 1 (compound symmetry)."""

    word: ClassVar[str] = "corv"
    ties_scales: ClassVar[bool] = True

    @property
    def low(self) -> float:
        return -1.0 / max(self.size - 1, 1)

    def pattern(self, angles: Array) -> Array:
        off = 1.0 - np.eye(self.size)
        return np.asarray(np.eye(self.size) + self._rho(angles) * off)

    def expand(self, angles: Array) -> Pattern:
        half, off = 0.5 * (1.0 - self.low), 1.0 - np.eye(self.size)
        first = half * np.cos(angles)[:, None, None] * off
        return self._expansion(angles, first, -half * np.sin(angles)[:, None, None] * off)

    def angles(self, correlations: Array) -> Array:
        known = correlations[~np.eye(self.size, dtype=bool) & ~np.isnan(correlations)]
        return self._angle(float(known.mean()) if known.size else 0.0)


@dataclass(frozen=True)
class HeterogeneousUniform(UniformCorrelation):
    """One correlation, and variances of the effects' own: Σ = diag(s)[(1-ρ)I + ρJ]diag(s)."""

    word: ClassVar[str] = "corh"
    own_variances: ClassVar[bool] = True
    ties_scales: ClassVar[bool] = False


@dataclass(frozen=True)
class Autoregressive(_OneCorrelation):
    """First-order autoregression over equally spaced effects, one variance: Σ_ij = s² ρ^|i-j|, -1 ≤ ρ ≤ 1."""

    word: ClassVar[str] = "ar1"
    ties_scales: ClassVar[bool] = True

    @property
    def exponents(self) -> Array:
        """Power of ρ that every correlation is, (m, m); 0 or at least 1."""
        index = np.arange(float(self.size))
        return np.abs(index[:, None] - index)

    def pattern(self, angles: Array) -> Array:
        return np.asarray(self._rho(angles) ** self.exponents)

    def expand(self, angles: Array) -> Pattern:
        E, rho = self.exponents, self._rho(angles)
        lower = rho ** np.maximum(E - 1.0, 0.0)
        first = E * lower * np.cos(angles)[:, None, None]
        second = E * (E - 1.0) * rho ** np.maximum(E - 2.0, 0.0) * np.cos(angles)[:, None, None] ** 2
        second = second - E * lower * np.sin(angles)[:, None, None]
        return self._expansion(angles, first, second)

    def angles(self, correlations: Array) -> Array:
        E = np.where(np.isnan(correlations) | np.eye(self.size, dtype=bool), np.inf, self.exponents)
        if not np.isfinite(E).any():
            return self._angle(max(self.low, 0.0))
        nearest = E.min() * (1.0 + 1e-9) >= E
        mean = float(correlations[nearest].mean())
        size = abs(mean) ** (1.0 / float(E.min()))
        known = np.isfinite(E)

        def misfit(rho: float) -> float:
            return float(np.sum((np.asarray(rho) ** E[known] - correlations[known]) ** 2))

        # An even power hides the sign: take that which fits the other correlations.
        candidates = [rho for rho in (np.copysign(size, mean), -size, size) if rho >= self.low]
        return self._angle(min(candidates, key=misfit) if candidates else self.low)


@dataclass(frozen=True)
class HeterogeneousAutoregressive(Autoregressive):
    """First-order autoregression with variances of the effects' own: Σ_ij = s_i s_j ρ^|i-j|."""

    word: ClassVar[str] = "ar1h"
    own_variances: ClassVar[bool] = True
    ties_scales: ClassVar[bool] = False


@dataclass(frozen=True)
class Exponential(Autoregressive):
    """Correlations that decay with the distance in time: Σ_ij = s² ρ^(|t_i - t_j| / d), 0 ≤ ρ ≤ 1.

    d is the smallest distance, so that ρ, the correlation of the two nearest effects, does not depend on the unit of
    time. ASReml's parameter, the correlation at distance 1, is ρ^(1/d).

    Parameters
    ----------
    times
        Time (age, position) of every effect (m,), all different.
    """

    times: tuple[float, ...] = ()

    word: ClassVar[str] = "exp"

    def __post_init__(self) -> None:
        if len(self.times) != self.size:
            raise SpecError(
                f"{self.word} has {len(self.times)} times for {self.size} effects; "
                f"write one for each, as in {self.word}(trait, 0, 1.5, 4)"
            )
        if len(set(self.times)) < self.size or not np.isfinite(self.times).all():
            raise SpecError(f"the times of {self.name} must be different and finite numbers")

    @classmethod
    def from_arguments(cls, size: int, arguments: Sequence[str], matrices: Mapping[str, Matrix] | None = None) -> Self:
        try:
            times = tuple(float(x) for x in arguments)
        except ValueError:
            raise SpecError(f"the times of {cls.word}(trait, …) must be numbers, not {', '.join(arguments)}") from None
        return cls(size, times)

    @property
    def name(self) -> str:
        return f"{self.word}({', '.join(f'{t:.15g}' for t in self.times)})"

    @property
    def low(self) -> float:
        return 0.0

    @property
    def exponents(self) -> Array:
        t = np.array(self.times)
        distance = np.abs(t[:, None] - t)
        return np.asarray(distance / np.min(distance[~np.eye(self.size, dtype=bool)], initial=np.inf))

    def expand(self, angles: Array) -> Pattern:
        # (dρ/dφ)² = ρ(1-ρ) takes up the pole of ρ^(E-2) at 0.
        E, rho = self.exponents, self._rho(angles)
        lower = rho ** np.maximum(E - 1.0, 0.0)
        first = 0.5 * E * lower * np.cos(angles)[:, None, None]
        second = E * (E - 1.0) * lower * (1.0 - rho) - 0.5 * E * lower * np.sin(angles)[:, None, None]
        return self._expansion(angles, first, second)


@dataclass(frozen=True)
class HeterogeneousExponential(Exponential):
    """Correlations that decay with the distance, and variances of the effects' own."""

    word: ClassVar[str] = "exph"
    own_variances: ClassVar[bool] = True
    ties_scales: ClassVar[bool] = False
