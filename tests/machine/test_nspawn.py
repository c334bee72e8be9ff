"""The container's command, its limits, its network and its disk; nothing here needs root."""

import fcntl
import os
import struct
import subprocess
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.machine import container_network, nspawn
from harness.machine.container_limits import Cgroup, Limits, cgroups_for, make_cgroups, plan_limits
from harness.machine.container_network import ContainerNetwork
from harness.machine.context_folder import replace_files
from harness.machine.nspawn import NspawnMachine, nspawn_command
from harness.machine.root_disk import RootDisk, root_disk, root_offset
from harness.profiles import Profile

PROFILE = Profile("minimum", vcpus=8, ram_mib=24576, disk_gib=40)

HYBRID = """\
9:name=systemd:/
4:memory:/tenant
3:cpuset:/
1:cpu,cpuacct:/
0::/
"""


def test_command() -> None:
    command = nspawn_command(
        name="slm-nspawn-x",
        disk=RootDisk(Path("/c/root.raw"), 1048576),
        cgroups=[Cgroup(Path("/sys/fs/cgroup/memory/slm-nspawn-x"), "memory")],
        context=Path("/tmp/slm-ci:selfsigned/context"),
    )
    launcher = command.index(str(nspawn.LAUNCHER))
    assert command[:launcher] == [
        *("unshare", "--mount", "--propagation", "private", "--net"),
        *("--pid", "--fork", "--kill-child", "--mount-proc", "--"),
    ]
    assert command[launcher + 1 : launcher + 6] == [
        "/c/root.raw",
        "1048576",
        "ro",
        "/sys/fs/cgroup/memory/slm-nspawn-x",
        "--",
    ]
    arguments = command[launcher + 6 :]
    assert {"--boot", "--register=no", "--keep-unit", "--console=read-only", "--directory=root"} <= set(
        arguments
    )
    assert "--bind-ro=/tmp/slm-ci\\:selfsigned/context:/context" in arguments


def test_a_disk_of_its_own_is_mounted_writable() -> None:
    disk = RootDisk(Path("/c/disk.raw"), 0, writable=True)
    command = nspawn_command(name="x", disk=disk, cgroups=[], context=Path("/c/context"))
    launcher = command.index(str(nspawn.LAUNCHER))
    assert command[launcher + 1 : launcher + 5] == ["/c/disk.raw", "0", "rw", "--"]


def test_the_launcher_can_be_run() -> None:
    assert os.access(nspawn.LAUNCHER, os.X_OK)
    assert subprocess.run(["bash", "-n", str(nspawn.LAUNCHER)], check=False).returncode == 0


def test_a_host_that_is_large_enough_gives_the_profile() -> None:
    limits = plan_limits(PROFILE, set(range(64)), 100_000)
    assert limits == Limits(cpus=tuple(range(8)), memory_mib=24576, notes=())


def test_a_small_host_gives_what_it_has_and_says_so() -> None:
    limits = plan_limits(PROFILE, {4, 2}, 20_000)
    assert (limits.cpus, limits.memory_mib) == ((2, 4), 20_000)
    assert limits.notes == (
        "profile minimum has 8 CPUs, the container gets the host's 2",
        "profile minimum has 24576 MiB of memory, the container gets the 20000 MiB that are available",
    )


def test_what_a_virtual_machines_own_kernel_would_keep_is_not_missed() -> None:
    assert plan_limits(PROFILE, set(range(8)), 24576 * 100 // 104) == Limits(tuple(range(8)), 23630, ())
    assert plan_limits(PROFILE, set(range(8)), 23629).notes


def folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)


def test_groups_on_a_hybrid_host(tmp_path: Path) -> None:
    folders(tmp_path, "systemd", "memory/tenant", "cpuset", "cpu", "unified")
    assert cgroups_for("slm-nspawn-x", HYBRID, tmp_path) == [
        Cgroup(tmp_path / "systemd/slm-nspawn-x", "systemd"),
        Cgroup(tmp_path / "memory/tenant/slm-nspawn-x", "memory"),
        Cgroup(tmp_path / "cpuset/slm-nspawn-x", "cpuset"),
        Cgroup(tmp_path / "cpu/slm-nspawn-x", "cpu"),
        Cgroup(tmp_path / "unified/slm-nspawn-x", "unified"),
    ]


