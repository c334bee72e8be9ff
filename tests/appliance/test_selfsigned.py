"""The self-signed certificate: its names, who accepts it, when it is renewed, and that a pair never mixes."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bash_guest import Guest, required
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

CONFIGURE = "load_flavor; validate_parameters; check_tls_mode; resolve_addresses; configure_tls"
CERT = "/etc/ssl/slm-copilot/cert.pem"
KEY = "/etc/ssl/slm-copilot/key.pem"


def configure(guest: Guest, **variables: str) -> str:
    return guest.run(CONFIGURE, **variables).stdout


def certificate(guest: Guest) -> x509.Certificate:
    return x509.load_pem_x509_certificate(guest.path(CERT).read_bytes())


def names(guest: Guest) -> set[str]:
    extension = certificate(guest).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in extension}


def assert_pair_matches(guest: Guest) -> None:
    key = serialization.load_pem_private_key(guest.path(KEY).read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == certificate(guest).public_key()


@contextmanager
def tls_server(guest: Guest) -> Iterator[int]:
    """A server with the guest's pair on 127.0.0.1; greets every client with one line."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(guest.path(CERT), guest.path(KEY))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    with connection, context.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(1024)
                        secured.sendall(
                            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                        )
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_names_key_and_extensions(guest: Guest) -> None:
    guest.write(
        "/etc/hosts",
        "127.0.0.1 localhost\n# 127.0.1.1 comment.example copilot\n127.0.1.1 copilot.example.org copilot\n",
    )
    configure(
        guest,
        ONEAPP_SLM_DOMAIN="AI.example.org",
        FAKE_ADDRESSES="10.0.2.15 192.0.2.7 2001:db8::a !2001:db8::bad",
    )
    assert names(guest) == {
        "copilot",
        "copilot.example.org",
        "ai.example.org",
        "localhost",
        "10.0.2.15",
        "192.0.2.7",
        "2001:db8::a",
        "127.0.0.1",
        "::1",
    }
    extensions = certificate(guest).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    life = certificate(guest).not_valid_after_utc - certificate(guest).not_valid_before_utc
    assert datetime.timedelta(days=300) <= life <= datetime.timedelta(days=366)
    assert_pair_matches(guest)


def test_modes_under_umask_0077(guest: Guest) -> None:
    configure(guest)
    modes = {
        name: oct(guest.path(name).stat().st_mode & 0o777)
        for name in (CERT, KEY, "/etc/ssl/slm-copilot", "/etc/ssl")
    }
    assert modes == {CERT: "0o644", KEY: "0o600", "/etc/ssl/slm-copilot": "0o755", "/etc/ssl": "0o755"}


def test_openssl_python_and_node_verify_it_as_its_own_ca(guest: Guest) -> None:
    configure(guest)
    cert = guest.path(CERT)
    for purpose in (["-verify_ip", "10.0.2.15"], ["-verify_hostname", "copilot"]):
        subprocess.run(
            [
                required("openssl"),
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                "-CAfile",
                cert,
                *purpose,
                cert,
            ],
            check=True,
            capture_output=True,
        )
    context = ssl.create_default_context(cafile=cert)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    script = (
        "require('https').get(process.argv[1], answer => {console.log(answer.statusCode); process.exit(0)})"
        ".on('error', error => {console.log(error.code); process.exit(1)})"
    )
    with tls_server(guest) as port:
        for name in ("127.0.0.1", "localhost", "copilot", "10.0.2.15"):
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                context.wrap_socket(plain, server_hostname=name) as secured,
            ):
                assert secured.version() == "TLSv1.3"
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|not valid for"),
        ):
            context.wrap_socket(plain, server_hostname="other.example.org")
        node = subprocess.run(
            [required("node"), "-e", script, f"https://127.0.0.1:{port}/"],
            env={"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": str(cert)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert node.stdout.strip() == "200", node.stdout + node.stderr


def test_kept_when_nothing_changed(guest: Guest) -> None:
    configure(guest, FAKE_ADDRESSES="10.0.2.15 2001:db8:0:0:0:0:0:a")
    before = guest.path(CERT).read_bytes(), guest.path(KEY).read_bytes()
    guest.path("/run/slm-copilot/pending-nginx").unlink()
    said = configure(guest, FAKE_ADDRESSES="10.0.2.15 2001:db8::a")
    assert "keeping the certificate" in said
    assert (guest.path(CERT).read_bytes(), guest.path(KEY).read_bytes()) == before
    assert not guest.path("/run/slm-copilot/pending-nginx").exists()


def test_an_address_that_went_away_is_no_reason(guest: Guest) -> None:
    configure(guest, FAKE_ADDRESSES="10.0.2.15 10.0.3.15")
    before = guest.path(CERT).read_bytes()
    configure(guest, FAKE_ADDRESSES="10.0.2.15")
    assert guest.path(CERT).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"FAKE_ADDRESSES": "10.0.2.16"}, "ip:10.0.2.16 is not in it"),
        ({"FAKE_ADDRESSES": "10.0.2.15 2001:db8::1"}, "ip:2001:db8:0:0:0:0:0:1 is not in it"),
        ({"FAKE_HOSTNAME": "renamed"}, "dns:renamed is not in it"),
        ({"ONEAPP_SLM_DOMAIN": "ai.example.org"}, "dns:ai.example.org is not in it"),
    ],
)
def test_renewed_when_a_name_is_missing(guest: Guest, change: dict[str, str], reason: str) -> None:
    configure(guest)
    before = certificate(guest).serial_number
    guest.path("/run/slm-copilot/pending-nginx").unlink()
    assert reason in configure(guest, **change)
    assert certificate(guest).serial_number != before
    assert guest.path("/run/slm-copilot/pending-nginx").exists()
    assert_pair_matches(guest)
    assert len(list(guest.path("/etc/ssl/slm-copilot").glob("pair.*"))) == 1, "the old pair stays behind"


