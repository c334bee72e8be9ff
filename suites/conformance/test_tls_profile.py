"""Mozilla's profile "intermediate", judged by sslyze: protocols, ciphers, curves, certificate, attacks."""

from __future__ import annotations

from harness.client.certificate import read_certificates, served_certificate
from harness.client.https import ApplianceAddress
from harness.client.tls_profile import profile_issues

WITHOUT_AN_AUTHORITY = {"certificate_path_validation"}
"""sslyze builds paths to authorities; a certificate that is its own anchor (CA:FALSE, as rustls wants it) has
none. That clients do verify it is what test_certificate.py shows."""


def is_its_own_anchor(appliance: ApplianceAddress) -> bool:
    """Whether clients trust the very certificate that is served, and no authority."""
    served = served_certificate(
        appliance.host,
        appliance.port,
        server_hostname=appliance.verified_name,
        ca_file=appliance.ca_file,
    )
    trusted = read_certificates(appliance.ca_file.read_text(encoding="ascii"))
    return [one.fingerprint_sha256 for one in trusted] == [served.fingerprint_sha256]


def test_the_port_keeps_every_rule_of_the_profile(appliance: ApplianceAddress) -> None:
    issues = profile_issues(appliance)
    pardoned = WITHOUT_AN_AUTHORITY if is_its_own_anchor(appliance) else set()
    assert {name: said for name, said in issues.items() if name not in pardoned} == {}
