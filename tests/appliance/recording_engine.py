"""A stand-in for the engine behind nginx: records what reaches it, streams slowly, fails on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    """One request as the engine saw it; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Engine:
    port: int
    received: list[Received] = field(default_factory=list)
    healthy: bool = True
    events: int = 4
    gap_s: float = 0.15
    left_early: threading.Event = field(default_factory=threading.Event)

    def last(self) -> Received:
        return next(request for request in reversed(self.received) if request.target != "/health")

    def forget(self) -> None:
        self.received.clear()
        self.left_early.clear()


@contextmanager
def recording_engine() -> Iterator[Engine]:
    engine = Engine(0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine))
    engine.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(engine: Engine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "secret-engine/9.9"

        def do_GET(self) -> None:
            self._answer()

        do_POST = do_HEAD = do_OPTIONS = do_DELETE = do_PUT = do_GET

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            engine.received.append(Received(self.command, self.path, headers, body))
            if self.path == "/health":
                self._plain(200 if engine.healthy else 503, {"status": "ok"})
                return
            wish = json.loads(body) if body else {}
            if wish.get("stream"):
                self._stream()
            else:
                self._plain(int(wish.get("answer_with", 200)), {"object": "answer", "length": len(body)})

        def _plain(self, status: int, value: object) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self._engine_headers()
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        def _engine_headers(self) -> None:
            self.send_header("Access-Control-Allow-Origin", "engine.example")
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Keep-Alive", "timeout=5, max=100")
            self.send_header("Set-Cookie", "engine=1")
            self.send_header("X-Accel-Redirect", "/etc/passwd")
            self.send_header("X-Accel-Buffering", "yes")
            self.send_header("Vary", "Accept")

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self._engine_headers()
            self.end_headers()
            try:
                for number in range(engine.events):
                    self._chunk(f"data: {number}\n\n".encode())
                    time.sleep(engine.gap_s)
                self._chunk(b"data: [DONE]\n\n")
                self._chunk(b"")
            except OSError:
                engine.left_early.set()

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet: what counts is in engine.received."""

    return Handler
