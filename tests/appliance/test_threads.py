"""The auto thread count: physical cores, never 1 by accident, never more than cpuset and quota allow."""

from __future__ import annotations

import pytest
from bash_guest import Guest

V2 = "/sys/fs/cgroup"


def topology(guest: Guest, rows: list[tuple[int, int, int]]) -> None:
    """CPU, socket and core as `lscpu --parse=CPU,SOCKET,CORE` prints them."""
    lines = "# comment\\n" + "".join(f"{cpu},{socket},{core}\\n" for cpu, socket, core in rows)
    guest.stub("lscpu", f"#!/usr/bin/env bash\nprintf '{lines}'\n")


def affinity(guest: Guest, cpus: str) -> None:
    guest.write("/proc/self/status", f"Name:\tbash\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\n")


def counts(guest: Guest, threads: str = "0") -> tuple[int, int]:
    script = 'validate_parameters; resolve_threads; echo "$SLM_THREADS $SLM_THREADS_BATCH"'
    decode, batch = guest.run(script, ONEAPP_SLM_THREADS=threads).stdout.split()
    return int(decode), int(batch)


EIGHT_SMT = [(cpu, 0, cpu % 4) for cpu in range(8)]
TWO_SOCKETS = [(cpu, cpu // 4, cpu % 4) for cpu in range(8)]


def test_every_core_of_a_plain_machine(guest: Guest) -> None:
    topology(guest, [(cpu, 0, cpu) for cpu in range(16)])
    affinity(guest, "0-15")
    assert counts(guest) == (16, 16)


def test_hyperthreads_count_for_the_prompt_only(guest: Guest) -> None:
    topology(guest, EIGHT_SMT)
    affinity(guest, "0-7")
    assert counts(guest) == (4, 8)


def test_same_core_number_on_two_sockets_is_two_cores(guest: Guest) -> None:
    topology(guest, TWO_SOCKETS)
    affinity(guest, "0-7")
    assert counts(guest) == (8, 8)


def test_only_cores_behind_allowed_cpus(guest: Guest) -> None:
    topology(guest, EIGHT_SMT)
    affinity(guest, "0,4,1")
    assert counts(guest) == (2, 3)


def test_all_vcpus_as_threads_of_one_core_are_not_one_thread(guest: Guest) -> None:
    topology(guest, [(cpu, 0, 0) for cpu in range(8)])
    affinity(guest, "0-7")
    assert counts(guest) == (8, 8)


@pytest.mark.parametrize("broken", ["exit 1", "echo nothing useful", "printf '0,,\\n1,,\\n'"])
def test_without_topology_the_cpus_count(guest: Guest, broken: str) -> None:
    guest.stub("lscpu", f"#!/usr/bin/env bash\n{broken}\n")
    affinity(guest, "0-5")
    assert counts(guest) == (6, 6)


def test_one_cpu_is_one_thread(guest: Guest) -> None:
    topology(guest, [(0, 0, 0)])
    affinity(guest, "0")
    assert counts(guest) == (1, 1)


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        ("max 100000", 8),
        ("400000 100000", 4),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("1600000 100000", 8),
    ],
)
def test_quota_of_cgroup_v2(guest: Guest, limit: str, wanted: int) -> None:
    topology(guest, [(cpu, 0, cpu) for cpu in range(8)])
    affinity(guest, "0-7")
    guest.write("/proc/self/cgroup", "0::/system.slice/one-context.service\n")
    guest.write(f"{V2}/system.slice/one-context.service/cpu.max", limit + "\n")
    assert counts(guest) == (wanted, wanted)


def test_a_quota_further_up_binds_too(guest: Guest) -> None:
    topology(guest, [(cpu, 0, cpu) for cpu in range(8)])
    affinity(guest, "0-7")
    guest.write("/proc/self/cgroup", "0::/a.slice/b.service\n")
    guest.write(f"{V2}/a.slice/b.service/cpu.max", "600000 100000\n")
    guest.write(f"{V2}/a.slice/cpu.max", "300000 100000\n")
    assert counts(guest) == (3, 3)


def test_cpuset_of_cgroup_v2(guest: Guest) -> None:
    topology(guest, EIGHT_SMT)
    affinity(guest, "0-7")
    guest.write("/proc/self/cgroup", "0::/x.service\n")
    guest.write(f"{V2}/x.service/cpuset.cpus.effective", "0-1,4-5\n")
    assert counts(guest) == (2, 4)


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_quota_of_cgroup_v1(guest: Guest, mount: str) -> None:
    topology(guest, [(cpu, 0, cpu) for cpu in range(8)])
    affinity(guest, "0-7")
    guest.write("/proc/self/cgroup", "4:cpu,cpuacct:/x.service\n3:cpuset:/\n1:name=systemd:/y\n0::/y\n")
    guest.write(f"{V2}/{mount}/x.service/cpu.cfs_quota_us", "200000\n")
    guest.write(f"{V2}/{mount}/x.service/cpu.cfs_period_us", "100000\n")
    guest.write(f"{V2}/{mount}/cpu.cfs_quota_us", "-1\n")
    guest.write(f"{V2}/{mount}/cpu.cfs_period_us", "100000\n")
    assert counts(guest) == (2, 2)


def test_cpuset_of_cgroup_v1(guest: Guest) -> None:
    topology(guest, [(cpu, 0, cpu) for cpu in range(8)])
    affinity(guest, "0-7")
    guest.write("/proc/self/cgroup", "3:cpuset:/machine\n")
    guest.write(f"{V2}/cpuset/machine/cpuset.effective_cpus", "2-4\n")
    assert counts(guest) == (3, 3)


def test_a_number_of_ones_own_is_taken(guest: Guest) -> None:
    topology(guest, EIGHT_SMT)
    affinity(guest, "0-7")
    assert counts(guest, "5") == (5, 5)


def test_more_than_there_is_is_cut_with_a_warning(guest: Guest) -> None:
    topology(guest, EIGHT_SMT)
    affinity(guest, "0-7")
    guest.write("/proc/self/cgroup", "0::/\n")
    guest.write(f"{V2}/cpu.max", "400000 100000\n")
    assert counts(guest, "64") == (4, 4)
    result = guest.run("validate_parameters; resolve_threads", ONEAPP_SLM_THREADS="64")
    assert "taking 4" in result.stderr
