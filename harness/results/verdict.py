"""From counts to a verdict and an exit code: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.cell.leaks import CHECK_ID as OWN_CHECK
from harness.cell.left_out import left_out_sentence
from harness.results.model import Cell, Check, Counts, Metric, SuiteCounts, Verdict

EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_INFRASTRUCTURE = 2
EXIT_INCONCLUSIVE = 3
EXIT_INTERRUPTED = 130


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


def count_suites(checks: Sequence[Check], required: Mapping[str, int]) -> tuple[SuiteCounts, ...]:
    """What became of each suite of a cell. `required`: checks each must execute, in the order of the suites;
    a suite of which a check ran without being required comes after them, one of which none is wanted and
    none ran is left out."""
    by_suite: dict[str, list[Check]] = {name: [] for name in required}
    for check in checks:
        if check.id != OWN_CHECK:
            by_suite.setdefault(suite_of(check.file, required), []).append(check)
    return tuple(
        SuiteCounts(name, count(some), sum(check.seconds for check in some), required.get(name, 0))
        for name, some in by_suite.items()
        if some or required.get(name)
    )


def suite_of(file: str, suites: Iterable[str] = ()) -> str:
    """The suite of a check's file: its folder. pytest names no folder for a suite outside the checkout; such
    a suite is the last of `suites`, "" where there are none."""
    folders = file.split("/")[:-1] or ["", *suites]
    return folders[-1]


def judge_cell(
    counts: Counts,
    metrics: Iterable[Metric],
    *,
    required: int = 1,
    suites: Iterable[SuiteCounts] = (),
    fault: str = "",
    errors_by_fault: int = 0,
    boot_failure: str = "",
    own_checks: int = 0,
    interrupted: bool = False,
    left_out: str = "",
) -> Judgement:
    """The verdict of a cell, which must execute `required` checks, and each of its suites as many as it
    requires. `fault` is what broke of the infrastructure, "" when nothing did;
    `errors_by_fault` is how many of the errors are nothing but that fault. `own_checks` are those of the
    executed checks that the harness makes of itself: they say nothing about the appliance. `boot_failure` is
    why the machine never got ready. `left_out` is what a PASS doesn't speak of (left_out_sentence).

    A failed check stands whatever else happened; a fault, an interruption or too few checks leave the cell
    without a verdict, never with a PASS.
    """
    broken = counts.failed + counts.errors - errors_by_fault
    judged = counts.executed - own_checks
    metrics = tuple(metrics)
    missed = [metric.title for metric in metrics if metric.verdict == "FAIL"]
    # A metric without target says in its verdict that it was measured only: nothing is left open by it.
    undecided = [one.title for one in metrics if one.verdict == "INCONCLUSIVE" and one.target is not None]
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
    for suite in suites:
        if suite.tests.executed < suite.required:
            return Judgement(
                "INCONCLUSIVE",
                f"only {suite.tests.executed} checks of suite {suite.name} were executed, "
                f"at least {suite.required} must be",
            )
    if undecided:
        return Judgement("INCONCLUSIVE", f"targets undecided: {', '.join(undecided)}")
    return Judgement("PASS", _all_passed(counts.executed, left_out))


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
    left_out = left_out_sentence([check for cell in cells for check in cell.checks])
    return Judgement("PASS", _all_passed(executed, left_out))


def _all_passed(executed: int, left_out: str) -> str:
    passed = f"all {executed} executed checks passed"
    return f"{passed}; {left_out}" if left_out else passed


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
