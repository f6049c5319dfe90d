"""Errors and warnings: each message says what is wrong, which, what is allowed and how to mend it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class SpecError(ValueError):
    """Model specification that is malformed or names what does not exist."""


class DataError(ValueError):
    """Data that cannot support the model that was asked for."""


class PedigreeError(DataError):
    """Pedigree that contradicts itself or does not cover the data."""


class ConvergenceWarning(UserWarning):
    """REML or sampling that stopped before its criterion was met."""


def listing(items: Iterable[object], shown: int = 5) -> str:
    """First few of `items` by name, and the count of the rest.

    >>> listing(["a", "b"])
    "'a', 'b'"
    >>> listing(range(8))
    '0, 1, 2, 3, 4 (and 3 more)'
    """
    names = [repr(item) if isinstance(item, str) else str(item) for item in items]
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" (and {rest} more)" if rest > 0 else "")


#: Name of the index of a table that was read from a file: the line that each row starts on, the header's being 1.
LINE = "line of the file"


def rows_of(index: pd.Index[Any]) -> str:
    """Rows of a table in words: lines of the user's file, with the unit's name where it has one, else index labels.

    Parameters
    ----------
    index
        Of the rows; for a table that was read from a file its lines (`LINE`), then the names of units if there are.
    """
    if LINE not in index.names:
        return listing(index)
    lines = index.get_level_values(LINE)
    if index.nlevels == 1:
        return f"{'line' if len(lines) == 1 else 'lines'} {listing(lines)}"
    words = [f"line {line} ({unit!r})" for line, unit in zip(lines[:_LISTED], index.get_level_values(1), strict=False)]
    rest = len(lines) - len(words)
    return ", ".join(words) + (f" (and {rest} more)" if rest else "")


#: Items that a listing shows.
_LISTED = 5
#: Allowed names that a message shows.
_SHOWN = 15


def require_known(
    names: Iterable[object],
    allowed: Iterable[object],
    what: str,
    error: type[ValueError] = SpecError,
) -> None:
    """Refusal of names that do not exist.

    Parameters
    ----------
    names
        What was asked for.
    allowed
        What there is.
    what
        The message up to the allowed names, with ``{}`` for those that do not exist.
    error
        Class of the error.

    Raises
    ------
    SpecError
        Or `error`: which names do not exist, and which do.

    Examples
    --------
    >>> require_known(["us", "uz"], ["us", "diag"], "no structure {}; structures")
    Traceback (most recent call last):
    bayesmv.errors.SpecError: no structure 'uz'; structures: 'us', 'diag'
    """
    # Not all containers that can be asked can be listed in order, and some are long.
    there = allowed if isinstance(allowed, Container) else list(allowed)
    unknown = [name for name in dict.fromkeys(names) if name not in there]
    if unknown:
        before, _, after = what.rpartition("{}")
        raise error(f"{before}{listing(unknown)}{after}: {listing(there, _SHOWN) or 'none'}")


@dataclass(frozen=True, kw_only=True)
class Needed:
    """Column of the data that must have no missing values.

    Parameters
    ----------
    column
        The column, indexed as the user's table.
    role
        What the column is, ``random factor 'block'``.
    remedy
        How the user can mend it.
    problem
        What the values are.
    bad
        Mask of the values that are refused, where these are others than the missing ones, (n,).
    """

    column: pd.Series[Any]
    role: str
    remedy: str
    problem: str = "missing"
    bad: Any = None

    @property
    def complaint(self) -> str:
        """Words for what is missing where; empty if nothing is."""
        wrong = self.column.isna().to_numpy() if self.bad is None else self.bad
        if not wrong.any():
            return ""
        return f"the {self.role} is {self.problem} in {wrong.sum()} rows: {rows_of(self.column.index[wrong])}"


def require_all_complete(needed: Iterable[Needed]) -> None:
    """Refusal of columns of data with missing values, all of them in one message.

    Raises
    ------
    DataError
        How many rows of each, which, and the remedies.
    """
    wrong = [(complaint, need.remedy) for need in needed if (complaint := need.complaint)]
    if wrong:
        complaints, remedies = zip(*wrong, strict=True)
        raise DataError("; ".join([*dict.fromkeys(complaints), *dict.fromkeys(remedies)]))


def require_complete(column: pd.Series[Any], role: str, remedy: str, problem: str = "missing", bad: Any = None) -> None:
    """Refusal of one column of data with missing values; arguments as `Needed`.

    Raises
    ------
    DataError
        How many rows, which, and the remedy.
    """
    require_all_complete([Needed(column=column, role=role, remedy=remedy, problem=problem, bad=bad)])
