"""Records of traits that are not Gaussian: categories and counts as numbers, checked against their families."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.design.fixed import FixedDesign
from bayesmv.design.random import TermDesign
from bayesmv.design.written import as_covariate, to_numbers
from bayesmv.errors import DataError, listing, require_complete, rows_of
from bayesmv.families.declared import Binomial, Censored, Family, Gaussian, Ordered
from bayesmv.model.families import TraitFamily
from bayesmv.model.spec import ModelSpec
from bayesmv.relationship.labels import as_text, is_missing_word

#: Most categories of an ordered trait, and records of a class below which a note says that they are few.
_MOST, _FEW = 30, 10


def with_levels_coded(spec: ModelSpec, data: pd.DataFrame) -> pd.DataFrame:
    """Table with the categories of traits recorded in words as numbers: 0 and 1, or 1 … K.

    Their order is that of the levels of the model, or else of a column of ordered categories.

    Raises
    ------
    DataError
        If a category is not among the levels that the model names, or words have no order.
    """
    changed: dict[str, Any] = {}
    for trait, family in spec.families.items():
        if family.family not in ("binary", "ordered"):
            continue
        text = data[trait].astype(object).map(lambda value: value if pd.isna(value) else as_text(value).strip())
        missing = is_missing_word(text) | text.isin(spec.missing or ())
        levels = family.levels or _levels_of(trait, data[trait], missing)
        if not levels:
            continue
        unknown = ~missing & ~text.isin(levels)
        if unknown.any():
            raise DataError(
                f"the trait '{trait}' holds {listing(text[unknown].unique())} ({rows_of(data.index[unknown])}), "
                f"which is not among its levels {listing(levels)}"
            )
        first = 0 if family.family == "binary" else 1
        codes = {level: float(first + i) for i, level in enumerate(levels)}
        # Words for missing stay: they are read, and counted in a note, as those of any trait.
        changed[trait] = text.map(lambda word, codes=codes: codes.get(word, word))
    return data.assign(**changed) if changed else data


def _levels_of(trait: str, column: pd.Series[Any], missing: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    """Levels of a column of ordered categories; none of one of numbers."""
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        return tuple(as_text(value).strip() for value in column.cat.categories)
    words = column[~np.asarray(missing)]
    if len(words) and to_numbers(words).isna().all():
        raise DataError(
            f"the trait '{trait}' holds words: {listing(words.unique())}; say which is low and which is high, as in "
            f'{trait} = {{ family = "…", levels = ["low", "high"] }}, or give ordered categories'
        )
    return ()


def with_bounds_read(spec: ModelSpec, data: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Table with a column for every censored trait: the record where it is known, else a number within its bounds.

    Parameters
    ----------
    spec
        The model.
    data
        The table.
    notes
        To which it is added how many records are known by bounds only, and which column of that name is not read.

    Raises
    ------
    DataError
        If bounds are no numbers, or the wrong way round.
    """
    changed: dict[str, Any] = {}
    for trait, family in spec.families.items():
        if not family.bounds:
            continue
        lower, upper = _bounds(spec, family, data)
        wrong = lower > upper
        if wrong.any():
            raise DataError(
                f"the lower bound '{family.lower}' of '{trait}' is above the upper one '{family.upper}' "
                f"({rows_of(data.index[wrong])})"
            )
        if trait in data.columns:
            notes.append(f"{trait}: the column '{trait}' is not read; the bounds {listing(family.bounds)} are")
        low, high = np.isfinite(lower), np.isfinite(upper)
        with np.errstate(invalid="ignore"):
            middle = np.where(low & high, 0.5 * (lower + upper), np.where(low, lower, np.where(high, upper, np.nan)))
        changed[trait] = middle
    return data.assign(**changed) if changed else data


def _bounds(spec: ModelSpec, family: TraitFamily, data: pd.DataFrame) -> tuple[Array, Array]:
    """Bounds of the records of a censored trait, (n,) each, infinite where there is none."""
    out = []
    for name, open_end in zip(family.bounds, (-np.inf, np.inf), strict=True):
        column = data[name]
        values = to_numbers(column).to_numpy(dtype=float, na_value=np.nan)
        text = column.map(lambda value: value if pd.isna(value) else as_text(value).strip())
        empty = column.isna().to_numpy() | np.asarray(is_missing_word(text)) | text.isin(spec.missing or ()).to_numpy()
        bad = np.isnan(values) & ~empty
        if bad.any():
            raise DataError(
                f"the bound '{name}' holds {listing(text[bad].unique())} ({rows_of(data.index[bad])}), not a number; "
                f"leave a bound that is open empty"
            )
        out.append(np.where(empty | np.isnan(values), open_end, values))
    lower, upper = out
    return np.asarray(lower), np.asarray(upper)


