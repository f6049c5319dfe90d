"""A relationship's root as an operation of PyTensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytensor.tensor as pt
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.numerics.compiled import njit
from bayesmv.numerics.symmetric import symmetric_lu
from bayesmv.pymc_model.fallback import runs_in_python
from bayesmv.relationship.relationship import Relationship


@runs_in_python
class RelationshipRoot(Op):
    """Multiply (q, m) effects by a root B of a relationship, K = BB'; or by B', the transpose.

    K is neither formed nor inverted: with the sparse factor C of the permuted precision, ``P'K⁻¹P = CC'``, the root is
    ``B = P C⁻ᵀ``, one sparse triangular solve. With a pedigree in Mendelian order it would be the path matrix of the
    pedigree times Mendelian standard deviations; here the order is the one that keeps C sparse.

    Parameters
    ----------
    upper
        C' (q, q), upper triangular, by rows.
    place
        Where each level stands in the permuted order, (q,).
    transposed
        Whether to multiply by B'.
    """

    def __init__(self, upper: sparse.csr_array, place: npt.NDArray[np.integer[Any]], transposed: bool = False) -> None:
        self.upper, self.place, self.transposed = upper, place, transposed
        self.upper.sort_indices()

    @classmethod
    def of(cls, relationship: Relationship) -> RelationshipRoot:
        """Factor the precision of a relationship."""
        lu = symmetric_lu(relationship.precision)
        root_D = sparse.diags_array(1.0 / np.sqrt(lu.U.diagonal()))
        return cls((root_D @ lu.U).tocsr(), lu.perm_c)

    def make_node(self, effects: Any) -> Apply:
        """Apply to (q, m) effects."""
        effects = pt.as_tensor_variable(effects, ndim=2, dtype="float64")
        return Apply(self, [effects], [effects.type()])

    def perform(self, node: Any, inputs: Sequence[Array], output_storage: list[list[Any]]) -> None:
        """Solve."""
        (x,) = inputs
        output_storage[0][0] = self._multiply_transposed(x) if self.transposed else self._multiply(x)

    def _multiply(self, x: Array) -> Array:
        out = np.array(x, order="C")
        _solve_upper(self.upper.indptr, self.upper.indices, self.upper.data, out)
        return out[self.place]

    def _multiply_transposed(self, x: Array) -> Array:
        out = np.empty(x.shape)
        out[self.place] = x
        _solve_transposed(self.upper.indptr, self.upper.indices, self.upper.data, out)
        return out

    def pullback(self, inputs: Sequence[Any], outputs: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """The transposed root times the cotangent."""
        return [RelationshipRoot(self.upper, self.place, not self.transposed)(cotangents[0])]

    def infer_shape(self, node: Any, input_shapes: Sequence[Any]) -> list[Any]:
        """Return the shape of the effects."""
        return list(input_shapes)


# scipy's solver of triangular systems copies and checks the matrix at every call, which takes longer than the solution.
@njit(cache=True, nogil=True)
def _solve_upper(indptr, indices, data, x):  # type: ignore[no-untyped-def]
    """Solve C' z = x in place, C' (q, q) by sorted rows, x (q, m)."""
    for i in range(len(x) - 1, -1, -1):
        first = indptr[i]
        for c in range(x.shape[1]):
            total = x[i, c]
            for e in range(first + 1, indptr[i + 1]):
                total -= data[e] * x[indices[e], c]
            x[i, c] = total / data[first]


@njit(cache=True, nogil=True)
def _solve_transposed(indptr, indices, data, x):  # type: ignore[no-untyped-def]
    """Solve C z = x in place, C' (q, q) by sorted rows, x (q, m)."""
    for i in range(len(x)):
        first = indptr[i]
        for c in range(x.shape[1]):
            x[i, c] /= data[first]
            for e in range(first + 1, indptr[i + 1]):
                x[indices[e], c] -= data[e] * x[i, c]