def test_groups_where_our_own_path_is_not_visible(tmp_path: Path) -> None:
    folders(tmp_path, "memory")
    assert cgroups_for("slm-nspawn-x", HYBRID, tmp_path) == [
        Cgroup(tmp_path / "memory/slm-nspawn-x", "memory")
    ]


def test_groups_on_cgroup_v2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "cgroup.subtree_control").touch()
    groups = cgroups_for("slm-nspawn-x", "0::/user.slice\n", tmp_path)
    assert groups == [Cgroup(tmp_path / "slm-nspawn-x", "v2")]
    assert make_cgroups(groups, Limits((0, 1), 512, ())) == []
    assert (groups[0].path / "cpuset.cpus").read_text() == "0,1"
    assert (groups[0].path / "memory.max").read_text() == str(512 << 20)
    assert (groups[0].path / "cpu.weight").read_text() == "200"


def test_limits_on_cgroup_v1(tmp_path: Path) -> None:
    folders(tmp_path, "systemd", "memory/tenant", "cpuset", "cpu", "unified")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0-1\n")
    groups = cgroups_for("slm-nspawn-x", HYBRID, tmp_path)
    assert make_cgroups(groups, Limits((0, 1), 512, ())) == []
    assert (tmp_path / "memory/tenant/slm-nspawn-x/memory.limit_in_bytes").read_text() == str(512 << 20)
    assert (tmp_path / "cpuset/slm-nspawn-x/cpuset.cpus").read_text() == "0,1"
    assert (tmp_path / "cpuset/slm-nspawn-x/cpuset.mems").read_text() == "0-1"
    assert (tmp_path / "cpu/slm-nspawn-x/cpu.shares").read_text() == "2048"


def test_swap_is_taken_away_where_the_kernel_counts_it(tmp_path: Path) -> None:
    memory, unified = Cgroup(tmp_path / "memory", "memory"), Cgroup(tmp_path / "v2", "v2")
    folders(tmp_path, "memory", "v2")
    for file in ("memory.memsw.limit_in_bytes", "memory.swappiness"):
        (memory.path / file).touch()
    (unified.path / "memory.swap.max").touch()
    assert make_cgroups([memory, unified], Limits((0,), 512, ())) == []
    assert (memory.path / "memory.memsw.limit_in_bytes").read_text() == str(512 << 20)
    assert (memory.path / "memory.swappiness").read_text() == "0"
    assert (unified.path / "memory.swap.max").read_text() == "0"


def test_weights_stay_within_what_the_kernel_takes() -> None:
    huge = Limits(tuple(range(512)), 512, ())
    assert (huge.cpu_shares, huge.cpu_weight) == (262_144, 10_000)


def test_a_limit_that_cannot_be_set_is_said_and_not_fatal(tmp_path: Path) -> None:
    path = tmp_path / "slm-nspawn-x"
    (path / "memory.limit_in_bytes").mkdir(parents=True)
    problems = make_cgroups([Cgroup(path, "memory")], Limits((0,), 512, ()))
    assert problems == ["the container's limit memory.limit_in_bytes could not be set: Is a directory"]


def test_two_containers_get_two_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_network, "LOCKS", tmp_path)
    first, second = ContainerNetwork(), ContainerNetwork()
    assert (first.interface, second.interface) == ("slm0", "slm1")
    assert first.host.network != second.host.network
    assert second.nic.address == IPv4Interface("10.213.1.2/24")
    assert second.nic.gateway == second.host.ip
    assert second.nic.mac == "02:00:0a:d5:01:02"
    first.close()
    assert ContainerNetwork().interface == "slm0"


