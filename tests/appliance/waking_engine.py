"""An engine that is just starting: not healthy at first, then answering without a token, then ready."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWER = {"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 1}}


@dataclass
class WakingEngine:
    """How often each question came; `early` is whether `ready` was there before the good answer."""

    ready: Path
    port: int = 0
    health: int = 0
    completions: int = 0
    early: bool = False


@contextmanager
def waking_engine(ready: Path) -> Iterator[WakingEngine]:
    """Refuses health twice and answers two completions with nothing; `ready` is the file that must wait."""
    engine = WakingEngine(ready)
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


def _handler(engine: WakingEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            engine.health += 1
            self._answer(503 if engine.health <= 2 else 200, {})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            engine.completions += 1
            self._answer(200, {"choices": []} if engine.completions <= 2 else ANSWER)

        def _answer(self, status: int, value: object) -> None:
            engine.early |= engine.ready.exists()
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet: what counts is in the engine."""

    return Handler
