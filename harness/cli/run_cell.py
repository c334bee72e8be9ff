"""One cell: a pytest process that boots the machine and runs the suites; its records become a Cell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import terminal
from harness.cell.leaks import CHECK_ID as OWN_CHECK
from harness.cell.options import cell_name
from harness.cell.record import (
    CellFacts,
    RecordedTests,
    accelerator_before_boot,
    read_cell,
    read_tests,
)
from harness.cell.session import KEPT_FILE
from harness.cli.child import Child, descendants, end_leftovers
from harness.locations import REPOSITORY
from harness.results.folder import files_of
from harness.results.model import Cell, Check, Counts
from harness.results.verdict import count, judge_cell

LONGEST_CHECK_S = 900
"""Seconds after which a single check, the boot included, is ended as hung."""


@dataclass(frozen=True)
class CellPlan:
    """What a cell is to be run with. `required` is how many checks must be executed for a PASS."""

    profile: str
    tls_mode: str
    machine: str
    accelerator: str
    image: Path
    suites: tuple[Path, ...]
    selection: str
    keep: str
    run_folder: Path
    required: int
    rerun: str

    @property
    def name(self) -> str:
        """The cell's name."""
        return cell_name(self.profile, self.tls_mode)

    @property
    def evidence(self) -> Path:
        """The folder of the cell's records and logs."""
        return self.run_folder / "cells" / self.name


def run_cell(plan: CellPlan) -> Cell:
    """Run the cell to its end and read what it left. An interruption (Ctrl-C, SIGTERM) ends the process with
    its machine and gives an interrupted cell; nothing of the cell is left running."""
    plan.evidence.mkdir(parents=True, exist_ok=True)
    # Beside the evidence while it is written: the cell masks secrets in its evidence by replacing files.
    growing_log = plan.evidence.with_suffix(".log")
    before = descendants()
    with growing_log.open("w", encoding="utf-8") as log, terminal.step(f"Cell {plan.name}") as step:

        def on_line(line: str) -> None:
            log.write(line + "\n")
            log.flush()
            terminal.relay(line)

        child = Child(pytest_command(plan), env=pytest_env(), cwd=REPOSITORY, on_line=on_line)
        status, interrupted = _watch(child, plan, step)
        left = end_leftovers(before)
        if left:
            step.note(f"ended what the cell left running: {', '.join(left)}")
        log.close()
        growing_log.replace(plan.evidence / "pytest.log")
        cell = read_finished_cell(plan, status, interrupted=interrupted)
        if cell.verdict != "PASS":
            step.failed(f"{cell.verdict}: {cell.reason}")
    return cell


def _watch(child: Child, plan: CellPlan, step: terminal.Step) -> tuple[int, bool]:
    try:
        while (status := child.wait(1.0)) is None:
            recorded = read_tests(plan.evidence)
            if recorded.running_title:
                step.waiting_for(f"check {len(recorded.checks) + 1}, {recorded.running_title}")
            else:
                step.waiting_for("")
    except KeyboardInterrupt:
        # While it only keeps a failed machine up, the cell is over and Ctrl-C is how one leaves.
        kept = (plan.evidence / KEPT_FILE).exists()
        step.waiting_for("the cell to close its machine")
        if not kept:
            terminal.say("interrupted: closing the machine and saving what is there")
        return child.end(), not kept
    return status, False


def pytest_command(plan: CellPlan) -> list[str]:
    """The command line of the cell's pytest."""
    selected = shlex.split(plan.selection) if _names_files(plan.selection) else []
    expression = ["-k", plan.selection] if plan.selection and not selected else []
    return [
        sys.executable, "-m", "pytest",
        *(selected or [str(suite) for suite in plan.suites]), *expression,
        "-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(REPOSITORY),
        "-p", "harness.cell.plugin", "-p", "no:cacheprovider",
        "--no-header", "--tb=short", f"--color={'yes' if terminal.is_interactive() else 'no'}",
        "-o", f"timeout={LONGEST_CHECK_S}",
        "--cell", f"{plan.profile}:{plan.tls_mode}", "--image", str(plan.image),
        "--machine", plan.machine, "--accelerator", plan.accelerator,
        "--evidence", str(plan.evidence), "--keep", plan.keep,
    ]  # fmt: skip


