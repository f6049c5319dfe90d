"""Compiled kernels of the mixed-model equations: assemble, evaluate, pull the gradient back to loads and residuals."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmv.numerics.cholesky import U, factorize, selected_inverse
from bayesmv.numerics.compiled import FAST, apart, njit
from bayesmv.numerics.small_matrices import multiply


@njit(cache=True, nogil=True, fastmath=FAST)
def slot_matrices(slots, loads, precisions, out):  # type: ignore[no-untyped-def]
    """Φ_κ' Q_p Φ_λ of every slot, (slots, m, m); the identity for slot 0."""
    apart()
    t, m = loads.shape[1], loads.shape[2]
    half = np.empty((t, m))
    for s in range(len(slots.klass)):
        if slots.klass[s] < 0:
            for a in range(m):
                for b in range(m):
                    out[s, a, b] = 1.0 if a == b else 0.0
            continue
        left, right, Q = loads[slots.left[s]], loads[slots.right[s]], precisions[slots.klass[s]]
        multiply(Q, right, half)
        for a in range(m):
            for b in range(m):
                total = 0.0
                for i in range(t):
                    total += left[i, a] * half[i, b]
                out[s, a, b] = total


@njit(cache=True, nogil=True, fastmath=FAST)
def assemble(blocks, matrices, values):  # type: ignore[no-untyped-def]
    """Write the lower triangle of M into the panels."""
    apart()
    values[:] = 0.0
    for b in range(len(blocks.position)):
        if blocks.height[b] == 2 and blocks.width[b] == 2:
            _assemble_pair(blocks, b, matrices, values)
            continue
        for e in range(blocks.begin[b], blocks.begin[b + 1]):
            matrix, g, at = matrices[blocks.slot[e]], blocks.weight[e], blocks.position[b]
            for j in range(blocks.width[b]):
                for i in range(blocks.height[b]):
                    values[at + i] += g * matrix[i, j]
                at += blocks.stride[b]


# Most blocks are of two traits by two traits, for which a loop takes longer than what is in it.


@njit(cache=True, inline="always")
def _assemble_pair(blocks, b, matrices, values):  # type: ignore[no-untyped-def]
    """Write block b, of 2 × 2."""
    m00 = m10 = m01 = m11 = 0.0
    for e in range(blocks.begin[b], blocks.begin[b + 1]):
        s, g = U(blocks.slot[e]), blocks.weight[e]
        m00 += g * matrices[s, 0, 0]
        m10 += g * matrices[s, 1, 0]
        m01 += g * matrices[s, 0, 1]
        m11 += g * matrices[s, 1, 1]
    left, right = U(blocks.position[b]), U(blocks.position[b] + blocks.stride[b])
    values[left], values[left + U(1)] = m00, m10
    values[right], values[right + U(1)] = m01, m11


@njit(cache=True, nogil=True, fastmath=FAST)
def log_determinant(symbolic, factor):  # type: ignore[no-untyped-def]
    """log|C| and the last pivot squared, which is y'Py."""
    apart()
    count = len(symbolic.start) - 1
    total = 0.0
    last = 1.0
    for s in range(count):
        width = symbolic.start[s + 1] - symbolic.start[s]
        height = width + symbolic.row_start[s + 1] - symbolic.row_start[s]
        for j in range(width):
            last = factor[symbolic.panel_start[s] + j * (height + 1)]
            total += np.log(last)
    return 2.0 * (total - np.log(last)), last * last


@njit(cache=True, nogil=True, fastmath=FAST)
def solve_augmented(symbolic, factor, v):  # type: ignore[no-untyped-def]
    """v = (-θ, 1): the solution of the equations, negated, by back-substitution through the augmented factor."""
    apart()
    count = len(symbolic.start) - 1
    v[-1] = 1.0
    for s in range(count - 2, -1, -1):
        begin, width = symbolic.start[s], symbolic.start[s + 1] - symbolic.start[s]
        rows = symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]
        height = width + len(rows)
        for j in range(width - 1, -1, -1):
            column = factor[symbolic.panel_start[s] + j * height : symbolic.panel_start[s] + (j + 1) * height]
            total = 0.0
            for p in range(len(rows)):
                total -= column[width + p] * v[rows[p]]
            for i in range(j + 1, width):
                total -= column[i] * v[begin + i]
            v[begin + j] = total / column[j]


