"""The log posterior flattened for compiled code: places of the parameters in the factors, and the priors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmv.arrays import Array, IntArray
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.priors.density import row_weights


class DensityLayout(NamedTuple):
    """How the unconstrained vector makes up the factors L_k, and the priors on them.

    Parameters
    ----------
    anchor
        Scale that every parameter is anchored to (:mod:`bayesmv.posterior.coordinates`), (d,).
    unit
        Unit of the planar coordinates.
    block, row, col, parameter
        Where every nonzero entry of the factors stands, and the parameter that it is.
    size
        Size of each matrix (B,).
    c, a, b, diagonal
        Row weights of the priors, and the column of the diagonal entry of each row, (B, m).
    nu, scale
        Degrees of freedom and scale of the half-t priors, (B,).
    """

    anchor: IntArray
    unit: float
    block: IntArray
    row: IntArray
    col: IntArray
    parameter: IntArray
    size: IntArray
    c: Array
    a: Array
    b: Array
    diagonal: IntArray
    nu: Array
    scale: Array


def density_layout(posterior: LogPosterior) -> DensityLayout:
    """Flatten the structures and priors of a posterior in planar coordinates."""
    if posterior.unit is None:
        raise ValueError("the compiled density is that of planar coordinates: give the posterior a unit")
    blocks = posterior.blocks
    sizes = np.array([s.size for s in blocks.structures])
    weights = np.zeros((4, len(sizes), sizes.max()))
    places: list[IntArray] = []
    half_t: list[tuple[float, float]] = []
    priors = [posterior.priors[name] for name in posterior.design.names]
    for k, (structure, at, prior) in enumerate(zip(blocks.structures, blocks.slices, priors, strict=True)):
        own = row_weights(structure, prior)
        if structure.placement is None or own is None:
            raise TypeError(f"no compiled density for the structure {structure.name}")
        if prior.sd.compiled is None:
            raise TypeError(f"no compiled density for the prior {prior.sd.describe()}")
        rows, cols, parameters = structure.placement
        half_t.append(prior.sd.compiled)
        places.append(np.stack([np.full(len(rows), k), rows, cols, parameters + at.start]))
        weights[:, k, : structure.size] = own
    block, row, col, parameter = np.concatenate(places, axis=1)
    return DensityLayout(
        anchor=blocks.anchor,
        unit=posterior.unit,
        block=block,
        row=row,
        col=col,
        parameter=parameter,
        size=sizes,
        c=weights[0],
        a=weights[1],
        b=weights[2],
        diagonal=weights[3].astype(np.int64),
        nu=np.array([nu for nu, _ in half_t]),
        scale=np.array([scale for _, scale in half_t]),
    )
