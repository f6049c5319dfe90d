"""Table of models in docs/asreml.md: every row is run from files as a user would, and held to what it says."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse
from wordings import write_files

import bayesmv as bmv
from bayesmv.io.files import load_design
from bayesmv.reml.result import RemlFit

PAGE = Path(__file__).parents[2] / "docs" / "asreml.md"


class Row(NamedTuple):
    """A row of the table."""

    number: int
    model: str
    lines: tuple[str, ...]
    data: str
    held: str


@cache
def rows() -> dict[int, Row]:
    out = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 6 and cells[0].isdecimal():
            number, model, _, ours, data, held = cells
            out[int(number)] = Row(int(number), model, tuple(re.findall(r"`([^`]*)`", ours)), data, held)
    return out


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Fit of a row of the table, by number."""

    @cache
    def fit(number: int) -> RemlFit:
        row = rows()[number]
        home = tmp_path_factory.mktemp(f"row{number}")
        write_files(row.data, home)
        given = any(line.startswith("data") for line in row.lines)
        text = "\n".join([*([] if given else ['data = "data.csv"']), *row.lines])
        (home / "model.toml").write_text(text + "\n", encoding="utf-8")
        return bmv.fit_reml(load_design(home / "model.toml"))

    return fit


def dense_loglik(fit: RemlFit) -> float:
    """Restricted log-likelihood at the estimates, from V of the records."""
    design, sigmas = fit.design, fit.sigmas
    at = np.argwhere(design.observed)
    unit, trait = at[:, 0], at[:, 1]
    V = np.zeros((len(at), len(at)))
    for term, S in zip(design.terms, sigmas, strict=False):
        K = np.eye(len(term.levels)) if term.relationship is None else np.linalg.inv(term.precision.toarray())
        loads = [
            sparse.csr_array(Z)[unit].multiply((trait == term.trait_of[e])[:, None]).toarray()
            for e, Z in ((e, term.incidences[c]) for e, c in enumerate(term.load_of))
        ]
        for i, A in enumerate(loads):
            for j, B in enumerate(loads):
                V += S[i, j] * (A @ K @ B.T)
    residual = design.residual
    place = np.array([residual.places(residual.group[u])[t] for u, t in at])
    V += (unit[:, None] == unit[None, :]) * sigmas[-1][np.ix_(place, place)] / residual.weights[unit][:, None]
    X = np.zeros((len(at), int(design.fixed.present.sum())))
    W = design.fixed.X.toarray()
    for k, (v, t) in enumerate(zip(*np.nonzero(design.fixed.present), strict=True)):
        X[:, k] = np.where(trait == t, W[unit, v], 0.0)
    # Columns of the size of 1, and what that takes from log|X'V⁻¹X|.
    size = np.linalg.norm(X, axis=0)
    y = design.working_response[unit, trait]
    scaled = X / size
    Vi = np.linalg.inv(V)
    C = scaled.T @ Vi @ scaled
    P = Vi - Vi @ scaled @ np.linalg.solve(C, scaled.T @ Vi)
    logs = np.linalg.slogdet(V)[1] + np.linalg.slogdet(C)[1] + 2.0 * np.log(size).sum()
    return float(-0.5 * ((len(at) - X.shape[1]) * np.log(2.0 * np.pi) + logs + y @ P @ y) + design.log_jacobian)


def test_table__has_forty_models_or_more():
    assert len(rows()) >= 40
    assert list(rows()) == list(range(1, len(rows()) + 1))


@pytest.mark.parametrize("number", rows())
def test_row(fits, number):
    row = rows()[number]
    fit = fits(number)
    assert fit.converged
    design, kind = fit.design, row.held.split()[0]
    figures = [float(word) for word in re.findall(r"-?\d+\.?\d*", row.held)]
    if kind == "dense":
        assert fit.loglik == pytest.approx(dense_loglik(fit), abs=2e-6)
    elif kind == "row":
        assert fit.loglik == pytest.approx(fits(int(figures[0])).loglik, abs=1e-6)
    elif kind == "at":
        assert fit.loglik >= fits(int(figures[0])).loglik - 1e-6
    elif kind == "logLik":
        assert fit.loglik == pytest.approx(figures[0], abs=5e-4)
    elif kind == "ASReml":
        freedom = design.n_records - design.fixed.present.sum()
        assert fit.loglik + 0.5 * freedom * np.log(2.0 * np.pi) == pytest.approx(figures[0], abs=6e-4)
    else:
        assert kind == "published"
        np.testing.assert_allclose(fit.varcomp["component"], figures, atol=6e-4)
