"""Disks as a power cut would leave them, taken from a running guest again and again."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline, DeadlineExceeded
from harness.errors import ApplianceError
from harness.machine.console import FAILED, FATAL_LINES, READY
from harness.machine.protocol import Machine
from harness.machine.readiness import BannerKnock

GAP_S = 0.02
"""Seconds a guest runs between two looks, stretched for slow accelerators."""

QUIET_S = 30
"""Seconds without a change after which no further one is waited for, stretched likewise: longer than a model
takes to load, and a guest that is stuck is judged by who waits for it to get ready."""


@dataclass(frozen=True)
class Instant:
    """`disk` is what a cut would have left, `second` how long after the first look that was."""

    disk: Path
    second: float


class ThisBoot:
    """The console from the moment this was made."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._before = len(machine.console_text())

    def text(self) -> str:
        return self._machine.console_text()[self._before :]

    def is_over(self) -> bool:
        """True once the appliance is ready. Raises ApplianceError when it, or its system, says it failed."""
        text = self.text()
        if failed := FAILED.search(text):
            raise ApplianceError(f"{failed['stage']} failed: {failed['reason']}")
        for fatal in FATAL_LINES:
            if fatal.pattern.search(text):
                raise ApplianceError(fatal.meaning)
        return READY.search(text) is not None


def wait_for_ssh(machine: Machine, boot: ThisBoot, deadline: Deadline) -> None:
    """Wait until SSH answers: it starts just before the network stage, which configures the appliance."""
    knock = BannerKnock(lambda: machine.forward(22))
    try:
        while not knock.answered() and not boot.is_over():
            if deadline.expired:
                raise DeadlineExceeded("an answer of SSH", deadline.seconds)
            time.sleep(0.02)
    finally:
        knock.close()


def take_instants(
    machine: Machine,
    folder: Path,
    boot: ThisBoot,
    *,
    stretch: float,
    enough: int | None = None,
) -> list[Instant]:
    """Copy the disk whenever it changed, until the appliance is ready, nothing changes any more, or there are
    `enough`. `folder` is made here. Raises ApplianceError when the appliance says that it failed.
    """
    folder.mkdir()
    began, taken, last = time.monotonic(), list[Instant](), ""
    calm = Deadline.after(QUIET_S * stretch)
    while not (boot.is_over() or calm.expired or (enough is not None and len(taken) >= enough)):
        second = time.monotonic() - began
        disk = folder / f"{len(taken):03d}"
        machine.copy_disk(disk)
        if (digest := digest_of(disk)) != last:
            taken.append(Instant(disk, second))
            last, calm = digest, Deadline.after(QUIET_S * stretch)
        else:
            remove(disk)
        time.sleep(GAP_S * stretch)
    return taken


def spread(instants: Sequence[Instant], count: int) -> list[Instant]:
    """`count` of them, evenly over all; the disks of the others are removed. Fewer when there are fewer."""
    if len(instants) <= count:
        return list(instants)
    chosen = [instants[round(place * (len(instants) - 1) / (count - 1))] for place in range(count)]
    for instant in instants:
        if instant not in chosen:
            remove(instant.disk)
    return chosen


def digest_of(disk: Path) -> str:
    """The same for the same disk: of a file its content, of a folder what is where and since when."""
    if disk.is_file():
        with disk.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    journal = disk / "var/log/journal"
    paths = [path for path in sorted(disk.rglob("*")) if not path.is_relative_to(journal)]
    lines = [_line(path, disk) for path in paths]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _line(path: Path, root: Path) -> str:
    facts = path.lstat()
    return f"{path.relative_to(root)} {facts.st_mode:o} {facts.st_size} {facts.st_mtime_ns}"


def remove(disk: Path) -> None:
    """Delete a copy, file or folder."""
    if disk.is_dir():
        shutil.rmtree(disk)
    else:
        disk.unlink()
