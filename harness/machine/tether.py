"""Child processes that cannot outlive the harness, not even when it is killed with SIGKILL."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from harness.errors import HarnessError

# Who dies before the tether is tied would never be missed: the child looks whether its parent is still there.
_UNLESS_ORPHANED = '[ "$PPID" = "$0" ] && exec "$@"'


def start_tethered(
    command: Sequence[str],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` (in `folder`); the kernel kills it when the thread that called this is gone.

    Call it from a thread that lives as long as the process is needed, which the main thread does. The child
    gets its own process group, so that Ctrl-C reaches the harness, which then ends it in good order.
    Raises HarnessError when a program is missing.
    """
    for program in ("setpriv", command[0]):
        if shutil.which(program) is None:
            raise HarnessError(f"{Path(program).name} is not installed", hint="run `make setup`")
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _UNLESS_ORPHANED, str(os.getpid()), *command],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        cwd=folder,
        process_group=0,
    )


def end(process: subprocess.Popen[bytes], *, grace: float = 0) -> int:
    """End a process: SIGTERM and `grace` seconds when grace is given, then SIGKILL to its whole group."""
    if process.poll() is None and grace > 0:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    return process.wait()
