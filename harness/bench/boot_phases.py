"""Power-on to ready by phase.

Two clocks tell it: the host's says when the machine was switched on, when its kernel began and when it was
ready; the guest's monotonic clock when systemd and the stages began. In a container they are the same. The
phases are taken from the guest's, so their sum is checked against what the host saw. The guest's clock lacks
what it lost before it had a clock source (1.6 s in an emulated boot of 100 s, more on a busier host): the
host's looks at the console tell how much, and the kernel's phase has it, since all of it is before /init.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.machine.nspawn import NspawnMachine
from harness.machine.protocol import BootTimings, Machine

PHASES: Mapping[str, str] = {
    "launch": "container only: switched on to systemd's start (mounts, namespaces)",
    "firmware": "power-on to the kernel's start: firmware, boot loader, unpacking of the kernel",
    "kernel": "kernel's start to /init of the initrd, with what its clock lost before it had a clock source",
    "initrd": "/init to systemd's start on the root file system",
    "userspace": "systemd's start to that of the unit that configures: services, network",
    "configure": "that unit's start to the stage bootstrap: context scripts, parameters, certificate",
    "model_load": "the engine's start to the first completion, whatever else goes on meanwhile",
    "bootstrap": "the stage bootstrap but the load, to the status file's last word: proxy, report",
}
"""In the order in which they follow each other; None for what a machine hasn't got."""

AGREEMENT = 0.05
"""How much of the total the sum of the phases may be off."""

_MARKS_COMMAND = r"""
property() { systemctl show "$1" --property="$2" --value; }
echo "systemd_us=$(systemctl show --property=UserspaceTimestampMonotonic --value)"
echo "configure_us=$(property one-context.service ExecMainStartTimestampMonotonic)"
echo "engine_us=$(property slm-engine.service ExecMainStartTimestampMonotonic)"
echo "model_us=$(property slm-engine.service ActiveEnterTimestampMonotonic)"
echo "init=$(dmesg 2>/dev/null | sed -n 's/^\[ *\([0-9.]*\)\] Run \/init as init process.*/\1/p' | tail -n 1)"
echo "bootstrap=$(journalctl --boot --unit=one-context.service --output=short-monotonic --no-pager \
  --grep='bootstrap: ' 2>/dev/null | sed -n 's/^\[ *\([0-9.]*\)\].*bootstrap: .*/\1/p' | head -n 1)"
echo "written=$(date +%s.%N --reference=/etc/one-appliance/status)"
echo "now=$(date +%s.%N)"
echo "uptime=$(cut -d' ' -f1 /proc/uptime)"
"""


@dataclass(frozen=True)
class GuestMarks:
    """When what happened, in seconds of the guest's monotonic clock; None where the guest doesn't tell."""

    init: float | None
    systemd: float
    configure: float
    bootstrap: float | None
    engine: float
    model: float
    ready: float


@dataclass(frozen=True)
class BootPhases:
    """Seconds of each of PHASES, in their order, together from power-on to ready.

    The model is loaded within bootstrap at the first boot; later the engine starts with the system, and then
    the load lies within userspace. It is taken out of the phase that it lies in.
    """

    seconds: Mapping[str, float | None]
    total_s: float
    doubts: tuple[str, ...] = ()

    @property
    def sum_s(self) -> float:
        """All phases together."""
        return sum(one for one in self.seconds.values() if one is not None)


def boot_phases(machine: Machine, timings: BootTimings) -> BootPhases:
    """The phases of the boot that `timings` are of; ask before anything is restarted in the guest.

    Raises HarnessError when the guest or the host doesn't tell what it takes.
    """
    if timings.power_on_to_ready_s is None:
        raise HarnessError("when the machine got ready is not known, so its boot has no phases")
    result = machine.run(_MARKS_COMMAND, timeout=120)
    marks = parse_marks(result.stdout)
    powered_on = machine.powered_on if isinstance(machine, NspawnMachine) else None
    return phases(
        marks, timings.power_on_to_ready_s, timings.kernel_start_s, powered_on, timings.clock_lost_s or 0.0
    )


def parse_marks(output: str) -> GuestMarks:
    """Read what the guest told. Raises HarnessError naming what is missing."""
    facts = dict(re.findall(r"^(\w+)=([\d.]+)$", output, re.MULTILINE))
    wanted = ("systemd_us", "configure_us", "engine_us", "model_us", "written", "now", "uptime")
    if missing := [name for name in wanted if float(facts.get(name, 0)) <= 0]:
        raise HarnessError(f"the guest doesn't tell of its boot: {', '.join(missing)}")
    value = {name: float(text) for name, text in facts.items()}
    return GuestMarks(
        init=value.get("init"),
        systemd=value["systemd_us"] / 1e6,
        configure=value["configure_us"] / 1e6,
        bootstrap=value.get("bootstrap"),
        engine=value["engine_us"] / 1e6,
        model=value["model_us"] / 1e6,
        # The wall clock may be set while it boots, so its difference to now is what counts.
        ready=value["uptime"] - (value["now"] - value["written"]),
    )


def phases(
    marks: GuestMarks,
    total_s: float,
    kernel_start_s: float | None,
    powered_on: float | None,
    clock_lost_s: float = 0.0,
) -> BootPhases:
    """Phases from the marks. `powered_on` is given where the guest's clock is the host's: in a container;
    `kernel_start_s` is the host's, after power-on; `clock_lost_s` what the guest's clock lacks."""
    doubts = []
    contained = powered_on is not None
    bootstrap = marks.bootstrap
    if bootstrap is None:
        bootstrap = min(max(marks.engine, marks.configure), marks.ready)
        doubts.append(
            "the guest doesn't tell when bootstrap began: it is taken to be when the engine started"
        )

    def load_within(begin: float, end: float) -> float:
        return max(0.0, min(marks.model, end) - max(marks.engine, begin))

    if marks.model > marks.ready:
        doubts.append(
            "the engine was started again after the boot: how long its model took then is not known"
        )
    if not contained and kernel_start_s is None:
        doubts.append("the kernel printed no line with its time: the firmware's is not known")
    if not contained and marks.init is None:
        doubts.append("the kernel doesn't tell when the initrd began: it is counted to the kernel")
    userspace, configure = marks.configure - marks.systemd, bootstrap - marks.configure
    seconds: dict[str, float | None] = {
        "launch": marks.systemd - powered_on if powered_on is not None else None,
        "firmware": None if contained else kernel_start_s,
        "kernel": None if contained else clock_lost_s + (marks.systemd if marks.init is None else marks.init),
        "initrd": None if contained or marks.init is None else marks.systemd - marks.init,
        "userspace": userspace - load_within(marks.systemd, marks.configure),
        "configure": configure - load_within(marks.configure, bootstrap),
        "model_load": load_within(marks.systemd, marks.ready),
        "bootstrap": marks.ready - bootstrap - load_within(bootstrap, marks.ready),
    }
    doubts += [f"the phase {name} would be negative" for name, one in seconds.items() if one and one < 0]
    together = sum(one for one in seconds.values() if one is not None)
    if abs(together - total_s) > AGREEMENT * total_s:
        doubts.append(
            f"the phases make {together:.1f} s together, from power-on to ready it was {total_s:.1f} s"
        )
    rounded = {name: None if one is None else round(one, 3) for name, one in seconds.items()}
    return BootPhases(rounded, total_s, tuple(doubts))
