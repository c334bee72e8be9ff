"""A profile's CPUs, memory and scheduling as control groups, on hosts with cgroup v1, hybrid or v2.

What became of them is in limits_read_back.py.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.machine.host import available_memory_mib
from harness.memory_for_programs import programs_mib
from harness.profiles import Profile

CGROUP_ROOT = Path("/sys/fs/cgroup")

CONTROLLERS = ("cpuset", "memory", "cpu", "cpuacct")
"""cpuacct limits nothing: it is where cgroup v1 counts the CPU time that a container takes."""

SHARES_A_CPU, WEIGHT_A_CPU = 1024, 100
"""What one thread in no group weighs for the scheduler, by cgroup v1 and v2. A container of N CPUs weighs N
of them, as a virtual machine does with its N threads."""


@dataclass(frozen=True)
class Limits:
    """CPUs by number and MiB of memory a container gets; `notes` say where that is less than what the
    programs of a virtual machine with the profile have."""

    cpus: tuple[int, ...]
    memory_mib: int
    notes: tuple[str, ...]

    @property
    def cpu_shares(self) -> int:
        """The group's weight on cgroup v1, within what the kernel takes."""
        return min(SHARES_A_CPU * len(self.cpus), 262_144)

    @property
    def cpu_weight(self) -> int:
        """The group's weight on cgroup v2, within what the kernel takes."""
        return min(WEIGHT_A_CPU * len(self.cpus), 10_000)


@dataclass(frozen=True)
class Cgroup:
    """A control group and the hierarchy it is in: "v2", or on older hosts a controller's or systemd's."""

    path: Path
    hierarchy: str


def plan_limits(profile: Profile, host_cpus: set[int], host_memory_mib: int) -> Limits:
    """The profile's hardware as far as the host has it."""
    notes = []
    if len(host_cpus) < profile.vcpus:
        notes.append(
            f"profile {profile.name} has {profile.vcpus} CPUs, the container gets the host's {len(host_cpus)}"
        )
    if host_memory_mib < programs_mib(profile.ram_mib):
        notes.append(
            f"profile {profile.name} has {profile.ram_mib} MiB of memory,"
            f" the container gets the {host_memory_mib} MiB that are available"
        )
    return Limits(
        cpus=tuple(sorted(host_cpus)[: profile.vcpus]),
        memory_mib=min(profile.ram_mib, host_memory_mib),
        notes=tuple(notes),
    )


def limits_for(profile: Profile) -> Limits:
    return plan_limits(profile, os.sched_getaffinity(0), available_memory_mib())


def cgroups_for(name: str, own: str, root: Path = CGROUP_ROOT) -> list[Cgroup]:
    """Where the container's groups go: below our own in each hierarchy that matters.

    `own` is the content of /proc/self/cgroup. On v1 and hybrid hosts these are CONTROLLERS for the limits,
    and systemd's own hierarchies, in which two containers must not share a place.
    """
    if (root / "cgroup.controllers").exists():
        return [Cgroup(root / name, "v2")]
    found = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            hierarchy = {"name=systemd": "systemd", "": "unified"}.get(controller, controller)
            if hierarchy in (*CONTROLLERS, "systemd", "unified") and (root / hierarchy).is_dir():
                parent = root / hierarchy / path.lstrip("/")
                # In a container of its own, our path may not be visible below the mount.
                found.append(Cgroup((parent if parent.is_dir() else root / hierarchy) / name, hierarchy))
    return found


def make_cgroups(cgroups: Sequence[Cgroup], limits: Limits) -> list[str]:
    """Make the groups and set the limits; returns one sentence for each limit that could not be set."""
    problems = []
    for cgroup in cgroups:
        with contextlib.suppress(FileExistsError):
            cgroup.path.mkdir()
        for file, value in _settings(cgroup, limits).items():
            try:
                (cgroup.path / file).write_text(value)
            except OSError as error:
                problems.append(f"the container's limit {file} could not be set: {error.strerror}")
    return problems


def _settings(cgroup: Cgroup, limits: Limits) -> dict[str, str]:
    """Files of the group to what is written into them, in this order. The group is there."""
    cpus = ",".join(str(cpu) for cpu in limits.cpus)
    memory = str(limits.memory_mib * 1024 * 1024)
    parent = cgroup.path.parent
    match cgroup.hierarchy:
        case "v2":
            for controller in ("+cpuset", "+memory", "+cpu"):
                with contextlib.suppress(OSError):
                    (parent / "cgroup.subtree_control").write_text(controller)
            settings = {"cpuset.cpus": cpus, "memory.max": memory, "cpu.weight": str(limits.cpu_weight)}
            return {**settings, **_where_it_exists(cgroup, {"memory.swap.max": "0"})}
        case "cpuset":
            # A new cpuset on v1 is empty, and nothing can enter it before both are set.
            return {"cpuset.cpus": cpus, "cpuset.mems": (parent / "cpuset.mems").read_text().strip()}
        case "memory":
            # Memory and swap together may not exceed what memory may alone: no swap. Without accounting of
            # swap there is only the advice not to use it.
            no_swap = {"memory.memsw.limit_in_bytes": memory, "memory.swappiness": "0"}
            return {"memory.limit_in_bytes": memory, **_where_it_exists(cgroup, no_swap)}
        case "cpu":
            return {"cpu.shares": str(limits.cpu_shares)}
    return {}


def _where_it_exists(cgroup: Cgroup, settings: Mapping[str, str]) -> dict[str, str]:
    return {file: value for file, value in settings.items() if (cgroup.path / file).exists()}
