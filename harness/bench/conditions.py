"""What the host was like while something was measured: a speed means little without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import monotonic

from harness.machine.host import available_memory_mib
from harness.machine.host_load import HostLoadMeter
from harness.results.host import cpu_name, ram_mib, usable_cores
from harness.results.model import Label

NOT_READABLE = "not readable"
"""Stands for what this host doesn't tell; virtual machines have no governor, for instance."""

_BUSY_FIELDS = (0, 1, 2, 5, 6)
_STEAL_FIELD = 7
"""Of the `cpu` line of /proc/stat: user, nice, system, irq and softirq; steal. User has guest in it."""

_FLAGS_THAT_MATTER = re.compile(r"(avx.*|amx.*|fma|f16c|asimd(dp|hp)?|i8mm|bf16|sve.*)")
"""Those by which an engine chooses its kernels, of x86-64 and of ARM."""


@dataclass(frozen=True)
class Conditions:
    """What was measured under. None is what the host doesn't tell.

    `cores` and `ram_mib` are what this process may run on and the host's total. `steal_share`: of the time
    in which CPUs had something to run, the share (0 to 1) that the hypervisor gave to others. `others_cores`:
    cores that anything but this process and those below it kept busy on average, steal among it. Frequencies
    are the mean over all CPUs. `swapped_pages` went to or came from swap meanwhile; `seconds` is how long it
    took.
    """

    cpu: str
    cpu_flags: tuple[str, ...]
    host_model: str | None
    cores: int
    smt: str | None
    numa_nodes: int | None
    governor: str | None
    huge_pages: str | None
    ram_mib: int
    memory_before_mib: int
    memory_after_mib: int
    frequency_before_mhz: float | None
    frequency_after_mhz: float | None
    steal_share: float
    others_cores: float
    swapped_pages: int
    seconds: float

    def as_labels(self) -> dict[str, Label]:
        """As a cell's `conditions` in results.json have it: the steal in percent, the flags as words."""
        return {
            "cpu": self.cpu,
            "cpu_flags": " ".join(self.cpu_flags),
            "host_model": _or_not_readable(self.host_model),
            "cores": self.cores,
            "smt": _or_not_readable(self.smt),
            "numa_nodes": _or_not_readable(self.numa_nodes),
            "governor": _or_not_readable(self.governor),
            "huge_pages": _or_not_readable(self.huge_pages),
            "ram_mib": self.ram_mib,
            "memory_available_before_mib": self.memory_before_mib,
            "memory_available_after_mib": self.memory_after_mib,
            "frequency_before_mhz": _or_not_readable(self.frequency_before_mhz),
            "frequency_after_mhz": _or_not_readable(self.frequency_after_mhz),
            "steal_percent": round(100 * self.steal_share, 3),
            "others_cores": round(self.others_cores, 3),
            "swapped_pages": self.swapped_pages,
            "seconds_measured": round(self.seconds, 1),
        }


class StealMeter:
    """Starts to measure when it is made."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._started = _busy_and_stolen(proc)

    def share(self) -> float:
        """Of the time since the start in which CPUs had something to run, the share (0 to 1) that the
        hypervisor gave to others. Not of all time, as top has it: many idle cores would hide it there."""
        busy, stolen = (
            now - then for now, then in zip(_busy_and_stolen(self._proc), self._started, strict=True)
        )
        return max(0.0, stolen / (busy + stolen)) if busy + stolen > 0 else 0.0


class Window:
    """A stretch of time in which something is measured. Lent by `measured_window`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._steal = StealMeter(root / "proc")
        self._load = HostLoadMeter(root / "proc")
        self._swapped = _swapped_pages(root)
        self._memory = available_memory_mib(root / "proc/meminfo")
        self._frequency = _frequency_mhz(root)
        self._started = monotonic()
        self._conditions: Conditions | None = None

    @property
    def conditions(self) -> Conditions:
        """The host's state over the whole window. Raises RuntimeError while it is open."""
        if self._conditions is None:
            raise RuntimeError("the conditions of a window are known when it is closed")
        return self._conditions

    def close(self) -> None:
        """Measure what the conditions were."""
        root = self._root
        cpuinfo = _text(root / "proc/cpuinfo") or ""
        self._conditions = Conditions(
            cpu=cpu_name(cpuinfo),
            cpu_flags=flags_that_matter(cpuinfo),
            host_model=_text(root / "sys/class/dmi/id/product_name"),
            cores=usable_cores(),
            smt={"0": "off", "1": "on"}.get(_text(root / "sys/devices/system/cpu/smt/active") or ""),
            numa_nodes=_numa_nodes(root),
            governor=_governor(root),
            huge_pages=_chosen(_text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
            ram_mib=ram_mib(_text(root / "proc/meminfo") or ""),
            memory_before_mib=self._memory,
            memory_after_mib=available_memory_mib(root / "proc/meminfo"),
            frequency_before_mhz=self._frequency,
            frequency_after_mhz=_frequency_mhz(root),
            steal_share=self._steal.share(),
            others_cores=self._load.others_cores(),
            swapped_pages=_swapped_pages(root) - self._swapped,
            seconds=monotonic() - self._started,
        )


@contextmanager
def measured_window(root: Path = Path("/")) -> Iterator[Window]:
    """Watch the host while the block runs; the window's `conditions` tell afterwards what it was like, also
    after an exception. `root` is where proc and sys are."""
    window = Window(root)
    try:
        yield window
    finally:
        window.close()


def flags_that_matter(cpuinfo: str) -> tuple[str, ...]:
    """Of the text of /proc/cpuinfo the CPU flags by which an engine chooses its kernels, sorted."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return tuple(sorted(flag for flag in (match[1].split() if match else ()) if _matters(flag)))


def _matters(flag: str) -> bool:
    return _FLAGS_THAT_MATTER.fullmatch(flag) is not None


def _busy_and_stolen(proc: Path) -> tuple[int, int]:
    fields = [int(one) for one in (proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    stolen = fields[_STEAL_FIELD] if len(fields) > _STEAL_FIELD else 0
    return sum(fields[place] for place in _BUSY_FIELDS if place < len(fields)), stolen


def _frequency_mhz(root: Path) -> float | None:
    """What the kernel last saw of each CPU, else what it says in cpuinfo (in a guest: the nominal one)."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    told = [int(text) / 1000 for text in map(_text, files) if text and text.isdecimal()]
    cpuinfo = _text(root / "proc/cpuinfo") or ""
    told = told or [float(one) for one in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", cpuinfo, re.MULTILINE)]
    return round(fmean(told), 1) if told else None


def _governor(root: Path) -> str | None:
    """The governor of the CPUs, several by comma where they differ."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({text for text in map(_text, files) if text})) or None


def _numa_nodes(root: Path) -> int | None:
    text = _text(root / "sys/devices/system/node/online")
    if text is None or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        return None
    bounds = [[int(one) for one in part.split("-")] for part in text.split(",")]
    return sum(bound[-1] - bound[0] + 1 for bound in bounds)


def _chosen(text: str | None) -> str | None:
    """The word in brackets: `always [madvise] never`."""
    match = re.search(r"\[(\w+)\]", text or "")
    return match[1] if match else None


def _swapped_pages(root: Path) -> int:
    counts = re.findall(r"^pswp(?:in|out) (\d+)$", _text(root / "proc/vmstat") or "", re.MULTILINE)
    return sum(int(one) for one in counts)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _or_not_readable(value: Label | None) -> Label:
    return NOT_READABLE if value is None else value
