"""The appliance's own certificate: it names everything the guest is called, and is its clients' CA file."""

from __future__ import annotations

import datetime
import json
import ssl

import pytest

from harness.client.certificate import CertificateFacts, read_certificate, served_certificate
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output, sections

GATHER = """
echo '== addresses';  ip -j addr
echo '== hostname';   uname -n
echo '== fqdn';       hostname --fqdn 2>/dev/null
echo '== domain';     . /run/one-context/context.sh.network 2>/dev/null; echo "${ONEAPP_SLM_DOMAIN:-}"
echo '== end'
"""


@pytest.fixture(scope="module", autouse=True)
def _in_its_own_mode(tls_mode: str) -> None:
    if tls_mode != "selfsigned":
        pytest.skip(f"this cell's TLS mode is {tls_mode}")


@pytest.fixture(scope="module")
def gathered(machine: Machine) -> dict[str, str]:
    return sections(output(machine, GATHER))


@pytest.fixture(scope="module")
def served(appliance: ApplianceAddress) -> CertificateFacts:
    return handshake(appliance, appliance.host)


def handshake(appliance: ApplianceAddress, name: str) -> CertificateFacts:
    return served_certificate(appliance.host, appliance.port, server_hostname=name, ca_file=appliance.ca_file)


def refusals(appliance: ApplianceAddress, names: set[str]) -> dict[str, str]:
    """The names a client would not accept this certificate for, each proven by a real handshake."""
    refused = {}
    for name in sorted(names):
        try:
            handshake(appliance, name)
        except ssl.SSLCertVerificationError as error:
            refused[name] = error.verify_message
    return refused


def test_it_holds_for_every_address_of_the_guest(
    appliance: ApplianceAddress, gathered: dict[str, str], served: CertificateFacts
) -> None:
    addresses = {
        address["local"]
        for interface in json.loads(gathered["addresses"])
        for address in interface["addr_info"]
        if address["scope"] == "global" and not address.get("temporary") and not address.get("deprecated")
    }
    assert addresses, f"the guest has no address: {gathered['addresses']}"
    assert refusals(appliance, addresses) == {}, f"the certificate names {served.names}"


def test_it_holds_for_the_address_of_the_context(
    appliance: ApplianceAddress, machine: Machine, served: CertificateFacts
) -> None:
    assert refusals(appliance, {machine.guest_address}) == {}, f"the certificate names {served.names}"


def test_it_holds_for_the_guests_names(
    appliance: ApplianceAddress, gathered: dict[str, str], served: CertificateFacts
) -> None:
    names = {gathered[key].strip().lower() for key in ("hostname", "fqdn", "domain")} - {"", "(none)"}
    assert names, "the guest has no name"
    assert refusals(appliance, names) == {}, f"the certificate names {served.names}"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_it_holds_behind_a_tunnel_for(appliance: ApplianceAddress, name: str) -> None:
    assert refusals(appliance, {name}) == {}


def test_it_is_self_signed(served: CertificateFacts) -> None:
    assert served.subject == served.issuer


def test_clients_trust_the_file_that_is_served(served: CertificateFacts, appliance: ApplianceAddress) -> None:
    assert served.fingerprint_sha256 == read_certificate(appliance.ca_file.read_bytes()).fingerprint_sha256


def test_it_is_valid_for_no_longer_than_a_year(served: CertificateFacts) -> None:
    """Mozilla's profile allows 366 days."""
    assert (served.not_after - served.not_before).days <= 366


@pytest.mark.usefixtures("machine")
def test_a_new_one_is_valid_for_most_of_a_year(served: CertificateFacts) -> None:
    """A new file for every client is nothing to hand out more often."""
    assert served.not_after - datetime.datetime.now(datetime.UTC) >= datetime.timedelta(days=300)
