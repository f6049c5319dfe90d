"""The picture of a comparison: a panel for every row of the table, and files of the kinds promised."""

from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure
from traces import draws_around, make_design, records, trace_of

import bayesmv as bmv
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.errors import SpecError
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.reml import fit_reml
from bayesmv.report.plots import plot_comparison
from bayesmv.report.style import density

DESIGNS = {
    "us": lambda: make_design(),
    "diag and a term of one trait": lambda: make_design("diag(trait):block + at(trait, y2):family"),
    "one trait": lambda: make_design(data=records(t=1)),
    "singular": lambda: make_design(data=records(seed=2, t=3, blocks=2, families=30)),
}


@cache
def results(name):
    fit = fit_reml(DESIGNS[name]())
    posterior = log_posterior(fit.design)
    x = draws_around(posterior, fit.theta, 4, 100)
    trace = trace_of(fit.design, x, reml=fit)
    return trace, fit, compare_reml(trace, fit)


def rows_of(frame):
    """Rows of the table that have a panel: covariances are told by correlations."""
    return [row for _, row in frame.iterrows() if row["parameter"] != "covariance"]


@pytest.mark.parametrize("name", DESIGNS)
def test_plot_comparison__a_panel_for_every_variance_and_correlation(name):
    trace, fit, frame = results(name)
    expected = [
        f"{r['term']}: " + (r["trait_i"] if r["parameter"] == "variance" else f"{r['trait_i']}, {r['trait_j']}")
        for r in rows_of(frame)
    ]
    axes = plot_comparison(trace, fit)
    assert [ax.get_title() for ax in axes] == expected
    assert {ax.get_xlabel() for ax in axes} <= {"variance", "correlation"}


def test_plot_comparison__reml_and_its_interval():
    trace, fit, frame = results("us")
    for ax, row in zip(plot_comparison(trace, fit), rows_of(frame), strict=True):
        density, estimate = ax.get_lines()
        assert estimate.get_xdata()[0] == row["reml"]
        (span,) = ax.patches
        low, high = span.get_x(), span.get_x() + span.get_width()
        reach = 1.959964 * row["std_error"]
        floor, ceiling = (-1, 1) if row["parameter"] == "correlation" else (0, np.inf)
        expected = max(row["reml"] - reach, floor), min(row["reml"] + reach, ceiling)
        np.testing.assert_allclose((low, high), expected, rtol=1e-6, atol=1e-9)
        x, y = density.get_data()
        assert np.trapezoid(y, x) == pytest.approx(1.0, abs=0.01)
        assert x.min() <= row["median"] <= x.max()


def test_plot_comparison__correlations_on_one_axis():
    trace, fit, frame = results("us")
    for ax, row in zip(plot_comparison(trace, fit), rows_of(frame), strict=True):
        assert ax.get_xlim()[0] == (-1 if row["parameter"] == "correlation" else 0)


def test_plot_comparison__correlation_on_the_boundary_has_no_band():
    trace, fit, frame = results("singular")
    for ax, row in zip(plot_comparison(trace, fit), rows_of(frame), strict=True):
        assert len(ax.patches) == (0 if np.isnan(row["std_error"]) else 1)
    assert frame["std_error"].isna().sum() == 3


def test_plot_comparison__many_traits_are_intervals_on_one_page():
    design = make_design("us(trait):family", records(t=6, families=20))
    fit = fit_reml(design)
    trace = trace_of(design, draws_around(log_posterior(design), fit.theta, 2, 40), reml=fit)
    axes = plot_comparison(trace, fit)
    width, height = axes[0].figure.get_size_inches()
    assert (width, height) <= (7.5, 10.0)
    assert [ax.get_title() for ax in axes[:2]] == ["family", "Residual"]
    assert [label.get_text() for label in axes[2].get_yticklabels()][:2] == ["y1, y2", "y1, y3"]
    assert len(axes[2].get_yticklabels()) == 15


def test_density__ends_where_the_parameter_ends():
    """Uniform draws on an interval: the density is that up to its ends, 2 % at 40,000 draws."""
    draws = np.random.default_rng(1).uniform(-1, 1, 40_000)
    grid, height = density(draws, -1.0, 1.0)
    assert (grid[0], grid[-1]) == (-1.0, 1.0)
    np.testing.assert_allclose(height, 0.5, atol=0.03)
    grid, height = density(np.abs(np.random.default_rng(2).normal(size=40_000)), 0.0)
    assert height[0] == pytest.approx(2 / np.sqrt(2 * np.pi), abs=0.03)
    assert np.trapezoid(height, grid) == pytest.approx(1.0, abs=0.01)


def test_figures__show_themselves_in_notebooks():
    trace, fit, _ = results("one trait")
    assert plot_comparison(trace, fit)[0].figure._repr_png_().startswith(b"\x89PNG")


