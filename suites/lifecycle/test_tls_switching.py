"""The TLS mode changes, on a living guest and across reboots: one configuration is left, all else goes on."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.client.certificate import Handshake, handshake_facts
from harness.client.https import ApplianceAddress, open_client
from harness.peers.pebble import Pebble, open_pebble
from harness.peers.private_ca import KeyKind, custom_context, make_authority, make_server, parameters
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import NEW_WITH_A_BOOT, GuestState, difference, read_state
from suites.lifecycle.living_guest import (
    LivingGuest,
    address_of,
    change_context,
    start_with,
    switch_on,
    when_ready,
)
from suites.lifecycle.running_stream import running_stream

DOMAIN = "copilot.slm.test"
STORE = "/etc/ssl/slm-copilot"

TLS_FILES = (
    "fingerprint",
    "names",
    "report.certificate*",
    "report.connection.endpoint",
    "files./etc/one-appliance/config",
    "files./etc/ssl/slm-copilot*",
    "files./etc/letsencrypt*",
    "files./etc/slm-copilot/acme*",
    "files./etc/slm-copilot/certificate-*",
    "motd",
    "files./etc/motd*",
)
"""What another TLS mode may touch."""

STALE = ("/etc/letsencrypt/live/", "/etc/letsencrypt/archive/", "/etc/letsencrypt/renewal/")
"""Where a lineage lies; nobody but mode letsencrypt has one."""


@dataclass(frozen=True)
class Wanted:
    """A TLS mode with its certificate: how the context says it and how a client verifies it."""

    mode: str
    context: Mapping[str, str]
    trust: Path | None
    """None: the guest's own certificate."""
    server_name: str = ""


@dataclass(frozen=True)
class Switched:
    """The guest before and after. `broken`: why a stream that ran meanwhile ended, empty when it went on."""

    wanted: Wanted
    before: GuestState
    after: GuestState
    sent: Handshake
    broken: str = ""


Make = Callable[[LivingGuest, Pebble], Wanted]


def selfsigned(_guest: LivingGuest, _pebble: Pebble) -> Wanted:
    return Wanted("selfsigned", {}, None)


def custom(key_kind: KeyKind) -> Make:
    def make(guest: LivingGuest, _pebble: Pebble) -> Wanted:
        addresses = sorted({"127.0.0.1", guest.machine.guest_address})
        context, root = custom_context(["localhost"], addresses, key_kind=key_kind)
        return Wanted("custom", context, _kept(guest, f"custom-{key_kind}", root.decode()))

    return make


def letsencrypt(guest: LivingGuest, pebble: Pebble) -> Wanted:
    trust = _kept(guest, "pebble", pebble.root_pem())
    return Wanted("letsencrypt", pebble.context(DOMAIN), trust, DOMAIN)


def _kept(guest: LivingGuest, name: str, pem: str) -> Path:
    file = guest.folder / f"{name}.pem"
    file.write_text(pem, encoding="ascii")
    return file


RUNNING: dict[str, Make] = {
    "to custom": custom("p256"),
    "to another custom one": custom("rsa2048"),
    "from custom to selfsigned": selfsigned,
    "from selfsigned to letsencrypt": letsencrypt,
    "from letsencrypt to custom": custom("p384"),
    "from custom to letsencrypt": letsencrypt,
    "from letsencrypt to selfsigned": selfsigned,
}
"""In this order, on one living guest: every direction once."""

REBOOTED: dict[str, Make] = {
    "to custom": custom("p256"),
    "from custom to letsencrypt": letsencrypt,
    "from letsencrypt to selfsigned": selfsigned,
    "from selfsigned to letsencrypt": letsencrypt,
    "from letsencrypt to custom": custom("p384"),
    "from custom to selfsigned": selfsigned,
}
"""After those, on the same guest, each with the guest off in between."""


@pytest.fixture(scope="module")
def guest(new_guest: NewGuest) -> Iterator[LivingGuest]:
    with new_guest() as opened:
        assert switch_on(opened).status == "bootstrap_success"
        yield opened


