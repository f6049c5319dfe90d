"""From a model file to a design: where its data are, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bayesmv.design.design import Design, build_design
from bayesmv.errors import SpecError
from bayesmv.io.relationships import SHIPPED, read_relationships, with_groups
from bayesmv.io.shipped import find_model
from bayesmv.io.tables import read_table
from bayesmv.model.spec import ModelSpec
from bayesmv.simulation.datasets import load_dataset


def load_design(path: str | Path, data: str | Path | None = None) -> Design:
    """Read a model file with its data and pedigrees, and build the design.

    Parameters
    ----------
    path
        Model file (TOML), or name of a shipped model where there is no such file.
    data
        File to use in place of the one that the model names.

    Raises
    ------
    SpecError
        If the model file is malformed, or names no data.
    DataError
        If a file cannot be read, or the data cannot support the model.
    """
    spec = ModelSpec.from_file(find_model(path))
    table = read_data(spec, data)
    relationships = read_relationships(spec, table)
    return build_design(*with_groups(spec, table), relationships)


def read_data(spec: ModelSpec, data: str | Path | None = None) -> pd.DataFrame:
    """Read the data of a model: a file, or a data set of the package."""
    if data is not None:
        return read_table(Path(data), spec.read, spec.missing or ())
    if spec.data is None:
        raise SpecError(
            f"the model '{spec.name}' names no data; add data = \"file.csv\" to it, or give --data file.csv"
        )
    if spec.data.startswith(SHIPPED):
        return load_dataset(spec.data.removeprefix(SHIPPED))
    return read_table(spec.base / spec.data, spec.read, spec.missing or ())
