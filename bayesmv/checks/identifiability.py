"""Information of a design on each covariance matrix, before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.checks.confounding import confounding
from bayesmv.covariance import CovarianceStructure
from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.dims import RESIDUAL
from bayesmv.numerics.dependence import independent_columns, left_of_cross_products

#: Terms with more levels than this get a bound on their degrees of freedom, not the rank.
_LARGEST = 1500
#: The same where their cross-products with fixed effects are more numbers than this.
_NUMBERS = 2 * 10**7


@dataclass(frozen=True, kw_only=True)
class TermInformation:
    """Information on one covariance matrix.

    Parameters
    ----------
    term
        Name.
    size
        Number of effects m of the m × m matrix.
    levels
        Levels with records (units, for the residual).
    freedom
        Degrees of freedom of the differences among levels that fixed effects leave, per effect.
    exact
        Whether `freedom` is a rank, or for very many levels the bound ``levels - 1``.
    links
        Levels (units) on which each pair of effects was recorded together, (m, m).
    effects
        Labels of the effects.
    free_covariances
        Whether the structure estimates a covariance for every pair of effects.
    estimated
        Whether the structure has parameters.
    confounded
        Other terms (or the residual) that the data cannot tell it from: their covariances among the records are
        linearly dependent.
    related
        Whether its levels have a relationship.
    """

    term: str
    size: int
    levels: int
    freedom: int
    exact: bool
    links: Array
    effects: tuple[str, ...]
    free_covariances: bool
    confounded: tuple[str, ...] = ()
    related: bool = False
    estimated: bool = True

    @property
    def rank(self) -> int:
        """Largest rank that an estimate of the matrix can be expected to have."""
        return min(self.freedom, self.size)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of what the data cannot say, in words; empty if nothing stands out."""
        if not self.estimated:
            return ()
        out = []
        m = self.size
        others = ", ".join(self.confounded)
        if self.confounded and self.related:
            out.append(
                f"{self.term}: no relatives or repeated records tell it from {others}: their variances are not "
                f"identified, and what is made of them; add relatives to the pedigree, or take the term out"
            )
        elif self.confounded and self.term != RESIDUAL:
            out.append(
                f"{self.term}: groups the units as {others} does: the data cannot tell them apart; "
                f"take one of them out, or give one a relationship"
            )
        if self.freedom == 0 and self.term != RESIDUAL:
            out.append(f"{self.term}: confounded with the fixed effects: nothing is left to estimate it from")
        elif self.free_covariances and self.freedom < m and self.term != RESIDUAL:
            out.append(
                f"{self.term}: {self.levels} levels give {_count(self.freedom, 'degree')} of freedom for a {m} × {m} "
                f"matrix: rank ≤ {self.rank}; expect a boundary REML estimate; "
                f"the posterior of its correlations will be mostly prior"
            )
        elif self.freedom < 5 * m:
            out.append(
                f"{self.term}: {_count(self.freedom, 'degree')} of freedom for {m} × {m}: expect wide intervals, "
                f"and a prior that shows"
            )
        return (*out, *(self._unlinked() if self.free_covariances else ()))

    def _unlinked(self) -> tuple[str, ...]:
        pairs = [(j, i) for i in range(self.size) for j in range(i) if self.links[i, j] == 0]
        what = "unit" if self.term == RESIDUAL else "level"
        remedy = "; use residual = diag(trait):units" if self.term == RESIDUAL else ""
        return tuple(
            f"{self.term}: no {what} links '{self.effects[i]}' and '{self.effects[j]}': "
            f"their covariance rests on the prior alone{remedy}"
            for i, j in pairs
        )


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def identifiability(design: Design) -> tuple[TermInformation, ...]:
    """Judge every covariance matrix of a design before fitting.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.

    Returns
    -------
    tuple of TermInformation
        Random terms, then the residual.
    """
    X = design.fixed.working[:, independent_columns(design.fixed.working)]
    confounded = confounding(design)
    return (*(_term(design, term, X, confounded) for term in design.terms), _residual(design, X))


def _term(
    design: Design, term: TermDesign, X: sparse.csc_array, confounded: Mapping[str, tuple[str, ...]]
) -> TermInformation:
    seen = design.observed[:, term.trait_of].astype(float)
    # A level links two effects where both were recorded on some of its units.
    recorded = np.column_stack(
        [(abs(term.incidences[c]).T @ seen[:, e]) > 0 for e, c in enumerate(term.load_of)]
    ).astype(float)
    levels = int(recorded.any(axis=1).sum())
    loads = len(term.incidences)
    exact = levels * loads <= _LARGEST and levels * loads * X.shape[1] <= _NUMBERS
    freedom = _rank_after(X, term, seen.any(axis=1)) // loads if exact else levels - 1
    return TermInformation(
        term=term.name,
        size=len(term.effects),
        levels=levels,
        freedom=freedom,
        exact=exact,
        confounded=confounded[term.name],
        related=term.relationship is not None,
        links=recorded.T @ recorded,
        effects=term.effects,
        free_covariances=_free_covariances(term.structure),
        estimated=term.structure.n_parameters > 0,
    )


def _free_covariances(structure: CovarianceStructure) -> bool:
    m = structure.size
    return m > 1 and structure.n_parameters >= m * (m + 1) // 2


def _rank_after(X: sparse.csc_array, term: TermDesign, rows: npt.NDArray[np.bool_]) -> int:
    """Rank of the incidence of a term after fixed effects, by the eigenvalues of Z'MZ."""
    Z = sparse.csc_array(sparse.hstack(term.incidences))[rows]
    Z = Z[:, np.diff(Z.indptr) > 0]
    gram = left_of_cross_products(X[rows], Z)
    values = np.linalg.eigvalsh(gram)
    return int((values > 1e-9 * float((Z.T @ Z).diagonal().max())).sum())


def _least(links: list[Array]) -> Array:
    """Fewest units with two traits, (t, t), in the groups in which both were recorded."""
    both = [np.multiply.outer(np.diag(seen), np.diag(seen)) > 0 for seen in links]
    found = np.min([np.where(there, seen, np.inf) for there, seen in zip(both, links, strict=True)], axis=0)
    return np.where(np.isfinite(found), found, 0.0)


def _residual(design: Design, X: sparse.csc_array) -> TermInformation:
    groups = [
        design.observed[design.residual.group == g].astype(float) for g in range(len(design.residual.groups) or 1)
    ]
    own = design.spec.residual_covariance()
    levels = sum(len(t.levels) - 1 for t in design.terms if t.relationship is None)
    return TermInformation(
        term=RESIDUAL,
        size=len(design.traits),
        levels=len(design.units),
        freedom=max(0, len(design.units) - X.shape[1] - levels),
        exact=False,
        links=_least([seen.T @ seen for seen in groups]),
        effects=design.traits,
        free_covariances=_free_covariances(own),
        estimated=own.n_parameters > 0,
    )
