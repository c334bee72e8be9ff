"""Several cells of one run: at the same time, each with its own outcome, ended together."""

from __future__ import annotations

import re
import shlex
import signal
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from workshop import Run, Workshop, processes_with, wait_for_line

from harness.cell.leaks import CHECK_ID as OWN_CHECK
from harness.cli.run_cell import CellPlan
from harness.cli.run_cells import cell_without_process
from harness.cli.test_image import selected_nothing
from harness.results.model import Check, read_results

TWO = ("--profiles", "ci minimum", "--jobs", "2")

MEETING_SUITE = """
import time

def wait_for(path):
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} never came"
        time.sleep(0.05)

def test_they_meet(machine, cell):
    cells = cell.evidence.parent
    (cells / f"{cell.profile}-is-here").touch()
    wait_for(cells / "ci-is-here")
    wait_for(cells / "minimum-is-here")

def test_the_others_end_does_not_end_this_ones_machine(machine, cell):
    if cell.profile == "minimum":
        wait_for(cell.evidence.parent / "ci-selfsigned" / "pytest.log")
    assert machine._process.poll() is None
"""

ONE_DIES_SUITE = """
import os, signal

def test_it_lives(machine, cell):
    if cell.profile == "ci":
        os.kill(os.getpid(), signal.SIGKILL)

def test_it_is_right(machine, cell):
    assert cell.profile == "ci"
"""

SECOND_SLEEPS_SUITE = """
import time

def test_begins(machine): pass

def test_sleeps(machine, cell):
    while cell.profile == "minimum": time.sleep(1)
"""

SLEEPING_SUITE = """
import time

def test_begins(machine): pass

def test_sleeps(machine):
    while True: time.sleep(1)
"""


