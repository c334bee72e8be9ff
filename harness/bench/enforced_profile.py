"""Whether a guest really has its profile's hardware: as the kernel enforces it, and as the guest sees it."""

from __future__ import annotations

import re
from dataclasses import replace

from harness.errors import HarnessError
from harness.machine.limits_read_back import Condition, ReadBack
from harness.machine.nspawn import NspawnMachine
from harness.machine.protocol import Machine
from harness.profiles import Profile
from harness.results.machine_label import CONTAINER, VM

KERNELS_SHARE = 0.1
"""Of its memory a virtual machine's kernel keeps at most this much for itself."""

MIB = 1024 * 1024

_GUEST_COMMAND = r"""
echo "cpus=$(nproc)"
echo "memory_kib=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)"
for file in memory/memory.limit_in_bytes memory.max; do
  read -r limit <"/sys/fs/cgroup/$file" && echo "limit=$limit"
done 2>/dev/null
echo "threads=$(sed -n 's/^threads=//p' /etc/one-appliance/config)"
echo "threads_batch=$(sed -n 's/^SLM_THREADS_BATCH=//p' /etc/slm-copilot/engine.env)"
engine=$(systemctl show slm-engine.service --property=MainPID --value)
echo "engine_cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' "/proc/$engine/status")"
"""


def enforced_profile(machine: Machine, profile: Profile) -> ReadBack:
    """Conditions as read back on the host and in the guest, with a doubt for each that is not what the guest
    was given, and what of the profile the host could not give.

    Raises HarnessError when the guest can't be asked.
    """
    contained = isinstance(machine, NspawnMachine)
    host = machine.limits_read_back() if isinstance(machine, NspawnMachine) else ReadBack()
    given = host.given or profile
    guest = parse_guest(machine.run(_GUEST_COMMAND, timeout=60).stdout, given, contained=contained)
    conditions = {"machine": CONTAINER if contained else VM, **host.conditions, **guest.conditions}
    return replace(host, conditions=conditions, doubts=(*host.doubts, *guest.doubts))


def parse_guest(output: str, given: Profile, *, contained: bool) -> ReadBack:
    """What the guest says of itself, against the hardware it was given. Raises HarnessError when it says
    nothing."""
    facts = dict(re.findall(r"^(\w+)=(\S+)$", output, re.MULTILINE))
    try:
        cpus, memory_mib = int(facts["cpus"]), int(facts["memory_kib"]) // 1024
    except (KeyError, ValueError):
        raise HarnessError("the guest doesn't tell how many CPUs and how much memory it sees") from None
    if facts.get("limit", "").isdigit():
        memory_mib = min(memory_mib, int(facts["limit"]) // MIB)
    conditions: dict[str, Condition] = {"guest_cpus": cpus, "guest_memory_mib": memory_mib}
    for name in ("threads", "threads_batch"):
        if facts.get(name, "").isdigit():
            conditions[f"engine_{name}"] = int(facts[name])
    if "engine_cpus" in facts:
        conditions["engine_cpus"] = facts["engine_cpus"]
    return ReadBack(conditions, tuple(_guest_doubts(conditions, given, contained=contained)))


def _guest_doubts(conditions: dict[str, Condition], given: Profile, *, contained: bool) -> list[str]:
    doubts = []
    cpus, memory_mib = int(conditions["guest_cpus"]), int(conditions["guest_memory_mib"])
    if cpus != given.vcpus:
        doubts.append(f"the guest sees {cpus} CPUs, it was given {given.vcpus}")
    least = given.ram_mib if contained else given.ram_mib * (1 - KERNELS_SHARE)
    if not least <= memory_mib <= given.ram_mib:
        doubts.append(f"the guest sees {memory_mib} MiB of memory, it was given {given.ram_mib}")
    threads = [
        int(conditions[name]) for name in ("engine_threads", "engine_threads_batch") if name in conditions
    ]
    if not threads:
        doubts.append("with how many threads the engine runs is not known")
    elif max(threads) > cpus:
        doubts.append(f"the engine runs {max(threads)} threads on {cpus} CPUs")
    return doubts
