"""What people see while the harness works: steps with their seconds, and what they wait for.

On a terminal the innermost running step is one live line; elsewhere (a CI log, a file, the output of a child
process) each step is a start line, a "still ..." line every 15 seconds and an end line. Everything that is
printed passes through the redactor, so a secret in an exception's text doesn't reach a log.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.redaction import REDACTOR

STILL_EVERY_S = 15.0
"""Seconds between two "still ..." lines of a step where no live line can be drawn."""

_INDENT = "  "
_BAR_CELLS = 24


@dataclass(eq=False)
class Step:
    """One running step. Lent by `step`; its methods may be called from any thread."""

    title: str
    depth: int
    beside: bool = False
    started: float = field(default_factory=time.monotonic)
    _waiting: str = ""
    _failure: str | None = None
    _progress: tuple[float, float] | None = None
    _header_shown: bool = False

    @property
    def seconds(self) -> float:
        """Seconds since the step started."""
        return time.monotonic() - self.started

    def waiting_for(self, text: str) -> None:
        """Say what the step waits for now; shown in the live line and in "still ..." lines. "" clears it."""
        self._waiting = text

    def progress(self, done: float, total: float) -> None:
        """Show how far the step is, in any unit (`done` of `total`); a total of 0 or less clears it."""
        self._progress = (done, total) if total > 0 else None

    def failed(self, reason: str) -> None:
        """Let the end line be `✗ title (12.3 s): reason`, for a failure that is no exception."""
        self._failure = reason

    def note(self, text: str) -> None:
        """Print one line that belongs to this step and stays on the screen."""
        _SCREEN.note(self, text)

    def _state(self) -> str:
        parts = [format_seconds(self.seconds)]
        if self._progress is not None:
            done, total = self._progress
            parts.append(f"{min(1.0, done / total):.0%}")
        if self._waiting:
            parts.append(f"waiting for {self._waiting}")
        return ", ".join(parts)

    def _bar(self) -> str:
        if self._progress is None:
            return ""
        done, total = self._progress
        filled = int(_BAR_CELLS * min(1.0, done / total))
        return "━" * filled + "╌" * (_BAR_CELLS - filled) + " "


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without printing; rich would end the process. A reader that has gone (a killed parent,
        `| head`) must not stop the work or its cleaning up."""
        self.quiet = True


