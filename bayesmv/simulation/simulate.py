"""Simulated records: from assumed covariance matrices, or from a fitted model.

With U_k (levels, t) the effects of random factor k and E (n, t) the residuals,

    Y = M + Σ_k Z_k U_k + E,   vec(U_k) ~ N(0, Σ_k ⊗ K_k),   vec(E) ~ N(0, R ⊗ I)

Of traits that are not Gaussian these are the latent values, from which the records are drawn (:mod:`.families.draws`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse.linalg import spsolve_triangular

from bayesmv.arrays import Array
from bayesmv.design.design import Design, build_design
from bayesmv.design.random import TermDesign
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing, require_complete, require_known
from bayesmv.families.declared import Binomial, Family, Gaussian, Ordered, family
from bayesmv.families.draws import draw_records
from bayesmv.model.spec import ModelSpec
from bayesmv.model.terms import FixedTerm
from bayesmv.numerics.symmetric import symmetric_lu
from bayesmv.relationship.relationship import Relationship
from bayesmv.reml import RemlFit

type Means = Mapping[str, float | npt.ArrayLike]
type Names = Collection[str]

#: Smallest eigenvalue, in units of the variances, that counts as rounding of a semi-definite matrix.
_ROUNDING = -1e-6


def simulate_traits(
    layout: pd.DataFrame,
    *,
    traits: Sequence[str],
    means: Means,
    covariances: Mapping[str, npt.ArrayLike],
    relationships: Mapping[str, Relationship] | None = None,
    families: Mapping[str, str | Family] | None = None,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Simulate the traits of a trial from assumed covariance matrices.

    ``Y = M + Σ_k Z_k U_k + E`` with ``vec(U_k) ~ N(0, Σ_k ⊗ K_k)`` and ``vec(E) ~ N(0, R ⊗ I)``; the traits are in the
    units of `means` and `covariances`.

    Parameters
    ----------
    layout
        One row a unit, with a column for every random factor. Never modified.
    traits
        Names of the t traits.
    means
        For each trait its mean, or the fixed part of every unit (n,).
    covariances
        Σ_k (t, t), positive semi-definite, by the column of the factor, and R under ``"Residual"``.
    relationships
        Relationship among the levels of a factor, by its column; levels without are independent.
    families
        Families of traits that are not Gaussian, ``{"scab": "binary", "ease": bayesmv.family("ordered", thresholds=(0,
        1.2))}``; means and covariances of these are on the latent scale, the residual variance of a liability 1.
    rng
        Source of the random numbers, drawn in the order of `covariances`.

    Returns
    -------
    DataFrame
        A copy of `layout` with the traits added (or replaced).

    Raises
    ------
    SpecError
        If a factor is not a column, a mean or the residual is missing, or a matrix has the wrong shape, is not
        symmetric or not positive semi-definite.
    DataError
        If units have no level of a factor, or one without relationship.

    Examples
    --------
    >>> layout = pd.DataFrame({"Family": np.repeat(["F1", "F2", "F3"], 2)})
    >>> data = simulate_traits(layout, traits=["height"], means={"height": 12.0},
    ...     covariances={"Family": [[1.0]], "Residual": [[3.0]]}, rng=np.random.default_rng(1))
    >>> list(data.columns)
    ['Family', 'height']
    """
    relationships = dict(relationships or {})
    _check_names(layout, traits, means, covariances, relationships)
    roots = {name: _root(name, np.asarray(S, dtype=float), len(traits)) for name, S in covariances.items()}
    require_known(families or {}, traits, "a family is given for {}, which is not a trait; traits")
    values, residual = spread_means(traits, means, len(layout)), np.zeros((len(layout), len(traits)))
    for name, root in roots.items():
        into = residual if name == RESIDUAL else values
        into += standard_effects(layout, name, len(traits), relationships.get(name), rng) @ root.T
    laws = [family((families or {}).get(trait, "gaussian")) for trait in traits]
    return layout.assign(**dict(zip(traits, _drawn(laws, values, residual, rng).T, strict=True)))


