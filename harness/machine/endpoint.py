"""An appliance that already runs somewhere: an address and a password, and nothing else to hold on to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path
from typing import NoReturn

import httpx

from harness.client.https import ApplianceAddress, open_client
from harness.context.oned import Nic
from harness.deadline import Deadline, DeadlineExceeded, NotYet, wait_until
from harness.errors import ApplianceError, HarnessError
from harness.machine.protocol import BootTimings, CommandResult, HostAddress

USERNAME = "admin"
"""The appliance has one user."""

HTTPS_PORT, HTTP_PORT = 443, 80

UNKNOWN = "unknown"
"""The accelerator below an appliance; nobody can tell from outside."""


@dataclass(frozen=True)
class Endpoint:
    """How an appliance is reached.

    `url` is `https://host[:port]`; `trust` the PEM file its certificate is verified with; `tls_mode` what the
    certificate says of where it comes from (`selfsigned` or `issued`); `model` the one it serves; `engine`
    what serves it, as far as that can be told ("" else).
    """

    url: str
    trust: Path
    password: str = field(repr=False)
    model: str
    tls_mode: str
    engine: str = ""

    @property
    def address(self) -> ApplianceAddress:
        """What clients need. Its port 80 is known only beside the usual port 443: a port that was mapped says
        nothing of where another one was mapped to."""
        address = ApplianceAddress(
            base_url=self.url,
            ca_file=self.trust,
            username=USERNAME,
            password=self.password,
            model=self.model,
        )
        host = f"[{address.host}]" if ":" in address.host else address.host
        http_url = f"http://{host}:{HTTP_PORT}" if address.port == HTTPS_PORT else ""
        return ApplianceAddress(**{**vars(address), "http_url": http_url})


class EndpointMachine:
    """The machine below an endpoint: what needs its power switch, its console or root in it is refused."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @property
    def kind(self) -> str:
        return "endpoint"

    @property
    def accelerator(self) -> str:
        return UNKNOWN

    def wait_ready(self, deadline: Deadline) -> BootTimings:
        """Wait until /readyz says 200. Nothing is known of its boot. Raises ApplianceError."""
        with open_client(self.endpoint.address, auth="none", read_timeout_s=15) as client:

            def ready(_last_try: bool) -> bool:
                try:
                    answer = client.get("/readyz")
                except httpx.TransportError as error:
                    raise NotYet(str(error) or type(error).__name__) from None
                if answer.status_code != httpx.codes.OK:
                    raise NotYet(f"/readyz answers {answer.status_code}")
                return True

            try:
                wait_until(ready, deadline, what=f"{self.endpoint.url} is ready", interval=1.0)
            except DeadlineExceeded as late:
                raise ApplianceError(late.message) from None
        return BootTimings(None, None, None)

    def forward(self, guest_port: int) -> HostAddress:
        address = self.endpoint.address
        if guest_port == HTTPS_PORT:
            return HostAddress(address.host, address.port)
        if guest_port == HTTP_PORT and address.http_url:
            return HostAddress(address.host, HTTP_PORT)
        raise _only_inside(f"its port {guest_port}")

    def save_evidence(self, folder: Path) -> None:
        """There is none to be had from outside."""

    def close(self) -> None:
        """The appliance runs on."""

    @property
    def guest_address(self) -> str:
        raise _only_inside("the address the guest itself has")

    @property
    def nic(self) -> Nic:
        raise _only_inside("its network card")

    @property
    def public_key(self) -> str:
        raise _only_inside("an SSH key")

    @property
    def host_address(self) -> str:
        raise _only_inside("a way from the guest to this host")

    @property
    def host_listen(self) -> str:
        raise _only_inside("a way from the guest to this host")

    def insert_context(self, files: Mapping[str, bytes]) -> None:  # noqa: ARG002 - what the protocol says
        _refuse("its context disk")

    def change_context(self, files: Mapping[str, bytes]) -> None:  # noqa: ARG002
        _refuse("its context disk")

    def move_to(self, address: IPv4Interface) -> None:  # noqa: ARG002
        _refuse("another address")

    def grow_disk(self, gib: int) -> None:  # noqa: ARG002
        _refuse("its disk")

    def set_clock(self, offset_s: float) -> None:  # noqa: ARG002
        _refuse("its clock")

    def copy_disk(self, target: Path) -> None:  # noqa: ARG002
        _refuse("its disk")

    def start(self) -> None:
        _refuse("its power switch")

    def stop(self, timeout: float = 60) -> None:  # noqa: ARG002
        _refuse("its power switch")

    def power_cut(self) -> None:
        _refuse("its power switch")

    def reset(self) -> None:
        _refuse("its power switch")

    def reboot(self, timeout: float = 60) -> None:  # noqa: ARG002
        _refuse("its power switch")

    def run(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:  # noqa: ARG002
        _refuse("commands in the guest")

    def console_text(self) -> str:
        raise _only_inside("its console")

    def boot_id(self) -> str:
        raise _only_inside("the guest's boot id")

    def ssh_config(self) -> Path:
        raise _only_inside("SSH")


def _refuse(what: str) -> NoReturn:
    raise _only_inside(what)


def _only_inside(what: str) -> HarnessError:
    return HarnessError(
        f"an endpoint is reached by its API alone: {what} is out of reach",
        hint="use the machine qemu or nspawn",
    )
