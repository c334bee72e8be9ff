"""Saved container images: which one it is, and that exactly its files come out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from saved_image import BACKEND, TAG, configuration, layer, save

from harness.errors import HarnessError
from harness.image.image_archive import read_archive, unpack_image

VERSION_TAG = TAG.rpartition(":")[2]


def unpacked(path: Path, target: Path) -> dict[str, bytes]:
    unpack_image(read_archive(path), target)
    return {
        str(file.relative_to(target)): file.read_bytes()
        for file in sorted(target.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_its_id_and_its_files_are_the_same_however_it_was_saved(tmp_path: Path, zipped: bool) -> None:
    image_id = save(tmp_path / "one.tar", [layer(BACKEND)], zipped=zipped)
    assert read_archive(tmp_path / "one.tar", tag=VERSION_TAG).image_id == image_id
    assert unpacked(tmp_path / "one.tar", tmp_path / "out") == BACKEND
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)


def test_an_upper_layer_replaces_and_takes_away(tmp_path: Path) -> None:
    lower = layer({"a": b"1", "b": b"1", "folder/c": b"1", "folder/d": b"1", "gone/e": b"1"})
    upper = layer({"a": b"2", ".wh.b": b"", "folder/.wh..wh..opq": b"", ".wh.gone": b""})
    save(tmp_path / "two.tar", [lower, upper, layer({"folder/f": b"3"})])
    assert unpacked(tmp_path / "two.tar", tmp_path / "out") == {"a": b"2", "folder/f": b"3"}


def test_an_image_saved_without_a_name_is_accepted(tmp_path: Path) -> None:
    save(tmp_path / "one.tar", [layer(BACKEND)], tags=None)
    assert read_archive(tmp_path / "one.tar", tag=VERSION_TAG).layers


@pytest.mark.parametrize("tag", ["latest", "v4.9.0-cpu-llama-cpp"])
def test_an_image_of_another_tag_is_refused(tmp_path: Path, tag: str) -> None:
    save(tmp_path / "one.tar", [layer(BACKEND)], tags=[f"quay.io/x/y:{tag}"])
    with pytest.raises(HarnessError, match=f"its tag is {tag}, not {VERSION_TAG}"):
        read_archive(tmp_path / "one.tar", tag=VERSION_TAG)


def test_a_changed_layer_is_noticed(tmp_path: Path) -> None:
    honest = configuration([layer(BACKEND)])
    save(tmp_path / "one.tar", [layer({**BACKEND, "run.sh": b"#!/bin/bash\nevil\n"})], config=honest)
    with pytest.raises(HarnessError, match="is not the one that its configuration names"):
        unpacked(tmp_path / "one.tar", tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [
        layer({"../outside": b"x"}),
        layer({"/../../outside": b"x"}),
        layer({"in/../../outside": b"x"}),
        layer({}, links={"link": "/etc"}),
        layer({}, links={"link": "../../etc"}),
        layer({"../.wh.kept": b""}),
    ],
    ids=["..", "/..", "in/../..", "absolute link", "link out", "whiteout outside"],
)
def test_nothing_leaves_the_folder(tmp_path: Path, content: bytes) -> None:
    kept = tmp_path / "room" / "kept"
    kept.parent.mkdir()
    kept.write_text("mine")
    save(tmp_path / "one.tar", [content])
    with pytest.raises(HarnessError, match="can't be unpacked"):
        unpacked(tmp_path / "one.tar", tmp_path / "room" / "out")
    assert sorted(path.name for path in kept.parent.iterdir()) == ["kept", "out"]


def test_a_link_inside_the_folder_is_no_way_out(tmp_path: Path) -> None:
    """A link of one layer, and a file below it in the next."""
    save(tmp_path / "one.tar", [layer({"real/x": b"1"}, links={"link": "real"}), layer({"link/y": b"2"})])
    assert unpacked(tmp_path / "one.tar", tmp_path / "out")["real/y"] == b"2"


def wrong(tmp_path: Path, **options: Any) -> str:
    path = tmp_path / "one.tar"
    save(path, [layer(BACKEND)], **options)
    with pytest.raises(HarnessError) as caught:
        read_archive(path)
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ([], "exactly one image"),
        ([{}, {}], "exactly one image"),
        ({}, "exactly one image"),
        ([{"Config": "none.json", "Layers": []}], "it has no none.json"),
        ([7], "exactly one image"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_one_line(tmp_path: Path, manifest: Any, told: str) -> None:
    assert told in wrong(tmp_path, manifest=manifest)


def test_an_image_for_another_processor_is_refused(tmp_path: Path) -> None:
    config = configuration([layer(BACKEND)], architecture="arm64")
    assert "it is for linux/arm64" in wrong(tmp_path, config=config)


def test_layers_that_nobody_vouches_for_are_refused(tmp_path: Path) -> None:
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}).encode()
    assert "disagree about the layers" in wrong(tmp_path, config=config)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x1f\x8b\x08\x00rest", layer({"index.json": b"{}"})])
def test_a_file_that_is_no_saved_image_is_one_line_with_a_way_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one.tar").write_bytes(content)
    with pytest.raises(HarnessError, match="is not the saved image that is wanted") as caught:
        read_archive(tmp_path / "one.tar")
    assert "\n" not in caught.value.message
    assert "docker save" in caught.value.hint


def test_layers_that_python_can_not_unpack_are_told(tmp_path: Path) -> None:
    save(tmp_path / "one.tar", [b"\x28\xb5\x2f\xfd" + bytes(100)])
    with pytest.raises(HarnessError, match="compressed with zstd"):
        unpacked(tmp_path / "one.tar", tmp_path / "out")
