"""Model as frozen data: what is measured, what varies, what the covariances look like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from bayesmv.arrays import Shown
from bayesmv.covariance import (
    Constraint,
    CovarianceStructure,
    Matrix,
    Separate,
    checked_matrix,
    constrained,
    split_structure,
    structure,
)
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.model import modelfile
from bayesmv.model.families import TraitFamily, read_families
from bayesmv.model.formula import (
    parse_fixed,
    parse_named,
    parse_random,
    parse_residual,
    parse_traits,
    residual_sets,
    split_top,
)
from bayesmv.model.genetic import Genetic
from bayesmv.model.grammar import bare, quoted
from bayesmv.model.reading import LongLayout, ReadOptions
from bayesmv.model.terms import Condition, FixedTerm, RandomTerm, distinguished, trait_prefix
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.relationship.labels import codes_of


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelSpec(Shown):
    """Multi-trait mixed model: ``Y = XB + Σ_k Z_k U_k + E``, ``vec(U_k) ~ N(0, Σ_k ⊗ K_k)``.

    Build it with :meth:`from_formula` or :meth:`from_file`.

    Parameters
    ----------
    traits
        Columns of the data that are the traits.
    fixed
        Fixed effects, fitted for every trait unless restricted.
    random
        Random terms.
    residual
        Covariance structure of the residuals among the traits of a unit.
    residual_by
        Columns of groups of units with residual covariances of their own, ``at(site):us(trait):units``; several for the
        combinations of their levels.
    weights
        Column of known weights: the residual covariance of a unit is divided by its weight.
    offset
        Columns of known parts of the records, by trait, which enter with the coefficient 1; of the latent value of a
        trait that is not Gaussian, the logarithm of the exposure of a count.
    families
        Families of the traits that are not Gaussian, by trait.
    unit
        Column that identifies the units; None takes each row as a unit.
    missing
        Codes that mean missing in the traits, ``("-999",)``, besides empty cells, ``.``, ``*`` and ``NA``; numbers
        match however they are written. None lets the design refuse values that look like codes; an empty tuple says
        that there are none, so that all values are records.
    genetic
        The genetic term, for heritabilities and genetic correlations.
    priors
        Priors by name of the term, where they are not the default.
    matrices
        Covariance matrices by name, for the structures ``fixed(trait, name)`` and ``scaled(trait, name)``, in the units
        of the data.
    constraints
        By name of the term, the parameters of its structure that are held at a value (in the units of the data) or
        equated to another: ``{"Family": {"cor": 0.5, "sd[bden]": "sd[veloc]"}}``.
    relationships
        Files of relationships by name, as read from a model file: ``{"animal": {"pedigree": "ped.csv"}}``.
    data
        File of the data (``dataset:<name>`` for a shipped data set), as read from a model file.
    read
        How that file is read, where it does not tell itself.
    long
        Columns of data that hold a record of one trait a row; None for data with a column for each trait.
    units
        Units of the traits, for labels of pictures and reports, by trait.
    name, title
        For reports.
    base
        Folder that relative file names start from.
    """

    traits: tuple[str, ...]
    fixed: tuple[FixedTerm, ...] = (FixedTerm(formula="1"),)
    random: tuple[RandomTerm, ...] = ()
    residual: str = "us"
    residual_by: tuple[str, ...] = ()
    weights: str | None = None
    offset: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, TraitFamily] = field(default_factory=dict)
    unit: str | None = None
    missing: tuple[str, ...] | None = None
    genetic: Genetic | None = None
    priors: Mapping[str, CovariancePrior] = field(default_factory=dict)
    matrices: Mapping[str, Matrix] = field(default_factory=dict)
    constraints: Mapping[str, Mapping[str, Constraint]] = field(default_factory=dict)
    relationships: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    long: LongLayout | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    name: str = "model"
    title: str = ""
    base: Path = field(default=Path(), compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "random", distinguished(self.random))
        if self.unit is None and self.long is not None:
            object.__setattr__(self, "unit", self.long.unit)
        # A column that stands alone needs no back-quotes, and may have them.
        object.__setattr__(self, "weights", None if self.weights is None else bare(self.weights))
        object.__setattr__(self, "unit", None if self.unit is None else bare(self.unit))
        object.__setattr__(self, "offset", {trait: bare(column) for trait, column in self.offset.items()})
        object.__setattr__(self, "families", read_families(self.families))
        checked = {name: checked_matrix(values, name) for name, values in self.matrices.items()}
        object.__setattr__(self, "matrices", checked)
        _check_traits(self)
        _check_terms(self)

    def __hash__(self) -> int:
        """Hash that equal models share; the mappings enter by their keys."""
        formulas = (self.traits, self.fixed, self.random, self.residual, self.residual_by, self.weights, self.unit)
        tables = (self.priors, self.matrices, self.constraints, self.relationships, self.offset, self.units)
        return hash((*formulas, self.genetic, self.data, self.name, *map(frozenset, tables), frozenset(self.families)))

    @classmethod
    def from_formula(
        cls,
        formula: str,
        *,
        random: str = "",
        terms: Mapping[str, str] | None = None,
        residual: str | None = None,
        weights: str | None = None,
        offset: str | Mapping[str, str] | None = None,
        families: Mapping[str, Any] | None = None,
        unit: str | None = None,
        missing: Iterable[object] | None = None,
        long: LongLayout | None = None,
        genetic: Genetic | None = None,
        priors: Mapping[str, CovariancePrior] | None = None,
        matrices: Mapping[str, Any] | None = None,
        constraints: Mapping[str, Mapping[str, Constraint]] | None = None,
    ) -> Self:
        """Model in ASReml's words.

        Parameters
        ----------
        formula
            ``trait1 + trait2 ~ fixed effects`` (Wilkinson notation, :mod:`bayesmv.model.grammar`).
        random
            Random terms, ``us(trait):Block + us(trait):Family``, :func:`bayesmv.model.formula.parse_random`.
        terms
            Further random terms by the names that they are given, ``{"dominance": "us(trait):vm(id, D)"}``.
        residual
            ``us(trait):units`` (the default) or another structure, ``at(site):us(trait):units`` for one at each site.
        offset
            Column of all traits, or columns by trait.
        families
            Families of traits that are not Gaussian, ``{"scab": "binary", "sprouted": {"family": "binomial", "size":
            "sown"}}``; entries are those of :class:`~bayesmv.model.families.TraitFamily`.
        weights, unit, missing, long, genetic, priors, matrices, constraints
            See :class:`ModelSpec`.

        Raises
        ------
        SpecError
            If a part of the model is not understood.

        Examples
        --------
        >>> spec = ModelSpec.from_formula("bden + veloc ~ 1", random="us(trait):Block + us(trait):Family")
        >>> print(spec)
        bden + veloc ~ 1, random = us(trait):Block + us(trait):Family, residual = us(trait):units
        """
        sides = split_top(formula, "~")
        if len(sides) != 2:
            raise SpecError(f"the formula '{formula}' needs one '~', as in 'bden + veloc ~ 1'")
        left, right = sides
        traits = parse_traits(left)
        structure, by = ("us", ()) if residual is None else parse_residual(residual, len(traits))
        return cls(
            traits=traits,
            fixed=parse_fixed(right),
            random=(
                *parse_random(random, len(traits)),
                *(parse_named(name, text, len(traits)) for name, text in (terms or {}).items()),
            ),
            residual=structure,
            residual_by=by,
            weights=weights,
            offset=read_offset(offset, traits),
            families=read_families(families),
            unit=unit,
            missing=None if missing is None else codes_of(missing, "missing"),
            long=long,
            genetic=genetic,
            priors=dict(priors or {}),
            matrices=dict(matrices or {}),
            constraints=dict(constraints or {}),
        )

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Model of a file (TOML), :mod:`bayesmv.model.modelfile`.

        Raises
        ------
        SpecError
            If the file is absent, is not TOML, or has unknown or ill-typed entries.
        """
        return cls(**modelfile.read(Path(path)))

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read the text of a model file, as :meth:`to_toml` writes it.

        Raises
        ------
        SpecError
            If it is not TOML, or has unknown or ill-typed entries.
        """
        return cls(**modelfile.parse(text, Path("model")))

    def to_file(self, path: str | Path) -> None:
        """Write the model as a file that :meth:`from_file` reads back to an equal specification.

        Raises
        ------
        SpecError
            If a prior has no form in a model file.
        """
        Path(path).write_text(self.to_toml(), encoding="utf-8")

    def to_toml(self) -> str:
        """Text of the model file; raises as :meth:`to_file`."""
        return modelfile.write(self)

    def without_unwritten_priors(self) -> Self:
        """Same model with those priors only that a model file can hold."""
        return replace(self, priors={term: prior for term, prior in self.priors.items() if prior.is_written})

    @property
    def fixed_formula(self) -> str:
        """Fixed effects as written in a formula."""
        return " + ".join(str(term) for term in self.fixed)

    @property
    def random_formula(self) -> str:
        """Random terms as written in a formula."""
        return " + ".join(str(term) for term in self.random)

    @property
    def residual_formula(self) -> str:
        """Residual as written in a formula."""
        groups = f"at({':'.join(map(quoted, self.residual_by))}):" if self.residual_by else ""
        sets = self.residual_sets
        if len(sets) == 1:
            return f"{groups}{trait_prefix(sets[0][0], None)}:units"
        return " + ".join(f"{groups}{part}:units" for part in split_top(self.residual, "+"))

    @cached_property
    def residual_sets(self) -> list[tuple[str, tuple[str, ...]]]:
        """Structures of the residual, with the traits that each is of."""
        return residual_sets(self.residual, self.traits)

    def residual_covariance(self, recorded: Sequence[str] | None = None) -> CovarianceStructure:
        """Structure among the residuals of the traits that were recorded, by default of all.

        Raises
        ------
        SpecError
            If the structure, its arguments or its constraints do not fit.
        """
        present = self.traits if recorded is None else tuple(recorded)
        sets = [(word, tuple(t for t in traits if t in present)) for word, traits in self.residual_sets]
        held = {**self._identified(present), **self.constraints.get(RESIDUAL, {})}
        if len(sets) == 1:
            return self._covariance(RESIDUAL, sets[0][0], sets[0][1], held)
        parts, left = [], set(held)
        for word, traits in sets:
            mine = {name: value for name, value in held.items() if _names_only(name, traits)}
            left -= set(mine)
            if traits:
                # Of one trait they are alike, and what a family fixes has the name of the trait.
                own = "diag" if word == "idv" and len(traits) == 1 and mine else word
                parts.append((self._covariance(RESIDUAL, own, traits, mine), traits))
        if left and recorded is None:
            raise SpecError(
                f"[constraints.{RESIDUAL}]: {listing(sorted(left))} is of no one set of traits of the residual; name "
                f"its traits, as in cor[a,b]"
            )
        places = tuple(tuple(present.index(trait) for trait in traits) for _, traits in parts)
        return Separate(len(present), tuple(part for part, _ in parts), places)

    def _identified(self, traits: Sequence[str]) -> dict[str, Constraint]:
        """Residual standard deviations that families fix, of the traits that were recorded."""
        held = {trait: each.residual_sd for trait, each in self.families.items() if trait in traits}
        return {f"sd[{trait}]": sd for trait, sd in held.items() if sd is not None}

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the model uses beside the traits."""
        used = [name for term in self.fixed for name in term.columns]
        used += [name for term in self.random for name in term.columns]
        used += [*self.residual_by, *self.offset.values()]
        used += [name for name in (self.weights, self.unit) if name is not None]
        used += [each.size for each in self.families.values() if isinstance(each.size, str)]
        used += [name for each in self.families.values() for name in each.bounds]
        return tuple(dict.fromkeys(used))

    def with_priors(self, priors: Mapping[str, CovariancePrior]) -> Self:
        """Same model with some priors replaced."""
        return replace(self, priors={**self.priors, **priors})

    @property
    def split_by(self) -> tuple[str, ...]:
        """Columns at each level of which some random term is a term of its own, ``at(site):Block``."""
        every = [c.column for term in self.random for c in term.conditions if c.level is None]
        return tuple(dict.fromkeys(every))

    def at_each(self, column: str, levels: Sequence[str]) -> Self:
        """Same model with a term written out for each level of a column, in place of one at each.

        Priors and constraints of that term become those of each of them, and so does its part of the phenotypic
        variance.
        """
        whole = [term for term in self.random if Condition(column=column) in term.conditions]
        parts = {term.name: [term.at_level(column, level) for level in levels] for term in whole}
        random = distinguished([part for term in self.random for part in parts.get(term.name, [term])])
        placed = iter(random)
        names = {t.name: [next(placed).name for _ in parts.get(t.name, [t])] for t in self.random}
        named = {**names, RESIDUAL: [RESIDUAL]}
        return replace(
            self,
            random=random,
            priors={new: prior for old, prior in self.priors.items() for new in named[old]},
            constraints={new: held for old, held in self.constraints.items() for new in named[old]},
            genetic=None if self.genetic is None else self.genetic.renamed(named),
        )

    def prior(self, term: str) -> CovariancePrior:
        """Prior of a term's covariance matrix."""
        return self.priors.get(term, CovariancePrior())

    def covariance(self, term: str, word: str, effects: Sequence[str]) -> CovarianceStructure:
        """Structure written `word` among the effects of a term, with the constraints on it.

        Raises
        ------
        SpecError
            If the structure, its arguments or its constraints do not fit.
        """
        return self._covariance(term, word, effects, self.constraints.get(term, {}))

    def _covariance(
        self, term: str, word: str, effects: Sequence[str], constraints: Mapping[str, Constraint]
    ) -> CovarianceStructure:
        free = structure(word, len(effects), self.matrices)
        try:
            return constrained(free, constraints, effects)
        except SpecError as error:
            raise SpecError(f"[constraints.{term}]: {error}") from None

    def summary(self) -> str:
        """Model in words: the formula, and what else the specification states."""
        told = [str(self)]
        if self.genetic is not None:
            told.append(f"genetic: {self.genetic.term} ({self.genetic.relationship})")
        told += [f"prior of {term}: {prior}" for term, prior in self.priors.items()]
        for term, held in self.constraints.items():
            told.append(f"constraints on {term}: {', '.join(f'{name} = {value}' for name, value in held.items())}")
        told += [f"{trait}: {each.family}, {each.told}" for trait, each in self.families.items()]
        return "\n".join(told)

    def graph(self) -> str:
        """Terms of the model as a directed graph, in the language of Graphviz (DOT)."""
        lines = ["digraph model {", "  rankdir=LR;", "  node [fontname=Helvetica];"]
        lines += [f"  {_dot(trait)} [shape=box];" for trait in self.traits]
        for fixed in self.fixed:
            name = _dot(f"fixed: {fixed}")
            lines.append(f"  {name} [shape=plaintext];")
            lines += [f"  {name} -> {_dot(trait)};" for trait in fixed.traits or self.traits]
        for term in self.random:
            name = _dot(str(term))
            lines.append(f"  {name} [shape=ellipse];")
            lines += [f"  {name} -> {_dot(trait)};" for trait in term.traits or self.traits]
        name = _dot(self.residual_formula)
        lines.append(f"  {name} [shape=ellipse, style=dashed];")
        lines += [f"  {name} -> {_dot(trait)};" for trait in self.traits]
        return "\n".join([*lines, "}"])

    def __str__(self) -> str:
        traits = " + ".join(map(quoted, self.traits))
        random = f", random = {self.random_formula}" if self.random else ""
        return f"{traits} ~ {self.fixed_formula}{random}, residual = {self.residual_formula}"


