"""Bounds on how much a client may send, and how others fare meanwhile."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from harness.client.https import ApplianceAddress, exchange, open_tls, request_bytes, send_raw
from suites.conformance.ask import CHAT, assert_openai_error, assert_refused, chat, expect_json

MIB = 1024 * 1024
BODY_LIMIT = 10 * MIB


@pytest.mark.usefixtures("silent_connections")
def test_silent_clients_do_not_hold_up_others(stranger: httpx.Client, stretch: float) -> None:
    started = time.perf_counter()
    expect_json(stranger.get("/readyz"))
    seconds = time.perf_counter() - started
    assert seconds < 1 * stretch, f"silent clients made /readyz take {seconds:.2f} s"


def announced(appliance: ApplianceAddress, length: int) -> tuple[bytes, dict[str, str]]:
    """A request that announces a body of this length and sends its first two bytes."""
    headers = {**appliance.bearer(), "Content-Type": "application/json", "Content-Length": str(length)}
    return request_bytes("POST", CHAT, headers, b"{}"), headers


@pytest.mark.parametrize("length", [BODY_LIMIT + 1, 100 * MIB, 2**40])
def test_a_body_over_10_mib_is_refused_before_it_is_sent(length: int, appliance: ApplianceAddress) -> None:
    request, _ = announced(appliance, length)
    answer = send_raw(appliance, request, method="POST")
    assert_openai_error(answer.status, answer.header("content-type"), answer.body, expected=413)


def test_a_body_sent_in_chunks_is_limited_too(appliance: ApplianceAddress) -> None:
    headers = {**appliance.bearer(), "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    request = request_bytes("POST", CHAT, headers) + b"a00001\r\n"  # one chunk of 10 MiB and a byte
    answer = send_raw(appliance, request + b"x" * 100, method="POST")
    assert_openai_error(answer.status, answer.header("content-type"), answer.body, expected=413)


def test_a_body_of_2_mib_gets_through(client: httpx.Client) -> None:
    """Nginx's own limit is 1 MiB: too little for a coding agent's context."""
    body = json.dumps({"messages": None}).encode() + b" " * 2 * MIB
    response = client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert_refused(response, 400)
    assert "messages" in response.json()["error"]["message"], "the answer must be the engine's"


@pytest.mark.parametrize("size", [9_000, 40_000])
def test_headers_that_are_too_large_are_refused(size: int, appliance: ApplianceAddress) -> None:
    answer = send_raw(appliance, request_bytes("GET", "/v1/models", {"X-Long": "x" * size}))
    assert answer.status in (400, 431), f"{answer.status}: {answer.body[:300]!r}"
    assert_openai_error(answer.status, answer.header("content-type"), answer.body, expected=answer.status)


def test_too_many_headers_are_refused_or_ignored(appliance: ApplianceAddress) -> None:
    many = [(f"X-Header-{number}", "x" * 100) for number in range(500)]
    answer = send_raw(appliance, request_bytes("GET", "/readyz", many))
    assert answer.status in (200, 400, 431), f"{answer.status}: {answer.body[:300]!r}"


def test_several_requests_fit_one_connection(appliance: ApplianceAddress) -> None:
    request = request_bytes("GET", "/v1/models", {**appliance.bearer(), "Connection": "keep-alive"})
    with open_tls(appliance) as connection:
        assert [exchange(connection, request).status for _ in range(3)] == [200, 200, 200]


def test_several_clients_are_served_at_once(appliance: ApplianceAddress, stretch: float) -> None:
    """One of them asks the engine, the others need not wait for it."""
    with open_tls(appliance, timeout_s=60 * stretch) as asking:
        body = json.dumps(chat(max_tokens=1)).encode()
        asking.sendall(
            request_bytes("POST", CHAT, {**appliance.bearer(), "Content-Type": "application/json"}, body)
        )
        answer = send_raw(appliance, request_bytes("GET", "/readyz", {}), timeout_s=10 * stretch)
        assert answer.status == 200
        assert exchange(asking, b"", method="POST").status == 200
