"""Runs the long-running programs that make disks and images: output to a log file, a clean end on Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from harness.errors import HarnessError

END_GRACE_S = 60.0
"""Seconds a program gets to clean up (unmount, stop its own children) before it is killed."""

WATCH_S = 0.5

_LOG_TAIL_LINES = 15


def find_tool(name: str, package: str) -> Path:
    """The program's path, looked for in PATH and in the folders of system programs.

    Raises HarnessError naming the Debian/Ubuntu package that has it.
    """
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=search)
    if found is None:
        raise HarnessError(f"{name} is not installed", hint=f"apt-get install {package}, or run: make setup")
    return Path(found)


def run_tool(
    argv: Sequence[str | Path],
    *,
    what: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    watch: Callable[[], None] | None = None,
) -> None:
    """Run a program to its end with stdout and stderr appended to `log`.

    `env` is added to this process's environment. `on_line` is called with each line as it is printed. `watch`
    is called about every WATCH_S seconds; what it raises ends the program and is raised here.
    Raises HarnessError with the telling line of the log when the program fails. When this process is
    interrupted, the program's whole process group is asked to end (SIGINT, what a terminal sends) and killed
    if it does not within END_GRACE_S seconds.
    """
    command = [str(part) for part in argv]
    with log.open("ab") as sink:
        # A session of its own: only we decide when it ends, so that it is never left half stopped.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            for line in _lines(process.stdout, watch):
                sink.write(line)
                sink.flush()
                if on_line is not None:
                    on_line(line.decode(errors="replace").rstrip())
            status = process.wait()
        except BaseException:
            end_group(process)
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
    if status != 0:
        raise HarnessError(
            f"{what} failed ({Path(command[0]).name} exited with {status}): {_reason(log)}",
            hint=f"the whole log: {log}",
        )


def _lines(stream: IO[bytes], watch: Callable[[], None] | None) -> Iterator[bytes]:
    """The stream's lines as they come, `watch` called in between also while none come."""
    if watch is None:
        yield from stream
        return
    rest, next_look = b"", 0.0
    while True:
        if time.monotonic() >= next_look:
            watch()
            next_look = time.monotonic() + WATCH_S
        if not select.select([stream], [], [], WATCH_S)[0]:
            continue
        # Past the stream's buffer, of which select() knows nothing.
        chunk = os.read(stream.fileno(), 65536)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if not chunk:
            if rest:
                yield rest
            return


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process's group to end and wait for it; kill what is left after END_GRACE_S seconds."""
    _signal_group(process, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_GRACE_S)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    tail = lines[-_LOG_TAIL_LINES:]
    telling = [line for line in tail if line.startswith(("E:", "Error", "error", "fatal", "==> "))]
    return (telling or tail or ["it printed nothing"])[-1]
