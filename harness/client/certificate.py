"""Facts of a listening TLS port: its certificate and the protocol versions it accepts."""

from __future__ import annotations

import datetime
import ipaddress
import re
import socket
import ssl
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.client.https import CONNECT_TIMEOUT_S, verifying_context

VERSIONS = {
    "TLSv1.0": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""Every version that a client of today can still try; SSLv2 and SSLv3 are gone from OpenSSL."""


@dataclass(frozen=True)
class CertificateFacts:
    """What a certificate says."""

    pem: str
    fingerprint_sha256: str
    """Upper-case hexadecimal, colon separated, as `openssl x509 -fingerprint -sha256` prints it."""
    subject: str
    issuer: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    not_before: datetime.datetime
    not_after: datetime.datetime
    key_type: str
    """`RSA` or the curve's name."""
    key_bits: int
    signature_hash: str
    is_ca: bool | None
    """What basicConstraints says; None where the extension is missing."""
    extended_key_usage: tuple[str, ...]
    """Names such as `serverAuth`; empty where the extension is missing."""
    version: str
    serial: int

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the subject alternative name extension."""
        return (*self.dns_names, *self.addresses)

    def covers(self, name: str) -> bool:
        """Whether a name or address is listed literally (wildcards are not expanded)."""
        try:
            return str(ipaddress.ip_address(name)) in self.addresses
        except ValueError:
            return name.lower() in (known.lower() for known in self.dns_names)


def read_certificate(pem: bytes | str) -> CertificateFacts:
    """The facts of the first certificate in a PEM text.

    Raises:
        ValueError: there is none, or its key is neither RSA nor elliptic.
    """
    certificate = x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
    public_key = certificate.public_key()
    if isinstance(public_key, rsa.RSAPublicKey):
        key_type = "RSA"
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        key_type = public_key.curve.name
    else:
        raise ValueError(f"unexpected key type {type(public_key).__name__}")
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    san = extensions.get(x509.SubjectAlternativeName.oid)
    basic = extensions.get(x509.BasicConstraints.oid)
    usage = extensions.get(x509.ExtendedKeyUsage.oid)
    algorithm = certificate.signature_hash_algorithm
    return CertificateFacts(
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        dns_names=tuple(san.get_values_for_type(x509.DNSName))
        if isinstance(san, x509.SubjectAlternativeName)
        else (),
        addresses=tuple(str(address) for address in san.get_values_for_type(x509.IPAddress))
        if isinstance(san, x509.SubjectAlternativeName)
        else (),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key_type=key_type,
        key_bits=public_key.key_size,
        signature_hash=algorithm.name if algorithm else "none",
        is_ca=basic.ca if isinstance(basic, x509.BasicConstraints) else None,
        extended_key_usage=tuple(purpose._name for purpose in usage)
        if isinstance(usage, x509.ExtendedKeyUsage)
        else (),
        version=certificate.version.name,
        serial=certificate.serial_number,
    )


def read_certificates(pem: str) -> list[CertificateFacts]:
    """The facts of every certificate in a PEM text, in its order.

    Raises:
        ValueError: there is none, or a key is neither RSA nor elliptic.
    """
    certificates = x509.load_pem_x509_certificates(pem.encode())
    return [read_certificate(one.public_bytes(serialization.Encoding.PEM)) for one in certificates]


def served_certificate(host: str, port: int, *, server_hostname: str, ca_file: Path) -> CertificateFacts:
    """The certificate a port serves, from a handshake in which it was verified for `server_hostname`.

    Raises:
        ssl.SSLCertVerificationError: it is not signed by `ca_file` or does not name `server_hostname`.
        OSError, ssl.SSLError: no connection, no handshake.
    """
    with (
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as plain,
        verifying_context(ca_file).wrap_socket(plain, server_hostname=server_hostname) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    if der is None:
        raise ssl.SSLError(f"{host}:{port} sent no certificate")
    return read_certificate(ssl.DER_cert_to_PEM_cert(der))


@dataclass(frozen=True)
class Handshake:
    """What a port sends before the first byte of HTTP."""

    chain: tuple[CertificateFacts, ...]
    """As sent: the server's own certificate first."""
    ocsp_stapled: bool


def handshake_facts(host: str, port: int, *, server_hostname: str, ca_file: Path) -> Handshake:
    """The whole chain a port sends and whether an OCSP answer comes with it; verified as everywhere.

    openssl's own client is asked, because Python's ssl module shows neither.

    Raises:
        ssl.SSLCertVerificationError: the chain doesn't lead to `ca_file`, or not for `server_hostname`.
        ssl.SSLError: no handshake; the message has openssl's words.
    """
    try:
        name = ["-verify_ip", str(ipaddress.ip_address(server_hostname)), "-noservername"]
    except ValueError:
        name = ["-verify_hostname", server_hostname, "-servername", server_hostname]
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    trust = ["-CAfile", str(ca_file), "-no-CApath", "-no-CAstore", "-partial_chain", "-verify_return_error"]
    said = subprocess.run(
        ["openssl", "s_client", "-connect", target, "-showcerts", "-status", *name, *trust],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=CONNECT_TIMEOUT_S,
        check=False,
    )
    refused = re.search(r"verify error:num=\d+:(.*)", said.stdout + said.stderr)
    if refused:
        raise ssl.SSLCertVerificationError(f"{target}: {refused[1]}")
    sent = said.stdout.partition("Server certificate")[0]
    pems = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", sent, re.DOTALL)
    if said.returncode != 0 or not pems:
        raise ssl.SSLError(f"{target}: no handshake: {said.stderr.strip()[-300:]}")
    unstapled = "OCSP response: no response sent" in said.stdout
    return Handshake(chain=tuple(read_certificate(pem) for pem in pems), ocsp_stapled=not unstapled)


def refused_version(host: str, port: int, version: str, *, server_hostname: str, ca_file: Path) -> str | None:
    """None when the port completes a handshake in `version` (a key of VERSIONS), else why it did not.

    The client's own floor is lowered (`@SECLEVEL=0`) so that a refusal is the server's. The certificate
    is verified here as everywhere.

    Raises:
        RuntimeError: this host's OpenSSL can't speak the version, so nothing can be said.
        OSError: no connection.
    """
    context = verifying_context(ca_file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # trying an old version is the point
        context.minimum_version = VERSIONS[version]
        context.maximum_version = VERSIONS[version]
    with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=server_hostname):
                return None
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            if error.reason in ("NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE"):
                raise RuntimeError(f"this host's OpenSSL cannot speak {version}: {error}") from error
            return error.reason or str(error)
        except ConnectionError as error:
            return str(error)