@njit(cache=True, fastmath=FAST)
def slot_gradients(blocks, inverse, v, out):  # type: ignore[no-untyped-def]
    """Derivative of log|C| + y'Py by every slot matrix, (slots, m, m); `inverse` is 0 in the row of y."""
    apart()
    out[:] = 0.0
    for b in range(len(blocks.position)):
        row, col = blocks.rows[b], blocks.cols[b]
        times = 1.0 if row == col else 2.0
        if blocks.height[b] == 2 and blocks.width[b] == 2:
            _pair_gradient(blocks, b, times, inverse, v, out)
            continue
        for e in range(blocks.begin[b], blocks.begin[b + 1]):
            s, g, at = blocks.slot[e], times * blocks.weight[e], blocks.position[b]
            for j in range(blocks.width[b]):
                x = v[col + j]
                for i in range(blocks.height[b]):
                    out[s, i, j] += g * (inverse[at + i] + x * v[row + i])
                at += blocks.stride[b]


@njit(cache=True, inline="always")
def _pair_gradient(blocks, b, times, inverse, v, out):  # type: ignore[no-untyped-def]
    """Add the derivatives by the slots of block b, of 2 × 2."""
    row, col = U(blocks.rows[b]), U(blocks.cols[b])
    left, right = U(blocks.position[b]), U(blocks.position[b] + blocks.stride[b])
    d00 = times * (inverse[left] + v[row] * v[col])
    d10 = times * (inverse[left + U(1)] + v[row + U(1)] * v[col])
    d01 = times * (inverse[right] + v[row] * v[col + U(1)])
    d11 = times * (inverse[right + U(1)] + v[row + U(1)] * v[col + U(1)])
    for e in range(blocks.begin[b], blocks.begin[b + 1]):
        s, g = U(blocks.slot[e]), blocks.weight[e]
        out[s, 0, 0] += g * d00
        out[s, 1, 0] += g * d10
        out[s, 0, 1] += g * d01
        out[s, 1, 1] += g * d11


@njit(cache=True, fastmath=FAST)
def pull_back(slots, loads, precisions, gradients, d_loads, d_precisions):  # type: ignore[no-untyped-def]
    """Derivatives by loads (loads, t, m) and by residual precisions (P, t, t), from those by slot matrices."""
    apart()
    t, m = loads.shape[1], loads.shape[2]
    half = np.empty((t, m))
    d_loads[:] = 0.0
    d_precisions[:] = 0.0
    for s in range(1, len(slots.klass)):
        p, left, right, G = slots.klass[s], slots.left[s], slots.right[s], gradients[s]
        for i in range(t):  # half = Φ_κ G
            for b in range(m):
                total = 0.0
                for a in range(m):
                    total += loads[left, i, a] * G[a, b]
                half[i, b] = total
        for i in range(t):
            for j in range(t):
                total = 0.0
                for b in range(m):
                    total += half[i, b] * loads[right, j, b]
                    d_loads[right, j, b] += precisions[p, j, i] * half[i, b]
                d_precisions[p, i, j] += total
        for i in range(t):  # half = Q Φ_λ
            for b in range(m):
                total = 0.0
                for j in range(t):
                    total += precisions[p, i, j] * loads[right, j, b]
                half[i, b] = total
        for i in range(t):
            for a in range(m):
                for b in range(m):
                    d_loads[left, i, a] += half[i, b] * G[a, b]


def evaluate(symbolic: Any, blocks: Any, slots: Any, work: Any, small: Any) -> tuple[bool, float, float]:
    """Whether M is positive definite, log|C| and y'Py."""
    slot_matrices(slots, small.loads, small.precisions, small.matrices)
    assemble(blocks, small.matrices, work.factor)
    if not factorize(symbolic, work):
        return False, 0.0, 0.0
    log_det, ypy = log_determinant(symbolic, work.factor)
    return True, log_det, ypy


def differentiate(symbolic: Any, blocks: Any, slots: Any, work: Any, small: Any) -> None:
    """Leave the derivatives of log|C| + y'Py in `small`, after :func:`evaluate`."""
    solve_augmented(symbolic, work.factor, small.solution)
    selected_inverse(symbolic, work, len(symbolic.start) - 2)
    slot_gradients(blocks, work.inverse, small.solution, small.gradients)
    pull_back(slots, small.loads, small.precisions, small.gradients, small.d_loads, small.d_precisions)
