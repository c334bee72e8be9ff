"""The instrument against an engine whose truth is known: every figure within 2 % or a millisecond of it.

On a busy host any single answer may be late by some milliseconds of somebody else's computing, so each
check has a few tries; an instrument that is wrong is wrong in all of them.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from fake_engine import FakeEngine, Served, Timetable, running_engine
from gathering_proxy import gathering_proxy

from harness.bench.load import at_once
from harness.bench.timeline import Timing, is_buffered, measure
from harness.bench.wire import connect_tcp

pytestmark = pytest.mark.timing

ASK = {"messages": []}
TRIES = 6
STEADY = Timetable(ttft_s=0.06, itl_s=0.004, events=20, pings=2)
STALLING = Timetable(ttft_s=0.03, itl_s=0.003, events=16, stalls={"5": 0.03, "11": 0.02})
LUMPS = Timetable(ttft_s=0.03, itl_s=0.012, events=8, tokens_per_event=3)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with running_engine(STEADY, tmp_path) as running:
        yield running


def far_off(timing: Timing, truth: Served, timetable: Timetable) -> list[str]:
    """The figures that are not what they should be."""
    tokens = timetable.events * timetable.tokens_per_event
    tpot_s = sum(truth.itl_s) / (tokens - timetable.tokens_per_event)
    pairs = {
        "ttft": (timing.ttft_s, truth.ttft_s),
        "e2e": (timing.e2e_s, truth.e2e_s),
        "tpot": (timing.tpot_s or 0.0, tpot_s),
        "decode": (timing.decode_tok_s or 0.0, 1 / tpot_s),
        "prefill": (timing.prefill_tok_s, timetable.prompt_tokens / truth.ttft_s),
        **{f"itl {number}": pair for number, pair in enumerate(zip(timing.itl_s, truth.itl_s, strict=True))},
    }
    return [
        f"{name}: {found:.6g} instead of {true:.6g}"
        for name, (found, true) in pairs.items()
        if abs(found - true) > max(0.02 * abs(true), 0.001 if name not in ("decode", "prefill") else 0)
    ]


def assert_true(engine: FakeEngine, timetable: Timetable, ask: Callable[[], object] | None = None) -> None:
    engine.timetable = timetable
    seen: list[list[str]] = []
    for _ in range(TRIES):
        timing = ask() if ask else measure(engine.target(), ASK, timeout_s=10)
        assert isinstance(timing, Timing), timing
        seen.append(far_off(timing, engine.served[-1], timetable))
        if not seen[-1]:
            return
    pytest.fail(f"never within 2 % or a millisecond of the truth: {seen}")


@pytest.mark.parametrize(
    "timetable", [STEADY, STALLING, LUMPS], ids=["steady", "stalling", "three tokens an event"]
)
def test_every_figure_is_true(engine: FakeEngine, timetable: Timetable) -> None:
    assert_true(engine, timetable)


def test_stalls_are_seen_where_they_were(engine: FakeEngine) -> None:
    engine.timetable = STALLING
    seen = []
    for _ in range(TRIES):
        timing = measure(engine.target(), ASK, timeout_s=10)
        assert isinstance(timing, Timing), timing
        seen.append(sorted(sorted(range(len(timing.itl_s)), key=timing.itl_s.__getitem__)[-2:]))
        if seen[-1] == [4, 10]:
            return
    pytest.fail(f"the longest gaps were {seen}")


def test_steps_of_the_wall_clock_bend_nothing(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = itertools.cycle([0.0, 3600.0, -7200.0])
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + next(steps))
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(next(steps) * 1e9))
    assert_true(engine, STEADY)


def test_failures_before_it_bend_no_figure(engine: FakeEngine) -> None:
    def after_failures() -> object:
        load = at_once(engine.target(), [[{**ASK, "fake": {"fault": "503"}}] * 3 + [ASK]], timeout_s=10)
        assert (len(load.failures), len(load.timings)) == (3, 1)
        return load.timings[0]

    assert_true(engine, STEADY, after_failures)
    assert len(engine.requests) % 4 == 0


def test_clients_start_together_and_each_is_measured_truly(engine: FakeEngine) -> None:
    seen = []
    for _ in range(TRIES):
        engine.served.clear()
        load = at_once(engine.target(), [[ASK]] * 4, timeout_s=10)
        itl_off = median_of(load.timings, "itl_s") - median_of(engine.served, "itl_s")
        ttft_off = median_of(load.timings, "ttft_s") - median_of(engine.served, "ttft_s")
        seen.append(
            f"{load.started_apart_s:.6f} s apart, ITL off by {itl_off:.6f} s, TTFT off by {ttft_off:.6f} s"
        )
        if load.started_apart_s < 0.01 and abs(itl_off) < 0.001 and abs(ttft_off) < 0.0012:
            return
    pytest.fail(str(seen))


def median_of(measured: Sequence[Timing] | Sequence[Served], name: str) -> float:
    """The median of a figure over all of them, or of all its values where each has several."""
    values = [getattr(one, name) for one in measured]
    return statistics.median(gap for value in values for gap in (value if name == "itl_s" else (value,)))


def ever_smooth(engine: FakeEngine, port: int, tries: int) -> bool:
    """Whether one of so many answers through this port did not look gathered."""
    for _ in range(tries):
        timing = measure(engine.target(connect=lambda: connect_tcp("127.0.0.1", port)), ASK, timeout_s=10)
        assert isinstance(timing, Timing), timing
        if not is_buffered(timing):
            return True
    return False


UNHURRIED = Timetable(ttft_s=0.02, itl_s=0.008, events=20)


@pytest.mark.parametrize("lump_bytes", [400, 1500, 1_000_000])
def test_a_gathering_proxy_is_detected(lump_bytes: int) -> None:
    with running_engine(UNHURRIED) as engine, gathering_proxy(engine.port, lump_bytes) as port:
        assert not ever_smooth(engine, port, 1)


def test_neither_an_engine_nor_a_proxy_that_hands_on_at_once_is_taken_for_one() -> None:
    with running_engine(UNHURRIED) as engine, gathering_proxy(engine.port, 0) as port:
        assert ever_smooth(engine, engine.port, TRIES)
        assert ever_smooth(engine, port, TRIES)