def _names_files(selection: str) -> bool:
    """True for node ids and paths (`suites/conformance/test_auth.py::test_x`), False for a -k expression."""
    return ".py" in selection or "::" in selection


def pytest_env(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the cell's pytest: ours, with the terminal's width and nothing held back."""
    width = shutil.get_terminal_size((110, 24)).columns
    base = dict(os.environ if environment is None else environment)
    # Options meant for another pytest must not change what this one runs.
    base.pop("PYTEST_ADDOPTS", None)
    return base | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": str(width)}


def read_finished_cell(plan: CellPlan, status: int, *, interrupted: bool) -> Cell:
    """The cell from the records it left and the exit status of its pytest (negative: killed by a signal)."""
    facts = read_cell(plan.evidence) or CellFacts(
        plan.profile,
        plan.tls_mode,
        plan.machine,
        accelerator_before_boot(plan.machine, plan.accelerator),
    )
    recorded = read_tests(plan.evidence)
    fault = facts.fault or ("" if interrupted else _fault_of(status, plan.evidence, recorded))
    checks = _with_running(recorded, "interrupted" if interrupted else fault)
    counts = count(checks)
    judgement = judge_cell(
        counts,
        facts.metrics,
        required=plan.required,
        fault=fault,
        errors_by_fault=_errors_by_fault(facts, counts),
        boot_failure=facts.boot_failure,
        own_checks=sum(check.id == OWN_CHECK for check in checks),
        interrupted=interrupted,
    )
    return Cell(
        name=plan.name,
        profile=plan.profile,
        tls_mode=plan.tls_mode,
        machine=plan.machine,
        accelerator=facts.accelerator,
        verdict=judgement.verdict,
        reason=judgement.reason,
        fault=fault,
        interrupted=interrupted,
        tests=counts,
        timings=facts.timings,
        metrics=facts.metrics,
        checks=checks,
        guest=dict(facts.guest),
        rerun=plan.rerun,
        evidence=plan.evidence.relative_to(plan.run_folder).as_posix(),
        files=files_of(plan.evidence, plan.run_folder),
    )


def _errors_by_fault(facts: CellFacts, counts: Counts) -> int:
    """A boot that failed through the host's fault shows up as one error of the check that asked for it."""
    return min(1, counts.errors) if facts.fault and facts.boot_failure else 0


def _fault_of(status: int, evidence: Path, recorded: RecordedTests) -> str:
    if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        return ""
    if status < 0:
        during = f" during: {recorded.running_title}" if recorded.running_title else ""
        return f"the test process was killed by signal {-status}{during}"
    what = {
        int(
            pytest.ExitCode.INTERRUPTED
        ): "the checks could not be collected, or the test process was interrupted",
        int(pytest.ExitCode.INTERNAL_ERROR): "the test process failed inside",
        int(pytest.ExitCode.USAGE_ERROR): "the test process refused its options",
    }.get(status, f"the test process ended with status {status}")
    last = _telling_line(evidence / "pytest.log")
    return f"{what}: {last}" if last else what


def _telling_line(log: Path) -> str:
    """The first line of a log that begins with ERROR or E, else its last line."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    telling = [line for line in lines if line.startswith(("ERROR:", "E  ", "INTERNALERROR> "))]
    chosen = telling or [line for line in lines if line]
    return (
        chosen[-1 if not telling else 0].removeprefix("ERROR:").removeprefix("E  ").strip() if chosen else ""
    )


def _with_running(recorded: RecordedTests, why: str) -> tuple[Check, ...]:
    """All checks, the one that was running at the end as skipped: it came to no result."""
    if not recorded.running_id:
        return recorded.checks
    title = recorded.running_title.partition(": ")[2]
    unfinished = Check(
        id=recorded.running_id,
        file=recorded.running_id.partition("::")[0],
        title=title,
        status="skipped",
        seconds=0.0,
        message=f"not finished: {why or 'the test process ended'}",
    )
    return (*recorded.checks, unfinished)
