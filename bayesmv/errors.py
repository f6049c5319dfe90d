"""Errors and warnings: each message says what is wrong, which, what is allowed and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable


class SpecError(ValueError):
    """The model specification is malformed or names what does not exist."""


class DataError(ValueError):
    """The data cannot support the model that was asked for."""


class PedigreeError(DataError):
    """The pedigree contradicts itself or does not cover the data."""


class ConvergenceWarning(UserWarning):
    """REML or the sampler stopped before its criterion was met."""


def require_known(names: Iterable[str], allowed: Iterable[str], what: str) -> None:
    """Refuse names that are not among those allowed.

    Raises
    ------
    SpecError
        Naming them, and what is allowed.
    """
    known = list(allowed)
    absent = [name for name in names if name not in known]
    if absent:
        raise SpecError(f"no {what} {listing(absent)}; {what}s: {listing(known, 12) or 'none'}")


def listing(items: Iterable[object], shown: int = 5) -> str:
    """Name the first few of `items` and count the rest.

    >>> listing(["a", "b"])
    "'a', 'b'"
    >>> listing(range(8))
    '0, 1, 2, 3, 4 (and 3 more)'
    """
    names = [repr(item) if isinstance(item, str) else str(item) for item in items]
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" (and {rest} more)" if rest > 0 else "")
