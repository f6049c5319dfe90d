"""Compiled log densities that the sampler calls directly, with no Python in between and no interpreter lock.

The sampler knows a C function and a pointer that it hands through. Behind the pointer lie copies of a tuple of arrays
and numbers, as numba lays them out in memory. All threads get the same pointer; each call claims a copy for itself, for
a copy contains the scratch memory that the function writes to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray, typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

from bayesmv.arrays import Array
from bayesmv.numerics.compiled import cfunc, njit

type Contents = tuple[Any, ...]

_REAL = types.CPointer(types.float64)
#: What the sampler expects of a log density: (length, x, gradient, value, data) -> 0, or positive if not finite.
_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)
_NOT_FINITE = 3


class DirectDensity:
    """Log density as a C function of a point and a pointer to data.

    Parameters
    ----------
    function
        ``function(length, x, gradient, value, copies)``, to be compiled: the length of x, pointers to float64, and one
        to the copies. It claims a copy, and returns what :func:`report` does.
    copies
        The data, once for each thread that may call at the same time: tuples of arrays, numbers and such tuples, all of
        the same type. The first item of each is the same array of zeros (int64), one for each copy, by which
        :func:`claim` and :func:`report` know which copies are in use.
    keep
        ``keep(length, kept, x, out, copies)``, to be compiled: writes what a sampler is to keep of x and returns 0. By
        default all of it.
    kept
        How many numbers these are.
    """

    def __init__(
        self,
        function: Callable[..., int],
        copies: Sequence[Contents],
        keep: Callable[..., int] | None = None,
        kept: int | None = None,
    ) -> None:
        kind, *others = {typeof(copy) for copy in copies}
        if others:
            raise TypeError("the copies differ in type")
        self._copies = copies  # the arrays must outlive their addresses
        words = [list(_words(copy)) for copy in copies]
        #: The copies in memory.
        self.data: npt.NDArray[np.int64] = np.array(words, dtype=np.int64)
        self._compiled = _compiled(function, kind)
        #: C function of what is kept, and how many numbers that are, None for as many as x has.
        self.keep, self.kept = copy_point() if keep is None else _keeping(keep, kind), kept
        self._call, self._data_at = _PROTOTYPE(self.address), self.data.ctypes.data

    @property
    def address(self) -> int:
        """Address of the function."""
        return int(self._compiled.address)

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Value and gradient at x (d,); -inf and zeros where they are not finite."""
        x = np.ascontiguousarray(x, dtype=float)
        value, gradient = np.empty(1), np.zeros(len(x))
        code = self._call(len(x), *(a.__array_interface__["data"][0] for a in (x, gradient, value)), self._data_at)
        return (-np.inf, np.zeros(len(x))) if code else (float(value[0]), gradient)


@lru_cache
def _compiled(function: Callable[..., int], kind: types.Type) -> Any:
    signature = types.int64(types.uint64, _REAL, _REAL, _REAL, types.CPointer(kind))
    return cfunc(signature, error_model="numpy")(function)


@lru_cache
def _keeping(keep: Callable[..., int], kind: types.Type) -> Any:
    signature = types.int64(types.uint64, types.uint64, _REAL, _REAL, types.CPointer(kind))
    return cfunc(signature, error_model="numpy")(keep)


@lru_cache
def copy_point() -> Any:
    """C function (length, length, z, out, data) -> 0 that the sampler asks for what it is to keep of z: all of it."""
    signature = types.int64(types.uint64, types.uint64, _REAL, _REAL, types.voidptr)
    return cfunc(signature)(_copy_point)


def _copy_point(length, kept, z, out, data):  # type: ignore[no-untyped-def]
    for p in range(length):
        out[p] = z[p]
    return 0


def _words(item: Any) -> Iterator[int]:
    """Return an item as numba lays it out in memory, in words of 64 bits; arrays own nothing."""
    if isinstance(item, tuple):
        for part in item:
            yield from _words(part)
    elif isinstance(item, np.ndarray):
        yield from (0, 0, item.size, item.itemsize, item.ctypes.data, *item.shape, *item.strides)
    else:
        yield int(np.asarray(item, dtype=type(item)).reshape(1).view(np.int64)[0])


@intrinsic
def _exchange(typing_context, flags, i, new):  # type: ignore[no-untyped-def]
    """Write new to flags[i] and return what was there, as one step for all threads."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = cgutils.get_item_pointer(context, builder, signature.args[0], array, [arguments[1]])
        return builder.atomic_rmw("xchg", place, arguments[2], "seq_cst")

    return types.int64(flags, types.int64, types.int64), generate


@njit(inline="always")
def claim(copies):  # type: ignore[no-untyped-def]
    """Number of a copy that no other thread uses; it is in use until :func:`report`."""
    flags, i = copies[0][0], 0
    while _exchange(flags, i, 1) != 0:
        i = (i + 1) % len(flags)
    return i


@njit(inline="always")
def report(copies, i, found, gradient_at, value_at):  # type: ignore[no-untyped-def]
    """Write (value, gradient) where the sampler reads them and set copy i free; 0, or a code if they are not finite."""
    value, gradient = found
    out = carray(gradient_at, (len(gradient),))
    for p in range(len(gradient)):
        if not np.isfinite(gradient[p]):
            value = np.nan
        out[p] = gradient[p]
    value_at[0] = value
    _exchange(copies[0][0], i, 0)
    return 0 if np.isfinite(value) else _NOT_FINITE
