"""Files of an image that was never booted, read without mounting it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.machine.root_disk import RootDisk, root_disk

_ABSENT = "File not found by ext2_lookup"


@dataclass(frozen=True)
class SealedImage:
    """Names in folders (none where one isn't there) and texts of files ("" likewise)."""

    entries: Mapping[str, frozenset[str]]
    texts: Mapping[str, str]


def read_sealed_image(image: Path, *, folders: Iterable[str], files: Iterable[str]) -> SealedImage:
    """What the image holds at these paths. Raises HarnessError when it can't be read."""
    disk = root_disk(image)
    return SealedImage(
        entries={folder: _names(_debugfs(disk, f"ls -p {folder}")) for folder in folders},
        texts={file: _debugfs(disk, f"cat {file}") for file in files},
    )


def _names(listing: str) -> frozenset[str]:
    """Names out of lines /inode/mode/uid/gid/name/size/."""
    rows = [line.split("/") for line in listing.splitlines()]
    return frozenset(row[5] for row in rows if len(row) > 6) - {".", ".."}


def _debugfs(disk: RootDisk, request: str) -> str:
    try:
        answer = subprocess.run(
            ["debugfs", "-R", request, f"{disk.path}?offset={disk.offset}"],
            capture_output=True, text=True, errors="replace", check=False, timeout=60,
        )  # fmt: skip
    except FileNotFoundError:
        raise HarnessError("debugfs is not installed", hint="run `make setup`") from None
    said = [line for line in answer.stderr.splitlines() if not line.startswith("debugfs ")]
    if said and not any(_ABSENT in line for line in said):
        raise HarnessError(f"debugfs could not {request} in {disk.path}: {said[0]}")
    return answer.stdout
