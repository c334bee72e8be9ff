"""The image's root file system as a raw disk that a container can mount, made once per image."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import HarnessError
from harness.locations import require_free, roots
from harness.locking import exclusive
from harness.machine.frozen import copy_file
from harness.machine.overlay import image_facts, write_own_clusters
from harness.terminal import step

KEPT_ROOTS = 2
"""Raw disks kept in the cache, newest first; removing an older one does not hurt who has it mounted."""

_SECTOR = 512


@dataclass(frozen=True)
class RootDisk:
    """A raw disk and where its root file system begins, in bytes (0: the disk is the file system).

    `writable`: it belongs to one machine, which writes into it; else it is shared and never written.
    """

    path: Path
    offset: int
    writable: bool = False


def root_disk(image: Path) -> RootDisk:
    """The raw disk of a qcow2 image, from the cache or made now. Raises HarnessError."""
    facts = image_facts(image)
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = roots() / digest
    raw = folder / "root.raw"
    with exclusive(f"root-{digest[:16]}", "another run that unpacks the same image"):
        if not raw.exists():
            with step("Unpack the image for the container"):
                size = min(int(facts["virtual-size"]), 4 * int(facts["actual-size"]))
                require_free(folder, size, "the unpacked image")
                folder.mkdir(parents=True, exist_ok=True)
                _convert(image, raw)
            _forget_old_roots()
        os.utime(folder)
    return RootDisk(raw, root_offset(raw))


def held(disk: RootDisk, name: Path) -> RootDisk:
    """The same disk under a name of the machine's own, so that it can start again when newer images have
    pushed this one out of the cache. On another file system the cache's name has to do."""
    with contextlib.suppress(OSError):
        os.link(disk.path, name)
        return replace(disk, path=name)
    return disk


def own_root_disk(overlay: Path, base: RootDisk, target: Path) -> RootDisk:
    """`target` becomes a raw disk with the content of a qcow2 overlay; `base` is its image, unpacked.

    The copy of the base and the overlay's own clusters take a fraction of the time of unpacking it all again.
    Raises HarnessError.
    """
    require_free(target, 2 * base.path.stat().st_blocks * 512, "the disk of the container")
    copy_file(base.path, target)
    write_own_clusters(overlay, target)
    return RootDisk(target, root_offset(target), writable=True)


def root_offset(raw: Path) -> int:
    """Where the largest partition begins, in bytes; 0 when there is no partition table."""
    command = ["partx", "--raw", "--noheadings", "--output", "START,SECTORS", str(raw)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    rows = [line.split() for line in result.stdout.splitlines()]
    partitions = [(int(sectors), int(start)) for start, sectors in (row for row in rows if len(row) == 2)]
    return max(partitions)[1] * _SECTOR if partitions else 0


def _convert(image: Path, raw: Path) -> None:
    temporary = raw.with_name(f".{raw.name}.{os.getpid()}")
    command: Sequence[str] = ["qemu-img", "convert", "-O", "raw", "-S", "64k", str(image), str(temporary)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
        if result.returncode != 0:
            lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
            raise HarnessError(f"the image {image} could not be unpacked: {lines[-1]}")
        temporary.replace(raw)
    finally:
        temporary.unlink(missing_ok=True)
    raw.with_name("image.json").write_text(json.dumps({"image": str(image)}) + "\n")


def _forget_old_roots() -> None:
    folders = sorted(
        (folder for folder in roots().iterdir() if folder.is_dir()),
        key=lambda folder: folder.stat().st_mtime,
        reverse=True,
    )
    for folder in folders[KEPT_ROOTS:]:
        shutil.rmtree(folder, ignore_errors=True)
