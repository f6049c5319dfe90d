"""Pedigrees: the object, how a table of parents becomes one, and its counts.

The algorithms on arrays of parents are those of :mod:`bayesmv.relationship.pedigree_kernels`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csc_array

from bayesmv.arrays import Array, BoolArray, IntArray, as_frame
from bayesmv.errors import DataError, PedigreeError, listing, rows_of
from bayesmv.relationship import pedigree_kernels as kernels
from bayesmv.relationship.labels import (
    DENSE_LIMIT,
    Labels,
    Notes,
    as_text,
    code_like,
    codes_of,
    find_labels,
    is_from_file,
    means_unknown,
    names_no_animal,
    notes_of,
    texts_of,
    twins,
    whole_numbers,
    written_numbers,
)

#: Rows from which on, and share of rows above which, a parent without a row of its own is looked at, and how many times
#: the offspring of the median parent it may have: codes for unknown parents have more.
_MANY, _SHARE, _TIMES = 20, 0.2, 5.0
#: Parents without a row that are written unlike an animal with one, from which on this is an error.
_MISSPELT = 3
#: Most generations of selfing; from some 30 on nothing of a line is its own in double precision.
_MOST_SELFED = 25
NUMBER_KINDS = ("integer", "floating", "mixed-integer-float")
MIXED_KINDS = ("mixed", "mixed-integer")
LOOP_SHOWN, _SHOWN = 20, 5


@dataclass(frozen=True, kw_only=True)
class FamilySizes:
    """Number of families of a kind, their mean size and the largest."""

    count: int
    mean: float
    largest: int


@dataclass(frozen=True, kw_only=True)
class PedigreeSummary:
    """Counts of `Pedigree.summary`; founders have no known parent, generations are links from them."""

    animals: int
    founders: int
    sires: int
    dams: int
    generations: int
    mean_inbreeding: float
    max_inbreeding: float
    inbred: int
    full_sibs: FamilySizes
    half_sibs_by_sire: FamilySizes
    half_sibs_by_dam: FamilySizes


@dataclass(frozen=True, kw_only=True, eq=False)
class Pedigree:
    """Animals and the positions of their parents, parents first; make it by `Pedigree.from_frame`.

    With T the matrix of gene flow and D = diag(d) the within-family variances, the additive relationship
    matrix is A = T D T' (n, n) (Henderson 1976, Biometrics 32:69). A is formed by `relationship` only.

    Parameters
    ----------
    ids
        Whole numbers if every id is one, else text, (n,).
    sire, dam
        Positions in `ids`, -1 if unknown, (n,).
    notes
        What was done to the rows that were given.
    groups
        Labels of genetic groups, most often none, (g,).
    group_slots
        Group of the unknown sire and dam, -1 for none, (n, 2); None without groups.
    unknown
        Further codes for unknown parents that were given.
    selfed
        Generations of selfing that every individual went through after the cross of its parents, (n,); None for none.
    ploidy
        2, or 4 for autotetraploids.
    double_reduction
        Share of gametes of an autotetraploid that hold two copies of one gene, 0 to 1/6.

    Raises
    ------
    PedigreeError
        If lengths differ, an id is there twice, or a parent does not stand before its offspring.
    """

    ids: Labels
    sire: IntArray
    dam: IntArray
    notes: Notes = ()
    groups: Labels = field(default_factory=lambda: pd.Index([], dtype=object))
    group_slots: IntArray | None = None
    unknown: tuple[str, ...] = ()
    selfed: IntArray | None = None
    ploidy: int = 2
    double_reduction: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.sire) == len(self.dam):
            raise PedigreeError("ids, sire and dam differ in length; give one entry of each per animal")
        wrong = self.ids.duplicated() | (np.maximum(self.sire, self.dam) >= np.arange(len(self)))
        if wrong.any():
            raise PedigreeError(
                f"animals stand twice or before their parents: {listing(self.ids[wrong])}; use from_frame"
            )
        if self.ploidy not in (2, 4):
            raise PedigreeError(f"ploidy is {self.ploidy}; pedigrees are of diploids (2) or of autotetraploids (4)")
        if not 0.0 <= self.double_reduction <= 1.0 / 6.0 or (self.ploidy == 2 and self.double_reduction):
            raise PedigreeError(
                f"double_reduction is {self.double_reduction:g}; of autotetraploids (ploidy=4) it is from 0 to 1/6, of "
                "diploids there is none"
            )
        if self.ploidy == 4 and self.selfed is not None:
            raise PedigreeError("generations of selfing are counted for diploids; give those of tetraploids rows")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        id: str = "id",
        sire: str = "sire",
        dam: str = "dam",
        sexes: Literal["ignore", "warn", "error"] = "ignore",
        groups: Iterable[object] | None = None,
        unknown: Iterable[object] = (),
        selfing: str | None = None,
        ploidy: int = 2,
        double_reduction: float = 0.0,
    ) -> Pedigree:
        """Pedigree from one row per animal, in any order.

        Ids are text as written, 007 and 7 two of them; in tables of numbers 41, 41.0 and "41" are one. Unknown parents
        are missing values, 0 (00, 0.0), ``.``, ``*``, ``-``, ``?``, ``NA``, ``-9``, ``-99``, ``-999``, ``unknown``,
        ``unk`` and ``none`` in any case, and codes of `unknown`, where no animal of that id has a row of its own.
        Other parents without a row are added as founders, equal rows dropped, rows put parents first; `notes` tells
        of each.

        Parameters
        ----------
        frame
            The table, of pandas, polars or Arrow.
        id, sire, dam
            Names of the columns.
        sexes
            What to do if an id is both sire and dam, as in plants it may be.
        groups
            Labels in the parent columns that stand for genetic groups, not for animals.
        unknown
            Further codes for unknown parents.
        selfing
            Column with the number of generations of selfing after the cross of the parents: 5 for a line F6 of single
            seeds, empty or 0 for none.
        ploidy, double_reduction
            4 for autotetraploids, and the share of their gametes with two copies of one gene.

        Raises
        ------
        PedigreeError
            Absent columns; missing ids; one id with different parents; an animal that is its own
            ancestor; ids that a floating column cannot hold; groups that are animals or nobody's parent;
            a parent without a row that is both sire and dam, or parent of so many rows (a fifth of all, and five
            times as many as the median parent) that it is a code for unknown ones.
        """
        frame = as_frame(frame, "a pedigree")
        named, columns = list(groups or ()), [id, sire, dam]
        added = codes_of(unknown, "unknown")
        codes, labels, notes = _encode(frame, columns, {as_text(group) for group in named}, added)
        parents, dropped = _one_row_each(codes, labels, frame)
        notes += dropped + _check_strangers(parents, labels, {as_text(group) for group in named})
        group_labels, group_of = _find_groups(named, labels, parents)
        _check_sexes(np.where(group_of[parents] < 0, parents, -1), labels, sexes)
        arrays, arranged = _arrange(parents, labels, group_of)
        selfed = None if selfing is None else _selfed(frame, id, selfing, arrays["ids"])
        return cls(
            groups=group_labels,
            notes=notes + arranged,
            unknown=added,
            selfed=selfed,
            ploidy=ploidy,
            double_reduction=double_reduction,
            **arrays,
        )

    @property
    def inbreeding(self) -> Array:
        """F_i = a_sd / 2, half the relationship of the parents, (n,).

        After Sargolzaei, Iwaisaki & Colleau (2005) J. Anim. Breed. Genet. 122:325; linear memory. After n generations
        of selfing F_i = 1 - (1 - a_sd / 2) / 2^n. In autotetraploids with double reduction λ,
        F_i = (Φ_s + Φ_d) / 6 + a_sd / 6, Φ_p = λ + (1 - λ) F_p, is the probability that two of the four genes are
        identical by descent (Kerr, Li, Tier, Dutkowski & McRae 2012, Theor. Appl. Genet. 124:1271).
        """
        return self._inbreeding[0]

    @cached_property
    def _inbreeding(self) -> tuple[Array, Array]:
        """F_i and a_sd / 2, (n,) each."""
        return kernels.inbreeding_coefficients(self.sire, self.dam, self.selfed, self.ploidy, self.double_reduction)

    @cached_property
    def mendelian_variance(self) -> Array:
        """Within-family variance d_i = a_ii - a_sd / 2 - Σ a_pp / 4 over known parents p, (n,), in units of σ²_A.

        Without selfing that is 1/2 - (F_s + F_d) / 4 with both known, 3/4 - F_p / 4 with one, 1 with none (Henderson
        1976).
        """
        return kernels.within_family_variance(self.sire, self.dam, self.relationship_diagonal, self._inbreeding[1])

    @cached_property
    def generations(self) -> IntArray:
        """Longest path of parent-offspring links from a founder, (n,); 0 for founders."""
        return kernels.generation_numbers(self.sire, self.dam)

    @property
    def relationship_diagonal(self) -> Array:
        """a_ii = 1 + F_i, of autotetraploids 1 + 3 F_i, (n,)."""
        return 1.0 + (self.ploidy - 1) * self.inbreeding

    @property
    def log_determinant(self) -> float:
        """log|A| = Σ log d_i, for |T| = 1.

        Raises
        ------
        PedigreeError
            If A is singular: a selfing line so long that F is 1 in floating point.
        """
        return float(np.log(self._invertible_variance()).sum())

    def inverse(self) -> csc_array:
        """A⁻¹ = T⁻ᵀD⁻¹T⁻¹, both triangles, (n, n), with inbreeding (Quaas 1976, Biometrics 32:949).

        Raises
        ------
        PedigreeError
            If A is singular, as in `log_determinant`.
        """
        return kernels.inverse_from_parents(self.sire, self.dam, self._invertible_variance(), len(self))

    def inverse_with_groups(self) -> csc_array:
        """Inverse for u = Qg + a with fixed group effects g, (n + g, n + g), animals before `groups`.

        [[A⁻¹, -A⁻¹Q], [-Q'A⁻¹, Q'A⁻¹Q]], where Q (n, g) holds each animal's shares of the groups; an
        unknown parent in no group has expectation zero (Quaas 1988, J. Dairy Sci. 71:1338).

        Raises
        ------
        PedigreeError
            If there are no groups, or A is singular.
        """
        if self.group_slots is None:
            raise PedigreeError(
                "the pedigree has no genetic groups; name unknown parents in from_frame(..., groups=[...])"
            )
        n, (sire, dam) = len(self), self.group_slots.T
        sire, dam = np.where(sire < 0, self.sire, n + sire), np.where(dam < 0, self.dam, n + dam)
        return kernels.inverse_from_parents(sire, dam, self._invertible_variance(), n + len(self.groups))

    def relationship(self, ids: Iterable[object] | None = None) -> pd.DataFrame:
        """A among the chosen animals, (m, m), dense; all animals if `ids` is None.

        Columns T D T'e_j are computed in the ancestry of the chosen (Colleau 2002, Genet. Sel. Evol.
        34:409); the rest of A is not formed.

        Raises
        ------
        PedigreeError
            If ids are not in the pedigree, or all of too many animals are asked for.
        """
        return self._dense(kernels.relationship_block, ids)

    def dominance(self, ids: Iterable[object] | None = None) -> pd.DataFrame:
        """D_ij = (a_ss a_dd + a_sd a_ds) / 4 among the chosen animals, (m, m), dense, with D_ii = 1.

        s and d are the parents of i (first index) and of j (second). The animals are taken to be
        non-inbred: else more than one matrix is needed (Henderson 1985, J. Anim. Sci. 60:111).

        Raises
        ------
        PedigreeError
            As `relationship`.
        """
        self.require_diploid("dominance relationships")
        return self._dense(kernels.dominance_block, ids)

    def require_diploid(self, what: str) -> None:
        """Refusal of what is computed for diploids only.

        Raises
        ------
        PedigreeError
            If these are tetraploids.
        """
        if self.ploidy != 2:
            raise PedigreeError(f"{what} are those of diploids; of autotetraploids there is the additive one only")

    def times(self, vectors: npt.ArrayLike) -> Array:
        """A v = T (D (T'v)) for each column of `vectors`, (n, k) or (n,), in O(n k) (Colleau 2002).

        Raises
        ------
        DataError
            If there is not one row per animal.
        """
        return kernels.relationship_times(self.sire, self.dam, self.mendelian_variance, self._rows(vectors))

    def cholesky_times(self, z: npt.ArrayLike) -> Array:
        """T D^½ z, (n, k) or (n,): breeding values with covariance A σ²_A = A from standard normal z.

        Raises
        ------
        DataError
            If there is not one row per animal.
        """
        return kernels.factor_times(self.sire, self.dam, self.mendelian_variance, self._rows(z))

    def prune(self, keep: Iterable[object]) -> Pedigree:
        """Pedigree without the animals that do not bear on A among `keep`, which stays what it was.

        Left are `keep` and its ancestors, less founders that are the parent of one animal only, over and
        over. With genetic groups every ancestor stays, for it hands on its groups.

        Raises
        ------
        PedigreeError
            If ids of `keep` are not in the pedigree.
        """
        chosen, slots = self._positions(keep), self.group_slots
        present = kernels.ancestry(self.sire, self.dam, chosen, cut=slots is None)
        members, place = np.flatnonzero(present), kernels.new_positions(present)
        return replace(
            self,
            ids=self.ids[members],
            sire=place[self.sire[members]],
            dam=place[self.dam[members]],
            notes=(*self.notes, f"{len(self) - members.size} of {len(self)} animals pruned away"),
            group_slots=None if slots is None else slots[members],
            selfed=None if self.selfed is None else self.selfed[members],
        )

    def summary(self) -> PedigreeSummary:
        """Counts; full sibs are two or more offspring of one pair (either may be the sire).

        A half-sib family is all offspring of a parent with two or more mates, each unknown one another.
        """
        return _summarise(self.sire, self.dam, self.generations, self.inbreeding)

    def _invertible_variance(self) -> Array:
        d = self.mendelian_variance
        if (d <= 0).any():
            raise PedigreeError(
                f"A is singular: parents are fully inbred of {listing(self.ids[d <= 0])}; make it one animal"
            )
        return d

    def _rows(self, vectors: npt.ArrayLike) -> Array:
        v = np.asarray(vectors, dtype=np.float64)
        if v.ndim not in (1, 2) or v.shape[0] != len(self):
            raise DataError(f"vectors have shape {v.shape}; give ({len(self)},) or ({len(self)}, k), as ids")
        return v

    def _positions(self, ids: Iterable[object] | None) -> IntArray:
        if ids is None and len(self) > DENSE_LIMIT:
            raise PedigreeError(
                f"a dense matrix of all {len(self)} animals is not made above {DENSE_LIMIT}; "
                "name the animals in ids, or use inverse() or times()"
            )
        wanted = self.ids if ids is None else pd.Index(list(ids))
        positions = find_labels(self.ids, wanted)
        if (positions < 0).any():
            raise PedigreeError(
                f"ids are not in the pedigree: {listing(wanted[positions < 0])}; it has {len(self)} animals, "
                f"such as {listing(self.ids[:5])}: correct them or add their rows"
            )
        return positions

    def _dense(self, block: Callable[..., Array], ids: Iterable[object] | None) -> pd.DataFrame:
        chosen = self._positions(ids)
        values = block(self.sire, self.dam, self.mendelian_variance, chosen)
        return pd.DataFrame(values, index=self.ids[chosen], columns=self.ids[chosen])


def _encode(
    frame: pd.DataFrame, names: list[str], groups: set[str], added: tuple[str, ...]
) -> tuple[IntArray, Labels, Notes]:
    """Codes (3, rows) of ids, sires and dams, -1 if unknown, into labels in order of appearance."""
    absent = [name for name in names if name not in frame.columns]
    if absent or frame.empty:
        raise PedigreeError(
            f"the pedigree has no rows or lacks columns {listing(absent)}; its columns are "
            f"{listing(frame.columns)}: name them by from_frame(frame, id=..., sire=..., dam=...)"
        )
    raw, values = pd.factorize(pd.concat(_columns(frame, names), ignore_index=True))
    code_of, labels = _spell(pd.Index(values))
    codes = np.append(code_of, -1)[raw].reshape(3, -1)
    has_row = np.zeros(len(labels), dtype=np.bool_)
    has_row[codes[0][codes[0] >= 0]] = True
    likely = code_like(labels)
    unknown = _unknown(labels, likely, has_row, groups, added)
    animals = likely[has_row[likely] & ~unknown[likely]]
    told = unknown if is_from_file(frame) else unknown & (labels != 0)
    notes = (*_note_codes(codes, labels, told, names), *_note_animals(codes, labels, animals))
    codes = np.append(np.where(unknown, -1, np.cumsum(~unknown) - 1), -1)[codes]
    labels, mixed = _numbered(labels[~unknown], groups, frame[names[0]], pd.Index(values))
    return codes, labels.rename(names[0]), (*notes_of(frame, names), *mixed, *notes)


def _selfed(frame: pd.DataFrame, id: str, column: str, ids: Labels) -> IntArray:
    """Generations of selfing of every individual, (n,), of a table with some of them.

    Raises
    ------
    PedigreeError
        If the column is absent or holds what is no number of generations.
    """
    if column not in frame.columns:
        raise PedigreeError(
            f"the column '{column}' of generations of selfing is absent; columns: {listing(frame.columns)}"
        )
    given = frame[column]
    numbers = pd.to_numeric(given, errors="coerce")
    wrong = given.notna() & ~((numbers >= 0) & (numbers <= _MOST_SELFED) & (numbers == numbers.round()))
    if wrong.any():
        raise PedigreeError(
            f"generations of selfing must be whole numbers from 0 to {_MOST_SELFED}: {listing(given[wrong].unique())} "
            f"in {rows_of(frame.index[wrong])}"
        )
    generations = pd.Series(numbers.fillna(0).to_numpy(dtype=np.int64)).groupby(frame[id].to_numpy()).first()
    place = find_labels(pd.Index(generations.index), ids)
    return np.where(place >= 0, np.append(generations.to_numpy(), 0)[place], 0)


def _columns(frame: pd.DataFrame, names: list[str]) -> list[pd.Series[Any]]:
    """Columns of ids, sires and dams; those of a file as whole numbers, if all three are written as such."""
    columns: list[pd.Series[Any]] = [frame[name] for name in names]
    if not is_from_file(frame):
        return columns
    numbers = [written_numbers(column.dropna()) for column in columns]
    out = []
    for column, known in zip(columns, numbers, strict=True):
        if known is None:
            return columns
        missing = column.isna().to_numpy()
        whole = np.zeros(len(column), dtype=np.int64)
        whole[~missing] = known
        out.append(pd.Series(pd.arrays.IntegerArray(whole, missing), index=column.index, name=column.name))
    return out


def _spell(values: Labels) -> tuple[IntArray, Labels]:
    """Labels of different values as numbers if all are, else as text, and which of them each value is."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        floating = pd.api.types.is_float_dtype(values.dtype)
        numbers = whole_numbers(values.to_numpy(dtype=np.float64 if floating else np.int64))
        return np.arange(len(values)), pd.Index(numbers)
    if isinstance(values.dtype, pd.StringDtype):
        return np.arange(len(values)), values
    codes, found = pd.factorize(texts_of(values))
    return np.asarray(codes, dtype=np.intp), pd.Index(found)


def _unknown(
    labels: Labels, likely: IntArray, has_row: BoolArray, groups: set[str], added: tuple[str, ...]
) -> BoolArray:
    """Which labels are nobody: codes for unknown parents that have no row, and words that no animal is called."""
    unknown = np.zeros(len(labels), dtype=np.bool_)
    alone, own = likely[~has_row[likely]], likely[has_row[likely]]
    unknown[alone] = [means_unknown(label) and as_text(label) not in groups for label in labels[alone]]
    unknown[own] = [names_no_animal(label) for label in labels[own]]
    place = find_labels(labels, pd.Index(added, dtype=object))
    refused = pd.Index(added)[(place >= 0) & has_row[place]]
    unknown[place[place >= 0]] = True
    if len(refused):
        raise PedigreeError(
            f"codes for unknown parents have rows of their own: {listing(refused)}; take the rows out, or the codes"
        )
    return unknown


def _note_codes(codes: IntArray, labels: Labels, unknown: BoolArray, names: list[str]) -> Notes:
    """Note of the codes that were read as unknown parents; blank cells and, in a table of Python, 0 are none."""
    cells = []
    for code in np.flatnonzero(unknown).tolist():
        counts = [int((column == code).sum()) for column in codes[1:]]
        where = " and ".join(name for name, count in zip(names[1:], counts, strict=True) if count)
        if where and as_text(labels[code]).strip():
            cells.append(f"'{as_text(labels[code])}' in {sum(counts)} cells of {where}")
    return (f"{', '.join(cells)} read as unknown",) if cells else ()


def _note_animals(codes: IntArray, labels: Labels, animals: IntArray) -> Notes:
    """Note of parents that look like codes, but have rows; PedigreeError if one is both parents of an animal."""
    looks = [p for p in animals.tolist() if means_unknown(labels[p]) and (codes[1:] == p).any()]
    for parent in looks:
        count = int((codes[1:] == parent).all(axis=0).sum())
        if count:
            raise PedigreeError(
                f"{as_text(labels[parent])!r} has a row of its own and is both sire and dam in {count} rows; if it "
                "stands for unknown parents, take that row out"
            )
    names = listing(as_text(labels[parent]) for parent in looks)
    return (f"parents with rows of their own taken for animals: {names}",) if looks else ()


def _numbered(labels: Labels, groups: set[str], own: pd.Series[Any], values: Labels) -> tuple[Labels, Notes]:
    """Labels (but for groups) as whole numbers if ids are numbers in the table, and a note if its types are mixed."""
    if pd.api.types.is_numeric_dtype(labels.dtype):
        return labels, ()
    texts = labels.to_numpy(dtype=object)
    animals = ~labels.isin(list(groups))
    numeric = is_from_file(own) or pd.api.types.infer_dtype(own) in NUMBER_KINDS
    numbers = written_numbers(texts[animals]) if numeric else None
    if numbers is not None:
        texts = texts.copy()
        texts[animals] = numbers
    mixed = pd.api.types.infer_dtype(values, skipna=True) in MIXED_KINDS and _is_mixed(values, labels[animals])
    note = f"ids of mixed types were read as {'text' if numbers is None else 'whole numbers'}"
    return pd.Index(texts) if numbers is None else pd.Index(texts).infer_objects(), (note,) if mixed else ()


def _is_mixed(values: Labels, animals: Labels) -> bool:
    """Whether some ids are text and some are not; codes and groups do not count."""
    ids = set(animals)
    return len({isinstance(value, str) for value in values if as_text(value) in ids}) > 1


def _one_row_each(codes: IntArray, labels: Labels, frame: pd.DataFrame) -> tuple[IntArray, Notes]:
    """Parents (2, m) of the labels 0 .. m-1, which are those with a row of their own."""
    own = codes[0]
    missing = np.flatnonzero(own < 0)
    if missing.size:
        rows = rows_of(frame.index[missing]) if is_from_file(frame) else f"rows {listing(missing)} (the first row is 0)"
        raise PedigreeError(f"the animal's own id is missing in {rows}; give each one")
    first = np.unique(own, return_index=True)[1]
    parents = codes[1:, first]
    differs = (codes[1:] != parents[:, own]).any(axis=0)
    if differs.any():
        twice = np.unique(own[differs])
        lines = f" ({rows_of(frame.index[np.isin(own, twice)])})" if is_from_file(frame) else ""
        raise PedigreeError(f"ids have rows with different parents: {listing(labels[twice])}{lines}; keep one row")
    again = labels[np.delete(own, first)]
    return parents, (f"{len(again)} repeated rows dropped: {listing(again)}",) if len(again) else ()


def _check_strangers(parents: IntArray, labels: Labels, groups: set[str]) -> Notes:
    """Refuse parents without a row that are codes or misspelt ids rather than animals; a note of those that may be."""
    rows = parents.shape[1]
    strangers = rows + np.flatnonzero([as_text(label) not in groups for label in labels[rows:]])
    counts = np.stack([np.bincount(column[column >= 0], minlength=len(labels)) for column in parents])  # (2, labels)
    meant = twins(labels[strangers], labels[:rows])
    pairs = listing(f"{stranger} for {animal}" for stranger, animal in meant.items())
    if len(meant) >= _MISSPELT:
        raise PedigreeError(
            f"{len(meant)} parents without a row are written unlike an animal that has one: {pairs}; ids are text: "
            "write each alike everywhere, or give those that are other animals rows of their own"
        )
    both = strangers[(counts[:, strangers] > 0).all(axis=0)]
    often = [*both, *(s for column in counts for s in strangers if _implausible(column, s, rows) and s not in both)]
    if often:
        rest = f" (and {len(often) - _SHOWN} more)" if len(often) > _SHOWN else ""
        names = [f"{as_text(labels[s])!r} (sire in {counts[0, s]} rows, dam in {counts[1, s]})" for s in often[:_SHOWN]]
        codes = ", ".join(f'"{as_text(label)}"' for label in dict.fromkeys(labels[often[:_SHOWN]]))
        raise PedigreeError(
            f"parents without a row of their own are both sire and dam, or parents of an implausible number: "
            f"{', '.join(names)}{rest}; if they stand for unknown parents, say so: unknown = [{codes}] in "
            f"[relationships.<name>], unknown=[{codes}] in Python; if they are animals, give each a row"
        )
    return (f"parents without a row that are written unlike an animal with one: {pairs}",) if meant else ()


def _implausible(counts: IntArray, parent: int, rows: int) -> bool:
    """Whether a parent without a row has as many offspring as only a code for unknown parents has."""
    own, others = counts[parent], np.delete(counts, parent)
    if own < _MANY or own <= _SHARE * rows:
        return False
    others = others[others > 0]
    return not others.size or bool(own > _TIMES * np.median(others))


def _find_groups(groups: list[object], labels: Labels, parents: IntArray) -> tuple[Labels, IntArray]:
    """Labels of the groups, and the number of the group each label (and, last, no label) stands for."""
    wanted = pd.Index(groups, dtype=object).unique()
    codes = find_labels(labels, wanted)
    wrong = wanted[codes < parents.shape[1]]
    if len(wrong):
        raise PedigreeError(
            f"groups are nobody's parent or have rows of their own: {listing(wrong)}; put each group's label "
            "where unknown parents stand, and only there"
        )
    group_of = np.full(len(labels) + 1, -1)
    group_of[codes] = np.arange(codes.size)
    return labels[codes], group_of


def _check_sexes(parents: IntArray, labels: Labels, sexes: str) -> None:
    if sexes not in ("ignore", "warn", "error"):
        raise PedigreeError(f"sexes={sexes!r} is not known; use 'ignore', 'warn' or 'error'")
    both = np.intersect1d(*parents) if sexes != "ignore" else np.empty(0, np.int64)
    names = listing(labels[both[both >= 0]])
    message = f"ids are both sire and dam: {names}; mend the rows, or use sexes='ignore' for plants"
    if names and sexes == "error":
        raise PedigreeError(message)
    if names:
        warnings.warn(message, UserWarning, stacklevel=3)


def _arrange(parents: IntArray, labels: Labels, group_of: IntArray) -> tuple[dict[str, Any], Notes]:
    """Fields of a Pedigree, parents first, and what was done."""
    rows = parents.shape[1]
    added = rows + np.flatnonzero(group_of[rows:-1] < 0)
    nodes = np.concatenate([added, np.arange(rows)])
    of_node = np.pad(parents, ((0, 0), (added.size, 0)), constant_values=-1)
    place = np.full(len(labels) + 1, -1)
    place[nodes] = np.arange(nodes.size)
    order, loop, (sire, dam) = kernels.put_in_order(place[of_node])
    if loop.size:
        path = [str(label) for label in labels[nodes[np.append(loop, loop[0])]]]
        path[LOOP_SHOWN:-1] = ["..."] if len(path) > LOOP_SHOWN else []
        raise PedigreeError(f"an animal is its own ancestor: {' -> '.join(path)}; mend one of these parents")
    slots = group_of[of_node[:, order]].T if group_of.max() >= 0 else None
    fields = {"ids": labels[nodes[order]].infer_objects(), "sire": sire, "dam": dam, "group_slots": slots}
    moved = int((order != np.arange(order.size)).sum())
    ungrouped = 0 if slots is None else int((np.stack([sire, dam], axis=1) + slots == -2).sum())
    notes = {
        f"{added.size} parents without a row added as founders: {listing(labels[added])}": added.size,
        f"{moved} of {nodes.size} animals moved to put parents first": moved,
        f"{ungrouped} unknown parents are in no genetic group": ungrouped,
    }
    return fields, tuple(note for note, count in notes.items() if count)


def _sizes(sizes: IntArray) -> FamilySizes:
    mean = float(sizes.sum() / max(sizes.size, 1))
    return FamilySizes(count=sizes.size, mean=mean, largest=int(sizes.max(initial=0)))


def _summarise(sire: IntArray, dam: IntArray, generation: IntArray, F: Array) -> PedigreeSummary:
    low, high = np.minimum(sire, dam), np.maximum(sire, dam)
    full = kernels.sibship_sizes(np.where(low < 0, -1, low), high)[0]
    return PedigreeSummary(
        animals=sire.size,
        founders=int((high < 0).sum()),
        sires=np.unique(sire[sire >= 0]).size,
        dams=np.unique(dam[dam >= 0]).size,
        generations=int(generation.max(initial=0)),
        mean_inbreeding=float(F.sum() / max(F.size, 1)),
        max_inbreeding=float(F.max(initial=0.0)),
        inbred=int((F > 0).sum()),
        full_sibs=_sizes(full),
        half_sibs_by_sire=_sizes(kernels.sibship_sizes(sire, dam)[1]),
        half_sibs_by_dam=_sizes(kernels.sibship_sizes(dam, sire)[1]),
    )
