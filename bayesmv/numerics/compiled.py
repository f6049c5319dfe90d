"""Compilation of kernels: kept on disk, only where the data are large enough to repay it, apart from their callers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, update_wrapper
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic

from bayesmv.numerics.kernel_cache import KernelCache

#: Flags of floating-point sums: they may be reordered (vectorised), but NaN and infinity keep their meaning.
FAST = {"reassoc", "contract", "arcp"}

#: Numbers in the arrays of a call below which Python (a fifth of a second) is quicker than to compile.
SMALL = 20000


def njit(function: Callable[..., Any] | None = None, *, cache: bool = False, **options: Any) -> Any:
    """Decorator of kernels, as ``numba.njit``; `cache` keeps what was compiled in a :class:`KernelCache`."""
    if function is None:
        return lambda kernel: njit(kernel, cache=cache, **options)
    kernel = numba.njit(**options)(function)
    if cache:
        kernel._cache = KernelCache(function, options)
    return kernel


def cfunc(signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of C functions, as ``numba.cfunc``, kept in a :class:`KernelCache`."""

    def compiled(function: Callable[..., Any]) -> Any:
        made: Any = CFunc(function, normalize_signature(signature), locals={}, options=options)
        made._cache = KernelCache(function, options)
        made.compile()
        return made

    return compiled


class CompiledWhenLarge:
    """Kernel that runs once per model: interpreted on small arrays, by numba on large ones.

    Compiling takes seconds and loading compiled code from disk hundredths of one, more than a trial of some hundred
    plots needs in Python. Kernels that it calls are interpreted along with it. Compiled code cannot call it.

    Parameters
    ----------
    kernel
        Function of arrays and numbers that numba can compile; it finds other kernels among the globals of its module.
    """

    def __init__(self, kernel: Callable[..., Any]) -> None:
        update_wrapper(self, kernel)
        self.compiled = njit(cache=True)(kernel)

    @cached_property
    def interpreted(self) -> Callable[..., Any]:
        """Kernel in Python, whatever the size."""
        return _interpreted(self.compiled)

    def __call__(self, *arguments: Any) -> Any:
        """Run in the way that answers sooner."""
        size = sum(a.size for a in arguments if isinstance(a, np.ndarray))
        return (self.interpreted if size < SMALL else self.compiled)(*arguments)


def _interpreted(kernel: Dispatcher) -> Callable[..., Any]:
    """Python function of a compiled kernel, with Python functions for the kernels that it calls."""
    function = kernel.py_func
    names = function.__globals__
    called = {n: _interpreted(names[n]) for n in function.__code__.co_names if isinstance(names.get(n), Dispatcher)}
    return FunctionType(function.__code__, names | called, function.__name__, function.__defaults__)


@intrinsic
def apart(typing_context):  # type: ignore[no-untyped-def]
    """Keep the compiled function that calls this apart from its callers, not copied into them.

    numba optimises a function again with every function that calls it; copied into a long one, the loops of the
    factorisation come out a sixth slower.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.none(), generate
