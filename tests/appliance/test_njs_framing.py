"""The appliance's njs modules in a real njs: streams cut anywhere, and JSON of every form."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from njs_bench import Bench, njs_bench

from harness.client.sse import SseDecoder

FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOT_ASKED = {"usage": False, "limit": 0}
ASKED = {"usage": True, "limit": 0}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with njs_bench(tmp_path_factory.mktemp("njs")) as running:
        yield running


def cut(
    bench: Bench, stream: bytes, cuts: Sequence[Sequence[int]], asked: dict[str, Any]
) -> list[tuple[bytes, bytes]]:
    """For each list of cuts: what was sent before the stream's end, and what was held then."""
    wish = {"stream": base64.b64encode(stream).decode(), "cuts": cuts, "asked": asked}
    told = json.loads(bench.run("cut", json.dumps(wish).encode()))
    return [(base64.b64decode(sent), base64.b64decode(held)) for sent, held in told]


def data_of(stream: bytes) -> tuple[list[str], str]:
    decoder = SseDecoder()
    decoder.feed(stream, 0.0)
    unterminated = decoder.close()
    return [event.data for event in decoder.events], unterminated


# ---- streams

TRICKY = [
    '"usage":{', '"usage": {"a":1}', "\\", '\\"', "{", "}", "ü🌟", "\u2028", '"', "[DONE]",
    "\n", "Internal error: ", '"finish_reason":"stop"', "",
]  # fmt: skip
texts = st.lists(st.sampled_from(TRICKY) | st.text(max_size=4), max_size=4).map("".join)
counts = st.fixed_dictionaries({"total_tokens": st.integers(0, 99)}) | st.fixed_dictionaries(
    {"total_tokens": st.integers(1, 9), "details": st.fixed_dictionaries({"usage": st.just({"x": 1})})}
)


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    """A data line: a chunk whose members come in any order, some with usage, in some way of spacing."""
    choices = draw(st.sampled_from([[], [{"index": 0, "delta": {"content": draw(texts)}}]]))
    members: list[tuple[str, Any]] = [("id", draw(texts)), ("choices", choices)]
    if draw(st.booleans()):
        members.append(("usage", draw(counts | st.none() | st.just("usage"))))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :")]))
    ascii_only = draw(st.booleans())
    text = json.dumps(dict(draw(st.permutations(members))), ensure_ascii=ascii_only, separators=separators)
    return b"data:" + draw(st.sampled_from([b" ", b""])) + text.encode("utf-8", "surrogatepass")


lines = (
    chunks()
    | chunks()
    | st.sampled_from([b"data: [DONE]", b"data: {", b"data", b": ping", b"id: 1", b"", b"data: 1\ndata: 2"])
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from([b"\n", b"\r", b"\r\n"]))
    parts = draw(st.lists(lines, max_size=4))
    whole = b"".join(part.replace(b"\n", end) + end + end for part in parts)
    return whole + draw(st.sampled_from([b"", b"data: {", end, b"data: x" + end]))


