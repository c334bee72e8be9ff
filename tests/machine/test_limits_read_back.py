"""What the kernel says of a container's limits; nothing here needs root."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.machine.cgroup_usage import cpu_seconds, held_memory_mib
from harness.machine.container_limits import Cgroup, Limits
from harness.machine.limits_read_back import ReadBack, cpu_list, read_back
from harness.profiles import Profile

PROFILE = Profile("ci", vcpus=2, ram_mib=2048, disk_gib=8)
LIMITS = Limits((0, 1), 2048, ())
BYTES = str(2048 << 20)
PROCESS = 4711
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content + "\n")


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    """A host with cgroup v1 on which everything is as it was asked for."""
    write(
        tmp_path,
        {
            "memory/tenant/x/memory.limit_in_bytes": BYTES,
            "memory/tenant/x/memory.memsw.limit_in_bytes": BYTES,
            "memory/tenant/x/cgroup.procs": str(PROCESS),
            "memory/tenant/memory.limit_in_bytes": "9223372036854771712",
            "cpu/x/cpu.shares": "2048",
            "cpu/x/cpu.cfs_quota_us": "-1",
            "cpu/x/cpu.cfs_period_us": "100000",
            "cpu/x/inner/cgroup.procs": str(PROCESS),
            "proc/swaps": SWAPS,
            f"proc/{PROCESS}/status": "Name:\tsystemd\nCpus_allowed_list:\t0-1",
        },
    )
    return tmp_path


def look_v1(root: Path, limits: Limits = LIMITS, profile: Profile = PROFILE) -> ReadBack:
    groups = [Cgroup(root / "memory/tenant/x", "memory"), Cgroup(root / "cpu/x", "cpu")]
    return read_back(groups, limits, profile, process=PROCESS, proc=root / "proc", root=root)


def test_limits_that_are_as_asked_for_leave_no_doubt(v1: Path) -> None:
    found = look_v1(v1)
    assert found.doubts == ()
    assert found.conditions == {
        "container_cpus": "0-1",
        "container_memory_mib": 2048,
        "cpu_shares": 2048,
        "container_cpu_quota": "none",
        "container_swap": "the host has none",
        "profile_vcpus": 2,
        "profile_memory_mib": 2048,
    }


@pytest.mark.parametrize(
    ("file", "content", "doubt"),
    [
        (f"proc/{PROCESS}/status", "Cpus_allowed_list:\t0-3", "may use the CPUs 0-3, not 0-1"),
        ("memory/tenant/x/memory.limit_in_bytes", str(4096 << 20), "limited to 4096 MiB, not to 2048"),
        ("memory/tenant/memory.limit_in_bytes", str(1024 << 20), "limited to 1024 MiB, not to 2048"),
        ("cpu/x/cpu.shares", "1024", "cpu.shares is 1024, not 2048"),
        ("cpu/x/cpu.cfs_quota_us", "150000", "a quota gives the container 1.5 CPUs' time for its 2 CPUs"),
        ("proc/swaps", SWAPS + "/swap file 1024 0 -2", ""),
        ("cpu/x/inner/cgroup.procs", "1", "not in the container's control group of cpu"),
    ],
)
def test_a_limit_that_is_otherwise_is_a_doubt(v1: Path, file: str, content: str, doubt: str) -> None:
    write(v1, {file: content})
    doubts = look_v1(v1).doubts
    assert len(doubts) == (1 if doubt else 0), doubts
    assert doubt in "".join(doubts)


def test_swap_that_the_kernel_does_not_count_is_a_doubt(v1: Path) -> None:
    write(v1, {"proc/swaps": SWAPS + "/swap file 1024 0 -2"})
    assert look_v1(v1).conditions["container_swap"] == "off"
    (v1 / "memory/tenant/x/memory.memsw.limit_in_bytes").unlink()
    assert look_v1(v1).doubts == ("the container may use the host's swap",)


def test_limits_that_cannot_be_read_are_doubts(v1: Path) -> None:
    (v1 / "cpu/x/cpu.shares").unlink()
    (v1 / "memory/tenant/x/memory.limit_in_bytes").unlink()
    (v1 / "memory/tenant/memory.limit_in_bytes").unlink()
    assert look_v1(v1).doubts == (
        "the container's memory has no limit that can be read",
        "the container's weight for the scheduler can't be read",
    )


def test_what_a_smaller_host_could_not_give_is_told_and_is_no_doubt_about_what_it_gave(v1: Path) -> None:
    less = Limits((0, 1), 2048, ("profile minimum has 8 CPUs, the container gets the host's 2",))
    minimum = Profile("minimum", vcpus=8, ram_mib=24576, disk_gib=40)
    found = look_v1(v1, less, minimum)
    assert found.lacks == ("profile minimum has 8 CPUs, the container gets the host's 2",)
    assert found.doubts == ()
    assert found.given == Profile("minimum", vcpus=2, ram_mib=2048, disk_gib=40)


def test_cgroup_v2_is_read_as_well(tmp_path: Path) -> None:
    group = {
        "cpu.weight": "200",
        "cpu.max": "max 100000",
        "memory.max": BYTES,
        "memory.swap.max": "0",
        "payload/cgroup.procs": str(PROCESS),
    }
    write(tmp_path / "x", group)
    write(
        tmp_path / "proc",
        {"swaps": SWAPS + "/swap file 1 0 -2", f"{PROCESS}/status": "Cpus_allowed_list:\t0-1"},
    )
    groups = [Cgroup(tmp_path / "x", "v2")]

    def look() -> ReadBack:
        return read_back(groups, LIMITS, PROFILE, process=PROCESS, proc=tmp_path / "proc", root=tmp_path)

    assert look().doubts == ()
    assert look().conditions["cpu_weight"] == 200
    assert look().conditions["container_swap"] == "off"
    write(tmp_path / "x", {"cpu.max": "50000 100000", "memory.max": "max", "memory.swap.max": "max"})
    assert look().doubts == (
        "the container's memory has no limit that can be read",
        "a quota gives the container 0.5 CPUs' time for its 2 CPUs",
        "the container may use the host's swap",
    )


def test_cpus_are_listed_as_the_kernel_does() -> None:
    assert [cpu_list(one) for one in ((), (3,), (1, 0), (0, 1, 2, 8, 10, 11))] == [
        "",
        "3",
        "0-1",
        "0-2,8,10-11",
    ]


def test_what_a_container_takes_on_cgroup_v1(tmp_path: Path) -> None:
    stat = "cache 1\nactive_file 1\ntotal_active_file 1048576\ntotal_inactive_file 3145728"
    write(
        tmp_path,
        {"a/cpuacct.usage": "2500000000", "m/memory.usage_in_bytes": str(10 << 20), "m/memory.stat": stat},
    )
    groups = [Cgroup(tmp_path / "a", "cpuacct"), Cgroup(tmp_path / "m", "memory")]
    assert (cpu_seconds(groups), held_memory_mib(groups)) == (2.5, 6.0)


def test_what_a_container_takes_on_cgroup_v2(tmp_path: Path) -> None:
    stat = "anon 5\nactive_file 1048576\ninactive_file 1048576"
    write(
        tmp_path,
        {"cpu.stat": "usage_usec 1500000\nuser_usec 1", "memory.current": str(10 << 20), "memory.stat": stat},
    )
    groups = [Cgroup(tmp_path, "v2")]
    assert (cpu_seconds(groups), held_memory_mib(groups)) == (1.5, 8.0)


def test_a_host_that_counts_nothing_is_told() -> None:
    with pytest.raises(HarnessError, match="counted by no control group"):
        cpu_seconds([])
    with pytest.raises(HarnessError, match="counted by no control group"):
        held_memory_mib([])
