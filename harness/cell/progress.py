"""One readable line a check instead of pytest's dots, and a record of each on disk."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from harness.cell.session import CellSession
from harness.cell.titles import sentence, topic
from harness.results.model import Check, CheckStatus
from harness.terminal import format_seconds

_MARKS: dict[CheckStatus, str] = {"passed": "✓", "failed": "✗", "error": "✗", "skipped": "○"}
_COLOURS: dict[CheckStatus, str] = {"passed": "green", "failed": "red", "error": "red", "skipped": "yellow"}

LONGEST_LINE = 300
"""Characters of each line of a short reason; the details keep the whole."""


@dataclass
class _Running:
    """What is known of the check that runs now."""

    id: str
    file: str
    title: str
    status: CheckStatus = "passed"
    seconds: float = 0.0
    message: str = ""
    details: list[str] = field(default_factory=list)

    def as_check(self) -> Check:
        details = "\n".join(self.details)
        return Check(self.id, self.file, self.title, self.status, self.seconds, self.message, details)


class ProgressReporter:
    """A pytest plugin object; registered only when a cell is run."""

    def __init__(self, config: pytest.Config, session: CellSession) -> None:
        self._config = config
        self._session = session
        self._running: _Running | None = None
        self._quiet_dots = config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES) <= 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> object:
        """Count as pytest does, print nothing: the line comes when the check is over."""
        if not self._quiet_dots or (report.passed and report.when != "call"):
            return None
        if hasattr(report, "wasxfail"):
            return ("xfailed", "", "XFAIL") if report.skipped else None
        if report.failed:
            # No letter, but the word that pytest's own summary at the end begins its lines with.
            return ("failed", "", "FAILED") if report.when == "call" else ("error", "", "ERROR")
        return ("skipped", "", "SKIPPED") if report.skipped else ("passed", "", "PASSED")

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """A check begins."""
        file = nodeid.partition("::")[0]
        name = nodeid.partition("::")[2].rpartition("::")[2] if "[" not in nodeid else _name_of(nodeid)
        self._running = _Running(nodeid, file, sentence(name or location[2]))
        self._session.log.started(nodeid, f"{topic(file)}: {self._running.title}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of the check is over."""
        running = self._running
        if running is None or report.nodeid != running.id:
            return
        running.seconds += report.duration
        if report.failed:
            self._session.failures += 1
            worst_so_far = running.status in ("failed", "error")
            if not worst_so_far:
                running.status = "failed" if report.when == "call" else "error"
                running.message = _failure_message(report)
            running.details += [report.longreprtext, *_captured(report)]
        elif report.skipped and running.status == "passed":
            running.status = "skipped"
            running.message = _skip_reason(report)

    def pytest_runtest_logfinish(self) -> None:
        """The check is over: record it, print its line."""
        if self._running is None:
            return
        check, self._running = self._running.as_check(), None
        self._session.log.ended(check)
        skipped_by_latch = check.status == "skipped" and self._session.boot_failure
        if self._quiet_dots and not skipped_by_latch:  # a hundred times the same reason helps nobody
            self.print_check(check)

    def print_check(self, check: Check) -> None:
        """Print the line of a check, with the reason where it didn't pass."""
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None:
            return
        reporter.ensure_newline()
        colour = {_COLOURS[check.status]: True}
        reporter.write(f"  {_MARKS[check.status]} ", **colour)
        reporter.write(f"{topic(check.file)}: {check.title}")
        reporter.write(f"  {format_seconds(check.seconds)}\n", light=True)
        if check.message:
            reporter.write_line(f"      {check.message.splitlines()[0]}", **colour)


def _name_of(nodeid: str) -> str:
    """The function with its parameters, which may contain `::` themselves."""
    before, bracket, parameters = nodeid.partition("[")
    return before.rpartition("::")[2] + bracket + parameters


def _failure_message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message) if crash is not None else report.longreprtext
    lines = [line for line in text.strip().splitlines() if line.strip()]
    shown = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..." for line in lines[:5]]
    return "\n".join(shown).removeprefix("Failed: ")


def _captured(report: pytest.TestReport) -> list[str]:
    return [f"--- {title} ---\n{content}" for title, content in report.sections if content.strip()]


def _skip_reason(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}"
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return report.longreprtext
