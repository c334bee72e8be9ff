"""A larger disk and a clock that jumps: what only a machine with a disk and a clock of its own can show.

Two boots of one guest, several changes on each: booting is dear where the CPU is emulated. What a
certificate's age does, a clock that went back among it, test_certificate_age.py shows on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.locations import GIB
from suites.conformance.guest_facts import output
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import (
    NEW_WITH_A_BOOT,
    NEW_WITH_A_CERTIFICATE,
    GuestState,
    difference,
    read_state,
)
from suites.lifecycle.living_guest import LivingGuest, switch_off, switch_on

pytestmark = pytest.mark.vm

DAY_S = 86_400.0
GROWN_WITHIN_S = 30.0
"""From the moment the disk is larger, stretched for slow accelerators."""

WAIT_FOR_GROWTH = """
end=$((SECONDS + {seconds}))
while [ $(($(stat --file-system --format='%b*%S' /))) -le {size} ]; do
  [ $SECONDS -lt $end ] || exit 1
  sleep 0.5
done
"""


@pytest.fixture(scope="module")
def guest(new_guest: NewGuest) -> Iterator[LivingGuest]:
    with new_guest() as opened:
        yield opened


@pytest.fixture(scope="module")
def first(guest: LivingGuest) -> GuestState:
    return switch_on(guest)


@pytest.fixture(scope="module")
def disk_gib(first: GuestState) -> int:
    """The disk the guest began with: a little larger than its root file system."""
    return -(-first.root_bytes // GIB)


@pytest.fixture(scope="module")
def grown(guest: LivingGuest, first: GuestState, disk_gib: int) -> GuestState:
    """A gibibyte more while it runs."""
    guest.machine.grow_disk(disk_gib + 1)
    seconds = GROWN_WITHIN_S * guest.stretch
    wait = WAIT_FOR_GROWTH.format(seconds=int(seconds), size=first.root_bytes)
    guest.machine.run(wait, timeout=seconds + 30)
    at_rest = "until [ ! -e /run/one-context/one-context.lock ]; do sleep 0.2; done"
    output(guest.machine, at_rest, timeout=60 * guest.stretch)
    return read_state(guest.machine)


@pytest.fixture(scope="module")
def much_later(guest: LivingGuest, grown: GuestState, disk_gib: int) -> GuestState:
    """Another gibibyte while it is off, and so late that the certificate has 25 days left."""
    assert grown.boot_id
    switch_off(guest)
    guest.machine.grow_disk(disk_gib + 2)
    guest.machine.set_clock(340 * DAY_S)
    return switch_on(guest)


def test_a_disk_that_grows_under_a_running_guest_is_used(first: GuestState, grown: GuestState) -> None:
    assert grown.root_bytes - first.root_bytes > 0.9 * GIB, difference(first, grown)


def test_a_disk_that_grows_under_a_running_guest_restarts_and_touches_nothing(
    first: GuestState, grown: GuestState
) -> None:
    assert difference(first, grown, but=["root_bytes"]) == ""


def test_a_disk_that_grew_while_the_guest_was_off_is_used(grown: GuestState, much_later: GuestState) -> None:
    assert much_later.root_bytes - grown.root_bytes > 0.9 * GIB, difference(grown, much_later)


def test_a_clock_beyond_the_renewal_time_renews_the_certificate_at_the_boot(
    grown: GuestState, much_later: GuestState
) -> None:
    # It is not valid yet by the host's clock, so the guest's own verified request is what counts here.
    assert much_later.status == "bootstrap_success"
    assert much_later.fingerprint != grown.fingerprint


def test_a_clock_beyond_the_renewal_time_changes_nothing_else(
    grown: GuestState, much_later: GuestState
) -> None:
    changed = [*NEW_WITH_A_BOOT, *NEW_WITH_A_CERTIFICATE, "root_bytes"]
    assert difference(grown, much_later, but=changed) == ""
