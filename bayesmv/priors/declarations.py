"""Priors as declared by a user: of a standard deviation, and of a covariance matrix.

What a prior of a standard deviation must define
------------------------------------------------
Any object with the members of :class:`ScalePrior` is one; no base class is needed. It should be immutable and without
state, for threads share it. s > 0 is always in units of phenotypic standard deviations.

``log_density(s)``
    log p(s) up to a constant, elementwise, for arrays s ≥ 0. Every density asks: LogPosterior, PyMC models.
``derivative(s)``
    d log p / ds, elementwise. Gradients of the same.
``draw(rng, size)``
    Independent draws from p, for prior draws and the contraction of posteriors. They must be of that very density.
``describe()``
    The prior in words, ``half-normal(1)``, for reports.
``compiled``
    Degrees of freedom and scale if p is a half-Student-t, which is what compiled code knows; None for any other, which
    is then sampled through Python, some 100 µs an evaluation slower.
``to_mapping()``
    Optional: entries of a model file. A prior without it cannot be written to one.

Examples
--------
>>> class Exponential:
...     compiled = None
...     def log_density(self, s): return -2.0 * s
...     def derivative(self, s): return np.full_like(s, -2.0)
...     def draw(self, rng, size): return rng.exponential(0.5, size)
...     def describe(self): return "exponential(2)"
>>> str(CovariancePrior(sd=Exponential()))
'sd ~ exponential(2) phenotypic sd, correlations ~ LKJ(1)'
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import SpecError, require_known

_MEMBERS = ("log_density", "derivative", "draw", "describe", "compiled")
_ENTRIES = ("eta", "loadings", "nu", "scale")


class ScalePrior(Protocol):
    """Prior of a standard deviation s > 0, in phenotypic standard deviations; see the head of this file."""

    @property
    def compiled(self) -> tuple[float, float] | None:
        """Degrees of freedom and scale of a half-Student-t, which compiled code knows; None for other priors."""

    def log_density(self, s: Array) -> Array:
        """Unnormalised log p(s), of the shape of s."""

    def derivative(self, s: Array) -> Array:
        """d log p(s) / ds, of the shape of s."""

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Independent draws, of shape `size`."""

    def describe(self) -> str:
        """Words for reports."""


@runtime_checkable
class WrittenPrior(Protocol):
    """Prior that has a form in model files."""

    def to_mapping(self) -> dict[str, float]:
        """Entries of a model file."""


