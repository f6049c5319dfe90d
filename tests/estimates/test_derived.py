"""Functions that users write: against the tables of the package, and by hand."""

import numpy as np
import pandas as pd
import pytest
from traces import make_design, records, trace_of

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.sampling.trace import draws_of

GENETIC = bmv.Genetic(term="family", relationship="half-sib")


@pytest.fixture(scope="module")
def design():
    return make_design(genetic=GENETIC, fixed="x")


@pytest.fixture(scope="module")
def fit(design):
    return bmv.fit_reml(design)


def heritabilities(q):
    return {f"h2 {t}": q.additive[i, i] / q.phenotypic[i, i] for i, t in enumerate(q.traits)}


def test_derive__heritability_is_that_of_the_tables(design, fit):
    for source in (fit, trace_of(design)):
        mine = bmv.derive(source, heritabilities)
        table = bmv.genetic_parameters(source).query("parameter == 'heritability'").reset_index(drop=True)
        assert mine["quantity"].tolist() == ["h2 y1", "h2 y2"]
        for column in mine.columns.drop("quantity"):
            if column == "constraint":
                assert mine[column].tolist() == table[column].tolist()
            else:
                np.testing.assert_allclose(mine[column], table[column], rtol=1e-6)


def test_derive__means_and_their_delta_method(design, fit):
    found = bmv.derive(fit, lambda q: {"cv": np.sqrt(q.additive[0, 0]) / q.means[0], "mean": q.means[0]}).set_index(
        "quantity"
    )
    b, V = fit.fixed["estimate"].to_numpy()[:2], fit.fixed_covariance().to_numpy()[:2, :2]
    x = np.array([1.0, design.table["x"].mean()])
    mean, variance = x @ b, x @ V @ x
    assert found.loc["mean", "estimate"] == pytest.approx(mean)
    assert found.loc["mean", "std_error"] == pytest.approx(np.sqrt(variance), rel=1e-6)
    a = bmv.derive(fit, lambda q: np.sqrt(q.additive[0, 0])).iloc[0]
    expected = np.sqrt((a["std_error"] / mean) ** 2 + a["estimate"] ** 2 / mean**4 * variance)
    assert found.loc["cv", "std_error"] == pytest.approx(expected, rel=1e-5)


def test_derive__posterior_means_and_effects_are_draws(design):
    trace = trace_of(design, effects=True)
    held = bmv.derive(trace, lambda q: q.effects("family")[0, 0])
    draws = draws_of(trace, "family_effect").to_numpy()[..., 0, 0]
    assert held["mean"][0] == pytest.approx(draws.mean())
    drawn = bmv.derive(trace, lambda q: {"u": q.effects("family")[0, 0], "mean": q.means[0]}, design=design)
    assert abs(drawn["mean"][0] - draws.mean()) < 5 * draws.std() / np.sqrt(100)
    fixed = draws_of(trace, "fixed")
    mean = fixed.sel(coefficient="y1:Intercept") + design.table["x"].mean() * fixed.sel(coefficient="y1:x")
    assert abs(drawn["mean"][1] - float(mean.mean())) < 5 * float(mean.std()) / np.sqrt(100)


RESULTS = {
    "number": (lambda q: q["family"][0, 0], ["value"]),
    "array": (lambda q: q.correlation("family"), ["[0, 0]", "[0, 1]", "[1, 0]", "[1, 1]"]),
    "series": (lambda q: pd.Series(np.diag(q["family"]), index=list(q.effects_of("family"))), ["y1", "y2"]),
    "frame": (lambda q: pd.DataFrame(q["block"], ["a", "b"], ["c", "d"]), ["a:c", "a:d", "b:c", "b:d"]),
    "nested": (lambda q: {"sd": np.sqrt(np.diag(q["family"])), "one": 1.0}, ["sd[0]", "sd[1]", "one"]),
}


@pytest.mark.parametrize("result", RESULTS)
def test_derive__results_of_any_form(fit, result):
    function, names = RESULTS[result]
    assert bmv.derive(fit, function)["quantity"].tolist() == names


def test_derive__what_no_parameter_moves_is_fixed(fit):
    row = bmv.derive(fit, lambda q: 3.0).iloc[0]
    assert (row["estimate"], row["std_error"], row["constraint"]) == (3.0, 0.0, "fixed")


def test_derive__boundary_and_unidentified_are_told_as_in_other_tables():
    design = make_design("us(trait):block + us(trait):twin", records().assign(twin=lambda d: d["block"]))
    fit = bmv.fit_reml(design)
    table = bmv.derive(fit, lambda q: {"one": q["block"][0, 0], "sum": q["block"][0, 0] + q["twin"][0, 0]})
    assert table["constraint"].tolist() == ["not identified", "unconstrained"]
    assert np.isnan(table["estimate"][0])
    drawn = bmv.derive(
        trace_of(design, reml=fit), lambda q: {"one": q["block"][0, 0], "sum": (q["block"] + q["twin"])[0, 0]}
    )
    assert drawn["constraint"].tolist() == ["prior only", ""]


def test_derive__mistakes(design, fit, tmp_path):
    with pytest.raises(SpecError, match="must return numbers, or a mapping of numbers by name, not 'h2'"):
        bmv.derive(fit, lambda q: "h2")
    with pytest.raises(SpecError, match="effects of a REML fit are predictions without a distribution"):
        bmv.derive(fit, lambda q: q.effects("family"))
    with pytest.raises(SpecError, match="which term is genetic"):
        bmv.derive(bmv.fit_reml(make_design()), lambda q: q.additive)
    trace = trace_of(design)
    with pytest.raises(SpecError, match="the posterior holds no effects of 'family'; give design="):
        bmv.derive(trace, lambda q: q.effects("family"))
    with pytest.raises(SpecError, match="means of a posterior are drawn from its design; give design="):
        bmv.derive(trace, lambda q: q.means)
    fit.to_netcdf(tmp_path / "fit.nc")
    with pytest.raises(SpecError, match="a loaded fit holds no means; give design="):
        bmv.derive(bmv.load_fit(tmp_path / "fit.nc"), lambda q: q.means)
    flips = iter([{"a": 1.0}, {"b": 1.0}] * 100)
    with pytest.raises(SpecError, match="returns other quantities for other draws"):
        bmv.derive(fit, lambda q: next(flips))
