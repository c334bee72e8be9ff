"""Browsers: preflights are answered without credentials, and each CORS header comes once."""

from __future__ import annotations

import httpx
import pytest

from suites.conformance.ask import CHAT, chat
from suites.conformance.routes import ALLOWED

ORIGIN = "https://editor.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


def values(response: httpx.Response, name: str) -> list[str]:
    return response.headers.get_list(f"access-control-{name}")


def allowed_names(response: httpx.Response, name: str) -> set[str]:
    return {word.strip().lower() for value in values(response, name) for word in value.split(",")}


@pytest.mark.parametrize("path", [path for _, path in ALLOWED])
def test_a_preflight_is_answered_without_credentials(path: str, stranger: httpx.Client) -> None:
    response = stranger.options(path, headers=PREFLIGHT)
    assert (response.status_code, response.content) == (204, b"")
    assert values(response, "allow-origin") in ([ORIGIN], ["*"])
    assert {"post", "get"} & allowed_names(response, "allow-methods")


def test_a_preflight_allows_what_openais_clients_send(stranger: httpx.Client) -> None:
    response = stranger.options(CHAT, headers=PREFLIGHT)
    assert "post" in allowed_names(response, "allow-methods")
    names = allowed_names(response, "allow-headers")
    assert {"authorization", "content-type", "x-stainless-lang"} <= names or "*" in names - {"authorization"}
    assert "authorization" in names, "a wildcard does not include Authorization"


def test_a_preflight_is_remembered_by_the_browser(stranger: httpx.Client) -> None:
    response = stranger.options(CHAT, headers=PREFLIGHT)
    assert int(response.headers["access-control-max-age"]) >= 60


def test_a_preflight_of_a_route_that_does_not_exist_allows_nothing(stranger: httpx.Client) -> None:
    response = stranger.options("/props", headers=PREFLIGHT)
    assert response.status_code == 404


CASES = {
    "a list": ("GET", "/v1/models", 200, True),
    "readiness": ("GET", "/readyz", 200, False),
    "a refusal": ("POST", CHAT, 401, False),
    "a missing route": ("GET", "/none", 404, True),
    "a wrong method": ("GET", CHAT, 405, True),
    "a bad request": ("POST", CHAT, 400, True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_origin_is_allowed_exactly_once_on(
    case: str, client: httpx.Client, stranger: httpx.Client
) -> None:
    method, path, status, with_right = CASES[case]
    response = (client if with_right else stranger).request(
        method, path, json={} if method == "POST" else None, headers={"Origin": ORIGIN}
    )
    assert response.status_code == status
    assert values(response, "allow-origin") in ([ORIGIN], ["*"])
    if values(response, "allow-origin") == [ORIGIN]:
        assert "origin" in response.headers.get("vary", "").lower(), "caches would serve it to another origin"


def test_the_origin_is_allowed_exactly_once_on_a_stream(client: httpx.Client) -> None:
    body = chat(max_tokens=1, stream=True)
    with client.stream("POST", CHAT, json=body, headers={"Origin": ORIGIN}) as response:
        assert values(response, "allow-origin") in ([ORIGIN], ["*"])


def test_browsers_may_not_send_credentials_by_themselves(client: httpx.Client) -> None:
    response = client.get("/v1/models", headers={"Origin": ORIGIN})
    assert values(response, "allow-credentials") == []
