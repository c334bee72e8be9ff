"""From what a cell asks for to a machine that is ready to be switched on."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.context.oned import Nic, context_files, oned_context, onegate_token
from harness.errors import HarnessError
from harness.machine.accelerator import choose_accelerator
from harness.machine.leftovers import clear_leftovers
from harness.machine.nspawn import NspawnMachine
from harness.machine.protocol import Machine
from harness.machine.qemu import QemuMachine
from harness.parameters import load_parameters
from harness.profiles import Profile
from harness.redaction import REDACTOR, SHORTEST_SECRET

HOSTNAME = "slm-copilot"
MACHINES = ("qemu", "nspawn")


@dataclass(frozen=True)
class CellRequest:
    """One profile and one TLS mode on one machine.

    `context` holds the ONEAPP_* inputs and any other context variable; `work` is a folder on a disk, where
    everything the machine needs is made and removed again.
    """

    profile: Profile
    tls_mode: str
    machine: str
    image: Path
    context: Mapping[str, str]
    work: Path
    accelerator: str = "auto"
    ssh_port: int | None = None
    https_port: int | None = None


class _ContextMachine(Machine, Protocol):
    """A machine as its makers see it: it has a network card and takes a context disk."""

    @property
    def public_key(self) -> str: ...

    @property
    def nic(self) -> Nic: ...

    def insert_context(self, files: Mapping[str, bytes]) -> None: ...


@contextmanager
def open_machine(request: CellRequest) -> Iterator[Machine]:
    """The machine of a cell, switched off, with its context in place; closed when the block ends.

    Clears first what runs that were killed have left on the host. Raises HarnessError.
    """
    clear_leftovers()
    _mask_secrets(request.context)
    machine = _make(request)
    try:
        machine.insert_context(context_for(machine, request.context))
        yield machine
    finally:
        machine.close()


def context_for(machine: "_ContextMachine", context: Mapping[str, str]) -> dict[str, bytes]:
    """The files of the context disk, as oned would make them for this machine."""
    variables = oned_context(
        machine.nic, ssh_public_key=machine.public_key, hostname=HOSTNAME, oneapp={}, others=context
    )
    return context_files(variables, onegate_token(0, int(time.time()), secrets.token_hex(32)))


def _make(request: CellRequest) -> _ContextMachine:
    if request.machine == "qemu":
        wanted = {22: request.ssh_port, 443: request.https_port}
        return QemuMachine(
            image=request.image,
            profile=request.profile,
            accelerator=choose_accelerator(request.accelerator).name,
            work=request.work,
            wanted_ports={guest: port for guest, port in wanted.items() if port is not None},
        )
    if request.machine == "nspawn":
        return NspawnMachine(image=request.image, profile=request.profile, work=request.work)
    raise HarnessError(f"unknown machine {request.machine!r}", hint=f"accepted are {', '.join(MACHINES)}")


def _mask_secrets(context: Mapping[str, str]) -> None:
    for parameter in load_parameters():
        value = context.get(parameter.name, "")
        if parameter.secret and len(value) >= SHORTEST_SECRET:
            REDACTOR.add(value, parameter.name)
