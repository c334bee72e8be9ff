"""An engine's slots as the appliance sees them: what it has read for clients, saved to files and loaded."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HEADER = struct.Struct("<6I")
"""Magic, version, words that follow, the mark of a list, its version, tokens."""
TOKEN_BYTES = 23040


@dataclass
class RememberingEngine:
    """`slots` maps a slot to its tokens; those in `busy` are computing; it `dies` of what it
    is asked, or `refuses` it."""

    folder: Path
    port: int = 0
    slots: dict[int, tuple[int, ...]] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    full_disk: bool = False
    dies: bool = False
    refuses: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    hangs: bool = False

    def told(self) -> list[dict[str, object]]:
        return [
            {"id": slot, "is_processing": slot in self.busy, "n_prompt_tokens": len(tokens)}
            for slot, tokens in self.slots.items()
        ] + [{"id": 9, "is_processing": False}]

    def save(self, slot: int, path: Path) -> bool:
        tokens = self.slots[slot]
        words = struct.pack(f"<{len(tokens)}I", *tokens)
        head = HEADER.pack(0x67677371, 3, len(tokens) + 4, 0xFFFFFFFF, 1, len(tokens))
        whole = head + words + struct.pack("<I", 0) + bytes(TOKEN_BYTES * len(tokens))
        path.write_bytes(whole[: len(whole) // 2] if self.full_disk else whole)
        return not self.full_disk

    def load(self, slot: int, path: Path) -> bool:
        content = path.read_bytes()
        count = HEADER.unpack_from(content)[5]
        self.slots[slot] = struct.unpack_from(f"<{count}I", content, HEADER.size)
        return True


@contextmanager
def remembering_engine(folder: Path) -> Iterator[RememberingEngine]:
    folder.mkdir(parents=True, mode=0o700)
    engine = RememberingEngine(folder)
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


def _handler(engine: RememberingEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if engine.dies:
                self.close_connection = True
                return
            self._answer(200, engine.told())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            place, _, action = self.path.partition("?action=")
            engine.asked.append(action)
            if engine.hangs:
                engine.released.wait(60)
            if engine.dies:
                self.close_connection = True
                return
            act = engine.save if action == "save" else engine.load
            done = not engine.refuses and act(int(place.rpartition("/")[2]), engine.folder / body["filename"])
            self._answer(200 if done else 400, {})

        def _answer(self, status: int, value: object) -> None:
            text = json.dumps(value).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except OSError:
                pass  # curl has given up

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    return Handler
