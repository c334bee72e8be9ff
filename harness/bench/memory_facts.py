"""CPUs, caches and free memory of a host or guest, and how much a bandwidth measurement has to read there.

A working set is read from one end to the other again and again. When it is several times the last-level
cache, next to nothing of it is left there from the time before, and what is measured is memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from harness.bench.shell import Shell
from harness.errors import HarnessError
from harness.locations import MIB

Regime = Literal["memory", "cache"]

MEMORY_FACTOR = 4
"""Times the last-level cache from which on reading something over and over counts as reading memory.

A cache that throws out lines at random answers a share h = exp(-factor x (1 - h)) of the loads: 2 %.
"""

AMPLE_FACTOR = 16
"""Times the last-level cache that a memory measurement reads where there is room.

A cache that throws out nothing answers at most 1/factor of the loads: 6 %, against 25 % at MEMORY_FACTOR.
"""

SMALLEST_BYTES = 512 * MIB
"""Of a memory measurement: 10 ms even at 50 GB/s, so that starting the threads does not count."""

UNKNOWN_CACHE_BYTES = 128 * MIB
"""Assumed where a virtual machine does not say how large its cache is."""

OVERHEAD_BYTES = 64 * MIB
"""The probe itself, page tables, and what the rest of the system may want meanwhile."""

_QUESTIONS = r"""
sed -n 's/^Cpus_allowed_list:[[:space:]]*/cpus /p' /proc/self/status
sed -n 's/^MemAvailable: *\([0-9]*\) kB/available \1/p' /proc/meminfo
grep -s . /sys/devices/system/cpu/cpu[0-9]*/cache/index*/{level,type,size,shared_cpu_list} | sed 's/^/cache /'
group=/sys/fs/cgroup
for pair in memory.max:memory.current memory/memory.limit_in_bytes:memory/memory.usage_in_bytes; do
  limit=${group}/${pair%:*} usage=${group}/${pair#*:}
  if [[ -r ${limit} && -r ${usage} ]]; then echo "limit $(<"${limit}") $(<"${usage}")"; fi
done
"""
_CACHE_LINE = re.compile(r"cache .*/(cpu\d+/cache/index\d+)/(level|type|size|shared_cpu_list):(\S+)")
_SIZE_UNITS = {"": 1, "K": 1024, "M": MIB}


@dataclass(frozen=True)
class Cache:
    """A cache of a level, shared by `cpus`."""

    level: int
    bytes: int
    cpus: frozenset[int]


@dataclass(frozen=True)
class MemoryFacts:
    """What a process there may use: CPUs by number, bytes of memory; `caches` without those for code only."""

    cpus: tuple[int, ...]
    available_bytes: int
    caches: frozenset[Cache]

    def last_level_bytes(self, cpus: Collection[int]) -> int | None:
        """Bytes of the last-level caches that these CPUs have together; None where that isn't known."""
        used = [cache for cache in self.caches if cache.cpus & set(cpus)]
        last = max((cache.level for cache in used), default=0)
        return sum(cache.bytes for cache in used if cache.level == last) or None


@dataclass(frozen=True)
class WorkingSet:
    """Bytes to read over and over; `cache_bytes` is the last-level cache they were chosen for."""

    bytes: int
    cache_bytes: int

    @property
    def regime(self) -> Regime:
        return regime_of(self.bytes, self.cache_bytes)


def regime_of(read_bytes: float, cache_bytes: int) -> Regime:
    """ "memory" where reading this much over and over finds next to nothing in the cache, else "cache"."""
    return "memory" if read_bytes >= MEMORY_FACTOR * cache_bytes else "cache"


def fits_cache(read_bytes: float, cache_bytes: int) -> bool:
    """Whether all of it can be in the last-level cache, so that reading it over and over needs no memory."""
    return read_bytes <= cache_bytes


def ask_memory(run: Shell) -> MemoryFacts:
    """Ask a host or guest. Raises HarnessError when it gives no sensible answer."""
    result = run(_QUESTIONS, timeout=60)
    return parse_memory(result.stdout)


def parse_memory(answer: str) -> MemoryFacts:
    """The facts from what the questions print; a cgroup's limit counts where it leaves less than there is."""
    cpus: tuple[int, ...] = ()
    available: list[int] = []
    caches: dict[str, dict[str, str]] = {}
    for line in answer.splitlines():
        word, _, rest = line.partition(" ")
        if word == "cpus":
            cpus = tuple(sorted(cpu_list(rest)))
        elif word == "available":
            available.append(int(rest) * 1024)
        elif word == "limit":
            limit, usage = rest.split()
            if limit != "max":
                available.append(int(limit) - int(usage))
        elif match := _CACHE_LINE.match(line):
            caches.setdefault(match[1], {})[match[2]] = match[3]
    if not cpus or not available:
        raise HarnessError("the bandwidth probe could not find out which CPUs and memory it may use")
    found = (_cache(fields) for fields in caches.values())
    return MemoryFacts(cpus, max(0, min(available)), frozenset(cache for cache in found if cache is not None))


def cpu_list(text: str) -> frozenset[int]:
    """CPU numbers from the kernel's notation, for example "0-3,8"."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def choose_working_set(
    facts: MemoryFacts, cpus: Collection[int], decode_bytes: float | None = None
) -> WorkingSet:
    """What a probe on these CPUs should read, for a decode that reads `decode_bytes` a token (None: any).

    Just as much as the decode, so that caches serve both alike, but not more than is ample. Raises
    HarnessError, with the sum, when memory is too short to measure it.
    """
    cache = facts.last_level_bytes(cpus) or UNKNOWN_CACHE_BYTES
    ample = max(AMPLE_FACTOR * cache, SMALLEST_BYTES)
    wanted = ample if decode_bytes is None else min(ample, round(decode_bytes))
    least = min(wanted, MEMORY_FACTOR * cache)
    room = facts.available_bytes - OVERHEAD_BYTES
    if room < least:
        raise HarnessError(
            f"measuring memory bandwidth needs {least / MIB:,.0f} MiB (the last-level cache is"
            f" {cache / MIB:,.0f} MiB) and {OVERHEAD_BYTES / MIB:.0f} MiB beside it;"
            f" {facts.available_bytes / MIB:,.0f} MiB are free, {(least - room) / MIB:,.0f} MiB short",
            hint="free some memory, or measure with fewer CPUs",
        )
    return WorkingSet(min(wanted, room), cache)


def _cache(fields: Mapping[str, str]) -> Cache | None:
    if fields.get("type") == "Instruction" or not {"level", "size", "shared_cpu_list"} <= fields.keys():
        return None
    match = re.fullmatch(r"(\d+)([KM]?)", fields["size"])
    if match is None:
        return None
    size = int(match[1]) * _SIZE_UNITS[match[2]]
    return Cache(int(fields["level"]), size, cpu_list(fields["shared_cpu_list"]))
