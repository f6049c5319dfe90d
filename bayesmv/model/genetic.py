"""Genetic term of a model, and what its levels are to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bayesmv.errors import SpecError, listing, require_known

#: How the levels of a genetic term are related, and the factor k in V_A = k σ² of the term.
ADDITIVE_FACTOR: dict[str, float] = {
    "animal": 1.0,
    "half-sib": 4.0,
    "full-sib": 2.0,
    "sire": 4.0,
    "dam": 4.0,
    "parents": 4.0,
    "line": 1.0,
    "family-mean": 1.0,
}
#: The same for the factor k in V_D = k σ² of a term of dominance: effects of animals, or of pairs of parents.
DOMINANCE_FACTOR: dict[str, float] = {"animal": 1.0, "line": 1.0, "sire": 4.0, "dam": 4.0, "parents": 4.0}
#: Roles that several terms may have.
_SEVERAL = ("dominance", "epistasis", "environment")


@dataclass(frozen=True, kw_only=True)
class Genetic:
    """Genetic terms, and how the levels of the additive one are related.

    Parameters
    ----------
    term
        Name of the random term of additive (or of all) genetic effects.
    relationship
        ``animal`` (relationship matrix: V_A = σ²), ``half-sib``, ``sire``, ``dam`` (V_A = 4σ²), ``parents`` (one effect
        per parent in either role, general combining ability: V_A = 4σ²), ``full-sib`` (V_A = 2σ²), ``line`` (inbred
        lines or clones: genotypic variance σ²) or ``family-mean`` (heritability of the means of the families).
    phenotypic
        Terms whose variances make up the phenotypic variance; None for all. Breeders leave out blocks, which the
        design removes from comparisons.
    dominance, epistasis
        Terms of further genetic effects, for the broad-sense heritability. The dominance variance is σ² of effects of
        animals, and 4σ² of pairs of parents (specific combining ability) where the `relationship` is ``parents``,
        ``sire`` or ``dam``.
    maternal
        Term of effects of dams.
    environment
        Terms of environments that records share: of the individual, of a litter.
    """

    term: str
    relationship: str = "animal"
    phenotypic: tuple[str, ...] | None = None
    dominance: tuple[str, ...] = ()
    epistasis: tuple[str, ...] = ()
    maternal: str | None = None
    environment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for role in _SEVERAL:
            named = getattr(self, role)
            object.__setattr__(self, role, (named,) if isinstance(named, str) else tuple(named))
        what = f"unknown relationship {{}} among the levels of {self.term}; allowed"
        require_known([self.relationship], ADDITIVE_FACTOR, what)
        for role, known in (("dominance", DOMINANCE_FACTOR), ("epistasis", ("animal", "line"))):
            if getattr(self, role) and self.relationship not in known:
                raise SpecError(
                    f"{role} cannot be told beside levels whose relationship is '{self.relationship}'; it can with "
                    f"{listing(known)}"
                )
        every = [name for names in self.roles.values() for name in names]
        twice = [name for name in dict.fromkeys(every) if every.count(name) > 1]
        if twice:
            raise SpecError(f"{listing(twice)} has two roles in [genetic]; give each term one")

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """Names of the terms by what they are, those that there are."""
        maternal = () if self.maternal is None else (self.maternal,)
        others = {name: getattr(self, name) for name in _SEVERAL} | {"maternal": maternal}
        return {"genetic": (self.term,)} | {role: names for role, names in others.items() if names}

    def renamed(self, names: Mapping[str, Sequence[str]]) -> Genetic:
        """Same roles where terms were replaced by others; a role of one term keeps a name that stands for several."""

        def each(old: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(new for name in old for new in names[name])

        def one(old: str) -> str:
            return names[old][0] if len(names[old]) == 1 else old

        return replace(
            self,
            term=one(self.term),
            maternal=None if self.maternal is None else one(self.maternal),
            phenotypic=None if self.phenotypic is None else each(self.phenotypic),
            dominance=each(self.dominance),
            epistasis=each(self.epistasis),
            environment=each(self.environment),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Entries of the [genetic] table of a model file."""
        entries: dict[str, Any] = {"term": self.term, "relationship": self.relationship}
        entries |= {role: list(names) for role in _SEVERAL if (names := getattr(self, role))}
        entries |= {} if self.maternal is None else {"maternal": self.maternal}
        return entries if self.phenotypic is None else entries | {"phenotypic": list(self.phenotypic)}


def read_genetic(values: Mapping[str, Any]) -> Genetic:
    """Genetic terms from the entries of the [genetic] table of a model file; ``additive`` is another word for ``term``.

    Raises
    ------
    SpecError
        If an entry is unknown or of another type, or the genetic term is not named once.
    """
    allowed = ("term", "additive", "relationship", *_SEVERAL, "maternal", "phenotypic")
    if set(values) - set(allowed) or ("term" in values) == ("additive" in values):
        raise SpecError(
            "[genetic] needs 'term' (or 'additive', the same) and may have "
            f"{', '.join(map(repr, allowed[2:]))}; nothing else"
        )
    return Genetic(
        term=str(values.get("term", values.get("additive"))),
        relationship=str(values.get("relationship", "animal")),
        phenotypic=_terms(values, "phenotypic") if "phenotypic" in values else None,
        maternal=str(values["maternal"]) if "maternal" in values else None,
        **{role: _terms(values, role) for role in _SEVERAL if role in values},
    )


def _terms(values: Mapping[str, Any], role: str) -> tuple[str, ...]:
    """Terms of a role: a list of names, or one name."""
    given = values[role]
    named = [given] if isinstance(given, str) and role != "phenotypic" else given
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
        raise SpecError(f'\'{role}\' in [genetic] must be a list of terms, such as ["Family", "Residual"]')
    return tuple(named)
