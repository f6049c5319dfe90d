"""Long tables to one row a unit: a trait for each environment, or traits that stand in rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesmv.design.written import MARKS, as_labels
from bayesmv.errors import DataError, listing, require_complete, require_known
from bayesmv.model.reading import LongLayout
from bayesmv.relationship.labels import as_text, factorise, is_from_file


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
    return wide if unit is None else _join(wide.drop(columns=by), names, unit, "in one environment")


def from_long(
    data: pd.DataFrame, traits: Sequence[str], layout: LongLayout, notes: list[str] | None = None
) -> pd.DataFrame:
    """Table with a column for each trait, from one whose rows are records of a trait each.

    Parameters
    ----------
    data
        One row a record: the name of its trait, its value, and factors. Never modified.
    traits
        Traits to make columns of; rows of others are left out, with a note.
    layout
        Columns that hold the names of the traits, the values, and the units.
    notes
        To which it is added what was left out.

    Returns
    -------
    DataFrame
        The other columns, then the traits, NaN where not recorded. With a unit, its records come into one row (the
        first of them); without one, each record is a row.

    Raises
    ------
    SpecError
        If a column does not exist.
    DataError
        If a trait has no records or no name, a column is called like a trait, a unit is missing or has two records of
        a trait, or other columns differ within a unit.

    Examples
    --------
    >>> data = pd.DataFrame({"plot": [1, 1, 2], "trait": ["dbh", "ht", "dbh"], "y": [21.0, 9.5, 23.0]})
    >>> from_long(data, ["dbh", "ht"], LongLayout(trait="trait", value="y", unit="plot"))
       plot   dbh   ht
    0     1  21.0  9.5
    2     2  23.0  NaN
    """
    wanted = (layout.trait, layout.value, *([] if layout.unit is None else [layout.unit]))
    require_known(wanted, data.columns, "[long] names {}, which is not a column of the data; columns")
    named = as_labels(data[layout.trait])
    require_complete(named, f"trait in '{layout.trait}'", "name that of these rows")
    texts = named.map(as_text)
    require_known(traits, texts.unique(), f"no row of '{layout.trait}' is of the trait {{}}; there are", DataError)
    taken = [trait for trait in traits if trait in data.columns]
    if taken:
        raise DataError(f"the data have columns {listing(taken)} beside the traits of that name in rows; rename them")
    mine = texts.isin(traits)
    if not mine.all() and notes is not None:
        others = ", ".join(f"{n} of '{trait}'" for trait, n in texts[~mine].value_counts().items())
        notes.append(f"records of traits that the model does not name were left out: {others}")
    kept, texts = data[mine], texts[mine]
    columns = {trait: kept[layout.value].where(texts == trait).rename(trait) for trait in traits}
    wide = kept.drop(columns=[layout.trait, layout.value]).assign(**columns)
    marks = wide.attrs.get(MARKS, {})
    if layout.value in marks:
        wide.attrs[MARKS] = {**marks, **dict.fromkeys(traits, marks[layout.value])}
    if layout.unit is None:
        return wide
    require_complete(as_labels(data[layout.unit]), f"unit '{layout.unit}'", "name that of these rows")
    return _join(wide, list(traits), layout.unit, "of one trait")


def _join(wide: pd.DataFrame, names: list[str], unit: str, twice_in: str) -> pd.DataFrame:
    """Bring the rows of each unit together; `twice_in` says of what it may not have two records."""
    groups = wide.groupby(unit, sort=False)
    twice = (groups[names].count() > 1).any(axis=1)
    if twice.any():
        units = listing(twice.index[twice])
        raise DataError(f"the '{unit}' {units} have two records {twice_in}; take their mean")
    others = [name for name in wide.columns if name not in (unit, *names)]
    varying = [name for name in others if len(wide[[unit, name]].drop_duplicates()) > len(groups)]
    if varying:
        raise DataError(f"{listing(varying)} differ between the records of a unit; take them out, or leave out unit=")
    out = groups.first().reset_index()[list(wide.columns)]
    out.attrs = wide.attrs
    return out.set_axis(wide.index[~wide[unit].duplicated()]) if is_from_file(wide) else out
