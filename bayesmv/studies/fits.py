"""All fits of one case of a study: a row for every model, prior, method and quantity, failures too."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from bayesmv.arrays import Array
from bayesmv.design.design import Design, build_design
from bayesmv.errors import SpecError
from bayesmv.estimates.profile import profiler_of
from bayesmv.estimates.quantity import Quantity, quantities
from bayesmv.estimates.source import describe
from bayesmv.families.declared import Censored
from bayesmv.io.relationships import read_relationships, with_groups
from bayesmv.reml import RemlFit, fit_reml
from bayesmv.sampling.convergence import convergence
from bayesmv.sampling.ess import shortest_interval
from bayesmv.sampling.sample import sample
from bayesmv.simulation.simulate import simulate_records
from bayesmv.studies.data import DataSet, data_of, seed_of, setting_columns
from bayesmv.studies.declared import COMPONENTS, GENETIC, Case, StudySpec

#: Columns of a row that every study has, besides those of the setting.
COLUMNS = (
    "key", "case", "replicate", "model", "prior", "method", "parameter", "term", "trait_i", "trait_j", "truth",
    "estimate", "std_error", "low", "high", "verdict", "ess", "r_hat", "divergences", "seconds", "failure",
)  # fmt: skip
_NUMBERS = ("truth", "estimate", "std_error", "low", "high", "ess", "r_hat", "divergences")

type Row = dict[str, Any]


def run_case(study: StudySpec, case: Case) -> list[Row]:
    """Rows of a case. What fails is a row that says so; nothing is raised but a request to end."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = list[Row]()
        for name, model in study.models.items():
            own: Row = {**setting_columns(case), "model": name}
            began = time.process_time()
            try:
                data = data_of(study, case, model)
                table = data.table
                design = build_design(*with_groups(model, table), read_relationships(model, table))
                fit = fit_reml(design)
                out += list(_rows_of(study, case, data, fit, own, time.process_time() - began))
            except Exception as error:
                out += [_failed(own | {"method": method}, error, began) for method in study.methods]
        return [complete(row) for row in out]


def complete(row: Row) -> Row:
    """Row with all columns, the kinds of which do not depend on what was found."""
    return {**row, **{name: row.get(name, np.nan if name in _NUMBERS else "") for name in COLUMNS}}


def _failed(row: Row, error: Exception, began: float) -> Row:
    spent = time.process_time() - began
    return row | {"failure": f"{type(error).__name__}: {error}", "seconds": spent}


def _rows_of(study: StudySpec, case: Case, data: DataSet, fit: RemlFit, own: Row, fitted: float) -> Iterator[Row]:
    chosen = _wanted(study, fit)
    intervals: dict[str, Callable[[Quantity, float], tuple[float, float]]] = {
        "delta": lambda q, value: _delta(q, value, study.level),
        "z": lambda q, value: _transformed(q, value, study.level),
        "profile": lambda q, value: _profiled(fit, q, study.level),
    }
    for method in study.methods:
        began = time.process_time()
        row = own | {"method": method}
        if method == "posterior":
            yield from _posteriors(study, case, data, fit, row, chosen)
            continue
        try:
            if method == "bootstrap":
                ends = _bootstrapped(study, case, fit, chosen)
            else:
                ends = [intervals[method](q, _value(q, fit.covariances)) for q in chosen]
        except Exception as error:
            yield _failed(row, error, began)
            continue
        spent = (time.process_time() - began) + fitted
        for q, (low, high) in zip(chosen, ends, strict=True):
            verdict = q.standing if fit.converged else "not converged"
            yield row | _labels(q, data) | {
                "estimate": np.nan if q.standing == "not identified" else _value(q, fit.covariances),
                "std_error": q.std_error, "low": low, "high": high, "verdict": verdict, "seconds": spent,
            }  # fmt: skip


def _wanted(study: StudySpec, fit: RemlFit) -> list[Quantity]:
    names = study.parameters or (GENETIC if fit.record.genetic is not None else COMPONENTS)
    return [q for q in quantities(fit) if q.parameter in names]


