"""A comparison of two runs on the terminal."""

from __future__ import annotations

from collections import Counter

from rich import box
from rich.table import Table
from rich.text import Text

from harness.bench.compare import Comparison, Finding, Row

STYLES: dict[Finding, str] = {
    "worse": "bold red",
    "better": "bold green",
    "same": "",
    "unclear": "bold yellow",
}


def comparison_table(comparison: Comparison) -> Table:
    """A row for each metric; fits a terminal of 80 columns."""
    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("metric", overflow="fold", ratio=1)
    for heading in ("A", "B"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("B/A (95% interval)", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    cells = dict.fromkeys(row.cell for row in comparison.rows)
    for cell in cells:
        if len(cells) > 1:
            table.add_row(Text(cell, style="bold"))
        for row in comparison.rows:
            if row.cell == cell:
                table.add_row(
                    row.title,
                    value(row.before, row.unit),
                    value(row.after, row.unit),
                    ratio(row),
                    Text(row.finding, style=STYLES[row.finding]),
                )
    return table


def value(number: float, unit: str) -> str:
    """`12.3 tok/s`."""
    return f"{number:.4g} {unit}".strip()


def ratio(row: Row) -> str:
    """`0.932 (0.91 to 0.95)`, a dash where there is none."""
    if row.ratio is None:
        return "-"
    return f"{row.ratio.value:.3f} ({row.ratio.low:.3f} to {row.ratio.high:.3f})"


def comparison_lines(comparison: Comparison) -> list[str]:
    """What the table doesn't say: how each worse and better metric changed, why others are unclear, what else
    differs, and all in one line at the end."""
    lines = [
        f"{row.finding}: {row.cell}: {row.title}: {row.reason}"
        for finding in ("worse", "better")
        for row in comparison.rows
        if row.finding == finding
    ]
    reasons = Counter(row.reason for row in comparison.rows if row.finding == "unclear")
    for reason, times in reasons.items():
        metrics = next(
            row.title for row in comparison.rows if row.finding == "unclear" and row.reason == reason
        )
        lines.append(f"unclear: {metrics if times == 1 else f'{times} metrics'}: {reason}")
    lines += [f"note: {note}" for note in comparison.notes]
    return [*lines, summary(comparison)]


def summary(comparison: Comparison) -> str:
    """`1 worse, 2 better, 30 same, 4 unclear (threshold 5%)`."""
    told = ", ".join(f"{number} {finding}" for finding, number in comparison.counts.items())
    return f"{told} (threshold {100 * comparison.threshold:.3g}%)"
