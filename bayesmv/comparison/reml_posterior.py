"""The posterior beside REML, row by row, with a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.estimates.source import Estimates, describe, estimates_of
from bayesmv.numerics.symmetric import correlation
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.draws import prior_spread
from bayesmv.reml.result import RemlFit

#: A posterior whose squared interquartile range is more than this share of the prior's says mostly what the prior said.
PRIOR_SHARE = 0.5
#: Medians and REML estimates closer than this many posterior sd agree.
AGREE = 0.5
#: A correlation whose 95 % interval is wider is undetermined: it leaves more than half of what a flat prior leaves.
UNDETERMINED = 0.95


def compare_reml(
    trace: Any,
    reml: RemlFit,
    priors: Mapping[str, CovariancePrior] | None = None,
    laplace: RemlFit | None = None,
) -> pd.DataFrame:
    """Put the posterior of every (co)variance and correlation beside its REML estimate.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    reml
        REML fit of the same model and data.
    priors
        Priors of your own classes, by name of the term, which a posterior cannot hold; those of the model are known.
    laplace
        Where traits are not Gaussian, a fit by Laplace's approximation, to be shown beside the others.

    Returns
    -------
    DataFrame
        term, parameter (variance, covariance, correlation), trait_i, trait_j; reml, std_error, constraint; laplace, if
        it was given; mean,
        median, sd, hdi_low, hdi_high, ess_bulk, ess_tail, r_hat; contraction ``1 - (IQR posterior / IQR prior)²`` of
        the standard deviation or correlation; difference ``(median - reml) / sd``; verdict.

    Raises
    ------
    SpecError
        If trace and fit are of different models or data: naming what differs.
    """
    posterior = estimates_of(trace)
    for fit in (reml,) if laplace is None else (reml, laplace):
        posterior.record.require_same(fit.record, "the posterior", "the REML fit")
    rows: list[dict[str, object]] = []
    own = {n: p for n, p in {**reml.record.spec.priors, **(priors or {})}.items() if not p.is_written}
    known = {**own, **posterior.record.priors}
    for name, covariances in posterior.covariances().items():
        beside = {} if laplace is None else {"laplace": laplace}
        term = _Term(
            posterior=posterior, reml=reml, beside=beside, name=name, covariances=covariances, prior=known.get(name)
        )
        rows += term.rows()
    return pd.DataFrame(rows)


@dataclass(frozen=True, kw_only=True)
class _Term:
    """Posterior and REML of one covariance matrix; `covariances` are draws (chains, draws, m, m), units of the data.

    `beside` are further fits, by the column of their estimates.
    """

    posterior: Estimates
    reml: RemlFit
    beside: Mapping[str, RemlFit]
    name: str
    covariances: Array
    prior: CovariancePrior | None

    @cached_property
    def correlations(self) -> Array:
        """Draws of the correlations, (chains, draws, m, m)."""
        return correlation(self.covariances)

    def rows(self) -> list[dict[str, object]]:
        """Covariances, then correlations, of which any were estimated."""
        support = self.reml.record.structure(self.name).support
        rows = [
            self._row("variance" if i == j else "covariance", i, j, self.covariances[..., i, j])
            for i, j in support
            if _varies(self.covariances[..., i, j])
        ]
        return rows + [
            self._row("correlation", i, j, self.correlations[..., i, j])
            for i, j in support
            if i != j and _varies(self.correlations[..., i, j])
        ]

    def _row(self, parameter: str, i: int, j: int, draws: Array) -> dict[str, object]:
        effects = self.reml.record.effects_of(self.name)
        estimate, error, constraint = self.reml.component(self.name, i, j, parameter == "correlation")
        summary = describe(draws)
        contraction = 1.0 - self._spread_ratio(i, j) ** 2
        difference = (summary["median"] - estimate) / summary["sd"]
        labels = {"term": self.name, "parameter": parameter, "trait_i": effects[j], "trait_j": effects[i]}
        beside: dict[str, object] = {"reml": estimate, "std_error": error, "constraint": constraint}
        for column, fit in self.beside.items():
            beside[column] = fit.component(self.name, i, j, parameter == "correlation")[0]
        judged = {"contraction": contraction, "difference": difference}
        wide = parameter == "correlation" and summary["hdi_high"] - summary["hdi_low"] > UNDETERMINED
        return labels | beside | summary | judged | {"verdict": _verdict(constraint, contraction, difference, wide)}

    def _spread_ratio(self, i: int, j: int) -> float:
        """Interquartile range of the posterior over that of the prior, of the sd (i = j) or the correlation."""
        record = self.posterior.record
        if self.prior is None:
            return float("nan")
        before = prior_spread(record.structure(self.name), self.prior, i, j)
        if i == j:
            draws = np.sqrt(self.covariances[..., i, i]) / record.effect_scale(self.name)[i]
        else:
            draws = self.correlations[..., i, j]
        return float(np.ptp(np.nanquantile(draws, [0.25, 0.75])) / before)


def _varies(draws: Array) -> bool:
    """Whether draws are of a quantity that was estimated, not given."""
    finite = draws[np.isfinite(draws)]
    return finite.size < 2 or bool(np.ptp(finite) > 1e-12 * np.max(np.abs(finite)))


def _verdict(constraint: str, contraction: float, difference: float, wide: bool) -> str:
    """Put in words how the posterior stands to REML."""
    parts = []
    if constraint == "not identified":
        return "not identified: prior only"
    if constraint == "boundary":
        parts.append("REML on boundary")
    if contraction < 1.0 - PRIOR_SHARE:
        parts.append("posterior dominated by prior")
    if not parts and not abs(difference) < AGREE:
        parts.append(f"differ by {abs(difference):.1f} posterior s.d.")
    return "; ".join(parts) or ("undetermined" if wide else "agree")
