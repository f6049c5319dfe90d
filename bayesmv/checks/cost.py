"""Which likelihood engine a design gets, why, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import process_time

import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

from bayesmv.design.design import Design
from bayesmv.likelihood import RestrictedLikelihood
from bayesmv.likelihood.choose import choose
from bayesmv.likelihood.spectral.eigen import is_dense
from bayesmv.likelihood.spectral.engine import NODES, SpectralLikelihood, SpectralTable, structural_obstacle
from bayesmv.likelihood.spectral.missing import MissingCells
from bayesmv.likelihood.spectral.series import Series
from bayesmv.likelihood.spectral.univariate import univariate
from bayesmv.numerics.chebyshev import scale_for
from bayesmv.numerics.symmetric import packed_rows
from bayesmv.posterior.dear import VALUES, values_suit
from bayesmv.posterior.latent import LatentMap, LatentPosterior
from bayesmv.posterior.log_posterior import LogPosterior, log_posterior
from bayesmv.posterior.sampler_density import sampler_density

#: Evaluations of a posterior by default settings: 4 chains of 1200 draws with some 7 steps each.
EVALUATIONS = 34_000
#: CPU seconds of one evaluation from which it is said what complete records would save.
_SLOW = 1e-3
#: Levels of the eigendecomposition that larger ones are predicted from.
_TRIED = 400


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Cost of a posterior of a design, in CPU seconds.

    Parameters
    ----------
    engine
        Name of the engine.
    reasons
        Why each of the engines that are quicker was not taken, by name.
    evaluation
        One evaluation of the log posterior and its gradient, measured.
    preparation
        What comes before the first, predicted from a part of it; 0 where it is nothing to speak of.
    complete
        The same were no records missing, where that is worth knowing.
    by_values
        Whether draws are of weighted points, unless these are declined or REML lies on the boundary.
    """

    engine: str
    reasons: dict[str, str]
    evaluation: float
    preparation: float = 0.0
    complete: Outlook | None = None
    by_values: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """All that in words."""
        by_reason = {reason: [n for n, r in self.reasons.items() if r == reason] for reason in self.reasons.values()}
        out = [f"not the {' or the '.join(names)} engine: {reason}" for reason, names in by_reason.items()]
        before = f", after {duration(self.preparation)} for its table (predicted)" if self.preparation else ""
        some = f"a posterior takes some {EVALUATIONS:,}"
        if self.by_values:
            some = f"a posterior takes some {VALUES:,} values by weighted points, each less than half of that"
        out.append(f"one evaluation: {duration(self.evaluation)} of CPU (measured){before}; {some}")
        if self.complete:
            times, other = float(f"{self.evaluation / self.complete.evaluation:.1g}"), self.complete
            out.append(
                f"were no records missing, the {other.engine} engine would take {duration(other.evaluation)}, "
                f"some {times:,.0f} times less, after {duration(other.preparation)} for its table (predicted)"
            )
        return tuple(out)


def duration(seconds: float) -> str:
    """Write a time with two digits.

    >>> duration(3.14e-5), duration(0.0042), duration(75.0)
    ('31 µs', '4.2 ms', '75 s')
    """
    factor, unit = next(((f, u) for f, u in ((1e6, "µs"), (1e3, "ms")) if seconds * f < 1e3), (1.0, "s"))
    value = seconds * factor
    return f"{value:.0f} {unit}" if value >= 10.0 else f"{value:.1f} {unit}"


def outlook(design: Design) -> Outlook:
    """Say which engine a design gets, why, and what it will cost.

    Parameters
    ----------
    design
        The design.
    """
    with threadpool_limits(1, user_api="blas"):
        choice = choose(design)
        rehearsal = _REHEARSALS.get(choice.engine)
        engine, preparation = rehearsal(design) if rehearsal else (choice.offer.prepare(False), 0.0)
        cost = _evaluation(design, engine)
        better = not design.complete and structural_obstacle(design) is None and cost > _SLOW
        complete = _completed(design) if better else None
    return Outlook(
        engine=choice.name,
        reasons=dict(choice.reasons),
        evaluation=cost,
        preparation=preparation,
        complete=complete,
        by_values=design.gaussian and values_suit(choice.cost, design.blocks.n_parameters),
    )


