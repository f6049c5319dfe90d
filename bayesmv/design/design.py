"""From a table and a specification to the arrays of the mixed model, with every check made once, here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayesmv.arrays import Array, ByContent, Shown, as_frame
from bayesmv.covariance import CovarianceBlocks, CovarianceStructure, Unstructured
from bayesmv.covariance.named import NamedCovariances
from bayesmv.design.coded import coded, require_estimable, with_bounds_read, with_levels_coded
from bayesmv.design.effect_layout import EffectLayout
from bayesmv.design.fixed import FixedDesign, build_fixed
from bayesmv.design.magnitude import check_traits
from bayesmv.design.random import TermDesign, TermInputs, build_term
from bayesmv.design.records import check_parameters, read_traits, residual_sd
from bayesmv.design.residual import ResidualDesign, build_residual, residual_groups
from bayesmv.design.widen import from_long
from bayesmv.design.written import as_covariate, as_labels
from bayesmv.dims import RESIDUAL
from bayesmv.errors import LINE, DataError, Needed, SpecError, listing, require_all_complete, require_known, rows_of
from bayesmv.families import Family
from bayesmv.families.declared import Censored, Gaussian
from bayesmv.model.basis import needed_covariate
from bayesmv.model.spec import ModelSpec
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.laws import HalfNormal
from bayesmv.priors.shares import shared_terms
from bayesmv.relationship.labels import as_text, factorise, is_from_file, notes_of
from bayesmv.relationship.relationship import Relationship

__all__ = ["Design", "TermDesign", "build_design"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Design(Shown, ByContent, NamedCovariances):
    """Everything that the likelihood needs, and what was done to the data to get there.

    Parameters
    ----------
    spec
        The model.
    traits
        Names of the traits (t,).
    families
        Families of the traits (t,), with the numbers of trials, and bounds, of the units kept.
    units
        Labels of the units kept (n,).
    kept
        Which rows of the data they are, (rows,).
    response
        Records less their offsets (n, t), NaN where a trait was not recorded, in the units of the data; of a trait that
        is not Gaussian its counts or scores 1 … K, 0 and 1; of a censored record a number within its bounds.
    offset
        Known parts of the records, or of the latent values of traits that are not Gaussian, (n, t).
    scale
        Phenotypic standard deviations after fixed effects (t,): covariances are estimated and sampled in these units.
    fixed
        Fixed-effect design.
    terms
        Random terms.
    residual
        Residuals.
    table
        Columns of the data that the model names beside the traits, of the units kept, as they were given.
    notes
        What was left out or changed, in words; shown with every report.
    """

    spec: ModelSpec
    traits: tuple[str, ...]
    families: tuple[Family, ...]
    units: pd.Index
    kept: npt.NDArray[np.bool_]
    response: Array
    offset: Array
    scale: Array
    fixed: FixedDesign
    terms: tuple[TermDesign, ...]
    residual: ResidualDesign
    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Sizes of the design, term by term."""
        told = [
            str(self.spec),
            f"{len(self.units)} units, {self.n_records} records of {len(self.traits)} traits, "
            f"{int(self.fixed.present.sum())} fixed coefficients",
        ]
        for term in self.terms:
            related = "" if term.relationship is None else ", related"
            structure = f"{term.structure.name} of {', '.join(term.effects)}"
            told.append(f"{term.name}: {len(term.levels)} levels{related}, {structure}")
        return "\n".join([*told, *(f"note: {note}" for note in self.notes)])

    @property
    def observed(self) -> npt.NDArray[np.bool_]:
        """Which traits of which units were recorded, (n, t)."""
        return np.asarray(~np.isnan(self.response))

    @property
    def gaussian(self) -> bool:
        """Whether every trait is Gaussian, and known exactly."""
        return all(type(family) is Gaussian for family in self.families)

    def require_gaussian(self, what: str) -> None:
        """Refusal of a design with traits that are not Gaussian, where something is of Gaussian ones.

        Raises
        ------
        SpecError
            Naming the traits.
        """
        others = [t for t, family in zip(self.traits, self.families, strict=True) if type(family) is not Gaussian]
        if others:
            raise SpecError(f"{what} so far only where every trait is Gaussian, and {listing(others)} is not")

    @property
    def n_records(self) -> int:
        """Number N of observed (unit, trait) records."""
        return int(self.observed.sum())

    @property
    def complete(self) -> bool:
        """Whether every trait was recorded on every unit."""
        return bool(self.observed.all())

    @property
    def blocks(self) -> CovarianceBlocks:
        """The covariance structures: random terms in order, then the residual."""
        return CovarianceBlocks((*(term.structure for term in self.terms), self.residual.structure))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the covariance matrices, in the order of `blocks`."""
        return (*(term.name for term in self.terms), RESIDUAL)

    def priors(self, given: Mapping[str, CovariancePrior] | None = None) -> dict[str, CovariancePrior]:
        """Prior of every covariance matrix: the one given, else the specification's, else the default.

        Raises
        ------
        SpecError
            If a prior is given for a term that does not exist, or does not suit its matrix.
        """
        spec = self.spec.with_priors(given or {})
        out = {name: spec.priors.get(name, self._default_prior(name)) for name in self.names}
        for name, prior in out.items():
            structure = self.structure(name)
            if prior.wishart is not None:
                if not isinstance(structure, Unstructured):
                    raise SpecError(
                        f"the prior of {name} is an inverse Wishart, and its matrix is {structure.name}; that prior is "
                        f"of unstructured matrices, us(trait)"
                    )
                prior.wishart.scale(structure.size)
        shared_terms(out)
        return out

    def _default_prior(self, name: str) -> CovariancePrior:
        """Prior where none is given: half-normal of a matrix with a liability, else the general one.

        Its tail ends where a liability of one record a level, of which data say little, would go on for ever.
        """
        families = [self.families[t] for t in self.traits_of[name]]
        on_liability = any(family.link_variance > 0.0 for family in families)
        return CovariancePrior(sd=HalfNormal(1.0)) if on_liability and name != RESIDUAL else CovariancePrior()

    @property
    def traits_of(self) -> dict[str, npt.NDArray[np.intp]]:
        """Trait of every effect of the terms and the residual, by name."""
        return {**{term.name: term.trait_of for term in self.terms}, RESIDUAL: self.residual.trait_of}

    def effects_of(self, name: str) -> tuple[str, ...]:
        """Labels of the effects of a term, or of the residual."""
        return self.residual.effects if name == RESIDUAL else self.term(name).effects

    def term(self, name: str) -> TermDesign:
        """Return the random term called `name`.

        Raises
        ------
        SpecError
            If there is none.
        """
        for term in self.terms:
            if term.name == name:
                return term
        raise SpecError(f"no random term '{name}'; random terms: {listing(t.name for t in self.terms)}")

    def effect_scale(self, name: str) -> Array:
        """Unit of each effect of a term or of the residual, (m,): phenotypic sd, over the unit of a raw covariate."""
        if name == RESIDUAL:
            return np.asarray(self.scale[self.residual.trait_of] * self.residual.unit)
        term = self.term(name)
        return np.asarray(self.scale[term.trait_of] / term.load_unit[term.load_of])

    @property
    def layouts(self) -> dict[str, EffectLayout]:
        """Layouts of the effects of each random term, and of grouped residuals, in a record, by name."""
        residual = self.residual.layout
        out = {term.name: term.layout for term in self.terms}
        return out if residual is None else out | {RESIDUAL: residual}

    @property
    def working_response(self) -> Array:
        """Records minus the ordinary-least-squares fit, in phenotypic sd, 0 where not recorded, (n, t)."""
        return np.asarray(np.where(self.observed, (self.response - self.fixed.fitted) / self.scale, 0.0))

    @property
    def working_families(self) -> tuple[Family, ...]:
        """Families of working records: bounds less offsets and the least-squares fit, in phenotypic sd."""
        known = self.fixed.fitted + self.offset
        return tuple(
            replace(f, lower=(f.lower - known[:, t]) / self.scale[t], upper=(f.upper - known[:, t]) / self.scale[t])
            if isinstance(f, Censored)
            else f
            for t, f in enumerate(self.families)
        )

    @property
    def censored(self) -> npt.NDArray[np.bool_]:
        """Which records are known by bounds only, (n, t)."""
        return np.column_stack(
            [
                seen & ~f.exact if isinstance(f, Censored) else np.zeros(len(seen), dtype=bool)
                for f, seen in zip(self.families, self.observed.T, strict=True)
            ]
        )

    @property
    def log_jacobian(self) -> float:
        """Term to add to a restricted log-likelihood of scaled records to get that of the data."""
        per_trait = (self.observed & ~self.censored).sum(axis=0) - self.fixed.present.sum(axis=0)
        return float(-(per_trait @ np.log(self.scale)))


def build_design(
    spec: ModelSpec,
    data: Any,
    relationships: Mapping[str, Relationship] | None = None,
) -> Design:
    """Check the data against the model and build its arrays.

    Parameters
    ----------
    spec
        The model.
    data
        One row a unit: traits (numeric, NaN where not recorded), factors and covariates; or, with `spec.long`, one row
        a record. A DataFrame of pandas or polars, or an Arrow table. Never modified.
    relationships
        Relationships among levels by the name that the model gives them (``vm(animal, A)`` → ``"A"``), or by factor.

    Returns
    -------
    Design
        Units without any record are left out, and a note says so.

    Raises
    ------
    SpecError
        If the model names columns, relationships or traits that do not exist.
    DataError
        If the data cannot support the model.
    """
    relationships = dict(relationships or {})
    table, told = _wide(spec, as_frame(data, "data"))
    _check_columns(spec, table)
    units = _unit_labels(spec, table)
    notes = [*_notes_of_file(spec, table), *told]
    rows = _with_units_named(spec, table, units)
    rows = with_levels_coded(spec, with_bounds_read(spec, rows, notes))
    response = read_traits(spec.traits, rows, spec.missing, notes)
    check_traits(spec.traits, response)
    keep = _recorded(response, units, rows.index, notes)
    inputs = TermInputs(spec=spec, rows=rows, kept=keep, relationships=relationships)
    kept, units, response = rows[keep], units[keep], response[keep]
    require_all_complete(_needed(inputs, kept))
    spec = _written_out(spec, kept)
    inputs = replace(inputs, spec=spec)
    offset = _offsets(spec, kept)
    response, families = coded(spec, kept, response, notes)
    linear = np.array([family.linear for family in families])
    response = response - np.where(linear, offset, 0.0)
    fixed = build_fixed(spec.fixed, spec.traits, kept, response, notes)
    terms = tuple(build_term(term, inputs, notes) for term in spec.random)
    residual = build_residual(spec, kept, response, notes)
    require_estimable(spec.traits, families, response, fixed, terms)
    # Latent values have no least-squares fit, and their scale is fixed or logarithmic.
    spread = np.where(linear, residual_sd(spec.traits, response, fixed), 1.0)
    fixed = replace(fixed, ols=np.where(linear, fixed.ols, 0.0))
    scale = _scales(spread, terms, residual.structure)
    check_parameters(response, fixed, CovarianceBlocks((*(term.structure for term in terms), residual.structure)))
    return Design(
        spec=spec,
        traits=spec.traits,
        families=families,
        units=units,
        kept=keep,
        response=response,
        offset=offset,
        scale=scale,
        fixed=fixed,
        terms=tuple(
            replace(term, structure=term.structure.rescaled(scale[term.trait_of] / term.load_unit[term.load_of]))
            for term in terms
        ),
        residual=residual.rescaled(scale),
        table=kept[[name for name in dict.fromkeys(spec.columns) if name in kept.columns]],
        notes=tuple(notes),
    )


def _wide(spec: ModelSpec, data: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Table with a column for each trait, and what was left out of one with a row for each."""
    if spec.long is None:
        return data, []
    bounded = [trait for trait, f in spec.families.items() if f.bounds]
    if bounded:
        raise SpecError(f"bounds of {listing(bounded)} stand in columns of their own: give the table with a row a unit")
    notes: list[str] = []
    used = {spec.long.trait, spec.long.value, spec.long.unit, *spec.columns}
    return from_long(data[[name for name in data.columns if name in used]], spec.traits, spec.long, notes), notes


