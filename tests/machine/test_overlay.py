"""The image is never written, and one that cannot be booted is told in one line before anything starts."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.machine.overlay import (
    create_overlay,
    disk_gib,
    grow_overlay,
    image_facts,
    overlay_command,
    write_own_clusters,
)


def test_arguments() -> None:
    assert overlay_command(Path("/i/image.qcow2"), Path("/w/disk.qcow2"), 8) == [
        *("create", "-q", "-f", "qcow2", "-F", "qcow2"),
        *("-b", "/i/image.qcow2", "/w/disk.qcow2", "8G"),
    ]


def test_an_overlay_has_the_profiles_size_and_the_image_below(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    before = image.read_bytes()
    overlay = create_overlay(Path("image.qcow2"), tmp_path / "elsewhere" / "disk.qcow2", 3)
    command = ["qemu-img", "info", "--output=json", str(overlay)]
    facts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (facts["virtual-size"], facts["full-backing-filename"]) == (3 << 30, str(image))
    assert image.read_bytes() == before


def test_an_image_larger_than_the_disk_is_refused_with_both_sizes(tmp_path: Path) -> None:
    large = tmp_path / "large.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(large), "9G"], check=True)
    with pytest.raises(HarnessError, match=r"disk of 9\.0 GiB, the profile's disk has 8 GiB"):
        create_overlay(large, tmp_path / "disk.qcow2", 8)
    assert not (tmp_path / "disk.qcow2").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no image at "),
        (b"", "is not in qcow2 format"),
        (b"\x7fELF" * 1000, "is not in qcow2 format"),
        (b"QFI\xfb\0\0\0\x03" + b"\xff" * 600, "qemu-img could not read the image"),
    ],
    ids=["missing", "empty", "something else", "broken"],
)
def test_bad_images_are_one_line(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "bad.qcow2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HarnessError, match=complaint) as caught:
        image_facts(path)
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (2, False)


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be read: Is a directory"):
        image_facts(tmp_path)


def test_no_disk_space_is_told_before_anything_is_written(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.locations.free_bytes", lambda _path: 1000)
    with pytest.raises(HarnessError, match="not enough disk space for the disk of the guest"):
        create_overlay(image, tmp_path / "disk.qcow2", 2)
    assert not (tmp_path / "disk.qcow2").exists()


def test_a_missing_qemu_img_says_what_to_do(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match="qemu-img is not installed") as caught:
        image_facts(image)
    assert caught.value.hint == "run `make setup`"


def qemu_io(disk: Path, *commands: str) -> None:
    arguments = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", *arguments, str(disk)], check=True, capture_output=True)


def test_an_overlays_own_clusters_make_a_raw_copy_of_its_image_the_same_disk(tmp_path: Path) -> None:
    image, overlay, raw = tmp_path / "image.qcow2", tmp_path / "overlay.qcow2", tmp_path / "raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "4M"], check=True)
    qemu_io(image, "write -P 1 0 1M", "write -P 2 2M 128k")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], check=True)
    subprocess.run(["qemu-img", "create", "-q", *overlay_command(image, overlay, 1)[2:-1], "8M"], check=True)
    qemu_io(overlay, "write -P 3 64k 64k", "write -z 2M 64k", "write -P 4 6M 64k")
    write_own_clusters(overlay, raw)
    whole = tmp_path / "whole"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(overlay), str(whole)], check=True)
    assert raw.read_bytes() == whole.read_bytes()


def test_a_disk_grows_by_the_one_who_runs_it_or_here(image: Path) -> None:
    asked: list[int] = []
    grow_overlay(image, 3, resize=asked.append)
    assert (asked, image_facts(image)["virtual-size"]) == ([3 << 30], 1 << 30)
    grow_overlay(image, 3)
    assert image_facts(image)["virtual-size"] == 3 << 30
    assert disk_gib(image) == 3
