"""Priors of standard deviations beyond the half-t, and of a whole covariance matrix.

Each is a :class:`bayesmv.priors.declarations.ScalePrior`, with a form in model files: its word and its numbers,
``sd = "exponential(2)"``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.errors import SpecError


def _positive(what: str, **numbers: float) -> None:
    wrong = {name: value for name, value in numbers.items() if not 0 < value < math.inf}
    if wrong:
        raise SpecError(f"{what} needs {' and '.join(numbers)} > 0 and finite, not {wrong}")


class Law:
    """Base of the priors of this file: few have a compiled form, all have one in model files."""

    word: ClassVar[str]

    @property
    def compiled(self) -> tuple[float, float] | None:
        """None: sampled through Python."""
        return None

    @property
    def numbers(self) -> tuple[float, ...]:
        """Its numbers in the order of a model file."""
        return tuple(float(getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]

    def describe(self) -> str:
        """Words for reports, and for model files."""
        return f"{self.word}({', '.join(f'{number:g}' for number in self.numbers)})"

    def to_mapping(self) -> dict[str, Any]:
        """Entries of a model file."""
        return {"sd": f"{self.word}({', '.join(repr(number) for number in self.numbers)})"}


@dataclass(frozen=True)
class HalfNormal(Law):
    """Half-normal prior of a standard deviation, ``p(s) ∝ exp(-s² / (2 scale²))``, s > 0.

    Parameters
    ----------
    scale
        Standard deviation of the whole normal distribution, in phenotypic standard deviations.
    """

    scale: float = 1.0
    word: ClassVar[str] = "half-normal"

    def __post_init__(self) -> None:
        _positive("a half-normal prior", scale=self.scale)

    @property
    def compiled(self) -> tuple[float, float]:
        """Infinitely many degrees of freedom, and the scale."""
        return math.inf, self.scale

    def log_density(self, s: Array) -> Array:
        """Unnormalised log p(s)."""
        return np.asarray(-0.5 * (s / self.scale) ** 2)

    def derivative(self, s: Array) -> Array:
        """d log p(s) / ds."""
        return np.asarray(-s / self.scale**2)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Independent draws, of shape `size`."""
        return np.asarray(self.scale * np.abs(rng.standard_normal(size)))


@dataclass(frozen=True)
class Exponential(Law):
    """Exponential prior of a standard deviation, ``p(s) = rate exp(-rate s)``.

    Parameters
    ----------
    rate
        One over the mean, which is in phenotypic standard deviations.
    """

    rate: float = 1.0
    word: ClassVar[str] = "exponential"

    def __post_init__(self) -> None:
        _positive("an exponential prior", rate=self.rate)

    def log_density(self, s: Array) -> Array:
        """Unnormalised log p(s)."""
        return np.asarray(-self.rate * s)

    def derivative(self, s: Array) -> Array:
        """d log p(s) / ds."""
        return np.full_like(s, -self.rate)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Independent draws, of shape `size`."""
        return np.asarray(rng.exponential(1.0 / self.rate, size))


@dataclass(frozen=True)
class PenalisedComplexity(Exponential):
    """Penalised-complexity prior: exponential, such that ``P(s > upper) = probability``.

    Parameters
    ----------
    upper
        A standard deviation that would be large, in phenotypic standard deviations.
    probability
        Probability that it is larger.

    References
    ----------
    Simpson, Rue, Riebler, Martins & Sørbye (2017), Stat. Sci. 32:1-28.
    """

    rate: float = 0.0
    upper: float = 1.0
    probability: float = 0.05
    word: ClassVar[str] = "pc"

    def __init__(self, upper: float = 1.0, probability: float = 0.05) -> None:
        _positive("a penalised-complexity prior", upper=upper)
        if not 0 < probability < 1:
            raise SpecError(f"a penalised-complexity prior needs a probability between 0 and 1, not {probability}")
        object.__setattr__(self, "upper", float(upper))
        object.__setattr__(self, "probability", float(probability))
        object.__setattr__(self, "rate", -math.log(probability) / upper)

    @property
    def numbers(self) -> tuple[float, ...]:
        """Upper and probability."""
        return self.upper, self.probability


@dataclass(frozen=True)
class LogNormal(Law):
    """Log-normal prior of a standard deviation: ``log s ~ N(log median, spread²)``.

    Parameters
    ----------
    median
        Its median, in phenotypic standard deviations.
    spread
        Standard deviation of log s.
    """

    median: float = 0.5
    spread: float = 1.0
    word: ClassVar[str] = "log-normal"

    def __post_init__(self) -> None:
        _positive("a log-normal prior", median=self.median, spread=self.spread)

    def log_density(self, s: Array) -> Array:
        """Unnormalised log p(s); -inf at 0."""
        with np.errstate(divide="ignore"):
            z = (np.log(s) - math.log(self.median)) / self.spread
            return np.asarray(np.where(s > 0, -0.5 * z**2 - np.log(s), -np.inf))

    def derivative(self, s: Array) -> Array:
        """d log p(s) / ds."""
        z = (np.log(s) - math.log(self.median)) / self.spread**2
        return np.asarray(-(z + 1.0) / s)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Independent draws, of shape `size`."""
        return np.asarray(self.median * np.exp(self.spread * rng.standard_normal(size)))


