"""Exactly the public routes exist; the engine has many more, and none of them gets through."""

from __future__ import annotations

import httpx
import pytest

from harness.client.https import ApplianceAddress, request_bytes, send_raw
from suites.conformance.ask import CHAT, COMPLETIONS, assert_refused, chat, expect_json
from suites.conformance.routes import ENGINE

CHEAP = chat(max_tokens=1)


def raw_path(client: httpx.Client, method: str, target: str, **headers: str) -> httpx.Response:
    """A request whose path is sent as written; httpx alone would tidy it up."""
    request = client.build_request(method, "/", headers=headers)
    request.extensions["target"] = target.encode()
    return client.send(request)


@pytest.mark.parametrize("route", ENGINE)
def test_it_does_not_exist_even_for_the_administrator(route: str, client: httpx.Client) -> None:
    method, path = route.split()
    body = CHEAP if method == "POST" else None
    assert_refused(client.request(method, path, json=body), 404)


@pytest.mark.parametrize("route", ["POST /completion", "GET /slots", "GET /metrics", "GET /props"])
def test_a_stranger_learns_nothing_of_it(route: str, stranger: httpx.Client) -> None:
    method, path = route.split()
    response = stranger.request(method, path)
    assert response.status_code in (401, 404), f"{response.status_code}: {response.text[:300]}"


TRICKS = (
    "/v1/../props",
    "/v1/models/../../props",
    "/v1/%2e%2e/props",
    "/v1/%2E%2E/slots",
    "/v1/models%2f..%2f..%2fprops",
    "/v1/models/..%2f..%2fmetrics",
    "/v1/models/..;/props",
    "/v1/models;/../props",
    "/readyz/../props",
    "/readyz/..%2fmetrics",
    "/readyz/%2e%2e/%2e%2e/slots",
    "/.well-known/acme-challenge/../../props",
    "/./props",
    "//props",
    "/%70rops",
    "/props/",
    "/props%20",
    "/props%00",
    "/props?x=/v1/models",
    "/v1/models/..%5c..%5cprops",
    "/V1/../PROPS",
    "http://127.0.0.1:8080/props",
    "/v1/chat/completions/../../../slots",
    "/v1/models/%252e%252e/%252e%252e/props",
)


@pytest.mark.parametrize("target", TRICKS)
def test_no_spelling_leads_to_the_engines_own_routes(target: str, client: httpx.Client) -> None:
    response = raw_path(client, "GET", target)
    assert response.status_code in (400, 404), f"{response.status_code}: {response.text[:300]!r}"
    assert_refused(response, response.status_code)


SPELLINGS = (
    "//v1/models",
    "/v1//models",
    "/v1/models/",
    "/V1/MODELS",
    "/v1/Models",
    "/v1/models%00",
    "/v1/models;x",
    "/v1/./models",
    "/v1/x/../models",
    "/v1%2fmodels",
)


@pytest.mark.parametrize("target", SPELLINGS)
def test_another_spelling_of_a_public_route_is_that_route_or_none(
    target: str, client: httpx.Client, stranger: httpx.Client
) -> None:
    response = raw_path(client, "GET", target)
    if response.status_code == 200:
        assert expect_json(response)["object"] == "list"
        assert_refused(raw_path(stranger, "GET", target), 401)
    else:
        assert response.status_code in (400, 404), f"{response.status_code}: {response.text[:300]!r}"
        assert_refused(response, response.status_code)


REWRITES = (
    "X-Forwarded-Prefix",
    "X-Forwarded-Uri",
    "X-Forwarded-Path",
    "X-Original-URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X-Envoy-Original-Path",
    "X-HTTP-Method-Override",
)


@pytest.mark.parametrize("name", REWRITES)
def test_no_header_changes_where_a_request_goes(name: str, client: httpx.Client) -> None:
    value = "POST" if name == "X-HTTP-Method-Override" else "/props"
    listed = expect_json(client.get("/v1/models", headers={name: value}))
    assert listed["object"] == "list", f"{listed}"
    assert_refused(client.get("/none", headers={name: "/v1/models"}), 404)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "evil.example"])
def test_no_host_header_changes_where_a_request_goes(host: str, client: httpx.Client) -> None:
    response = client.get("/props", headers={"Host": host})
    assert response.status_code in (400, 404, 421), f"{response.status_code}: {response.text[:300]!r}"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, "POST"),
        ("PUT", CHAT, "POST"),
        ("DELETE", CHAT, "POST"),
        ("PATCH", CHAT, "POST"),
        ("HEAD", CHAT, "POST"),
        ("GET", COMPLETIONS, "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models", "GET"),
        ("POST", "/readyz", "GET"),
        ("DELETE", "/readyz", "GET"),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_one(
    method: str, path: str, allowed: str, client: httpx.Client
) -> None:
    response = client.request(method, path)
    assert response.status_code == 405
    methods = [name.strip() for name in response.headers.get("allow", "").split(",")]
    assert allowed in methods, f"Allow: {methods}"
    if method != "HEAD":
        assert_refused(response, 405)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "MADEUP"])
def test_a_method_nobody_serves_is_refused(method: str, appliance: ApplianceAddress) -> None:
    answer = send_raw(appliance, request_bytes(method, "/v1/models", appliance.bearer()))
    assert answer.status in (400, 405, 501), f"{answer.status}: {answer.body[:300]!r}"


def test_the_model_list_has_exactly_the_served_model(
    client: httpx.Client, appliance: ApplianceAddress
) -> None:
    listed = expect_json(client.get("/v1/models"))
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == [appliance.model]
    assert "/" not in appliance.model, "a path of the guest is no model name"


def test_readiness_says_so_in_json(stranger: httpx.Client) -> None:
    response = stranger.get("/readyz")
    body = expect_json(response)
    assert body, "an empty object says nothing"
    assert response.headers["cache-control"] == "no-store"
