"""A child process that never outlives us: streamed, interrupted politely, then with force."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from harness import terminal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36

POLITE_S = 90.0
"""Seconds a child gets after SIGINT to close its machine and save its evidence (slow under TCG)."""
STERN_S = 10.0
"""Seconds it gets after SIGTERM before SIGKILL."""
SAME_INTERRUPTION_S = 1.0
"""Interruptions that follow each other faster are one: make and the shell may each pass on a Ctrl-C."""

PARENT_VARIABLE = "SLM_PARENT_PID"
"""Tells a child whose death it must not outlive."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none can slip away (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def follow_parent(environment: Mapping[str, str] | None = None) -> None:
    """In a child: be interrupted when the process that started us dies, even by SIGKILL (Linux)."""
    parent = (os.environ if environment is None else environment).get(PARENT_VARIABLE, "")
    if not parent.isdecimal():
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != int(parent):  # it died before we could say so
        raise KeyboardInterrupt


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class Child:
    """A process in a session of its own, whose output goes line by line to `on_line`."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, on_line: Callable[[str], None]
    ) -> None:
        # A session of its own: Ctrl-C on the terminal reaches only us, and we pass it on to the child alone,
        # not to its QEMU, which must live until the child has read its logs.
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**env, PARENT_VARIABLE: str(os.getpid())},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(on_line,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            on_line(raw.decode("utf-8", "replace").rstrip("\r\n"))

    def wait(self, seconds: float) -> int | None:
        """The exit status (negative: the signal that killed it), None when it still runs after `seconds`."""
        try:
            status = self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        # What it printed last; bounded, because a stray grandchild may hold the pipe open.
        self._reader.join(timeout=2)
        return status

    def interrupt(self) -> None:
        """Send SIGINT to the process itself."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def end(self, polite_s: float = POLITE_S, stern_s: float = STERN_S) -> int:
        """Interrupt, then terminate, then kill it and its process group; returns when it is gone.

        A further Ctrl-C meanwhile skips to the next stage.
        """
        self.interrupt()
        for seconds, then in ((polite_s, signal.SIGTERM), (stern_s, signal.SIGKILL)):
            status = self._wait_unless_interrupted(seconds)
            if status is not None:
                return status
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, then)
        status = self._wait_unless_interrupted(stern_s)
        return status if status is not None else -signal.SIGKILL

    def _wait_unless_interrupted(self, seconds: float) -> int | None:
        began = time.monotonic()
        while True:
            try:
                return self.wait(max(0.0, began + seconds - time.monotonic()))
            except KeyboardInterrupt:
                if time.monotonic() - began < SAME_INTERRUPTION_S:
                    continue
                terminal.say("interrupted again: ending the cell with less patience")
                return self.wait(0.1)


def descendants() -> dict[int, str]:
    """Process id and name of every process below us, zombies left out."""
    parents: dict[int, tuple[int, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended meanwhile
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, parent = text[text.rindex(")") + 2 :].split()[:2]
        if state not in "ZX":
            parents[int(stat.parent.name)] = (int(parent), name)
    below: dict[int, str] = {}
    wanted = {os.getpid()}
    while wanted:
        found = {pid for pid, (parent, _) in parents.items() if parent in wanted and pid not in below}
        below |= {pid: parents[pid][1] for pid in found}
        wanted = found
    return below


def end_leftovers(before: Iterable[int], grace_s: float = 5.0) -> list[str]:
    """End every process below us that is not in `before`; returns their names, each with its id."""
    known = set(before)
    left = {pid: name for pid, name in descendants().items() if pid not in known}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left.keys() & descendants().keys():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        until = time.monotonic() + grace_s
        while left.keys() & descendants().keys() and time.monotonic() < until:
            _reap()
            time.sleep(0.05)
    _reap()
    return [f"{name} ({pid})" for pid, name in sorted(left.items())]


def _reap() -> None:
    """Collect adopted children that have ended; those Popen started are still known to Popen as gone."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
