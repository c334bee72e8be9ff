"""What killed builds left in the cache."""

from __future__ import annotations

import shutil
from pathlib import Path

MAKING_PREFIX = ".making-"
"""Folders under this name are being made; finished ones are renamed to their content key."""

FAILED = "failed"
"""The folder beside them that keeps the logs of the last build that failed."""


def sweep(folder: Path) -> None:
    """Remove what killed builds left in `folder`; the caller holds the lock of the builds there."""
    for left in folder.glob(f"{MAKING_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
