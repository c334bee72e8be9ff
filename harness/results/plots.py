"""What a cell measured, as plots: drawn from its metrics alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.results.model import Cell, Label, Metric
from harness.results.svg_theme import INK, MARKERS, SERIES, SOFT, new_figure, themed_svg


@dataclass(frozen=True)
class Plot:
    """A plot for the report: SVG that needs nothing else, and what it says in words."""

    title: str
    caption: str
    svg: str


def plots_of(cell: Cell) -> list[Plot]:
    """The plots for which the cell has metrics; none for most suites."""
    found = []
    for name, draw in _PLOTS.items():
        plot = draw(cell.metrics, f"{cell.name}-{name}")
        if plot is not None:
            found.append(plot)
    return found


def _speed_by_depth(metrics: Sequence[Metric], name: str) -> Plot | None:
    series = {
        "through the appliance": _points(
            metrics,
            "decode_speed",
            "prompt_tokens",
            path="appliance",
            state="cold",
            clients=1,
            clock="client",
        ),
        "llama-bench": _points(
            metrics, "decode_speed", "depth", path="llama-bench", threads=None, sweep=None, kv=None
        ),
    }
    if not any(series.values()):
        return None
    figure, (axes,) = new_figure()
    _draw_series(axes, series)
    roof = _points(metrics, "roofline_ceiling", "depth")
    if roof:
        axes.plot(
            [x for x, _ in roof], [metric.value for _, metric in roof],
            color=SOFT, linestyle="--", linewidth=1.4, label="roofline",
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    _finish(axes, "tokens of context before the answer", "tok/s decoded")
    return Plot(
        "Decoding by depth",
        "Tokens a second behind so many tokens of context, with 95 % intervals. The dashed roofline is what "
        "the measured memory bandwidth allows.",
        themed_svg(figure, name),
    )


def _ttft_by_length(metrics: Sequence[Metric], name: str) -> Plot | None:
    series = {
        f"{state}, {where}": _points(metrics, "ttft", "prompt_tokens", path=path, state=state, clients=1)
        for path, where in (("appliance", "through the appliance"), ("engine", "at the engine's port"))
        for state in ("cold", "warm")
    }
    if not any(series.values()):
        return None
    figure, (axes,) = new_figure()
    _draw_series(axes, series)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    lengths = sorted({x for points in series.values() for x, _ in points})
    axes.set_xticks(lengths, [f"{length:g}" for length in lengths])
    _finish(axes, "tokens of the prompt", "seconds to the first token")
    return Plot(
        "Time to first token",
        "Cold: a prompt nobody has sent before. Warm: the same with another question right after.",
        themed_svg(figure, name),
    )


def _itl(metrics: Sequence[Metric], name: str) -> Plot | None:
    found = [
        one
        for one in metrics
        if one.name == "itl" and one.labels.get("statistic") == "all" and len(one.samples) > 1
    ]
    if not found:
        return None
    figure, (axes,) = new_figure()
    for place, metric in enumerate(found[: len(SERIES)]):
        values = sorted(1000 * one for one in metric.samples)
        shares = [100 * (number + 1) / len(values) for number in range(len(values))]
        axes.step(
            values, shares, where="post", color=SERIES[place], linewidth=1.6, label=_in_words(metric.labels)
        )
    axes.set_xscale("log")
    axes.set_ylim(0, 101)
    _finish(axes, "milliseconds between two tokens", "% that came at most so late")
    return Plot(
        "Time between tokens",
        "Steep is steady. A step far to the right is a stall that a reader sees.",
        themed_svg(figure, name),
    )


def _boot(metrics: Sequence[Metric], name: str) -> Plot | None:
    phases = [one for one in metrics if one.name == "boot_phase" and one.labels.get("phase") != "total"]
    if not phases:
        return None
    figure, (axes,) = new_figure(height=1.7)
    reached = 0.0
    for place, metric in enumerate(phases):
        axes.barh(
            0, metric.value, left=reached, color=SERIES[place % len(SERIES)], edgecolor=INK, linewidth=0.4,
            hatch="" if place < len(SERIES) else "//", label=f"{metric.labels['phase']} {metric.value:.1f} s",
        )  # fmt: skip
        reached += metric.value
    axes.set_yticks([])
    axes.set_xlabel("seconds since power-on")
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=9, labelcolor=INK
    )
    return Plot(
        "Boot",
        "From power-on to the first answered completion, median of each phase.",
        themed_svg(figure, name),
    )


def _threads(metrics: Sequence[Metric], name: str) -> Plot | None:
    kinds = ("decode", "prefill")
    swept = {
        kind: _points(metrics, f"{kind}_speed", "threads", path="llama-bench", sweep="threads")
        for kind in kinds
    }
    if not all(swept.values()):
        return None
    figure, axes = new_figure(height=2.8, columns=2)
    for place, (axis, kind) in enumerate(zip(axes, kinds, strict=True)):
        _draw_series(axis, {kind: swept[kind]}, first=place)
        own = [
            one
            for one in metrics
            if one.name == f"{kind}_speed"
            and one.labels.get("sweep") == "threads"
            and "threads" not in one.labels
        ]
        for metric in own:
            axis.axhline(
                metric.value, color=SOFT, linestyle="--", linewidth=1.4, label="chosen by the appliance"
            )
        axis.set_ylim(bottom=0)
        axis.set_xticks([x for x, _ in swept[kind]])
        _finish(axis, "threads", f"tok/s, {kind}")
    return Plot(
        "Threads",
        "llama-bench with so many threads; dashed is what the appliance chose by itself.",
        themed_svg(figure, name),
    )


_PLOTS: dict[str, Callable[[Sequence[Metric], str], Plot | None]] = {
    "depth": _speed_by_depth,
    "ttft": _ttft_by_length,
    "itl": _itl,
    "boot": _boot,
    "threads": _threads,
}


def _points(
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


def _draw_series(axes: Any, series: dict[str, list[tuple[float, Metric]]], *, first: int = 0) -> None:
    for place, (label, points) in enumerate(series.items(), first):
        if not points:
            continue
        values = [metric.value for _, metric in points]
        below = [one.value - (one.value if one.ci_low is None else one.ci_low) for _, one in points]
        above = [(one.value if one.ci_high is None else one.ci_high) - one.value for _, one in points]
        axes.errorbar(
            [x for x, _ in points], values, yerr=[below, above], label=label,
            color=SERIES[place % len(SERIES)], marker=MARKERS[place % len(MARKERS)],
            markersize=5, linewidth=1.6, capsize=3,
        )  # fmt: skip


def _finish(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _in_words(labels: Any) -> str:
    shown = [
        f"{value} {name.replace('_', ' ')}"
        for name, value in labels.items()
        if name in ("prompt_tokens", "clients")
    ]
    return f"{labels.get('path', '')}, {labels.get('state', '')}: {', '.join(shown)}".strip(", :")
