"""Traits whose squares overflow or vanish are refused by name."""

import pytest
from traces import make_design, records

from bayesmv.errors import DataError


@pytest.mark.parametrize("factor", [1e120, 1e300, 1e-200])
def test_traits__beyond_reason(factor):
    data = records()
    data["y2"] *= factor
    with pytest.raises(
        DataError, match=r"the trait 'y2' has values of up to .*; give it in other units, between 1e-100"
    ):
        make_design(data=data)


def test_traits__large_and_small_ones_are_fine():
    data = records()
    data["y1"], data["y2"] = data["y1"] * 1e60, data["y2"] * 1e-60
    assert make_design(data=data).n_records == make_design().n_records
