"""What an unknown appliance's certificate is verified with, settled before anything secret is sent to it.

Three ways: the file of an authority (or of the certificate itself), the fingerprint of the certificate that
must be served, or the authorities this host's system trusts. Whichever it is ends as one PEM file, and every
later connection is verified against that file and for the name in the address.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.client.certificate import CertificateFacts, read_certificate
from harness.client.https import CONNECT_TIMEOUT_S, verifying_context
from harness.errors import HarnessError
from harness.results.model import write_whole

FINGERPRINT = re.compile(r"(?:sha256[:=])?([0-9a-f]{64}|[0-9a-f]{2}(?::[0-9a-f]{2}){31})", re.IGNORECASE)

CERTIFICATE = re.compile(
    r"^-----BEGIN CERTIFICATE-----\s.*?^-----END CERTIFICATE-----$", re.MULTILINE | re.DOTALL
)

SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Ubuntu
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, RHEL
)

EXPIRED, NOT_YET_VALID, WRONG_NAME, WRONG_ADDRESS = 10, 9, 62, 64
"""Of OpenSSL's verification results (openssl-verification-options, "x509_vfy.h")."""


@dataclass(frozen=True)
class Place:
    """Host and port of an appliance."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """`https://host[:port]`, without the port where it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}" if self.port == 443 else f"https://{host}:{self.port}"


@dataclass(frozen=True)
class Trusted:
    """A verified appliance: the file to verify it with from now on, the certificate it serves, and in words
    what vouches for it."""

    file: Path
    leaf: CertificateFacts
    by: str


def parse_url(text: str) -> Place:
    """Where `https://host[:port][/v1]` leads. Raises HarnessError for any other address."""
    shown = text if "@" not in text else "the address"
    hint = "URL=https://HOST or https://HOST:PORT"
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise HarnessError(f"{shown} is no address: {error}", hint=hint) from None
    if parts.username is not None or parts.password is not None:
        raise HarnessError(
            "an address with a user or password in it is seen by everybody on this host",
            hint="give the password by PASSWORD_FILE=, or type it when asked",
        )
    if parts.scheme == "http":
        raise HarnessError(f"{shown} is plain HTTP, which would send the password unprotected", hint=hint)
    if parts.scheme != "https" or not parts.hostname:
        raise HarnessError(f"{shown or 'an empty URL'} is no https address", hint=hint)
    if parts.path.rstrip("/") not in ("", "/v1") or parts.query or parts.fragment:
        raise HarnessError(f"{shown} has more than host and port", hint=hint)
    return Place(parts.hostname, port or 443)


def parse_fingerprint(text: str) -> bytes:
    """The SHA-256 digest of `sha256:` and 64 hexadecimal digits, with colons or without. Raises HarnessError
    for what is anything else, a shorter one above all: a part of a fingerprint pins nothing."""
    found = FINGERPRINT.fullmatch(text.strip())
    if found is None:
        raise HarnessError(
            "FINGERPRINT is not sha256: and 64 hexadecimal digits",
            hint="the appliance's report has it: grep ^fingerprint_sha256 /etc/one-appliance/config",
        )
    return bytes.fromhex(found[1].replace(":", ""))


def establish_trust(place: Place, target: Path, *, ca: Path | None, fingerprint: str) -> Trusted:
    """Find out whether the appliance is who it should be, and write what it is verified with to `target`.

    Nothing but handshakes is sent. Raises HarnessError, one line each, for what doesn't answer, what serves
    another certificate, and what doesn't verify: wrong authority, wrong name, out of date.
    """
    if ca is not None and fingerprint:
        raise HarnessError("CA and FINGERPRINT are two ways to say the same", hint="give one of them")
    if fingerprint:
        write_whole(target, _pinned(place, parse_fingerprint(fingerprint)))
        return Trusted(target, _verified_leaf(place, target, "the pinned certificate"), "pinned fingerprint")
    source = ca or _system_bundle()
    write_whole(target, _certificates_of(source))
    leaf = _verified_leaf(place, target, str(ca) if ca else "an authority of this host")
    if leaf.pem in target.read_text(encoding="ascii"):
        write_whole(target, leaf.pem)  # it is its own anchor, and then it is the only one
    return Trusted(target, leaf, f"CA file {ca}" if ca else "this host's authorities")


