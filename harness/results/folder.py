"""The folder of a run: `reports/<UTC time>/`, and `reports/latest` that points at the newest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import HarnessError
from harness.locations import REPOSITORY


def reports_root() -> Path:
    """Where run folders are made: `SLM_REPORTS` when set, else `reports/` of the checkout."""
    chosen = os.environ.get("SLM_REPORTS", "")
    return Path(chosen).expanduser().resolve() if chosen else REPOSITORY / "reports"


def new_run_folder(root: Path, now: datetime | None = None) -> Path:
    """Make a folder named for the UTC time, e.g. `20260131T094500Z` (`-2`, `-3` when that second is taken).

    Raises HarnessError when the folder can't be made.
    """
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 100):
            folder = root / (stamp if attempt == 1 else f"{stamp}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise HarnessError(
            f"can't make a report folder in {root}: {error.strerror}",
            hint="set SLM_REPORTS to a folder you can write to",
        ) from None
    raise HarnessError(f"can't make a report folder in {root}: 99 runs started in the same second")


@contextmanager
def kept_unless_interrupted(folder: Path) -> Iterator[Path]:
    """Lend a run's folder; Ctrl-C in the block removes it: a measurement that was broken off has no results.
    After an error it stays, for its logs."""
    try:
        yield folder
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def point_latest_at(folder: Path) -> Path:
    """Make `latest` beside `folder` point at it, at once: a reader finds the old run or the new one."""
    latest = folder.parent / "latest"
    if latest.exists() and not latest.is_symlink():
        raise HarnessError(f"{latest} is in the way: it should be a symbolic link", hint=f"remove {latest}")
    temporary = folder.parent / f".latest.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    temporary.replace(latest)
    return latest


def files_of(evidence: Path, run_folder: Path) -> tuple[str, ...]:
    """The non-empty files of a cell's evidence, relative to the run's folder, sorted."""
    if not evidence.is_dir():
        return ()
    found = (path for path in evidence.rglob("*") if path.is_file() and not path.is_symlink())
    return tuple(sorted(path.relative_to(run_folder).as_posix() for path in found if path.stat().st_size > 0))
