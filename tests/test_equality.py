"""Designs and specifications as keys and in comparisons: by what they hold."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from traces import make_design, records

from bayesmv.arrays import same
from bayesmv.model.spec import ModelSpec
from bayesmv.priors.declarations import CovariancePrior


def test_design__equal_by_content():
    one, again = make_design(), make_design()
    other = make_design(data=records(seed=2))
    assert one == again
    assert hash(one) == hash(again)
    assert {one: "found"}[again] == "found"
    assert one != other
    assert one != "a design"
    for part in ("fixed", "residual", "terms"):
        assert getattr(one, part) == getattr(again, part)
        hash(getattr(one, part))


def test_design__that_lacks_a_record():
    data = records()
    data.loc[3, "y1"] = np.nan
    assert make_design(data=data) == make_design(data=data) != make_design()


def test_spec__equal_by_content():
    def spec(eta=1.0, **words):
        return ModelSpec.from_formula(
            "a + b ~ 1", random="us(trait):f", priors={"f": CovariancePrior(eta=eta)}, **words
        )

    assert spec() == spec()
    assert hash(spec()) == hash(spec(matrices={}))
    assert len({spec(), spec(), spec(eta=2.0), spec(unit="u")}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, 2.0])),
        (np.array([1.0]), np.array([1])),
        (np.array(["a"]), np.array(["b"])),
        (pd.Index(["a", "b"]), pd.Index(["a", "c"])),
        (sparse.csr_array(np.eye(2)), sparse.csr_array(2.0 * np.eye(2))),
        (sparse.csr_array(np.eye(2)), sparse.csr_array(np.eye(3))),
        ([np.array([1.0])], [np.array([1.0]), 2]),
        ({"a": np.array([1.0])}, {"b": np.array([1.0])}),
        ({"a": np.array([1.0])}, {"a": np.array([2.0])}),
        (None, 0),
    ],
)
def test_same__tells_apart(one, other):
    import copy

    assert same(one, copy.deepcopy(one))
    assert not same(one, other)
