"""The hierarchical model: fixed and random effects are variables, in non-centred form, and the records are observed.

In phenotypic-sd units, with incidence Z_k, relationship K_k = B_kB_k' and covariance Σ_k = L_kL_k' of term k,

    Y = X b + Σ_k Z_k U_k + E,   U_k = B_k z_k L_k',   z_k ~ N(0, 1),   p(b) ∝ 1,   rows of E ~ N(0, R)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pymc as pm
import pytensor.tensor as pt
from pytensor.sparse import structured_dot
from scipy import sparse

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.errors import SpecError
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.pymc_model.covariances import add_covariances, covariance_coords
from bayesmv.pymc_model.families import add_records_of_families
from bayesmv.pymc_model.root import RelationshipRoot


def sampled_model(design: Design, priors: Mapping[str, CovariancePrior], fixed_prior: float | None = None) -> pm.Model:
    """Model with all effects as variables.

    Parameters
    ----------
    design
        The design.
    priors
        Prior of every covariance matrix, by name of the term.
    fixed_prior
        Scale of a normal prior of the fixed effects; None for a flat one.

    Raises
    ------
    SpecError
        If the scale is not positive, or residuals of several threshold traits are correlated.
    """
    with pm.Model(coords=_coords(design)) as model:
        covariances = add_covariances(design, priors)
        factors = {name: c.factor for name, c in covariances.items()}
        times = _product if design.gaussian else _gathered
        mean = _fixed_part(design, fixed_prior, times)
        for term in design.terms:
            mean = mean + term.spread(_effects(design, term, factors[term.name]), times)
        if not design.gaussian:
            add_records_of_families(design, mean, covariances)
            return model
        for traits, group, units in record_classes(design):
            _add_records(design, traits, group, units, mean, factors[dims.RESIDUAL])
    return model


def _coords(design: Design) -> dict[str, list[str]]:
    labels = [f"{trait}:{variable}" for trait, variable in design.fixed.coefficients(design.traits)]
    levels = {dims.level_dim(term.name): [str(level) for level in term.levels] for term in design.terms}
    units = {dims.UNIT: [str(unit) for unit in design.units], dims.TRAIT: list(design.traits)}
    return covariance_coords(design) | {dims.COEFFICIENT: labels} | levels | units


def _fixed_part(design: Design, scale: float | None, times: Callable[[Any, Any], Any]) -> Any:
    """Xb as deviation from the ordinary-least-squares fit, (n, t), phenotypic sd.

    The free variable ``fixed_raw`` is b in coordinates that are uncorrelated under least squares.
    """
    present = design.fixed.present
    variables, traits = np.nonzero(present)
    root = _least_squares_root(design)
    raw = _free_coefficients(design, root, scale)
    deviation = pt.as_tensor(root) @ raw
    in_units = design.fixed.ols[present] + deviation * design.scale[traits]
    pm.Deterministic(dims.FIXED, in_units, dims=dims.COEFFICIENT)
    return times(design.fixed.X, pt.zeros(present.shape)[variables, traits].set(deviation))


def _free_coefficients(design: Design, root: Array, scale: float | None) -> Any:
    """Coordinates r of the coefficients, ``b = b_ols + D G r``: flat, or normal such that ``b ~ N(m, S²)``."""
    name = f"{dims.FIXED}_raw"
    if scale is None:
        return pm.Flat(name, dims=dims.COEFFICIENT)
    if not 0 < scale < np.inf:
        raise SpecError(f"a prior of fixed effects needs a finite scale > 0, not {scale}")
    present = design.fixed.present
    variables, traits = np.nonzero(present)
    unit = design.scale[traits]
    X = design.fixed.X
    size = np.sqrt(np.asarray(X.power(2).mean(axis=0)).reshape(-1) - np.asarray(X.mean(axis=0)).reshape(-1) ** 2)
    constant = size[variables] <= 1e-12
    means = np.nanmean(design.response, axis=0)[traits]
    centre = np.where(constant, means, 0.0)
    spread = scale * unit / np.where(constant, 1.0, size[variables])
    back = np.linalg.inv(unit[:, None] * root)
    mu = back @ (centre - design.fixed.ols[present])
    return pm.MvNormal(name, mu=mu, chol=np.linalg.cholesky((back * spread**2) @ back.T), dims=dims.COEFFICIENT)


def _least_squares_root(design: Design) -> Array:
    """G (p, p) with GG' = ⊕ (X_t'X_t)⁻¹ over the traits, X_t the columns of trait t on the units that have it."""
    present, observed = design.fixed.present, design.observed
    _, traits = np.nonzero(present)
    root = np.zeros((len(traits), len(traits)))
    for t in range(len(design.traits)):
        mine = np.flatnonzero(traits == t)
        fitted = np.flatnonzero(present[:, t])
        W, B = design.fixed.working[observed[:, t]][:, fitted], design.fixed.mixing[fitted][:, fitted].toarray()
        gram = (W.T @ W).toarray()
        root[np.ix_(mine, mine)] = B @ np.linalg.solve(np.linalg.cholesky(gram).T, np.eye(len(mine)))
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


def _product(left: sparse.csr_array | sparse.csc_array, right: Any) -> Any:
    """Product of a constant sparse matrix and a dense variable; PyTensor takes scipy's matrices, not its arrays."""
    return structured_dot(sparse.csr_matrix(left), right)


