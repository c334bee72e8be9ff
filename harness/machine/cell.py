"""From what a cell asks for to a machine that is ready to be switched on."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from pathlib import Path

from harness.context.oned import context_files, oned_context, onegate_token
from harness.errors import HarnessError
from harness.machine.accelerator import choose_accelerator
from harness.machine.leftovers import clear_leftovers
from harness.machine.nspawn import NspawnMachine
from harness.machine.overlay import disk_gib
from harness.machine.protocol import Machine
from harness.machine.qemu import QemuMachine, nic_at
from harness.parameters import load_parameters
from harness.profiles import Profile
from harness.redaction import REDACTOR, SHORTEST_SECRET

HOSTNAME = "slm-copilot"
MACHINES = ("qemu", "nspawn")


@dataclass(frozen=True)
class CellRequest:
    """One profile and one TLS mode on one machine.

    `context` holds the ONEAPP_* inputs and any other context variable; `work` is a folder on a disk, where
    everything the machine needs is made and removed again. `cpu` is a CPU model of QEMU ("": all there is),
    `address` the guest's (None: the network's usual one), `disk` one to start from that `copy_disk` made of a
    guest of this image.
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
    cpu: str = ""
    address: IPv4Interface | None = None
    disk: Path | None = None


@contextmanager
def open_machine(request: CellRequest) -> Iterator[Machine]:
    """The machine of a cell, switched off, with its context in place; closed when the block ends.

    Clears first what runs that were killed have left on the host. Raises HarnessError.
    """
    clear_leftovers()
    machine = _make(request)
    try:
        machine.insert_context(context_for(machine, request.context))
        yield machine
    finally:
        machine.close()


def context_of(machine: Machine, context: Mapping[str, str], **changes: str) -> dict[str, bytes]:
    """The files of a context disk for this machine: `context` with these variables changed ("": emptied)."""
    return context_for(machine, {**context, **changes})


def context_for(machine: Machine, context: Mapping[str, str]) -> dict[str, bytes]:
    """The files of the context disk, as oned would make them for this machine. Secrets in it are masked in
    everything the harness prints or writes from now on."""
    _mask_secrets(context)
    variables = oned_context(
        machine.nic, ssh_public_key=machine.public_key, hostname=HOSTNAME, oneapp={}, others=context
    )
    return context_files(variables, onegate_token(0, int(time.time()), secrets.token_hex(32)))


def _make(request: CellRequest) -> Machine:
    if request.machine == "qemu":
        return _make_qemu(request)
    if request.machine == "nspawn":
        return _make_nspawn(request)
    raise HarnessError(f"unknown machine {request.machine!r}", hint=f"accepted are {', '.join(MACHINES)}")


def _make_qemu(request: CellRequest) -> QemuMachine:
    wanted = {22: request.ssh_port, 443: request.https_port}
    profile, image = request.profile, request.image
    if request.disk is not None:
        image = request.disk
        profile = replace(profile, disk_gib=max(profile.disk_gib, disk_gib(image)))
    return QemuMachine(
        image=image,
        profile=profile,
        accelerator=choose_accelerator(request.accelerator).name,
        work=request.work,
        wanted_ports={guest: port for guest, port in wanted.items() if port is not None},
        cpu=request.cpu,
        nic=nic_at(request.address),
    )


def _make_nspawn(request: CellRequest) -> NspawnMachine:
    if request.cpu:
        raise HarnessError(
            f"a container runs on the host's CPU, not on {request.cpu}", hint="use the machine qemu"
        )
    if request.address is not None:
        raise HarnessError(
            "a container's network is chosen when it is made, so its address can't be said before",
            hint="use `machine.move_to` with an address of `machine.nic.address.network`",
        )
    return NspawnMachine(image=request.image, profile=request.profile, work=request.work, disk=request.disk)


def _mask_secrets(context: Mapping[str, str]) -> None:
    for parameter in load_parameters():
        value = context.get(parameter.name, "")
        if parameter.secret and len(value) >= SHORTEST_SECRET:
            REDACTOR.add(value, parameter.name)
