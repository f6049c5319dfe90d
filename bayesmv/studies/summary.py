"""Results of a study, condensed: bias, error, coverage with Monte Carlo error, failures, time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bayesmv.errors import DataError
from bayesmv.studies.declared import METHODS
from bayesmv.studies.store import Store

#: What distinguishes the rows of a summary, besides the setting.
_BY = ["model", "prior", "method", "parameter", "term", "trait_i", "trait_j", "truth"]


def study_summary(source: str | Path | pd.DataFrame, *, pool_traits: bool = True) -> pd.DataFrame:
    r"""Bias, error, coverage and time of every method of a study, over its replicates.

    Parameters
    ----------
    source
        Folder of results, or the rows of :func:`bayesmv.study`.
    pool_traits
        Traits with the same truth, and pairs of them, in one row.

    Returns
    -------
    DataFrame
        case, ``at_…`` the setting, model, prior, method, parameter (term, trait_i, trait_j), truth and

        - n, data sets (times traits, if pooled), and failed, the share without an estimate because of an error;
        - boundary, the share whose estimate lies on the boundary, or does not exist there;
        - intervals, the share that has an interval;
        - bias and rmse, of the estimates that exist, with their Monte Carlo errors bias_mc and rmse_mc;
        - covered, the share of intervals that hold the truth, and covered_of_all, intervals that do not exist counted
          as not holding it, with ``_mc = sqrt(c (1 - c) / n)``;
        - width, the median width of the intervals; not_converged; seconds, the mean CPU time.

        Without truths (data that exist) bias, error and coverage are NaN.

    Raises
    ------
    DataError
        If there are no results.

    References
    ----------
    Morris, White & Crowther (2019), Statistics in Medicine 38:2074-2102 (measures and their Monte Carlo errors).
    """
    rows = source if isinstance(source, pd.DataFrame) else Store(source).rows()
    if rows.empty:
        raise DataError("the study has no results yet")
    settings = [name for name in map(str, rows.columns) if name.startswith("at_")]
    pooled = ["term", "trait_i", "trait_j"] if pool_traits else []
    by = ["case", *settings, *(name for name in _BY if name not in pooled)]
    failures = rows[rows["failure"] != ""]
    out = []
    for group, mine in rows[rows["failure"] == ""].groupby(by, dropna=False, sort=True):
        lost = _lost(failures, dict(zip(by, group, strict=True)), settings)
        out.append({**dict(zip(by, group, strict=True)), **_measures(mine, lost)})
    order = {method: k for k, method in enumerate(METHODS)}
    summary = pd.DataFrame(out)
    rank = summary["method"].map(order)
    first = [name for name in by if name not in ("model", "prior", "method")]
    return (
        summary.assign(_rank=rank)
        .sort_values([*first, "model", "_rank", "prior"], ignore_index=True)
        .drop(columns="_rank")
    )


def _lost(failures: pd.DataFrame, group: dict[str, object], settings: list[str]) -> int:
    """Number of data sets of a setting on which a method failed."""
    same = pd.Series(True, index=failures.index)
    for name in ("case", "model", "method", *settings):
        value = group[name]
        same &= failures[name].isna() if pd.isna(value) else failures[name] == value  # type: ignore[call-overload]
    # A fit that failed before its posterior has no name of a prior.
    same &= (failures["prior"] == group["prior"]) | (failures["prior"] == "")
    return int(same.sum())


def _measures(rows: pd.DataFrame, lost: int) -> dict[str, float]:
    n = len(rows)
    estimate, truth = rows["estimate"].to_numpy(), rows["truth"].to_numpy()
    error = (estimate - truth)[np.isfinite(estimate)]
    exists = np.isfinite(rows["low"]) & np.isfinite(rows["high"])
    inside = (rows["low"] <= truth) & (truth <= rows["high"]) & exists
    known = bool(np.isfinite(truth).all())
    covered = float(inside[exists].mean()) if known and exists.any() else np.nan
    of_all = float(inside.mean()) if known else np.nan
    square = error**2
    rmse = float(np.sqrt(square.mean())) if known and len(error) else np.nan
    return {
        "n": n,
        "failed": lost / (n + lost),
        "boundary": float((rows["verdict"] == "boundary").mean()),
        "intervals": float(exists.mean()),
        "bias": float(error.mean()) if known and len(error) else np.nan,
        "bias_mc": float(error.std(ddof=1) / np.sqrt(len(error))) if known and len(error) > 1 else np.nan,
        "rmse": rmse,
        "rmse_mc": float(square.std(ddof=1) / np.sqrt(len(error)) / (2 * rmse)) if len(error) > 1 and rmse else np.nan,
        "covered": covered,
        "covered_mc": float(np.sqrt(covered * (1 - covered) / max(exists.sum(), 1))),
        "covered_of_all": of_all,
        "covered_of_all_mc": float(np.sqrt(of_all * (1 - of_all) / n)),
        "width": float((rows["high"] - rows["low"])[exists].median()) if exists.any() else np.nan,
        "not_converged": float((rows["verdict"] == "not converged").mean()),
        "seconds": float(rows["seconds"].mean()),
    }
