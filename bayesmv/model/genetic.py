"""Genetic term of a model, and what its levels are to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bayesmv.errors import SpecError, require_known

#: How the levels of a genetic term are related, and the factor k in V_A = k σ² of the term.
ADDITIVE_FACTOR: dict[str, float] = {
    "animal": 1.0,
    "half-sib": 4.0,
    "full-sib": 2.0,
    "sire": 4.0,
    "dam": 4.0,
    "line": 1.0,
    "family-mean": 1.0,
}


@dataclass(frozen=True, kw_only=True)
class Genetic:
    """Genetic term, and how its levels are related.

    Parameters
    ----------
    term
        Name of the random term.
    relationship
        ``animal`` (relationship matrix: V_A = σ²), ``half-sib``, ``sire``, ``dam`` (V_A = 4σ²), ``full-sib`` (V_A =
        2σ²), ``line`` (inbred lines or clones: genotypic variance σ²) or ``family-mean`` (heritability of the means
        of the families).
    phenotypic
        Terms whose variances make up the phenotypic variance; None for all. Breeders leave out blocks, which the
        design removes from comparisons.
    """

    term: str
    relationship: str = "animal"
    phenotypic: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        what = f"unknown relationship {{}} among the levels of {self.term}; allowed"
        require_known([self.relationship], ADDITIVE_FACTOR, what)

    def to_mapping(self) -> dict[str, Any]:
        """Entries of the [genetic] table of a model file."""
        entries: dict[str, Any] = {"term": self.term, "relationship": self.relationship}
        return entries if self.phenotypic is None else entries | {"phenotypic": list(self.phenotypic)}


def read_genetic(values: Mapping[str, Any]) -> Genetic:
    """Genetic term from the entries of the [genetic] table of a model file."""
    if set(values) - {"term", "relationship", "phenotypic"} or "term" not in values:
        raise SpecError("[genetic] needs 'term' and may have 'relationship' and 'phenotypic'; nothing else")
    phenotypic = values.get("phenotypic")
    if phenotypic is not None and not (isinstance(phenotypic, list) and phenotypic):
        raise SpecError('\'phenotypic\' in [genetic] must be a list of terms, such as ["Family", "Residual"]')
    return Genetic(
        term=str(values["term"]),
        relationship=str(values.get("relationship", "animal")),
        phenotypic=None if phenotypic is None else tuple(str(term) for term in phenotypic),
    )
