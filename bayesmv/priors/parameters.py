"""Priors of parameters that say something by themselves, by their kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import ClassVar, Protocol

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance import Correlation, Loading, Parameter, StandardDeviation
from bayesmv.priors.declarations import CovariancePrior, ScalePrior

PHENOTYPIC = "phenotypic sd"


class ParameterPrior(Protocol):
    """Prior of θ of one kind, independent of all others."""

    #: Place of the kind in a description.
    rank: ClassVar[int]
    #: Unit of the value in words, empty for none.
    unit: ClassVar[str]

    def log_density(self, theta: Array) -> Array:
        """Unnormalised log density of each θ (n,)."""

    def derivative(self, theta: Array) -> Array:
        """Derivative of the same by θ, (n,)."""

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Independent draws of θ, of shape `size`."""

    def describe(self) -> str:
        """Law of the value in words."""


@singledispatch
def parameter_prior(kind: Parameter, prior: CovariancePrior) -> ParameterPrior | None:
    """Prior of parameters of a kind; None of those that say something with others only."""
    return None


@dataclass(frozen=True)
class _DeviationPrior:
    """Prior p of a standard deviation s, θ = ±s ** root: ``log p(s) + log|ds/dθ|``, ds/dθ ∝ s / θ."""

    sd: ScalePrior
    root: float

    rank: ClassVar[int] = 0
    unit: ClassVar[str] = PHENOTYPIC

    def log_density(self, theta: Array) -> Array:
        if self.root == 1.0:
            return self.sd.log_density(np.abs(theta))
        size = np.abs(theta)
        return np.asarray(self.sd.log_density(size ** (1.0 / self.root)) + (1.0 / self.root - 1.0) * np.log(size))

    def derivative(self, theta: Array) -> Array:
        if self.root == 1.0:
            return np.asarray(np.sign(theta) * self.sd.derivative(np.abs(theta)))
        s = np.abs(theta) ** (1.0 / self.root)
        return np.asarray((self.sd.derivative(s) * s / self.root + 1.0 / self.root - 1.0) / theta)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        return np.asarray(self.sd.draw(rng, size) ** self.root)

    def describe(self) -> str:
        return self.sd.describe()


@parameter_prior.register
def _(kind: StandardDeviation, prior: CovariancePrior) -> ParameterPrior:
    return _DeviationPrior(prior.sd, kind.root)


@dataclass(frozen=True)
class _AnglePrior:
    """Beta(eta, eta) of (1 + sin θ) / 2, the place of a correlation in its interval: ``|cos θ|^(2 eta - 1)``."""

    eta: float

    rank: ClassVar[int] = 2
    unit: ClassVar[str] = ""

    def log_density(self, theta: Array) -> Array:
        return np.asarray((2.0 * self.eta - 1.0) * np.log(np.abs(np.cos(theta))))

    def derivative(self, theta: Array) -> Array:
        return np.asarray(-(2.0 * self.eta - 1.0) * np.tan(theta))

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        return np.asarray(np.arcsin(2.0 * rng.beta(self.eta, self.eta, size) - 1.0))

    def describe(self) -> str:
        return f"beta({self.eta:g}, {self.eta:g}) over its interval"


@parameter_prior.register
def _(kind: Correlation, prior: CovariancePrior) -> ParameterPrior:
    return _AnglePrior(prior.eta)


@dataclass(frozen=True)
class _LoadingPrior:
    """Normal prior with mean 0."""

    scale: float

    rank: ClassVar[int] = 1
    unit: ClassVar[str] = PHENOTYPIC

    def log_density(self, theta: Array) -> Array:
        return np.asarray(-0.5 * (theta / self.scale) ** 2)

    def derivative(self, theta: Array) -> Array:
        return np.asarray(-theta / self.scale**2)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        return np.asarray(self.scale * rng.standard_normal(size))

    def describe(self) -> str:
        return f"normal(0, {self.scale:g})"


@parameter_prior.register
def _(kind: Loading, prior: CovariancePrior) -> ParameterPrior:
    return _LoadingPrior(prior.loadings)
