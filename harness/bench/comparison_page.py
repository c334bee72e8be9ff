"""A comparison of two runs as one HTML file: the ratios as a forest plot. It opens offline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from harness.bench.compare import Comparison, Row
from harness.bench.comparison_table import ratio, summary, value

NARROWEST = 0.1
"""The axis reaches at least 10 % to either side of 1, so that noise doesn't look like a landslide."""

WIDEST = 1.5
"""What changed more than that is an arrow at the border: it would squeeze all others into a line."""


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis around 1: half as much is as far away as twice as much."""

    reach: float
    """The largest ratio on it; the smallest is 1/reach."""

    def place(self, ratio: float) -> float:
        """Where a ratio is, in percent of the width; what is beyond lies on the border."""
        share = math.log(max(ratio, 1e-9)) / math.log(self.reach)
        return 50 + 50 * max(-1.0, min(1.0, share))

    def is_beyond(self, ratio: float) -> bool:
        """Whether a ratio is not on the axis."""
        return not 1 / self.reach <= ratio <= self.reach

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places with their labels: 1, the ends, and halfway between."""
        half = math.sqrt(self.reach)
        return [(self.place(one), f"{one:.2f}") for one in (1 / self.reach, 1 / half, 1.0, half, self.reach)]


def axis_for(rows: Sequence[Row], threshold: float) -> Axis:
    """An axis on which the threshold and every interval have room, within NARROWEST and WIDEST."""
    ratios = [row.ratio for row in rows if row.ratio is not None]
    bounds = [1 + NARROWEST, 1 + 1.5 * threshold]
    bounds += [max(one.high, 1 / max(one.low, 1e-9)) for one in ratios]
    return Axis(min(WIDEST, 1.05 * max(bounds)))


def comparison_html(comparison: Comparison) -> str:
    """The whole page, without any external part."""
    return _template().render(
        comparison=comparison,
        axis=axis_for(comparison.rows, comparison.threshold),
        cells={
            cell: sorted((row for row in comparison.rows if row.cell == cell), key=_what_matters_first)
            for cell in dict.fromkeys(row.cell for row in comparison.rows)
        },
        summary=summary(comparison),
    )


def _what_matters_first(row: Row) -> int:
    return ("worse", "better", "same", "unclear").index(row.finding)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ratio"] = ratio
    environment.globals["value"] = value
    return environment.get_template("comparison.html.j2")
