"""The instrument itself: TTFT, ITL and silence measured against a server that keeps to a timetable."""

import json
from collections.abc import Callable

import pytest
from scripted_server import Reply, answer, event_stream

from harness.client.https import ApplianceAddress, open_client, read_stream
from harness.client.node import fetch
from harness.client.sse import (
    SseDecoder,
    burst_share,
    gaps_s,
    longest_silence_s,
    median_gap_s,
    output_times_s,
    silence_started_s,
    ttft_s,
)

pytestmark = pytest.mark.timing

TTFT_S, ITL_S, TOKENS = 0.4, 0.1, 8
Serve = Callable[[Reply], ApplianceAddress]


def event(delta: dict[str, object], finish: str | None = None) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


TIMETABLE = [
    (0.0, event({"role": "assistant", "content": None})),
    *((TTFT_S + ITL_S * number, event({"content": f"t{number}"})) for number in range(TOKENS)),
    (TTFT_S + ITL_S * TOKENS, event({}, "stop") + b"data: [DONE]\n\n"),
]


def test_ttft_and_itl_are_measured_within_5_percent(appliance: Serve) -> None:
    address = appliance(event_stream(TIMETABLE))
    with open_client(address) as client:
        stream = read_stream(client, "/v1/chat/completions", {})
    times = output_times_s(stream.events)
    # The clock starts before connect and handshake; the server's starts when it has the request,
    # which is when the headers leave.
    assert ttft_s(stream.events) - stream.headers_s == pytest.approx(TTFT_S, rel=0.05)
    assert median_gap_s(times) == pytest.approx(ITL_S, rel=0.05)
    assert (len(times), stream.unterminated, stream.events[-1].is_done) == (TOKENS, "", True)
    assert burst_share(times) == 0


def test_node_measures_the_same_timetable(appliance: Serve) -> None:
    answered = fetch(appliance(event_stream(TIMETABLE)), "/v1/chat/completions", {}, deadline_s=20)
    assert answered.error is None
    assert answered.headers_s is not None
    times = output_times_s(answered.events())
    assert ttft_s(answered.events()) - answered.headers_s == pytest.approx(TTFT_S, rel=0.05, abs=0.02)
    assert median_gap_s(times) == pytest.approx(ITL_S, rel=0.05)


def test_a_buffering_proxy_shows_as_bursts(appliance: Serve) -> None:
    everything = b"".join(data for _, data in TIMETABLE)
    address = appliance(event_stream([(TTFT_S + ITL_S * TOKENS, everything)]))
    with open_client(address) as client:
        stream = read_stream(client, "/v1/chat/completions", {})
    assert burst_share(output_times_s(stream.events)) == 1


def test_comment_bytes_break_a_silence(appliance: Serve) -> None:
    script = [(0.2, b":\n\n"), (0.4, b": ping\n\n"), (0.6, event({"content": "x"}) + b"data: [DONE]\n\n")]
    with open_client(appliance(event_stream(script))) as client:
        stream = read_stream(client, "/v1/chat/completions", {})
    assert longest_silence_s(stream.byte_times_s, stream.headers_s, stream.ended_s) == pytest.approx(
        0.2, abs=0.03
    )
    assert ttft_s(stream.events) - stream.headers_s == pytest.approx(0.6, rel=0.05)
    assert len(stream.comments) == 2


def test_an_error_answer_has_a_body_and_no_events(appliance: Serve) -> None:
    body = b'{"error": {"message": "no"}}'
    address = appliance(lambda _request, connection: connection.sendall(answer("401 Unauthorized", body)))
    with open_client(address) as client:
        stream = read_stream(client, "/v1/chat/completions", {})
    assert (stream.status, stream.events, stream.body) == (401, (), body)
    assert stream.header("content-type") == "application/json"


def test_definitions_on_given_times() -> None:
    assert gaps_s([1.0, 1.5, 3.0]) == [0.5, 1.5]
    assert burst_share([0.0, 0.0005, 1.0]) == 0.5
    assert burst_share([0.0]) == 0
    assert longest_silence_s([1.0, 5.0], 0.0, 6.0) == 4.0
    assert silence_started_s([1.0, 5.0], 0.0, 6.0) == 1.0
    assert longest_silence_s([], 0.0, 9.0) == 9.0


def test_nothing_to_measure_is_said() -> None:
    decoder = SseDecoder()
    decoder.feed(event({"role": "assistant", "content": None}) + b"data: [DONE]\n\n", 0.0)
    with pytest.raises(ValueError, match="no event of the stream carries output"):
        ttft_s(decoder.events)
    with pytest.raises(ValueError, match="two arrivals"):
        median_gap_s([1.0])
