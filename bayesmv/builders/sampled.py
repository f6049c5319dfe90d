"""The hierarchical model: fixed and random effects are variables, in non-centred form, and the records are observed.

In phenotypic-sd units, with incidence Z_k, relationship K_k = B_kB_k' and covariance Σ_k = L_kL_k' of term k,

    Y = X b + Σ_k Z_k U_k + E,   U_k = B_k z_k L_k',   z_k ~ N(0, 1),   p(b) ∝ 1,   rows of E ~ N(0, R)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pymc as pm
import pytensor.tensor as pt
from pytensor.sparse import structured_dot
from scipy import sparse

from bayesmv import dims
from bayesmv.builders.covariances import add_covariances, covariance_coords
from bayesmv.builders.root import RelationshipRoot
from bayesmv.covariance import Array
from bayesmv.design import Design, TermDesign
from bayesmv.priors import CovariancePrior


def sampled_model(design: Design, priors: Mapping[str, CovariancePrior]) -> pm.Model:
    """Model with all effects as variables.

    Parameters
    ----------
    design
        The design.
    priors
        Prior of every covariance matrix, by name of the term.
    """
    with pm.Model(coords=_coords(design)) as model:
        factors = {name: c.factor for name, c in add_covariances(design, priors).items()}
        mean = _fixed_part(design)
        for term in design.terms:
            mean = mean + _spread(term, _effects(design, term, factors[term.name]), len(design.traits))
        for traits, units in missing_patterns(design.observed):
            _add_records(design, traits, units, mean, factors[dims.RESIDUAL])
    return model


def _coords(design: Design) -> dict[str, list[str]]:
    labels = [f"{trait}:{variable}" for trait, variable in design.fixed.coefficients(design.traits)]
    levels = {dims.level_dim(term.name): [str(level) for level in term.levels] for term in design.terms}
    units = {dims.UNIT: [str(unit) for unit in design.units], dims.TRAIT: list(design.traits)}
    return covariance_coords(design) | {dims.COEFFICIENT: labels} | levels | units


def _fixed_part(design: Design) -> Any:
    """Xb as deviation from the ordinary-least-squares fit, (n, t), phenotypic sd.

    The free variable ``fixed_raw`` is b in coordinates that are uncorrelated under least squares.
    """
    present = design.fixed.present
    variables, traits = np.nonzero(present)
    raw = pm.Flat(f"{dims.FIXED}_raw", dims=dims.COEFFICIENT)
    deviation = pt.as_tensor(_least_squares_root(design)) @ raw
    in_units = design.fixed.ols[present] + deviation * design.scale[traits]
    pm.Deterministic(dims.FIXED, in_units, dims=dims.COEFFICIENT)
    return _product(design.fixed.X, pt.zeros(present.shape)[variables, traits].set(deviation))


def _least_squares_root(design: Design) -> Array:
    """G (p, p) with GG' = ⊕ (X_t'X_t)⁻¹ over the traits, X_t the columns of trait t on the units that have it."""
    present, observed = design.fixed.present, design.observed
    _, traits = np.nonzero(present)
    root = np.zeros((len(traits), len(traits)))
    for t in range(len(design.traits)):
        mine = np.flatnonzero(traits == t)
        X = design.fixed.X[observed[:, t]][:, np.flatnonzero(present[:, t])]
        gram = (X.T @ X).toarray()
        root[np.ix_(mine, mine)] = np.linalg.solve(np.linalg.cholesky(gram).T, np.eye(len(mine)))
    return root


def _effects(design: Design, term: TermDesign, L: Any) -> Any:
    """U = B z L', (levels, effects), phenotypic sd; registered in the units of the data."""
    trait, _ = dims.effect_dims(term.name, term.effects, design.traits)
    where = (dims.level_dim(term.name), trait)
    z = pm.Normal(f"{term.name}_z", dims=where)
    related = z if term.relationship is None else RelationshipRoot.of(term.relationship)(z)
    U = related @ L.T
    pm.Deterministic(dims.effect_name(term.name), U * design.effect_scale(term.name), dims=where)
    return U


def _spread(term: TermDesign, U: Any, n_traits: int) -> Any:
    """ZU, (n, t)."""
    parts = []
    for c, incidence in enumerate(term.incidences):
        mine = np.flatnonzero(term.load_of == c)
        onto = np.zeros((len(term.effects), n_traits))
        onto[mine, term.trait_of[mine]] = 1.0
        parts.append(_product(incidence, U @ onto))
    return sum(parts)


def _product(left: sparse.csr_array | sparse.csc_array, right: Any) -> Any:
    """Product of a constant sparse matrix and a dense variable; PyTensor takes scipy's matrices, not its arrays."""
    return structured_dot(sparse.csr_matrix(left), right)


def missing_patterns(
    observed: npt.NDArray[np.bool_],
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Yield the traits of every missing pattern and the units that have it, from observed (n, t)."""
    patterns, pattern_of = np.unique(observed, axis=0, return_inverse=True)
    for p, seen in enumerate(patterns):
        yield np.flatnonzero(seen), np.flatnonzero(pattern_of.reshape(-1) == p)


def records_name(traits: list[str]) -> str:
    """Observed variable of the units on which just these traits were recorded, ``records_bden+veloc``."""
    return f"records_{'+'.join(traits)}"


def _add_records(design: Design, traits: npt.NDArray[np.intp], units: npt.NDArray[np.intp], mean: Any, L: Any) -> None:
    """Add the records of one missing pattern, (units, traits), deviations from least squares in phenotypic sd."""
    complete = len(traits) == len(design.traits)
    chol = L if complete else pt.linalg.cholesky((L @ L.T)[np.ix_(traits, traits)])
    at = np.ix_(units, traits)
    pm.MvNormal(
        records_name([design.traits[t] for t in traits]),
        mu=mean[at],
        chol=chol,
        observed=design.working_response[at],
        dims=_record_dims(design, traits, units),
    )


def _record_dims(design: Design, traits: npt.NDArray[np.intp], units: npt.NDArray[np.intp]) -> tuple[str, str]:
    """Dimensions ``unit`` and ``trait`` where the pattern has them all, else dimensions of the pattern's own."""
    labels = [design.traits[t] for t in traits]
    unit, trait, name = dims.UNIT, dims.TRAIT, records_name(labels)
    model = pm.modelcontext(None)
    if len(units) < len(design.units):
        unit = f"{name}_{dims.UNIT}"
        model.add_coord(unit, [str(u) for u in design.units[units]])
    if len(labels) < len(design.traits):
        trait = f"{name}_{dims.TRAIT}"
        model.add_coord(trait, labels)
    return unit, trait
