"""The certificate, checked the way clients check it: verified against itself, host name included."""

from __future__ import annotations

import datetime
import json
import socket
import ssl

import pytest

from harness.cell.options import CellOptions
from harness.client.certificate import (
    CertificateFacts,
    read_certificate,
    refused_version,
    served_certificate,
)
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from suites.conformance.guest_facts import FileFacts, file_facts, output, sections

FOLDER = "/etc/ssl/slm-copilot"
CERTIFICATE, KEY = f"{FOLDER}/cert.pem", f"{FOLDER}/key.pem"

GATHER = f"""
echo '== addresses';  ip -j addr
echo '== hostname';   uname -n
echo '== fqdn';       hostname --fqdn 2>/dev/null
echo '== domain';     . /run/one-context/context.sh.network 2>/dev/null; echo "${{ONEAPP_SLM_DOMAIN:-}}"
echo '== key';        openssl pkey -in {KEY} -pubout
echo '== cert';       openssl x509 -in {CERTIFICATE} -noout -pubkey
echo '== end'
"""


@pytest.fixture(scope="module")
def gathered(machine: Machine) -> dict[str, str]:
    return sections(output(machine, GATHER))


@pytest.fixture(scope="module")
def files(machine: Machine) -> dict[str, FileFacts]:
    return file_facts(machine, [FOLDER, CERTIFICATE, KEY])


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


@pytest.mark.parametrize("name", ["example.org", "203.0.113.7", "admin.localhost"])
def test_it_does_not_hold_for(appliance: ApplianceAddress, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(appliance, name)


def test_it_is_not_a_certificate_of_anybody_else(
    appliance: ApplianceAddress, served: CertificateFacts
) -> None:
    if served.subject != served.issuer:
        pytest.skip("not self-signed: issued by " + served.issuer)
    context = ssl.create_default_context()
    with (
        socket.create_connection((appliance.host, appliance.port), timeout=10) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed"),
    ):
        context.wrap_socket(plain, server_hostname=appliance.host)


def test_what_is_served_is_the_file(served: CertificateFacts, appliance: ApplianceAddress) -> None:
    assert served.fingerprint_sha256 == read_certificate(appliance.ca_file.read_bytes()).fingerprint_sha256


def test_it_is_self_signed(served: CertificateFacts, cell: CellOptions) -> None:
    if cell.tls_mode != "selfsigned":
        pytest.skip(f"this cell's TLS mode is {cell.tls_mode}")
    assert served.subject == served.issuer


def test_its_key_is_strong(served: CertificateFacts) -> None:
    strong = served.key_bits >= 2048 if served.key_type == "RSA" else served.key_bits >= 256
    assert strong, f"{served.key_type} with {served.key_bits} bits"
    assert served.signature_hash in ("sha256", "sha384", "sha512")


def test_it_is_valid_now_and_long_enough(served: CertificateFacts, cell: CellOptions) -> None:
    now = datetime.datetime.now(datetime.UTC)
    assert served.not_before <= now + datetime.timedelta(minutes=1), f"valid only from {served.not_before}"
    least = datetime.timedelta(days=300 if cell.tls_mode == "selfsigned" else 1)
    assert served.not_after - now >= least, f"expires {served.not_after}"


def test_it_does_not_outlive_what_clients_accept(served: CertificateFacts) -> None:
    """Apple's systems refuse server certificates valid for more than 825 days, whoever signed them."""
    assert (served.not_after - served.not_before).days <= 825


def test_it_may_not_sign_other_certificates(served: CertificateFacts) -> None:
    assert served.is_ca is False, f"basicConstraints CA: {served.is_ca}"


def test_it_is_for_servers(served: CertificateFacts) -> None:
    assert "serverAuth" in served.extended_key_usage


def test_it_is_an_x509_version_3_certificate_with_a_random_serial(served: CertificateFacts) -> None:
    assert served.version == "v3"
    assert served.serial.bit_length() > 60, f"serial {served.serial:x}"


def test_its_key_belongs_to_it(gathered: dict[str, str]) -> None:
    assert "PUBLIC KEY" in gathered["key"]
    assert gathered["key"] == gathered["cert"]


def test_the_key_is_readable_by_root_only(files: dict[str, FileFacts]) -> None:
    found = files[KEY]
    assert (found.mode, found.owner, found.group) == ("0600", "root", "root")


def test_the_certificate_is_readable_by_all(files: dict[str, FileFacts]) -> None:
    assert (files[CERTIFICATE].mode, files[CERTIFICATE].owner) == ("0644", "root")
    assert (files[FOLDER].mode, files[FOLDER].owner) == ("0755", "root")


@pytest.mark.parametrize("version", ["TLSv1.0", "TLSv1.1"])
def test_the_old_protocol_is_refused(appliance: ApplianceAddress, version: str) -> None:
    refused = refused_version(
        appliance.host, appliance.port, version, server_hostname=appliance.host, ca_file=appliance.ca_file
    )
    assert refused, f"{version} was accepted"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_current_protocol_is_accepted(appliance: ApplianceAddress, version: str) -> None:
    refused = refused_version(
        appliance.host, appliance.port, version, server_hostname=appliance.host, ca_file=appliance.ca_file
    )
    assert refused is None
