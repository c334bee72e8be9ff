"""A streamed OpenAI answer put together again as the plain body of the same request.

With it one assertion serves both modes. On the way every rule of the stream is checked, and a
broken one raises `BrokenStream`, which says which chunk broke it. The rules are those of the OpenAI
API reference, "The chat completion chunk object", plus the usage chunk of `stream_options`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.client.sse import Event


class BrokenStream(Exception):
    """The chunks do not form one valid answer; the message says which rule broke and where."""


def reassemble(events: Sequence[Event], *, usage_expected: bool | None = False) -> dict[str, Any]:
    """The plain body: `chat.completion` or `text_completion` with the same fields as an unstreamed answer.

    Args:
        usage_expected: the request had `stream_options.include_usage`, so the last chunk before
            `[DONE]` has no choice and carries `usage`. None: usage may come anywhere.

    Raises:
        BrokenStream: the stream is empty, `[DONE]` is missing or not last, a chunk is not JSON or an
            error object, an id, model or object changes, the first delta lacks the role, a choice has
            no or two finish reasons or goes on after it, tool call pieces don't line up, or the usage
            chunk is missing, out of place or not asked for.
    """
    chunks = _chunks(events)
    first = chunks[0]
    for key in ("id", "object", "model"):
        _same_everywhere(chunks, key)
    chat = first.get("object") == "chat.completion.chunk"
    if not chat and first.get("object") != "text_completion":
        raise BrokenStream(
            f"chunk 1 has object {first.get('object')!r}, not chat.completion.chunk or text_completion"
        )
    usage = _usage(chunks, usage_expected)
    choices: dict[int, _Choice] = {}
    for number, chunk in enumerate(chunks, 1):
        for piece in chunk.get("choices") or []:
            index = piece.get("index")
            if not isinstance(index, int):
                raise BrokenStream(f"chunk {number}: choice without an index: {piece}")
            choices.setdefault(index, _Choice(index, chat)).take(piece, number)
    if not choices:
        raise BrokenStream("no chunk has a choice")
    body: dict[str, Any] = {
        "id": first["id"],
        "object": "chat.completion" if chat else "text_completion",
        "created": first.get("created"),
        "model": first["model"],
        "choices": [choices[index].plain() for index in sorted(choices)],
    }
    if usage is not None:
        body["usage"] = usage
    for key in ("system_fingerprint", "timings"):
        found = [chunk[key] for chunk in chunks if key in chunk]
        if found:
            body[key] = found[-1]
    return body


def _chunks(events: Sequence[Event]) -> list[dict[str, Any]]:
    if not events:
        raise BrokenStream("the stream has no event")
    done = [number for number, event in enumerate(events, 1) if event.is_done]
    if done != [len(events)]:
        raise BrokenStream(
            f"[DONE] must be the last of {len(events)} events and come once; "
            + (f"it came as event {done}" if done else f"the last event is {events[-1].data!r}")
        )
    chunks: list[dict[str, Any]] = []
    for number, event in enumerate(events[:-1], 1):
        try:
            chunk = event.json()
        except ValueError as error:
            raise BrokenStream(f"chunk {number} is not JSON ({error}): {event.data!r}") from error
        if not isinstance(chunk, dict):
            raise BrokenStream(f"chunk {number} is not an object: {event.data!r}")
        if "error" in chunk:
            raise BrokenStream(f"chunk {number} is an error: {chunk['error']}")
        chunks.append(chunk)
    if not chunks:
        raise BrokenStream("the stream has nothing but [DONE]")
    return chunks


def _same_everywhere(chunks: Sequence[Mapping[str, Any]], key: str) -> None:
    expected = chunks[0].get(key)
    if not expected:
        raise BrokenStream(f"chunk 1 has no {key}: {dict(chunks[0])}")
    for number, chunk in enumerate(chunks, 1):
        if chunk.get(key) != expected:
            raise BrokenStream(f"chunk {number} has {key} {chunk.get(key)!r}, chunk 1 has {expected!r}")


def _usage(chunks: Sequence[Mapping[str, Any]], expected: bool | None) -> dict[str, Any] | None:
    carrying = [number for number, chunk in enumerate(chunks, 1) if chunk.get("usage") is not None]
    if expected is None:
        return chunks[carrying[-1] - 1]["usage"] if carrying else None
    if not expected:
        if carrying:
            raise BrokenStream(f"chunk {carrying[0]} has usage although stream_options did not ask for it")
        return None
    if carrying != [len(chunks)]:
        raise BrokenStream(
            f"include_usage asks for usage in the last of {len(chunks)} chunks; chunks {carrying} have it"
        )
    last = chunks[-1]
    if last.get("choices") != []:
        raise BrokenStream(f"the usage chunk must have an empty list of choices, not {last.get('choices')!r}")
    usage = last["usage"]
    if not isinstance(usage, dict):
        raise BrokenStream(f"usage is not an object: {usage!r}")
    return usage


class _Choice:
    """One choice (index) while its pieces arrive."""

    def __init__(self, index: int, chat: bool) -> None:
        self.index = index
        self.chat = chat
        self.role: str | None = None
        self.texts: dict[str, list[str]] = {}
        self.tools: dict[int, dict[str, Any]] = {}
        self.finish_reason: str | None = None
        self.pieces = 0

    def take(self, piece: Mapping[str, Any], number: int) -> None:
        if self.finish_reason is not None:
            raise BrokenStream(
                f"chunk {number}: choice {self.index} goes on after its finish_reason {self.finish_reason!r}"
            )
        self.pieces += 1
        if self.chat:
            self._take_delta(piece.get("delta") or {}, number)
        else:
            self._take_text("text", piece.get("text"), number)
        self.finish_reason = piece.get("finish_reason")

    def _take_delta(self, delta: Mapping[str, Any], number: int) -> None:
        role = delta.get("role")
        if self.pieces == 1:
            if role != "assistant":
                raise BrokenStream(
                    f"chunk {number}: the first delta of choice {self.index} must have "
                    f"role 'assistant', not {role!r}"
                )
            self.role = role
        elif role not in (None, "assistant"):
            raise BrokenStream(f"chunk {number}: the role of choice {self.index} turns into {role!r}")
        for key in ("content", "reasoning_content", "refusal"):
            self._take_text(key, delta.get(key), number)
        for call in delta.get("tool_calls") or []:
            self._take_tool_call(call, number)

    def _take_text(self, key: str, text: object, number: int) -> None:
        if text is None:
            return
        if not isinstance(text, str):
            raise BrokenStream(f"chunk {number}: {key} is not a string: {text!r}")
        self.texts.setdefault(key, []).append(text)

    def _take_tool_call(self, call: Mapping[str, Any], number: int) -> None:
        index = call.get("index")
        if not isinstance(index, int):
            raise BrokenStream(f"chunk {number}: tool call without an index: {dict(call)}")
        function = call.get("function") or {}
        known = self.tools.get(index)
        if known is None:
            if not call.get("id") or not function.get("name"):
                raise BrokenStream(
                    f"chunk {number}: the first piece of tool call {index} needs an id and a function name"
                )
            known = {
                "id": call["id"],
                "type": "function",
                "function": {"name": function["name"], "arguments": ""},
            }
            self.tools[index] = known
        elif call.get("id") not in (None, known["id"]):
            raise BrokenStream(f"chunk {number}: tool call {index} changes its id to {call.get('id')!r}")
        known["function"]["arguments"] += function.get("arguments") or ""

    def plain(self) -> dict[str, Any]:
        if self.finish_reason is None:
            raise BrokenStream(f"choice {self.index} ends without a finish_reason")
        texts = {key: "".join(parts) for key, parts in self.texts.items()}
        if not self.chat:
            return {"index": self.index, "text": texts.get("text", ""), "finish_reason": self.finish_reason}
        message: dict[str, Any] = {"role": self.role, "content": texts.pop("content", None), **texts}
        if self.tools:
            message["tool_calls"] = [self.tools[index] for index in sorted(self.tools)]
            message["content"] = message["content"] or None
        return {"index": self.index, "message": message, "finish_reason": self.finish_reason}
