"""KVM or TCG: decided by booting a tiny guest, because /dev/kvm being there proves nothing."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.locations import probes
from harness.machine.probe_guest import EXIT_PORT, EXIT_STATUS, boot_sector
from harness.machine.tether import end, start_tethered

KVM_DEVICE = Path("/dev/kvm")
TCG_STRETCH = 4.0
"""Factor by which everything that waits for a guest waits longer under TCG."""

PROBE_S = 8
"""Seconds the probe guest gets. Where KVM works it is done in well under one."""

_PROBE_VERSION = 2
CHOICES = ("auto", "kvm", "tcg")


@dataclass(frozen=True)
class Accelerator:
    """`name` is "kvm" or "tcg", `reason` one sentence why, `stretch` the factor for deadlines."""

    name: str
    reason: str
    stretch: float


@dataclass(frozen=True)
class ProbeOutcome:
    """Whether a guest runs under KVM here, and what happened, in words."""

    usable: bool
    reason: str


def choose_accelerator(
    requested: str = "auto", *, probe: Callable[[], ProbeOutcome] | None = None
) -> Accelerator:
    """The accelerator for guests on this host; `auto` takes KVM where a guest really runs under it.

    Raises HarnessError for an unknown name, and when `kvm` is demanded and unusable.
    """
    if requested not in CHOICES:
        raise HarnessError(f"unknown accelerator {requested!r}", hint=f"accepted are {', '.join(CHOICES)}")
    if requested == "tcg":
        return Accelerator("tcg", "TCG was asked for", TCG_STRETCH)
    outcome = (probe or remembered_probe)()
    if outcome.usable:
        return Accelerator("kvm", outcome.reason, 1.0)
    if requested == "kvm":
        raise HarnessError(
            f"KVM was asked for and cannot be used: {outcome.reason}",
            hint="use the accelerator `auto` or `tcg` (much slower), or a host with working virtualization",
        )
    return Accelerator("tcg", f"KVM cannot be used, so TCG: {outcome.reason}", TCG_STRETCH)


def remembered_probe() -> ProbeOutcome:
    """The probe's answer for this host since it booted; asked for once and kept in the cache.

    What can change without a reboot (the device's presence and permissions) is looked at every time.
    """
    if (refusal := _device_refusal()) is not None:
        return refusal
    path = probes() / f"kvm-{_host_key()}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(path.read_text())
        return ProbeOutcome(bool(known["usable"]), str(known["reason"]))
    outcome = probe_kvm()
    # A probe that cannot be remembered is only slower next time.
    with contextlib.suppress(OSError):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"usable": outcome.usable, "reason": outcome.reason}))
        temporary.replace(path)
    return outcome


def probe_kvm(seconds: float = PROBE_S) -> ProbeOutcome:
    """Boot the probe guest under KVM with the host's CPU model, for at most `seconds`."""
    if (refusal := _device_refusal()) is not None:
        return refusal
    with tempfile.TemporaryDirectory(prefix="slm-probe-") as scratch:
        disk, log = Path(scratch) / "boot.img", Path(scratch) / "stderr"
        disk.write_bytes(boot_sector())
        with log.open("wb") as stderr:
            process = start_tethered(probe_command(disk), stderr=stderr)
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            # It may burn a core without ever looking at a signal that can be caught.
            end(process)
        return judge_probe(status, log.read_text(errors="replace"), seconds)


def probe_command(disk: Path) -> list[str]:
    # fmt: off
    return [
        "qemu-system-x86_64",
        "-accel", "kvm", "-cpu", "host",
        "-machine", "pc", "-smp", "2", "-m", "64M",
        "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none", "-vga", "none",
        "-drive", f"if=floppy,format=raw,file={disk}",
        "-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1",
    ]
    # fmt: on


def judge_probe(status: int | None, stderr: str, seconds: float) -> ProbeOutcome:
    """What the end of the probe means; `status` None: it was killed after `seconds`."""
    if status == EXIT_STATUS:
        return ProbeOutcome(True, "a probe guest ran under KVM")
    if status is None:
        return ProbeOutcome(False, f"a probe guest hung for {seconds:.0f} s without finishing")
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    # QEMU's first complaint names the cause; an assertion that follows is only where it gave up.
    said = [line for line in lines if re.match(r"qemu-system-\S+: ", line)] or lines
    why = said[0].split(": ", 1)[-1] if said else "it said nothing"
    ending = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
    return ProbeOutcome(False, f"QEMU {ending} on a probe guest: {why}")


def _device_refusal() -> ProbeOutcome | None:
    if not KVM_DEVICE.exists():
        return ProbeOutcome(False, f"there is no {KVM_DEVICE} on this host")
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return ProbeOutcome(False, f"no permission to open {KVM_DEVICE} (join its group, often `kvm`)")
    return None


def _host_key() -> str:
    """Changes with everything the answer may depend on: kernel, CPU, QEMU, this probe, and the boot."""
    cpu = re.search(r"^model name\s*: (.*)$", _text("/proc/cpuinfo"), re.MULTILINE)
    facts = [
        platform.release(),
        cpu[1] if cpu else "",
        _qemu_version(),
        _text("/proc/sys/kernel/random/boot_id").strip(),
        str(_PROBE_VERSION),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _qemu_version() -> str:
    if shutil.which("qemu-system-x86_64") is None:
        raise HarnessError("qemu-system-x86_64 is not installed", hint="run `make setup`")
    command = ["qemu-system-x86_64", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
