"""TCP ports on 127.0.0.1 that stay ours from one start of a guest to the next."""

import random
import socket
from collections.abc import Iterator

from harness.errors import HarnessError

LOWEST, HIGHEST = 20000, 29999
"""Below the range that Linux hands out to outgoing connections (32768 and up), so that nothing but another
server can take a port while a guest is switched off."""


def candidate_ports(count: int) -> Iterator[int]:
    """`count` different ports that were free a moment ago, in random order (fewer when the range is full)."""
    found = 0
    # S311: the ports are no secret.
    for port in random.sample(range(LOWEST, HIGHEST + 1), HIGHEST - LOWEST + 1):
        if found == count:
            return
        if is_free(port):
            found += 1
            yield port


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` right now."""
    with socket.socket() as probe:
        # As QEMU does it; without, a port would look taken for a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def hold_port(port: int) -> socket.socket | None:
    """A socket that keeps others off 127.0.0.1:`port` until it is closed; None when the port is taken."""
    holder = socket.socket()
    try:
        # Without SO_REUSEADDR, which would let a second holder in.
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        return None
    return holder


def require_free_port(port: int) -> None:
    """Raise HarnessError when a port the user asked for cannot be had."""
    if not 1 <= port <= 65535:
        raise HarnessError(f"port {port} is not a TCP port; 1 to 65535 are")
    if not is_free(port):
        raise HarnessError(
            f"port {port} on 127.0.0.1 is taken by another program",
            hint="choose another port, or leave it out and a free one is taken",
        )
