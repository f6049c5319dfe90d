"""REML: estimates of the covariance matrices with standard errors, fixed effects and BLUPs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import ConvergenceWarning, DataError, listing
from bayesmv.likelihood import Engine, RestrictedLikelihood, likelihood
from bayesmv.numerics.progress import waiting
from bayesmv.reml.maximise import RestrictedObjective, maximise_from
from bayesmv.reml.result import RemlFit, fitted
from bayesmv.reml.start import restarts, start_values

#: Scales (in phenotypic sd) below which an estimate is 0: their share in the likelihood is lost in rounding.
_ZERO = 1e-6
#: Residual sd (in phenotypic sd) below which a climb that does not end has lost its way in rounding.
_EXACT = 3e-4


def fit_reml(
    design: Design,
    *,
    engine: Engine | RestrictedLikelihood = "auto",
    start: RemlFit | Mapping[str, Array] | None = None,
    max_iterations: int = 200,
) -> RemlFit:
    """Estimate the covariance matrices by restricted maximum likelihood.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.
    engine
        Likelihood engine, or the word of one.
    start
        Start values, from another fit or as ``{term: matrix}`` in the units of the data; none are needed.
    max_iterations
        Most Newton steps.

    Returns
    -------
    RemlFit
        A singular estimate is a result, listed in ``at_boundary``. Factor structures are fitted from several starts;
        where they end at different maxima, a note of the fit's design says so.

    Raises
    ------
    SpecError
        If `start` does not fit the design.
    DataError
        If a trait has no residual variance, so that the likelihood has no maximum.

    Warns
    -----
    ConvergenceWarning
        If the iterations end before convergence.

    References
    ----------
    Gilmour, Thompson & Cullis (1995), Biometrics 51:1440-1450 (average information).
    """
    density = likelihood(design, engine) if isinstance(engine, str) else engine
    given = _given(design, start)
    begin = start_values(design, density, given)
    starts = [begin, *restarts(design, begin, given)]
    with waiting("Maximising the restricted likelihood") as say:
        optimum, below = maximise_from(density, design.blocks, starts, max_iterations, say)
    if below:
        design = replace(design, notes=(*design.notes, _several_maxima(len(starts), below)))
    theta = settled(design, optimum.theta)
    if not optimum.converged or not np.isfinite(RestrictedObjective(density, design.blocks).value(theta)):
        _require_residuals(design, theta)
    if not optimum.converged:
        warnings.warn(
            f"REML stopped after {optimum.iterations} iterations with gradient {np.max(np.abs(optimum.gradient)):.2g}; "
            f"check the model with bayesmv check, or raise max_iterations",
            ConvergenceWarning,
            stacklevel=2,
        )
    return fitted(
        design,
        density,
        theta,
        loglik=optimum.loglik,
        gradient=optimum.gradient,
        iterations=optimum.iterations,
        converged=optimum.converged,
    )


def _require_residuals(design: Design, theta: Array) -> None:
    """Refuse traits without residual variance, of which the likelihood has no maximum."""
    residual, at = design.residual.structure, design.blocks.slices[-1]
    variances = np.diag(residual.matrix(theta[at]))
    exact = [e for e, v in zip(design.effects_of(design.names[-1]), variances, strict=True) if not v > _EXACT**2]
    if exact:
        raise DataError(
            f"the residual variance of {listing(exact)} goes to 0, and the likelihood has no maximum: the model "
            f"explains the records without error; leave out the term that does, or the trait"
        )


def _several_maxima(starts: int, below: Sequence[float]) -> str:
    gaps = ", ".join(f"{gap:.2g}" for gap in sorted(below))
    return (
        f"REML has several maxima: of {starts} starts, {len(below)} ended lower, by {gaps} in log-likelihood; "
        f"the highest is given"
    )


def _given(design: Design, start: RemlFit | Mapping[str, Array] | None) -> Mapping[str, Array]:
    """Start values by name of the term; of a fit, those of the terms that the design has."""
    if start is None or isinstance(start, Mapping):
        return start or {}
    return {name: sigma for name, sigma in start.covariances.items() if name in design.names}


def settled(design: Design, theta: Array) -> Array:
    """Canonical θ, with scales that came within rounding of the boundary put on it."""
    settled = design.blocks.canonical(theta)
    return np.where(design.blocks.positive & (np.abs(settled) < _ZERO**design.blocks.powers), 0.0, settled)
