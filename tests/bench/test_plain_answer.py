"""The engine's own clock of a plain answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.bench.plain_answer import plain_decode_speed
from harness.bench.wire import Failure, Target


def whole_request(client: socket.socket) -> bytes:
    """Head and body, which may come in two parts."""
    taken = b""
    while not (taken.endswith(b"}") and b"\r\n\r\n" in taken):
        taken += client.recv(65536) or pytest.fail(f"the request ended early: {taken!r}")
    return taken


@contextmanager
def answering(status: str, body: bytes, seen: list[bytes]) -> Iterator[Target]:
    """A server that answers one request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as client:
                seen.append(whole_request(client))
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
                client.sendall(head.encode() + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Target(lambda: socket.create_connection(server.getsockname()), None, "", "engine", "Bearer x")
        thread.join(5)


def speed(status: str, body: bytes, seen: list[bytes] | None = None) -> float | Failure:
    with answering(status, body, [] if seen is None else seen) as target:
        return plain_decode_speed(target, {"messages": [], "stream": True}, timeout_s=5)


def timings(n: int, ms: float) -> bytes:
    return json.dumps({"timings": {"predicted_n": n, "predicted_ms": ms}}).encode()


def test_the_first_token_is_not_counted() -> None:
    assert speed("200 OK", timings(97, 960.0)) == pytest.approx(100.0)


def test_it_asks_for_no_stream_and_says_who_asks() -> None:
    seen: list[bytes] = []
    speed("200 OK", timings(3, 1.0), seen)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert b"Authorization: Bearer x" in head
    assert json.loads(body)["stream"] is False


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("503 Service Unavailable", b"busy", "status"),
        ("200 OK", b"{}", "malformed"),
        ("200 OK", b"no JSON", "malformed"),
        ("200 OK", timings(1, 5.0), "malformed"),
        ("200 OK", timings(9, 0.0), "malformed"),
    ],
)
def test_what_has_no_speed_is_a_failure(status: str, body: bytes, kind: str) -> None:
    outcome = speed(status, body)
    assert isinstance(outcome, Failure)
    assert outcome.kind == kind


def test_nobody_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    gone = Target(lambda: socket.create_connection(address, 1), None, "", "engine")
    outcome = plain_decode_speed(gone, {}, timeout_s=1)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "connect"
