"""One way to ask, streamed or plain, so that one assertion serves both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import httpx

from harness.client.https import read_stream
from harness.client.reassemble import BrokenStream, reassemble
from harness.client.sse import Stream

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

Mode = Literal["plain", "streamed"]
MODES: tuple[Mode, ...] = ("plain", "streamed")

COUNT = "Count from 1 to 10."
"""The question nearly every test asks: its prompt is read once and then comes from the prefix cache."""


def chat(prompt: str = COUNT, **options: Any) -> dict[str, Any]:
    """A chat request that costs little and answers alike each time."""
    return {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 4, **options}


LONG_TOKENS = {"tcg": 12, "native": 48, "unknown": 48}
"""Tokens of a long answer. Under TCG one takes half a second; a container is the inner loop; an endpoint may
serve a large model."""


def long_chat(accelerator: str, **options: Any) -> dict[str, Any]:
    """A streamed answer that takes a while on any machine."""
    tokens = LONG_TOKENS.get(accelerator, 96)
    usage = {"include_usage": True}
    return chat(max_tokens=tokens, stream=True, stream_options=usage, ignore_eos=True, **options)


def overlong(largest_context: int) -> str:
    """A prompt of more tokens than the context may have: it has more words, and a word is a token or more."""
    return "word " * (largest_context + largest_context // 8)


def ask(
    client: httpx.Client, mode: Mode, body: Mapping[str, Any], *, path: str = CHAT, usage: bool | None = True
) -> dict[str, Any]:
    """The answer as a plain body; a streamed one is put together again, and its rules are checked.

    `usage` says whether a stream is asked for its usage chunk; None: it is not, and may come all the same.
    """
    if mode == "plain":
        return expect_json(client.post(path, json=dict(body)))
    options = {"stream_options": {"include_usage": True}} if usage else {}
    return whole(read_stream(client, path, {**body, "stream": True, **options}), usage_expected=usage)


def whole(stream: Stream, *, usage_expected: bool | None = True) -> dict[str, Any]:
    """The plain body of a stream; fails with the stream itself in the message."""
    __tracebackhide__ = True
    assert stream.status == 200, f"status {stream.status}: {stream.body[:500]!r}"
    try:
        return reassemble(stream.events, usage_expected=usage_expected)
    except BrokenStream as broken:
        raise AssertionError(f"{broken}\n{stream.body.decode(errors='replace')[:3000]}") from broken


def expect_json(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The body of an answer which must have this status and be a JSON object."""
    __tracebackhide__ = True
    assert response.status_code == status, (
        f"{response.request.method} {response.request.url.path}: "
        f"status {response.status_code} instead of {status}: {response.text[:500]!r}"
    )
    body = response.json()
    assert isinstance(body, dict), f"a JSON object was expected: {response.text[:500]!r}"
    return body


def text_of(body: Mapping[str, Any]) -> str:
    """The generated text of a chat or legacy completion."""
    choice = body["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def assert_openai_error(status: int, content_type: str | None, body: bytes, *, expected: int) -> None:
    """Every error is what OpenAI clients can read: `{"error": {"message": ..., "type": ...}}`."""
    __tracebackhide__ = True
    assert status == expected, f"status {status} instead of {expected}: {body[:500]!r}"
    assert (content_type or "").startswith("application/json"), (
        f"content type {content_type!r}: {body[:500]!r}"
    )
    try:
        error = json.loads(body)["error"]
        message, kind = error["message"], error["type"]
    except (ValueError, KeyError, TypeError) as problem:
        raise AssertionError(f"not the OpenAI error shape ({problem!r}): {body[:500]!r}") from problem
    assert isinstance(message, str), f"error.message must be text: {body[:500]!r}"
    assert message, f"error.message must say something: {body[:500]!r}"
    assert isinstance(kind, str), f"error.type must be text: {body[:500]!r}"
    assert kind, f"error.type must say something: {body[:500]!r}"


def assert_refused(response: httpx.Response, expected: int) -> None:
    """`assert_openai_error` for an httpx answer."""
    __tracebackhide__ = True
    assert_openai_error(
        response.status_code, response.headers.get("content-type"), response.content, expected=expected
    )
