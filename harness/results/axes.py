"""Pieces of which the plots are made: series with their intervals, ticks, labels, legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.results.model import Label, Metric
from harness.results.svg_theme import INK, MARKERS, SERIES, Paper

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAR_APART = 4
"""The largest speed by the smallest from which on they are drawn on a logarithmic axis."""

LEGEND_LINE = 0.022
"""Inches that a line of a legend takes for each point of its text."""

Points = Sequence[tuple[float, Metric]]


def points(
    metrics: Sequence[Metric], name: str, axis: str, **labels: Label | None
) -> list[tuple[float, Metric]]:
    """Metrics of this name that have the axis as a number, and these labels; None: not that label at all."""
    found = [
        (float(one.labels[axis]), one)
        for one in metrics
        if one.name == name
        and isinstance(one.labels.get(axis), int | float)
        and all(one.labels.get(label) == wanted for label, wanted in labels.items())
    ]
    return sorted(found, key=lambda point: point[0])


def draw_series(axes: Any, series: Mapping[str, Points], *, first: int = 0) -> None:
    """Lines with markers and the intervals of their values; `first` is the first one's colour."""
    for place, (label, some) in enumerate(series.items(), first):
        if not some:
            continue
        values = [metric.value for _, metric in some]
        below = [one.value - (one.value if one.ci_low is None else one.ci_low) for _, one in some]
        above = [(one.value if one.ci_high is None else one.ci_high) - one.value for _, one in some]
        axes.errorbar(
            [x for x, _ in some], values, yerr=[below, above], label=label,
            color=SERIES[place % len(SERIES)], marker=MARKERS[place % len(MARKERS)],
            markersize=5, linewidth=1.6, capsize=3,
        )  # fmt: skip


def bound_speeds(axes: Any, values: Sequence[float]) -> str:
    """From 0, or where some are so high that everything else would lie at the bottom, logarithmic. Returns
    what the axis's label has to say of that."""
    if min(values) <= 0 or max(values) < FAR_APART * min(values):
        axes.set_ylim(bottom=0)
        return ""
    axes.set_yscale("log")
    axes.set_ylim(min(values) / 1.5, max(values) * 1.3)
    plain_ticks(axes.yaxis)
    return " (log)"


def plain_ticks(axis: Any) -> None:
    """0.1, 1, 10 and what is needed between instead of powers of ten, on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = axis.get_view_interval()
    # Over few decades the powers of ten alone would be one or two ticks.
    between = (1, 2, 5) if high < 1000 * low else (1,)
    axis.set_major_locator(LogLocator(base=10, subs=between))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def finish(figure: Figure, axes: Any, paper: Paper, x: str, y: str) -> None:
    """Labels of the axes, and a legend: inside where there is room."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if paper.narrow:
        legend_above(figure, axes, paper, columns=1)
    else:
        axes.legend(frameon=False, fontsize=paper.text, labelcolor=INK)


def legend_above(figure: Figure, axes: Any, paper: Paper, *, columns: int) -> None:
    """A legend over the axes; the figure grows by its lines."""
    handles, labels = axes.get_legend_handles_labels()
    lines = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + lines * LEGEND_LINE * paper.text)
    axes.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns,
        frameon=False, fontsize=paper.text, labelcolor=INK,
    )  # fmt: skip
