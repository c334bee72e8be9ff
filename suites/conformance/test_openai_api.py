"""The OpenAI API over HTTPS. One assertion serves plain and streamed answers."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from harness.client.https import ApplianceAddress
from suites.conformance.ask import (
    CHAT,
    COMPLETIONS,
    COUNT,
    MODES,
    Mode,
    ask,
    assert_refused,
    chat,
    expect_json,
    overlong,
    text_of,
)

TEXT = {"prompt": "1, 2, 3, 4,", "max_tokens": 2, "temperature": 0}

both_modes = pytest.mark.parametrize("mode", MODES)

ONE_OR_TWO = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": {"type": "integer", "enum": [1, 2]}},
}
ADD_TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add a number",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}


def says(content: Any) -> list[dict[str, Any]]:
    """A conversation of one message with this content."""
    return [{"role": "user", "content": content}]


@pytest.fixture(scope="module")
def answers(client: httpx.Client) -> dict[Mode, dict[str, Any]]:
    """The same question asked in both modes, for all checks of a simple answer."""
    return {mode: ask(client, mode, chat(max_tokens=3)) for mode in MODES}


@both_modes
def test_a_chat_is_answered_by_the_served_model(
    answers: dict[Mode, dict[str, Any]], mode: Mode, appliance: ApplianceAddress
) -> None:
    assert answers[mode]["object"] == "chat.completion"
    assert answers[mode]["model"] == appliance.model
    assert answers[mode]["id"]
    assert abs(answers[mode]["created"] - time.time()) < 600, "the guest's clock is wrong"


@both_modes
def test_the_answer_is_the_assistants(answers: dict[Mode, dict[str, Any]], mode: Mode) -> None:
    assert len(answers[mode]["choices"]) == 1
    assert answers[mode]["choices"][0]["message"]["role"] == "assistant"
    assert text_of(answers[mode]).strip()


@both_modes
def test_the_answer_ends_at_max_tokens(answers: dict[Mode, dict[str, Any]], mode: Mode) -> None:
    assert answers[mode]["choices"][0]["finish_reason"] == "length"


@both_modes
def test_usage_counts_prompt_and_answer(answers: dict[Mode, dict[str, Any]], mode: Mode) -> None:
    usage = answers[mode]["usage"]
    assert usage["completion_tokens"] == 3
    assert usage["prompt_tokens"] > 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_same_question_gets_the_same_answer_in_both_modes(answers: dict[Mode, dict[str, Any]]) -> None:
    assert text_of(answers["plain"]) == text_of(answers["streamed"])


@both_modes
def test_max_completion_tokens_is_the_same_limit(client: httpx.Client, mode: Mode) -> None:
    """The grammar bounds the answer of an engine that ignores the limit."""
    asked = chat(max_completion_tokens=1, grammar='root ::= "1, 2, 3, 4"')
    asked.pop("max_tokens")
    assert ask(client, mode, asked)["usage"]["completion_tokens"] == 1


@both_modes
def test_a_stop_word_ends_the_answer_and_is_not_part_of_it(client: httpx.Client, mode: Mode) -> None:
    body = ask(client, mode, chat(max_tokens=6, stop=[".", "\n"]))
    assert body["choices"][0]["finish_reason"] == "stop"
    assert not {".", "\n"} & set(text_of(body)), text_of(body)


def test_an_answer_can_be_held_to_a_schema(client: httpx.Client) -> None:
    """Streamed here; openai-python asks for it plain. White space may follow: llama.cpp's grammar has
    room for 22 characters of it."""
    body = ask(client, "streamed", chat(max_tokens=40, response_format=ONE_OR_TWO))
    assert json.loads(text_of(body)) in (1, 2)
    assert body["choices"][0]["finish_reason"] == "stop"


@both_modes
def test_the_legacy_completions_route_continues_a_text(client: httpx.Client, mode: Mode) -> None:
    body = ask(client, mode, TEXT, path=COMPLETIONS, usage=None)
    assert body["object"] == "text_completion"
    assert "5" in text_of(body)


def test_usage_has_a_chunk_of_its_own_on_the_legacy_route(client: httpx.Client) -> None:
    ask(client, "streamed", TEXT, path=COMPLETIONS, usage=True)


def test_content_may_come_in_parts(client: httpx.Client) -> None:
    parts = [{"type": "text", "text": COUNT}]
    assert text_of(ask(client, "plain", {**chat(max_tokens=1), "messages": says(parts)}))


def test_tools_may_be_offered_and_declined(client: httpx.Client) -> None:
    body = ask(client, "streamed", chat(max_tokens=1, tools=[ADD_TOOL], tool_choice="none"))
    assert text_of(body)
    assert not body["choices"][0]["message"].get("tool_calls")


def test_the_same_seed_gives_the_same_answer_streamed_or_not(client: httpx.Client) -> None:
    asked = chat(max_tokens=4, temperature=0.8, seed=7)
    said = {mode: text_of(ask(client, mode, asked)) for mode in MODES}
    assert said["plain"] == said["streamed"]


def test_logprobs_are_given_when_asked_for(client: httpx.Client) -> None:
    choice = ask(client, "plain", chat(max_tokens=1, logprobs=True, top_logprobs=2))["choices"][0]
    first = choice["logprobs"]["content"][0]
    assert first["logprob"] <= 0
    assert len(first["top_logprobs"]) == 2


def test_a_stream_without_usage_asked_for_has_none(client: httpx.Client) -> None:
    ask(client, "streamed", chat(max_tokens=1), usage=False)


def test_a_prompt_longer_than_the_context_is_refused(client: httpx.Client, largest_context: int) -> None:
    response = client.post(CHAT, json=chat(overlong(largest_context)))
    assert_refused(response, 400)
    assert "context" in response.json()["error"]["message"]


def test_text_in_other_scripts_comes_through_unharmed(client: httpx.Client) -> None:
    """A grammar dictates the answer, so that the test is of the way and not of the model."""
    said = "xü世🌟"
    assert text_of(ask(client, "streamed", chat(max_tokens=20, grammar=f'root ::= "{said}"'))) == said


def held_to(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}


BAD: dict[str, dict[str, Any]] = {
    "no messages": {"messages": ...},
    "messages that are null": {"messages": None},
    "messages that are text": {"messages": "hi"},
    "a message that is a number": {"messages": [123]},
    "a message without content": {"messages": [{"role": "user"}]},
    "content that is a number": {"messages": says(5)},
    "a content part of an unknown type": {"messages": says([{"type": "x", "text": "y"}])},
    "max_tokens in words": {"max_tokens": "many"},
    "a negative max_tokens": {"max_tokens": -5},
    "a temperature in words": {"temperature": "hot"},
    "a seed in words": {"seed": "x"},
    "no choice at all": {"n": 0},
    "stream that is text": {"stream": "yes"},
    "a response format nobody knows": {"response_format": {"type": "nope"}},
    "a schema that is none": held_to({"type": "zzz"}),
    "a tool choice nobody knows": {"tools": [ADD_TOOL], "tool_choice": "maybe"},
}


@pytest.mark.parametrize("kind", BAD)
def test_it_is_a_bad_request_to_send(kind: str, client: httpx.Client) -> None:
    asked = {name: value for name, value in {**chat(max_tokens=1), **BAD[kind]}.items() if value is not ...}
    assert_refused(client.post(CHAT, json=asked), 400)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

# Requests that OpenAI refuses, with its status. Those of the first kind make an engine stumble, those of the
# second are easily ignored; what engines do instead is in known_differences.yaml.
STUMBLING: dict[str, tuple[dict[str, Any] | bytes, int]] = {
    "JSON that ends in the middle": (b'{"messages": [', 400),
    "an empty body": (b"", 400),
    "a text part without text": ({"messages": says([{"type": "text"}])}, 400),
    "a role that is a number": ({"messages": [{"role": 5, "content": "x"}]}, 400),
    "an image for a model that has no eyes": ({"messages": says([IMAGE])}, 400),
    "tools that are text": ({"tools": "x"}, 400),
}
REFUSED: dict[str, tuple[dict[str, Any] | bytes, int]] = {
    **STUMBLING,
    "an empty list of messages": ({"messages": []}, 400),
    "a model nobody has": ({"model": "no-such-model"}, 404),
    "a temperature of 9": ({"temperature": 9}, 400),
    "a stop word that is a number": ({"stop": 5}, 400),
    "a schema format without a schema": ({"response_format": {"type": "json_schema"}}, 400),
}


def body_of(kind: str) -> bytes:
    sent = REFUSED[kind][0]
    return sent if isinstance(sent, bytes) else json.dumps({**chat(max_tokens=1), **sent}).encode()


@pytest.mark.parametrize("kind", REFUSED)
def test_openai_refuses(kind: str, client: httpx.Client) -> None:
    response = client.post(CHAT, content=body_of(kind), headers={"Content-Type": "application/json"})
    assert_refused(response, REFUSED[kind][1])


@pytest.mark.parametrize("kind", STUMBLING)
def test_at_least_the_error_is_readable_for(kind: str, client: httpx.Client) -> None:
    response = client.post(CHAT, content=body_of(kind), headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 500)
    assert_refused(response, response.status_code)


def test_a_stream_names_the_role_even_if_it_starts_with_an_emoji(client: httpx.Client) -> None:
    ask(client, "streamed", chat(max_tokens=8, grammar='root ::= "🌟"'))


def test_a_required_tool_is_called(client: httpx.Client) -> None:
    body = ask(client, "plain", chat(max_tokens=3, tools=[ADD_TOOL], tool_choice="required"))
    calls = body["choices"][0]["message"].get("tool_calls") or []
    assert [call["function"]["name"] for call in calls] == ["add"]


def test_usage_counts_every_choice(client: httpx.Client) -> None:
    body = expect_json(client.post(CHAT, json=chat(max_tokens=1, n=2)))
    assert len(body["choices"]) == 2
    assert body["usage"]["completion_tokens"] == 2
