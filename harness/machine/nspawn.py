"""The inner loop's machine: the image's root file system booted as a container, at native speed."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface
from pathlib import Path

from harness.context.oned import Nic
from harness.deadline import Deadline
from harness.errors import ApplianceError, HarnessError
from harness.locations import require_free
from harness.machine import evidence, readiness
from harness.machine.cgroup_usage import cpu_seconds, held_memory_mib
from harness.machine.console import Console
from harness.machine.container_limits import Cgroup, Limits, cgroups_for, limits_for, make_cgroups
from harness.machine.container_network import ContainerNetwork
from harness.machine.context_folder import CONTEXT_CHANGED, replace_files
from harness.machine.frozen import copy_tree, frozen
from harness.machine.leftovers import Claim, members, remove_cgroup
from harness.machine.limits_read_back import ReadBack, read_back
from harness.machine.overlay import ROOM_FOR_A_RUN
from harness.machine.protocol import BootTimings, CommandResult, HostAddress
from harness.machine.root_disk import RootDisk, held, own_root_disk, root_disk
from harness.machine.ssh import GuestUnreachable, SshAccess
from harness.machine.tether import end, start_tethered
from harness.profiles import Profile
from harness.terminal import say

LAUNCHER = Path(__file__).with_name("nspawn_launch.sh")
TOOLS = ("systemd-nspawn", "unshare", "ip", "mount", "partx", "blkid")

REBOOTED = 133
"""systemd-nspawn's exit status when the guest rebooted: EXIT_FORCE_RESTART, for whoever keeps the unit."""


