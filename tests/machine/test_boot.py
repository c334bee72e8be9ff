"""The broken latch: one failed boot is one failure, not one for each check."""

import pytest

from harness.deadline import Deadline
from harness.errors import ApplianceError
from harness.machine.boot import boot
from harness.machine.protocol import BootTimings, Machine

TIMINGS = BootTimings(1.0, 2.0, None)


class Recorder:
    """As much of a machine as booting needs."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def wait_ready(self, _deadline: Deadline) -> BootTimings:
        self.calls.append("wait_ready")
        if self.failure:
            raise self.failure
        return TIMINGS


def machine(failure: Exception | None = None) -> tuple[Machine, list[str]]:
    recorder = Recorder(failure)
    return recorder, recorder.calls  # type: ignore[return-value]


def test_a_machine_is_booted_once() -> None:
    booting, calls = machine()
    assert boot(booting, Deadline.after(1)).timings == TIMINGS
    again = boot(booting, Deadline.after(1))
    assert (again.machine, again.timings) == (booting, TIMINGS)
    assert calls == ["start", "wait_ready"]


def test_the_first_failure_is_remembered_and_raised_again() -> None:
    failure = ApplianceError("the guest's kernel panicked")
    booting, calls = machine(failure)
    for _ in range(3):
        with pytest.raises(ApplianceError) as caught:
            boot(booting, Deadline.after(1))
        assert caught.value is failure
    assert calls == ["start", "wait_ready"]


def test_an_interrupted_boot_is_not_a_broken_machine() -> None:
    booting, calls = machine(KeyboardInterrupt())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        boot(booting, Deadline.after(1))
    with pytest.raises(KeyboardInterrupt):
        boot(booting, Deadline.after(1))
    assert calls.count("wait_ready") == 2