def _pinned(place: Place, wanted: bytes) -> str:
    """The certificate that is served, when it is the one with this digest."""
    der = _served(place)
    served = hashlib.sha256(der).digest()
    if not hmac.compare_digest(served, wanted):
        raise HarnessError(
            f"{place.url} serves another certificate than the pinned one: "
            # As the report writes it, for people who compare the two.
            f"its fingerprint is {served.hex(':').upper()}",
            hint="a renewed certificate has a new one: compare it with the appliance's report before use",
        )
    pem = ssl.DER_cert_to_PEM_cert(der)
    if _facts(pem, place).is_ca:
        raise HarnessError(
            "the pinned certificate may sign others, and a pin would trust those too", hint="use CA= for it"
        )
    return pem


def _served(place: Place) -> bytes:
    """The server's certificate from a handshake that proves nothing. Raises HarnessError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # The digest decides, in the next step; this connection is closed without a byte of ours in it.
    context.verify_mode = ssl.CERT_NONE
    return _handshake(place, context)


def _verified_leaf(place: Place, trust: Path, by: str) -> CertificateFacts:
    try:
        der = _handshake(place, verifying_context(trust))
    except ssl.SSLCertVerificationError as error:
        raise _in_words(error, place, by) from None
    return _facts(ssl.DER_cert_to_PEM_cert(der), place)


def _handshake(place: Place, context: ssl.SSLContext) -> bytes:
    """The server's certificate (DER). Raises ssl.SSLCertVerificationError, and HarnessError for the rest."""
    try:
        with (
            socket.create_connection((place.host, place.port), timeout=CONNECT_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=place.host) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError:
        raise
    except socket.gaierror as error:
        raise HarnessError(f"{place.host} can't be found: {error.strerror}", hint="check URL=") from None
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        raise HarnessError(
            f"{place.url} doesn't speak TLS as it should: {reason}",
            hint=f"is {place.port} the port of the appliance's HTTPS?",
        ) from None
    except (OSError, ValueError) as error:
        late = isinstance(error, TimeoutError)
        told = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = f"no answer within {CONNECT_TIMEOUT_S:.0f} s" if late else told.lower()
        raise HarnessError(
            f"{place.url} can't be reached: {reason}",
            hint="check URL=, the VM's security group and its network",
        ) from None
    if der is None:
        raise HarnessError(f"{place.url} sent no certificate")
    return der


def _in_words(error: ssl.SSLCertVerificationError, place: Place, by: str) -> HarnessError:
    if error.verify_code in (WRONG_NAME, WRONG_ADDRESS):
        facts = _facts(ssl.DER_cert_to_PEM_cert(_served(place)), place)
        names = ", ".join(facts.names) or "no name"
        return HarnessError(
            f"{place.url}: its certificate is not for {place.host}, but for {names}",
            hint="use one of these in URL=, or set ONEAPP_SLM_DOMAIN to the name that people use",
        )
    if error.verify_code in (EXPIRED, NOT_YET_VALID):
        facts = _facts(ssl.DER_cert_to_PEM_cert(_served(place)), place)
        return HarnessError(
            f"{place.url}: its certificate is valid from {facts.not_before:%Y-%m-%d %H:%M} "
            f"to {facts.not_after:%Y-%m-%d %H:%M} UTC, and not now",
            hint="look at the clocks of the VM and of this host, and at docs/operations.md (certificate)",
        )
    return HarnessError(
        f"{place.url}: its certificate does not verify with {by}: {error.verify_message}",
        hint="give CA=cert.pem (the appliance's /etc/ssl/slm-copilot/cert.pem, or your authority's) "
        "or FINGERPRINT=sha256:... from its report",
    )


def _facts(pem: str, place: Place) -> CertificateFacts:
    try:
        return read_certificate(pem)
    except ValueError as error:
        raise HarnessError(f"{place.url}: its certificate can't be read: {error}") from None


def _certificates_of(source: Path) -> str:
    """The certificates of a PEM file, and nothing else that may stand in it (a private key). Raises
    HarnessError."""
    try:
        text = source.read_bytes().decode("ascii", "replace")
    except OSError as error:
        raise HarnessError(f"can't read CA={source}: {error.strerror}") from None
    found = "".join(f"{block}\n" for block in CERTIFICATE.findall(text))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ssl.SSLError, ValueError):
        raise HarnessError(f"CA={source} has no readable PEM certificate") from None
    return found


def _system_bundle() -> Path:
    told = ssl.get_default_verify_paths().cafile
    for bundle in (*([Path(told)] if told else []), *SYSTEM_BUNDLES):
        if bundle.is_file():
            return bundle
    raise HarnessError("this host has no file of authorities", hint="give CA= or FINGERPRINT=")