@dataclass(frozen=True, kw_only=True)
class HalfStudentT:
    """Half-Student-t prior of a standard deviation, ``p(s) ∝ (1 + (s/scale)²/nu)^(-(nu+1)/2)``, s > 0.

    Parameters
    ----------
    nu
        Degrees of freedom; 1 is half-Cauchy, large values approach half-normal.
    scale
        Scale in phenotypic standard deviations.
    """

    nu: float = 3.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.nu < np.inf and 0 < self.scale < np.inf):
            raise SpecError(
                f"a half-Student-t prior needs finite nu > 0 and scale > 0, not nu={self.nu}, scale={self.scale}"
            )

    @property
    def compiled(self) -> tuple[float, float]:
        """Degrees of freedom and scale."""
        return float(self.nu), float(self.scale)

    def log_density(self, s: Array) -> Array:
        """Unnormalised log p(s)."""
        return np.asarray(-0.5 * (self.nu + 1) * np.log1p((s / self.scale) ** 2 / self.nu))

    def derivative(self, s: Array) -> Array:
        """d log p(s) / ds."""
        return np.asarray(-(self.nu + 1) * s / (self.nu * self.scale**2 + s**2))

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Independent draws, of shape `size`."""
        return np.asarray(self.scale * np.abs(rng.standard_t(self.nu, size)))

    def describe(self) -> str:
        """Words for reports."""
        return f"half-Student-t({self.nu:g}, {self.scale:g})"

    def to_mapping(self) -> dict[str, float]:
        """Entries of a model file."""
        return {"nu": self.nu, "scale": self.scale}


@dataclass(frozen=True, kw_only=True)
class HalfNormal:
    """Half-normal prior of a standard deviation, ``p(s) ∝ exp(-s² / (2 scale²))``, s > 0.

    It has no compiled form, and none in model files.

    Parameters
    ----------
    scale
        Standard deviation of the whole normal distribution, in phenotypic standard deviations.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale < np.inf:
            raise SpecError(f"a half-normal prior needs a finite scale > 0, not {self.scale}")

    @property
    def compiled(self) -> None:
        """None."""
        return

    def log_density(self, s: Array) -> Array:
        """Unnormalised log p(s)."""
        return np.asarray(-0.5 * (s / self.scale) ** 2)

    def derivative(self, s: Array) -> Array:
        """d log p(s) / ds."""
        return np.asarray(-s / self.scale**2)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Independent draws, of shape `size`."""
        return np.asarray(self.scale * np.abs(rng.standard_normal(size)))

    def describe(self) -> str:
        """Words for reports."""
        return f"half-normal({self.scale:g})"


@dataclass(frozen=True, kw_only=True)
class CovariancePrior:
    """Prior of one term's covariance matrix.

    Parameters
    ----------
    sd
        Prior of every standard deviation, in phenotypic standard deviations: :class:`HalfStudentT`,
        :class:`HalfNormal`, or any object with the members of :class:`ScalePrior`.
    eta
        Shape of the LKJ prior ``p(Ω) ∝ |Ω|^(eta-1)``; 1 is uniform over correlation matrices. Of a structure with one
        correlation (``corv``, ``ar1``, …) and of partial autocorrelations (``toep``) it is the shape of a symmetric
        beta prior on their interval: 1 is uniform again.
    loadings
        Standard deviation of the normal prior of the loadings of ``fa`` and ``rr``, in phenotypic standard deviations.
    """

    sd: ScalePrior = field(default_factory=HalfStudentT)
    eta: float = 1.0
    loadings: float = 0.5

    def __post_init__(self) -> None:
        lacking = [name for name in _MEMBERS if not hasattr(self.sd, name)]
        if lacking:
            raise SpecError(
                f"a prior of standard deviations must have {', '.join(_MEMBERS)}; "
                f"{type(self.sd).__name__} lacks {', '.join(lacking)}"
            )
        if not 0 < self.eta < math.inf:
            raise SpecError(f"an LKJ prior needs eta > 0, not {self.eta}")
        if not 0 < self.loadings < np.inf:
            raise SpecError(f"a prior of loadings needs a finite scale > 0, not {self.loadings}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> CovariancePrior:
        """Prior from ``{"nu": …, "scale": …, "eta": …, "loadings": …}``, the form of model files."""
        require_known(values, _ENTRIES, f"unknown key {{}} in the prior of {where}; allowed")
        wrong = [k for k, v in values.items() if isinstance(v, bool) or not isinstance(v, int | float)]
        if wrong:
            raise SpecError(f"{wrong[0]} in the prior of {where} must be a number, not {values[wrong[0]]!r}")
        sd = HalfStudentT(nu=values.get("nu", 3.0), scale=values.get("scale", 1.0))
        return cls(sd=sd, eta=values.get("eta", 1.0), loadings=values.get("loadings", 0.5))

    @property
    def is_written(self) -> bool:
        """Whether a model file can hold the prior."""
        return isinstance(self.sd, WrittenPrior)

    def to_mapping(self) -> dict[str, float]:
        """Inverse of :meth:`from_mapping`.

        Raises
        ------
        SpecError
            If the prior of standard deviations has no form in model files.
        """
        if not isinstance(self.sd, WrittenPrior):
            raise SpecError(
                f"the prior {self.sd.describe()} has no form in a model file, which holds half-Student-t priors; "
                "give it in Python: priors={term: CovariancePrior(sd=…)}"
            )
        return {**self.sd.to_mapping(), "eta": self.eta, "loadings": self.loadings}

    def __str__(self) -> str:
        return f"sd ~ {self.sd.describe()} phenotypic sd, correlations ~ LKJ({self.eta:g})"
