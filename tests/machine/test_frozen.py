"""Processes that stand still for a moment, and copies that keep what a disk is made of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.machine import frozen as module
from harness.machine.frozen import copy_file, copy_tree, frozen

THREADS = (
    "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nprint(1, flush=True)"
)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
        started.kill()


def states(pid: int) -> set[str]:
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    assert len(stats) == 2
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def test_every_thread_stands_still_inside_and_runs_afterwards(process: subprocess.Popen[bytes]) -> None:
    with frozen(lambda: [process.pid]):
        assert states(process.pid) == {"T"}
    assert "T" not in states(process.pid)


def test_it_goes_on_after_a_failure_inside(process: subprocess.Popen[bytes]) -> None:
    with pytest.raises(OSError, match="full"), frozen(lambda: [process.pid]):
        raise OSError("full")
    assert "T" not in states(process.pid)


def test_processes_that_appear_meanwhile_are_stopped_too(process: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        looks = iter([[other.pid], [other.pid, process.pid]])
        with frozen(lambda: next(looks, [other.pid, process.pid])):
            assert states(process.pid) == {"T"}
        other.kill()


def test_a_dead_process_stands_still(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    with frozen(lambda: [process.pid]):
        pass


SPAWNS = """
import os
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "pipe", os.O_RDONLY, 0)])
"""


def test_a_parent_that_waits_for_the_child_of_a_vfork_stands_still(tmp_path: Path) -> None:
    """The child is stopped before it is another program, so the parent never gets to its own stop."""
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([sys.executable, "-c", SPAWNS], cwd=tmp_path) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        while not (found := children.read_text().split()):
            time.sleep(0.01)
        child = int(found[0])
        try:
            with frozen(lambda: [parent.pid, child]):
                assert not module._running(parent.pid)
        finally:
            # It waits for somebody to open the pipe, and would outlive its parent.
            os.kill(child, signal.SIGKILL)
            parent.kill()


def test_one_that_does_not_stop_is_told(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOPPED_WITHIN_S", 0.1)
    monkeypatch.setattr(module, "_running", lambda _pid: "cp (D, io_schedule)")
    with (
        pytest.raises(HarnessError, match=r"within 0\.1 s: cp \(D, io_schedule\)"),
        frozen(lambda: [process.pid]),
    ):
        pytest.fail("it went in")
    assert "T" not in states(process.pid)


def test_a_copied_tree_keeps_modes_links_and_pipes(tmp_path: Path) -> None:
    source = tmp_path / "upper"
    (source / "folder").mkdir(parents=True)
    (source / "folder" / "file").write_text("x")
    (source / "folder" / "file").chmod(0o600)
    (source / "link").symlink_to("folder/file")
    os.mkfifo(source / "pipe")
    copy_tree(source, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert (copy / "folder" / "file").stat().st_mode == (source / "folder" / "file").stat().st_mode
    assert ((copy / "link").readlink(), (copy / "pipe").is_fifo()) == (Path("folder/file"), True)


def test_a_copied_file_keeps_its_holes(tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(64 << 20)
        file.write(b"x" * 4096)
    copy_file(tmp_path / "disk", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "disk").read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 < 1 << 20


def test_a_copy_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"the guest's disk could not be copied: .*No such file"):
        copy_file(tmp_path / "none", tmp_path / "copy")
