"""The gate's answer for people: one table on the terminal, the same as Markdown in the release notes."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from harness.gate.judge import Answer, Row
from harness.results.summary import VERDICT_STYLE

HEADINGS = ("requirement", "verdict", "run", "on", "checks", "why")


def answer_table(answer: Answer) -> Table:
    """Every requirement with what became of it; why it isn't met stands in answer_lines."""
    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )
    for heading in HEADINGS[:-1]:
        table.add_column(heading, overflow="fold", no_wrap=heading != HEADINGS[0])
    for row in answer.rows:
        title, verdict, *told, _ = _cells(row)
        table.add_row(title, Text(verdict, style=VERDICT_STYLE[row.verdict]), *told)
    return table


def answer_lines(answer: Answer) -> list[str]:
    """The runs that were set aside, what failed without being asked for, the verdict and every reason against
    a PASS."""
    lines = [f"set aside: {path}: it {why}" for path, why in answer.set_aside]
    lines += [f"not asked for: {told}" for told in answer.unasked]
    image = answer.subject.image
    lines.append(f"{answer.verdict}: {image.path} (sha256 {image.sha256[:16]}..., flavor {image.flavor})")
    return lines + [f"  {reason}" for reason in answer.reasons]


def answer_markdown(answer: Answer) -> Iterator[str]:
    """The table as lines of Markdown."""
    yield f"| {' | '.join(HEADINGS)} |"
    yield "|---" * len(HEADINGS) + "|"
    for row in answer.rows:
        yield "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in _cells(row)) + " |"


def _cells(row: Row) -> tuple[str, ...]:
    checks = "" if row.minimum is None else f"{row.executed or 0}/{row.minimum}"
    return (row.title, row.verdict, row.run, row.place, checks, row.reason)
