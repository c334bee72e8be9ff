"""What a cell measured, for the end of the terminal's output."""

from __future__ import annotations

from rich import box
from rich.table import Table

from harness.results.machine_label import machine_label
from harness.results.model import Cell
from harness.results.quantity import quantity, target, with_interval
from harness.results.speed_table import HEADLINES, speed_rows

STYLE = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}
MARK = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?"}


def speeds_table(cell: Cell) -> Table | None:
    """A benchmark's speeds by length of prompt, for 80 columns; None for other cells."""
    rows = speed_rows(cell)
    if not rows:
        return None
    table = Table(
        title=f"{cell.name}, {machine_label(cell)}: one client, through Nginx and TLS",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in ("prompt tokens", *(column.heading for column in HEADLINES)):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        values = row.values[: len(HEADLINES)]
        table.add_row(
            str(row.prompt_tokens), *("-" if value is None else quantity(value) for value in values)
        )
    return table


def measured_lines(cell: Cell) -> list[tuple[str, str]]:
    """Lines with their styles. Of a benchmark, whose speeds have a table, what has a target, with the reason
    where it isn't kept for sure; of other cells each throughput, with what it was measured on."""
    if not speed_rows(cell):
        return [
            (f"{cell.name}: {one.title} {with_interval(one)} ({machine_label(cell)})", "")
            for one in cell.metrics
            if one.unit == "tok/s"
        ]
    lines = []
    for one in cell.metrics:
        if one.target is not None and one.verdict is not None:
            why = "" if one.verdict == "PASS" else f": {one.reason}"
            told = f"{MARK[one.verdict]} {one.title}: {with_interval(one)}, wanted {target(one)}{why}"
            lines.append((told, STYLE[one.verdict]))
    return lines
