"""TLS mode custom: what is refused, with which words, and what is accepted in how many spellings."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from bash_guest import Guest, required
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from harness.peers.private_ca import Holder, KeyKind, PrivateKey, make_authority, make_server
from harness.peers.private_ca import make_key as fresh_key
from harness.peers.private_ca import parameters as context_of

CHECK = "load_flavor; validate_parameters; check_tls_mode"
CONFIGURE = f"{CHECK}; resolve_addresses; configure_tls"
FOLDER = "/etc/ssl/slm-copilot"
NAMES = ["copilot.example.org", "copilot"]

CERT, KEY = "ONEAPP_SLM_TLS_CERT", "ONEAPP_SLM_TLS_KEY"


@cache
def make_key(kind: KeyKind) -> PrivateKey:
    """RSA keys take a tenth of a second and more: one of a kind serves all tests."""
    return fresh_key(kind)


@cache
def root() -> Holder:
    return make_authority("Test root")


@cache
def intermediate() -> Holder:
    return make_authority("Test intermediate", root())


def server(**wishes: Any) -> Holder:
    """A good certificate of the intermediate, but for what is wished otherwise."""
    return make_server(intermediate(), wishes.pop("names", NAMES), wishes.pop("addresses", ()), **wishes)


def of(chain: str, key: str) -> dict[str, str]:
    return context_of(chain, key)


def chained(holder: Holder) -> dict[str, str]:
    return of(holder.pem + intermediate().pem, holder.key_pem())


def openssl(folder: Path, command: str) -> None:
    subprocess.run(
        [required("openssl"), *command.split()], cwd=folder, check=True, capture_output=True, timeout=60
    )


SERVER_EXTENSIONS = """
subjectAltName = DNS:copilot
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
"""
AUTHORITY_EXTENSIONS = """
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
"""


def openssl_signed(folder: Path, holder: Holder, issuer: Holder, options: str, extensions: str) -> str:
    """A self-signed holder's certificate signed by an issuer, as only openssl's options allow."""
    (folder / "ca.pem").write_text(issuer.pem)
    (folder / "ca.key").write_text(issuer.key_pem())
    (folder / "one.pem").write_text(holder.pem)
    (folder / "ext").write_text(extensions)
    sign = "x509 -in one.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -clrext -extfile ext"
    openssl(folder, f"{sign} {options} -out two.pem")
    return (folder / "two.pem").read_text()


# ---- refused


@dataclass(frozen=True)
class Refused:
    make: Callable[[Path], dict[str, str]]
    parameter: str
    reason: str
    """A regular expression."""


def without(name: str) -> Callable[[Path], dict[str, str]]:
    return lambda _: {**chained(server()), name: ""}


def with_text(name: str, text: str) -> Callable[[Path], dict[str, str]]:
    return lambda _: {**chained(server()), name: base64.b64encode(text.encode()).decode()}


def flawed(**wishes: Any) -> Callable[[Path], dict[str, str]]:
    return lambda _: chained(server(**wishes))


def chain_of(*parts: Callable[[Holder], str]) -> Callable[[Path], dict[str, str]]:
    def make(_: Path) -> dict[str, str]:
        holder = server()
        return of("".join(part(holder) for part in parts), holder.key_pem())

    return make


def own(holder: Holder) -> str:
    return holder.pem


def keyed(make_text: Callable[[Holder], str]) -> Callable[[Path], dict[str, str]]:
    def make(_: Path) -> dict[str, str]:
        holder = server()
        return of(holder.pem + intermediate().pem, make_text(holder))

    return make


def explicit_curve(folder: Path) -> dict[str, str]:
    openssl(folder, "ecparam -name prime256v1 -param_enc explicit -genkey -noout -out k.pem")
    openssl(
        folder, "req -x509 -new -key k.pem -subj /CN=copilot -addext subjectAltName=DNS:copilot -out c.pem"
    )
    return of((folder / "c.pem").read_text(), (folder / "k.pem").read_text())


def sha1(folder: Path) -> dict[str, str]:
    holder = make_server(None, NAMES)
    signed = openssl_signed(folder, holder, intermediate(), "-sha1", SERVER_EXTENSIONS)
    return of(signed + intermediate().pem, holder.key_pem())


def sha1_intermediate(folder: Path) -> dict[str, str]:
    middle = make_authority("Old intermediate")
    holder = make_server(middle, NAMES)
    signed = openssl_signed(folder, middle, root(), "-sha1", AUTHORITY_EXTENSIONS)
    return of(holder.pem + signed, holder.key_pem())


def only_enciphers(folder: Path) -> dict[str, str]:
    holder = make_server(None, NAMES, key=make_key("rsa2048"))
    extensions = SERVER_EXTENSIONS + "keyUsage = critical, keyEncipherment\n"
    signed = openssl_signed(folder, holder, intermediate(), "-sha256", extensions)
    return of(signed + intermediate().pem, holder.key_pem())


def signed_by_ed25519(_: Path) -> dict[str, str]:
    authority = make_authority("Modern", key=make_key("ed25519"))
    holder = make_server(authority, NAMES)
    return of(holder.pem, holder.key_pem())


def signed_by_a_namesake(_: Path) -> dict[str, str]:
    holder = make_server(make_authority("Test intermediate", root()), NAMES)
    return of(holder.pem + intermediate().pem, holder.key_pem())


def signed_by_a_server(_: Path) -> dict[str, str]:
    middle = make_authority("No authority", root(), is_ca=False)
    holder = make_server(middle, NAMES)
    return of(holder.pem + middle.pem, holder.key_pem())


def old_intermediate(_: Path) -> dict[str, str]:
    middle = make_authority("Expired intermediate", root(), days=1, starts_days_ago=3)
    holder = make_server(middle, NAMES)
    return of(holder.pem + middle.pem, holder.key_pem())


def weak_intermediate(_: Path) -> dict[str, str]:
    middle = make_authority("Weak intermediate", root(), key=make_key("rsa1024"))
    holder = make_server(middle, NAMES)
    return of(holder.pem + middle.pem, holder.key_pem())


def for_another_domain(**wishes: Any) -> Callable[[Path], dict[str, str]]:
    domain = wishes.pop("domain")
    return lambda _: {**chained(server(**wishes)), "ONEAPP_SLM_DOMAIN": domain}


REFUSED: dict[str, Refused] = {
    "no certificate": Refused(without(CERT), CERT, "is missing"),
    "no key": Refused(without(KEY), KEY, "is missing"),
    "not base64": Refused(lambda _: {**chained(server()), CERT: "%%%"}, CERT, "not base64 of a PEM"),
    "bare PEM": Refused(lambda _: {**chained(server()), CERT: server().pem}, CERT, "not base64 of a PEM"),
    "base64 of no PEM": Refused(with_text(CERT, "hello"), CERT, "not base64 of a PEM"),
    "a key that is no PEM": Refused(with_text(KEY, "hello"), KEY, "not base64 of a PEM"),
    "a key for a certificate": Refused(
        lambda _: {**chained(server()), CERT: chained(server())[KEY]}, CERT, "holds a private key"
    ),
    "a certificate for a key": Refused(
        lambda _: {**chained(server()), KEY: chained(server())[CERT]}, KEY, "holds a certificate"
    ),
    "a key below the certificate": Refused(
        chain_of(own, lambda holder: holder.key_pem()), CERT, "holds a private key"
    ),
    "a certificate below the key": Refused(
        keyed(lambda holder: holder.key_pem() + holder.pem), KEY, "holds a certificate"
    ),
    "a certificate request": Refused(
        with_text(CERT, "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n"),
        CERT,
        "holds 'CERTIFICATE REQUEST'",
    ),
    "a cut certificate": Refused(
        chain_of(lambda holder: holder.pem[:400]), CERT, "a PEM block in it is cut off"
    ),
    "a chain that is cut": Refused(
        chain_of(own, lambda _: intermediate().pem[:400]), CERT, "a PEM block in it is cut off"
    ),
    "a damaged certificate": Refused(
        chain_of(lambda holder: holder.pem.replace("MII", "AAA", 1)), CERT, "is damaged"
    ),
    "a damaged chain": Refused(
        chain_of(own, lambda _: intermediate().pem.replace("MII", "AAA", 1)), CERT, "is damaged"
    ),
    "a damaged key": Refused(
        keyed(lambda holder: re.sub(r"(?m)^M", "A", holder.key_pem())), KEY, "key is damaged"
    ),
    "a cut key": Refused(keyed(lambda holder: holder.key_pem()[:100]), KEY, "is cut off"),
    "another's key": Refused(keyed(lambda _: server().key_pem()), KEY, "does not belong to the certificate"),
    "a key of another kind": Refused(
        keyed(lambda _: server(key=make_key("rsa2048")).key_pem()), KEY, "does not belong to the certificate"
    ),
    "the intermediate's key": Refused(keyed(lambda _: intermediate().key_pem()), KEY, "does not belong"),
    "an encrypted key": Refused(
        keyed(lambda holder: holder.key_pem(passphrase="secret words")), KEY, "key is encrypted"
    ),
    "a traditionally encrypted key": Refused(
        keyed(lambda holder: holder.key_pem("traditional", "secret words")), KEY, "key is encrypted"
    ),
    "two keys": Refused(
        keyed(lambda holder: holder.key_pem() + server().key_pem()), KEY, "holds several keys"
    ),
    "a public key": Refused(
        keyed(
            lambda holder: (
                holder.key.public_key()
                .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
                .decode()
            )
        ),
        KEY,
        "holds a public key",
    ),
    "a key of OpenSSH": Refused(
        keyed(
            lambda _: (
                ed25519.Ed25519PrivateKey.generate()
                .private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.OpenSSH,
                    serialization.NoEncryption(),
                )
                .decode()
            )
        ),
        KEY,
        "key of OpenSSH",
    ),
    "expired": Refused(flawed(days=2, starts_days_ago=3), CERT, r"expired on 20\d\d-"),
    "not yet valid": Refused(flawed(starts_days_ago=-2), CERT, r"not valid before 20\d\d-"),
    "RSA of 1024 bits": Refused(flawed(key=make_key("rsa1024")), CERT, "RSA key of only 1024 bits"),
    "a curve of bitcoin": Refused(flawed(key=make_key("secp256k1")), CERT, "'?EC secp256k1"),
    "P-521": Refused(flawed(key=make_key("p521")), CERT, "secp521r1, with which browsers"),
    "Ed25519": Refused(flawed(key=make_key("ed25519")), CERT, "ED25519, with which browsers"),
    "DSA": Refused(flawed(key=make_key("dsa")), CERT, "'dsaEncryption'"),
    "a curve without a name": Refused(explicit_curve, CERT, "curve without a name"),
    "SHA-1": Refused(sha1, CERT, "signed with 'ecdsa-with-SHA1'"),
    "SHA-1 above": Refused(
        sha1_intermediate, CERT, "2 .'Old intermediate'. is signed with 'ecdsa-with-SHA1'"
    ),
    "signed with Ed25519": Refused(signed_by_ed25519, CERT, "signed with 'ED25519'"),
    "no names": Refused(flawed(names=(), common_name="copilot.example.org"), CERT, "no subject alternative"),
    "for clients only": Refused(flawed(purpose="client"), CERT, "not for servers"),
    "for everything": Refused(flawed(purpose="any"), CERT, "not for servers"),
    "a key that only enciphers": Refused(only_enciphers, CERT, "may not sign"),
    "an authority as server": Refused(flawed(is_ca=True), CERT, r"is an authority's \(CA:TRUE\)"),
    "a root alone": Refused(
        lambda _: of(root().pem, root().key_pem()), CERT, r"is an authority's \(CA:TRUE\)"
    ),
    "a chain upside down": Refused(
        chain_of(lambda _: intermediate().pem, own), CERT, "wrong order: the first certificate"
    ),
    "root before intermediate": Refused(
        chain_of(own, lambda _: root().pem + intermediate().pem),
        CERT,
        "wrong order or has a gap: certificate 2",
    ),
    "somebody else's intermediate": Refused(
        chain_of(own, lambda _: make_authority("Stranger", root()).pem), CERT, "certificate 2 .'Stranger'."
    ),
    "the same certificate twice": Refused(chain_of(own, own), CERT, "wrong order or has a gap"),
    "a namesake's signature": Refused(signed_by_a_namesake, CERT, "is not signed by the one after it"),
    "an intermediate that may not sign": Refused(signed_by_a_server, CERT, "no CA:TRUE"),
    "an expired intermediate": Refused(old_intermediate, CERT, "2 .'Expired intermediate'. expired"),
    "a weak intermediate": Refused(weak_intermediate, CERT, "2 .'Weak intermediate'. has an RSA key of only"),
    "eleven certificates": Refused(
        chain_of(own, *[lambda _: intermediate().pem] * 10), CERT, "11 certificates"
    ),
    "another domain": Refused(
        for_another_domain(domain="other.example.org"), "ONEAPP_SLM_DOMAIN", "not among"
    ),
    "a domain two labels below a wildcard": Refused(
        for_another_domain(names=["*.example.org"], domain="a.b.example.org"),
        "ONEAPP_SLM_DOMAIN",
        "not among",
    ),
    "the bare domain of a wildcard": Refused(
        for_another_domain(names=["*.example.org"], domain="example.org"), "ONEAPP_SLM_DOMAIN", "not among"
    ),
}


def key_lines(context: dict[str, str]) -> list[str]:
    """What of the key must show nowhere: the value, and the lines of its PEM."""
    value = context[KEY]
    inside = base64.b64decode(value, validate=False).decode(errors="replace").splitlines() if value else []
    return [text for text in (value, *inside) if len(text) > 20 and "-----" not in text]


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line_with_the_reason_before_anything_is_written(
    guest: Guest, tmp_path: Path, kind: str
) -> None:
    case = REFUSED[kind]
    context = case.make(tmp_path)
    said = guest.run(CHECK, check=False, **context)
    assert said.returncode != 0
    lines = [line for line in said.stderr.splitlines() if line]
    assert len(lines) == 1, said.stderr
    line = lines[0].partition("=> ERROR: ")[2]
    assert line.startswith(f"{case.parameter}: ")
    assert re.search(case.reason, line), line
    assert "; accepted: " in line
    assert guest.path("/run/slm-copilot/failure").read_text().strip() in line
    assert not guest.path(FOLDER).exists()
    assert list(guest.path("/run/slm-copilot").glob(".custom.*")) == []
    if "PUBLIC" not in kind.upper() and kind != "a certificate for a key":
        assert not [text for text in key_lines(context) if text in said.stdout + said.stderr]


def test_the_good_configuration_stays_when_a_bad_one_is_refused(guest: Guest) -> None:
    good = chained(server())
    guest.run(CONFIGURE, **good)
    before = state(guest)
    guest.path("/run/slm-copilot/pending-nginx").unlink()
    refused = guest.configure(check=False, **{**good, KEY: chained(server())[KEY]})
    assert refused.returncode != 0
    assert state(guest) == before
    assert not guest.path("/run/slm-copilot/pending-nginx").exists()
    assert "does not belong" in guest.path("/etc/motd.d/slm-copilot").read_text()
    assert guest.console()[-1].startswith("slm-copilot: failed configure: ONEAPP_SLM_TLS_KEY: ")


# ---- accepted


def state(guest: Guest) -> dict[str, tuple[bytes, int, int]]:
    """Every file below the store with its content, mode and inode (which changes when it is rewritten)."""
    files = [path for path in sorted(guest.path(FOLDER).rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(guest.root)): (
            path.read_bytes(),
            path.stat().st_mode & 0o777,
            path.stat().st_ino,
        )
        for path in files
    }


def served(guest: Guest) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(guest.path(f"{FOLDER}/cert.pem").read_bytes())


def assert_serves(guest: Guest, holder: Holder, *above: Holder) -> None:
    assert served(guest) == [holder.certificate, *(one.certificate for one in above)]
    key = serialization.load_pem_private_key(guest.path(f"{FOLDER}/key.pem").read_bytes(), password=None)
    assert key.public_key() == holder.key.public_key()
    assert (guest.path(f"{FOLDER}/current/origin").read_text()) == "custom\n"
    assert len(list(guest.path(FOLDER).glob("pair.*"))) == 1
    modes = {
        name: oct(guest.path(f"{FOLDER}/current/{name}").stat().st_mode & 0o777)
        for name in os.listdir(guest.path(f"{FOLDER}/current"))  # noqa: PTH208
    }
    assert modes == {"cert.pem": "0o644", "key.pem": "0o600", "origin": "0o644"}


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048", "rsa3072"])
@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
def test_accepted_with_a_key(guest: Guest, kind: KeyKind, form: Any) -> None:
    holder = server(key=make_key(kind))
    guest.run(CONFIGURE, **of(holder.pem + intermediate().pem, holder.key_pem(form)))
    assert_serves(guest, holder, intermediate())


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def indented(text: str) -> str:
    return "".join(f"  {line}\t\n" for line in text.splitlines())


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "CRLF line ends": crlf,
    "text before the block": lambda text: f"subject=CN = copilot\nBag Attributes: none\n{text}",
    "text behind the block": lambda text: f"{text}\nnothing more\n",
    "no newline at the end": str.rstrip,
    "indented": indented,
    "empty lines between": lambda text: text.replace("-----BEGIN", "\n\n-----BEGIN"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_accepted_in_the_spelling(guest: Guest, spelling: str) -> None:
    holder, write = server(), SPELLINGS[spelling]
    guest.run(CONFIGURE, **of(write(holder.pem + intermediate().pem), write(holder.key_pem())))
    assert_serves(guest, holder, intermediate())


def test_accepted_when_the_base64_is_wrapped(guest: Guest) -> None:
    holder = server()
    wrapped = {
        name: re.sub("(.{64})", "\\1\n", value) if name in (CERT, KEY) else value
        for name, value in chained(holder).items()
    }
    guest.run(CONFIGURE, **wrapped)
    assert_serves(guest, holder, intermediate())


def test_a_root_in_the_chain_is_accepted_and_not_sent(guest: Guest) -> None:
    holder = server()
    guest.run(CONFIGURE, **of(holder.pem + intermediate().pem + root().pem, holder.key_pem()))
    assert_serves(guest, holder, intermediate())


def test_accepted_without_any_intermediate(guest: Guest) -> None:
    holder = make_server(root(), NAMES)
    guest.run(CONFIGURE, **of(holder.pem, holder.key_pem()))
    assert_serves(guest, holder)


def test_a_self_signed_certificate_of_ones_own_is_accepted(guest: Guest) -> None:
    holder = make_server(None, NAMES)
    guest.run(CONFIGURE, **of(holder.pem, holder.key_pem()))
    assert_serves(guest, holder)


def test_a_long_chain_with_a_p521_root_is_accepted(guest: Guest) -> None:
    top = make_authority("Big root", key=make_key("p521"), hashed="sha512")
    middle = make_authority("Middle", top, hashed="sha512")
    low = make_authority("Low", middle, key=make_key("rsa3072"))
    holder = make_server(low, NAMES)
    guest.run(CONFIGURE, **of(holder.pem + low.pem + middle.pem + top.pem, holder.key_pem()))
    assert_serves(guest, holder, low, middle)


def test_a_signature_with_rsa_pss_is_accepted(guest: Guest, tmp_path: Path) -> None:
    authority = make_authority("RSA root", key=make_key("rsa2048"))
    holder = make_server(None, NAMES)
    options = "-sha256 -sigopt rsa_padding_mode:pss"
    signed = openssl_signed(tmp_path, holder, authority, options, SERVER_EXTENSIONS)
    assert b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" in x509.load_pem_x509_certificate(
        signed.encode()
    ).public_bytes(serialization.Encoding.DER), "not signed with PSS"
    guest.run(CONFIGURE, **of(signed, holder.key_pem()))
    assert served(guest)[0].public_key() == holder.certificate.public_key()


def test_the_parameters_of_openssls_ecparam_above_the_key_are_accepted(guest: Guest, tmp_path: Path) -> None:
    openssl(tmp_path, "ecparam -name prime256v1 -genkey -out k.pem")
    text = (tmp_path / "k.pem").read_text()
    assert "BEGIN EC PARAMETERS" in text
    key = serialization.load_pem_private_key(text[text.index("-----BEGIN EC PRIVATE") :].encode(), None)
    holder = server(key=key)
    guest.run(CONFIGURE, **of(holder.pem + intermediate().pem, text))
    assert_serves(guest, holder, intermediate())


@pytest.mark.parametrize("purpose", ["server", None])
def test_accepted_with_the_purpose(guest: Guest, purpose: Any) -> None:
    guest.run(CHECK, **chained(server(purpose=purpose)))


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (["ai.example.org"], "ai.example.org"),
        (["ai.example.org"], "AI.Example.org"),
        (["x.test", "*.example.org"], "ai.example.org"),
        (["AI.EXAMPLE.ORG"], "ai.example.org"),
    ],
)
def test_a_domain_the_certificate_covers_is_accepted(guest: Guest, names: list[str], domain: str) -> None:
    guest.run(CHECK, **chained(server(names=names)), ONEAPP_SLM_DOMAIN=domain)


# ---- the same again, another, and what is said


@pytest.mark.parametrize("again", ["as it is", "in another spelling"])
def test_the_same_certificate_again_rewrites_and_reloads_nothing(guest: Guest, again: str) -> None:
    holder = server(key=make_key("rsa2048"))
    guest.run(CONFIGURE, **chained(holder))
    before = state(guest)
    guest.path("/run/slm-copilot/pending-nginx").unlink()
    context = chained(holder)
    if again != "as it is":
        chain = crlf(holder.pem + intermediate().pem + root().pem)
        context = of(f"text\r\n{chain}", holder.key_pem("traditional"))
    assert "keeping the certificate" in guest.run(CONFIGURE, **context).stdout
    assert state(guest) == before
    assert not guest.path("/run/slm-copilot/pending-nginx").exists()


def test_another_certificate_for_the_same_key_is_taken(guest: Guest) -> None:
    key = fresh_key()
    guest.run(CONFIGURE, **chained(server(key=key)))
    guest.path("/run/slm-copilot/pending-nginx").unlink()
    renewed = server(key=key)
    guest.run(CONFIGURE, **chained(renewed))
    assert_serves(guest, renewed, intermediate())
    assert guest.path("/run/slm-copilot/pending-nginx").exists()


def test_a_key_changed_by_hand_is_put_right(guest: Guest) -> None:
    holder = server()
    guest.run(CONFIGURE, **chained(holder))
    guest.path(f"{FOLDER}/current/key.pem").write_text(server().key_pem())
    guest.run(CONFIGURE, **chained(holder))
    assert_serves(guest, holder, intermediate())


@pytest.mark.parametrize(
    ("wishes", "warned"),
    [
        ({"names": ["copilot"]}, False),
        ({"names": ["COPILOT"]}, False),
        ({"names": [], "addresses": ["10.0.2.15"]}, False),
        ({"names": ["other.example.org"], "addresses": ["10.9.9.9"]}, True),
        ({"names": ["localhost"], "addresses": ["127.0.0.1"]}, True),
    ],
)
def test_a_certificate_that_names_nothing_of_the_guest_is_warned_about(
    guest: Guest, wishes: dict[str, Any], warned: bool
) -> None:
    said = guest.run(CONFIGURE, **chained(server(**wishes))).stderr
    assert ("names neither this machine nor any of its addresses" in said) is warned


@pytest.mark.parametrize(("days", "warned"), [(32, False), (20, True)])
def test_a_certificate_with_less_than_30_days_is_warned_about(guest: Guest, days: int, warned: bool) -> None:
    said = guest.run(CONFIGURE, **chained(server(days=days))).stderr
    assert ("expires in 18 days" in said or "expires in 19 days" in said) is warned


def test_people_are_sent_to_a_name_the_certificate_holds_for(guest: Guest) -> None:
    announce = f"{CONFIGURE}; SLM_MODEL_ID=m SLM_VERSION=1; announce_ready"
    guest.run(announce, ONEAPP_SLM_DOMAIN="Copilot.example.org")
    assert guest.console()[-1] == "slm-copilot: ready https://10.0.2.15/v1", "our own certificate names it"
    assert f"CA file   {guest.path(FOLDER)}/cert.pem" in guest.path("/etc/motd").read_text()
    guest.write("/etc/motd", "")
    guest.run(announce, ONEAPP_SLM_DOMAIN="Copilot.example.org", **chained(server()))
    assert guest.console()[-1] == "slm-copilot: ready https://copilot.example.org/v1"
    assert "CA file" not in guest.path("/etc/motd").read_text()


def test_switching_leaves_one_pair_and_the_right_one(guest: Guest) -> None:
    first, second = server(), server()
    for context, origin in (
        ({}, "selfsigned"),
        (chained(first), "custom"),
        (chained(second), "custom"),
        ({}, "selfsigned"),
        (chained(first), "custom"),
    ):
        guest.run(CONFIGURE, **context)
        assert guest.path(f"{FOLDER}/current/origin").read_text().strip() == origin
        pairs = list(guest.path(FOLDER).glob("pair.*"))
        assert len(pairs) == 1
        assert sorted(path.name for path in guest.path(FOLDER).iterdir()) == [
            "cert.pem",
            "current",
            "key.pem",
            pairs[0].name,
        ]
    assert_serves(guest, first, intermediate())


def test_the_key_is_on_no_command_line(guest: Guest) -> None:
    """A wrapper around openssl writes down what it is called with."""
    log, real = guest.path("/openssl.log"), required("openssl")
    guest.stub("openssl", f'#!/bin/bash\nprintf "%s\\n" "$*" >>{log}\nexec {real} "$@"\n')
    holder = server()
    guest.run(CONFIGURE, **chained(holder))
    called = log.read_text()
    assert "storeutl" in called
    assert not [line for line in holder.key_pem().splitlines()[1:-1] if line in called]


@pytest.mark.parametrize("killed_at", ["mv", "sync", "openssl", "ln"])
def test_a_power_cut_leaves_the_old_or_the_new_pair(guest: Guest, killed_at: str) -> None:
    guest.run(CONFIGURE)
    selfsigned, holder = served(guest)[0], server()
    counter, real = guest.path("/calls"), required(killed_at)
    guest.stub(
        killed_at,
        f"#!/bin/bash\necho >>{counter}\n"
        f'[[ $(wc -l <{counter}) -ne $DIE_AT ]] || kill -KILL "$PPID" $$\nexec {real} "$@"\n',
    )
    for die_at in range(1, 30):
        counter.write_text("")
        result = guest.run(CONFIGURE, check=False, DIE_AT=str(die_at), **chained(holder))
        check = guest.run('check_pair; printf "%s" "$PAIR_PROBLEM"', DIE_AT="0").stdout
        assert check == ""
        assert served(guest)[0] in (selfsigned, holder.certificate)
        if result.returncode == 0:
            assert_serves(guest, holder, intermediate())
            return
    pytest.fail(f"{killed_at} is called more often than expected")