class NspawnMachine:
    """A guest as a systemd-nspawn container; see Machine for what it does. Needs root.

    It has no kernel, firmware or disk of its own: what depends on those only QEMU can judge.
    """

    kind = "nspawn"
    accelerator = "native"

    def __init__(self, *, image: Path, profile: Profile, work: Path, disk: Path | None = None) -> None:
        """Unpack the image (once) and reserve a network. Raises HarnessError.

        `disk` is a copy to start from: the folder that `copy_disk` makes, or a qcow2 overlay of the image,
        which is then mounted as a disk of its own, its journal replayed.
        """
        require_root_and_tools()
        self.profile = profile
        self._process: subprocess.Popen[bytes] | None = None
        self._powered_on = 0.0
        self._closed = False
        self._told_limits = False
        self._limits: Limits | None = None
        self._disk: RootDisk = root_disk(image)
        self._network = ContainerNetwork()
        self._nic = self._network.nic
        self._claim = Claim()
        try:
            require_free(work, ROOM_FOR_A_RUN, "the changes a guest makes to its disk")
            self.folder = self._claim.new_folder(work, "slm-nspawn-")
            for name in ("upper", "work", "lower", "root", "context"):
                (self.folder / name).mkdir()
            # The container's / is the upper folder, with its mode; mkdtemp's children got ours.
            (self.folder / "upper").chmod(0o755)
            self._disk = held(self._disk, self.folder / "image.raw")
            if disk is not None and disk.is_dir():
                copy_tree(disk, self.folder / "upper")
            elif disk is not None:
                self._disk = own_root_disk(disk, self._disk, self.folder / "disk.raw")
            self._network.announce()
            self._console = Console(self.folder / "console.log")
            self._ssh = SshAccess(self.folder / "ssh")
            self._claim.folder(self._ssh.socket_folder)
            own = Path("/proc/self/cgroup").read_text()
            self._cgroups = cgroups_for(self.folder.name, own)
            for cgroup in self._cgroups:
                self._claim.cgroup(cgroup.path)
        except BaseException:
            self._network.close()
            self._claim.release()
            raise

    @property
    def guest_address(self) -> str:
        return str(self._nic.address.ip)

    @property
    def public_key(self) -> str:
        return self._ssh.public_key

    @property
    def nic(self) -> Nic:
        return self._nic

    @property
    def host_address(self) -> str:
        return str(self._network.host.ip)

    @property
    def host_listen(self) -> str:
        return str(self._network.host.ip)

    def insert_context(self, files: Mapping[str, bytes]) -> None:
        """Write what is bound to /context, where one-context looks when no disk is labelled CONTEXT."""
        replace_files(self.folder / "context", files)

    def change_context(self, files: Mapping[str, bytes]) -> None:
        self.insert_context(files)
        if self._is_running():
            self._begin_looking()
            # There is no udev in a container to see that a disk was changed.
            result = self.run(CONTEXT_CHANGED)
            if result.exit_status != 0:
                raise ApplianceError(f"the guest can't read its new context: {result.stderr.strip()}")
            self._ssh.write_config(self.forward(22))

    def move_to(self, address: IPv4Interface) -> None:
        # SSH keeps to the old address until the guest is told of the new one.
        self._nic = self._nic.moved_to(address)

    def grow_disk(self, gib: int) -> None:  # noqa: ARG002 - what the protocol says
        raise _needs_qemu("a disk that can grow")

    def set_clock(self, offset_s: float) -> None:  # noqa: ARG002 - what the protocol says
        raise _needs_qemu("a clock of its own")

    def copy_disk(self, target: Path) -> None:
        if self._disk.writable:
            raise _needs_qemu("a disk that can be copied, once it started from a copy QEMU made")
        # What the guest has written is in the host's page cache, which outlives the guest's processes.
        with frozen(lambda: members(self._cgroups[0].path)):
            copy_tree(self.folder / "upper", target)

    def start(self) -> None:
        if self._is_running():
            raise HarnessError("the machine is already on")
        self._ssh.write_config(self.forward(22))
        self._limits = limits = limits_for(self.profile)
        notes = [*limits.notes, *make_cgroups(self._cgroups, limits)]
        if not self._told_limits:
            for note in notes:
                say(note)
            self._told_limits = True
        self._begin_looking()
        with self._console.path.open("ab") as console:
            self._process = start_tethered(
                self._command(), stdin=subprocess.PIPE, stdout=console, stderr=console, folder=self.folder
            )
        try:
            self._network.plug_in(self._process.pid)
            assert self._process.stdin is not None
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()
        except BaseException as error:
            self.power_cut()
            if isinstance(error, BrokenPipeError):
                raise HarnessError(f"the container could not be started: {self._last_words()}") from error
            raise
        self._powered_on = time.monotonic()

    def stop(self, timeout: float = 60) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            self._switched_off()
            return
        # systemd-nspawn passes an orderly shutdown on to the container's systemd.
        for pid in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.power_cut()
            raise ApplianceError(f"the guest did not shut down within {timeout:.0f} s") from None
        self._switched_off()

    def power_cut(self) -> None:
        if self._process is not None:
            end(self._process)
        self._switched_off()

    def reset(self) -> None:
        self._require_running()
        self.power_cut()
        self.start()

    def reboot(self, timeout: float = 60) -> None:
        process = self._require_running()
        deadline = Deadline.after(timeout)
        # It may be so quick that it cuts off its own answer.
        with contextlib.suppress(GuestUnreachable):
            self._ssh.run("systemctl reboot --no-block", timeout=timeout)
        try:
            status = process.wait(deadline.remaining)
        except subprocess.TimeoutExpired:
            raise ApplianceError(f"the guest did not go down for its reboot within {timeout:.0f} s") from None
        if status != REBOOTED:
            self._require_running()
        self._switched_off()
        self.start()

    def run(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:
        self._require_running()
        return self._ssh.run(command, timeout=timeout, input=input)

    def forward(self, guest_port: int) -> HostAddress:
        return HostAddress(self.guest_address, guest_port)

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
    def powered_on(self) -> float:
        """When the guest was switched on, by time.monotonic(): a container's clock is the host's."""
        return self._powered_on

    def network_namespace(self) -> Path:
        """Where the guest's network namespace is held open; another one after each start."""
        return Path(f"/proc/{self._require_running().pid}/ns/net")

    def limits_read_back(self) -> ReadBack:
        """The profile's limits as the kernel has them now. Raises HarnessError when the machine is off."""
        launched = _children(self._require_running().pid)
        assert self._limits is not None
        return read_back(self._cgroups, self._limits, self.profile, process=launched[0] if launched else 0)

    def cpu_seconds(self) -> float:
        """CPU time that the guest has taken since it was started."""
        self._require_running()
        return cpu_seconds(self._cgroups)

    def held_memory_mib(self) -> float:
        """MiB that the guest holds, its page cache not counted."""
        self._require_running()
        return held_memory_mib(self._cgroups)

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
        with contextlib.suppress(OSError):
            evidence.save_text(folder, "console.log", self._console.path.read_bytes())
        evidence.save_text(folder, "nspawn-command.txt", "\n".join(self._command()) + "\n")
        reached = self._is_running() and evidence.save_from_guest(
            lambda command, timeout: self.run(command, timeout=timeout), folder
        )
        if not reached:
            evidence.save_from_disk(self.folder / "upper", folder)

    def close(self) -> None:
        if self._closed:
            return
        self.power_cut()
        self._ssh.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._claim.release()
        self._network.close()
        self._closed = True

    def _command(self) -> list[str]:
        return nspawn_command(
            name=self.folder.name, disk=self._disk, cgroups=self._cgroups, context=self.folder / "context"
        )

    def _begin_looking(self) -> None:
        """Only what the console says from now on counts, and times begin here."""
        self._console.mark()
        self._powered_on = time.monotonic()

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _require_running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise HarnessError("the machine is off")
        if self._process.poll() is None:
            return self._process
        if self._process.returncode == 0:
            raise ApplianceError("the guest powered itself off")
        if self._process.returncode == REBOOTED:
            raise ApplianceError("the guest rebooted by itself")
        raise HarnessError(f"the container ended while the guest was running: {self._last_words()}")

    def _require_alive(self) -> None:
        self._require_running()

    def _last_words(self) -> str:
        lines = self._console.last_lines(5).splitlines() or ["it said nothing"]
        # What mount says, it says in several lines, the cause first.
        return next((line for line in lines if line.startswith("mount: ")), lines[-1]).strip()

    def _switched_off(self) -> None:
        self._ssh.disconnect()
        self._process = None
        # Also waits until the last process is gone, without which the next boot could not mount the disk.
        for cgroup in self._cgroups:
            if cgroup.path.is_dir():
                remove_cgroup(cgroup.path)


def nspawn_command(*, name: str, disk: RootDisk, cgroups: Sequence[Cgroup], context: Path) -> list[str]:
    """Namespaces, launcher and container; started in the machine's folder.

    Mounts and network live in namespaces of their own, and the pid namespace dies with its first process,
    which `--kill-child` ties to the process that the harness started.
    """
    # fmt: off
    return [
        "unshare", "--mount", "--propagation", "private", "--net",
        "--pid", "--fork", "--kill-child", "--mount-proc", "--",
        str(LAUNCHER), str(disk.path), str(disk.offset), "rw" if disk.writable else "ro",
        *(str(cgroup.path) for cgroup in cgroups), "--",
        "--quiet", "--boot", "--directory=root", f"--machine={name}",
        # There is no machined to register with where PID 1 of the host is not systemd.
        "--register=no", "--keep-unit",
        # It is in the right network already; said once more so that nspawn treats it as private.
        "--network-namespace-path=/proc/self/ns/net", "--capability=CAP_NET_ADMIN",
        "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        "--console=read-only",
        f"--bind-ro={_escaped(context)}:/context",
        # The image's fstab is about disks and mount options that an overlay does not have.
        "--bind-ro=/dev/null:/etc/fstab",
    ]
    # fmt: on


def require_root_and_tools() -> None:
    if os.geteuid() != 0:
        raise HarnessError("the nspawn machine needs root", hint="run as root, or use MACHINE=qemu")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise HarnessError(f"{', '.join(missing)} not installed", hint="run `make setup`")


def _needs_qemu(what: str) -> HarnessError:
    return HarnessError(f"a container has not got {what}", hint="use MACHINE=qemu; mark such a check `vm`")


def _escaped(path: Path) -> str:
    return str(path).replace(":", "\\:")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
