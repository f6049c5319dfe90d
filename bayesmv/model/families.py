"""Families of the traits of a model, from their words, ``scab = "binary"``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from bayesmv.errors import SpecError, listing, require_known
from bayesmv.families.declared import (
    Binomial,
    Censored,
    Family,
    Gaussian,
    NegativeBinomial,
    Ordered,
    Poisson,
    ZeroInflatedPoisson,
)

#: Families that a model can have, by word.
FITTED: Mapping[str, Family] = {
    "gaussian": Gaussian(),
    "binary": Binomial(),
    "binomial": Binomial(),
    "ordered": Ordered(),
    "poisson": Poisson(),
    "negative_binomial": NegativeBinomial(),
    "zero_inflated_poisson": ZeroInflatedPoisson(),
    "censored": Censored(),
}
#: Entries beside the word, by family.
_ENTRIES: Mapping[str, tuple[str, ...]] = {
    "binary": ("link", "levels"),
    "binomial": ("link", "size"),
    "ordered": ("levels",),
    "censored": ("lower", "upper"),
}


@dataclass(frozen=True, kw_only=True)
class TraitFamily:
    """Family of a trait, as a model states it.

    Parameters
    ----------
    family
        ``gaussian``, ``binary``, ``binomial``, ``ordered``, ``poisson``, ``negative_binomial``,
        ``zero_inflated_poisson`` or ``censored``.
    link
        ``probit`` or ``logit``, of binary and binomial traits.
    size
        Column of the numbers of trials of a binomial trait, or one number.
    levels
        Categories of a binary or ordered trait that is recorded in words, from low to high.
    lower, upper
        Columns of the bounds between which a record of a censored trait lies: equal where it is known, one of them
        empty or infinite where it is open. The trait itself is no column then.

    Raises
    ------
    SpecError
        If the family is unknown, or has no such entry.
    """

    family: str
    link: str = "probit"
    size: str | int | None = None
    levels: tuple[str, ...] = ()
    lower: str | None = None
    upper: str | None = None

    def __post_init__(self) -> None:
        require_known([self.family], FITTED, "no family {} of traits; families")
        require_known([self.link], ("probit", "logit"), "no link {}; links")
        given = {"link": self.link != "probit", "size": self.size is not None, "levels": bool(self.levels)}
        given |= {"lower": self.lower is not None, "upper": self.upper is not None}
        wrong = [name for name, is_given in given.items() if is_given and name not in _ENTRIES.get(self.family, ())]
        if wrong:
            raise SpecError(f"the family '{self.family}' takes no {listing(wrong)}")
        if self.family == "binomial" and self.size is None:
            raise SpecError("a binomial trait needs the number of trials: a column or a number as its 'size'")
        if self.family == "censored" and (self.lower is None or self.upper is None):
            raise SpecError("a censored trait needs the columns of its bounds, 'lower' and 'upper'")
        if isinstance(self.size, bool) or (isinstance(self.size, int) and self.size < 1):
            raise SpecError(f"the size of a binomial trait is a column or a number of trials, not {self.size!r}")
        if self.levels and (len(set(self.levels)) < len(self.levels) or len(self.levels) < 2):
            raise SpecError(f"levels are two or more different categories from low to high, not {listing(self.levels)}")
        if self.family == "binary" and len(self.levels) > 2:
            raise SpecError(f"a binary trait has two levels, not {listing(self.levels)}; is it ordered?")

    @property
    def law(self) -> Family:
        """Distribution, with the number of trials and thresholds left open."""
        return Binomial(self.link) if self.family in ("binary", "binomial") else FITTED[self.family]

    @property
    def told(self) -> str:
        """What is fixed so that the model can be estimated, in words."""
        variance = self.law.link_variance
        first = ", first threshold 0" if self.family == "ordered" else ""
        if variance > 0.0:
            return f"{self.link if self.family != 'ordered' else 'probit'}: residual variance {variance:.4g}{first}"
        if isinstance(self.law, Censored):
            return f"between {self.lower} and {self.upper}"
        if not self.law.has_residual:
            return "logarithmic link, no residual: its overdispersion is the shape"
        return "logarithmic link, residual overdispersion"

    @property
    def residual_sd(self) -> float | None:
        """Residual standard deviation that the family fixes; None where it is free."""
        return self.law.link_variance**0.5 or None if self.law.has_residual else 0.0

    @property
    def bounds(self) -> tuple[str, ...]:
        """Columns of the bounds of a censored trait."""
        return tuple(name for name in (self.lower, self.upper) if name is not None)

    def to_mapping(self) -> str | dict[str, Any]:
        """Family as a model file has it."""
        more: dict[str, Any] = {}
        if self.link != "probit":
            more["link"] = self.link
        if self.size is not None:
            more["size"] = self.size
        if self.levels:
            more["levels"] = list(self.levels)
        if self.bounds:
            more |= {"lower": self.lower, "upper": self.upper}
        return {"family": self.family, **more} if more else self.family

    @classmethod
    def read(cls, given: str | Mapping[str, Any] | Self, trait: str) -> Self:
        """Family of a trait from its word, or its word with entries.

        Raises
        ------
        SpecError
            Naming the trait.
        """
        if isinstance(given, cls):
            _require_other_bounds(trait, given.bounds)
            return given
        if isinstance(given, str):
            entries: dict[str, Any] = {"family": given}
        elif isinstance(given, Mapping) and isinstance(given.get("family"), str):
            entries = dict(given)
        else:
            raise SpecError(f'the family of {trait} is a word, or a table as {{ family = "binary", link = "logit" }}')
        require_known(
            entries,
            ("family", "link", "size", "levels", "lower", "upper"),
            f"the family of {trait} has no entry {{}}; entries",
        )
        if "levels" in entries:
            if isinstance(entries["levels"], str) or not isinstance(entries["levels"], Sequence):
                raise SpecError(f"the levels of {trait} are a list of categories")
            entries["levels"] = tuple(map(str, entries["levels"]))
        wrong = [name for name in ("link", "lower", "upper") if not isinstance(entries.get(name, ""), str)]
        if wrong or not isinstance(entries.get("size", ""), str | int):
            raise SpecError(
                f"the family of {trait}: a link is a word, a size a column or a whole number, bounds are columns"
            )
        _require_other_bounds(trait, (entries.get("lower"), entries.get("upper")))
        try:
            return cls(**entries)
        except SpecError as error:
            raise SpecError(f"the family of {trait}: {error}") from None


def _require_other_bounds(trait: str, bounds: Sequence[str | None]) -> None:
    """Refuse a bound in a column of the trait's own name, in which what stands for the record is put."""
    if trait in bounds:
        raise SpecError(
            f"the family of {trait}: a bound is a column of another name than the trait; call the trait otherwise"
        )


def read_families(given: Mapping[str, Any] | None) -> dict[str, TraitFamily]:
    """Families by trait; Gaussian ones are left out."""
    read = {trait: TraitFamily.read(value, trait) for trait, value in (given or {}).items()}
    return {trait: each for trait, each in read.items() if each.family != "gaussian"}
