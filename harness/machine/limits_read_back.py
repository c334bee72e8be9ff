"""What the kernel says of a container's limits, against what it was told.

A limit that another group on the way up makes tighter, that the kernel rounded, or that the guest's processes
escaped from, shows here and nowhere else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.machine.container_limits import CGROUP_ROOT, Cgroup, Limits
from harness.machine.leftovers import members
from harness.profiles import Profile

MIB = 1024 * 1024

Condition = str | int | float

NO_LIMIT = "none"


@dataclass(frozen=True)
class ReadBack:
    """`conditions` as they were read; `doubts` are sentences, one for each that is not as it was set. `lacks`
    are sentences as well: what of the profile the host doesn't have, so that it could not be given. `given`
    is the profile with what it was given instead, None where nothing was limited."""

    conditions: Mapping[str, Condition] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    given: Profile | None = None


def read_back(
    cgroups: Sequence[Cgroup],
    limits: Limits,
    profile: Profile,
    *,
    process: int,
    proc: Path = Path("/proc"),
    root: Path = CGROUP_ROOT,
) -> ReadBack:
    """The limits in force. `process` is one of the container's, by the number that the host knows it by."""
    found: dict[str, Condition] = {}
    doubts: list[str] = []
    for condition, doubt in (
        _membership(cgroups, process),
        _cpus(limits, proc, process),
        _memory(cgroups, limits, root),
        _weight(cgroups, limits),
        _quota(cgroups, len(limits.cpus), root),
        _swap(cgroups, limits, proc),
    ):
        found |= condition
        doubts += [doubt] if doubt else []
    return ReadBack(
        {**found, "profile_vcpus": profile.vcpus, "profile_memory_mib": profile.ram_mib},
        tuple(doubts),
        limits.notes,
        replace(profile, vcpus=len(limits.cpus), ram_mib=limits.memory_mib),
    )


Finding = tuple[dict[str, Condition], str]
"""Conditions, and the doubt about them or ""."""


def _membership(cgroups: Sequence[Cgroup], process: int) -> Finding:
    outside = [one.hierarchy for one in cgroups if process not in members(one.path)]
    named = ", ".join(outside)
    return {}, f"the guest's processes are not in the container's control group of {named}" if outside else ""


def _cpus(limits: Limits, proc: Path, process: int) -> Finding:
    status = _text(proc / str(process) / "status")
    lines = [
        line.split(":", 1)[1].strip() for line in status.splitlines() if line.startswith("Cpus_allowed_list:")
    ]
    given = cpu_list(limits.cpus)
    seen = lines[0] if lines else "unknown"
    doubt = "" if seen == given else f"the guest's processes may use the CPUs {seen}, not {given}"
    return {"container_cpus": seen}, doubt


def _memory(cgroups: Sequence[Cgroup], limits: Limits, root: Path) -> Finding:
    bounds = [
        int(text)
        for name in ("memory.limit_in_bytes", "memory.max")
        for text in _upwards(cgroups, ("memory", "v2"), name, root)
        if text.isdigit()
    ]
    if not bounds:
        return {"container_memory_mib": NO_LIMIT}, "the container's memory has no limit that can be read"
    mib = min(bounds) // MIB
    doubt = (
        ""
        if mib == limits.memory_mib
        else f"the container's memory is limited to {mib} MiB, not to {limits.memory_mib}"
    )
    return {"container_memory_mib": mib}, doubt


def _weight(cgroups: Sequence[Cgroup], limits: Limits) -> Finding:
    for hierarchy, name, wanted in (
        ("cpu", "cpu.shares", limits.cpu_shares),
        ("v2", "cpu.weight", limits.cpu_weight),
    ):
        for text in _own(cgroups, hierarchy, name):
            found = int(text) if text.isdigit() else text
            doubt = "" if found == wanted else f"the container's {name} is {found}, not {wanted}"
            return {name.replace(".", "_"): found}, doubt
    return {"cpu_shares": "unknown"}, "the container's weight for the scheduler can't be read"


def _quota(cgroups: Sequence[Cgroup], cpus: int, root: Path) -> Finding:
    """The tightest on the way up; the container itself is given none, its CPUs are enough of a bound."""
    pairs = [(quota, period) for quota, period in map(str.split, _upwards(cgroups, ("v2",), "cpu.max", root))]
    pairs += zip(
        _upwards(cgroups, ("cpu",), "cpu.cfs_quota_us", root),
        _upwards(cgroups, ("cpu",), "cpu.cfs_period_us", root),
        strict=False,
    )
    shares = [int(quota) / int(period) for quota, period in pairs if quota.isdigit() and int(period) > 0]
    if not shares:
        return {"container_cpu_quota": NO_LIMIT}, ""
    tightest = round(min(shares), 2)
    doubt = (
        f"a quota gives the container {tightest:g} CPUs' time for its {cpus} CPUs" if tightest < cpus else ""
    )
    return {"container_cpu_quota": tightest}, doubt


def _swap(cgroups: Sequence[Cgroup], limits: Limits, proc: Path) -> Finding:
    if len(_text(proc / "swaps").splitlines()) < 2:  # one line is the heading
        return {"container_swap": "the host has none"}, ""
    off = [text == "0" for text in _own(cgroups, "v2", "memory.swap.max")]
    off += [
        text == str(limits.memory_mib * MIB)
        for text in _own(cgroups, "memory", "memory.memsw.limit_in_bytes")
    ]
    if off and all(off):
        return {"container_swap": "off"}, ""
    return {"container_swap": "on"}, "the container may use the host's swap"


def _own(cgroups: Sequence[Cgroup], hierarchy: str, name: str) -> list[str]:
    texts = [_text(one.path / name) for one in cgroups if one.hierarchy == hierarchy]
    return [text for text in texts if text]


def _upwards(cgroups: Sequence[Cgroup], hierarchies: tuple[str, ...], name: str, root: Path) -> Iterator[str]:
    """A file's content in the container's group and in those above it, as far as they have it."""
    for one in cgroups:
        if one.hierarchy not in hierarchies:
            continue
        for folder in (one.path, *one.path.parents):
            if folder == root or not folder.is_relative_to(root):
                break
            if text := _text(folder / name):
                yield text


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def cpu_list(cpus: Sequence[int]) -> str:
    """CPU numbers as the kernel writes them: "0-3,8"."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
