"""Fixed effects: Wilkinson formulas to a sparse design, checked for rank trait by trait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from formulaic import Formula, SimpleFormula
from formulaic.errors import FormulaicError
from scipy import sparse

from bayesmv.arrays import Array, ByContent
from bayesmv.errors import DataError, SpecError, listing, require_complete, require_known
from bayesmv.model.basis import leg
from bayesmv.model.terms import FixedTerm

#: Functions that fixed effects may use besides formulaic's own.
_CONTEXT = {"leg": leg}


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
    ols
        Ordinary-least-squares coefficients, (v, t), 0 where not fitted.
    """

    variables: tuple[str, ...]
    X: sparse.csc_array
    present: npt.NDArray[np.bool_]
    ols: Array

    @property
    def fitted(self) -> Array:
        """Ordinary-least-squares fit, (n, t)."""
        return np.asarray(self.X @ self.ols)

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
    columns: dict[str, Array] = {}
    wanted: dict[str, set[int]] = {}
    categorical: set[str] = set()
    for term in terms:
        matrix, factor_columns = _model_matrix(term, data)
        categorical |= factor_columns
        for name, values in matrix.items():
            columns.setdefault(name, values)
            wanted.setdefault(name, set()).update(traits.index(t) for t in term.traits or traits)
    variables = tuple(columns)
    X = sparse.csc_array(np.column_stack(list(columns.values())) if variables else np.zeros((len(data), 0)))
    present = np.array([[t in wanted[v] for t in range(len(traits))] for v in variables], dtype=bool)
    present = present.reshape(len(variables), len(traits))
    ols = np.zeros((len(variables), len(traits)))
    for t, trait in enumerate(traits):
        seen = ~np.isnan(response[:, t])
        fitted = np.flatnonzero(present[:, t])
        independent = _independent(X[seen][:, fitted], [variables[i] for i in fitted], trait, categorical, notes)
        present[fitted[~independent], t] = False
        ols[present[:, t], t] = _least_squares(X[seen][:, present[:, t]], response[seen, t])
    return FixedDesign(variables=variables, X=X, present=present, ols=ols)


def _model_matrix(term: FixedTerm, data: pd.DataFrame) -> tuple[dict[str, Array], set[str]]:
    """Columns of one formula by name, and the names of those that come from factors."""
    try:
        own_mean = term.traits is None or term.formula.strip() == "1"
        formula = Formula(term.formula if own_mean else f"{term.formula} - 1")
        if not isinstance(formula, SimpleFormula):
            raise SpecError(f"the fixed effects '{term}' have several parts; write one, without '|' or '~'")
        used = sorted(str(v) for v in formula.required_variables if str(v) not in _CONTEXT or str(v) in data.columns)
    except FormulaicError as error:
        raise SpecError(f"the fixed effects '{term}' are not understood: {_first_line(error)}") from None
    _check_covariates(used, term, data)
    try:
        matrix = formula.get_model_matrix(data, na_action="raise", output="pandas", context=_CONTEXT)
    except Exception as error:  # formulaic raises whatever the user's expression raises
        raise SpecError(f"the fixed effects '{term}' cannot be computed: {_first_line(error)}") from None
    spec = matrix.model_spec
    factors = {str(f) for f, encoder in spec.encoder_state.items() if encoder[0].name == "CATEGORICAL"}
    from_factors = {
        column
        for term_, names in spec.term_indices.items()
        for column in np.asarray(spec.column_names)[list(names)]
        if any(str(f) in factors for f in term_.factors)
    }
    columns = {str(name): matrix[name].to_numpy(dtype=float) for name in matrix.columns}
    _check_finite(columns, term)
    return columns, from_factors


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_covariates(used: Sequence[str], term: FixedTerm, data: pd.DataFrame) -> None:
    if "trait" in used and "trait" not in data.columns:
        raise SpecError("every trait has effects of its own: write 1 where ASReml has 'trait', and x for 'trait:x'")
    what = f"the fixed effects '{term}' name {{}}, which is not a column of the data; columns"
    require_known(used, data.columns, what)
    for name in used:
        require_complete(data[name], f"fixed effect '{name}'", "fill the values in or take these units out")


def _check_finite(columns: dict[str, Array], term: FixedTerm) -> None:
    bad = [name for name, values in columns.items() if not np.isfinite(values).all()]
    if bad:
        raise DataError(f"the fixed effect {listing(bad)} in '{term}' has values that are not finite")


def _independent(
    X: sparse.csc_array, names: list[str], trait: str, categorical: set[str], notes: list[str]
) -> npt.NDArray[np.bool_]:
    """Which columns are not linear combinations of earlier ones; reports or refuses the others."""
    independent = pivoted_independence(X)
    dependent = [name for name, ok in zip(names, independent, strict=True) if not ok]
    covariates = [name for name in dependent if name not in categorical]
    if covariates:
        raise DataError(
            f"the fixed effect {listing(covariates)} is a linear combination of the others "
            f"on the records of '{trait}'; take it out"
        )
    if dependent:
        notes.append(
            f"{len(dependent)} fixed effects of '{trait}' are confounded with others and set to zero: "
            f"{listing(dependent)}"
        )
    return independent


def pivoted_independence(X: sparse.csc_array) -> npt.NDArray[np.bool_]:
    """Which columns of X are linearly independent of the columns before them, by Cholesky of the scaled X'X."""
    gram = (X.T @ X).toarray()
    size = np.sqrt(np.diag(gram))
    gram = gram / np.outer(np.where(size > 0, size, 1.0), np.where(size > 0, size, 1.0))
    keep = np.zeros(len(size), dtype=bool)
    for j in range(len(size)):
        # Gaussian elimination on the Gram matrix: what is left on the diagonal is 1 - R² of column j on those before.
        if size[j] > 0 and gram[j, j] > 1e-10:
            keep[j] = True
            gram -= np.outer(gram[:, j], gram[j]) / gram[j, j]
    return keep


def _least_squares(X: sparse.csc_array, y: Array) -> Array:
    gram = (X.T @ X).toarray()
    size = np.sqrt(np.diag(gram))
    scaled: Any = np.linalg.solve(gram / np.outer(size, size), (X.T @ y) / size) if len(size) else np.zeros(0)
    return np.asarray(scaled / size)
