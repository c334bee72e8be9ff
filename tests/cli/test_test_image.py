"""`slm test-image` from end to end with a machine of cardboard: outcomes, exit codes, files, interruption."""

from __future__ import annotations

import os
import re
import signal
import time
import uuid
from pathlib import Path

import pytest
from fake_machine import PASSWORD
from workshop import Run, Workshop, processes_with, wait_for_line

MIXED_SUITE = """
import pytest

def test_the_report_has_a_password(report, record_metric):
    record_metric("decode", "tok/s", 12.5, n=3)
    assert report["connection"]["password"]

@pytest.mark.parametrize("route", ["POST /v1/chat", "GET /v1/a::b"])
def test_a_wrong_password_is_refused_on(machine, route):
    assert "GET" not in route, "200 instead of 401"

def test_leak(report):
    print("captured", report["connection"]["password"])
    raise ValueError("raised " + report["connection"]["password"])

def test_skipped(machine):
    pytest.skip("no node here")

@pytest.fixture
def broken(machine):
    yield
    raise RuntimeError("teardown broke")

def test_teardown(broken): pass
"""

GREEN_SUITE = """
def test_one(machine): pass
def test_two(machine): pass
def test_three_needs_no_machine(): pass
"""

SLEEPING_SUITE = """
import time
def test_first(machine): pass
def test_sleeps(machine):
    while True: time.sleep(1)
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which checks pass, fail, leak, are skipped and break in their tear-down."""
    return Workshop(tmp_path_factory.mktemp("mixed")).run(MIXED_SUITE)


def test_a_failed_check_is_exit_1_and_fail(mixed: Run) -> None:
    assert mixed.exit_status == 1
    assert mixed.results.verdict == "FAIL"
    counts = mixed.results.cells[0].tests
    assert (counts.passed, counts.failed, counts.errors, counts.skipped) == (3, 2, 1, 1)


def test_each_check_is_one_readable_line(mixed: Run) -> None:
    for line in (
        r"  ✓ auth: the report has a password  \d+\.\d s",
        r"  ✓ auth: a wrong password is refused on \[POST /v1/chat\]  \d+\.\d s",
        r"  ✗ auth: a wrong password is refused on \[GET /v1/a::b\]  \d+\.\d s\n      AssertionError: 200",
        r"  ○ auth: skipped  \d+\.\d s\n      no node here",
        r"  ✓ harness: nothing secret in any file the harness writes  \d+\.\d s",
    ):
        assert re.search(f"^{line}", mixed.output, re.MULTILINE), line
    assert "= FAILURES =" in mixed.output  # pytest's own sections stay
    assert "FAILED " in mixed.output


def test_no_secret_reaches_the_terminal_or_a_file(mixed: Run) -> None:
    assert "raised [redacted: admin password]" in mixed.output
    assert PASSWORD not in mixed.output
    written = [path for path in mixed.folder.resolve().rglob("*") if path.is_file()]
    assert {"results.json", "junit.xml", "report.html", "summary.md", "pytest.log", "tests.jsonl"} <= {
        path.name for path in written
    }
    for path in written:
        assert PASSWORD not in path.read_text(), path
    assert "captured [redacted: admin password]" in (mixed.folder / "junit.xml").read_text()


def test_results_carry_what_the_cell_found(mixed: Run) -> None:
    cell = mixed.results.cells[0]
    assert cell.guest == {"SLM_FLAVOR": "ci", "SLM_MODEL_NAME": "Small model"}
    assert (cell.timings.boot_s, cell.timings.ready_s, cell.timings.configure_s) == (1.5, 2.5, 0.5)
    assert cell.timings.suite_s is not None
    found = {one.name: (one.value, one.n) for one in cell.metrics}
    assert found.pop("boot_host_load")[0] >= 0
    assert found == {"decode": (12.5, 3)}
    assert cell.accelerator == "native"
    assert "cells/ci-selfsigned/console.log" in cell.files
    assert "cells/ci-selfsigned/pytest.log" in cell.files
    assert mixed.results.host.machine == "nspawn"
    skipped = next(check for check in cell.checks if check.status == "skipped")
    assert skipped.message == "no node here"


def test_failed_checks_come_with_a_command_to_run_them_again(mixed: Run) -> None:
    tail = mixed.output[mixed.output.index("ci-selfsigned  FAIL") :]
    assert "✗ ci-selfsigned: auth: a wrong password is refused on [GET /v1/a::b]" in tail
    assert re.search(r"make test-image .*TESTS='[^']*::test_a_wrong_password[^']*\[GET /v1/a::b\]'", tail)


