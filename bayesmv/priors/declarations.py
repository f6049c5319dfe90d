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
    Degrees of freedom and scale if p is a half-Student-t, half-normal with infinitely many, which is what compiled code
    knows; None for any other, which is then sampled through Python, some 100 µs an evaluation slower.
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
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import SpecError, require_known
from bayesmv.priors.laws import LAWS, InverseWishart

_MEMBERS = ("log_density", "derivative", "draw", "describe", "compiled")
_ENTRIES = ("eta", "loadings", "nu", "scale", "sd", "share", "wishart")
_LAW = re.compile(r"\s*([a-z-]+)\s*\(([^()]*)\)\s*")


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

    def to_mapping(self) -> dict[str, Any]:
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
class CovariancePrior:
    """Prior of one term's covariance matrix.

    Parameters
    ----------
    sd
        Prior of every standard deviation, in phenotypic standard deviations: :class:`HalfStudentT`,
        those of :mod:`bayesmv.priors.laws`, or any object with the members of :class:`ScalePrior`.
    eta
        Shape of the LKJ prior ``p(Ω) ∝ |Ω|^(eta-1)``; 1 is uniform over correlation matrices. Of a structure with one
        correlation (``corv``, ``ar1``, …) and of partial autocorrelations (``toep``) it is the shape of a symmetric
        beta prior on their interval: 1 is uniform again.
    loadings
        Standard deviation of the normal prior of the loadings of ``fa`` and ``rr``, in phenotypic standard deviations.
    share
        Weight of the term's variances in a Dirichlet prior of shares (:mod:`bayesmv.priors.shares`); `sd` is then the
        prior of the root of the sum over all terms with a share. None for variances that are independent.
    wishart
        Inverse-Wishart prior of the whole matrix, in place of sd and eta; of unstructured matrices only.
    """

    sd: ScalePrior = field(default_factory=HalfStudentT)
    eta: float = 1.0
    loadings: float = 0.5
    share: float | None = None
    wishart: InverseWishart | None = None

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
        if self.share is not None and not 0 < self.share < math.inf:
            raise SpecError(f"a share of the variance needs a finite weight > 0, not {self.share}")
        if self.share is not None and self.wishart is not None:
            raise SpecError("a matrix with an inverse-Wishart prior has no share of a variance: give one of both")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> CovariancePrior:
        """Prior from the entries of a model file.

        ``sd = "exponential(2)"`` or ``nu`` and ``scale`` of a half-t; ``eta``, ``loadings``, ``share``;
        ``wishart = { nu = 3, V = 0.5 }``.
        """
        require_known(values, _ENTRIES, f"unknown key {{}} in the prior of {where}; allowed")
        numbers = {k: v for k, v in values.items() if k not in ("sd", "wishart")}
        wrong = [k for k, v in numbers.items() if isinstance(v, bool) or not isinstance(v, int | float)]
        if wrong:
            raise SpecError(f"{wrong[0]} in the prior of {where} must be a number, not {values[wrong[0]]!r}")
        sd: ScalePrior = HalfStudentT(nu=values.get("nu", 3.0), scale=values.get("scale", 1.0))
        if "sd" in values:
            if "nu" in values or "scale" in values:
                raise SpecError(
                    f"the prior of {where} has sd beside nu or scale, which are those of a half-t: give one"
                )
            sd = _law(values["sd"], where)
        wishart = values.get("wishart")
        if wishart is not None:
            known = isinstance(wishart, Mapping) and "nu" in wishart and set(wishart) <= {"nu", "V"}
            if not known:
                raise SpecError(f"wishart in the prior of {where} is a table, {{ nu = 3, V = 0.5 }}, not {wishart!r}")
            wishart = InverseWishart(wishart["nu"], wishart.get("V", 1.0))
        return cls(
            sd=sd,
            eta=values.get("eta", 1.0),
            loadings=values.get("loadings", 0.5),
            share=values.get("share"),
            wishart=wishart,
        )

    @property
    def is_written(self) -> bool:
        """Whether a model file can hold the prior."""
        return isinstance(self.sd, WrittenPrior)

    def to_mapping(self) -> dict[str, Any]:
        """Inverse of :meth:`from_mapping`.

        Raises
        ------
        SpecError
            If the prior of standard deviations has no form in model files.
        """
        if not isinstance(self.sd, WrittenPrior):
            raise SpecError(
                f"the prior {self.sd.describe()} has no form in a model file; "
                "give it in Python: priors={term: CovariancePrior(sd=…)}"
            )
        out: dict[str, Any] = {**self.sd.to_mapping(), "eta": self.eta, "loadings": self.loadings}
        out |= {} if self.share is None else {"share": self.share}
        return out if self.wishart is None else out | {"wishart": self.wishart.to_mapping()}

    def __str__(self) -> str:
        if self.wishart is not None:
            return f"matrix ~ {self.wishart.describe()}"
        sd = f"sd ~ {self.sd.describe()} phenotypic sd"
        if self.share is not None:
            sd = f"share of the variance ~ Dirichlet, weight {self.share:g}, root of the sum ~ {self.sd.describe()}"
        return f"{sd}, correlations ~ LKJ({self.eta:g})"


def _law(text: Any, where: str) -> ScalePrior:
    """Prior of standard deviations as a model file has it, ``exponential(2)``."""
    found = _LAW.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise SpecError(f'sd in the prior of {where} is a law with its numbers, "exponential(2)", not {text!r}')
    word, inside = found.groups()
    require_known([word], _BY_WORD, f"no law {{}} for sd in the prior of {where}; laws")
    try:
        made: ScalePrior = _BY_WORD[word](*(float(part) for part in inside.split(",") if part.strip()))
    except SpecError:
        raise
    except (TypeError, ValueError):
        raise SpecError(f"sd in the prior of {where}: {word} takes other numbers than ({inside})") from None
    return made


def _half_t(nu: float = 3.0, scale: float = 1.0) -> HalfStudentT:
    return HalfStudentT(nu=nu, scale=scale)


def half_cauchy(scale: float = 1.0) -> HalfStudentT:
    """Half-Cauchy prior of a standard deviation: half-t with one degree of freedom."""
    return HalfStudentT(nu=1.0, scale=scale)


#: Priors of standard deviations by their words in model files.
_BY_WORD: dict[str, Callable[..., Any]] = {**LAWS, "half-t": _half_t, "half-cauchy": half_cauchy}
