"""Documents for programs: JSON and CSV."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from bayesmv.report.document import Document


def to_json(document: Document) -> str:
    """All facts and tables of a document; numbers that are not finite are null."""
    tables = {name: _rows(table.frame) for name, table in document.tables.items()}
    return json.dumps({**document.facts, **tables}, indent=1)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return rows


def to_csv(document: Document, table: str | None = None) -> str:
    """One table of a document, by default the main one.

    Raises
    ------
    SpecError
        If there is none of that name.
    """
    return document.table(table).frame.to_csv(index=False)
