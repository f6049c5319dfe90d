r"""Profile-likelihood intervals of (co)variances, correlations, heritabilities and any function of them.

The mathematics and the search are of :mod:`bayesmv.reml.profile`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from bayesmv.arrays import Array, Shown
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.estimates.derived import Quantities, derive
from bayesmv.estimates.genetic import GeneticParameter, parameters
from bayesmv.estimates.points import Compute, Point
from bayesmv.estimates.source import RemlEstimates
from bayesmv.numerics.symmetric import correlation
from bayesmv.reml.profile import ProfilePoint, Profiler, Traced
from bayesmv.reml.result import RemlFit

#: Words for components of a term.
_COMPONENTS = ("variance", "covariance", "correlation")
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
            reach = 1.959964 * self.std_error
            wald = f"estimate ± 1.96 s.e. {self.estimate - reach:.4g} … {self.estimate + reach:.4g}"
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
    chosen = _chosen(fit, quantity, traits, term)
    profiler = _profiler(fit, chosen)
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
    for chosen in _all(fit):
        profiler = _profiler(fit, chosen)
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


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """A quantity: function of covariance matrices (…, m, m) in the units of the data, and where it can be."""

    parameter: str
    traits: tuple[str, ...]
    term: str = ""
    function: Callable[[Mapping[str, Array]], Array]
    bounds: tuple[float, float]
    std_error: float = float("nan")

    def __str__(self) -> str:
        of = [self.term] if self.term else []
        named = ", ".join([*of, *dict.fromkeys(self.traits)])
        return f"{self.parameter} of {named}" if named else self.parameter


def _profiler(fit: RemlFit, chosen: _Chosen) -> Profiler:
    record, names = fit.record, fit.record.names

    def of_theta(theta: Array) -> Array:
        sigmas = record.blocks.matrices(theta)
        with np.errstate(all="ignore"):
            return chosen.function({n: record.to_data_units(n, S) for n, S in zip(names, sigmas, strict=True)})

    return Profiler(
        fit.engine,
        record.blocks,
        of_theta,
        fit.theta,
        fit.loglik,
        step=chosen.std_error,
        bounds=chosen.bounds,
    )


def _told(profiler: Profiler, chosen: _Chosen, found: Traced, level: float) -> Profile:
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


def _bounds(parameter: str) -> tuple[float, float]:
    """What a quantity can be at most, by its name."""
    if "correlation" in parameter:
        return -1.0, 1.0
    if parameter == "covariance" or "total" in parameter:
        return -np.inf, np.inf
    return 0.0, np.inf


def _chosen(
    fit: RemlFit, quantity: str | Callable[[Quantities], float], traits: str | tuple[str, ...] | None, term: str | None
) -> _Chosen:
    if callable(quantity):
        return _of_function(fit, quantity)
    asked = tuple(() if traits is None else [traits] if isinstance(traits, str) else traits)
    of_term = _components_of(fit, term) if term is not None else _genetic(fit)
    known = list(dict.fromkeys(c.parameter for c in of_term))
    where = f"of {term}" if term is not None else "among the genetic parameters"
    require_known([quantity], known, f"no {{}} {where}; there")
    pairs = [c for c in of_term if c.parameter == quantity]
    found = [c for c in pairs if not asked or set(c.traits) == set(asked)]
    if len(found) != 1:
        names = [" and ".join(dict.fromkeys(c.traits)) for c in pairs]
        raise SpecError(f"say which traits the {quantity} is of: {listing(names)}")
    return found[0]


def _all(fit: RemlFit) -> list[_Chosen]:
    """All quantities of a fit that can move."""
    out = [c for name in fit.record.names for c in _components_of(fit, name) if c.parameter != "covariance"]
    return out + (_genetic(fit) if fit.record.genetic is not None else [])


def _components_of(fit: RemlFit, term: str) -> list[_Chosen]:
    fit.record.position(term)
    effects, out = fit.record.effects_of(term), list[_Chosen]()
    for word in _COMPONENTS:
        for i, j in fit.record.structure(term).support:
            if (i == j) != (word == "variance"):
                continue
            _, error, standing = fit.component(term, i, j, word == "correlation")
            if standing in ("fixed", "not identified"):
                continue
            out.append(
                _Chosen(
                    parameter=word,
                    traits=tuple(dict.fromkeys((effects[j], effects[i]))),
                    term=term,
                    function=_component(term, i, j, word),
                    bounds=_bounds(word),
                    std_error=error,
                )
            )
    return out


def _component(term: str, i: int, j: int, word: str) -> Callable[[Mapping[str, Array]], Array]:
    def of(covariances: Mapping[str, Array]) -> Array:
        S = covariances[term]
        return np.asarray((correlation(S) if word == "correlation" else S)[..., i, j])

    return of


def _genetic(fit: RemlFit) -> list[_Chosen]:
    """Genetic parameters that have an estimate."""
    estimates = RemlEstimates(fit)
    genetic = estimates.genetic()

    def compute(covariances: Mapping[str, Array]) -> list[GeneticParameter]:
        return parameters(
            covariances,
            estimates.traits,
            genetic,
            terms=genetic.phenotypic,
            same_subject=estimates.record.same_subject(genetic.term),
            records=estimates.records_per_level(genetic.term),
            layouts=estimates.layouts,
        )

    table = estimates.evaluate(compute)
    return [
        _Chosen(
            parameter=str(row["parameter"]),
            traits=tuple(dict.fromkeys((str(row["trait_i"]), str(row["trait_j"])))),
            function=_place(compute, at),
            bounds=_bounds(str(row["parameter"])),
            std_error=float(row["std_error"]),
        )
        for at, row in enumerate(table.to_dict("records"))
        if row["constraint"] not in ("not identified", "fixed")
    ]


def _place(compute: Compute, at: int) -> Callable[[Mapping[str, Array]], Array]:
    def of(covariances: Mapping[str, Array]) -> Array:
        return np.asarray(compute(covariances)[at].draws)

    return of


def _of_function(fit: RemlFit, function: Callable[[Quantities], float]) -> _Chosen:
    """Quantity that a user's function gives."""
    genetic = fit.record.genetic

    def refused(*_: Any) -> Array:
        raise SpecError("a profile is of functions of covariance matrices, not of means and effects")

    def one(covariances: Mapping[str, Array]) -> float:
        point = Point(covariances=covariances, means=refused, effects=refused)
        try:
            return float(function(Quantities(record=fit.record, point=point, genetic=genetic)))
        except (TypeError, ValueError) as error:
            raise SpecError(f"the function of a profile must return one number: {error}") from None

    def of(covariances: Mapping[str, Array]) -> Array:
        shape = next(iter(covariances.values())).shape[:-2]
        values = [one({n: S[at] for n, S in covariances.items()}) for at in np.ndindex(shape)]
        return np.array(values).reshape(shape)

    error = float(derive(fit, function)["std_error"].to_numpy()[0])
    return _Chosen(
        parameter=getattr(function, "__name__", "quantity").replace("<lambda>", "quantity"),
        traits=(),
        function=of,
        bounds=(-np.inf, np.inf),
        std_error=error,
    )
