"""Records of traits: codes that stand for missing are told from records, and records from codes."""

import numpy as np
import pandas as pd
import pytest

from bayesmv.design.records import read_traits
from bayesmv.errors import DataError


def read(values, missing=None):
    """Records of one trait, and the notes."""
    notes = []
    return read_traits(["y"], pd.DataFrame({"y": values}), missing, notes)[:, 0], notes


def heights(n=300):
    return np.random.default_rng(1).normal(45, 8, n)


def with_code(values, code, times):
    out = np.array(values, dtype=float)
    out[np.random.default_rng(2).choice(len(out), times, replace=False)] = code
    return out


rng = np.random.default_rng(0)
SCORES, BINARY, COUNTS = rng.integers(1, 6, 300), rng.integers(0, 2, 300), rng.poisson(3, 300)
SKEWED, WIDE, SIGNED = rng.lognormal(3, 1, 300), rng.uniform(5, 60, 300), rng.normal(0, 1, 300)


@pytest.mark.parametrize("times", [2, 12, 150])
@pytest.mark.parametrize("code", [-1, -9, -99, -999, -9999, 999, 9999, -999.9, -2147483648])
def test_codes__are_refused(code, times):
    with pytest.raises(
        DataError, match=rf"codes for missing records: {code:.10g} in {times} records of 'y'; add missing"
    ):
        read(with_code(heights(), code, times))


@pytest.mark.parametrize(
    ("values", "code"),
    [(SCORES, 9), (SCORES, -9), (BINARY, 9), (COUNTS, -9), (SKEWED, -99), (SKEWED, 9999), (WIDE, -9), (SIGNED, -9)],
)
def test_codes__are_refused_in_traits_of_any_kind(values, code):
    with pytest.raises(DataError, match=rf"{code} in 8 records of 'y'; add missing = \[{code}\]"):
        read(with_code(values, code, 8))


def test_codes__of_all_traits_in_one_message():
    data = pd.DataFrame({"a": with_code(heights(), -9, 3), "b": heights(), "c": with_code(SIGNED, 99, 6)})
    with pytest.raises(DataError, match=r"-9 in 3 records of 'a', 99 in 6 records of 'c'; add missing = \[-9, 99\]"):
        read_traits(["a", "b", "c"], data)


def test_codes__that_were_named_are_missing():
    values, notes = read(with_code(heights(), -9, 3), ["-9"])
    assert np.isnan(values).sum() == 3
    assert notes == ["'-9' in 3 records of 'y' read as missing"]
    with pytest.raises(DataError, match=r"-99 in 2 .* missing = \[-9, -99\]"):
        read(with_code(with_code(heights(), -9, 3), -99, 2), ["-9"])


def test_codes__are_records_if_the_user_says_so():
    values, notes = read(with_code(heights(), -9, 3), [])
    assert (values == -9).sum() == 3
    assert notes == []


@pytest.mark.parametrize("seed", range(40))
def test_codes__no_false_alarm(seed):
    """Traits with many equal values, long tails, gaps and signs: none of them has codes, whatever the seed."""
    r = np.random.default_rng(seed)
    n = int(r.choice([10, 60, 300, 3000]))
    traits = {
        "normal": r.normal(9, 3, n).round(),
        "differences": r.normal(0, 5, n).round(),
        "heavy tails": r.standard_t(3, n).round(1) * 3,
        "counts": r.negative_binomial(0.3, 0.02, n),
        "zeros": r.poisson(3, n) * (r.random(n) < 0.3),
        "signs": r.choice([-1, 0, 1], n),
        "opposites": r.choice([-1, 1], n),
        "scale of nine": r.integers(1, 10, n),
        "scores": r.integers(-3, 4, n),
        "skewed": r.lognormal(2, 1.5, n).round(),
        "pareto": (r.pareto(1.5, n) * 10).round(),
        "cut off": np.minimum(r.normal(80, 10, n).round(), 99),
        "shares": r.beta(8, 1, n).round(2) * 100,
    }
    for name, values in traits.items():
        if len(np.unique(values)) > 1:
            assert read(values)[1] == [], name


def test_zeros__far_from_all_others_are_a_note():
    assert read(with_code(heights(), 0, 12))[1] == [
        "0 in 12 records of 'y', far from all others (23.3097 to 69.8003), kept: if it means missing, say missing = [0]"
    ]


def test_a_single_code__is_a_note():
    assert read(with_code(heights(), -999, 1))[1] == ["-999 of 'y', far from all others, kept as a record"]


def test_words__for_missing_are_counted():
    values, notes = read([*map(str, heights(20)), "*", ".", ".", "NA", "-", "", None])
    assert np.isnan(values).sum() == 7
    assert notes == ["'*' in 1, '.' in 2, 'NA' in 1, '-' in 1 records of 'y' read as missing"]


@pytest.mark.parametrize(
    "values", [[1 + 2j, 2.0, 3.0], pd.period_range("2000-01-01", periods=3)], ids=["complex", "periods"]
)
def test_read_traits__raises_on_values_that_are_no_numbers(values):
    with pytest.raises(DataError, match=r"the trait 'y' holds (complex128|period\[D\]) values; turn them into numbers"):
        read_traits(["y"], pd.DataFrame({"y": values}))
