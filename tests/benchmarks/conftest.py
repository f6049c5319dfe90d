"""The table that ``make bench`` prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers
import pytest
from answers import Answer, Problem, Row, cpu_seconds, pedigree, table, trial

import bayesmv as bmv

ROWS = pytest.StashKey[list[Row]]()
SKIPPED = pytest.StashKey[dict[str, str]]()


#: Most levels of a case that the tests run once, to see that it works; the others are left to `make bench-parts`.
LARGEST = 10_000


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out large cases where nothing is timed."""
    if config.getoption("benchmark_enable"):
        return
    here = Path(__file__).parent
    large = [item for item in items if here in item.path.parents and size(item) > LARGEST]
    config.hook.pytest_deselected(items=large)
    items[:] = [item for item in items if item not in large]


def size(item: pytest.Item) -> int:
    """Size that a case is given as ``n``; 0 if none."""
    given = getattr(item, "callspec", None)
    return 0 if given is None else max((v for v in given.params.values() if isinstance(v, int)), default=0)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS], config.stash[SKIPPED] = [], {}


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Take down our answer to a case, and the answers of ``{package: words of its script}`` to the same problem."""
    config = request.config

    def take(case: str, ours: Answer, problem: Problem | None = None, **others: tuple[object, ...]) -> None:
        found = {}
        for package, words in others.items():
            reason = peers.missing(package)
            if reason is not None:
                config.stash[SKIPPED][package] = reason
            elif problem is not None:
                found[package.partition("_")[0]] = peers.run(package, problem, *words)
        config.stash[ROWS].append(Row(case=case, ours=ours, peers=found))

    return take


@pytest.fixture(scope="session")
def compiled(request: pytest.FixtureRequest) -> None:
    """Load, or compile, what all engines need, so that no case pays for it."""
    if not request.config.getoption("benchmark_enable"):
        pytest.skip("run by make bench")
    for problem in (trial(), trial("canty"), pedigree(2000)):
        bmv.sample(problem.design(), draws=10, tune=10, seed=1)


@pytest.fixture
def cpu(compiled: None, benchmark: Any) -> Callable[..., tuple[float, object]]:
    """Call once; return CPU seconds, threads and child processes included, and the value."""

    def timed(call: Callable[[], object]) -> tuple[float, object]:
        begin = cpu_seconds()
        value = benchmark.pedantic(call, rounds=1)
        return cpu_seconds() - begin, value

    return timed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[ROWS]:
        terminalreporter.write_line("\n" + table(config.stash[ROWS]))
    for package, reason in config.stash[SKIPPED].items():
        terminalreporter.write_line(f"{package}: skipped, {reason}")
