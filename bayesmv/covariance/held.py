"""Any covariance matrix with some correlations held at values: Σ = diag(s) C(φ) diag(s).

C is built row by row. With K the Cholesky factor of C among the effects before, those first whose correlations r with
the new one are held, the new row is c = K k, k a unit vector. Its first entries follow from r (K_JJ k_J = r); the rest
is a vector in a ball, whose coordinates are sines of angles φ: partial correlations given those before. Held zeros
leave any φ possible; other values do where they are held among each other too, or stand alone in their row.

Source of the construction: Pinheiro & Bates (1996), Stat. Comput. 6:289-296; Lewandowski, Kurowicka & Joe (2009),
J. Multivar. Anal. 100:1989-2001.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance.base import Correlation, Parameter
from bayesmv.covariance.scaled import Pattern, ScaledCorrelation
from bayesmv.errors import SpecError, listing

#: Square below which the root of a pivot is taken at this, so that derivatives exist.
_LEAST = 1e-24


class Jet(NamedTuple):
    """Number with its first (p,) and second (p, p) derivatives."""

    value: float
    first: Array
    second: Array

    @classmethod
    def constant(cls, value: float, p: int) -> Jet:
        """Number that does not depend on anything."""
        return cls(value, np.zeros(p), np.zeros((p, p)))

    def through(self, value: float, slope: float, bend: float) -> Jet:
        """Function of this number: its value, first and second derivative."""
        return Jet(value, slope * self.first, slope * self.second + bend * np.outer(self.first, self.first))

    def __add__(self, other: Jet) -> Jet:  # type: ignore[override]
        return Jet(self.value + other.value, self.first + other.first, self.second + other.second)

    def __sub__(self, other: Jet) -> Jet:
        return Jet(self.value - other.value, self.first - other.first, self.second - other.second)

    def __mul__(self, other: Jet) -> Jet:  # type: ignore[override]
        cross = np.outer(self.first, other.first)
        return Jet(
            self.value * other.value,
            self.value * other.first + other.value * self.first,
            self.value * other.second + other.value * self.second + cross + cross.T,
        )

    def __truediv__(self, other: Jet) -> Jet:
        x = other.value
        return self * other.through(1.0 / x, -1.0 / x**2, 2.0 / x**3)

    def sin(self) -> Jet:
        """Sine."""
        return self.through(math.sin(self.value), math.cos(self.value), -math.sin(self.value))

    def cos(self) -> Jet:
        """Cosine."""
        return self.through(math.cos(self.value), -math.sin(self.value), -math.cos(self.value))

    def sqrt(self) -> Jet:
        """Square root; of what rounding leaves of zero, a small number."""
        root = math.sqrt(max(self.value, _LEAST))
        return self.through(root, 0.5 / root, -0.25 / root**3)


class _Arithmetic(NamedTuple):
    """Functions of numbers of one kind: arrays, or numbers with derivatives."""

    constant: Callable[[float], Any]
    sin: Callable[[Any], Any]
    cos: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]


@dataclass(frozen=True)
class HeldCorrelations(ScaledCorrelation):
    """Unstructured covariance with some correlations held.

    Parameters
    ----------
    size
        Number of effects.
    held
        Pairs (i, j), i > j, and the values of their correlations.
    reported
        Word of the structure that it is a part of, ``us`` or ``corgh``.
    labels
        Labels of the effects, for the names of the angles.

    Raises
    ------
    SpecError
        If a value is no correlation, or some cannot be held together.
    """

    held: tuple[tuple[int, int, float], ...] = ()
    reported: str = "corgh"
    labels: tuple[str, ...] = ()

    own_variances: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for i, j, value in self.held:
            if not -1.0 < value < 1.0:
                raise SpecError(f"cor[{self._pair(j, i)}] = {value:g} is out of its bounds, -1 to 1")
        for row in self._rows:
            self._require_possible(row)

    @property
    def word(self) -> str:  # type: ignore[override]
        """Word of the structure."""
        return self.reported

    @property
    def reports_correlations(self) -> bool:  # type: ignore[override]
        """Whether covariances are reported as correlations."""
        return self.reported == "corgh"

    def _pair(self, i: int, j: int) -> str:
        return f"{self.labels[i]},{self.labels[j]}" if self.labels else f"{i + 1},{j + 1}"

    @cached_property
    def _value(self) -> dict[tuple[int, int], float]:
        return {(i, j): value for i, j, value in self.held} | {(j, i): value for i, j, value in self.held}

    @cached_property
    def _order(self) -> list[int]:
        """Order in which the rows are built: effects with many held correlations first."""
        count = [sum(i in pair for pair in self._value) for i in range(self.size)]
        return sorted(range(self.size), key=lambda i: -count[i])

    @cached_property
    def _rows(self) -> list[_Row]:
        """Rows after the first."""
        out = []
        for n, i in enumerate(self._order[1:], 1):
            before = self._order[:n]
            held = [j for j in before if (i, j) in self._value]
            out.append(_Row(i, held, [j for j in before if j not in held], [self._value[i, j] for j in held]))
        return out

    def _require_possible(self, row: _Row) -> None:
        """Refuse held values that some values of the free correlations make impossible."""
        if not any(row.values):
            return
        pairs = [(a, b) for k, a in enumerate(row.held) for b in row.held[:k]]
        names = listing([f"cor[{self._pair(*sorted((row.effect, j)))}]" for j in row.held])
        if any(pair not in self._value for pair in pairs):
            raise SpecError(
                f"{names} cannot be held together at values other than 0 unless the correlations among the others are "
                f"held too"
            )
        among = np.array([[1.0 if a == b else self._value[a, b] for b in row.held] for a in row.held])
        r = np.array(row.values)
        if np.linalg.eigvalsh(among)[0] <= 0.0 or r @ np.linalg.solve(among, r) >= 1.0:
            raise SpecError(f"no correlation matrix has {names} at the values that they are held at")

    @property
    def n_angles(self) -> int:
        return sum(len(row.free) for row in self._rows)

    def angle_parameters(self) -> tuple[Parameter, ...]:
        return tuple(
            Correlation(name=f"partial_cor[{self._pair(*sorted((row.effect, j)))}]", word="partial_cor")
            for row in self._rows
            for j in row.free
        )

    def _build(self, angles: Sequence[Any], of: _Arithmetic) -> list[list[Any]]:
        """C (m, m) of angles that are numbers of whatever kind."""
        one, C = of.constant(1.0), [[of.constant(0.0)] * self.size for _ in range(self.size)]
        for i in range(self.size):
            C[i][i] = one
        left = iter(angles)
        for row in self._rows:
            order = [*row.held, *row.free]
            K = _cholesky(C, order, of)
            k, rest = _given(K, row.values, of)
            for _ in row.free:
                angle = next(left)
                k.append(rest * of.sin(angle))
                rest = rest * of.cos(angle)
            for a, j in enumerate(order):
                total = of.constant(0.0)
                for t in range(a + 1):
                    total = total + K[a][t] * k[t]
                C[row.effect][j] = C[j][row.effect] = total
        return C

    def pattern(self, angles: Array) -> Array:
        shape = angles.shape[:-1]
        of = _Arithmetic(lambda x: np.full(shape, x), np.sin, np.cos, lambda x: np.sqrt(np.maximum(x, _LEAST)))
        C = self._build([angles[..., k] for k in range(self.n_angles)], of)
        return np.stack([np.stack(row, axis=-1) for row in C], axis=-2)

    def expand(self, angles: Array) -> Pattern:
        p = self.n_angles
        of = _Arithmetic(lambda x: Jet.constant(x, p), Jet.sin, Jet.cos, Jet.sqrt)
        C = self._build([Jet(float(angles[k]), np.eye(p)[k], np.zeros((p, p))) for k in range(p)], of)
        value = np.array([[jet.value for jet in row] for row in C])
        first = np.array([[jet.first for jet in row] for row in C]).reshape(self.size, self.size, p)
        second = np.array([[jet.second for jet in row] for row in C]).reshape(self.size, self.size, p, p)
        return Pattern(value, np.moveaxis(first, 2, 0), np.moveaxis(second, (2, 3), (0, 1)))

    def canonical(self, theta: Array) -> Array:
        angles, out, at = theta[self.n_sds :], list(np.abs(theta[: self.n_sds])), 0
        for row in self._rows:
            sign = 1.0  # of the length that is left for the angles after
            for angle in angles[at : at + len(row.free)]:
                out.append(np.arcsin(sign * np.sin(angle)))
                sign *= 1.0 if np.cos(angle) >= 0.0 else -1.0
            at += len(row.free)
        return np.array(out)

    def angles(self, correlations: Array) -> Array:
        known = np.where(np.isnan(correlations), 0.0, correlations)
        C, out = np.eye(self.size), list[float]()
        of = _Arithmetic(float, math.sin, math.cos, lambda x: math.sqrt(max(x, _LEAST)))
        for row in self._rows:
            order = [*row.held, *row.free]
            K = np.array(_cholesky(C.tolist(), order, of))
            k, rest = _given(K.tolist(), row.values, of)
            for a, j in enumerate(row.free, len(row.held)):
                wanted = (known[row.effect, j] - K[a, :a] @ np.array(k)) / max(K[a, a], 1e-12)
                sine = float(np.clip(wanted / rest, -1.0, 1.0)) if rest > 1e-12 else 0.0
                out.append(math.asin(sine))
                k.append(rest * sine)
                rest *= math.sqrt(1.0 - sine**2)
            C[row.effect, order] = C[order, row.effect] = K @ np.array(k)
        return np.array(out)


class _Row(NamedTuple):
    """Effect whose correlations with those before are built together: those held with their values, and those free."""

    effect: int
    held: list[int]
    free: list[int]
    values: list[float]


def _cholesky(C: Sequence[Sequence[Any]], order: Sequence[int], of: _Arithmetic) -> list[list[Any]]:
    """Lower factor of the rows of C in an order."""
    zero = of.constant(0.0)
    K: list[list[Any]] = []
    for a, i in enumerate(order):
        row: list[Any] = []
        for b, j in enumerate(order[: a + 1]):
            total = C[i][j]
            for t in range(b):
                total = total - row[t] * (row[t] if a == b else K[b][t])
            row.append(of.sqrt(total) if a == b else total / K[b][b])
        K.append([*row, *[zero] * (len(order) - a - 1)])
    return K


def _given(K: Sequence[Sequence[Any]], values: Sequence[float], of: _Arithmetic) -> tuple[list[Any], Any]:
    """Entries of the new row that held correlations fix, and the length that is left for the others."""
    k: list[Any] = []
    if not any(values):
        return [of.constant(0.0) for _ in values], of.constant(1.0)
    left = of.constant(1.0)
    for h, value in enumerate(values):
        total = of.constant(value)
        for t in range(h):
            total = total - K[h][t] * k[t]
        k.append(total / K[h][h])
        left = left - k[h] * k[h]
    return k, of.sqrt(left)
