"""Which models are nested, so that a likelihood ratio means something."""

import numpy as np
import pytest
from traces import records

import bayesmv as bmv
from bayesmv.errors import SpecError


def test_likelihood_ratio__other_weights_levels_or_relationships_are_not_nested():
    data = records()
    data["w"] = np.linspace(0.5, 2.0, len(data))
    data["twin"] = data["family"].str.replace("L1", "L0")

    def fitted(random, weights=None, table=data, **relationships):
        spec = bmv.ModelSpec.from_formula("y1 + y2 ~ 1", random=random, weights=weights)
        return bmv.fit_reml(bmv.build_design(spec, table, relationships))

    large = fitted("us(trait):family + us(trait):block")
    with pytest.raises(SpecError, match="not nested: weights = w in the first, no weights in the second"):
        bmv.likelihood_ratio(fitted("us(trait):family", "w"), large)
    merged = fitted("us(trait):family", table=data.assign(family=data["twin"]))
    with pytest.raises(SpecError, match="not nested: 'family' has other levels or relationships in the second"):
        bmv.likelihood_ratio(merged, large)
    levels = sorted(set(data["family"]))
    kin = bmv.Relationship.from_covariance(0.9 * np.eye(len(levels)) + 0.1, levels)
    with pytest.raises(SpecError, match="not nested: 'family' has other levels or relationships in the second"):
        bmv.likelihood_ratio(fitted("us(trait):family", family=kin), large)
    assert bmv.likelihood_ratio(fitted("us(trait):family"), large).df == 3
