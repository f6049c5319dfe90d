"""Fixed effects: Wilkinson formulas to a sparse design, checked for rank trait by trait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array, ByContent
from bayesmv.design.columns import Block, Columns, Scoped, check_finite
from bayesmv.errors import DataError, SpecError, listing, require_known
from bayesmv.model.terms import FixedTerm
from bayesmv.numerics.dependence import conditioned, independent_columns, least_squares


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedDesign(ByContent):
    """Fixed effects of all traits.

    Parameters
    ----------
    variables
        Names of the columns of X (v,).
    X
        Design over units, (n, v), in the units of the data.
    present
        Which variable is fitted for which trait, (v, t).
    aliased
        Which were left out of the fit of a trait, as combinations of others, (v, t).
    term_of
        Term that each variable is of, as the factors that it names; none for the mean.
    terms
        The formulas.
    traits
        Names of the traits (t,).
    ols
        Ordinary-least-squares coefficients, (v, t), 0 where not fitted.
    working, mixing
        Well-conditioned columns W = X B that engines compute with, (n, v), and B (v, v): covariates about their means
        and orthogonal to each other. B is triangular in some order; for each trait W spans what X does.
    references
        Factors and their reference levels, whose effects are 0.
    """

    variables: tuple[str, ...]
    X: sparse.csc_array
    present: npt.NDArray[np.bool_]
    ols: Array
    working: sparse.csc_array
    mixing: sparse.csc_array
    aliased: npt.NDArray[np.bool_]
    term_of: tuple[tuple[str, ...], ...]
    terms: tuple[FixedTerm, ...]
    traits: tuple[str, ...]
    references: tuple[tuple[str, str], ...] = ()

    @property
    def log_mixing(self) -> Array:
        """Logarithm of the diagonal of B, (v,): a sum over the columns of a trait is log|det B| of the trait."""
        return np.asarray(np.log(np.abs(self.mixing.diagonal())))

    @property
    def fitted(self) -> Array:
        """Ordinary-least-squares fit, (n, t)."""
        return np.asarray(self.X @ self.ols)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the formulas name."""
        return tuple(dict.fromkeys(name for term in self.terms for name in term.columns))

    def factors(self, table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
        """Levels of the factors with records, by name of the column; `table` is that of the design."""
        return _blocks(self.terms, self.traits, table, [])[0].levels

    def at(self, rows: pd.DataFrame, table: pd.DataFrame) -> tuple[sparse.csr_array, npt.NDArray[np.bool_]]:
        """Rows of X for other values of the columns, and for which traits a row needs a column that there is not.

        Parameters
        ----------
        rows
            Values of the columns that the formulas name, numbers for covariates, (k, …).
        table
            Data of the design, of which means, knots and levels are.

        Returns
        -------
        X, lost
            (k, v), and (k, t): whether the row names a combination of levels that was never recorded.

        Raises
        ------
        DataError
            If a level is not among those of the data.
        """
        made, blocks, wanted = _blocks(self.terms, self.traits, table, [])
        parts, lost = [sparse.csr_array((len(rows), 0))], np.zeros((len(rows), len(self.traits)), dtype=np.bool_)
        for scoped in blocks:
            part, absent = made.at(scoped, rows)
            parts.append(part)
            lost[:, wanted[scoped]] |= absent[:, None]
        return sparse.csr_array(sparse.hstack(parts)), lost

    def coefficients(self, traits: Sequence[str]) -> list[tuple[str, str]]:
        """Return (trait, variable) of every coefficient, variable by variable."""
        return [(traits[j], self.variables[i]) for i, j in zip(*np.nonzero(self.present), strict=True)]


def build_fixed(
    terms: Iterable[FixedTerm],
    traits: Sequence[str],
    data: pd.DataFrame,
    response: Array,
    notes: list[str],
) -> FixedDesign:
    """Build the fixed-effect design.

    Factor levels that are confounded with other fixed effects on the records of a trait are set to zero, as other
    programs do, and noted; a covariate that is a linear combination of others is an error.

    Raises
    ------
    SpecError
        If a formula is malformed or names unknown columns.
    DataError
        If a covariate is missing, not finite, or collinear.
    """
    terms = tuple(terms)
    for term in terms:
        _check_covariates(term, data)
    made, blocks, wanted = _blocks(terms, traits, data, notes)
    for block in blocks.values():
        check_finite(block, " + ".join(map(str, terms)))
    variables = tuple(name for block in blocks.values() for name in block.names)
    _check_names(variables)
    categorical = np.array([block.categorical for block in blocks.values() for _ in block.names], dtype=bool)
    parts = [block.columns for block in blocks.values()]
    X = sparse.csc_array(sparse.hstack(parts)) if variables else sparse.csc_array((len(data), 0))
    X.eliminate_zeros()
    present = np.zeros((len(variables), len(traits)), dtype=bool)
    place = 0
    for scoped, block in blocks.items():
        present[place : place + len(block.names), wanted[scoped]] = True
        place += len(block.names)
    asked = present.copy()
    _drop_dependent(X, present, response, variables, categorical, traits, notes)
    W, B = conditioned(X, present)
    ols = np.zeros((len(variables), len(traits)))
    for t in range(len(traits)):
        seen, mine_ = ~np.isnan(response[:, t]), np.flatnonzero(present[:, t])
        ols[mine_, t] = least_squares(W[seen][:, mine_], response[seen, t])
    return FixedDesign(
        variables=variables,
        X=X,
        present=present,
        ols=np.asarray(B @ ols),
        working=W,
        mixing=B,
        aliased=asked & ~present,
        term_of=tuple(tuple(name for name, _ in scoped) for scoped, block in blocks.items() for _ in block.names),
        terms=terms,
        traits=tuple(traits),
        references=made.references,
    )


def _blocks(
    terms: tuple[FixedTerm, ...], traits: Sequence[str], data: pd.DataFrame, notes: list[str]
) -> tuple[Columns, dict[tuple[Scoped, ...], Block], dict[tuple[Scoped, ...], list[int]]]:
    """Blocks of the columns of all traits in order, and the traits that want each."""
    made = Columns(data, notes)
    blocks: dict[tuple[Scoped, ...], Block] = {}
    wanted: dict[tuple[Scoped, ...], list[int]] = {}
    for t, trait in enumerate(traits):
        mine = [term for term in terms if term.traits is None or trait in term.traits]
        for scoped, block in made.blocks(factors for term in mine for factors in term.expanded.values()):
            blocks[scoped] = block
            wanted.setdefault(scoped, []).append(t)
    return made, blocks, wanted


def _check_covariates(term: FixedTerm, data: pd.DataFrame) -> None:
    used = term.columns
    if "trait" in used and "trait" not in data.columns:
        raise SpecError("every trait has effects of its own: write 1 where ASReml has 'trait', and x for 'trait:x'")
    what = f"the fixed effects '{term}' name {{}}, which is not a column of the data; columns"
    require_known(used, data.columns, what)


def _check_names(variables: Sequence[str]) -> None:
    if len(set(variables)) < len(variables):
        twice = pd.Index(variables)[pd.Index(variables).duplicated()].unique()
        raise SpecError(f"two fixed effects would be called {listing(twice)}; rename a column of the data")


def _drop_dependent(
    X: sparse.csc_array,
    present: npt.NDArray[np.bool_],
    response: Array,
    variables: Sequence[str],
    categorical: npt.NDArray[np.bool_],
    traits: Sequence[str],
    notes: list[str],
) -> None:
    """Take columns that are combinations of earlier ones out of `present`; notes levels, refuses covariates."""
    known: dict[bytes, npt.NDArray[np.bool_]] = {}
    for t, trait in enumerate(traits):
        seen, fitted = ~np.isnan(response[:, t]), np.flatnonzero(present[:, t])
        # Traits recorded on the same units with the same effects are judged once.
        key = seen.tobytes() + fitted.tobytes()
        if key not in known:
            known[key] = independent_columns(X[seen][:, fitted])
        dependent = fitted[~known[key]]
        covariates = [variables[i] for i in dependent if not categorical[i]]
        if covariates:
            raise DataError(
                f"the fixed effect {listing(covariates)} is a linear combination of the others "
                f"on the records of '{trait}'; take it out"
            )
        if len(dependent):
            notes.append(
                f"{len(dependent)} fixed effects of '{trait}' are confounded with others and set to zero: "
                f"{listing(variables[i] for i in dependent)}"
            )
        present[dependent, t] = False
