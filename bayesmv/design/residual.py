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
from bayesmv.dims import RESIDUAL
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
    column, groups
        Column of the groups and its values; empty for one group.
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
    column: str = ""
    groups: tuple[str, ...] = ()
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
        own = np.stack([self.places(g) for g in range(max(len(self.groups), 1))])[self.group]
        return np.asarray(np.take_along_axis(effects, own, axis=1) / np.sqrt(self.weights)[:, None])

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

    def rescaled(self, scale: Array) -> ResidualDesign:
        """Residuals of traits divided by `scale` (t,)."""
        return replace(self, structure=self.structure.rescaled(scale[self.trait_of] * self.unit))

    @property
    def layout(self) -> EffectLayout | None:
        """How the effects make up a record, with variance Σ / w on average; None where all residuals are alike."""
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
            basis=f"C({quoted(self.column)})" if self.groups else "",
            factors=(self.groups,) if self.groups else (),
        )


def build_residual(spec: ModelSpec, data: pd.DataFrame, response: Array) -> ResidualDesign:
    """Build the residuals of a model.

    Parameters
    ----------
    spec
        The model.
    data
        Rows with records.
    response
        Records (n, t), NaN where missing.

    Raises
    ------
    DataError
        If a group or a weight is missing, a weight is not positive, or a group has too few records.
    """
    weights, unit = _weights(spec, data)
    t = len(spec.traits)
    if spec.residual_by is None:
        return ResidualDesign(
            structure=residual_structure(spec),
            effects=spec.traits,
            trait_of=np.arange(t),
            group_of=np.zeros(t, dtype=np.intp),
            group=np.zeros(len(data), dtype=np.intp),
            weights=weights,
            unit=unit,
        )
    by = as_labels(data[spec.residual_by])
    require_all_complete([residual_groups(by)])
    group, levels = factorise(by)
    groups = tuple(map(as_text, levels))
    trait_of, group_of = (part.reshape(-1) for part in np.indices((t, len(groups))))
    effects = [f"{trait}:{label}" for trait in spec.traits for label in groups]
    _check_groups(spec, groups, group, response)
    return ResidualDesign(
        structure=residual_structure(spec, groups),
        effects=tuple(effects) if t > 1 else groups,
        trait_of=trait_of,
        group_of=group_of,
        column=spec.residual_by,
        groups=groups,
        group=np.asarray(group, dtype=np.intp),
        weights=weights,
        unit=unit,
    )


def residual_groups(column: pd.Series[Any]) -> Needed:
    """Column of residual groups (n,) as one that must be complete."""
    role, remedy = f"residual group '{column.name}'", "give these units a group or take them out"
    return Needed(column=column, role=role, remedy=remedy)


def residual_structure(spec: ModelSpec, groups: Sequence[str] = ()) -> CovarianceStructure:
    """Structure of the residuals: one among the traits, or one for each group, effects trait by trait."""
    own, t, g = spec.covariance(RESIDUAL, spec.residual, spec.traits), len(spec.traits), len(groups)
    if not groups:
        return own
    return Separate(t * g, (own,) * g, tuple(tuple(a * g + k for a in range(t)) for k in range(g)))


def _check_groups(spec: ModelSpec, groups: tuple[str, ...], group: npt.NDArray[np.intp], response: Array) -> None:
    """Refuse groups without two records of every trait."""
    for g, label in enumerate(groups):
        counts = (~np.isnan(response[group == g])).sum(axis=0)
        few = [trait for trait, n in zip(spec.traits, counts, strict=True) if n < 2]
        if few:
            raise DataError(
                f"'{spec.residual_by}' {label} has fewer than two records of {listing(few)}: no residual variance can "
                f"be estimated there; join the group to another, or leave it out of the data"
            )


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
