"""Convergence of the sampler, judged and put in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayesmv import dims
from bayesmv.covariance import Array
from bayesmv.draws import bulk_ess, r_hat, tail_ess

#: Worst R-hat, and smallest effective sample size per chain, that pass.
RHAT_LIMIT = 1.01
ESS_PER_CHAIN = 100


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

    @property
    def problems(self) -> tuple[str, ...]:
        """What does not pass, and what to do about it."""
        out = []
        enough = ESS_PER_CHAIN * self.chains
        if self.chains < 2:
            out.append("one chain cannot show convergence: run at least 2")
        elif not self.worst_rhat <= RHAT_LIMIT:
            out.append(f"R-hat {self.worst_rhat:.3f} is over {RHAT_LIMIT}: run more draws")
        if not min(self.smallest_bulk_ess, self.smallest_tail_ess) >= enough:
            smallest = min(self.smallest_bulk_ess, self.smallest_tail_ess)
            out.append(f"effective sample size {smallest:.0f} is under {enough}: run more draws")
        if self.not_finite:
            out.append(f"{self.not_finite} draws are not finite numbers: check the scale of the data")
        if self.divergences:
            out.append(f"{self.divergences} divergent transitions: raise target_accept, to 0.95 for example")
        return tuple(out)

    @property
    def converged(self) -> bool:
        """Whether everything passes."""
        return not self.problems

    def __str__(self) -> str:
        figures = (
            f"R-hat ≤ {self.worst_rhat:.3f}, bulk ESS ≥ {self.smallest_bulk_ess:.0f}, "
            f"tail ESS ≥ {self.smallest_tail_ess:.0f}, {self.divergences} divergences, {self.chains} chains"
        )
        return f"converged: {figures}" if self.converged else f"NOT converged: {figures}. " + "; ".join(self.problems)


def draw_statistics(draws: Array) -> dict[str, float]:
    """Bulk and tail effective sample size and R-hat of draws (chains, draws); NaN where constant."""
    if not np.isfinite(draws).all() or np.ptp(draws) <= 1e-12 * np.max(np.abs(draws), initial=0.0):
        return {"ess_bulk": np.nan, "ess_tail": np.nan, "r_hat": np.nan}
    return {"ess_bulk": bulk_ess(draws), "ess_tail": tail_ess(draws), "r_hat": r_hat(draws)}


def draws_of(trace: xr.DataTree, name: str) -> xr.DataArray:
    """Return the draws of one posterior variable."""
    return trace["posterior"].to_dataset()[name]


def convergence(trace: xr.DataTree) -> Convergence:
    """Judge the convergence of a run over all covariances and correlations.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    """
    statistics = [
        draw_statistics(values)
        for name, variable in trace["posterior"].to_dataset().data_vars.items()
        if str(name).endswith((dims.covariance_name(""), dims.correlation_name("")))
        for values in _lower_triangle(variable.to_numpy())
    ]
    table = {key: np.array([s[key] for s in statistics]) for key in ("ess_bulk", "ess_tail", "r_hat")}
    return Convergence(
        worst_rhat=_worst(table["r_hat"], np.nanmax),
        smallest_bulk_ess=_worst(table["ess_bulk"], np.nanmin),
        smallest_tail_ess=_worst(table["ess_tail"], np.nanmin),
        divergences=int(trace["sample_stats"].to_dataset()["diverging"].sum()),
        not_finite=_not_finite(trace),
        chains=int(trace["posterior"].to_dataset().sizes[dims.CHAIN]),
    )


def _not_finite(trace: xr.DataTree) -> int:
    """Number of covariances and standard deviations drawn that are not finite; null variances have no correlations."""
    posterior = trace["posterior"].to_dataset()
    names = [n for n in posterior.data_vars if str(n).endswith((dims.covariance_name(""), dims.sd_name("")))]
    return int(sum((~np.isfinite(posterior[n].to_numpy())).sum() for n in names))


def _worst(values: Array, pick: Callable[[Array], Any]) -> float:
    return float(pick(values)) if np.isfinite(values).any() else float("nan")


def _lower_triangle(draws: Array) -> list[Array]:
    """Entries (chains, draws) of the lower triangle of (chains, draws, m, m)."""
    return [draws[..., i, j] for i, j in zip(*np.tril_indices(draws.shape[-1]), strict=True)]
