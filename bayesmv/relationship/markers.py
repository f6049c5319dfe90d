"""Genomic relationships from marker genotypes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from bayesmv.arrays import Array, IntArray
from bayesmv.errors import DataError, listing
from bayesmv.numerics.progress import watched
from bayesmv.relationship.labels import Notes

type Frequencies = Mapping[str, float] | pd.Series[float]


def genomic_relationship(
    genotypes: pd.DataFrame, *, method: Literal[1, 2] = 1, frequencies: Frequencies | None = None
) -> pd.DataFrame:
    """Genomic relationships G (n, n) among genotyped individuals.

    With M (n, m) the counts of one allele, p (m,) its frequencies and Z = M - 2p, method 1 is
    G = ZZ' / Σ 2p(1 - p), in which markers weigh by their variance; method 2 is
    G = Z diag(1 / (m 2p(1 - p))) Z', in which all weigh the same. With estimated frequencies the
    columns of Z sum to zero, so that G is singular, and lifted or blended before it is inverted. Markers are taken in
    blocks: beside the calls as they are given, some 130 MB and G are held.

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
    _check_labels(genotypes)
    summary = _summarised(genotypes)
    p = summary.mean / 2.0 if frequencies is None else _given(frequencies, genotypes.columns, summary)
    variance = np.where(summary.called > 0, 2.0 * p * (1.0 - p), 0.0)
    use = variance > 0.0
    if not use.any():
        raise DataError(f"none of the {genotypes.shape[1]} markers varies; give markers with both alleles")
    G = np.zeros((len(genotypes),) * 2)
    for block, calls in _blocks(genotypes, "Relationships from markers"):
        mine = use[block]
        Z = np.where(np.isnan(calls), summary.mean[block], calls)[:, mine] - 2.0 * p[block][mine]
        G += Z @ Z.T if method == 1 else (Z / variance[block][mine]) @ Z.T
    G /= variance[use].sum() if method == 1 else use.sum()
    out = pd.DataFrame(0.5 * (G + G.T), index=genotypes.index, columns=genotypes.index)
    source = "estimated" if frequencies is None else "given"
    empty = summary.called == 0
    out.attrs["notes"] = (
        f"G of {len(out)} individuals from {use.sum()} markers by method {method}, allele frequencies {source}",
        *_dropped(genotypes.columns[empty], "without calls"),
        *_dropped(genotypes.columns[~use & ~empty], "monomorphic"),
        *_imputed((len(out) - summary.called)[use], len(out)),
    )
    return out


#: Calls that are held as double precision at once.
_HELD = 2**24


def _blocks(genotypes: pd.DataFrame, text: str) -> Iterator[tuple[slice, Array]]:
    """Calls (n, b) of some markers at a time, and which these are, so that memory is bounded."""
    width = max(1, _HELD // max(len(genotypes), 1))
    starts = range(0, genotypes.shape[1], width)
    for first in watched(starts, text, len(starts)):
        block = slice(first, first + width)
        yield block, genotypes.iloc[:, block].to_numpy(dtype=np.float64, na_value=np.nan)


class _Summary(NamedTuple):
    """Mean of the counts and number of calls of every marker, (m,)."""

    mean: Array
    called: IntArray


def _check_labels(genotypes: pd.DataFrame) -> None:
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


def _summarised(genotypes: pd.DataFrame) -> _Summary:
    """Means and numbers of calls, after every call and every individual was checked."""
    mean, called = np.full(genotypes.shape[1], np.nan), np.zeros(genotypes.shape[1], dtype=np.int64)
    bare = np.ones(len(genotypes), dtype=bool)
    where, wrong = [], 0
    for block, calls in _blocks(genotypes, "Reading markers"):
        rows, columns = np.nonzero((calls < 0.0) | (calls > 2.0))
        wrong += rows.size
        names = genotypes.columns[block]
        where += [
            f"{calls[i, j]:g} at marker {names[j]!r} of {genotypes.index[i]!r}"
            for i, j in zip(rows[:5], columns[:5], strict=True)
        ]
        there = ~np.isnan(calls)
        called[block] = there.sum(axis=0)
        bare &= ~there.any(axis=1)
        with np.errstate(invalid="ignore"):
            mean[block] = np.where(there, calls, 0.0).sum(axis=0) / called[block]
    if wrong:
        more = f" (and {wrong - 5} more)" if wrong > 5 else ""
        raise DataError(f"calls are outside 0 .. 2: {', '.join(where[:5])}{more}; write missing calls as NaN")
    if bare.any():
        raise DataError(f"{bare.sum()} individuals have no call: {listing(genotypes.index[bare])}; take them out")
    return _Summary(mean, called)


def _given(frequencies: Frequencies, markers: pd.Index, summary: _Summary) -> Array:
    """Frequencies in the order of the markers (m,), checked against the calls; those without calls have none."""
    if not isinstance(frequencies, pd.Series | Mapping):
        raise DataError("frequencies have no marker names; give a Series or a dict by marker, never by position")
    by_name = pd.Series(frequencies, dtype=np.float64)
    named = markers[summary.called > 0]
    absent = named.difference(by_name.index[by_name.notna()], sort=False)
    if len(absent):
        raise DataError(f"{len(absent)} markers have no frequency: {listing(absent)}; give theirs, or drop them")
    p, mean = by_name[named].to_numpy(), summary.mean[summary.called > 0]
    wrong = (p < 0.0) | (p > 1.0) | ((p == 0.0) & (mean > 0.0)) | ((p == 1.0) & (mean < 2.0))
    if wrong.any():
        raise DataError(
            f"frequencies of {wrong.sum()} markers are outside 0 .. 1, or 0 or 1 though both alleles are called: "
            f"{listing(named[wrong])}; give the frequency of the allele that is counted"
        )
    out = np.zeros(len(markers))
    out[summary.called > 0] = p
    return out


def _dropped(markers: pd.Index, why: str) -> Notes:
    return (f"{len(markers)} markers {why} dropped: {listing(markers)}",) if len(markers) else ()


def _imputed(missing: IntArray, individuals: int) -> Notes:
    """Note of the missing calls of the markers that are used, (m,)."""
    if not missing.any():
        return ()
    share, markers = missing.sum() / (individuals * len(missing)), (missing > 0).sum()
    return (f"{missing.sum()} missing calls ({share:.2%}) of {markers} markers replaced by the marker's mean",)
