"""Settings of all tests, and the published answers that a run has checked."""

import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings
from published import absent

# Timings on a busy machine say nothing, and a suite that gates a build must not change from run to run.
settings.register_profile("bayesmv", deadline=None, derandomize=True)
settings.load_profile("bayesmv")


# Tests interrupt runs; a shell that starts the suite in the background has this signal ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def published_sets(item: pytest.Item) -> list[str]:
    """Published sets that a test needs."""
    return list(dict.fromkeys(name for mark in item.iter_markers("published") for name in mark.args))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the sets into the reports of a test, which also come back from other processes."""
    for item in items:
        item.user_properties += [("published", name) for name in published_sets(item)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    reasons = [reason for name in published_sets(item) if (reason := absent(name))]
    if reasons:
        pytest.skip(reasons[0])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say last which published answers were checked, and which could not be."""
    yield
    passed, failed, skipped = (
        Counter(name for report in terminalreporter.stats.get(outcome, ()) for name in sets_of(report))
        for outcome in ("passed", "failed", "skipped")
    )
    checked = sorted(passed | failed)
    if checked:
        wrong = {name: f", {failed[name]} failed" if failed[name] else "" for name in checked}
        counts = ", ".join(f"{name} ({passed[name]} passed{wrong[name]})" for name in checked)
        terminalreporter.write_line(f"published answers checked: {counts}")
    missing = sorted(name for name in skipped if absent(name))
    if missing:
        terminalreporter.write_line(f"published answers absent: {', '.join(missing)}")


def sets_of(report: pytest.TestReport) -> list[str]:
    """Published sets that a finished test needed."""
    return [value for key, value in getattr(report, "user_properties", ()) if key == "published"]
