"""Long records of one trait in many environments to one trait for each."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError

LONG = pd.DataFrame(
    {
        "line": ["L1", "L2", "L1", "L3"],
        "site": ["B", "A", "A", "A"],
        "origin": ["x", "y", "x", "y"],
        "yield": [6.0, 7.0, 5.0, 4.0],
    }
)


def test_widen__a_row_for_each_record():
    got = bmv.widen(LONG, "yield", "site")
    assert list(got.columns) == ["line", "site", "origin", "yield_A", "yield_B"]
    np.testing.assert_array_equal(got["yield_A"], [np.nan, 7.0, 5.0, 4.0])
    np.testing.assert_array_equal(got["yield_B"], [6.0, np.nan, np.nan, np.nan])
    assert "yield" in LONG.columns


def test_widen__a_row_for_each_unit():
    got = bmv.widen(LONG, "yield", "site", unit="line")
    assert got["line"].tolist() == ["L1", "L2", "L3"]
    assert got["origin"].tolist() == ["x", "y", "y"]
    np.testing.assert_array_equal(got[["yield_A", "yield_B"]], [[5.0, 6.0], [7.0, np.nan], [4.0, np.nan]])


def test_widen__names_can_stand_in_formulas():
    got = bmv.widen(LONG.assign(site=["site 2", "site 1", "site 1", "site 1"]), "yield", "site")
    assert list(got.columns)[-2:] == ["yield_site_1", "yield_site_2"]


def test_widen__long_and_wide_are_one_model():
    """us(site):variety of long records = us(trait):variety of wide ones with one residual variance, idv."""
    data = bmv.load_dataset("sites")
    wide = bmv.widen(data, "yield", "site")
    traits = " + ".join(c for c in wide.columns if c.startswith("yield_"))
    long_spec = bmv.ModelSpec.from_formula("yield ~ site", random="us(site):variety")
    wide_spec = bmv.ModelSpec.from_formula(f"{traits} ~ 1", random="us(trait):variety", residual="idv(trait):units")
    designs = bmv.build_design(long_spec, data), bmv.build_design(wide_spec, wide)
    G = np.array([[4.0, 2.9, 2.7, 1.2], [2.9, 3.5, 2.6, 1.0], [2.7, 2.6, 3.8, 1.1], [1.2, 1.0, 1.1, 3.0]])
    long_fit = bmv.blup(designs[0], {"variety": G, "Residual": [[12.0]]})
    wide_fit = bmv.blup(designs[1], {"variety": G, "Residual": 12.0 * np.eye(4)})
    np.testing.assert_allclose(long_fit.effects("variety")["blup"], wide_fit.effects("variety")["blup"], atol=1e-9)


def test_widen__residuals_that_nothing_links_are_said():
    data = bmv.load_dataset("sites")
    wide = bmv.widen(data, "yield", "site")
    spec = bmv.ModelSpec.from_formula("yield_A + yield_B ~ 1", random="us(trait):variety", residual="us(trait):units")
    residual = bmv.identifiability(bmv.build_design(spec, wide))[-1]
    assert residual.warnings == (
        "Residual: no unit links 'yield_A' and 'yield_B': their covariance rests on the prior alone; "
        "use residual = diag(trait):units",
    )


@pytest.mark.parametrize(
    ("change", "unit", "error", "message"),
    [
        (
            {"site": ["B", None, "A", "A"]},
            None,
            DataError,
            "the environment 'site' is missing in 1 rows: 1; name that of these rows",
        ),
        ({"site": ["a-1", "a 1", "A", "A"]}, None, DataError, "two levels of 'site' give one name"),
        ({"site": ["A", "A", "A", "A"]}, "line", DataError, "the 'line' 'L1' have two records in one environment"),
        ({"origin": ["x", "y", "z", "y"]}, "line", DataError, "'origin' differ between the records of a unit"),
        (
            {"line": ["L1", "L1", None, "L2"]},
            "line",
            DataError,
            "the unit 'line' is missing in 1 rows: 2; name that of",
        ),
        ({"yield_A": 1.0}, None, DataError, "the data have columns 'yield_A' already; rename them"),
        ({}, "tree", SpecError, "'tree' is not a column of the data; columns: 'line'"),
    ],
)
def test_widen__raises(change, unit, error, message):
    with pytest.raises(error, match=message):
        bmv.widen(LONG.assign(**change), "yield", "site", unit)
