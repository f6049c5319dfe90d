"""Several models of the same records side by side: REML fits by likelihood, posteriors by predictive density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv.comparison.likelihood_ratio import check_comparable, likelihood_ratio, why_not_nested
from bayesmv.comparison.predictive import Grouping, PredictiveDensity, block_labels, error_of_sum, predictive_density
from bayesmv.design.design import Design
from bayesmv.errors import SpecError, listing
from bayesmv.estimates.source import estimates_of
from bayesmv.model.spec import ModelSpec
from bayesmv.reml.result import RemlFit

#: Log-likelihoods and predictive densities closer than this are equal: a fit ends within about 1e-6 of its maximum.
_TIE = 1e-5

#: A posterior with its design.
type Sampled = tuple[xr.DataTree, Design]
type Model = RemlFit | PredictiveDensity | Sampled


def compare_models(
    models: Mapping[str, Model] | Sequence[Model], *, by: Grouping | None = None, max_draws: int = 400
) -> pd.DataFrame:
    """Put models of the same records side by side.

    Parameters
    ----------
    models
        By name, or in a list: REML fits; or posteriors, each as ``(trace, design)`` or as what
        :func:`bayesmv.predictive_density` gave.
    by
        For posteriors, what is left out at a time: None for single units, or a random term that at least one of the
        models has, or a label for every unit. See :func:`bayesmv.predictive_density`.
    max_draws
        Most draws of each posterior to use.

    Returns
    -------
    DataFrame
        REML, from the smallest to the largest model, models of one size by likelihood, equal ones as given: model,
        loglik, parameters, aic, bic; against (the largest of the models before it that are special cases of it),
        statistic, df, p_value, reference of the likelihood-ratio test (:func:`bayesmv.likelihood_ratio`).

        Posteriors, from the best to the worst: model, elpd, se, p_loo, difference to the best, difference_se (over the
        same blocks), high_k (blocks with Pareto k above 0.7), warning. Here fixed effects may differ.

    Raises
    ------
    SpecError
        If there are fewer than two models, REML fits are mixed with posteriors, or the models are not of the same
        records, or REML fits not of the same fixed effects.
    """
    named = _named(models)
    if len(named) < 2:
        raise SpecError(f"give at least two models to compare, not {len(named)}")
    fits = {name: fit for name, model in named.items() if (fit := _reml(model)) is not None}
    if len(fits) == len(named):
        return _likelihoods(fits)
    if fits:
        raise SpecError(f"compare REML fits, or posteriors, not both at once; REML fits: {listing(fits)}")
    densities = {n: m for n, m in named.items() if isinstance(m, PredictiveDensity)}
    sampled = {n: _sampled(n, m) for n, m in named.items() if n not in densities}
    _same_records({n: m.design for n, m in densities.items()} | {n: design for n, (_, design) in sampled.items()})
    labels = _common_labels([design for _, design in sampled.values()], by)
    made = {n: predictive_density(trace, d, labels, max_draws=max_draws) for n, (trace, d) in sampled.items()}
    return _predictions({n: (densities | made)[n] for n in named})


def _named(models: Mapping[str, Model] | Sequence[Model]) -> dict[str, Model]:
    """Models by name; of a list, by the names of their specifications, or numbers where these are not distinct."""
    if isinstance(models, Mapping):
        return dict(models)
    names = [_spec(model).name for model in models]
    if len(set(names)) < len(names):
        names = [str(i) for i in range(1, len(names) + 1)]
    return dict(zip(names, models, strict=True))


def _reml(model: Model) -> RemlFit | None:
    """The REML fit that a model is; None for a posterior, which comes with its design."""
    return None if isinstance(model, tuple | PredictiveDensity) else estimates_of(model).fit


def _spec(model: Model) -> ModelSpec:
    fit = _reml(model)
    if fit is not None:
        return fit.record.spec
    return model.design.spec if isinstance(model, PredictiveDensity) else _sampled("", model)[1].spec


def _sampled(name: str, model: object) -> Sampled:
    match model:
        case (xr.DataTree() as trace, Design() as design):
            return trace, design
    raise SpecError(
        f"the model {name or 'given'} must be a REML fit, a pair (posterior, design) or a predictive density, "
        f"not {type(model).__name__}"
    )


def _likelihoods(fits: Mapping[str, RemlFit]) -> pd.DataFrame:
    rank = _ranks({name: fit.loglik for name, fit in fits.items()})
    order = sorted(fits, key=lambda name: (fits[name].n_parameters, rank[name]))
    for name in order[1:]:
        try:
            check_comparable(fits[order[0]], fits[name])
        except SpecError as error:
            raise SpecError(f"'{order[0]}' and '{name}' are not comparable: {error}") from None
    rows = []
    for position, name in enumerate(order):
        fit = fits[name]
        row = {"model": name, "loglik": fit.loglik, "parameters": fit.n_parameters, "aic": fit.aic, "bic": fit.bic}
        rows.append(row | _test(fits, order[:position], fit))
    return pd.DataFrame(rows).astype({"df": "Int64"})


def _ranks(values: Mapping[str, float]) -> dict[str, int]:
    """Ranks of values from the smallest, the same for values that differ by rounding: ties stay in the order given."""
    ascending = sorted(values, key=lambda name: values[name])
    ranks, rank = {}, 0
    for before, name in zip(ascending[:1] + ascending, ascending, strict=False):
        rank += values[name] - values[before] > _TIE
        ranks[name] = rank
    return ranks


def _test(fits: Mapping[str, RemlFit], before: Sequence[str], fit: RemlFit) -> dict[str, object]:
    """Likelihood-ratio test against the largest of the models before that is a special case."""
    nearest = next((name for name in reversed(before) if why_not_nested(fits[name], fit) is None), None)
    if nearest is None:
        return {"against": "", "statistic": np.nan, "df": pd.NA, "p_value": np.nan, "reference": ""}
    test = likelihood_ratio(fits[nearest], fit)
    numbers = {"statistic": test.statistic, "df": test.df, "p_value": test.p_value}
    return {"against": nearest, **numbers, "reference": test.reference}


def _same_records(designs: Mapping[str, Design]) -> None:
    (first, design), *others = designs.items()
    for name, other in others:
        same = design.traits == other.traits and design.units.equals(other.units)
        if not same or not np.array_equal(design.response, other.response, equal_nan=True):
            raise SpecError(f"'{first}' and '{name}' have different records; their predictions are not comparable")


def _common_labels(designs: Sequence[Design], by: Grouping | None) -> Grouping | None:
    """Labels of the blocks, which models without the term share."""
    if not isinstance(by, str) or not designs:
        return by
    having = [design for design in designs if by in design.names[:-1]]
    name, labels = block_labels((having or designs)[0], by)
    return labels.rename(name)


def _predictions(densities: Mapping[str, PredictiveDensity]) -> pd.DataFrame:
    rank = _ranks({name: density.elpd for name, density in densities.items()})
    best, *_ = order = sorted(densities, key=lambda name: -rank[name])
    rows = []
    for name in order:
        density = densities[name]
        if not density.labels.equals(densities[best].labels):
            raise SpecError(f"'{best}' leaves out {densities[best].by}s and '{name}' {density.by}s; choose one")
        difference = density.log_density - densities[best].log_density
        row = {"model": name, "elpd": density.elpd, "se": density.se, "p_loo": density.p_loo}
        row |= {"difference": float(difference.sum()), "difference_se": error_of_sum(difference)}
        rows.append(row | {"high_k": density.high_k, "warning": density.warning})
    return pd.DataFrame(rows)