def _value(q: Quantity, covariances: Mapping[str, Array]) -> float:
    with np.errstate(all="ignore"):
        return float(q.function(covariances))


def _labels(q: Quantity, data: DataSet) -> Row:
    truth = np.nan if data.truth is None else _value(q, data.truth)
    return {
        "parameter": q.parameter, "term": q.term, "trait_i": q.traits[0], "trait_j": q.traits[-1], "truth": truth,
    }  # fmt: skip


def _delta(q: Quantity, value: float, level: float) -> tuple[float, float]:
    reach = ndtri(0.5 + 0.5 * level) * q.std_error
    return value - reach, value + reach


def _transformed(q: Quantity, value: float, level: float) -> tuple[float, float]:
    """Interval of Fisher's z of a correlation, of the logarithm of what is positive, taken back."""
    reach = ndtri(0.5 + 0.5 * level) * q.std_error
    if q.bounds == (-1.0, 1.0):
        if not abs(value) < 1.0:
            return np.nan, np.nan
        z, wide = np.arctanh(value), reach / (1.0 - value**2)
        return float(np.tanh(z - wide)), float(np.tanh(z + wide))
    if q.bounds[0] == 0.0:
        if not value > 0.0:
            return np.nan, np.nan
        wide = np.exp(reach / value)
        return float(value / wide), float(value * wide)
    return _delta(q, value, level)


def _profiled(fit: RemlFit, q: Quantity, level: float) -> tuple[float, float]:
    if q.standing == "not identified":
        return np.nan, np.nan
    found = profiler_of(fit, q).trace(level)
    return found.low, found.high


def _bootstrapped(study: StudySpec, case: Case, fit: RemlFit, chosen: list[Quantity]) -> list[tuple[float, float]]:
    """Percentile intervals of fits to records simulated from the estimates."""
    rng = np.random.default_rng(seed_of(study, case).spawn(1)[0])
    found = np.full((study.bootstrap, len(chosen)), np.nan)
    for b in range(study.bootstrap):
        again = fit_reml(_with_records(fit.design, simulate_records(fit, rng)), start=fit)
        found[b] = [_value(q, again.covariances) for q in chosen]
    tails = (0.5 - 0.5 * study.level, 0.5 + 0.5 * study.level)
    return [(float(low), float(high)) for low, high in np.nanquantile(found, tails, axis=0).T]


def _with_records(design: Design, records: Array) -> Design:
    """Design of other records of the same units, in the same working units."""
    if any(isinstance(family, Censored) for family in design.families):
        raise SpecError("there is no bootstrap of censored traits: their bounds are not simulated")
    linear = np.array([family.linear for family in design.families])
    return replace(design, response=records - np.where(linear, design.offset, 0.0))


def _posteriors(
    study: StudySpec, case: Case, data: DataSet, fit: RemlFit, row: Row, chosen: list[Quantity]
) -> Iterator[Row]:
    seed = int(seed_of(study, case).generate_state(1)[0])
    for prior, priors in study.priors.items():
        mine, began = row | {"prior": prior}, time.process_time()
        try:
            settings: dict[str, Any] = {"seed": seed, "progress": False, "cores": 1, **study.posterior}
            trace = sample(fit.design, reml=fit, engine=fit.engine, priors=dict(priors), **settings)
        except Exception as error:
            yield _failed(mine, error, began)
            continue
        verdict = convergence(trace)
        spent = time.process_time() - began
        draws = {name: trace.posterior[f"{name}_cov"].to_numpy() for name in fit.record.names}
        for q in chosen:
            with np.errstate(all="ignore"):
                values = q.function(draws)
            told = describe(values)
            low, high = shortest_interval(values[np.isfinite(values)], study.level)
            yield mine | _labels(q, data) | {
                "estimate": told["median"], "std_error": told["sd"], "low": float(low), "high": float(high),
                "verdict": "converged" if verdict.converged else "not converged",
                "ess": told["ess_bulk"], "r_hat": told["r_hat"], "divergences": float(verdict.divergences),
                "seconds": spent,
            }  # fmt: skip
