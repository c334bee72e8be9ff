"""The services: running, started at boot, watched over, and each under its own user."""

from __future__ import annotations

import pytest

from harness.machine.protocol import Machine
from suites.conformance.guest_facts import UNITS, output

Units = dict[str, dict[str, str]]


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_is_running(units: Units, unit: str) -> None:
    state = (units[unit].get("ActiveState"), units[unit].get("SubState"))
    assert state == ("active", "running"), f"{unit} is {state}: {units[unit].get('Result')}"


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_starts_at_boot(units: Units, unit: str) -> None:
    assert units[unit].get("UnitFileState") == "enabled"


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_did_not_fall_over_before(units: Units, unit: str) -> None:
    assert units[unit].get("NRestarts") == "0", f"{unit} was restarted {units[unit].get('NRestarts')} times"


def test_no_unit_has_failed(machine: Machine) -> None:
    failed = output(machine, "systemctl list-units --failed --no-legend --plain")
    assert failed.strip() == ""


def test_no_boot_job_is_still_waiting(machine: Machine) -> None:
    assert output(machine, "systemctl list-jobs --no-legend").strip() in ("", "No jobs running.")


@pytest.mark.parametrize("unit", ["slm-engine.service", "nginx.service", "slm-watchdog.service"])
def test_the_unit_is_restarted_when_it_dies(units: Units, unit: str) -> None:
    assert units[unit].get("Restart") in ("always", "on-failure")


def test_the_engine_is_never_given_up(units: Units) -> None:
    assert units["slm-engine.service"].get("StartLimitIntervalUSec") in ("0", "infinity"), (
        "a start limit would leave the engine dead after a few crashes in a row"
    )


def test_the_engine_runs_as_its_own_user(units: Units, machine: Machine) -> None:
    pid = units["slm-engine.service"]["MainPID"]
    user = output(machine, f"ps -o user:32= -p {pid}").strip()
    assert user == "slm-engine"


def test_the_proxys_workers_do_not_run_as_root(units: Units, machine: Machine) -> None:
    users = set(output(machine, f"ps -o user:32= --ppid {units['nginx.service']['MainPID']}").split())
    assert users, "there is no nginx worker"
    assert "root" not in users, f"nginx workers run as {users}"


def test_the_engines_user_cannot_log_in(machine: Machine) -> None:
    shell = output(machine, "getent passwd slm-engine").strip().rpartition(":")[2]
    assert shell.endswith(("nologin", "false")), f"shell {shell!r}"
