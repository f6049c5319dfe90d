"""Effects at other rows than those of the data: what predictions are linear combinations of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array, BoolArray
from bayesmv.design.design import Design
from bayesmv.design.random import Grouping, TermDesign, TermInputs, levels_at
from bayesmv.design.written import basis_columns
from bayesmv.errors import DataError, SpecError, listing
from bayesmv.model.terms import RandomTerm
from bayesmv.numerics.dependence import least_squares
from bayesmv.numerics.symmetric import symmetric_lu
from bayesmv.relationship.labels import as_text
from bayesmv.relationship.relationship import Relationship

#: Share of a row's size by which it may leave the rows of the data and still be called estimable.
_ESTIMABLE = 1e-7


@dataclass(frozen=True, kw_only=True, eq=False)
class NewLevels:
    """Effects of levels that are not in the design, given those that are: ``u* | u ~ N(B u, D ⊗ Σ)``.

    Parameters
    ----------
    weights
        Weights of the new effects in each combination, (k, new m), level by level.
    spread
        D among the new levels, (new, new).
    """

    weights: sparse.csr_array
    spread: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Combinations:
    """Linear combinations of fixed and random effects, in the units of the data times `unit`.

    Parameters
    ----------
    unit
        Phenotypic sd of the trait that each is of, (k,).
    known
        Part of the ordinary-least-squares fit, in the units of the data, (k,).
    fixed
        Weights of the fixed coefficients that are fitted, (k, coefficients).
    random
        Weights of the effects of every term, level by level, (k, q m); None where a term takes no part.
    new
        Effects of levels that are not in the design, by position of the term.
    estimable
        Which of them the data determine, (k,).
    """

    unit: Array
    known: Array
    fixed: sparse.csr_array
    random: tuple[sparse.csr_array | None, ...]
    new: Mapping[int, NewLevels] = field(default_factory=dict)
    estimable: BoolArray

    def __len__(self) -> int:
        return len(self.unit)

    def weighted(self, by: sparse.csr_array) -> Combinations:
        """Sums of them, (j, k): averages, contrasts. All that enter a sum must be of one trait."""
        by = sparse.csr_array(by, copy=True)
        by.eliminate_zeros()
        used = abs(by)
        first = np.minimum(by.indptr[:-1], max(by.nnz - 1, 0))
        unit = self.unit[by.indices[first]] if by.nnz else np.ones(by.shape[0])
        new = {k: replace(each, weights=sparse.csr_array(by @ each.weights)) for k, each in self.new.items()}
        return Combinations(
            unit=unit,
            known=np.asarray(by @ self.known),
            fixed=sparse.csr_array(by @ self.fixed),
            random=tuple(None if Z is None else sparse.csr_array(by @ Z) for Z in self.random),
            new=new,
            estimable=np.asarray((used @ (~self.estimable).astype(float)) == 0.0),
        )

    def added_variance(self, sigmas: Sequence[Array]) -> Array:
        """Covariance that effects of new levels add, in scaled units, (k, k)."""
        out = np.zeros((len(self), len(self)))
        for position, each in self.new.items():
            W = each.weights
            out += np.asarray((W @ sparse.csr_array(np.kron(each.spread, sigmas[position])) @ W.T).toarray())
        return out


def combinations_at(
    design: Design,
    rows: pd.DataFrame,
    terms: Sequence[str],
    relationships: Mapping[str, Relationship] | None = None,
) -> Combinations:
    """Means of every trait at other values of the columns, with the effects of some random terms, rows by traits.

    Parameters
    ----------
    design
        The design.
    rows
        Values of the columns that the fixed effects and these terms name, (r, …).
    terms
        Names of the random terms that take part.
    relationships
        Relationships that hold new levels beside those of the design, by the names of the model.

    Returns
    -------
    Combinations
        (r t,), row by row.

    Raises
    ------
    SpecError
        If a term has effects of mates, which a row does not name.
    DataError
        If a level is neither in the design nor in a relationship that is given.
    """
    t, r = len(design.traits), len(rows)
    X, lost = design.fixed.at(rows, design.table)
    fixed, known = _fixed(design, X)
    random: list[sparse.csr_array | None] = []
    new: dict[int, NewLevels] = {}
    for k, term in enumerate(design.terms):
        if term.name not in terms:
            random.append(None)
            continue
        Z, fresh = _random(design, term, design.spec.random[k], rows, relationships or {})
        random.append(Z)
        if fresh is not None:
            new[k] = fresh
    return Combinations(
        unit=np.tile(design.scale, r),
        known=known,
        fixed=fixed,
        random=tuple(random),
        new=new,
        estimable=_estimable(design, X, lost).reshape(r * t),
    )


def _fixed(design: Design, X: sparse.csr_array) -> tuple[sparse.csr_array, Array]:
    """Weights of the fitted coefficients in each row and trait, and the least-squares fit, in units of the data."""
    present, t = design.fixed.present, len(design.traits)
    place = np.cumsum(present.reshape(-1)).reshape(present.shape) - 1
    entries = sparse.coo_array(X)
    parts = []
    for trait in range(t):
        mine = present[entries.col, trait]
        parts.append((entries.data[mine], entries.row[mine] * t + trait, place[entries.col[mine], trait]))
    data, row, col = (np.concatenate(x) for x in zip(*parts, strict=True))
    shape = (X.shape[0] * t, int(present.sum()))
    return sparse.csr_array((data, (row, col)), shape=shape), np.asarray(X @ design.fixed.ols).reshape(-1)


def _estimable(design: Design, X: sparse.csr_array, lost: BoolArray) -> BoolArray:
    """Which rows of X the records of each trait determine, (r, t)."""
    fixed = design.fixed
    out = ~lost
    for trait in range(len(design.traits)):
        aliased = np.flatnonzero(fixed.aliased[:, trait])
        if not len(aliased):
            continue
        seen, present = design.observed[:, trait], np.flatnonzero(fixed.present[:, trait])
        W, B = fixed.working[seen][:, present], fixed.mixing[present][:, present].toarray()
        dependence = np.column_stack([least_squares(W, fixed.X[seen][:, [c]].toarray()[:, 0]) for c in aliased])
        gap = X[:, aliased].toarray() - X[:, present] @ (B @ dependence)
        size = 1.0 + np.abs(X[:, present].toarray()).max(axis=1, initial=0.0)
        out[:, trait] &= (np.abs(gap) <= _ESTIMABLE * size[:, None]).all(axis=1)
    return out


def _random(
    design: Design,
    term: TermDesign,
    spec: RandomTerm,
    rows: pd.DataFrame,
    relationships: Mapping[str, Relationship],
) -> tuple[sparse.csr_array, NewLevels | None]:
    """Weights of the effects of a term in each row and trait, and those of levels that are new."""
    if any(partner.social for partner in spec.partners):
        raise SpecError(f"the effects of mates of '{term.name}' are of no one record; leave the term out of `terms`")
    inputs = TermInputs(
        spec=design.spec,
        rows=rows,
        kept=np.ones(len(rows), dtype=np.bool_),
        relationships=relationships,
    )
    grouping = levels_at(spec, inputs, design.table)
    old = {as_text(level): i for i, level in enumerate(term.levels)}
    place = np.array([old.get(as_text(level), -1) for level in grouping.levels], dtype=np.intp)
    functions = np.ones((len(rows), 1)) if term.basis is None else term.basis.evaluate(basis_columns(term.basis, rows))
    acted = np.ones(len(rows), dtype=np.bool_)
    for condition in spec.conditions:
        acted &= np.array([as_text(level) == condition.level for level in rows[condition.column]])
    functions = np.where(acted[:, None], functions, 0.0) / term.load_unit[None, : functions.shape[1]]
    loads = [sparse.diags_array(f) @ Z for Z in grouping.bearers for f in functions.T]
    used = np.unique(np.concatenate([np.zeros(0, dtype=np.intp), *(sparse.csr_array(Z).indices for Z in loads)]))
    fresh = used[place[used] < 0]
    onto = sparse.csr_array(
        (np.ones(int((place >= 0).sum())), (np.flatnonzero(place >= 0), place[place >= 0])),
        shape=(len(place), len(term.levels)),
    )
    if not len(fresh):
        return _by_effect(term, [Z @ onto for Z in loads], len(design.traits)), None
    mean, spread = _given_old(term, grouping, fresh, old)
    chosen = sparse.csr_array((np.ones(len(fresh)), (fresh, np.arange(len(fresh)))), shape=(len(place), len(fresh)))
    old_loads = [Z @ onto + Z @ chosen @ mean for Z in loads]
    new_loads = [Z @ chosen for Z in loads]
    weights = _by_effect(term, new_loads, len(design.traits))
    return _by_effect(term, old_loads, len(design.traits)), NewLevels(weights=weights, spread=spread)


def _by_effect(term: TermDesign, loads: Sequence[sparse.csr_array], t: int) -> sparse.csr_array:
    """Weights (r t, levels m) of the effects of levels, of what each load puts on them (r, levels)."""
    m = len(term.effects)
    parts = []
    for effect in range(m):
        Z = sparse.coo_array(loads[term.load_of[effect]])
        parts.append((Z.data, Z.row * t + term.trait_of[effect], Z.col * m + effect))
    data, row, col = (np.concatenate(x) for x in zip(*parts, strict=True))
    r, levels = loads[0].shape
    return sparse.csr_array((data, (row, col)), shape=(r * t, levels * m))


def _given_old(
    term: TermDesign, grouping: Grouping, fresh: np.ndarray, old: Mapping[str, int]
) -> tuple[sparse.csr_array, Array]:
    """B (new, q) and D (new, new) of the new levels given all of the design: ``-P_nn⁻¹ P_no`` and ``P_nn⁻¹``."""
    if term.relationship is None:
        return sparse.csr_array((len(fresh), len(term.levels))), np.eye(len(fresh))
    related = grouping.relationship
    if related is None:
        strangers = [str(grouping.levels[i]) for i in fresh]
        raise DataError(
            f"{listing(strangers)} of '{term.name}' are not in the relationship of the fit; give relationships= with "
            f"one that holds them beside the levels of the fit, such as that of a longer pedigree"
        )
    texts = [as_text(level) for level in related.ids]
    place = np.array([old.get(text, -1) for text in texts], dtype=np.intp)
    absent = len(old) - int((place >= 0).sum())
    if absent:
        lacking = [level for level in old if level not in set(texts)]
        raise DataError(
            f"the relationship given for '{term.name}' lacks {listing(lacking)}, which the fit has; it must hold all "
            f"levels of the fit beside the new ones"
        )
    outside, inside = np.flatnonzero(place < 0), np.flatnonzero(place >= 0)
    P = sparse.csc_array(related.precision)
    factor = symmetric_lu(P[outside][:, outside])
    at = np.searchsorted(outside, fresh)
    unit = np.zeros((len(outside), len(fresh)))
    unit[at, np.arange(len(fresh))] = 1.0
    solved = factor.solve(unit)
    mean = np.zeros((len(fresh), len(term.levels)))
    mean[:, place[inside]] = -(P[inside][:, outside] @ solved).T
    return sparse.csr_array(mean), np.asarray(solved[at])
