"""An engine whose wire differs from OpenAI's API, as its clients see it through nginx and njs."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bash_guest import Guest
from nginx_site import CHAT, CONFIGURE, ORIGIN, PASSWORD, ROUTES, Answer, Site, bearer, running_site
from wire_engine import WireEngine, wire_engine

from harness.client.reassemble import reassemble
from harness.client.sse import Event, SseDecoder
from tests.localai import wire_shapes
from tests.localai.wire_shapes import exchange

MODEL = "smollm2-135m-instruct"
COMPLETIONS = "/v1/completions"
REQUEST = {"model": MODEL, "messages": [{"role": "user", "content": "say it"}]}
MENDED = CONFIGURE.replace("load_flavor;", "load_flavor; SLM_ENGINE_NEEDS_MENDING=yes;")
NOTHING = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 21, "completion_tokens": tokens, "total_tokens": 21 + tokens}


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def chunk(delta: dict[str, Any], counted: dict[str, int], reason: str | None = None) -> bytes:
    """As LocalAI 3.11 writes it (core/schema/openai.go): usage last, and on every chunk."""
    choice = {"index": 0, "finish_reason": reason, "delta": delta}
    return event(
        {
            "created": 1763900000,
            "object": "chat.completion.chunk",
            "id": "b1",
            "model": MODEL,
            "choices": [choice],
            "usage": counted,
        }
    )


DONE = b"data: [DONE]\n\n"
WORDS = ["Ein", ' "usage":{', "ü🌟", ' {"finish_reason":"stop"}']
ANSWER = (
    chunk({"role": "assistant", "content": None}, NOTHING),
    *(chunk({"content": word}, usage(number)) for number, word in enumerate(WORDS, 1)),
    chunk({"content": None}, usage(len(WORDS)), "stop"),
    DONE,
)


@pytest.fixture(scope="module")
def shared(guest_factory: Callable[[str], Guest]) -> Iterator[tuple[Site, WireEngine]]:
    guest = guest_factory("mended")
    guest.environment["SLM_NGINX_MODULES"] = "/usr/lib/nginx/modules"
    main = guest.path("/etc/nginx/nginx.conf")
    modules = guest.run("SLM_ENGINE_NEEDS_MENDING=yes; check_mending_module; render_modules").stdout
    main.write_text(modules + main.read_text())
    with (
        wire_engine() as engine,
        running_site(guest, engine, configure=MENDED, ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD) as site,
    ):
        yield site, engine


@pytest.fixture
def site(shared: tuple[Site, WireEngine]) -> Site:
    shared[1].say(*ANSWER)
    return shared[0]


@pytest.fixture
def engine(site: Site, shared: tuple[Site, WireEngine]) -> WireEngine:  # noqa: ARG001
    """The engine behind the site; it gives ANSWER until it is told to say something else."""
    return shared[1]


def ask(site: Site, body: dict[str, Any] | bytes | str, path: str = CHAT) -> Answer:
    sent = json.dumps(body) if isinstance(body, dict) else body
    return site.ask("POST", path, {**bearer(), "Content-Type": "application/json"}, sent)


def stream(site: Site, path: str = CHAT, **options: Any) -> Answer:
    answer = ask(site, {**REQUEST, "prompt": "1,", "stream": True, **options}, path)
    assert answer.status == 200, answer.body
    return answer


def events(answer: Answer) -> list[Event]:
    decoder = SseDecoder()
    decoder.feed(answer.body, 0.0)
    assert decoder.close() == ""
    return decoder.events


def chunks(answer: Answer) -> list[dict[str, Any]]:
    return [one.json() for one in events(answer) if not one.is_done]


WITH_USAGE = {"stream_options": {"include_usage": True}}


# ---- usage


def test_a_stream_without_usage_asked_for_has_none(site: Site) -> None:
    body = reassemble(events(stream(site)), usage_expected=False)
    assert body["choices"][0]["message"]["content"] == "".join(WORDS)


def test_usage_that_was_asked_for_has_a_chunk_of_its_own_at_the_end(site: Site) -> None:
    body = reassemble(events(stream(site, **WITH_USAGE)), usage_expected=True)
    assert body["usage"] == usage(len(WORDS))
    assert body["choices"][0]["message"]["content"] == "".join(WORDS)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": "true"}, True, []])
def test_only_true_asks_for_usage(site: Site, options: Any) -> None:
    assert not any("usage" in one for one in chunks(stream(site, stream_options=options)))


def test_everything_but_usage_passes_byte_by_byte_as_it_was(site: Site) -> None:
    sent = b"".join(ANSWER)
    for number in range(len(WORDS) + 1):
        counted = json.dumps(usage(number) if number else NOTHING, separators=(",", ":")).encode()
        sent = sent.replace(b',"usage":' + counted + b"}", b"}")
    assert stream(site).body == sent


@pytest.mark.parametrize("name", [name for name in wire_shapes.names() if exchange(name).is_stream])
def test_a_recorded_stream_comes_out_as_openai_documents_it(
    site: Site, engine: WireEngine, name: str
) -> None:
    """What a real LocalAI has sent, as tests/localai/wire/ keeps it."""
    kept = exchange(name)
    asked = {**kept.request.json(), "model": MODEL, "messages": REQUEST["messages"], **WITH_USAGE}
    engine.say(*(piece.data for piece in kept.pieces), content_type=kept.header("content-type") or "")
    mended = events(ask(site, asked, kept.request.path))
    failed = [one.json()["error"]["code"] for one in mended[:-1] if "error" in one.json()]
    if failed:
        assert failed == (["context_length_exceeded"] if "overflow" in name else ["engine_error"])
        return
    body = reassemble(mended, usage_expected=True)
    assert body["usage"]["completion_tokens"] >= 1
    cut = body["usage"]["completion_tokens"] == asked["max_tokens"]
    assert body["choices"][0]["finish_reason"] == ("length" if cut else "stop")


def test_a_stream_cut_at_every_byte_is_the_same(site: Site, engine: WireEngine) -> None:
    whole = stream(site, **WITH_USAGE).body
    engine.say(*(bytes([byte]) for byte in b"".join(ANSWER)))
    engine.gap_s = 0.0002
    assert stream(site, **WITH_USAGE).body == whole


def test_the_chunks_of_one_answer_have_one_id_whoever_asks_meanwhile(site: Site, engine: WireEngine) -> None:
    """LocalAI keeps the id once for all requests: who asks last gives every stream a new one."""
    ids = (b"c2", b"d3", b"b1")
    others = [
        one.replace(b'"id":"b1"', b'"id":"%s"' % id_) for one, id_ in zip(ANSWER[1:4], ids, strict=True)
    ]
    engine.say(ANSWER[0], *others, *ANSWER[4:])
    answer = stream(site, **WITH_USAGE)
    assert answer.body.count(b'"id":"b1"') == len(ANSWER)  # the usage chunk's stands for the end mark
    body = reassemble(events(answer), usage_expected=True)
    assert body["choices"][0]["message"]["content"] == "".join(WORDS)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_any_line_end_is_understood_and_kept(site: Site, engine: WireEngine, end: bytes) -> None:
    engine.say(*(one.replace(b"\n", end) for one in ANSWER))
    answer = stream(site)
    assert not any("usage" in one for one in chunks(answer))
    assert answer.body.endswith(b"data: [DONE]" + 2 * end)


def test_comments_pass_at_once(site: Site, engine: WireEngine) -> None:
    engine.say(b": reading\n", *ANSWER[:2], b":\n\n", *ANSWER[2:])
    engine.gap_s = 0.02
    body = stream(site).body
    assert body.startswith(b": reading\ndata: ")
    assert body.count(b"}\n\n:\n\ndata: ") == 1


def test_the_legacy_route_takes_usage_from_the_last_chunk_that_counted(
    site: Site, engine: WireEngine
) -> None:
    def text(said: str, counted: dict[str, int], reason: str | None = None) -> bytes:
        choice = {"index": 0, "finish_reason": reason, "text": said}
        return event(
            {
                "created": 1,
                "object": "text_completion",
                "id": "c",
                "model": MODEL,
                "choices": [choice],
                "usage": counted,
            }
        )

    engine.say(text("5,", usage(1)), text(" 6", usage(2)), text("", NOTHING, "stop"), DONE)
    body = reassemble(events(stream(site, COMPLETIONS, **WITH_USAGE)), usage_expected=True)
    assert body["usage"] == usage(2)
    assert body["choices"][0]["text"] == "5, 6"


def test_what_the_engine_did_not_count_is_not_told_as_zero(site: Site, engine: WireEngine) -> None:
    engine.say(
        chunk({"role": "assistant", "tool_calls": []}, NOTHING), chunk({}, NOTHING, "tool_calls"), DONE
    )
    assert not any("usage" in one for one in chunks(stream(site, **WITH_USAGE)))


def test_an_engine_that_sends_usage_as_openai_does_is_unharmed(site: Site, engine: WireEngine) -> None:
    last = event(
        {
            "id": "b1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": MODEL,
            "choices": [],
            "usage": usage(9),
        }
    )
    words = [
        event(
            {
                "id": "b1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": MODEL,
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
                "usage": None,
            }
        )
        for delta, reason in (({"role": "assistant", "content": "a"}, None), ({}, "stop"))
    ]
    engine.say(*words, last, DONE)
    assert reassemble(events(stream(site, **WITH_USAGE)), usage_expected=True)["usage"] == usage(9)
    assert reassemble(events(stream(site)), usage_expected=False)


def test_an_event_without_end_passes_and_the_rest_as_it_is(site: Site, engine: WireEngine) -> None:
    endless = b"data: " + b"x" * 3_000_000
    engine.say(ANSWER[0], endless, b"\n\n", ANSWER[1])
    answer = stream(site)
    assert endless + b"\n\n" + ANSWER[1] in answer.body
    assert b'"usage"' not in answer.body[: len(ANSWER[0])]


def test_a_large_event_is_mended_too(site: Site, engine: WireEngine) -> None:
    large = chunk({"role": "assistant", "content": "x" * 900_000}, usage(7))
    engine.say(large, DONE)
    [line, done] = stream(site).body.split(b"\n\n")[:2]
    assert "usage" not in json.loads(line.removeprefix(b"data: "))
    assert len(line) > 900_000
    assert done + b"\n\n" == DONE


def test_a_stream_that_breaks_off_stays_broken(site: Site, engine: WireEngine) -> None:
    engine.say(*ANSWER[:3], ANSWER[3][:40])
    body = stream(site, **WITH_USAGE).body
    assert body.endswith(ANSWER[3][:40])
    assert b"[DONE]" not in body


def test_what_is_no_chunk_passes(site: Site, engine: WireEngine) -> None:
    others = [
        b'event: ping\ndata: {"usage":{\ndata: }\n\n',
        b"data: 17\n\n",
        b'data: ["usage"]\n\n',
        b'data: {"usage":{"a":1}\n\n',
        b'data: {"usage":{"a":1},"x\n\n',
        b"data\n\n",
        b"\n\n",
        b"id: 7\n\n",
        b'data: {"choices":[{"finish_reason":"stop"}],"usage":[1]}\n\n',
        b'data: {"choices":{"finish_reason":"stop"}}\n\n',
        b'data: {"choices":[{"finish_reason":"stop",}]}\n\n',
    ]
    engine.say(*others, DONE)
    assert stream(site, **WITH_USAGE, max_tokens=1).body == b"".join(others) + DONE


def test_what_only_looks_like_a_chunk_breaks_nothing(site: Site, engine: WireEngine) -> None:
    engine.say(b'data: {"choices":[{"finish_reason":"stop"} 1],"usage":{1}}\n\n', *ANSWER[-2:])
    answer = events(stream(site, **WITH_USAGE, max_tokens=1))
    assert [one.data for one in answer[:1]] == ['{"choices":[{"finish_reason":"stop"} 1]}']
    assert answer[-1].is_done


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/json; charset=utf-8"]
)
def test_what_is_no_stream_is_untouched(site: Site, engine: WireEngine, content_type: str) -> None:
    plain = b'{"choices":[{"finish_reason":"stop"}], "usage":{"total_tokens":3}}' + b" " * 70_000
    engine.say(plain, ANSWER[1], content_type=content_type)
    answer = ask(site, {**REQUEST, "max_tokens": 1})
    assert (answer.status, answer.body) == (200, plain + ANSWER[1])
    assert answer.one("Content-Length") == str(len(answer.body))
    assert answer.one("Content-Type") == content_type


@pytest.mark.timing
def test_an_event_leaves_with_the_byte_that_ends_it(site: Site, engine: WireEngine) -> None:
    engine.say(*ANSWER)
    engine.gap_s = 0.1
    connection = site.connection()
    connection.request("POST", CHAT, json.dumps({**REQUEST, "stream": True}), bearer())
    answer = connection.getresponse()
    arrivals = []
    while line := answer.readline():
        if line.startswith(b"data:"):
            arrivals.append(time.monotonic())
    connection.close()
    gaps = [after - before for before, after in itertools.pairwise(arrivals)]
    assert min(gaps) > engine.gap_s / 3, gaps


def test_a_long_stream_costs_little_memory(site: Site, engine: WireEngine) -> None:
    """njs gives no memory back before a request ends: what is made for each chunk adds up."""
    master = int(site.guest.path("/nginx.pid").read_text())
    worker = Path(f"/proc/{master}/task/{master}/children").read_text().split()[0]

    def most_kib() -> int:
        status = Path(f"/proc/{worker}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])

    stream(site)
    before, events_sent = most_kib(), 6000
    engine.say(*[ANSWER[1]] * events_sent, DONE)
    assert stream(site).body.count(b"data: ") == events_sent + 1
    assert (most_kib() - before) / events_sent < 4


# ---- why an answer ended


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_tokens": len(WORDS)}, "length"),
        ({"max_tokens": 1}, "length"),
        ({"max_tokens": len(WORDS) + 1}, "stop"),
        ({}, "stop"),
        ({"max_tokens": None}, "stop"),
        ({"max_tokens": 0}, "stop"),
        ({"max_tokens": "4"}, "stop"),
    ],
)
def test_an_answer_of_as_many_tokens_as_allowed_ended_by_its_length(
    site: Site, options: dict[str, Any], reason: str
) -> None:
    body = reassemble(events(stream(site, **options)))
    assert body["choices"][0]["finish_reason"] == reason
    assert body["choices"][0]["message"]["content"] == "".join(WORDS)


def test_a_call_of_a_tool_keeps_its_finish_reason(site: Site, engine: WireEngine) -> None:
    engine.say(ANSWER[0], chunk({"content": "x"}, usage(9)), chunk({}, usage(9), "tool_calls"), DONE)
    assert chunks(stream(site, max_tokens=1))[-1]["choices"][0]["finish_reason"] == "tool_calls"


OVERFLOW = "request (9009 tokens) exceeds the available context size (8192 tokens), try increasing it"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (
            f"rpc error: code = Internal desc = {OVERFLOW}",
            {"message": OVERFLOW, "type": "invalid_request_error", "code": "context_length_exceeded"},
        ),
        (
            "rpc error: code = Unavailable desc = error reading from server: EOF",
            {"message": "error reading from server: EOF", "type": "server_error", "code": "engine_error"},
        ),
    ],
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_failure_told_as_an_answer_becomes_an_error(
    site: Site, engine: WireEngine, path: str, said: str, error: dict[str, str]
) -> None:
    choice = {"index": 0, "finish_reason": "stop"}
    text = f"Internal error: {said}"
    told = {"delta": {"content": text}} if path == CHAT else {"text": text}
    failed = event({"id": "b1", "choices": [{**choice, **told}], "usage": usage(3)})
    engine.say(*ANSWER[:2], failed, DONE)
    answer = events(stream(site, path, **WITH_USAGE))
    assert answer[-1].is_done
    assert answer[-2].json() == {"error": {**error, "param": None}}
    assert len(answer) == 4, "no usage of an answer that failed"


def test_a_model_that_speaks_of_internal_errors_is_believed(site: Site, engine: WireEngine) -> None:
    said = "Internal error: rpc error: code = Internal desc = no"
    engine.say(chunk({"role": "assistant", "content": said}, usage(9)), chunk({}, usage(9), "stop"), DONE)
    assert reassemble(events(stream(site)))["choices"][0]["message"]["content"] == said


def test_a_failure_is_that_of_the_choice_that_ends(site: Site, engine: WireEngine) -> None:
    said = {"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": "Internal error: x"}}
    other = {"index": 1, "finish_reason": "stop", "delta": {"role": "assistant", "content": "y"}}
    engine.say(event({"id": "b1", "choices": [said, other]}), DONE)
    assert "error" not in chunks(stream(site))[0]


# ---- errors


def localai_error(status: int, message: str) -> bytes:
    return json.dumps({"error": {"code": status, "message": message, "type": ""}}).encode() + b"\n"


@pytest.mark.parametrize(
    ("status", "message", "said", "kind", "code"),
    [
        (400, "failed parsing request body", None, "invalid_request_error", "bad_request"),
        (
            400,
            "code=400, message=failed: code=400",
            "failed: code=400",
            "invalid_request_error",
            "bad_request",
        ),
        (500, "rpc error: code = Unknown desc = x", "x", "server_error", "engine_error"),
        (
            500,
            f"rpc error: code = Internal desc = {OVERFLOW}",
            OVERFLOW,
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (503, "", "The language model engine failed.", "server_error", "engine_unavailable"),
    ],
)
def test_an_engines_error_gets_openais_form(
    site: Site, engine: WireEngine, status: int, message: str, said: str | None, kind: str, code: str
) -> None:
    engine.say(localai_error(status, message), status=status, content_type="application/json")
    answer = ask(site, REQUEST)
    assert answer.status == status, "what is sent before the body can't be changed by it"
    assert answer.error() == {"message": said or message, "type": kind, "param": None, "code": code}


@pytest.mark.parametrize(
    "body", [b"", b"<html>login</html>", b"[1", b'{"error":7}', b"\xff\xfe", b"x" * 200_000]
)
def test_an_error_in_no_known_form_gets_openais_form_too(site: Site, engine: WireEngine, body: bytes) -> None:
    engine.say(body, status=500, content_type="text/html")
    error = ask(site, REQUEST).error()
    assert error["message"] == "The language model engine failed."
    assert error["code"] == "engine_error"


def test_an_error_may_come_in_pieces(site: Site, engine: WireEngine) -> None:
    told = localai_error(500, "not now")
    engine.say(*(bytes([byte]) for byte in told), status=500, content_type="application/json")
    engine.gap_s = 0.001
    assert ask(site, REQUEST).error()["message"] == "not now"


def test_an_error_of_any_length_is_not_kept(site: Site, engine: WireEngine) -> None:
    engine.say(localai_error(500, "x" * 300_000), status=500, content_type="application/json")
    assert ask(site, REQUEST).error()["message"] == "The language model engine failed."


def test_openais_own_form_is_kept(site: Site, engine: WireEngine) -> None:
    told = {"message": "No.", "type": "rate_limit_error", "param": "n", "code": "slow_down"}
    engine.say(json.dumps({"error": told}).encode(), status=429, content_type="application/json")
    assert ask(site, REQUEST).error() == told


# ---- what never reaches the engine

OTHERS = [
    b'{"model":"gpt-4o"}',
    b'{"messages":[{"model":"%s"}],"model":"gpt-4o"}' % MODEL.encode(),
    b'{"Model":"gpt-4o"}',
    b'{"MODEL":"gpt-4o","model":"%s"}' % MODEL.encode(),
    b'{"model":"%s","model":"gpt-4o"}' % MODEL.encode(),
    b'{"model":"gpt-4o","model":"%s"}' % MODEL.encode(),
    b'{"model":"gpt-4o","model":null}',
    b'{"\\u006d\\u006f\\u0064\\u0065\\u006c":"gpt-4o"}',
    b'{ "x" : [ {"a":"}\\\\"} , 1 ] ,\n "model" :\t"gpt-4o" }',
    b'{"model":"gpt-4o"}{"model":"%s"}' % MODEL.encode(),
    b'{"model":"%s.gguf"}' % MODEL.encode(),
    b'{"model":" %s"}' % MODEL.encode(),
    b'{"model":"../%s"}' % MODEL.encode(),
]


@pytest.mark.parametrize("body", OTHERS, ids=range(len(OTHERS)))
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_model_nobody_has_is_404_and_never_reaches_the_engine(
    site: Site, engine: WireEngine, path: str, body: bytes
) -> None:
    answer = ask(site, body, path)
    assert answer.status == 404
    assert answer.error()["code"] == "model_not_found"
    assert answer.error()["type"] == "invalid_request_error"
    assert engine.bodies == []


def test_the_model_that_was_asked_for_is_named(site: Site) -> None:
    answer = ask(site, {"model": 'gpt "4o" ü' + "x" * 500})
    assert 'gpt "4o" ü' in str(answer.error()["message"])
    assert len(answer.body) < 500


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt":"x","model":"%s"}' % MODEL.encode(),
        b'{"prompt":"x"}',
        b'{"prompt":"x","model":null}',
        b'{"prompt":"x","model":""}',
        b' {"a":{"model":"gpt-4o"},"prompt":"\\"model\\":\\"x\\"","model":"%s"} ' % MODEL.encode(),
    ],
)
def test_what_may_pass_arrives_as_it_was(site: Site, engine: WireEngine, body: bytes) -> None:
    assert ask(site, body, COMPLETIONS).status == 200
    assert engine.bodies == [body]


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        *(({"messages": messages}, "invalid_messages", "messages") for messages in (None, [], {}, "hi", 5)),
        *(({"temperature": value}, "invalid_value", "temperature") for value in (-0.1, 2.1, 9, 1e300)),
        *(({"n": value}, "invalid_value", "n") for value in (0, -1, 129)),
        ({"max_tokens": -5}, "invalid_value", "max_tokens"),
    ],
    ids=str,
)
def test_what_openai_refuses_is_400_and_never_reaches_the_engine(
    site: Site, engine: WireEngine, asked: dict[str, Any], code: str, param: str
) -> None:
    answer = ask(site, {**REQUEST, **asked})
    error = answer.error()
    assert (answer.status, error["code"], error["param"]) == (400, code, param)
    assert engine.bodies == []


def test_a_chat_needs_messages_and_a_text_a_prompt(site: Site, engine: WireEngine) -> None:
    assert ask(site, {"model": MODEL, "prompt": "1, 2,"}).error()["code"] == "invalid_messages"
    for prompt in ({}, {"prompt": None}, {"prompt": []}, {"messages": REQUEST["messages"]}):
        error = ask(site, {"model": MODEL, **prompt}, COMPLETIONS).error()
        assert (error["code"], error["param"]) == ("invalid_prompt", "prompt")
    assert engine.bodies == []
    for words in ("", "1, 2,", ["a", "b"], [1, 2], 5):
        assert ask(site, {"model": MODEL, "prompt": words}, COMPLETIONS).status == 200


@pytest.mark.parametrize(
    "asked",
    [
        *({name: value} for name in ("temperature", "n", "max_tokens") for value in (None, 1, "in words")),
        *({"temperature": value} for value in (0, 2, 0.15)),
        *({"max_tokens": value} for value in (-1, 0, 8192)),
        {"messages": [" "]},
        {"Messages": [{}]},
    ],
    ids=str,
)
def test_what_is_allowed_or_for_the_engine_to_judge_gets_there(
    site: Site, engine: WireEngine, asked: dict[str, Any]
) -> None:
    assert ask(site, {**REQUEST, **asked}).status == 200
    assert len(engine.bodies) == 1


BROKEN = [
    *(b"", b" ", b"[]", b"null", b"17", b'"x"', b"model=gpt-4o", b"\xef\xbb\xbf{}"),
    *(b"{", b'{"a"', b'{"a":}', b'{"a":1', b'{"a":1,}', b'{"a" 1}', b"{a:1}", b'{"a":"x', b'{"a":"\\"}'),
    *(b'{"messages": [', b'{"a":[1}'),
]


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_object_is_400_and_never_reaches_the_engine(
    site: Site, engine: WireEngine, body: bytes
) -> None:
    answer = ask(site, body)
    assert answer.status == 400
    assert answer.error()["code"] == "invalid_json"
    assert engine.bodies == []


@pytest.mark.parametrize("model", [5, True, ["x"], {"name": "x"}])
def test_a_model_that_is_no_text_is_400(site: Site, engine: WireEngine, model: Any) -> None:
    answer = ask(site, {"model": model})
    assert (answer.status, answer.error()["code"]) == (400, "invalid_model")
    assert engine.bodies == []


def test_what_was_not_checked_is_not_read_by_the_engine_either(site: Site, engine: WireEngine) -> None:
    """A form may have anything before its first boundary."""
    body = (
        b'{"messages":[1]}\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--b--\r\n'
    )
    headers = {**bearer(), "Content-Type": "multipart/form-data; boundary=b"}
    site.ask("POST", CHAT + "?model=gpt-4o", headers, body)
    assert "Content-Type: application/json\r\n" in engine.heads[0]
    assert "gpt-4o" not in engine.heads[0]


def test_a_body_of_almost_10_mib_is_checked_and_arrives(site: Site, engine: WireEngine) -> None:
    line = json.dumps('    print("hello, world")  # as code is\n')[1:-1]
    body = b'{"messages":[{"content":"%s"}]}' % (line * (10 * 1024 * 1024 // len(line) - 2)).encode()
    assert ask(site, body).status == 200
    assert engine.bodies == [body]


@pytest.mark.parametrize(
    "value", [b'["",' + b'"",' * 1_000_000 + b'""]', b"[" * 3_000_000, b" " * 3_000_000 + b"1"]
)
def test_a_body_that_would_take_seconds_to_check_is_400(site: Site, engine: WireEngine, value: bytes) -> None:
    answer = ask(site, b'{"x":' + value + b"}")
    assert (answer.status, answer.error()["code"]) == (400, "invalid_json")
    assert "too many" in str(answer.error()["message"])
    assert engine.bodies == []


# ---- what holds on every route holds here


def test_who_may_not_come_in_is_not_even_checked(site: Site, engine: WireEngine) -> None:
    for method, path in ROUTES:
        assert site.ask(method, path, {}, "{" if method == "POST" else None).status == 401
    assert site.ask("GET", CHAT, bearer()).status == 405
    assert site.ask("PUT", CHAT, bearer(), "{}").status == 405
    assert engine.bodies == []


def test_refusals_carry_the_headers_of_every_answer(site: Site) -> None:
    answer = site.ask("POST", CHAT, {**bearer(), "Origin": ORIGIN}, '{"model":"x"}')
    assert answer.status == 404
    assert answer.one("Access-Control-Allow-Origin") == ORIGIN
    assert answer.one("Cache-Control") == "no-store"
    assert answer.one("X-Content-Type-Options") == "nosniff"


def test_an_unanswered_connection_is_503(site: Site, engine: WireEngine) -> None:
    engine.say(status=200)
    engine.content_type = "x\r\n\0broken: header"
    answer = ask(site, REQUEST)
    assert answer.status == 503
    assert answer.error()["code"] == "engine_unavailable"


def test_the_log_names_the_route_the_client_asked_for(site: Site) -> None:
    site.journal.read()
    site.journal.text = ""
    stream(site)
    assert f'"POST {CHAT} HTTP/1.1" 200' in site.journal.read()


def test_the_list_of_models_passes_as_it_is(site: Site, engine: WireEngine) -> None:
    engine.say(b'{"data":[]}', content_type="application/json")
    assert site.ask("GET", "/v1/models", bearer()).body == b'{"data":[]}'
    assert "Content-Type" not in engine.heads[0]


def test_one_stream_knows_nothing_of_another(site: Site, engine: WireEngine) -> None:
    engine.say(*ANSWER[:3])
    stream(site, **WITH_USAGE)
    engine.say(DONE)
    assert stream(site, **WITH_USAGE).body == DONE


# ---- only where it is needed


def test_nginx_of_other_engines_does_not_load_njs(guest: Guest) -> None:
    guest.run(CONFIGURE)
    rendered = guest.path("/etc/nginx/sites-enabled/slm-copilot.conf").read_text()
    assert "js_" not in rendered
    assert guest.run("SLM_ENGINE_NEEDS_MENDING=no; render_modules").stdout == ""


def test_the_engine_gets_the_path_that_it_told(guest: Guest) -> None:
    told = guest.run(
        "load_flavor; SLM_ENGINE_NEEDS_MENDING=yes; render_serving POST /v1/chat /engine/chat"
    ).stdout
    assert "set $slm_engine_path /engine/chat;" in told
    assert "proxy_pass http://slm_engine$slm_engine_path;" in told


def test_an_image_without_the_module_is_not_installed(guest: Guest) -> None:
    guest.environment["SLM_NGINX_MODULES"] = str(guest.root / "nowhere")
    result = guest.run("load_flavor; SLM_ENGINE_NEEDS_MENDING=yes; install_proxy", check=False)
    assert result.returncode != 0
    assert "libnginx-mod-http-js" in result.stderr
