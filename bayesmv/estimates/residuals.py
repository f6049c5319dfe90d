r"""Residuals and fitted values, standardised, with what stands out.

Of the records of a unit with residual covariance R_u, ``ê = y - Xβ̂ - Zû = R_u (Py)_u`` has the covariance
``R_u P_uu R_u``, and the marginal residual ``y - Xβ̂`` has ``V_uu - X_u Φ X_u'``. The **deletion** residual
``P_uu⁻¹(Py)_u`` is the record less its prediction from all other units, with the covariance P_uu⁻¹.

Source: Haslett & Haslett (2007), Int. Stat. Rev. 75:1-24; Gumedze et al. (2010), Comput. Stat. Data Anal. 54:2128-2144.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import ndtri

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.errors import SpecError, require_known
from bayesmv.estimates.quantile_residuals import quantile_residuals
from bayesmv.estimates.source import estimates_of
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.likelihood.sparse.leave_out import LeaveOut
from bayesmv.numerics.symmetric import symmetric_lu
from bayesmv.reml.result import RemlFit

type Kind = Literal["conditional", "marginal", "deletion"]
_KINDS = ("conditional", "marginal", "deletion")
#: Chance that any record of normal data is flagged.
_FALSE_ALARM = 0.05


def residuals(source: Any, kind: Kind = "conditional", *, design: Design | None = None) -> pd.DataFrame:
    """Residuals and fitted values of every record.

    Parameters
    ----------
    source
        A REML fit, or a posterior (at its mean covariances).
    kind
        ``conditional``: less fixed and random effects; ``marginal``: less fixed effects; ``deletion``: less the
        prediction from all other units.
    design
        For a posterior, or a fit that was loaded: its design.

    Returns
    -------
    DataFrame
        unit, trait, observed, fitted, residual, standardised (over its standard error) and outlier, whether the
        standardised residual is beyond the quantile of a normal distribution that the largest of as many records
        passes with a probability of 5 % (Bonferroni). One row a record, in the units of the data, offsets included.
        Where traits are not Gaussian, fitted is the expected record and standardised a randomised quantile residual
        (:mod:`.quantile_residuals`), standard normal where the model is right.

    Raises
    ------
    SpecError
        If the kind is unknown or the design is missing; where traits are not Gaussian, of a posterior, or of another
        kind than ``conditional``.
    DataError
        If the other records do not determine the fixed effects of a unit.
    """
    require_known([kind], _KINDS, "no residuals {}; kinds")
    estimates = estimates_of(source)
    design = estimates.design_of(design)
    unit, trait = np.nonzero(design.observed)
    if design.gaussian:
        fit, observed = estimates.at_mean(design), design.response + design.offset
        residual, error = _of_kind(fit, design, kind)
        with np.errstate(invalid="ignore", divide="ignore"):
            standardised = residual / error
        fitted = observed - residual * design.scale
    else:
        if estimates.fit is None or kind != "conditional":
            raise SpecError("residuals of traits that are not Gaussian are so far conditional ones of a REML fit")
        linear = [law.linear for law in design.families]
        observed = design.response + np.where(linear, design.offset, 0.0)
        fitted, standardised = quantile_residuals(estimates.fit, design)
    out = pd.DataFrame(
        {
            "unit": np.asarray(design.units)[unit],
            "trait": np.asarray(design.traits, dtype=object)[trait],
            "observed": observed[unit, trait],
            "fitted": fitted[unit, trait],
            "residual": (observed - fitted)[unit, trait],
            "standardised": standardised[unit, trait],
        }
    )
    limit = -ndtri(_FALSE_ALARM / (2 * len(out)))
    return out.assign(outlier=out["standardised"].abs() > limit)


def _of_kind(fit: RemlFit, design: Design, kind: Kind) -> tuple[Array, Array]:
    """Residuals and their standard errors in scaled units, (n, t) each."""
    engine = LeaveOut(design, np.arange(len(design.units)))
    Py, P = engine.projected(fit.sigmas)
    root = np.sqrt(design.residual.weights)[:, None]
    if kind == "deletion":
        missing = ~design.observed
        whole = P + np.eye(P.shape[1]) * missing[:, None, :]
        inverse = np.linalg.inv(whole)
        residual = np.einsum("uab,ub->ua", inverse, Py)
        return residual / root, np.sqrt(np.diagonal(inverse, axis1=1, axis2=2)) / root
    if kind == "conditional":
        R = _residual_covariances(design, fit.sigmas[-1])
        residual = np.einsum("uab,ub->ua", R, Py)
        covariance = R @ P @ R
        return residual / root, np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0)) / root
    return _marginal(fit, design)


def _marginal(fit: RemlFit, design: Design) -> tuple[Array, Array]:
    """``y - Xβ̂`` and the root of the diagonal of ``V - X Φ X'``, scaled units."""
    engine = MixedModelLikelihood(design)
    solution = engine.solve(fit.sigmas)
    residual = design.working_response - design.fixed.X @ solution.fixed
    variance = np.zeros(design.observed.shape)
    for term, sigma in zip(design.terms, fit.sigmas[:-1], strict=True):
        variance += _own_variance(term, sigma)
    R = _residual_covariances(design, fit.sigmas[-1])
    variance += np.diagonal(R, axis1=1, axis2=2) / design.residual.weights[:, None]
    phi, present = engine.fixed_covariance(fit.sigmas), design.fixed.present
    place = np.cumsum(present.reshape(-1)).reshape(present.shape) - 1
    for t in range(present.shape[1]):
        mine = np.flatnonzero(present[:, t])
        X = design.fixed.X[:, mine].tocsr()
        block = phi[np.ix_(place[mine, t], place[mine, t])]
        variance[:, t] -= np.asarray((X @ block) * X.toarray()).sum(axis=1)
    return residual, np.sqrt(np.maximum(variance, 0.0))


