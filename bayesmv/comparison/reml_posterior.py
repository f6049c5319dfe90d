"""The posterior beside REML, row by row, with a verdict in words."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.covariance import SINGULAR
from bayesmv.errors import SpecError
from bayesmv.estimates.source import describe
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.draws import prior_spread
from bayesmv.reml.delta import component_gradient, standard_error
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.trace import draws_of, term_names

#: A posterior whose squared interquartile range is more than this share of the prior's says mostly what the prior said.
PRIOR_SHARE = 0.5
#: Medians and REML estimates closer than this many posterior sd agree.
AGREE = 0.5


def compare_reml(
    trace: xr.DataTree, reml: RemlFit, priors: Mapping[str, CovariancePrior] | None = None
) -> pd.DataFrame:
    """Put the posterior of every (co)variance and correlation beside its REML estimate.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    reml
        REML fit of the same model and data.
    priors
        By name of the term the priors of the posterior that it cannot hold, those of classes of your own; without them
        these terms have no contraction.

    Returns
    -------
    DataFrame
        term, parameter (variance, covariance, correlation), trait_i, trait_j; reml, std_error, constraint; mean,
        median, sd, hdi_low, hdi_high, ess_bulk, ess_tail, r_hat; contraction ``1 - (IQR posterior / IQR prior)²`` of
        the standard deviation or correlation; difference ``(median - reml) / sd``; verdict.

    Raises
    ------
    SpecError
        If trace and fit are of different models.
    """
    names = term_names(trace)
    if names != reml.design.names or trace.attrs["model"] != reml.design.spec.without_unwritten_priors().to_toml():
        raise SpecError(
            f"the posterior is of the model '{_title(trace)}' and REML of '{reml.design.spec}'; fit the same model"
        )
    known = _priors(trace, {**reml.design.spec.priors, **(priors or {})})
    rows = []
    for name in names:
        rows += _term_rows(trace, reml, name, known[name])
    return pd.DataFrame(rows)


def _priors(trace: xr.DataTree, given: Mapping[str, CovariancePrior]) -> dict[str, CovariancePrior | None]:
    """Priors of a posterior: read from it, else those given; None where neither has one."""
    unwritten = {name: prior for name, prior in given.items() if not prior.is_written}
    return {
        name: unwritten.get(name) if entry is None else CovariancePrior.from_mapping(entry, name)
        for name, entry in json.loads(trace.attrs["priors"]).items()
    }


def _title(trace: xr.DataTree) -> str:
    return str(trace.attrs["model"]).replace("\n", "; ")


def _term_rows(trace: xr.DataTree, reml: RemlFit, name: str, prior: CovariancePrior | None) -> list[dict[str, object]]:
    draws = draws_of(trace, dims.covariance_name(name)).to_numpy()
    structure = reml.design.structure(name)
    rows = [
        _row(trace, reml, name, "variance" if i == j else "covariance", i, j, prior, draws[..., i, j])
        for i, j in structure.support
        if _varies(draws[..., i, j])
    ]
    correlations = draws_of(trace, dims.correlation_name(name)).to_numpy()
    rows += [
        _row(trace, reml, name, "correlation", i, j, prior, correlations[..., i, j])
        for i, j in structure.support
        if i != j and _varies(correlations[..., i, j])
    ]
    return rows


def _varies(draws: Array) -> bool:
    """Whether draws are of a quantity that was estimated, not given."""
    finite = draws[np.isfinite(draws)]
    return finite.size < 2 or bool(np.ptp(finite) > 1e-12 * np.max(np.abs(finite)))


def _row(
    trace: xr.DataTree,
    reml: RemlFit,
    name: str,
    parameter: str,
    i: int,
    j: int,
    prior: CovariancePrior | None,
    draws: Array,
) -> dict[str, object]:
    effects, held = reml.design.effects_of(name), reml.held_effects[name]
    estimate, error = reml_component(reml, name, i, j, parameter == "correlation")
    constraint = "boundary" if held[i] or held[j] else "positive" if i == j else "unconstrained"
    summary = describe(draws)
    contraction = 1.0 - _spread_ratio(trace, reml, name, i, j, prior) ** 2
    difference = (summary["median"] - estimate) / summary["sd"]
    labels = {"term": name, "parameter": parameter, "trait_i": effects[j], "trait_j": effects[i]}
    beside = {"reml": estimate, "std_error": error, "constraint": constraint}
    judged = {"contraction": contraction, "difference": difference}
    return labels | beside | summary | judged | {"verdict": _verdict(constraint, contraction, difference)}


def reml_component(reml: RemlFit, name: str, i: int, j: int, as_correlation: bool) -> tuple[float, float]:
    """REML estimate and standard error of one covariance or correlation."""
    V = reml.term_covariance(name)
    value, gradient = component_gradient(reml.covariances[name], i, j, as_correlation)
    error = standard_error(V, gradient)
    # A correlation at ±1 is held there; its delta-method error would be a rounding error.
    on_edge = as_correlation and 1.0 - abs(value) < SINGULAR
    return value, float("nan") if on_edge else error


def _spread_ratio(trace: xr.DataTree, reml: RemlFit, name: str, i: int, j: int, prior: CovariancePrior | None) -> float:
    """Interquartile range of the posterior over that of the prior, of the sd (i = j) or the correlation."""
    if prior is None:
        return float("nan")
    quartiles = np.array([0.25, 0.75])
    before = prior_spread(reml.design.structure(name), prior, i, j)
    if i == j:
        sd = draws_of(trace, dims.sd_name(name)).to_numpy()[..., i] / reml.design.effect_scale(name)[i]
        return float(np.ptp(np.quantile(sd, quartiles)) / before)
    correlations = draws_of(trace, dims.correlation_name(name)).to_numpy()
    return float(np.ptp(np.nanquantile(correlations[..., i, j], quartiles)) / before)


def _verdict(constraint: str, contraction: float, difference: float) -> str:
    """Put in words how the posterior stands to REML."""
    parts = []
    if constraint == "boundary":
        parts.append("REML on boundary")
    if contraction < 1.0 - PRIOR_SHARE:
        parts.append("posterior dominated by prior")
    if not parts and not abs(difference) < AGREE:
        parts.append(f"differ by {abs(difference):.1f} posterior s.d.")
    return "; ".join(parts) or "agree"