def _check_columns(spec: ModelSpec, data: pd.DataFrame) -> None:
    twice = list(dict.fromkeys(c for c in data.columns if list(data.columns).count(c) > 1))
    if twice:
        raise DataError(f"the data have two columns called {listing(twice)}; rename one of them")
    factors = tuple(dict.fromkeys(name for term in spec.random for name in term.factor_columns))
    bounded = {trait: f.bounds for trait, f in spec.families.items() if f.bounds}
    wanted = {"trait": [trait for trait in spec.traits if trait not in bounded], "random factor": factors}
    wanted["bound"] = tuple(name for names in bounded.values() for name in names)
    wanted["partner or covariate"] = tuple(dict.fromkeys(name for t in spec.random for name in t.columns))
    wanted["residual group"] = spec.residual_by
    wanted["offset"] = tuple(spec.offset.values())
    wanted["number of trials"] = tuple(f.size for f in spec.families.values() if isinstance(f.size, str))
    wanted["weight"] = () if spec.weights is None else (spec.weights,)
    wanted["unit"] = () if spec.unit is None else (spec.unit,)
    for role, names in wanted.items():
        require_known(names, data.columns, f"the {role} {{}} is not a column of the data; columns")
    if not len(data):
        raise DataError("the data have no rows")


def _offsets(spec: ModelSpec, data: pd.DataFrame) -> Array:
    """Offsets of the records, (n, t); 0 for traits without one."""
    columns = [spec.offset.get(trait) for trait in spec.traits]
    values = [np.zeros(len(data)) if c is None else as_covariate(data[c]).to_numpy(dtype=float) for c in columns]
    return np.column_stack(values)


