"""One guest, cut off in the middle of its first configuration and again in that of a changed context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.cell.own_guests import OpenGuest, ReadyDeadline
from harness.machine.cell import context_of
from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output
from suites.powercut.instants import Instant, ThisBoot, spread, take_instants, wait_for_ssh
from suites.powercut.recovery import Expected, faults_of

FIRST = 20
"""Instants of configure and bootstrap whose disks are booted."""

CHANGED = 8
"""Instants of a changed context's configuration whose disks are booted."""

FIRST_CUT = 12
"""The power is really cut so many different disks into the first configuration."""

CHANGED_CUT = 16
"""And so many into the changed one."""

CONTEXT = {"ONEAPP_SLM_DOMAIN": "before.slm.test"}
CHANGES = {"ONEAPP_SLM_DOMAIN": "after.slm.test", "ONEAPP_SLM_ADMIN_PASSWORD": "After.the-cut-0"}


@dataclass(frozen=True)
class Cuts:
    """Disks as cuts would have left them, the last of `changed` as a real one left it, and what was wrong
    after the other real one, when the machine was switched on again."""

    first: list[Instant]
    changed: list[Instant]
    expected_after: Expected
    faults_after_first_cut: list[str]
    accelerator: str


def make_cuts(open_guest: OpenGuest, ready_deadline: ReadyDeadline, stretch: float, folder: Path) -> Cuts:
    """Boot, cut, boot, change the context, cut. Raises HarnessError when a boot does not get ready."""

    def instants(machine: Machine, boot: ThisBoot, name: str, enough: int | None = None) -> list[Instant]:
        return take_instants(machine, folder / name, boot, stretch=stretch, enough=enough)

    with open_guest(CONTEXT) as machine:
        early = instants(machine, _switched_on(machine, ready_deadline), "early", FIRST_CUT)
        machine.power_cut()
        late = instants(machine, _switched_on(machine, ready_deadline), "late")
        machine.wait_ready(ready_deadline())
        before = Expected(CONTEXT["ONEAPP_SLM_DOMAIN"])
        faults_after_first_cut = faults_of(machine, before, folder)
        after = Expected(
            CHANGES["ONEAPP_SLM_DOMAIN"],
            CHANGES["ONEAPP_SLM_ADMIN_PASSWORD"],
            former_domain=before.domain,
            former_password=output(machine, "sed -n 's/^password=//p' /etc/one-appliance/config").strip(),
        )
        changing = ThisBoot(machine)
        machine.change_context(context_of(machine, CONTEXT, **CHANGES))
        changed = instants(machine, changing, "changed", CHANGED_CUT)
        machine.power_cut()
        killed = Instant(folder / "killed", changed[-1].second)
        machine.copy_disk(killed.disk)
        return Cuts(
            first=[*early, *spread(late, FIRST - len(early))],
            changed=[*spread(changed, CHANGED), killed],
            expected_after=after,
            faults_after_first_cut=faults_after_first_cut,
            accelerator=machine.accelerator,
        )


def _switched_on(machine: Machine, ready_deadline: ReadyDeadline) -> ThisBoot:
    boot = ThisBoot(machine)
    machine.start()
    wait_for_ssh(machine, boot, ready_deadline())
    return boot
