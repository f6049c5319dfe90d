"""Functions of covariates that random effects multiply: polynomials, splines, raw covariates, environments.

A basis is the inside of ``us(…)`` where that is not ``trait``: ``leg(age, 2)``, ``1 + age``, ``spl(age, 5)``, ``site``.
With f(x) its k functions at covariate x, an effect vector u (k,) of a level adds f(x)'u to a record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, override

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.errors import DataError, Needed, SpecError, listing, require_all_complete, require_known
from bayesmv.model.grammar import (
    DIGITS,
    HIGHEST_ORDER,
    MOST_FUNCTIONS,
    call_parts,
    number,
    quoted,
    split_top,
    unquoted,
)
from bayesmv.relationship.labels import as_text, factorise

_CUBIC = 3
#: Splines of a trend whose number is not stated.
_TREND = 20
#: Points between the limits over which a trend's variance is averaged.
_GRID = 401
#: Means from so many standard deviations on are far from zero: the intercept is that of a point far outside the data.
_FAR = 1e3


@dataclass(frozen=True, kw_only=True)
class Part(ABC):
    """Some functions of one covariate."""

    column: str

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Names of the functions."""

    @property
    def identities(self) -> tuple[str, ...]:
        """Names that two functions share only if they are the same."""
        return self.labels

    def resolve(self, data: pd.DataFrame) -> Part:
        """Same part with everything that it takes from the data, such as limits, filled in."""
        return self

    @abstractmethod
    def evaluate(self, values: npt.ArrayLike) -> Array:
        """Functions at covariates (n,), as (n, k)."""

    def unit(self, functions: Array) -> Array:
        """Size by which functions (n, k) are divided inside the equations, (k,)."""
        return np.ones(functions.shape[1])


@dataclass(frozen=True, kw_only=True)
class Constant(Part):
    """Constant 1."""

    column: str = ""

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return ("Intercept",)

    @override
    def evaluate(self, values: npt.ArrayLike) -> Array:
        return np.ones((len(np.asarray(values)), 1))

    def __str__(self) -> str:
        return "1"


@dataclass(frozen=True, kw_only=True)
class Raw(Part):
    """Covariate as it is; a column that is not numeric is taken for a factor."""

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return (self.column,)

    @override
    def resolve(self, data: pd.DataFrame) -> Part:
        return self if is_numeric(data[self.column]) else Levels(column=self.column).resolve(data)

    @override
    def evaluate(self, values: npt.ArrayLike) -> Array:
        return np.asarray(values, dtype=float)[:, None]

    @override
    def unit(self, functions: Array) -> Array:
        size = np.sqrt(np.mean(functions**2, axis=0))
        return np.where(size > 0, size, 1.0)

    def __str__(self) -> str:
        return quoted(self.column)


@dataclass(frozen=True, kw_only=True)
class Centred(Raw):
    """Covariate less a constant, by default its mean in the data."""

    centre: float | None = None

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return (f"center({quoted(self.column)})",)

    @property
    @override
    def identities(self) -> tuple[str, ...]:
        return (str(self),)

    @override
    def resolve(self, data: pd.DataFrame) -> Part:
        if not is_numeric(data[self.column]):
            raise DataError(f"the covariate '{self.column}' is not numeric; {self} needs numbers")
        return self if self.centre is not None else replace(self, centre=float(data[self.column].mean()))

    @override
    def evaluate(self, values: npt.ArrayLike) -> Array:
        if self.centre is None:
            raise SpecError(f"{self} has no centre yet; resolve it with data")
        return super().evaluate(values) - self.centre

    def __str__(self) -> str:
        return f"center({quoted(self.column)}{'' if self.centre is None else f', {self.centre!r}'})"


@dataclass(frozen=True, kw_only=True)
class Levels(Part):
    """One indicator for each level of a column: environments."""

    levels: tuple[str, ...] = ()

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return self.levels

    @override
    def resolve(self, data: pd.DataFrame) -> Self:
        _, levels = factorise(data[self.column])
        return replace(self, levels=tuple(map(as_text, levels)))

    @override
    def evaluate(self, values: npt.ArrayLike) -> Array:
        codes = pd.Index(self.levels).get_indexer(pd.Index([as_text(v) for v in np.asarray(values, dtype=object)]))
        if (codes < 0).any():
            asked = sorted({as_text(v) for v in np.asarray(values, dtype=object)})
            require_known(asked, self.levels, f"no level {{}} of '{self.column}'; levels", DataError)
        return np.asarray(np.eye(len(self.levels))[codes])

    def __str__(self) -> str:
        return f"C({quoted(self.column)})"


