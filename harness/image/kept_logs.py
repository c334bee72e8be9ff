"""Logs of a failed build that outlive the folder it was made in."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.errors import HarnessError


def keep_logs(
    error: HarnessError, *, work: Path, names: Iterable[str], kept: Path, what: str
) -> HarnessError:
    """Copy what there is of the named logs from `work` into `kept`, in place of an earlier failure's.

    Returns the same error with a hint that still holds when `work` is gone: `what: FOLDER` in the place of a
    hint that names `work` or of none; any other hint stays.
    """
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for name in names:
        if (work / name).is_file():
            shutil.copy(work / name, kept)
    helpful = error.hint and str(work) not in error.hint
    hint = error.hint if helpful else f"{what}: {kept}"
    return HarnessError(error.message, hint=hint, exit_code=error.exit_code)
