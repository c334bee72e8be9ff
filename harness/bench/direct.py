"""Ways to a TCP port of the guest, and what each costs by itself.

`inside` leads to a port on the guest's loopback (the engine's) past everything the appliance puts in front of
it; `outside` is the way clients come. Both give sockets that are connected when they are handed out.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.bench.wire import SocketFactory, connect_tcp
from harness.deadline import Deadline, NotYet, wait_until
from harness.errors import HarnessError
from harness.machine.nspawn import NspawnMachine
from harness.machine.ports import candidate_ports
from harness.machine.protocol import Machine
from harness.machine.tether import end, start_tethered

CONNECT_TIMEOUT_S = 10.0
TUNNEL_WITHIN_S = 60.0
"""Seconds for SSH's handshake; under TCG the cryptography alone takes one or two."""

_CLONE_NEWNET = 0x40000000
_LOOPBACK = "127.0.0.1"


@contextmanager
def inside(machine: Machine, port: int) -> Iterator[SocketFactory]:
    """Connections to a port that the guest only has on its loopback; the machine has to be on.

    Container: the socket is made in the guest's own network namespace, so nothing is between it and the port.
    Virtual machine: a tunnel of OpenSSH of its own, which ends with the block; it encrypts and copies every
    byte, so compare latencies under QEMU with `path_cost` beside them.

    Raises HarnessError where this can't be had.
    """
    if isinstance(machine, NspawnMachine):
        _socket_in(machine.network_namespace()).close()  # where it is not allowed, say so at once
        yield in_namespace(machine.network_namespace, port)
        return
    with _tunnel(machine.ssh_config(), port) as local:
        yield lambda: connect_tcp(_LOOPBACK, local)


def outside(machine: Machine, port: int = 443) -> SocketFactory:
    """Connections to a port the guest offers to the network, as clients make them."""

    def connect() -> socket.socket:
        address = machine.forward(port)
        return connect_tcp(address.host, address.port)

    return connect


def in_namespace(namespace: Callable[[], Path], port: int) -> SocketFactory:
    """Connections to a loopback port in another network namespace, whose file `namespace` names each time.

    A socket stays in the namespace it was made in, so only the making is done over there. Its factory raises
    HarnessError when that is not allowed.
    """

    def connect() -> socket.socket:
        made = _socket_in(namespace())
        try:
            made.settimeout(CONNECT_TIMEOUT_S)
            made.connect((_LOOPBACK, port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            made.close()
            raise
        return made

    return connect


def _socket_in(namespace: Path) -> socket.socket:
    """A TCP socket that belongs to this network namespace. Raises HarnessError when it can't be entered."""
    made: list[socket.socket] = []
    errors: list[OSError] = []

    def enter_and_make() -> None:
        try:
            enter_network(namespace)
            made.append(socket.socket())
        except OSError as error:
            errors.append(error)

    # The namespace is the thread's: one that ends right after leaves nothing behind in this process.
    thread = threading.Thread(target=enter_and_make, name="other-network")
    thread.start()
    thread.join()
    if errors:
        hint = "run as root" if isinstance(errors[0], PermissionError) else "is the machine on?"
        raise HarnessError(
            f"the guest's network can't be entered: {errors[0].strerror or errors[0]}", hint=hint
        ) from errors[0]
    return made[0]


def enter_network(namespace: Path) -> None:
    """Move the calling thread into a network namespace, for good. Raises OSError."""
    with namespace.open("rb") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


@contextmanager
def _tunnel(ssh_config: Path, guest_port: int) -> Iterator[int]:
    """A port on the host's loopback that OpenSSH leads to the guest's; gone when the block ends."""
    local = next(candidate_ports(1), None)
    if local is None:
        raise HarnessError(f"no free port on {_LOOPBACK} for a tunnel into the guest")
    # fmt: off
    command = [
        "ssh", "-F", str(ssh_config), "-N",
        # A connection of its own: the shared one may be dropped while this one is measured.
        "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-o", "Compression=no",
        "-L", f"{_LOOPBACK}:{local}:{_LOOPBACK}:{guest_port}", "guest",
    ]
    # fmt: on
    process = start_tethered(command, stderr=subprocess.PIPE)

    def listening(_last_try: bool) -> bool | None:
        if process.poll() is not None:
            assert process.stderr is not None
            said = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
            reason = said[-1] if said else f"ssh ended with status {process.returncode}"
            raise HarnessError(f"no tunnel into the guest: {reason}")
        with socket.socket() as probe:
            if probe.connect_ex((_LOOPBACK, local)) == 0:
                return True
        raise NotYet("ssh does not listen yet")

    try:
        wait_until(listening, Deadline.after(TUNNEL_WITHIN_S), what="a tunnel into the guest", interval=0.05)
        yield local
    finally:
        end(process)


@dataclass(frozen=True)
class PathCost:
    """What a way to the guest costs by itself: seconds of each try, the first ones left out."""

    connect_s: tuple[float, ...]
    request_s: tuple[float, ...]
    """A tiny request and its whole answer over a connection that was there."""


def path_cost(connect: SocketFactory, request: bytes, *, count: int = 30, warm_up: int = 3) -> PathCost:
    """Connect `count` times, and ask a tiny plain request `count` times over one connection.

    `request` is a whole HTTP/1.1 request without a body whose answer tells its Content-Length. For a TLS path
    hand in a factory that returns the wrapped socket. Raises OSError, and HarnessError for another answer.
    """
    connects: list[float] = []
    for _ in range(warm_up + count):
        started = time.perf_counter()
        opened = connect()
        connects.append(time.perf_counter() - started)
        opened.close()
    requests: list[float] = []
    with connect() as opened:
        for _ in range(warm_up + count):
            started = time.perf_counter()
            opened.sendall(request)
            _read_answer(opened)
            requests.append(time.perf_counter() - started)
    return PathCost(tuple(connects[warm_up:]), tuple(requests[warm_up:]))


def _read_answer(opened: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(opened)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":", 1)[1].strip()
        for line in head.splitlines()
        if line.lower().startswith(b"content-length:")
    ]
    if not head.startswith(b"HTTP/1.1 2") or len(lengths) != 1 or not lengths[0].isdigit():
        raise HarnessError(f"a tiny request was answered unexpectedly: {head[:80]!r}")
    left = int(lengths[0]) - len(body)
    while left > 0:
        left -= len(_received(opened))


def _received(opened: socket.socket) -> bytes:
    data = opened.recv(65536)
    if not data:
        raise HarnessError("the connection was closed in the middle of a tiny answer")
    return data
