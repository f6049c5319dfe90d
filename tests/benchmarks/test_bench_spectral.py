"""Cost of the table of the spectral engine, of one evaluation from it, and of a whole REML fit."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from test_bench_likelihood import GENETIC, RESIDUAL, livestock

from bayesmv.likelihood.spectral.engine import SpectralLikelihood, build_table
from bayesmv.posterior.compiled import Density
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.reml import fit_reml

SIZES = [1000, 5000, 20_000, pytest.param(100_000, marks=pytest.mark.slow)]
sizes = pytest.mark.parametrize("n", SIZES)


@cache
def engine_of(n: int) -> SpectralLikelihood:
    return SpectralLikelihood(livestock(n, missing=0.0))


@sizes
def test_build_table(benchmark: Any, n: int) -> None:
    design = engine_of(n).design
    table = benchmark.pedantic(build_table, (design,), rounds=1 if n > 20_000 else 3)
    benchmark.extra_info["factorisations"] = table.factorisations
    benchmark.extra_info["error"] = table.error
    assert table.factorisations < 80


@sizes
def test_value_and_gradient(benchmark: Any, n: int) -> None:
    value, _ = benchmark(engine_of(n).value_and_gradient, [GENETIC, RESIDUAL])
    assert np.isfinite(value)


@sizes
def test_density(benchmark: Any, n: int) -> None:
    engine = engine_of(n)
    posterior = log_posterior(engine.design, engine=engine).planar()
    density = Density(posterior, np.full(6, -0.3), np.eye(6))
    value, _ = benchmark(density, np.zeros(6))
    assert np.isfinite(value)


@sizes
def test_fit_reml__after_the_table(benchmark: Any, n: int) -> None:
    engine = engine_of(n)
    assert benchmark.pedantic(fit_reml, (engine.design,), {"engine": engine}, rounds=3).converged
