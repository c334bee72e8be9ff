"""Address, host name and domain change: the certificate names what clients call the guest now, and is renewed
for that only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface

import pytest

from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import (
    NEW_WITH_A_BOOT,
    NEW_WITH_A_CERTIFICATE,
    SETTINGS,
    GuestState,
    difference,
    read_state,
)
from suites.lifecycle.living_guest import (
    LivingGuest,
    address_of,
    change_context,
    readiness,
    start_with,
    switch_on,
)
from suites.lifecycle.running_stream import running_stream

DOMAIN = {"ONEAPP_SLM_DOMAIN": "copilot.example.org"}
RENAMED = {"SET_HOSTNAME": "renamed.example.net"}

HOSTNAME = ("hostname", "files./etc/hostname", "files./etc/hosts")
ENDPOINT = ("report.connection.endpoint", "motd", "files./etc/motd", "files./etc/nginx/sites-enabled*")


@dataclass(frozen=True)
class Renamed:
    """A change of the guest's names: states around it, what the console said since, why the stream that
    ran meanwhile ended (empty when it went on, or there was none)."""

    before: GuestState
    after: GuestState
    said: str = ""
    broken: str = ""


@pytest.fixture(scope="module")
def guest(new_guest: NewGuest) -> Iterator[LivingGuest]:
    with new_guest() as opened:
        yield opened


@pytest.fixture(scope="module")
def first(guest: LivingGuest) -> GuestState:
    return switch_on(guest)


@pytest.fixture(scope="module")
def with_domain(guest: LivingGuest, first: GuestState) -> Renamed:
    patience = 30 * guest.stretch
    with running_stream(address_of(guest, first), patience_s=patience) as stream:
        change_context(guest, DOMAIN)
        after = read_state(guest.machine)
        return Renamed(first, after, broken=stream.broken_within(patience))


@pytest.fixture(scope="module")
def with_hostname(guest: LivingGuest, with_domain: Renamed) -> Renamed:
    change_context(guest, {**DOMAIN, **RENAMED})
    return Renamed(with_domain.after, read_state(guest.machine))


@pytest.fixture(scope="module")
def without_domain(guest: LivingGuest, with_hostname: Renamed) -> Renamed:
    change_context(guest, RENAMED)
    return Renamed(with_hostname.after, read_state(guest.machine))


@pytest.fixture(scope="module")
def moved(guest: LivingGuest, without_domain: Renamed) -> Renamed:
    """The guest at another address, which it is told of while it is off."""
    seen = len(guest.machine.console_text())
    after = start_with(guest, RENAMED, address=another_address(guest))
    return Renamed(without_domain.after, after, guest.machine.console_text()[seen:])


@pytest.fixture(scope="module")
def moved_back(guest: LivingGuest, first: GuestState, moved: Renamed) -> Renamed:
    """Back at the first address, this time while it runs."""
    seen = len(guest.machine.console_text())
    prefix = guest.machine.nic.address.network.prefixlen
    guest.machine.move_to(IPv4Interface(f"{first.addresses[0]}/{prefix}"))
    change_context(guest, RENAMED)
    return Renamed(moved.after, read_state(guest.machine), guest.machine.console_text()[seen:])


def another_address(guest: LivingGuest) -> IPv4Interface:
    """A free address of the guest's network: the host and its services have the lowest ones."""
    present = guest.machine.nic.address
    return IPv4Interface(f"{present.ip + 1}/{present.network.prefixlen}")


def test_a_new_domain_is_in_the_certificate(guest: LivingGuest, with_domain: Renamed) -> None:
    assert "copilot.example.org" in with_domain.after.names
    assert readiness(guest, with_domain.after) == 200


def test_a_new_certificate_does_not_end_a_running_stream(with_domain: Renamed) -> None:
    assert with_domain.broken == ""


def test_a_new_domain_touches_the_certificate_only(with_domain: Renamed) -> None:
    touched = [*NEW_WITH_A_CERTIFICATE, SETTINGS]
    assert difference(with_domain.before, with_domain.after, but=touched) == ""


def test_a_new_host_name_is_in_the_certificate(guest: LivingGuest, with_hostname: Renamed) -> None:
    assert with_hostname.after.hostname == "renamed"
    assert {"renamed", "renamed.example.net"} <= set(with_hostname.after.names), with_hostname.after.names
    assert readiness(guest, with_hostname.after) == 200


def test_a_new_host_name_touches_the_certificate_only(with_hostname: Renamed) -> None:
    before, after = with_hostname.before, with_hostname.after
    assert difference(before, after, but=[*NEW_WITH_A_CERTIFICATE, *HOSTNAME]) == ""


def test_the_old_host_name_is_no_name_of_the_new_certificate(
    first: GuestState, with_hostname: Renamed
) -> None:
    assert first.hostname not in with_hostname.after.names


def test_the_domain_stays_in_the_certificate_of_a_new_host_name(with_hostname: Renamed) -> None:
    assert "copilot.example.org" in with_hostname.after.names


def test_a_removed_domain_alone_renews_nothing(guest: LivingGuest, without_domain: Renamed) -> None:
    """Clients that trust the certificate would have to trust another one, for a name nobody uses."""
    assert difference(without_domain.before, without_domain.after, but=[SETTINGS]) == ""
    assert readiness(guest, without_domain.before) == 200


def test_a_new_address_is_in_the_certificate(guest: LivingGuest, moved: Renamed) -> None:
    assert moved.after.addresses == (guest.machine.guest_address,)
    assert guest.machine.guest_address in moved.after.names
    assert readiness(guest, moved.after) == 200


def test_the_old_address_is_no_name_of_the_new_certificate(first: GuestState, moved: Renamed) -> None:
    assert not set(first.addresses) & set(moved.after.names), moved.after.names


def test_the_removed_domain_goes_with_the_next_certificate(moved: Renamed) -> None:
    assert "copilot.example.org" not in moved.after.names


@pytest.mark.parametrize("move", ["moved", "moved_back"])
def test_report_motd_and_console_name_the_new_endpoint_once(
    move: str, request: pytest.FixtureRequest
) -> None:
    renamed: Renamed = request.getfixturevalue(move)
    endpoint = f"https://{renamed.after.addresses[0]}/v1"
    assert renamed.after.report["connection.endpoint"] == endpoint
    assert endpoint in renamed.after.motd
    assert f"slm-copilot: ready {endpoint}" in renamed.said, renamed.said[-2000:]


@pytest.mark.parametrize("move", ["moved", "moved_back"])
def test_a_new_address_touches_certificate_and_endpoint_only(
    move: str, request: pytest.FixtureRequest
) -> None:
    renamed: Renamed = request.getfixturevalue(move)
    touched = [*NEW_WITH_A_BOOT] if move == "moved" else []
    touched += ["addresses", *NEW_WITH_A_CERTIFICATE, *ENDPOINT]
    assert difference(renamed.before, renamed.after, but=touched) == ""


def test_an_address_that_changes_while_the_guest_runs_is_in_the_certificate(
    guest: LivingGuest, first: GuestState, moved_back: Renamed
) -> None:
    assert moved_back.after.addresses == first.addresses
    assert set(first.addresses) <= set(moved_back.after.names), moved_back.after.names
    assert readiness(guest, moved_back.after) == 200
