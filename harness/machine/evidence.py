"""What is saved of a machine for the reader of a failed run; every byte goes through the redactor."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError
from harness.machine.protocol import CommandResult
from harness.redaction import REDACTOR

COMMANDS = {
    "journal.log": "journalctl --boot --no-pager --output=short-precise",
    "engine.log": "journalctl --boot --no-pager --output=short-precise --unit=slm-engine.service"
    " --unit=slm-watchdog.service",
    "units.txt": "systemctl list-units --failed --no-pager --plain; echo;"
    " systemctl status --no-pager --full --lines=20 slm-engine slm-watchdog nginx ssh 'one-context*'",
    "nginx.log": "journalctl --boot --no-pager --output=short-precise --unit=nginx.service",
    "one-appliance.log": "tail --verbose --lines=+1 /var/log/one-appliance/*.log",
    "status.txt": "cat /etc/one-appliance/status",
    "resources.txt": "uptime; free -m; df -h; ps -eo pid,ppid,user,rss,pcpu,etime,args --sort=-rss",
}
"""File name to the guest command whose output it holds."""

DISK_FILES = {
    "one-appliance.log": ("var/log/one-appliance/*.log",),
    "status.txt": ("etc/one-appliance/status",),
}
"""The same names to files below the guest's root, for a guest that does not answer."""

_COMMAND_TIMEOUT_S = 30
_KNOCK_TIMEOUT_S = 20


def save_text(folder: Path, name: str, content: str | bytes) -> None:
    """Write `content`, redacted, into `folder`."""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    (folder / name).write_bytes(REDACTOR.redact_bytes(data))


def save_from_guest(run: Callable[[str, float], CommandResult], folder: Path) -> bool:
    """Save the output of COMMANDS; False when the guest cannot be reached (then nothing is saved)."""
    try:
        run("true", _KNOCK_TIMEOUT_S)
    except HarnessError as error:
        save_text(folder, "unreachable.txt", f"no logs from inside the guest: {error}\n")
        return False
    for name, command in COMMANDS.items():
        try:
            result = run(command, _COMMAND_TIMEOUT_S)
            text = result.stdout + result.stderr
        except HarnessError as error:
            text = f"{error}\n"
        save_text(folder, name, text)
    return True


def save_from_disk(root: Path, folder: Path) -> None:
    """Save what a guest that cannot be reached left on its disk; `root` holds the files it wrote."""
    for name, sources in DISK_FILES.items():
        parts = [_read(path) for source in sources for path in sorted(root.glob(source))]
        if parts:
            save_text(folder, name, b"".join(parts))
    journal = root / "var/log/journal"
    if journal.is_dir() and shutil.which("journalctl"):
        command = ["journalctl", f"--directory={journal}", "--no-pager", "--output=short-precise"]
        result = subprocess.run(command, capture_output=True, check=False, timeout=60)
        save_text(folder, "journal.log", result.stdout + result.stderr)


def _read(path: Path) -> bytes:
    try:
        return f"==> {path.name} <==\n".encode() + path.read_bytes() + b"\n"
    except OSError as error:
        return f"==> {path.name}: {error.strerror} <==\n".encode()
