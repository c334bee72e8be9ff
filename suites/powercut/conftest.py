"""The cuts of this suite and their recoveries, made once for all its checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.cell.options import CellOptions
from harness.cell.own_guests import OpenGuest, ReadyDeadline
from harness.cell.session import work_folder
from harness.machine.leftovers import Claim
from harness.matrix.quick_machine import choose_quick
from suites.powercut.cuts import CHANGES, CONTEXT, Cuts, make_cuts
from suites.powercut.recovery import Expected, recover_all


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """On a disk, for copies of disks; gone afterwards, also when this run is killed."""
    claim = Claim()
    try:
        yield claim.new_folder(work_folder(), "slm-disks-")
    finally:
        claim.release()


@pytest.fixture(scope="session")
def cuts(open_guest: OpenGuest, ready_deadline: ReadyDeadline, stretch: float, folder: Path) -> Cuts:
    return make_cuts(open_guest, ready_deadline, stretch, folder)


@pytest.fixture(scope="session")
def quick(cell: CellOptions, cuts: Cuts) -> str:
    """The machine that boots copies: they need no virtual machine, and there are many."""
    return choose_quick(cell.machine, cuts.accelerator).name


@pytest.fixture(scope="session")
def first_boot(
    cuts: Cuts,
    quick: str,
    open_guest: OpenGuest,
    ready_deadline: ReadyDeadline,
    folder: Path,
    record_metric: Callable[..., None],
) -> list[list[str]]:
    """What is wrong after each cut of the first configuration."""
    expected = Expected(domain=CONTEXT["ONEAPP_SLM_DOMAIN"])
    faults = recover_all(
        cuts.first, open_guest, ready_deadline, CONTEXT, expected, machine=quick, scratch=folder
    )
    record_metric("cuts_of_the_first_boot", "instants", len(faults), n=len(faults))
    return faults


@pytest.fixture(scope="session")
def changed_context(
    cuts: Cuts,
    quick: str,
    open_guest: OpenGuest,
    ready_deadline: ReadyDeadline,
    folder: Path,
    record_metric: Callable[..., None],
) -> list[list[str]]:
    """What is wrong after each cut of a configuration that takes over a changed context."""
    faults = recover_all(
        cuts.changed,
        open_guest,
        ready_deadline,
        {**CONTEXT, **CHANGES},
        cuts.expected_after,
        machine=quick,
        scratch=folder,
    )
    record_metric("cuts_of_a_changed_context", "instants", len(faults), n=len(faults))
    return faults
