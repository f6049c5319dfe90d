"""Levels with at most one record, taken out of the mixed-model equations.

A level i that is tied by K⁻¹ to few other levels (an animal without offspring: to its parents) is

    u_i = Σ_j w_ij u_j + m_i,   w_ij = -K⁻¹_ij / K⁻¹_ii,   m_i ~ N(0, d_i Σ),   d_i = 1 / K⁻¹_ii

If a single unit bears on it, m_i goes into the covariance of that unit's records, V = R + A Σ A', A = √d_i times the
load of the level on the traits, and the unit bears on the levels j instead: the equations have no level i, and the
likelihood is the same. Units with the same recorded traits and the same A are a *class*, with one V for all.

Units with known weights w have all their equations multiplied by √w, so that R is the same for all.

Source: Quaas & Pollak (1980), J. Anim. Sci. 51:1277-1287 (reduced animal model).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.relationship.relationship import Relationship

#: Fewest units of a class with absorbed levels: each class costs about as much as some levels.
FEWEST = 8
#: Most other levels that an absorbed level may be tied to: its elimination ties these to each other.
_MOST_TIES = 2


class Absorbed(NamedTuple):
    """Levels of one term that are not in the equations.

    Parameters
    ----------
    kept, levels
        Levels that are in the equations, and those that are not.
    regression
        w, (levels, kept).
    variance
        d of each absorbed level.
    unit
        The unit that bears on it; -1 for none.
    """

    kept: IntArray
    levels: IntArray
    regression: sparse.csr_array
    variance: Array
    unit: IntArray


class Classes(NamedTuple):
    """Classes of units, with covariance V_c = Σ_e A_e Σ_b(e) A_e' of their records.

    Parameters
    ----------
    observed
        Traits that are recorded, (C, t).
    units
        Number of units, (C,).
    begin
        Where the parts of each class begin, (C + 1,).
    block
        Covariance matrix of each part, in the order of ``Design.names``, (E,).
    matrix
        A of each part, (E, t, m).
    """

    observed: npt.NDArray[np.bool_]
    units: IntArray
    begin: IntArray
    block: IntArray
    matrix: Array


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """A design without the absorbed levels.

    Parameters
    ----------
    terms
        Random terms of the levels kept.
    absorbed
        What was taken out of each.
    classes, class_of
        Classes of units, and the class of each unit (n,).
    """

    terms: tuple[TermDesign, ...]
    absorbed: tuple[Absorbed, ...]
    classes: Classes
    class_of: IntArray


def reduce_design(design: Design, fewest: int | None = FEWEST) -> Reduced:
    """Take out the levels that can be.

    Parameters
    ----------
    design
        The design.
    fewest
        Fewest units of a class with absorbed levels; None absorbs nothing.
    """
    design = replace(design, terms=tuple(_weighted(term, design.residual.weights) for term in design.terms))
    chosen = [_candidates(term) if fewest is not None else np.zeros(0, dtype=np.int64) for term in design.terms]
    parts = _parts(design, chosen)
    rare = _rare_units(design, parts, fewest or 0)
    chosen = [levels[~np.isin(_bearing_unit(t)[levels], rare)] for t, levels in zip(design.terms, chosen, strict=True)]
    absorbed = tuple(_absorb(term, levels) for term, levels in zip(design.terms, chosen, strict=True))
    classes, class_of = _classes(design, _parts(design, chosen))
    terms = tuple(_without(term, gone) for term, gone in zip(design.terms, absorbed, strict=True))
    return Reduced(terms=terms, absorbed=absorbed, classes=classes, class_of=class_of)


def _weighted(term: TermDesign, weights: Array) -> TermDesign:
    """Return the term with the equations of the units multiplied by the roots of their weights."""
    if (weights == 1.0).all():
        return term
    root = sparse.diags_array(np.sqrt(weights))
    return replace(term, incidences=tuple(sparse.csr_array(root @ Z) for Z in term.incidences))


def _bearing_unit(term: TermDesign) -> IntArray:
    """The unit that bears on each level; -1 for none, -2 for several, (q,)."""
    touches = sparse.csc_array(sum((abs(Z) for Z in term.incidences[1:]), abs(term.incidences[0])))
    touches.eliminate_zeros()
    count = np.diff(touches.indptr)
    unit = np.where(count > 1, -2, -1).astype(np.int64)
    unit[count == 1] = touches.indices[touches.indptr[:-1][count == 1]]
    return unit


def _candidates(term: TermDesign) -> IntArray:
    """Levels that can be absorbed together: no two of them are tied to each other, and some level is left."""
    K = sparse.coo_array(term.precision)
    tied = (K.row != K.col) & (K.data != 0)
    i, j = K.row[tied], K.col[tied]
    ties = np.bincount(i, minlength=len(term.levels))
    fit = (_bearing_unit(term) >= -1) & (ties <= _MOST_TIES)
    both = fit[i] & fit[j]
    # Of two that are tied to each other, the one with fewer ties goes, or the later.
    rank = np.lexsort((-np.arange(len(ties)), ties)).argsort()
    fit[i[both & (rank[i] > rank[j])]] = False
    return np.flatnonzero(fit)[: len(term.levels) - 1].astype(np.int64)


def _part_matrices(design: Design, term: TermDesign, levels: IntArray, units: IntArray) -> Array:
    """A of every absorbed level, rounded so that equal ones are equal, (levels, t, m)."""
    d = 1.0 / term.precision.diagonal()[levels]
    z = np.stack([np.asarray(Z[units, levels]).reshape(-1) for Z in term.incidences])
    A = np.zeros((len(levels), len(design.traits), len(term.effects)))
    effects = np.arange(len(term.effects))
    A[:, term.trait_of, effects] = np.sqrt(d)[:, None] * z[term.load_of].T
    digits = 12 - np.ceil(np.log10(np.maximum(np.abs(A).max(initial=1e-300), 1e-300)))
    return np.asarray(np.round(A, int(digits)))


class _Parts(NamedTuple):
    """Absorbed levels with a record: their unit, the kind of their A, and the kinds' blocks and matrices."""

    unit: IntArray
    kind: IntArray
    block: IntArray
    matrix: Array


