"""One process at a time: a lock by name, shared by every run that uses the same cache folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.locations import locks
from harness.terminal import step

_RETRY_S = 0.3


@contextmanager
def exclusive(name: str, holder: str) -> Iterator[None]:
    """Hold the lock `name` for the block; wait while another process, `holder` on the terminal, has it.

    The kernel frees the lock when the process ends, however it ends. The empty lock file stays: removing it
    would let two processes lock two files of one name.
    """
    with (locks() / f"{name}.lock").open("w") as file:
        if not _try(file.fileno()):
            with step(f"wait for {holder}") as waiting:
                waiting.waiting_for("the other process to finish")
                while not _try(file.fileno()):
                    time.sleep(_RETRY_S)
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
