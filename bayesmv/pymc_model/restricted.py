"""The restricted log-likelihood as an operation of PyTensor."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op

from bayesmv.arrays import Array
from bayesmv.likelihood import RestrictedLikelihood
from bayesmv.pymc_model.fallback import runs_in_python


@runs_in_python
class RestrictedLogLikelihood(Op):
    """Restricted log-likelihood l(Σ_1 … Σ_K, R), a scalar, of matrices (m_k, m_k) in phenotypic-sd units.

    The engine finds l and dl/dΣ_k together, so both are outputs of one operation: calling it returns l, and the
    gradient uses the other outputs of the same node. A sampler thus pays for one evaluation, not two. There is no
    second derivative.

    Where V is singular, or a matrix is not finite, l is -inf and its gradient 0.

    Every thread evaluates on a fork of the engine, because engines have scratch memory; pickling takes the engine
    along.

    Parameters
    ----------
    engine
        The engine.
    """

    default_output = 0

    def __init__(self, engine: RestrictedLikelihood) -> None:
        self.engine = engine
        self._forks = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {"engine": self.engine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.engine = state["engine"]
        self._forks = threading.local()

    def __str__(self) -> str:
        return f"{type(self).__name__}{{{self.engine.name}}}"

    def make_node(self, *sigmas: Any) -> Apply:
        """Apply to matrices Σ_1 … Σ_K, R; the outputs are l and the dl/dΣ_k."""
        inputs = [pt.as_tensor_variable(S, ndim=2, dtype="float64") for S in sigmas]
        return Apply(self, inputs, [pt.dscalar(), *(S.type() for S in inputs)])

    def perform(self, node: Any, inputs: Sequence[Array], output_storage: list[list[Any]]) -> None:
        """Evaluate the engine."""
        value, gradients = self._evaluate(inputs)
        for storage, result in zip(output_storage, [np.asarray(value), *gradients], strict=True):
            storage[0] = result

    def pullback(self, inputs: Sequence[Any], outputs: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """dl/dΣ_k times the cotangent of l."""
        by_value, *by_gradients = cotangents
        if not all(isinstance(c.type, DisconnectedType) for c in by_gradients):
            return [grad_not_implemented(self, k, S) for k, S in enumerate(inputs)]
        return [by_value * G for G in outputs[1:]]

    def infer_shape(self, node: Any, input_shapes: Sequence[Any]) -> list[Any]:
        """Shapes of l and of the gradients."""
        return [(), *input_shapes]

    def _evaluate(self, sigmas: Sequence[Array]) -> tuple[float, Sequence[Array]]:
        if not hasattr(self._forks, "engine"):
            self._forks.engine = self.engine.fork()
        value, gradients = -np.inf, [np.zeros_like(S) for S in sigmas]
        if all(np.isfinite(S).all() for S in sigmas):
            value, found = self._forks.engine.value_and_gradient(sigmas)
            gradients = found if np.isfinite(value) else gradients
        return value, gradients