def _parts(design: Design, chosen: list[IntArray]) -> _Parts:
    t = len(design.traits)
    m = max([t, len(design.residual.effects), *(len(term.effects) for term in design.terms)])
    units, kinds, blocks, matrices = [], [], [], [np.zeros((0, t, m))]
    first = 0
    for k, (term, levels) in enumerate(zip(design.terms, chosen, strict=True)):
        unit = _bearing_unit(term)[levels]
        recorded = unit >= 0
        A = _part_matrices(design, term, levels[recorded], unit[recorded])
        distinct, kind = np.unique(A, axis=0, return_inverse=True)
        units.append(unit[recorded])
        kinds.append(kind.reshape(-1).astype(np.int64) + first)
        blocks.append(np.full(len(distinct), k, dtype=np.int64))
        matrices.append(np.pad(distinct, ((0, 0), (0, 0), (0, m - A.shape[2]))))
        first += len(distinct)
    none = np.zeros(0, dtype=np.int64)
    unit, kind, block = (np.concatenate([none, *x]) for x in (units, kinds, blocks))
    return _Parts(unit, kind, block, np.concatenate(matrices))


def _kinds_of_units(n: int, parts: _Parts) -> list[tuple[int, ...]]:
    """Kinds of the absorbed levels of every unit, in order."""
    out: list[tuple[int, ...]] = [()] * n
    for place in np.lexsort((parts.kind, parts.unit)):
        out[parts.unit[place]] += (int(parts.kind[place]),)
    return out


class _Class(NamedTuple):
    """Recorded traits, residual group and kinds of absorbed levels of some units."""

    observed: npt.NDArray[np.bool_]
    group: int
    kinds: tuple[int, ...]


