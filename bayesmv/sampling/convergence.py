"""Convergence of the sampler, judged and put in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.sampling.ess import bulk_ess, r_hat, tail_ess

#: Attribute of a trace of weighted points that says how good they are.
WEIGHTS = "weights"
#: Worst R-hat, and smallest effective sample size per chain, that pass.
RHAT_LIMIT = 1.01
ESS_PER_CHAIN = 100
#: Share of the draws that diverged below which the step size may be all that is wrong: a higher acceptance shows.
RARE = 1e-3
#: Acceptance beyond which there is no use in raising it, and the factor by which what it lacks to 1 is cut.
HIGHEST_ACCEPT, _CUT = 0.99, 3.0


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """Verdict on a run.

    Parameters
    ----------
    worst_rhat, smallest_bulk_ess, smallest_tail_ess
        Worst over all covariances and correlations.
    divergences
        Divergent transitions after tuning.
    chains
        Number of chains.
    not_finite
        Draws that are not finite numbers.
    draws
        Draws per chain; 0 where unknown.
    slowest
        The covariance or correlation with the smallest effective sample size.
    min_ess
        Effective sample size that was asked for, over all chains.
    target_accept
        Acceptance that the sampler was tuned to; 0 where unknown.
    weights
        Of draws by weighted points (:mod:`bayesmv.sampling.values`), which are independent: what stands for R-hat,
        whose limit does not hold of them. Effective sizes are then those of the weights.

    References
    ----------
    Vehtari et al. (2021), Bayesian Analysis 16:667-718.
    """

    worst_rhat: float
    smallest_bulk_ess: float
    smallest_tail_ess: float
    divergences: int
    chains: int
    not_finite: int = 0
    draws: int = 0
    slowest: str = ""
    min_ess: float = 0.0
    target_accept: float = 0.0
    weights: str = ""

    @property
    def smallest_ess(self) -> float:
        """Smallest effective sample size, bulk or tail; NaN if nothing moved."""
        return min(self.smallest_bulk_ess, self.smallest_tail_ess)

    @property
    def required_ess(self) -> float:
        """Effective sample size that passes."""
        return max(ESS_PER_CHAIN * self.chains, self.min_ess)

    @property
    def shortages(self) -> tuple[str, ...]:
        """Shortages that more draws would mend: R-hat of several chains and effective sizes that do not pass."""
        out = []
        if self.chains > 1 and not self.weights and not self.worst_rhat <= RHAT_LIMIT:
            out.append(f"R-hat {self.worst_rhat:.3f} is over {RHAT_LIMIT}")
        if not self.smallest_ess >= self.required_ess:
            out.append(f"effective sample size {self.smallest_ess:.0f}{self._where} is under {self.required_ess:.0f}")
        return tuple(out)

    @property
    def mixed(self) -> bool:
        """Whether there are draws enough."""
        return not self.shortages

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems that do not pass, and what to do about them."""
        out = [] if self.chains > 1 else ["one chain cannot show convergence: run at least 2"]
        out += [f"{shortage}: run more draws" for shortage in self.shortages]
        if self.not_finite:
            out.append(f"{self.not_finite} draws are not finite numbers: check the scale of the data")
        if self.divergences:
            out.append(f"{self.divergences} divergent transitions: {self.less_divergence}")
        return tuple(out)

    @property
    def rarely_diverged(self) -> bool:
        """Whether all but a few divergent transitions, scattered over the chains, is well."""
        return self.mixed and not self.not_finite and 0 < self.divergences < max(RARE * self.chains * self.draws, 2)

    @property
    def less_divergence(self) -> str:
        """Remedy against divergent transitions."""
        if self.target_accept >= HIGHEST_ACCEPT:
            return "a simpler structure or a tighter prior would help"
        return f"raise target_accept, to {higher_acceptance(self.target_accept):g} for example"

    @property
    def _where(self) -> str:
        """Of which parameter, and how many draws one independent draw takes."""
        of = f" of {self.slowest}" if self.slowest else ""
        per = f" ({self.smallest_ess / (self.chains * self.draws):.2g} a draw)" if self.draws else ""
        return of + per

    @property
    def converged(self) -> bool:
        """Whether everything passes."""
        return not self.problems

    def __str__(self) -> str:
        figures = self.weights or (
            f"R-hat ≤ {self.worst_rhat:.3f}, bulk ESS ≥ {self.smallest_bulk_ess:.0f}, "
            f"tail ESS ≥ {self.smallest_tail_ess:.0f}, {self.divergences} divergences, {self.chains} chains"
        )
        return f"converged: {figures}" if self.converged else f"NOT converged: {figures}. " + "; ".join(self.problems)


def higher_acceptance(target_accept: float) -> float:
    """Next acceptance to try after divergent transitions, 0.95 at first."""
    return round(max(1.0 - (1.0 - target_accept) / _CUT, 0.95), 3)


