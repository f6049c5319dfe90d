"""Random terms: from columns of the data to effects, levels and incidences."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce, singledispatch
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array, ByContent
from bayesmv.covariance import CovarianceStructure
from bayesmv.design.effect_layout import EffectLayout
from bayesmv.design.written import as_covariate, as_labels, basis_columns
from bayesmv.errors import DataError, Needed, listing, require_known
from bayesmv.model.basis import Basis, needed_covariate
from bayesmv.model.factors import IDE, Column, Factor, Overlay, Pair, SmoothTrend
from bayesmv.model.grammar import quoted
from bayesmv.model.spec import ModelSpec
from bayesmv.model.terms import Partner, RandomTerm
from bayesmv.relationship.labels import (
    as_text,
    code_like,
    factorise,
    find_labels,
    is_from_file,
    is_missing_word,
    means_unknown,
    whole_numbers,
)
from bayesmv.relationship.relationship import Relationship

#: Records that mean relationships among the individuals of a record are taken from.
_SAMPLED = 400


@dataclass(frozen=True, kw_only=True, eq=False)
class TermDesign(ByContent):
    """One random term: ``vec(U) ~ N(0, Σ ⊗ K)``, U of shape (levels, effects).

    Parameters
    ----------
    name
        Name of the term.
    structure
        Covariance structure among the effects of one level.
    effects
        Labels of the effects (m,).
    trait_of, load_of
        For each effect, the trait that it acts on and the incidence that carries it, (m,).
    n_traits
        Number t of traits of the model.
    load_unit
        Unit of the covariate of each incidence, by which it was divided: 1 but for raw covariates.
    levels
        Labels of the levels (q,).
    incidences
        Matrices (units, q) that link units to levels; one, unless a unit bears on several levels or covariates.
    relationship
        Relationship among levels; None for independent levels.
    members
        Individuals whose effects meet in a record.
    bearers
        Matrices (units, q) that link units to their members, before functions of covariates.
    functions
        Functions of covariates of every unit, (units, k); a single 1 without covariates.
    basis
        What made the functions; None for the constant 1.
    """

    name: str
    structure: CovarianceStructure
    effects: tuple[str, ...]
    trait_of: npt.NDArray[np.intp]
    load_of: npt.NDArray[np.intp]
    n_traits: int
    load_unit: Array
    levels: pd.Index
    incidences: tuple[sparse.csr_array, ...]
    relationship: Relationship | None = None
    members: tuple[Partner, ...]
    bearers: tuple[sparse.csr_array, ...]
    functions: Array
    basis: Basis | None = None

    @property
    def level_variance(self) -> Array:
        """K_ii of every level, (q,): 1 for independent levels, 1 + F with a pedigree."""
        return np.ones(len(self.levels)) if self.relationship is None else self.relationship.diagonal

    @cached_property
    def precision(self) -> sparse.csr_array:
        """K⁻¹ of the levels, (q, q)."""
        return sparse.csr_array(
            sparse.eye_array(len(self.levels)) if self.relationship is None else self.relationship.precision
        )

    def spread(self, U: Any, times: Callable[[Any, Any], Any] = operator.matmul) -> Any:
        """Effects carried to the units, ZU: (q, m) → (n, t).

        Parameters
        ----------
        U
            Effects of the levels, (q, m): an array, or a variable of a graph.
        times
            Product of a constant sparse matrix with U; a graph has one of its own.
        """
        return sum(times(Z, U @ onto) for Z, onto in self._carried)

    @cached_property
    def _carried(self) -> list[tuple[sparse.csr_array, Array]]:
        """Every incidence, with the 0/1 matrix (m, t) that takes the effects it carries to their traits."""
        onto = np.zeros((len(self.incidences), len(self.effects), self.n_traits))
        onto[self.load_of, np.arange(len(self.effects)), self.trait_of] = 1.0
        return list(zip(self.incidences, onto, strict=True))

    @property
    def identities(self) -> tuple[tuple[int, Partner, str], ...]:
        """Trait, member and function of every effect: what the terms of two models have in common."""
        functions = ("Intercept",) if self.basis is None else self.basis.identities
        traits = dict.fromkeys(self.trait_of.tolist())
        return tuple((trait, member, f) for member, trait, f in product(self.members, traits, functions))

    @cached_property
    def layout(self) -> EffectLayout:
        """Layout of the effects in a record."""
        products, totals = _products(self.bearers, self.relationship)
        return EffectLayout(
            effects=self.effects,
            traits=tuple(dict.fromkeys(self.trait_of.tolist())),
            members=tuple(member.label for member in self.members),
            social=tuple(member.social for member in self.members),
            products=_nested(products),
            totals=tuple(totals.tolist()),
            functions=_nested(self.functions.T @ self.functions / len(self.functions)),
            basis="" if self.basis is None else str(self.basis),
            factors=() if self.basis is None else self.basis.factors,
        )


def _nested(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


def _products(bearers: tuple[sparse.csr_array, ...], relationship: Relationship | None) -> tuple[Array, Array]:
    """``E z_a'K z_b`` and mean weights of the records of which all members are known; K has a unit diagonal."""
    known = np.flatnonzero(np.all([np.diff(Z.indptr) > 0 for Z in bearers], axis=0))
    rows = [Z[known] for Z in bearers]
    totals = np.array([Z.sum() / max(len(known), 1) for Z in rows])
    alone = len(bearers) == 1 and np.diff(rows[0].indptr).max(initial=0) == 1
    if relationship is None or alone or not len(known):
        return np.array([[a.multiply(b).sum() for b in rows] for a in rows]) / max(len(known), 1), totals
    picked = np.unique(np.linspace(0, len(known) - 1, _SAMPLED).astype(int))
    near = [Z[picked] for Z in rows]
    levels = np.unique(np.concatenate([Z.indices for Z in near]))
    K = relationship.covariance(relationship.ids[levels]).to_numpy()
    K = K / np.sqrt(np.outer(np.diag(K), np.diag(K)))
    dense = [Z[:, levels].toarray() for Z in near]
    return np.array([[np.sum((a @ K) * b) for b in dense] for a in dense]) / len(picked), totals


