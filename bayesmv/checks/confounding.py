"""Terms whose variances the data cannot tell apart, found before a fit, whatever their levels and relationships.

The variances of terms k with covariances V_k among the records of a trait are identified when the matrices ``M V_k M``
are linearly independent, M the projection that takes the fixed effects out. They are looked at through their products
with a few random vectors, so that no matrix of records × records is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from bayesmv.arrays import Array, BoolArray
from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.dims import RESIDUAL
from bayesmv.numerics.symmetric import symmetric_lu

#: Random vectors that the matrices are multiplied with.
_PROBES = 3
#: Singular value, of columns of norm 1, below which they are dependent; relationships are solved to a tenth of it.
_DEPENDENT = 1e-6
#: Weight of a matrix in a dependence from which it takes part.
_PART = 1e-3

type Product = Callable[[Array], Array]


def confounding(design: Design) -> dict[str, tuple[str, ...]]:
    """Names of the terms, or of the residual, that each term or the residual cannot be told from, by name.

    A term that the fixed effects use up is told from none; its degrees of freedom say so.

    Parameters
    ----------
    design
        The design.
    """
    found: dict[str, dict[str, None]] = {name: {} for name in design.names}
    for trait in range(len(design.traits)):
        for group in _dependent(design, trait):
            for name in group:
                found[name] |= dict.fromkeys(other for other in group if other != name)
    return {name: tuple(others) for name, others in found.items()}


def _dependent(design: Design, trait: int) -> Iterator[list[str]]:
    """Sets of terms whose covariances among the records of a trait are linearly dependent."""
    rows = np.flatnonzero(design.observed[:, trait])
    project = _projection(design.fixed.X[rows][:, np.flatnonzero(design.fixed.present[:, trait])])
    R = project(np.random.default_rng(0).normal(size=(len(rows), _PROBES)))
    names, columns = [], []
    for name, product in chain(_of_terms(design, trait, rows), _of_residual(design, trait, rows)):
        V = product(R)
        column = project(V).reshape(-1)
        if np.isfinite(column).all() and np.linalg.norm(column) > _DEPENDENT * np.linalg.norm(V):
            names.append(name)
            columns.append(column / np.linalg.norm(column))
    if len(columns) < 2:
        return
    _, values, weights = np.linalg.svd(np.column_stack(columns), full_matrices=False)
    for weight in weights[values < _DEPENDENT]:
        group = list(dict.fromkeys(n for n, w in zip(names, weight, strict=True) if abs(w) > _PART))
        if len(group) > 1:
            yield group


def _projection(X: sparse.csc_array) -> Product:
    """Product with ``M = I - X (X'X)⁻¹ X'``; the columns of X are independent."""
    if not X.shape[1]:
        return lambda V: V
    size = np.sqrt(np.asarray(X.multiply(X).sum(axis=0)).reshape(-1))
    scaled = sparse.csc_array(X @ sparse.diags_array(1.0 / size))
    solve = symmetric_lu(scaled.T @ scaled).solve

    def project(V: Array) -> Array:
        once = V - scaled @ solve(scaled.T @ V)
        return np.asarray(once - scaled @ solve(scaled.T @ once))

    return project


def _of_terms(design: Design, trait: int, rows: np.ndarray) -> Iterator[tuple[str, Product]]:
    for term in design.terms:
        for load in term.load_of[term.trait_of == trait]:
            yield term.name, _through(term.incidences[load][rows], _kernel(term))


def _through(Z: sparse.csr_array, kernel: Product) -> Product:
    return lambda R: np.asarray(Z @ kernel(Z.T @ R))


def _kernel(term: TermDesign) -> Product:
    """Product with K, by conjugate gradients on K⁻¹; NaN where they do not converge."""
    if term.relationship is None:
        return lambda U: U
    precision = term.precision
    diagonal = precision.diagonal()
    scaling = LinearOperator(precision.shape, matvec=lambda v: v / diagonal)

    def solve(u: Array) -> Array:
        x, state = cg(precision, u, rtol=0.1 * _DEPENDENT * 1e-3, atol=0.0, maxiter=2000, M=scaling)
        return np.full_like(u, np.nan) if state else np.asarray(x)

    return lambda U: np.column_stack([solve(u) if u.any() else u for u in U.T])


def _of_residual(design: Design, trait: int, rows: np.ndarray) -> Iterator[tuple[str, Product]]:
    residual = design.residual
    for group in np.unique(residual.group[rows]):
        mine: BoolArray = residual.group[rows] == group
        yield RESIDUAL, _scaling(np.where(mine, 1.0 / residual.weights[rows], 0.0))


def _scaling(variance: Array) -> Product:
    return lambda R: variance[:, None] * R
