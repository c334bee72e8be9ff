"""The wire: every way an answer can be cut into reads, every way it can fail, and nothing sent twice."""

from __future__ import annotations

import gc
import itertools
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from fake_engine import HEAD, Fault, Timetable, chunked, ending, event, output, running_engine
from scripted_socket import scripted_target

from harness.bench.timeline import Timing, measure, timing_of
from harness.bench.wire import Connection, Failure, Stamps, open_connection, stream_chat
from harness.client.sse import SseDecoder
from harness.errors import HarnessError

ASK = {"messages": [{"role": "user", "content": "x"}]}
QUICK = Timetable(ttft_s=0.001, itl_s=0.0, events=4)

TEXT = ("Grüße, ", "世界", " 🙂", "!")
BODY = (
    b": ping\r\n\r\n"
    + event({"choices": [{"delta": {"role": "assistant", "content": None}}]})
    + b"".join(output(text) for text in TEXT)
    + ending(Timetable(events=len(TEXT)))
    + b"data: [DONE]\n\n"
)
ANSWER = HEAD + chunked(BODY[:40]) + chunked(BODY[40:300]) + chunked(BODY[300:]) + b"0\r\n\r\n"

Tick = Callable[[], int]


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a microsecond later than the one before: stamps count looks."""
    looks = itertools.count(0, 1000)
    monkeypatch.setattr("harness.bench.wire.time.perf_counter_ns", lambda: next(looks))


def ask(*pieces: bytes) -> Stamps | Failure:
    return stream_chat(scripted_target(*pieces), ASK, timeout_s=5)


def events_of(stamps: Stamps) -> list[tuple[str, float]]:
    decoder = SseDecoder()
    for arrival in stamps.arrivals:
        decoder.feed(arrival.data, arrival.at_ns)
    return [(one.data, one.arrived_s) for one in decoder.events]


def ends_of_events() -> list[int]:
    """Where in ANSWER each event's last byte is (its second line break)."""
    pieces = ANSWER.split(b"\n\n")
    ends = list(itertools.accumulate(len(piece) + 2 for piece in pieces[:-1]))
    assert len(ends) == BODY.count(b"\n\n")
    return ends


@pytest.mark.usefixtures("ticking")
def test_any_cut_gives_the_same_events_each_with_the_stamp_of_the_read_that_ended_it() -> None:
    whole = ask(ANSWER)
    assert isinstance(whole, Stamps)
    data = [text for text, _ in events_of(whole)]
    ends = ends_of_events()
    for cut in range(1, len(ANSWER)):
        cut_up = ask(ANSWER[:cut], ANSWER[cut:])
        assert isinstance(cut_up, Stamps), f"cut at {cut}: {cut_up}"
        found = events_of(cut_up)
        assert [text for text, _ in found] == data, f"cut at {cut}"
        reads = [cut_up.ended_ns - 1000 if end <= cut else cut_up.ended_ns for end in ends]
        assert [at for _, at in found] == reads, f"cut at {cut}"


