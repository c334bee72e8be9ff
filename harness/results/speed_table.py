"""What a client of the appliance gets, by the length of its prompt: one row each, of a cell's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.results.model import Cell, Label, Metric

AS_CLIENT: Mapping[str, Label] = {"path": "appliance", "clients": 1}
"""Through Nginx and TLS, one client at a time."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, and the metric in it by name and labels beside AS_CLIENT's."""

    heading: str
    name: str
    labels: Mapping[str, Label]


TITLE = "What a client gets"
CAPTION = "Through Nginx and TLS, one client; medians of the repetitions."

COLUMNS = (
    Column("first token, cold", "ttft", {"state": "cold"}),
    Column("first token, warm", "ttft", {"state": "warm"}),
    Column("reads", "prefill_speed", {"state": "cold", "clock": "client"}),
    Column("answers", "decode_speed", {"state": "cold", "clock": "client"}),
    Column("between tokens, p50", "itl", {"state": "cold", "statistic": "p50"}),
    Column("between tokens, p99", "itl", {"state": "cold", "statistic": "p99"}),
)
HEADLINES = COLUMNS[:4]
"""What has room in a terminal."""


@dataclass(frozen=True)
class SpeedRow:
    """The metrics of one length of prompt, one a column; None where it was not measured."""

    prompt_tokens: int
    values: tuple[Metric | None, ...]


def speed_rows(cell: Cell) -> list[SpeedRow]:
    """A row for each length of prompt that the cell asked for, the shortest first; [] for most suites."""
    lengths = sorted(
        {
            length
            for one in cell.metrics
            if one.name == "ttft" and isinstance(length := one.labels.get("prompt_tokens"), int)
            and _has(one, AS_CLIENT)
        }
    )  # fmt: skip
    return [SpeedRow(length, tuple(_find(cell, column, length) for column in COLUMNS)) for length in lengths]


def _find(cell: Cell, column: Column, length: int) -> Metric | None:
    wanted = {**AS_CLIENT, **column.labels, "prompt_tokens": length}
    return next((one for one in cell.metrics if one.name == column.name and dict(one.labels) == wanted), None)


def _has(metric: Metric, labels: Mapping[str, Label]) -> bool:
    return all(metric.labels.get(name) == value for name, value in labels.items())
