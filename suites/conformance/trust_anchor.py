"""What the clients of this run verify the certificate with."""

from __future__ import annotations

from harness.client.certificate import read_certificates, served_certificate
from harness.client.https import ApplianceAddress


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
