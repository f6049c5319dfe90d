"""Covariance structures: what each must define, and the kinds of parameters that they are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.errors import SpecError
from bayesmv.numerics.symmetric import packed_rows, psd_cholesky

#: A matrix given in a model, row by row.
type Matrix = tuple[tuple[float, ...], ...]


class Placement(NamedTuple):
    """Places of θ in a factor F: F[row, column] is the sum of weight · θ[parameter] over the entries there."""

    row: npt.NDArray[np.intp]
    column: npt.NDArray[np.intp]
    parameter: npt.NDArray[np.intp]
    weight: Array

    @classmethod
    def plain(
        cls, row: npt.NDArray[np.intp], column: npt.NDArray[np.intp], parameter: npt.NDArray[np.intp]
    ) -> Placement:
        """Entries that are each one of θ as it is."""
        return cls(row, column, parameter, np.ones(len(row)))

    @property
    def single(self) -> bool:
        """Whether no two of the entries stand in one place."""
        return len(set(zip(self.row.tolist(), self.column.tolist(), strict=True))) == len(self.row)


#: Eigenvalues of a covariance in phenotypic-variance units below which it counts as singular.
SINGULAR = 1e-6

#: Anchors of parameters that belong to no row of a factor: its own coordinate, an angle of which sin θ matters, a
#: positive parameter whose coordinate is always its logarithm.
FREE, ANGLE, LOG = -1, -2, -3

#: Cosine of an angle below which its correlation is at the end of its interval.
_EDGE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """Meaning of one θ: a number in a matrix that says something only with the others, such as a Cholesky entry.

    The classes below are of kinds that say something by themselves. Priors are by kind (:mod:`bayesmv.priors`); for a
    plain parameter there is none, so that its structure registers a prior of its own.

    Parameters
    ----------
    name
        ``sd[bden]``, ``cor``, ``loading[1,bden]`` …
    word
        What parameters of its sort are called together, in a description of their prior.
    unit, per
        Effect in whose unit the value is, and the one whose unit divides it; None for none.
    low, high
        Bounds of the value.
    """

    name: str
    word: str = ""
    unit: int | None = None
    per: int | None = None
    low: float = -np.inf
    high: float = np.inf

    @property
    def power(self) -> float:
        """Power of the value that θ is proportional to; 1 for angles."""
        return 1.0

    def theta(self, value: float) -> float:
        """θ at a natural value, in the unit of the structure.

        Raises
        ------
        SpecError
            If the value is out of bounds.
        """
        if not self.low <= value <= self.high or not np.isfinite(value):
            raise SpecError(f"{self.name} = {value:g} is out of its bounds, {self.low:g} to {self.high:g}")
        return self._theta(value)

    def _theta(self, value: float) -> float:
        return float(value)

    def value(self, theta: Array) -> Array:
        """Natural value at θ (…,)."""
        return np.asarray(theta)

    def scale(self, scale: Array) -> float:
        """Unit of the value, from the units of the effects (m,)."""
        return float((1.0 if self.unit is None else scale[self.unit]) / (1.0 if self.per is None else scale[self.per]))


@dataclass(frozen=True, kw_only=True)
class StandardDeviation(Parameter):
    """Standard deviation s ≥ 0; θ = s ** root.

    Parameters
    ----------
    root
        1, or 0.5 where a negative θ must not turn the sign of a covariance.
    """

    word: str = "sd"
    low: float = 0.0
    root: float = 1.0

    @property
    def power(self) -> float:
        return self.root

    def _theta(self, value: float) -> float:
        return float(value**self.root)

    def value(self, theta: Array) -> Array:
        return np.asarray(theta if self.root == 1.0 else np.abs(theta) ** (1.0 / self.root))


@dataclass(frozen=True, kw_only=True)
class VarianceFactor(StandardDeviation):
    """Factor of a given matrix; θ = of · sqrt(factor) is itself a standard deviation, and has its prior.

    Parameters
    ----------
    of
        Standard deviation where the factor is 1.
    """

    of: float = 1.0

    @property
    def power(self) -> float:
        return 0.5

    def _theta(self, value: float) -> float:
        return float(self.of * value**0.5)

    def value(self, theta: Array) -> Array:
        return np.asarray((theta / self.of) ** 2)


@dataclass(frozen=True, kw_only=True)
class Correlation(Parameter):
    """Correlation of any kind as an angle θ: ``low + (high - low)(1 + sin θ) / 2``."""

    word: str = "cor"
    low: float = -1.0
    high: float = 1.0

    def _theta(self, value: float) -> float:
        return float(np.arcsin(2.0 * (value - self.low) / (self.high - self.low) - 1.0))

    def value(self, theta: Array) -> Array:
        return np.asarray(self.low + (self.high - self.low) * 0.5 * (1.0 + np.sin(theta)))


@dataclass(frozen=True, kw_only=True)
class Loading(Parameter):
    """Effect of a latent variable of variance 1, of either sign."""

    word: str = "loadings"


class Group(NamedTuple):
    """Parameters of one kind, word and interval: one of them, and the places of all in θ."""

    kind: Parameter
    at: npt.NDArray[np.intp]


# What a covariance structure must define
# =======================================
#
# A structure is a frozen dataclass with the number of effects as its first field. Σ(θ) must be positive semi-definite
# for ANY real θ, and smooth in θ: REML and samplers walk through the edges of the parameter space, not along them.
#
# Required:
#
# - `word`, a class variable: what the formula calls it, `us(trait)`.
# - `n_parameters`: length of θ. Everyone asks.
# - `matrix(theta)`: Σ, for any leading axes (draws). Every engine, estimate and PyMC model asks.
# - `jacobian(theta)` and `curvature(theta, gradient)`: dΣ/dθ, and d²Σ/dθdθ' contracted with dl/dΣ. REML's gradient and
#   Hessian, LogPosterior's gradient; standard errors by the delta method.
# - `from_matrix(sigma)`: a θ whose Σ(θ) is `sigma` if that is a member, else one near it. Starts of REML, `canonical`,
#   and the question which structures contain which (`nesting.contains`).
# - `parameters(labels)`: what every θ means, one object each of a kind above. Constraints (`{"cor": 0.5}`), start
#   values, and the prior with its density, draws and words ask for it: a StandardDeviation has the prior of standard
#   deviations, a Correlation a symmetric beta on its interval, a Loading a normal prior. Labels may be empty strings.
# - `anchor`: what each θ is to a sampler's coordinates (`posterior.coordinates`). A scale, positive in a canonical θ,
#   names itself (i at position i); another entry of the same row of a factor names its scale; FREE is its own
#   coordinate, ANGLE an angle whose sine matters, LOG a positive parameter that is sampled by its logarithm whatever
#   the coordinates (for a `root` of 0.5, where θ = 0 would be a stationary point).
#
# Optional, with defaults:
#
# - `from_arguments`: reads the words between the brackets; the default takes none. `name`: the structure as written.
# - `canonical(theta)`: the member of all θ with the same Σ that is reported, scales ≥ 0 and angles within ±π/2. The
#   default goes through `from_matrix`, which is slow and loses half the digits near a singular Σ. `positive`: which θ
#   are ≥ 0 in it; scales and logarithms by default. `edges(theta)`: which θ are at the edge ("boundary" in reports).
# - `support`: positions of Σ that are reported; all by default. `max_rank`: rank inside the parameter space.
# - `placement`: where θ stands in a lower-triangular factor. A structure that has one is sampled by the compiled
#   density, if its prior can be written on the factor (`priors.density.row_weights`: us, and sds that stand alone in
#   their rows); others by the plain one. `factor(theta)`: L with Σ = LL', by Cholesky by default.
# - `pivoted`, `apart` and `relative`, `rescaled`, `loadings`: for factors with an order, few levels, given matrices,
#   latent effects.
# - Class variables `reports_correlations`, `ties_scales`, `separable`, `needs_pilot`, described where they stand.
#
# Adding a structure touches three places: its class, one line of the registry (:mod:`bayesmv.covariance.registry`), one
# row of the table of tests/helpers/structures.py, by which every property, engine and prior is tested. A prior is
# registered (`priors.density.log_prior`, `priors.draws.draw_prior`, `priors.words.prior_words`) only where parameters
# have no independent priors of their kinds, as for `us`, `ante`, `rr` and `fa`.
# tests/covariance/test_new_structure.py takes one through everything: neighbours correlated, others not,
#
#     @dataclass(frozen=True)
#     class HeterogeneousBanded(ScaledCorrelation):        # Σ = diag(s) C(φ) diag(s), derivatives but for those of C
#         word: ClassVar[str] = "bandh"
#         own_variances: ClassVar[bool] = True
#
#         @property
#         def n_angles(self) -> int:
#             return 1
#
#         def pattern(self, angles): ...                   # C, (…, m, m)
#         def expand(self, angles): ...                    # C with its two derivatives by the angles
#         def angles(self, correlations): ...              # φ of a correlation matrix
#         def angle_parameters(self):
#             return (Correlation(name="cor", low=-self.limit, high=self.limit),)
#
#     STRUCTURES[HeterogeneousBanded.word] = HeterogeneousBanded


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
        """Structure from the words between its brackets, after ``trait``."""
        if arguments:
            raise SpecError(f"{cls.word}(trait) takes no arguments besides the trait, not {', '.join(arguments)}")
        return cls(size)

    @property
    def name(self) -> str:
        """Structure as written in a model, ``fa(2)``."""
        return self.word

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Number of parameters in θ."""

    @property
    @abstractmethod
    def anchor(self) -> npt.NDArray[np.intp]:
        """Kind of each θ to a sampler, (n_parameters,).

        A scale, positive in a canonical θ, names itself, another entry of its row of a factor names the scale; the
        rest are FREE, ANGLE or LOG (:mod:`bayesmv.posterior.coordinates`).
        """

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """Mask of the θ that are not negative in a canonical θ, (n_parameters,)."""
        return np.asarray((self.anchor == np.arange(self.n_parameters)) | (self.anchor == LOG))

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        """Positions (i, j), i ≥ j, of Σ that are not identically zero and are reported."""
        return tuple((int(i), int(j)) for i, j in zip(*packed_rows(self.size), strict=True))

    @property
    def placement(self) -> Placement | None:
        """Places of θ in a lower-triangular L(θ), Σ = LL'; None without one."""
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
        """θ whose Σ(θ) is `sigma`, or a member of the structure near it."""

    def canonical(self, theta: Array) -> Array:
        """θ with the same Σ whose scales are not negative and whose angles are within ±π/2."""
        return self.from_matrix(self.matrix(theta))

    @abstractmethod
    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        """Meaning of every θ, for effects called `labels` (m,)."""

    @property
    def powers(self) -> Array:
        """Power of its value that every θ is, (n_parameters,)."""
        return np.array([p.power for p in self.parameters([""] * self.size)])

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Parameters by kind, in the order of their first."""
        nameless = [replace(p, name="", unit=None, per=None) for p in self.parameters([""] * self.size)]
        places = {kind: [k for k, p in enumerate(nameless) if p == kind] for kind in dict.fromkeys(nameless)}
        return tuple(Group(kind, np.array(at, dtype=np.intp)) for kind, at in places.items())

    def edges(self, theta: Array) -> npt.NDArray[np.bool_]:
        """Mask of the θ at the edge of the parameter space, (n_parameters,)."""
        angles = (self.anchor == ANGLE) & (np.abs(np.cos(theta)) < _EDGE)
        return np.asarray(angles | (self.positive & (theta == 0.0)))

    def pivoted(self, sigma: Array) -> CovarianceStructure:
        """Structure with the rows of its factor in the order of their pivots at `sigma` (m, m)."""
        return self

    def apart(self, sigma: Array, noise: Array, freedom: float) -> CovarianceStructure:
        """Structure whose factor keeps apart what few levels tell of `sigma` (m, m) and what they do not.

        Parameters
        ----------
        sigma
            REML estimate.
        noise
            Standard deviation of each effect below which the data cannot tell it from 0, (m,).
        freedom
            Degrees of freedom of the levels.
        """
        return self

    @property
    def relative(self) -> npt.NDArray[np.bool_]:
        """Mask of the scales that are far from 0, so that a sampler may take their logarithms, (n_parameters,)."""
        return np.zeros(self.n_parameters, dtype=bool)

    def rescaled(self, scale: Array) -> CovarianceStructure:
        """Structure of effects divided by `scale` (m,), for those that hold given matrices or values."""
        return self

    def loadings(self, theta: Array) -> tuple[Array, Array] | None:
        """Loadings (…, m, k) and specific variances (…, m) of a factor structure; None of others."""
        return None


def common_sd(sigma: Array) -> float:
    """Root of the mean variance of Σ (m, m)."""
    return float(np.sqrt(max(float(np.mean(np.diag(sigma))), 0.0)))


def sd_parameters(labels: Sequence[str], root: float = 1.0) -> tuple[Parameter, ...]:
    """Standard deviations of the effects."""
    return tuple(StandardDeviation(name=f"sd[{label}]", unit=i, root=root) for i, label in enumerate(labels))


def common_sd_parameter() -> Parameter:
    """One standard deviation of all effects."""
    return StandardDeviation(name="sd", unit=0)
