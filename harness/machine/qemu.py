"""The machine that counts: the image in QEMU, under KVM or TCG."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from harness.context.iso import write_context_iso
from harness.context.oned import Nic
from harness.deadline import Deadline
from harness.errors import ApplianceError, HarnessError
from harness.machine import evidence, readiness
from harness.machine.console import Console
from harness.machine.host import require_memory
from harness.machine.leftovers import Claim
from harness.machine.overlay import create_overlay
from harness.machine.ports import candidate_ports, require_free_port
from harness.machine.protocol import BootTimings, CommandResult, HostAddress
from harness.machine.qemu_command import DNS, GATEWAY, GUEST_ADDRESS, GUEST_NETWORK, QemuCommand
from harness.machine.qmp import QmpClient, QmpError
from harness.machine.ssh import SshAccess
from harness.machine.tether import end, start_tethered
from harness.profiles import Profile
from harness.terminal import say

NIC = Nic(
    address=IPv4Interface(f"{GUEST_ADDRESS}/{GUEST_NETWORK.partition('/')[2]}"),
    gateway=IPv4Address(GATEWAY),
    dns=DNS,
)

QEMU_OVERHEAD_MIB = 300
"""Memory QEMU needs beside the guest's own."""

FORWARDED = (22, 80, 443)
"""Guest ports that are forwarded from the first moment; others when somebody asks for them."""

POWER_BUTTON_S = 15
"""Seconds a guest gets to react to its power button before it is asked over SSH."""

_FORWARD_ATTEMPTS = 20