def simulate_model(
    spec: ModelSpec,
    layout: pd.DataFrame,
    *,
    means: Means,
    covariances: Mapping[str, npt.ArrayLike],
    relationships: Mapping[str, Relationship] | None = None,
    thresholds: Mapping[str, Sequence[float]] | None = None,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Simulate the traits of any model: maternal and social effects, random regressions, environments.

    Parameters
    ----------
    spec
        The model; its fixed effects are not used. Its families are: means and covariances of traits that are not
        Gaussian are on the latent scale.
    layout
        One row a unit, with every column that the random terms need. Never modified.
    means
        For each trait its mean, or the fixed part of every unit (n,).
    covariances
        Covariance matrix of the effects of every term, and of the residual under ``"Residual"``.
    relationships
        Relationships by the name that the model gives them.
    thresholds
        Thresholds of the ordered traits of the model, by trait.
    rng
        Source of the random numbers.

    Returns
    -------
    DataFrame
        A copy of `layout` with the traits added (or replaced) as the model reads them; both bounds of a censored trait
        are the record.

    Raises
    ------
    SpecError
        If a covariance is missing, or of the wrong shape.

    Examples
    --------
    >>> spec = ModelSpec.from_formula("gain ~ 1", random="us(trait):str(pig, mates(pen))")
    >>> pens = pd.DataFrame({"pig": range(6), "pen": [1, 1, 1, 2, 2, 2]})
    >>> data = simulate_model(spec, pens, means={"gain": 0.8}, rng=np.random.default_rng(1),
    ...     covariances={"pig": [[0.02, 0.0], [0.0, 0.002]], "Residual": [[0.02]]})
    >>> list(data.columns)
    ['pig', 'pen', 'gain']
    """
    laws = _laws(spec, layout, thresholds or {})
    placeholder = layout.assign(**{trait: rng.standard_normal(len(layout)) for trait in spec.traits})
    design = build_design(replace(spec, fixed=(FixedTerm(formula="1"),), families={}), placeholder, relationships)
    what = f"no covariance of {{}}; give those of {listing(design.names)}; given"
    require_known(design.names, covariances, what)
    values = spread_means(spec.traits, means, len(layout))
    for term in design.terms:
        unit = term.load_unit[term.load_of]
        sigma = np.asarray(covariances[term.name], dtype=float)
        values += _term_values(term, _root(term.name, sigma, len(term.effects)) * unit[:, None], rng)
    residual = np.asarray(covariances[RESIDUAL], dtype=float) / design.residual.unit**2
    values = _drawn(laws, values, _residual_values(design, residual, rng), rng)
    return layout.assign(**as_recorded(spec, dict(zip(spec.traits, values.T, strict=True))))


def as_recorded(spec: ModelSpec, records: Mapping[str, Array]) -> dict[str, Any]:
    """Columns from which a model reads its records: categories in their words, bounds of censored traits, both equal.

    Parameters
    ----------
    spec
        The model.
    records
        Records of every trait as its family counts them, (n,).
    """
    out: dict[str, Any] = {}
    for trait, values in records.items():
        family = spec.families.get(trait)
        if family is not None and family.levels:
            words = np.array([None, *family.levels], dtype=object)
            first = 0 if family.family == "binary" else 1
            out[trait] = words[np.where(np.isnan(values), 0, values - first + 1).astype(int)]
        elif family is not None and family.bounds:
            out |= dict.fromkeys(family.bounds, values)
        else:
            out[trait] = values
    return out


def _laws(spec: ModelSpec, layout: pd.DataFrame, thresholds: Mapping[str, Sequence[float]]) -> list[Family]:
    """Family of every trait of a model, with its numbers."""
    ordered = [trait for trait, each in spec.families.items() if isinstance(each.law, Ordered)]
    require_known(thresholds, ordered, "thresholds are given for {}, which is not an ordered trait; ordered traits")
    require_known(ordered, thresholds, "the ordered trait {} has no thresholds; give thresholds={{…}}; given")
    out: list[Family] = []
    for trait in spec.traits:
        law = spec.families[trait].law if trait in spec.families else Gaussian()
        if isinstance(law, Ordered):
            law = Ordered(tuple(thresholds[trait]))
        elif isinstance(law, Binomial):
            size = spec.families[trait].size
            require_known([size] if isinstance(size, str) else [], layout.columns, "no column {} of trials; columns")
            law = replace(law, size=layout[size].to_numpy(dtype=float) if isinstance(size, str) else float(size or 1))
        out.append(law)
    return out


def _drawn(families: Sequence[Family], eta: Array, residual: Array, rng: np.random.Generator) -> Array:
    """Records (n, t) of latent values."""
    each = zip(families, eta.T, residual.T, strict=True)
    return np.column_stack([draw_records(law, values, e, rng) for law, values, e in each])


def _term_values(term: TermDesign, root: Array, rng: np.random.Generator) -> Array:
    """ZU of a term with Σ = root root', (n, t)."""
    return np.asarray(term.spread(_related(term.relationship, len(term.levels), len(term.effects), rng) @ root.T))


def _residual_values(design: Design, sigma: Array, rng: np.random.Generator) -> Array:
    """Residuals (n, t) with covariance `sigma` among the effects."""
    m = len(design.residual.effects)
    standard: Array = rng.standard_normal((len(design.units), m))
    return design.residual.spread(standard @ _root(RESIDUAL, sigma, m).T)


def simulate_records(fit: RemlFit, rng: np.random.Generator) -> Array:
    """Simulate records from a REML fit, on its own layout: a parametric bootstrap.

    Parameters
    ----------
    fit
        Covariances and fixed effects to simulate from.
    rng
        Source of the random numbers.

    Returns
    -------
    ndarray
        Records (n, t) in the units of the data, NaN where the fitted data lack them.
    """
    solution = fit.equations.solve(fit.sigmas)
    return simulate_from(fit.design, fit.sigmas, rng, solution.fixed, fit.families)


def simulate_from(
    design: Design,
    sigmas: Sequence[Array],
    rng: np.random.Generator,
    fixed: Array | None = None,
    families: Sequence[Family] | None = None,
) -> Array:
    """Simulate records of new effects on the layout of a design.

    Parameters
    ----------
    design
        The design.
    sigmas
        Covariance matrices of the scaled traits.
    rng
        Source of the random numbers.
    fixed
        Fixed effects (v, t) in phenotypic sd, beyond the least-squares fit; None for 0.
    families
        Families of the traits with their thresholds and other numbers; None for those of the design.

    Returns
    -------
    ndarray
        Records (n, t) in the units of the data, NaN where the data lack them; of censored traits uncensored.
    """
    values = design.fixed.fitted / design.scale
    if fixed is not None:
        values = values + design.fixed.X @ fixed
    for term, sigma in zip(design.terms, sigmas, strict=False):
        values += _term_values(term, _root(term.name, sigma, len(term.effects)), rng)
    residual = _residual_values(design, sigmas[-1], rng) * design.scale
    records = _drawn(families or design.families, values * design.scale + design.offset, residual, rng)
    return np.asarray(np.where(design.observed, records, np.nan))


def _check_names(
    layout: pd.DataFrame, traits: Sequence[str], means: Names, covariances: Names, relationships: Names
) -> None:
    what = f"a covariance is given for {{}}, which is not a column of the layout ('{RESIDUAL}' for residuals); columns"
    require_known([name for name in covariances if name != RESIDUAL], layout.columns, what)
    if RESIDUAL not in covariances:
        raise SpecError(f"no covariance of the residuals; give it under '{RESIDUAL}' (zeros for none)")
    what = "a relationship is given for {}, which has no covariance; covariances"
    require_known(relationships, covariances, what)
    if not traits or len(set(traits)) < len(traits):
        raise SpecError(f"traits must be different names, at least one; got {listing(traits) or 'none'}")
    require_known(traits, means, "no mean of the trait {}; traits with a mean")


def _root(name: str, sigma: Array, t: int) -> Array:
    """F (t, t) with FF' = Σ: the symmetric root of the correlations, which no sign of an eigenvector can change."""
    if sigma.shape != (t, t):
        raise SpecError(f"the covariance of {name} has shape {sigma.shape}; {t} traits need a {t} × {t} matrix")
    sd = np.sqrt(np.where(np.diag(sigma) > 0, np.diag(sigma), 1.0))
    if not np.isfinite(sigma).all() or not np.allclose(sigma / np.outer(sd, sd), sigma.T / np.outer(sd, sd)):
        raise SpecError(f"the covariance of {name} must be finite and symmetric; it is {sigma.tolist()}")
    values, vectors = np.linalg.eigh(sigma / np.outer(sd, sd))
    if values[0] < _ROUNDING:
        raise SpecError(
            f"the covariance of {name} is not positive semi-definite (smallest eigenvalue {values[0]:.3g} for unit "
            f"variances): no effects can have it; check that variances are not negative and no correlation is beyond ±1"
        )
    return np.asarray(sd[:, None] * (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def spread_means(traits: Sequence[str], means: Means, n: int) -> Array:
    """Fixed part of every unit, (n, t)."""
    columns = []
    for trait in traits:
        mean = np.asarray(means[trait], dtype=float)
        if mean.shape not in ((), (n,)):
            raise SpecError(
                f"the mean of '{trait}' has shape {mean.shape}; give one number, or one for each of the {n} units"
            )
        columns.append(np.broadcast_to(mean, n))
    return np.column_stack(columns)


def standard_effects(
    layout: pd.DataFrame, name: str, t: int, relationship: Relationship | None, rng: np.random.Generator
) -> Array:
    """Effects with Σ = I, spread to the units, (n, t)."""
    if name == RESIDUAL:
        return rng.standard_normal((len(layout), t))
    column = layout[name]
    require_complete(column, f"factor '{name}'", "give them a level")
    if relationship is None:
        codes, levels = pd.factorize(column, sort=True)
        return _related(None, len(levels), t, rng)[codes]
    return _related(relationship, len(relationship.ids), t, rng)[relationship.locate(column, name)]


def _related(relationship: Relationship | None, q: int, t: int, rng: np.random.Generator) -> Array:
    """Effects of q levels, columns ~ N(0, K), (q, t): ``L'u = D^-½ z``, K⁻¹ = LDL' permuted."""
    standard = rng.standard_normal((q, t))
    if relationship is None:
        return standard
    lu = symmetric_lu(relationship.precision)
    scaled = np.sqrt(lu.U.diagonal())[:, None] * standard
    return np.asarray(spsolve_triangular(lu.U.tocsr(), scaled, lower=False)[lu.perm_c])
