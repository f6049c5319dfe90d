"""Document: what a command has to say, as tables, lines and figures, before it takes any form.

Documents are built once (:mod:`bayesmv.report.documents`, :mod:`bayesmv.report.study`) and rendered to a terminal
(:mod:`bayesmv.report.terminal`), to HTML (:mod:`bayesmv.report.html`), or to JSON and CSV
(:mod:`bayesmv.report.export`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bayesmv.errors import require_known

#: What a line is: plain text, a note on the data, a warning, a good or a bad verdict.
type Kind = Literal["plain", "note", "warning", "good", "bad"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """Column of a printed table.

    Parameters
    ----------
    header
        What stands above it.
    show
        Text of a row of the frame.
    words
        Whether it holds words, and stands left; numbers stand right.
    optional
        Whether it is left out where the others fill the width.
    """

    header: str
    show: Callable[[pd.Series[Any]], str]
    words: bool = False
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table: all that is known in its frame, what is printed in its columns.

    Parameters
    ----------
    name
        Its word in JSON, and for ``--table``.
    title
        What stands above it.
    frame
        All rows and columns, for programs.
    columns
        Columns for people.
    """

    name: str
    title: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Line:
    """Line of text."""

    text: str
    kind: Kind = "plain"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Picture, drawn when a file is asked for.

    Parameters
    ----------
    name
        What it shows; in a report its caption, and what is read to those who cannot see it.
    draw
        Draws it to a file.
    """

    name: str
    draw: Callable[[Path], object]


@dataclass(frozen=True)
class Heading:
    """Heading of a part of a report; 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Code:
    """Text that is to be shown as it stands: a model file, commands."""

    text: str


#: A part of a document.
type Part = Table | Line | Heading | Code | Picture
#: What stands together, without an empty line between its parts.
type Section = tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """Content of a command's answer.

    Parameters
    ----------
    sections
        Tables and lines, in order.
    facts
        Single values, for programs; the notes are added to them.
    main
        Name of the table that ``--csv`` prints.
    notes
        What was left out or changed in the data, in words.
    more
        Tables for programs only.
    picture
        The picture of it, if there is one.
    converged
        Whether what it reports converged.
    interrupted
        Whether it reports a run that was ended before its time.
    """

    sections: tuple[Section, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    main: str = ""
    notes: tuple[str, ...] = ()
    more: tuple[Table, ...] = ()
    picture: Picture | None = None
    converged: bool = True
    interrupted: bool = False

    @property
    def tables(self) -> dict[str, Table]:
        """Tables by name, those for programs last."""
        shown = [part for section in self.sections for part in section if isinstance(part, Table)]
        return {table.name: table for table in (*shown, *self.more)}

    def table(self, name: str | None = None) -> Table:
        """Table of a name, by default the main one.

        Raises
        ------
        SpecError
            If there is none.
        """
        chosen = name or self.main
        require_known([chosen], self.tables, "no table {}; tables")
        return self.tables[chosen]
