"""Each figure against stamps whose answer is known to the last digit."""

from __future__ import annotations

from typing import Any

import pytest
from fake_engine import event, output

from harness.bench.timeline import FORMULAS, Timing, doubts, is_buffered, split_outcomes, timing_of
from harness.bench.wire import Arrival, Failure, Stamps

MS = 1_000_000
DONE = b"data: [DONE]\n\n"
HANDED_NS = 5_000 * MS


def stamps(*arrivals: tuple[float, bytes], **changes: Any) -> Stamps:
    """An answer whose bytes came so many milliseconds after the request was handed over."""
    arrived = tuple(Arrival(HANDED_NS + round(at * MS), data) for at, data in arrivals)
    given: dict[str, Any] = {
        "handed_ns": HANDED_NS,
        "sent_ns": HANDED_NS + MS,
        "head_ns": HANDED_NS + 2 * MS,
        "ended_ns": arrived[-1].at_ns,
        "arrivals": arrived,
        "headers": (),
        "connect_s": 0.001,
        "tls_s": 0.002,
        "cpu_wait_s": 0.0,
    }
    return Stamps(**{**given, **changes})


def usage(out: int, prompt: int = 100, **more: Any) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": out}, **more})


def finish(reason: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def measured(*arrivals: tuple[float, bytes], **changes: Any) -> Timing:
    timing = timing_of(stamps(*arrivals, **changes))
    assert isinstance(timing, Timing), timing
    return timing


def failed(*arrivals: tuple[float, bytes]) -> Failure:
    failure = timing_of(stamps(*arrivals))
    assert isinstance(failure, Failure), failure
    return failure


PLAIN = (
    (2, event({"choices": [{"delta": {"role": "assistant", "content": None}}]})),
    (100, output("a")),
    (110, output("b")),
    (130, output("c")),
    (160, output("d") + finish("length")),
    (170, usage(4) + DONE),
)


def test_an_answer_of_one_token_an_event() -> None:
    timing = measured(*PLAIN)
    assert timing.ttft_s == 0.1
    assert timing.itl_s == pytest.approx((0.01, 0.02, 0.03))
    assert timing.tpot_s == pytest.approx(0.06 / 3)
    assert timing.decode_tok_s == pytest.approx(50)
    assert timing.prefill_tok_s == pytest.approx(100 / 0.1)
    assert timing.e2e_s == pytest.approx(0.17)
    assert (timing.tokens_out, timing.prompt_tokens, timing.cached_tokens) == (4, 100, None)
    assert (timing.connect_s, timing.tls_s, timing.head_s) == (0.001, 0.002, 0.002)
    assert (timing.text, timing.finish_reason, timing.bursts) == ("abcd", "length", 0.0)


def test_comments_and_empty_chunks_are_no_output() -> None:
    timing = measured((50, b": ping\n\n"), *PLAIN[:3], (120, b":\n\n"), *PLAIN[3:])
    assert (timing.ttft_s, timing.pings, timing.output_events) == (0.1, 2, 4)
    assert timing.itl_s == pytest.approx((0.01, 0.02, 0.03))


def test_reasoning_and_tool_calls_are_output() -> None:
    reasoning = event({"choices": [{"delta": {"reasoning_content": "hm"}}]})
    call = event({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]})
    timing = measured((10, reasoning), (20, call), (30, output("x")), (40, usage(3) + DONE))
    assert (timing.output_events, timing.ttft_s, timing.text) == (3, 0.01, "x")


def test_an_end_token_is_counted_and_took_its_time() -> None:
    # Five tokens 10 ms apart, the fifth of which ends the answer without any text.
    arrivals = [(100 + 10 * number, output("a")) for number in range(4)]
    timing = measured(*arrivals, (140, finish("stop")), (141, usage(5) + DONE))
    assert timing.tpot_s == pytest.approx(0.01)


def test_several_tokens_an_event_count_as_what_they_are() -> None:
    # Three tokens every 30 ms are one every 10 ms.
    arrivals = [(100 + 30 * number, output("abc")) for number in range(10)]
    assert measured(*arrivals, (371, usage(30) + DONE)).tpot_s == pytest.approx(0.01)


def test_the_engine_may_say_how_many_tokens_its_first_event_has() -> None:
    # Two tokens withheld, then one every 10 ms.
    first = (120, output("abc", timings={"predicted_n": 3}))
    timing = measured(first, (130, output("d")), (140, output("e")), (141, usage(5) + DONE))
    assert timing.tpot_s == pytest.approx(0.01)


