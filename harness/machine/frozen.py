"""A guest's processes stopped for a moment, so that its disk can be copied as a power cut would leave it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from harness.errors import HarnessError

STOPPED_WITHIN_S = 10
"""Seconds for threads to stop; one that writes to a disk finishes its write first."""

VFORK = ("kernel_clone", "wait_for_vfork_done")
"""Where in the kernel a parent waits for its vfork's child (kernel/fork.c; the second is often inlined)."""


@contextlib.contextmanager
def frozen(processes: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Inside the block no thread of these processes runs; afterwards they go on.

    `processes` is asked until it names no new one. A stopped process that is killed is gone like any other,
    so a harness that dies in here leaves nothing behind. Raises HarnessError when they don't stop in time.
    """
    stopped: list[int] = []
    try:
        end = time.monotonic() + STOPPED_WITHIN_S
        while True:
            new = [pid for pid in processes() if pid not in stopped]
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
            if not new and all(_has_stopped(pid) for pid in stopped):
                break
            if time.monotonic() >= end:
                running = ", ".join(told for pid in stopped if (told := _running(pid))) or "new ones came"
                raise HarnessError(
                    f"the guest's processes did not stop within {STOPPED_WITHIN_S} s: {running}"
                )
            time.sleep(0.001)
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def copy_file(source: Path, target: Path) -> None:
    """A copy that takes no more room than what was written to the source."""
    _copy(["--sparse=always", "--reflink=auto", "--", str(source), str(target)])


def copy_tree(source: Path, target: Path) -> None:
    """A copy with owners, modes, times, devices and extended attributes (an overlay keeps its own there)."""
    _copy(["--archive", "--no-target-directory", "--", str(source), str(target)])


def _copy(arguments: list[str]) -> None:
    result = subprocess.run(["cp", *arguments], capture_output=True, text=True, check=False, timeout=300)
    if result.returncode != 0:
        raise HarnessError(f"the guest's disk could not be copied: {result.stderr.strip()}")


def _has_stopped(process: int) -> bool:
    """True when no thread of it can run."""
    return not _running(process)


def _running(process: int) -> str:
    """The threads that can still run, by name, state and what they wait for in the kernel; "" for none."""
    running = []
    for thread in Path(f"/proc/{process}/task").glob("*"):
        with contextlib.suppress(OSError):
            # The state follows the command's name, which may hold anything but ends with the last ')'.
            name, _, rest = (thread / "stat").read_text().rpartition(")")
            state, waits = rest.split()[0], (thread / "wchan").read_text()
            # The parent of a vfork stands still until its child is another program or gone. The child has
            # been stopped, so the parent never gets to its own stop. From 254 on systemd starts services so.
            if state not in "TtZX" and not (state == "D" and waits in VFORK):
                running.append(f"{name.partition('(')[2]} ({state}, {waits})")
    return ", ".join(running)
