"""Stands in for the journal's socket: keeps what programs send to /dev/log."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Journal:
    """What was logged so far."""

    receiver: socket.socket
    text: str = ""

    def read(self, *, patience_s: float = 0.3) -> str:
        """Everything logged since the start; waits until nothing more came for `patience_s` seconds."""
        while select.select([self.receiver], [], [], patience_s)[0]:
            self.text += self.receiver.recv(65536).decode(errors="replace") + "\n"
        return self.text


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Listen at `path`, a socket of datagrams, readable and writable for every user."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        path.unlink(missing_ok=True)
        receiver.bind(str(path))
        path.chmod(0o666)
        yield Journal(receiver)
    path.unlink(missing_ok=True)
