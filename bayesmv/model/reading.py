"""Ways to read a table where the file itself does not tell: the ``[read]`` table of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from bayesmv.errors import SpecError, require_known
from bayesmv.relationship.labels import codes_of

#: Words for separators that are hard to see.
_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options for reading a table; None leaves it to what is recognised in the file.

    Parameters
    ----------
    separator
        What stands between the cells of a text file: ``;``, ``tab``.
    decimal
        Decimal mark of numbers, ``.`` or ``,``.
    thousands
        Mark between thousands: ``.``, ``,``, a blank or ``'``.
    encoding
        Encoding of a text file, as Python calls it: ``cp1252``, ``utf-16``.
    sheet
        Sheet of a workbook.
    skip
        Lines (rows of a sheet) before that of the column names.
    missing
        Codes that mean missing, in all columns.

    Raises
    ------
    SpecError
        If a value is not one of these.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    skip: int = 0
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.separator is not None:
            object.__setattr__(self, "separator", _SEPARATORS.get(self.separator, self.separator))
            if len(self.separator) != 1 or self.separator.isalnum() or self.separator in "\"'\r\n":
                raise SpecError(
                    f'\'separator\' of [read] must be one sign, such as ";" or "tab", not {self.separator!r}'
                )
        for name, marks in (("decimal", ".,"), ("thousands", "., '\u00a0\u202f")):
            mark = getattr(self, name)
            if mark is not None and (len(mark) != 1 or mark not in marks):
                raise SpecError(f"'{name}' of [read] must be one of {', '.join(map(repr, marks[:4]))}, not {mark!r}")
        if self.decimal is not None and self.decimal == self.thousands:
            raise SpecError(f"'decimal' and 'thousands' of [read] cannot both be {self.decimal!r}")
        if self.skip < 0:
            raise SpecError(f"'skip' of [read] must be a number of lines, not {self.skip}")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, UnicodeError, ValueError):
                raise SpecError(f"'encoding' of [read] is unknown: {self.encoding!r}; such as utf-8, cp1252") from None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> Self:
        """Read options from a table of a model file; `where` is its name in messages.

        Raises
        ------
        SpecError
            If an entry is unknown or ill-typed.
        """
        require_known(values, _KINDS, f"unknown entry {{}} in {where}; allowed")
        for key, value in values.items():
            if key != "missing" and (not isinstance(value, _KINDS[key]) or isinstance(value, bool)):
                kind = "whole number" if _KINDS[key] is int else "string"
                raise SpecError(f"'{key}' in {where} must be a {kind}, not {value!r:.80}")
        codes = {"missing": codes_of(values["missing"], f"'missing' in {where}")} if "missing" in values else {}
        return cls(**{**values, **codes})

    def to_mapping(self) -> dict[str, Any]:
        """Entries of the table that is read back to the same options."""
        given = {name: value for name, value in asdict(self).items() if value != getattr(ReadOptions(), name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


_KINDS: Mapping[str, type] = {
    "separator": str,
    "decimal": str,
    "thousands": str,
    "encoding": str,
    "sheet": str,
    "skip": int,
    "missing": list,
}


@dataclass(frozen=True, kw_only=True)
class LongLayout:
    """Table whose rows are records of a trait each: the ``[long]`` table of a model file.

    Parameters
    ----------
    trait
        Column that names the trait of each row.
    value
        Column of the values.
    unit
        Column that names the unit (tree, animal, plot) that was recorded, whose records come into one row; None takes
        each record as a unit of its own.
    """

    trait: str
    value: str
    unit: str | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Read the layout from the [long] table of a model file.

        Raises
        ------
        SpecError
            If an entry is unknown, ill-typed or lacking.
        """
        known = all(key in ("trait", "value", "unit") and isinstance(word, str) for key, word in values.items())
        if not known or not {"trait", "value"} <= set(values):
            raise SpecError(
                "[long] needs 'trait' and 'value', the columns of the names of the traits and of their values, and may "
                "have 'unit', that of the units"
            )
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Entries of the [long] table."""
        return {name: word for name, word in asdict(self).items() if word is not None}
