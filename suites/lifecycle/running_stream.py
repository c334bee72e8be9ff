"""A streamed answer that runs while something else happens to the guest."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from harness.client.https import ApplianceAddress, open_client
from harness.client.sse import SseDecoder, carries_output
from suites.conformance.ask import CHAT, chat

TOKENS = 7000
"""Enough for a minute of any machine, and fits into the default context."""


@dataclass
class RunningStream:
    """What has come so far; written by the reading thread only."""

    words: int = 0
    ended: str = ""
    """Why no more comes; empty while the stream runs."""
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def broken_within(self, seconds: float) -> str:
        """Empty as soon as this same answer brings another word, else why none came within `seconds`."""
        before, end = self.words, time.monotonic() + seconds
        while self.words == before:
            if self.ended:
                return f"the stream broke after {self.words} words: {self.ended}"
            if time.monotonic() > end:
                return f"no word within {seconds:.0f} s after {self.words} words"
            time.sleep(0.02)
        return ""


@contextmanager
def running_stream(appliance: ApplianceAddress, *, patience_s: float) -> Iterator[RunningStream]:
    """A long answer, being read; its first word is there. `patience_s` bounds each wait for a word."""
    stream = RunningStream()
    with open_client(appliance, read_timeout_s=patience_s) as client:
        reader = threading.Thread(target=_read, args=(client, stream), daemon=True)
        reader.start()
        try:
            if broken := stream.broken_within(patience_s):
                raise AssertionError(f"no answer to disturb: {broken}")
            yield stream
        finally:
            stream._stop.set()
            reader.join(patience_s + 5)


def _read(client: httpx.Client, stream: RunningStream) -> None:
    decoder = SseDecoder()
    body = chat("Tell a long story.", max_tokens=TOKENS, stream=True, ignore_eos=True)
    try:
        with client.stream("POST", CHAT, json=body) as response:
            if response.status_code != 200:
                response.read()
                stream.ended = f"status {response.status_code}: {response.text[:300]}"
                return
            for piece in response.iter_raw():
                stream.words += sum(carries_output(event) for event in decoder.feed(piece, 0.0))
                if stream._stop.is_set():
                    return
        stream.ended = "it came to its end"
    except httpx.HTTPError as error:
        stream.ended = repr(error)
