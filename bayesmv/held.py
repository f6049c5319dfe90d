"""Arrays that compiled code keeps between its calls.

numba takes every array of an argument out of its Python object at every call, some 0.3 µs each: for the fifty of a
density that is a fifth of its time on a trial of some hundred plots. Held, they are taken out once.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.experimental import structref


@structref.register
class HeldType(types.StructRef):  # type: ignore[misc]
    """numba's type of :class:`Held`."""


class Held(structref.StructRefProxy):  # type: ignore[misc]
    """A tuple of arrays, numbers and tuples of them; compiled code reads it as ``held.content``.

    The arrays are shared, not copied.

    Parameters
    ----------
    content
        The tuple.
    """

    def __new__(cls, content: tuple[Any, ...]) -> Held:
        return _hold(content)  # type: ignore[no-any-return]


structref.define_proxy(Held, HeldType, ["content"])


@njit(cache=True)
def _hold(content):  # type: ignore[no-untyped-def]
    # Called from a function that is cached, the constructor is compiled once, not by every process.
    return Held(content)
