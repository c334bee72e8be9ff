"""The one credential: user admin with its password as Basic, or the password alone as Bearer."""

from __future__ import annotations

import base64

import httpx
import pytest

from harness.client.https import ApplianceAddress, basic_value, request_bytes, send_raw
from harness.machine.protocol import Machine
from suites.conformance.ask import CHAT, assert_refused, chat, expect_json
from suites.conformance.engine_loopback import work_between, work_done
from suites.conformance.routes import ALLOWED

CHEAP = chat(max_tokens=1)
USER = "admin"
IDLE_SHARE = 0.2
"""Of what one answer costs an engine, the most that it may do by itself meanwhile: it counts its CPU time."""


WRONG = {
    "no header at all": lambda _: None,
    "an empty header": lambda _: "",
    "Bearer without a token": lambda _: "Bearer",
    "Bearer with a wrong password": lambda _: "Bearer wrong-password",
    "Bearer with an empty string in quotes": lambda _: 'Bearer ""',
    "Bearer with the user before the password": lambda right: f"Bearer {USER}:{right}",
    "Bearer without the password's last character": lambda right: f"Bearer {right[:-1]}",
    "Bearer without the password's first character": lambda right: f"Bearer {right[1:]}",
    "Bearer with one character more": lambda right: f"Bearer {right}x",
    "Bearer with the password twice": lambda right: f"Bearer {right}{right}",
    "Bearer with the password and another word": lambda right: f"Bearer {right} x",
    "Bearer with the password in wrong case": lambda right: f"Bearer {right.swapcase()}",
    "Bearer with a comma list": lambda right: f"Bearer wrong, Bearer {right}",
    "Bearer with a pattern that matches anything": lambda _: "Bearer .*",
    "Bearer with a NUL's escape": lambda right: f"Bearer {right}%00",
    "Bearer with 4,000 characters": lambda _: "Bearer " + "x" * 4000,
    "Bearer with Basic's value": lambda right: "Bearer " + basic_value(USER, right).removeprefix("Basic "),
    "Basic with a wrong password": lambda _: basic_value(USER, "wrong-password"),
    "Basic with an empty password": lambda _: basic_value(USER, ""),
    "Basic with a wrong user": lambda right: basic_value("root", right),
    "Basic with an empty user": lambda right: basic_value("", right),
    "Basic with the user in capitals": lambda right: basic_value(USER.upper(), right),
    "Basic with the password in wrong case": lambda right: basic_value(USER, right.swapcase()),
    "Basic with the password's beginning": lambda right: basic_value(USER, right[:8]),
    "Basic with one character more": lambda right: basic_value(USER, right + "x"),
    "Basic with a line feed after the password": lambda right: basic_value(USER, right + "\n"),
    "Basic with no colon": lambda right: "Basic " + base64.b64encode(right.encode()).decode(),
    "Basic with the pair not encoded": lambda right: f"Basic {USER}:{right}",
    "Basic with something that is not base64": lambda _: "Basic !!!!",
    "Basic with the value in wrong case": lambda right: "Basic " + basic_value(USER, right)[6:].swapcase(),
    "the password without a scheme": lambda right: right,
    "another scheme": lambda right: f"Token {right}",
    "Digest": lambda right: f'Digest username="{USER}", response="{right}"',
}

RIGHT = {
    "Bearer": lambda right: f"Bearer {right}",
    "Basic": lambda right: basic_value(USER, right),
    "bearer in small letters": lambda right: f"bearer {right}",
    "BASIC in capitals": lambda right: basic_value(USER, right).replace("Basic", "BASIC"),
}


def credentials(authorization: str | None) -> dict[str, str]:
    return {} if authorization is None else {"Authorization": authorization}


def post(client: httpx.Client, authorization: str | None) -> httpx.Response:
    return client.post(CHAT, json=CHEAP, headers=credentials(authorization))


def assert_unauthorized(response: httpx.Response) -> None:
    assert_refused(response, 401)
    challenges = response.headers.get_list("www-authenticate")
    assert any(one.startswith("Basic realm=") for one in challenges), f"WWW-Authenticate: {challenges}"


@pytest.mark.parametrize("kind", WRONG)
def test_a_chat_is_refused_with(kind: str, stranger: httpx.Client, appliance: ApplianceAddress) -> None:
    assert_unauthorized(post(stranger, WRONG[kind](appliance.password)))


