"""Makes the base disk: Debian packages, one ext4 partition and GRUB in a qcow2 file that boots from BIOS.

No loop device and no mount is needed: mmdebstrap packs the packages into a tar archive, mke2fs fills a file
system from a folder, and GRUB's two parts are written where a BIOS expects them.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
from pathlib import Path

from harness.errors import HarnessError
from harness.image.base_definition import BASE_FOLDER, BaseDefinition, load_definition
from harness.image.content_key import content_key, folder_inputs
from harness.image.external_tool import find_tool, run_tool
from harness.image.kept_logs import keep_logs
from harness.image.leftovers import FAILED, MAKING_PREFIX, sweep
from harness.locations import MIB, bases, require_free
from harness.locking import exclusive
from harness.terminal import Step, step

FILES = BASE_FOLDER / "files"
CUSTOMIZE = BASE_FOLDER / "customize.sh"

SECTOR = 512
PARTITION_START = 2048
"""First sector of the root partition; the 1 MiB before it holds the partition table and GRUB."""

_GRUB_FOLDER = Path("/usr/lib/grub/i386-pc")
_GRUB_MODULES = (
    "biosdisk",
    "part_msdos",
    "ext2",
    "normal",
    "configfile",
    "linux",
    "boot",
    "serial",
    "terminal",
    "echo",
    "ls",
    "reboot",
)
# Offsets in GRUB's boot.img (grub-core/boot/i386/pc/boot.S) and in the master boot record.
_MBR_SIGNATURE_AT = 0x1B8
_MBR_PARTITIONS_AT = 0x1BE
_BOOT_DRIVE_CHECK_AT = 0x66
_NOP_NOP = b"\x90\x90"
_LINUX_PARTITION = 0x83
_DISK_SIGNATURE = 0x534C4D43


def base_key(definition: BaseDefinition) -> str:
    """Content key of the base disk: the definition, its files and how this module puts them together."""
    return content_key(
        {
            "definition": repr(definition),
            **folder_inputs(FILES, "files"),
            **folder_inputs(CUSTOMIZE, "customize.sh"),
            **folder_inputs(Path(__file__), "base_disk.py"),
        }
    )


def build_base_disk(definition: BaseDefinition | None = None) -> Path:
    """The base disk (qcow2) of this definition, made now or taken from the cache.

    Raises HarnessError when a tool is missing, the disk is full, packages can't be had, don't fit or are not
    of the versions that the definition stands for.
    """
    chosen = definition or load_definition()
    folder = bases() / base_key(chosen)
    disk = folder / "base.qcow2"
    if not disk.is_file():
        with exclusive("base", "another build of the base disk"):
            # Whoever had the lock may have built this very disk.
            if not disk.is_file():
                _build(chosen, folder)
    return disk


def _build(chosen: BaseDefinition, folder: Path) -> None:
    sweep(bases())
    require_free(bases(), 4 * chosen.size_mib * MIB, "the base disk")
    with (
        step(
            f"base disk: Debian {chosen.suite}, {len(chosen.packages)} packages and what they need"
        ) as progress,
        tempfile.TemporaryDirectory(prefix=MAKING_PREFIX, dir=bases()) as made,
    ):
        work = Path(made)
        try:
            result = _make(chosen, work, progress)
        except HarnessError as error:
            raise keep_logs(
                error,
                work=work,
                names=("build.log",),
                kept=bases() / FAILED,
                what="the log of the base disk's build",
            ) from error
        shutil.rmtree(folder, ignore_errors=True)
        result.rename(folder)


def _make(chosen: BaseDefinition, work: Path, progress: Step) -> Path:
    """The folder with base.qcow2, its log and its list of packages, below `work`."""
    result = work / "result"
    result.mkdir()
    progress.waiting_for("packages")
    _install_packages(chosen, work)
    require_versions(chosen, (work / "packages.txt").read_text(encoding="utf-8"))
    progress.waiting_for("the file system")
    raw = work / "disk.raw"
    _make_file_system(chosen, work, raw)
    progress.waiting_for("the boot loader")
    install_boot_loader(raw, chosen.size_mib, work)
    progress.waiting_for("the qcow2 file")
    qemu_img = find_tool("qemu-img", "qemu-utils")
    run_tool(
        [qemu_img, "convert", "-f", "raw", "-O", "qcow2", raw, result / "base.qcow2"],
        what="writing base.qcow2",
        log=work / "build.log",
    )
    shutil.copy(work / "build.log", result / "build.log")
    shutil.copy(work / "packages.txt", result / "packages.txt")
    return result


def _install_packages(definition: BaseDefinition, work: Path) -> None:
    mmdebstrap = find_tool("mmdebstrap", "mmdebstrap")
    overlay = work / "files.tar"
    overlay.write_bytes(pack_files(FILES))
    listing = work / "packages.txt"
    show = "dpkg-query --show --showformat='${Package} ${Version}\\n'"
    argv: list[str | Path] = [
        mmdebstrap,
        f"--variant={definition.variant}",
        f"--include={','.join(definition.packages)}",
        "--format=tar",
        "--aptopt=Acquire::Languages none",
        "--aptopt=Acquire::Retries 3",
        *[f"--dpkgopt=path-exclude={path}" for path in definition.exclude_paths],
        *[f"--dpkgopt=path-include={path}" for path in definition.include_paths],
        f"--customize-hook=tar-in {overlay} /",
        f"--customize-hook={CUSTOMIZE}",
        f"--customize-hook=chroot \"$1\" {show} > '{listing}'",
        definition.suite,
        work / "root.tar",
    ]
    run_tool(
        argv,
        what="installing Debian packages for the base disk",
        log=work / "build.log",
        env={
            "ROOT_LABEL": definition.root_label,
            "DISABLE_UNITS": " ".join(definition.disable_units),
            "MASK_UNITS": " ".join(definition.mask_units),
            "MASK_GENERATORS": " ".join(definition.mask_generators),
        },
    )


def require_versions(definition: BaseDefinition, listing: str) -> None:
    """Raise HarnessError when a package of the list ("NAME VERSION" a line) isn't of the version that the
    definition names: a base is there to prove the appliance on those."""
    installed = dict(line.split(" ", 1) for line in listing.splitlines())
    for package, wanted in definition.versions.items():
        have = installed.get(package, "none")
        # An epoch ("1:") says nothing about the version.
        version = have.partition(":")[2] or have
        if not re.match(rf"{re.escape(wanted)}(?![0-9])", version):
            raise HarnessError(
                f"base {definition.name} stands for {package} {wanted}; suite {definition.suite} has {have}",
                hint=f"see that the appliance runs with it, then correct packer/base/{definition.name}.yaml",
            )


def _make_file_system(definition: BaseDefinition, work: Path, raw: Path) -> None:
    """Write the archive of the packages into an ext4 partition of a new, sparse disk file."""
    with raw.open("wb") as disk:
        disk.truncate(definition.size_mib * MIB)
    root = work / "root"
    root.mkdir(mode=0o755)
    mke2fs = find_tool("mke2fs", "e2fsprogs")
    offset = PARTITION_START * SECTOR
    blocks_kib = (definition.size_mib * MIB - offset) // 1024
    # Features newer than the GRUB that reads this file system, and old enough for every fsck, stay off.
    # The inode tables are left for the kernel to write only when there are any: mke2fs writes them as holes.
    script = (
        'tar -C "$1" --numeric-owner --xattrs --xattrs-include="*" --exclude="./dev/*" -xpf "$2" && '
        '"$3" -q -F -t ext4 -L "$4" -i "$5" -m 1 -O ^metadata_csum_seed,^orphan_file '
        '-E "offset=$6,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" -d "$1" "$7" "$8k"'
    )
    # Who isn't root keeps owners and modes of the system's files inside fakeroot.
    as_root: list[str | Path] = [] if os.geteuid() == 0 else [find_tool("fakeroot", "fakeroot"), "--"]
    run_tool(
        [
            *as_root,
            *("sh", "-c", script, "sh", root, work / "root.tar", mke2fs, definition.root_label),
            *(str(definition.bytes_per_inode), str(offset), raw, str(blocks_kib)),
        ],
        what="filling the base disk's file system",
        log=work / "build.log",
    )


def install_boot_loader(raw: Path, size_mib: int, work: Path) -> None:
    """Write partition table and GRUB in front of the root partition that starts at PARTITION_START."""
    boot_image = _GRUB_FOLDER / "boot.img"
    if not boot_image.is_file():
        raise HarnessError(
            f"GRUB's BIOS files are not installed ({boot_image} is missing)",
            hint="apt-get install grub-pc-bin, or run: make setup",
        )
    core = work / "core.img"
    run_tool(
        [
            find_tool("grub-mkimage", "grub-common"),
            *("-d", _GRUB_FOLDER, "-O", "i386-pc", "-o", core),
            # No drive named: GRUB takes the one the BIOS started it from.
            *("-p", "(,msdos1)/boot/grub", *_GRUB_MODULES),
        ],
        what="making GRUB's core image",
        log=work / "build.log",
    )
    core_bytes = core.read_bytes()
    if len(core_bytes) > (PARTITION_START - 1) * SECTOR:
        raise HarnessError(
            f"GRUB's core image ({len(core_bytes)} bytes) does not fit before the root partition"
        )
    with raw.open("r+b") as disk:
        disk.write(master_boot_record(boot_image.read_bytes(), size_mib * MIB // SECTOR))
        # boot.img loads sector 1, whose block list says the rest follows: both are GRUB's defaults.
        disk.write(core_bytes)


def master_boot_record(boot_image: bytes, disk_sectors: int) -> bytes:
    """Sector 0: GRUB's boot.img with a table of one bootable Linux partition up to the disk's end."""
    if len(boot_image) != SECTOR:
        raise HarnessError(f"GRUB's boot.img has {len(boot_image)} bytes, not {SECTOR}")
    record = bytearray(boot_image)
    # grub-install does the same on hard disks: some BIOSes pass a wrong drive number.
    record[_BOOT_DRIVE_CHECK_AT : _BOOT_DRIVE_CHECK_AT + 2] = _NOP_NOP
    struct.pack_into("<IH", record, _MBR_SIGNATURE_AT, _DISK_SIGNATURE, 0)
    no_chs = b"\xfe\xff\xff"
    entry = struct.pack(
        "<B3sB3sII", 0x80, no_chs, _LINUX_PARTITION, no_chs, PARTITION_START, disk_sectors - PARTITION_START
    )
    record[_MBR_PARTITIONS_AT : _MBR_PARTITIONS_AT + 64] = entry.ljust(64, b"\x00")
    record[510:512] = b"\x55\xaa"
    return bytes(record)


def pack_files(folder: Path) -> bytes:
    """A tar archive of the folder with root as owner and modes that don't depend on the checkout's umask."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            info = archive.gettarinfo(str(path), arcname=str(path.relative_to(folder)))
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            info.mode = 0o755 if path.is_dir() or executable else 0o644
            if info.isreg():
                with path.open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)
    return buffer.getvalue()
