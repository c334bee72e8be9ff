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
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        on_line: Callable[[str], None],
        pass_fds: Sequence[int] = (),
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
            pass_fds=tuple(pass_fds),
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

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and everything in its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def end(self, polite_s: float = POLITE_S, stern_s: float = STERN_S) -> int:
        """End it as `end_all` does; returns its exit status."""
        return end_all([self], polite_s, stern_s)[0]


def end_all(children: Sequence[Child], polite_s: float = POLITE_S, stern_s: float = STERN_S) -> list[int]:
    """Interrupt, then terminate, then kill the children and their process groups, all at the same time;
    returns their exit statuses when they are gone.

    A further Ctrl-C meanwhile skips to the next stage.
    """
    for child in children:
        child.interrupt()
    for seconds, then in ((polite_s, signal.SIGTERM), (stern_s, signal.SIGKILL)):
        for child in _still_running(children, seconds):
            child.signal_group(then)
    _still_running(children, stern_s)
    return [-signal.SIGKILL if (status := child.wait(0)) is None else status for child in children]


def _still_running(children: Sequence[Child], seconds: float) -> list[Child]:
    """The children that have not ended after `seconds`, or when another Ctrl-C comes."""
    began = time.monotonic()
    while True:
        try:
            return [
                child
                for child in children
                if child.wait(max(0.0, began + seconds - time.monotonic())) is None
            ]
        except KeyboardInterrupt:
            if time.monotonic() - began < SAME_INTERRUPTION_S:
                continue
            terminal.say("interrupted again: ending with less patience")
            return [child for child in children if child.wait(0.1) is None]


def marked_descendants(mark: str) -> dict[int, str]:
    """Process id and name of every process below us that has `NAME=value` in its environment."""
    return {pid: name for pid, name in descendants().items() if mark.encode() in _environment(pid)}


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []  # it ended meanwhile, or isn't ours to look at


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
    return end_processes({pid: name for pid, name in descendants().items() if pid not in known}, grace_s)


def end_processes(left: Mapping[int, str], grace_s: float = 5.0) -> list[str]:
    """End these processes below us, by SIGTERM, then by SIGKILL; returns their names, each with its id."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left.keys() & descendants().keys():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        until = time.monotonic() + grace_s
        while left.keys() & descendants().keys() and time.monotonic() < until:
            _reap(left)
            time.sleep(0.05)
    _reap(left)
    return [f"{name} ({pid})" for pid, name in sorted(left.items())]


def _reap(adopted: Iterable[int]) -> None:
    """Collect those of these that have ended. Never any child: of one whose status another collected Popen
    says that it ended well, and a cell that was killed meanwhile would pass for one that was not."""
    for pid in adopted:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
