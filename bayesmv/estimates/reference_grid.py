"""Cells that predictions are of, and the rows of the data's columns that each of them averages over."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from bayesmv.design.design import Design
from bayesmv.design.written import as_covariate, as_labels
from bayesmv.errors import DataError, SpecError, listing, require_known
from bayesmv.model.grammar import number
from bayesmv.model.terms import RandomTerm
from bayesmv.relationship.labels import as_text, factorise

#: What to predict at: names of factors, or values by name; None stands for all levels of a factor.
type At = str | Sequence[str] | Mapping[str, Any] | pd.DataFrame
#: How other factors are averaged over.
type Average = str | Mapping[str, Any]

#: Words for ways of averaging.
WAYS = ("equal", "observed", "present")
#: Most rows of a grid.
_LARGEST = 2_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceGrid:
    """Cells, and the weighted rows that make up each.

    Parameters
    ----------
    cells
        Values that tell the cells apart, (c, …).
    rows
        Values of all columns that are needed, (r, …).
    weights
        Weight of each row in each cell, which sum to 1, (c, r).
    terms
        Random terms whose effects are included.
    said
        How the other columns were set, in words.
    """

    cells: pd.DataFrame
    rows: pd.DataFrame
    weights: sparse.csr_array
    terms: tuple[str, ...]
    said: tuple[str, ...]


def reference_grid(design: Design, at: At, average: Average, terms: Sequence[str] | None) -> ReferenceGrid:
    """Grid of the cells asked for.

    Raises
    ------
    SpecError
        If a name is not of a column that the model uses, a covariate has no values, or the grid is too large.
    DataError
        If a level does not exist.
    """
    cells = _cells(design, at)
    included = _included(design, cells.columns, terms)
    columns = dict.fromkeys([*design.fixed.columns, *(c for t in included for c in t.columns)])
    what = "'at' names {}, which the fixed effects and the random terms included do not use; columns"
    require_known(cells.columns, columns, what)
    levels = _levels(design, included)
    others = [name for name in columns if name not in cells.columns]
    averaged = [name for name in others if name in levels and not is_covariate(design, name)]
    held = {n: float(np.mean(as_covariate(design.table[n]).to_numpy(float))) for n in others if n not in averaged}
    combos, shares, said = _averaged(design, average, averaged, levels, cells)
    size = len(cells) * max(len(combos), 1)
    if size > _LARGEST:
        raise SpecError(
            f"averaging over {listing(averaged)} takes {size:.0e} rows; put some of them into `at`, or give "
            f"average='observed'"
        )
    rows = cells.loc[cells.index.repeat(len(combos))].reset_index(drop=True)
    for name in averaged:
        rows[name] = np.tile(combos[name].to_numpy(), len(cells))
    for name, value in held.items():
        rows[name] = value
    weights = np.broadcast_to(shares, (len(cells), len(combos))) if shares.ndim == 1 else shares
    place = np.arange(size).reshape(len(cells), len(combos))
    matrix = sparse.csr_array(
        (weights.reshape(-1), (np.repeat(np.arange(len(cells)), len(combos)), place.reshape(-1))),
        shape=(len(cells), size),
    )
    used = np.flatnonzero(np.asarray(abs(matrix).sum(axis=0)).reshape(-1) > 0)
    said += [f"{name} at its mean, {value:.6g}" for name, value in held.items()]
    said += [f"with the effects of {term.name}" for term in included]
    return ReferenceGrid(
        cells=cells,
        rows=rows.iloc[used].reset_index(drop=True),
        weights=sparse.csr_array(matrix[:, used]),
        terms=tuple(term.name for term in included),
        said=tuple(said),
    )


def _cells(design: Design, at: At) -> pd.DataFrame:
    """Values of the columns that tell the cells apart."""
    if isinstance(at, pd.DataFrame):
        values = {str(name): list(at[name]) for name in at.columns}
        typed = {name: _typed(design, name, given) for name, given in values.items()}
        return pd.DataFrame(typed, index=range(len(at)))
    named: Mapping[str, Any]
    named = {at: None} if isinstance(at, str) else at if isinstance(at, Mapping) else dict.fromkeys(at)
    lists = {name: _typed(design, name, _listed(design, name, given)) for name, given in named.items()}
    size = prod(len(values) for values in lists.values())
    if size > _LARGEST:
        raise SpecError(f"{size:.0e} cells are more than {_LARGEST:.0e}; name fewer levels")
    return pd.DataFrame(list(itertools.product(*lists.values())), columns=list(lists), index=range(size))


def _listed(design: Design, name: str, given: Any) -> list[Any]:
    """Values asked for; all levels of a factor where none are."""
    if given is None:
        levels = _levels(design, design.spec.random)
        if name in levels:
            return list(levels[name])
        _require_column(design, name)
        raise SpecError(f"'{name}' is a covariate: say at which values, as in at={{'{name}': [10, 20]}}")
    several = isinstance(given, Sequence | np.ndarray | pd.Series) and not isinstance(given, str)
    return list(given) if several else [given]


def _require_column(design: Design, name: str) -> None:
    require_known([name], design.table.columns, "'at' names {}, which the model does not use; its columns")


def _typed(design: Design, name: str, values: list[Any]) -> list[Any]:
    """Values as numbers for covariates, as text for levels."""
    _require_column(design, name)
    if not is_covariate(design, name):
        return [as_text(value) for value in values]
    try:
        out = [float(number(value)) if isinstance(value, str) else float(value) for value in values]
    except ValueError:
        raise SpecError(f"'{name}' is a covariate, and {listing(values)} are not all numbers") from None
    if not np.isfinite(out).all():
        raise SpecError(f"'{name}' is a covariate, and {listing(values)} are not all finite numbers")
    return out


def is_covariate(design: Design, name: str) -> bool:
    """Whether a column is used as numbers: as a covariate of fixed effects, or of a random regression."""
    if name in design.fixed.columns:
        return name not in design.fixed.factors(design.table)
    return any(name in term.covariates for term in design.spec.random)


def _included(design: Design, named: pd.Index, terms: Sequence[str] | None) -> list[RandomTerm]:
    """Random terms that take part: those asked for, by default all whose levels the cells name."""
    random = design.spec.random
    if terms is None:
        return [term for term in random if term.label_columns and set(term.label_columns) <= set(named)]
    wanted = [terms] if isinstance(terms, str) else list(terms)
    require_known(wanted, [term.name for term in random], "no random term {}; random terms")
    return [term for term in random if term.name in wanted]


def _levels(design: Design, terms: Sequence[RandomTerm]) -> dict[str, tuple[str, ...]]:
    """Levels of the factors among the fixed effects, and of the columns that label levels of random terms."""
    out = design.fixed.factors(design.table)
    for term in terms:
        for name in term.label_columns:
            alone = term.columns == (name,) and len(term.factors) == 1
            found = design.term(term.name).levels if alone else factorise(as_labels(design.table[name]))[1]
            out.setdefault(name, tuple(as_text(level) for level in found))
    return out


def _averaged(
    design: Design,
    average: Average,
    names: list[str],
    levels: Mapping[str, tuple[str, ...]],
    cells: pd.DataFrame,
) -> tuple[pd.DataFrame, np.ndarray[Any, Any], list[str]]:
    """Combinations of the levels that are averaged over, and their shares: (combinations,), or those of each cell."""
    given = average if isinstance(average, Mapping) else {}
    way = average if isinstance(average, str) else "equal"
    require_known([way], WAYS, "average={} is not a way to average; ways")
    require_known(given, names, "'average' names {}, which is not averaged over; factors that are")
    if not names:
        return pd.DataFrame(index=[0]), np.ones(1), []
    if way == "equal":
        shares = [_shares(name, levels[name], given.get(name)) for name in names]
        combos = pd.DataFrame(list(itertools.product(*(levels[name] for name in names))), columns=names)
        weights = np.array([prod(chosen) for chosen in itertools.product(*shares)])
        words = [f"averaged over {name}{'' if name not in given else ' as given'}" for name in names]
        return combos, weights, [f"{words[0]}, each level alike" if len(words) == 1 and not given else "; ".join(words)]
    table = _texts(design, names)
    combos = table.value_counts(sort=False).reset_index()
    if way == "observed":
        share = combos.pop("count").to_numpy(dtype=float)
        return combos, share / share.sum(), [f"averaged over {', '.join(names)} as observed"]
    combos = combos[names]
    mine = [name for name in cells.columns if name in levels]
    both = {tuple(r) for r in pd.concat([_texts(design, mine), table], axis=1).drop_duplicates().to_numpy()}
    there = np.array(
        [[(*cell, *combo) in both for combo in combos.to_numpy()] for cell in cells[mine].astype(str).to_numpy()],
        dtype=float,
    )
    if (there.sum(axis=1) == 0).any():
        empty = cells[there.sum(axis=1) == 0].astype(str).agg(", ".join, axis=1)
        raise DataError(f"no records of {listing(empty)}: nothing is present to average over")
    return combos, there / there.sum(axis=1, keepdims=True), [f"averaged over the levels of {', '.join(names)} present"]


def _texts(design: Design, names: Sequence[str]) -> pd.DataFrame:
    """Labels of the units in some columns, as text."""
    columns = {name: [as_text(label) for label in as_labels(design.table[name])] for name in names}
    return pd.DataFrame(columns, index=range(len(design.units)))


def _shares(name: str, levels: Sequence[str], given: Any) -> list[float]:
    """Share of each level of a factor: alike, or as given."""
    if given is None:
        return [1.0 / len(levels)] * len(levels)
    if not isinstance(given, Mapping):
        raise SpecError(f"average of '{name}': give shares by level, {{'A': 0.7, 'B': 0.3}}, not {given!r}")
    require_known(map(as_text, given), levels, f"'{name}' has no level {{}}; levels", DataError)
    shares = {as_text(level): float(share) for level, share in given.items()}
    total = sum(shares.values())
    if min(shares.values()) < 0 or not total > 0:
        raise SpecError(f"average of '{name}': shares must not be negative, and not all 0")
    return [shares.get(level, 0.0) / total for level in levels]
