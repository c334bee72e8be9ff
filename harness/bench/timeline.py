"""From the stamps of a streamed answer to its figures; each formula once, in words that a report prints.

Times of an answer count from the instant its request was handed to the socket. An event of output is one
that carries text, reasoning or part of a tool call; comments (pings), the role, the finish reason and the
usage are none. A request that failed stays a `Failure`: there is no figure of it that could get among the
others.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from harness.bench.wire import Connection, Failure, Stamps, Target, stream_chat
from harness.client.sse import BURST_GAP_S, Event, SseDecoder, burst_share, chunk_carries_output

FORMULAS: Mapping[str, str] = MappingProxyType(
    {
        "ttft": "t(first event of output) - t(request handed to the socket); the connection is open by then",
        "itl": "t(event of output) - t(the event of output before it), one value for each but the first",
        "tpot": "(t_last - t_first) / (n - k); n tokens by the engine's count, k of them in the first event "
        "of output (1, unless its events carry several each); t_last is the last event of output, or the "
        "finish reason where the answer ended by an end token, which is counted and carries no text",
        "decode_speed": "1 / tpot",
        "prefill_speed": "(prompt tokens - tokens from the cache) / ttft",
        "e2e": "t(last byte of the answer) - t(request handed to the socket)",
        "burst_share": f"share of itl values below {BURST_GAP_S * 1000:g} ms",
        "cache_share": "prompt tokens from the cache / prompt tokens",
        "server_decode_speed": "(predicted_n - 1) / predicted_ms by the engine's clock, because the first "
        "token comes from the prompt's last batch",
        "server_prefill_speed": "prompt_n / prompt_ms by the engine's clock",
    }
)

BUFFERED_BURSTS = 0.2
"""Share of bursts from which on events count as gathered."""
SLOW_ENOUGH_S = 2 * BURST_GAP_S
"""Time a token takes an engine whose tokens can't arrive less than a millisecond apart."""
LATE_SHARE = 0.05
"""Share of a request's time that its thread may wait for a processor before its figures are doubted."""

ENDS_BY_TOKEN = ("stop", "tool_calls")
"""Finish reasons of an answer whose last token carries no text: an end token, or one of a stop word."""


@dataclass(frozen=True)
class Timing:
    """The figures of one answered request; seconds, tokens, and shares from 0 to 1."""

    ttft_s: float
    itl_s: tuple[float, ...]
    tpot_s: float | None
    """None below two tokens, or where all came at once."""
    e2e_s: float
    tokens_out: int
    prompt_tokens: int
    cached_tokens: int | None
    """Prompt tokens that came from the cache; None where the engine does not say."""
    server: Mapping[str, float]
    """llama-server's `timings`: prompt_n, cache_n, prompt_ms, predicted_n, predicted_ms and more; empty
    elsewhere."""
    connect_s: float | None
    """None on a connection that was used before."""
    tls_s: float | None
    """None on a connection that was used before, and without TLS."""
    bursts: float
    """Burst share of the events of output."""
    head_s: float
    """The answer's headers; llama-server sends them with the first event or comment."""
    output_events: int
    pings: int
    """Comments in the stream."""
    finish_reason: str
    cpu_wait_s: float | None
    """How long this host let the measuring thread wait for a processor: by so much a stamp can be late."""
    text: str = field(default="", repr=False)
    """What the model said; reasoning and tool calls are left out."""

    @property
    def decode_tok_s(self) -> float | None:
        """Tokens a second after the first one."""
        return 1 / self.tpot_s if self.tpot_s else None

    @property
    def prefill_tok_s(self) -> float:
        """Prompt tokens read a second, as a client sees it."""
        return (self.prompt_tokens - (self.cached_tokens or 0)) / self.ttft_s

    @property
    def cache_share(self) -> float | None:
        """Share of the prompt that came from the cache."""
        return self.cached_tokens / self.prompt_tokens if self.cached_tokens is not None else None

    @property
    def server_tpot_s(self) -> float | None:
        """Seconds a token by the engine's clock."""
        steps = self.server.get("predicted_n", 0) - 1
        spent_ms = self.server.get("predicted_ms", 0)
        return spent_ms / 1000 / steps if steps > 0 and spent_ms > 0 else None

    @property
    def server_decode_tok_s(self) -> float | None:
        """Tokens a second after the first one by the engine's clock."""
        return 1 / self.server_tpot_s if self.server_tpot_s else None

    @property
    def server_prefill_tok_s(self) -> float | None:
        """Prompt tokens read a second by the engine's clock."""
        read, spent_ms = self.server.get("prompt_n", 0), self.server.get("prompt_ms", 0)
        return read / spent_ms * 1000 if read > 0 and spent_ms > 0 else None


