"""The meter that tells our own work from everybody else's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine import host_load
from harness.machine.host_load import HostLoadMeter


def fake_proc(folder: Path, busy: str, processes: dict[int, tuple[int, int]]) -> None:
    """`processes`: id to (parent, ticks of user time)."""
    (folder / "stat").write_text(f"cpu  {busy}\ncpu0 {busy}\n")
    for pid, (parent, ticks) in processes.items():
        (folder / str(pid)).mkdir(exist_ok=True)
        before = "0 " * 9
        (folder / str(pid) / "stat").write_text(f"{pid} (a (b) c) S {parent} {before}{ticks} 0 0 0 20 0\n")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(host_load.time, "monotonic", lambda: now[0])
    return now


def test_what_others_and_the_hypervisor_took_is_counted(tmp_path: Path, clock: list[float]) -> None:
    hertz, me = os.sysconf("SC_CLK_TCK"), os.getpid()
    fake_proc(tmp_path, "0 0 0 500 9 0 0 0 0 0", {me: (1, 0), 77: (1, 0)})
    meter = HostLoadMeter(tmp_path)
    clock[0] += 10
    # 10 s on 2 cores: 8 s of ours in a grandchild, 4 s of a stranger, 3 s stolen
    busy = f"{12 * hertz} 0 0 900 9 0 0 {3 * hertz} 0 0"
    ours = {me: (1, 0), 88: (me, 0), 99: (88, 8 * hertz)}
    fake_proc(tmp_path, busy, {**ours, 77: (1, 4 * hertz)})
    assert meter.others_cores() == pytest.approx(0.7)


def test_our_own_work_and_waiting_for_the_disk_are_not(tmp_path: Path, clock: list[float]) -> None:
    hertz, me = os.sysconf("SC_CLK_TCK"), os.getpid()
    fake_proc(tmp_path, "0 0 0 0 0 0 0 0 0 0", {me: (1, 0)})
    meter = HostLoadMeter(tmp_path)
    clock[0] += 10
    fake_proc(tmp_path, f"{10 * hertz} 0 0 500 {10 * hertz} 0 0 0 0 0", {me: (1, 0), 88: (me, 10 * hertz)})
    assert meter.others_cores() == 0


def test_a_child_that_worked_and_ended_was_ours() -> None:
    meter = HostLoadMeter()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.4: pass"], check=True)
    assert host_load._ticks_of_tree(Path("/proc"), os.getpid()) - meter._ours >= 0.35 * os.sysconf(
        "SC_CLK_TCK"
    )