@dataclass(frozen=True, kw_only=True)
class Smooth(Part):
    """Functions of a covariate between two limits, by default the least and the largest value in the data."""

    order: int
    low: float | None = None
    high: float | None = None

    @override
    def resolve(self, data: pd.DataFrame) -> Self:
        if self.low is not None:
            return self
        if not is_numeric(data[self.column]):
            raise DataError(f"the covariate '{self.column}' is not numeric; {self} needs numbers")
        low, high = float(data[self.column].min()), float(data[self.column].max())
        if not low < high:
            raise DataError(f"the covariate '{self.column}' is {low:g} in all records; {self} needs it to vary")
        return replace(self, low=low, high=high)

    def standardise(self, values: npt.ArrayLike) -> Array:
        """Covariates (n,) on the scale -1 to 1."""
        low, high = self.limits
        x = np.asarray(values, dtype=float)
        outside = (x < low) | (x > high)
        if outside.any():
            raise DataError(
                f"the covariate '{self.column}' is outside {low:g} to {high:g}: {listing(np.unique(x[outside]))}; "
                f"widen the limits, {self._word}({self.column}, {self.order}, low, high)"
            )
        return 2.0 * (x - low) / (high - low) - 1.0

    @property
    def limits(self) -> tuple[float, float]:
        """Covariates that become -1 and 1."""
        if self.low is None or self.high is None:
            raise SpecError(f"{self} has no limits yet; resolve it with data")
        return self.low, self.high

    @property
    @abstractmethod
    def _word(self) -> str: ...

    def __str__(self) -> str:
        limits = "" if self.low is None else f", {self.low!r}, {self.high!r}"
        return f"{self._word}({quoted(self.column)}, {self.order}{limits})"


@dataclass(frozen=True, kw_only=True)
class Legendre(Smooth):
    """Normalised Legendre polynomials of orders 0 to k, ``sqrt((2n+1)/2) P_n(x)``, x from -1 to 1.

    Kirkpatrick, Lofsvold & Bulmer (1990), Genetics 124:979-993. Order 0 is the constant ``sqrt(1/2)``.
    """

    _word = "leg"

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return tuple(f"{self.column}_leg{n}" for n in range(self.order + 1))

    @property
    @override
    def identities(self) -> tuple[str, ...]:
        return tuple(f"{label} {self.limits}" for label in self.labels)

    @override
    def evaluate(self, values: npt.ArrayLike) -> Array:
        P = np.polynomial.legendre.legvander(self.standardise(values), self.order)
        return np.asarray(P * np.sqrt(np.arange(self.order + 1) + 0.5))


@dataclass(frozen=True, kw_only=True)
class Spline(Smooth):
    """k cubic B-splines on evenly spaced knots; they add up to 1 everywhere."""

    _word = "spl"

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return tuple(f"{self.column}_spl{n + 1}" for n in range(self.order))

    @property
    @override
    def identities(self) -> tuple[str, ...]:
        return tuple(f"{label} {self}" for label in self.labels)

    @override
    def evaluate(self, values: npt.ArrayLike) -> Array:
        inner = np.linspace(-1.0, 1.0, self.order - _CUBIC + 1)
        knots = np.concatenate([np.full(_CUBIC, -1.0), inner, np.full(_CUBIC, 1.0)])
        from scipy.interpolate import BSpline  # a tenth of a second to load, and few models need it

        return np.asarray(BSpline.design_matrix(self.standardise(values), knots, _CUBIC).toarray())


@dataclass(frozen=True, kw_only=True)
class PenalisedSpline(Smooth):
    """Cubic P-spline as a mixed model: the part of it that its penalty is on, ``f(x) = B(x) D'(DD')⁻¹ z``.

    B are `order` cubic B-splines on even knots, D takes second differences of their coefficients, and z (order - 2,)
    are independent with one variance, so that ``z'z`` is the penalty. The straight line, which is not penalised, is no
    part of it. The unit of z is such that the variance of f(x) is that of z on average between the limits.

    Source: Eilers & Marx (1996), Stat. Sci. 11:89-121; Currie & Durbán (2002), Stat. Model. 2:333-349.
    """

    _word = "ps"

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return tuple(f"{self.column}_ps{n + 1}" for n in range(self.order - 2))

    @override
    def evaluate(self, values: npt.ArrayLike) -> Array:
        even = self._functions(np.linspace(-1.0, 1.0, _GRID))
        return np.asarray(self._functions(self.standardise(values)) / np.sqrt(np.mean(np.sum(even**2, axis=1))))

    def _functions(self, x: Array) -> Array:
        from scipy.interpolate import BSpline

        step = 2.0 / (self.order - _CUBIC)
        knots = -1.0 + step * np.arange(-_CUBIC, self.order + 1)
        B = BSpline.design_matrix(x, knots, _CUBIC, extrapolate=True).toarray()
        D = np.diff(np.eye(self.order), n=2, axis=0)
        return np.asarray(B @ np.linalg.solve(D @ D.T, D).T)


