"""Two engines asked in turns: pairs are of the same request, and what failed has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from comparable import cell, run_of
from fake_engine import FakeEngine, Timetable, running_engine

from harness.bench.compare import INTERLEAVED, compare
from harness.bench.in_turns import Pairs, Side, measure_in_turns
from harness.cli.compare_images import is_image
from harness.cli.main import main
from harness.errors import HarnessError

QUICK = Timetable(ttft_s=0.004, itl_s=0.002, events=4)


@contextmanager
def engines(*timetables: Timetable) -> Iterator[tuple[list[FakeEngine], tuple[Side, Side]]]:
    with ExitStack() as stack:
        one, other = (stack.enter_context(running_engine(timetable)) for timetable in timetables)
        yield [one, other], (Side("A", one.target(), "small"), Side("B", other.target(), "small"))


def in_turns(sides: tuple[Side, Side], rounds: int = 5) -> Pairs:
    return measure_in_turns(sides, timeout_s=5, rounds=rounds, prompt_tokens=(128,))


def test_both_are_asked_the_same_next_to_each_other() -> None:
    order: list[int] = []

    def seen(place: int) -> Callable[[], None]:
        return lambda: order.append(place)

    with engines(QUICK, QUICK) as (both, sides):
        for place, engine in enumerate(both):
            engine.on_request = seen(place)
        pairs = in_turns(sides)
        asked = [[request["messages"] for request in engine.requests] for engine in both]
    assert asked[0] == asked[1]
    # Two requests of calibration each, then six turns of a cold and a warm one, the first thrown away.
    turns = [order[place : place + 4] for place in range(4, len(order), 4)]
    assert len(turns) == 6
    assert all(sorted(turn) == [0, 0, 1, 1] and turn[0] == turn[1] for turn in turns)
    assert len({turn[0] for turn in turns}) == 2  # either may begin
    assert (pairs.failures, pairs.stopped) == ([], "")
    assert [len(pairs.samples["ttft", 128, state]) for state in ("cold", "warm")] == [5, 5]


def test_a_slow_host_gets_fewer_rounds_but_enough_for_a_verdict() -> None:
    with engines(QUICK, QUICK) as (_, sides):
        pairs = measure_in_turns(sides, timeout_s=5, rounds=8, prompt_tokens=(128,), budget_s=0)
    assert len(pairs.samples["ttft", 128, "cold"]) == 5
    assert pairs.stopped == "5 of 8 rounds were measured: 0 s were over"


def test_cold_prompts_differ_and_warm_ones_begin_alike() -> None:
    with engines(QUICK, QUICK) as (both, sides):
        in_turns(sides, rounds=2)
        asked = [request["messages"] for request in both[0].requests[2:]]
    cold, warm = asked[0::2], asked[1::2]
    assert len({messages[0]["content"].split()[0] for messages in cold}) == 3
    for one, again in zip(cold, warm, strict=True):
        assert one[0] == again[0]
        assert one[-1] != again[-1]


@pytest.mark.timing
def test_a_slower_engine_is_found_slower() -> None:
    slow = replace(QUICK, ttft_s=0.1, itl_s=0.02)
    with engines(QUICK, slow) as (_, sides):
        pairs = in_turns(sides)
    runs = [run_of(cell(*pairs.metrics(side), **{INTERLEAVED: "x"})) for side in (0, 1)]
    comparison = compare(*runs)
    assert all(row.paired for row in comparison.rows)
    found = {row.title: row.finding for row in comparison.rows}
    labels = "(path appliance, prompt_tokens 128, state {})".format
    assert found.keys() == {
        f"ttft {labels('cold')}",
        f"ttft {labels('warm')}",
        f"e2e {labels('cold')}",
        f"decode_speed {labels('cold')}",
        f"prefill_speed {labels('cold')}",
    }
    assert set(found.values()) == {"worse"}


def test_what_failed_leaves_its_pair_out_on_both_sides() -> None:
    with engines(QUICK, QUICK) as (both, sides):
        number = 0

        def fails_once() -> None:
            nonlocal number
            number += 1
            both[1].timetable = replace(QUICK, fault="drops in the middle" if number == 7 else "")

        both[1].on_request = fails_once
        pairs = in_turns(sides)
    (told,) = pairs.failures
    assert told.startswith("B: a cold prompt of 128 tokens: cut off")
    lengths = {(name, state): len(samples) for (name, _, state), samples in pairs.samples.items()}
    # A busy host may read all events at once: then there is no decode speed.
    assert lengths.pop(("decode_speed", "cold")) <= 4
    assert lengths == {
        ("ttft", "cold"): 4,
        ("e2e", "cold"): 4,
        ("prefill_speed", "cold"): 4,
        ("ttft", "warm"): 5,
    }


def test_an_engine_that_never_answers_is_told() -> None:
    with (
        engines(QUICK, replace(QUICK, fault="503")) as (_, sides),
        pytest.raises(HarnessError, match="counted no tokens: status"),
    ):
        in_turns(sides)


def test_an_image_is_known_by_its_first_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, text = tmp_path / "image", tmp_path / "results.json"
    image.write_bytes(b"QFI\xfb\x00\x00\x00\x03")
    text.write_text("{}")
    assert is_image(image)
    assert not is_image(text)
    assert not is_image(tmp_path)
    assert not is_image(tmp_path / "none")
    for words in ((str(image), str(text)), (str(text), str(image))):
        assert main(["bench-compare", *words]) == 2
        error, _hint = capsys.readouterr().err.splitlines()
        assert error == f"error: {image} is an image and {text} is none"
