"""From a model file to a design: where its data and pedigrees are, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bayesmv.design.design import Design, build_design
from bayesmv.errors import DataError, SpecError, listing
from bayesmv.io.shipped import find_model
from bayesmv.model.spec import ModelSpec
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.relationship.relationship import Relationship
from bayesmv.simulation.datasets import load_dataset, load_pedigree

_SHIPPED = "dataset:"
#: What files that are no tables begin with, and names that are too long for a column.
_MARKS, _LONGEST_NAME = ("{", "<", "-----", "#!"), 200


def load_design(path: str | Path, data: str | Path | None = None) -> Design:
    """Read a model file with its data and pedigrees, and build the design.

    Parameters
    ----------
    path
        Model file (TOML), or name of a shipped model where there is no such file.
    data
        CSV file to use in place of the one that the model names.

    Raises
    ------
    SpecError
        If the model file is malformed, or names no data.
    DataError
        If a file cannot be read, or the data cannot support the model.
    """
    spec = ModelSpec.from_file(find_model(path))
    return build_design(spec, read_data(spec, data), read_relationships(spec))


def read_data(spec: ModelSpec, data: str | Path | None = None) -> pd.DataFrame:
    """Read the data of a model: a CSV file, or a data set of the package."""
    if data is not None:
        return read_csv(Path(data))
    if spec.data is None:
        raise SpecError(
            f"the model '{spec.name}' names no data; add data = \"file.csv\" to it, or give --data file.csv"
        )
    if spec.data.startswith(_SHIPPED):
        return load_dataset(spec.data.removeprefix(_SHIPPED))
    return read_csv(spec.base / spec.data)


def read_relationships(spec: ModelSpec) -> dict[str, Relationship]:
    """Read the pedigrees of a model and invert their relationship matrices."""
    out = {}
    for name, entry in spec.relationships.items():
        source = entry["pedigree"]
        shipped = source.startswith(_SHIPPED)
        frame = load_pedigree(source.removeprefix(_SHIPPED)) if shipped else read_csv(spec.base / source)
        identity, sire, dam = (entry.get(key, key) for key in ("id", "sire", "dam"))
        out[name] = Relationship.from_pedigree(Pedigree.from_frame(frame, id=identity, sire=sire, dam=dam))
    return out


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file; empty cells, NA and NaN are missing.

    Raises
    ------
    DataError
        If the file is absent, is not a table, or its header does not name every column once.
    """
    try:
        table = pd.read_csv(path, skipinitialspace=True, low_memory=False)
        header = pd.read_csv(path, skipinitialspace=True, header=None, nrows=2, dtype=str).iloc[0].dropna()
    except FileNotFoundError:
        raise DataError(f"no data file '{path}'") from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read '{path}' as CSV: {str(error).strip()}") from None
    # pandas alone would rename a second column of the same name, and take cells without a name for row labels.
    twice = header[header.duplicated()].unique()
    if len(twice):
        raise DataError(f"'{path}' has two columns called {listing(twice)}; rename one of them")
    _require_table(path, table)
    return table


def _require_table(path: Path, table: pd.DataFrame) -> None:
    """Refuse what is no table, without a word of what is in it: messages on its columns would show its first line."""
    names = [str(name) for name in table.columns]
    strange = any(len(name) > _LONGEST_NAME or not name.isprintable() or name.startswith(_MARKS) for name in names)
    if len(names) < 2 or strange:
        raise DataError(f"'{path}' is not a table: a first line of column names between commas, then rows")
    if not len(table):
        raise DataError(f"the data have no rows below the first line of '{path}'")