CELL_PLAN = CellPlan(
    name="ci-selfsigned",
    profile="ci",
    tls_mode="selfsigned",
    machine="nspawn",
    accelerator="auto",
    image=Path("/image.qcow2"),
    targets=(),
    minimums={},
    keep="never",
    run_folder=Path("/reports/run"),
    rerun="make test-image",
)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose two cells can pass only while both run."""
    return Workshop(tmp_path_factory.mktemp("met")).run(MEETING_SUITE, *TWO)


def test_cells_run_at_the_same_time_and_leave_each_other_alone(met: Run) -> None:
    assert met.exit_status == 0, met.output
    assert [(cell.name, cell.verdict) for cell in met.results.cells] == [
        ("ci-selfsigned", "PASS"),
        ("minimum-selfsigned", "PASS"),
    ]


def test_each_line_says_which_cell_it_is_from(met: Run) -> None:
    for name in ("ci-selfsigned     ", "minimum-selfsigned"):
        assert re.search(rf"^{name} │   ✓ auth: they meet  \d", met.output, re.MULTILINE), met.output
    assert re.search(r"^✓ Cell minimum-selfsigned \(\d", met.output, re.MULTILINE)
    assert "2 cells: ci-selfsigned, minimum-selfsigned" in met.output


@pytest.fixture(scope="module")
def one_died(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workshop, Run]:
    """A run in which the test process of one cell is killed, and a check of the other one fails."""
    workshop = Workshop(tmp_path_factory.mktemp("died"))
    return workshop, workshop.run(ONE_DIES_SUITE, *TWO)


def test_a_cells_fault_stops_no_other_and_each_is_told(one_died: tuple[Workshop, Run]) -> None:
    _, run = one_died
    died, failed = run.results.cells
    assert died.fault == "the test process was killed by signal 9 during: auth: it lives"
    assert (failed.name, failed.verdict, failed.tests.passed) == ("minimum-selfsigned", "FAIL", 2)
    assert (run.exit_status, run.results.verdict) == (1, "FAIL")  # a failed check beats the other's fault
    assert "minimum-selfsigned" in run.results.reason
    assert "✗ minimum-selfsigned: auth: it is right" in run.output


def test_the_command_a_failed_cell_gives_runs_that_cell_alone(one_died: tuple[Workshop, Run]) -> None:
    workshop, run = one_died
    command = run.results.cells[1].rerun
    assert command in run.output
    given = dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)
    assert given["CELLS"] == "minimum-selfsigned"
    assert "JOBS" not in given
    again = workshop.run(ONE_DIES_SUITE, "--profiles", given["PROFILES"], "--cells", given["CELLS"])
    assert [(cell.name, cell.verdict) for cell in again.results.cells] == [("minimum-selfsigned", "FAIL")]
    assert again.results.cells[0].rerun == command


def test_an_interruption_ends_all_cells_and_keeps_what_they_have(workshop: Workshop) -> None:
    mark = uuid.uuid4().hex
    process = workshop.start(SLEEPING_SUITE, *TWO, mark=mark)
    for cell in ("ci-selfsigned", "minimum-selfsigned"):
        wait_for_line(workshop, "sleeps", cell=cell)
    assert len(processes_with(mark)) == 2
    process.send_signal(signal.SIGINT)
    run = workshop.finish(process)
    assert run.exit_status == 130, run.output
    assert processes_with(mark) == []
    assert "interrupted: closing 2 machines and saving what is there" in run.output
    for cell in run.results.cells:
        assert cell.interrupted
        assert cell.checks[-1].message == "not finished: interrupted"
        assert f"{cell.evidence}/console.log" in cell.files


def test_results_are_on_disk_after_each_cell_and_tell_of_an_interruption(workshop: Workshop) -> None:
    process = workshop.start(SECOND_SLEEPS_SUITE, "--profiles", "ci minimum recommended", "--jobs", "1")
    wait_for_line(workshop, "sleeps", cell="minimum-selfsigned")
    so_far = read_results(workshop.folder / "reports" / "latest" / "results.json")
    assert [(cell.name, cell.verdict) for cell in so_far.cells] == [("ci-selfsigned", "PASS")]
    assert so_far.interrupted  # as it would be if nothing came after
    process.send_signal(signal.SIGINT)
    run = workshop.finish(process)
    assert run.exit_status == 130
    # The third never began: it stands nowhere, and the run is no PASS.
    assert [cell.verdict for cell in run.results.cells] == ["PASS", "INCONCLUSIVE"]
    assert run.results.interrupted


def test_an_interruption_ends_a_kept_machine_and_not_the_other_cells(workshop: Workshop) -> None:
    suite = SECOND_SLEEPS_SUITE.replace('== "minimum": time.sleep(1)', '== "ci": assert False') + (
        "    go, until = cell.evidence.parent / 'go', time.monotonic() + 60\n"
        "    while not go.exists() and time.monotonic() < until: time.sleep(0.05)\n"
    )
    process = workshop.start(suite, *TWO, "--keep", "on-error")
    reports = workshop.folder / "reports"
    until = time.monotonic() + 30
    while not list(reports.glob("*/cells/ci-selfsigned/kept")) and time.monotonic() < until:
        time.sleep(0.05)
    wait_for_line(workshop, "sleeps", cell="minimum-selfsigned")
    process.send_signal(signal.SIGINT)
    while not list(reports.glob("*/cells/ci-selfsigned/pytest.log")) and time.monotonic() < until:
        time.sleep(0.05)
    (cells,) = reports.glob("*/cells")
    (cells / "go").touch()
    run = workshop.finish(process)
    assert run.exit_status == 1, run.output
    assert [(cell.verdict, cell.interrupted) for cell in run.results.cells] == [
        ("FAIL", False),
        ("PASS", False),
    ]


def test_a_cell_without_a_selected_check_says_nothing_about_the_appliance() -> None:
    own = Check(OWN_CHECK, "harness", "own", "passed", 0.0)
    other = Check("test_x.py::x", "test_x.py", "x", "skipped", 0.0)
    empty = cell_without_process(CELL_PLAN, fault="")
    assert selected_nothing(replace(empty, checks=(own,)))
    assert not selected_nothing(replace(empty, checks=(other, own)))
    assert not selected_nothing(replace(empty, fault="no disk"))
    assert not selected_nothing(replace(empty, interrupted=True))
