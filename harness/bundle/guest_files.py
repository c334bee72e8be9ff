"""Files of an image's root file system, read by debugfs: no mount, no boot, no need of root."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from harness.errors import HarnessError
from harness.image.external_tool import find_tool
from harness.machine.root_disk import RootDisk

_TIMEOUT_S = 1800
"""Seconds for one file: a model of 14 GB from a slow disk."""

_PIECE = 1024 * 1024


def read_file(disk: RootDisk, path: str) -> bytes:
    """The content of a regular file. Raises HarnessError when it isn't there."""
    result = _debugfs(disk, f"cat {path}")
    _require_found(result.stderr, disk, path)
    return result.stdout


def file_sha256(disk: RootDisk, path: str) -> str:
    """sha256 of a regular file, read as a stream. Raises HarnessError when it isn't there."""
    digest = hashlib.sha256()
    with subprocess.Popen(
        _command(disk, f"cat {path}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while piece := process.stdout.read(_PIECE):
            digest.update(piece)
        _require_found(process.stderr.read(), disk, path)
    return digest.hexdigest()


def copy_tree(disk: RootDisk, path: str, target: Path) -> Path:
    """A folder with all that is below it, links as links, copied into the existing folder `target`; the path
    of the copy. Raises HarnessError when it isn't there."""
    result = _debugfs(disk, f"rdump {path} {target}")
    _require_found(result.stderr, disk, path)
    return target / Path(path).name


def _debugfs(disk: RootDisk, request: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(_command(disk, request), capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise HarnessError(f"debugfs took longer than {_TIMEOUT_S // 60} minutes: {request}") from None


def _command(disk: RootDisk, request: str) -> list[str | Path]:
    where = f"{disk.path}?offset={disk.offset}" if disk.offset else str(disk.path)
    return [find_tool("debugfs", "e2fsprogs"), "-R", request, where]


def _require_found(said: bytes, disk: RootDisk, path: str) -> None:
    """debugfs ends with 0 whatever happens; what it has to say beside its version is a complaint."""
    complaints = [line for line in said.decode(errors="replace").splitlines() if line.strip()][1:]
    # A user who isn't root can't give the copies the guest's owners, which nobody needs here.
    telling = [line for line in complaints if "while changing ownership" not in line]
    if telling:
        raise HarnessError(f"{path} can't be read from the image {disk.path}: {telling[0].strip()}")
