"""What a harness that was killed left on the host, found and cleared by the next one.

Processes, mounts and networks of a machine die with it (tether.py, nspawn.py), even after SIGKILL. Folders
and control groups don't; each machine therefore writes down its own, in a file it holds a lock on. A file
whose lock is free belongs to a dead run.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from harness.errors import HarnessError
from harness.locations import cache_root

FOLDER_PREFIXES = ("slm-qemu-", "slm-nspawn-", "slm-ssh-", "slm-disks-")
"""Only folders with such a name are ever deleted, whatever a claim says."""

CGROUP_PREFIX = "slm-nspawn-"


class Claim:
    """The folders and control groups of one running machine, on record until `release`."""

    def __init__(self) -> None:
        self.path = _claims_folder() / f"{uuid.uuid4().hex}.json"
        self._file: IO[str] = self.path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._folders: list[str] = []
        self._cgroups: list[str] = []
        self._write()

    def new_folder(self, parent: Path, prefix: str) -> Path:
        """Make a folder below `parent` (made too) that only its owner can read, and put it on record.

        Its name is a valid host name, which a container's name has to be.
        """
        parent.mkdir(parents=True, exist_ok=True)
        folder = self.folder(parent / f"{prefix}{secrets.token_hex(4)}")
        folder.mkdir(mode=0o700)
        return folder

    def folder(self, path: Path) -> Path:
        """Put `path` on record (before it is made, so that there is no moment without)."""
        self._folders.append(str(path.absolute()))
        self._write()
        return path

    def cgroup(self, path: Path) -> Path:
        self._cgroups.append(str(path))
        self._write()
        return path

    def release(self) -> None:
        """Clear what is on record and forget it. Idempotent."""
        if self._file.closed:
            return
        _clear(self._cgroups, self._folders)
        self.path.unlink(missing_ok=True)
        self._file.close()

    def _write(self) -> None:
        self._file.seek(0)
        json.dump({"folders": self._folders, "cgroups": self._cgroups}, self._file)
        self._file.truncate()
        self._file.flush()


def clear_leftovers() -> list[Path]:
    """Clear what dead runs left; returns the folders that were deleted."""
    cleared: list[Path] = []
    for path in sorted(_claims_folder().glob("*.json")):
        with _locked(path) as file:
            if file is None:
                continue
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.load(file)
                cleared += _clear(record["cgroups"], record["folders"])
            path.unlink(missing_ok=True)
    return cleared


def members(path: Path) -> list[int]:
    """The processes in a control group and below."""
    return [int(pid) for group in _groups(path) for pid in _lines(group / "cgroup.procs")]


def _groups(path: Path) -> list[Path]:
    """A control group and those below, parents first. A guest that ends takes its own away meanwhile, so one
    that is gone is none: `Path.rglob` would raise."""
    return [Path(folder) for folder, _, _ in os.walk(path)]


def remove_cgroup(path: Path) -> None:
    """Kill every process in a control group and below, then remove the groups."""
    for _ in range(100):
        left = members(path)
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    for group in reversed(_groups(path)):
        _remove_empty(group)


def _clear(cgroups: list[str], folders: list[str]) -> list[Path]:
    for name in cgroups:
        if Path(name).name.startswith(CGROUP_PREFIX) and Path(name).is_dir():
            remove_cgroup(Path(name))
    cleared = []
    for name in folders:
        folder = Path(name)
        if folder.name.startswith(FOLDER_PREFIXES) and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            cleared.append(folder)
    return cleared


def _remove_empty(folder: Path) -> None:
    # A group stays busy for a moment after its last process has died.
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str] | None]:
    """The open file when its owner is dead, else None."""
    try:
        file = path.open("r+")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file


def _claims_folder() -> Path:
    folder = cache_root() / "machines"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"cannot create the folder {folder}: {error.strerror}",
            hint="set SLM_CACHE to a folder you can write to",
        ) from error
    return folder
