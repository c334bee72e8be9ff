"""Where the cache lies, and what is told when a disk is too small or can't be written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from harness import locations
from harness.errors import HarnessError
from harness.locations import GIB, MIB, REPOSITORY, cache_root, free_bytes, require_free
from harness.locking import exclusive


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLM_CACHE": "/data/slm"}, "/data/slm"),
        ({"SLM_CACHE": "/data/slm", "XDG_CACHE_HOME": "/xdg"}, "/data/slm"),
        ({"SLM_CACHE": "~/slm"}, "/home/me/slm"),
        ({"SLM_CACHE": "", "XDG_CACHE_HOME": "/xdg"}, "/xdg/slm-copilot"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/slm-copilot"),
        ({}, "/home/me/.cache/slm-copilot"),
    ],
)
def test_the_cache_root(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    for name in ("SLM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(expected)


def test_the_repository_is_this_checkout() -> None:
    assert (REPOSITORY / "pyproject.toml").is_file()


def test_rooms_are_made_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "a" / "b"))
    rooms = (locations.downloads, locations.engines, locations.bases, locations.images, locations.tools)
    for room in (*rooms, locations.roots, locations.probes, locations.locks):
        assert room().is_dir()
        assert room().parent == tmp_path / "a" / "b"


def test_a_cache_that_cant_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "file"))
    with pytest.raises(HarnessError, match="cannot create the cache folder") as caught:
        locations.downloads()
    assert "SLM_CACHE" in caught.value.hint


def test_free_space_is_asked_of_the_nearest_parent_that_exists(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_too_little_space_is_told_with_the_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def nearly_full(path: str) -> os.statvfs_result:
        fields = list(real(path))
        fields[0] = fields[1] = 4096
        fields[4] = 100 * MIB // 4096
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    require_free(tmp_path, 100 * MIB, "a thing")
    with pytest.raises(HarnessError) as caught:
        require_free(tmp_path, 2 * GIB, "a thing")
    assert caught.value.message == (
        f"not enough disk space for a thing: needs 2,048 MiB, 100 MiB are free at {tmp_path}, 1,948 MiB short"
    )
    assert caught.value.exit_code == 2


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path))
    holding, most = 0, 0
    pause = threading.Event()

    def use() -> None:
        nonlocal holding, most
        with exclusive("thing", "another user of the thing"):
            holding += 1
            most = max(most, holding)
            pause.wait(0.05)
            holding -= 1

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (holding, most) == (0, 1)
