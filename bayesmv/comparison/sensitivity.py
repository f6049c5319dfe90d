r"""Sensitivity of a posterior to its prior: by power-scaling without a refit, and by refits under named alternatives.

The prior, or the likelihood, is raised to a power α near 1 by importance weights ``p^(α - 1)``; how far the
distribution of a parameter moves with log₂ α is its sensitivity (Kallioinen, Paananen, Bürkner & Vehtari 2024, Stat.
Comput. 34:57). The likelihood is the restricted likelihood of all records together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.estimates.enriched import enrich
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.estimates.source import estimates_of
from bayesmv.likelihood import likelihood
from bayesmv.numerics.progress import watched
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT
from bayesmv.priors.laws import HalfNormal
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.sample import sample

#: Sensitivity from which a distribution is said to move.
_MOVES = 0.05

#: Named alternatives to the priors of a model: random terms, then the residual.
PRIOR_SETS: dict[str, tuple[CovariancePrior, CovariancePrior]] = {
    # Half-t(3, 1) of standard deviations, LKJ(1).
    "default": (CovariancePrior(), CovariancePrior()),
    # Small variances, correlations near 0.
    "skeptical": (CovariancePrior(sd=HalfNormal(0.3), eta=4.0), CovariancePrior(eta=2.0)),
    # Nearly flat on standard deviations, flat on correlations.
    "flat": (CovariancePrior(sd=HalfNormal(25.0)), CovariancePrior(sd=HalfNormal(25.0))),
    # Tails of a Cauchy: large variances are thought of.
    "wide": (CovariancePrior(sd=HalfStudentT(nu=1.0, scale=1.0)), CovariancePrior(sd=HalfStudentT(nu=1.0))),
}


def sensitivity(
    trace: xr.DataTree,
    design: Design,
    *,
    priors: Mapping[str, CovariancePrior] | None = None,
    max_draws: int = 4000,
) -> pd.DataFrame:
    """Sensitivity of every variance, covariance and correlation to the prior and to the likelihood.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    design
        The design that was sampled.
    priors
        Priors of your own classes, which a posterior cannot hold.
    max_draws
        Most draws to use.

    Returns
    -------
    DataFrame
        term, parameter (variance, covariance, correlation), effect, prior and likelihood: the sensitivities, and
        verdict: ``ok``; ``prior and data disagree`` (both move it); ``the prior decides`` (only the prior does).

    Raises
    ------
    SpecError
        If the posterior is of another design.
    """
    from arviz_stats import psense

    tree = enrich(trace, design, groups=("log_prior",), priors=priors, max_draws=max_draws)
    record, posterior = ModelRecord.read(trace), trace["posterior"].to_dataset()
    kept = tree["posterior"].to_dataset()
    kept_draws = [int(np.flatnonzero(posterior[dims.DRAW].to_numpy() == d)[0]) for d in kept[dims.DRAW].to_numpy()]
    engine = likelihood(design, "auto")
    shape = kept.sizes[dims.CHAIN], kept.sizes[dims.DRAW]
    values, places = np.empty(shape), list(np.ndindex(*shape))
    for chain, k in watched(places, "Likelihood of every draw", len(places)):
        sigmas = [
            design.to_working_units(n, posterior[dims.covariance_name(n)].to_numpy()[chain, kept_draws[k]])
            for n in design.names
        ]
        values[chain, k] = engine.loglik(sigmas)
    coords = {d: kept[d] for d in (dims.CHAIN, dims.DRAW)}
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"restricted": ((dims.CHAIN, dims.DRAW), values)}, coords))
    rows = []
    for name in record.names:
        for variable, word in (
            (dims.variance_name(name), "variance"),
            (dims.covariance_name(name), "covariance"),
            (dims.correlation_name(name), "correlation"),
        ):
            if variable not in kept or not _moves(kept[variable]):
                continue
            prior, data = (
                psense(tree, var_names=[variable], group=group)[variable].to_numpy().reshape(-1)
                for group in ("prior", "likelihood")
            )
            labels = kept[variable].coords[kept[variable].dims[2]].to_numpy()
            for label, by_prior, by_data in zip(labels, prior.tolist(), data.tolist(), strict=True):
                rows.append((name, word, str(label), by_prior, by_data, _verdict(by_prior, by_data)))
    return pd.DataFrame(rows, columns=["term", "parameter", "effect", "prior", "likelihood", "verdict"])


def _moves(draws: xr.DataArray) -> bool:
    values = draws.to_numpy()
    return bool(np.isfinite(values).all() and np.all(np.ptp(values, axis=(0, 1)) > 0))


def _verdict(prior: float, likelihood_: float) -> str:
    """Verdict of the two sensitivities together."""
    if not prior >= _MOVES:
        return "ok"
    return "prior and data disagree" if likelihood_ >= _MOVES else "the prior decides"


def prior_set(name: str, design: Design) -> dict[str, CovariancePrior]:
    """Priors of a named alternative, by name of the term; ``model`` is the model's own.

    Raises
    ------
    SpecError
        If there is none of that name.
    """
    require_known([name], ("model", *PRIOR_SETS), "no prior set {}; sets")
    if name == "model":
        return design.priors()
    random, residual = PRIOR_SETS[name]
    return {term: residual if term == RESIDUAL else random for term in design.names}


def compare_priors(
    design: Design,
    sets: Sequence[str] | Mapping[str, Mapping[str, CovariancePrior]] = ("model", "skeptical", "flat"),
    *,
    reml: RemlFit | None = None,
    **words: Any,
) -> pd.DataFrame:
    """Refit a model under several priors, and put the answers side by side.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.
    sets
        Names of :data:`PRIOR_SETS` (``default``, ``skeptical``, ``flat``, ``wide``, and ``model``), or priors by name
        of the term for each name of yours.
    reml
        A REML fit of the design.
    words
        Settings of :func:`bayesmv.sample`.

    Returns
    -------
    DataFrame
        prior, parameter, trait_i, trait_j, mean, median, sd, hdi_low, hdi_high, ess_bulk, ess_tail, r_hat, constraint:
        variance components, and genetic parameters where the model names a genetic term.

    Raises
    ------
    SpecError
        If a set is unknown, or fewer than two are given.
    """
    chosen = dict(sets) if isinstance(sets, Mapping) else {name: prior_set(name, design) for name in sets}
    if len(chosen) < 2:
        raise SpecError(f"give two sets of priors or more to compare, not {listing(chosen)}")
    parts = []
    for name, priors in chosen.items():
        trace = sample(design, priors=priors, reml=reml, **words)
        table = estimates_of(trace).components().rename(columns={"term": "parameter"})
        if design.spec.genetic is not None:
            table = pd.concat([table, genetic_parameters(trace)], ignore_index=True)
        parts.append(table.assign(prior=name))
    out = pd.concat(parts, ignore_index=True)
    return out[["prior", *(c for c in out.columns if c != "prior")]]
