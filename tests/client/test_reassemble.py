"""Each rule of a streamed answer, kept once and broken once."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.client.reassemble import BrokenStream, reassemble
from harness.client.sse import Event

Chunks = list[dict[str, Any]]


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "model": "m",
        "created": 1,
        "choices": choices,
        **more,
    }


def good() -> Chunks:
    return [
        chunk({"role": "assistant", "content": None}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        chunk(None, usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
    ]


def events(chunks: Chunks, *, done: bool = True) -> list[Event]:
    lines = [*(json.dumps(found) for found in chunks), *(["[DONE]"] if done else [])]
    return [Event(line, float(number)) for number, line in enumerate(lines)]


def test_a_stream_becomes_the_plain_body() -> None:
    body = reassemble(events(good()), usage_expected=True)
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ]
    assert body["usage"]["total_tokens"] == 5


def test_legacy_completions_become_text() -> None:
    pieces = [
        {
            "id": "c",
            "object": "text_completion",
            "model": "m",
            "choices": [{"index": 0, "text": text, "finish_reason": end}],
        }
        for text, end in [("a", None), ("b", None), ("", "length")]
    ]
    assert reassemble(events(pieces))["choices"] == [{"index": 0, "text": "ab", "finish_reason": "length"}]


def test_tool_calls_are_joined_by_index() -> None:
    pieces = [
        chunk({"role": "assistant", "content": None}),
        chunk(
            {
                "tool_calls": [
                    {"index": 0, "id": "t0", "type": "function", "function": {"name": "f", "arguments": ""}}
                ]
            }
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "t1", "function": {"name": "g", "arguments": "{}"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        chunk({}, "tool_calls"),
    ]
    message = reassemble(events(pieces))["choices"][0]["message"]
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "f", "arguments": '{"a":1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert message["content"] is None


def change(number: int, **fields: Any) -> Callable[[Chunks], Chunks]:
    def changed(chunks: Chunks) -> Chunks:
        chunks[number].update(fields)
        return chunks

    return changed


def insert(number: int, *pieces: dict[str, Any]) -> Callable[[Chunks], Chunks]:
    return lambda chunks: [*chunks[:number], *pieces, *chunks[number:]]


def drop(number: int) -> Callable[[Chunks], Chunks]:
    return lambda chunks: [*chunks[:number], *chunks[number + 1 :]]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (change(2, id="c2"), "chunk 3 has id 'c2'"),
        (change(1, model="other"), "chunk 2 has model 'other'"),
        (change(1, object="text_completion"), "chunk 2 has object"),
        (lambda chunks: [{**found, "id": ""} for found in chunks], "has no id"),
        (lambda chunks: [{**found, "object": "thing"} for found in chunks], "object 'thing'"),
        (drop(0), "first delta of choice 0 must have role 'assistant', not None"),
        (change(0, choices=[{"index": 0, "delta": {"role": "user"}}]), "not 'user'"),
        (insert(2, chunk({"role": "system"})), "turns into 'system'"),
        (drop(3), "without a finish_reason"),
        (insert(4, chunk({"content": "more"})), "goes on after its finish_reason 'stop'"),
        (insert(4, chunk({}, "stop")), "goes on after its finish_reason"),
        (drop(4), "asks for usage in the last of 4 chunks"),
        (insert(1, chunk(None, usage={})), r"chunks \[2, 6\] have it"),
        (change(4, choices=[{"index": 1, "delta": {"role": "assistant"}}]), "empty list of choices"),
        (change(1, error={"message": "boom"}), "chunk 2 is an error"),
        (change(1, choices=[{"delta": {}}]), "choice without an index"),
        (change(1, choices=[{"index": 0, "delta": {"content": 5}}]), "content is not a string"),
        (insert(1, chunk({"tool_calls": [{"index": 0, "function": {}}]})), "needs an id and a function name"),
        (insert(1, chunk({"tool_calls": [{"id": "x"}]})), "tool call without an index"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named(broken: Callable[[Chunks], Chunks], said: str) -> None:
    with pytest.raises(BrokenStream, match=said):
        reassemble(events(broken(good())), usage_expected=True)


def test_a_tool_call_must_not_change_its_id() -> None:
    calls = [{"index": 0, "id": name, "function": {"name": "f", "arguments": ""}} for name in ("a", "b")]
    pieces = [chunk({"role": "assistant"}), *(chunk({"tool_calls": [call]}) for call in calls)]
    with pytest.raises(BrokenStream, match="changes its id to 'b'"):
        reassemble(events(pieces))


def test_usage_that_nobody_asked_for_is_named() -> None:
    with pytest.raises(BrokenStream, match="did not ask"):
        reassemble(events(good()))


def test_usage_may_be_left_unjudged() -> None:
    anywhere = [chunk({"role": "assistant"}, usage={"total_tokens": 1}), chunk({}, "stop")]
    assert reassemble(events(anywhere), usage_expected=None)["usage"] == {"total_tokens": 1}
    assert "usage" not in reassemble(events(good()[:4]), usage_expected=None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no event"),
        (events([chunk({"role": "assistant"}, "stop")], done=False), r"\[DONE\] must be the last"),
        ([*events([chunk({"role": "assistant"}, "stop")]), Event("{}", 9.0)], r"came as event \[2\]"),
        ([Event("[DONE]", 0.0)], r"nothing but \[DONE\]"),
        ([Event("{", 0.0), Event("[DONE]", 0.0)], "chunk 1 is not JSON"),
        ([Event("[]", 0.0), Event("[DONE]", 0.0)], "chunk 1 is not an object"),
        (events([chunk(None)]), "no chunk has a choice"),
    ],
)
def test_a_stream_that_is_no_stream_is_named(given: list[Event], said: str) -> None:
    with pytest.raises(BrokenStream, match=said):
        reassemble(given)
