"""Factors of random terms: what the levels of a term are, and which of them bear on a record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import override

from bayesmv.model.basis import PenalisedSpline
from bayesmv.model.grammar import quoted

#: Relationship of levels that are stated to be unrelated, ``ide(factor)``.
IDE = "ide"


@dataclass(frozen=True, kw_only=True)
class Factor(ABC):
    """Levels of a random term, or of one factor of a product of several.

    Parameters
    ----------
    relationship
        Name of the relationship matrix among levels, stated as ``vm(factor, name)``; None means the one called like a
        column, if there is one, else independent levels.
    """

    relationship: str | None = None

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that it needs."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Name in results."""

    @property
    @abstractmethod
    def levels_written(self) -> str:
        """The levels as written in a formula, without their relationship."""

    @property
    def name(self) -> str:
        """Name in results, which tells levels that are stated to be unrelated from others."""
        return f"{self.label}_{IDE}" if self.relationship == IDE else self.label

    @property
    def parents(self) -> tuple[str, ...]:
        """Columns that name parents, who may be unknown."""
        return ()

    @property
    def covariates(self) -> tuple[str, ...]:
        """Those of its columns that are numbers, not labels."""
        return ()

    def __str__(self) -> str:
        if self.relationship is None:
            return self.levels_written
        if self.relationship == IDE:
            return f"{IDE}({self.levels_written})"
        return f"vm({self.levels_written}, {quoted(self.relationship)})"


@dataclass(frozen=True, kw_only=True)
class Column(Factor):
    """Values of a column of the data."""

    column: str

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    @override
    def label(self) -> str:
        return self.column

    @property
    @override
    def levels_written(self) -> str:
        return quoted(self.column)


@dataclass(frozen=True, kw_only=True)
class Overlay(Factor):
    """Individuals that several columns name, with one effect each in whatever role: ``overlay(sire, dam)``.

    An individual that a record names twice (a selfing) bears on it twice.
    """

    roles: tuple[str, ...]

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return self.roles

    @property
    @override
    def label(self) -> str:
        return "+".join(self.roles)

    @property
    @override
    def parents(self) -> tuple[str, ...]:
        return self.roles

    @property
    @override
    def levels_written(self) -> str:
        return f"overlay({', '.join(map(quoted, self.roles))})"


@dataclass(frozen=True, kw_only=True)
class Pair(Factor):
    """Pairs of individuals without order, ``pair(sire, dam)``: A × B and B × A are one level, labelled ``A:B``."""

    roles: tuple[str, str]

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return self.roles

    @property
    @override
    def label(self) -> str:
        return ":".join(self.roles)

    @property
    @override
    def parents(self) -> tuple[str, ...]:
        return self.roles

    @property
    @override
    def levels_written(self) -> str:
        return f"pair({', '.join(map(quoted, self.roles))})"


@dataclass(frozen=True, kw_only=True)
class SmoothTrend(Factor):
    """Coefficients of a penalised spline of a covariate, ``ps(day, 20)``; a record bears on several, with weights."""

    spline: PenalisedSpline

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return (self.spline.column,)

    @property
    @override
    def covariates(self) -> tuple[str, ...]:
        return self.columns

    @property
    @override
    def label(self) -> str:
        return f"ps({self.spline.column})"

    @property
    @override
    def levels_written(self) -> str:
        return str(self.spline)
