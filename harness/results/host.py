"""Facts about the host a run was made on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from harness.locations import REPOSITORY


def cpu_name(cpuinfo: str) -> str:
    """The processor's name from the text of /proc/cpuinfo, else the architecture."""
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def ram_mib(meminfo: str) -> int:
    """Total memory in MiB from the text of /proc/meminfo, 0 when it doesn't say."""
    match = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(match[1]) // 1024 if match else 0


def usable_cores() -> int:
    """Logical processors this process may run on."""
    return len(os.sched_getaffinity(0))


def read_proc(name: str) -> str:
    """The text of a file in /proc, "" where it can't be read."""
    try:
        return Path("/proc", name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def git_commit(checkout: Path = REPOSITORY) -> str:
    """The commit of the checkout, with "-dirty" when tracked files differ from it; "" where there is none."""
    head = _git(checkout, "rev-parse", "--verify", "--quiet", "HEAD")
    if not re.fullmatch(r"[0-9a-f]{40}", head):
        return ""
    return f"{head}-dirty" if _git(checkout, "status", "--porcelain", "--untracked-files=no") else head


def _git(checkout: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