def _gathered(left: sparse.csr_array | sparse.csc_array, right: Any) -> Any:
    """The same, row by row: rewrites of logarithms in PyTensor fail on sparse constants."""
    rows = sparse.csr_array(left)
    width = np.diff(rows.indptr)
    inside = np.arange(int(width.max(initial=0))) < width[:, None]
    value, column = np.zeros(inside.shape), np.zeros(inside.shape, dtype=int)
    value[inside], column[inside] = rows.data, rows.indices
    return (value[:, :, None] * right[column]).sum(axis=1)


def record_classes(
    design: Design,
) -> Iterator[tuple[npt.NDArray[np.intp], int, npt.NDArray[np.intp]]]:
    """Yield traits recorded, residual group and units of all units that have these in common."""
    keys = np.column_stack([design.observed, design.residual.group])
    classes, class_of = np.unique(keys, axis=0, return_inverse=True)
    for p, key in enumerate(classes):
        yield np.flatnonzero(key[:-1]), int(key[-1]), np.flatnonzero(class_of.reshape(-1) == p)


def records_name(design: Design, traits: npt.NDArray[np.intp], group: int = 0) -> str:
    """Observed variable of the units of a group with just these traits, ``records_bden+veloc``, ``records_bden_A``."""
    label = f"_{design.residual.groups[group]}" if design.residual.groups else ""
    return f"records_{'+'.join(design.traits[t] for t in traits)}{label}"


def _add_records(
    design: Design, traits: npt.NDArray[np.intp], group: int, units: npt.NDArray[np.intp], mean: Any, L: Any
) -> None:
    """Add the records of one class, (units, traits), deviations from least squares in phenotypic sd, times √weight."""
    own = design.residual.places(group)[traits]
    chol = L if len(own) == len(design.residual.effects) else pt.linalg.cholesky((L @ L.T)[np.ix_(own, own)])
    at, root = np.ix_(units, traits), np.sqrt(design.residual.weights)[units, None]
    name = records_name(design, traits, group)
    pm.MvNormal(
        name,
        mu=root * mean[at],
        chol=chol,
        observed=root * design.working_response[at],
        dims=_record_dims(design, name, traits, units),
    )


def _record_dims(
    design: Design, name: str, traits: npt.NDArray[np.intp], units: npt.NDArray[np.intp]
) -> tuple[str, str]:
    """Dimensions ``unit`` and ``trait`` where the pattern has them all, else dimensions of the pattern's own."""
    labels = [design.traits[t] for t in traits]
    unit, trait = dims.UNIT, dims.TRAIT
    model = pm.modelcontext(None)
    if len(units) < len(design.units):
        unit = f"{name}_{dims.UNIT}"
        model.add_coord(unit, [str(u) for u in design.units[units]])
    if len(labels) < len(design.traits):
        trait = f"{name}_{dims.TRAIT}"
        model.add_coord(trait, labels)
    return unit, trait
