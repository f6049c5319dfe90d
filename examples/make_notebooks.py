"""Make the notebooks of this folder from its scripts and run them: ``python examples/make_notebooks.py``.

In a script, ``# %%`` starts a cell of code and ``# %% [markdown]`` a cell of text.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, ExecutePreprocessor
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

FOLDER = Path(__file__).resolve().parent
_KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def read_cells(script: Path) -> list[tuple[str, str]]:
    """Split a script into (kind, source) of its cells, kind being ``code`` or ``markdown``."""
    cells = []
    for part in ("\n" + script.read_text(encoding="utf-8")).split("\n# %%")[1:]:
        mark, _, source = part.partition("\n")
        if mark.strip() == "[markdown]":
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in source.strip().splitlines())
            cells.append(("markdown", text))
        else:
            cells.append(("code", source.strip()))
    return cells


def make_notebook(script: Path) -> None:
    """Write the executed notebook of a script beside it."""
    new = {"code": new_code_cell, "markdown": new_markdown_cell}
    cells = [new[kind](source, id=f"cell-{i}") for i, (kind, source) in enumerate(read_cells(script))]
    notebook = new_notebook(cells=cells, metadata=_KERNEL)
    ExecutePreprocessor(timeout=600).preprocess(notebook, {"metadata": {"path": str(script.parent)}})
    CoalesceStreamsPreprocessor().preprocess(notebook, {})
    for cell in notebook.cells:
        cell.metadata = {}  # times of execution would change with every run
    notebook.metadata = _KERNEL
    nbformat.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("[0-9]*.py")):
        make_notebook(path)
