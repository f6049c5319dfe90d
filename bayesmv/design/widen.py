"""One trait in many environments, from long records to a trait for each environment."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from bayesmv.errors import DataError, listing, require_complete, require_known
from bayesmv.relationship.labels import as_text, factorise


def widen(data: pd.DataFrame, trait: str, by: str, unit: str | None = None) -> pd.DataFrame:
    """Make one trait of every environment, ``yield`` by ``site`` → ``yield_A``, ``yield_B``, …

    Parameters
    ----------
    data
        One row a record, with the trait, its environment, and factors. Never modified.
    trait
        Column of the trait.
    by
        Column of the environment, such as site or year.
    unit
        Column that identifies units recorded in several environments (means of varieties, animals): their records
        come into one row. None keeps a row for each record.

    Returns
    -------
    DataFrame
        The columns other than the trait (with `unit`, also without the environment), then the new traits, NaN where not
        recorded.

    Raises
    ------
    SpecError
        If a column does not exist.
    DataError
        If an environment or a unit is missing, a column of a new trait's name exists, a unit has two records in one
        environment, or other columns differ within a unit.

    Notes
    -----
    No record links the residuals of two environments unless units were recorded in both: state ``diag(trait):units``.

    Examples
    --------
    >>> data = pd.DataFrame({"line": ["L1", "L1", "L2"], "site": ["A", "B", "A"], "yield": [5.0, 6.0, 7.0]})
    >>> widen(data, "yield", "site", unit="line")
      line  yield_A  yield_B
    0   L1      5.0      6.0
    1   L2      7.0      NaN
    """
    wanted = (trait, by, *([] if unit is None else [unit]))
    require_known(wanted, data.columns, "{} is not a column of the data; columns")
    require_complete(data[by], f"environment '{by}'", "name that of these rows")
    if unit is not None:
        require_complete(data[unit], f"unit '{unit}'", "name that of these rows")
    codes, levels = factorise(data[by])
    names = [f"{trait}_{re.sub(r'\W', '_', as_text(level))}" for level in levels]
    if len(set(names)) < len(names):
        raise DataError(f"two levels of '{by}' give one name: {listing(names, 12)}; rename them")
    taken = [name for name in names if name in data.columns]
    if taken:
        raise DataError(f"the data have columns {listing(taken)} already; rename them")
    traits = {name: np.where(codes == place, data[trait], np.nan) for place, name in enumerate(names)}
    wide = data.drop(columns=trait).assign(**traits)
    return wide if unit is None else _join(wide.drop(columns=by), names, unit)


def _join(wide: pd.DataFrame, names: list[str], unit: str) -> pd.DataFrame:
    """Bring the rows of each unit together."""
    groups = wide.groupby(unit, sort=False)
    twice = (groups[names].count() > 1).any(axis=1)
    if twice.any():
        units = listing(twice.index[twice])
        raise DataError(f"the '{unit}' {units} have two records in one environment; take their mean")
    others = [name for name in wide.columns if name not in (unit, *names)]
    varying = [name for name in others if len(wide[[unit, name]].drop_duplicates()) > len(groups)]
    if varying:
        raise DataError(f"{listing(varying)} differ between the records of a unit; take them out, or leave out unit=")
    return groups.first().reset_index()[list(wide.columns)]