def coded(spec: ModelSpec, data: pd.DataFrame, response: Array, notes: list[str]) -> tuple[Array, tuple[Family, ...]]:
    """Records (n, t) as their families count them, and the family of each trait.

    Parameters
    ----------
    spec
        The model.
    data
        The table of the units kept.
    response
        Records as read, NaN where missing.
    notes
        To which it is added how scores were numbered, and which classes are rare.

    Raises
    ------
    DataError
        If records are not of the kind that the family has.
    """
    out, families = response.copy(), list[Family]()
    for t, trait in enumerate(spec.traits):
        stated = spec.families.get(trait)
        if stated is None:
            families.append(Gaussian())
            continue
        y, seen = response[:, t], ~np.isnan(response[:, t])
        if stated.law.counts or (stated.law.link_variance > 0.0 and stated.family != "ordered"):
            _require(
                trait, data, seen & ((y < 0) | (y != np.round(y))), "a whole number of 0 or more", _hint(stated, y)
            )
        readers: dict[str, Callable[..., tuple[Array, Family]]] = {
            "binary": _binary,
            "binomial": _binomial,
            "ordered": _ordered,
            "censored": partial(_censored, spec),
        }
        read = readers.get(stated.family, _counts)
        out[:, t], family = read(trait, stated, data, y, notes)
        families.append(family)
        notes.append(f"{trait}: {stated.family}, {stated.told}")
    return out, tuple(families)


def _hint(stated: TraitFamily, y: Array) -> str:
    inside = bool(((y[~np.isnan(y)] >= 0) & (y[~np.isnan(y)] <= 1)).all())
    if stated.law.counts and inside:
        return "; a proportion is binomial: give the number of successes, and that of trials as its size"
    return ""


def _require(trait: str, data: pd.DataFrame, wrong: npt.NDArray[np.bool_], what: str, hint: str = "") -> None:
    if wrong.any():
        values = listing(as_text(v) for v in pd.unique(data[trait][wrong]))
        raise DataError(f"the trait '{trait}' holds {values} ({rows_of(data.index[wrong])}), not {what}{hint}")


def _binary(trait: str, stated: TraitFamily, data: pd.DataFrame, y: Array, notes: list[str]) -> tuple[Array, Family]:
    found = np.unique(y[~np.isnan(y)])
    if np.array_equal(found, [1.0, 2.0]):
        notes.append(f"{trait}: 1 and 2 were read as 0 and 1")
        y = y - 1.0
    else:
        _require(trait, data, ~np.isnan(y) & ~np.isin(y, [0.0, 1.0]), "0 or 1", "; is it ordered, or a count?")
    _require_both(trait, y)
    ones, n = int(np.nansum(y)), int((~np.isnan(y)).sum())
    if min(ones, n - ones) < _FEW:
        notes.append(f"{trait}: only {min(ones, n - ones)} of {n} records are {int(ones < n - ones)}: they say little")
    return y, stated.law


def _require_both(trait: str, y: Array) -> None:
    found = np.unique(y[~np.isnan(y)])
    if len(found) < 2:
        raise DataError(f"all records of the trait '{trait}' are {found[0]:g}: there is no variation to model")


def _binomial(trait: str, stated: TraitFamily, data: pd.DataFrame, y: Array, notes: list[str]) -> tuple[Array, Family]:
    seen = ~np.isnan(y)
    law = stated.law
    assert isinstance(law, Binomial)
    if isinstance(stated.size, str):
        column = as_covariate(data[stated.size])
        require_complete(column[seen], f"number of trials '{stated.size}'", "give it, or leave the record empty")
        size = np.where(seen, column.to_numpy(dtype=float), 1.0)
    else:
        size = np.full(len(y), float(stated.size or 1))
    bad = seen & ((size < 1) | (size != np.round(size)))
    if bad.any():
        where = rows_of(data.index[bad])
        raise DataError(
            f"the number of trials '{stated.size}' of '{trait}' is not a whole number of 1 or more ({where})"
        )
    _require(trait, data, seen & (y > size), "at most the number of trials")
    if np.nansum(y) in (0.0, float(size[seen].sum())):
        raise DataError(f"all trials of the trait '{trait}' ended alike: there is no variation to model")
    return y, replace(law, size=size)


def _ordered(trait: str, stated: TraitFamily, data: pd.DataFrame, y: Array, notes: list[str]) -> tuple[Array, Family]:
    _require(trait, data, ~np.isnan(y) & (y != np.round(y)), "a whole number", "; scores are whole, or have levels")
    found = np.unique(y[~np.isnan(y)])
    low, high = (1.0, float(len(stated.levels))) if stated.levels else (found[0], found[-1])
    if len(found) > _MOST:
        raise DataError(f"the trait '{trait}' has {len(found)} scores; an ordered trait has {_MOST} at most")
    _require_both(trait, y)
    empty = sorted(set(np.arange(low, high + 1)) - set(found))
    if empty:
        named = [stated.levels[int(e) - 1] if stated.levels else f"{e:g}" for e in empty]
        raise DataError(
            f"no record of the trait '{trait}' is {listing(named)}: its thresholds cannot be estimated; merge it with "
            f"a neighbour, by numbering the scores without gaps"
        )
    if low != 1.0:
        notes.append(f"{trait}: scores {low:g} to {high:g} are numbered 1 to {len(found)}")
    return y - low + 1.0, Ordered(tuple(range(len(found) - 1)))


