"""What changes a content key and what must not: a build is skipped or repeated because of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.image.content_key import KEY_LENGTH, content_key, file_sha256, folder_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "sub/run.sh"):
        (folder / name).write_text(f"content of {name}\n")
        (folder / name).chmod(0o644)
    (folder / "sub" / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("a.txt")
    return folder


def key_of(folder: Path) -> str:
    return content_key(folder_inputs(folder, "tree"))


def change_byte(folder: Path) -> None:
    (folder / "a.txt").write_text("Content of a.txt\n")


def rename(folder: Path) -> None:
    (folder / "a.txt").rename(folder / "c.txt")


def move(folder: Path) -> None:
    (folder / "b.txt").rename(folder / "sub" / "b.txt")


def make_executable(folder: Path) -> None:
    (folder / "a.txt").chmod(0o755)


def make_plain(folder: Path) -> None:
    (folder / "sub" / "run.sh").chmod(0o644)


def retarget(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("b.txt")


def replace_link(folder: Path) -> None:
    (folder / "link").unlink()
    shutil.copy(folder / "a.txt", folder / "link")


def add(folder: Path) -> None:
    (folder / "sub" / ".hidden").touch()


def remove(folder: Path) -> None:
    (folder / "sub" / "run.sh").unlink()


def swap(folder: Path) -> None:
    first, second = (folder / "a.txt").read_bytes(), (folder / "b.txt").read_bytes()
    (folder / "a.txt").write_bytes(second)
    (folder / "b.txt").write_bytes(first)


@pytest.mark.parametrize(
    "change",
    [change_byte, rename, move, make_executable, make_plain, retarget, replace_link, add, remove, swap],
)
def test_a_change_changes_the_key(folder: Path, change: Callable[[Path], None]) -> None:
    before = key_of(folder)
    change(folder)
    assert key_of(folder) != before


def touch(folder: Path) -> None:
    os.utime(folder / "a.txt", (1, 1))


def tighten(folder: Path) -> None:
    (folder / "a.txt").chmod(0o600)
    (folder / "sub" / "run.sh").chmod(0o700)


def cache_bytecode(folder: Path) -> None:
    (folder / "sub" / "__pycache__").mkdir()
    (folder / "sub" / "__pycache__" / "x.pyc").write_bytes(b"x")


@pytest.mark.parametrize("change", [touch, tighten, cache_bytecode])
def test_what_a_checkout_decides_does_not_count(folder: Path, change: Callable[[Path], None]) -> None:
    before = key_of(folder)
    change(folder)
    assert key_of(folder) == before


def test_where_the_folder_is_does_not_count(folder: Path, tmp_path: Path) -> None:
    before = key_of(folder)
    assert key_of(folder.rename(tmp_path / "elsewhere")) == before


def test_order_does_not_count() -> None:
    assert content_key({"a": "1", "b": "2"}) == content_key({"b": "2", "a": "1"})


@pytest.mark.parametrize(
    "other",
    [{"a": "1b", "": "2"}, {"a": "1b2"}, {"ab": "1", "": "2"}, {"a": "2", "b": "1"}, {"a": "1"}, {}],
)
def test_names_and_values_do_not_run_into_each_other(other: dict[str, str]) -> None:
    assert content_key(other) != content_key({"a": "1", "b": "2"})


def test_a_key_is_a_short_name_for_a_folder() -> None:
    key = content_key({"ä": "ö"})
    assert len(key) == KEY_LENGTH
    assert set(key) <= set("0123456789abcdef")


def test_what_is_left_out_does_not_count_but_its_neighbours_do(folder: Path) -> None:
    (folder / "subway").touch()
    names = set(folder_inputs(folder, "tree", leave_out=("sub", "b.txt")))
    assert names == {"tree/a.txt", "tree/link", "tree/subway"}


def test_one_file_is_an_input_too(folder: Path) -> None:
    inputs = folder_inputs(folder / "a.txt", "the file")
    sha256 = hashlib.sha256(b"content of a.txt\n").hexdigest()
    assert inputs == {"the file": f"plain {sha256}"}
    assert file_sha256(folder / "a.txt") == sha256
