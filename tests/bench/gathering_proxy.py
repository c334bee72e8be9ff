"""A proxy that holds an answer back and hands it on in lumps, as one does whose buffering was left on."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gathering_proxy(port: int, lump_bytes: int) -> Iterator[int]:
    """Forward to 127.0.0.1:`port`; an answer leaves in lumps of at least `lump_bytes` (0: as it comes), the
    rest when the engine closes or says no more for 0.1 s. Yields the proxy's port."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=_forward, args=(client, port, lump_bytes), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(5)
        for thread in threads:
            thread.join(5)


def _forward(client: socket.socket, port: int, lump_bytes: int) -> None:
    held = b""
    with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", port)) as engine:
        engine.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            readable, _, _ = select.select([client, engine], [], [], 0.1)
            if client in readable:
                asked = client.recv(65536)
                if not asked:
                    return
                engine.sendall(asked)
            said = engine.recv(65536) if engine in readable else b""
            held += said
            if held and (len(held) >= lump_bytes or not readable or (engine in readable and not said)):
                client.sendall(held)
                held = b""
            if engine in readable and not said:
                return
