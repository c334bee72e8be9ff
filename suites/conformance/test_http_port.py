"""Port 80 sends people to HTTPS and does nothing else; plain HTTP on 443 is told so."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest

from harness.client.https import ApplianceAddress
from suites.conformance.ask import assert_openai_error


def over_http(
    url: str, method: str, target: str, *, body: str | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    parts = urlsplit(url)
    assert parts.hostname, f"no address to ask: {url!r}"
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=15)
    try:
        connection.request(method, target, body=body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "target", ["/", "/v1/models", "/readyz", "/v1/chat/completions?a=b&c=%20d", "//x/../y"]
)
def test_port_80_sends_to_the_same_path_over_https(port_80: str, target: str) -> None:
    status, headers, _ = over_http(port_80, "GET", target)
    assert status == 308
    location = headers["Location"] or ""
    assert location.startswith("https://"), location
    assert location.removeprefix("https://").partition("/")[2] == target.removeprefix("/"), location


def test_a_post_keeps_method_and_body_when_it_is_sent_on(port_80: str) -> None:
    status, _, _ = over_http(port_80, "POST", "/v1/chat/completions", body="{}")
    assert status == 308, "301 and 302 turn a POST into a GET, 308 does not"


def test_port_80_never_serves_the_api(port_80: str, appliance: ApplianceAddress) -> None:
    _, headers, body = over_http(port_80, "GET", "/v1/models")
    assert appliance.model.encode() not in body
    assert headers["Strict-Transport-Security"] is None


def test_the_acme_folder_serves_nothing_that_is_not_there(port_80: str) -> None:
    status, headers, body = over_http(port_80, "GET", "/.well-known/acme-challenge/none")
    assert_openai_error(status, headers["Content-Type"], body, expected=404)


@pytest.mark.parametrize(
    "target",
    [
        "/.well-known/acme-challenge/../../../../etc/passwd",
        "/.well-known/acme-challenge/%2e%2e/%2e%2e/key.pem",
    ],
)
def test_the_acme_folder_cannot_be_left(port_80: str, target: str) -> None:
    status, _, body = over_http(port_80, "GET", target)
    assert status in (308, 400, 404), f"{status}: {body[:200]!r}"
    assert b"root:" not in body


def test_plain_http_on_443_is_told_to_use_https(appliance: ApplianceAddress) -> None:
    host = f"[{appliance.host}]" if ":" in appliance.host else appliance.host
    plain = f"http://{host}:{appliance.port}"
    status, headers, body = over_http(plain, "GET", "/v1/models")
    assert_openai_error(status, headers["Content-Type"], body, expected=400)
    assert b"https" in body.lower()
