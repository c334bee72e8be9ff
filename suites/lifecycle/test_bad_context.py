"""A value the appliance refuses: at the first boot, on a serving guest, across a reboot; and how it heals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.errors import ApplianceError
from suites.conformance.guest_facts import output
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import NEW_WITH_A_BOOT, GuestState, difference, read_state
from suites.lifecycle.living_guest import (
    LivingGuest,
    answer_to_password,
    change_context,
    engine_settings,
    readiness,
    wait_ready,
)

BAD = {"ONEAPP_SLM_CONTEXT_SIZE": "plenty", "ONEAPP_SLM_ADMIN_PASSWORD": "Never.applied-1"}
GOOD = {"ONEAPP_SLM_CONTEXT_SIZE": "2048"}
REASON = "ONEAPP_SLM_CONTEXT_SIZE: 'plenty' is not a whole number in plain digits; accepted: "
LOCAL_READYZ = "curl -fs --cacert /etc/ssl/slm-copilot/cert.pem -o /dev/null https://localhost/readyz"
FAILURE = (
    "status",
    "motd",
    "report.status*",
    "files./etc/motd*",
    "files./etc/one-appliance/status",
    "files./etc/one-appliance/config",
)
"""Where a failed configure may be told; it may touch nothing else."""


@dataclass(frozen=True)
class Failed:
    """The guest after it refused a context, and what its console said since the one before."""

    state: GuestState
    said: str


@pytest.fixture(scope="module")
def guest(new_guest: NewGuest) -> Iterator[LivingGuest]:
    with new_guest(BAD) as opened:
        yield opened


@pytest.fixture(scope="module")
def never_configured(guest: LivingGuest) -> Failed:
    """The first boot, with the bad value."""
    guest.machine.start()
    return refused(guest)


@pytest.fixture(scope="module")
def healed(guest: LivingGuest, never_configured: Failed) -> GuestState:
    """The good context, given to the running guest."""
    assert never_configured.state.boot_id
    change_context(guest, GOOD)
    return read_state(guest.machine)


@pytest.fixture(scope="module")
def spoilt(guest: LivingGuest, healed: GuestState) -> Failed:
    """The bad context, given to the guest that serves."""
    assert healed.status == "bootstrap_success"
    before = len(guest.machine.console_text())
    change_context(guest, BAD)
    return Failed(read_state(guest.machine), guest.machine.console_text()[before:])


@pytest.fixture(scope="module")
def rebooted(guest: LivingGuest, spoilt: Failed) -> Failed:
    """The same after a reboot, the bad context still in the drive."""
    assert spoilt.state.boot_id
    guest.machine.reboot()
    return refused(guest)


@pytest.fixture(scope="module")
def healed_again(guest: LivingGuest, rebooted: Failed) -> GuestState:
    assert rebooted.state.boot_id
    change_context(guest, GOOD)
    return read_state(guest.machine)


def refused(guest: LivingGuest) -> Failed:
    """Wait until the booting guest has said that it can't be configured."""
    before = len(guest.machine.console_text())
    with pytest.raises(ApplianceError, match="configure failed"):
        wait_ready(guest)
    settled = 'until [ "$(cat /etc/one-appliance/status)" = configure_failure ]; do sleep 0.1; done'
    output(guest.machine, settled, timeout=20 * guest.stretch)
    return Failed(read_state(guest.machine), guest.machine.console_text()[before:])


@pytest.fixture(params=["never_configured", "spoilt", "rebooted"])
def failed(request: pytest.FixtureRequest) -> Failed:
    """The guest after each of the three."""
    found: Failed = request.getfixturevalue(request.param)
    return found


def test_the_status_is_configure_failure_and_ssh_is_up(failed: Failed) -> None:
    assert failed.state.status == "configure_failure"


def test_the_message_of_the_day_has_the_reason(failed: Failed) -> None:
    assert REASON in failed.state.motd
    assert "All set" not in failed.state.motd


def test_the_report_has_the_reason(failed: Failed) -> None:
    assert failed.state.report.get("status.state") == "configure_failure"
    assert failed.state.report["status.reason"].startswith(REASON)


def test_the_console_has_the_reason(guest: LivingGuest, failed: Failed) -> None:
    said = failed.said or guest.machine.console_text()
    assert f"slm-copilot: failed configure: {REASON}" in said
    assert "slm-copilot: ready" not in failed.said


def test_nothing_serves_before_a_first_good_context(never_configured: Failed) -> None:
    state = never_configured.state
    assert (state.engine_pid, state.password, state.fingerprint) == (0, "", "")


def test_a_good_context_heals_the_first_boot_without_a_reboot(
    guest: LivingGuest, never_configured: Failed, healed: GuestState
) -> None:
    assert healed.status == "bootstrap_success"
    assert healed.boot_id == never_configured.state.boot_id
    assert readiness(guest, healed) == 200
    assert engine_settings(guest).context_size == 2048


def test_the_reason_is_gone_once_it_is_healed(healed: GuestState) -> None:
    assert "status.reason" not in healed.report
    assert "plenty" not in healed.motd
    assert "All set" in healed.motd


def test_the_previous_configuration_keeps_serving(
    guest: LivingGuest, healed: GuestState, spoilt: Failed
) -> None:
    assert difference(healed, spoilt.state, but=FAILURE) == ""
    assert readiness(guest, healed) == 200
    assert answer_to_password(guest, healed, healed.password) == 200


def test_nothing_of_a_refused_context_is_applied(
    guest: LivingGuest, healed: GuestState, spoilt: Failed
) -> None:
    assert spoilt.state.status == "configure_failure"
    assert answer_to_password(guest, healed, BAD["ONEAPP_SLM_ADMIN_PASSWORD"]) == 401


def test_the_previous_configuration_serves_after_a_reboot_too(
    guest: LivingGuest, healed: GuestState, rebooted: Failed
) -> None:
    assert difference(healed, rebooted.state, but=[*NEW_WITH_A_BOOT, *FAILURE]) == ""
    assert rebooted.state.boot_id != healed.boot_id
    output(guest.machine, f"until {LOCAL_READYZ}; do sleep 0.2; done", timeout=60 * guest.stretch)
    assert answer_to_password(guest, healed, healed.password) == 200
    assert engine_settings(guest).context_size == 2048


def test_the_good_context_heals_it_again(
    guest: LivingGuest, healed: GuestState, rebooted: Failed, healed_again: GuestState
) -> None:
    since = ["report.status.time", "files./etc/one-appliance/config"]
    assert difference(healed, healed_again, but=[*NEW_WITH_A_BOOT, *since]) == ""
    assert healed_again.engine_pid == rebooted.state.engine_pid, "the engine had the good values all along"
    assert readiness(guest, healed) == 200