@pytest.fixture(scope="module")
def pebble(guest: LivingGuest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with open_pebble(guest.machine, tmp_path_factory.mktemp("pebble") / "work") as running:
        yield running


def reached(guest: LivingGuest, state: GuestState, wanted: Wanted) -> ApplianceAddress:
    """Where the guest is and what a client of this mode verifies."""
    address = address_of(guest, state)
    return replace(address, ca_file=wanted.trust or address.ca_file, server_name=wanted.server_name)


def handshake(address: ApplianceAddress) -> Handshake:
    return handshake_facts(
        address.host, address.port, server_hostname=address.verified_name, ca_file=address.ca_file
    )


@pytest.fixture(scope="module")
def last() -> list[Wanted]:
    """What the guest serves at the moment, as its only entry."""
    return [Wanted("selfsigned", {}, None)]


@pytest.fixture(scope="module", params=RUNNING)
def switched(
    request: pytest.FixtureRequest, guest: LivingGuest, pebble: Pebble, last: list[Wanted]
) -> Switched:
    """The guest after its TLS mode changed under a running stream."""
    wanted = RUNNING[request.param](guest, pebble)
    before, patience = read_state(guest.machine), 30 * guest.stretch
    with running_stream(reached(guest, before, last[0]), patience_s=patience) as stream:
        change_context(guest, wanted.context)
        after = read_state(guest.machine)
        broken = stream.broken_within(patience)
    last[0] = wanted
    return Switched(wanted, before, after, handshake(reached(guest, after, wanted)), broken)


@pytest.fixture(scope="module", params=REBOOTED)
def rebooted(
    request: pytest.FixtureRequest, guest: LivingGuest, pebble: Pebble, last: list[Wanted]
) -> Switched:
    """The guest after its TLS mode changed while it was off."""
    wanted = REBOOTED[request.param](guest, pebble)
    before = read_state(guest.machine)
    after = start_with(guest, wanted.context)
    last[0] = wanted
    return Switched(wanted, before, after, handshake(reached(guest, after, wanted)))


def assert_one_valid_configuration(found: Switched) -> None:
    state, mode = found.after, found.wanted.mode
    assert state.status == "bootstrap_success"
    assert state.report["certificate.mode"] == mode
    assert found.sent.chain[0].fingerprint_sha256 == state.fingerprint, "another certificate is served"
    inside = [path.removeprefix(f"{STORE}/") for path in state.files if path.startswith(f"{STORE}/")]
    pairs = {path.partition("/")[0] for path in inside if path.startswith("pair.")}
    assert len(pairs) == 1, f"one pair folder is to be there: {sorted(inside)}"
    assert {path for path in inside if "/" not in path} == {"cert.pem", "key.pem", "current", *pairs}
    more = {"acme"} if mode == "letsencrypt" else set()
    assert {path.partition("/")[2] for path in inside if "/" in path} == {
        "cert.pem",
        "key.pem",
        "origin",
        *more,
    }
    stale = [path for path in state.files if path.startswith(STALE)]
    assert mode == "letsencrypt" or not stale, f"left of mode letsencrypt: {stale}"
    assert (len(found.sent.chain) == 1) is (mode == "selfsigned")


def test_one_valid_configuration_is_left_after_the_switch(switched: Switched) -> None:
    assert_one_valid_configuration(switched)


def test_the_certificate_is_another_one_after_the_switch(switched: Switched) -> None:
    assert switched.after.fingerprint != switched.before.fingerprint


def test_neither_engine_nor_proxy_is_restarted_by_the_switch(switched: Switched) -> None:
    assert switched.after.engine_pid == switched.before.engine_pid
    assert switched.after.proxy_pid == switched.before.proxy_pid


def test_a_running_stream_survives_the_switch(switched: Switched) -> None:
    assert switched.broken == ""


def test_nothing_but_the_certificate_is_touched_by_the_switch(switched: Switched) -> None:
    assert difference(switched.before, switched.after, but=TLS_FILES) == ""


def test_the_same_context_again_changes_nothing_after_the_switch(
    guest: LivingGuest, switched: Switched
) -> None:
    change_context(guest, switched.wanted.context)
    assert difference(switched.after, read_state(guest.machine)) == ""


def test_one_valid_configuration_is_left_after_a_boot_with_another_mode(rebooted: Switched) -> None:
    assert_one_valid_configuration(rebooted)


def test_nothing_but_the_certificate_is_touched_by_a_boot_with_another_mode(rebooted: Switched) -> None:
    assert difference(rebooted.before, rebooted.after, but=[*TLS_FILES, *NEW_WITH_A_BOOT]) == ""


# ---- a certificate that can't be served, given to a guest that serves

FAILURE = ("status", "motd", "report.status*", "files./etc/motd*", "files./etc/one-appliance/*")
REASON = "ONEAPP_SLM_TLS_KEY: the key does not belong to the certificate"


@dataclass(frozen=True)
class Spoilt:
    """The guest before and after it refused a certificate, what its console said, and how it was reached."""

    before: GuestState
    after: GuestState
    said: str
    address: ApplianceAddress


@pytest.fixture(scope="module")
def spoilt(guest: LivingGuest, pebble: Pebble) -> Spoilt:
    """A good certificate served, then one with the key of another."""
    wanted = custom("p256")(guest, pebble)
    change_context(guest, wanted.context)
    before = read_state(guest.machine)
    assert before.status == "bootstrap_success"
    said = len(guest.machine.console_text())
    stranger = make_server(make_authority("Somebody else"), ["localhost"])
    change_context(guest, {**wanted.context, **_key_of(stranger.key_pem())})
    return Spoilt(
        before,
        read_state(guest.machine),
        guest.machine.console_text()[said:],
        reached(guest, before, wanted),
    )


def _key_of(pem: str) -> dict[str, str]:
    return {"ONEAPP_SLM_TLS_KEY": parameters("", pem)["ONEAPP_SLM_TLS_KEY"]}


def test_a_broken_certificate_is_refused_and_says_why(spoilt: Spoilt) -> None:
    assert spoilt.after.status == "configure_failure"
    assert REASON in spoilt.after.motd
    assert f"slm-copilot: failed configure: {REASON}" in spoilt.said


def test_the_certificate_before_a_broken_one_is_served_on(spoilt: Spoilt) -> None:
    assert handshake(spoilt.address).chain[0].fingerprint_sha256 == spoilt.before.fingerprint
    with open_client(spoilt.address, auth="none") as client:
        assert client.get("/readyz").status_code == 200
    assert difference(spoilt.before, spoilt.after, but=FAILURE) == ""


def test_a_good_context_heals_a_broken_certificate(guest: LivingGuest, spoilt: Spoilt) -> None:
    change_context(guest, {})
    healed = read_state(guest.machine)
    assert healed.status == "bootstrap_success"
    assert healed.engine_pid == spoilt.before.engine_pid
    address = address_of(guest, healed)
    assert handshake(address).chain[0].fingerprint_sha256 == healed.fingerprint
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(spoilt.address)


def test_a_reboot_keeps_the_given_certificate_as_it_is(
    guest: LivingGuest, pebble: Pebble, spoilt: Spoilt
) -> None:
    assert spoilt.before.boot_id
    change_context(guest, custom("rsa2048")(guest, pebble).context)
    before = read_state(guest.machine)
    guest.machine.reboot()
    assert difference(before, when_ready(guest), but=NEW_WITH_A_BOOT) == ""
