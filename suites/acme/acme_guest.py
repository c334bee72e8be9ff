"""A guest with a certificate of an ACME server: what is served, what the guest says of it, and its keeper."""

from __future__ import annotations

from pathlib import Path

from harness.cell.address import REPORT_FILE, parse_report
from harness.client.certificate import CertificateFacts, served_certificate
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output

KEEPER_SERVICE, KEEPER_TIMER = "slm-certificate.service", "slm-certificate.timer"
STATE = "/etc/slm-copilot/certificate-state"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/slm-copilot"
CERTBOT = "REQUESTS_CA_BUNDLE=/etc/slm-copilot/acme-ca.pem certbot --non-interactive"
"""certbot as an administrator runs it who knows where the CA of the ACME server is."""

TRY_S = 60.0
"""Seconds that one run of certbot or of the keeper may take, stretched for slow accelerators."""


def served(appliance: ApplianceAddress, name: str, ca_file: Path | None = None) -> CertificateFacts:
    """The certificate that a client gets who asks for `name`; verified for it, with the whole chain."""
    trusted = ca_file or appliance.ca_file
    return served_certificate(appliance.host, appliance.port, server_hostname=name, ca_file=trusted)


def own_certificate(machine: Machine, folder: Path) -> Path:
    """The guest's certificate as a file: what a client trusts while a self-signed one is served."""
    path = folder / "cert.pem"
    path.write_text(output(machine, "cat /etc/ssl/slm-copilot/cert.pem"), encoding="ascii")
    return path


def certificate_report(machine: Machine) -> dict[str, str]:
    """The report's section on the certificate as it is now."""
    return parse_report(output(machine, f"cat {REPORT_FILE}"))["certificate"]


def keeper_state(machine: Machine) -> dict[str, str]:
    """What the guest remembers of asking the ACME server."""
    lines = output(machine, f"cat {STATE}").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def run_keeper(machine: Machine, stretch: float, *, due: bool = False) -> None:
    """One run of the keeper as its timer starts it; `due`: after the pause that a failure made."""
    if due:
        output(machine, f"sed -i s/^next_try=.*/next_try=1/ {STATE}")
    output(machine, f"systemctl start {KEEPER_SERVICE}", timeout=2 * TRY_S * stretch)
