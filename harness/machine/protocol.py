"""What every machine can do, whatever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Protocol

from harness.context.oned import Nic
from harness.deadline import Deadline


@dataclass(frozen=True)
class CommandResult:
    """A command that ran in the guest. `exit_status` is the command's own."""

    command: str
    exit_status: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True)
class HostAddress:
    """Where the host reaches a port of the guest."""

    host: str
    port: int


@dataclass(frozen=True)
class BootTimings:
    """Seconds since the guest's first instruction; None where a time could not be found out.

    `configure_s` is how long the guest's network stage (configure and bootstrap) took. `kernel_start_s` is
    when the guest's kernel began to count its time, by the lines it printed; `clock_lost_s` how far its clock
    fell behind before it had a clock source (until then it counts ticks, and misses some where it is slow). A
    container has no kernel.
    """

    power_on_to_ssh_s: float | None
    power_on_to_ready_s: float | None
    configure_s: float | None
    kernel_start_s: float | None = None
    clock_lost_s: float | None = None


class Machine(Protocol):
    """A guest with a power switch, a console, a context disk and root over SSH.

    Unless a method says otherwise, a fault of the host raises HarnessError and a fault of the guest
    ApplianceError. What a kind of machine can't do is a HarnessError that names the kind that can. A machine
    is made switched off and has to be closed whatever happened.
    """

    @property
    def kind(self) -> str:
        """ "qemu" or "nspawn"."""

    @property
    def accelerator(self) -> str:
        """ "kvm", "tcg" or "native"."""

    @property
    def guest_address(self) -> str:
        """The guest's own IPv4 address (what ETH0_IP says)."""

    @property
    def nic(self) -> Nic:
        """The guest's network card, as its context has to describe it."""

    @property
    def public_key(self) -> str:
        """The SSH key of this run, for the context's SSH_PUBLIC_KEY."""

    @property
    def host_address(self) -> str:
        """The IPv4 address by which the guest reaches servers on the host."""

    @property
    def host_listen(self) -> str:
        """The IPv4 address a server on the host binds to so that the guest finds it at `host_address`; there
        from the moment the machine is made until it is closed, whether the guest runs or not."""

    def insert_context(self, files: Mapping[str, bytes]) -> None:
        """Put these files (context.sh, token.txt) onto the context disk the next start finds."""

    def change_context(self, files: Mapping[str, bytes]) -> None:
        """Swap the context disk; returns as soon as a running guest has been told.

        `wait_ready` then waits for what the appliance says of the new context. A guest that sees no change in
        context.sh says nothing: look at the guest instead. The guest must have been started with a context.
        """

    def move_to(self, address: IPv4Interface) -> None:
        """From now on reach the guest at this address of its network, with the same network card.

        `nic` and `guest_address` say so at once. The guest learns it from the context it is given next
        (make it after this call), and only then does the host look for it there.
        """

    def grow_disk(self, gib: int) -> None:
        """Make the guest's disk `gib` GiB large, at once if the guest runs; smaller is refused."""

    def set_clock(self, offset_s: float) -> None:
        """From the next start on the hardware clock is this many seconds ahead of the host's."""

    def copy_disk(self, target: Path) -> None:
        """Copy the guest's disk to `target` (made here) as a power cut at this instant would leave it.

        A running guest is frozen meanwhile and runs on afterwards. CellRequest.disk takes the copy, for the
        same image and kind of machine; a copy made by QEMU also starts a container.
        """

    def start(self) -> None:
        """Power on; returns as soon as the guest executes."""

    def stop(self, timeout: float = 60) -> None:
        """Shut down as an administrator would; ApplianceError when it is not off after `timeout` seconds.

        The machine is off afterwards in either case. Nothing to do when it is off already.
        """

    def power_cut(self) -> None:
        """Off at once, without a word to the guest."""

    def reset(self) -> None:
        """The reset button: the guest starts again at once, its disk as it is."""

    def reboot(self, timeout: float = 60) -> None:
        """Restart from inside, as an administrator would; returns when the guest is down and starts again.

        ApplianceError when it is not down after `timeout` seconds.
        """

    def run(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:
        """Run a bash command as root in the guest, over one shared SSH connection.

        A command that exits non-zero is a result, not an exception. After `timeout` seconds it is killed in
        the guest and DeadlineExceeded raised. Secrets go through `input` (its stdin), never into `command`.
        """

    def forward(self, guest_port: int) -> HostAddress:
        """Where the host reaches a TCP port of the guest, also before it is switched on.

        The port stays the same for the life of the machine, the address until `move_to`.
        """

    def wait_ready(self, deadline: Deadline) -> BootTimings:
        """Wait until the appliance serves; fails fast when the guest cannot get there any more."""

    def console_text(self) -> str:
        """Everything the guest printed on its console since the machine was made."""

    def boot_id(self) -> str:
        """Differs between any two boots."""

    def ssh_config(self) -> Path:
        """An OpenSSH client configuration with the host alias `guest`."""

    def save_evidence(self, folder: Path) -> None:
        """Best effort: console, journal, logs and states, redacted; never raises for what it cannot get."""

    def close(self) -> None:
        """Power cut if needed; then no process, mount or file of the machine is left. Idempotent."""
