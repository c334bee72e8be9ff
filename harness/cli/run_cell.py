"""One cell: a pytest process that boots the machine and runs the suites; its records become a Cell."""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import terminal
from harness.cell.leaks import CHECK_ID as OWN_CHECK
from harness.cell.left_out import left_out_sentence
from harness.cell.record import (
    CellFacts,
    RecordedTests,
    accelerator_before_boot,
    read_cell,
    read_tests,
)
from harness.cell.session import KEPT_FILE
from harness.cli.child import Child, end_processes, marked_descendants
from harness.handed_secret import handed_over
from harness.locations import REPOSITORY
from harness.results.folder import files_of
from harness.results.model import Cell, Check, Counts
from harness.results.verdict import count, count_suites, judge_cell

if TYPE_CHECKING:
    from harness.machine.endpoint import Endpoint

LONGEST_CHECK_S = 900
"""Seconds after which a single check, the boot included, is ended as hung."""

LOOK_EVERY_S = 1.0
"""Seconds between two looks at what a cell has recorded, for the live line."""

MARK_VARIABLE = "SLM_CELL_MARK"
"""In the environment of everything a cell starts: cells that run side by side must not end each other's."""


@dataclass(frozen=True)
class CellPlan:
    """What a cell is to be run with. `targets` are pytest's: folders, files, node ids; `expression` its -k.
    `minimums` says how many checks of each suite must be executed for a PASS, `required` how many in all.
    `prefix` stands before each line of its output. `seconds` is about how long it takes.
    `boots_alone`: nothing else begins while its machine boots. `endpoint` is what the machine `endpoint`
    reaches; it has no `image`."""

    name: str
    profile: str
    tls_mode: str
    machine: str
    accelerator: str
    image: Path
    targets: tuple[str, ...]
    minimums: Mapping[str, int]
    keep: str
    run_folder: Path
    rerun: str
    expression: str = ""
    vm_only: bool = False
    required: int = 1
    cores: float = 1
    ram_mib: int = 0
    seconds: int = 0
    boots_alone: bool = False
    prefix: str = ""
    endpoint: Endpoint | None = None

    @property
    def evidence(self) -> Path:
        """The folder of the cell's records and logs."""
        return self.run_folder / "cells" / self.name


class RunningCell:
    """A cell from its start to what it left. Not thread-safe; raises OSError when it can't be started."""

    def __init__(self, plan: CellPlan) -> None:
        self.plan = plan
        self._mark = uuid.uuid4().hex
        self._looked = 0.0
        self._finished: Cell | None = None
        plan.evidence.mkdir(parents=True, exist_ok=True)
        # Beside the evidence while it is written: the cell masks secrets in its evidence by replacing files.
        self._growing_log = plan.evidence.with_name(f"{plan.name}.log")
        with ExitStack() as stack:
            self._log = stack.enter_context(self._growing_log.open("w", encoding="utf-8"))
            self._step = stack.enter_context(terminal.step(f"Cell {plan.name}", beside=True))
            # Only until the child runs: nothing that is started later shall inherit the pipe.
            with handed_over(plan.endpoint.password) if plan.endpoint else nullcontext() as password:
                self.child = Child(
                    [*pytest_command(plan), *endpoint_options(plan.endpoint, password)],
                    env=pytest_env(width_taken=len(plan.prefix)) | {MARK_VARIABLE: self._mark},
                    cwd=REPOSITORY,
                    on_line=self._on_line,
                    pass_fds=() if password is None else (password,),
                )
            self._open = stack.pop_all()

    def _on_line(self, line: str) -> None:
        self._log.write(line + "\n")
        self._log.flush()
        terminal.relay(line, self.plan.prefix)

    def look(self, wait_s: float = 0.0) -> int | None:
        """The exit status, None while it runs; waits for it up to `wait_s`. Tells the live line what runs."""
        status = self.child.wait(wait_s)
        now = time.monotonic()
        if status is None and now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            recorded = read_tests(self.plan.evidence)
            running = recorded.running_title
            self._step.waiting_for(f"check {len(recorded.checks) + 1}, {running}" if running else "")
        return status

    @property
    def is_booting(self) -> bool:
        """True until its machine is ready or has failed to get ready."""
        facts = read_cell(self.plan.evidence)
        return facts is None or (facts.timings.ready_s is None and not facts.boot_failure)

    def closing(self) -> None:
        """It has been told to end: the live line says what it still does."""
        self._step.waiting_for("the cell to close its machine")

    @property
    def is_kept(self) -> bool:
        """True while it is over and only keeps its failed machine up."""
        return (self.plan.evidence / KEPT_FILE).exists()

    def finish(self, status: int, *, interrupted: bool) -> Cell:
        """End what it left running, and read what it found. Call it when the process has ended."""
        if self._finished is None:
            left = end_processes(marked_descendants(f"{MARK_VARIABLE}={self._mark}"))
            if left:
                self._step.note(f"ended what the cell left running: {', '.join(left)}")
            self._log.close()
            if self._growing_log.exists():
                self._growing_log.replace(self.plan.evidence / "pytest.log")
            cell = read_finished_cell(self.plan, status, interrupted=interrupted)
            if cell.verdict != "PASS":
                self._step.failed(f"{cell.verdict}: {cell.reason}")
            self._open.close()
            self._finished = cell
        return self._finished


