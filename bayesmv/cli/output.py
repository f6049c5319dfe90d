"""Forms in which commands give their documents, and files that they write."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bayesmv.design.saved import Target
from bayesmv.errors import SpecError, require_known

if TYPE_CHECKING:
    from bayesmv.model.spec import ModelSpec
    from bayesmv.report.document import Document

#: Exit codes: a run that did not converge, and one that was ended by the user.
NOT_CONVERGED, INTERRUPTED = 3, 130
#: Endings of pictures.
_PICTURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True, kw_only=True)
class Form:
    """Form in which a document is printed: tables for people by default.

    Parameters
    ----------
    command
        Name of the command, which has tables of its own.
    as_json, as_csv
        JSON, or one table as CSV.
    table
        Name of the table, by default the main one.

    Raises
    ------
    SpecError
        If two forms are asked for at once, or a table that the command does not have.
    """

    command: str = ""
    as_json: bool = False
    as_csv: bool = False
    table: str | None = None

    def __post_init__(self) -> None:
        if self.as_json and (self.as_csv or self.table is not None):
            raise SpecError("give --json or --csv, not both; JSON holds all tables")
        if self.table is not None:
            from bayesmv.report.documents import TABLES

            known = TABLES[self.command]
            require_known([self.table], known, f"no table {{}} of bayesmv {self.command}; tables")

    def show(self, document: Document) -> None:
        """Print a document; the notes of one that is printed as CSV go to standard error."""
        from bayesmv.report.export import to_csv, to_json
        from bayesmv.report.terminal import show

        if self.as_json:
            typer.echo(to_json(document))
        elif self.as_csv or self.table is not None:
            tell_notes(document.notes)
            typer.echo(to_csv(document, self.table), nl=False)
        else:
            show(document)
        sys.stdout.flush()


@dataclass(frozen=True, kw_only=True)
class Write:
    """File to be written with a document.

    Parameters
    ----------
    what
        What is written, in words.
    target
        The file.
    write
        Writes it.
    """

    what: str
    target: Target
    write: Callable[[Target], object]


def tell_notes(notes: Iterable[str]) -> None:
    """Print the notes of a design to standard error, a line each."""
    for note in notes:
        typer.echo(f"note: {' '.join(note.splitlines())}", err=True)


def check_output(path: Path | None) -> Target | None:
    """File to write; one that cannot be written is refused before the work for it is done."""
    if path is None:
        return None
    if "\0" in str(path):
        raise SpecError("a name of a file cannot hold a NUL character")
    try:
        if path.is_dir():
            raise SpecError(f"cannot write '{path}': it is a folder; name a file")
        if not path.parent.is_dir():
            raise SpecError(f"cannot write '{path}': there is no folder '{path.parent}'")
        # A file is written beside the one that it replaces.
        folder = Path(os.path.realpath(path)).parent
        if not os.access(path if path.exists() else folder, os.W_OK) or not os.access(folder, os.W_OK):
            raise SpecError(f"cannot write '{path}': no permission")
    except OSError as error:
        raise SpecError(f"cannot write '{path}': {error.strerror or error}") from None
    return Target(path)


def check_picture(path: Path | None) -> Target | None:
    """File of a picture; one whose ending names no kind of picture is refused."""
    if path is not None and path.suffix.lower() not in _PICTURES:
        raise SpecError(f"cannot draw to '{path}': its name must end in {', '.join(_PICTURES)}")
    return check_output(path)


def files_of(spec: ModelSpec, model: Path, data: Path | None) -> dict[str, Path]:
    """Files that a run reads, by what they are."""
    from bayesmv.io.shipped import find_model
    from bayesmv.model.kinship import FILES

    files = {"the model file": find_model(model)}
    if data is not None or spec.data is not None:
        files["the data"] = data if data is not None else spec.base / str(spec.data)
    for name, entry in spec.relationships.items():
        words = {key: entry[key] for key in FILES if isinstance(entry.get(key), str)}
        files |= {f"the {key} of '{name}'": spec.base / word for key, word in words.items()}
    return files


def keep_inputs(outputs: Sequence[Target | None], inputs: dict[str, Path]) -> None:
    """Refusal of an output that would replace an input of the run, or another output, under whatever name.

    Raises
    ------
    SpecError
        Naming both.
    """
    chosen = [output.asked for output in outputs if output is not None]
    for i, path in enumerate(chosen):
        for what, other in [*inputs.items(), *(("another output", other) for other in chosen[:i])]:
            if _same_file(path, other):
                raise SpecError(f"'{path}' is {what} of this run and is not overwritten; name another file to write")


def _same_file(one: Path, other: Path) -> bool:
    try:
        if not one.exists() or not other.exists():
            return os.path.realpath(one) == os.path.realpath(other)
        return one.samefile(other) and one.is_file()
    except (OSError, ValueError):
        return False


def give(document: Document, form: Form, writes: Iterable[Write] = ()) -> None:
    """Print a document in the form that was asked for, and write what goes with it.

    Neither keeps the other from being done. Exits with 3 if the document reports what did not converge, with 130 if it
    reports what was interrupted.

    Parameters
    ----------
    document
        What there is to say.
    form
        How to print it.
    writes
        Files to write.

    Raises
    ------
    OSError
        If something could not be printed or written: what, and why.
    """
    failures = []
    try:
        form.show(document)
    except BrokenPipeError:
        _close_output()  # the reader has seen enough
    except OSError as error:
        _close_output()
        failures.append(f"cannot write to standard output: {reason(error)}")
    for each in writes:
        try:
            each.write(each.target)
        except OSError as error:
            failures.append(f"cannot write {each.what} to '{each.target.path}': {reason(error)}")
        else:
            say_written(each.what, each.target)
    if failures:
        raise OSError("; ".join(failures))
    if document.interrupted:
        raise typer.Exit(INTERRUPTED)
    if not document.converged:
        raise typer.Exit(NOT_CONVERGED)


def say_written(what: str, target: Target) -> None:
    """Say where a file went, and why it went elsewhere."""
    if target.moved:
        typer.echo(f"'{target.asked}' was written by another run in the meantime, and is kept", err=True)
    typer.echo(f"wrote {what} to {target.path}", err=True)


def reason(error: OSError) -> str:
    """Reason why a file could not be read or written, in words."""
    return error.strerror or str(error)


def _close_output() -> None:
    """Send what is still to be printed nowhere, so that nothing fails when the process ends."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
