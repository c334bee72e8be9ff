"""A private certificate authority, as a company has one: roots, intermediates, servers, and bad ones.

Everything is made anew and lives in memory; nothing of it is trusted by anybody who isn't told to.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey

KeyKind = Literal["p256", "p384", "p521", "secp256k1", "rsa1024", "rsa2048", "rsa3072", "ed25519", "dsa"]
KeyForm = Literal["pkcs8", "traditional"]
"""`traditional` is SEC1 for elliptic keys and PKCS#1 for RSA."""
Hash = Literal["sha256", "sha384", "sha512"]
"""SHA-1 is missing because the library no longer signs with it; openssl still does, on request."""
Purpose = Literal["server", "client", "any"]

PURPOSES = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}


@dataclass(frozen=True)
class Holder:
    """A certificate and its key: an authority or a server."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def pem(self) -> str:
        """The certificate as one PEM block."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def key_pem(self, form: KeyForm = "pkcs8", passphrase: str = "") -> str:
        """The key as one PEM block; encrypted when there is a passphrase."""
        formats = {
            "pkcs8": serialization.PrivateFormat.PKCS8,
            "traditional": serialization.PrivateFormat.TraditionalOpenSSL,
        }
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase.encode())
        return self.key.private_bytes(serialization.Encoding.PEM, formats[form], encryption).decode()


def make_key(kind: KeyKind = "p256") -> PrivateKey:
    """A fresh key; RSA takes a tenth of a second and more."""
    match kind:
        case "rsa1024" | "rsa2048" | "rsa3072":
            return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "dsa":
            return dsa.generate_private_key(2048)
    curves: dict[str, ec.EllipticCurve] = {
        "p256": ec.SECP256R1(),
        "p384": ec.SECP384R1(),
        "p521": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
    }
    return ec.generate_private_key(curves[kind])


def make_authority(
    name: str,
    issuer: Holder | None = None,
    *,
    key: PrivateKey | None = None,
    days: float = 3650,
    starts_days_ago: float = 1,
    hashed: Hash = "sha256",
    is_ca: bool = True,
) -> Holder:
    """A root (without `issuer`) or an intermediate authority.

    Args:
        key: its own key, a fresh P-256 one unless given.
        days: how long it is valid, counted from its start.
        is_ca: False makes one that must not sign anything.
    """
    own = key or make_key()
    usage = _key_usage(signs_certificates=is_ca)
    builder = (
        _started(name, issuer, own, days, starts_days_ago)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    return Holder(_signed(builder, issuer, own, hashed), own)


def make_server(
    issuer: Holder | None,
    names: Sequence[str] = (),
    addresses: Sequence[str] = (),
    *,
    key: PrivateKey | None = None,
    days: float = 90,
    starts_days_ago: float = 1,
    hashed: Hash = "sha256",
    purpose: Purpose | None = "server",
    is_ca: bool = False,
    common_name: str = "",
) -> Holder:
    """A server's certificate for DNS names and IP addresses; self-signed without `issuer`.

    Args:
        key: its own key, a fresh P-256 one unless given.
        purpose: the extended key usage; None leaves the extension out.
        common_name: the subject, the first name or address unless given. Names and addresses alone make the
            subject alternative name; without any there is none.
    """
    own = key or make_key()
    listed: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    listed += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    subject = common_name or next(iter((*names, *addresses)), "nobody")
    builder = (
        _started(subject, issuer, own, days, starts_days_ago)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=is_ca), critical=True)
    )
    if listed:
        builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=False)
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([PURPOSES[purpose]]), critical=False)
    return Holder(_signed(builder, issuer, own, hashed), own)


def parameters(chain: str, key: str) -> dict[str, str]:
    """The context variables of TLS mode custom for a PEM chain and a PEM key."""
    return {
        "ONEAPP_SLM_TLS_MODE": "custom",
        "ONEAPP_SLM_TLS_CERT": base64.b64encode(chain.encode()).decode(),
        "ONEAPP_SLM_TLS_KEY": base64.b64encode(key.encode()).decode(),
    }


def custom_context(
    names: Sequence[str], addresses: Sequence[str], *, key_kind: KeyKind = "p256"
) -> tuple[Mapping[str, str], bytes]:
    """The context of TLS mode custom with a new certificate from a new root over one intermediate.

    Returns the context variables (the key among them is a secret) and the root's PEM, which clients trust.
    """
    root = make_authority("Private test root")
    intermediate = make_authority("Private test intermediate", root, days=1825)
    server = make_server(intermediate, names, addresses, key=make_key(key_kind))
    return parameters(server.pem + intermediate.pem, server.key_pem()), root.pem.encode()


def _started(
    name: str, issuer: Holder | None, key: PrivateKey, days: float, starts_days_ago: float
) -> x509.CertificateBuilder:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
        ]
    )
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=starts_days_ago)
    signer = (issuer.key if issuer else key).public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(
    builder: x509.CertificateBuilder, issuer: Holder | None, own: PrivateKey, hashed: Hash
) -> x509.Certificate:
    signer = issuer.key if issuer else own
    if isinstance(signer, ed25519.Ed25519PrivateKey):
        return builder.sign(signer, None)
    match hashed:
        case "sha256":
            return builder.sign(signer, hashes.SHA256())
        case "sha384":
            return builder.sign(signer, hashes.SHA384())
        case "sha512":
            return builder.sign(signer, hashes.SHA512())
