"""Families of traits, declared as data: the mean and the variance of a record given its latent value, and their words.

What a family must define
-------------------------
A frozen dataclass that subclasses :class:`Family` and is registered in :data:`FAMILIES` under its word. All works
elementwise on arrays of latent values η of any shape.

``mean(eta)``
    E(y | η), the inverse of the link.
``slope(eta)``
    Its derivative.
``variance(eta)``
    var(y | η), of the distribution alone.
``link_variance``
    Variance that the link adds to the latent scale, for repeatabilities there: 1 of the probit, π²/3 of the logit, else
    0. It is part of the distribution, and not of the latent phenotypic variance that integrals are taken over.

Numbers of a family that are estimated with the model have a name, ``number``; ``numbers`` are those of the family as it
is, and ``numbered(values)`` is the family with others. They have free coordinates x with standard normal priors:
``n_free`` of them, ``free`` and ``freed(x)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, override

import numpy as np
from scipy.special import expit, logit, ndtr

from bayesmv.arrays import Array, BoolArray, IntArray
from bayesmv.errors import SpecError, require_known

#: Prior mean and standard deviation of the logarithm of the shape of negative binomial traits, and prior standard
#: deviation of the logit of the share of extra zeros.
LOG_SHAPE, LOGIT_ZEROS = (1.0, 1.5), 1.5


def _density(x: Array) -> Array:
    """Density of the standard normal distribution."""
    return np.asarray(np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi))


class Family(ABC):
    """Distribution of a record given its latent value; see the head of this file."""

    word: ClassVar[str]
    #: Whether records are latent values with their residuals, in the units of the data.
    linear: ClassVar[bool] = False
    #: Whether records are counts with a logarithmic link.
    counts: ClassVar[bool] = False
    #: Whether the latent scale has a normal residual, or that of a link, beside what terms explain.
    has_residual: ClassVar[bool] = True
    #: What the numbers are called that are estimated with the model.
    number: ClassVar[str] = ""

    @property
    def link_variance(self) -> float:
        """Variance that the link adds to the latent scale."""
        return 0.0

    @property
    def is_threshold(self) -> bool:
        """Whether a record says between which thresholds a normal liability lies."""
        return False

    @property
    def n_free(self) -> int:
        """Number of free coordinates."""
        return len(self.numbers)

    @property
    def numbers(self) -> Array:
        """Numbers that are estimated with the model, (n_free,)."""
        return np.zeros(0)

    def numbered(self, values: Array) -> Self:
        """Family with other numbers (n_free,)."""
        return self

    @property
    def free(self) -> Array:
        """Free coordinates of the numbers of the family, (n_free,)."""
        return np.zeros(0)

    def freed(self, x: Array) -> Self:
        """Family at free coordinates (n_free,)."""
        return self

    @abstractmethod
    def mean(self, eta: Array) -> Array:
        """E(y | η)."""

    @abstractmethod
    def slope(self, eta: Array) -> Array:
        """dE(y | η) / dη."""

    @abstractmethod
    def variance(self, eta: Array) -> Array:
        """var(y | η)."""


@dataclass(frozen=True)
class Gaussian(Family):
    """Normal trait: recorded as it is.

    Parameters
    ----------
    variance_of_records
        Residual variance of records about the latent value without it, for likelihoods; it is part of the latent
        phenotypic variance that integrals are taken over.
    """

    variance_of_records: float = 1.0
    word: ClassVar[str] = "gaussian"
    linear: ClassVar[bool] = True

    @override
    def mean(self, eta: Array) -> Array:
        return np.asarray(eta, dtype=float)

    @override
    def slope(self, eta: Array) -> Array:
        return np.ones_like(eta)

    @override
    def variance(self, eta: Array) -> Array:
        return np.zeros_like(eta)


@dataclass(frozen=True)
class Censored(Gaussian):
    """Normal trait of which some records are known to lie between two bounds only.

    Parameters
    ----------
    lower, upper
        Bounds of every record, (n,), infinite where there is none; equal ones are the record, known exactly.
    scale
        What bounds are multiplied by, or that of every record, (n,): they and latent values are in units of the
        residual that is not known.
    """

    lower: Any = -np.inf
    upper: Any = np.inf
    scale: Any = 1.0
    word: ClassVar[str] = "censored"

    @property
    def exact(self) -> BoolArray:
        """Which records are known, (n,)."""
        return np.asarray(np.asarray(self.lower) == np.asarray(self.upper))


@dataclass(frozen=True)
class Binomial(Family):
    """Number of successes of `size` trials; of one trial a binary trait.

    Parameters
    ----------
    link
        ``probit``, as of a threshold on a liability with residual variance 1, or ``logit``.
    size
        Number of trials, or those of every record, (n,).
    """

    link: str = "probit"
    size: Any = 1.0
    word: ClassVar[str] = "binomial"

    def __post_init__(self) -> None:
        require_known([self.link], ("probit", "logit"), "no link {} of a binary trait; links")
        if not np.all(np.asarray(self.size) >= 1):
            raise SpecError(f"a binomial trait has 1 trial or more, not {self.size}")

    @property
    @override
    def link_variance(self) -> float:
        return 1.0 if self.link == "probit" else float(np.pi**2 / 3.0)

    @property
    @override
    def is_threshold(self) -> bool:
        return self.link == "probit"

    @override
    def mean(self, eta: Array) -> Array:
        return np.asarray(self.size * (ndtr(eta) if self.link == "probit" else expit(eta)))

    @override
    def slope(self, eta: Array) -> Array:
        if self.link == "probit":
            return np.asarray(self.size * _density(eta))
        p = expit(eta)
        return np.asarray(self.size * p * (1.0 - p))

    @override
    def variance(self, eta: Array) -> Array:
        p = self.mean(eta) / self.size
        return np.asarray(self.size * p * (1.0 - p))


@dataclass(frozen=True)
class Ordered(Family):
    """Score 1, 2, …, K of a liability with residual variance 1 that passes K - 1 thresholds.

    Parameters
    ----------
    thresholds
        Thresholds, increasing.
    scale
        What they are multiplied by, or that of every record, (n,): where a liability is known in part, they and its
        latent value are in units of what is not.
    """

    thresholds: tuple[float, ...] = (0.0,)
    scale: Any = 1.0
    word: ClassVar[str] = "ordered"
    number: ClassVar[str] = "thresholds"

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", tuple(map(float, self.thresholds)))
        if not self.thresholds or any(b <= a for a, b in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise SpecError(f"thresholds of an ordered trait increase, one or more of them; not {self.thresholds}")

    @property
    @override
    def link_variance(self) -> float:
        return 1.0

    @property
    @override
    def is_threshold(self) -> bool:
        return True

    @property
    @override
    def numbers(self) -> Array:
        """Thresholds after the first, which is 0."""
        return np.array(self.thresholds[1:])

    @override
    def numbered(self, values: Array) -> Self:
        return replace(self, thresholds=(0.0, *map(float, values)))

    @property
    @override
    def free(self) -> Array:
        """Logarithms of the distances between thresholds."""
        return np.log(np.diff(self.thresholds))

    @override
    def freed(self, x: Array) -> Self:
        return self.numbered(np.cumsum(np.exp(x)))

    def _passed(self, eta: Array) -> Array:
        """P(y > k) of every threshold, on a last axis."""
        return np.asarray(ndtr(np.asarray(eta)[..., None] - self._cuts))

    @property
    def _cuts(self) -> Array:
        return np.asarray(np.asarray(self.scale)[..., None] * np.array(self.thresholds))

    @override
    def mean(self, eta: Array) -> Array:
        return np.asarray(1.0 + self._passed(eta).sum(axis=-1))

    @override
    def slope(self, eta: Array) -> Array:
        return np.asarray(_density(np.asarray(eta)[..., None] - self._cuts).sum(axis=-1))

    @override
    def variance(self, eta: Array) -> Array:
        # y = 1 + Σ_k 1(y > k): E (y - 1)² = Σ_k (2k - 1) P(y > k).
        passed = self._passed(eta)
        square = passed @ (2.0 * np.arange(1, len(self.thresholds) + 1) - 1.0)
        return np.asarray(square - passed.sum(axis=-1) ** 2)

    def probabilities(self, eta: Array) -> Array:
        """P(y = 1), …, P(y = K), (…, K)."""
        passed = self._passed(eta)
        ends = np.concatenate([np.ones((*passed.shape[:-1], 1)), passed, np.zeros((*passed.shape[:-1], 1))], axis=-1)
        return np.asarray(-np.diff(ends, axis=-1))


@dataclass(frozen=True)
class Poisson(Family):
    """Count with a logarithmic link; overdispersion is a residual on the latent scale."""

    word: ClassVar[str] = "poisson"
    counts: ClassVar[bool] = True

    @override
    def mean(self, eta: Array) -> Array:
        return np.exp(eta)

    @override
    def slope(self, eta: Array) -> Array:
        return np.exp(eta)

    @override
    def variance(self, eta: Array) -> Array:
        return np.exp(eta)


@dataclass(frozen=True)
class NegativeBinomial(Poisson):
    """Count with a logarithmic link and the variance ``μ + μ² / shape``.

    Parameters
    ----------
    shape
        Shape; large values approach the Poisson distribution.
    """

    shape: float = 1.0
    word: ClassVar[str] = "negative_binomial"
    has_residual: ClassVar[bool] = False
    number: ClassVar[str] = "shape"

    def __post_init__(self) -> None:
        if not self.shape > 0:
            raise SpecError(f"the shape of a negative binomial trait is positive, not {self.shape}")

    @property
    @override
    def numbers(self) -> Array:
        return np.array([self.shape])

    @override
    def numbered(self, values: Array) -> Self:
        return replace(self, shape=float(values[0]))

    @property
    @override
    def free(self) -> Array:
        """Standardised logarithm of the shape: its prior is log-normal, centred on e."""
        return np.array([(np.log(self.shape) - LOG_SHAPE[0]) / LOG_SHAPE[1]])

    @override
    def freed(self, x: Array) -> Self:
        return self.numbered(np.exp(LOG_SHAPE[0] + LOG_SHAPE[1] * x))

    @override
    def variance(self, eta: Array) -> Array:
        mu = np.exp(eta)
        return np.asarray(mu + mu**2 / self.shape)


@dataclass(frozen=True)
class ZeroInflatedPoisson(Family):
    """Count that is 0 with a probability of its own, else Poisson with a logarithmic link.

    Parameters
    ----------
    zeros
        Probability of the zeros beyond those of the Poisson distribution.
    """

    zeros: float = 0.0
    word: ClassVar[str] = "zero_inflated_poisson"
    number: ClassVar[str] = "zeros"
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.zeros < 1:
            raise SpecError(f"the share of extra zeros lies between 0 and 1, not {self.zeros}")

    @property
    @override
    def numbers(self) -> Array:
        return np.array([self.zeros])

    @override
    def numbered(self, values: Array) -> Self:
        return replace(self, zeros=float(values[0]))

    @property
    @override
    def free(self) -> Array:
        """Standardised logit of the share of extra zeros: its prior is nearly uniform."""
        return np.array([logit(self.zeros) / LOGIT_ZEROS])

    @override
    def freed(self, x: Array) -> Self:
        return self.numbered(expit(LOGIT_ZEROS * x))

    @override
    def mean(self, eta: Array) -> Array:
        return np.asarray((1.0 - self.zeros) * np.exp(eta))

    @override
    def slope(self, eta: Array) -> Array:
        return self.mean(eta)

    @override
    def variance(self, eta: Array) -> Array:
        mu = np.exp(eta)
        return np.asarray((1.0 - self.zeros) * (mu + self.zeros * mu**2))


def of_rows(given: Family, rows: BoolArray | IntArray) -> Family:
    """Family of some of its records, which may have numbers of trials, or bounds, of their own."""
    if isinstance(given, Binomial) and np.ndim(given.size):
        return replace(given, size=np.asarray(given.size)[rows])
    if isinstance(given, Censored):
        return replace(given, lower=np.asarray(given.lower)[rows], upper=np.asarray(given.upper)[rows])
    return given


#: Families by their words.
FAMILIES: dict[str, type[Any]] = {
    each.word: each for each in (Gaussian, Censored, Binomial, Ordered, Poisson, NegativeBinomial, ZeroInflatedPoisson)
} | {"binary": Binomial}


def family(given: str | Family, **numbers: Any) -> Family:
    """Family by its word, ``family("ordered", thresholds=(0, 1.1))``.

    Raises
    ------
    SpecError
        If there is none of that word, or it takes other numbers.
    """
    if isinstance(given, Family):
        return given
    require_known([given], FAMILIES, "no family {}; families")
    try:
        made: Family = FAMILIES[given](**numbers)
    except TypeError:
        raise SpecError(f"the family '{given}' takes no {', '.join(numbers)}") from None
    return made


def families_of(given: Sequence[str | Family] | str | Family, n: int) -> tuple[Family, ...]:
    """Family of each of n traits; one stands for all.

    Raises
    ------
    SpecError
        If there are not as many.
    """
    named = [given] * n if isinstance(given, str | Family) else list(given)
    if len(named) != n:
        raise SpecError(f"{len(named)} families for {n} traits; give one for each")
    return tuple(map(family, named))
