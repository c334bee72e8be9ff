"""Connections that send half a request and then nothing more: the cheapest attack on a server."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from harness.client.https import ApplianceAddress, open_tls

COUNT = 8
CUT_WITHIN_S = 20.0
"""Nginx is told 15 s; handshakes on slow machines take their part of the rest."""


@dataclass
class SilentConnections:
    """What became of them: how long after their last byte the server cut each."""

    started: float
    cut_after_s: list[float] = field(default_factory=list)
    watchers: list[threading.Thread] = field(default_factory=list)

    def wait(self) -> None:
        """Until all are cut, at most until they should have been."""
        for watcher in self.watchers:
            watcher.join(max(0.0, self.started + CUT_WITHIN_S - time.monotonic()))


@contextmanager
def open_silent_connections(appliance: ApplianceAddress) -> Iterator[SilentConnections]:
    """Opens them, sends half a header on each and watches in the background; closed on leaving."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(open_tls(appliance, timeout_s=2 * CUT_WITHIN_S)) for _ in range(COUNT)
        ]
        for connection in connections:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthor")
        silent = SilentConnections(time.monotonic())

        def watch(connection: ssl.SSLSocket) -> None:
            with contextlib.suppress(OSError):  # a reset is a cut as well
                while connection.recv(4096):
                    continue
            silent.cut_after_s.append(time.monotonic() - silent.started)

        for connection in connections:
            silent.watchers.append(threading.Thread(target=watch, args=(connection,), daemon=True))
            silent.watchers[-1].start()
        yield silent
