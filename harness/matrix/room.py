"""How many cells the host can run side by side, and in which order: pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, TypeVar

OVERHEAD_MIB = 512
"""Memory a machine takes beside its guest's: QEMU itself and the cell's test process."""


class Sized(Protocol):
    """What takes room on the host: a cell."""

    @property
    def cores(self) -> float: ...

    @property
    def ram_mib(self) -> int: ...

    @property
    def seconds(self) -> int: ...


Cell = TypeVar("Cell", bound=Sized)


@dataclass(frozen=True)
class Room:
    """What cells may take together: cores and MiB of memory; or, with `jobs`, that many cells whatever their
    size."""

    cores: int
    ram_mib: int
    jobs: int | None = None

    def fits(self, running: Sequence[Sized], one: Sized) -> bool:
        """Whether `one` may start beside those that run. A cell alone always may: a host that is too small
        for it is told by the machine."""
        if not running:
            return True
        if self.jobs is not None:
            return len(running) < self.jobs
        together = [*running, one]
        return (
            sum(cell.cores for cell in together) <= self.cores
            and sum(cell.ram_mib + OVERHEAD_MIB for cell in together) <= self.ram_mib
        )

    def side_by_side(self, cells: Sequence[Sized]) -> bool:
        """Whether any two of the cells may run at the same time."""
        return any(self.fits([one], other) for one, other in combinations(cells, 2))


def in_order(cells: Sequence[Cell], room: Room) -> list[Cell]:
    """The order in which the cells begin.

    Side by side, the longest first: a long cell that begins last keeps the other cores idle at the end. One
    after another the order doesn't change the whole, so the shortest first: what fails is seen early.
    """
    return sorted(cells, key=lambda cell: cell.seconds, reverse=room.side_by_side(cells))


def available_mib(meminfo: str) -> int:
    """Memory that programs can still get, in MiB, from the text of /proc/meminfo; 0 when it doesn't say."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(match[1]) // 1024 if match else 0
