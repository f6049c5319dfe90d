"""The log posterior flattened for compiled code: places of the parameters in the factors, and the priors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmv.arrays import Array, IntArray
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.priors.density import row_weights


class DensityLayout(NamedTuple):
    """Layout of the unconstrained vector in the factors L_k, and the priors on them.

    Parameters
    ----------
    anchor
        Scale that every parameter is anchored to (:mod:`bayesmv.posterior.coordinates`), (d,).
    unit
        Units of the planar coordinates, for every scale in its place, (d,).
    block, row, col, parameter, weight
        Where the parameters stand in the factors: each entry is a sum of weighted parameters.
    size
        Size of each matrix (B,).
    c, b
        Row weights of the priors, (B, m).
    a
        Weights of log|θ|, (d,).
    nu, scale
        Degrees of freedom, infinite for a half-normal one, and scale of the half-t priors, (B,).
    folded
        1 where single scales are folded, 0 where they are on a half-line.
    """

    anchor: IntArray
    unit: Array
    block: IntArray
    row: IntArray
    col: IntArray
    parameter: IntArray
    weight: Array
    size: IntArray
    c: Array
    b: Array
    a: Array
    nu: Array
    scale: Array
    folded: int


def density_layout(posterior: LogPosterior, matrices: int | None = None) -> DensityLayout:
    """Flatten the structures and priors of a posterior in planar coordinates; of its first matrices where so said."""
    if posterior.unit is None:
        raise ValueError("the compiled density is that of planar coordinates: give the posterior units")
    blocks = posterior.blocks
    structures = blocks.structures[:matrices]
    sizes = np.array([s.size for s in structures], dtype=np.int64)
    weights = np.zeros((2, len(sizes), sizes.max(initial=0)))
    powers: list[Array] = []
    places: list[IntArray] = []
    loads: list[Array] = []
    half_t: list[tuple[float, float]] = []
    priors = [posterior.priors[name] for name in posterior.design.names]
    for k, (structure, at, prior) in enumerate(zip(structures, blocks.slices, priors, strict=False)):
        own = row_weights(structure, prior)
        if structure.placement is None or own is None:
            raise TypeError(f"no compiled density for the structure {structure.name}")
        if prior.sd.compiled is None:
            raise TypeError(f"no compiled density for the prior {prior.sd.describe()}")
        rows, cols, parameters, own_weights = structure.placement
        loads.append(own_weights)
        half_t.append(prior.sd.compiled)
        places.append(np.stack([np.full(len(rows), k), rows, cols, parameters + at.start]))
        weights[:, k, : structure.size] = own.c, own.b
        powers.append(own.a)
    block, row, col, parameter = np.concatenate(places, axis=1)
    return DensityLayout(
        anchor=blocks.anchor,
        unit=posterior.unit,
        block=block,
        row=row,
        col=col,
        parameter=parameter,
        weight=np.concatenate(loads),
        size=sizes,
        c=weights[0],
        b=weights[1],
        a=np.concatenate(powers),
        nu=np.array([nu for nu, _ in half_t]),
        scale=np.array([scale for _, scale in half_t]),
        folded=1,
    )
