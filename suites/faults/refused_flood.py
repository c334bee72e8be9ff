"""Requests with a wrong password, as fast as they are taken; many a write, so that asking costs little."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness.client.https import ApplianceAddress, open_tls, request_bytes

A_WRITE = 50
A_CONNECTION = 1000
"""Nginx closes a connection after so many requests."""
REQUEST = request_bytes("GET", "/v1/models", {"Authorization": "Bearer wrong", "Connection": "keep-alive"})


@dataclass
class Flood:
    """How many were refused so far; `strange` is what an answer was instead."""

    refused: int = 0
    strange: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pour(self, appliance: ApplianceAddress, most: int) -> None:
        """Send at most `most` requests on one connection after the other."""
        sent = 0
        while sent < most and not self.stop.is_set():
            with contextlib.suppress(OSError), open_tls(appliance, timeout_s=30) as connection:
                for _ in range(min(A_CONNECTION, most - sent) // A_WRITE):
                    if self.stop.is_set():
                        return
                    connection.sendall(REQUEST * A_WRITE)
                    sent += A_WRITE
                    self._take(_answers(connection))

    def _take(self, answers: bytes) -> None:
        with self.lock:
            self.refused += answers.count(b"HTTP/1.1 401 ")
            others = answers.count(b"HTTP/1.1 ") - answers.count(b"HTTP/1.1 401 ")
            if others and not self.strange:
                self.strange = answers[:300].decode(errors="replace")


def _answers(connection: ssl.SSLSocket) -> bytes:
    """The answers to one write; fewer where the connection ended."""
    seen = b""
    while seen.count(b"HTTP/1.1 ") < A_WRITE or not seen.endswith(b"}"):
        piece = connection.recv(262144)
        if not piece:
            break
        seen += piece
    return seen


def pour(appliance: ApplianceAddress, requests: int, *, connections: int = 4) -> Flood:
    """So many refused requests, and back when all are answered."""
    flood = Flood()
    threads = [
        threading.Thread(target=flood.pour, args=(appliance, requests // connections), daemon=True)
        for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return flood


@contextmanager
def lasting_flood(appliance: ApplianceAddress, *, connections: int = 8) -> Iterator[Flood]:
    """A flood while the block runs; entered once it flows."""
    flood = Flood()
    threads = [
        threading.Thread(target=flood.pour, args=(appliance, 10**9), daemon=True) for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 30
    while flood.refused < 500 and time.monotonic() < until:
        time.sleep(0.05)
    try:
        yield flood
    finally:
        flood.stop.set()
        for thread in threads:
            thread.join(30)