def measure(
    target: Target, body: Mapping[str, Any], *, timeout_s: float, connection: Connection | None = None
) -> Timing | Failure:
    """Send one request and give its figures; see `wire.stream_chat`."""
    return timing_of(stream_chat(target, body, timeout_s=timeout_s, connection=connection))


def timing_of(outcome: Stamps | Failure) -> Timing | Failure:
    """The figures of a request. A failure stays one; a stream that is none of a whole answer becomes one."""
    if isinstance(outcome, Failure):
        return outcome
    decoder = _decoded(outcome)
    try:
        return _timing(outcome, _read(decoder.events), decoder)
    except _Unreadable as reason:
        return Failure(reason.kind, str(reason), after_s=_since(outcome, outcome.ended_ns))


def split_outcomes(outcomes: Iterable[Timing | Failure]) -> tuple[list[Timing], list[Failure]]:
    """What was measured and what failed, each in its order."""
    timings, failures = list[Timing](), list[Failure]()
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            timings.append(outcome)
    return timings, failures


def is_buffered(timing: Timing) -> bool:
    """Whether something between engine and client gathers events and hands them on together.

    Such a proxy lets the gaps between events collapse, although the engine needs its time for each. An
    engine that makes more than 500 tokens a second and does not send its own timings can't be told from it.
    """
    expected = timing.server_tpot_s or timing.e2e_s / max(timing.tokens_out, 1)
    return timing.bursts > BUFFERED_BURSTS and expected > SLOW_ENOUGH_S


def doubts(timing: Timing) -> tuple[str, ...]:
    """Why the figures may not say what they seem to, a sentence each; usually none."""
    found = []
    if is_buffered(timing):
        found.append(
            f"{timing.bursts:.0%} of the events came less than {BURST_GAP_S * 1000:g} ms after another: "
            "something between engine and client gathers them"
        )
    if timing.cpu_wait_s is not None and timing.cpu_wait_s > max(LATE_SHARE * timing.e2e_s, BURST_GAP_S):
        found.append(
            f"the measuring thread waited {timing.cpu_wait_s * 1000:.0f} ms for a processor "
            f"in {timing.e2e_s * 1000:.0f} ms: the host is oversubscribed"
        )
    return tuple(found)


class _Unreadable(Exception):
    def __init__(self, kind: Any, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class _Reading:
    """What the events of a stream said."""

    output_s: list[float] = field(default_factory=list)
    finished_s: float | None = None
    finish_reason: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, float] = field(default_factory=dict)
    first_tokens: int | None = None
    """Tokens made by the time of the first event of output, where the engine says so
    (`timings_per_token`)."""
    text: list[str] = field(default_factory=list)


def _decoded(stamps: Stamps) -> SseDecoder:
    decoder = SseDecoder()
    for arrival in stamps.arrivals:
        decoder.feed(arrival.data, _since(stamps, arrival.at_ns))
    return decoder


def _since(stamps: Stamps, at_ns: int) -> float:
    return (at_ns - stamps.handed_ns) / 1e9


def _read(events: Sequence[Event]) -> _Reading:
    reading = _Reading()
    for number, event in enumerate(events, 1):
        if event.is_done:
            return reading
        _take(reading, number, event)
    raise _Unreadable("cut off", f"the stream ended after {len(events)} events without [DONE]")