def steadied[R](run: R, again: Callable[[R, float], R], judged: Callable[[R], Convergence], accept: float) -> R:
    """Return a run, or one at a higher acceptance in its place if a few of its transitions diverged.

    Steps that are too long for a rare narrow place diverge there; shorter ones pass, and draw from it what it is worth.
    If they diverge as well, the place is not passed, and the run has not converged.

    Parameters
    ----------
    run
        The run.
    again
        Makes a run at a higher acceptance, from where one ended.
    judged
        Judges a run.
    accept
        Acceptance of the run.
    """
    while judged(run).rarely_diverged and accept < HIGHEST_ACCEPT:
        accept = higher_acceptance(accept)
        run = again(run, accept)
    return run


def draw_statistics(draws: Array) -> dict[str, float]:
    """Bulk and tail effective sample size and R-hat of draws (chains, draws); NaN where constant."""
    if not np.isfinite(draws).all() or np.ptp(draws) <= 1e-12 * np.max(np.abs(draws), initial=0.0):
        return {"ess_bulk": np.nan, "ess_tail": np.nan, "r_hat": np.nan}
    return {"ess_bulk": bulk_ess(draws), "ess_tail": tail_ess(draws), "r_hat": r_hat(draws)}


def convergence(trace: xr.DataTree) -> Convergence:
    """Judge the convergence of a run over all covariances and correlations.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    """
    stats = trace["sample_stats"].to_dataset()
    verdict = judge(trace["posterior"].to_dataset(), stats, trace.attrs.get("min_ess", 0.0))
    if WEIGHTS not in trace.attrs:
        return verdict
    said = json.loads(trace.attrs[WEIGHTS])
    words = (
        f"ESS {said['ess']:.0f} of {said['values']} values of the posterior, Pareto k {said['k']:.2f}, "
        f"bare mass {said['bare']:.2%}, {verdict.chains} scrambles"
    )
    return replace(verdict, smallest_bulk_ess=said["ess"], smallest_tail_ess=said["ess"], weights=words)


def judge(posterior: xr.Dataset, stats: xr.Dataset, min_ess: float = 0.0) -> Convergence:
    """Judge draws of covariances and correlations, and the sampler's statistics on them.

    Parameters
    ----------
    posterior, stats
        Groups ``posterior`` and ``sample_stats`` of a trace.
    min_ess
        Effective sample size to ask for, in place of 100 per chain where that is less.
    """
    statistics = {
        label: draw_statistics(values)
        for name, variable in posterior.data_vars.items()
        if str(name).endswith((dims.covariance_name(""), dims.correlation_name("")))
        for label, values in _lower_triangle(variable)
    }
    table = {key: np.array([s[key] for s in statistics.values()]) for key in ("ess_bulk", "ess_tail", "r_hat")}
    ess = np.fmin(table["ess_bulk"], table["ess_tail"])
    return Convergence(
        worst_rhat=_worst(table["r_hat"], np.nanmax),
        smallest_bulk_ess=_worst(table["ess_bulk"], np.nanmin),
        smallest_tail_ess=_worst(table["ess_tail"], np.nanmin),
        divergences=int(stats["diverging"].sum()),
        not_finite=_not_finite(posterior),
        chains=int(posterior.sizes[dims.CHAIN]),
        draws=int(posterior.sizes[dims.DRAW]),
        slowest=list(statistics)[int(np.nanargmin(ess))] if np.isfinite(ess).any() else "",
        min_ess=min_ess,
        target_accept=acceptance(stats.attrs),
    )


def acceptance(attributes: Mapping[str, Any]) -> float:
    """Acceptance that the sampler was tuned to, by the attributes of its statistics; 0 where they do not say."""
    return float(json.loads(attributes.get("inference_library_settings", "{}")).get("target_accept", 0.0))


def _not_finite(posterior: xr.Dataset) -> int:
    """Number of covariances and standard deviations drawn that are not finite; null variances have no correlations."""
    names = [n for n in posterior.data_vars if str(n).endswith((dims.covariance_name(""), dims.sd_name("")))]
    return int(sum((~np.isfinite(posterior[n].to_numpy())).sum() for n in names))


def _worst(values: Array, pick: Callable[[Array], Any]) -> float:
    return float(pick(values)) if np.isfinite(values).any() else float("nan")


def _lower_triangle(variable: xr.DataArray) -> list[tuple[str, Array]]:
    """Labels and draws (chains, draws) of the lower triangle of a matrix (chains, draws, m, m)."""
    rows, columns = (variable.coords[d].to_numpy() for d in variable.dims[-2:])
    draws = variable.to_numpy()
    return [
        (f"{variable.name}[{columns[j]}, {rows[i]}]", draws[..., i, j])
        for i, j in zip(*np.tril_indices(len(rows)), strict=True)
    ]
