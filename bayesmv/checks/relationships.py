"""Relationships of a design before it is fitted: size, density, diagonal, and how the records lie in them."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import ArpackError, eigsh

from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.relationship.relationship import Relationship

#: Levels up to which eigenvalues are those of the whole matrix.
_FEW = 3


@dataclass(frozen=True, kw_only=True)
class RelationshipInformation:
    """Relationship among the levels of a term.

    Parameters
    ----------
    term
        Name of the term.
    levels, recorded
        Number of levels, and of those that have records.
    records
        Number of records that have a level.
    nonzeros
        Mean number of non-zeros of K⁻¹ a level.
    diagonal
        Least and largest K_ii; of a pedigree 1 + F.
    smallest
        Smallest eigenvalue of K, NaN where the iteration for it does not converge.
    """

    term: str
    levels: int
    recorded: int
    records: int
    nonzeros: float
    diagonal: tuple[float, float]
    smallest: float


def relationship_information(design: Design) -> tuple[RelationshipInformation, ...]:
    """Relationships of the terms of a design that have one."""
    return tuple(_of_term(term, term.relationship) for term in design.terms if term.relationship is not None)


def _of_term(term: TermDesign, related: Relationship) -> RelationshipInformation:
    borne = sparse.csr_array(reduce(operator.add, map(abs, term.bearers)))
    return RelationshipInformation(
        term=term.name,
        levels=len(related),
        recorded=int((np.asarray(borne.sum(axis=0)) > 0).sum()),
        records=int((np.asarray(borne.sum(axis=1)) > 0).sum()),
        nonzeros=related.precision.nnz / len(related),
        diagonal=(float(related.diagonal.min()), float(related.diagonal.max())),
        smallest=_smallest_eigenvalue(related),
    )


def _smallest_eigenvalue(related: Relationship) -> float:
    """Smallest eigenvalue of K, the inverse of the largest of K⁻¹."""
    if len(related) <= _FEW:
        return float(1.0 / np.linalg.eigvalsh(related.precision.toarray())[-1])
    start = np.ones(len(related))
    try:
        largest = eigsh(related.precision, k=1, which="LA", v0=start, tol=1e-4, return_eigenvectors=False)[0]
    except ArpackError:
        return float("nan")
    return float(1.0 / largest)