class _Screen:
    """The one place that writes to the terminal: a stack of running steps and the line that shows them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._steps: list[Step] = []
        self._live: Live | None = None
        self._ticker: threading.Thread | None = None
        self._stop = threading.Event()
        # No file given: rich looks up sys.stdout at every print, so pytest's capture is honoured.
        self.console = _Console(highlight=False, soft_wrap=True)

    def print(self, text: str | Text, style: str = "") -> None:
        """Print one redacted line above the live line."""
        with self._lock:
            if isinstance(text, Text):
                clean = REDACTOR.redact(text.plain)
                line = text if clean == text.plain else Text(clean)
            else:
                line = Text(_printable(REDACTOR.redact(text)), style=style)
            self.console.print(line)

    def begin(self, title: str, *, beside: bool) -> Step:
        with self._lock:
            around = [one for one in self._steps if not (beside and one.beside)]
            if around:
                self._show_header(around[-1])
            one = Step(title, depth=len(around), beside=beside)
            self._steps.append(one)
            if self._interactive():
                self._start_live()
            else:
                self._show_header(one)
                self._start_ticker()
            return one

    def end(self, one: Step, mark: str, style: str, tail: str) -> None:
        with self._lock:
            if one in self._steps:
                self._steps.remove(one)
            if not self._steps:
                self._stop_showing()
            line = f"{_INDENT * one.depth}{mark} {one.title} ({format_seconds(one.seconds)}){tail}"
            self.print(line, style)

    def note(self, one: Step, text: str) -> None:
        with self._lock:
            self._show_header(one)
            for line in text.splitlines():
                self.print(f"{_INDENT * (one.depth + 1)}{line}", "dim" if self._interactive() else "")

    def _show_header(self, one: Step) -> None:
        if not one._header_shown:
            one._header_shown = True
            self.print(f"{_INDENT * one.depth}▸ {one.title}")

    def _interactive(self) -> bool:
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def _start_live(self) -> None:
        if self._live is None:
            self._live = Live(
                get_renderable=self._live_line, console=self.console, transient=True, refresh_per_second=5
            )
            self._live.start()

    def _live_line(self) -> Text:
        return Text("\n").join(self._line_of(one) for one in self._shown())

    def _shown(self) -> list[Step]:
        """The innermost step, or all of those that run beside each other there."""
        running = list(self._steps)
        if not running:
            return []
        return [one for one in running if one.beside] if running[-1].beside else running[-1:]

    def _line_of(self, one: Step) -> Text:
        text = f"{_INDENT * one.depth}{_spinner()} {one.title}  {one._bar()}{one._state()}"
        line = Text(_printable(REDACTOR.redact(text)), style="cyan", no_wrap=True, overflow="ellipsis")
        line.truncate(max(10, self.console.width - 1), overflow="ellipsis")
        return line

    def _start_ticker(self) -> None:
        if self._ticker is None:
            self._stop = threading.Event()
            self._ticker = threading.Thread(
                target=self._tick, args=(self._stop,), name="terminal-ticker", daemon=True
            )
            self._ticker.start()

    def _tick(self, stop: threading.Event) -> None:
        while not stop.wait(STILL_EVERY_S):
            with self._lock:
                if not stop.is_set():
                    for one in self._shown():
                        self.print(f"{_INDENT * (one.depth + 1)}still {one.title}: {one._state()}")

    def _stop_showing(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._ticker is not None:
            # Not joined: the thread may wait for our lock; it sees the event and ends by itself.
            self._stop.set()
            self._ticker = None


_SCREEN = _Screen()


@contextmanager
def step(title: str, *, beside: bool = False) -> Iterator[Step]:
    """Show a piece of work from its start to its end; steps nest. Those with `beside` run next to each other
    and may end in any order.

    The end line is `✓ title (12.3 s)`, or `✗ title (12.3 s): reason` when an exception leaves the block; the
    reason is told by the innermost step only. The exception is never swallowed.
    """
    one = _SCREEN.begin(title, beside=beside)
    try:
        yield one
    except BaseException as error:
        _SCREEN.end(one, "✗", "red", _reason(error))
        raise
    if one._failure is None:
        _SCREEN.end(one, "✓", "green", "")
    else:
        _SCREEN.end(one, "✗", "red", f": {one._failure}" if one._failure else "")


def say(text: str, style: str = "") -> None:
    """Print a text (redacted) above the live line; `style` is a rich style such as "red" or "dim"."""
    for line in text.split("\n"):
        _SCREEN.print(line, style)


def relay(line: str, prefix: str = "") -> None:
    """Print one line of a child's output as it is, its colours kept, redacted."""
    _SCREEN.print(Text.from_ansi(_printable(prefix + REDACTOR.redact(line))))


def render(renderable: object) -> None:
    """Print a rich renderable (a table). The caller redacts what is in it."""
    with _SCREEN._lock:
        _SCREEN.console.print(renderable)


def is_interactive() -> bool:
    """True when a person looks at a terminal that can redraw a line."""
    return _SCREEN._interactive()


def complain(message: str, hint: str = "") -> None:
    """Tell a user's mistake or a host's fault: `error: ...` and `hint: ...` on stderr, one line each."""
    with _SCREEN._lock:
        for label, text in (("error", message), ("hint", hint)):
            if text:
                clean = " ".join(REDACTOR.redact(text).split())
                print(_printable(f"{label}: {clean}"), file=sys.stderr, flush=True)


def format_seconds(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `12.3 s`, `4 min 05 s`, `1 h 02 min`."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _reason(error: BaseException) -> str:
    if getattr(error, "_told_by_step", False):
        return ""
    _mark_told(error)
    if isinstance(error, KeyboardInterrupt):
        return ": interrupted"
    text = str(error).strip()
    return f": {text.splitlines()[0]}" if text else f": {type(error).__name__}"


def _mark_told(error: BaseException) -> None:
    set_attribute: Callable[[str, object], None] = error.__setattr__
    try:
        set_attribute("_told_by_step", True)
    except (
        AttributeError
    ):  # an exception class with __slots__: its reason is then told by the outer steps too
        return


def _spinner() -> str:
    frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    return frames[int(time.monotonic() * 8) % len(frames)]


def _printable(text: str) -> str:
    """Replace what the terminal's encoding can't show: a C locale must not end a run."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for mark, plain in (("✓", "ok"), ("✗", "FAILED"), ("▸", ">"), ("…", "...")):
            text = text.replace(mark, plain)
        return text.encode(encoding, "replace").decode(encoding)
    return text
