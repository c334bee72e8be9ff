"""What the host has to give."""

import os
import re
from pathlib import Path

from harness.errors import HarnessError


def available_memory_mib(meminfo: Path = Path("/proc/meminfo")) -> int:
    """MiB that new processes can have without swapping (MemAvailable)."""
    match = re.search(r"^MemAvailable: +(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    return int(match[1]) // 1024 if match else 0


def require_memory(guest_mib: int, overhead_mib: int, what: str) -> None:
    """Raise HarnessError, with the sum, when the host cannot give a guest its memory."""
    available = available_memory_mib()
    needed = guest_mib + overhead_mib
    if needed > available:
        raise HarnessError(
            f"{what} needs {needed} MiB of memory ({guest_mib} for the guest and {overhead_mib} beside it),"
            f" this host has {available} MiB available: {needed - available} MiB short",
            hint="choose a smaller profile, or free some memory",
        )


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0))
