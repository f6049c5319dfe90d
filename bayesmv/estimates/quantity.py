"""Quantities of a fit as functions of covariance matrices: estimates, truths, draws and profiles alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmv.arrays import Array
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.estimates.derived import Quantities, derive
from bayesmv.estimates.parameters import genetic_parameters, parameters_of
from bayesmv.estimates.points import Compute, Point
from bayesmv.estimates.source import estimates_of
from bayesmv.model.genetic import Genetic
from bayesmv.numerics.symmetric import correlation
from bayesmv.reml.result import RemlFit

#: Words for components of a term.
_COMPONENTS = ("variance", "covariance", "correlation")
#: Words of tables for quantities that are free.
_FREE = {"positive": "free", "unconstrained": "free"}

#: Function of covariance matrices (…, m, m) in the units of the data, by name.
type Function = Callable[[Mapping[str, Array]], Array]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity of a fit.

    Parameters
    ----------
    parameter
        What it is: ``variance``, ``heritability`` …
    traits
        Trait, or two traits.
    term
        The term that it is of; empty for genetic parameters.
    function
        Of covariance matrices (…, m, m) in the units of the data, by name: estimates, truths and draws alike.
    bounds
        What it can be.
    std_error, standing
        Standard error by the delta method, and why there is none, as :class:`bayesmv.reml.delta.Judgement` has them.
    size
        Of a correlation, √(σ_ii σ_jj): where it is 0, the correlation can be anything.
    """

    parameter: str
    traits: tuple[str, ...]
    term: str = ""
    function: Function
    bounds: tuple[float, float]
    std_error: float = float("nan")
    standing: str = "free"
    size: Function | None = None

    def __str__(self) -> str:
        of = [self.term] if self.term else []
        named = ", ".join([*of, *dict.fromkeys(self.traits)])
        return f"{self.parameter} of {named}" if named else self.parameter


def _bounds(parameter: str) -> tuple[float, float]:
    """What a quantity can be at most, by its name."""
    if "correlation" in parameter:
        return -1.0, 1.0
    if parameter == "covariance" or "total" in parameter:
        return -np.inf, np.inf
    return 0.0, np.inf


def quantity_of(
    fit: RemlFit, quantity: str | Callable[[Quantities], float], traits: str | tuple[str, ...] | None, term: str | None
) -> Quantity:
    """Quantity that a user names, or the one that his function gives.

    Raises
    ------
    SpecError
        If there is none, or several.
    """
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


def quantities(fit: RemlFit) -> list[Quantity]:
    """Variances, correlations and genetic parameters of a fit, but those that are held."""
    out = [c for name in fit.record.names for c in _components_of(fit, name) if c.parameter != "covariance"]
    return out + (_genetic(fit) if fit.record.genetic is not None else [])


def _components_of(fit: RemlFit, term: str) -> list[Quantity]:
    fit.record.position(term)
    effects, out = fit.record.effects_of(term), list[Quantity]()
    for word in _COMPONENTS:
        for i, j in fit.record.structure(term).support:
            if (i == j) != (word == "variance"):
                continue
            _, error, standing = fit.component(term, i, j, word == "correlation")
            if standing == "fixed":
                continue
            out.append(
                Quantity(
                    parameter=word,
                    traits=tuple(dict.fromkeys((effects[j], effects[i]))),
                    term=term,
                    function=_component(term, i, j, word),
                    bounds=_bounds(word),
                    std_error=error,
                    standing=_FREE.get(standing, standing),
                    size=_size(term, i, j) if word == "correlation" else None,
                )
            )
    return out


def _size(term: str, i: int, j: int) -> Function:
    def of(covariances: Mapping[str, Array]) -> Array:
        S = covariances[term]
        return np.asarray(np.sqrt(S[..., i, i] * S[..., j, j]))

    return of


def _component(term: str, i: int, j: int, word: str) -> Function:
    def of(covariances: Mapping[str, Array]) -> Array:
        S = covariances[term]
        return np.asarray((correlation(S) if word == "correlation" else S)[..., i, j])

    return of


def _genetic(fit: RemlFit) -> list[Quantity]:
    """Genetic parameters of a fit, those of :func:`bayesmv.genetic_parameters`."""
    genetic = estimates_of(fit).genetic()
    compute = parameters_of(fit.record, genetic)
    return [
        Quantity(
            parameter=str(row["parameter"]),
            traits=tuple(dict.fromkeys((str(row["trait_i"]), str(row["trait_j"])))),
            function=_parameter(compute, row),
            bounds=_bounds(str(row["parameter"])),
            std_error=float(row["std_error"]),
            standing=_FREE.get(str(row["constraint"]), str(row["constraint"])),
            size=_size_of_parameter(fit, genetic, row),
        )
        for row in genetic_parameters(fit).to_dict("records")
        if row["constraint"] != "fixed"
    ]


def _size_of_parameter(fit: RemlFit, genetic: Genetic, row: Mapping[Any, Any]) -> Function | None:
    """Size of a correlation that is one of the effects of a term; None of other parameters."""
    term = {"genetic correlation": genetic.term, "residual correlation": RESIDUAL}.get(str(row["parameter"]))
    effects = fit.record.effects_of(term) if term is not None else ()
    if term is None or row["trait_i"] not in effects or row["trait_j"] not in effects:
        return None
    return _size(term, effects.index(row["trait_i"]), effects.index(row["trait_j"]))


def _parameter(compute: Compute, row: Mapping[Any, Any]) -> Function:
    """One genetic parameter; correlations that are 0 everywhere have no entry among them."""
    wanted = (row["parameter"], row["trait_i"], row["trait_j"])

    def of(covariances: Mapping[str, Array]) -> Array:
        found = [p.draws for p in compute(covariances) if (p.name, p.trait_i, p.trait_j) == wanted]
        return np.asarray(found[0] if found else np.zeros(next(iter(covariances.values())).shape[:-2]))

    return of


def _of_function(fit: RemlFit, function: Callable[[Quantities], float]) -> Quantity:
    """Quantity that a user's function gives."""
    genetic = fit.record.genetic

    def refused(*_: Any) -> Array:
        raise SpecError("the function must be one of covariance matrices, not of means and effects")

    def one(covariances: Mapping[str, Array]) -> float:
        point = Point(covariances=covariances, means=refused, effects=refused)
        try:
            return float(function(Quantities(record=fit.record, point=point, genetic=genetic)))
        except (TypeError, ValueError) as error:
            raise SpecError(f"the function must return one number: {error}") from None

    def of(covariances: Mapping[str, Array]) -> Array:
        shape = next(iter(covariances.values())).shape[:-2]
        values = [one({n: S[at] for n, S in covariances.items()}) for at in np.ndindex(shape)]
        return np.array(values).reshape(shape)

    error = float(derive(fit, function)["std_error"].to_numpy()[0])
    return Quantity(
        parameter=getattr(function, "__name__", "quantity").replace("<lambda>", "quantity"),
        traits=(),
        function=of,
        bounds=(-np.inf, np.inf),
        std_error=error,
    )
