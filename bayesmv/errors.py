"""Errors and warnings: each message says what is wrong, which, what is allowed and how to mend it."""

from __future__ import annotations

from collections.abc import Container, Iterable
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


def require_complete(column: pd.Series[Any], role: str, remedy: str, problem: str = "missing", bad: Any = None) -> None:
    """Refusal of a column of data with missing values.

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

    Raises
    ------
    DataError
        How many rows, which, and the remedy.
    """
    wrong = column.isna().to_numpy() if bad is None else bad
    if wrong.any():
        raise DataError(f"the {role} is {problem} in {wrong.sum()} rows: {listing(column.index[wrong])}; {remedy}")
