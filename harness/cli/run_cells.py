"""All cells of a run: side by side where the host has room for them, each with its own outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness import terminal
from harness.cell.record import accelerator_before_boot
from harness.cli.child import descendants, end_all, end_leftovers
from harness.cli.run_cell import CellPlan, RunningCell
from harness.errors import HarnessError
from harness.matrix.room import Room, in_order
from harness.results.model import Cell, CellTimings, Counts

POLL_S = 0.2
"""Seconds between two looks at the running cells."""


def run_cells(plans: Sequence[CellPlan], room: Room, on_finished: Callable[[Cell], None]) -> bool:
    """Run the cells to their ends; `on_finished` gets each as soon as it is over. Returns whether it was
    interrupted before all of them were.

    The first cell that boots alone is the run's first, and nothing else begins until its machine is ready:
    how long a boot takes can only be judged on a quiet host.

    A cell's fault stops no other. An interruption (Ctrl-C, SIGTERM) ends all that run, their machines with
    them, and gives interrupted cells; those that have not begun give none. While a cell only keeps its failed
    machine up, the interruption ends that cell and the others go on. Nothing is left running.
    """
    before = descendants()
    waiting = _one_that_boots_alone_first(in_order(plans, room))
    running: list[RunningCell] = []
    try:
        while waiting or running:
            try:
                _start_what_fits(waiting, running, room, on_finished)
                _look_at(running, on_finished)
            except KeyboardInterrupt:
                kept = [cell for cell in running if cell.is_kept]
                _interrupt(kept or list(running), running, on_finished, over=bool(kept))
                if not kept:
                    return True
        return False
    finally:
        end_leftovers(before)


def _one_that_boots_alone_first(plans: Sequence[CellPlan]) -> list[CellPlan]:
    first = [plan for plan in plans if plan.boots_alone][:1]
    return [*first, *(plan for plan in plans if plan not in first)]


def _start_what_fits(
    waiting: list[CellPlan], running: list[RunningCell], room: Room, on_finished: Callable[[Cell], None]
) -> None:
    for plan in list(waiting):
        if any(cell.plan.boots_alone and cell.is_booting for cell in running):
            return
        if not room.fits([cell.plan for cell in running], plan):
            continue
        waiting.remove(plan)
        try:
            running.append(RunningCell(plan))
        except (HarnessError, OSError) as error:
            on_finished(cell_without_process(plan, f"the cell could not be started: {error}"))


def _look_at(running: list[RunningCell], on_finished: Callable[[Cell], None]) -> None:
    for cell in list(running):
        status = cell.look(POLL_S / len(running))
        if status is not None:
            on_finished(cell.finish(status, interrupted=False))
            running.remove(cell)


def _interrupt(
    ending: Sequence[RunningCell],
    running: list[RunningCell],
    on_finished: Callable[[Cell], None],
    *,
    over: bool,
) -> None:
    """End these cells; `over`: their checks had all run already."""
    if not over and ending:
        what = "the machine" if len(ending) == 1 else f"{len(ending)} machines"
        terminal.say(f"interrupted: closing {what} and saving what is there")
    had_ended = [cell.look() is not None for cell in ending]
    for cell in ending:
        cell.closing()
    statuses = end_all([cell.child for cell in ending])
    for cell, status, ended in zip(ending, statuses, had_ended, strict=True):
        on_finished(cell.finish(status, interrupted=not (over or ended)))
        running.remove(cell)


def cell_without_process(plan: CellPlan, fault: str) -> Cell:
    """A cell that never ran, through the host's fault."""
    return Cell(
        name=plan.name,
        profile=plan.profile,
        tls_mode=plan.tls_mode,
        machine=plan.machine,
        accelerator=accelerator_before_boot(plan.machine, plan.accelerator),
        verdict="INCONCLUSIVE",
        reason=fault,
        fault=fault,
        interrupted=False,
        tests=Counts(),
        timings=CellTimings(),
        metrics=(),
        checks=(),
        guest={},
        rerun=plan.rerun,
        evidence=plan.evidence.relative_to(plan.run_folder).as_posix(),
        files=(),
    )
