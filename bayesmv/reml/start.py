"""Start values of REML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance.blocks import CovarianceBlocks
from bayesmv.covariance.linear import Unstructured
from bayesmv.design.design import Design
from bayesmv.errors import SpecError, require_known
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.numerics.newton import climb
from bayesmv.reml.maximise import RestrictedObjective

#: Steps of the pilot fit with unstructured matrices, and what loadings and specific sd then start from at least.
_PILOT_STEPS = 8
_OFF_ZERO = 0.05
#: Largest angle of a correlation at the start (0.93 of the way to the end of its interval).
_WIDEST_START = 1.2


def start_values(design: Design, engine: RestrictedLikelihood, given: Mapping[str, Array]) -> Array:
    """θ at the start values given, or at an even split of the phenotypic variances."""
    share = 0.5 / max(len(design.terms), 1)
    default = {t.name: np.diag(share * design.effect_scale(t.name) ** 2) for t in design.terms}
    default[design.names[-1]] = np.diag((0.5 if design.terms else 1.0) * design.effect_scale(design.names[-1]) ** 2)
    require_known(given, default, "start values for {}; terms")
    sigmas = [working_covariance(design, name, given.get(name, default[name])) for name in default]
    blind = [s.needs_pilot and n not in given for n, s in zip(design.names, design.blocks.structures, strict=True)]
    if any(blind):
        theta = _piloted(engine, design.blocks, _lift(sigmas), blind)
    else:
        theta = design.blocks.from_matrices(_lift(sigmas))
    return design.blocks.inside(theta, _WIDEST_START)


def restarts(design: Design, start: Array, given: Mapping[str, Array]) -> list[Array]:
    """Other θ to start from than `start`, where the likelihood may have several maxima; none for terms `given`."""
    blocks, out = design.blocks, list[Array]()
    for name, s, at in zip(design.names, blocks.structures, blocks.slices, strict=True):
        for k, other in enumerate(() if name in given else s.restarts(start[at])):
            if k == len(out):
                out.append(start.copy())
            out[k][at] = other
    return out


def _piloted(
    engine: RestrictedLikelihood, blocks: CovarianceBlocks, sigmas: Sequence[Array], blind: Sequence[bool]
) -> Array:
    """θ after some steps with structures unstructured that have no start of their own."""
    pairs = zip(blocks.structures, blind, strict=True)
    pilot = CovarianceBlocks(tuple(Unstructured(s.size) if b else s for s, b in pairs))
    found = climb(RestrictedObjective(engine, pilot), pilot.from_matrices(sigmas), _PILOT_STEPS)
    theta = blocks.from_matrices(_lift(pilot.matrices(found.theta)))
    for s, at, b in zip(blocks.structures, blocks.slices, blind, strict=True):
        # Where a loading or a specific sd is 0, the slope by it vanishes.
        theta[at] = np.where(b & s.positive & (theta[at] < _OFF_ZERO), _OFF_ZERO, theta[at])
    return theta


def working_covariance(design: Design, name: str, matrix: Array) -> Array:
    """Covariance (m, m) that a user gave for a term, checked, in working units."""
    scale = design.effect_scale(name)
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (len(scale), len(scale)) or not np.allclose(matrix, matrix.T):
        raise SpecError(f"the covariance of {name} must be a symmetric {len(scale)} × {len(scale)} matrix")
    scaled = design.to_working_units(name, matrix)
    if not np.isfinite(scaled).all() or np.linalg.eigvalsh(scaled)[0] < -1e-8 * max(
        float(np.max(np.abs(scaled))), 1e-300
    ):
        raise SpecError(f"the covariance of {name} must be positive semi-definite")
    return np.asarray(scaled)


def _lift(sigmas: Sequence[Array]) -> list[Array]:
    """Move start values off the boundary, where the gradient by θ vanishes."""
    return [S + np.diag(np.maximum(1e-3 - np.diag(S), 0.0)) for S in sigmas]
