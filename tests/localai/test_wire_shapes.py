"""The kept exchanges are whole: others build on them, so a broken or leaky file must be found here."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from harness.client.sse import SseDecoder
from harness.errors import HarnessError
from tests.localai import wire_shapes
from tests.localai.wire_shapes import Exchange, exchange

LARGEST_BYTES = 24_000
"""A fixture is read by people: what is larger belongs in a shorter request."""

OF_A_MACHINE = re.compile(
    r"/(work|root|home|tmp)/|https?://(?!127\.0\.0\.1)[a-z0-9.-]+\.[a-z]{2,}|BEGIN [A-Z ]*PRIVATE KEY"
)
"""Places of the machine that recorded, hosts other than itself, keys."""


@pytest.fixture(params=wire_shapes.names())
def kept(request: pytest.FixtureRequest) -> Exchange:
    return exchange(request.param)


@pytest.fixture(params=[name for name in wire_shapes.names() if exchange(name).is_stream])
def stream(request: pytest.FixtureRequest) -> Exchange:
    return exchange(request.param)


def test_every_exchange_says_what_it_shows_and_where_it_is_from(kept: Exchange) -> None:
    assert re.match(r"[A-Z/].{7,}", kept.shows), f"{kept.name}: shows {kept.shows!r}"
    assert all(kept.obtained.values()), f"{kept.name}: obtained has an empty answer: {dict(kept.obtained)}"
    assert "3.11.0" in kept.obtained["engine"], f"{kept.name}: of which engine? {kept.obtained['engine']}"


def test_no_exchange_names_the_machine_it_was_recorded_on(kept: Exchange) -> None:
    text = (wire_shapes.FOLDER / f"{kept.name}.json").read_text()
    found = OF_A_MACHINE.search(text)
    assert not found, f"{kept.name}: has {found[0]!r}"
    assert len(text) <= LARGEST_BYTES, f"{kept.name}: {len(text)} bytes, at most {LARGEST_BYTES}"


def test_every_answer_has_a_status_headers_and_bytes_in_order(kept: Exchange) -> None:
    times = [kept.headers_after_ms, *(piece.after_ms for piece in kept.pieces)]
    assert times == sorted(times), f"{kept.name}: bytes before the ones before them: {times}"
    assert 200 <= kept.status <= 599
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name, _ in kept.request.headers + kept.headers)


def test_every_json_answer_is_json(kept: Exchange) -> None:
    if (kept.header("content-type") or "").startswith("application/json"):
        assert isinstance(kept.json(), dict), f"{kept.name}: {kept.body!r}"


def test_every_stream_is_events_of_chunks_with_one_end_mark(stream: Exchange) -> None:
    events = stream.events()
    assert [event.is_done for event in events[-1:]] == [True], f"{stream.name}: ends with {events[-1:]}"
    assert not any(event.is_done for event in events[:-1]), f"{stream.name}: has an end mark before its end"
    assert all(isinstance(chunk, dict) for chunk in stream.chunks())


def test_a_stream_reads_the_same_however_it_is_cut(stream: Exchange) -> None:
    decoder = SseDecoder()
    for first, last in itertools.pairwise(range(0, len(stream.body) + 7, 7)):
        decoder.feed(stream.body[first:last], 0)
    assert [event.data for event in decoder.events] == [event.data for event in stream.events()]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(HarnessError, match="no exchange nonesuch") as caught:
        exchange("nonesuch")
    assert caught.value.hint
    assert all(name in caught.value.hint for name in wire_shapes.names())


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"shows": "", "obtained": {"how": "guessed"}}'])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_shapes, "FOLDER", tmp_path)
    (tmp_path / "damaged.json").write_text(damage)
    with pytest.raises(HarnessError, match=r"damaged\.json: is not a recorded exchange"):
        exchange("damaged")


def test_an_exchange_must_say_all_of_how_it_was_obtained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = json.loads((wire_shapes.FOLDER / f"{wire_shapes.names()[0]}.json").read_text())
    monkeypatch.setattr(wire_shapes, "FOLDER", tmp_path)
    del whole["obtained"]["engine"]
    (tmp_path / "unlabelled.json").write_text(json.dumps(whole))
    with pytest.raises(HarnessError, match="obtained must have exactly"):
        exchange("unlabelled")
