"""Relationships as a model file states them, ``[relationships.<name>]``: which files, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bayesmv.errors import SpecError, listing, require_known
from bayesmv.model.reading import ReadOptions
from bayesmv.relationship.labels import codes_of

PEDIGREE, MARKERS, COVARIANCE, PRECISION = "pedigree", "markers", "covariance", "precision"
SINGLE_STEP = f"{PEDIGREE} and {MARKERS}"
#: Entries that name the files of a relationship, of each kind.
_FILES: Mapping[str, frozenset[str]] = {
    PEDIGREE: frozenset((PEDIGREE,)),
    MARKERS: frozenset((MARKERS,)),
    COVARIANCE: frozenset((COVARIANCE,)),
    PRECISION: frozenset((PRECISION,)),
    SINGLE_STEP: frozenset((PEDIGREE, MARKERS)),
}


class _Key(NamedTuple):
    """Entry of a relationship: types of its value, the kinds that have it, and what it is in words."""

    types: tuple[type, ...]
    kinds: tuple[str, ...]
    words: str


_NUMBER = (int, float)
_WITH_PEDIGREE, _WITH_MARKERS = (PEDIGREE, SINGLE_STEP), (MARKERS, SINGLE_STEP)
_KEYS: Mapping[str, _Key] = {
    "pedigree": _Key((str,), _WITH_PEDIGREE, "a file, or dataset:<name>"),
    "markers": _Key((str,), _WITH_MARKERS, "a file"),
    "covariance": _Key((str,), (COVARIANCE,), "a file"),
    "precision": _Key((str,), (PRECISION,), "a file"),
    "read": _Key((dict,), tuple(_FILES), "a table of options of [read]"),
    "id": _Key((str,), _WITH_PEDIGREE, "the name of a column"),
    "sire": _Key((str,), _WITH_PEDIGREE, "the name of a column"),
    "dam": _Key((str,), _WITH_PEDIGREE, "the name of a column"),
    "unknown": _Key((list,), _WITH_PEDIGREE, "a list of codes for unknown parents"),
    "dominance": _Key((bool,), (PEDIGREE,), "true or false"),
    "cutoff": _Key(_NUMBER, (PEDIGREE,), "the smallest dominance covariance of families that is kept"),
    "genetic_groups": _Key((list,), (PEDIGREE,), "a list of the groups that stand for unknown parents"),
    "selfing": _Key((str,), _WITH_PEDIGREE, "the name of a column of generations of selfing"),
    "ploidy": _Key((int,), (PEDIGREE,), "2 or 4"),
    "double_reduction": _Key(_NUMBER, (PEDIGREE,), "a number from 0 to 1/6"),
    "orientation": _Key((str,), _WITH_MARKERS, "rows or columns, where individuals are"),
    "codes": _Key((str,), _WITH_MARKERS, "012, 01, -101, AB or letters"),
    "missing": _Key((list,), _WITH_MARKERS, "a list of codes of missing calls"),
    "method": _Key((int,), (MARKERS,), "1 or 2"),
    "frequencies": _Key((str, *_NUMBER), (MARKERS,), "a file of frequencies, a number, or estimated"),
    "labels": _Key((str,), (COVARIANCE, PRECISION), "a file with a label in each line"),
    "blend": _Key(_NUMBER, (MARKERS, COVARIANCE, SINGLE_STEP), "a share from 0 to 1"),
    "blend_with": _Key((str,), (MARKERS, COVARIANCE), "the name of another relationship"),
    "tau": _Key(_NUMBER, (SINGLE_STEP,), "a number"),
    "omega": _Key(_NUMBER, (SINGLE_STEP,), "a number"),
    "scale": _Key(
        (str, *_NUMBER), (MARKERS, COVARIANCE, PRECISION), 'a factor, or "diagonal" for a mean diagonal of 1'
    ),
}
#: Entries whose words are names of files.
FILES = ("pedigree", "markers", "covariance", "precision", "labels", "frequencies")


def kind_of(entry: Mapping[str, Any]) -> str | None:
    """Kind of a relationship, by the files that it names; None if these go not together."""
    named = frozenset(key for key in (PEDIGREE, MARKERS, COVARIANCE, PRECISION) if key in entry)
    return next((kind for kind, files in _FILES.items() if files == named), None)


def checked_relationship(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Entries of a relationship, if they go together; `where` is their name in messages.

    Raises
    ------
    SpecError
        If an entry is unknown, ill-typed, or of another kind of relationship, or the files are none or too many.
    """
    require_known(entry, _KEYS, f"unknown entry {{}} in {where}; allowed")
    kind = kind_of(entry)
    if kind is None:
        raise SpecError(
            f"{where} needs one of {', '.join(map(repr, (PEDIGREE, MARKERS, COVARIANCE, PRECISION)))}, a file each, or "
            f"'pedigree' and 'markers' for single step"
        )
    for name, value in entry.items():
        key = _KEYS[name]
        if kind not in key.kinds:
            own = [other for other, k in _KEYS.items() if kind in k.kinds]
            raise SpecError(f"'{name}' in {where} goes not with {kind}; with that go {listing(own, 30)}")
        if not isinstance(value, key.types) or (isinstance(value, bool) and bool not in key.types):
            raise SpecError(f"'{name}' in {where} must be {key.words}, not {value!r:.80}")
    out = dict(entry)
    for name in ("unknown", "genetic_groups", "missing"):
        if name in entry:
            out[name] = list(codes_of(entry[name], f"'{name}' in {where}"))
    if "read" in entry:
        out["read"] = ReadOptions.from_mapping(entry["read"], f"'read' in {where}").to_mapping()
    return out
