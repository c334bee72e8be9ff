"""What the appliance takes for itself: processors and memory while nobody asks, its processes' memory, disk.

In a container /proc/stat and /proc/meminfo are the host's, so there its control groups tell; in a virtual
machine the guest's own /proc does.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.machine.nspawn import NspawnMachine
from harness.machine.overlay import image_facts
from harness.machine.protocol import Machine
from harness.machine.tether import end, start_tethered

MIB = 1024 * 1024

CALM_CORES = 0.1
"""Below this in two looks in a row the guest has settled."""
LOOK_S = 1.0

CHUNK_BYTES = 8 * MIB
SAMPLED_CHUNKS = 64
"""How much of an image is compressed at most: so many pieces of it, evenly spread."""
COMPRESS_WITHIN_S = 90.0

FORMULAS = {
    "idle_cpu": "container: CPU time of its control group / seconds; virtual machine: user, nice, system, irq"
    " and softirq of the guest's /proc/stat / seconds",
    "idle_ram": "container: memory of its control group less its page cache; virtual machine: MemTotal - "
    "MemAvailable. Mapped weights are in neither, see rss of the engine",
    "rss": "Rss of /proc/PID/smaps_rollup; pss: pages shared with others divided by how many share them",
    "image_size": "virtual: the disk the guest sees; file: bytes of the qcow2; compressed: that by zstd -1",
}

_STAT_COMMAND = "head -n 1 /proc/stat; sleep {seconds}; head -n 1 /proc/stat; getconf CLK_TCK"
_BUSY_FIELDS = (0, 1, 2, 5, 6)
"""user, nice, system, irq and softirq; user has guest in it, and steal is what others took."""

_PROCESSES_COMMAND = r"""
one() {
  awk -v name="$1" '
    FILENAME ~ /rollup$/ && $1 ~ /^(Rss|Pss|Anonymous):$/ { value[$1] = $2 }
    FILENAME ~ /status$/ && $1 == "VmHWM:" { peak = $2 }
    END { print name, value["Rss:"], value["Pss:"], value["Anonymous:"], peak }' \
    "/proc/$2/smaps_rollup" "/proc/$2/status"
}
engine=$(systemctl show slm-engine.service --property=MainPID --value)
nginx=$(systemctl show nginx.service --property=MainPID --value)
# what computes may be a process of its own that the engine has started
for process in $engine $(pgrep --parent "$engine"); do one engine "$process"; done
one nginx-master "$nginx"
for worker in $(cat "/proc/$nginx/task/$nginx/children"); do one nginx-worker "$worker"; done
"""


@dataclass(frozen=True)
class Idle:
    """What the guest takes while nobody asks: cores on average over `seconds`, MiB of memory."""

    cores: float
    ram_mib: float
    seconds: float
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProcessMemory:
    """MiB of all processes of one name together; `anonymous_mib` is the part that is backed by no file.
    `peak_mib` is the largest resident size so far, of each process added up."""

    name: str
    count: int
    rss_mib: float
    pss_mib: float
    anonymous_mib: float
    peak_mib: float


@dataclass(frozen=True)
class ImageSize:
    """MiB of an image; `compressed_mib` is an estimate where `sampled` is True, None where time was up."""

    virtual_mib: float
    file_mib: float
    compressed_mib: float | None
    sampled: bool


def idle(machine: Machine, *, seconds: float = 10.0, settle_within_s: float = 30.0) -> Idle:
    """Wait until the guest has settled, then measure it for `seconds`. Nobody may ask meanwhile."""
    doubts = () if _settled(machine, settle_within_s) else (f"not calm after {settle_within_s:.0f} s",)
    started = time.monotonic()
    cores = cores_used(machine, seconds)
    return Idle(round(cores, 4), round(_memory_mib(machine), 1), round(time.monotonic() - started, 2), doubts)


def cores_used(machine: Machine, seconds: float) -> float:
    """Cores that the guest keeps busy, on average over the next `seconds`. Raises HarnessError."""
    if isinstance(machine, NspawnMachine):
        before, started = machine.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        return (machine.cpu_seconds() - before) / (time.monotonic() - started)
    result = machine.run(_STAT_COMMAND.format(seconds=seconds), timeout=seconds + 60)
    return parse_busy(result.stdout, seconds)


def parse_busy(output: str, seconds: float) -> float:
    """Cores busy between two `cpu` lines of /proc/stat, `seconds` apart. Raises HarnessError."""
    try:
        before, after, ticks = output.splitlines()
        busy = [sum(int(line.split()[1 + place]) for place in _BUSY_FIELDS) for line in (before, after)]
        return (busy[1] - busy[0]) / int(ticks) / seconds
    except (ValueError, IndexError) as error:
        raise HarnessError(f"the guest's /proc/stat can't be read: {error}") from None


def process_memory(machine: Machine) -> tuple[ProcessMemory, ...]:
    """Memory of the engine, of nginx's master and of its workers, now. Raises HarnessError."""
    result = machine.run(_PROCESSES_COMMAND, timeout=60)
    return parse_processes(result.stdout)


