import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_server import Reply, answer, make_certificate

from harness.client.https import ApplianceAddress
from harness.client.node import fetch, start_fetch
from harness.errors import HarnessError

Serve = Callable[[Reply], ApplianceAddress]


def test_status_body_and_right(appliance: Serve) -> None:
    seen: list[bytes] = []

    def reply(request: bytes, connection: socket.socket) -> None:
        seen.append(request)
        connection.sendall(answer("503 Service Unavailable", '{"é": 1}'.encode()))

    answered = fetch(appliance(reply), "/v1/chat/completions", {"model": "m"})
    assert (answered.status, answered.body, answered.error) == (503, '{"é": 1}', None)
    assert b"Bearer Passw0rd-of-a-test" in seen[0]
    assert seen[0].endswith(b'{"model":"m"}')


def test_an_untrusted_certificate_is_an_error_not_a_crash(appliance: Serve, tmp_path: Path) -> None:
    stranger, _ = make_certificate(tmp_path)
    address = appliance(lambda _request, connection: connection.sendall(answer("200 OK", b"{}")))
    answered = fetch(replace(address, ca_file=stranger), "/", {})
    assert answered.status is None
    assert answered.error is not None
    assert "CERT" in answered.error["cause"]


def test_a_connection_cut_in_the_middle_is_an_error_with_what_came_before(appliance: Serve) -> None:
    def cut(_request: bytes, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")

    answered = fetch(appliance(cut), "/", {})
    assert answered.status == 200
    assert answered.error is not None
    assert [length for _, length in answered.chunks] == [3]


def test_waiting_is_bounded(appliance: Serve) -> None:
    def stall(_request: bytes, connection: socket.socket) -> None:
        connection.recv(1)

    with pytest.raises(HarnessError, match="did not end within"):
        fetch(appliance(stall), "/", {}, deadline_s=0.5)


def test_a_missing_node_says_what_to_do(appliance: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    address = replace(appliance(lambda _request, _connection: None))
    with pytest.raises(HarnessError) as raised:
        fetch(address, "/", {})
    assert raised.value.hint == "run `make setup`"


def test_a_request_on_its_way_is_told_before_it_is_answered(appliance: Serve) -> None:
    answer_now = threading.Event()

    def reply(_request: bytes, connection: socket.socket) -> None:
        answer_now.wait(10)
        connection.sendall(answer("200 OK", b"{}"))

    with start_fetch(appliance(reply), "/", {}) as running:
        running.wait_until_asked(10)
        answer_now.set()
        assert running.answer(10).body == "{}"


def test_a_node_that_never_asks_says_why(
    appliance: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_node = tmp_path / "node"
    old_node.write_text("#!/bin/sh\ncat >/dev/null; echo 'fetch is not defined' >&2; exit 1\n")
    old_node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + ":/usr/bin:/bin")
    address = appliance(lambda _request, _connection: None)
    with (
        start_fetch(address, "/", {}) as running,
        pytest.raises(HarnessError, match="fetch is not defined"),
    ):
        running.wait_until_asked(10)
