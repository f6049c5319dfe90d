r"""Response to selection, and selection indices.

With additive genetic covariance G and phenotypic covariance P of the traits, economic weights w, and selection of the
best share of candidates (mean i standard deviations above all of them) on an index ``I = b'p``:

.. math::

    R = i\, \frac{G b}{\sqrt{b'Pb}}, \qquad r_{IH} = \frac{w'Gb}{\sqrt{b'Pb\; w'Gw}}

and the index with the greatest response in merit ``H = w'a`` is ``b = P⁻¹Gw`` (Smith 1936; Hazel 1943, Genetics
28:476-490). Under the restriction ``C'R = 0`` it is ``(1 - P⁻¹GC (C'GP⁻¹GC)⁻¹ C'G) P⁻¹Gw`` (Kempthorne & Nordskog 1959,
Biometrics 15:10-19); responses in proportions d have ``b = P⁻¹G (GP⁻¹G)⁻¹ d = G⁻¹d`` (Pesek & Baker 1969, Can. J. Plant
Sci. 49:803-804). Every function works over leading dimensions (…, t, t).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.estimates.genetic import GeneticParameter, genetic_matrices
from bayesmv.estimates.observed_scale import Rows, evaluated_on_data_scale, matrices_of_rows
from bayesmv.estimates.source import Estimates, estimates_of
from bayesmv.model.genetic import ADDITIVE_FACTOR, Genetic

#: What is selected: candidates by their own records, or families by their means.
type Unit = Literal["individual", "family"]
#: Scale of the records that are selected on and that respond.
type Scale = Literal["latent", "data"]


def selection_intensity(share: float, candidates: int | None = None) -> float:
    """Mean of the selected in standard deviations of all, of a normal distribution, ``i = φ(z) / share``.

    Parameters
    ----------
    share
        Share of the candidates that is selected.
    candidates
        Their number, for the correction of Burrows (1972), ``i - (1 - share) / (2 share (n + 1) i)``; None for many.

    Raises
    ------
    SpecError
        If the share is not between 0 and 1, or of fewer than one candidate.

    Examples
    --------
    >>> round(selection_intensity(0.05), 4), round(selection_intensity(0.1, 20), 4)
    (2.0627, 1.6316)
    """
    if not 0.0 < share <= 1.0:
        raise SpecError(f"a share of {share} cannot be selected; give one between 0 and 1")
    if share == 1.0:
        return 0.0
    i = float(np.exp(-0.5 * ndtri(share) ** 2) / np.sqrt(2.0 * np.pi) / share)
    if candidates is None:
        return i
    if share * candidates < 1.0:
        raise SpecError(f"a share of {share} of {candidates} candidates is less than one of them")
    return i - (1.0 - share) / (2.0 * share * (candidates + 1) * i)


def smith_hazel(G: Array, P: Array, weights: Array) -> Array:
    """Index of greatest response in merit, ``b = P⁻¹Gw``, (…, t)."""
    return np.asarray(np.linalg.solve(P, G @ weights[:, None])[..., 0])


def restricted(G: Array, P: Array, weights: Array, constraints: Array) -> Array:
    """Index of greatest response in merit that leaves ``C'R = 0``, C (t, c), (…, t)."""
    b = smith_hazel(G, P, weights)
    PGC = np.linalg.solve(P, G @ constraints)
    inside = np.swapaxes(G @ constraints, -1, -2) @ PGC
    held = np.linalg.solve(inside, np.swapaxes(G @ constraints, -1, -2) @ b[..., None])
    return np.asarray(b - (PGC @ held)[..., 0])


def desired_gains(G: Array, P: Array, gains: Array) -> Array:
    """Index whose responses stand in the proportions d, ``b = P⁻¹G (GP⁻¹G)⁻¹ d``, (…, t).

    Where some gains are NaN they are free: the index of greatest response in the direction of the others.
    """
    PG = np.linalg.solve(P, G)
    asked = np.flatnonzero(np.isfinite(gains))
    inside = (G @ PG)[..., asked, :][..., asked]
    solved = np.linalg.solve(inside, np.broadcast_to(gains[asked, None], (*G.shape[:-2], len(asked), 1)))
    return np.asarray((PG[..., asked] @ solved)[..., 0])


