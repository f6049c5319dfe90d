"""What commands write to the terminal, and checks of where they write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bayesmv.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

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


def records(frames: dict[str, pd.DataFrame], genetic: pd.DataFrame | None) -> dict[str, Any]:
    """Rows of tables as JSON holds them."""
    if genetic is not None:
        frames = frames | {"genetic": genetic}
    return {name: json.loads(frame.to_json(orient="records", double_precision=15)) for name, frame in frames.items()}


def echo_json(value: dict[str, Any]) -> None:
    """Print JSON."""
    typer.echo(json.dumps(value, indent=1))


def show(*parts: RenderableType) -> None:
    """Print tables and text, an empty line between them."""
    from bayesmv.report.tables import console

    out = console()
    for i, part in enumerate(parts):
        if i:
            out.print()
        out.print(part, highlight=False)
