"""Fixed effects and breeding values drawn back, given draws of the covariances."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.errors import SpecError, listing
from bayesmv.likelihood import MixedModelLikelihood
from bayesmv.likelihood.protocol import Solution

type Wanted = bool | Sequence[str] | Mapping[str, Collection[Any] | None]


def wanted_effects(design: Design, effects: Wanted) -> dict[str, npt.NDArray[np.intp]] | None:
    """Positions of the levels that are wanted, by name of the term; None if no effects are.

    Raises
    ------
    SpecError
        If a term or a level does not exist.
    """
    if effects is False:
        return None
    if effects is True:
        effects = [term.name for term in design.terms]
    names = [effects] if isinstance(effects, str) else list(effects)
    chosen = effects if isinstance(effects, Mapping) else dict.fromkeys(names)
    return {name: _positions(design, name, chosen[name]) for name in names}


def _positions(design: Design, name: str, levels: Collection[Any] | None) -> npt.NDArray[np.intp]:
    term = design.term(name)
    if levels is None:
        return np.arange(len(term.levels))
    known = {str(level): position for position, level in enumerate(term.levels)}
    absent = [level for level in levels if str(level) not in known]
    if absent:
        raise SpecError(f"no level {listing(absent)} of '{name}'; levels: {listing(term.levels)}")
    return np.array([known[str(level)] for level in levels], dtype=np.intp)


def effect_dataset(
    design: Design, theta: Array, wanted: Mapping[str, npt.NDArray[np.intp]], rng: np.random.Generator
) -> xr.Dataset:
    """Draw fixed and random effects from their exact distribution given every draw of the covariances.

    Parameters
    ----------
    design
        The design.
    theta
        Draws of the covariance parameters, (chains, draws, d).
    wanted
        Positions of the levels to keep, by name of the term.
    rng
        Source of the random numbers.

    Returns
    -------
    Dataset
        ``fixed`` (chain, draw, coefficient) and ``<term>_effect`` (chain, draw, level, trait), in the units of the
        data.
    """
    equations = MixedModelLikelihood.whole(design)

    def solution(index: tuple[int, ...]) -> Solution:
        return equations.draw(design.blocks.matrices(theta[index]), rng)

    return as_dataset(design, theta.shape[:2], wanted, wanted, solution)


def kept_levels(posterior: xr.Dataset, term: TermDesign, needed: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Positions, among the levels of a term, of those whose effects a posterior holds, in its order.

    Raises
    ------
    SpecError
        If effects of levels that are needed are not among them.
    """
    held = posterior[dims.level_dim(term.name)].to_numpy() if dims.effect_name(term.name) in posterior else ()
    position = {str(level): i for i, level in enumerate(term.levels)}
    found = np.array([position[str(level)] for level in held], dtype=np.intp)
    if missing := [str(term.levels[int(i)]) for i in np.setdiff1d(needed, found)]:
        raise SpecError(
            f"the posterior holds no effects of {listing(missing, 5)} of '{term.name}', which are drawn with the "
            f"covariances where traits are not Gaussian; sample with effects=True"
        )
    return found


def as_dataset(
    design: Design,
    shape: tuple[int, ...],
    wanted: Mapping[str, npt.NDArray[np.intp]],
    rows: Mapping[str, npt.NDArray[np.intp]],
    solution_of: Callable[[tuple[int, ...]], Solution],
) -> xr.Dataset:
    """Dataset of effects, in the units of the data.

    Parameters
    ----------
    design
        The design.
    shape
        Chains and draws.
    wanted
        Positions of the levels to keep, by name of the term.
    rows
        Rows of the solutions that are these levels.
    solution_of
        Effects of a draw, in working units.
    """
    fixed = np.empty((*shape, int(design.fixed.present.sum())))
    random = {t: np.empty((*shape, len(at), len(design.term(t).effects))) for t, at in wanted.items()}
    for index in np.ndindex(*shape):
        solution = solution_of(index)
        fixed[index] = (design.fixed.ols + solution.fixed * design.scale)[design.fixed.present]
        for t, at in rows.items():
            random[t][index] = solution.random[design.position(t)][at] * design.effect_scale(t)
    labels = [f"{trait}:{variable}" for trait, variable in design.fixed.coefficients(design.traits)]
    variables: dict[str, Any] = {dims.FIXED: ((dims.CHAIN, dims.DRAW, dims.COEFFICIENT), fixed)}
    coords: dict[str, Any] = {dims.COEFFICIENT: labels}
    for t, values in random.items():
        trait, _ = dims.effect_dims(t, design.term(t).effects, design.traits)
        variables[dims.effect_name(t)] = ((dims.CHAIN, dims.DRAW, dims.level_dim(t), trait), values)
        coords[dims.level_dim(t)] = [str(level) for level in design.term(t).levels[wanted[t]]]
    return xr.Dataset(variables, coords)


def effect_moments(design: Design, covariances: Sequence[Sequence[Array]], term: str) -> tuple[Array, Array, Array]:
    """Posterior mean, variance and prior variance of the effects of a term, accumulated over draws of the covariances.

    ``E u = mean E(u | Σ)`` and ``var u = mean var(u | Σ) + var E(u | Σ)``: exact conditional moments, so that a few
    hundred draws of Σ suffice and no array of draws × levels is made.

    Parameters
    ----------
    design
        The design.
    covariances
        For every draw the scaled matrices in the order of ``design.names``.
    term
        Name of the term.

    Returns
    -------
    mean, variance, prior variance
        (levels, effects) each, in the units of the data.
    """
    equations, k, part = MixedModelLikelihood.whole(design), design.position(term), design.term(term)
    shape = (len(part.levels), len(part.effects))
    mean, spread, within, prior = (np.zeros(shape) for _ in range(4))
    for n, sigmas in enumerate(covariances, start=1):
        within += np.diagonal(equations.prediction_error(sigmas)[k], axis1=1, axis2=2)
        u = equations.solve(sigmas).random[k]
        step = u - mean
        mean += step / n
        spread += step * (u - mean)
        prior += part.level_variance[:, None] * np.diag(sigmas[k])
    unit = design.effect_scale(term)
    n = len(covariances)
    return mean * unit, (within + spread) / n * unit**2, prior / n * unit**2