def test_units__stand_on_the_axes():
    data = records()
    spec = bmv.ModelSpec.from_toml(
        'traits = ["y1", "y2"]\nrandom = "us(trait):family"\n[units]\ny1 = "kg"\ny2 = "kg/m³"\n'
    )
    design = bmv.build_design(spec, data)
    fit = fit_reml(design)
    trace = trace_of(design, draws_around(log_posterior(design), fit.theta, 2, 40), reml=fit)
    labels = [ax.get_xlabel() for ax in plot_comparison(trace, fit)]
    assert labels[:3] == ["variance (kg²)", "variance ((kg/m³)²)", "correlation"]
    assert bmv.ModelSpec.from_toml(spec.to_toml()) == spec
    with pytest.raises(SpecError, match=r"\[units\] gives the unit of each trait as text, y1 = .kg., not 3"):
        bmv.ModelSpec.from_toml('traits = ["y1"]\n[units]\ny1 = 3\n')
    with pytest.raises(SpecError, match="a unit is given for 'y9', which is not a trait"):
        bmv.ModelSpec.from_toml('traits = ["y1"]\n[units]\ny9 = "kg"\n')


GENETIC = bmv.Genetic(term="family", relationship="half-sib")


@pytest.fixture(scope="module")
def both():
    design = make_design(genetic=GENETIC)
    fit = fit_reml(design)
    return design, fit, trace_of(design, draws_around(log_posterior(design), fit.theta, 2, 60), reml=fit, effects=True)


def test_pictures__draw_into_given_axes_and_label_them(both):
    """Every picture of a fit and of a posterior, into axes that are given; no axis without a label."""
    design, fit, trace = both
    figure = Figure()
    calls = {
        "ellipses": lambda s, ax: [bmv.plot_ellipses(s, ax=ax[0])],
        "several ellipses": lambda s, ax: [bmv.plot_ellipses({"a": s, "b": fit}, ("y2", "y1"), "block", ax=ax[0])],
        "effects": lambda s, ax: bmv.plot_effects(s, "family", axes=ax[:2], most=5),
        "response": lambda s, ax: [bmv.plot_response(s, {"y1": 1.0}, ax=ax[0])],
        "residuals": lambda s, ax: bmv.plot_residuals(s, design=design, axes=ax[:6]),
        "field": lambda s, ax: [
            bmv.plot_field(s, np.arange(64) // 8, np.arange(64) % 8, "y2", design=design, ax=ax[0])
        ],
        "parameters": lambda s, ax: [bmv.plot_parameters({"a": s, "b": fit}, "genetic correlation", ax=ax[0])],
    }
    for name, call in calls.items():
        for source in (fit, trace):
            figure.clear()
            axes = list(figure.subplots(2, 3).reshape(-1))
            drawn = call(source, axes)
            assert all(d is a for d, a in zip(drawn, axes, strict=False)), name
            assert all(ax.get_xlabel() for ax in drawn), name


def test_plot_prior__beside_the_posterior(both, tmp_path):
    design, _, trace = both
    axes = bmv.plot_prior(bmv.prior_predictive(design, draws=200), trace, tmp_path / "prior.svg")
    words = [(ax.get_title(), ax.get_xlabel()) for ax in axes]
    assert words == [
        ("y1", "heritability"),
        ("y2", "heritability"),
        ("y1, y2", "genetic correlation"),
        ("y1", "sd of records; observed: line"),
        ("y2", "sd of records; observed: line"),
    ]
    assert len(axes[0].get_lines()) == 2
    assert (tmp_path / "prior.svg").stat().st_size > 10_000


def test_pictures__mistakes(both):
    _, fit, trace = both
    with pytest.raises(SpecError, match="1 axes for 9 panels"):
        plot_comparison(trace, fit, axes=[Figure().subplots()])
    with pytest.raises(SpecError, match="'family' has no effect 'y7'"):
        bmv.plot_ellipses(fit, ("y1", "y7"))
    with pytest.raises(SpecError, match="no genetic parameter 'h2'; parameters"):
        bmv.plot_parameters({"a": fit}, "h2")
    with pytest.raises(SpecError, match="3 rows and 64 columns for 64 units"):
        bmv.plot_field(fit, [1, 2, 3], range(64))
    alone = fit_reml(make_design("idv(trait):family", records(t=1)))
    with pytest.raises(SpecError, match="an ellipse needs two"):
        bmv.plot_ellipses(alone, term="family")


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_plot_comparison__writes_the_picture(tmp_path, ending, magic):
    trace, fit, _ = results("one trait")
    path = tmp_path / f"picture.{ending}"
    plot_comparison(trace, fit, path)
    assert path.read_bytes().startswith(magic)
    assert path.stat().st_size > 10_000


def test_plot_comparison__writes_nothing_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trace, fit, _ = results("one trait")
    plot_comparison(trace, fit)
    assert list(tmp_path.iterdir()) == []
