"""The picture of a comparison: a panel for every row of the table, and files of the kinds promised."""

from functools import cache

import numpy as np
import pytest
from traces import draws_around, make_design, records, trace_of

from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.reml import fit_reml
from bayesmv.report.plots import plot_comparison

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


def panels(figure):
    return [ax for ax in figure.axes if ax.axison]


@pytest.mark.parametrize("name", DESIGNS)
def test_plot_comparison__a_panel_for_every_row(name):
    trace, fit, frame = results(name)
    figure = plot_comparison(trace, fit)
    kinds = {"variance": "var", "covariance": "cov", "correlation": "cor"}
    expected = [
        f"{r['term']}: {kinds[r['parameter']]} "
        + (r["trait_i"] if r["parameter"] == "variance" else f"{r['trait_i']}, {r['trait_j']}")
        for _, r in frame.iterrows()
    ]
    assert [ax.get_title() for ax in panels(figure)] == expected


def test_plot_comparison__reml_and_its_two_standard_errors():
    trace, fit, frame = results("us")
    for ax, (_, row) in zip(panels(plot_comparison(trace, fit)), frame.iterrows(), strict=True):
        density, estimate = ax.get_lines()
        assert estimate.get_xdata()[0] == row["reml"]
        (span,) = ax.patches
        low, high = span.get_x(), span.get_x() + span.get_width()
        np.testing.assert_allclose(
            (low, high), (row["reml"] - 2 * row["std_error"], row["reml"] + 2 * row["std_error"]), rtol=1e-9
        )
        x, y = density.get_data()
        assert np.trapezoid(y, x) == pytest.approx(1.0, abs=0.05)
        assert x.min() <= row["median"] <= x.max()


def test_plot_comparison__correlations_on_one_axis():
    trace, fit, frame = results("us")
    for ax, (_, row) in zip(panels(plot_comparison(trace, fit)), frame.iterrows(), strict=True):
        if row["parameter"] == "correlation":
            assert ax.get_xlim() == (-1, 1)


def test_plot_comparison__correlation_on_the_boundary_has_no_band():
    trace, fit, frame = results("singular")
    for ax, (_, row) in zip(panels(plot_comparison(trace, fit)), frame.iterrows(), strict=True):
        assert len(ax.patches) == (0 if np.isnan(row["std_error"]) else 1)
    assert frame["std_error"].isna().sum() == 3


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
