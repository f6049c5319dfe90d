"""Covariance functions of random regressions, and genetic parameters along a covariate or between environments.

With f(x) the functions of the basis at x and Σ the covariance of the coefficients of a term,

    cov(x, x') = f(x)' Σ f(x'),    h²(x) = V_A(x) / V_P(x),    r_g(x, x') = cov(x, x') / sqrt(cov(x, x) cov(x', x'))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.effect_layout import EffectLayout
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.estimates.genetic import GeneticParameter, phenotypic, variance_word
from bayesmv.estimates.source import chosen_genetic, layouts, same_subject, tabulate, trait_names
from bayesmv.model.basis import Basis, Smooth
from bayesmv.model.genetic import ADDITIVE_FACTOR, Genetic
from bayesmv.numerics.symmetric import correlation
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.trace import axis_labels, draws_of

#: Points of a grid that is not given.
_POINTS = 11

type Points = npt.ArrayLike | Mapping[str, npt.ArrayLike] | None


def covariance_function(source: RemlFit | xr.DataTree, term: str, at: Points = None) -> pd.DataFrame:
    """Covariances and correlations of a term between all points of a grid.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    term
        Name of a term with covariates, ``us(leg(age, 2)):animal``, or environments, ``us(site):family``.
    at
        Covariates (n,), ``{column: values}`` where the term has several; by default 11 points between the limits, or
        all environments.

    Returns
    -------
    DataFrame
        parameter (variance, covariance, correlation), trait_i, trait_j, at_i, at_j; estimate and std_error (delta
        method) for REML, mean, median, sd, hdi_low, hdi_high, … for a posterior; in the units of the data.

    Raises
    ------
    SpecError
        If the term has no covariates, or points are needed.
    DataError
        If points are outside the limits of the basis.

    References
    ----------
    Kirkpatrick, Lofsvold & Bulmer (1990), Genetics 124:979-993.
    """
    grid = _grid(source, term, at)
    traits = trait_names(source)
    names = [(label, point) for point in grid.points for label in grid.layout.labels(traits)]
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1)]

    def compute(covariances: Mapping[str, Array]) -> list[GeneticParameter]:
        S = grid.covariance(covariances[term], len(traits))
        r = correlation(S)
        words = ("covariance", "variance")
        out = [GeneticParameter(words[i == j], names[j][0], names[i][0], S[..., i, j]) for i, j in pairs]
        return out + [
            GeneticParameter("correlation", names[j][0], names[i][0], r[..., i, j]) for i, j in pairs if i != j
        ]

    table = tabulate(source, compute)
    order = [*pairs, *((i, j) for i, j in pairs if i != j)]
    table.insert(3, "at_i", [names[j][1] for _, j in order])
    table.insert(4, "at_j", [names[i][1] for i, _ in order])
    return table


def trajectory(
    source: RemlFit | xr.DataTree,
    genetic: str | None = None,
    at: Points = None,
    *,
    reference: float | str | None = None,
    relationship: str | None = None,
    terms: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Genetic variance, heritability and genetic correlation along a covariate, or of each environment.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    genetic, relationship
        The genetic term and the relationship of its levels, as in :func:`bayesmv.genetic_parameters`.
    at
        Points, as in :func:`covariance_function`.
    reference
        Point that the genetic correlations are with; by default the first.
    terms
        Terms that make up the phenotypic variance; by default those that the model states, else all. Terms with other
        covariates count with their average over the records.

    Returns
    -------
    DataFrame
        parameter, trait_i, trait_j, at, and estimate, std_error for REML, mean, median, sd, hdi_low, … for a posterior.

    Raises
    ------
    SpecError, DataError
        As :func:`covariance_function`; if the reference is not a point.
    """
    stated = chosen_genetic(source, genetic, relationship)
    along = _Along(
        grid=_grid(source, stated.term, at),
        genetic=stated,
        traits=trait_names(source),
        layouts=layouts(source),
        phenotypic=terms or stated.phenotypic,
        beside=same_subject(source, stated.term),
    )
    first = along.grid.position(reference)
    table = tabulate(source, lambda covariances: along.parameters(covariances, first))
    table.insert(3, "at", np.repeat(np.asarray(along.grid.points), len(table) // len(along.grid.points)))
    order = list(dict.fromkeys(table["parameter"]))
    return table.sort_values("parameter", key=lambda c: c.map(order.index), kind="stable", ignore_index=True)


def correlation_matrix(source: RemlFit | xr.DataTree, term: str) -> pd.DataFrame:
    """Correlations among the effects of a term, such as environments: REML estimates or posterior medians.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    term
        Name of a term, or ``"Residual"``.

    Returns
    -------
    DataFrame
        Effects × effects, 1 on the diagonal.
    """
    if isinstance(source, RemlFit):
        labels = list(source.design.effects_of(term))
        matrix = correlation(source.covariances[term])
    else:
        draws = draws_of(source, dims.correlation_name(term))
        labels = axis_labels(draws, 2)
        matrix = np.nanmedian(draws.to_numpy(), axis=(0, 1))
    return pd.DataFrame(matrix, index=pd.Index(labels), columns=pd.Index(labels))


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Points of the covariates of a term; `covariates` (n,) by column."""

    layout: EffectLayout
    basis: Basis
    points: list[Any]
    covariates: Mapping[str, npt.NDArray[Any]]

    @cached_property
    def functions(self) -> Array:
        """Functions at the points, (n, k)."""
        return self.basis.evaluate(self.covariates)

    def covariance(self, sigma: Array, n_traits: int) -> Array:
        """Covariance among points × members × traits, (…, m, m) → (…, n g t, n g t)."""
        rows = [
            np.concatenate([self.layout.individuals(sigma, n_traits, np.outer(f, g)) for g in self.functions], axis=-1)
            for f in self.functions
        ]
        return np.concatenate(rows, axis=-2)

    def position(self, reference: float | str | None) -> int:
        """Position of a point, by default of the first."""
        if reference is None:
            return 0
        if reference not in self.points:
            raise SpecError(f"the reference {reference!r} is not a point; points: {listing(self.points, 12)}")
        return self.points.index(reference)


@dataclass(frozen=True, kw_only=True)
class _Along:
    """Genetic parameters at every point of a grid."""

    grid: _Grid
    genetic: Genetic
    traits: Sequence[str]
    layouts: Mapping[str, EffectLayout]
    phenotypic: Sequence[str] | None
    beside: Sequence[str]

    def parameters(self, covariances: Mapping[str, Array], first: int) -> list[GeneticParameter]:
        """All parameters, point by point; correlations are with the point numbered `first`."""
        family = self.grid.covariance(covariances[self.genetic.term], len(self.traits))
        size = family.shape[-1] // len(self.grid.points)
        r = correlation(family)[..., first * size : (first + 1) * size]
        out = []
        for x in range(len(self.grid.points)):
            mine = slice(x * size, (x + 1) * size)
            out += self._variances(covariances, _diagonal(family[..., mine, mine]), x)
            with_first = _diagonal(r[..., mine, :])
            out += self._named("genetic correlation", np.ones_like(with_first) if x == first else with_first)
        return out

    def _variances(self, covariances: Mapping[str, Array], family: Array, x: int) -> list[GeneticParameter]:
        shares = self._shares(covariances, x)
        total = _diagonal(phenotypic(shares, self.phenotypic))
        additive = ADDITIVE_FACTOR[self.genetic.relationship] * family
        everyone = np.concatenate([total] * len(self.grid.layout.members), axis=-1)
        out = self._named(variance_word(self.genetic), additive) + self._named("phenotypic variance", total)
        out += self._named("heritability", additive / everyone)
        if self.beside:
            subject = additive[..., : len(self.traits)] + sum(_diagonal(shares[name]) for name in self.beside)
            out += self._named("repeatability", subject / total)
        return out

    def _shares(self, covariances: Mapping[str, Array], x: int) -> dict[str, Array]:
        """What every term adds to the phenotypic covariance of the traits at a point."""
        values = {column: array[[x]] for column, array in self.grid.covariates.items()}
        out = dict(covariances)
        for name, layout in self.layouts.items():
            basis, functions = layout.resolved, None
            if basis is not None and set(basis.columns) <= set(values):
                f = basis.evaluate(values)[0]
                functions = np.outer(f, f)
            out[name] = layout.contribution(covariances[name], len(self.traits), functions)
        return out

    def _named(self, name: str, values: Array) -> list[GeneticParameter]:
        labels = self.grid.layout.labels(self.traits) if values.shape[-1] > len(self.traits) else self.traits
        return [GeneticParameter(name, label, label, values[..., i]) for i, label in enumerate(labels)]


def read_points(text: str | None) -> list[float] | list[str] | None:
    """Points written as ``20,60,100`` or ``A,B``.

    >>> read_points("20, 60"), read_points("A,B")
    ([20.0, 60.0], ['A', 'B'])
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    try:
        return [float(word) for word in words]
    except ValueError:
        return words


def _grid(source: RemlFit | xr.DataTree, term: str, at: Points) -> _Grid:
    known = layouts(source)
    if term not in known:
        raise SpecError(f"no random term '{term}'; random terms: {listing(known)}")
    basis = known[term].resolved
    if basis is None:
        raise SpecError(f"the term '{term}' has no covariates; write for example us(leg(age, 2)):{term}")
    values = {column: np.atleast_1d(np.asarray(v)) for column, v in _values(basis, term, at).items()}
    columns = [array.tolist() for array in values.values()]
    points = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    return _Grid(layout=known[term], basis=basis, points=points, covariates=values)


def _values(basis: Basis, term: str, at: Points) -> dict[str, npt.ArrayLike]:
    """Points of every covariate: those given, all environments, or a grid between limits."""
    if isinstance(at, Mapping):
        require_known(basis.columns, at, f"no points of {{}}, which '{term}' needs; given")
        return {column: at[column] for column in basis.columns}
    if len(basis.columns) != 1:
        raise SpecError(f"the term '{term}' has the covariates {listing(basis.columns)}; give at={{column: values}}")
    smooth = next((part for part in basis.parts if isinstance(part, Smooth)), None)
    if at is None and smooth is None and not basis.levels:
        raise SpecError(f"give the points of '{basis.columns[0]}': at=[…]")
    if at is None:
        at = np.array(basis.levels) if smooth is None else np.linspace(*smooth.limits, _POINTS)
    return {basis.columns[0]: at}


def _diagonal(matrix: Array) -> Array:
    return np.asarray(np.diagonal(matrix, axis1=-2, axis2=-1))
