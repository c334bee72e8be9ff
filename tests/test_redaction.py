"""No form of a secret survives redaction, and nothing else is touched."""

import base64
import html
import json
import os
import shlex
import urllib.parse
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.redaction import REDACTOR, Redactor

SECRET = "p~a+ss/w0rd=._-é'\"<&>1"


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.add(SECRET, "admin password")
    return redactor


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(json.dumps({"password": "plain"}) and SECRET, ensure_ascii=False)[1:-1],
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        html.escape(SECRET),
        shlex.quote(SECRET)[1:-1].replace("'\"'\"'", "'\\''"),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"admin:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"admin:{SECRET}".encode()).decode(),
    ],
)
def test_every_form_is_masked(redactor: Redactor, form: str) -> None:
    text = redactor.redact(f"before {form} after")
    assert text == "before [redacted: admin password] after"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "export PASSWORD="])
@pytest.mark.parametrize("after", ["", "\n", "zz", "zzz and more"])
def test_base64_of_a_text_around_the_secret_is_broken(redactor: Redactor, before: str, after: str) -> None:
    encoded = base64.b64encode(f"{before}{SECRET}{after}".encode()).decode()
    assert "[redacted: admin password]" in redactor.redact(encoded)


def test_private_keys_are_masked_without_being_registered() -> None:
    pem = (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        .decode()
    )
    body = pem.splitlines()[1]
    for text in (
        pem,
        json.dumps(pem),
        pem.rsplit("-----END", 1)[0],  # cut off by a truncated log
        base64.b64encode(pem.encode()).decode(),
    ):
        masked = Redactor().redact(f"key: {text} rest")
        assert body not in masked
        assert base64.b64encode(pem.encode()).decode()[60:100] not in masked
        assert "[redacted: private key]" in masked
    assert Redactor().redact(f"{pem}kept") == "[redacted: private key]\nkept"


def test_certificates_and_ordinary_text_stay() -> None:
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    encoded = base64.b64encode(certificate.encode()).decode()
    redactor = Redactor()
    redactor.add("hunter2hunter2", "x")
    assert redactor.redact(certificate + encoded + "hunter2") == certificate + encoded + "hunter2"


def test_the_longer_of_two_secrets_wins() -> None:
    redactor = Redactor()
    redactor.add("secret-one", "short")
    redactor.add("secret-one-and-more", "long")
    assert redactor.redact("secret-one-and-more secret-one") == "[redacted: long] [redacted: short]"


def test_bytes_that_are_no_text_survive() -> None:
    redactor = Redactor()
    redactor.add("secret-one", "x")
    assert redactor.redact_bytes(b"\xff\x00secret-one\xfe") == b"\xff\x00[redacted: x]\xfe"


def test_short_secrets_are_refused_and_empty_ones_ignored() -> None:
    redactor = Redactor()
    redactor.add("", "nothing")
    with pytest.raises(ValueError, match="too short"):
        redactor.add("abc", "pin")
    assert redactor.redact("abc") == "abc"


def test_a_tree_is_rewritten_in_place_and_links_are_left_alone(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("secret-one", "x")
    outside = tmp_path / "outside"
    outside.write_text("secret-one")
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "log").write_text("a secret-one b")
    (tree / "deep" / "log").chmod(0o640)
    (tree / "clean").write_text("nothing here")
    (tree / "link").symlink_to(outside)
    before = (tree / "clean").stat().st_mtime_ns

    assert redactor.redact_tree(tree) == [tree / "deep" / "log"]

    assert (tree / "deep" / "log").read_text() == "a [redacted: x] b"
    assert (tree / "deep" / "log").stat().st_mode & 0o777 == 0o640
    assert (tree / "clean").stat().st_mtime_ns == before
    assert outside.read_text() == "secret-one"
    assert sorted(os.listdir(tree)) == ["clean", "deep", "link"]  # noqa: PTH208 - names are what matters


def test_there_is_one_registry_for_the_process() -> None:
    assert isinstance(REDACTOR, Redactor)