def _own_variance(term: TermDesign, sigma: Array) -> Array:
    """Variance that a term gives every record, ``diag(Z K Z')`` by trait, (n, t)."""
    n = term.incidences[0].shape[0]
    out = np.zeros((n, term.n_traits))
    m = len(term.effects)
    for a in range(m):
        for b in range(m):
            if term.trait_of[a] == term.trait_of[b]:
                product = _row_forms(term.incidences[term.load_of[a]], term.incidences[term.load_of[b]], term)
                out[:, term.trait_of[a]] += sigma[a, b] * product
    return out


def _row_forms(A: sparse.csr_array, B: sparse.csr_array, term: TermDesign) -> Array:
    """``a_u' K b_u`` of the rows of two incidences, (n,)."""
    single = max(np.diff(A.indptr).max(initial=0), np.diff(B.indptr).max(initial=0)) <= 1
    if term.relationship is None:
        return np.asarray(A.multiply(B).sum(axis=1)).reshape(-1)
    if single:
        same = A.multiply(B)
        if (np.diff(A.indptr) * np.diff(B.indptr) == np.diff(same.indptr)).all():
            return np.asarray(same @ term.level_variance).reshape(-1)
    factor = symmetric_lu(term.precision)
    out = np.empty(A.shape[0])
    for first in range(0, A.shape[0], 256):
        rows = slice(first, first + 256)
        out[rows] = np.einsum("ij,ji->i", A[rows].toarray(), factor.solve(B[rows].T.toarray()))
    return out


def _residual_covariances(design: Design, sigma: Array) -> Array:
    """R of the traits that were recorded, of every unit, times its weight, (n, t, t)."""
    residual = design.residual
    groups = range(max(len(residual.groups), 1))
    of_group = np.array([sigma[np.ix_(residual.places(g), residual.places(g))] for g in groups])
    seen = design.observed
    return np.asarray(of_group[residual.group] * (seen[:, :, None] & seen[:, None, :]))