def parse_processes(output: str) -> tuple[ProcessMemory, ...]:
    """Read `name rss pss anonymous peak` in KiB, processes of one name added up. Raises HarnessError."""
    found: dict[str, list[list[int]]] = {}
    for name, *figures in re.findall(r"^([\w-]+) (\d+) (\d+) (\d+) (\d+)$", output, re.MULTILINE):
        found.setdefault(name, []).append([int(one) for one in figures])
    if missing := [name for name in ("engine", "nginx-master", "nginx-worker") if name not in found]:
        raise HarnessError(f"the guest doesn't tell the memory of {', '.join(missing)}: is it running?")
    memory = []
    for name, processes in found.items():
        sums = [round(sum(column) / 1024, 2) for column in zip(*processes, strict=True)]
        memory.append(ProcessMemory(name, len(processes), *sums))
    return tuple(memory)


def image_size(image: Path, *, within_s: float = COMPRESS_WITHIN_S) -> ImageSize:
    """Sizes of a qcow2 image. Compressing stops after `within_s` seconds without an answer.

    Raises HarnessError when it is no image.
    """
    virtual = int(image_facts(image)["virtual-size"])
    size = image.stat().st_size
    pieces = list(_pieces(size))
    taken = sum(length for _, length in pieces)
    compressed = _compressed_bytes(image, pieces, within_s)
    return ImageSize(
        virtual_mib=round(virtual / MIB, 1),
        file_mib=round(size / MIB, 1),
        compressed_mib=None if compressed is None else round(compressed * size / taken / MIB, 1),
        sampled=taken < size,
    )


def _settled(machine: Machine, within_s: float) -> bool:
    deadline, calm = Deadline.after(within_s), 0
    while calm < 2:
        if deadline.expired:
            return False
        calm = calm + 1 if cores_used(machine, LOOK_S) < CALM_CORES else 0
    return True


def _memory_mib(machine: Machine) -> float:
    if isinstance(machine, NspawnMachine):
        return machine.held_memory_mib()
    meminfo = machine.run("cat /proc/meminfo", timeout=60).stdout
    values = {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB$", meminfo, re.MULTILINE)}
    try:
        return (values["MemTotal"] - values["MemAvailable"]) / 1024
    except KeyError as error:
        raise HarnessError(f"the guest's /proc/meminfo has no {error.args[0]}") from None


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of what is read of a file: all of it, or pieces that are evenly spread."""
    chunks = -(-size // CHUNK_BYTES)
    step = max(1, -(-chunks // SAMPLED_CHUNKS))
    for number in range(0, chunks, step):
        offset = number * CHUNK_BYTES
        yield offset, min(CHUNK_BYTES, size - offset)


def _compressed_bytes(image: Path, pieces: list[tuple[int, int]], within_s: float) -> int | None:
    """Bytes that `zstd -1` makes of the pieces; None when it isn't done in time."""
    process = start_tethered(
        ["zstd", "-1", "--quiet", "--stdout"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    given_up = threading.Timer(within_s, process.kill)

    def feed() -> None:
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin, image.open("rb") as file:
            for offset, length in pieces:
                file.seek(offset)
                process.stdin.write(file.read(length))

    feeder = threading.Thread(target=feed, name="zstd")
    count = 0
    try:
        given_up.start()
        feeder.start()
        assert process.stdout is not None
        while data := process.stdout.read(MIB):
            count += len(data)
        return count if process.wait() == 0 else None
    finally:
        given_up.cancel()
        end(process)
        feeder.join()
