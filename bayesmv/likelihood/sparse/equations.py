"""The mixed-model equations as data: which blocks there are, and which small matrix multiplies each of their numbers.

With every effect written as u = F v (Σ = FF', v ~ N(0, I ⊗ K)) and the records appended as a last column, the
equations are

    M = [ W'R⁻¹W + ⊕ (I ⊗ K_k⁻¹)   W'R⁻¹y ]        W = [X  Z_1 F_1 … Z_K F_K]
        [ y'R⁻¹W                   y'R⁻¹y ]

The block of M between node i and node j (a level with its effects, a fixed covariate, or y) is

    M_ij = Σ_s g_ij,s  Φ_κ(s)' Q_p(s) Φ_λ(s)

where Q_p is the inverse covariance V_p⁻¹ of the records of class p (:mod:`~bayesmv.likelihood.sparse.absorption`;
V is R where nothing is absorbed, and stands in the place of R throughout), Φ the *load* of a kind of node on the traits
(constant for fixed effects and y, rows of F for a random term) and g a cross-product of incidences that never
changes. M stays well conditioned when a Σ is singular, because no Σ is inverted.

Source: Henderson (1984), Applications of Linear Models in Animal Breeding; Bates et al. (2015), J. Stat. Softw.
67(1), for v.
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
from bayesmv.likelihood.sparse.absorption import FEWEST, Reduced, reduce_design
from bayesmv.numerics.ordering import elimination_tree, minimum_degree, postorder
from bayesmv.numerics.supernodes import Supernodes, analyse, locate

#: CPU seconds of a multiplication, most of them in BLAS, and of each number of the factor. Together they are right to a
#: factor of two, on factors of 300 to 2 million numbers.
_MULTIPLICATION, _NUMBER = 1e-10, 2e-8


class Load(NamedTuple):
    """A kind of node's way onto the traits.

    Parameters
    ----------
    term
        Random term whose factor F supplies the rows; -1 for a constant load.
    constant
        The load Φ, (t, m), where it is constant.
    effects, traits
        Rows of F that make up the load, and the trait that each row goes to.
    incidence
        Units × nodes, weighted by covariate, (n, nodes).
    """

    term: int
    constant: Array
    effects: IntArray
    traits: IntArray
    incidence: sparse.csr_array


class Slots(NamedTuple):
    """Small matrices that the blocks are made of: class, left load and right load; -1 for the constant identity."""

    klass: IntArray
    left: IntArray
    right: IntArray


class Blocks(NamedTuple):
    """Lower-triangular blocks of M and the terms of their sums.

    Parameters
    ----------
    position, stride
        Where the block's first number stands in the factor, and the distance between its columns, (blocks,).
    rows, cols
        Scalar row and column of the block's first number, (blocks,).
    height, width
        Size of the block, (blocks,).
    begin
        Where the terms of each block begin (blocks + 1,).
    slot, weight
        Slot and cross-product g of each term.
    """

    position: IntArray
    stride: IntArray
    rows: IntArray
    cols: IntArray
    height: IntArray
    width: IntArray
    begin: IntArray
    slot: IntArray
    weight: Array


@dataclass(frozen=True, kw_only=True)
class Equations:
    """The mixed-model equations of a design, analysed once.

    Parameters
    ----------
    reduced
        The design without the levels that are absorbed.
    loads, slots, blocks, symbolic
        See there.
    node_first
        First node of each random term, in unpermuted order; the fixed covariates come before, y is last.
    node_size
        Scalar unknowns of each node.
    scalar_of
        First scalar unknown of each node in the permuted equations.
    fixed_scale
        Size by which each well-conditioned column of fixed effects was divided, (v,).
    """

    reduced: Reduced
    loads: tuple[Load, ...]
    slots: Slots
    blocks: Blocks
    symbolic: Supernodes
    node_first: IntArray
    node_size: IntArray
    scalar_of: IntArray
    fixed_scale: Array


def evaluation_seconds(equations: Equations) -> float:
    """Predicted CPU seconds of one value with gradient: a factorisation, and a selected inverse of twice the work."""
    width, below = np.diff(equations.symbolic.start), np.diff(equations.symbolic.row_start)
    # A column of h numbers takes h² / 2 multiplications, h from below + 1 to below + width.
    multiplications = 1.5 * float((_squares(below + width) - _squares(below)).sum())
    return _MULTIPLICATION * multiplications + _NUMBER * float(equations.symbolic.panel_start[-1])


def _squares(n: IntArray) -> IntArray:
    """Sum of the squares from 1 to n."""
    return n * (n + 1) * (2 * n + 1) // 6


def build_equations(design: Design, fewest: int | None = FEWEST) -> Equations:
    """Analyse the mixed-model equations of a design: blocks, fill-reducing order, supernodes.

    Parameters
    ----------
    design
        The design.
    fewest
        See :func:`~bayesmv.likelihood.sparse.absorption.reduce_design`.
    """
    reduced = reduce_design(design, fewest)
    design = replace(design, terms=reduced.terms)
    fixed_scale = column_size(_weighted_fixed(design))
    node_first, node_size = _nodes(design)
    loads = _loads(design, node_first, fixed_scale)
    rows, cols, slot, weight, slots = _cross_products(design, loads, reduced, node_first)
    order = _elimination_order(rows, cols, node_size)
    position = np.argsort(order)
    scalar_of = np.concatenate([[0], np.cumsum(node_size[order])])[position]
    lower = position[rows] >= position[cols]
    rows, cols, slot, weight = rows[lower], cols[lower], slot[lower], weight[lower]
    symbolic = _symbolic(position[rows], position[cols], node_size[order])
    blocks = _collect_blocks(scalar_of[rows], scalar_of[cols], node_size[rows], node_size[cols], slot, weight, symbolic)
    return Equations(
        reduced=reduced,
        loads=loads,
        slots=slots,
        blocks=blocks,
        symbolic=symbolic,
        node_first=node_first,
        node_size=node_size,
        scalar_of=scalar_of,
        fixed_scale=fixed_scale,
    )


def _weighted_fixed(design: Design) -> sparse.csc_array:
    """Well-conditioned fixed effects with their rows multiplied by the roots of the weights of the units."""
    return sparse.csc_array(sparse.diags_array(np.sqrt(design.residual.weights)) @ design.fixed.working)


def column_size(X: sparse.csc_array) -> Array:
    """Root mean square of each column, 1 for empty ones: keeps the equations well scaled."""
    size = np.sqrt(np.asarray(X.multiply(X).sum(axis=0)).reshape(-1) / max(X.shape[0], 1))
    return np.where(size > 0, size, 1.0)


def _nodes(design: Design) -> tuple[IntArray, IntArray]:
    """First node of every random term, and the scalar unknowns of every node (fixed, terms, y)."""
    fixed = design.fixed.present.sum(axis=1)
    sizes = [fixed, *(np.full(len(term.levels), len(term.effects)) for term in design.terms), np.ones(1, dtype=int)]
    first = np.cumsum([len(s) for s in sizes])[:-1]
    return first.astype(np.int64), np.concatenate(sizes).astype(np.int64)


def _loads(design: Design, node_first: IntArray, fixed_scale: Array) -> tuple[Load, ...]:
    n_nodes = int(node_first[-1]) + 1
    loads = _fixed_loads(design, fixed_scale, n_nodes)
    for k, term in enumerate(design.terms):
        loads += _random_loads(term, k, int(node_first[k]), n_nodes)
    none = np.zeros(0, dtype=np.int64)
    for j, y in enumerate((np.sqrt(design.residual.weights)[:, None] * design.working_response).T):
        loads.append(Load(-1, np.eye(len(design.traits))[:, [j]], none, none, _place(y[:, None], n_nodes - 1, n_nodes)))
    return tuple(loads)


def _fixed_loads(design: Design, fixed_scale: Array, n_nodes: int) -> list[Load]:
    """One load for each set of traits for which some covariates are fitted."""
    X, present = _weighted_fixed(design), design.fixed.present
    none = np.zeros(0, dtype=np.int64)
    loads = []
    for traits in np.unique(present[present.any(axis=1)], axis=0):
        chosen = np.flatnonzero((present == traits).all(axis=1))
        spread = sparse.csr_array((1.0 / fixed_scale[chosen], (chosen, chosen)), shape=(X.shape[1], n_nodes))
        loads.append(Load(-1, np.eye(len(traits))[:, traits], none, none, sparse.csr_array(X @ spread)))
    return loads


def _random_loads(term: TermDesign, k: int, first: int, n_nodes: int) -> list[Load]:
    loads = []
    for c, incidence in enumerate(term.incidences):
        effects = np.flatnonzero(term.load_of == c).astype(np.int64)
        traits = term.trait_of[effects].astype(np.int64)
        loads.append(Load(k, np.zeros((0, 0)), effects, traits, _place(incidence, first, n_nodes)))
    return loads


def _place(incidence: Array | sparse.csr_array, first: int, n_nodes: int) -> sparse.csr_array:
    """Shift the columns of an incidence to their nodes."""
    part = sparse.coo_array(incidence)
    return sparse.csr_array((part.data, (part.row, part.col + first)), shape=(part.shape[0], n_nodes))


def _cross_products(
    design: Design,
    loads: tuple[Load, ...],
    reduced: Reduced,
    node_first: IntArray,
) -> tuple[IntArray, IntArray, IntArray, Array, Slots]:
    """All terms g of all blocks as (row node, column node, slot, g), and the slots."""
    keys: list[tuple[int, int, int]] = [(-1, -1, -1)]
    parts: list[tuple[IntArray, IntArray, IntArray, Array]] = [_precisions(design, node_first)]
    for p, observed in enumerate(reduced.classes.observed):
        rows = reduced.class_of == p
        inside = [load.incidence[rows] for load in loads]
        for a, left in enumerate(inside):
            if not _touches(loads[a], observed):
                continue
            for b, right in enumerate(inside):
                if not _touches(loads[b], observed):
                    continue
                product = sparse.coo_array(left.T @ right)
                if product.nnz:
                    slot = np.full(product.nnz, len(keys), dtype=np.int64)
                    parts.append((product.row.astype(np.int64), product.col.astype(np.int64), slot, product.data))
                    keys.append((p, a, b))
    rows_, cols, slot, weight = (np.concatenate(x) for x in zip(*parts, strict=True))
    return rows_, cols, slot, weight, Slots(*np.array(keys, dtype=np.int64).T.copy())


def _touches(load: Load, observed: npt.NDArray[np.bool_]) -> bool:
    """Whether a load reaches a trait that is recorded."""
    return bool(observed[load.traits].any() if load.term >= 0 else (load.constant[observed] != 0).any())


def _precisions(design: Design, node_first: IntArray) -> tuple[IntArray, IntArray, IntArray, Array]:
    """K⁻¹ of every random term, in slot 0, the identity."""
    parts = []
    for k, term in enumerate(design.terms):
        K = sparse.coo_array(term.precision)
        parts.append((K.row.astype(np.int64) + node_first[k], K.col.astype(np.int64) + node_first[k], K.data))
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return none, none, none, np.zeros(0)
    rows, cols, data = (np.concatenate(x) for x in zip(*parts, strict=True))
    return rows, cols, np.zeros(len(rows), dtype=np.int64), data


def _elimination_order(rows: IntArray, cols: IntArray, node_size: IntArray) -> IntArray:
    """Order of elimination of the nodes: fill-reducing, postordered, y last."""
    n = len(node_size) - 1
    graph = _graph(rows, cols, n)
    order = minimum_degree(graph.indptr, graph.indices, np.maximum(node_size[:n], 1))
    position = np.argsort(order)
    tree = _tree(position[graph.tocoo().row], position[graph.tocoo().col], n)
    return np.append(order[postorder(tree)], n)


def _graph(rows: IntArray, cols: IntArray, n: int) -> sparse.csr_array:
    """Adjacency among the first n nodes without self-loops, symmetric whatever rounding left of the entries."""
    off = (rows != cols) & (rows < n) & (cols < n)
    both = np.concatenate([rows[off], cols[off]]), np.concatenate([cols[off], rows[off]])
    graph = sparse.csr_array((np.ones(len(both[0])), both), shape=(n, n))
    graph.sum_duplicates()
    return graph


def _tree(rows: IntArray, cols: IntArray, n: int) -> IntArray:
    graph = sparse.csr_array((np.ones(len(rows)), (rows, cols)), shape=(n, n))
    graph.sum_duplicates()
    return elimination_tree(graph.indptr, graph.indices)


def _symbolic(rows: IntArray, cols: IntArray, node_size: IntArray) -> Supernodes:
    n = len(node_size)
    lower = sparse.csc_array((np.ones(len(rows)), (rows, cols)), shape=(n, n))
    lower.sum_duplicates()
    parent = _tree(np.concatenate([rows, cols]), np.concatenate([cols, rows]), n)
    node_start = np.concatenate([[0], np.cumsum(node_size)]).astype(np.int64)
    return analyse(node_start, lower.indptr.astype(np.int64), lower.indices.astype(np.int64), parent)


def _collect_blocks(
    rows: IntArray,
    cols: IntArray,
    height: IntArray,
    width: IntArray,
    slot: IntArray,
    weight: Array,
    symbolic: Supernodes,
) -> Blocks:
    """Group the terms by block and find where each block stands in the factor."""
    by_block = np.lexsort((slot, rows, cols))
    rows, cols, slot, weight = rows[by_block], cols[by_block], slot[by_block], weight[by_block]
    height, width = height[by_block], width[by_block]
    new = np.concatenate([[True], (rows[1:] != rows[:-1]) | (cols[1:] != cols[:-1])])
    first = np.flatnonzero(new).astype(np.int64)
    begin = np.append(first, len(rows)).astype(np.int64)
    rows, cols, height, width = rows[first], cols[first], height[first], width[first]
    position = locate(symbolic, rows, cols)
    supernode = symbolic.owner[cols]
    stride = np.diff(symbolic.start)[supernode] + np.diff(symbolic.row_start)[supernode]
    return Blocks(position, stride, rows, cols, height, width, begin, slot, weight)
