"""Standard errors: from information on parameters to components, and on to functions of them (delta method)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bayesmv.arrays import Array, BoolArray
from bayesmv.numerics.symmetric import packed_rows

#: Eigenvalues of the scaled information below which the data say nothing about a direction.
_NO_INFORMATION = 1e-7
#: Information on a component, in working units, that is judged by itself, not relative to the component's own.
_LEAST = 1.0
#: Share of a function's slope along directions without information from which it is not identified.
LOST = 1e-4
#: A function whose error is this small beside its slopes moves only along directions that are held on the boundary.
_HELD = 1e-6

#: What the data say of a function of the components: an error, none because it rests on a direction that is held on the
#: boundary or that the data do not identify, or none because all was given.
type Standing = Literal["free", "boundary", "not identified", "fixed"]


class Judgement(NamedTuple):
    """Standard error of a function of the components, NaN where it has none, and why."""

    std_error: float
    standing: Standing


@dataclass(frozen=True, kw_only=True, eq=False)
class Uncertainty:
    """Information on the covariance components, and on functions of them.

    The one place that judges: variance components, comparisons, genetic parameters and curves ask it.

    Parameters
    ----------
    directions
        Movements of the components (stacked lower triangles) along the eigenvectors of the scaled information on the
        free parameters, in working units, (c, p).
    information
        Its eigenvalues, (p,).
    unit
        Unit of each component, (c,).
    given
        The covariances were given, not estimated.
    edge
        Which components are of terms with parameters that are held on the boundary, (c,); by default all.
    held
        Which components are of effects in a null direction of their matrix, (c,); by default none.
    """

    directions: Array
    information: Array
    unit: Array
    given: bool = False
    edge: BoolArray | None = None
    held: BoolArray | None = None

    @classmethod
    def of(cls, J: Array, information: Array, unit: Array) -> Uncertainty:
        """Uncertainty of components that move by J (c, p) with parameters of this information (p, p).

        Parameters that move no component (J has a null column: they are on the boundary) are held.
        """
        free = moving(J)
        J, information = J[:, free], information[np.ix_(free, free)]
        size = np.sqrt(np.maximum(np.diag(information), _LEAST * np.sum(J**2, axis=0)))
        values, vectors = np.linalg.eigh(information / np.outer(size, size))
        return cls(directions=(J / size) @ vectors, information=values, unit=unit)

    @classmethod
    def none(cls, unit: Array) -> Uncertainty:
        """Uncertainty of components that were given."""
        return cls(directions=np.zeros((len(unit), 0)), information=np.zeros(0), unit=unit, given=True)

    @property
    def _known(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.asarray(self.information > _NO_INFORMATION)

    @property
    def unidentified(self) -> Array:
        """Movements of the components that the data say nothing of, in working units, (c, k)."""
        return np.asarray(self.directions[:, ~self._known])

    @property
    def covariance(self) -> Array:
        """``J I⁺ J'`` of the components in the units of the data, (c, c), NaN where a component is not identified."""
        known = self._known
        D = self.directions * self.unit[:, None]
        out = np.asarray((D[:, known] / self.information[known]) @ D[:, known].T)
        lost = [self._rests_on_unidentified(row) for row in self.directions]
        out[lost] = np.nan
        out[:, lost] = np.nan
        return out

    def _rests_on_unidentified(self, slopes: Array) -> bool:
        return bool(np.linalg.norm(slopes[~self._known]) > LOST * np.linalg.norm(slopes))

    def judge(self, gradient: Array) -> Judgement:
        """Standard error ``sqrt(g'V g)`` of a function with gradient g by the components, units of the data, (c,).

        A function that rests only on directions held on the boundary, such as a correlation of ±1, has none. One of
        effects in a null direction alone is on the boundary too, and has one. What no parameter can move is fixed.
        """
        if self.given:
            return Judgement(0.0, "fixed")
        working = np.asarray(gradient) * self.unit
        if not np.isfinite(working).all():  # such as a correlation where a variance is 0
            return Judgement(np.nan, "boundary")
        if not working.any():
            return Judgement(0.0, "fixed")
        slopes = working @ self.directions
        if self._rests_on_unidentified(slopes):
            return Judgement(np.nan, "not identified")
        known = self._known
        error = float(np.sqrt(np.sum(slopes[known] ** 2 / self.information[known])))
        if error <= _HELD * float(np.linalg.norm(working)):
            on_edge = self.edge is None or working[self.edge].any()
            return Judgement(np.nan, "boundary") if on_edge else Judgement(0.0, "fixed")
        alone = self.held is not None and not working[~self.held].any()
        return Judgement(error, "boundary" if alone else "free")


def moving(J: Array) -> BoolArray:
    """Which parameters move the components J (c, p) at all, (p,); the others are held on the boundary."""
    return np.asarray(np.linalg.norm(J, axis=0) > 1e-5)


def component_gradient(sigma: Array, i: int, j: int, as_correlation: bool) -> tuple[float, Array]:
    """Covariance or correlation (i, j) of a matrix, and its derivative by the packed lower triangle; NaN for 0 / 0."""
    i, j = max(i, j), min(i, j)
    gradient = np.zeros_like(sigma)
    if not as_correlation:
        gradient[i, j] = 1.0
        return float(sigma[i, j]), gradient[packed_rows(len(sigma))]
    product = np.sqrt(sigma[i, i] * sigma[j, j])
    if product <= 0:
        return float("nan"), np.full_like(gradient, np.nan)[packed_rows(len(sigma))]
    r = sigma[i, j] / product
    gradient[i, j] = 1.0 / product
    gradient[i, i] = -0.5 * r / sigma[i, i]
    gradient[j, j] = -0.5 * r / sigma[j, j]
    return float(r), gradient[packed_rows(len(sigma))]
