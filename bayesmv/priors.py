"""Prior declarations and their densities on the parameters θ of a covariance structure.

A covariance Σ = diag(s) Ω diag(s) has independent priors on its standard deviations s, **in units of the traits'
phenotypic standard deviations after fixed effects**, and on its correlation matrix Ω. Changing the unit of a
trait therefore changes no posterior correlation or heritability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bayesmv.covariance import Array, CovarianceStructure, Diagonal, ScaledIdentity, Unstructured
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
        Shape of the LKJ prior ``p(Ω) ∝ |Ω|^(eta-1)``; 1 is uniform over correlation matrices.
    """

    sd: HalfStudentT = field(default_factory=HalfStudentT)
    eta: float = 1.0

    def __post_init__(self) -> None:
        if not self.eta > 0:
            raise SpecError(f"an LKJ prior needs eta > 0, not {self.eta}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> CovariancePrior:
        """Read ``{"nu": …, "scale": …, "eta": …}``, the form of model files."""
        unknown = sorted(set(values) - {"nu", "scale", "eta"})
        if unknown:
            raise SpecError(f"unknown key {unknown[0]!r} in the prior of {where}; allowed: eta, nu, scale")
        wrong = [k for k, v in values.items() if isinstance(v, bool) or not isinstance(v, int | float)]
        if wrong:
            raise SpecError(f"{wrong[0]} in the prior of {where} must be a number, not {values[wrong[0]]!r}")
        sd = HalfStudentT(nu=values.get("nu", 3.0), scale=values.get("scale", 1.0))
        return cls(sd=sd, eta=values.get("eta", 1.0))

    def to_mapping(self) -> dict[str, float]:
        """Inverse of :meth:`from_mapping`."""
        return {"nu": self.sd.nu, "scale": self.sd.scale, "eta": self.eta}

    def __str__(self) -> str:
        return f"sd ~ half-Student-t({self.sd.nu:g}, {self.sd.scale:g}) phenotypic sd, correlations ~ LKJ({self.eta:g})"


class RowWeights(NamedTuple):
    """Weights (m,) of the log prior ``Σ_i [c_i log p(s_i) + a_i log D_i - b_i log s_i]``, s_i the norm of row i of L.

    D_i is the last nonzero of row i, the diagonal of the triangle; `column` says where it stands, (m,).
    """

    c: Array
    a: Array
    b: Array
    column: npt.NDArray[np.intp]


@singledispatch
def row_weights(structure: CovarianceStructure, prior: CovariancePrior) -> RowWeights:
    """Weights of a structure's prior on its factor L(θ).

    For an unstructured Σ, half-t priors of the sd and LKJ(eta) of the correlations are, on the Cholesky factor,
    ``Π p(s_i) s_i^-m L_ii^(m-i+1) (L_ii/s_i)^(2(eta-1))``, i = 1..m: the last factor is the LKJ density, the powers
    the Jacobian. It is the same for the factor of the effects in another order.

    Source: Lewandowski, Kurowicka & Joe (2009), J. Multivariate Analysis 100:1989-2001.
    """
    raise NotImplementedError(f"no prior is registered for {type(structure).__name__}")


@row_weights.register
def _(structure: Unstructured, prior: CovariancePrior) -> RowWeights:
    m, tilt = structure.size, 2.0 * (prior.eta - 1.0)
    column = np.argsort(structure.effect_of)
    return RowWeights(np.ones(m), np.asarray(m - column + tilt), np.full(m, m + tilt), column)


@row_weights.register
def _(structure: Diagonal, prior: CovariancePrior) -> RowWeights:
    m = structure.size
    return RowWeights(np.ones(m), np.zeros(m), np.zeros(m), np.arange(m))


@row_weights.register
def _(structure: ScaledIdentity, prior: CovariancePrior) -> RowWeights:
    # One standard deviation, which stands in every row: it counts once.
    m = structure.size
    return RowWeights(np.eye(m)[0], np.zeros(m), np.zeros(m), np.arange(m))


def log_prior(structure: CovarianceStructure, prior: CovariancePrior, theta: Array) -> tuple[float, Array]:
    """Unnormalised log density of θ under `prior`, and its gradient (n_parameters,)."""
    c, a, b, column = row_weights(structure, prior)
    L = structure.factor(theta)
    index = np.arange(len(L))
    s, diagonal = np.sqrt(np.sum(L**2, axis=1)), L[index, column]
    value = c @ prior.sd.log_density(s) + a @ np.log(np.abs(diagonal)) - b @ np.log(s)
    by_L = ((c * prior.sd.derivative(s) - b / s) / s)[:, None] * L
    by_L[index, column] += a / diagonal
    rows, cols, parameters = structure.placement
    return float(value), np.bincount(parameters, by_L[rows, cols], minlength=structure.n_parameters)
