"""How much of the host others used while something of ours was timed."""

import os
import time
from pathlib import Path

_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)
"""Of the `cpu` line of /proc/stat: user, nice, system, irq, softirq, steal. User has guest in it."""


class HostLoadMeter:
    """Starts to measure when it is made."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._started = time.monotonic()
        self._busy = _busy_ticks(proc)
        self._ours = _ticks_of_tree(proc, os.getpid())

    def others_cores(self) -> float:
        """Cores that were kept busy, on average since the start, by anything but this process and those below
        it: other programs, other cells, and other tenants of the machine (steal). At least 0.

        Processes below us that ended count as ours once somebody below us has waited for them.
        """
        seconds = max(time.monotonic() - self._started, 0.001)
        busy = _busy_ticks(self._proc) - self._busy
        ours = _ticks_of_tree(self._proc, os.getpid()) - self._ours
        return max(0.0, (busy - ours) / os.sysconf("SC_CLK_TCK") / seconds)


def _busy_ticks(proc: Path) -> int:
    fields = (proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    return sum(int(fields[place]) for place in _BUSY_FIELDS if place < len(fields))


def _ticks_of_tree(proc: Path, root: int) -> int:
    """CPU ticks of a process and all below it, with those of their children that have ended."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for stat in proc.glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended meanwhile
        # The name, in brackets, may hold anything; what follows is fields 3 (state) and on.
        fields = text[text.rindex(")") + 2 :].split()
        pid = int(stat.parent.name)
        ticks[pid] = sum(int(fields[place]) for place in (11, 12, 13, 14))  # utime, stime, cutime, cstime
        children.setdefault(int(fields[1]), []).append(pid)
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        total += ticks.get(pid, 0)
        waiting += children.get(pid, [])
    return total
