"""Phases of a boot, from marks with known answers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from harness.bench.boot_phases import PHASES, GuestMarks, boot_phases, parse_marks, phases
from harness.errors import HarnessError
from harness.machine.protocol import BootTimings, Machine

FIRST_BOOT = GuestMarks(
    init=1.5, systemd=3.0, configure=8.0, bootstrap=10.0, engine=10.25, model=14.25, ready=15.0
)
"""Of a virtual machine whose kernel began two seconds after power-on."""

SAID = """\
systemd_us=3000000
configure_us=8000000
engine_us=10250000
model_us=14250000
init=1.500000
bootstrap=10.000000
written=1795447932.000000000
now=1795447942.500000000
uptime=25.50
"""


def test_a_virtual_machines_first_boot() -> None:
    found = phases(FIRST_BOOT, 17.0, 2.0, None)
    assert found.seconds == {
        "launch": None,
        "firmware": 2.0,
        "kernel": 1.5,
        "initrd": 1.5,
        "userspace": 5.0,
        "configure": 2.0,
        "model_load": 4.0,
        "bootstrap": 1.0,
    }
    assert (found.sum_s, found.doubts) == (17.0, ())
    assert tuple(found.seconds) == tuple(PHASES)


def test_what_the_guests_clock_lost_belongs_to_the_kernel() -> None:
    assert "the phases make 17.0 s together" in phases(FIRST_BOOT, 19.0, 2.0, None).doubts[0]
    found = phases(FIRST_BOOT, 19.0, 2.0, None, 2.0)
    assert (found.seconds["kernel"], found.seconds["initrd"]) == (3.5, 1.5)
    assert (found.sum_s, found.doubts) == (19.0, ())
    assert phases(replace(FIRST_BOOT, init=None), 19.0, 2.0, None, 2.0).seconds["kernel"] == 5.0


def test_an_engine_that_starts_with_the_system_loads_within_userspace() -> None:
    found = phases(replace(FIRST_BOOT, engine=4.0, model=7.5), 17.0, 2.0, None)
    assert (found.seconds["userspace"], found.seconds["model_load"]) == (1.5, 3.5)
    assert (found.seconds["configure"], found.seconds["bootstrap"]) == (2.0, 5.0)
    assert (found.sum_s, found.doubts) == (17.0, ())


def test_a_load_across_phases_is_taken_out_of_each() -> None:
    found = phases(replace(FIRST_BOOT, engine=7.0, model=11.0), 17.0, 2.0, None)
    assert [found.seconds[name] for name in ("userspace", "configure", "model_load", "bootstrap")] == [
        *(4.0, 0.0, 4.0, 4.0)
    ]
    assert (found.sum_s, found.doubts) == (17.0, ())


def test_a_container_has_no_firmware_and_no_kernel() -> None:
    marks = replace(FIRST_BOOT, init=None, systemd=1003.0, configure=1005.0, bootstrap=1006.0)
    marks = replace(marks, engine=1006.0, model=1007.0, ready=1008.0)
    found = phases(marks, 6.1, None, 1002.0)
    assert [name for name, one in found.seconds.items() if one is None] == ["firmware", "kernel", "initrd"]
    assert (found.seconds["launch"], found.sum_s, found.doubts) == (1.0, 6.0, ())


@pytest.mark.parametrize(
    ("total", "doubt"), [(17.8, ""), (18.0, "the phases make 17.0 s together"), (16.0, "it was 16.0 s")]
)
def test_phases_that_do_not_add_up_are_a_doubt(total: float, doubt: str) -> None:
    doubts = phases(FIRST_BOOT, total, 2.0, None).doubts
    assert len(doubts) == bool(doubt)
    assert doubt in "".join(doubts)


def test_what_is_not_known_is_null_and_a_doubt() -> None:
    found = phases(replace(FIRST_BOOT, init=None, bootstrap=None), 15.0, None, None)
    assert (found.seconds["firmware"], found.seconds["initrd"], found.seconds["kernel"]) == (None, None, 3.0)
    assert (found.seconds["configure"], found.seconds["model_load"]) == (2.25, 4.0)
    assert [doubt.partition(":")[0] for doubt in found.doubts] == [
        "the guest doesn't tell when bootstrap began",
        "the kernel printed no line with its time",
        "the kernel doesn't tell when the initrd began",
    ]


def test_an_engine_restarted_since_is_a_doubt() -> None:
    found = phases(replace(FIRST_BOOT, engine=50.0, model=54.0), 17.0, 2.0, None)
    assert "started again after the boot" in found.doubts[0]


def test_marks_out_of_order_are_a_doubt() -> None:
    assert phases(replace(FIRST_BOOT, configure=2.0), 17.0, 2.0, None).doubts == (
        "the phase userspace would be negative",
    )


def test_the_guests_words_become_marks() -> None:
    assert parse_marks(SAID) == FIRST_BOOT
    without = SAID.replace("init=1.500000", "init=").replace("bootstrap=10.000000", "bootstrap=")
    assert parse_marks(without) == replace(FIRST_BOOT, init=None, bootstrap=None)


def test_a_guest_that_tells_nothing_is_one_line() -> None:
    with pytest.raises(HarnessError, match="the guest doesn't tell of its boot: engine_us, now"):
        parse_marks(SAID.replace("engine_us=10250000", "engine_us=0").replace("now=1795447942.500000000", ""))


def test_a_boot_that_nobody_watched_has_no_phases() -> None:
    with pytest.raises(HarnessError, match="when the machine got ready is not known"):
        boot_phases(cast(Machine, SimpleNamespace()), BootTimings(None, None, None))


def test_the_guest_is_asked_for_its_marks() -> None:
    def run(command: str, timeout: float) -> SimpleNamespace:
        assert "slm-engine.service" in command
        assert timeout > 0
        return SimpleNamespace(stdout=SAID)

    machine = cast(Machine, SimpleNamespace(run=run))
    found = boot_phases(machine, BootTimings(1.0, 17.0, 7.0, kernel_start_s=2.0))
    assert (found.total_s, found.sum_s, found.doubts) == (17.0, 17.0, ())
    found = boot_phases(machine, BootTimings(1.0, 18.5, 7.0, kernel_start_s=2.0, clock_lost_s=1.5))
    assert (found.total_s, found.sum_s, found.doubts) == (18.5, 18.5, ())
