"""Documents for programs: JSON and CSV."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from bayesmv.report.document import Document


def to_json(document: Document) -> str:
    """All facts and tables of a document; numbers that are not finite are null."""
    tables = {name: _rows(table.frame) for name, table in document.tables.items()}
    facts = {"notes": list(document.notes), **document.facts, **tables}
    return json.dumps(_finite(facts), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    """Value with null for numbers that are not finite, which JSON has no words for."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
