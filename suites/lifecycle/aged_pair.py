"""A self-signed pair of another age, put where the guest keeps its own: what passing time would leave."""

from __future__ import annotations

import datetime
import ipaddress
import shlex

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.machine.protocol import Machine
from suites.lifecycle.guest_state import GuestState

STORE = "/etc/ssl/slm-copilot"

_REPLACE = f"""
set -e
folder=$(mktemp -d {STORE}/pair.XXXXXX)
chmod 0755 "$folder"
(umask 0077 && cat >"$folder/both.pem")
(umask 0077 && openssl pkey -in "$folder/both.pem" -out "$folder/key.pem")
openssl x509 -in "$folder/both.pem" -out "$folder/cert.pem"
rm "$folder/both.pem"
echo selfsigned >"$folder/origin"
chmod 0644 "$folder/cert.pem" "$folder/origin"
old=$(readlink {STORE}/current)
ln -sfnT "$(basename "$folder")" {STORE}/current
rm -rf "{STORE}/$old"
systemctl reload nginx.service
"""


def replace_pair(machine: Machine, state: GuestState, *, begins_in_days: float, ends_in_days: float) -> None:
    """Have the guest serve a pair with the names of its present certificate and this time of validity,
    counted from now (negative: in the past)."""
    pem = selfsigned_pair(state.names, begins_in_days=begins_in_days, ends_in_days=ends_in_days)
    result = machine.run(f"bash -c {shlex.quote(_REPLACE)}", input=pem, timeout=60)
    assert result.exit_status == 0, f"the pair could not be replaced: {result.stderr.strip()}"


def selfsigned_pair(names: tuple[str, ...], *, begins_in_days: float, ends_in_days: float) -> bytes:
    """A private key and its self-signed certificate, PEM, one after the other. `names` may be addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SLM-Copilot"),
            x509.NameAttribute(NameOID.COMMON_NAME, "slm-copilot"),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins_in_days))
        .not_valid_after(now + datetime.timedelta(days=ends_in_days))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
