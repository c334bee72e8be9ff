"""From counts to a verdict and an exit code: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.results.model import Cell, Check, Counts, Metric, Verdict

EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_INFRASTRUCTURE = 2
EXIT_INCONCLUSIVE = 3
EXIT_INTERRUPTED = 130

MINIMUM_CHECKS: Mapping[str, int] = {"conformance": 120}
"""Executed checks a whole suite must reach: fewer means something was skipped or not collected, and a green
run would claim more than it saw."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and the sentence that says why."""

    verdict: Verdict
    reason: str


def count(checks: Iterable[Check]) -> Counts:
    """How many checks ended how."""
    tally = {"passed": 0, "failed": 0, "skipped": 0, "error": 0}
    for check in checks:
        tally[check.status] += 1
    return Counts(tally["passed"], tally["failed"], tally["skipped"], tally["error"])


def required_checks(suites: Sequence[str], selection: str, minimum: int | None = None) -> int:
    """Checks a cell must execute. A selection (TESTS=...) asks for no minimum beyond one."""
    if selection:
        return 1
    if minimum is not None:
        return max(1, minimum)
    return max([1, *(MINIMUM_CHECKS.get(suite, 1) for suite in suites)])


def judge_cell(
    counts: Counts,
    metrics: Iterable[Metric],
    *,
    required: int,
    fault: str = "",
    errors_by_fault: int = 0,
    boot_failure: str = "",
    own_checks: int = 0,
    interrupted: bool = False,
) -> Judgement:
    """The verdict of a cell. `fault` is what broke of the infrastructure, "" when nothing did;
    `errors_by_fault` is how many of the errors are nothing but that fault. `own_checks` are those of the
    executed checks that the harness makes of itself: they say nothing about the appliance. `boot_failure` is
    why the machine never got ready.

    A failed check stands whatever else happened; a fault, an interruption or too few checks leave the cell
    without a verdict, never with a PASS.
    """
    broken = counts.failed + counts.errors - errors_by_fault
    judged = counts.executed - own_checks
    missed = [metric.name for metric in metrics if metric.verdict == "FAIL"]
    if boot_failure and broken:
        return Judgement("FAIL", f"the machine did not get ready: {boot_failure}")
    if broken:
        return Judgement("FAIL", f"{broken} of {counts.executed} executed checks failed")
    if missed:
        return Judgement("FAIL", f"targets missed: {', '.join(missed)}")
    if fault:
        return Judgement("INCONCLUSIVE", fault)
    if interrupted:
        return Judgement("INCONCLUSIVE", f"interrupted; {judged} checks had been executed")
    if judged <= 0:
        return Judgement("INCONCLUSIVE", "no check was executed")
    if judged < required:
        return Judgement("INCONCLUSIVE", f"only {judged} checks were executed, at least {required} must be")
    return Judgement("PASS", f"all {counts.executed} executed checks passed")


def judge_run(cells: Sequence[Cell], *, fault: str = "", interrupted: bool = False) -> Judgement:
    """The verdict of a run: FAIL when any cell failed, PASS when every cell passed, else INCONCLUSIVE."""
    failed = [cell.name for cell in cells if cell.verdict == "FAIL"]
    open_cells = [cell for cell in cells if cell.verdict == "INCONCLUSIVE"]
    if failed:
        return Judgement("FAIL", _named(failed, cells, "failed"))
    if interrupted:
        return Judgement("INCONCLUSIVE", "the run was interrupted")
    if fault:
        return Judgement("INCONCLUSIVE", fault)
    if not cells:
        return Judgement("INCONCLUSIVE", "no cell was run")
    if open_cells:
        return Judgement("INCONCLUSIVE", f"{open_cells[0].name}: {open_cells[0].reason}")
    executed = sum(cell.tests.executed for cell in cells)
    return Judgement("PASS", f"all {executed} executed checks passed")


def _named(names: Sequence[str], cells: Sequence[Cell], what: str) -> str:
    if len(cells) == 1:
        return cells[0].reason
    return f"{len(names)} of {len(cells)} cells {what}: {', '.join(names)}"


def exit_code(verdict: Verdict, *, fault: bool, interrupted: bool) -> int:
    """The exit code of a run: 130 when it was interrupted, else 1 FAIL, 2 fault, 3 INCONCLUSIVE, 0 PASS."""
    if interrupted:
        return EXIT_INTERRUPTED
    if verdict == "FAIL":
        return EXIT_FAIL
    if fault:
        return EXIT_INFRASTRUCTURE
    return EXIT_PASS if verdict == "PASS" else EXIT_INCONCLUSIVE
