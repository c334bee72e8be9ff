"""The machine that counts: the image in QEMU, under KVM or TCG."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from harness.context.iso import write_context_iso
from harness.context.oned import Nic
from harness.deadline import Deadline
from harness.errors import ApplianceError, HarnessError
from harness.machine import evidence, readiness
from harness.machine.clock import hardware_clock
from harness.machine.console import Console
from harness.machine.forwards import Forwards
from harness.machine.frozen import copy_file, frozen
from harness.machine.host import require_memory
from harness.machine.leftovers import Claim
from harness.machine.overlay import create_overlay, grow_overlay
from harness.machine.protocol import BootTimings, CommandResult, HostAddress
from harness.machine.qemu_command import (
    CONTEXT_DEVICE,
    DISK,
    DNS,
    GATEWAY,
    GUEST_ADDRESS,
    GUEST_NETWORK,
    QemuCommand,
)
from harness.machine.qmp import QmpClient, QmpError, asked_by_guest
from harness.machine.ssh import GuestUnreachable, SshAccess
from harness.machine.tether import end, start_tethered
from harness.profiles import Profile
from harness.terminal import say

NIC = Nic(
    address=IPv4Interface(f"{GUEST_ADDRESS}/{GUEST_NETWORK.partition('/')[2]}"),
    gateway=IPv4Address(GATEWAY),
    dns=DNS,
)


def nic_at(address: IPv4Interface | None) -> Nic:
    """A network card with this address of slirp's network; with the usual one for None."""
    return NIC if address is None else replace(NIC.moved_to(address), mac_of=None)


QEMU_OVERHEAD_MIB = 300
"""Memory QEMU needs beside the guest's own."""

FORWARDED = (22, 80, 443)
"""Guest ports that are forwarded from the first moment; others when somebody asks for them."""

POWER_BUTTON_S = 15
"""Seconds a guest gets to react to its power button before it is asked over SSH."""

_HOST_LISTEN = "127.0.0.1"
"""slirp hands on what goes to the gateway's address to the host's loopback."""


class QemuMachine:
    """A guest in QEMU; see Machine for what it does. Made switched off; `close` it whatever happened."""

    kind = "qemu"
    host_address = GATEWAY
    host_listen = _HOST_LISTEN

    def __init__(
        self,
        *,
        image: Path,
        profile: Profile,
        accelerator: str,
        work: Path,
        wanted_ports: Mapping[int, int] | None = None,
        smbios: tuple[str, ...] = (),
        cpu: str = "",
        nic: Nic = NIC,
    ) -> None:
        """Prepare disk and keys below `work`. `wanted_ports` are guest port to port on 127.0.0.1, `cpu` is a
        CPU model of QEMU, and `image` may be any qcow2 disk, also one that `copy_disk` made.

        Raises HarnessError for an image that cannot be booted from, a port that is taken, too little memory.
        """
        self.accelerator = accelerator
        self.profile = profile
        self._nic = nic
        self._cpu = cpu
        self._clock_offset_s = 0.0
        self._smbios = smbios
        self._forwards = Forwards(wanted_ports or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: QmpClient | None = None
        self._powered_on = 0.0
        self._closed = False
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
        return self._ssh.public_key

    @property
    def nic(self) -> Nic:
        return self._nic

    @property
    def guest_address(self) -> str:
        return str(self._nic.address.ip)

    def insert_context(self, files: Mapping[str, bytes]) -> None:
        self._context_iso = write_context_iso(files, self.folder / "context.iso")

    def change_context(self, files: Mapping[str, bytes]) -> None:
        if not self._is_running():
            self.insert_context(files)
            return
        _, qmp = self._require_running()
        if self._context_iso is None:
            raise HarnessError("this guest runs without a context disk", hint="insert one before it starts")
        # It replaces the file by another of the same name; the drive keeps the old one until it is told.
        self.insert_context(files)
        self._begin_looking()
        qmp.execute(
            "blockdev-change-medium",
            # By force: a system locks the tray of a disk that is in use.
            {"id": CONTEXT_DEVICE, "filename": str(self._context_iso), "format": "raw", "force": True},
            timeout=30,
        )
        if self._forwards.lead_to(qmp, self._nic.address.ip):
            self._ssh.disconnect()

    def move_to(self, address: IPv4Interface) -> None:
        # The forwards lead to the old address until the guest is told of the new one.
        self._nic = self._nic.moved_to(address)

    def grow_disk(self, gib: int) -> None:
        if self._is_running():
            _, qmp = self._require_running()
            grow_overlay(
                self._disk,
                gib,
                resize=lambda size: qmp.execute("block_resize", {"device": DISK, "size": size}),
            )
        else:
            grow_overlay(self._disk, gib)

    def set_clock(self, offset_s: float) -> None:
        self._clock_offset_s = offset_s

    def copy_disk(self, target: Path) -> None:
        # What the guest has written, QEMU has handed to the host's page cache, which outlives the process.
        running = [self._process.pid] if self._process is not None and self._is_running() else []
        with frozen(lambda: running):
            copy_file(self._disk, target)

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
            self._forwards.open_all(self._qmp, self._nic.address.ip, FORWARDED)
            self._ssh.write_config(self.forward(22))
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
        self._begin_looking()
        qmp.execute("system_reset")

    def reboot(self, timeout: float = 60) -> None:
        _, qmp = self._require_running()
        deadline, asked = Deadline.after(timeout), time.time()
        # It may be so quick that it cuts off its own answer.
        with contextlib.suppress(GuestUnreachable):
            self._ssh.run("systemctl reboot --no-block", timeout=timeout)
        try:
            qmp.wait_event(
                lambda event: asked_by_guest(event, "RESET", since=asked),
                what="the guest's restart",
                timeout=deadline.remaining,
            )
        except QmpError:
            self._require_alive()
            raise ApplianceError(f"the guest did not go down for its reboot within {timeout:.0f} s") from None
        self._begin_looking()
        self._ssh.disconnect()

    def run(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:
        self._require_running()
        return self._ssh.run(command, timeout=timeout, input=input)

    def forward(self, guest_port: int) -> HostAddress:
        if (known := self._forwards.address(guest_port)) is not None:
            return known
        if self._qmp is None or not self._is_running():
            return self._forwards.reserve(guest_port)
        return self._forwards.open(self._qmp, self._nic.address.ip, guest_port)

    def wait_ready(self, deadline: Deadline) -> BootTimings:
        self._require_running()
        return readiness.wait_ready(
            self._console,
            powered_on=self._powered_on,
            ssh_address=lambda: self.forward(22),
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
        self._forwards.close()
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
            mac=self._nic.mac,
            context_iso=self._context_iso,
            smbios=self._smbios,
            cpu=self._cpu,
            clock=hardware_clock(self._clock_offset_s),
        ).arguments()

    def _begin_looking(self) -> None:
        """Only what the console says from now on counts, and times begin here."""
        self._console.mark()
        self._powered_on = time.monotonic()

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
