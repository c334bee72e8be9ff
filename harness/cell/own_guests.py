"""Guests that a check opens for itself, beside the machine of the cell."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness import terminal
from harness.cell.session import READY_WITHIN_S, CellSession, work_folder
from harness.deadline import Deadline
from harness.profiles import Profile, find_profile

if TYPE_CHECKING:
    from harness.machine.protocol import Machine

GUESTS_FOLDER = "guests"
"""Below a cell's evidence: one folder for each guest of a check that failed."""

ReadyDeadline = Callable[[], Deadline]


class OpenGuest(Protocol):
    """Opens a guest: switched off, its context inserted, closed when the block ends."""

    def __call__(
        self,
        context: Mapping[str, str] = {},
        *,
        profile: Profile | None = None,
        cpu: str = "",
        address: IPv4Interface | None = None,
        disk: Path | None = None,
        machine: str = "",
    ) -> AbstractContextManager[Machine]:
        """`context` are variables beside those every VM has; the rest are CellRequest's, by default those of
        the cell. Raises HarnessError."""


def guest_opener(session: CellSession) -> OpenGuest:
    """What the fixture `open_guest` hands out."""

    @contextmanager
    def open_guest(
        context: Mapping[str, str] = {},
        *,
        profile: Profile | None = None,
        cpu: str = "",
        address: IPv4Interface | None = None,
        disk: Path | None = None,
        machine: str = "",
    ) -> Iterator[Machine]:
        from harness.machine.cell import CellRequest

        request = CellRequest(
            profile=profile or find_profile(session.options.profile),
            tls_mode=session.options.tls_mode,
            machine=machine or session.options.machine,
            image=session.options.image,
            context=context,
            accelerator=session.options.accelerator,
            work=work_folder(),
            cpu=cpu,
            address=address,
            disk=disk,
        )
        failures = session.failures
        with session.open_machine(request) as opened:
            session.met(opened)
            try:
                yield opened
            except BaseException:
                _save_evidence(opened, session.options.evidence)
                raise
            # A check that a fixture serves fails outside of this block.
            if session.failures > failures:
                _save_evidence(opened, session.options.evidence)

    return open_guest


def ready_deadline(session: CellSession) -> ReadyDeadline:
    """Makes deadlines for `wait_ready`, as the cell's own machine gets them."""
    return lambda: Deadline.after(READY_WITHIN_S * session.stretch)


def _save_evidence(machine: Machine, cell_folder: Path) -> None:
    folder = _free_folder(cell_folder / GUESTS_FOLDER, running_check())
    try:
        machine.save_evidence(folder)
    except Exception as error:  # best effort: the check's own failure is what has to be reported
        terminal.say(f"  some evidence of a guest could not be saved: {error}")


def running_check() -> str:
    """The check pytest runs now, as a folder's name."""
    check = os.environ.get("PYTEST_CURRENT_TEST", "guest").rpartition(" ")[0] or "guest"
    name = check.partition("::")[2] or check
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:100] or "guest"


def _free_folder(parent: Path, name: str) -> Path:
    number, folder = 1, parent / name
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    folder.mkdir(parents=True)
    return folder
