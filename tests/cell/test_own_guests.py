"""Guests a check opens for itself: with the cell's options, closed, kept as evidence when the check fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cell import own_guests
from harness.cell.left_out import left_out_sentence
from harness.cell.record import read_tests
from harness.locations import REPOSITORY

CHECKS = """
import pytest

def test_the_guest_comes_with_what_was_asked_for(open_guest):
    with open_guest({"A": "1"}, cpu="Nehalem") as machine:
        assert machine.kind == "nspawn"

def test_a_failed_check_keeps_evidence(open_guest):
    with open_guest() as machine:
        assert machine.kind == "none"

@pytest.fixture
def lent(open_guest):
    with open_guest() as machine:
        yield machine

def test_a_check_served_by_a_fixture_keeps_it_too(lent):
    assert lent.kind == "none"

def test_a_check_that_passes_keeps_nothing(lent):
    assert lent.kind == "nspawn"

@pytest.mark.vm
def test_of_a_virtual_machine():
    raise AssertionError("it was run")

@pytest.mark.container
def test_of_a_container():
    pass

@pytest.mark.slow("it waits for a minute")
def test_that_waits():
    raise AssertionError("it was run")

def test_time_to_get_ready(ready_deadline):
    assert 0 < ready_deadline().remaining <= 180
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a cell that ran CHECKS with machines of cardboard, and what pytest printed."""
    folder = tmp_path_factory.mktemp("cell")
    (folder / "test_guests.py").write_text(CHECKS)
    (folder / "image.qcow2").touch()
    command = [
        sys.executable, "-m", "pytest", str(folder),
        "-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(folder), "-p", "no:cacheprovider",
        "-p", "harness.cell.plugin", "-p", "tests.cli.fake_machine",
        "--cell", "ci:selfsigned", "--image", str(folder / "image.qcow2"), "--machine", "nspawn",
        "--evidence", str(folder / "evidence"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=120)
    return folder / "evidence", done.stdout + done.stderr


def test_the_checks_ran_without_the_cells_own_machine(run: tuple[Path, str]) -> None:
    evidence, printed = run
    assert "2 failed, 4 passed, 1 skipped, 1 deselected" in printed, printed
    facts = json.loads((evidence / "cell.json").read_text())
    assert (facts["boot_failure"], facts["timings"]["boot_s"]) == ("", None)
    assert facts["accelerator"] == "native"


def test_only_failed_checks_leave_evidence(run: tuple[Path, str]) -> None:
    evidence, _ = run
    kept = sorted(path.name for path in (evidence / own_guests.GUESTS_FOLDER).iterdir())
    assert kept == ["test_a_check_served_by_a_fixture_keeps_it_too", "test_a_failed_check_keeps_evidence"]
    assert all(list((evidence / own_guests.GUESTS_FOLDER / name).iterdir()) for name in kept)


def test_a_mark_leaves_out_what_the_machine_cannot_show(run: tuple[Path, str]) -> None:
    assert "of a virtual machine" not in run[1]
    assert "of a container" in run[1]
    assert left_out_sentence(read_tests(run[0]).checks) == "1 left out in a container: it waits for a minute"


@pytest.mark.parametrize(
    ("running", "name"),
    [
        ("suites/x/test_a.py::test_it[POST /v1/chat-1] (setup)", "test_it-POST-v1-chat-1"),
        ("", "guest"),
    ],
)
def test_evidence_is_named_for_the_check(monkeypatch: pytest.MonkeyPatch, running: str, name: str) -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", running)
    assert own_guests.running_check() == name
