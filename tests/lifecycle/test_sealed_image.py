"""Reading files of an image that nobody mounts."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.machine.root_disk import RootDisk
from suites.lifecycle import sealed_image
from suites.lifecycle.sealed_image import read_sealed_image

OFFSET = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw disk whose file system begins at OFFSET, taken for an image's."""
    if shutil.which("mke2fs") is None or shutil.which("debugfs") is None:
        pytest.skip("mke2fs and debugfs are needed to make a disk to look into")
    tree = tmp_path / "tree"
    (tree / "etc" / "ssh").mkdir(parents=True)
    (tree / "etc" / "ssh" / "sshd_config").write_text("Port 22\n")
    (tree / "etc" / "ssh" / "two words").write_text("")
    (tree / "etc" / "empty").mkdir()
    (tree / "etc" / "machine-id").write_text("uninitialized\n")
    raw = tmp_path / "root.raw"
    with raw.open("wb") as file:
        file.truncate(OFFSET + 4 * 1024 * 1024)
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(tree), "-E", f"offset={OFFSET}", str(raw), "4m"],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setattr(sealed_image, "root_disk", lambda image: RootDisk(image, OFFSET))
    return raw


def test_names_and_texts_are_read(disk: Path) -> None:
    found = read_sealed_image(disk, folders=["/etc/ssh", "/etc/empty"], files=["/etc/machine-id"])
    assert found.entries == {"/etc/ssh": {"sshd_config", "two words"}, "/etc/empty": set()}
    assert found.texts == {"/etc/machine-id": "uninitialized\n"}


def test_what_is_not_there_is_empty(disk: Path) -> None:
    found = read_sealed_image(disk, folders=["/etc/none"], files=["/etc/none/either"])
    assert (found.entries["/etc/none"], found.texts["/etc/none/either"]) == (frozenset(), "")


def test_a_disk_without_a_file_system_is_an_error(disk: Path) -> None:
    disk.write_bytes(bytes(OFFSET + 65536))
    with pytest.raises(HarnessError, match=r"debugfs could not ls -p /etc in .*root\.raw: "):
        read_sealed_image(disk, folders=["/etc"], files=[])
