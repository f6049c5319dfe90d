"""The command ``bayesmv models``: the model files that are shipped, listed and copied."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesmv.cli.options import AsJson
from bayesmv.cli.output import Form, check_output, give

models = typer.Typer(rich_markup_mode="markdown")


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that are shipped; `bayesmv models copy` writes one to edit.

    Every command takes the name of a shipped model in place of a model file: `bayesmv compare canty_us`.
    """
    if context.invoked_subcommand is not None:
        return
    from bayesmv.io.shipped import shipped_models
    from bayesmv.model.spec import ModelSpec
    from bayesmv.report.documents import shipped_document

    specs = {name: ModelSpec.from_file(path) for name, path in shipped_models().items()}
    give(shipped_document(specs), Form(as_json=as_json))


@models.command()
def copy(
    name: Annotated[str, typer.Argument(help="Name of a shipped model.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.  [default: NAME.toml in this folder]")
    ] = None,
) -> None:
    """Write a shipped model file into the current folder, or to another file; nothing is overwritten."""
    from bayesmv.io.shipped import copy_model

    check_output(output)
    typer.echo(f"wrote {copy_model(name, output)}", err=True)
