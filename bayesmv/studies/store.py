"""Results of a study on disk: a Parquet data set that grows part by part, so that a killed run loses little."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bayesmv.errors import DataError

#: File that says what study the parts are of.
_SAID = "study.json"


class Store:
    """Folder of results: ``study.json`` and ``part-*.parquet``.

    A part is written under another name and then renamed: it is whole, or not there.

    Parameters
    ----------
    folder
        Made if absent.
    identity
        Digest of the study; None to read only.

    Raises
    ------
    DataError
        If the folder holds the results of another study, or none where they are to be read.
    """

    def __init__(self, folder: str | Path, identity: str | None = None, name: str = "") -> None:
        self.folder = Path(folder)
        said = self.folder / _SAID
        if said.exists():
            try:
                known = json.loads(said.read_text(encoding="utf-8"))["identity"]
            except (ValueError, KeyError, TypeError):
                raise DataError(f"'{said}' cannot be read as what a study wrote; name another folder") from None
            if identity is not None and known != identity:
                raise DataError(
                    f"'{self.folder}' holds the results of another study, or of other settings; name another folder, "
                    f"or remove it to begin anew"
                )
        elif identity is None:
            raise DataError(f"'{self.folder}' holds no results of a study")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise DataError(f"'{self.folder}' is not empty and holds no study; name a new folder")
            said.write_text(json.dumps({"identity": identity, "name": name}), encoding="utf-8")
        for left in self.folder.glob(".part-*"):  # of a run that was killed while it wrote
            left.unlink(missing_ok=True)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as a part."""
        name = f"part-{uuid.uuid4().hex}.parquet"
        whole, part = self.folder / name, self.folder / f".{name}"
        try:
            pd.DataFrame(list(rows)).to_parquet(part, index=False)
            os.replace(part, whole)
        finally:
            part.unlink(missing_ok=True)

    def rows(self) -> pd.DataFrame:
        """All rows, in an order that does not depend on the run."""
        parts = [pd.read_parquet(path) for path in sorted(self.folder.glob("part-*.parquet"))]
        if not parts:
            return pd.DataFrame()
        whole = pd.concat(parts, ignore_index=True)
        settings = sorted(name for name in map(str, whole.columns) if name.startswith("at_"))
        order = ["case", *settings, "replicate", "model", "method", "prior", "parameter", "term", "trait_i", "trait_j"]
        return whole.sort_values(order, kind="stable", ignore_index=True)
