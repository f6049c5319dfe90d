"""Terms of a model, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bayesmv.model.basis import Basis
from bayesmv.model.factors import IDE, Factor
from bayesmv.model.grammar import Terms, columns_of, expand, parse, quoted, split_signs


@dataclass(frozen=True, kw_only=True)
class Partner:
    """Another individual whose effects on a record covary with those of the factor: its dam, or its pen mates.

    Parameters
    ----------
    column
        Column that names the individual, or for `social` partners the group whose other members they are.
    social
        Whether the partners are all other members of the group.
    dilution
        Exponent d of the weight ``1 / (mates)^d`` of each mate.
    """

    column: str
    social: bool = False
    dilution: float = 0.0

    @property
    def label(self) -> str:
        """Name of the effects."""
        return "mates" if self.social else self.column

    def __str__(self) -> str:
        column = quoted(self.column)
        if not self.social:
            return column
        return f"mates({column}, {self.dilution!r})" if self.dilution else f"mates({column})"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Records that a term acts on: those of one level of a column, ``at(site, A)``.

    Parameters
    ----------
    column
        The column.
    level
        The level; None for a term of its own at each, ``at(site)``, which the data tell.
    """

    column: str
    level: str | None = None

    @property
    def name(self) -> str:
        """Name in results."""
        return self.column if self.level is None else self.level

    def __str__(self) -> str:
        if self.level is None:
            return f"at({quoted(self.column)})"
        level = self.level if self.level.isascii() and self.level.isdecimal() else quoted(self.level)
        return f"at({quoted(self.column)}, {level})"


