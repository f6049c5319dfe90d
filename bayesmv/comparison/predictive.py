"""Expected log predictive density of units or of whole levels that are left out, from draws of the covariances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.special import logsumexp

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood.sparse.leave_out import LeaveOut
from bayesmv.numerics.progress import watched
from bayesmv.sampling.trace import scaled_draws

#: Pareto k above which the importance weights of a block are not to be trusted.
HIGH_K = 0.7
#: Fewest draws whose tail can be smoothed.
_FEWEST_DRAWS = 25

type Grouping = str | Sequence[object] | npt.NDArray[np.generic] | pd.Series


@dataclass(frozen=True, kw_only=True)
class PredictiveDensity:
    """Leave-out predictive densities of a posterior.

    Parameters
    ----------
    design
        The design.
    by
        What was left out at a time: the name of a factor, or ``unit``.
    labels
        The blocks: units or levels (b,).
    records
        Records of each block (b,).
    log_density
        Log predictive density of each block given all others, in the units of the data (b,).
    fitted
        The same under the posterior of **all** records, (b,).
    pareto_k
        Shape of the tail of the importance weights of each block (b,).
    draws
        Draws of the covariances used.
    """

    design: Design
    by: str
    labels: pd.Index
    records: npt.NDArray[np.int64]
    log_density: Array
    fitted: Array
    pareto_k: Array
    draws: int

    @property
    def elpd(self) -> float:
        """Expected log predictive density, the sum over blocks; larger is better."""
        return float(self.log_density.sum())

    @property
    def se(self) -> float:
        """Standard error of `elpd`: blocks as a sample of blocks."""
        return error_of_sum(self.log_density)

    @property
    def p_loo(self) -> float:
        """Effective number of covariance parameters: what the records of a block add to their own density."""
        return float((self.fitted - self.log_density).sum())

    @property
    def high_k(self) -> int:
        """Number of blocks whose Pareto k is above 0.7."""
        return int((~(self.pareto_k <= HIGH_K)).sum())

    @property
    def warning(self) -> str:
        """Complaint about the importance weights; empty if nothing."""
        if not self.high_k:
            return ""
        worst = self.labels[int(np.argmax(self.pareto_k))]
        return (
            f"{self.high_k} of {len(self.labels)} blocks have Pareto k above {HIGH_K} "
            f"(largest {self.pareto_k.max():.2f}, {worst}): the covariances depend on them so much "
            f"that their densities are not to be trusted; sample again without them"
        )

    @property
    def frame(self) -> pd.DataFrame:
        """One row a block: its label, records, log_density, pareto_k."""
        columns = {"records": self.records, "log_density": self.log_density, "pareto_k": self.pareto_k}
        return pd.DataFrame({self.by: self.labels} | columns)

    def __str__(self) -> str:
        words = f"elpd = {self.elpd:.2f} (s.e. {self.se:.2f}) over {len(self.labels)} blocks ({self.by})"
        return f"{words}, p_loo = {self.p_loo:.2f}" + (f"; {self.warning}" if self.high_k else "")


def predictive_density(
    trace: xr.DataTree, design: Design, by: Grouping | None = None, *, max_draws: int = 400
) -> PredictiveDensity:
    r"""Leave-one-out predictive density, with fixed effects and all random effects integrated out.

    Each block of records B is predicted from all others: exactly, given the covariances Σ of a draw
    (:mod:`bayesmv.likelihood.sparse.leave_out`); that the draws have seen B is undone by importance weights,

    .. math:: \log p(y_B \mid y_{-B}) = \log \sum_s w_s\, p(y_B \mid y_{-B}, Σ_s),
              \qquad w_s \propto 1 / p(y_B \mid y_{-B}, Σ_s),

    smoothed by a Pareto distribution.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    design
        The design that was sampled.
    by
        What to leave out at a time: None for single units (all traits of a row of the data), the name of a random term
        for all units of one of its levels, or a label for every unit (n,).
    max_draws
        Most draws of the covariances to use, evenly spaced.

    Raises
    ------
    SpecError
        If the posterior is of another design or has fewer than 25 draws, the term does not exist, or a level is too
        large.
    DataError
        If the other records do not determine the fixed effects of a block.

    References
    ----------
    Vehtari, Gelman & Gabry (2017), Stat. Comput. 27:1413-1432; Vehtari, Simpson, Gelman, Yao & Gabry (2024), J. Mach.
    Learn. Res. 25(72) (Pareto smoothing).
    """
    name, labels = block_labels(design, by)
    codes, blocks = pd.factorize(labels)
    sigmas = scaled_draws(trace, design, max_draws)
    if len(sigmas) < _FEWEST_DRAWS:
        raise SpecError(f"{len(sigmas)} draws are too few to weight; at least {_FEWEST_DRAWS}, better 400")
    engine = LeaveOut(design, codes.astype(np.int64))
    densities = (engine.log_density(S) for S in sigmas)
    given = np.array(list(watched(densities, "Leaving out by every draw", len(sigmas))))
    log_weights, pareto_k = _smoothed(given)
    return PredictiveDensity(
        design=design,
        by=name,
        labels=pd.Index(blocks),
        records=engine.records,
        log_density=np.asarray(logsumexp(log_weights + given, axis=0)),
        fitted=np.asarray(logsumexp(given, axis=0) - np.log(len(given))),
        pareto_k=pareto_k,
        draws=len(sigmas),
    )


def block_labels(design: Design, by: Grouping | None) -> tuple[str, pd.Series]:
    """Name of what is left out, and the block of every unit, missing for units in none (n,)."""
    if by is None:
        return "unit", pd.Series(design.units)
    if isinstance(by, str):
        term = design.term(by)
        if np.diff(term.bearers[0].indptr).max(initial=0) > 1:
            raise SpecError(f"units bear on several levels of '{by}' each; give `by` labels of the blocks to leave out")
        Z = term.bearers[0].tocoo()
        level = np.full(len(design.units), -1)
        level[Z.row] = Z.col
        return by, pd.Series(term.levels).reindex(level).reset_index(drop=True)
    labels = pd.Series(np.asarray(by))
    if len(labels) != len(design.units):
        raise SpecError(
            f"`by` has {len(labels)} labels for {len(design.units)} units; give one for every unit of design.units"
        )
    return str(getattr(by, "name", None) or "block"), labels


def error_of_sum(log_density: Array) -> float:
    """Standard error of a sum over blocks."""
    return float(np.sqrt(len(log_density) * np.var(log_density, ddof=1))) if len(log_density) > 1 else float("nan")


def _smoothed(given: Array) -> tuple[Array, Array]:
    """Logarithms of the smoothed weights that sum to 1 over draws, (draws, blocks), and Pareto k (blocks,)."""
    from arviz_stats.base import array_stats

    log_weights, pareto_k = np.zeros_like(given), np.zeros(given.shape[1])
    # A density that is the same at all draws, as with given covariances, has no tail to smooth.
    varies = np.ptp(given, axis=0) > 0.0
    if varies.any():
        smoothed, pareto_k[varies] = array_stats.psislw(given[:, varies], axis=0)
        log_weights[:, varies] = smoothed.T
    return log_weights - logsumexp(log_weights, axis=0), pareto_k
