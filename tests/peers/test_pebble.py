"""Pebble as a peer: a real ACME server that believes nothing it hasn't asked the guest for."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from harness.errors import HarnessError
from harness.machine.protocol import HostAddress
from harness.peers import pebble as pebble_module
from harness.peers.pebble import Pebble, serve

NOBODY = HostAddress("127.0.0.1", 9)


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    work = tmp_path_factory.mktemp("pebble")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PEBBLE_VA_ALWAYS_VALID", "1")
        with serve(NOBODY, listen="127.0.0.1", address="127.0.0.1", work=work) as running:
            yield running


def test_the_directory_verifies_with_the_ca_it_says(pebble: Pebble) -> None:
    tls = ssl.create_default_context(cadata=pebble.ca_pem)
    with urllib.request.urlopen(pebble.directory_url, context=tls, timeout=10) as answer:
        assert b"newOrder" in answer.read()


def test_the_root_is_another_certificate_than_the_directorys_ca(pebble: Pebble) -> None:
    root = x509.load_pem_x509_certificate(pebble.root_pem().encode())
    assert "Pebble Root CA" in root.subject.rfc4514_string()


def test_nothing_is_valid_without_validation(pebble: Pebble) -> None:
    """The environment asked for it; see the fixture."""
    log = pebble.log()
    assert "Disabling random VA sleeps" in log
    assert "Disabling VA challenge requests" not in log, "PEBBLE_VA_ALWAYS_VALID got through"
    assert "reuse for each identifier 0%" in log
    assert "Configured to reject 0% of good nonces" in log


def test_nobody_has_asked_yet(pebble: Pebble) -> None:
    assert (pebble.orders(), pebble.validations(), pebble.asked_urls()) == (0, 0, ())


def test_a_certificate_it_never_issued_is_an_error(pebble: Pebble) -> None:
    with pytest.raises(HarnessError, match="404"):
        pebble.status_of(12345)


def test_the_context_carries_directory_and_ca(pebble: Pebble) -> None:
    context = pebble.context("copilot.slm.test")
    assert context["ONEAPP_SLM_ACME_DIRECTORY"] == pebble.directory_url
    assert context["ONEAPP_SLM_TLS_MODE"] == "letsencrypt"


def test_a_missing_package_is_one_line_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pebble_module, "_commands", lambda _pebble, _work: (["no-such-dns"], ["no-such-acme"])
    )
    with (
        pytest.raises(HarnessError, match="not installed") as caught,
        serve(NOBODY, listen="127.0.0.1", address="127.0.0.1", work=tmp_path),
    ):
        pass
    assert caught.value.hint == "run `make setup`"


def test_no_process_is_left(tmp_path: Path) -> None:
    with serve(NOBODY, listen="127.0.0.1", address="127.0.0.1", work=tmp_path) as running:
        running.root_pem()
    with pytest.raises(HarnessError, match="does not answer"):
        running.root_pem()