def test_byte_by_byte_gives_the_same_answer() -> None:
    timing = timing_of(ask(*(ANSWER[place : place + 1] for place in range(len(ANSWER)))))
    assert isinstance(timing, Timing)
    assert (timing.text, timing.output_events, timing.pings) == ("".join(TEXT), len(TEXT), 1)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    timing = timing_of(ask(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", BODY))
    assert isinstance(timing, Timing)
    assert timing.text == "".join(TEXT)


def test_an_informational_answer_is_not_the_answer() -> None:
    assert isinstance(ask(b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER), Stamps)


KINDS: dict[Fault, str] = {
    "drops before it answers": "cut off",
    "drops in the middle": "cut off",
    "resets in the middle": "cut off",
    "503": "status",
    "garbage": "malformed",
    "silence": "timeout",
    "error event": "engine",
    "no end marker": "cut off",
    "plain JSON": "malformed",
}


@pytest.mark.parametrize("fault", KINDS)
def test_each_fault_is_a_failure_of_its_kind_and_is_not_tried_again(fault: Fault) -> None:
    with running_engine(QUICK) as engine:
        patience = 0.15 if fault == "silence" else 10
        outcome = measure(engine.target(), {**ASK, "fake": {"fault": fault}}, timeout_s=patience)
        assert isinstance(outcome, Failure)
        assert outcome.kind == KINDS[fault], outcome
    assert (engine.connections, len(engine.requests)) == (1, 1)


def test_every_fault_of_the_fake_engine_is_tried() -> None:
    assert set(KINDS) == {*get_args(Fault)} - {"", "closes afterwards without a word"}


def test_the_reason_of_a_refusal_is_told() -> None:
    with running_engine(QUICK) as engine:
        outcome = measure(engine.target(), {**ASK, "fake": {"fault": "503"}}, timeout_s=5)
    assert isinstance(outcome, Failure)
    assert (outcome.status, outcome.detail) == (503, 'status 503: {"error": "busy"}')


def test_nobody_listening_is_no_connection() -> None:
    with running_engine() as engine:
        target = engine.target()
    outcome = stream_chat(target, ASK, timeout_s=5)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "connect"


def test_a_certificate_is_verified(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with running_engine(QUICK, tmp_path) as engine, running_engine(QUICK, tmp_path / "other") as other:
        assert isinstance(stream_chat(engine.target(), ASK, timeout_s=5), Stamps)
        for wrong in (engine.target(server_name="elsewhere.test"), engine.target(tls=other.target().tls)):
            outcome = stream_chat(wrong, ASK, timeout_s=5)
            assert isinstance(outcome, Failure)
            assert outcome.kind == "tls"
    assert len(engine.requests) == 1


def test_a_handshake_that_never_ends_is_a_timeout(tmp_path: Path) -> None:
    with running_engine(QUICK, tmp_path) as engine, socket.create_server(("127.0.0.1", 0)) as mute:
        target = engine.target(connect=lambda: socket.create_connection(mute.getsockname()))
        outcome = stream_chat(target, ASK, timeout_s=0.1)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "timeout"


def test_one_connection_serves_one_request_after_the_other(tmp_path: Path) -> None:
    with running_engine(QUICK, tmp_path) as engine:
        connection = open_connection(engine.target(), timeout_s=5)
        assert isinstance(connection, Connection)
        with connection:
            outcomes = [
                stream_chat(engine.target(), ASK, timeout_s=5, connection=connection) for _ in range(3)
            ]
    stamps = [one for one in outcomes if isinstance(one, Stamps)]
    assert (len(stamps), engine.connections, len(engine.requests)) == (3, 1, 3)
    assert [one.connect_s is None for one in stamps] == [False, True, True]
    assert [one.tls_s is None for one in stamps] == [False, True, True]


def test_a_refusal_is_told_on_a_kept_connection_too() -> None:
    with running_engine(QUICK) as engine:
        connection = open_connection(engine.target(), timeout_s=5)
        assert isinstance(connection, Connection)
        with connection:
            first = stream_chat(engine.target(), ASK, timeout_s=5, connection=connection)
            second = stream_chat(
                engine.target(), {**ASK, "fake": {"fault": "503"}}, timeout_s=5, connection=connection
            )
            assert not connection.usable
    assert isinstance(first, Stamps)
    assert isinstance(second, Failure)
    assert second.kind == "status"


def test_a_kept_connection_that_was_closed_is_a_failure_and_no_new_connection() -> None:
    closing = {**ASK, "fake": {"fault": "closes afterwards without a word"}}
    with running_engine(QUICK) as engine:
        connection = open_connection(engine.target(), timeout_s=5)
        assert isinstance(connection, Connection)
        outcomes = [
            stream_chat(engine.target(), closing, timeout_s=5, connection=connection) for _ in range(3)
        ]
    assert isinstance(outcomes[0], Stamps)
    kinds = [one.kind for one in outcomes[1:] if isinstance(one, Failure)]
    assert kinds == ["cut off", "connect"]
    assert "used before" in str(outcomes[1])
    assert (engine.connections, len(engine.requests)) == (1, 1)


def test_what_is_sent_is_one_streamed_request_with_usage_and_the_right() -> None:
    with running_engine(QUICK) as engine:
        stream_chat(engine.target(), {**ASK, "max_tokens": 3}, timeout_s=5)
    usage = {"include_usage": True}
    assert engine.requests == [{**ASK, "max_tokens": 3, "stream": True, "stream_options": usage}]
    head = engine.heads[0].split(b"\r\n")
    assert head[0] == b"POST /v1/chat/completions HTTP/1.1"
    assert b"Authorization: Bearer Passw0rd-of-a-test" in head[1:]
    assert b"Host: fake.test" in head[1:]


def test_a_secret_is_neither_shown_nor_quoted_when_it_cant_be_sent() -> None:
    with running_engine(QUICK) as engine:
        target = engine.target(authorization="Bearer top-secret\r\nX: y")
        assert "top-secret" not in repr(target)
        with pytest.raises(HarnessError) as caught:
            stream_chat(target, ASK, timeout_s=5)
    assert "top-secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert engine.requests == []


def test_a_factory_of_ours_that_fails_is_no_figure_of_the_appliance() -> None:
    def broken() -> socket.socket:
        raise HarnessError("the forward to the guest is gone")

    with running_engine() as engine, pytest.raises(HarnessError, match="forward"):
        stream_chat(engine.target(connect=broken), ASK, timeout_s=5)


def test_stamps_come_in_their_order(tmp_path: Path) -> None:
    with running_engine(QUICK, tmp_path) as engine:
        before = time.perf_counter_ns()
        stamps = stream_chat(engine.target(), ASK, timeout_s=5)
        after = time.perf_counter_ns()
    assert isinstance(stamps, Stamps)
    inner = [
        stamps.handed_ns,
        stamps.head_ns,
        *(arrival.at_ns for arrival in stamps.arrivals),
        stamps.ended_ns,
    ]
    assert inner == sorted(inner)
    assert before < stamps.handed_ns <= stamps.sent_ns <= after
    assert stamps.ended_ns <= after


@pytest.mark.parametrize("fault", ["", "503"])
def test_nothing_is_collected_while_an_answer_runs(fault: Fault) -> None:
    seen = []
    with running_engine(QUICK) as engine:
        engine.on_request = lambda: seen.append(gc.isenabled())
        stream_chat(engine.target(), {**ASK, "fake": {"fault": fault}}, timeout_s=10)
    assert seen == [False]
    assert gc.isenabled()


def test_an_impossible_name_is_a_failure_of_tls() -> None:
    with running_engine(QUICK) as engine:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        outcome = stream_chat(engine.target(tls=context, server_name=""), ASK, timeout_s=5)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "tls"