@dataclass(frozen=True, kw_only=True)
class Basis:
    """Parts side by side.

    Parameters
    ----------
    parts
        The parts, at least one.
    """

    parts: tuple[Part, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Covariates that the basis needs."""
        return tuple(dict.fromkeys(part.column for part in self.parts if part.column))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Those of its columns that are numbers; the others name environments."""
        return tuple(dict.fromkeys(p.column for p in self.parts if p.column and not isinstance(p, Levels)))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the functions (k,)."""
        return tuple(label for part in self.parts for label in part.labels)

    @property
    def identities(self) -> tuple[str, ...]:
        """Names that two functions share only if they are the same, (k,)."""
        return tuple(name for part in self.parts for name in part.identities)

    @property
    def levels(self) -> tuple[str, ...]:
        """Environments, where the functions are their indicators; else none."""
        only = self.parts[0]
        return only.levels if len(self.parts) == 1 and isinstance(only, Levels) else ()

    def resolve(self, data: pd.DataFrame) -> Basis:
        """Same basis with limits and levels taken from the data.

        Raises
        ------
        DataError
            If a covariate is missing or not finite in some record, constant, or outside limits.
        """
        require_all_complete(needed_covariate(data[column]) for column in self.columns)
        return Basis(parts=tuple(part.resolve(data) for part in self.parts))

    def far_from_zero(self, data: pd.DataFrame) -> tuple[str, ...]:
        """Raw covariates beside a constant that hardly differ from a multiple of it: dates, coordinates."""
        if not any(isinstance(part, Constant) for part in self.parts):
            return ()
        raw = [part.column for part in self.parts if type(part) is Raw and is_numeric(data[part.column])]
        return tuple(name for name in raw if abs(data[name].mean()) > _FAR * data[name].std() > 0.0)

    def centred(self, columns: Sequence[str]) -> Basis:
        """Same basis with some of its raw covariates about their means."""
        return Basis(parts=tuple(Centred(column=p.column) if p.column in columns else p for p in self.parts))

    @property
    def factors(self) -> tuple[tuple[str, ...], ...]:
        """Levels of every factor among the parts."""
        return tuple(part.levels for part in self.parts if isinstance(part, Levels))

    def restored(self, factors: tuple[tuple[str, ...], ...]) -> Basis:
        """Basis that was written as text, with the levels of its factors."""
        levels = iter(factors)
        return Basis(parts=tuple(replace(p, levels=next(levels)) if isinstance(p, Levels) else p for p in self.parts))

    def evaluate(self, values: Mapping[str, npt.ArrayLike] | pd.DataFrame) -> Array:
        """Functions at covariates, (n, k)."""
        return np.hstack(self._functions(values))

    def unit(self, values: pd.DataFrame) -> Array:
        """Size of each function inside the equations, (k,): root mean square of raw covariates, else 1."""
        functions = self._functions(values)
        return np.concatenate([part.unit(f) for part, f in zip(self.parts, functions, strict=True)])

    def _functions(self, values: Mapping[str, npt.ArrayLike] | pd.DataFrame) -> list[Array]:
        n = len(np.asarray(values[self.columns[0]])) if self.columns else len(values)
        return [part.evaluate(np.asarray(values[part.column]) if part.column else np.empty(n)) for part in self.parts]

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


def parse_basis(text: str, term: str) -> Basis:
    """Basis written as ``1 + age``, ``1 + center(age)``,
    ``leg(age, 2)``, ``leg(age, 2, 4, 310)``, ``spl(age, 5)``, ``site`` or ``C(year)``.

    ``leg`` and ``spl`` hold the constant: ``1 +`` before them changes nothing.

    Raises
    ------
    SpecError
        If a part is not understood.
    """
    parts = [_parse_part(part, term) for part in split_top(text, "+")]
    if any(isinstance(part, Smooth) for part in parts):
        parts = [part for part in parts if not isinstance(part, Constant)]
    if len({str(part) for part in parts}) < len(parts):
        raise SpecError(f"'{text}' in the term '{term}' names a covariate twice")
    return Basis(parts=tuple(parts))


def _parse_part(text: str, term: str) -> Part:
    if text == "1":
        return Constant()
    column = unquoted(text)
    if column is not None:
        return Raw(column=column)
    word, arguments = call_parts(text) or ("", [])
    column = unquoted(arguments[0]) if arguments else None
    if word == "C" and column is not None and len(arguments) == 1:
        return Levels(column=column)
    if word == "center" and column is not None and len(arguments) in (1, 2):
        try:
            return Centred(column=column, centre=number(arguments[1]) if len(arguments) == 2 else None)
        except ValueError:
            raise SpecError(f"the centre of '{text}' in the term '{term}' must be a number") from None
    if word not in ("leg", "spl", "bs") or column is None or len(arguments) not in (2, 4):
        raise SpecError(
            f"'{text}' in the term '{term}' is not understood; inside a structure write trait, a covariate as in "
            f"1 + age, 1 + center(age), leg(age, 2) or leg(age, 2, low, high), spl(age, 5), "
            f"or a factor such as site or C(year)"
        )
    return _smooth(word, column, arguments[1:], text, term)


def parse_trend(arguments: Sequence[str], text: str, term: str) -> PenalisedSpline:
    """P-spline written as ``ps(day)``, ``ps(day, 20)`` or ``ps(day, 20, low, high)``.

    Raises
    ------
    SpecError
        If its arguments are not understood.
    """
    column = unquoted(arguments[0]) if arguments else None
    if column is None or len(arguments) not in (1, 2, 4):
        raise SpecError(
            f"'{text}' in the term '{term}' is not understood; write ps(day), ps(day, 20) for 20 splines, or "
            "ps(day, 20, low, high)"
        )
    spline = _smooth("ps", column, list(arguments[1:]) or [str(_TREND)], text, term)
    assert isinstance(spline, PenalisedSpline)
    return spline


#: Polynomials and splines by their words: class, fewest functions, most, and what they are.
_SMOOTH: Mapping[str, tuple[type[Smooth], int, int, str]] = {
    "leg": (Legendre, 0, HIGHEST_ORDER, "polynomials"),
    "spl": (Spline, _CUBIC + 1, MOST_FUNCTIONS, "cubic splines"),
    "bs": (Spline, _CUBIC + 1, MOST_FUNCTIONS, "cubic splines"),
    "ps": (PenalisedSpline, _CUBIC + 2, MOST_FUNCTIONS, "cubic splines with a penalty"),
}


def _smooth(word: str, column: str, numbers: list[str], text: str, term: str) -> Smooth:
    kind, least, most, what = _SMOOTH[word]
    order, *ends = numbers
    try:
        limits = dict(zip(("low", "high"), map(number, ends), strict=False))
    except ValueError:
        raise SpecError(f"the limits of '{text}' in the term '{term}' must be numbers") from None
    if limits and not limits["low"] < limits["high"]:
        raise SpecError(f"the limits of '{text}' in the term '{term}' must rise")
    if not (order.isascii() and order.isdecimal()):
        raise SpecError(f"'{order}' in '{text}' of the term '{term}' is not understood; write a whole number")
    if len(order) > DIGITS or not least <= int(order) <= most:
        raise SpecError(
            f"'{text}' in the term '{term}': {what} are {least} or more, as in {word}({quoted(column)}, {least or 2}), "
            f"and at most {most}"
        )
    return kind(column=column, order=int(order), **limits)


def is_numeric(column: pd.Series[Any]) -> bool:
    """Whether a column holds numbers; truth values and text, of whatever dtype, are levels of a factor."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return False
    if pd.api.types.is_object_dtype(column.dtype):
        kinds = ("integer", "floating", "mixed-integer-float", "decimal")
        return pd.api.types.infer_dtype(column, skipna=True) in kinds
    return pd.api.types.is_numeric_dtype(column.dtype)


def needed_covariate(column: pd.Series[Any], what: str = "covariate") -> Needed:
    """Covariate (n,) as a column that must be complete and finite."""
    bad = column.isna().to_numpy()
    if is_numeric(column):
        bad = bad | ~np.isfinite(column.to_numpy(dtype=float, na_value=np.nan))
    remedy = "fill the values in or take these units out"
    role, problem = f"{what} '{column.name}'", "missing or not finite"
    return Needed(column=column, role=role, remedy=remedy, problem=problem, bad=bad)
