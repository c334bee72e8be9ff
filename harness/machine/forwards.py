"""Ports on 127.0.0.1 that lead into a guest of QEMU: found, held, and opened through its monitor."""

import contextlib
import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from harness.errors import HarnessError
from harness.machine.ports import candidate_ports, hold_port, require_free_port
from harness.machine.protocol import HostAddress
from harness.machine.qmp import QmpClient

_ATTEMPTS = 20
_HOST = "127.0.0.1"


class Forwards:
    """Guest ports and where the host reaches them. A port that was given once stays for good."""

    def __init__(self, wanted: Mapping[int, int]) -> None:
        """`wanted` are guest port to host port. Raises HarnessError for one that is taken."""
        for port in wanted.values():
            require_free_port(port)
        self._wanted = dict(wanted)
        self._ports: dict[int, int] = {}
        self._held: dict[int, socket.socket] = {}
        self._guest: IPv4Address | None = None

    def address(self, guest_port: int) -> HostAddress | None:
        """Where a guest port is reached; None while it has no port on the host."""
        port = self._ports.get(guest_port)
        return HostAddress(_HOST, port) if port is not None else None

    def reserve(self, guest_port: int) -> HostAddress:
        """Choose the port before QEMU runs, and keep other programs from it until `open`."""
        if (known := self.address(guest_port)) is not None:
            return known
        wanted = self._wanted.get(guest_port)
        for port in [wanted] if wanted else candidate_ports(_ATTEMPTS):
            if (holder := hold_port(port)) is not None:
                self._held[guest_port], self._ports[guest_port] = holder, port
                return HostAddress(_HOST, port)
        raise _no_port(guest_port, wanted)

    def open_all(self, qmp: QmpClient, guest: IPv4Address, at_least: Iterable[int]) -> None:
        """Open what was reserved, wanted or open before, and the guest ports `at_least`."""
        self._guest = guest
        for guest_port in sorted({*at_least, *self._wanted, *self._ports}):
            self.open(qmp, guest, guest_port)

    def open(self, qmp: QmpClient, guest: IPv4Address, guest_port: int) -> HostAddress:
        """Have QEMU forward a port, the same as before if there was one; free ones are tried in turn."""
        if (holder := self._held.pop(guest_port, None)) is not None:
            holder.close()
        demanded = self._ports.get(guest_port) or self._wanted.get(guest_port)
        for port in [demanded] if demanded else candidate_ports(_ATTEMPTS):
            # "" is success; somebody may have taken the port since it was looked at.
            if not qmp.human(f"hostfwd_add net tcp:{_HOST}:{port}-{guest}:{guest_port}"):
                self._ports[guest_port] = port
                return HostAddress(_HOST, port)
        raise _no_port(guest_port, demanded)

    def lead_to(self, qmp: QmpClient, guest: IPv4Address) -> bool:
        """Let every open port lead to this address of the guest; False when they do so already."""
        if guest == self._guest:
            return False
        for guest_port, port in sorted(self._ports.items()):
            qmp.human(f"hostfwd_remove net tcp:{_HOST}:{port}")
            self.open(qmp, guest, guest_port)
        self._guest = guest
        return True

    def close(self) -> None:
        """Let go of the ports that were never opened."""
        for holder in self._held.values():
            with contextlib.suppress(OSError):
                holder.close()
        self._held.clear()


def _no_port(guest_port: int, demanded: int | None) -> HarnessError:
    if demanded:
        return HarnessError(
            f"port {demanded} on {_HOST} is taken by another program",
            hint="choose another port, or leave it out and a free one is taken",
        )
    return HarnessError(f"no free port on {_HOST} to forward to port {guest_port} of the guest")
