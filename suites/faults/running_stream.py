"""A streamed answer that runs while something else happens, and what became of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.client.https import ApplianceAddress, open_tls, request_bytes
from harness.client.reassemble import BrokenStream, reassemble
from harness.client.sse import SseDecoder
from suites.conformance.ask import CHAT, chat

CONNECT_S = 60.0
"""Many TLS handshakes at once take their time on a busy host."""
SILENCE_S = 120.0
"""Who waits for one of the engine's slots gets no byte until then."""

WITHOUT_END = r"root ::= [^\x00] root"
"""A grammar of any characters whose text is never complete, for engines that don't know ignore_eos."""


def endless(**options: Any) -> dict[str, Any]:
    """A streamed answer that is longer than any check lasts."""
    return chat(max_tokens=4000, stream=True, ignore_eos=True, grammar=WITHOUT_END, **options)


@dataclass
class RunningStream:
    """`status` is 0 until headers came. `cut`: why the answer is not whole as HTTP, empty when it is."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    cut: str = ""
    decoder: SseDecoder = field(default_factory=SseDecoder)
    answered: threading.Event = field(default_factory=threading.Event)
    first_event: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    ended_at: float = 0.0
    connection: ssl.SSLSocket | None = None

    def follow(self, appliance: ApplianceAddress, body: Mapping[str, Any]) -> None:
        """Ask and read to the end, however it comes."""
        headers = {**appliance.bearer(), "Content-Type": "application/json"}
        request = request_bytes("POST", CHAT, headers, json.dumps(dict(body)).encode())
        try:
            with open_tls(appliance, timeout_s=SILENCE_S) as self.connection:
                self.connection.sendall(request)
                self._read(http.client.HTTPResponse(self.connection, method="POST"))
        except (OSError, http.client.HTTPException) as error:
            self.cut = repr(error)
        finally:
            self.ended_at = time.monotonic()
            for event in (self.answered, self.first_event, self.ended):
                event.set()

    def _read(self, response: http.client.HTTPResponse) -> None:
        response.begin()
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.answered.set()
        while piece := response.read1(65536):
            self.body += piece
            if self.decoder.feed(piece, time.monotonic()):
                self.first_event.set()

    def leave(self) -> None:
        """Hang up."""
        if self.connection is not None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def fault(self) -> str:
        """What is wrong with it as a whole answer; empty when nothing is."""
        if self.status != 200 or self.cut:
            return f"status {self.status}, {self.cut or 'not cut'}: {bytes(self.body[-300:])!r}"
        try:
            reassemble(self.decoder.events)
        except BrokenStream as broken:
            return str(broken)
        return ""


@contextmanager
def running_streams(
    appliance: ApplianceAddress, count: int, body: Mapping[str, Any]
) -> Iterator[list[RunningStream]]:
    """Starts them at the same time; hangs up those that still run when the block ends."""
    streams = [RunningStream() for _ in range(count)]
    threads = [
        threading.Thread(target=stream.follow, args=(appliance, body), daemon=True) for stream in streams
    ]
    for thread in threads:
        thread.start()
    try:
        yield streams
    finally:
        for stream in streams:
            stream.leave()
        for thread in threads:
            thread.join(CONNECT_S)


def any_event(streams: Sequence[RunningStream], seconds: float) -> bool:
    """Wait until one of them has its first event: which of many gets a slot first is chance."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(stream.first_event.is_set() for stream in streams):
            return True
        time.sleep(0.05)
    return False
