"""What a program's file holds, in the program's own names."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import DataError

#: Name of the residual, whatever a program calls it.
RESIDUALS = "Residual"


@dataclass(frozen=True, kw_only=True)
class Component:
    """A variance, covariance or correlation.

    Parameters
    ----------
    term
        The program's name of its term; :data:`RESIDUALS` for residuals.
    trait_i, trait_j
        Names or, as ``"1"``, numbers of traits; empty where there is one trait.
    value
        Estimate, or draws (chains, draws).
    std_error
        Standard error, NaN if there is none.
    kind
        ``covariance`` (variances too), ``correlation`` or ``sd``.
    """

    term: str
    trait_i: str = ""
    trait_j: str = ""
    value: Array
    std_error: float = float("nan")
    kind: str = "covariance"


@dataclass(frozen=True, kw_only=True)
class Found:
    """Components of a file, and what is said of the fit.

    Parameters
    ----------
    components
        The components.
    loglik
        Log-likelihood as the program prints it, NaN if it does not.
    constant
        Whether that includes ``-(N - p)/2 log 2π``.
    notes
        What to know of the parameterisation, in words.
    """

    components: tuple[Component, ...]
    loglik: float = float("nan")
    constant: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def drawn(self) -> bool:
        """Whether there are draws."""
        return any(c.value.ndim > 0 for c in self.components)


def number(text: str, where: str) -> float:
    """Number in a file, Fortran's D exponent too.

    Raises
    ------
    DataError
        If it is none, or not finite.
    """
    try:
        value = float(text.replace("D", "E").replace("d", "e"))
    except ValueError:
        raise DataError(f"'{text[:40]}' in {where} is not a number") from None
    if not np.isfinite(value):
        raise DataError(f"'{text[:40]}' in {where} is not a finite number")
    return value
