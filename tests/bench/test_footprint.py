"""What the appliance takes for itself, from figures with known answers."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.bench import footprint
from harness.bench.footprint import (
    CHUNK_BYTES,
    ProcessMemory,
    cores_used,
    idle,
    image_size,
    parse_busy,
    parse_processes,
    process_memory,
)
from harness.errors import HarnessError
from harness.machine.protocol import Machine

MEMINFO = "MemTotal:        2048000 kB\nMemFree:  1 kB\nMemAvailable:    1536000 kB\n"


def stat(*ticks: int) -> str:
    return "cpu  " + " ".join(str(one) for one in ticks)


def guest(answer: Callable[[str], str]) -> Machine:
    run = lambda command, timeout: SimpleNamespace(stdout=answer(command))  # noqa: E731, ARG005 - a stand-in
    return cast(Machine, SimpleNamespace(run=run))


def test_busy_is_what_the_guest_itself_ran() -> None:
    before = stat(100, 10, 50, 1000, 7, 3, 2, 40, 90, 0)
    # 200 + 10 + 80 + 5 + 5 ticks of work; idle, iowait, steal and guest are none.
    after = stat(300, 20, 130, 2000, 99, 8, 7, 400, 290, 0)
    assert parse_busy(f"{before}\n{after}\n100\n", 10) == pytest.approx(0.3)


def test_a_guest_that_does_not_tell_is_one_line() -> None:
    with pytest.raises(HarnessError, match="the guest's /proc/stat can't be read"):
        parse_busy("cpu 1 2 3\n", 10)


def test_the_machine_is_calm_before_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([0.9, 0.05, 0.4, 0.02, 0.01, 0.03])
    monkeypatch.setattr(footprint, "cores_used", lambda _machine, _seconds: next(looks))
    found = idle(guest(lambda _command: MEMINFO))
    assert (found.cores, found.ram_mib, found.doubts) == (0.03, 500.0, ())


def test_a_machine_that_is_never_calm_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "cores_used", lambda _machine, _seconds: 0.9)
    assert idle(guest(lambda _command: MEMINFO), settle_within_s=0.01).doubts == ("not calm after 0 s",)


def test_a_virtual_machine_counts_for_itself() -> None:
    lines = f"{stat(0, 0, 0, 0, 0, 0, 0)}\n{stat(150, 0, 50, 0, 0, 0, 0)}\n100\n"

    def answer(command: str) -> str:
        assert "sleep 4" in command
        return lines

    assert cores_used(guest(answer), 4) == 0.5


def test_processes_of_one_name_are_added_up() -> None:
    said = "engine 318464 230400 209920 320000\nnginx-master 9216 2048 1024 9216\n"
    said += "nginx-worker 10240 3072 2048 10240\nnginx-worker 10240 1024 2048 12288\n"
    assert process_memory(guest(lambda _command: said)) == (
        ProcessMemory("engine", 1, 311.0, 225.0, 205.0, 312.5),
        ProcessMemory("nginx-master", 1, 9.0, 2.0, 1.0, 9.0),
        ProcessMemory("nginx-worker", 2, 20.0, 4.0, 4.0, 22.0),
    )


def test_a_process_that_is_not_there_is_named() -> None:
    with pytest.raises(HarnessError, match=r"the memory of engine, nginx-worker: is it running\?"):
        parse_processes("engine    \nnginx-master 9216 2048 1024 9216\n")


def test_the_command_reads_a_processes_files() -> None:
    """The shell function that reads them, for this process."""
    function = footprint._PROCESSES_COMMAND.split("engine=")[0]
    done = subprocess.run(
        ["bash", "-c", f"{function}\none me {os.getpid()}"], capture_output=True, text=True, check=True
    )
    name, *figures = done.stdout.split()
    assert name == "me"
    rss, pss, anonymous, peak = (int(one) for one in figures)
    assert peak >= rss >= pss > 0
    assert rss >= anonymous > 0


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A qcow2 with 2 MiB that nothing can compress and 6 MiB of zeros written out."""
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    raw.write_bytes(random.Random(1).randbytes(2 << 20) + b"\0" * (6 << 20))
    command = ["qemu-img", "convert", "-S", "0", "-f", "raw", "-O", "qcow2", str(raw), str(image)]
    subprocess.run(command, check=True)
    return image


def test_an_image_is_as_large_as_its_disk_its_file_and_its_contents(image: Path) -> None:
    found = image_size(image)
    assert (found.virtual_mib, found.sampled) == (8.0, False)
    assert found.file_mib == pytest.approx(8.3, abs=0.4)
    assert found.compressed_mib == pytest.approx(2.0, abs=0.1)


def test_of_a_large_image_pieces_are_compressed(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "CHUNK_BYTES", 1 << 18)
    monkeypatch.setattr(footprint, "SAMPLED_CHUNKS", 8)
    found = image_size(image)
    assert found.sampled
    assert found.compressed_mib == pytest.approx(2.0, abs=0.8)


def test_compressing_that_takes_too_long_is_given_up(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "zstd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert image_size(image, within_s=0.3).compressed_mib is None


def test_pieces_cover_a_small_file_and_spread_over_a_large_one() -> None:
    assert list(footprint._pieces(2 * CHUNK_BYTES + 5)) == [
        (0, CHUNK_BYTES),
        (CHUNK_BYTES, CHUNK_BYTES),
        (2 * CHUNK_BYTES, 5),
    ]
    large = list(footprint._pieces(1000 * CHUNK_BYTES))
    assert len(large) <= footprint.SAMPLED_CHUNKS
    assert large[-1][0] >= 980 * CHUNK_BYTES


def test_what_is_no_image_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no image")
    with pytest.raises(HarnessError, match="is not in qcow2 format"):
        image_size(tmp_path / "file")
