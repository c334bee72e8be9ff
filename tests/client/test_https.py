"""Verification can't be forgotten, secrets don't show, raw requests leave as written."""

import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from scripted_server import Reply, answer, make_certificate

from harness.client.https import ApplianceAddress, basic_value, open_client, request_bytes, send_raw

Serve = Callable[[Reply], ApplianceAddress]


def say_ok(_request: bytes, connection: socket.socket) -> None:
    connection.sendall(answer("200 OK", b'{"ok": true}'))


def test_a_trusted_certificate_is_accepted(appliance: Serve) -> None:
    with open_client(appliance(say_ok)) as client:
        assert client.get("/readyz").json() == {"ok": True}


def test_another_certificate_is_refused(appliance: Serve, tmp_path: Path) -> None:
    stranger, _ = make_certificate(tmp_path)
    with (
        open_client(replace(appliance(say_ok), ca_file=stranger)) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get("/readyz")


def test_a_wrong_host_name_is_refused(appliance: Serve) -> None:
    address = appliance(say_ok)
    wrong = replace(address, base_url=address.base_url.replace("127.0.0.1", "localhost"))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        send_raw(wrong, request_bytes("GET", "/", {}))


def test_the_password_is_not_in_the_repr(appliance: Serve) -> None:
    address = appliance(say_ok)
    assert address.password not in repr(address)


def test_rights_are_spelled_as_the_standards_say() -> None:
    address = ApplianceAddress("https://h:1", Path("c"), "admin", "secret-word")
    assert address.headers("bearer") == {"Authorization": "Bearer secret-word"}
    assert address.headers("basic") == {"Authorization": "Basic YWRtaW46c2VjcmV0LXdvcmQ="}
    assert address.headers("none") == {}
    assert basic_value("ä", "b") == "Basic w6Q6Yg=="
    assert (address.host, address.port, address.api_url) == ("h", 1, "https://h:1/v1")


def test_a_raw_request_leaves_as_written(appliance: Serve) -> None:
    seen: list[bytes] = []

    def keep(request: bytes, connection: socket.socket) -> None:
        seen.append(request)
        say_ok(request, connection)

    request = request_bytes("POST", "//v1/../props;x", [("A", "1"), ("A", "2")], b"{}")
    answered = send_raw(appliance(keep), request, method="POST")
    assert seen == [request]
    assert request.startswith(b"POST //v1/../props;x HTTP/1.1\r\nHost: 127.0.0.1\r\nA: 1\r\nA: 2\r\n")
    assert request.endswith(b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    assert (answered.status, answered.json(), answered.header("content-type")) == (
        200,
        {"ok": True},
        "application/json",
    )


def test_a_connection_closed_without_an_answer_is_status_0(appliance: Serve) -> None:
    answered = send_raw(appliance(lambda _request, _connection: None), request_bytes("GET", "/", {}))
    assert (answered.status, answered.body) == (0, b"")
