"""Server-sent events: bytes to events, with the time each event arrived.

Framing follows the WHATWG HTML standard, section 9.2.6 "Interpreting an event stream". The decoder
is incremental: any split of the bytes into chunks gives the same events.

Definitions used everywhere in this project (all in seconds since the request was sent):

* **TTFT**, time to first token: arrival of the first event that carries output.
* **ITL**, inter-token latency: the gaps between consecutive events that carry output.
* **silence gap**: the time between two consecutive arrivals of *bytes*, comment bytes included,
  because a byte of any kind keeps clients and proxies from giving up.
* **burstiness**: the share of ITL gaps shorter than 1 ms. A proxy which buffers delivers events in
  bursts, so its TTFT rises while its ITL falls; the share of tiny gaps is what gives it away.
"""

from __future__ import annotations

import codecs
import itertools
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

BURST_GAP_S = 0.001
"""Events closer together than this arrived as one burst (harness-and-benchmarks.md, section D 7)."""


@dataclass(frozen=True)
class Event:
    """One dispatched event. `arrived_s` is the arrival of the byte that ended it."""

    data: str
    arrived_s: float
    name: str = "message"
    last_id: str = ""

    @property
    def is_done(self) -> bool:
        """Whether this is the literal end marker of the OpenAI API."""
        return self.data == "[DONE]"

    def json(self) -> Any:
        """The event's data as JSON.

        Raises:
            ValueError: the data is not JSON (`[DONE]` is not).
        """
        return json.loads(self.data)


@dataclass(frozen=True)
class Comment:
    """A line that starts with a colon: ignored by clients, yet it keeps a connection alive."""

    text: str
    arrived_s: float


@dataclass
class SseDecoder:
    """Turns bytes into events; feed it chunks in order, then call `close`."""

    events: list[Event] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    retry_ms: int | None = None
    _text: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"), repr=False
    )
    _line: str = field(default="", repr=False)
    _at_start: bool = field(default=True, repr=False)
    _after_cr: bool = field(default=False, repr=False)
    _data: list[str] = field(default_factory=list, repr=False)
    _name: str = field(default="", repr=False)
    _last_id: str = field(default="", repr=False)

    def feed(self, chunk: bytes, arrived_s: float) -> list[Event]:
        """Take the next bytes and return the events they completed."""
        already = len(self.events)
        for line in self._lines(self._text.decode(chunk)):
            self._take_line(line, arrived_s)
        return self.events[already:]

    def close(self) -> str:
        """End of the stream. Returns what was left unterminated, which the standard says to drop."""
        rest = self._line + self._text.decode(b"", final=True)
        unterminated = "\n".join([*(f"data: {data}" for data in self._data), *([rest] if rest else [])])
        self._line, self._data, self._name = "", [], ""
        return unterminated

    def _lines(self, text: str) -> Iterator[str]:
        """Complete lines; CR, LF and CRLF end a line, also when a chunk ends between CR and LF."""
        if self._at_start and text:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        for character in text:
            if character == "\n" and self._after_cr:
                self._after_cr = False
                continue
            self._after_cr = character == "\r"
            if character in "\r\n":
                line, self._line = self._line, ""
                yield line
            else:
                self._line += character

    def _take_line(self, line: str, arrived_s: float) -> None:
        if not line:
            self._dispatch(arrived_s)
        elif line.startswith(":"):
            self.comments.append(Comment(line[1:].removeprefix(" "), arrived_s))
        else:
            name, _, value = line.partition(":")
            self._take_field(name, value.removeprefix(" "))

    def _take_field(self, name: str, value: str) -> None:
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._name = value
            case "id" if "\0" not in value:
                self._last_id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value)
            case _:
                pass  # "Otherwise: the field is ignored."

    def _dispatch(self, arrived_s: float) -> None:
        if self._data:
            self.events.append(
                Event("\n".join(self._data), arrived_s, self._name or "message", self._last_id)
            )
        self._data, self._name = [], ""


@dataclass(frozen=True)
class Stream:
    """A whole streamed answer. Times are seconds since the request was sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    headers_s: float
    events: tuple[Event, ...]
    comments: tuple[Comment, ...]
    byte_times_s: tuple[float, ...]
    ended_s: float
    body: bytes
    unterminated: str = ""

    def header(self, name: str) -> str | None:
        """The header's value, None where it is absent; values of repeated headers are joined by comma."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


def carries_output(event: Event) -> bool:
    """Whether an OpenAI stream event carries generated output (text, reasoning or a tool call)."""
    if event.is_done:
        return False
    try:
        return chunk_carries_output(event.json())
    except ValueError:
        return False


def chunk_carries_output(chunk: Any) -> bool:
    """The same of an event's data that was parsed already."""
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    for choice in choices or []:
        delta = choice.get("delta") or {}
        if choice.get("text") or any(
            delta.get(key) for key in ("content", "reasoning_content", "tool_calls", "refusal")
        ):
            return True
    return False


def output_times_s(
    events: Iterable[Event], is_output: Callable[[Event], bool] = carries_output
) -> list[float]:
    """Arrival times of the events that carry output."""
    return [event.arrived_s for event in events if is_output(event)]


def ttft_s(events: Iterable[Event], is_output: Callable[[Event], bool] = carries_output) -> float:
    """Time to first token.

    Raises:
        ValueError: no event carries output.
    """
    times = output_times_s(events, is_output)
    if not times:
        raise ValueError("no event of the stream carries output, so it has no time to first token")
    return times[0]


def gaps_s(times_s: Sequence[float]) -> list[float]:
    """Differences of consecutive times: the ITL when given `output_times_s`. Empty below two times."""
    return [later - earlier for earlier, later in itertools.pairwise(times_s)]


def median_gap_s(times_s: Sequence[float]) -> float:
    """The p50 of the gaps.

    Raises:
        ValueError: fewer than two times.
    """
    if len(times_s) < 2:
        raise ValueError(f"a gap needs two arrivals, there are {len(times_s)}")
    return statistics.median(gaps_s(times_s))


def burst_share(times_s: Sequence[float], below_s: float = BURST_GAP_S) -> float:
    """Share (0 to 1) of gaps shorter than `below_s`; 0 where there is no gap."""
    gaps = gaps_s(times_s)
    return sum(gap < below_s for gap in gaps) / len(gaps) if gaps else 0.0


def longest_silence_s(byte_times_s: Sequence[float], started_s: float, ended_s: float) -> float:
    """The longest time without a byte between `started_s` and `ended_s`, both ends counted."""
    return max(gaps_s([started_s, *byte_times_s, ended_s]))


def silence_started_s(byte_times_s: Sequence[float], started_s: float, ended_s: float) -> float:
    """When the longest silence began: the number to print beside `longest_silence_s`."""
    times = [started_s, *byte_times_s, ended_s]
    gaps = gaps_s(times)
    return times[gaps.index(max(gaps))]
