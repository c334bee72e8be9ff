"""Machines that can't carry the model fail clearly: SSH is up, the reason stands wherever people look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.cell.options import CellOptions
from harness.cell.own_guests import OpenGuest, ReadyDeadline
from harness.errors import ApplianceError
from harness.machine.protocol import Machine
from harness.profiles import find_profile
from suites.conformance.guest_facts import output, sections

TOLD = """
until [ "$(cat /etc/one-appliance/status)" = configure_failure ]; do sleep 0.2; done
echo '== status'; cat /etc/one-appliance/status
echo '== motd';   cat /etc/motd /etc/motd.d/slm-copilot
echo '== report'; cat /etc/one-appliance/config
echo '== engine'; systemctl is-active slm-engine.service
echo '== end'
"""


def assert_fails_clearly(machine: Machine, ready_deadline: ReadyDeadline, *parts: str) -> None:
    machine.start()
    with pytest.raises(ApplianceError, match="configure failed"):
        machine.wait_ready(ready_deadline())
    told = sections(output(machine, TOLD))
    assert told["status"].strip() == "configure_failure"
    assert told["engine"].strip() == "inactive", "an engine runs that can't"
    for place in (told["motd"], told["report"], machine.console_text()):
        for part in parts:
            assert part in place, f"{part!r} is not in {place[-600:]}"


def test_too_little_memory_is_a_clear_failure(
    open_guest: OpenGuest, ready_deadline: ReadyDeadline, cell: CellOptions
) -> None:
    small = replace(find_profile(cell.profile), name="small", ram_mib=768)
    with open_guest(profile=small) as machine:
        assert_fails_clearly(
            machine,
            ready_deadline,
            "this VM has ",
            "the model alone needs 94 MiB for the model + ",
            "give the VM 2 GiB",
        )


@pytest.mark.vm
def test_a_cpu_without_avx2_is_a_clear_failure(open_guest: OpenGuest, ready_deadline: ReadyDeadline) -> None:
    with open_guest(cpu="qemu64") as machine:
        assert_fails_clearly(
            machine, ready_deadline, "lacks AVX2", 'CPU_MODEL = [ MODEL = "host-passthrough" ]'
        )