def test_a_green_run_is_exit_0_and_leaves_no_process(workshop: Workshop) -> None:
    mark = uuid.uuid4().hex
    run = workshop.finish(workshop.start(GREEN_SUITE, mark=mark))
    assert run.exit_status == 0, run.output
    assert run.results.verdict == "PASS"
    assert processes_with(mark) == []


def test_no_check_at_all_is_exit_3(workshop: Workshop) -> None:
    run = workshop.run(GREEN_SUITE, "--tests", "nothing_is_called_like_that")
    assert run.exit_status == 3
    assert run.results.reason == "ci-selfsigned: no check was executed"


def test_a_failed_boot_is_one_error_and_the_rest_is_skipped(workshop: Workshop) -> None:
    run = workshop.run(GREEN_SUITE, machine="guest_fails")
    assert run.exit_status == 1
    checks = run.results.cells[0].checks
    # The third needs no machine, the last is the harness's own.
    assert [check.status for check in checks] == ["error", "skipped", "passed", "passed"]
    assert "the machine did not get ready: slm-engine.service failed" in checks[1].message
    assert run.results.reason == "the machine did not get ready: slm-engine.service failed: out of memory"
    assert (run.evidence / "console.log").is_file()


def test_a_host_that_can_not_boot_is_exit_2_and_no_fail(workshop: Workshop) -> None:
    run = workshop.run(GREEN_SUITE, machine="host_fails")
    assert run.exit_status == 2
    assert run.results.verdict == "INCONCLUSIVE"
    assert run.results.fault == "ci-selfsigned: no accelerator is usable (use ACCELERATOR=auto)"


def test_a_secret_in_the_evidence_is_a_failed_check_and_masked(workshop: Workshop) -> None:
    suite = "def test_one(report): pass"
    run = workshop.run(suite, machine="leaks")
    assert run.exit_status == 1
    own = run.results.cells[0].checks[-1]
    assert (own.status, own.message) == ("failed", "a secret stood in: console.log (masked now)")
    assert PASSWORD not in (run.evidence / "console.log").read_text()


def test_a_suite_that_can_not_be_collected_is_exit_2_and_says_why(workshop: Workshop) -> None:
    run = workshop.run("import no_such_module_here\n")
    assert run.exit_status == 2
    assert "No module named 'no_such_module_here'" in run.results.fault


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_and_keeps_what_it_has(
    workshop: Workshop, number: signal.Signals
) -> None:
    mark = uuid.uuid4().hex
    process = workshop.start(SLEEPING_SUITE, mark=mark)
    wait_for_line(workshop, "sleeps")
    assert processes_with(mark)
    process.send_signal(number)
    run = workshop.finish(process)
    assert run.exit_status == 130, run.output
    assert processes_with(mark) == []
    results = run.results
    assert results.interrupted
    assert results.verdict == "INCONCLUSIVE"
    by_title = {check.title: check for check in results.cells[0].checks}
    assert by_title["first"].status == "passed"
    assert by_title["sleeps"].message == "not finished: interrupted"
    assert (run.evidence / "console.log").is_file()


def test_a_run_that_is_killed_leaves_no_process(workshop: Workshop) -> None:
    mark = uuid.uuid4().hex
    process = workshop.start(SLEEPING_SUITE, mark=mark)
    wait_for_line(workshop, "sleeps")
    process.kill()
    process.communicate(timeout=30)
    until = time.monotonic() + 30
    while processes_with(str(workshop.folder)) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes_with(mark) == []
    (evidence,) = (workshop.folder / "reports").glob("*/cells/ci-selfsigned")
    assert (evidence / "console.log").is_file()


def test_a_test_process_that_is_killed_is_exit_2_and_leaves_nothing(workshop: Workshop) -> None:
    mark = uuid.uuid4().hex
    process = workshop.start(SLEEPING_SUITE, mark=mark)
    wait_for_line(workshop, "sleeps")
    (pytest_pid,) = processes_with(str(workshop.folder / "suite"), but_not=process.pid)
    os.kill(pytest_pid, signal.SIGKILL)
    run = workshop.finish(process)
    assert run.exit_status == 2, run.output
    assert run.results.fault == "ci-selfsigned: the test process was killed by signal 9 during: auth: sleeps"
    assert run.results.cells[0].tests.passed == 1
    assert processes_with(mark) == []
