"""Terms of a model, in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bayesmv.model.basis import Basis
from bayesmv.model.grammar import Terms, columns_of, expand, parse, quoted, split_signs

#: Relationship of levels that are stated to be unrelated, ``ide(factor)``.
IDE = "ide"


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
class RandomTerm:
    """One random term: a covariance structure among traits for every level of a factor.

    Parameters
    ----------
    structure
        ASReml's word for the covariance structure among traits, with its arguments: ``us``, ``fa(2)``.
    factor
        Column of the data whose values are the levels.
    traits
        Traits that the term acts on; None means all.
    relationship
        Name of the relationship matrix among levels, stated as ``vm(factor, name)``; None means the one called like the
        factor, if there is one, else independent levels.
    partners
        Others whose effects covary with those of the factor, ``str(factor, …)``: dams, pen mates.
    basis
        Functions of covariates that the effects multiply, ``us(leg(age, 2))``; None for the constant 1.
    """

    structure: str
    factor: str
    traits: tuple[str, ...] | None = None
    relationship: str | None = None
    partners: tuple[Partner, ...] = ()
    basis: Basis | None = None

    @property
    def name(self) -> str:
        """Name of the term in results: the factor, ``_ide`` for unrelated levels, the traits where not all."""
        unrelated = ("ide",) if self.relationship == IDE else ()
        return "_".join((self.factor, *unrelated, *(self.traits or ())))

    def __str__(self) -> str:
        factor = quoted(self.factor)
        if self.relationship is not None:
            related = f"vm({factor}, {quoted(self.relationship)})"
            factor = f"ide({factor})" if self.relationship == IDE else related
        if self.partners:
            factor = f"str({', '.join([factor, *map(str, self.partners)])})"
        return f"{self._prefix}:{factor}"

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
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the term needs."""
        covariates = () if self.basis is None else self.basis.columns
        return (self.factor, *(partner.column for partner in self.partners), *covariates)


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
