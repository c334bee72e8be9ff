"""The image of a bundle: the judged disk, compressed, proven to hold the same content, with its digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bundle.product import ReleasedImage
from harness.errors import HarnessError
from harness.image.external_tool import find_tool
from harness.locations import require_free
from harness.terminal import Step, step

COMPRESSION = "zstd"
"""Read by QEMU 5.1 (2020) and newer; zlib, which older ones read too, takes longer at each read of the model.
docs/release.md has the figures."""

NEEDS = "QEMU 5.1"
"""The oldest that reads it; whoever downloads the image is told so."""

MOSTLY = 0.9
"""Share of the allocated clusters that is compressed in an image which needs no second compression."""

_TIMEOUT_S = 4 * 3600
_PIECE = 4 * 1024 * 1024


@dataclass(frozen=True)
class QcowFacts:
    """What qemu-img tells of an image, sizes in bytes. `compressed` is a share of the allocated clusters."""

    format: str
    virtual_size: int
    compression: str
    compressed: float
    has_backing: bool


def qcow_facts(path: Path) -> QcowFacts:
    """Raises HarnessError when qemu-img can't read the file."""
    info = _json("info", "-U", "--output=json", path)
    check = _json("check", "-U", "--output=json", path) if info.get("format") == "qcow2" else {}
    allocated = int(check.get("allocated-clusters", 0))
    return QcowFacts(
        format=str(info.get("format")),
        virtual_size=int(info["virtual-size"]),
        compression=str(info.get("format-specific", {}).get("data", {}).get("compression-type", "")),
        compressed=int(check.get("compressed-clusters", 0)) / allocated if allocated else 0.0,
        has_backing="backing-filename" in info,
    )


def release_image(judged: Path, target: Path, *, compression: str = COMPRESSION) -> ReleasedImage:
    """Write the judged image to `target`, compressed, and prove that both hold the same disk.

    An image that is compressed in this way already is copied as it is. Raises HarnessError when there is no
    room, qemu-img fails, or the disks differ.
    """
    facts = qcow_facts(judged)
    require_free(target.parent, judged.stat().st_size, "the image of the bundle")
    if facts.compression == compression and facts.compressed >= MOSTLY:
        with step("Copy the image: it is compressed already"):
            shutil.copyfile(judged, target)
    else:
        with step(f"Compress the image with {compression}") as progress:
            _convert(judged, target, compression, progress)
        with step("Compare the two disks"):
            _require_same(judged, target)
    with step("Digests of the image"):
        sha256, md5 = digests(target)
    return ReleasedImage(
        file=target.name,
        size=target.stat().st_size,
        virtual_size=qcow_facts(target).virtual_size,
        sha256=sha256,
        md5=md5,
        compression=compression,
    )


def digests(path: Path) -> tuple[str, str]:
    """sha256 and md5 in one reading."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            sha256.update(piece)
            md5.update(piece)
    return sha256.hexdigest(), md5.hexdigest()


def _convert(judged: Path, target: Path, compression: str, progress: Step) -> None:
    progress.waiting_for("qemu-img")
    result = _qemu_img(
        "convert", "-q", "-c", "-O", "qcow2", "-o", f"compression_type={compression}", judged, target
    )
    if result.returncode != 0:
        raise HarnessError(f"the image can't be compressed: {' '.join(result.stderr.split())[:300]}")


def _require_same(judged: Path, target: Path) -> None:
    result = _qemu_img("compare", "-U", "-f", "qcow2", "-F", "qcow2", judged, target)
    if result.returncode != 0:
        raise HarnessError(
            f"the compressed image isn't the judged disk: {' '.join(result.stdout.split())[:300]}"
        )


def _json(command: str, *arguments: str | Path) -> dict[str, Any]:
    result = _qemu_img(command, *arguments)
    # check: 3 is leaked clusters, which cost room and nothing else.
    if result.returncode not in (0, 3):
        raise HarnessError(
            f"qemu-img {command} {arguments[-1]}: {' '.join((result.stderr or result.stdout).split())[:300]}"
        )
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def _qemu_img(command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [find_tool("qemu-img", "qemu-utils"), command, *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HarnessError(f"qemu-img {command} took longer than {_TIMEOUT_S // 3600} hours") from None