def _completed(design: Design) -> Outlook:
    """The spectral engine as if no record were missing."""
    engine, preparation = _spectral(design)
    return Outlook(engine=engine.name, reasons={}, evaluation=_evaluation(design, engine), preparation=preparation)


def _spectral(design: Design) -> tuple[RestrictedLikelihood, float]:
    """The spectral engine with a table of zeros, and CPU seconds of the true one."""
    return SpectralLikelihood(design, _blank(design)), _tabulating(design)


def _missing(design: Design) -> tuple[RestrictedLikelihood, float]:
    """The engine of few missing records with units that are independent, and CPU seconds of the true table."""
    units = int((~design.observed).any(axis=1).sum())
    size = len(design.traits) + units
    blank = _blank(design).series
    coefficients = np.zeros((NODES + 1, 1 + size * (size + 1) // 2))
    i, j = packed_rows(size)
    coefficients[0, 1:][i == j] = 1.0
    return MissingCells(design, blank._replace(coefficients=coefficients)), _tabulating(design, units)


#: Engines that take long to prepare: stand-ins that take as long to evaluate, and predicted CPU seconds of preparation.
_REHEARSALS: Mapping[type[RestrictedLikelihood], Callable[[Design], tuple[RestrictedLikelihood, float]]] = {
    SpectralLikelihood: _spectral,
    MissingCells: _missing,
}


def _blank(design: Design) -> SpectralTable:
    """A table of zeros, which takes as long to read as any."""
    t, (n, p) = len(design.traits), design.fixed.X.shape
    zeros = np.zeros((NODES + 1, 1 + t * (t + 1) // 2))
    series = Series(scale_for(0.1, 10.0), zeros, rank=n - p, decay=0.0, freedom=n - p, constant=0.0)
    return SpectralTable(design=design, series=series, error=0.0, factorisations=0, equations=univariate(design))


def _tabulating(design: Design, more: int = 0) -> float:
    """CPU seconds of a table: nodes times one factorisation, or an eigendecomposition by the cube of its size.

    `more` are columns beside the records.
    """
    if is_dense(design):
        G = np.random.default_rng(0).normal(size=(_TRIED, _TRIED))
        G = G @ G.T + np.eye(_TRIED)
        return _seconds(lambda: linalg.eigh(G, G.T)) * (len(design.terms[0].levels) / _TRIED) ** 3
    equations, Y = univariate(design), np.pad(np.nan_to_num(design.working_response), ((0, 0), (0, more)))
    work = equations.workspace()
    return NODES * _seconds(lambda: equations.functions(1.0, Y, work))


def _evaluation(design: Design, engine: RestrictedLikelihood) -> float:
    """CPU seconds of one evaluation as the sampler makes them."""
    if not design.gaussian:
        where = LatentMap(LatentPosterior(LogPosterior(design=design, engine=engine, priors=design.priors())))
        at = np.zeros(where.latent.size + where.n_unknowns)
        return _seconds(lambda: where.value_and_gradient(at))
    posterior = log_posterior(design, engine=engine).planar()
    d = posterior.blocks.n_parameters
    density = sampler_density(posterior, np.where(posterior.coordinates.scales, 1.0, 0.0), np.eye(d))
    return _seconds(lambda: density(np.zeros(d)))


def _seconds(call: Callable[[], object]) -> float:
    """CPU seconds of a call; its first one, which may have to load compiled code, counts only if it is long."""
    first = _timed(call, 1)
    return first if first > 5.0 else _timed(call, int(np.clip(0.02 / _timed(call, 1), 1, 100)))


def _timed(call: Callable[[], object], times: int) -> float:
    begin = process_time()
    for _ in range(times):
        call()
    return max(process_time() - begin, 1e-7) / times
