"""Products of dense blocks by BLAS, on parts of longer arrays as they stand; np.dot would have to copy them."""

from __future__ import annotations

import numpy as np
from numba import types

from bayesmv.numerics.compiled import njit

_NUMBERS = types.CPointer(types.float64)
# The function behind numba's np.dot: kind, whether to transpose A and B, m, n, k, α, A, B, β, C with their strides.
_gemm = types.ExternalFunction(
    "numba_xxgemm",
    types.intc(
        *[types.char] * 3, *[types.intp] * 3, _NUMBERS, *[_NUMBERS, types.intp] * 2, *[_NUMBERS] * 2, types.intp
    ),
)
_DOUBLE, PLAIN, TRANSPOSED = (ord(letter) for letter in "dnt")
_MINUS, KEEP, REPLACE = np.array([-1.0]), np.array([1.0]), np.array([0.0])


@njit(inline="always")
def subtract(size, left, A, right, B, keep, C):  # type: ignore[no-untyped-def]
    """C = keep C - op(A) op(B).

    Parameters
    ----------
    size
        (m, n, k), for op(A) (m, k) and op(B) (k, n).
    left, right
        PLAIN or TRANSPOSED: what op does to A and to B.
    A, B, C
        Blocks stored by columns: (array, at, stride), with entry (i, j) at ``array[at + i + j stride]``.
    keep
        KEEP or REPLACE: 1 or 0.
    """
    m, n, k = size
    a, b, c = A[0][A[1] :], B[0][B[1] :], C[0][C[1] :]
    _gemm(_DOUBLE, left, right, m, n, k, _MINUS.ctypes, a.ctypes, A[2], b.ctypes, B[2], keep.ctypes, c.ctypes, C[2])