def parsed(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data


def expected(data: str) -> Any:
    """What a client that asked for no usage gets of an event; ... for nothing."""
    chunk = parsed(data)
    if not isinstance(chunk, dict) or not isinstance(chunk.get("usage"), dict):
        return chunk
    return ... if chunk["choices"] == [] else {key: chunk[key] for key in chunk if key != "usage"}


@FEW
@given(stream=streams())
def test_only_usage_is_taken_out(bench: Bench, stream: bytes) -> None:
    [(sent, held)] = cut(bench, stream, [[]], NOT_ASKED)
    before, unterminated = data_of(stream)
    after, left = data_of(sent + held)
    assert list(map(parsed, after)) == [one for one in map(expected, before) if one is not ...]
    assert left == unterminated


@FEW
@given(stream=streams(), asked=st.sampled_from([ASKED, NOT_ASKED]), data=st.data())
def test_cuts_change_nothing(bench: Bench, stream: bytes, asked: dict[str, Any], data: st.DataObject) -> None:
    places = st.lists(st.integers(0, len(stream)), max_size=8).map(sorted)
    cuts: list[list[int]] = [[], list(range(1, len(stream))), *data.draw(st.lists(places, max_size=4))]
    told = cut(bench, stream, cuts, asked)
    assert {sent + held for sent, held in told} == {told[0][0] + told[0][1]}


MIXED = (
    ': hi\r\ndata: {"choices":[{"delta":{"content":"naïve 🌟"}}],"usage":{"total_tokens":1}}\r\n\r\n'
    'event: x\ndata: 1\ndata: 2\n\ndata: {"usage":{"total_tokens":2},"choices":[{}]}\r\r:\n\n'
    'data: {"choices":[{}],"usage":{"total_tokens":9}}\r\ndata: {"usage":{"total_tokens":8}}\r\n\r\n'
    'data: {"choices":[],"usage":{"total_tokens":3}}\n\ndata: [DONE]\n\n'
).encode()


def test_a_cut_at_every_byte_and_at_every_two_bytes_changes_nothing(bench: Bench) -> None:
    alone = [[at] for at in range(len(MIXED) + 1)]
    pairs = [[at, at + width] for width in (1, 2, 3) for at in range(len(MIXED) - 2)]
    told = cut(bench, MIXED, [[], *alone, *pairs, list(range(len(MIXED)))], ASKED)
    assert len({sent for sent, _ in told}) == 1
    assert {held for _, held in told} == {b""}
    data = data_of(told[0][0])[0]
    assert json.loads(data[-2])["usage"] == {"total_tokens": 3}
    assert [json.loads(line)["usage"]["total_tokens"] for line in data[-3].split("\n")] == [9, 8], "no chunk"


def test_no_more_than_one_event_is_held(bench: Bench) -> None:
    """After each byte: what was sent and what is held is all there was, and held is no whole event."""
    stream = b"data: a\n\nevent: b\r\ndata: c\r\n\r\n: d\n\ndata: e\r\rdata: f\n\n"
    ends = [at for at in range(len(stream) + 1) if is_end_of_event(stream, at)]
    for at in range(len(stream) + 1):
        [(sent, held)] = cut(bench, stream[:at], [[]], NOT_ASKED)
        assert sent + held == stream[:at]
        assert len(sent) >= max((end for end in ends if end <= at), default=0)
    assert len(ends) >= 5
    [(sent, _)] = cut(bench, b"data: a\n\n: still reading\nda", [[]], NOT_ASKED)
    assert sent.endswith(b": still reading\n"), "a comment keeps the connection alive"


def is_end_of_event(stream: bytes, at: int) -> bool:
    return re.search(rb"(\n\n|\r\r|\r\n\r\n|\r\n\r)$", stream[:at]) is not None


# ---- JSON

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def objects(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, Any]]]:
    """The text of an object, spaced at random, some letters escaped, and its members, repeated ones too."""
    space = st.sampled_from(["", " ", "\n", "\t\r\n "])
    members = draw(st.lists(st.tuples(texts | st.sampled_from(["model", "Model"]), values), max_size=4))
    parts = []
    for key, value in members:
        name = json.dumps(key)
        if draw(st.booleans()):
            name = name.replace("o", "\\u006f").replace("m", "\\u006D")
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        parts.append(f"{draw(space)}{name}{draw(space)}:{draw(space)}{text}{draw(space)}")
    text = f"{draw(space)}{{{draw(space) if not parts else ''}{','.join(parts)}}}"
    return text.encode("utf-8", "surrogatepass"), members


@FEW
@given(sample=objects(), after=st.sampled_from([b"", b" ", b"{}", b"x"]), data=st.data())
def test_every_member_of_an_object_is_found(
    bench: Bench, sample: tuple[bytes, list[tuple[str, Any]]], after: bytes, data: st.DataObject
) -> None:
    text, members = sample
    told = json.loads(bench.run("members", text + after))
    assert told["ended"] == len(text)
    found = [(json.loads(text[a:b]), json.loads(text[c:d])) for a, b, c, d in told["members"]]
    assert found == members
    told = json.loads(bench.run("read", text))
    named = [value for key, value in members if key.lower() == "model"]
    if any(value is not None and not isinstance(value, str) for value in named):
        assert told["problem"] == "model"
    else:
        assert (told["problem"], set(told["models"])) == ("", {value for value in named if value})
    part = text[: data.draw(st.integers(1, len(text) - 1))]
    assert json.loads(bench.run("members", part))["ended"] == -1, "what ends too early is malformed"