def _written_out(spec: ModelSpec, data: pd.DataFrame) -> ModelSpec:
    """Model with a term for each level of the columns at which some term is one at each, ``at(site):Block``."""
    for column in spec.split_by:
        spec = spec.at_each(column, [as_text(level) for level in factorise(as_labels(data[column]))[1]])
    return spec


def _unit_labels(spec: ModelSpec, data: pd.DataFrame) -> pd.Index:
    if spec.unit is None and is_from_file(data):
        return pd.RangeIndex(len(data))
    units = data.index.to_flat_index() if spec.unit is None else pd.Index(as_labels(data[spec.unit]), name=spec.unit)
    where = "the index of the data" if spec.unit is None else f"the unit column '{spec.unit}'"
    if units.hasnans:
        empty = np.flatnonzero(units.isna())
        rows = rows_of(data.index[empty]) if is_from_file(data) else f"rows {listing(empty + 1)}"
        raise DataError(f"{where} has missing values in {rows}")
    again = units.duplicated(keep=False)
    if again.any():
        lines = f" ({rows_of(data.index[again])})" if is_from_file(data) else ""
        raise DataError(
            f"{where} names {listing(units[again].unique())} more than once{lines}; each row must be a unit of its own "
            f"(for repeated records, leave the unit out of the model file, or reset_index() the data)"
        )
    return units


