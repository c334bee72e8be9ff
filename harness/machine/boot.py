"""Booting with a broken latch: a machine that failed to boot once is broken, and says so from then on."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.machine.protocol import BootTimings, Machine


@dataclass(frozen=True)
class BootedMachine:
    """A machine whose appliance got ready."""

    machine: Machine
    timings: BootTimings


_BOOTED: WeakKeyDictionary[Machine, BootTimings] = WeakKeyDictionary()
_BROKEN: WeakKeyDictionary[Machine, HarnessError] = WeakKeyDictionary()


def boot(machine: Machine, deadline: Deadline) -> BootedMachine:
    """Start the machine and wait until its appliance is ready; a machine booted before is returned as it is.

    The first failure is remembered: whoever asks again gets the same error at once instead of another wait.
    """
    if machine in _BROKEN:
        raise _BROKEN[machine]
    if machine not in _BOOTED:
        try:
            machine.start()
            _BOOTED[machine] = machine.wait_ready(deadline)
        except HarnessError as error:
            _BROKEN[machine] = error
            raise
    return BootedMachine(machine, _BOOTED[machine])
