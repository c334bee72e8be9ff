"""The base disk booted for Packer by the harness itself, where Packer has no QEMU plugin to boot it with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.image.external_tool import find_tool, run_tool
from harness.image.flavor import Flavor
from harness.locations import GIB, MIB
from harness.machine.overlay import image_facts
from harness.machine.qemu import QemuMachine
from harness.profiles import Profile

SHUTDOWN_S = 300


@dataclass(frozen=True)
class BuildSettings:
    """A flavor's settings for Packer, of which the harness needs those that Packer's plugin would follow.

    Sizes in MiB; `disk_size_mib` 0 keeps the base disk's size. `ssh_timeout` is in Go's notation, as Packer
    wants it.
    """

    disk_size_mib: int
    build_cpus: int
    build_memory_mib: int
    ssh_timeout: str
    compress: bool


def load_settings(flavor: Flavor) -> BuildSettings:
    """Read the flavor's settings. Raises HarnessError when the file isn't complete."""
    path = flavor.packer_variables
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return BuildSettings(
            disk_size_mib=int(data["disk_size_mib"]),
            build_cpus=int(data["build_cpus"]),
            build_memory_mib=int(data["build_memory_mib"]),
            ssh_timeout=str(data["ssh_timeout"]),
            compress=bool(data["compress"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"{path} does not hold a flavor's settings for Packer: {error!r}") from error


@contextmanager
def build_guest(
    settings: BuildSettings,
    *,
    base: Path,
    staging_iso: Path,
    accelerator: str,
    public_key_base64: str,
    work: Path,
) -> Iterator[QemuMachine]:
    """The base disk, booting, with the staging disk in its drive; its SSH server lets the key in.

    Its disk is an overlay, of which `save_disk` makes an image. Its console goes to work/serial.log.
    """
    size = max(settings.disk_size_mib * MIB, int(image_facts(base)["virtual-size"]))
    machine = QemuMachine(
        image=base,
        profile=Profile("build", settings.build_cpus, settings.build_memory_mib, -(-size // GIB), None),
        accelerator=accelerator,
        work=work,
        # A systemd credential: no disk ever holds a password or key to log in with.
        smbios=(f"io.systemd.credential.binary:ssh.authorized_keys.root={public_key_base64}",),
    )
    try:
        machine.insert_disc(staging_iso)
        machine.start()
        yield machine
    finally:
        (work / "serial.log").write_text(machine.console_text(), encoding="utf-8")
        machine.close()


def save_disk(machine: QemuMachine, target: Path, settings: BuildSettings, log: Path) -> None:
    """Shut the guest down and write its disk to `target`: one qcow2 file without free clusters."""
    machine.stop(timeout=SHUTDOWN_S)
    compress = ("-c", "-o", "compression_type=zstd") if settings.compress else ()
    run_tool(
        [find_tool("qemu-img", "qemu-utils"), "convert", "-O", "qcow2", *compress, machine.disk, target],
        what="compacting the image",
        log=log,
    )
    _require_complete(target)


def _require_complete(image: Path) -> None:
    result = subprocess.run(
        [find_tool("qemu-img", "qemu-utils"), "check", "-q", image],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if result.returncode != 0:
        raise HarnessError(f"the image that was built is damaged: {' '.join(result.stderr.split())[:300]}")
