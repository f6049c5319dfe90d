"""Record of a saved fit: the model, the names and units of its numbers, and of which data it is.

A `ModelRecord` is made of a design, written with every posterior and REML fit, and read back once; tables and
comparisons ask it, so that they need neither the data nor an engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.covariance import CovarianceBlocks
from bayesmv.covariance.named import NamedCovariances
from bayesmv.design.design import Design, records_per_level
from bayesmv.design.effect_layout import EffectLayout
from bayesmv.design.residual import residual_structure
from bayesmv.design.saved import entry
from bayesmv.errors import SpecError
from bayesmv.model.genetic import Genetic
from bayesmv.model.spec import ModelSpec
from bayesmv.numerics.symmetric import vech
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.words import prior_words

#: Attributes of a saved tree: the model file, and the rest as JSON.
_MODEL, _RECORD = "model", "record"


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelRecord(NamedCovariances):
    """Model, names, units and identity of the data of a fit.

    Parameters
    ----------
    spec
        The model.
    effects
        Labels of the effects of every covariance matrix, by name, the residual last.
    units
        Unit of each of these effects: phenotypic sd of its trait, over the unit of a raw covariate.
    layouts
        How the effects of each random term, and of grouped residuals, make up a record.
    identities
        Trait, member and function of every effect of the random terms, by which terms of two models are matched.
    records_per_level
        Harmonic mean number of records of each trait per level of every random term, (t,).
    residual_groups, residual_traits
        Groups with residual covariances of their own, and the traits that were recorded in each; empty for one group.
    n_records, n_coefficients
        Numbers of records and of fixed effects.
    references
        Factors among the fixed effects, with the level whose effect is 0.
    notes
        What was left out or changed in the data, in words.
    fingerprint
        Digests of the data, by what they are of: records, units, fixed effects, levels, relationships, weights.
    priors
        Priors of a posterior, by name; empty for a REML fit.
    prior_words
        The same in words.
    """

    spec: ModelSpec
    effects: Mapping[str, tuple[str, ...]]
    units: Mapping[str, tuple[float, ...]]
    layouts: Mapping[str, EffectLayout]
    identities: Mapping[str, tuple[tuple[int, str, str], ...]]
    records_per_level: Mapping[str, tuple[float, ...]]
    residual_groups: tuple[str, ...] = ()
    residual_traits: tuple[tuple[str, ...], ...] = ()
    n_records: int
    n_coefficients: int
    references: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: Mapping[str, str]
    priors: Mapping[str, CovariancePrior] = field(default_factory=dict)
    prior_words: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, design: Design, priors: Mapping[str, CovariancePrior] | None = None) -> Self:
        """Record of a design, with the priors of a posterior."""
        given = priors or {}
        return cls(
            spec=design.spec,
            effects={name: design.effects_of(name) for name in design.names},
            units={name: tuple(design.effect_scale(name).tolist()) for name in design.names},
            layouts=design.layouts,
            identities={t.name: tuple((i, str(m), str(f)) for i, m, f in t.identities) for t in design.terms},
            records_per_level={t.name: tuple(records_per_level(design, t.name).tolist()) for t in design.terms},
            residual_groups=design.residual.groups,
            residual_traits=design.residual.recorded,
            n_records=design.n_records,
            n_coefficients=int(design.fixed.present.sum()),
            references=design.fixed.references,
            notes=design.notes,
            fingerprint=fingerprint(design),
            priors=given,
            prior_words={name: prior_words(design.structure(name), prior) for name, prior in given.items()},
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the covariance matrices, the residual last."""
        return tuple(self.effects)

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the traits."""
        return self.spec.traits

    @property
    def genetic(self) -> Genetic | None:
        """The genetic term that the model states."""
        return self.spec.genetic

    @cached_property
    def blocks(self) -> CovarianceBlocks:
        """Covariance structures in working units, in the order of `names`."""
        spec = self.spec
        terms = [spec.covariance(t.name, t.structure, self.effects[t.name]) for t in spec.random]
        both = [*terms, residual_structure(spec, self.residual_traits)]
        return CovarianceBlocks(tuple(s.rescaled(self.effect_scale(n)) for n, s in zip(self.names, both, strict=True)))

    def effects_of(self, name: str) -> tuple[str, ...]:
        """Labels of the effects of a term, or of the residual."""
        self.position(name)
        return self.effects[name]

    def effect_scale(self, name: str) -> Array:
        """Unit of each effect of a term, or of the residual, (m,)."""
        return np.asarray(self.units[name])

    @property
    def component_unit(self) -> Array:
        """Unit of every component (stacked lower triangles of the matrices), (c,)."""
        return vech([self._unit_products(name) for name in self.names])

    def same_subject(self, name: str) -> tuple[str, ...]:
        """Other terms on the levels and traits of a term: dominance, permanent environment.

        Effects of its levels in environments are none of them: they differ between records.
        """
        own = {t.name: t for t in self.spec.random}
        if name not in own:
            return ()
        return tuple(other for other, term in own.items() if other != name and term.subject == own[name].subject)

    def differences(self, other: ModelRecord, *, model: bool = True) -> tuple[str, ...]:
        """Differences of two fits, in words: parts of the model (if asked for), parts of the data.

        Priors, titles and file names do not count.
        """
        mine, theirs = (_parts(r.spec) if model else {} for r in (self, other))
        changed = [part for part, value in mine.items() if value != theirs[part]]
        both = [part for part in self.fingerprint if part in other.fingerprint]
        changed += [part for part in both if self.fingerprint[part] != other.fingerprint[part]]
        return tuple(dict.fromkeys(changed))

    def require_same(self, other: ModelRecord, mine: str, theirs: str) -> None:
        """Refuse two fits of different models or data.

        Raises
        ------
        SpecError
            Naming what differs; `mine` and `theirs` say what the two are.
        """
        changed = self.differences(other)
        if changed:
            raise SpecError(
                f"{mine} and {theirs} are not of the same model and data; they differ in {', '.join(changed)} "
                f"({self.spec}; {other.spec})"
            )

    def to_attributes(self) -> dict[str, str]:
        """Attributes of a saved tree that :meth:`read` understands."""
        entries = {
            "effects": self.effects,
            "units": self.units,
            "layouts": {name: layout.to_mapping() for name, layout in self.layouts.items()},
            "identities": self.identities,
            "records_per_level": self.records_per_level,
            "residual_groups": self.residual_groups,
            "residual_traits": self.residual_traits,
            "n_records": self.n_records,
            "n_coefficients": self.n_coefficients,
            "references": self.references,
            "notes": self.notes,
            "fingerprint": self.fingerprint,
            # A prior that a user wrote has words, but no numbers to read back.
            "priors": {name: prior.to_mapping() for name, prior in self.priors.items() if prior.is_written},
            "prior_words": self.prior_words,
        }
        # Priors stand in the record: those that were used, which may not be those of the model.
        return {_MODEL: replace(self.spec, priors={}).to_toml(), _RECORD: json.dumps(entries)}

    @classmethod
    def read(cls, tree: xr.DataTree) -> Self:
        """Read the record of a saved tree.

        Raises
        ------
        SpecError
            If it has none, or one of an earlier version of bayesmv.
        """
        if _RECORD not in tree.attrs or _MODEL not in tree.attrs:
            raise SpecError(
                "this is no posterior or fit of this version of bayesmv: it says nothing of its model and data; "
                "sample or fit again"
            )
        try:
            entries = entry(tree.attrs, _RECORD)
            spec = ModelSpec.from_toml(tree.attrs[_MODEL])
            return cls(
                spec=spec,
                layouts={name: EffectLayout.from_mapping(entry) for name, entry in entries.pop("layouts").items()},
                priors={n: CovariancePrior.from_mapping(p, n) for n, p in entries.pop("priors").items()},
                **{name: _frozen(value) for name, value in entries.items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SpecError(f"the record of the model cannot be read ({error}); sample or fit again") from None


def _frozen(value: Any) -> Any:
    """Lists as tuples, at any depth of lists."""
    if isinstance(value, dict):
        return {key: _frozen(entry) for key, entry in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _parts(spec: ModelSpec) -> dict[str, object]:
    """Parts of a model that fits are of, by name."""
    return {
        "traits": spec.traits,
        "the formula of fixed effects": spec.fixed_formula,
        "random terms": spec.random_formula,
        "the residual": spec.residual_formula,
        "weights": spec.weights,
        "the offset": dict(spec.offset),
        "families": {trait: each.to_mapping() for trait, each in spec.families.items()},
        "matrices": dict(spec.matrices),
        "constraints": {term: dict(entries) for term, entries in spec.constraints.items()},
    }


def fingerprint(design: Design) -> dict[str, str]:
    """Digests of the parts of a design's data, by what they are of.

    Records and labels are taken as they stand. Numbers that were computed from data (columns of X, K⁻¹) enter by sums
    to eight digits, so that another machine's rounding does not make other data of them.
    """
    X = design.fixed.X.tocoo()
    out = {
        "records": _digest([design.traits], np.where(np.isnan(design.response), np.inf, design.response) + 0.0),
        "units": _digest(design.units),
        "fixed effects": _digest(design.fixed.variables, _sums(X), design.fixed.present),
    }
    if not design.residual.plain:
        out["residual groups and weights"] = _digest(
            design.residual.groups, design.residual.group, _rounded(design.residual.weights * design.residual.unit**2)
        )
    for term in design.terms:
        out[f"levels of {term.name}"] = _digest(term.levels, *(_sums(Z.tocoo()) for Z in term.incidences))
        related = ["none"] if term.relationship is None else _sums(term.precision.tocoo())
        out[f"relationship of {term.name}"] = _digest(related)
    return out


def _sums(matrix: sparse.coo_array) -> list[str]:
    """Shape of a matrix, and sums of its entries that tell it from others, to eight digits."""
    weight = np.cos(1.0 + matrix.row + 0.7 * matrix.col)
    size = np.abs(matrix.data).sum()
    sums = [size, float(matrix.data @ weight) / (size or 1.0), float(matrix.data**2 @ (2.0 + weight))]
    return [str(matrix.shape), *(f"{value:.8g}" for value in sums)]


def _rounded(values: Array) -> list[str]:
    return [f"{value:.8g}" for value in values.tolist()]


def _digest(*parts: Iterable[object] | npt.NDArray[Any] | pd.Index) -> str:
    """Sixteen hexadecimal digits of labels and arrays."""
    out = hashlib.blake2b(digest_size=8)
    for part in parts:
        numbers = isinstance(part, np.ndarray) and part.dtype.kind in "biuf"
        text = part.tobytes() if numbers else "\x1f".join(map(str, part)).encode()  # type: ignore[union-attr]
        out.update(f"{len(text)}:".encode() + text)
    return out.hexdigest()
