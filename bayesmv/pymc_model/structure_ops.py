"""Covariance structures and their priors as operations of PyTensor, for structures without a graph of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceStructure
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.density import log_prior
from bayesmv.pymc_model.fallback import runs_in_python


@runs_in_python
class StructureMatrix(Op):
    """Σ(θ) (m, m) of a structure; dΣ/dθ (n_parameters, m, m) is the second output of the node, for the gradient."""

    default_output = 0
    __props__ = ("structure",)

    def __init__(self, structure: CovarianceStructure) -> None:
        self.structure = structure

    def make_node(self, theta: Any) -> Apply:
        """Apply to θ (n_parameters,)."""
        return Apply(self, [pt.as_tensor_variable(theta, ndim=1, dtype="float64")], [pt.dmatrix(), pt.dtensor3()])

    def perform(self, node: Any, inputs: Sequence[Array], output_storage: list[list[Any]]) -> None:
        """Evaluate the structure."""
        (theta,) = inputs
        output_storage[0][0] = np.ascontiguousarray(self.structure.matrix(theta))
        output_storage[1][0] = np.ascontiguousarray(self.structure.jacobian(theta))

    def pullback(self, inputs: Sequence[Any], outputs: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """Σ_ab cotangent_ab dΣ_ab/dθ."""
        by_sigma, by_jacobian = cotangents
        if not isinstance(by_jacobian.type, DisconnectedType):
            return [grad_not_implemented(self, 0, inputs[0])]
        return [pt.sum(outputs[1] * by_sigma, axis=(1, 2))]

    def infer_shape(self, node: Any, input_shapes: Sequence[Any]) -> list[Any]:
        """Shapes of Σ and of dΣ/dθ."""
        m = self.structure.size
        return [(m, m), (self.structure.n_parameters, m, m)]


@runs_in_python
class StructurePrior(Op):
    """Log prior density of θ, a scalar, up to a constant; its gradient is the second output of the node."""

    default_output = 0

    # No properties: a prior that a user wrote need not have a hash.
    def __init__(self, structure: CovarianceStructure, prior: CovariancePrior) -> None:
        self.structure, self.prior = structure, prior

    def make_node(self, theta: Any) -> Apply:
        """Apply to θ (n_parameters,)."""
        return Apply(self, [pt.as_tensor_variable(theta, ndim=1, dtype="float64")], [pt.dscalar(), pt.dvector()])

    def perform(self, node: Any, inputs: Sequence[Array], output_storage: list[list[Any]]) -> None:
        """Evaluate the prior."""
        value, gradient = log_prior(self.structure, self.prior, inputs[0])
        output_storage[0][0], output_storage[1][0] = np.asarray(value), np.asarray(gradient)

    def pullback(self, inputs: Sequence[Any], outputs: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """Gradient times the cotangent of the value."""
        by_value, by_gradient = cotangents
        if not isinstance(by_gradient.type, DisconnectedType):
            return [grad_not_implemented(self, 0, inputs[0])]
        return [by_value * outputs[1]]

    def infer_shape(self, node: Any, input_shapes: Sequence[Any]) -> list[Any]:
        """Shapes of the value and the gradient."""
        return [(), (self.structure.n_parameters,)]
