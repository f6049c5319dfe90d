"""Relationships among the levels of a term: labels, sparse inverse and log-determinant, however they came about."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array, Shown
from bayesmv.errors import DataError, PedigreeError, listing, rows_of
from bayesmv.numerics.progress import waiting
from bayesmv.relationship import kernel_algebra, single_step
from bayesmv.relationship.dominance import dominance_families, joint_precision
from bayesmv.relationship.kernel_algebra import Given
from bayesmv.relationship.labels import (
    DENSE_LIMIT,
    Labels,
    Notes,
    as_text,
    find_labels,
    is_from_file,
    plain_labels,
    twins,
)
from bayesmv.relationship.markers import Frequencies, genomic_relationship
from bayesmv.relationship.pedigree import Pedigree

#: Most numbers of the precision of a product of two relationships: 2.4 GB.
MOST_NUMBERS = 200_000_000

# What a relationship must offer
# ==============================
#
# Engines, simulation and reports see a relationship through these members only. A new kind of relationship is one more
# constructor that fills them in, in a module of its own beside pedigree, markers, single_step; no engine needs an edit.
#
# - `ids` (q,) and `len`: labels of the levels, unique and in the order of the matrices. Records find their level by
#   label, and reports print them. Levels without records are allowed, and common: ancestors.
# - `precision` (q, q): K⁻¹, sparse, symmetric with both triangles stored alike, positive definite. The mixed-model
#   equations, their ordering and the residual quadratic forms read it; draws of effects solve with it.
# - `log_determinant`: log|K|, to the accuracy of the likelihood; never computed again by an engine.
# - `diagonal` (q,): K_ii, by which the variances of effects, and so their reliabilities, are multiplied.
# - `locate(column, factor)`: position of every record among the levels, or a DataError that names the absent.
# - `covariance(ids)`: K among a few levels, dense; for reports and for other relationships, within `DENSE_LIMIT`.
# - `notes`: what was done to what was given. Every command prints them.
#
# K is in the units that make Σ a variance of the base population (A of a pedigree with a_ii = 1 + F_i); all members are
# those of one and the same K. Nothing else of K is formed anywhere.


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Relationship(Shown):
    """Covariance K among the levels of a term, held as its sparse inverse; made by the constructors below.

    Levels are known by label, never by position: matrices are aligned with each other and with data by name.

    Parameters
    ----------
    ids
        Labels of the levels (q,); kept as whole numbers, fractions or text, as pedigrees keep theirs.
    precision
        K⁻¹ (q, q), symmetric, both triangles.
    log_determinant
        log|K|.
    diagonal
        K_ii (q,): 1 + F_i with a pedigree.
    notes
        What was done on the way, in words.
    unknown
        Codes for unknown parents that were named for the pedigree, and that mean the same in columns of data.

    Raises
    ------
    DataError
        If labels are missing or stand twice, sizes differ, or the precision is not symmetric, zeros included.
    """

    ids: Labels
    precision: sparse.csc_array
    log_determinant: float
    diagonal: Array
    notes: Notes = ()
    unknown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", plain_labels(self.ids))
        q = len(self)
        if self.precision.shape != (q, q) or self.diagonal.shape != (q,):
            raise DataError(
                f"{q} ids, a precision of shape {self.precision.shape} and a diagonal of shape "
                f"{self.diagonal.shape} do not fit; use the constructors, such as from_precision"
            )
        pair = kernel_algebra.asymmetric_pair(self.precision)
        if pair is not None:
            raise DataError(
                f"the precision is not symmetric for {listing(self.ids[sorted(pair)])}; both triangles must hold the "
                "same entries, zeros too: Relationship.from_precision evens out rounding"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def summary(self) -> str:
        """Number of levels, density and range of the diagonal."""
        low, high = (float(f(self.diagonal)) for f in (np.min, np.max)) if len(self) else (np.nan, np.nan)
        told = f"Relationship of {len(self)} levels ({listing(self.ids, 3)})"
        dense = f"{self.precision.nnz / max(len(self), 1):.1f} non-zeros a level in its inverse"
        return "\n".join([f"{told}: {dense}, diagonal {low:.4g} to {high:.4g}", *(f"note: {n}" for n in self.notes)])

    @classmethod
    def from_pedigree(
        cls, pedigree: Pedigree | pd.DataFrame, *, keep: Iterable[object] | None = None, **columns: Any
    ) -> Relationship:
        """Relationship from a pedigree: additive A, with inbreeding.

        Parameters
        ----------
        pedigree
            A Pedigree, or a table that `Pedigree.from_frame` reads.
        keep
            Animals that matter, such as those with records: others are left out unless they link these.
        columns
            Arguments of `Pedigree.from_frame`: ``id="tree", sire="father", dam="mother", unknown=["x"]``.

        Raises
        ------
        PedigreeError
            If the pedigree contradicts itself, lacks animals of `keep`, or has genetic groups.
        """
        whole = _as_pedigree(pedigree, columns)
        used = whole if keep is None else whole.prune(keep)
        with waiting(f"Inverting the relationship of {len(used.ids)} animals"):
            precision = used.inverse()
        return cls(
            ids=used.ids,
            precision=precision,
            log_determinant=used.log_determinant,
            diagonal=used.relationship_diagonal,
            notes=used.notes,
            unknown=used.unknown,
        )

    @classmethod
    def from_covariance(
        cls,
        matrix: Given,
        labels: Iterable[object] | None = None,
        *,
        blend: float = 0.0,
        blend_with: Relationship | None = None,
        notes: Notes = (),
    ) -> Relationship:
        """Relationship from a covariance K, or (1 - blend) K + blend B, B the identity or `blend_with`.

        Parameters
        ----------
        matrix
            K (q, q): a DataFrame, whose index and columns hold the same labels in any order, or a dense or
            sparse matrix. Sparse matrices are inverted block by block.
        labels
            Labels of the rows of a matrix that has none.
        blend, blend_with
            Share of B among the same levels, 0 <= blend < 1.
        notes
            How the matrix came about.

        Raises
        ------
        DataError
            If labels or numbers are missing, stand twice or disagree, K is not symmetric, or has eigenvalues below
            zero by more than rounding can do.

        Notes
        -----
        A matrix that is singular, or has small negative eigenvalues by rounding, is lifted: just so much is added to
        its diagonal that the smallest eigenvalue is 1e-7 of the largest, and a note says how much and which levels are
        identical.
        """
        K, ids = kernel_algebra.labelled(matrix, labels)
        if blend_with is not None and blend == 0.0:
            raise DataError("blend_with is given but blend is 0; give its share, such as blend=0.05")
        partner = None if blend_with is None else blend_with.covariance(ids).to_numpy()
        K, blended = kernel_algebra.mix(K, blend, partner)
        K, precision, log_determinant, lifted = kernel_algebra.inverse_of(K, ids)
        return cls(
            ids=ids,
            precision=precision,
            log_determinant=log_determinant,
            diagonal=np.asarray(K.diagonal()).copy(),
            notes=(*notes, *blended, *lifted),
        )

    @classmethod
    def from_precision(
        cls,
        matrix: Given,
        labels: Iterable[object] | None = None,
        *,
        notes: Notes = (),
    ) -> Relationship:
        """Relationship from the inverse K⁻¹, as other programs write it; arguments as `from_covariance`.

        Raises
        ------
        DataError
            As `from_covariance`; the smallest eigenvalue must be above 1e-12 of the largest.
        """
        P, ids = kernel_algebra.labelled(matrix, labels)
        log_precision, diagonal = kernel_algebra.inverse_diagonal(P, ids)
        return cls(
            ids=ids, precision=sparse.csc_array(P), log_determinant=-log_precision, diagonal=diagonal, notes=notes
        )

    @classmethod
    def from_markers(
        cls,
        genotypes: pd.DataFrame,
        *,
        method: Literal[1, 2] = 1,
        frequencies: Frequencies | None = None,
        blend: float = 0.0,
        blend_with: Relationship | None = None,
    ) -> Relationship:
        """Genomic relationships G; see `genomic_relationship` and, for blending, `from_covariance`.

        With estimated allele frequencies G is singular: it is lifted unless it is blended.

        Raises
        ------
        DataError
            As `genomic_relationship` and `from_covariance`.
        """
        G = genomic_relationship(genotypes, method=method, frequencies=frequencies)
        return cls.from_covariance(G, blend=blend, blend_with=blend_with, notes=G.attrs["notes"])

    @classmethod
    def single_step(
        cls,
        pedigree: Pedigree | pd.DataFrame,
        genotypes: pd.DataFrame,
        *,
        blend: float = 0.05,
        tau: float = 1.0,
        omega: float = 1.0,
    ) -> Relationship:
        """Relationships H of all animals from the pedigree and the genotypes of some (index 2).

        H⁻¹ = A⁻¹ + [0 0; 0 Δ], Δ = τ G_w⁻¹ - ω A22⁻¹, G_w = (1 - blend) G + blend A22. Given the genotyped
        the others are distributed as in A, so with H22 = (A22⁻¹ + Δ)⁻¹ for any τ, ω:
        log|H| = log|A| - log|A22| + log|H22| and H = A + B (H22 - A22) B', B = A·2 A22⁻¹.

        Parameters
        ----------
        genotypes
            Calls as `genomic_relationship` reads, or G itself: the same labels in rows and columns.
        blend
            Share of A22 in G_w, 0 <= blend < 1.
        tau, omega
            Weights of G_w⁻¹ and A22⁻¹, 1 for the theory.

        Raises
        ------
        PedigreeError
            If genotyped animals are not in the pedigree, or it has genetic groups.
        DataError
            As `from_markers`; if tau and omega make H indefinite.

        References
        ----------
        Aguilar et al. (2010), J. Dairy Sci. 93:743; Christensen & Lund (2010), Genet. Sel. Evol. 42:2;
        Legarra, Aguilar & Misztal (2009), J. Dairy Sci. 92:4656.
        """
        animals = _as_pedigree(pedigree, {})
        G = genotypes if kernel_algebra.has_own_labels(genotypes) else genomic_relationship(genotypes)
        values, ids = kernel_algebra.labelled(G, None)
        place = find_labels(animals.ids, ids)
        if (place < 0).any():
            raise PedigreeError(
                f"{(place < 0).sum()} genotyped animals are not in the pedigree: {listing(ids[place < 0])}; "
                "add them to it, with unknown parents if need be, or take out their genotypes"
            )
        A22 = animals.relationship(ids).to_numpy()
        G_w, _ = kernel_algebra.mix(values, blend, A22)
        lifted, said = kernel_algebra.definite(kernel_algebra.dense(G_w), ids, "raise blend, the share of A22")
        precision, log_determinant, diagonal = single_step.single_step_inverse(
            animals, place, A22, lifted, (tau, omega)
        )
        return cls(
            ids=animals.ids,
            precision=precision,
            log_determinant=log_determinant,
            diagonal=diagonal,
            notes=(
                *animals.notes,
                *G.attrs.get("notes", ()),
                f"{len(ids)} of {len(animals)} animals genotyped; A22 is {blend:g} of G, τ = {tau:g}, ω = {omega:g}",
                *said,
            ),
        )

    @classmethod
    def dominance(
        cls, pedigree: Pedigree | pd.DataFrame, ids: Iterable[object] | None = None, *, cutoff: float = 0.0
    ) -> Relationship:
        """Dominance relationships D; see `Pedigree.dominance`, for many animals :mod:`bayesmv.relationship.dominance`.

        The equation is that of animals without inbreeding; a note counts those that have some.

        Parameters
        ----------
        pedigree
            A Pedigree, or a table that `Pedigree.from_frame` reads.
        ids
            Animals among which D is; by default all. Of more than `labels.DENSE_LIMIT` animals, their families of full
            sibs are levels beside them, which keeps the precision sparse; D among the animals is the same.
        cutoff
            Covariances of families up to which they are left out, of more animals than that; 0 for none.

        Raises
        ------
        PedigreeError
            If ids are not in the pedigree, or it has genetic groups.
        DataError
            As `from_covariance`; if too many families are related.
        """
        animals = _as_pedigree(pedigree, {})
        if ids is None and len(animals) > DENSE_LIMIT:
            joint = joint_precision(animals, dominance_families(animals, cutoff, sys.stderr.isatty()))
            said = _inbred_note(animals.ids[animals.inbreeding > 0])
            return cls(**{**joint._asdict(), "notes": (*animals.notes, *joint.notes, *said)})
        D = animals.dominance(ids)
        inbred = D.index[animals.inbreeding[find_labels(animals.ids, D.index)] > 0]
        return cls.from_covariance(D, notes=(*animals.notes, *_inbred_note(inbred)))

    def hadamard(self, other: Relationship) -> Relationship:
        """Products k_ij l_ij of two kernels: A∘A for additive by additive effects, A∘D and so on (Henderson 1985).

        The kernels are aligned by label; levels that only one of them has are left out, and a note says so.

        Raises
        ------
        DataError
            If no label is shared, or more than `labels.DENSE_LIMIT` are; as `from_covariance`.
        """
        place = find_labels(other.ids, self.ids)
        ids = self.ids[place >= 0]
        if ids.empty:
            raise DataError(
                f"the kernels share no label: {listing(self.ids)} and {listing(other.ids)}; name the levels alike"
            )
        K = self.covariance(ids).to_numpy() * other.covariance(ids).to_numpy()
        alone = (*self.ids[place < 0], *other.ids[np.isin(np.arange(len(other)), place, invert=True)])
        left_out = (f"{len(alone)} levels of one kernel only left out of the product: {listing(alone)}",)
        notes = dict.fromkeys((*self.notes, *other.notes, *(left_out if alone else ())))
        return Relationship.from_covariance(K, ids, notes=tuple(notes))

    @classmethod
    def independent(cls, ids: Iterable[object]) -> Relationship:
        """Relationship of levels that are unrelated, K = I."""
        labels = plain_labels(ids)
        q = len(labels)
        return cls(
            ids=labels, precision=sparse.csc_array(sparse.eye_array(q)), log_determinant=0.0, diagonal=np.ones(q)
        )

    def scaled(self, factor: float) -> Relationship:
        """Same relationship with K multiplied by a factor, which divides the variances of its term.

        Raises
        ------
        DataError
            If the factor is not a positive number.
        """
        if not 0.0 < factor < np.inf:
            raise DataError(f"a relationship cannot be multiplied by {factor!r}; give a positive number")
        return replace(
            self,
            precision=sparse.csc_array(self.precision / factor),
            log_determinant=self.log_determinant + len(self) * float(np.log(factor)),
            diagonal=self.diagonal * factor,
            notes=(*self.notes, f"multiplied by {factor:.6g}"),
        )

    def kronecker(self, other: Relationship) -> Relationship:
        """Product K ⊗ L among all pairs of levels of two relationships, labelled ``a:b``.

        With K (p, p) and L (q, q), (K ⊗ L)⁻¹ = K⁻¹ ⊗ L⁻¹ and log|K ⊗ L| = q log|K| + p log|L|: only the two
        inverses are needed. Lines × environments with kernels of their own are an example (Jarquín et al. 2014, Theor.
        Appl. Genet. 127:595-607).

        Raises
        ------
        DataError
            If the precision would have more than `MOST_NUMBERS` numbers, or two pairs would have one label.
        """
        numbers = self.precision.nnz * other.precision.nnz
        if numbers > MOST_NUMBERS:
            raise DataError(
                f"the product of relationships of {len(self)} and {len(other)} levels has {numbers:.3g} numbers, more "
                f"than {MOST_NUMBERS:.3g}; leave out levels without records, or use fewer environments"
            )
        labels = [f"{as_text(a)}:{as_text(b)}" for a in self.ids for b in other.ids]
        return Relationship(
            ids=pd.Index(labels),
            precision=sparse.csc_array(sparse.kron(self.precision, other.precision, format="csc")),
            log_determinant=len(other) * self.log_determinant + len(self) * other.log_determinant,
            diagonal=np.multiply.outer(self.diagonal, other.diagonal).reshape(-1),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
        )

    def covariance(self, ids: Iterable[object] | None = None) -> pd.DataFrame:
        """K among the chosen levels (m, m), dense; among all by default.

        Raises
        ------
        DataError
            If ids are not among the levels, or more than `labels.DENSE_LIMIT` are asked for.
        """
        wanted = self.ids if ids is None else plain_labels(ids)
        if len(wanted) > DENSE_LIMIT:
            raise DataError(
                f"a dense matrix of {len(wanted)} levels is not made above {DENSE_LIMIT}; name those needed in ids, "
                "or prune the pedigree: from_pedigree(..., keep=...)"
            )
        place = find_labels(self.ids, wanted)
        if (place < 0).any():
            raise DataError(
                f"{(place < 0).sum()} ids are not levels of the relationship: {listing(wanted[place < 0])}; "
                f"it has {len(self)}, such as {listing(self.ids[:5])}"
            )
        return pd.DataFrame(kernel_algebra.inverse_block(self.precision, place), index=wanted, columns=wanted)

    def locate(self, column: pd.Series[Any], factor: str) -> npt.NDArray[np.intp]:
        """Positions (n,) among `ids` of the levels in a column of data; 41, 41.0 and "41" are one level, "041" another.

        Levels of the relationship that the data lack, such as ancestors, are as they should be.

        Raises
        ------
        DataError
            If the data have levels that the relationship lacks, or missing ones.
        """
        codes, levels = pd.factorize(pd.Series(column).astype(object), use_na_sentinel=False)
        place = np.where(pd.isna(levels), -1, find_labels(self.ids, pd.Index(levels)))
        absent = levels[place < 0]
        if len(absent):
            rows = f", in {rows_of(column.index[place[codes] < 0])}" if is_from_file(column) else ""
            meant = listing(f"{label} and {known}" for label, known in twins(absent, self.ids).items())
            raise DataError(
                f"{len(absent)} levels of '{factor}' are not in its relationship: {listing(absent)}{rows}; it has "
                f"{len(self)} levels, such as {listing(self.ids[:5])}: add them to the pedigree (with unknown parents "
                "if need be) or to the matrix, name codes for unknown parents (unknown = [...] of the pedigree), or "
                "take out their records"
                + (f"; if these are meant to be one, write them alike, for ids are text: {meant}" if meant else "")
            )
        return np.asarray(place[codes], dtype=np.intp)


def _inbred_note(inbred: Labels) -> Notes:
    if not len(inbred):
        return ()
    return (f"{len(inbred)} animals are inbred, which dominance relationships do not allow for: {listing(inbred)}",)


def _as_pedigree(pedigree: Pedigree | pd.DataFrame, columns: dict[str, Any]) -> Pedigree:
    if not isinstance(pedigree, Pedigree):
        pedigree = Pedigree.from_frame(pedigree, **columns)
    elif columns:
        raise PedigreeError(f"{listing(columns)} tell how a table is read; give them to Pedigree.from_frame")
    if len(pedigree.groups):
        raise PedigreeError(
            f"genetic groups are not part of a Relationship: {listing(pedigree.groups)}; fit "
            "bmv.group_shares(pedigree) as covariates and give bmv.without_groups(pedigree) here"
        )
    return pedigree
