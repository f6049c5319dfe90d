"""Operations that stay in Python under PyTensor's numba back end, where an unknown one would bring a warning."""

from __future__ import annotations

import warnings
from typing import Any

from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import generate_fallback_impl, numba_funcify


def runs_in_python[T: type[Op]](operation: T) -> T:
    """Declare that numba calls the operation's ``perform`` in object mode, and that this is meant.

    The call takes the interpreter lock (some microseconds); compiled kernels inside ``perform`` give it back. PyTensor
    cannot cache a compiled graph with such an operation, so each model is compiled anew.
    """

    @numba_funcify.register(operation)
    def _(op: Op, node: Any = None, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Numba will use object mode", UserWarning)
            return generate_fallback_impl(op, node, **kwargs)

    return operation