@dataclass(frozen=True)
class InverseGamma(Law):
    """Inverse-gamma prior of the variance, ``p(s²) ∝ (s²)^(-shape-1) exp(-scale / s²)``.

    Parameters
    ----------
    shape
        Shape; small values such as 0.001 are near ``p(s²) ∝ 1/s²``, and say more than they seem to.
    scale
        Scale, in phenotypic variances.
    """

    shape: float = 1.0
    scale: float = 0.25
    word: ClassVar[str] = "inverse-gamma"

    def __post_init__(self) -> None:
        _positive("an inverse-gamma prior", shape=self.shape, scale=self.scale)

    def log_density(self, s: Array) -> Array:
        """Unnormalised log p(s); -inf at 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = -(2.0 * self.shape + 1.0) * np.log(s) - self.scale / s**2
        return np.asarray(np.where(s > 0, value, -np.inf))

    def derivative(self, s: Array) -> Array:
        """d log p(s) / ds."""
        return np.asarray(-(2.0 * self.shape + 1.0) / s + 2.0 * self.scale / s**3)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Independent draws, of shape `size`."""
        return np.asarray(np.sqrt(self.scale / rng.gamma(self.shape, 1.0, size)))


@dataclass(frozen=True)
class Flat(Law):
    """Improper prior, constant over all standard deviations: for parts of a joint prior, not for sampling alone."""

    word: ClassVar[str] = "flat"

    def log_density(self, s: Array) -> Array:
        """0."""
        return np.zeros_like(s)

    def derivative(self, s: Array) -> Array:
        """0."""
        return np.zeros_like(s)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        """Ones: what is drawn with it has the correlations of the prior alone."""
        return np.ones(size)


#: Priors of standard deviations by their word in model files.
LAWS: dict[str, type[Any]] = {
    law.word: law for law in (HalfNormal, Exponential, PenalisedComplexity, LogNormal, InverseGamma)
}


@dataclass(frozen=True, eq=False)
class InverseWishart:
    r"""Inverse-Wishart prior of an unstructured covariance matrix, as MCMCglmm parameterises it.

    ``p(Σ) ∝ |Σ|^(-(nu + m + 1)/2) exp(-nu tr(V Σ⁻¹) / 2)``: V is the matrix that it is centred on, nu the number of
    observations that it is worth. For comparison with other programs: with few degrees of freedom it ties variances to
    correlations (small variances with correlations near 0), which LKJ with half-t does not.

    Parameters
    ----------
    nu
        Degrees of freedom, above m - 1.
    V
        Matrix (m, m) in phenotypic standard deviations, or its diagonal element.

    References
    ----------
    Alvarez, Niemi & Simpson (2014), Conf. on Applied Statistics in Agriculture; Hadfield (2010), J. Stat. Soft. 33(2).
    """

    nu: float
    V: npt.ArrayLike = 1.0

    def __post_init__(self) -> None:
        V = np.asarray(self.V, dtype=float)
        if V.ndim not in (0, 2) or not np.isfinite(V).all() or not np.isfinite(self.nu):
            raise SpecError(
                f"an inverse-Wishart prior needs finite nu and V, a number or a matrix; not {self.nu}, {self.V}"
            )
        if V.ndim == 2 and (
            V.shape[0] != V.shape[1] or np.linalg.eigvalsh(0.5 * (V + V.T))[0] <= 0 or np.any(V != V.T)
        ):
            raise SpecError("V of an inverse-Wishart prior must be symmetric and positive definite")
        if V.ndim == 0 and not V > 0:
            raise SpecError(f"V of an inverse-Wishart prior must be positive, not {self.V}")

    def scale(self, m: int) -> Array:
        """Ψ = nu V, (m, m).

        Raises
        ------
        SpecError
            If V is of another size, or nu too small for it to be proper.
        """
        V = np.asarray(self.V, dtype=float)
        if V.ndim == 2 and len(V) != m:
            raise SpecError(f"V of the inverse-Wishart prior is {len(V)} × {len(V)} for a {m} × {m} matrix")
        if not self.nu > m - 1:
            raise SpecError(f"an inverse-Wishart prior of a {m} × {m} matrix needs nu > {m - 1}, not {self.nu:g}")
        return np.asarray(self.nu * (V if V.ndim == 2 else V * np.eye(m)))

    def log_density(self, sigma: Array) -> tuple[float, Array]:
        """Unnormalised log p(Σ), and its symmetric derivative by Σ, (m, m)."""
        m = len(sigma)
        inverse = np.linalg.inv(sigma)
        inside = inverse @ self.scale(m) @ inverse
        value = -0.5 * (self.nu + m + 1) * np.linalg.slogdet(sigma)[1] - 0.5 * np.trace(self.scale(m) @ inverse)
        return float(value), np.asarray(-0.5 * (self.nu + m + 1) * inverse + 0.5 * inside)

    def draw(self, rng: np.random.Generator, n: int, m: int) -> Array:
        """Independent draws, (n, m, m)."""
        L = np.linalg.cholesky(np.linalg.inv(self.scale(m)))
        A = np.zeros((n, m, m))
        for i in range(m):
            A[:, i, i] = np.sqrt(rng.chisquare(self.nu - i, n))
            A[:, i, :i] = rng.standard_normal((n, i))
        B = L @ A  # W = BB' ~ Wishart(nu, Ψ⁻¹)
        return np.asarray(np.linalg.inv(B @ np.swapaxes(B, -1, -2)))

    def describe(self) -> str:
        """Words for reports."""
        V = np.asarray(self.V, dtype=float)
        words = f"{float(V):g}" if V.ndim == 0 else str(V.tolist())
        return f"inverse Wishart(nu = {self.nu:g}, V = {words})"

    def to_mapping(self) -> dict[str, Any]:
        """Entries of a model file."""
        V = np.asarray(self.V, dtype=float)
        return {"nu": float(self.nu), "V": float(V) if V.ndim == 0 else V.tolist()}
