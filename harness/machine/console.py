"""The guest's console: a file that grows, text to wait for in it, and the lines that mean "it's over"."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline, wait_until
from harness.errors import ApplianceError

LAST_LINES = 25
"""Lines of console that go along with a failure."""

_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-Z]|\x1b[=>78cDEHM]|\r"
)

READY = re.compile(r"slm-copilot: ready (?P<endpoint>\S+)[^\S\n]*\n")
FAILED = re.compile(r"slm-copilot: failed (?P<stage>[^\n:]+): (?P<reason>[^\n]*)\n")


@dataclass(frozen=True)
class FatalLine:
    """A line after which the guest will not get ready any more; `sample` is one as it was printed."""

    pattern: re.Pattern[str]
    meaning: str
    sample: str


FATAL_LINES = (
    FatalLine(
        re.compile(r"Kernel panic - not syncing: (?P<detail>[^\n]*)\n"),
        "the guest's kernel panicked",
        "[    1.812345] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
    ),
    FatalLine(
        re.compile(r"^\(initramfs\) ", re.MULTILINE),
        "the guest's initramfs did not find its root disk and dropped to a shell",
        "(initramfs) ",
    ),
    FatalLine(
        re.compile(r"ALERT! +(?P<detail>\S+ does not exist)\. +Dropping to a shell!"),
        "the guest's initramfs did not find its root disk and dropped to a shell",
        "ALERT!  UUID=0f8d7c1e-1111-2222-3333-444455556666 does not exist.  Dropping to a shell!\n",
    ),
    FatalLine(
        re.compile(r"No bootable device\."),
        "the firmware found no bootable device on the image",
        "Booting from Hard Disk...\nBoot failed: not a bootable disk\n\nNo bootable device.\n",
    ),
    FatalLine(
        re.compile(r"^grub rescue> ", re.MULTILINE),
        "the guest's boot loader did not find its files",
        "error: no such device: 0f8d7c1e-1111-2222-3333.\nEntering rescue mode...\ngrub rescue> ",
    ),
    FatalLine(
        re.compile(r"You are in (?P<detail>emergency mode|rescue mode)\. After logging in"),
        "the guest's systemd stopped half-way",
        'You are in emergency mode. After logging in, type "journalctl -xb" to view\nsystem logs,\n',
    ),
)


class Console:
    """Reads a console that something else (QEMU, nspawn) appends to `path`.

    `mark()` says that a new boot begins here: waiting and judging only look at what came since, so that the
    last boot's "ready" is not taken for this one's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = 0
        self._size = -1
        self._text = ""

    def mark(self) -> None:
        self._mark = self._length()
        self._size = -1

    def text(self) -> str:
        """Everything from the beginning, no control sequences; bytes that are no UTF-8 become U+FFFD."""
        return _clean(self._bytes(0))

    def this_boot(self) -> str:
        """Everything since the mark, without control sequences."""
        size = self._length()
        if size != self._size:
            # From the mark on each time: a character or an escape sequence may arrive in two pieces.
            self._text = _clean(self._bytes(self._mark))
            self._size = size
        return self._text

    def last_lines(self, count: int = LAST_LINES) -> str:
        return "\n".join([line for line in self.this_boot().splitlines() if line.strip()][-count:])

    def raise_if_fatal(self) -> None:
        """Raise ApplianceError when this boot printed a line after which waiting is pointless."""
        text = self.this_boot()
        if failed := FAILED.search(text):
            raise ApplianceError(
                f"the appliance reports that {failed['stage']} failed: {failed['reason'].strip()}"
            )
        for fatal in FATAL_LINES:
            if match := fatal.pattern.search(text):
                detail = match.groupdict().get("detail")
                raise ApplianceError(f"{fatal.meaning}: {detail.strip()}" if detail else fatal.meaning)

    def wait_for_text(
        self, pattern: re.Pattern[str] | str, deadline: Deadline, *, alive: Callable[[], None] = lambda: None
    ) -> re.Match[str]:
        """The first match in this boot's text (a pattern may span lines).

        `alive` is called every time and raises when the guest cannot print any more. Raises ApplianceError on
        a fatal line and DeadlineExceeded with the last line seen.
        """
        compiled = re.compile(pattern, re.MULTILINE) if isinstance(pattern, str) else pattern

        def look(_last_try: bool) -> re.Match[str] | None:
            if match := compiled.search(self.this_boot()):
                return match
            self.raise_if_fatal()
            alive()
            return None

        return wait_until(look, deadline, what=f"console text {compiled.pattern!r}", interval=0.1)

    def _length(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _bytes(self, offset: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return b""


def _clean(data: bytes) -> str:
    return _CONTROL.sub("", data.decode("utf-8", "replace"))
