"""Framing of server-sent events; the cases follow the WHATWG standard and openai-python's own suite."""

import pytest

from harness.client.sse import SseDecoder


def decode(*chunks: bytes) -> tuple[list[str], str]:
    decoder = SseDecoder()
    for chunk in chunks:
        decoder.feed(chunk, 0.0)
    unterminated = decoder.close()
    return [event.data for event in decoder.events], unterminated


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_any_line_end_ends_a_line(end: bytes) -> None:
    assert decode(b"data: one" + end + end + b"data: two" + end + end) == (["one", "two"], "")


def test_line_ends_may_be_mixed() -> None:
    assert decode(b"data: one\r\n\ndata: two\n\r\ndata: three\r\r") == (["one", "two", "three"], "")


STREAM = (
    "\ufeff: comment\r\ndata: naïve 🌟\r\n\r\nevent: progress\ndata: first\ndata: second\nid: 7\n\n"
    "retry: 250\rdata\r\r:\n\ndata:  two spaces\n\ndata: [DONE]\n\n"
).encode()
EXPECTED = ["naïve 🌟", "first\nsecond", "", " two spaces", "[DONE]"]


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_cut_anywhere_changes_nothing(at: int) -> None:
    assert decode(STREAM[:at], STREAM[at:]) == (EXPECTED, "")


def test_byte_by_byte_changes_nothing() -> None:
    assert decode(*(bytes([byte]) for byte in STREAM)) == (EXPECTED, "")


def test_names_ids_retry_and_comments_are_kept() -> None:
    decoder = SseDecoder()
    decoder.feed(STREAM, 1.5)
    assert [event.name for event in decoder.events] == [
        "message",
        "progress",
        "message",
        "message",
        "message",
    ]
    assert [event.last_id for event in decoder.events] == ["", "7", "7", "7", "7"]
    assert decoder.retry_ms == 250
    assert [comment.text for comment in decoder.comments] == ["comment", ""]
    assert {event.arrived_s for event in decoder.events} == {1.5}


def test_an_event_without_its_empty_line_is_not_dispatched() -> None:
    assert decode(b"data: one\n\ndata: lost\n") == (["one"], "data: lost")


def test_half_a_line_is_not_dispatched() -> None:
    assert decode(b"data: one\n\ndata: lo") == (["one"], "data: lo")


def test_a_byte_order_mark_counts_only_at_the_start() -> None:
    assert decode("\ufeffdata: one\n\n\ufeffdata: two\n\n".encode())[0] == ["one"]


def test_an_event_name_without_data_is_dropped() -> None:
    assert decode(b"event: ping\n\ndata: one\n\n")[0] == ["one"]


def test_an_id_with_a_null_and_a_retry_that_is_no_number_are_ignored() -> None:
    decoder = SseDecoder()
    decoder.feed(b"id: a\0b\nretry: soon\ndata: x\n\n", 0.0)
    assert (decoder.events[0].last_id, decoder.retry_ms) == ("", None)


def test_an_event_arrives_with_the_byte_that_ends_it() -> None:
    decoder = SseDecoder()
    for number, chunk in enumerate([b"data: a", b"\n", b"\n", b"data: b\n\n"]):
        decoder.feed(chunk, float(number))
    assert [event.arrived_s for event in decoder.events] == [2.0, 3.0]
