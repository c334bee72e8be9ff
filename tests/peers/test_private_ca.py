"""The private authority makes what it says: openssl accepts the good chains and refuses the bad ones."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.peers.private_ca import custom_context, make_authority, make_key, make_server


def verified(folder: Path, root: str, chain: str, *options: str) -> str:
    (folder / "root.pem").write_text(root)
    (folder / "chain.pem").write_text(chain)
    command = [
        "openssl",
        "verify",
        "-no-CApath",
        "-no-CAstore",
        "-CAfile",
        "root.pem",
        "-purpose",
        "sslserver",
    ]
    command += ["-x509_strict", "-untrusted", "chain.pem", *options, "chain.pem"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "OK" if result.returncode == 0 else result.stderr


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_a_custom_context_verifies_against_its_root(tmp_path: Path, kind: str) -> None:
    context, root = custom_context(["copilot.slm.test"], ["192.0.2.7", "2001:db8::7"], key_kind=kind)
    assert set(context) == {"ONEAPP_SLM_TLS_MODE", "ONEAPP_SLM_TLS_CERT", "ONEAPP_SLM_TLS_KEY"}
    chain = base64.b64decode(context["ONEAPP_SLM_TLS_CERT"]).decode()
    assert chain.count("BEGIN CERTIFICATE") == 2
    for name in (["-verify_hostname", "copilot.slm.test"], ["-verify_ip", "2001:db8::7"]):
        assert verified(tmp_path, root.decode(), chain, *name) == "OK"
    assert "hostname mismatch" in verified(
        tmp_path, root.decode(), chain, "-verify_hostname", "other.slm.test"
    )


def test_two_contexts_share_nothing() -> None:
    (one, first), (other, second) = custom_context(["a.test"], []), custom_context(["a.test"], [])
    assert first != second
    assert one["ONEAPP_SLM_TLS_KEY"] != other["ONEAPP_SLM_TLS_KEY"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"starts_days_ago": 100}, "has expired"),
        ({"starts_days_ago": -2}, "not yet valid"),
        ({"purpose": "client"}, "unsuitable certificate purpose"),
    ],
)
def test_a_weakness_asked_for_is_there(tmp_path: Path, fault: dict[str, object], reason: str) -> None:
    root = make_authority("root")
    server = make_server(root, ["a.test"], **fault)
    assert reason in verified(tmp_path, root.pem, server.pem)


def test_keys_are_of_the_kind_asked_for() -> None:
    weak, curve = make_key("rsa1024"), make_key("p521")
    assert isinstance(weak, rsa.RSAPrivateKey)
    assert weak.key_size == 1024
    assert isinstance(curve, ec.EllipticCurvePrivateKey)
    assert curve.curve.name == "secp521r1"


def test_an_authority_signs_with_its_own_key_and_another_does_not() -> None:
    root, stranger = make_authority("root"), make_authority("root")
    server = make_server(root, ["a.test"])
    server.certificate.verify_directly_issued_by(root.certificate)
    with pytest.raises(InvalidSignature):
        server.certificate.verify_directly_issued_by(stranger.certificate)


def test_keys_come_in_both_forms_and_encrypted() -> None:
    server = make_server(None, ["a.test"])
    assert "BEGIN PRIVATE KEY" in server.key_pem()
    assert "BEGIN EC PRIVATE KEY" in server.key_pem("traditional")
    assert "BEGIN ENCRYPTED PRIVATE KEY" in server.key_pem(passphrase="secret words")
    assert "Proc-Type: 4,ENCRYPTED" in server.key_pem("traditional", "secret words")
