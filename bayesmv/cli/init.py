"""The command ``bayesmv init``: a first model file, from a look at a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bayesmv.cli.output import check_output
from bayesmv.errors import SpecError


def init(
    data: Annotated[Path, typer.Argument(help="Table: CSV, Excel, Parquet, …", show_default=False)],
    pedigree: Annotated[Path | None, typer.Option(help="Pedigree of the animals, or of the families.")] = None,
    traits: Annotated[str | None, typer.Option(help="Traits, separated by commas.  [default: recognised]")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Model file to write, - for the screen.  [default: DATA.toml beside it]"),
    ] = None,
) -> None:
    """Look at a table and write a first model file for it, with what was guessed and why.

    `bayesmv check` and the other commands run on it as it is. A file that exists is not replaced.
    """
    from bayesmv.design.saved import write_whole
    from bayesmv.io.propose import propose
    from bayesmv.io.tables import read_table

    target = output or data.with_name(f"{data.name.split('.')[0]}.toml")
    if target.name != "-":
        check_output(target)
        if target.exists():
            raise SpecError(f"'{target}' exists and is not replaced; name another file by -o, or -o - for the screen")
    asked = None if traits is None else [name.strip() for name in traits.split(",") if name.strip()]
    kin = None if pedigree is None else read_table(pedigree)
    beside = target.parent if target.name != "-" else data.parent
    named = [None if path is None else os.path.relpath(path, beside or ".") for path in (data, pedigree)]
    proposal = propose(read_table(data), kin, traits=asked, data_file=named[0], pedigree_file=named[1])
    if target.name == "-":
        typer.echo(proposal.to_toml(), nl=False)
        return
    write_whole(target, lambda part: part.write_text(proposal.to_toml(), encoding="utf-8"))
    typer.echo(f"wrote {target}; next: bayesmv check {target}", err=True)