def _dot(text: str) -> str:
    """Name of a node."""
    return json.dumps(text, ensure_ascii=False)


def read_offset(given: str | Mapping[str, str] | None, traits: Sequence[str]) -> dict[str, str]:
    """Offsets by trait, from a column of all traits or from columns by trait."""
    if given is None:
        return {}
    return dict.fromkeys(traits, given) if isinstance(given, str) else dict(given)


def _names_only(parameter: str, traits: Sequence[str]) -> bool:
    """Whether all traits that the name of a parameter holds, ``cor[a,b]``, are among some."""
    _, bracket, inside = parameter.partition("[")
    return bool(bracket) and all(trait in traits for trait in inside.rstrip("]").split(","))


def _check_traits(spec: ModelSpec) -> None:
    if not spec.traits:
        raise SpecError("a model needs at least one trait")
    twice = [t for t in dict.fromkeys(spec.traits) if spec.traits.count(t) > 1]
    if twice:
        raise SpecError(f"the trait {listing(twice)} is named twice")
    if any(not t for t in spec.traits):
        raise SpecError("an empty trait name: check the left side of the formula for a '+' too many")


def _check_terms(spec: ModelSpec) -> None:
    residual, none = spec.residual_covariance(), [f for f in spec.families.values() if f.residual_sd == 0.0]
    if residual.max_rank < len(spec.traits) - len(none):
        raise SpecError(
            f"the residual {residual.name} has rank {residual.max_rank} for {len(spec.traits)} traits; records then "
            f"have no density; use fa in place of rr, or a matrix of full rank"
        )
    for effect in spec.random:
        split_structure(effect.structure)
    names = [term.name for term in spec.random]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise SpecError(f"two random terms are called {listing(twice)}; name them, as in shade = us(trait):Block")
    if RESIDUAL in names:
        raise SpecError(f"'{RESIDUAL}' is the name of the residual; give that column of the data another name")
    require_known(spec.offset, spec.traits, "an offset is given for {}, which is not a trait; traits")
    require_known(spec.families, spec.traits, "a family is given for {}, which is not a trait; traits")
    if spec.families:
        _check_families(spec)
    require_known(spec.units, spec.traits, "a unit is given for {}, which is not a trait; traits")
    restricted: list[RandomTerm | FixedTerm] = [*spec.random, *spec.fixed]
    for term in restricted:
        require_known(term.traits or (), spec.traits, f"'{term}' names {{}}, which is not a trait; traits")
    terms = (*names, RESIDUAL)
    if spec.genetic is not None:
        _check_genetic(spec.genetic, names)
    require_known(spec.priors, terms, "a prior is given for {}; terms")
    require_known(spec.constraints, terms, "constraints are given for {}; terms")