def _group(design: Design, parts: _Parts) -> tuple[IntArray, list[_Class]]:
    """Class of every unit, and the classes."""
    patterns, pattern_of = np.unique(design.observed, axis=0, return_inverse=True)
    kinds = _kinds_of_units(len(design.observed), parts)
    keys = list(zip(pattern_of.reshape(-1).tolist(), design.residual.group.tolist(), kinds, strict=True))
    number = {key: c for c, key in enumerate(sorted(set(keys)))}
    class_of = np.array([number[key] for key in keys], dtype=np.int64)
    return class_of, [_Class(patterns[p], g, kinds) for p, g, kinds in number]


def _rare_units(design: Design, parts: _Parts, fewest: int) -> IntArray:
    """Units with absorbed levels whose class is small."""
    class_of, classes = _group(design, parts)
    rare = np.array([bool(c.kinds) for c in classes]) & (np.bincount(class_of) < fewest)
    return np.flatnonzero(rare[class_of]).astype(np.int64)


def _classes(design: Design, parts: _Parts) -> tuple[Classes, IntArray]:
    class_of, classes = _group(design, parts)
    m, residual = parts.matrix.shape[2], len(design.terms)
    begin = np.cumsum([0, *(1 + len(c.kinds) for c in classes)]).astype(np.int64)
    blocks = [b for c in classes for b in (residual, *parts.block[list(c.kinds)])]
    own = [np.eye(m)[design.residual.places(c.group)] for c in classes]
    matrices = [A for c, choice in zip(classes, own, strict=True) for A in (choice, *parts.matrix[list(c.kinds)])]
    return Classes(
        observed=np.array([c.observed for c in classes]),
        units=np.bincount(class_of).astype(np.int64),
        begin=begin,
        block=np.array(blocks, dtype=np.int64),
        matrix=np.array(matrices),
    ), class_of


def _absorb(term: TermDesign, levels: IntArray) -> Absorbed:
    kept = np.setdiff1d(np.arange(len(term.levels)), levels).astype(np.int64)
    K = term.precision
    variance = 1.0 / K.diagonal()[levels]
    regression = sparse.csr_array(sparse.diags_array(-variance) @ K[levels][:, kept])
    return Absorbed(kept, levels, regression, variance, _bearing_unit(term)[levels])


def _without(term: TermDesign, gone: Absorbed) -> TermDesign:
    """Return the term of the levels kept."""
    if not len(gone.levels):
        return term
    incidences = tuple(sparse.csr_array(Z[:, gone.kept] + Z[:, gone.levels] @ gone.regression) for Z in term.incidences)
    relationship = None if term.relationship is None else _marginal(term.relationship, gone)
    return replace(term, levels=term.levels[gone.kept], incidences=incidences, relationship=relationship)


def _marginal(relationship: Relationship, gone: Absorbed) -> Relationship:
    """Relationship among the levels kept: the Schur complement of the precision."""
    W = gone.regression
    rest = relationship.precision[gone.kept][:, gone.kept] - W.T @ sparse.diags_array(1.0 / gone.variance) @ W
    return replace(
        relationship,
        ids=relationship.ids[gone.kept],
        precision=sparse.csc_array(0.5 * (rest + rest.T)),
        log_determinant=relationship.log_determinant - float(np.log(gone.variance).sum()),
        diagonal=relationship.diagonal[gone.kept],
    )


def passed_on(term: TermDesign, gone: Absorbed, weighted: Array) -> Array:
    """d_i (Z'Py)_i of the absorbed levels, (levels, m), from Py (n, t): ``u_i = Σ_j w_ij u_j + Σ d_i (Z'Py)_i``."""
    passed = np.zeros((len(gone.levels), len(term.effects)))
    for c, incidence in enumerate(term.incidences):
        mine = term.load_of == c
        passed[:, mine] = incidence[:, gone.levels].T @ weighted[:, term.trait_of[mine]]
    return np.asarray(gone.variance[:, None] * passed)


def expand(gone: Absorbed, kept: Array, own: Array) -> Array:
    """Effects of all levels (q, m), from those of the levels kept and the own part of those absorbed."""
    out = np.empty((len(gone.kept) + len(gone.levels), kept.shape[1]))
    out[gone.kept] = kept
    out[gone.levels] = gone.regression @ kept + own
    return out
