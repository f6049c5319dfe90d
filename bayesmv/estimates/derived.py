"""Functions of what was estimated: the public way to indices, responses, and anything else that a user can write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.errors import SpecError
from bayesmv.estimates.genetic import genetic_matrices
from bayesmv.estimates.points import Point
from bayesmv.estimates.source import WHICH_GENETIC, estimates_of
from bayesmv.model.genetic import Genetic
from bayesmv.numerics.symmetric import correlation

#: Function that a user writes: of the estimates, or of one draw of the posterior.
type Function = Callable[["Quantities"], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantities:
    """Estimates, or one draw of the posterior, as a function for :func:`derive` sees them.

    ``q["Family"]`` is the covariance matrix of a term, (m, m), in the units of the data, its effects in the order of
    ``q.effects_of("Family")``; most often these are the traits.

    Parameters
    ----------
    record
        What was fitted.
    point
        Where: matrices, and sources of means and effects.
    genetic
        The genetic term, for `additive` and `phenotypic`; None if none is known.
    """

    record: ModelRecord
    point: Point
    genetic: Genetic | None = None

    def __getitem__(self, term: str) -> Array:
        self.record.position(term)
        return self.point.covariances[term]

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the traits."""
        return self.record.traits

    def effects_of(self, term: str) -> tuple[str, ...]:
        """Labels of the effects of a term."""
        return self.record.effects_of(term)

    def correlation(self, term: str) -> Array:
        """Correlation matrix of a term, (m, m)."""
        return correlation(self[term])

    @property
    def additive(self) -> Array:
        """Additive genetic covariance G of the traits, of an average record, (t, t)."""
        return self._matrices[0]

    @property
    def phenotypic(self) -> Array:
        """Phenotypic covariance P of the traits, of an average record, (t, t)."""
        return self._matrices[1]

    @cached_property
    def _matrices(self) -> tuple[Array, Array]:
        if self.genetic is None:
            raise SpecError(WHICH_GENETIC)
        return genetic_matrices(self.point.covariances, self.traits, self.genetic, self.record.layouts)

    @property
    def means(self) -> Array:
        """Means of the traits: of the fixed part, over the units of the data, (t,)."""
        return self.point.means()

    def effects(self, term: str) -> Array:
        """Effects of the levels of a term, (levels, m), in the order of the levels; of posteriors only."""
        self.record.position(term)
        return self.point.effects(term)


def derive(
    source: Any,
    function: Function,
    *,
    genetic: str | Genetic | None = None,
    relationship: str | None = None,
    design: Design | None = None,
    max_draws: int | None = None,
) -> pd.DataFrame:
    """Estimate any function of covariance matrices, means and effects, with its uncertainty.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    function
        Takes a :class:`bayesmv.Quantities` and returns a number, a mapping of numbers by name, a Series or an array.
    genetic, relationship
        The genetic term, for ``q.additive`` and ``q.phenotypic``; by default the one that the model states.
    design
        The design of a posterior or of a loaded fit, for ``q.means`` and ``q.effects(term)``.
    max_draws
        Most draws of a posterior to use, evenly spaced; by default all, and 400 with a design.

    Returns
    -------
    DataFrame
        quantity and, for REML, estimate, std_error (delta method; means as independent of the covariances) and
        constraint; for a posterior, mean, median, sd, hdi_low, hdi_high, ess_bulk, ess_tail, r_hat and constraint.

    Raises
    ------
    SpecError
        If the function returns something else, or uses what the source does not have.
    """
    estimates = estimates_of(source)
    record = estimates.record
    stated = genetic is not None or record.genetic is not None
    chosen = estimates.genetic(genetic, relationship) if stated else None
    names: list[str] = []

    def compute(point: Point) -> Array:
        values, found = _flattened(function(Quantities(record=record, point=point, genetic=chosen)))
        if names and found != names:
            raise SpecError("the function returns other quantities for other draws; return the same names always")
        names[:] = found
        return values

    table = estimates.derived(compute, design, max_draws)
    table.insert(0, "quantity", names)
    return table


def _flattened(result: Any) -> tuple[Array, list[str]]:
    """Numbers that a function returned, (k,), and their names."""
    if isinstance(result, pd.DataFrame):
        result = {(row, column): result.loc[row, column] for row in result.index for column in result.columns}
    if isinstance(result, pd.Series):
        result = dict(result)
    if isinstance(result, Mapping):
        parts = [_flattened(value) for value in result.values()]
        names = [_joined(key, own, len(found)) for key, (_, found) in zip(result, parts, strict=True) for own in found]
        return np.concatenate([np.zeros(0), *(values for values, _ in parts)]), names
    try:
        values = np.asarray(result, dtype=float)
    except (TypeError, ValueError):
        raise SpecError(f"the function must return numbers, or a mapping of numbers by name, not {result!r}") from None
    if values.ndim == 0:
        return values.reshape(1), ["value"]
    return values.reshape(-1), ["[" + ", ".join(map(str, at)) + "]" for at in np.ndindex(values.shape)]


def _joined(key: object, own: str, count: int) -> str:
    name = ":".join(map(str, key)) if isinstance(key, tuple) else str(key)
    return name if count == 1 and own == "value" else f"{name}{own}"
