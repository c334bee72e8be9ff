"""Logs can't fill the disk: there is one place for them, and it has a limit that holds."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output
from suites.faults.refused_flood import pour

MIB = 1024**2
MOST_MIB = 256
"""All logs together; flavor ci's disk has 8 GiB."""
FLOOD = 20_000
FLOOD_GROWTH_MIB = 16
"""The journal grows in steps of 8 MiB."""
SMALL_MIB = 16
BURST_SETTINGS = "/run/systemd/journald@burst.conf.d"


def log_bytes(machine: Machine) -> int:
    return int(output(machine, "du --bytes --summarize /var/log | cut -f 1"))


def mib(size: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([KMG]?)", size).groups()  # type: ignore[union-attr]
    return int(number) * {"": 1 / MIB, "K": 1 / 1024, "M": 1, "G": 1024}[unit]


@pytest.fixture(scope="module")
def settings(machine: Machine) -> dict[str, str]:
    """The journal's settings as systemd reads them, later files winning."""
    text = output(machine, "systemd-analyze cat-config systemd/journald.conf")
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Za-z]+=", line))


@pytest.mark.parametrize("limit", ["SystemMaxUse", "RuntimeMaxUse"])
def test_the_journal_is_limited_on_disk_and_in_memory(limit: str, settings: dict[str, str]) -> None:
    assert mib(settings[limit]) <= MOST_MIB


def test_no_second_copy_is_kept(settings: dict[str, str]) -> None:
    """A syslog daemon would write what the journal forwards into files nobody bounds."""
    assert settings["ForwardToSyslog"] == "no"


def test_20000_refused_requests_leave_next_to_nothing(
    machine: Machine, appliance: ApplianceAddress, record_metric: Callable[..., None]
) -> None:
    before = log_bytes(machine)
    flood = pour(appliance, FLOOD)
    output(machine, "journalctl --sync")
    grown = (log_bytes(machine) - before) / MIB
    record_metric("log_growth_of_20000_refused", "MiB", grown, n=1)
    assert flood.refused == FLOOD, f"{flood.refused} of {FLOOD} were refused: {flood.strange}"
    assert grown <= FLOOD_GROWTH_MIB


def test_each_guesser_is_logged_all_the_same(machine: Machine) -> None:
    said = output(machine, "journalctl --boot --unit nginx.service --grep '\" 401 ' --output cat | tail -n 3")
    assert "GET /v1/models" in said, "the flood of the check before left no trace"


def test_services_log_nowhere_else(machine: Machine) -> None:
    elsewhere = (
        "find /var/log -type f -size +0 ! -path '/var/log/journal/*' ! -path '/var/log/one-appliance/*'"
        " -printf '%p %k KiB\\n' | grep -vE '/(wtmp|lastlog|faillog|btmp|tallylog) ' || true"
    )
    found = output(machine, elsewhere).splitlines()
    assert [line for line in found if "nginx" in line or "slm" in line] == []


def test_the_limit_holds_against_a_burst(machine: Machine, settings: dict[str, str]) -> None:
    """The same journal with the same settings in a namespace of its own, its limit small enough to reach."""
    lines = [f"{name}={value}" for name, value in settings.items() if not name.startswith("RateLimit")]
    config = "\\n".join(["[Journal]", *lines, f"SystemMaxUse={SMALL_MIB}M", "RateLimitBurst=0"])
    script = f"""
        mkdir -p {BURST_SETTINGS} && printf '{config}\\n' >{BURST_SETTINGS}/small.conf
        folder=/var/log/journal/$(cat /etc/machine-id).burst
        systemd-run --quiet --wait -p LogNamespace=burst -p StandardOutput=journal \
          bash -c 'head -c {2 * SMALL_MIB}M /dev/urandom | base64 -w 1000'
        journalctl --namespace=burst --sync
        du --bytes --summarize "$folder" | cut -f 1
        systemctl stop systemd-journald@burst.service systemd-journald@burst.socket \
          systemd-journald-varlink@burst.socket 2>/dev/null
        rm -rf "$folder" {BURST_SETTINGS} /run/log/journal/*.burst
    """
    written = int(output(machine, script, timeout=120)) / MIB
    assert written > SMALL_MIB / 4, "the burst was not written, so it shows nothing"
    assert written <= 1.25 * SMALL_MIB
