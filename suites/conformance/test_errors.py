"""Whoever makes an error, Nginx or the engine: it is JSON that OpenAI's clients can read."""

from __future__ import annotations

import httpx
import pytest

from harness.client.https import ApplianceAddress, request_bytes, send_raw
from suites.conformance.ask import CHAT, assert_openai_error, assert_refused

GET = b"GET /v1/models HTTP/1.1\r\n"
END = b"Connection: close\r\n\r\n"

MALFORMED = {
    "a request line that is none": (b"GARBAGE\r\n\r\n", {400}),
    "a request without a Host": (GET + END, {400}),
    "a protocol version from the future": (b"GET /v1/models HTTP/9.9\r\nHost: a\r\n\r\n", {400, 505}),
    "a header line without a colon": (GET + b"Host: a\r\nnonsense\r\n" + END, {400, 401}),
    "a negative length": (request_bytes("POST", CHAT, {"Content-Length": "-1"}), {400}),
    "a length that is no number": (request_bytes("POST", CHAT, {"Content-Length": "ten"}), {400}),
    "two different lengths": (
        request_bytes("POST", CHAT, [("Content-Length", "2"), ("Content-Length", "3")], b"{}"),
        {400},
    ),
    "a length and chunks at once": (
        request_bytes("POST", CHAT, {"Content-Length": "5", "Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
        {400},
    ),
    "an encoding nobody knows": (
        request_bytes("POST", CHAT, {"Transfer-Encoding": "gzip, x"}, b"0\r\n\r\n"),
        {400, 501},
    ),
    "an address that is too long": (request_bytes("GET", "/" + "x" * 9000, {}), {414}),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_request_gets_a_json_error(kind: str, appliance: ApplianceAddress) -> None:
    request, statuses = MALFORMED[kind]
    answer = send_raw(appliance, request)
    assert answer.status in statuses, f"{answer.status} instead of {statuses}: {answer.body[:300]!r}"
    assert_openai_error(answer.status, answer.header("content-type"), answer.body, expected=answer.status)


@pytest.mark.parametrize("status", [401, 404, 405])
def test_nginx_answers_in_openais_shape(status: int, client: httpx.Client, stranger: httpx.Client) -> None:
    responses = {
        401: lambda: stranger.post(CHAT, json={}),
        404: lambda: client.get("/nothing/here"),
        405: lambda: client.get(CHAT),
    }
    assert_refused(responses[status](), status)


def test_the_engine_answers_in_openais_shape(client: httpx.Client) -> None:
    assert_refused(client.post(CHAT, json={"messages": "not a list"}), 400)


def test_an_error_does_not_show_paths_or_versions(client: httpx.Client, stranger: httpx.Client) -> None:
    for response in (client.get("/none"), stranger.get("/v1/models"), client.post(CHAT, json={})):
        for word in ("/opt/", "/etc/", "nginx/", "llama.cpp", "<html"):
            assert word not in response.text, f"{word!r} in {response.text[:300]!r}"
