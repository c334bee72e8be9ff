"""A renewal reaches clients through the deploy hook alone and disturbs nobody; nothing else asks again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.cell.tls_setting import DOMAIN
from harness.client.certificate import CertificateFacts
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from harness.peers.pebble import Pebble
from suites.acme.acme_guest import CERTBOT, TRY_S, certificate_report, served
from suites.conformance.guest_facts import output
from suites.lifecycle.running_stream import running_stream

WORD_S = 15.0
"""Seconds to the next word of an answer, stretched for slow accelerators."""

ENGINE = "systemctl show --property=MainPID --value slm-engine.service"
RENEW = f"{CERTBOT} renew --force-renewal --no-random-sleep-on-renew --cert-name slm-copilot"
CONFIGURE_AGAIN = "one-contextd network force"


@dataclass(frozen=True)
class Renewal:
    """What a renewal by hand, the keeper not involved, changed."""

    before: CertificateFacts
    after: CertificateFacts
    engine_before: str
    engine_after: str
    stream_broken: str


@pytest.fixture(scope="module")
def renewal(machine: Machine, appliance: ApplianceAddress, stretch: float) -> Iterator[Renewal]:
    before, engine = served(appliance, DOMAIN), output(machine, ENGINE)
    with running_stream(appliance, patience_s=WORD_S * stretch) as stream:
        output(machine, RENEW, timeout=TRY_S * stretch)
        broken = stream.broken_within(WORD_S * stretch)
        yield Renewal(before, served(appliance, DOMAIN), engine, output(machine, ENGINE), broken)


def test_clients_get_the_renewed_certificate_at_once(renewal: Renewal) -> None:
    assert renewal.after.serial != renewal.before.serial, "certbot renewed, nginx serves the old certificate"


def test_the_renewed_certificate_is_the_servers(renewal: Renewal, pebble: Pebble) -> None:
    assert pebble.status_of(renewal.after.serial) == "Valid"


def test_a_running_stream_goes_on(renewal: Renewal) -> None:
    assert renewal.stream_broken == ""


def test_the_engine_is_not_restarted(renewal: Renewal) -> None:
    assert renewal.engine_after == renewal.engine_before


def test_the_report_follows_the_renewal(renewal: Renewal, machine: Machine) -> None:
    assert certificate_report(machine)["fingerprint_sha256"] == renewal.after.fingerprint_sha256


def test_configuring_again_asks_nobody(
    machine: Machine, appliance: ApplianceAddress, pebble: Pebble, stretch: float
) -> None:
    before, orders = served(appliance, DOMAIN).serial, pebble.orders()
    output(machine, CONFIGURE_AGAIN, timeout=TRY_S * stretch)
    assert pebble.orders() == orders, "the ACME server was asked although the certificate is good"
    assert served(appliance, DOMAIN).serial == before
