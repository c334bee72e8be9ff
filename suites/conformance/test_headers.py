"""Headers: nothing that helps an attacker, nothing of the engine, nothing twice."""

from __future__ import annotations

import collections

import httpx
import pytest

from suites.conformance.ask import CHAT, chat

ANSWERS = ("a list", "readiness", "a refusal", "a missing route", "a chat", "a stream")


@pytest.fixture(scope="module")
def answers(client: httpx.Client, stranger: httpx.Client) -> dict[str, httpx.Response]:
    return {
        "a list": client.get("/v1/models"),
        "readiness": stranger.get("/readyz"),
        "a refusal": stranger.post(CHAT, json={}),
        "a missing route": client.get("/none"),
        "a chat": client.post(CHAT, json=chat(max_tokens=1)),
        "a stream": client.post(CHAT, json=chat(max_tokens=1, stream=True)),
    }


@pytest.mark.parametrize("kind", ANSWERS)
def test_no_version_and_no_engine_shows_in(kind: str, answers: dict[str, httpx.Response]) -> None:
    headers = answers[kind].headers
    assert not any(character.isdigit() for character in headers.get("server", "")), headers["server"]
    telling = {"x-powered-by", "via", "x-aspnet-version", "keep-alive", "x-request-start"} & set(headers)
    assert not telling
    text = " ".join(f"{name}: {value}" for name, value in headers.items()).lower()
    assert "llama" not in text, text


@pytest.mark.parametrize("kind", ANSWERS)
def test_no_header_comes_twice_in(kind: str, answers: dict[str, httpx.Response]) -> None:
    names = collections.Counter(name.lower() for name, _ in answers[kind].headers.multi_items())
    repeated = {name for name, count in names.items() if count > 1} - {"www-authenticate"}
    assert not repeated, (
        f"{[item for item in answers[kind].headers.multi_items() if item[0].lower() in repeated]}"
    )


@pytest.mark.parametrize("kind", ANSWERS)
def test_browsers_must_not_guess_the_type_of(kind: str, answers: dict[str, httpx.Response]) -> None:
    assert answers[kind].headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("kind", ANSWERS)
def test_nobody_may_store(kind: str, answers: dict[str, httpx.Response]) -> None:
    assert "no-store" in answers[kind].headers.get("cache-control", "")


@pytest.mark.parametrize("kind", ANSWERS)
def test_no_cookie_is_set_by(kind: str, answers: dict[str, httpx.Response]) -> None:
    assert "set-cookie" not in answers[kind].headers


@pytest.mark.usefixtures("cell")
def test_hsts_is_not_asked_for_behind_a_certificate_that_strangers_do_not_trust(
    answers: dict[str, httpx.Response],
) -> None:
    """No cell has one that they do; tests/appliance/test_tls_trust.py shows the header where it belongs."""
    with_hsts = [kind for kind in ANSWERS if "strict-transport-security" in answers[kind].headers]
    assert not with_hsts, "HSTS would lock people out who click past the warning"


def test_json_says_it_is_json(answers: dict[str, httpx.Response]) -> None:
    types = {kind: answers[kind].headers["content-type"] for kind in ANSWERS if kind != "a stream"}
    assert all(value.startswith("application/json") for value in types.values()), types


def test_a_stream_says_it_is_an_event_stream(answers: dict[str, httpx.Response]) -> None:
    assert answers["a stream"].headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in answers["a stream"].headers
    assert "content-encoding" not in answers["a stream"].headers, "compression buffers"
