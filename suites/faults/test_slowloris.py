"""Clients that hold connections and send next to nothing block nobody."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from harness.client.https import ApplianceAddress, open_client, open_tls, request_bytes
from suites.conformance.ask import CHAT, chat, expect_json

HALF_OPEN = 1000
"""Connections that stop in the middle of the TLS handshake, which cost the attacker least."""
HALF_HEADERS = 60
SLOW_BODIES = 60
WITHIN_S = 2.0
"""For a client that comes meanwhile, its handshake included. Stretched for slow accelerators."""

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
"""The head of a ClientHello whose rest never comes."""


@pytest.fixture(scope="module")
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = HALF_OPEN + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def _slow_clients(appliance: ApplianceAddress, _many_files: None) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(HALF_HEADERS):
            connection = stack.enter_context(open_tls(appliance))
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthor")
        for _ in range(SLOW_BODIES):
            connection = stack.enter_context(open_tls(appliance))
            headers = {"Authorization": "Bearer wrong", "Content-Length": "1000000"}
            connection.sendall(request_bytes("POST", CHAT, headers, b"{"))
        for _ in range(HALF_OPEN):
            plain = stack.enter_context(socket.create_connection((appliance.host, appliance.port), 30))
            plain.sendall(HELLO)
        yield


@pytest.mark.usefixtures("_slow_clients")
def test_slow_clients_hold_up_nobody(
    appliance: ApplianceAddress, stretch: float, record_metric: Callable[..., None]
) -> None:
    started = time.monotonic()
    with open_client(appliance) as client:
        expect_json(client.get("/v1/models"))
        seconds = time.monotonic() - started
        record_metric("new_client_among_slow_ones", "s", seconds, n=1)
        assert seconds <= WITHIN_S * stretch
        expect_json(client.post(CHAT, json=chat(max_tokens=1)))


@pytest.mark.usefixtures("_slow_clients")
def test_slow_strangers_take_no_place_of_those_who_may_ask(client: httpx.Client) -> None:
    """Bodies are read after the password was judged; who has none takes no place among the 24."""
    expect_json(client.post(CHAT, json=chat(max_tokens=1)))
