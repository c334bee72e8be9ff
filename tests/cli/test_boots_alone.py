"""A cell that judges how long its boot takes boots before the others of its run begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_cells_side_by_side import CELL_PLAN

from harness.cell.record import CellFacts, write_cell
from harness.cli import run_cells as module
from harness.cli.run_cell import CellPlan, RunningCell
from harness.cli.run_cells import cell_without_process, run_cells
from harness.matrix.room import Room
from harness.results.model import Cell, CellTimings

ROOM = Room(cores=8, ram_mib=64000)
LONG = replace(CELL_PLAN, name="long", seconds=900)
SHORT = replace(CELL_PLAN, name="short", seconds=30)
JUDGING = replace(CELL_PLAN, name="judging", seconds=300, boots_alone=True)


class CardboardCell:
    """A cell that boots for three looks and is over after five."""

    events: list[str]

    def __init__(self, plan: CellPlan) -> None:
        self.plan, self.looks = plan, 0
        self.events.append(f"{plan.name} begins")

    @property
    def is_booting(self) -> bool:
        return self.looks < 3

    def look(self, _wait_s: float = 0.0) -> int | None:
        self.looks += 1
        if self.looks == 3:
            self.events.append(f"{self.plan.name} is ready")
        return 0 if self.looks == 5 else None

    def finish(self, _status: int, **_how: bool) -> Cell:
        self.events.append(f"{self.plan.name} ends")
        return cell_without_process(self.plan, "")


def events_of(monkeypatch: pytest.MonkeyPatch, *plans: CellPlan) -> list[str]:
    events: list[str] = []
    monkeypatch.setattr(CardboardCell, "events", events, raising=False)
    monkeypatch.setattr(module, "RunningCell", CardboardCell)
    run_cells(plans, ROOM, lambda _cell: None)
    return events


def test_it_is_the_first_and_the_others_begin_when_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    events = events_of(monkeypatch, SHORT, LONG, JUDGING)
    assert events[:4] == ["judging begins", "judging is ready", "long begins", "short begins"]


def test_without_one_all_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert events_of(monkeypatch, SHORT, LONG)[:2] == ["long begins", "short begins"]


def test_a_cell_boots_until_its_record_says_ready_or_failed(tmp_path: Path) -> None:
    plan = replace(CELL_PLAN, run_folder=tmp_path)
    plan.evidence.mkdir(parents=True)
    cell = RunningCell.__new__(RunningCell)
    cell.plan = plan
    assert cell.is_booting
    facts = CellFacts("ci", "selfsigned", "qemu", "tcg")
    write_cell(facts, plan.evidence)
    assert cell.is_booting
    write_cell(replace(facts, timings=CellTimings(ready_s=40.0)), plan.evidence)
    assert not cell.is_booting
    write_cell(replace(facts, boot_failure="no disk"), plan.evidence)
    assert not cell.is_booting