def _with_units_named(spec: ModelSpec, data: pd.DataFrame, units: pd.Index) -> pd.DataFrame:
    """Data of a file with the names of the units beside the lines, for messages."""
    if spec.unit is None or not is_from_file(data):
        return data
    return data.set_axis(pd.MultiIndex.from_arrays([data.index, units], names=[LINE, spec.unit]))


def _recorded(response: Array, units: pd.Index, rows: pd.Index, notes: list[str]) -> npt.NDArray[np.bool_]:
    keep = np.asarray(~np.isnan(response).all(axis=1))
    if not keep.all():
        named = rows_of(rows[~keep]) if rows.nlevels == 1 else listing(units[~keep])
        notes.append(f"{(~keep).sum()} units without a record of any trait were left out: {named}")
    return keep


def _notes_of_file(spec: ModelSpec, data: pd.DataFrame) -> list[str]:
    """Notes of the file about the columns that the model uses."""
    return list(notes_of(data, {*spec.traits, *spec.columns}))


def _needed(inputs: TermInputs, data: pd.DataFrame) -> list[Needed]:
    """Columns that must have no missing values on the units with records, so that all are named at once."""
    spec = inputs.spec
    remedy = "fill the values in or take these units out"
    needed = [
        Needed(column=as_covariate(data[name]), role=f"fixed effect '{name}'", remedy=remedy)
        for name in dict.fromkeys(name for term in spec.fixed for name in term.columns)
        if name in data.columns
    ]
    needed += [need for term in spec.random for need in inputs.needed(term)]
    needed += [residual_groups(as_labels(data[name])) for name in spec.residual_by]
    offsets = dict.fromkeys(spec.offset.values())
    return needed + [needed_covariate(as_covariate(data[name]), "offset") for name in offsets]


def _scales(spread: Array, terms: tuple[TermDesign, ...], residual: CovarianceStructure) -> Array:
    """Unit of each trait: its residual sd, or a common one for traits whose variances a structure ties."""
    scale = spread.copy()
    tied = [np.unique(term.trait_of) for term in terms if term.structure.ties_scales]
    if residual.ties_scales:
        tied.append(np.arange(len(scale)))
    for group in _merge(tied):
        scale[group] = np.exp(np.mean(np.log(scale[group])))
    return scale


def _merge(groups: list[npt.NDArray[np.intp]]) -> list[list[int]]:
    merged: list[set[int]] = []
    for group in groups:
        joined = set(group.tolist()).union(*(m for m in merged if m & set(group.tolist())))
        merged = [m for m in merged if not m & joined] + [joined]
    return [sorted(m) for m in merged]


def records_per_level(design: Design, term: str) -> Array:
    """Harmonic mean number of records of each trait per level that has any, (t,)."""
    counts = abs(design.term(term).bearers[0]).T @ design.observed.astype(float)
    with np.errstate(divide="ignore"):
        return np.asarray((counts > 0).sum(axis=0) / np.where(counts > 0, 1.0 / counts, 0.0).sum(axis=0))
