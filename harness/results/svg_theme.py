"""A matplotlib figure as SVG that takes its colours from the page: it follows light and dark with it."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# matplotlib takes no CSS variable for a colour. Each of ours is drawn in a colour that stands for it and is
# found again in the SVG.
STAND_INS = {
    "ink": "#010203",
    "soft": "#020304",
    "line": "#030405",
    "bar-one": "#040506",
    "bar-two": "#050607",
    "bar": "#060708",
    "pass": "#070809",
    "bar-three": "#08090a",
}
"""The page's CSS variables by name."""

INK, SOFT, LINE = STAND_INS["ink"], STAND_INS["soft"], STAND_INS["line"]
SERIES = tuple(STAND_INS[name] for name in ("bar-one", "bar-two", "pass", "bar-three", "bar"))
"""Colours of series one after the other; markers and line styles tell them apart as well. The red of what
failed isn't among them."""
MARKERS = ("o", "s", "^", "D", "v")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

_UNWANTED = re.compile(r"<\?xml.*?\?>|<!DOCTYPE[^>]*>|<metadata>.*?</metadata>", re.DOTALL)


@dataclass(frozen=True)
class Paper:
    """How wide a figure is, in inches of 72 points, and how high its text, in points. On narrow paper legends
    stand above the axes, and axes one below the other."""

    width: float
    text: float
    narrow: bool = False


DESKTOP, PHONE = Paper(7.6, 9), Paper(4.7, 10.5, narrow=True)
"""A page makes the first nearly twice as large, and leaves the second as it is."""


def new_figure(paper: Paper, *, height: float = 3.2, panels: int = 1) -> tuple[Figure, list[Any]]:
    """A figure with so many axes, drawn in the page's colours; `height` in inches, of one row of them."""
    from matplotlib.figure import Figure as NewFigure

    rows, columns = (panels, 1) if paper.narrow else (1, panels)
    figure = NewFigure(figsize=(paper.width, rows * height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(panels)]
    for one in axes:
        one.patch.set_alpha(0)
        one.tick_params(which="both", colors=SOFT, labelcolor=SOFT, labelsize=paper.text)
        one.grid(visible=True, color=LINE, linewidth=0.7)
        one.set_axisbelow(True)
        for side, spine in one.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(SOFT)
        one.xaxis.label.set_color(SOFT)
        one.yaxis.label.set_color(SOFT)
        for label in (one.xaxis.label, one.yaxis.label):
            label.set_fontsize(paper.text + 1)
        one.title.set_color(INK)
    return figure, list(axes)


def themed_svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element without size, script or reference to anything outside.

    `name` keeps the ids of several figures on one page apart.
    """
    import matplotlib as mpl

    target = io.StringIO()
    # Text stays text: it is found by a search, read by a screen reader, and small.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    svg = _UNWANTED.sub("", target.getvalue()).strip()
    head, separator, rest = svg.partition(">")
    # In a page it is as wide as its place, and names no namespace.
    head = re.sub(r' (width|height|xmlns(:\w+)?)="[^"]*"', "", head)
    svg = (head + separator + rest).replace("xlink:href", "href")
    for variable, colour in STAND_INS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    # ids of matplotlib are the same in every figure
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)([^")]+)', rf"\1{name}-\2", svg)
    return re.sub(r"font: ([0-9.]+)px[^;\"]*", r"font: \1px system-ui, sans-serif", svg)
