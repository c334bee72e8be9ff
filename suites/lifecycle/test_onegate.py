"""READY=YES reaches OneGate as `onegate vm update` sends it: when the appliance serves, and only then."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from harness.machine.cell import context_of
from harness.peers.onegate import OneGate, Report, open_onegate
from suites.conformance.guest_facts import output
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.living_guest import LivingGuest, change_context, switch_on, wait_ready

VMID = "4711"
BAD = {"ONEAPP_SLM_CONTEXT_SIZE": "plenty"}
DONE = "systemctl start one-context.service && systemctl is-active one-context.service"
"""Waits for the boot's last script, which is the report's."""


@dataclass(frozen=True)
class Reporting:
    """A guest that booted once with a OneGate to report to. `token` stood in its first token.txt."""

    guest: LivingGuest
    onegate: OneGate
    context: dict[str, str]
    token: str
    seen: list[str] = field(repr=False)
    """Of each report: what the console and /readyz said at the moment it arrived."""


@pytest.fixture(scope="module")
def reporting(new_guest: NewGuest) -> Iterator[Reporting]:
    seen: list[str] = []
    with new_guest() as guest:
        machine = guest.machine

        def look(_: Report) -> None:
            ready = "slm-copilot: ready" in machine.console_text()
            seen.append(f"console {'ready' if ready else 'silent'}, /readyz {answer(guest)}")

        with open_onegate(machine, on_report=look) as onegate:
            context = {"ONEGATE_ENDPOINT": onegate.endpoint, "VMID": VMID}
            files = context_of(machine, context)
            machine.insert_context(files)
            switch_on(guest)
            output(machine, DONE, timeout=60 * guest.stretch)
            yield Reporting(guest, onegate, context, files["token.txt"].decode().strip(), seen)


def answer(guest: LivingGuest) -> int | str:
    """/readyz as whoever trusts the certificate that is served sees it; an error's name without one."""
    https = guest.machine.forward(443)
    try:
        served = ssl.get_server_certificate((https.host, https.port), timeout=10 * guest.stretch)
        trusting = ssl.create_default_context(cadata=served)
        connection = http.client.HTTPSConnection(https.host, https.port, context=trusting, timeout=30)
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except OSError as error:
        return type(error).__name__


def apply(reporting: Reporting, **changes: str) -> tuple[Report, ...]:
    """Change the running guest's context; the reports that this brought."""
    before = len(reporting.onegate.reports)
    change_context(reporting.guest, {**reporting.context, **changes})
    return reporting.onegate.reports[before:]


def test_the_report_is_the_request_of_onegate_vm_update(reporting: Reporting) -> None:
    report = reporting.onegate.reports[0]
    assert (report.method, report.path, report.body) == ("PUT", "/vm", b"data=READY%3DYES&type=1")
    assert report.header("Content-Type") == "application/x-www-form-urlencoded"
    assert report.header("X-ONEGATE-VMID") == VMID


def test_the_report_carries_the_token_of_the_context_disk(reporting: Reporting) -> None:
    # Not compared in the assertion: its message would show the token.
    is_the_token = reporting.onegate.reports[0].header("X-ONEGATE-TOKEN") == reporting.token
    assert is_the_token, "X-ONEGATE-TOKEN is not what token.txt holds"


def test_the_appliance_answers_when_ready_is_reported(reporting: Reporting) -> None:
    assert reporting.seen[0] == "console ready, /readyz 200"


def test_ready_is_reported_once_a_boot(reporting: Reporting) -> None:
    guest, before = reporting.guest, len(reporting.onegate.reports)
    guest.machine.reboot(60 * guest.stretch)
    wait_ready(guest)
    output(guest.machine, DONE, timeout=60 * guest.stretch)
    assert len(reporting.onegate.reports) - before == 1
    assert reporting.seen[-1] == "console ready, /readyz 200"


def test_a_failed_configuration_is_not_reported_and_a_mended_one_is(reporting: Reporting) -> None:
    failed = apply(reporting, **BAD)
    status = output(reporting.guest.machine, "cat /etc/one-appliance/status").strip()
    assert (status, failed) == ("configure_failure", ())
    assert len(apply(reporting)) == 1


@pytest.mark.parametrize("word", ["", "NO"])
def test_nothing_is_reported_unless_the_context_says_yes(reporting: Reporting, word: str) -> None:
    assert apply(reporting, REPORT_READY=word) == ()


def test_a_onegate_that_refuses_is_asked_once_and_the_appliance_serves(reporting: Reporting) -> None:
    reporting.onegate.status = 403
    try:
        assert len(apply(reporting, SET_HOSTNAME="refused")) == 1
    finally:
        reporting.onegate.status = 200
    assert answer(reporting.guest) == 200
    log = output(reporting.guest.machine, "journalctl --boot --output=cat --identifier=one-contextd")
    assert "net-99-report-ready: Finished with exit code 1" in log


def test_a_onegate_that_never_answers_does_not_keep_the_appliance_from_serving(reporting: Reporting) -> None:
    guest, before = reporting.guest, len(reporting.onegate.reports)
    reporting.onegate.silent = True
    try:
        guest.machine.reboot(60 * guest.stretch)
        wait_ready(guest)
        report = reporting.onegate.wait_for(before + 1, timeout=20 * guest.stretch)[-1]
        assert (reporting.seen[-1], answer(guest)) == ("console ready, /readyz 200", 200)
        waiting = output(guest.machine, "systemctl show --property=ActiveState --value one-context.service")
        assert waiting.strip() == "activating", f"{time.time() - report.at:.0f} s later nobody waits"
    finally:
        reporting.onegate.silent = False
