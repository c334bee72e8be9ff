"""An engine's HTTP side in every mood the watchdog has to tell apart."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Mood = Literal["healthy", "served", "prefill", "queued", "hung", "hung idle", "broken", "silent"]
"""served: other clients get answers; prefill: a long prompt is being read, completions wait; queued: the
same, then the completion is answered; hung: its work stands still; hung idle: no work, no completion;
broken: completions fail; silent: connections are taken, nothing is ever answered."""


@dataclass
class MoodyEngine:
    """`counter` moves with what it computes; `asked` counts completions; it `remembers` so many tokens."""

    mood: Mood
    port: int = 0
    counter: int = 0
    looks: int = 0
    asked: int = 0
    remembers: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def slots(self) -> list[dict[str, object]]:
        self.looks += 1
        if self.mood in ("served", "prefill", "queued"):
            self.counter += 64
        if self.mood == "queued" and self.looks > 10:
            self.released.set()
        busy = self.mood in ("prefill", "queued", "hung")
        slot = {
            "id": 0,
            "is_processing": busy,
            "id_task": 7,
            "n_prompt_tokens_processed": self.counter,
            "params": {"grammar": 'root ::= "\\"n_decoded\\":1"'},
            "next_token": [{"n_decoded": 0}],
        }
        return [slot, {"id": 1, "is_processing": False, "n_prompt_tokens": self.remembers}]


@contextmanager
def moody_engine(mood: Mood) -> Iterator[MoodyEngine]:
    engine = MoodyEngine(mood)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine))
    server.daemon_threads = True
    engine.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield engine
    finally:
        engine.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(engine: MoodyEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if engine.mood == "silent":
                engine.released.wait(60)
                return
            self._answer(200, engine.slots() if self.path == "/slots" else {"status": "ok"})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            engine.asked += 1
            if engine.mood == "broken":
                self._answer(500, {"error": {"message": "Compute error."}})
                return
            if engine.mood not in ("healthy", "served"):
                engine.released.wait(60)
            self._answer(200, {"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 1}})

        def _answer(self, status: int, value: object) -> None:
            text = json.dumps(value, separators=(",", ":")).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except OSError:
                pass  # the watchdog has gone

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    return Handler
