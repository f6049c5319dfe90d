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

from bayesmv.arrays import Array
from bayesmv.design.effect_layout import EffectLayout
from bayesmv.errors import SpecError, listing
from bayesmv.estimates.genetic import GeneticParameter, phenotypic, ratios
from bayesmv.estimates.source import Estimates, estimates_of
from bayesmv.model.basis import Basis, Levels, Smooth
from bayesmv.model.genetic import Genetic
from bayesmv.numerics.symmetric import correlation

#: Points of a grid that is not given, and most of one that is.
_POINTS, _MOST_POINTS = 11, 200

type Points = npt.ArrayLike | Mapping[str, npt.ArrayLike] | None


def covariance_function(source: Any, term: str, at: Points = None) -> pd.DataFrame:
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
    estimates = estimates_of(source)
    grid, traits = _grid(estimates, term, at), estimates.traits
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

    table = estimates.evaluate(compute)
    order = [*pairs, *((i, j) for i, j in pairs if i != j)]
    table.insert(3, "at_i", [names[j][1] for _, j in order])
    table.insert(4, "at_j", [names[i][1] for i, _ in order])
    return table


def trajectory(
    source: Any,
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
    estimates = estimates_of(source)
    stated = estimates.genetic(genetic, relationship)
    along = _Along(
        grid=_grid(estimates, stated.term, at), genetic=stated, estimates=estimates, terms=terms or stated.phenotypic
    )
    first = along.grid.position(reference)
    table = estimates.evaluate(lambda covariances: along.parameters(covariances, first))
    table.insert(3, "at", np.repeat(np.asarray(along.grid.points), len(table) // len(along.grid.points)))
    order = list(dict.fromkeys(table["parameter"]))
    return table.sort_values("parameter", key=lambda c: c.map(order.index), kind="stable", ignore_index=True)


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

    def covariance(self, sigma: Array, n_traits: int, among: Sequence[int] | None = None) -> Array:
        """Covariance among points (all, or some) × members × traits, (…, m, m) → (…, n g t, n g t)."""
        functions = self.functions if among is None else self.functions[list(among)]
        rows = [
            np.concatenate([self.layout.individuals(sigma, n_traits, np.outer(f, g)) for g in functions], axis=-1)
            for f in functions
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
    estimates: Estimates
    terms: Sequence[str] | None

    def parameters(self, covariances: Mapping[str, Array], first: int) -> list[GeneticParameter]:
        """All parameters, point by point; correlations are with the point numbered `first`."""
        traits, sigma = self.estimates.traits, covariances[self.genetic.term]
        labels, size = self.grid.layout.labels(traits), len(self.grid.layout.labels(traits))
        out = []
        for x in range(len(self.grid.points)):
            # The point with the first one: among all points it would be a matrix of their square.
            family = self.grid.covariance(sigma, len(traits), [x, first])
            shares = self._shares(covariances, x)
            out += ratios(
                self.genetic,
                self.grid.layout,
                traits,
                family[..., :size, :size],
                shares,
                phenotypic(shares, self.terms),
                same_subject=self.estimates.record.same_subject(self.genetic.term),
                records=self.estimates.records_per_level(self.genetic.term),
            )
            with_first = np.diagonal(correlation(family)[..., :size, size:], axis1=-2, axis2=-1)
            values = np.ones_like(with_first) if x == first else with_first
            out += [
                GeneticParameter("genetic correlation", label, label, values[..., i]) for i, label in enumerate(labels)
            ]
        return out

    def _shares(self, covariances: Mapping[str, Array], x: int) -> dict[str, Array]:
        """Contribution of every term to the phenotypic covariance of the traits at a point."""
        values = {column: array[[x]] for column, array in self.grid.covariates.items()}
        out = dict(covariances)
        for name, layout in self.estimates.layouts.items():
            basis, functions = layout.resolved, None
            if basis is not None and set(basis.columns) <= set(values):
                f = basis.evaluate(values)[0]
                functions = np.outer(f, f)
            out[name] = layout.contribution(covariances[name], len(self.estimates.traits), functions)
        return out


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


def _grid(estimates: Estimates, term: str, at: Points) -> _Grid:
    known = estimates.layouts
    if term not in known:
        raise SpecError(f"no random term '{term}'; random terms: {listing(known)}")
    basis = known[term].resolved
    if basis is None:
        raise SpecError(f"the term '{term}' has no covariates; write for example us(leg(age, 2)):{term}")
    values = {column: np.atleast_1d(np.asarray(v)) for column, v in _values(basis, term, at).items()}
    for column, array in values.items():
        _check_points(column, array, basis)
    columns = [array.tolist() for array in values.values()]
    points = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    return _Grid(layout=known[term], basis=basis, points=points, covariates=values)


def _check_points(column: str, points: npt.NDArray[Any], basis: Basis) -> None:
    """Refusal of points that are too many, or that are no numbers where the column is a covariate."""
    if not 0 < len(points) <= _MOST_POINTS:
        raise SpecError(f"{len(points)} points of '{column}' were given; give 1 to {_MOST_POINTS}")
    if any(isinstance(part, Levels) and part.column == column for part in basis.parts):
        return
    try:
        wrong = [point for point in points.tolist() if not np.isfinite(float(point))]
    except (TypeError, ValueError):
        raise SpecError(f"the points of the covariate '{column}' must be numbers, not {listing(points)}") from None
    if wrong:
        raise SpecError(f"the points of the covariate '{column}' must be finite numbers, not {listing(wrong)}")


def _values(basis: Basis, term: str, at: Points) -> dict[str, npt.ArrayLike]:
    """Points of every covariate: those given, all environments, or a grid between limits."""
    if isinstance(at, Mapping):
        absent = [column for column in basis.columns if column not in at]
        if absent:
            raise SpecError(f"no points of {listing(absent)}, which '{term}' needs")
        return {column: at[column] for column in basis.columns}
    if len(basis.columns) != 1:
        raise SpecError(f"the term '{term}' has the covariates {listing(basis.columns)}; give at={{column: values}}")
    smooth = next((part for part in basis.parts if isinstance(part, Smooth)), None)
    if at is None and smooth is None and not basis.levels:
        raise SpecError(f"give the points of '{basis.columns[0]}': at=[…]")
    if at is None:
        at = np.array(basis.levels) if smooth is None else np.linspace(*smooth.limits, _POINTS)
    return {basis.columns[0]: at}
