"""The unconstrained coordinates of the package as a transform of PyMC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytensor.tensor as pt
from pymc.logprob.transforms import Transform

from bayesmv.posterior.coordinates import Coordinates


class UnconstrainedRows(Transform):
    """Map x → θ of :class:`bayesmv.posterior.coordinates.Coordinates`, on vectors (d,).

    A value variable is then x as ``LogPosterior`` has it: the logarithm of a standard deviation
    for a scale, for other parameters of its row the inverse hyperbolic sine of their ratio to the scale, Fisher's z for
    an angle of a correlation.

    Parameters
    ----------
    coordinates
        The map.
    """

    name = "unconstrained"
    ndim_supp = 1

    def __init__(self, coordinates: Coordinates) -> None:
        self._anchor = coordinates.anchor
        self._off, self._scales = coordinates.anchored, coordinates.scales.nonzero()[0]
        self._angles, self._logs = coordinates.angles.nonzero()[0], coordinates.logs.nonzero()[0]

    def backward(self, value: Any, *inputs: Any) -> Any:
        """θ(x), (d,)."""
        # A copy, because PyMC gives the result a name of its own.
        theta = _replaced(
            pt.basic.tensor_copy(value), self._scales, lambda _: pt.exp(self._log_scales(value)[self._scales])
        )
        theta = _replaced(theta, self._angles, lambda x: pt.arctan(pt.sinh(x)))
        theta = _replaced(theta, self._logs, pt.exp)
        if not len(self._off):
            return theta
        return theta[self._off].set(theta[self._anchor[self._off]] * pt.sinh(value[self._off]))

    def forward(self, value: Any, *inputs: Any) -> Any:
        """x(θ), (d,)."""
        off, scales = self._off, self._scales
        square = self._add_to_scales(value**2, value[off] ** 2)
        x = _replaced(value, scales, lambda _: 0.5 * pt.log(square[scales]))
        x = _replaced(x, self._angles, lambda theta: pt.arcsinh(pt.tan(theta)))
        x = _replaced(x, self._logs, pt.log)
        return x[off].set(pt.arcsinh(value[off] / value[self._anchor[off]])) if len(off) else x

    def log_jac_det(self, value: Any, *inputs: Any) -> Any:
        """log|dθ/dx|, a scalar."""
        log_scales = self._log_scales(value)
        total = pt.sum(log_scales[self._scales]) + pt.sum(value[self._logs])
        total -= pt.sum(pt.log(pt.cosh(value[self._angles])))
        if not len(self._off):
            return total
        return total + pt.sum(log_scales[self._anchor[self._off]] + pt.log(pt.cosh(value[self._off])))

    def _log_scales(self, value: Any) -> Any:
        """log θ_d in the places of the scales, (d,)."""
        square = self._add_to_scales(pt.ones_like(value), pt.sinh(value[self._off]) ** 2)
        return value - 0.5 * pt.log(square)

    def _add_to_scales(self, vector: Any, amounts: Any) -> Any:
        """Add the amounts of the anchored parameters to their scales."""
        return vector[self._anchor[self._off]].inc(amounts) if len(self._off) else vector


def _replaced(vector: Any, at: npt.NDArray[np.intp], change: Callable[[Any], Any]) -> Any:
    """Vector with the entries `at` changed."""
    return vector[at].set(change(vector[at])) if len(at) else vector
