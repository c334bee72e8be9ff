"""The fetch-verify-cache step against a local server: what gets into the cache and what never stays."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serve

from harness.errors import HarnessError
from harness.image import download
from harness.image.download import DownloadSource, Expected, cached, fetch_file, without_credentials
from harness.locations import MIB, REPOSITORY

CONTENT = random.Random(7).randbytes(3 * MIB + 17)
WRONG = random.Random(8).randbytes(3 * MIB + 17)


def expected_of(content: bytes, file: str = "model.bin") -> Expected:
    return Expected(file, len(content), hashlib.sha256(content).hexdigest())


EXPECTED = expected_of(CONTENT)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_RETRY_PAUSE_S", 0.01)
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def server(folder: Path) -> Iterator[FileServer]:  # noqa: ARG001 - the cache has to be set up first
    with serve(FileServer(CONTENT)) as running:
        yield running


def fetch_from(server: FileServer, expected: Expected = EXPECTED) -> Path:
    return fetch_file(expected, lambda: DownloadSource(server.url))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_download_is_whole_verified_and_alone(server: FileServer, folder: Path) -> None:
    assert fetch_from(server).read_bytes() == CONTENT
    assert names(folder) == {"model.bin", ".model.bin.verified"}
    assert cached(EXPECTED) == folder / "model.bin"


def test_broken_connections_are_resumed_where_they_broke(server: FileServer) -> None:
    server.breaks_after = [MIB, MIB]
    assert fetch_from(server).read_bytes() == CONTENT
    assert server.ranges[0] == ""
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.ranges[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] <= MIB < starts[1] <= 2 * MIB


def test_a_part_of_a_killed_run_is_resumed(server: FileServer, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.bin.part").write_bytes(CONTENT[:1000])
    assert fetch_from(server).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_part_of_another_file_is_noticed_and_downloaded_again(server: FileServer, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.bin.part").write_bytes(WRONG[:1000])
    assert fetch_from(server).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", ""]


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_too_long_or_full_but_wrong_is_replaced(
    server: FileServer, folder: Path, length: int
) -> None:
    folder.mkdir(parents=True)
    (folder / "model.bin.part").write_bytes((WRONG + WRONG)[:length])
    assert fetch_from(server).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server: FileServer, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.bin.part").write_bytes(CONTENT[:1000])
    server.resumes = False
    assert fetch_from(server).read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_busy_server_is_asked_again(server: FileServer) -> None:
    server.statuses = [503, 429]
    assert fetch_from(server).read_bytes() == CONTENT


def test_a_dead_connection_is_given_up_after_some_tries(server: FileServer, folder: Path) -> None:
    server.breaks_after = [0] * 20
    with pytest.raises(HarnessError, match=r"failed 5 times in a row, at 0 of 3145745 bytes") as caught:
        fetch_from(server)
    assert "hunter2secret" not in caught.value.message + caught.value.hint
    assert str(folder / "model.bin") in caught.value.hint
    assert len(server.ranges) == 5
    assert names(folder) == set()


def test_a_missing_file_is_not_asked_for_again(server: FileServer, folder: Path) -> None:
    server.statuses = [404]
    with pytest.raises(HarnessError, match=r"answered 404 Not Found") as caught:
        fetch_from(server)
    assert "hunter2secret" not in caught.value.message
    assert len(server.ranges) == 1
    assert names(folder) == set()


@pytest.mark.parametrize(
    "content",
    [pytest.param(WRONG, id="bytes"), pytest.param(CONTENT + b"x", id="long"), pytest.param(b"", id="empty")],
)
def test_a_wrong_download_names_file_and_hashes_and_leaves_nothing(
    server: FileServer, folder: Path, content: bytes
) -> None:
    server.content = content
    with pytest.raises(HarnessError) as caught:
        fetch_from(server)
    if content:
        for needed in ("model.bin", EXPECTED.sha256, "127.0.0.1"):
            assert needed in caught.value.message
    if len(content) == len(CONTENT):
        assert hashlib.sha256(content).hexdigest() in caught.value.message
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert names(folder) == set()


def test_too_little_disk_space_is_told_before_anything_is_asked(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def nearly_full(path: str) -> os.statvfs_result:
        fields = list(real(path))
        fields[0] = fields[1] = 4096  # block sizes
        fields[4] = 10 * MIB // 4096  # free for who isn't root
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    with pytest.raises(HarnessError) as caught:
        fetch_from(server)
    # 3 MiB of file and 64 MiB of margin against 10 MiB
    assert "needs 67 MiB, 10 MiB are free" in caught.value.message
    assert "57 MiB short" in caught.value.message
    assert "model.bin" in caught.value.message
    assert server.ranges == []
    assert names(folder) == set()


def test_ctrl_c_leaves_no_file(folder: Path) -> None:
    program = (
        "import sys; from harness.image.download import *\n"
        "fetch_file(Expected('model.bin', int(sys.argv[2]), '0' * 64), lambda: DownloadSource(sys.argv[1]))"
    )
    with serve(FileServer(CONTENT, stalls=True)) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", program, server.url, str(len(CONTENT))],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # A test runner may itself run with Ctrl-C ignored, as background jobs of a shell do.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            assert server.sent_half.wait(20)
            part = folder / "model.bin.part"
            for _ in range(200):
                if part.exists():
                    break
                threading.Event().wait(0.02)
            assert part.exists()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
    assert b"KeyboardInterrupt" in errors
    assert names(folder) == set()


def test_a_file_placed_by_hand_is_used_and_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(CONTENT)
    assert cached(EXPECTED) == folder / "model.bin"
    monkeypatch.setattr(download, "_sha256", lambda *_: pytest.fail("read again"))
    assert cached(EXPECTED) == folder / "model.bin"


def test_a_file_changed_after_its_verification_is_read_again(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(CONTENT)
    cached(EXPECTED)
    (folder / "model.bin").write_bytes(WRONG)
    with pytest.raises(HarnessError, match="is not the file"):
        cached(EXPECTED)


@pytest.mark.parametrize("content", [pytest.param(WRONG, id="bytes"), pytest.param(CONTENT[:-1], id="short")])
def test_a_wrong_file_placed_by_hand_is_told_and_left_alone(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    placed = folder / "model.bin"
    placed.write_bytes(content)
    with pytest.raises(HarnessError) as caught:
        cached(EXPECTED)
    for needed in (str(placed), EXPECTED.sha256, hashlib.sha256(content).hexdigest()):
        assert needed in caught.value.message
    assert "move this one away" in caught.value.hint
    assert placed.read_bytes() == content
    assert names(folder) == {"model.bin"}


def test_another_expectation_of_the_same_name_is_not_satisfied_by_the_memory_of_the_first(
    folder: Path,
) -> None:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(CONTENT)
    cached(EXPECTED)
    with pytest.raises(HarnessError, match="is not the file"):
        cached(expected_of(WRONG))


def test_credentials_are_taken_out_of_addresses() -> None:
    told = without_credentials("GET https://me:secret@host/a and http://token@other/b")
    assert told == "GET https://host/a and http://other/b"