@pytest.fixture
def fake_ip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for `ip`: shows two addresses on the loopback and writes down what it is told."""
    program, told = tmp_path / "bin" / "ip", tmp_path / "ip.log"
    program.parent.mkdir()
    shown = "1: lo    inet {}/32 scope global lo\\n"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{told}\n'
        f"case $* in *show*) printf '{shown.format('10.213.7.1')}{shown.format('10.213.8.1')}' ;; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return told


def test_the_hosts_address_is_there_before_the_container_and_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_ip: Path
) -> None:
    monkeypatch.setattr(container_network, "LOCKS", tmp_path)
    network = ContainerNetwork()
    network.announce()
    assert "address replace 10.213.0.1/32 dev lo" in fake_ip.read_text().splitlines()
    network.close()
    network.close()
    assert fake_ip.read_text().splitlines().count("address delete 10.213.0.1/32 dev lo") == 1


def test_addresses_of_dead_runs_are_taken_away_those_of_living_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_ip: Path
) -> None:
    monkeypatch.setattr(container_network, "LOCKS", tmp_path)
    with (tmp_path / "slm-copilot-network-8").open("w") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        network = ContainerNetwork()
        network.announce()
        network.close()
    told = fake_ip.read_text().splitlines()
    assert "address delete 10.213.7.1/32 dev lo" in told
    assert "address delete 10.213.8.1/32 dev lo" not in told


def test_a_network_that_was_never_announced_takes_no_address_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_ip: Path
) -> None:
    monkeypatch.setattr(container_network, "LOCKS", tmp_path)
    ContainerNetwork().close()
    assert not fake_ip.exists()


def test_files_of_the_context_change_one_by_one_and_old_ones_go(tmp_path: Path) -> None:
    replace_files(tmp_path, {"context.sh": b"A='1'\n", "token.txt": b"t"})
    before = (tmp_path / "context.sh").stat().st_ino
    replace_files(tmp_path, {"context.sh": b"A='2'\n"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"context.sh": b"A='2'\n"}
    assert (tmp_path / "context.sh").stat().st_ino != before, "it was written in place"


def disk_with_partitions(path: Path, *partitions: tuple[int, int]) -> Path:
    """A disk with an MBR listing (first sector, number of sectors)."""
    entries = b"".join(struct.pack("<B3xB3xII", 0, 0x83, *partition) for partition in partitions)
    path.write_bytes(b"\0" * 446 + entries.ljust(64, b"\0") + b"\x55\xaa")
    os.truncate(path, 64 << 20)
    return path


def test_the_largest_partition_is_the_root(tmp_path: Path) -> None:
    raw = disk_with_partitions(tmp_path / "raw", (2048, 4096), (8192, 65536))
    assert root_offset(raw) == 8192 * 512


def test_a_disk_without_partitions_is_one_file_system(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"\0" * (1 << 20))
    assert root_offset(tmp_path / "raw") == 0


def test_an_image_is_unpacked_once_and_old_ones_go(tmp_path: Path, cache: Path) -> None:
    for number in range(4):
        raw = disk_with_partitions(tmp_path / "raw", (2048, 4096 + number))
        image = tmp_path / f"image{number}.qcow2"
        command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image)]
        subprocess.run(command, check=True)
        disk = root_disk(image)
        os.utime(disk.path.parent, (number, number))
    assert (disk.offset, disk.path.stat().st_size) == (2048 * 512, 64 << 20)
    assert disk.path.stat().st_blocks * 512 < 4 << 20
    made = disk.path.stat().st_mtime_ns
    assert root_disk(image).path.stat().st_mtime_ns == made
    assert len(list((cache / "roots").iterdir())) == 2


def test_an_image_that_cannot_be_unpacked_leaves_nothing(
    image: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.locations.free_bytes", lambda _path: 0)
    with pytest.raises(HarnessError, match="not enough disk space for the unpacked image"):
        root_disk(image)
    assert not list((cache / "roots").rglob("*root.raw*"))


def test_without_root_it_is_one_line(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HarnessError, match="the nspawn machine needs root") as caught:
        NspawnMachine(image=image, profile=PROFILE, work=tmp_path / "work")
    assert (caught.value.exit_code, caught.value.hint) == (2, "run as root, or use MACHINE=qemu")


def test_missing_tools_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match="systemd-nspawn, unshare, ip, mount, partx, blkid not installed"):
        nspawn.require_root_and_tools()
