"""Relationships from files: pedigrees, markers, matrices, as a model file or a call states them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bayesmv.errors import DataError, SpecError, require_known
from bayesmv.io.genotypes import read_genotypes
from bayesmv.io.matrices import read_matrix
from bayesmv.io.tables import read_table
from bayesmv.model import kinship
from bayesmv.model.factors import Column
from bayesmv.model.grammar import quoted
from bayesmv.model.reading import ReadOptions
from bayesmv.model.spec import ModelSpec
from bayesmv.model.terms import FixedTerm
from bayesmv.relationship.genetic_groups import group_shares, without_groups
from bayesmv.relationship.labels import as_text
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.relationship.relationship import Relationship
from bayesmv.simulation.datasets import load_pedigree

SHIPPED = "dataset:"


def read_relationship(
    *,
    base: str | Path = ".",
    known: Collection[object] = (),
    others: Mapping[str, Relationship] | None = None,
    **entry: Any,
) -> Relationship:
    """Relationship from files.

    Parameters
    ----------
    base
        Folder that relative names of files start from.
    known
        Labels of individuals, by which those of a file of markers are told from its markers.
    others
        Relationships by name, for ``blend_with``.
    entry
        What a ``[relationships.<name>]`` table of a model file holds: ``pedigree="ped.csv"`` or ``markers="geno.csv"``
        or both (single step), ``covariance="G.csv"`` or ``precision="Ginv.giv"``, with their options.

    Returns
    -------
    Relationship
        What was recognised in the files is among its notes.

    Raises
    ------
    SpecError
        If entries are unknown, ill-typed or go not together.
    DataError
        If a file cannot be read, or what is in it is no relationship.

    Examples
    --------
    >>> G = read_relationship(markers="geno.csv", blend=0.01)  # doctest: +SKIP
    """
    checked = kinship.checked_relationship(entry, "the relationship")
    return _READERS[str(kinship.kind_of(checked))](checked, Path(base), known, others or {})


def read_relationships(spec: ModelSpec, data: pd.DataFrame | None = None) -> dict[str, Relationship]:
    """Read the relationships of a model; labels of the data tell individuals from markers."""
    known = set() if data is None else _individuals(spec, data)
    out: dict[str, Relationship] = {}
    waiting = dict(spec.relationships)
    while waiting:
        ready = [name for name, entry in waiting.items() if entry.get("blend_with") not in waiting]
        if not ready:
            raise SpecError(f"[relationships] are blended with each other in a circle: {', '.join(waiting)}")
        for name in ready:
            out[name] = read_relationship(base=spec.base, known=known, others=out, **waiting.pop(name))
    return out


def with_groups(spec: ModelSpec, data: pd.DataFrame) -> tuple[ModelSpec, pd.DataFrame]:
    """Model and data with the shares of genetic groups in the animals of the records as fixed covariates.

    Of the groups of a pedigree all but the first get a covariate, the share that they have in the genes of an animal,
    so that breeding values are differences from the first (Quaas 1988, J. Dairy Sci. 71:1338).
    """
    for name, entry in spec.relationships.items():
        if "genetic_groups" not in entry:
            continue
        shares = group_shares(_pedigree(entry, spec.base))
        factors = [f.column for t in spec.random for f in t.factors if isinstance(f, Column) and f.relationship == name]
        column = factors[0] if factors else name
        require_known([column], data.columns, f"the groups of [relationships.{name}] are of {{}}; columns")
        place = pd.Index(map(as_text, shares.index)).get_indexer(pd.Index(data[column].map(as_text)))
        for group in shares.columns[1:]:
            covariate = f"share {group}"
            data = data.assign(**{covariate: shares[group].to_numpy()[place].astype(str)})
            spec = replace(spec, fixed=(*spec.fixed, FixedTerm(formula=quoted(covariate))))
    return spec, data


def _individuals(spec: ModelSpec, data: pd.DataFrame) -> set[object]:
    columns = {column for term in spec.random for column in term.factor_columns if column in data.columns}
    return {label for column in columns for label in data[column].dropna().unique()}


def _path(entry: Mapping[str, Any], key: str, base: Path) -> Path:
    return base / str(entry[key])


def _options(entry: Mapping[str, Any]) -> ReadOptions | None:
    return ReadOptions(**entry["read"]) if "read" in entry else None


def _pedigree(entry: Mapping[str, Any], base: Path) -> Pedigree:
    source = str(entry["pedigree"])
    shipped = source.startswith(SHIPPED)
    frame = load_pedigree(source.removeprefix(SHIPPED)) if shipped else read_table(base / source, _options(entry))
    words = {key: entry.get(key, key) for key in ("id", "sire", "dam")}
    further = {key: entry[key] for key in ("selfing", "ploidy", "double_reduction") if key in entry}
    groups = entry.get("genetic_groups")
    return Pedigree.from_frame(frame, **words, unknown=entry.get("unknown", ()), groups=groups, **further)


def _genotypes(entry: Mapping[str, Any], base: Path, known: Collection[object]) -> pd.DataFrame:
    options = {key: entry[key] for key in ("orientation", "codes", "missing") if key in entry}
    return read_genotypes(_path(entry, "markers", base), read=_options(entry), known=known, **options)


def _of_pedigree(
    entry: Mapping[str, Any], base: Path, known: Collection[object], others: Mapping[str, Relationship]
) -> Relationship:
    pedigree = _pedigree(entry, base)
    if entry.get("dominance"):
        return Relationship.dominance(pedigree, cutoff=float(entry.get("cutoff", 0.0)))
    if not len(pedigree.groups):
        return Relationship.from_pedigree(pedigree)
    plain = Relationship.from_pedigree(without_groups(pedigree))
    first, *rest = pedigree.groups
    note = f"shares of the genetic groups {', '.join(map(str, rest))}, against {first}, are fixed covariates"
    return replace(plain, notes=(*plain.notes, note))


def _of_markers(
    entry: Mapping[str, Any], base: Path, known: Collection[object], others: Mapping[str, Relationship]
) -> Relationship:
    genotypes = _genotypes(entry, base, known)
    frequencies = _frequencies(entry.get("frequencies", "estimated"), base, genotypes)
    related = Relationship.from_markers(
        genotypes, method=entry.get("method", 1), frequencies=frequencies, **_blended(entry, others)
    )
    return _scaled(replace(related, notes=(*genotypes.attrs["notes"], *related.notes)), entry)


def _frequencies(given: str | float, base: Path, genotypes: pd.DataFrame) -> pd.Series[float] | None:
    """Frequencies of the counted alleles: of a file with a marker and its frequency in each row, or one for all."""
    if given == "estimated":
        return None
    if not isinstance(given, str):
        return pd.Series(float(given), index=genotypes.columns)
    table = read_table(base / given)
    if table.shape[1] != 2:
        raise DataError(f"'{given}' has {table.shape[1]} columns; frequencies are a marker and a number in each row")
    numbers = pd.to_numeric(table.iloc[:, 1], errors="coerce")
    return pd.Series(numbers.to_numpy(dtype=float), index=table.iloc[:, 0].tolist())


def _of_covariance(
    entry: Mapping[str, Any], base: Path, known: Collection[object], others: Mapping[str, Relationship]
) -> Relationship:
    path = _path(entry, "covariance", base)
    if path.suffix.lower() in (".giv", ".sgiv"):
        raise SpecError(f"'{path.name}' is an inverse by its name; write precision = \"{entry['covariance']}\"")
    found = read_matrix(path, labels=_labels(entry, base), read=_options(entry))
    related = Relationship.from_covariance(found.matrix, found.labels, notes=found.notes, **_blended(entry, others))
    return _scaled(related, entry)


def _of_precision(
    entry: Mapping[str, Any], base: Path, known: Collection[object], others: Mapping[str, Relationship]
) -> Relationship:
    found = read_matrix(_path(entry, "precision", base), labels=_labels(entry, base), read=_options(entry))
    return _scaled(Relationship.from_precision(found.matrix, found.labels, notes=found.notes), entry)


def _single_step(
    entry: Mapping[str, Any], base: Path, known: Collection[object], others: Mapping[str, Relationship]
) -> Relationship:
    pedigree = _pedigree({key: value for key, value in entry.items() if key != "read"}, base)
    genotypes = _genotypes(entry, base, pedigree.ids)
    options = {key: entry[key] for key in ("blend", "tau", "omega") if key in entry}
    related = Relationship.single_step(pedigree, genotypes, **options)
    return replace(related, notes=tuple(dict.fromkeys((*genotypes.attrs["notes"], *related.notes))))


def _labels(entry: Mapping[str, Any], base: Path) -> Path | None:
    return base / str(entry["labels"]) if "labels" in entry else None


def _blended(entry: Mapping[str, Any], others: Mapping[str, Relationship]) -> dict[str, Any]:
    if "blend_with" not in entry:
        return {"blend": float(entry.get("blend", 0.0))}
    require_known([entry["blend_with"]], others, "'blend_with' names {}, which is no other relationship; relationships")
    return {"blend": float(entry.get("blend", 0.0)), "blend_with": others[entry["blend_with"]]}


def _scaled(related: Relationship, entry: Mapping[str, Any]) -> Relationship:
    scale = entry.get("scale")
    if scale is None:
        return related
    if isinstance(scale, str) and scale != "diagonal":
        raise SpecError(f"'scale' must be a factor or \"diagonal\", not {scale!r}")
    return related.scaled(1.0 / float(related.diagonal.mean()) if scale == "diagonal" else float(scale))


_READERS = {
    kinship.PEDIGREE: _of_pedigree,
    kinship.MARKERS: _of_markers,
    kinship.COVARIANCE: _of_covariance,
    kinship.PRECISION: _of_precision,
    kinship.SINGLE_STEP: _single_step,
}