def _check_families(spec: ModelSpec) -> None:
    """Refuse what models with traits that are not Gaussian do not have, and residuals held twice."""
    lacking = {"residuals of groups": spec.residual_by, "weights": spec.weights}
    for what, given in lacking.items():
        if given:
            raise SpecError(f"{what} are of models in which every trait is Gaussian; leave them out")
    for word, traits in spec.residual_sets:
        if word not in ("diag", "idv") and len(traits) > 1:
            _check_correlated(spec, word, [trait for trait in traits if trait in spec.families])
    held = spec.constraints.get(RESIDUAL, {})
    twice = [name for name in spec._identified(spec.traits) if name in held]
    if twice:
        raise SpecError(f"[constraints.{RESIDUAL}]: {listing(twice)} is fixed by the family of its trait; leave it out")


def _check_correlated(spec: ModelSpec, word: str, traits: Sequence[str]) -> None:
    """Refuse correlations of residuals that a distribution does not have, or of which the integral is not known."""
    apart = "write its residual apart, as in us(y, w):units + idv(z):units"
    for trait in traits:
        family = spec.families[trait]
        kinds = {"binomial": "of many trials", "negative_binomial": "negative binomial"}
        kind = kinds.get(family.family, "of a logit" if family.link == "logit" else "")
        if kind:
            raise SpecError(
                f"the residual of '{trait}', which is {kind}, is no normal deviate and cannot be correlated with "
                f"others as {word}(trait) says: {apart}"
            )


def _check_genetic(genetic: Genetic, names: list[str]) -> None:
    for role, terms in genetic.roles.items():
        require_known(terms, names, f"the {role} term {{}} is not a random term; random terms")
    require_known(genetic.phenotypic or (), (*names, RESIDUAL), "'phenotypic' names {}; terms")
