"""Documents on a terminal: Rich renderings, at most 100 columns wide."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from bayesmv.report.document import Document, Line, Table

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
        out.print(Group(*map(rendered, section)), highlight=False)


def rendered(part: Table | Line) -> RenderableType:
    """Rich rendering of a table or line; names and labels are text, never markup."""
    return _table(part) if isinstance(part, Table) else _line(part)


def _line(line: Line) -> Text:
    return Text(line.text, style=_STYLES[line.kind])


def _table(table: Table) -> RichTable:
    out = RichTable(
        title=Text(table.title, style="bold"), title_justify="left", box=None, pad_edge=False, header_style="dim"
    )
    for column in table.columns:
        out.add_column(
            Text(column.header),
            justify="left" if column.words else "right",
            overflow="fold",
            no_wrap=not column.words,
        )
    for _, row in table.frame.iterrows():
        out.add_row(*(Text(column.show(row)) for column in table.columns))
    return out
