"""What a cell measured, as plots: drawn from its metrics alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.results.axes import bound_speeds, draw_series, finish, legend_above, plain_ticks, points
from harness.results.model import Cell, Label, Metric
from harness.results.svg_theme import (
    DESKTOP,
    INK,
    LINES,
    PHONE,
    SERIES,
    SOFT,
    Paper,
    new_figure,
    themed_svg,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BURST = 20
"""A gap so many times shorter than the middle one is a burst, and not worth the room."""


@dataclass(frozen=True)
class Plot:
    """A plot for the report: SVG that needs nothing else, once more for a phone's width, and what it says in
    words."""

    title: str
    caption: str
    svg: str
    narrow_svg: str


@dataclass(frozen=True)
class Drawing:
    """A plot that can be drawn on any paper."""

    title: str
    caption: str
    draw: Callable[[Paper], Figure]


def plots_of(cell: Cell) -> list[Plot]:
    """The plots for which the cell has metrics; none for most suites."""
    found = []
    for name, drawing_of in _DRAWINGS.items():
        drawing = drawing_of(cell.metrics)
        if drawing is not None:
            found.append(
                Plot(
                    drawing.title,
                    drawing.caption,
                    themed_svg(drawing.draw(DESKTOP), f"{cell.name}-{name}"),
                    themed_svg(drawing.draw(PHONE), f"{cell.name}-{name}-narrow"),
                )
            )
    return found


def _speed_by_depth(metrics: Sequence[Metric]) -> Drawing | None:
    as_client: dict[str, Label] = {"path": "appliance", "state": "cold", "clients": 1, "clock": "client"}
    series = {
        "through the appliance": points(metrics, "decode_speed", "prompt_tokens", **as_client),
        "llama-bench": points(
            metrics, "decode_speed", "depth", path="llama-bench", threads=None, sweep=None, kv=None
        ),
    }
    if not any(series.values()):
        return None
    roof = points(metrics, "roofline_ceiling", "depth")

    def draw(paper: Paper) -> Figure:
        figure, (axes,) = new_figure(paper)
        draw_series(axes, series)
        if roof:
            axes.plot(
                [x for x, _ in roof], [metric.value for _, metric in roof],
                color=SOFT, linestyle="--", linewidth=1.4, label="roofline",
            )  # fmt: skip
        drawn = [metric.value for some in (*series.values(), roof) for _, metric in some]
        scale = bound_speeds(axes, drawn)
        finish(figure, axes, paper, "tokens of context before the answer", f"tok/s decoded{scale}")
        return figure

    told = (
        "The dashed roofline is what the measured memory bandwidth allows."
        if roof
        else "There is no roofline: the memory's bandwidth was not measured."
    )
    return Drawing(
        "Decoding by depth",
        f"Tokens a second behind so many tokens of context, with 95\u00a0% intervals. {told}",
        draw,
    )


def _ttft_by_length(metrics: Sequence[Metric]) -> Drawing | None:
    series = {
        f"{state}, {where}": points(metrics, "ttft", "prompt_tokens", path=path, state=state, clients=1)
        for path, where in (("appliance", "through the appliance"), ("engine", "at the engine's port"))
        for state in ("cold", "warm")
    }
    if not any(series.values()):
        return None
    lengths = sorted({x for some in series.values() for x, _ in some})

    def draw(paper: Paper) -> Figure:
        figure, (axes,) = new_figure(paper)
        draw_series(axes, series)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(lengths, [f"{length:g}" for length in lengths])
        axes.minorticks_off()
        plain_ticks(axes.yaxis)
        finish(figure, axes, paper, "tokens of the prompt", "seconds to the first token (log)")
        return figure

    return Drawing(
        "Time to first token",
        "Cold: a prompt nobody has sent before. Warm: the same with another question right after.",
        draw,
    )


def _itl(metrics: Sequence[Metric]) -> Drawing | None:
    found = _telling_gaps(metrics)
    if not found:
        return None

    def draw(paper: Paper) -> Figure:
        figure, (axes,) = new_figure(paper)
        shortest, longest = math.inf, 0.0
        for place, metric in enumerate(found):
            values = sorted(1000 * one for one in metric.samples)
            shares = [100 * (number + 1) / len(values) for number in range(len(values))]
            axes.step(
                values, shares, where="post", color=SERIES[place], linestyle=LINES[place], linewidth=1.6,
                label=_in_words(metric.labels),
            )  # fmt: skip
            shortest = min(shortest, max(values[0], values[len(values) // 2] / BURST))
            longest = max(longest, values[-1])
        axes.set_xscale("log")
        axes.set_xlim(shortest / 1.2, longest * 1.2)
        axes.set_ylim(0, 101)
        plain_ticks(axes.xaxis)
        finish(figure, axes, paper, "milliseconds between two tokens (log)", "% that came at most so late")
        return figure

    return Drawing(
        "Time between tokens",
        "Cold prompts. Steep is steady; a step far to the right is a stall that a reader sees; a curve that "
        "begins above 0\u00a0% had tokens that came in bursts.",
        draw,
    )


def _telling_gaps(metrics: Sequence[Metric]) -> list[Metric]:
    """Of all series of gaps after a cold prompt those that differ most, as many as can be told apart: the
    engine with its shortest prompt, the appliance with its shortest and its longest, and with several
    clients."""
    gaps = [
        one
        for one in metrics
        if one.name == "itl" and one.labels.get("statistic") == "all" and len(one.samples) > 1
    ]

    def prompts(path: str, clients: int) -> list[Metric]:
        some = points(gaps, "itl", "prompt_tokens", path=path, clients=clients, state="cold")
        return [metric for _, metric in some]

    alone = prompts("appliance", 1)
    chosen = [*prompts("engine", 1)[:1], *alone[:1], *alone[1:][-1:]]
    for clients in sorted({count for one in gaps if isinstance(count := one.labels.get("clients"), int)}):
        if clients > 1:
            chosen += prompts("appliance", clients)[:1]
    return chosen[: len(SERIES)]


def _boot(metrics: Sequence[Metric]) -> Drawing | None:
    phases = [one for one in metrics if one.name == "boot_phase" and one.labels.get("phase") != "total"]
    if not phases:
        return None

    def draw(paper: Paper) -> Figure:
        figure, (axes,) = new_figure(paper, height=1.2)
        reached = 0.0
        for place, metric in enumerate(phases):
            axes.barh(
                0, metric.value, left=reached, color=SERIES[place % len(SERIES)], edgecolor=INK,
                linewidth=0.4, hatch="" if place < len(SERIES) else "//",
                label=f"{str(metric.labels['phase']).replace('_', ' ')} {metric.value:.2f} s",
            )  # fmt: skip
            reached += metric.value
        axes.set_yticks([])
        axes.set_xlabel("seconds since power-on")
        legend_above(figure, axes, paper, columns=2 if paper.narrow else 4)
        return figure

    return Drawing(
        "Boot by phase", "From power-on to the first answered completion, median of each phase.", draw
    )


def _threads(metrics: Sequence[Metric]) -> Drawing | None:
    kinds = ("decode", "prefill")
    swept = {
        kind: points(metrics, f"{kind}_speed", "threads", path="llama-bench", sweep="threads")
        for kind in kinds
    }
    if not all(swept.values()):
        return None

    chosen = {kind: points(metrics, "auto_threads", "threads", kind=kind) for kind in kinds}

    def draw(paper: Paper) -> Figure:
        figure, axes = new_figure(paper, height=2.8, panels=len(kinds))
        for place, (axis, kind) in enumerate(zip(axes, kinds, strict=True)):
            draw_series(axis, {kind: swept[kind]}, first=place)
            for count, _ in chosen[kind]:
                axis.axvline(
                    count, color=SOFT, linestyle="--", linewidth=1.4, label="chosen by the appliance"
                )
            axis.set_ylim(bottom=0)
            axis.set_xticks([x for x, _ in swept[kind]])
            finish(figure, axis, paper, "threads", f"tok/s, {kind}")
        return figure

    return Drawing(
        "Threads", "llama-bench with so many threads; dashed is what the appliance chose by itself.", draw
    )


_DRAWINGS: dict[str, Callable[[Sequence[Metric]], Drawing | None]] = {
    "depth": _speed_by_depth,
    "ttft": _ttft_by_length,
    "itl": _itl,
    "boot": _boot,
    "threads": _threads,
}


def _in_words(labels: Mapping[str, Label]) -> str:
    """`appliance, 2 clients, prompts of 128 tokens`."""
    clients = labels.get("clients")
    return (
        f"{labels.get('path')}, {clients} {'client' if clients == 1 else 'clients'}, "
        f"prompts of {labels.get('prompt_tokens')} tokens"
    )
