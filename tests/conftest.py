"""In CI every test counts: one that is skipped, expected to fail or deselected is a failure there."""

import os
from collections.abc import Generator, Sequence

import pytest
import structlog

CI = os.environ.get("CI", "").lower() in {"1", "true"}


@pytest.fixture(autouse=True)
def log_as_before() -> Generator[None, None, None]:
    """How a test has the log written is nothing to the next one."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Outermost, so that it sees what pytest made of skip and xfail."""
    report = yield
    if CI and (report.skipped or hasattr(report, "wasxfail")):
        reason = getattr(report, "wasxfail", None) or _reason(report)
        if hasattr(report, "wasxfail"):
            del report.wasxfail
        report.outcome = "failed"
        report.longrepr = f"CI runs every test; {report.nodeid} did not count: {reason}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module (importorskip, allow_module_level)."""
    report = yield
    if CI and report.skipped:
        reason = _reason(report)
        report.outcome = "failed"
        report.longrepr = f"CI runs every test; {report.nodeid} was left out: {reason}"
    return report


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """-k, -m and --deselect have no place in CI."""
    if CI:
        raise pytest.UsageError(f"CI runs every test; {len(items)} were deselected, first {items[0].nodeid}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