def _take(reading: _Reading, number: int, event: Event) -> None:
    try:
        chunk = event.json()
    except ValueError:
        raise _Unreadable("malformed", f"event {number} is not JSON: {event.data[:80]!r}") from None
    if not isinstance(chunk, dict):
        raise _Unreadable("malformed", f"event {number} is no object: {event.data[:80]!r}")
    if error := chunk.get("error"):
        raise _Unreadable("engine", f"event {number} is an error: {json.dumps(error)[:200]}")
    try:
        is_output = chunk_carries_output(chunk)
        choice = next(iter(chunk.get("choices") or [{}]))
        said = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
        finish = choice.get("finish_reason")
        timings = _numbers(chunk.get("timings") or {})
        usage = dict(chunk.get("usage") or {})
    except (AttributeError, TypeError, ValueError):
        raise _Unreadable("malformed", f"event {number} is no chunk: {event.data[:80]!r}") from None
    if is_output:
        if not reading.output_s and timings:
            reading.first_tokens = int(timings.get("predicted_n", 0)) or None
        reading.output_s.append(event.arrived_s)
        reading.text.append(str(said))
    if finish:
        reading.finish_reason, reading.finished_s = str(finish), event.arrived_s
    reading.usage, reading.server = usage or reading.usage, timings or reading.server


def _numbers(timings: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in timings.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _timing(stamps: Stamps, reading: _Reading, decoder: SseDecoder) -> Timing:
    times = reading.output_s
    if not times:
        raise _Unreadable("malformed", "no event carries output, so there is no time to first token")
    tokens_out = _count(reading, "completion_tokens", ("predicted_n",))
    prompt_tokens = _count(reading, "prompt_tokens", ("prompt_n", "cache_n"))
    return Timing(
        ttft_s=times[0],
        itl_s=tuple(later - earlier for earlier, later in itertools.pairwise(times)),
        tpot_s=_tpot_s(reading, tokens_out),
        e2e_s=_since(stamps, stamps.ended_ns),
        tokens_out=tokens_out,
        prompt_tokens=prompt_tokens,
        cached_tokens=_cached(reading),
        server=MappingProxyType(dict(reading.server)),
        connect_s=stamps.connect_s,
        tls_s=stamps.tls_s,
        bursts=burst_share(times),
        head_s=_since(stamps, stamps.head_ns),
        output_events=len(times),
        pings=len(decoder.comments),
        finish_reason=reading.finish_reason,
        cpu_wait_s=stamps.cpu_wait_s,
        text="".join(reading.text),
    )


def _tpot_s(reading: _Reading, tokens: int) -> float | None:
    """Time per output token after the first event: FORMULAS["tpot"]."""
    times = list(reading.output_s)
    if reading.finish_reason in ENDS_BY_TOKEN and reading.finished_s is not None:
        times.append(reading.finished_s)
    first, last = times[0], times[-1]
    in_first = reading.first_tokens or max(1, round(tokens / len(times)))
    if tokens <= in_first or last <= first:
        return None
    return (last - first) / (tokens - in_first)


def _count(reading: _Reading, usage: str, timings: Sequence[str]) -> int:
    """A number of tokens by the usage, else by the sum of these timings."""
    counted = reading.usage.get(usage)
    if isinstance(counted, int) and counted > 0:
        return counted
    summed = int(sum(reading.server.get(name, 0) for name in timings))
    if summed <= 0:
        raise _Unreadable("malformed", f"neither the usage nor the timings say how many {usage} there were")
    return summed


def _cached(reading: _Reading) -> int | None:
    details = reading.usage.get("prompt_tokens_details")
    counted = details.get("cached_tokens") if isinstance(details, dict) else None
    if isinstance(counted, int):
        return counted
    return int(reading.server["cache_n"]) if "cache_n" in reading.server else None
