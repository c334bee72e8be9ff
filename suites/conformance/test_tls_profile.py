"""Mozilla's profile "intermediate", judged by sslyze: protocols, ciphers, curves, certificate, attacks."""

from __future__ import annotations

from harness.client.https import ApplianceAddress
from harness.client.tls_profile import profile_issues
from suites.conformance.trust_anchor import is_its_own_anchor

WITHOUT_AN_AUTHORITY = {"certificate_path_validation"}
"""sslyze builds paths to authorities; a certificate that is its own anchor (CA:FALSE, as rustls wants it) has
none. That clients do verify it is what test_certificate.py shows."""


def test_the_port_keeps_every_rule_of_the_profile(appliance: ApplianceAddress) -> None:
    issues = profile_issues(appliance)
    pardoned = WITHOUT_AN_AUTHORITY if is_its_own_anchor(appliance) else set()
    assert {name: said for name, said in issues.items() if name not in pardoned} == {}