def pytest_command(plan: CellPlan) -> list[str]:
    """The command line of the cell's pytest."""
    return [
        sys.executable, "-m", "pytest",
        *plan.targets,
        *(["-k", plan.expression] if plan.expression else []), *(["-m", "vm"] if plan.vm_only else []),
        "-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(REPOSITORY),
        "-p", "harness.cell.plugin", "-p", "pytest_timeout", "-p", "pytest_benchmark.plugin",
        "-p", "no:cacheprovider",
        "--no-header", "--tb=short", f"--color={'yes' if terminal.is_interactive() else 'no'}",
        "-o", f"timeout={LONGEST_CHECK_S}",
        "--cell", f"{plan.profile}:{plan.tls_mode}",
        *([] if plan.endpoint else ["--image", str(plan.image)]),
        "--machine", plan.machine, "--accelerator", plan.accelerator,
        "--evidence", str(plan.evidence), "--keep", plan.keep,
    ]  # fmt: skip


def endpoint_options(endpoint: Endpoint | None, password: int | None) -> list[str]:
    """What tells the cell's pytest where its endpoint is; the password comes by this descriptor."""
    if endpoint is None:
        return []
    # Known by whom it says the model is owned; of others every engine's known differences are pardoned.
    engine = [f"--expect-engine={endpoint.engine}:{endpoint.model}"] if endpoint.engine else []
    return [
        *engine, "--endpoint", endpoint.url, "--endpoint-trust", str(endpoint.trust),
        f"--endpoint-model={endpoint.model}", "--endpoint-password-fd", str(password),
    ]  # fmt: skip


def pytest_env(environment: Mapping[str, str] | None = None, *, width_taken: int = 0) -> dict[str, str]:
    """The environment of the cell's pytest: ours, with the terminal's width (less what is taken of it) and
    nothing held back."""
    width = max(40, shutil.get_terminal_size((110, 24)).columns - width_taken)
    base = dict(os.environ if environment is None else environment)
    # Options meant for another pytest must not change what this one runs.
    base.pop("PYTEST_ADDOPTS", None)
    return base | {
        # No plugin but those the command names: importing all that is installed takes a second.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": str(width),
    }


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
    suites = count_suites(checks, plan.minimums)
    judgement = judge_cell(
        counts,
        facts.metrics,
        required=plan.required,
        suites=suites,
        fault=fault,
        errors_by_fault=_errors_by_fault(facts, counts),
        boot_failure=facts.boot_failure,
        own_checks=sum(check.id == OWN_CHECK for check in checks),
        interrupted=interrupted,
        left_out="; ".join(filter(None, (left_out_sentence(checks), facts.left_out))),
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
        suites=suites,
        conditions=dict(facts.conditions),
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
