"""A local HTTP server whose faults a test chooses: no ranges, broken connections, wrong bytes, codes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What it serves and how; `ranges` collects the Range header of every request ("" without one)."""

    content: bytes
    breaks_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    resumes: bool = True
    ranges: list[str] = field(default_factory=list)
    sent_half: threading.Event = field(default_factory=threading.Event)
    stalls: bool = False
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://user:hunter2secret@127.0.0.1:{self.port}/model.bin"


@contextmanager
def serve(server: FileServer) -> Iterator[FileServer]:
    """Serve until the block ends; every connection is closed then."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            server.ranges.append(asked)
            if server.statuses:
                self.send_response(server.statuses.pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.resumes else 0
            body = server.content[start:]
            self.send_response(206 if start else 200)
            if start:
                end = len(server.content)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if server.stalls:
                self.wfile.write(body[: len(body) // 2])
                server.sent_half.set()
                over.wait(30)
                return
            count = server.breaks_after.pop(0) if server.breaks_after else len(body)
            self.wfile.write(body[:count])

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()