def response(G: Array, P: Array, index: Array, intensity: float) -> Array:
    """Response of every trait, ``i G b / √(b'Pb)``, (…, t)."""
    sd = np.sqrt(np.einsum("...i,...ij,...j->...", index, P, index))
    return np.asarray(intensity * np.einsum("...ij,...j->...i", G, index) / sd[..., None])


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Request to :func:`selection`, checked."""

    weights: Array
    build: Callable[[Array, Array], Array]
    intensity: float
    unit: Unit
    control: float
    interval: float | None
    records: Array | None


def selection(
    source: Any,
    weights: Mapping[str, float] | Sequence[float] | None = None,
    *,
    restrict: Sequence[str] = (),
    desired: Mapping[str, float] | None = None,
    index: Mapping[str, float] | Any = None,
    share: float = 0.05,
    candidates: int | None = None,
    unit: Unit = "individual",
    control: float = 1.0,
    interval: float | None = None,
    genetic: str | Genetic | None = None,
    relationship: str | None = None,
    scale: Scale = "latent",
    design: Design | None = None,
    max_draws: int = 400,
) -> pd.DataFrame:
    r"""Expected response to selection on an index, for every trait.

    Parameters
    ----------
    source
        A REML fit, or a posterior: then the distribution of the response.
    weights
        Economic weight of every trait, value of one unit of it; traits that are left out have 0. Selection on one trait
        alone (mass selection) is ``index={"height": 1}``.
    restrict
        Traits that are to stay as they are (Kempthorne & Nordskog).
    desired
        Proportions of the responses of some traits, in place of weights (Pesek & Baker).
    index
        The index itself, weights b of the traits' records; or another source, such as the REML fit: its index is used,
        and `regret` says what is lost against the best one of each draw.
    share, candidates
        Share that is selected, and of how many; see :func:`bayesmv.selection_intensity`.
    unit
        ``individual``: on own records. ``family``: on means of families, of the harmonic mean number of records that
        the data have: ``P = σ²_f + σ²_e / n`` with ``σ²_f`` of the genetic term, and the response of the family means.
    control
        Factor of parental control for families: 1 where selected families themselves are used (remnant seed), 2 where
        both parents of the next generation are selected from them, ½ where only one of unselected mates is.
    interval
        Years of a generation: responses by year too.
    genetic, relationship
        The genetic term; by default the one that the model states.
    scale
        Where traits are not Gaussian, ``data``: weights, index and responses are of the records themselves, classes
        and counts, by G and P of :func:`observed_scale`, to first order; ``latent``: of latent values and liabilities.
    design, max_draws
        For ``data``: the design of a posterior, and most of its draws to use.

    Returns
    -------
    DataFrame
        quantity (``index``: b; ``response``; ``response by sd``, in additive genetic standard deviations; ``response
        by year``; and of merit, ``merit``: ``w'R``; ``accuracy``: correlation of index and merit; ``regret``: ``1 -
        merit / best merit``), trait, and estimate, std_error, constraint for REML, mean, median, sd, hdi_low, hdi_high,
        … for a posterior. The index is that of each draw, unless it is given.

    Raises
    ------
    SpecError
        If not one of weights, desired and index says what to select for, a trait does not exist, or families, or on the
        index of another fit, are to be selected on the scale of the data.
    """
    require_known([scale], ("latent", "data"), "no scale {}; scales")
    estimates = estimates_of(source)
    chosen = estimates.genetic(genetic, relationship)
    w = _weights(estimates.traits, weights, desired, index)
    records = estimates.records_per_level(chosen.term)
    require_known([unit], ("individual", "family"), "no selection of {}; units")
    if unit == "family" and records is None:
        raise SpecError(f"the number of records per level of '{chosen.term}' is not known")
    plan = _Plan(
        weights=w,
        build=_builder(estimates.traits, w, restrict, desired),
        intensity=selection_intensity(share, candidates),
        unit=unit,
        control=control,
        interval=interval,
        records=records,
    )
    if scale == "data":
        if unit != "individual" or not (index is None or isinstance(index, dict)):
            raise SpecError("on the scale of the data individuals are selected, by weights or an index of numbers")
        return _on_data_scale(estimates, estimates.design_of(design), chosen, plan, index, max_draws)
    if index is not None:
        plan = replace(plan, build=_given(index, estimates, chosen, plan))

    def compute(covariances: Mapping[str, Array]) -> list[GeneticParameter]:
        return _responses(covariances, estimates, chosen, plan)

    table = estimates.evaluate(compute).rename(columns={"parameter": "quantity", "trait_i": "trait"})
    return table.drop(columns="trait_j")


def _on_data_scale(
    estimates: Estimates, design: Design, chosen: Genetic, plan: _Plan, index: Any, max_draws: int
) -> pd.DataFrame:
    """Table of :func:`selection` by G and P on the scale of the data."""
    if index is not None:
        plan = replace(plan, build=_given(index, estimates, chosen, plan))
    at = {trait: i for i, trait in enumerate(design.traits)} | {"all": -1}

    def of(rows: Rows) -> Rows:
        G, P = matrices_of_rows(rows, len(design.traits))
        return [
            (p.name, at[p.trait_i], at[p.trait_j], np.asarray(p.draws))
            for p in _responses_of(G, P, G, design.traits, plan)
        ]

    table = evaluated_on_data_scale(estimates, design, chosen, max_draws, of)
    return table.rename(columns={"parameter": "quantity", "trait_i": "trait"}).drop(columns="trait_j")


def _weights(
    traits: Sequence[str],
    weights: Mapping[str, float] | Sequence[float] | None,
    desired: Mapping[str, float] | None,
    index: Any,
) -> Array:
    """Economic weights, 0 where none are given, once it is clear what to select for."""
    if desired is not None and weights is not None:
        raise SpecError("give weights or desired gains, not both")
    if weights is None and desired is None and index is None:
        raise SpecError("what to select for? give weights={'height': 1.0, …}, desired={…}, or an index")
    return _by_trait({} if weights is None else weights, traits, "weights")


def _builder(
    traits: Sequence[str], weights: Array, restrict: Sequence[str], desired: Mapping[str, float] | None
) -> Callable[[Array, Array], Array]:
    """Index as a function of G and P."""
    require_known(restrict, traits, "'restrict' names {}, which is not a trait; traits")
    if desired is not None:
        if restrict:
            raise SpecError("a restricted trait has a desired gain of 0: name it so, and leave restrict out")
        gains = _by_trait(desired, traits, "desired gains", np.nan)
        return lambda G, P: desired_gains(G, P, gains)
    if len(restrict) >= len(traits):
        raise SpecError("all traits are restricted: nothing is left to select for")
    if not restrict:
        return lambda G, P: smith_hazel(G, P, weights)
    C = np.eye(len(traits))[:, [traits.index(t) for t in restrict]]
    return lambda G, P: restricted(G, P, weights, C)


def _given(index: Any, estimates: Estimates, chosen: Genetic, plan: _Plan) -> Callable[[Array, Array], Array]:
    """Index that does not depend on G and P: weights, or that of another fit."""
    if isinstance(index, dict):  # a DataTree is a Mapping too
        b = _by_trait(index, estimates.traits, "the index's weights")
    else:
        other = estimates_of(index)
        if other.traits != estimates.traits:
            raise SpecError(f"the index is of a fit of other traits, {listing(other.traits)}")
        b = plan.build(*_matrices(_means(other), other, chosen, plan))
    return lambda G, P: np.broadcast_to(b, G.shape[:-1])


def _means(estimates: Estimates) -> dict[str, Array]:
    """Estimated matrices, those of a posterior at its mean."""
    return {name: np.asarray(S).reshape(-1, *S.shape[-2:]).mean(axis=0) for name, S in estimates.covariances().items()}


def _by_trait(given: Any, traits: Sequence[str], what: str, absent: float = 0.0) -> Array:
    """Numbers of every trait, from a mapping or a sequence."""
    if isinstance(given, Mapping):
        require_known(given, traits, f"{what} name {{}}, which is not a trait; traits")
        return np.array([float(given.get(trait, absent)) for trait in traits])
    numbers: npt.NDArray[np.float64] = np.asarray(given, dtype=float)
    if numbers.shape != (len(traits),):
        raise SpecError(f"{what} are {numbers.size} numbers for {len(traits)} traits: {listing(traits)}")
    return numbers


def _matrices(
    covariances: Mapping[str, Array], estimates: Estimates, chosen: Genetic, plan: _Plan
) -> tuple[Array, Array]:
    """G between what is selected on and what responds, and P of what is selected on, (…, t, t)."""
    G, P = genetic_matrices(covariances, estimates.traits, chosen, estimates.layouts)
    if plan.unit == "individual":
        return G, P
    between = G / ADDITIVE_FACTOR[chosen.relationship]
    assert plan.records is not None
    n = np.sqrt(np.outer(plan.records, plan.records))
    layout, R = estimates.layouts.get(RESIDUAL), covariances[RESIDUAL]
    R = R if layout is None else layout.contribution(R, len(estimates.traits))
    return plan.control * between, between + R / n


def _responses(
    covariances: Mapping[str, Array], estimates: Estimates, chosen: Genetic, plan: _Plan
) -> list[GeneticParameter]:
    G, P = _matrices(covariances, estimates, chosen, plan)
    additive, _ = genetic_matrices(covariances, estimates.traits, chosen, estimates.layouts)
    return _responses_of(G, P, additive, estimates.traits, plan)


def _responses_of(G: Array, P: Array, additive: Array, traits: Sequence[str], plan: _Plan) -> list[GeneticParameter]:
    """Index, responses and merit at G between what is selected on and what responds, P, and the additive covariance."""
    b = plan.build(G, P)
    R = response(G, P, b, plan.intensity)
    sd = np.sqrt(np.diagonal(additive, axis1=-2, axis2=-1))
    out = [GeneticParameter("index", t, t, b[..., i]) for i, t in enumerate(traits)]
    out += [GeneticParameter("response", t, t, R[..., i]) for i, t in enumerate(traits)]
    out += [GeneticParameter("response by sd", t, t, R[..., i] / sd[..., i]) for i, t in enumerate(traits)]
    if plan.interval is not None:
        out += [GeneticParameter("response by year", t, t, R[..., i] / plan.interval) for i, t in enumerate(traits)]
    if np.any(plan.weights):
        w = plan.weights
        merit = R @ w
        best = response(G, P, smith_hazel(G, P, w), plan.intensity) @ w
        spread = np.sqrt(np.einsum("i,...ij,j->...", w, additive, w))
        index_sd = np.sqrt(np.einsum("...i,...ij,...j->...", b, P, b))
        accuracy = np.einsum("i,...ij,...j->...", w, G, b) / (index_sd * spread)
        for name, values in (("merit", merit), ("accuracy", accuracy), ("regret", 1.0 - merit / best)):
            out.append(GeneticParameter(name, "all", "all", values))
    return out


def independent_culling(
    source: Any,
    shares: Mapping[str, float],
    *,
    n: int = 100_000,
    seed: int = 1,
    max_draws: int = 200,
    genetic: str | Genetic | None = None,
    relationship: str | None = None,
) -> pd.DataFrame:
    r"""Expected response to independent culling levels, by simulation.

    Candidates whose record of every named trait is among its best share are selected: ``R = G P⁻¹ E(p | selected)``.

    Parameters
    ----------
    source
        A REML fit, or a posterior.
    shares
        Share that passes, by trait, each by itself.
    n
        Number of simulated candidates, of the estimates or of each draw.
    seed
        Of the simulation.
    max_draws
        Most draws of a posterior to simulate.
    genetic, relationship
        The genetic term; by default the one that the model states.

    Returns
    -------
    DataFrame
        quantity (``response``; ``selected``: the share that passes all levels), trait, then estimate, or mean, median,
        sd, hdi_low, hdi_high of a posterior. Simulation error: about ``1 / √(n · selected)`` standard deviations.

    Raises
    ------
    SpecError
        If a trait does not exist, a share is not between 0 and 1, or fewer than 30 of the candidates pass.
    """
    estimates = estimates_of(source)
    chosen, traits = estimates.genetic(genetic, relationship), estimates.traits
    require_known(shares, traits, "'shares' names {}, which is not a trait; traits")
    z = np.full(len(traits), -np.inf)
    for trait, share in shares.items():
        selection_intensity(share)
        z[traits.index(trait)] = -ndtri(share)
    G, P = genetic_matrices(estimates.covariances(), traits, chosen, estimates.layouts)
    chains = G.shape[:-2]
    flat = [M.reshape(-1, len(traits), len(traits)) for M in (G, P)]
    picked = np.unique(np.linspace(0, len(flat[0]) - 1, max_draws).astype(int))
    noise = np.random.default_rng(seed).standard_normal((n, len(traits)))
    rows = np.array([_culled(flat[0][d], flat[1][d], z, noise) for d in picked])
    names = [("response", trait) for trait in traits] + [("selected", "all")]
    out = []
    for k, (quantity, trait) in enumerate(names):
        values = rows[:, k] if not chains else rows[None, :, k]
        out.append({"quantity": quantity, "trait": trait, **estimates.summarise(values)})
    return pd.DataFrame(out)


def _culled(G: Array, P: Array, z: Array, noise: Array) -> Array:
    """Responses of the traits and the share that passes, (t + 1,)."""
    p = noise @ np.linalg.cholesky(P).T
    passed = (p >= z * np.sqrt(np.diag(P))).all(axis=1)
    if passed.sum() < 30:
        raise SpecError(f"{passed.sum()} of {len(noise)} simulated candidates pass all levels; raise n or the shares")
    return np.append(G @ np.linalg.solve(P, p[passed].mean(axis=0)), passed.mean())