@pytest.mark.parametrize("kind", RIGHT)
def test_a_request_is_accepted_with(kind: str, stranger: httpx.Client, appliance: ApplianceAddress) -> None:
    response = stranger.get("/v1/models", headers={"Authorization": RIGHT[kind](appliance.password)})
    expect_json(response)


@pytest.mark.parametrize(
    "kind", ["no header at all", "Bearer with a wrong password", "Basic with a wrong password"]
)
@pytest.mark.parametrize("route", [f"{method} {path}" for method, path in ALLOWED])
def test_every_route_refuses(route: str, kind: str, stranger: httpx.Client) -> None:
    method, path = route.split()
    response = stranger.request(
        method,
        path,
        json=CHEAP if method == "POST" else None,
        headers=credentials(WRONG[kind]("unused")),
    )
    assert_unauthorized(response)


@pytest.mark.parametrize("route", [f"{method} {path}" for method, path in ALLOWED])
@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_every_route_accepts(
    route: str, scheme: str, stranger: httpx.Client, appliance: ApplianceAddress
) -> None:
    """A body without a question costs the engine nothing; that it complains shows that it was asked."""
    method, path = route.split()
    response = stranger.request(
        method,
        path,
        json={} if method == "POST" else None,
        headers={"Authorization": RIGHT[scheme](appliance.password)},
    )
    if method == "GET":
        expect_json(response)
    else:
        assert_refused(response, 400)


@pytest.mark.parametrize(("value", "status"), [("Bearer {} ", 200), ("Bearer \t", 401), ("   ", 401)])
def test_space_around_the_value_does_not_count(value: str, status: int, appliance: ApplianceAddress) -> None:
    """RFC 9110, section 5.5: it is no part of the value. httpx refuses to send it, so it is sent raw."""
    headers = {"Authorization": value.format(appliance.password)}
    answer = send_raw(appliance, request_bytes("GET", "/v1/models", headers))
    assert answer.status == status, f"{answer.status}: {answer.body[:300]!r}"


@pytest.mark.parametrize("order", ["wrong, then right", "right, then wrong"])
def test_two_authorization_headers_are_refused(
    order: str, stranger: httpx.Client, appliance: ApplianceAddress
) -> None:
    values = ["Bearer wrong-password", f"Bearer {appliance.password}"]
    if order == "right, then wrong":
        values.reverse()
    response = stranger.post(CHAT, json=CHEAP, headers=[("Authorization", value) for value in values])
    assert response.status_code in (400, 401), f"{response.status_code}: {response.text[:300]}"


@pytest.mark.parametrize("name", ["X-Api-Key", "Api-Key", "Proxy-Authorization", "Cookie", "X-Authorization"])
def test_the_password_does_not_count_in_header(
    name: str, stranger: httpx.Client, appliance: ApplianceAddress
) -> None:
    assert_unauthorized(stranger.post(CHAT, json=CHEAP, headers={name: f"Bearer {appliance.password}"}))


def test_the_password_does_not_count_in_the_address(
    stranger: httpx.Client, appliance: ApplianceAddress
) -> None:
    right = {"api_key": appliance.password, "key": appliance.password, "token": appliance.password}
    # Not a real request with the password in it: access logs would keep it. A wrong one shows the same.
    assert_unauthorized(stranger.post(CHAT, json=CHEAP, params=dict.fromkeys(right, "wrong-password")))


def test_readiness_needs_no_credentials(stranger: httpx.Client) -> None:
    expect_json(stranger.get("/readyz"))


def test_readiness_does_not_mind_wrong_credentials(stranger: httpx.Client) -> None:
    expect_json(stranger.get("/readyz", headers={"Authorization": "Bearer wrong-password"}))


def test_a_refused_request_never_reaches_the_engine(
    machine: Machine, stranger: httpx.Client, client: httpx.Client
) -> None:
    before = work_done(machine)
    for _ in range(3):
        assert_unauthorized(post(stranger, "Bearer wrong-password"))
    refused = work_done(machine)
    expect_json(client.post(CHAT, json=CHEAP))
    for_one = work_between(refused, work_done(machine))
    assert for_one > 0, "this check would not have noticed anything"
    for_three = work_between(before, refused)
    assert for_three <= IDLE_SHARE * for_one, (
        f"the engine worked for requests with a wrong password: {for_three}, for an answered one {for_one}"
    )


def test_a_connection_that_was_authorized_once_is_asked_again(
    stranger: httpx.Client, appliance: ApplianceAddress
) -> None:
    expect_json(stranger.get("/v1/models", headers=appliance.bearer()))
    assert_unauthorized(stranger.get("/v1/models"))
