"""A profile's CPUs and memory as control groups, on hosts with cgroup v1, hybrid or v2."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.machine.host import available_memory_mib
from harness.profiles import Profile

CGROUP_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limits:
    """CPUs by number and MiB of memory a container gets; `notes` say where that is less than the profile."""

    cpus: tuple[int, ...]
    memory_mib: int
    notes: tuple[str, ...]


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
    if host_memory_mib < profile.ram_mib:
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

    `own` is the content of /proc/self/cgroup. On v1 and hybrid hosts these are cpuset and memory for the
    limits, and systemd's own hierarchies, in which two containers must not share a place.
    """
    if (root / "cgroup.controllers").exists():
        return [Cgroup(root / name, "v2")]
    found = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            hierarchy = {"name=systemd": "systemd", "": "unified"}.get(controller, controller)
            if hierarchy in ("cpuset", "memory", "systemd", "unified") and (root / hierarchy).is_dir():
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
    cpus = ",".join(str(cpu) for cpu in limits.cpus)
    memory = str(limits.memory_mib * 1024 * 1024)
    parent = cgroup.path.parent
    match cgroup.hierarchy:
        case "v2":
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text("+cpuset +memory")
            return {"cpuset.cpus": cpus, "memory.max": memory}
        case "cpuset":
            # A new cpuset on v1 is empty, and nothing can enter it before both are set.
            return {"cpuset.cpus": cpus, "cpuset.mems": (parent / "cpuset.mems").read_text().strip()}
        case "memory":
            return {"memory.limit_in_bytes": memory}
    return {}