def _censored(
    spec: ModelSpec, trait: str, stated: TraitFamily, data: pd.DataFrame, y: Array, notes: list[str]
) -> tuple[Array, Family]:
    lower, upper = _bounds(spec, stated, data)
    law, seen = Censored(lower=lower, upper=upper), ~np.isnan(y)
    n, left, right = int(seen.sum()), int((seen & np.isinf(lower)).sum()), int((seen & np.isinf(upper)).sum())
    known = int((seen & law.exact).sum())
    notes.append(
        f"{trait}: {known} of {n} records are known, {left} from above only, {right} from below only, "
        f"{n - known - left - right} between two bounds"
    )
    if max(left, right) == n:
        raise DataError(
            f"every record of the trait '{trait}' is known from {'above' if left == n else 'below'} only: nothing says "
            f"where it ends"
        )
    return y, law


def _counts(trait: str, stated: TraitFamily, data: pd.DataFrame, y: Array, notes: list[str]) -> tuple[Array, Family]:
    if np.nansum(y) == 0.0:
        raise DataError(f"all records of the trait '{trait}' are 0: there is no variation to model")
    if stated.family == "zero_inflated_poisson" and not (y == 0.0).any():
        raise DataError(f"no record of the trait '{trait}' is 0: it has no extra zeros; its family is poisson")
    return y, stated.law


def require_estimable(
    traits: Sequence[str], families: Sequence[Family], response: Array, fixed: FixedDesign, terms: Sequence[TermDesign]
) -> None:
    """Refuse levels of fixed effects with one class only, and variances of which one record a level says nothing.

    Raises
    ------
    DataError
        Naming them, and what to do.
    """
    for t, (trait, family) in enumerate(zip(traits, families, strict=True)):
        if type(family) is Gaussian:
            continue
        seen = ~np.isnan(response[:, t])
        extreme = _extremes(family, response[:, t])
        for factor, name, mine in _cells(fixed, t):
            found = extreme[mine & seen]
            if len(found) and found[0] != 0 and (found == found[0]).all():
                kind = "lowest" if found[0] < 0 else "highest"
                raise DataError(
                    f"every record of the trait '{trait}' at {name} is of the {kind} kind: its effect has no finite "
                    f"estimate; merge the level with another, make the factor random, or give its effects a known "
                    f"variance V, in squared units of the latent scale, as their prior: "
                    f"random = fixed(trait, V):{factor} with V among the matrices"
                )
        if family.link_variance == 0.0 or (isinstance(family, Binomial) and np.max(family.size) > 1):
            continue
        for term in terms:
            acts = t in term.trait_of
            counts = np.asarray(abs(term.bearers[0][seen]).sum(axis=0)).reshape(-1)
            if acts and term.relationship is None and counts.max(initial=0) <= 1:
                raise DataError(
                    f"every level of {term.name} has one record of the trait '{trait}' and no relatives: its variance "
                    f"cannot be told from the residual, which is fixed; give relationships, or take the term out"
                )


def _cells(fixed: FixedDesign, t: int) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Levels, or their combinations, of fixed terms of a trait that are factors: factor, name, and the units there."""
    X = sparse.csc_array(fixed.X)
    for term in dict.fromkeys(fixed.term_of):
        of_term = [v for v, own in enumerate(fixed.term_of) if own == term and fixed.present[v, t]]
        values = np.asarray(X[:, of_term].toarray())
        if not term or not of_term or not np.isin(values, (0.0, 1.0)).all():
            continue
        for cell in np.unique(values, axis=0):
            named = [fixed.variables[v] for v, inside in zip(of_term, cell, strict=True) if inside]
            reference = f"the reference level of {':'.join(term)}"
            yield ":".join(term), " and ".join(named) or reference, (values == cell).all(axis=1)


def _extremes(family: Family, y: Array) -> Array:
    """-1 for the lowest possible record, 1 for the highest, 0 between, (n,)."""
    if isinstance(family, Binomial):
        return np.where(y == 0, -1, np.where(y == family.size, 1, 0))
    if isinstance(family, Ordered):
        return np.where(y == 1, -1, np.where(y == len(family.thresholds) + 1, 1, 0))
    if isinstance(family, Censored):
        return np.where(np.isinf(family.lower), -1, np.where(np.isinf(family.upper), 1, 0))
    return np.where(y == 0, -1, 0)
