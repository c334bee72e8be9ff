"""Whom an address belongs to is settled by handshakes alone, and every doubt ends it in one line."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_server import make_certificate, serve, server_context

from harness.client import trust
from harness.client.certificate import read_certificate
from harness.client.https import verifying_context
from harness.client.trust import Place, establish_trust, parse_fingerprint, parse_url
from harness.errors import HarnessError
from harness.peers.private_ca import Holder, make_authority, make_server

DIGEST = "ab" * 32


@contextlib.contextmanager
def served(chain: str, key: str, folder: Path) -> Iterator[tuple[Place, list[bytes]]]:
    """A port that serves this chain, and what was sent to it."""
    (folder / "chain.pem").write_text(chain)
    (folder / "chain.key").write_text(key)
    received: list[bytes] = []
    context = server_context(folder / "chain.pem", folder / "chain.key")
    with serve(lambda request, _: received.append(request), context) as port:
        yield Place("127.0.0.1", port), received
    assert not any(received), f"before anything was verified it was sent: {received}"


@pytest.fixture(scope="module")
def root() -> Holder:
    return make_authority("a root of our own")


@contextlib.contextmanager
def issued(root: Holder, folder: Path, **options: object) -> Iterator[Place]:
    """A port with a certificate that the root issued."""
    server = make_server(root, addresses=("127.0.0.1",), **options)  # type: ignore[arg-type]
    with served(server.pem, server.key_pem(), folder) as (place, _):
        yield place


@contextlib.contextmanager
def selfsigned(folder: Path, addresses: tuple[str, ...] = ("127.0.0.1",), days: int = 30) -> Iterator[Place]:
    certificate, key = make_certificate(folder, addresses, days)
    with served(certificate.read_text(), key.read_text(), folder) as (place, _):
        yield place


def fingerprint(folder: Path) -> str:
    return read_certificate((folder / "chain.pem").read_bytes()).fingerprint_sha256


def complaint(place: Place, folder: Path, *, ca: Path | None = None, pin: str = "") -> str:
    with pytest.raises(HarnessError) as raised:
        establish_trust(place, folder / "trust.pem", ca=ca, fingerprint=pin)
    assert raised.value.exit_code == 2
    assert "\n" not in raised.value.message + raised.value.hint
    return raised.value.message


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://a.example", "https://a.example"),
        ("https://A.example:443/v1/", "https://a.example"),
        (" https://10.0.0.7:8443/ ", "https://10.0.0.7:8443"),
        ("https://[::1]:8443/v1", "https://[::1]:8443"),
    ],
)
def test_an_address_is_host_and_port(text: str, url: str) -> None:
    assert parse_url(text).url == url


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no https address"),
        ("a.example", "no https address"),
        ("http://a.example", "plain HTTP"),
        ("ftp://a.example", "no https address"),
        ("https://", "no https address"),
        ("https://a.example:99999", "is no address"),
        ("https://a.example/other", "more than host and port"),
        ("https://a.example/v1?key=x", "more than host and port"),
        ("https://admin:Sesame0pen@a.example", "user or password in it"),
        ("http://admin:Sesame0pen@a.example", "user or password in it"),
        ("https://admin:Sesame0pen@[a.example", "is no address"),
    ],
)
def test_any_other_address_is_refused_and_never_quoted_with_a_password(text: str, told: str) -> None:
    with pytest.raises(HarnessError, match=told) as raised:
        parse_url(text)
    assert "Sesame0pen" not in f"{raised.value.message}{raised.value.hint}"


@pytest.mark.parametrize("text", [DIGEST, f"sha256:{DIGEST.upper()}", "SHA256=" + ":".join(["ab"] * 32)])
def test_a_fingerprint_is_written_in_several_ways(text: str) -> None:
    assert parse_fingerprint(text).hex() == DIGEST


@pytest.mark.parametrize(
    "text", ["", "sha256:", DIGEST[:-2], DIGEST + "ab", "sha1:" + DIGEST[:40], "zz" * 32, "ab:" * 31 + "a"]
)
def test_a_part_of_a_fingerprint_pins_nothing(text: str) -> None:
    with pytest.raises(HarnessError, match="64 hexadecimal digits"):
        parse_fingerprint(text)


def test_a_pinned_certificate_is_the_only_anchor(tmp_path: Path) -> None:
    with selfsigned(tmp_path) as place:
        found = establish_trust(
            place, tmp_path / "trust.pem", ca=None, fingerprint=f"sha256:{fingerprint(tmp_path)}"
        )
    assert found.file.read_text() == found.leaf.pem
    assert found.leaf.fingerprint_sha256 == fingerprint(tmp_path)


def test_a_certificate_that_was_issued_can_be_pinned_too(tmp_path: Path, root: Holder) -> None:
    with issued(root, tmp_path) as place:
        found = establish_trust(place, tmp_path / "trust.pem", ca=None, fingerprint=fingerprint(tmp_path))
        with (
            socket.create_connection((place.host, place.port)) as plain,
            verifying_context(found.file).wrap_socket(plain, server_hostname=place.host),
        ):
            pass  # verified by the pinned certificate alone
    assert root.pem not in found.file.read_text()


def test_another_certificate_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    with selfsigned(tmp_path) as place:
        almost = fingerprint(tmp_path).replace(":", "")[:-1]
        last = "0" if fingerprint(tmp_path)[-1] != "0" else "1"
        told = complaint(place, tmp_path, pin=almost + last)
    assert "serves another certificate than the pinned one" in told
    assert fingerprint(tmp_path) in told, "to be compared with the report, which writes it so"
    assert not (tmp_path / "trust.pem").exists()


def test_a_pin_of_another_certificate_of_the_same_authority_is_refused(tmp_path: Path, root: Holder) -> None:
    other = read_certificate(make_server(root, addresses=("127.0.0.1",)).pem)
    with issued(root, tmp_path) as place:
        assert "another certificate" in complaint(place, tmp_path, pin=other.fingerprint_sha256)


def test_a_pinned_certificate_that_may_sign_others_is_refused(tmp_path: Path, root: Holder) -> None:
    with served(root.pem, root.key_pem(), tmp_path) as (place, _):
        assert "may sign others" in complaint(place, tmp_path, pin=fingerprint(tmp_path))


def test_a_pin_does_not_excuse_a_wrong_name(tmp_path: Path) -> None:
    with selfsigned(tmp_path, addresses=("127.0.0.9",)) as place:
        told = complaint(place, tmp_path, pin=fingerprint(tmp_path))
    assert told.endswith("its certificate is not for 127.0.0.1, but for scripted, 127.0.0.9")


def test_a_pin_does_not_excuse_an_expired_certificate(tmp_path: Path, root: Holder) -> None:
    with issued(root, tmp_path, days=2, starts_days_ago=5) as place:
        assert "and not now" in complaint(place, tmp_path, pin=fingerprint(tmp_path))


def test_a_ca_file_is_used_without_what_else_is_in_it(tmp_path: Path, root: Holder) -> None:
    (tmp_path / "ca.pem").write_text(f"a comment\n{root.key_pem()}{root.pem}")
    with issued(root, tmp_path) as place:
        found = establish_trust(place, tmp_path / "trust.pem", ca=tmp_path / "ca.pem", fingerprint="")
    assert found.file.read_text() == root.pem
    assert "PRIVATE" not in found.file.read_text()


def test_of_a_ca_file_that_has_the_certificate_itself_only_that_is_kept(tmp_path: Path, root: Holder) -> None:
    with selfsigned(tmp_path) as place:
        (tmp_path / "ca.pem").write_text(root.pem + (tmp_path / "chain.pem").read_text())
        found = establish_trust(place, tmp_path / "trust.pem", ca=tmp_path / "ca.pem", fingerprint="")
    assert found.file.read_text() == found.leaf.pem


def test_another_authority_is_refused(tmp_path: Path, root: Holder) -> None:
    (tmp_path / "ca.pem").write_text(make_authority("another root").pem)
    with issued(root, tmp_path) as place:
        assert "does not verify with" in complaint(place, tmp_path, ca=tmp_path / "ca.pem")


def test_an_expired_certificate_is_refused(tmp_path: Path, root: Holder) -> None:
    (tmp_path / "ca.pem").write_text(root.pem)
    with issued(root, tmp_path, days=2, starts_days_ago=5) as place:
        assert "and not now" in complaint(place, tmp_path, ca=tmp_path / "ca.pem")


def test_without_anything_the_authorities_of_this_host_decide(
    tmp_path: Path, root: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.crt"
    monkeypatch.setattr(trust, "_system_bundle", lambda: bundle)
    with issued(root, tmp_path) as place:
        bundle.write_text(make_authority("a famous one").pem)
        assert "an authority of this host" in complaint(place, tmp_path)
        bundle.write_text(root.pem)
        assert establish_trust(place, tmp_path / "trust.pem", ca=None, fingerprint="").leaf.issuer


@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_ca_file_that_is_none_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    assert str(file) in complaint(Place("127.0.0.1", 1), tmp_path, ca=file)


def test_both_at_once_are_refused(tmp_path: Path) -> None:
    told = complaint(Place("127.0.0.1", 1), tmp_path, ca=tmp_path / "ca.pem", pin=DIGEST)
    assert "two ways" in told


def test_a_closed_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        place = Place("127.0.0.1", reserved.getsockname()[1])
        assert complaint(place, tmp_path, pin=DIGEST).endswith("can't be reached: connection refused")


def test_an_unknown_name_is_told(tmp_path: Path) -> None:
    assert "can't be found" in complaint(Place("none.invalid", 443), tmp_path, pin=DIGEST)


def test_a_silent_port_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "CONNECT_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = Place("127.0.0.1", silent.getsockname()[1])
        assert "no answer within" in complaint(place, tmp_path, pin=DIGEST)


def test_a_port_without_tls_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        told = complaint(Place("127.0.0.1", listener.getsockname()[1]), tmp_path, pin=DIGEST)
    assert "doesn't speak TLS as it should: wrong version number" in told or "record layer" in told
