"""The certificate came from an ACME server that really asked the guest; clients verify it up to the root."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import pytest

from harness.cell.tls_setting import DOMAIN
from harness.client.certificate import CertificateFacts
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from harness.peers.pebble import Pebble
from suites.acme.acme_guest import HOOK, KEEPER_SERVICE, KEEPER_TIMER, served
from suites.conformance.guest_facts import output, sections

MOST_EXPOSED = 3.0
"""systemd's own figure for the keeper's unit, 0 (nothing reachable) to 10; it runs certbot as root."""

GATHER = f"""
echo '== timer';    systemctl is-enabled {KEEPER_TIMER}; systemctl is-active {KEEPER_TIMER}
echo '== distribution'; systemctl is-enabled certbot.timer certbot.service; ls /etc/cron.d
echo '== hook';     stat --format='%a %U' {HOOK}
echo '== readable'; find /etc/letsencrypt /etc/slm-copilot/acme-ca.pem \\
  \\( -name 'privkey*' -o -name private_key.json -o -name acme-ca.pem \\) -type f -perm /077
echo '== exposure'; systemd-analyze security --no-pager {KEEPER_SERVICE} | tail -n 1
echo '== end'
"""


@pytest.fixture(scope="module")
def certificate(appliance: ApplianceAddress) -> CertificateFacts:
    return served(appliance, DOMAIN)


@pytest.fixture(scope="module")
def gathered(machine: Machine) -> dict[str, str]:
    return sections(output(machine, GATHER))


def test_the_acme_server_asked_the_guests_own_port_80(pebble: Pebble) -> None:
    place = f"http://{DOMAIN}:{pebble.guest.port}/.well-known/acme-challenge/"
    asked = pebble.asked_urls()
    assert asked, f"it asked nobody: {pebble.log()}"
    assert all(url.startswith(place) for url in asked), asked
    assert pebble.validations() >= 1


def test_it_is_issued_by_that_server_and_counts_as_valid(
    certificate: CertificateFacts, pebble: Pebble
) -> None:
    assert "Pebble Intermediate CA" in certificate.issuer
    assert pebble.status_of(certificate.serial) == "Valid"


def test_clients_verify_the_whole_chain_with_the_root_alone(certificate: CertificateFacts) -> None:
    """The handshake behind this fixture trusts nothing but the root, and checks the name."""
    assert certificate.subject != certificate.issuer


def test_it_names_the_domain_and_nothing_else(certificate: CertificateFacts) -> None:
    assert certificate.names == (DOMAIN,)


def test_it_does_not_hold_for_another_name(appliance: ApplianceAddress) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        served(appliance, f"other.{DOMAIN}")


def test_its_key_is_p256(certificate: CertificateFacts) -> None:
    assert certificate.key_type == "secp256r1"


def test_the_report_says_issued_and_which_certificate(
    report: Mapping[str, Mapping[str, str]], certificate: CertificateFacts
) -> None:
    section = report["certificate"]
    assert (section["mode"], section["status"]) == ("letsencrypt", "issued")
    assert section["fingerprint_sha256"] == certificate.fingerprint_sha256


def test_the_console_told_it(machine: Machine) -> None:
    assert f"slm-copilot: certificate issued for {DOMAIN}" in machine.console_text()


def test_one_timer_looks_after_it(gathered: dict[str, str]) -> None:
    assert gathered["timer"].split() == ["enabled", "active"]


def test_the_distributions_own_renewal_is_off(gathered: dict[str, str]) -> None:
    assert gathered["distribution"].split()[:2] == ["masked", "masked"]
    assert "certbot" not in gathered["distribution"].split()[2:]


def test_certbot_has_the_hook_that_serves_what_it_renews(gathered: dict[str, str]) -> None:
    assert gathered["hook"].split() == ["755", "root"], f"{HOOK} is missing or can't be run"


def test_no_key_is_readable_by_others(gathered: dict[str, str]) -> None:
    assert gathered["readable"].split() == []


def test_the_keeper_reaches_no_more_than_it_needs(gathered: dict[str, str]) -> None:
    figure = float(gathered["exposure"].partition(": ")[2].split()[0])
    assert figure <= MOST_EXPOSED, gathered["exposure"]
