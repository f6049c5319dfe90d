"""Genomic relationships from marker genotypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from bayesmv.arrays import Array, BoolArray
from bayesmv.errors import DataError, listing
from bayesmv.relationship.labels import Notes

type Frequencies = Mapping[str, float] | pd.Series[float]


def genomic_relationship(
    genotypes: pd.DataFrame, *, method: Literal[1, 2] = 1, frequencies: Frequencies | None = None
) -> pd.DataFrame:
    """Genomic relationships G (n, n) among genotyped individuals.

    With M (n, m) the counts of one allele, p (m,) its frequencies and Z = M - 2p, method 1 is
    G = ZZ' / Σ 2p(1 - p), in which markers weigh by their variance; method 2 is
    G = Z diag(1 / (m 2p(1 - p))) Z', in which all weigh the same. With estimated frequencies the
    columns of Z sum to zero, so that G is singular, and lifted or blended before it is inverted.

    Parameters
    ----------
    genotypes
        Counts 0, 1, 2 (or expected counts between), NaN where missing; a row per individual, whose id is
        the index, and a column per marker (n, m).
    method
        1 or 2.
    frequencies
        Frequency of the counted allele in the base population, by marker name; by default those of the data.

    Returns
    -------
    DataFrame
        G, labelled by individual in rows and columns. ``attrs["notes"]`` tells which markers were dropped
        (without calls, or with p of 0 or 1) and how many missing calls were replaced by their marker's mean.

    Raises
    ------
    DataError
        If ids or markers stand twice, calls are not within 0 .. 2, an individual has no call, markers have
        no frequency or one outside 0 .. 1 or at odds with the calls, no marker is left, or the method is unknown.

    References
    ----------
    VanRaden (2008), J. Dairy Sci. 91:4414.
    """
    if method not in (1, 2):
        raise DataError(f"method {method!r} is not known; use 1 (markers by variance) or 2 (equal weights)")
    called, empty = _without_empty(_read_calls(genotypes))
    counts = called.to_numpy()
    means = np.nanmean(counts, axis=0) if counts.size else np.empty(0)
    p = means / 2.0 if frequencies is None else _given(frequencies, called)
    variance = 2.0 * p * (1.0 - p)
    use = variance > 0.0
    if not use.any():
        raise DataError(f"none of the {genotypes.shape[1]} markers varies; give markers with both alleles")
    Z = np.where(np.isnan(counts), means, counts)[:, use] - 2.0 * p[use]
    G = Z @ Z.T / variance[use].sum() if method == 1 else (Z / variance[use]) @ Z.T / use.sum()
    out = pd.DataFrame(0.5 * (G + G.T), index=genotypes.index, columns=genotypes.index)
    source = "estimated" if frequencies is None else "given"
    out.attrs["notes"] = (
        f"G of {len(out)} individuals from {use.sum()} markers by method {method}, allele frequencies {source}",
        *_dropped(empty, "without calls"),
        *_dropped(called.columns[~use], "monomorphic"),
        *_imputed(np.isnan(counts[:, use])),
    )
    return out


def _read_calls(genotypes: pd.DataFrame) -> pd.DataFrame:
    """Calls as float, checked."""
    for what, labels in (("ids", genotypes.index), ("markers", genotypes.columns)):
        if labels.has_duplicates:
            raise DataError(
                f"{what} stand more than once in the genotypes: {listing(labels[labels.duplicated()].unique())}; "
                "keep one of each"
            )
    text = [name for name, kind in genotypes.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    if text:
        raise DataError(
            f"markers are not numeric: {listing(text)}; code the calls as counts 0, 1, 2 and NaN, "
            "and put the ids in the index by set_index"
        )
    values = genotypes.to_numpy(dtype=np.float64, na_value=np.nan)
    rows, columns = np.nonzero((values < 0.0) | (values > 2.0))
    if rows.size:
        where = [
            f"{values[i, j]:g} at marker {genotypes.columns[j]!r} of {genotypes.index[i]!r}"
            for i, j in zip(rows[:5], columns[:5], strict=True)
        ]
        more = f" (and {rows.size - 5} more)" if rows.size > 5 else ""
        raise DataError(f"calls are outside 0 .. 2: {', '.join(where)}{more}; write missing calls as NaN")
    bare = np.isnan(values).all(axis=1)
    if bare.any():
        raise DataError(f"{bare.sum()} individuals have no call: {listing(genotypes.index[bare])}; take them out")
    return pd.DataFrame(values, index=genotypes.index, columns=genotypes.columns)


def _without_empty(calls: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index]:
    empty = calls.isna().to_numpy().all(axis=0)
    return calls.loc[:, ~empty], calls.columns[empty]


def _given(frequencies: Frequencies, calls: pd.DataFrame) -> Array:
    """Frequencies in the order of the markers (m,), checked against the calls."""
    if not isinstance(frequencies, pd.Series | Mapping):
        raise DataError("frequencies have no marker names; give a Series or a dict by marker, never by position")
    by_name = pd.Series(frequencies, dtype=np.float64)
    absent = calls.columns.difference(by_name.index[by_name.notna()], sort=False)
    if len(absent):
        raise DataError(f"{len(absent)} markers have no frequency: {listing(absent)}; give theirs, or drop them")
    p = by_name[calls.columns].to_numpy()
    mean = np.nanmean(calls.to_numpy(), axis=0)
    wrong = (p < 0.0) | (p > 1.0) | ((p == 0.0) & (mean > 0.0)) | ((p == 1.0) & (mean < 2.0))
    if wrong.any():
        raise DataError(
            f"frequencies of {wrong.sum()} markers are outside 0 .. 1, or 0 or 1 though both alleles are called: "
            f"{listing(calls.columns[wrong])}; give the frequency of the allele that is counted"
        )
    return np.asarray(p, dtype=np.float64)


def _dropped(markers: pd.Index, why: str) -> Notes:
    return (f"{len(markers)} markers {why} dropped: {listing(markers)}",) if len(markers) else ()


def _imputed(missing: BoolArray) -> Notes:
    if not missing.any():
        return ()
    share, markers = missing.mean(), missing.any(axis=0).sum()
    return (f"{missing.sum()} missing calls ({share:.2%}) of {markers} markers replaced by the marker's mean",)
