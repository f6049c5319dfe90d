"""Standard errors: from information on parameters to components, and on to functions of them (delta method)."""

from __future__ import annotations

import numpy as np

from bayesmv.arrays import Array
from bayesmv.numerics.symmetric import packed_rows

#: Eigenvalues of the scaled information below which the data say nothing about a direction.
_NO_INFORMATION = 1e-7


def propagate(J: Array, information: Array) -> Array:
    """``J I⁺ J'``, NaN in the rows and columns of components that move along directions without information.

    Parameters that move no component (J has a null column: they are on the boundary) are left out.
    """
    moving = np.linalg.norm(J, axis=0) > 1e-5
    J, information = J[:, moving], information[np.ix_(moving, moving)]
    size = np.sqrt(np.maximum(np.diag(information), 1e-300))
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    known = values > _NO_INFORMATION
    directions = (J / size) @ vectors
    out = np.asarray((directions[:, known] / values[known]) @ directions[:, known].T)
    reach = np.linalg.norm(directions[:, ~known], axis=1)
    lost = reach > 1e-4 * np.linalg.norm(directions, axis=1)
    out[lost] = np.nan
    out[:, lost] = np.nan
    return out


def standard_error(V: Array, gradient: Array) -> float:
    """``sqrt(g'V g)`` by the delta method; NaN where g needs a component that is not identified."""
    used = gradient != 0
    variance = float(gradient[used] @ V[np.ix_(used, used)] @ gradient[used])
    return float(np.sqrt(max(variance, 0.0))) if np.isfinite(variance) else float("nan")


def component_gradient(sigma: Array, i: int, j: int, as_correlation: bool) -> tuple[float, Array]:
    """Covariance or correlation (i, j) of a matrix, and its derivative by the packed lower triangle."""
    gradient = np.zeros_like(sigma)
    if not as_correlation:
        gradient[i, j] = 1.0
        return float(sigma[i, j]), gradient[packed_rows(len(sigma))]
    product = np.sqrt(sigma[i, i] * sigma[j, j])
    if product <= 0:
        return float("nan"), gradient[packed_rows(len(sigma))]
    r = sigma[i, j] / product
    gradient[i, j] = 1.0 / product
    gradient[i, i] = -0.5 * r / sigma[i, i]
    gradient[j, j] = -0.5 * r / sigma[j, j]
    return float(r), gradient[packed_rows(len(sigma))]