def test_one_token_has_no_time_per_token() -> None:
    timing = measured((100, output("a")), (101, usage(1) + DONE))
    assert (timing.tpot_s, timing.decode_tok_s, timing.itl_s) == (None, None, ())


def test_the_engines_own_timings_stand_beside_and_speak_for_a_missing_usage() -> None:
    timings = {
        "cache_n": 60, "prompt_n": 40, "prompt_ms": 80.0, "predicted_n": 4, "predicted_ms": 66.0, "note": "x",
    }  # fmt: skip
    timing = measured(*PLAIN[:5], (170, event({"choices": [], "timings": timings}) + DONE))
    assert (timing.prompt_tokens, timing.cached_tokens, timing.tokens_out) == (100, 60, 4)
    assert timing.cache_share == 0.6
    assert timing.prefill_tok_s == pytest.approx(40 / 0.1)
    assert timing.server_prefill_tok_s == pytest.approx(500)
    assert timing.server_decode_tok_s == pytest.approx(3 / 0.066)
    assert dict(timing.server) == {name: value for name, value in timings.items() if name != "note"}


def test_the_usage_says_what_came_from_the_cache() -> None:
    counted = {"prompt_tokens": 100, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 25}}
    timing = measured(*PLAIN[:5], (170, event({"choices": [], "usage": counted}) + DONE))
    assert (timing.cached_tokens, timing.cache_share) == (25, 0.25)
    assert timing.prefill_tok_s == pytest.approx(75 / 0.1)


def test_what_is_no_whole_answer_is_a_failure() -> None:
    assert failed(*PLAIN[:5]).kind == "cut off"
    assert failed((100, b"data: {oops\n\n" + DONE)).kind == "malformed"
    assert failed((100, b"data: [1]\n\n" + DONE)).kind == "malformed"
    assert failed((100, event({"choices": "x"}) + DONE)).kind == "malformed"
    assert failed((100, event({"choices": [], "usage": 7}) + DONE)).kind == "malformed"
    assert failed((100, finish("stop") + usage(1) + DONE)).kind == "malformed"
    assert failed((100, output("a") + DONE)).detail.startswith("neither the usage nor the timings")
    erred = failed(*PLAIN[:3], (115, event({"error": {"code": 500, "message": "no room left"}})))
    assert (erred.kind, "no room left" in erred.detail) == ("engine", True)


def test_a_failure_stays_one_and_is_kept_apart() -> None:
    failure, timing = Failure("timeout", "too long", after_s=0.0001), measured(*PLAIN)
    assert timing_of(failure) is failure
    assert split_outcomes([timing, failure, timing]) == ([timing, timing], [failure])


def gathered(events: int, together: int, *, server: bool = True) -> Timing:
    """Tokens 10 ms apart of which `together` arrive at the time of the last of them."""
    arrivals = []
    for number in range(events):
        at = 100 + 10 * min(events - 1, number - number % together + together - 1)
        arrivals.append((float(at), output("x")))
    spent = {"predicted_n": events, "predicted_ms": 10.0 * (events - 1)}
    more = {"timings": spent} if server else {}
    return measured(*arrivals, (arrivals[-1][0], usage(events, **more) + DONE))


@pytest.mark.parametrize("server", [True, False])
def test_gathered_events_are_seen(server: bool) -> None:
    assert not is_buffered(gathered(20, 1, server=server))
    assert doubts(gathered(20, 1, server=server)) == ()
    for together in (2, 5, 20):
        timing = gathered(20, together, server=server)
        assert is_buffered(timing), together
        assert "gathers" in doubts(timing)[0]


def test_a_really_fast_engine_gathers_nothing() -> None:
    arrivals = [(100 + 0.5 * number, output("x")) for number in range(20)]
    spent = {"predicted_n": 20, "predicted_ms": 9.5}
    assert not is_buffered(measured(*arrivals, (110, usage(20, timings=spent) + DONE)))


def test_an_oversubscribed_host_is_a_doubt() -> None:
    assert doubts(measured(*PLAIN, cpu_wait_s=0.008)) == ()
    assert "oversubscribed" in doubts(measured(*PLAIN, cpu_wait_s=0.05))[0]


def test_every_figure_has_its_formula_in_words() -> None:
    assert {"ttft", "itl", "tpot", "e2e", "decode_speed", "prefill_speed", "cache_share"} <= FORMULAS.keys()
    assert all(formula.isprintable() for formula in FORMULAS.values())
