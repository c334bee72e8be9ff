"""The first boot of an image, and every later one with the context unchanged: nothing is made twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.cell.options import CellOptions
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import NEW_WITH_A_BOOT, GuestState, difference
from suites.lifecycle.living_guest import (
    LivingGuest,
    answer_to_password,
    engine_settings,
    readiness,
    switch_off,
    switch_on,
    when_ready,
)
from suites.lifecycle.sealed_image import SealedImage, read_sealed_image

MACHINE_ID = "/etc/machine-id"
FOLDERS = ("/etc/ssl/slm-copilot", "/etc/slm-copilot", "/root/.ssh", "/etc/ssh", "/etc/one-appliance")

AGAIN = ("a reboot", "a second reboot", "a third reboot", "the reset button", "stop and start")


@pytest.fixture(scope="module")
def guest(new_guest: NewGuest) -> Iterator[LivingGuest]:
    with new_guest() as opened:
        yield opened


@pytest.fixture(scope="module")
def first(guest: LivingGuest) -> GuestState:
    return switch_on(guest)


@pytest.fixture(scope="module")
def clone(new_guest: NewGuest) -> GuestState:
    """The first boot of another guest from the same image."""
    with new_guest() as other:
        return switch_on(other)


@pytest.fixture(scope="module", params=AGAIN)
def again(request: pytest.FixtureRequest, guest: LivingGuest, first: GuestState) -> GuestState:
    """The guest after it was started once more."""
    assert first.status == "bootstrap_success"
    match request.param:
        case "the reset button":
            guest.machine.reset()
        case "stop and start":
            switch_off(guest)
            guest.machine.start()
        case _:
            guest.machine.reboot()
    return when_ready(guest)


@pytest.fixture(scope="module")
def sealed(cell: CellOptions) -> SealedImage:
    """The image as it lies on the host."""
    return read_sealed_image(cell.image, folders=FOLDERS, files=[MACHINE_ID])


@pytest.mark.parametrize("folder", ["/etc/ssl/slm-copilot", "/etc/slm-copilot", "/root/.ssh"])
def test_the_sealed_image_has_nothing_in(folder: str, sealed: SealedImage) -> None:
    assert sealed.entries[folder] == frozenset()


def test_the_sealed_image_has_no_ssh_host_keys(sealed: SealedImage) -> None:
    assert "sshd_config" in sealed.entries["/etc/ssh"], "the image's files could not be listed"
    assert [name for name in sealed.entries["/etc/ssh"] if "ssh_host_" in name] == []


def test_the_sealed_image_has_no_machine_id(sealed: SealedImage) -> None:
    assert sealed.texts[MACHINE_ID].strip() in ("", "uninitialized")


def test_the_sealed_image_has_no_report(sealed: SealedImage) -> None:
    assert "status" in sealed.entries["/etc/one-appliance"], "the image's files could not be listed"
    assert "config" not in sealed.entries["/etc/one-appliance"]


def test_the_first_boot_makes_all_that_is_unique(first: GuestState) -> None:
    assert first.status == "bootstrap_success"
    assert len(first.machine_id) == 32, first.machine_id
    assert {"ed25519", "ecdsa"} <= set(first.host_keys), first.host_keys
    assert first.fingerprint, "there is no certificate"
    assert len(first.password) == 32, f"the generated password has {len(first.password)} characters"


def test_the_first_boots_password_opens_the_api(guest: LivingGuest, first: GuestState) -> None:
    assert answer_to_password(guest, first, first.password) == 200


@pytest.mark.parametrize("what", ["password", "fingerprint", "machine_id", "host_keys"])
def test_a_clone_of_the_image_has_its_own(what: str, first: GuestState, clone: GuestState) -> None:
    ours, theirs = getattr(first, what), getattr(clone, what)
    shared = set(ours.values()) & set(theirs.values()) if what == "host_keys" else {ours} & {theirs}
    shares = bool(shared)
    assert not shares, f"two guests of one image have the same {what}"


def test_a_clones_password_does_not_open_this_guest(
    guest: LivingGuest, first: GuestState, clone: GuestState
) -> None:
    assert answer_to_password(guest, first, clone.password) == 401


def test_it_is_ready_after(guest: LivingGuest, again: GuestState) -> None:
    assert again.status == "bootstrap_success"
    assert readiness(guest, again) == 200


@pytest.mark.parametrize("what", ["password", "fingerprint", "host_keys", "machine_id"])
def test_it_keeps_after_a_new_start_its(what: str, first: GuestState, again: GuestState) -> None:
    # pytest would show an abridged password, which nothing masks, if it saw the comparison itself.
    kept = getattr(again, what) == getattr(first, what)
    assert kept, f"the {what} changed:\n{difference(first, again)}"


def test_nothing_differs_after(first: GuestState, again: GuestState) -> None:
    assert difference(first, again, but=NEW_WITH_A_BOOT) == ""


def test_it_really_was_another_boot(first: GuestState, again: GuestState) -> None:
    assert again.boot_id != first.boot_id


def test_the_first_password_still_opens_the_api_after(
    guest: LivingGuest, first: GuestState, again: GuestState
) -> None:
    # The client trusts what it trusted at the first boot: a new certificate would fail here too.
    assert again.status == "bootstrap_success"
    assert answer_to_password(guest, first, first.password) == 200


def test_the_engine_works_as_before(guest: LivingGuest, again: GuestState) -> None:
    settings = engine_settings(guest)
    assert str(settings.context_size) == again.report["engine.context_size"]
    assert str(settings.threads) == again.report["engine.threads"]
