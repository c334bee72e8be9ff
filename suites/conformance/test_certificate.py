"""The certificate, as clients check it: verified, host name included. This holds in every TLS mode."""

from __future__ import annotations

import datetime
import itertools
import socket
import ssl

import pytest

from harness.cell.options import CellOptions
from harness.client.certificate import (
    CertificateFacts,
    Handshake,
    handshake_facts,
    read_certificates,
    refused_version,
    served_certificate,
)
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from suites.conformance.guest_facts import FileFacts, file_facts, output, sections

FOLDER = "/etc/ssl/slm-copilot"
CERTIFICATE, KEY, ORIGIN = f"{FOLDER}/cert.pem", f"{FOLDER}/key.pem", f"{FOLDER}/current/origin"

GATHER = f"""
echo '== chain';      cat {CERTIFICATE}
echo '== origin';     cat {ORIGIN}
echo '== pairs';      find {FOLDER} -mindepth 1 -maxdepth 1 -printf '%f\\n' | sort
echo '== key';        openssl pkey -in {KEY} -pubout
echo '== cert';       openssl x509 -in {CERTIFICATE} -noout -pubkey
echo '== end'
"""


@pytest.fixture(scope="module")
def gathered(machine: Machine) -> dict[str, str]:
    return sections(output(machine, GATHER))


@pytest.fixture(scope="module")
def files(machine: Machine) -> dict[str, FileFacts]:
    return file_facts(machine, [FOLDER, CERTIFICATE, KEY, ORIGIN])


@pytest.fixture(scope="module")
def sent(appliance: ApplianceAddress) -> Handshake:
    """What the port sends, verified with nothing but the authority that clients of this TLS mode trust."""
    return handshake_facts(
        appliance.host,
        appliance.port,
        server_hostname=appliance.verified_name,
        ca_file=appliance.ca_file,
    )


@pytest.fixture(scope="module")
def served(sent: Handshake) -> CertificateFacts:
    return sent.chain[0]


def test_it_holds_for_the_name_that_clients_ask_for(
    appliance: ApplianceAddress, served: CertificateFacts
) -> None:
    found = served_certificate(
        appliance.host,
        appliance.port,
        server_hostname=appliance.verified_name,
        ca_file=appliance.ca_file,
    )
    assert found.fingerprint_sha256 == served.fingerprint_sha256


@pytest.mark.parametrize("name", ["example.org", "203.0.113.7", "admin.localhost"])
def test_it_does_not_hold_for(appliance: ApplianceAddress, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        served_certificate(appliance.host, appliance.port, server_hostname=name, ca_file=appliance.ca_file)


def test_the_chain_is_sent_whole_as_the_file_has_it(sent: Handshake, gathered: dict[str, str]) -> None:
    stored = [facts.fingerprint_sha256 for facts in read_certificates(gathered["chain"])]
    assert [facts.fingerprint_sha256 for facts in sent.chain] == stored


def test_the_chain_is_in_order_and_leaves_the_root_to_the_client(sent: Handshake) -> None:
    for lower, upper in itertools.pairwise(sent.chain):
        assert lower.issuer == upper.subject, f"{upper.subject} did not issue {lower.subject}"
        assert upper.is_ca
    assert len(sent.chain) == 1 or sent.chain[-1].issuer != sent.chain[-1].subject, "the root is sent too"


def test_only_the_own_certificate_comes_without_an_authority_above(
    sent: Handshake, cell: CellOptions
) -> None:
    assert (len(sent.chain) == 1) is (cell.tls_mode == "selfsigned"), [facts.subject for facts in sent.chain]


@pytest.mark.usefixtures("cell")
def test_strangers_do_not_trust_it(appliance: ApplianceAddress) -> None:
    """Cells use authorities nobody knows: with a famous one, verifying against its root would show little."""
    with (
        socket.create_connection((appliance.host, appliance.port), timeout=10) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed|issuer certificate"),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname=appliance.verified_name)


def test_no_ocsp_answer_is_stapled(sent: Handshake) -> None:
    assert not sent.ocsp_stapled


def test_its_key_is_strong(sent: Handshake) -> None:
    for facts in sent.chain:
        strong = facts.key_bits >= 2048 if facts.key_type == "RSA" else facts.key_bits >= 256
        assert strong, f"{facts.subject}: {facts.key_type} with {facts.key_bits} bits"
        assert facts.signature_hash in ("sha256", "sha384", "sha512"), facts.subject


def test_it_is_valid_now_and_for_a_day_at_least(sent: Handshake) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for facts in sent.chain:
        assert facts.not_before <= now + datetime.timedelta(minutes=1), f"valid only from {facts.not_before}"
        assert facts.not_after - now >= datetime.timedelta(days=1), f"expires {facts.not_after}"


def test_it_may_not_sign_other_certificates(served: CertificateFacts) -> None:
    assert served.is_ca is False, f"basicConstraints CA: {served.is_ca}"


def test_it_is_for_servers(served: CertificateFacts) -> None:
    assert "serverAuth" in served.extended_key_usage


def test_it_is_an_x509_version_3_certificate_with_a_random_serial(served: CertificateFacts) -> None:
    assert served.version == "v3"
    # Of an authority's own drawing: Pebble has 63 bits, so that one serial in eight has fewer than 61.
    shortest = 60 if served.issuer == served.subject else 40
    assert served.serial.bit_length() > shortest, f"serial {served.serial:x}"


def test_its_key_belongs_to_it(gathered: dict[str, str]) -> None:
    assert "PUBLIC KEY" in gathered["key"]
    assert gathered["key"] == gathered["cert"]


def test_the_store_says_which_mode_made_it(gathered: dict[str, str], cell: CellOptions) -> None:
    assert gathered["origin"] == cell.tls_mode


def test_the_store_holds_one_pair_and_nothing_else(gathered: dict[str, str]) -> None:
    *public, pair = gathered["pairs"].splitlines()
    assert public == ["cert.pem", "current", "key.pem"]
    assert pair.startswith("pair.")


def test_the_key_is_readable_by_root_only(files: dict[str, FileFacts]) -> None:
    found = files[KEY]
    assert (found.mode, found.owner, found.group) == ("0600", "root", "root")


def test_the_certificate_is_readable_by_all(files: dict[str, FileFacts]) -> None:
    assert (files[CERTIFICATE].mode, files[CERTIFICATE].owner) == ("0644", "root")
    assert (files[ORIGIN].mode, files[ORIGIN].owner) == ("0644", "root")
    assert (files[FOLDER].mode, files[FOLDER].owner) == ("0755", "root")


@pytest.mark.parametrize("version", ["TLSv1.0", "TLSv1.1"])
def test_the_old_protocol_is_refused(appliance: ApplianceAddress, version: str) -> None:
    assert refusal(appliance, version), f"{version} was accepted"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_current_protocol_is_accepted(appliance: ApplianceAddress, version: str) -> None:
    assert refusal(appliance, version) is None


def refusal(appliance: ApplianceAddress, version: str) -> str | None:
    return refused_version(
        appliance.host,
        appliance.port,
        version,
        server_hostname=appliance.verified_name,
        ca_file=appliance.ca_file,
    )
