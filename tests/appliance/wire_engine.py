"""An engine that answers with given bytes, cut as a test wants them cut."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class WireEngine:
    """What the next requests are answered with, and what they were; a gap of 0 s leaves cutting to TCP."""

    port: int
    status: int = 200
    content_type: str = "text/event-stream"
    pieces: Sequence[bytes] = ()
    gap_s: float = 0.0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def say(self, *pieces: bytes, status: int = 200, content_type: str = "text/event-stream") -> None:
        """Answer from now on with these pieces; whatever is not a stream has a length."""
        self.pieces, self.status, self.content_type = pieces, status, content_type
        self.gap_s = 0.0
        self.heads.clear()
        self.bodies.clear()

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} X", f"Content-Type: {self.content_type}", "Connection: close"]
        if not self.content_type.startswith("text/event-stream"):
            lines.append(f"Content-Length: {sum(map(len, self.pieces))}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextmanager
def wire_engine() -> Iterator[WireEngine]:
    """The engine on a loopback port, one thread for all its connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        engine = WireEngine(listening.getsockname()[1])
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(engine, listening, over), daemon=True)
        thread.start()
        try:
            yield engine
        finally:
            over.set()
            thread.join()


def _serve(engine: WireEngine, listening: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                _answer(engine, connection)
            except OSError:
                continue


def _answer(engine: WireEngine, connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            return
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += connection.recv(65536)
    engine.heads.append(head.decode("latin-1"))
    engine.bodies.append(body)
    connection.sendall(engine.head())
    for piece in engine.pieces:
        connection.sendall(piece)
        if engine.gap_s:
            time.sleep(engine.gap_s)
