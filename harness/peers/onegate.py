"""OneGate, played on the host: takes what a guest reports, remembers it word for word, answers as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from harness.redaction import REDACTOR, SHORTEST_SECRET

LONGEST_BODY = 1 << 20
"""Bytes of a request's body that are read at most."""


class GuestNetwork(Protocol):
    """What of a Machine is needed: where the host listens, and where the guest then finds it."""

    @property
    def host_address(self) -> str: ...

    @property
    def host_listen(self) -> str: ...


@dataclass(frozen=True)
class Report:
    """A request as it came. `headers` keep the names as sent; `at` is the host's time.time() when it came."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    at: float

    def header(self, name: str) -> str:
        """The one value of a header, whatever its case; "" when it is missing. ValueError for several."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        if len(found) > 1:
            raise ValueError(f"the request has {len(found)} headers {name}")
        return found[0] if found else ""


OnReport = Callable[[Report], None]


@dataclass
class OneGate:
    """`endpoint` is the ONEGATE_ENDPOINT for the guest's context.

    `status` is answered to whatever comes; a `silent` OneGate takes requests and never answers. Both may be
    changed at any time.
    """

    endpoint: str
    status: int = 200
    silent: bool = False
    _reports: list[Report] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def reports(self) -> tuple[Report, ...]:
        """What has come so far, in order."""
        with self._arrived:
            return tuple(self._reports)

    def wait_for(self, count: int, timeout: float) -> tuple[Report, ...]:
        """All reports as soon as there are `count`, or those there are after `timeout` seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._reports) >= count, timeout)
            return tuple(self._reports)

    def _take(self, report: Report) -> None:
        with self._arrived:
            self._reports.append(report)
            self._arrived.notify_all()


@contextmanager
def open_onegate(
    machine: GuestNetwork, *, status: int = 200, silent: bool = False, on_report: OnReport | None = None
) -> Iterator[OneGate]:
    """A OneGate that this machine's guest reaches, until the block ends.

    `on_report` is called with each request before it is remembered and answered: to look at the guest at that
    very moment.
    """
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), LONGEST_BODY)
            report = Report(
                self.command,
                self.path,
                tuple(self.headers.items()),
                self.rfile.read(length),
                time.time(),
            )
            token = report.header("X-ONEGATE-TOKEN")
            if len(token) >= SHORTEST_SECRET:
                REDACTOR.add(token, "OneGate token")
            if on_report is not None:
                on_report(report)
            onegate._take(report)
            if onegate.silent:
                over.wait()
                self.close_connection = True
                return
            self.send_response(onegate.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            """Nothing: the requests are in `reports`."""

    with ThreadingHTTPServer((machine.host_listen, 0), Handler) as server:
        server.daemon_threads = True
        onegate = OneGate(f"http://{machine.host_address}:{server.server_port}", status, silent)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield onegate
        finally:
            over.set()
            server.shutdown()
            thread.join()
