r"""Profile-likelihood intervals of (co)variances, correlations, heritabilities and any function of them.

The mathematics and the search are of :mod:`bayesmv.reml.profile`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtrc, ndtri

from bayesmv.arrays import Array, Shown
from bayesmv.errors import SpecError
from bayesmv.estimates.derived import Quantities
from bayesmv.estimates.quantity import Quantity, quantities, quantity_of
from bayesmv.reml.profile import ProfilePoint, Profiler, Traced
from bayesmv.reml.result import RemlFit

#: Change of ζ between the points of a profile that is to be drawn.
_APART = 0.4


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Profile(Shown):
    r"""Profile likelihood of one quantity.

    Parameters
    ----------
    quantity
        What it is, with its term and traits.
    estimate, std_error
        REML estimate and its standard error, NaN where it has none.
    level, low, high
        The interval: where 2 (l(estimate) - l_p) is at most the quantile of χ²₁.
    low_at_end, high_at_end
        Whether an end is the end of what the quantity can be, which the data do not exclude.
    table
        The profile: value, loglik, zeta = sign √(2 (l - l_p)), and wald, what ζ would be were l quadratic.
    notes
        What to know of it.
    profiler, points
        The search, and where it went.
    """

    quantity: str
    estimate: float
    std_error: float
    level: float
    low: float
    high: float
    low_at_end: bool
    high_at_end: bool
    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    profiler: Profiler
    points: tuple[ProfilePoint, ...]

    def summary(self) -> str:
        """The interval, in a line."""
        wald = "no standard error"
        if np.isfinite(self.std_error):
            quantile = float(ndtri(0.5 + 0.5 * self.level))
            reach = quantile * self.std_error
            wald = f"estimate ± {quantile:.2f} s.e. {self.estimate - reach:.4g} … {self.estimate + reach:.4g}"
        ends = [word for word, at in (("low", self.low_at_end), ("high", self.high_at_end)) if at]
        told = f"; the {' and '.join(ends)} end is the end of its range" if ends else ""
        return "\n".join(
            [
                f"{self.quantity}: {self.estimate:.4g}, {100 * self.level:g} % profile interval {self.low:.4g} … "
                f"{self.high:.4g} ({wald}){told}",
                *self.notes,
            ]
        )

    def p_value(self, value: float) -> float:
        r"""P-value of the quantity being `value`, from 2 (l - l_p) ~ χ²₁; half of it for a correlation of ±1.

        Raises
        ------
        SpecError
            If the quantity cannot be that, or is 0 at the end of its range: with a variance its covariances vanish, so
            that models are compared, :func:`bayesmv.likelihood_ratio`.

        References
        ----------
        Self & Liang (1987), JASA 82:605-610 (half of it).
        """
        low, high = self.profiler.bounds
        if not low <= value <= high:
            raise SpecError(f"the {self.quantity} cannot be {value:g}")
        if value in (low, high) and value == 0.0:
            raise SpecError(
                f"where the {self.quantity} is 0, covariances are too: fit the model without it, and compare the "
                f"two by bmv.likelihood_ratio"
            )
        margin = self.profiler.margin
        inner = min(max(value, low + margin), high - margin)
        found = self.profiler.reach(inner, min(self.points, key=lambda p: abs(p.value - inner)))
        if found is None:
            raise SpecError(f"no covariance matrices were found at which the {self.quantity} is {value:g}")
        p = float(chdtrc(1, found.zeta**2))
        return 0.5 * p if value in (low, high) else p


def profile(
    fit: RemlFit,
    quantity: str | Callable[[Quantities], float],
    traits: str | tuple[str, str] | None = None,
    *,
    term: str | None = None,
    level: float = 0.95,
) -> Profile:
    """Profile likelihood of a quantity: an interval that needs no standard error, and its whole shape.

    Parameters
    ----------
    fit
        From :func:`bayesmv.fit_reml`.
    quantity
        With a `term`: ``variance``, ``covariance`` or ``correlation`` of its effects. Without: a parameter of
        :func:`bayesmv.genetic_parameters`, such as ``heritability`` or ``genetic correlation``. Or a function of
        :class:`bayesmv.Quantities` that returns a number, as for :func:`bayesmv.derive`, without means and effects.
    traits
        Trait, or two traits (effects of the term); not needed where there is one such quantity.
    term
        Name of a term, or ``"Residual"``.
    level
        Level of the interval.

    Returns
    -------
    Profile
        Interval, profile, p-values; :func:`bayesmv.plot_profile` draws ζ.

    Raises
    ------
    SpecError
        If there is no such quantity, or several.

    Notes
    -----
    Of an estimate on the boundary, such as a correlation of ±1, the interval begins there: it has no standard error,
    and has an interval. The restricted likelihood is that of error contrasts, the same for all values of the quantity.

    References
    ----------
    Venzon & Moolgavkar (1988), Appl. Statist. 37:87-94.
    """
    if not 0.0 < level < 1.0:
        raise SpecError(f"the level must be between 0 and 1, not {level:g}")
    chosen = quantity_of(fit, quantity, traits, term)
    if chosen.standing == "not identified":
        raise SpecError(f"the {chosen} is not identified by the data, and has no profile")
    profiler = profiler_of(fit, chosen)
    return _told(profiler, chosen, profiler.trace(level, apart=_APART), level)


def profile_intervals(fit: RemlFit, *, level: float = 0.95) -> pd.DataFrame:
    """Profile intervals of all variances, correlations and genetic parameters of a fit.

    Parameters
    ----------
    fit
        From :func:`bayesmv.fit_reml`.
    level
        Level of the intervals.

    Returns
    -------
    DataFrame
        term, parameter, trait_i, trait_j, estimate, std_error, low, high, low_at_end, high_at_end. Genetic parameters,
        if the model states a genetic term, have no term. What cannot be estimated, or is held, has no row.
    """
    rows = []
    for chosen in quantities(fit):
        if chosen.standing == "not identified":
            continue
        profiler = profiler_of(fit, chosen)
        if not np.isfinite(profiler.estimate):
            continue
        found = profiler.trace(level)
        rows.append(
            {
                "term": chosen.term,
                "parameter": chosen.parameter,
                "trait_i": chosen.traits[0],
                "trait_j": chosen.traits[-1],
                "estimate": profiler.estimate,
                "std_error": chosen.std_error,
                "low": found.low,
                "high": found.high,
                "low_at_end": found.at_end[0],
                "high_at_end": found.at_end[1],
            }
        )
    return pd.DataFrame(rows)


def profiler_of(fit: RemlFit, chosen: Quantity) -> Profiler:
    record, names = fit.record, fit.record.names

    def at(theta: Array) -> dict[str, Array]:
        return {n: record.to_data_units(n, S) for n, S in zip(names, record.blocks.matrices(theta), strict=True)}

    def of_theta(theta: Array) -> Array:
        with np.errstate(all="ignore"):
            return chosen.function(at(theta))

    def size(theta: Array) -> Array:
        return np.asarray(chosen.size(at(theta)) / unit) if chosen.size is not None else np.ones(theta.shape[:-1])

    ones = {n: record.to_data_units(n, np.eye(len(S))) for n, S in zip(names, fit.sigmas, strict=True)}
    unit = 1.0 if chosen.size is None else float(chosen.size(ones))
    return Profiler(
        fit.engine,
        record.blocks,
        of_theta,
        fit.theta,
        fit.loglik,
        step=chosen.std_error,
        bounds=chosen.bounds,
        size=None if chosen.size is None else size,
    )


def _told(profiler: Profiler, chosen: Quantity, found: Traced, level: float) -> Profile:
    table = pd.DataFrame([p[:3] for p in found.points], columns=["value", "loglik", "zeta"])
    table["wald"] = (table["value"] - profiler.estimate) / chosen.std_error
    notes = [
        f"the profile rises {found.above:.2g} above the REML estimate: the likelihood has another maximum; fit again "
        f"from start values there"
    ]
    return Profile(
        quantity=str(chosen),
        estimate=profiler.estimate,
        std_error=chosen.std_error,
        level=level,
        low=found.low,
        high=found.high,
        low_at_end=found.at_end[0],
        high_at_end=found.at_end[1],
        table=table,
        notes=tuple(notes if found.above > 0 else ()),
        profiler=profiler,
        points=found.points,
    )
