"""Record of what was fitted: read back as written, and what two fits differ in, by name."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from oracles import dense_relationship, random_kin
from traces import incomplete, make_design, records, trace_of

from bayesmv.design.model_record import ModelRecord
from bayesmv.errors import SpecError
from bayesmv.io.files import load_design
from bayesmv.model.genetic import Genetic
from bayesmv.priors.declarations import CovariancePrior, HalfStudentT

SHIPPED = ("canty_us", "canty_constrained", "calves_maternal", "growth_regression", "sites_at", "ril_fa", "pens_social")


@pytest.mark.parametrize("model", SHIPPED)
def test_read__what_was_written(model):
    design = load_design(f"models/{model}.toml")
    record = ModelRecord.of(design, design.priors())
    tree = xr.DataTree()
    tree.attrs.update(record.to_attributes())
    again = ModelRecord.read(tree)
    assert again.to_attributes() == record.to_attributes()
    assert again.differences(record) == ()
    assert again.blocks == design.blocks == record.blocks
    assert again.names == design.names
    for name in design.names:
        assert again.effects_of(name) == design.effects_of(name)
        np.testing.assert_array_equal(again.effect_scale(name), design.effect_scale(name))
        S = np.full((len(again.effect_scale(name)),) * 2, 0.5)
        np.testing.assert_array_equal(again.to_data_units(name, S), design.to_data_units(name, S))
    assert again.layouts == design.layouts
    assert again.priors == design.priors()


def test_read__raises_on_trees_of_others_and_of_earlier_versions():
    with pytest.raises(SpecError, match="no posterior or fit of this version of bayesmv"):
        ModelRecord.read(xr.DataTree())
    old = trace_of(make_design())
    del old.attrs["record"]
    with pytest.raises(SpecError, match="sample or fit again"):
        ModelRecord.read(old)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"layouts": {}}', "nonsense"])
def test_read__raises_on_a_damaged_record(damage):
    tree = trace_of(make_design())
    tree.attrs["record"] = damage
    with pytest.raises(SpecError, match="the record of the model cannot be read"):
        ModelRecord.read(tree)


def changed(column, value, row=3):
    data = records()
    data.loc[row, column] = value
    return data


def designs():
    kin = dense_relationship([f"L{i}" for i in range(8)], random_kin(8, np.random.default_rng(2)))
    yield "records", make_design(data=changed("y1", 0.5)), ("records",)
    yield "missing", make_design(data=changed("y2", np.nan)), ("records",)
    yield "level", make_design(data=changed("block", "L3")), ("levels of block",)
    yield "relationship", make_design(family=kin), ("relationship of family",)
    yield "fixed", make_design(fixed="1 + x"), ("the formula of fixed effects", "fixed effects")
    yield "structure", make_design("diag(trait):block + us(trait):family"), ("random terms",)
    yield "residual", make_design(residual="diag(trait):units"), ("the residual",)
    yield "index", make_design(data=records().set_axis(np.arange(64) + 1)), ("units",)


@pytest.mark.parametrize(("design", "parts"), [d[1:] for d in designs()], ids=[d[0] for d in designs()])
def test_differences__by_name(design, parts):
    one, other = ModelRecord.of(make_design()), ModelRecord.of(design)
    assert one.differences(other) == parts
    with pytest.raises(SpecError, match="the posterior and the design are not of the same model and data; they differ"):
        one.require_same(other, "the posterior", "the design")


def test_differences__a_covariate_of_a_term_and_of_fixed_effects():
    data = records()
    moved = data.assign(x=data["x"] + np.eye(len(data))[5] * 1e-3)
    one, other = (ModelRecord.of(make_design("us(trait:1 + x):family", d, fixed="1 + x")) for d in (data, moved))
    assert set(one.differences(other)) == {"fixed effects", "levels of family"}


def test_differences__priors_titles_and_genetic_terms_do_not_count():
    data = incomplete(records())
    one = ModelRecord.of(make_design(data=data))
    other = ModelRecord.of(
        make_design(data=data, genetic=Genetic(term="family")), {"block": CovariancePrior(sd=HalfStudentT(nu=9.0))}
    )
    assert one.differences(other) == ()


def test_fingerprint__rounding_does_not_matter():
    data = records()
    nudged = data.assign(x=data["x"] * (1.0 + 1e-15))
    one, other = (ModelRecord.of(make_design(data=d, fixed="1 + x")) for d in (data, nudged))
    assert one.differences(other) == ()


def test_to_attributes__is_json_and_a_model_file():
    attributes = ModelRecord.of(make_design()).to_attributes()
    assert set(attributes) == {"model", "record"}
    assert json.loads(attributes["record"])["effects"]["block"] == ["y1", "y2"]
    assert pd.Series(json.loads(attributes["record"])["fingerprint"]).str.fullmatch("[0-9a-f]{16}").all()


def test_same_subject__terms_on_the_same_factor_and_traits():
    data = records().assign(animal=lambda d: d["family"])
    kin = dense_relationship([f"L{i}" for i in range(8)], random_kin(8, np.random.default_rng(2)))
    design = make_design("us(trait):vm(family, A) + us(trait):ide(family) + us(trait):block", data, A=kin)
    record = ModelRecord.of(design)
    assert record.same_subject("family") == ("family_ide",)
    assert record.same_subject("block") == ()