#: Names of columns that hold parents, which may be unknown.
_PARENT = re.compile(r"(dam|sire|mother|father)([._ ]?id)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class TermInputs:
    """The data that terms are built from.

    Parameters
    ----------
    spec
        The model.
    rows
        All rows of the data, also those without records: pen mates count whether recorded or not.
    kept
        Rows with records, (rows,).
    relationships
        Relationships by name.
    """

    spec: ModelSpec
    rows: pd.DataFrame
    kept: npt.NDArray[np.bool_]
    relationships: Mapping[str, Relationship]

    @cached_property
    def parents(self) -> set[str]:
        """Columns that name parents, who may be unknown.

        They are the partners of a term (``str(vm(animal, A), dam)``), those that meet in ``overlay(sire, dam)`` and
        ``pair(sire, dam)``, the second column on one relationship (``vm(animal, A) + vm(mor, A)``; the first is that of
        the genetic term, if one is stated), and columns called dam, sire, mother or father.
        """
        random = self.spec.random
        columns = {p.column for term in random for p in term.partners if not p.social}
        columns |= {name for term in random for factor in term.factors for name in factor.parents}
        stated = None if self.spec.genetic is None else self.spec.genetic.term
        genetic_first = sorted(random, key=lambda term: term.name != stated)
        factors = [f for term in genetic_first for f in term.factors if isinstance(f, Column)]
        first: dict[str, str] = {}
        for factor in factors:
            related = factor.relationship
            if related not in (None, IDE) and first.setdefault(str(related), factor.column) != factor.column:
                columns.add(factor.column)
        return columns | {factor.column for factor in factors if _PARENT.fullmatch(factor.column)}

    def column(self, name: str, relationship: Relationship | None, notes: list[str]) -> pd.Series[Any]:
        """Levels of all rows as they stand in the data, missing where a word says so or a parent is unknown (rows,).

        A parent is unknown if its cell holds a code for that (0, ``*``, -9, …) which no animal is called.
        """
        column = self.rows[name]
        if is_from_file(column):
            column = column.mask(is_missing_word(column))
        if name not in self.parents:
            return column
        related = self.relationships.values() if relationship is None else [relationship]
        added = [code for kin in related for code in kin.unknown]
        values = pd.Index(column.dropna().unique())
        named = find_labels(values, pd.Index(added, dtype=object)) if added else np.empty(0, dtype=np.intp)
        codes = [values[i] for i in {*code_like(values).tolist(), *named[named >= 0].tolist()}]
        animals = [kin.ids for kin in related]
        if relationship is None:
            animals += [pd.Index(self.rows[name].dropna().unique()) for t in self.spec.random for name in self._own(t)]
        unknown = [code for code in codes if means_unknown(code, added) and not _is_among(code, animals)]
        cells = column.isin(unknown)
        counts = column[cells & self.kept].map(as_text).value_counts(sort=False)
        if len(counts):
            words = ", ".join(f"'{code}' in {count}" for code, count in counts.items())
            note = f"{words} records of '{name}' read as unknown"
            if note not in notes:
                notes.append(note)
        return column.mask(cells)

    def _own(self, term: RandomTerm) -> list[str]:
        """Columns of the factors of a term that name what the records are of, rather than parents."""
        return [
            f.column
            for f in term.factors
            if isinstance(f, Column) and f.column in self.rows and f.column not in self.parents
        ]

    def needed(self, term: RandomTerm) -> list[Needed]:
        """Columns of a term that must be complete on the units with records, or on all rows for pen mates."""
        rows = self.rows if any(partner.social for partner in term.partners) else self.rows[self.kept]
        remedy = "give these units a level or take them out"
        groups = {p.column for other in self.spec.random for p in other.partners if p.social}
        columns = [name for name in self._own(term) if name not in groups]
        columns += [condition.column for condition in term.conditions]
        out = [Needed(column=as_labels(rows[name]), role=f"random factor '{name}'", remedy=remedy) for name in columns]
        if term.basis is not None:
            covariates = basis_columns(term.basis, self.rows[self.kept])
            out += [needed_covariate(covariates[name]) for name in term.basis.columns]
        trends = [f.spline.column for f in term.factors if isinstance(f, SmoothTrend)]
        return out + [needed_covariate(as_covariate(self.rows[name][self.kept])) for name in trends]


def _is_among(code: object, animals: Iterable[pd.Index]) -> bool:
    """Whether a code is the label of an animal."""
    one = pd.Index([code])
    return any((find_labels(labels, one) >= 0).any() for labels in animals)


def build_term(term: RandomTerm, inputs: TermInputs, notes: list[str]) -> TermDesign:
    """Build one random term.

    Raises
    ------
    SpecError
        If the term names a relationship that was not given.
    DataError
        If levels are missing or not in the relationship, or a covariate is missing.
    """
    members = (Partner(column=":".join(factor.label for factor in term.factors)), *term.partners)
    grouping = _grouping(term, inputs, notes)
    bearers, relationship = grouping.bearers, grouping.relationship
    kept = inputs.rows[inputs.kept] if term.basis is None else basis_columns(term.basis, inputs.rows[inputs.kept])
    basis = None if term.basis is None else _resolved(term, term.basis, kept, notes)
    functions = np.ones((len(kept), 1)) if basis is None else basis.evaluate(kept)
    functions = np.where(_acted_on(term, inputs)[:, None], functions, 0.0)
    unit = np.ones(1) if basis is None else basis.unit(kept)
    traits = term.traits or inputs.spec.traits
    g, t, k = (part.reshape(-1) for part in np.indices((len(members), len(traits), functions.shape[1])))
    labels = _labels(traits, members, basis)
    return TermDesign(
        name=term.name,
        structure=inputs.spec.covariance(term.name, term.structure, labels),
        effects=labels,
        trait_of=np.array([inputs.spec.traits.index(trait) for trait in traits])[t],
        load_of=g * functions.shape[1] + k,
        n_traits=len(inputs.spec.traits),
        load_unit=np.tile(unit, len(members)),
        levels=grouping.levels,
        incidences=tuple(_weighted(Z, f) for Z in bearers for f in (functions / unit).T),
        relationship=relationship,
        members=members,
        bearers=bearers,
        functions=functions,
        basis=basis,
    )


def _resolved(term: RandomTerm, basis: Basis, kept: pd.DataFrame, notes: list[str]) -> Basis:
    """Basis with what it takes from the data; covariates far from zero about their means, if that is the same model."""
    far = basis.far_from_zero(kept) if set(basis.columns) <= set(kept.columns) else ()
    for column in far:
        at = f"{kept[column].mean():g} ± {kept[column].std():.3g}"
        if term.structure != "us":
            raise DataError(
                f"the covariate '{column}' of '{term}' is far from zero ({at}): the intercept and the slope are "
                f"those of a point far outside the data; write center({column})"
            )
        notes.append(
            f"{term.name}: '{column}' is far from zero ({at}) and was centred: the effects of the intercept are those "
            f"at the mean"
        )
    return basis.centred(far).resolve(kept)


def _labels(traits: tuple[str, ...], members: tuple[Partner, ...], basis: Basis | None) -> tuple[str, ...]:
    """Names of the effects: trait, function and member, those of them that there are several of."""
    if basis is None and len(members) == 1:
        return traits
    out = []
    for member, trait, function in product(members, traits, ("",) if basis is None else basis.labels):
        named = [trait] if len(traits) > 1 or basis is None else []
        named += [function] if function else []
        out.append(":".join([*named, *([member.label] if len(members) > 1 else [])]))
    return tuple(out)


def _weighted(Z: sparse.csr_array, function: Array) -> sparse.csr_array:
    """Rows of Z times a function of the units; Z itself where that is 1."""
    if (function == 1.0).all():
        return Z
    out = sparse.csr_array(sparse.diags_array(function) @ Z)
    out.eliminate_zeros()
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouping:
    """Levels of a term, or of one of its factors, and what the records bear on them.

    Parameters
    ----------
    levels
        Labels of the levels (q,).
    bearers
        Matrices (units, q) that link units to levels, one for the factor and each partner.
    relationship
        Relationship among levels; None for independent levels.
    """

    levels: pd.Index
    bearers: tuple[sparse.csr_array, ...]
    relationship: Relationship | None = None

    def only(self, rows: npt.NDArray[np.bool_]) -> Grouping:
        """Same levels borne on by some of the units, (units,)."""
        chosen = sparse.diags_array(rows.astype(float))
        bearers = tuple(sparse.csr_array(chosen @ Z) for Z in self.bearers)
        for Z in bearers:
            Z.eliminate_zeros()
        return replace(self, bearers=bearers)

    def used(self) -> Grouping:
        """Levels that some unit bears on; all of those that are related, which need no records."""
        if self.relationship is not None:
            return self
        there = np.unique(np.concatenate([Z.indices for Z in self.bearers]))
        bearers = tuple(sparse.csr_array(Z[:, there]) for Z in self.bearers)
        return replace(self, levels=self.levels[there], bearers=bearers)


def _grouping(term: RandomTerm, inputs: TermInputs, notes: list[str]) -> Grouping:
    """Levels of a term: of its factor, or the combinations of those of its factors, on the records it acts on."""
    one = len(term.factors) == 1
    each = [_levels(factor, term, inputs, notes) for factor in term.factors]
    for grouping in each:
        related = grouping.relationship
        added = [f"{term.name}: {note}" for note in (() if related is None else related.notes)]
        notes += [note for note in added if note not in notes]
    out = reduce(_crossed, each)
    if term.conditions:
        out = out.only(_acted_on(term, inputs))
    if term.conditions or not one:
        out = out.used()
    if len(out.levels) < 2:
        what = f"factor '{term.factors[0].label}'" if one else f"term '{term.name}'"
        named = f" a single level, {listing(out.levels)}" if len(out.levels) else " no level"
        raise DataError(f"the random {what} has{named}: its variance cannot be told from the mean; take the term out")
    return out


def levels_at(term: RandomTerm, inputs: TermInputs, reference: pd.DataFrame) -> Grouping:
    """Levels that other rows than those of the data bear on.

    Parameters
    ----------
    term
        The term.
    inputs
        The rows; the relationships that are not given are taken as none, so that levels have the labels of the rows.
    reference
        Rows of the data, from which the limits of smooth trends are.
    """
    notes: list[str] = []
    factors = [
        replace(f, spline=f.spline.resolve(pd.DataFrame({f.spline.column: as_covariate(reference[f.spline.column])})))
        if isinstance(f, SmoothTrend)
        else f
        for f in term.factors
    ]
    known = [
        replace(f, relationship=None)
        if isinstance(f, Column | Overlay | Pair) and f.relationship not in (None, IDE, *inputs.relationships)
        else f
        for f in factors
    ]
    return reduce(_crossed, [_levels(factor, term, inputs, notes) for factor in known])


def _acted_on(term: RandomTerm, inputs: TermInputs) -> npt.NDArray[np.bool_]:
    """Which of the units with records a term acts on, (units,)."""
    acted = np.ones(inputs.kept.sum(), dtype=bool)
    for condition in term.conditions:
        codes, levels = factorise(as_labels(inputs.rows[condition.column][inputs.kept]))
        named = [as_text(level) for level in levels]
        what = f"'{condition}': no level {{}} of '{condition.column}'; levels"
        require_known([condition.level], named, what, DataError)
        acted &= codes == named.index(str(condition.level))
    return acted


def _crossed(one: Grouping, other: Grouping) -> Grouping:
    """Combinations of the levels of two factors: those with records, or all of them where some are related."""
    Z = row_products(one.bearers[0], other.bearers[0])
    if one.relationship is None and other.relationship is None:
        there = np.unique(Z.indices)
        first, second = np.divmod(there, len(other.levels))
        labels = [f"{as_text(a)}:{as_text(b)}" for a, b in zip(one.levels[first], other.levels[second], strict=True)]
        if len(set(labels)) < len(labels):
            twice = pd.Index(labels)[pd.Index(labels).duplicated()]
            raise DataError(
                f"two combinations of levels would be called {listing(twice)}; take the ':' out of the labels"
            )
        used = sparse.csr_array((Z.data, np.searchsorted(there, Z.indices), Z.indptr), shape=(Z.shape[0], len(there)))
        return Grouping(levels=pd.Index(labels), bearers=(used,))
    a, b = (Relationship.independent(g.levels) if g.relationship is None else g.relationship for g in (one, other))
    related = a.kronecker(b)
    return Grouping(levels=related.ids, bearers=(Z,), relationship=related)


def row_products(A: sparse.csr_array, B: sparse.csr_array) -> sparse.csr_array:
    """Kronecker products of the rows of two matrices, (n, p) and (n, q) → (n, p q): the incidence of a product.

    Column ``i q + j`` belongs to columns i of A and j of B.
    """
    a, b = np.diff(A.indptr).astype(np.int64), np.diff(B.indptr).astype(np.int64)
    row = np.repeat(np.arange(len(a)), a * b)
    within = np.arange(len(row)) - np.repeat(np.cumsum(a * b) - a * b, a * b)
    i, j = A.indptr[row] + within // b[row], B.indptr[row] + within % b[row]
    column = A.indices[i].astype(np.int64) * B.shape[1] + B.indices[j]
    return sparse.csr_array((A.data[i] * B.data[j], (row, column)), shape=(len(a), A.shape[1] * B.shape[1]))


@singledispatch
def _levels(factor: Factor, term: RandomTerm, inputs: TermInputs, notes: list[str]) -> Grouping:
    """Levels of a factor, and the units that bear on each."""
    raise NotImplementedError(type(factor))


@_levels.register
def _(factor: Column, term: RandomTerm, inputs: TermInputs, notes: list[str]) -> Grouping:
    # Pen mates count whether recorded or not.
    rows = np.ones_like(inputs.kept) if any(partner.social for partner in term.partners) else inputs.kept
    relationship = _find_relationship(factor, term, inputs)
    named = [factor.column, *(partner.column for partner in term.partners if not partner.social)]
    levels, places = _places(factor, named, rows, relationship, inputs, notes)
    members = (Partner(column=factor.column), *term.partners)
    bearers = tuple(_bearer(member, places, inputs, len(levels), notes) for member in members)
    return Grouping(levels=levels, bearers=bearers, relationship=relationship)


@_levels.register
def _(factor: Overlay, term: RandomTerm, inputs: TermInputs, notes: list[str]) -> Grouping:
    relationship = _find_relationship(factor, term, inputs)
    levels, places = _places(factor, list(factor.roles), inputs.kept, relationship, inputs, notes)
    parts = [_bearer(Partner(column=role), places, inputs, len(levels), notes) for role in factor.roles]
    return Grouping(levels=levels, bearers=(reduce(operator.add, parts),), relationship=relationship)


@_levels.register
def _(factor: Pair, term: RandomTerm, inputs: TermInputs, notes: list[str]) -> Grouping:
    parents, places = _places(factor, list(factor.roles), inputs.kept, None, inputs, notes)
    both = np.sort(np.column_stack([places[role][inputs.kept] for role in factor.roles]), axis=1)
    known = np.flatnonzero(both[:, 0] >= 0)
    if len(known) < len(both):
        notes.append(
            f"{len(both) - len(known)} records lack a parent in {' or '.join(map(repr, factor.roles))}: they get no "
            f"effect of the pair (a row of zeros)"
        )
    code = both[known, 0] * len(parents) + both[known, 1]
    there, place = np.unique(code, return_inverse=True)
    first, second = np.divmod(there, len(parents))
    labels = pd.Index([f"{as_text(parents[a])}:{as_text(parents[b])}" for a, b in zip(first, second, strict=True)])
    relationship = _find_relationship(factor, term, inputs)
    if relationship is not None:
        place = relationship.locate(pd.Series(labels, name=factor.label), factor.label)[place]
        labels = relationship.ids
    Z = sparse.csr_array((np.ones(len(known)), (known, place)), shape=(len(both), len(labels)))
    return Grouping(levels=labels, bearers=(Z,), relationship=relationship)


@_levels.register
def _(factor: SmoothTrend, term: RandomTerm, inputs: TermInputs, notes: list[str]) -> Grouping:
    name = factor.spline.column
    x = as_covariate(inputs.rows[name][inputs.kept])
    spline = factor.spline.resolve(pd.DataFrame({name: x}))
    fixed = {column for term in inputs.spec.fixed for column in term.columns}
    if name not in fixed:
        notes.append(
            f"{factor.label}: a smooth trend is what the straight line leaves; add {quoted(name)} to the fixed effects"
        )
    return Grouping(levels=pd.Index(spline.labels), bearers=(sparse.csr_array(spline.evaluate(x)),))


def _find_relationship(factor: Factor, term: RandomTerm, inputs: TermInputs) -> Relationship | None:
    if factor.relationship == IDE:
        return None
    if factor.relationship is None:
        return inputs.relationships.get(factor.column) if isinstance(factor, Column) else None
    what = f"the term '{term}' names the relationship {{}}, which was not given; relationships"
    require_known([factor.relationship], inputs.relationships, what)
    return inputs.relationships[factor.relationship]


def _places(
    factor: Factor,
    named: list[str],
    rows: npt.NDArray[np.bool_],
    relationship: Relationship | None,
    inputs: TermInputs,
    notes: list[str],
) -> tuple[pd.Index, dict[str, npt.NDArray[np.intp]]]:
    """Levels that some columns name, and the level of every row in each of them, -1 where that is missing."""
    columns = {name: inputs.column(name, relationship, notes)[rows] for name in named}
    if relationship is not None:
        levels: pd.Index = relationship.ids
        places = {name: _locate(relationship, column, notes) for name, column in columns.items()}
    else:
        levels, places = _union(factor, columns, notes)
    return levels, {name: _by_row(place, rows) for name, place in places.items()}


def _by_row(place: npt.NDArray[np.intp], rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    out = np.full(len(rows), -1)
    out[rows] = place
    return out


def _locate(relationship: Relationship, column: pd.Series[Any], notes: list[str]) -> npt.NDArray[np.intp]:
    place = np.full(len(column), -1)
    known = column.notna().to_numpy()
    place[known] = relationship.locate(column[known], str(column.name))
    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in (column.dtype, relationship.ids.dtype)]
    if known.any() and numbers[0] != numbers[1] and not is_from_file(column):
        kinds = ["numbers" if numeric else "text" for numeric in numbers]
        note = (
            f"levels of '{column.name}', {kinds[0]} in the data, matched with {kinds[1]} in the relationship as written"
        )
        if note not in notes:
            notes.append(note)
    return place


def _union(
    factor: Factor, columns: Mapping[str, pd.Series[Any]], notes: list[str]
) -> tuple[pd.Index, dict[str, npt.NDArray[np.intp]]]:
    """Levels that the columns name, and where each row's stands."""
    first = next(iter(columns.values()))
    numbers = [pd.api.types.is_numeric_dtype(column.dtype) for column in columns.values()]
    if all(numbers) or not any(numbers):
        stacked = pd.concat(list(columns.values()))
    else:
        stacked = pd.concat([column.astype(object).map(as_text, na_action="ignore") for column in columns.values()])
        notes.append(f"levels of {' and '.join(map(repr, columns))}, some numbers and some text, matched as written")
    codes, levels = factorise(stacked)
    if len(columns) > 1:  # dams with gaps are read as 5.0 where animals are 5
        numeric = pd.api.types.is_numeric_dtype(levels.dtype)
        levels = pd.Index(whole_numbers(levels.to_numpy())) if numeric else levels
    if isinstance(first.dtype, pd.CategoricalDtype) and len(first.cat.categories) > len(levels):
        empty = first.cat.categories.difference(pd.Index(levels))
        notes.append(f"{len(empty)} levels of '{factor.label}' without records were left out: {listing(empty)}")
    parts = np.split(codes, len(columns))
    return pd.Index(levels, name=factor.label), dict(zip(columns, parts, strict=True))


def _bearer(
    member: Partner, places: Mapping[str, npt.NDArray[np.intp]], inputs: TermInputs, q: int, notes: list[str]
) -> sparse.csr_array:
    """Z of a member, (units, q); a row is empty where it is not known."""
    if member.social:
        Z = _mates(next(iter(places.values())), as_labels(inputs.rows[member.column]), q, member.dilution)
    else:
        place = places[member.column]
        known = np.flatnonzero(place >= 0)
        Z = sparse.csr_array((np.ones(len(known)), (known, place[known])), shape=(len(place), q))
    Z = Z[inputs.kept]
    unknown = int((np.diff(Z.indptr) == 0).sum())
    if unknown:
        what = f"mates in '{member.column}'" if member.social else f"'{member.column}'"
        note = f"{unknown} records have no {what}: they get no effect of it (a row of zeros)"
        if note not in notes:
            notes.append(note)
    return Z


def _mates(place: npt.NDArray[np.intp], groups: pd.Series[Any], q: int, dilution: float) -> sparse.csr_array:
    """Weights ``1 / mates^d`` of the other members of every row's group, (rows, q)."""
    codes, names = pd.factorize(groups)
    rows = np.flatnonzero(codes >= 0)
    named = rows[place[rows] >= 0]  # parents may be unknown: nobody's mates, with mates of their own
    in_group = sparse.csr_array((np.ones(len(named)), (codes[named], place[named])), shape=(len(names), q))
    in_group.sum_duplicates()
    in_group.data[:] = 1.0  # an animal recorded twice in its group is one mate
    of_group = sparse.csr_array((np.ones(len(rows)), (rows, codes[rows])), shape=(len(place), len(names)))
    own = sparse.csr_array((np.ones(len(named)), (named, place[named])), shape=(len(place), q))
    Z = sparse.csr_array(of_group @ in_group - own)
    Z.eliminate_zeros()
    mates = np.maximum(np.diff(Z.indptr), 1)
    return sparse.csr_array(sparse.diags_array(mates.astype(float) ** -dilution) @ Z)
