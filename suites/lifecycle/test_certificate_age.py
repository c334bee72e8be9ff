"""A self-signed certificate grows old: renewed in time, neither before nor for another reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from suites.lifecycle.aged_pair import replace_pair
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import (
    NEW_WITH_A_BOOT,
    NEW_WITH_A_CERTIFICATE,
    GuestState,
    difference,
    read_state,
)
from suites.lifecycle.living_guest import LivingGuest, readiness, run_every_script, switch_on, when_ready


@pytest.fixture(scope="module")
def guest(new_guest: NewGuest) -> Iterator[LivingGuest]:
    with new_guest() as opened:
        yield opened


@pytest.fixture(scope="module")
def first(guest: LivingGuest) -> GuestState:
    return switch_on(guest)


@pytest.fixture(scope="module")
def young(guest: LivingGuest, first: GuestState) -> tuple[GuestState, GuestState]:
    """31 days before its end, every script run again: before and after."""
    return aged(guest, first, begins_in_days=-789, ends_in_days=31)


@pytest.fixture(scope="module")
def unborn(guest: LivingGuest, young: tuple[GuestState, GuestState]) -> tuple[GuestState, GuestState]:
    """Not valid yet, as it seems to a guest whose clock went back."""
    return aged(guest, young[1], begins_in_days=2, ends_in_days=800)


@pytest.fixture(scope="module")
def old(guest: LivingGuest, unborn: tuple[GuestState, GuestState]) -> tuple[GuestState, GuestState]:
    """29 days before its end, and a reboot."""
    replace_pair(guest.machine, unborn[1], begins_in_days=-791, ends_in_days=29)
    before = read_state(guest.machine)
    guest.machine.reboot()
    return before, when_ready(guest)


def aged(
    guest: LivingGuest, present: GuestState, *, begins_in_days: float, ends_in_days: float
) -> tuple[GuestState, GuestState]:
    replace_pair(guest.machine, present, begins_in_days=begins_in_days, ends_in_days=ends_in_days)
    before = read_state(guest.machine)
    run_every_script(guest)
    return before, read_state(guest.machine)


def test_a_certificate_with_31_days_left_is_kept(
    guest: LivingGuest, young: tuple[GuestState, GuestState]
) -> None:
    before, after = young
    assert difference(before, after, but=["report.certificate", "files./etc/one-appliance/config"]) == ""
    assert readiness(guest, before) == 200


def test_a_certificate_that_is_not_valid_yet_is_replaced_at_once(
    guest: LivingGuest, unborn: tuple[GuestState, GuestState]
) -> None:
    before, after = unborn
    assert after.fingerprint != before.fingerprint
    assert after.status == "bootstrap_success"
    assert readiness(guest, after) == 200


def test_replacing_it_restarts_nothing_and_touches_nothing_else(
    unborn: tuple[GuestState, GuestState],
) -> None:
    assert difference(*unborn, but=NEW_WITH_A_CERTIFICATE) == ""


def test_a_certificate_with_29_days_left_is_renewed_at_the_next_boot(
    guest: LivingGuest, old: tuple[GuestState, GuestState]
) -> None:
    before, after = old
    assert after.fingerprint != before.fingerprint
    assert readiness(guest, after) == 200


def test_a_renewal_at_a_boot_touches_nothing_else(old: tuple[GuestState, GuestState]) -> None:
    assert difference(*old, but=[*NEW_WITH_A_BOOT, *NEW_WITH_A_CERTIFICATE]) == ""


def test_the_renewed_certificate_has_the_same_names(old: tuple[GuestState, GuestState]) -> None:
    assert old[1].names == old[0].names
