"""Residuals: one covariance matrix for all units, or one for each group of them, and known weights of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayesmv.arrays import Array, ByContent
from bayesmv.covariance import CovarianceStructure, Separate
from bayesmv.design.effect_layout import EffectLayout
from bayesmv.design.written import as_labels, to_numbers
from bayesmv.errors import DataError, Needed, listing, require_all_complete, require_complete, rows_of
from bayesmv.model.grammar import quoted
from bayesmv.model.spec import ModelSpec
from bayesmv.numerics.symmetric import packed_rows
from bayesmv.relationship.labels import as_text, factorise


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualDesign(ByContent):
    """Residuals of the units: ``e_i ~ N(0, S_g(i) Σ S_g(i)' / w_i)``, S_g the choice of the effects of group g.

    Parameters
    ----------
    structure
        Covariance structure among the effects: traits, or traits × groups without covariance between groups.
    effects
        Labels of the effects (m,).
    trait_of, group_of
        The trait and the group of each effect, (m,).
    columns, groups
        Columns of the groups, and the values of these or their combinations, ``A:2019``; empty for one group.
    recorded
        Traits that were recorded in each group; the effects of others have no variance.
    group
        Group of each unit, (n,).
    weights
        w (n,), in a unit in which 1/w is 1 on average: multiplied by a constant, they are the same weights.
    unit
        Square root of that unit. In working units residuals are divided by it too, so that Σ is the covariance of an
        average record.
    """

    structure: CovarianceStructure
    effects: tuple[str, ...]
    trait_of: npt.NDArray[np.intp]
    group_of: npt.NDArray[np.intp]
    columns: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    recorded: tuple[tuple[str, ...], ...] = ()
    group: npt.NDArray[np.intp]
    weights: Array
    unit: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether all residuals have the same distribution."""
        return not self.groups and bool((self.weights == 1.0).all())

    def places(self, group: int) -> npt.NDArray[np.intp]:
        """The effects of a group, trait by trait, (t,)."""
        return np.flatnonzero(self.group_of == group)

    def spread(self, effects: Array) -> Array:
        """Residuals (n, t) from effects (n, m) with covariance Σ."""
        return np.asarray(np.take_along_axis(effects, self._own, axis=1) / np.sqrt(self.weights)[:, None])

    @property
    def _own(self) -> npt.NDArray[np.intp]:
        """Effect that is the residual of every record, (n, t)."""
        return np.stack([self.places(g) for g in range(max(len(self.groups), 1))])[self.group]

    def derivatives(self, values: Array) -> list[Array]:
        """``S dΣ/dσ S'`` of every unit times values (n, t), for every packed component σ of Σ; 0 between groups."""
        out = []
        for i, j in zip(*packed_rows(len(self.effects)), strict=True):
            product = np.zeros_like(values)
            if self.group_of[i] == self.group_of[j]:
                mine, a, b = self.group == self.group_of[i], self.trait_of[i], self.trait_of[j]
                product[mine, a] = values[mine, b]
                product[mine, b] = values[mine, a]
            out.append(product)
        return out

    def variances(self, sigma: Array) -> Array:
        """Residual variance of every record, (n, t), from the covariance Σ of the effects; all in working units."""
        return np.asarray(np.diag(sigma)[self._own] / self.weights[:, None])

    def rescaled(self, scale: Array) -> ResidualDesign:
        """Residuals of traits divided by `scale` (t,)."""
        return replace(self, structure=self.structure.rescaled(scale[self.trait_of] * self.unit))

    @property
    def layout(self) -> EffectLayout | None:
        """Layout of the effects in a record, with variance Σ / w on average; None where all residuals are alike."""
        if self.plain:
            return None
        share = np.bincount(self.group, weights=1.0 / self.weights) / (len(self.group) * self.unit**2)
        return EffectLayout(
            effects=self.effects,
            traits=tuple(dict.fromkeys(self.trait_of.tolist())),
            members=("units",),
            social=(False,),
            products=((1.0,),),
            totals=(1.0,),
            functions=tuple(map(tuple, np.diag(share).tolist())),
            basis=f"C({quoted(':'.join(self.columns))})" if self.groups else "",
            factors=(self.groups,) if self.groups else (),
        )


def build_residual(spec: ModelSpec, data: pd.DataFrame, response: Array, notes: list[str]) -> ResidualDesign:
    """Build the residuals of a model.

    Parameters
    ----------
    spec
        The model.
    data
        Rows with records.
    response
        Records (n, t), NaN where missing.
    notes
        To which it is added which traits some groups lack.

    Raises
    ------
    DataError
        If a group or a weight is missing, a weight is not positive, or a group has a single record of a trait.
    """
    weights, unit = _weights(spec, data)
    t = len(spec.traits)
    if not spec.residual_by:
        return ResidualDesign(
            structure=residual_structure(spec),
            effects=spec.traits,
            trait_of=np.arange(t),
            group_of=np.zeros(t, dtype=np.intp),
            group=np.zeros(len(data), dtype=np.intp),
            weights=weights,
            unit=unit,
        )
    group, groups = _grouped([as_labels(data[name]) for name in spec.residual_by])
    trait_of, group_of = (part.reshape(-1) for part in np.indices((t, len(groups))))
    effects = [f"{trait}:{label}" for trait in spec.traits for label in groups]
    recorded = _recorded(spec, groups, group, response, notes)
    return ResidualDesign(
        structure=residual_structure(spec, recorded),
        effects=tuple(effects) if t > 1 else groups,
        trait_of=trait_of,
        group_of=group_of,
        columns=spec.residual_by,
        recorded=recorded,
        groups=groups,
        group=np.asarray(group, dtype=np.intp),
        weights=weights,
        unit=unit,
    )


def residual_groups(column: pd.Series[Any]) -> Needed:
    """Column of residual groups (n,) as one that must be complete."""
    role, remedy = f"residual group '{column.name}'", "give these units a group or take them out"
    return Needed(column=column, role=role, remedy=remedy)


def residual_structure(spec: ModelSpec, recorded: Sequence[tuple[str, ...]] = ()) -> CovarianceStructure:
    """Structure of the residuals: one among the traits, or one for each group, effects trait by trait.

    Parameters
    ----------
    spec
        The model.
    recorded
        Traits of every group; the effects of others have no variance.
    """
    if not recorded:
        return spec.residual_covariance()
    t, g = len(spec.traits), len(recorded)
    parts = tuple(spec.residual_covariance(traits) for traits in recorded)
    places = tuple(tuple(spec.traits.index(trait) * g + k for trait in traits) for k, traits in enumerate(recorded))
    return Separate(t * g, parts, places)


def _grouped(columns: Sequence[pd.Series[Any]]) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """Group of every unit, (n,), and the names of the groups: the levels of a column, or combinations of several."""
    require_all_complete([residual_groups(column) for column in columns])
    codes, levels = zip(*map(factorise, columns), strict=True)
    stacked = np.column_stack(codes)
    found, group = np.unique(stacked, axis=0, return_inverse=True)
    names = [":".join(as_text(levels[k][i]) for k, i in enumerate(row)) for row in found]
    if len(set(names)) < len(names):
        raise DataError(f"two groups of residuals would be called {listing(names)}; take the ':' out of the labels")
    return np.asarray(group.reshape(-1), dtype=np.intp), tuple(names)


def _recorded(
    spec: ModelSpec, groups: tuple[str, ...], group: npt.NDArray[np.intp], response: Array, notes: list[str]
) -> tuple[tuple[str, ...], ...]:
    """Traits that were recorded in every group; refuses one record, from which no variance can be estimated."""
    out, by = [], ":".join(spec.residual_by)
    for g, label in enumerate(groups):
        counts = dict(zip(spec.traits, (~np.isnan(response[group == g])).sum(axis=0).tolist(), strict=True))
        single = [trait for trait, n in counts.items() if n == 1]
        if single:
            raise DataError(
                f"'{by}' {label} has fewer than two records of {listing(single)}: no residual variance can "
                f"be estimated there; join the group to another, or leave it out of the data"
            )
        never = [trait for trait, n in counts.items() if n == 0]
        if never:
            notes.append(f"'{by}' {label} has no record of {listing(never)}: no residual variance of it there")
        out.append(tuple(trait for trait, n in counts.items() if n))
    return tuple(out)


#: Weights within which, and the ratio of the largest to the least up to which, sums of them are exact enough.
_SMALLEST, _LARGEST, _RATIO = 1e-100, 1e100, 1e12


def _weights(spec: ModelSpec, data: pd.DataFrame) -> tuple[Array, float]:
    """Weights of the units, and the square root of their unit."""
    if spec.weights is None:
        return np.ones(len(data)), 1.0
    column, name = data[spec.weights], spec.weights
    values = to_numbers(column).to_numpy(dtype=float, na_value=np.nan)
    wrong = ~(np.isfinite(values) & (values > 0.0))
    remedy = "the residual variance is divided by it"
    require_complete(column, f"weight '{name}'", remedy, problem="not a positive number", bad=wrong)
    low, high = int(values.argmin()), int(values.argmax())
    if values[low] < _SMALLEST or values[high] > _LARGEST or values[high] > _RATIO * values[low]:
        rows = rows_of(column.index[sorted({low, high})])
        raise DataError(
            f"the weight '{name}' is from {values[low]:g} to {values[high]:g} ({rows}); weights differ by a factor of "
            f"{_RATIO:g} at most, none is below {_SMALLEST:g} or above {_LARGEST:g}: leave a record that says nothing "
            "empty, and use other units"
        )
    mean = float(np.mean(1.0 / values))
    return np.asarray(values * mean), mean**-0.5
