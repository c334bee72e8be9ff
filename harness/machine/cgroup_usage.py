"""What the processes of a container take, as their control groups count it (cgroup v1, hybrid and v2)."""

import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.machine.container_limits import Cgroup

MIB = 1024 * 1024


def cpu_seconds(cgroups: Sequence[Cgroup]) -> float:
    """CPU time of everything that ran in the groups since they were made. Raises HarnessError."""
    for one in cgroups:
        try:
            if one.hierarchy == "cpuacct":
                return int((one.path / "cpuacct.usage").read_text()) / 1e9
            if one.hierarchy == "v2":
                return _counter(one.path / "cpu.stat", "usage_usec") / 1e6
        except OSError as error:
            raise HarnessError(f"the container's CPU time can't be read: {error.strerror}") from error
    raise HarnessError("the container's CPU time is counted by no control group")


def held_memory_mib(cgroups: Sequence[Cgroup]) -> float:
    """MiB that the container's processes and kernel objects hold: all that is counted to it, less its page
    cache, which the kernel takes back when memory is short. That is what MemTotal - MemAvailable is for a
    whole machine; the model's weights, which are mapped files, are in neither. Raises HarnessError."""
    for one in cgroups:
        try:
            if one.hierarchy == "memory":
                usage = int((one.path / "memory.usage_in_bytes").read_text())
                return (usage - _file_pages(one.path / "memory.stat", "total_")) / MIB
            if one.hierarchy == "v2":
                usage = int((one.path / "memory.current").read_text())
                return (usage - _file_pages(one.path / "memory.stat", "")) / MIB
        except OSError as error:
            raise HarnessError(f"the container's memory can't be read: {error.strerror}") from error
    raise HarnessError("the container's memory is counted by no control group")


def _file_pages(stat: Path, prefix: str) -> int:
    return _counter(stat, f"{prefix}active_file") + _counter(stat, f"{prefix}inactive_file")


def _counter(file: Path, name: str) -> int:
    match = re.search(rf"^{name} (\d+)$", file.read_text(), re.MULTILINE)
    return int(match[1]) if match else 0
