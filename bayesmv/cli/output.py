"""Forms in which commands give their documents, and checks of where they write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bayesmv.errors import SpecError

if TYPE_CHECKING:
    import xarray as xr

    from bayesmv.report.document import Document

#: Exit code of a run that did not converge.
NOT_CONVERGED = 3
#: Endings of pictures.
_PICTURES = (".png", ".pdf", ".svg")


def check_format(as_json: bool, as_csv: bool) -> None:
    """Refuse two formats at once."""
    if as_json and as_csv:
        raise SpecError("give --json or --csv, not both")


def check_output(path: Path | None) -> None:
    """Refuse a file that cannot be written before the work for it is done."""
    if path is None:
        return
    if path.is_dir():
        raise SpecError(f"cannot write '{path}': it is a folder; name a file")
    if not path.parent.is_dir():
        raise SpecError(f"cannot write '{path}': there is no folder '{path.parent}'")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SpecError(f"cannot write '{path}': no permission")


def check_picture(path: Path | None) -> None:
    """Refuse a file whose ending names no kind of picture."""
    check_output(path)
    if path is not None and path.suffix.lower() not in _PICTURES:
        raise SpecError(f"cannot draw to '{path}': its name must end in {', '.join(_PICTURES)}")


def give(
    document: Document,
    *,
    as_json: bool = False,
    as_csv: bool = False,
    plot: Path | None = None,
    trace: xr.DataTree | None = None,
    output: Path | None = None,
) -> None:
    """Print a document in the form that was asked for, then write what goes with it.

    Results are printed before anything is written, so that a full disk takes no result. Exits with 3 if the document
    reports what did not converge.

    Parameters
    ----------
    document
        What there is to say.
    as_json, as_csv
        The form; tables for people by default.
    plot
        File for its picture.
    trace, output
        Draws, and the file for them.
    """
    if as_json or as_csv:
        from bayesmv.report.export import to_csv, to_json

        typer.echo(to_json(document) if as_json else to_csv(document), nl=as_json)
    else:
        from bayesmv.report.terminal import show

        show(document)
    if output is not None and trace is not None:
        from bayesmv.design.saved import write_tree

        write_tree(trace, output)
        typer.echo(f"wrote the draws to {output}", err=True)
    if plot is not None and document.picture is not None:
        document.picture.draw(plot)
        typer.echo(f"wrote the picture to {plot}", err=True)
    if not document.converged:
        raise typer.Exit(NOT_CONVERGED)
