"""A folder that comes into being whole, or not at all."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError

MAKING_PREFIX = ".making-"
WAITING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def whole_folder(output: Path, name: str) -> Iterator[Path]:
    """Lend a folder that becomes `output`/`name` when the block ends well and is removed when it doesn't.
    What a killed run left is swept.

    Raises HarnessError when the disk refuses.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        for left in output.glob(f"{MAKING_PREFIX}*"):
            _remove(left)
        work = Path(tempfile.mkdtemp(prefix=MAKING_PREFIX, dir=output))
    except OSError as error:
        raise HarnessError(f"can't make a bundle in {output}: {error.strerror}") from None
    try:
        yield work
        _open_to_readers(work)
        with _undisturbed():
            _put_in_place(work, output / name)
    except OSError as error:
        raise HarnessError(f"the bundle can't be written: {error.strerror}: {error.filename}") from None
    finally:
        with _undisturbed():
            _remove(work)


def _open_to_readers(folder: Path) -> None:
    """Whoever uploads it may be somebody else than who made it, whatever the umask was."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _put_in_place(work: Path, final: Path) -> None:
    """Give the folder its name. What had that name is removed then, or has it again after a failure."""
    old = work.with_name(f"{work.name}-replaced")
    if final.exists() or final.is_symlink():
        final.rename(old)
    try:
        work.rename(final)
    except OSError:
        if old.exists() or old.is_symlink():
            old.rename(final)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits: a second one must not leave half of what the first one wanted removed.

    The handlers are exchanged because a signal that this thread blocks reaches another one, and Python tells
    this thread all the same.
    """
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in WAITING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