@pytest.mark.parametrize(("days", "renewed"), [(29, True), (31, False)])
def test_renewed_when_less_than_30_days_are_left(guest: Guest, days: int, renewed: bool) -> None:
    guest.run(f"SLM_SELFSIGNED_DAYS={days}; {CONFIGURE}")
    before = certificate(guest).serial_number
    configure(guest)
    assert (certificate(guest).serial_number != before) is renewed


def test_renewed_when_the_clock_went_back(guest: Guest) -> None:
    configure(guest)
    before = certificate(guest).serial_number
    guest.stub(
        "date",
        '#!/usr/bin/env bash\n[[ "$*" != "+%s" ]] || { echo 1000000000; exit; }\nexec /bin/date "$@"\n',
    )
    assert "isn't valid yet" in configure(guest)
    assert certificate(guest).serial_number != before


@pytest.mark.parametrize("damage", ["cut certificate", "foreign key", "no key"])
def test_a_damaged_pair_is_replaced(guest: Guest, damage: str) -> None:
    configure(guest)
    if damage == "cut certificate":
        guest.path(CERT).write_bytes(guest.path(CERT).read_bytes()[:200])
    elif damage == "foreign key":
        command = [
            required("openssl"),
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            guest.path(KEY),
        ]
        subprocess.run(command, check=True, capture_output=True)
    else:
        guest.path(KEY).unlink()
    configure(guest)
    assert_pair_matches(guest)


def test_a_mode_changed_by_hand_is_mended(guest: Guest) -> None:
    configure(guest)
    before = certificate(guest).serial_number
    guest.path(KEY).chmod(0o644)
    configure(guest)
    assert certificate(guest).serial_number == before
    assert oct(guest.path(KEY).stat().st_mode & 0o777) == "0o600"


def test_files_in_place_of_the_links_are_replaced(guest: Guest) -> None:
    configure(guest)
    for name in (CERT, KEY):
        guest.path(name).unlink()
        guest.write(name, "somebody's own")
    configure(guest)
    assert_pair_matches(guest)


@pytest.mark.parametrize("killed_at", ["mv", "sync", "openssl", "ln"])
def test_a_power_cut_leaves_a_matching_pair(guest: Guest, killed_at: str) -> None:
    """configure dies at the n-th call of a program, for every n until it gets through."""
    configure(guest)
    counter = guest.path("/calls")
    real = required(killed_at)
    guest.stub(
        killed_at,
        f"#!/bin/bash\necho >>{counter}\n"
        f'[[ $(wc -l <{counter}) -ne $DIE_AT ]] || kill -KILL "$PPID" $$\nexec {real} "$@"\n',
    )
    for die_at in range(1, 30):
        counter.write_text("")
        result = guest.run(CONFIGURE, check=False, DIE_AT=str(die_at), FAKE_ADDRESSES=f"10.0.{die_at}.1")
        assert_pair_matches(guest)
        if result.returncode == 0:
            assert f"10.0.{die_at}.1" in names(guest)
            return
    pytest.fail(f"{killed_at} is called more often than expected")


def test_read_certificate_tells_what_is_in_it(guest: Guest) -> None:
    configure(guest, FAKE_ADDRESSES="10.0.2.15 2001:db8::a")
    shown = guest.run(
        'read_certificate "$SLM_TLS_CERT"\n'
        'printf "%s|" "$CERT_FINGERPRINT" "$CERT_START" "$CERT_END" "$CERT_NAMES"'
    ).stdout.split("|")
    assert shown[0].replace(":", "").lower() == certificate(guest).fingerprint(hashes.SHA256()).hex()
    assert int(shown[1]) == certificate(guest).not_valid_before_utc.timestamp()
    assert int(shown[2]) == certificate(guest).not_valid_after_utc.timestamp()
    found = {line.partition(":")[2] for line in shown[3].splitlines()}
    assert {str(ipaddress.ip_address(name)) if ":" in name else name for name in found} == names(guest)


def test_a_failing_openssl_leaves_the_good_pair(guest: Guest, tmp_path: Path) -> None:
    configure(guest)
    before = certificate(guest).serial_number
    real = required("openssl")
    guest.stub(
        "openssl",
        f'#!/bin/bash\n[[ $1 != req ]] || {{ echo "no space left" >&2; exit 1; }}\nexec {real} "$@"\n',
    )
    result = guest.run(CONFIGURE, check=False, FAKE_ADDRESSES="10.9.9.9")
    assert result.returncode != 0
    assert "could not be created" in result.stderr
    assert certificate(guest).serial_number == before
    assert_pair_matches(guest)
    assert tmp_path.exists()
