r"""Tests of fixed effects: incremental and conditional Wald tests, with denominators for small samples.

The terms of the formula in their order, each trait by itself and all together. With ``Φ⁻¹ = U'U``, the columns of Φ in
some order of the terms and U upper triangular, the rows of U of a term are the hypothesis that it adds nothing to the
terms before it. **Incremental** tests have the order of the formula; **conditional** ones put every term after all
others but those that contain it (its interactions), as ASReml's do.

Denominators: Kenward & Roger (:mod:`bayesmv.reml.small_sample`) where there are at most 2,000 records, else by
containment: the degrees of freedom of the random term with fewest that has all factors of the fixed one, else of the
residual. Where a trait is not Gaussian, estimates and Φ are those of the approximation that was fitted, and F is
referred to χ² over its degrees of freedom, unless containment is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import chdtrc, fdtrc

from bayesmv.arrays import Array
from bayesmv.checks.identifiability import identifiability
from bayesmv.design.design import Design
from bayesmv.errors import SpecError, require_known
from bayesmv.estimates.source import estimates_of
from bayesmv.likelihood.choose import effect_equations
from bayesmv.model.grammar import columns_of, parse
from bayesmv.reml.result import RemlFit
from bayesmv.reml.small_sample import LARGEST, KenwardRoger

#: Ways to the denominator degrees of freedom.
type Denominators = Literal["auto", "kenward-roger", "containment"]
_WAYS = ("auto", "kenward-roger", "containment")
#: Name of the mean among the terms.
MEAN = "(mean)"


def wald(
    source: Any,
    denominators: Denominators = "auto",
    *,
    design: Design | None = None,
    max_draws: int = 400,
) -> pd.DataFrame:
    """Test the fixed effects term by term.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    denominators
        ``kenward-roger``, ``containment``, or ``auto``: the first up to 2,000 records; where a trait is not Gaussian
        χ², without denominators.
    design
        For a posterior: its design.
    max_draws
        Most draws of the covariances of a posterior to use.

    Returns
    -------
    DataFrame
        term, trait (``all`` for all traits together), kind (``incremental`` or ``conditional``), df, F (scaled, for
        Kenward-Roger), ddf (infinite for χ²), p and method. For a posterior term, trait, kind, df and outside: the
        posterior probability outside of the region, bounded by a density alike, on which the hypothesis lies; the
        simultaneous 95 % region leaves it out where that is below 0.05.

    Raises
    ------
    SpecError
        If a fit has too many records for what was asked, or traits that are not Gaussian.

    References
    ----------
    Kenward & Roger (1997), Biometrics 53:983-997; Gilmour et al., ASReml User Guide, "Wald F statistics".
    """
    require_known([denominators], _WAYS, "no denominators {}; ways")
    estimates = estimates_of(source)
    design = estimates.design_of(design)
    hypotheses = _Hypotheses(design)
    if estimates.fit is None:
        return _posterior(hypotheses, *estimates.fixed_moments(design, max_draws))
    return _reml(hypotheses, estimates.fit, design, denominators)


class _Hypotheses:
    """Terms of the fixed effects of a design, and the coefficients of each, in the order of the coefficients."""

    def __init__(self, design: Design) -> None:
        variables, self.trait = np.nonzero(design.fixed.present)
        self.traits = design.traits
        order: dict[frozenset[str], None] = {}
        for fixed in design.fixed.terms:
            order |= dict.fromkeys(frozenset(map(str, factors)) for factors in fixed.expanded.values())
        of = [frozenset(names) for names in design.fixed.term_of]
        self.terms = [term for term in dict.fromkeys([*order, *of]) if term in of]
        self.of = np.array([self.terms.index(of[v]) for v in variables], dtype=int)
        names = {frozenset(term): ":".join(term) or MEAN for term in design.fixed.term_of}
        self.names = [names[term] for term in self.terms]

    def order(self, term: int, kind: str) -> list[int]:
        """Terms in the order in which they are fitted before a test of one of them."""
        everything = range(len(self.terms))
        if kind == "incremental":
            return list(everything)
        containing = [k for k in everything if self.terms[term] < self.terms[k]]
        others = [k for k in everything if k != term and k not in containing]
        return [*others, term, *containing]

    def rows(self, term: int, trait: int | None) -> npt.NDArray[np.intp]:
        """Coefficients of a term, of one trait or of all."""
        mine = self.of == term
        return np.flatnonzero(mine if trait is None else mine & (self.trait == trait))

    def matrix(self, phi: Array, term: int, trait: int | None, kind: str) -> Array:
        """L of the hypothesis, (ℓ, p)."""
        mine = self.rows(term, trait)
        sequence = np.concatenate([self.rows(k, None) for k in self.order(term, kind)]).astype(int)
        # The coefficients tested come last of their term: the other traits of the term are fitted before.
        first = sequence[np.isin(self.of[sequence], self._before(term, kind))]
        same = np.setdiff1d(self.rows(term, None), mine)
        after = np.setdiff1d(sequence, np.concatenate([first, same, mine]))
        arranged = np.concatenate([first, same, mine, after]).astype(int)
        size = np.sqrt(np.diag(phi))
        scaled = phi / np.outer(size, size)
        U = np.linalg.cholesky(np.linalg.inv(scaled[np.ix_(arranged, arranged)])).T / size[arranged]
        rows = np.arange(len(first) + len(same), len(first) + len(same) + len(mine))
        L = np.zeros((len(mine), len(phi)))
        L[:, arranged] = U[rows]
        return L

    def _before(self, term: int, kind: str) -> list[int]:
        order = self.order(term, kind)
        return order[: order.index(term)]

    def __iter__(self) -> Any:
        kinds = ("incremental", "conditional")
        wanted: Sequence[int | None] = [*range(len(self.traits)), *([None] if len(self.traits) > 1 else [])]
        for term in range(len(self.terms)):
            for trait in wanted:
                if len(self.rows(term, trait)):
                    for kind in kinds:
                        yield term, trait, kind

    def labels(self, term: int, trait: int | None, kind: str) -> dict[str, object]:
        """Columns that name a test."""
        return {"term": self.names[term], "trait": "all" if trait is None else self.traits[trait], "kind": kind}


def _reml(hypotheses: _Hypotheses, fit: RemlFit, design: Design, denominators: Denominators) -> pd.DataFrame:
    small = denominators != "containment" and design.n_records <= LARGEST and design.gaussian
    if denominators == "kenward-roger":
        design.require_gaussian("Kenward and Roger's denominators are")
    if denominators == "kenward-roger" and not small:
        raise SpecError(
            f"Kenward and Roger's denominators are for {LARGEST} records at most, not {design.n_records}; "
            f"use denominators='containment'"
        )
    equations = effect_equations(design, fit.engine_name)
    beta = np.asarray((design.fixed.ols / design.scale + equations.solve(fit.sigmas).fixed)[design.fixed.present])
    kenward = KenwardRoger(fit, design) if small else None
    phi = equations.fixed_covariance(fit.sigmas) if kenward is None else kenward.covariance
    chi_square = not design.gaussian and denominators == "auto"
    freedom: Mapping[frozenset[str], float] = {} if small or chi_square else containment(design)
    rows = []
    for term, trait, kind in hypotheses:
        L = hypotheses.matrix(phi, term, trait, kind)
        if kenward is not None:
            F, df, ddf = kenward.test(L, beta)
        else:
            F, df = float((L @ beta) @ np.linalg.solve(L @ phi @ L.T, L @ beta)) / len(L), len(L)
            ddf = freedom.get(hypotheses.terms[term], np.inf)
        p = float(fdtrc(df, ddf, F)) if np.isfinite(ddf) else float(chdtrc(df, F * df))
        method = "Kenward-Roger" if small else "chi-square" if chi_square else "containment"
        rows.append({**hypotheses.labels(term, trait, kind), "df": df, "F": F, "ddf": ddf, "p": p, "method": method})
    return pd.DataFrame(rows)


def containment(design: Design) -> dict[frozenset[str], float]:
    """Denominator degrees of freedom of every fixed term by containment, by the names of its factors."""
    *random, residual = identifiability(design)
    columns = {term.name: set(term.factor_columns) for term in design.spec.random}
    # Of levels that are combinations, what those of the factors alone leave.
    own: dict[str, int] = {}
    for i in sorted(random, key=lambda i: len(columns[i.term])):
        own[i.term] = i.freedom - sum(own[other] for other in own if columns[other] < columns[i.term])
    unrelated = sum(own[i.term] for i in random if not i.related)
    left = residual.levels - design.fixed.present.any(axis=1).sum() - unrelated
    out = {}
    for factors in dict.fromkeys(frozenset(names) for names in design.fixed.term_of):
        mine = {column for name in factors for column in columns_of(parse(name))}
        holding = [own[term] for term in own if mine and mine <= columns[term]]
        out[factors] = float(max(min(holding, default=left), 1))
    return out


def _posterior(hypotheses: _Hypotheses, mean: Array, covariance: Array, draws: Array) -> pd.DataFrame:
    """Distances of the hypotheses out in the posterior; draws (draws, p) about mean (p,) with covariance (p, p)."""
    rows = []
    for term, trait, kind in hypotheses:
        L = hypotheses.matrix(covariance, term, trait, kind)
        V = L @ covariance @ L.T
        moved = (draws - mean) @ L.T
        far = np.einsum("sa,sa->s", moved, np.linalg.solve(V, moved.T).T)
        null = float((L @ mean) @ np.linalg.solve(V, L @ mean))
        rows.append({**hypotheses.labels(term, trait, kind), "df": len(L), "outside": float((far >= null).mean())})
    return pd.DataFrame(rows)
