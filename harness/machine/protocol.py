"""What every machine can do, whatever runs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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

    `configure_s` is how long the guest's network stage (configure and bootstrap) took.
    """

    power_on_to_ssh_s: float | None
    power_on_to_ready_s: float | None
    configure_s: float | None


class Machine(Protocol):
    """A guest with a power switch, a console and root over SSH.

    Unless a method says otherwise, a fault of the host raises HarnessError and a fault of the guest
    ApplianceError. A machine is made switched off and has to be closed whatever happened.
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

    def run(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:
        """Run a bash command as root in the guest, over one shared SSH connection.

        A command that exits non-zero is a result, not an exception. After `timeout` seconds it is killed in
        the guest and DeadlineExceeded raised. Secrets go through `input` (its stdin), never into `command`.
        """

    def forward(self, guest_port: int) -> HostAddress:
        """Where the host reaches a TCP port of the guest; the same answer for the life of the machine."""

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
