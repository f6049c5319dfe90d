"""Time to the answer, in CPU seconds: whole commands, posteriors, REML; beside other programs where R has them.

Only ``make bench`` runs this; it prints the table. BENCH_LARGE=1 adds 100,000 animals.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import Answer, Problem, bluetit, cpu_seconds, pedigree, trial, worst

import bayesmv as bmv

pytestmark = pytest.mark.benchmark(timer=cpu_seconds)

ROOT = Path(__file__).resolve().parents[2]
LARGE = pytest.mark.skipif("BENCH_LARGE" not in os.environ, reason="set BENCH_LARGE=1 for 100,000 animals")
BLUETIT = pytest.mark.published("bluetit")
COMPARE = ["-c", "from bayesmv.cli.commands import main; main()", "compare", "models/canty_us.toml", "--json"]


@pytest.mark.parametrize("state", ["first run after install", "warm caches"])
def test_compare(cpu: Callable, report: Callable, tmp_path_factory: Any, state: str) -> None:
    """The whole process. The first run finds no compiled code."""
    caches = tmp_path_factory.mktemp("numba")
    environment = os.environ | ({"NUMBA_CACHE_DIR": str(caches)} if state != "warm caches" else {})

    def command() -> str:
        done = subprocess.run(
            [sys.executable, *COMPARE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    seconds, printed = cpu(command)
    answer = json.loads(printed)
    rows = [row for row in answer["comparison"] if row["parameter"] != "correlation"]
    assert answer["converged"]
    report(
        f"`bayesmv compare models/canty_us.toml`, {state}", Answer(cpu=seconds, ess=min(r["ess_bulk"] for r in rows))
    )


@pytest.mark.parametrize(
    ("case", "make", "draws", "iterations"),
    [("`canty_complete`", trial, 1000, 15_000), pytest.param("`bluetit`", bluetit, 300, 10_000, marks=BLUETIT)],
)
def test_sample(cpu: Callable, report: Callable, case: str, make: Callable, draws: int, iterations: int) -> None:
    """Sampling alone, tuning included, after REML."""
    problem = make()
    fit = bmv.fit_reml(problem.design())
    seconds, trace = cpu(lambda: bmv.sample(fit.design, reml=fit, engine=fit.engine, draws=draws, seed=1, min_ess=1000))
    report(f"{case}, sampling", Answer(cpu=seconds, ess=worst(trace)), problem, MCMCglmm=(iterations,))


@pytest.mark.parametrize(
    ("n", "iterations"), [(1000, 2000), (5000, 2000), (20_000, 0), pytest.param(100_000, 0, marks=LARGE)]
)
def test_posterior__complete(cpu: Callable, report: Callable, n: int, iterations: int) -> None:
    """Everything: relationships, table, REML and sampling."""
    problem = pedigree(n)
    seconds, trace = cpu(lambda: bmv.sample(problem.design(), seed=1))
    others = {"MCMCglmm": (iterations,)} if iterations else {}
    report(f"{n:,} animals, all in all", Answer(cpu=seconds, ess=worst(trace)), problem, **others)


@pytest.mark.parametrize(("n", "iterations"), [(5000, 2000), pytest.param(20_000, 0, marks=LARGE)])
def test_posterior__incomplete(cpu: Callable, report: Callable, n: int, iterations: int) -> None:
    """The sparse engine; everything, by weighted points."""
    problem = pedigree(n, missing=0.2)
    seconds, trace = cpu(lambda: bmv.sample(problem.design(), seed=1))
    others = {"MCMCglmm": (iterations,)} if iterations else {}
    case = f"{n:,} animals, 20 % of a trait missing, all in all"
    report(case, Answer(cpu=seconds, ess=worst(trace)), problem, **others)


def test_posterior__incomplete_by_nuts(cpu: Callable, report: Callable) -> None:
    """The same by NUTS; as few draws as converge, for what counts is their rate."""
    problem = pedigree(5000, missing=0.2)
    words = {"draws": 300, "tune": 100, "chains": 2, "seed": 1}
    seconds, trace = cpu(lambda: bmv.sample(problem.design(), **words))
    report("5,000 animals, 20 % of a trait missing, NUTS, 600 draws", Answer(cpu=seconds, ess=worst(trace)))


@pytest.mark.parametrize(
    ("case", "make", "others"),
    [
        ("`canty_complete`", trial, {"lme4": (), "sommer": ()}),
        pytest.param("`bluetit`", bluetit, {"sommer": ()}, marks=BLUETIT),
        ("1,000 animals", lambda: pedigree(1000), {"sommer": ()}),
        ("5,000 animals", lambda: pedigree(5000), {}),
        ("20,000 animals", lambda: pedigree(20_000), {}),
        pytest.param("100,000 animals", lambda: pedigree(100_000), {}, marks=LARGE),
        ("5,000 animals, 20 % of a trait missing", lambda: pedigree(5000, 0.2), {}),
    ],
)
def test_reml(
    cpu: Callable, report: Callable, case: str, make: Callable[[], Problem], others: dict[str, tuple]
) -> None:
    """REML with standard errors, relationships and table included."""
    problem = make()
    seconds, fit = cpu(lambda: _with_errors(problem))
    assert fit.converged
    report(f"{case}, REML", Answer(cpu=seconds), problem, **others)


def _with_errors(problem: Problem) -> bmv.RemlFit:
    fit = bmv.fit_reml(problem.design())
    assert len(fit.varcomp)
    return fit
