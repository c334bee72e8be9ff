"""`report.html`: one file for people, drawn from the results alone. It opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from harness.cell.titles import topic
from harness.results.machine_label import machine_label, machines_of
from harness.results.metrics_csv import csv_link
from harness.results.model import Cell, Check, Counts, Results
from harness.results.plots import plots_of
from harness.results.quantity import interval, quantity, target
from harness.results.rerun import rerun_check
from harness.results.speed_table import CAPTION, COLUMNS, TITLE, speed_rows
from harness.results.summary import (
    CONTAINER_NOTE,
    broken_checks,
    duration,
    suite_rows,
    suite_verdict,
)
from harness.results.verdict import count, suite_of

SLOWEST = 8
"""How many of a cell's checks are shown as the slowest."""


@dataclass(frozen=True)
class Segment:
    """A piece of a bar: where it begins and how long it is, in percent of the whole width."""

    label: str
    seconds: float
    start: float
    width: float
    kind: str


@dataclass(frozen=True)
class FileOfChecks:
    """The checks of one file of a suite."""

    topic: str
    file: str
    counts: Counts
    seconds: float
    checks: tuple[Check, ...]

    @property
    def broken(self) -> int:
        """Checks that failed or ended in an error."""
        return self.counts.failed + self.counts.errors


def report_html(results: Results) -> str:
    """The whole report as one HTML document without any external part."""
    return _template().render(
        results=results,
        tally=count(check for cell in results.cells for check in cell.checks),
        boot_segments={
            cell.name: boot_segments(cell, _longest_boot(results.cells)) for cell in results.cells
        },
        files={cell.name: files_of_checks(cell) for cell in results.cells},
        broken={cell.name: broken_checks(cell) for cell in results.cells},
        skipped={
            cell.name: [one for one in cell.checks if one.status == "skipped"] for cell in results.cells
        },
        slowest={cell.name: slowest(cell) for cell in results.cells},
        suite_rows=suite_rows(results),
        machines=machines_of(results),
        speeds={cell.name: speed_rows(cell) for cell in results.cells},
        speed_columns=COLUMNS,
        speed_title=TITLE,
        speed_caption=CAPTION,
        plots={cell.name: plots_of(cell) for cell in results.cells},
        csv_links={cell.name: csv_link(cell) for cell in results.cells if cell.metrics},
        container_note=CONTAINER_NOTE if any(cell.machine == "nspawn" for cell in results.cells) else "",
    )


def boot_segments(cell: Cell, longest_s: float) -> list[Segment]:
    """The boot as pieces of a bar that is `longest_s` seconds wide; [] when it was not measured."""
    boot, ready = cell.timings.boot_s, cell.timings.ready_s
    marks = [
        ("power-on to SSH", boot, "boot"),
        ("SSH to ready", ready, "ready"),
    ]
    segments: list[Segment] = []
    reached = 0.0
    for label, until, kind in marks:
        if until is None or until < reached or longest_s <= 0:
            continue
        start, width = 100 * reached / longest_s, 100 * (until - reached) / longest_s
        segments.append(Segment(label, until - reached, start, width, kind))
        reached = until
    return segments


def _longest_boot(cells: Sequence[Cell]) -> float:
    known = [value for cell in cells for value in (cell.timings.boot_s, cell.timings.ready_s) if value]
    return max(known, default=0.0)


def files_of_checks(cell: Cell) -> list[FileOfChecks]:
    """A cell's checks by file, in the order they ran."""
    by_file: dict[str, list[Check]] = {}
    for check in cell.checks:
        by_file.setdefault(check.file, []).append(check)
    several = len(cell.suites) > 1
    return [
        FileOfChecks(
            f"{suite_of(file)}: {topic(file)}" if several and suite_of(file) else topic(file),
            file,
            count(checks),
            sum(one.seconds for one in checks),
            tuple(checks),
        )
        for file, checks in by_file.items()
    ]


def slowest(cell: Cell) -> list[Segment]:
    """The cell's slowest checks as bars, longest first."""
    chosen = sorted(cell.checks, key=lambda one: one.seconds, reverse=True)[:SLOWEST]
    longest = chosen[0].seconds if chosen else 0.0
    if longest <= 0:
        return []
    return [
        Segment(f"{topic(one.file)}: {one.title}", one.seconds, 0.0, 100 * one.seconds / longest, one.status)
        for one in chosen
    ]


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["topic"] = topic
    environment.filters["duration"] = duration
    environment.filters["quantity"] = quantity
    environment.filters["interval"] = interval
    environment.filters["target"] = target
    environment.filters["rerun_check"] = rerun_check
    environment.filters["machine_label"] = machine_label
    environment.filters["suite_verdict"] = suite_verdict
    return environment.get_template("report.html.j2")
