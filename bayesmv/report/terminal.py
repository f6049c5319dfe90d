"""Documents on a terminal: Rich renderings, at most 100 columns wide."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from bayesmv.report.document import Code, Document, Heading, Line, Part, Picture, Table
from bayesmv.report.plain import plain

WIDTH = 100

#: Style of each kind of line.
_STYLES = {"plain": "", "note": "cyan", "warning": "yellow", "good": "green", "bad": "bold red"}


def console() -> Console:
    """Console of at most 100 columns."""
    wide = Console()
    return Console(width=min(wide.width, WIDTH)) if wide.is_terminal else Console(width=WIDTH)


def show(document: Document) -> None:
    """Print a document, an empty line between its sections."""
    out = console()
    for i, section in enumerate(filter(None, document.sections)):
        if i:
            out.print()
        fitting = (fitted(part, out.width) if isinstance(part, Table) else part for part in section)
        out.print(Group(*(rendered(part, out.encoding) for part in fitting)), highlight=False)


def fitted(table: Table, width: int) -> Table:
    """Table without its optional columns, where it is wider than a terminal with them."""
    if not any(column.optional for column in table.columns):
        return table
    rows = [[column.show(row) for column in table.columns] for _, row in table.frame.iterrows()]
    cells = [[column.header for column in table.columns], *rows]
    needed = sum(max(len(line) for row in cells for line in row[i].split("\n")) for i in range(len(table.columns)))
    if needed + 2 * (len(table.columns) - 1) <= width:
        return table
    return replace(table, columns=tuple(column for column in table.columns if not column.optional))


@singledispatch
def rendered(part: Part, encoding: str = "utf-8") -> RenderableType:
    """Rich rendering of a part; names and labels are text, never markup."""
    raise NotImplementedError(type(part).__name__)


@rendered.register
def _(part: Line, encoding: str = "utf-8") -> RenderableType:
    return _text(part.text, encoding, _STYLES[part.kind])


@rendered.register
def _(part: Heading, encoding: str = "utf-8") -> RenderableType:
    return _text(part.text, encoding, "bold underline" if part.level < 3 else "bold")


@rendered.register
def _(part: Code, encoding: str = "utf-8") -> RenderableType:
    return _text(part.text, encoding, "dim")


@rendered.register
def _(part: Picture, encoding: str = "utf-8") -> RenderableType:
    return _text(f"[picture: {part.name}]", encoding, "dim")


def _text(text: str, encoding: str, style: str = "") -> Text:
    """Text as it is, in characters that the encoding has; what would move the cursor is shown as it is written."""
    shown = "".join(c if c.isprintable() or c in "\n " else repr(c)[1:-1] for c in text)
    return Text(plain(shown, encoding), style=style)


@rendered.register
def _(table: Table, encoding: str = "utf-8") -> RenderableType:
    out = RichTable(
        title=_text(table.title, encoding, "bold"),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for column in table.columns:
        out.add_column(
            _text(column.header, encoding),
            justify="left" if column.words else "right",
            overflow="fold",
            no_wrap=not column.words,
        )
    for _, row in table.frame.iterrows():
        out.add_row(*(_text(column.show(row), encoding) for column in table.columns))
    return out
