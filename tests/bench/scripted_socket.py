"""A socket that gives given pieces, one a read: what a network may do to an answer, without a network."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import cast

from harness.bench.wire import Target


class ScriptedSocket:
    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces, self.sent, self.closed = list(pieces), b"", False

    def settimeout(self, _seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, _most: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        self.closed = True


def scripted_target(*pieces: bytes) -> Target:
    """A target whose next connection answers with these pieces, then closes."""
    return Target(
        connect=lambda: cast("socket.socket", ScriptedSocket([piece for piece in pieces if piece])),
        tls=None,
        server_name="",
        host_header="fake.test",
    )