@dataclass(frozen=True, kw_only=True)
class RandomTerm:
    """One random term: a covariance structure among traits for every level of a factor, or of a product of factors.

    Parameters
    ----------
    structure
        ASReml's word for the covariance structure among traits, with its arguments: ``us``, ``fa(2)``.
    factors
        Factors, the combinations of whose levels are the levels; most often one.
    traits
        Traits that the term acts on; None means all.
    partners
        Others whose effects covary with those of the factor, ``str(factor, …)``: dams, pen mates.
    basis
        Functions of covariates that the effects multiply, ``us(leg(age, 2))``; None for the constant 1.
    conditions
        Records that the term acts on, ``at(site, A)``; none for all.
    given
        Name that was given to the term, ``dominance = us(trait):vm(id, D)``.
    name
        Name of the term in results; by default the one given, or what it acts on.
    """

    structure: str
    factors: tuple[Factor, ...]
    traits: tuple[str, ...] | None = None
    partners: tuple[Partner, ...] = ()
    basis: Basis | None = None
    conditions: tuple[Condition, ...] = ()
    given: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.given or self.default_name)

    @property
    def default_name(self) -> str:
        """Subject of the term: the factors, the traits where not all, the level where not all."""
        subject = "_".join((":".join(factor.name for factor in self.factors), *(self.traits or ())))
        return ".".join((subject, *(condition.name for condition in self.conditions)))

    @property
    def qualifier(self) -> str:
        """Mark that tells the term from others with the same default name: its relationships, or its covariates."""
        related = [f.relationship for f in self.factors if f.relationship not in (None, IDE)]
        return ":".join(map(str, related)) or ":".join(() if self.basis is None else self.basis.columns)

    def __str__(self) -> str:
        levels = ":".join(map(str, self.factors))
        if self.partners:
            levels = f"str({', '.join([levels, *map(str, self.partners)])})"
        name = "" if self.given is None else f"{quoted(self.given)} = "
        return f"{name}{':'.join([*map(str, self.conditions), self._prefix])}:{levels}"

    @property
    def _prefix(self) -> str:
        several = self.basis is not None or bool(self.partners)
        if self.traits is None or not several:
            prefix = trait_prefix(self.structure, self.traits)
        else:
            prefix = f"at(trait, {', '.join(map(quoted, self.traits))}):{trait_prefix(self.structure, None)}"
        if self.basis is None:
            return prefix
        at, word, rest = prefix.rpartition(f"{self.structure.partition('(')[0]}(trait")
        return f"{at}{word}:{self.basis}{rest}"

    @property
    def subject(self) -> tuple[object, ...]:
        """Key that terms on the same individuals and records share."""
        factors = tuple(factor.label for factor in self.factors)
        return factors, self.traits, self.conditions, self.basis is None

    @property
    def factor_columns(self) -> tuple[str, ...]:
        """Columns of the data that name the levels of the factors."""
        return tuple(dict.fromkeys(column for factor in self.factors for column in factor.columns))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the term needs."""
        covariates = () if self.basis is None else self.basis.columns
        partners = [partner.column for partner in self.partners]
        conditions = [condition.column for condition in self.conditions]
        return tuple(dict.fromkeys((*self.factor_columns, *partners, *covariates, *conditions)))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Those of its columns that are numbers, not labels."""
        trends = [column for factor in self.factors for column in factor.covariates]
        return tuple(dict.fromkeys((*trends, *(() if self.basis is None else self.basis.covariates))))

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Those of its columns that are labels, not numbers."""
        return tuple(name for name in self.columns if name not in self.covariates)

    def at_level(self, column: str, level: str) -> RandomTerm:
        """Term at one level of a column of which it has a term at each."""
        conditions = tuple(replace(c, level=level) if c == Condition(column=column) else c for c in self.conditions)
        given = None if self.given is None else f"{self.given}.{level}"
        return replace(self, conditions=conditions, given=given, name="")


def distinguished(terms: Sequence[RandomTerm]) -> tuple[RandomTerm, ...]:
    """Terms with names of their own: where several have one default name, their qualifiers are added to it.

    ``us(trait):vm(id, A) + us(trait):vm(id, D)`` are called ``id.A`` and ``id.D``.
    """
    free = [term.default_name for term in terms if term.given is None]

    def name(term: RandomTerm) -> str:
        if term.given is not None:
            return term.given
        shared = free.count(term.default_name) > 1 and term.qualifier
        return f"{term.default_name}.{term.qualifier}" if shared else term.default_name

    return tuple(replace(term, name=name(term)) for term in terms)


@dataclass(frozen=True, kw_only=True)
class FixedTerm:
    """Fixed effects as a Wilkinson formula, fitted for every trait or for the traits named.

    Raises
    ------
    SpecError
        If the formula is not in the grammar, :mod:`bayesmv.model.grammar`.
    """

    formula: str
    traits: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _ = self.expanded

    @cached_property
    def expanded(self) -> Terms:
        """Terms that the formula stands for; a mean is among them unless taken out, or the traits are named."""
        return expand(parse(self.formula), intercept=self.traits is None)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the formula names."""
        factors = [factor for term in self.expanded.values() for factor in term]
        return tuple(dict.fromkeys(column for factor in factors for column in columns_of(factor)))

    def __str__(self) -> str:
        if self.traits is None:
            return self.formula
        formula = f"({self.formula})" if len(split_signs(self.formula)) > 1 else self.formula
        return f"at(trait, {', '.join(map(quoted, self.traits))}):{formula}"


def trait_prefix(structure: str, traits: tuple[str, ...] | None) -> str:
    """Trait part of a term, as written.

    >>> trait_prefix("fa(2)", None), trait_prefix("idv", ("bden",)), trait_prefix("us", ("bden", "veloc"))
    ('fa(trait, 2)', 'at(trait, bden)', 'at(trait, bden, veloc):us(trait)')
    """
    word, bracket, arguments = structure.partition("(")
    acting = f"{word}(trait, {arguments}" if bracket else f"{word}(trait)"
    if traits is None:
        return acting
    at = f"at(trait, {', '.join(map(quoted, traits))})"
    return at if structure == "idv" and len(traits) == 1 else f"{at}:{acting}"
