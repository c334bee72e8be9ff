"""An engine that streams by a timetable and knows the truth: when it handed each event to its socket."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness.bench.wire import Target, connect_tcp
from harness.client.https import verifying_context
from harness.peers.private_ca import make_server

Fault = Literal[
    "", "drops before it answers", "drops in the middle", "resets in the middle", "503", "garbage", "silence",
    "error event", "no end marker", "plain JSON", "closes afterwards without a word",
]  # fmt: skip

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Timetable:
    """When events leave, in seconds after the request was there. A request's `fake` object changes it."""

    ttft_s: float = 0.03
    itl_s: float = 0.005
    events: int = 6
    tokens_per_event: int = 1
    stalls: Mapping[str, float] = field(default_factory=dict)
    """Number of an event (as text) to the seconds it comes late, and everything after it."""
    pings: int = 0
    """Comments, spread over the time before the first event."""
    cached: int = 0
    prompt_tokens: int = 100
    fault: Fault = ""

    def due_s(self, event: int) -> float:
        late = sum(stall for number, stall in self.stalls.items() if int(number) <= event)
        return self.ttft_s + event * self.itl_s + late


@dataclass
class Served:
    """The truth of one request (perf_counter_ns)."""

    received_ns: int
    handed_ns: list[int] = field(default_factory=list)
    ended_ns: int = 0

    @property
    def ttft_s(self) -> float:
        return (self.handed_ns[0] - self.received_ns) / 1e9

    @property
    def itl_s(self) -> list[float]:
        return [
            (later - earlier) / 1e9
            for earlier, later in zip(self.handed_ns, self.handed_ns[1:], strict=False)
        ]

    @property
    def e2e_s(self) -> float:
        return (self.ended_ns - self.received_ns) / 1e9


@dataclass
class FakeEngine:
    """What a running engine saw and did."""

    port: int
    tls: ssl.SSLContext | None
    certificate: Path | None
    timetable: Timetable
    connections: int = 0
    served: list[Served] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    on_request: Callable[[], object] = field(default=lambda: None)

    def target(self, **changes: Any) -> Target:
        context = verifying_context(self.certificate) if self.certificate else None
        target = Target(
            connect=lambda: connect_tcp("127.0.0.1", self.port),
            tls=context,
            server_name="127.0.0.1",
            host_header="fake.test",
            authorization="Bearer Passw0rd-of-a-test",
        )
        return replace(target, **changes)


@contextmanager
def running_engine(timetable: Timetable | None = None, folder: Path | None = None) -> Iterator[FakeEngine]:
    """Serve on 127.0.0.1, over TLS where there is a folder for the certificate, until the block ends."""
    tls, certificate = _make_tls(folder) if folder else (None, None)
    listener = socket.create_server(("127.0.0.1", 0))
    engine = FakeEngine(listener.getsockname()[1], tls, certificate, timetable or Timetable())
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            engine.connections += 1
            threads.append(threading.Thread(target=_serve, args=(engine, connection), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield engine
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(5)
        for thread in threads:
            thread.join(5)


def _make_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    holder = make_server(None, addresses=["127.0.0.1"])
    certificate, key = folder / "engine.pem", folder / "engine-key.pem"
    certificate.write_text(holder.pem)
    key.write_text(holder.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def _serve(engine: FakeEngine, connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(5)
        secured = engine.tls.wrap_socket(connection, server_side=True) if engine.tls else connection
        with secured:
            while body := _read_request(engine, secured):
                served = Served(time.perf_counter_ns())
                engine.served.append(served)
                request = json.loads(body)
                engine.requests.append(request)
                engine.on_request()
                timetable = replace(engine.timetable, **request.get("fake", {}))
                if not _answer(secured, timetable, served):
                    return


def _read_request(engine: FakeEngine, connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    engine.heads.append(head)
    wanted = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < wanted:
        body += connection.recv(65536)
    return body


def _answer(connection: socket.socket, timetable: Timetable, served: Served) -> bool:
    """Whether the connection stays open."""
    match timetable.fault:
        case "drops before it answers":
            return False
        case "silence":
            connection.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                connection.recv(1)  # until the client gives up
            return False
        case "garbage":
            connection.sendall(b"this is no HTTP\r\n\r\n")
            return False
        case "503":
            connection.sendall(b'HTTP/1.1 503 Busy\r\nContent-Length: 17\r\n\r\n{"error": "busy"}')
            return True
        case "plain JSON":
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            )
            return True
    connection.sendall(HEAD)
    for ping in range(timetable.pings):
        _wait(served, timetable.ttft_s * (ping + 1) / (timetable.pings + 1))
        connection.sendall(chunked(b": ping\n\n"))
    for number in range(timetable.events):
        _wait(served, timetable.due_s(number))
        if number == timetable.events // 2 and timetable.fault:
            if timetable.fault == "drops in the middle":
                return False
            if timetable.fault == "resets in the middle":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            if timetable.fault == "error event":
                connection.sendall(chunked(event({"error": {"message": "no room left"}})) + b"0\r\n\r\n")
                return True
        served.handed_ns.append(time.perf_counter_ns())
        connection.sendall(chunked(output(f"{number} ")))
    end = b"" if timetable.fault == "no end marker" else b"data: [DONE]\n\n"
    served.ended_ns = time.perf_counter_ns()
    connection.sendall(chunked(ending(timetable) + end) + b"0\r\n\r\n")
    return timetable.fault != "closes afterwards without a word"


def _wait(served: Served, at_s: float) -> None:
    time.sleep(max(0.0, at_s - (time.perf_counter_ns() - served.received_ns) / 1e9))


def chunked(data: bytes) -> bytes:
    """One piece of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(chunk: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def output(text: str, **more: Any) -> bytes:
    """An event with this text."""
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more})


def ending(timetable: Timetable, finish_reason: str = "length") -> bytes:
    """Finish reason, then usage and timings, as llama-server ends a stream."""
    tokens = timetable.events * timetable.tokens_per_event
    steps = tokens - timetable.tokens_per_event
    spent_ms = 1000 * (timetable.due_s(timetable.events - 1) - timetable.ttft_s)
    usage = {
        "prompt_tokens": timetable.prompt_tokens,
        "completion_tokens": tokens,
        "prompt_tokens_details": {"cached_tokens": timetable.cached},
    }
    timings = {
        "cache_n": timetable.cached,
        "prompt_n": timetable.prompt_tokens - timetable.cached,
        "prompt_ms": timetable.ttft_s * 1000,
        "predicted_n": tokens,
        "predicted_ms": spent_ms * (tokens - 1) / steps if steps else 0.0,
    }
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]}) + event(
        {"choices": [], "usage": usage, "timings": timings}
    )
