"""Disks for one boot: a qcow2 overlay, so that the image itself is never written."""

import json
import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import HarnessError
from harness.locations import GIB, MIB, require_free

ROOM_FOR_A_RUN = 1024 * MIB
"""What a boot and a suite write into the overlay at most, in practice; asked for before anything starts."""


def image_facts(image: Path) -> dict[str, Any]:
    """What `qemu-img info` says of a readable qcow2 image; raises HarnessError in one line otherwise."""
    if not image.exists():
        raise HarnessError(f"there is no image at {image}", hint="build one with `make image`")
    try:
        with image.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise HarnessError(f"the image {image} cannot be read: {error.strerror}") from error
    if magic != b"QFI\xfb":
        raise HarnessError(
            f"the image {image} is not in qcow2 format", hint="convert it: qemu-img convert -O qcow2"
        )
    # --force-share: a running guest may hold the image; reading its header harms nobody.
    answer = _qemu_img(
        ["info", "--output=json", "--force-share", "--", str(image)], f"read the image {image}"
    )
    facts: dict[str, Any] = json.loads(answer)
    return facts


def disk_gib(disk: Path) -> int:
    """The size of a qcow2 disk in whole GiB, rounded up."""
    return math.ceil(int(image_facts(disk)["virtual-size"]) / GIB)


def overlay_command(image: Path, target: Path, size_gib: int) -> list[str]:
    """`qemu-img` arguments that make `target` an overlay of `image`, `size_gib` large."""
    return ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(target), f"{size_gib}G"]


def create_overlay(image: Path, target: Path, size_gib: int) -> Path:
    """Make `target` a disk of `size_gib` GiB that starts as `image`. Raises HarnessError.

    An image larger than the profile's disk is refused: cutting it off would destroy its file system.
    """
    size = int(image_facts(image)["virtual-size"])
    if size > size_gib * GIB:
        raise HarnessError(
            f"the image {image} is a disk of {size / GIB:.1f} GiB, the profile's disk has {size_gib} GiB",
            hint="choose a profile with a larger disk, or build a smaller image",
        )
    require_free(target, ROOM_FOR_A_RUN, "the disk of the guest")
    _qemu_img(overlay_command(image.resolve(), target, size_gib), f"make an overlay of {image}")
    return target


def grow_overlay(disk: Path, size_gib: int, *, resize: Callable[[int], object] | None = None) -> None:
    """Make a disk larger: with `resize` (it gets the size in bytes) where a guest runs from it, else here.

    Raises HarnessError for a size below the present one.
    """
    size = int(image_facts(disk)["virtual-size"])
    if size_gib * GIB < size:
        raise HarnessError(
            f"the disk has {size / GIB:.1f} GiB and can't become {size_gib} GiB",
            hint="a smaller disk would cut off its file system",
        )
    if resize is not None:
        resize(size_gib * GIB)
    else:
        _qemu_img(["resize", "-q", "-f", "qcow2", str(disk), f"{size_gib}G"], f"grow {disk}")


def write_own_clusters(overlay: Path, raw: Path) -> None:
    """Write what an overlay holds itself, and nothing of its image, into a raw copy of that image."""
    answer = _qemu_img(["map", "--output=json", "--force-share", "--", str(overlay)], f"read {overlay}")
    with overlay.open("rb") as source, raw.open("r+b") as target:
        target.truncate(int(image_facts(overlay)["virtual-size"]))
        for extent in json.loads(answer):
            if extent["depth"] > 0 or not extent.get("present", True):
                continue
            target.seek(extent["start"])
            if extent["data"]:
                source.seek(extent["offset"])
                _copy_bytes(source, target, extent["length"])
            else:
                _copy_zeros(target, extent["length"])


def _copy_bytes(source: BinaryIO, target: BinaryIO, length: int) -> None:
    while length > 0:
        piece = source.read(min(length, MIB))
        if not piece:
            raise HarnessError(f"the disk {source.name} ends in the middle of a cluster")
        target.write(piece)
        length -= len(piece)


def _copy_zeros(target: BinaryIO, length: int) -> None:
    for start in range(0, length, MIB):
        target.write(bytes(min(MIB, length - start)))


def _qemu_img(arguments: Sequence[str], purpose: str) -> str:
    if shutil.which("qemu-img") is None:
        raise HarnessError("qemu-img is not installed", hint="run `make setup`")
    result = subprocess.run(
        ["qemu-img", *arguments], capture_output=True, text=True, errors="replace", check=False, timeout=120
    )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise HarnessError(f"qemu-img could not {purpose}: {lines[-1].removeprefix('qemu-img: ')}")
    return result.stdout