class QemuMachine:
    """A guest in QEMU; see Machine for what it does. Made switched off; `close` it whatever happened."""

    kind = "qemu"

    def __init__(
        self,
        *,
        image: Path,
        profile: Profile,
        accelerator: str,
        work: Path,
        wanted_ports: Mapping[int, int] | None = None,
        smbios: tuple[str, ...] = (),
    ) -> None:
        """Prepare disk and keys below `work`. `wanted_ports` are guest port to port on 127.0.0.1.

        Raises HarnessError for an image that cannot be booted from, a port that is taken, too little memory.
        """
        self.accelerator = accelerator
        self.guest_address = GUEST_ADDRESS
        self.profile = profile
        self._wanted = dict(wanted_ports or {})
        self._smbios = smbios
        self._addresses: dict[int, HostAddress] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: QmpClient | None = None
        self._powered_on = 0.0
        self._closed = False
        for port in self._wanted.values():
            require_free_port(port)
        require_memory(profile.ram_mib, QEMU_OVERHEAD_MIB, f"profile {profile.name}")
        self._claim = Claim()
        try:
            self.folder = self._claim.new_folder(work, "slm-qemu-")
            self._console = Console(self.folder / "console.log")
            self._stderr = self.folder / "qemu-stderr.log"
            self._disk = create_overlay(image, self.folder / "disk.qcow2", profile.disk_gib)
            self._ssh = SshAccess(self.folder / "ssh")
            self._claim.folder(self._ssh.socket_folder)
        except BaseException:
            self._claim.release()
            raise
        self._context_iso: Path | None = None

    @property
    def public_key(self) -> str:
        """The key of this run, for the context's SSH_PUBLIC_KEY."""
        return self._ssh.public_key

    @property
    def nic(self) -> Nic:
        return NIC

    def insert_context(self, files: Mapping[str, bytes]) -> None:
        """Make the context ISO that the next start attaches."""
        self._context_iso = write_context_iso(files, self.folder / "context.iso")

    def insert_disc(self, iso: Path) -> None:
        """Attach this ISO at the next start, in the place of a context ISO."""
        self._context_iso = iso

    @property
    def disk(self) -> Path:
        """The guest's disk: an overlay, to be read while the guest is off."""
        return self._disk

    def start(self) -> None:
        if self._is_running():
            raise HarnessError("the machine is already on")
        ours, theirs = socket.socketpair()
        with theirs:
            command = self._command(theirs.fileno())
            with self._stderr.open("ab") as stderr:
                self._process = start_tethered(command, stderr=stderr, pass_fds=[theirs.fileno()])
        try:
            self._qmp = QmpClient(ours, timeout=30)
            for port in sorted({*FORWARDED, *self._wanted, *self._addresses}):
                self._addresses[port] = self._add_forward(port)
            self._ssh.write_config(self._addresses[22])
            self._console.mark()
            self._qmp.execute("cont")
        except QmpError as error:
            ours.close()
            reason = self._why_qemu_ended() if self._ended_within(2) else str(error)
            self.power_cut()
            raise HarnessError(f"QEMU could not start the guest: {reason}") from error
        except BaseException:
            ours.close()
            self.power_cut()
            raise
        self._powered_on = time.monotonic()

    def stop(self, timeout: float = 60) -> None:
        if not self._is_running():
            return
        process, qmp = self._require_running()
        deadline = Deadline.after(timeout)
        said_before = len(self._console.this_boot())
        qmp.execute("system_powerdown")
        try:
            process.wait(min(POWER_BUTTON_S, timeout / 2))
        except subprocess.TimeoutExpired:
            # A guest that shuts down, however slowly, says so on its console.
            if len(self._console.this_boot()) == said_before:
                say("the guest does not react to its power button; shutting it down over SSH")
                with contextlib.suppress(HarnessError):
                    self._ssh.run("systemctl poweroff --no-block", timeout=max(1, deadline.remaining))
        try:
            process.wait(deadline.remaining)
        except subprocess.TimeoutExpired:
            self.power_cut()
            raise ApplianceError(f"the guest did not shut down within {timeout:.0f} s") from None
        self._switched_off()

    def power_cut(self) -> None:
        if self._process is not None:
            end(self._process)
        self._switched_off()

    def reset(self) -> None:
        _, qmp = self._require_running()
        self._ssh.disconnect()
        self._console.mark()
        qmp.execute("system_reset")
        self._powered_on = time.monotonic()

    def run(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:
        self._require_running()
        return self._ssh.run(command, timeout=timeout, input=input)

    def forward(self, guest_port: int) -> HostAddress:
        if guest_port not in self._addresses:
            self._require_running()
            self._addresses[guest_port] = self._add_forward(guest_port)
        return self._addresses[guest_port]

    def wait_ready(self, deadline: Deadline) -> BootTimings:
        self._require_running()
        return readiness.wait_ready(
            self._console,
            powered_on=self._powered_on,
            ssh_address=lambda: self._addresses[22],
            run=lambda command, timeout: self.run(command, timeout=timeout),
            alive=self._require_alive,
            deadline=deadline,
        )

    @property
    def console(self) -> Console:
        return self._console

    def console_text(self) -> str:
        return self._console.text()

    def boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id", timeout=30).stdout.strip()

    def ssh_config(self) -> Path:
        return self._ssh.config

    def save_evidence(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for source in (self._console.path, self._stderr):
            with contextlib.suppress(OSError):
                evidence.save_text(folder, source.name, source.read_bytes())
        evidence.save_text(folder, "qemu-command.txt", "\n".join(self._command(0)) + "\n")
        if self._is_running():
            evidence.save_from_guest(lambda command, timeout: self.run(command, timeout=timeout), folder)

    def close(self) -> None:
        if self._closed:
            return
        self.power_cut()
        self._ssh.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._claim.release()
        self._closed = True

    def _command(self, qmp_fd: int) -> list[str]:
        return QemuCommand(
            name=self.folder.name,
            accelerator=self.accelerator,
            vcpus=self.profile.vcpus,
            ram_mib=self.profile.ram_mib,
            disk=self._disk,
            console=self._console.path,
            qmp_fd=qmp_fd,
            mac=NIC.mac,
            context_iso=self._context_iso,
            smbios=self._smbios,
        ).arguments()

    def _add_forward(self, guest_port: int) -> HostAddress:
        """Forward a port of 127.0.0.1, the same as before if there was one; free ones are tried in turn."""
        assert self._qmp is not None
        known = self._addresses.get(guest_port)
        demanded = known.port if known else self._wanted.get(guest_port)
        for port in [demanded] if demanded else candidate_ports(_FORWARD_ATTEMPTS):
            # "" is success; somebody may have taken the port since it was looked at.
            if not self._qmp.human(f"hostfwd_add net tcp:127.0.0.1:{port}-{GUEST_ADDRESS}:{guest_port}"):
                return HostAddress("127.0.0.1", port)
        if demanded:
            raise HarnessError(
                f"port {demanded} on 127.0.0.1 is taken by another program",
                hint="choose another port, or leave it out and a free one is taken",
            )
        raise HarnessError(f"no free port on 127.0.0.1 to forward to port {guest_port} of the guest")

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _require_running(self) -> tuple[subprocess.Popen[bytes], QmpClient]:
        if self._process is None or self._qmp is None:
            raise HarnessError("the machine is off")
        self._require_alive()
        return self._process, self._qmp

    def _require_alive(self) -> None:
        if self._process is None:
            raise HarnessError("the machine is off")
        if self._process.poll() is None:
            return
        if self._process.returncode == 0:
            raise ApplianceError("the guest powered itself off")
        raise HarnessError(f"QEMU ended while the guest was running: {self._why_qemu_ended()}")

    def _ended_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _why_qemu_ended(self) -> str:
        assert self._process is not None
        lines = [
            line.strip() for line in self._stderr.read_text(errors="replace").splitlines() if line.strip()
        ]
        own = [line for line in lines if line.startswith("qemu-system-")]
        if own or lines:
            return (own or lines)[-1].removeprefix("qemu-system-x86_64: ")
        code = self._process.returncode
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _switched_off(self) -> None:
        self._ssh.disconnect()
        if self._qmp is not None:
            self._qmp.close()
        self._process, self._qmp = None, None
