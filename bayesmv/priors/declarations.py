"""Priors as declared by a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import SpecError


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

    def log_density(self, s: Array) -> Array:
        """Unnormalised log p(s)."""
        return np.asarray(-0.5 * (self.nu + 1) * np.log1p((s / self.scale) ** 2 / self.nu))

    def derivative(self, s: Array) -> Array:
        """d log p(s) / ds."""
        return np.asarray(-(self.nu + 1) * s / (self.nu * self.scale**2 + s**2))


@dataclass(frozen=True, kw_only=True)
class CovariancePrior:
    """Prior of one term's covariance matrix.

    Parameters
    ----------
    sd
        Prior of every standard deviation, in phenotypic standard deviations.
    eta
        Shape of the LKJ prior ``p(Ω) ∝ |Ω|^(eta-1)``; 1 is uniform over correlation matrices. Of a structure with one
        correlation (``corv``, ``ar1``, …) and of partial autocorrelations (``toep``) it is the shape of a symmetric
        beta prior on their interval: 1 is uniform again.
    loadings
        Standard deviation of the normal prior of the loadings of ``fa`` and ``rr``, in phenotypic standard deviations.
    """

    sd: HalfStudentT = field(default_factory=HalfStudentT)
    eta: float = 1.0
    loadings: float = 0.5

    def __post_init__(self) -> None:
        if not self.eta > 0:
            raise SpecError(f"an LKJ prior needs eta > 0, not {self.eta}")
        if not 0 < self.loadings < np.inf:
            raise SpecError(f"a prior of loadings needs a finite scale > 0, not {self.loadings}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> CovariancePrior:
        """Read ``{"nu": …, "scale": …, "eta": …, "loadings": …}``, the form of model files."""
        unknown = sorted(set(values) - {"nu", "scale", "eta", "loadings"})
        if unknown:
            raise SpecError(f"unknown key {unknown[0]!r} in the prior of {where}; allowed: eta, loadings, nu, scale")
        wrong = [k for k, v in values.items() if isinstance(v, bool) or not isinstance(v, int | float)]
        if wrong:
            raise SpecError(f"{wrong[0]} in the prior of {where} must be a number, not {values[wrong[0]]!r}")
        sd = HalfStudentT(nu=values.get("nu", 3.0), scale=values.get("scale", 1.0))
        return cls(sd=sd, eta=values.get("eta", 1.0), loadings=values.get("loadings", 0.5))

    def to_mapping(self) -> dict[str, float]:
        """Inverse of :meth:`from_mapping`."""
        return {"nu": self.sd.nu, "scale": self.sd.scale, "eta": self.eta, "loadings": self.loadings}

    def __str__(self) -> str:
        return f"sd ~ half-Student-t({self.sd.nu:g}, {self.sd.scale:g}) phenotypic sd, correlations ~ LKJ({self.eta:g})"

    def describe(self, structure: str) -> str:
        """Say what the prior is of a structure as written in a model.

        >>> CovariancePrior().describe("rr(2)")
        'loadings ~ normal(0, 0.5) phenotypic sd'
        """
        sd = f"half-Student-t({self.sd.nu:g}, {self.sd.scale:g})"
        loadings = f"loadings ~ normal(0, {self.loadings:g}) phenotypic sd"
        one = f"sd ~ {sd} phenotypic sd, cor ~ beta({self.eta:g}, {self.eta:g}) over its interval"
        forms = {
            **dict.fromkeys(("id", "fixed"), "given, not estimated"),
            **dict.fromkeys(("idv", "diag", "scaled"), f"sd ~ {sd} phenotypic sd"),
            **dict.fromkeys(("corv", "corh", "ar1", "ar1h", "exp", "exph"), one),
            **dict.fromkeys(("toep", "toeph"), one.replace("cor", "partial autocorrelation")),
            "rr": loadings,
            "fa": f"specific sd ~ {sd}, {loadings}",
        }
        return forms.get(structure.partition("(")[0], str(self))
