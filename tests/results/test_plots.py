"""The plots and the CSV of a cell's metrics."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from harness.results.metrics_csv import csv_link, metrics_csv
from harness.results.model import Cell, Metric
from harness.results.plots import Plot, plots_of
from tests.results.sample import cell

SPEED = {"path": "appliance", "state": "cold", "clients": 1, "clock": "client"}
GAPS = (
    ("cold", 4, 128),
    ("cold", 2, 128),
    ("cold", 1, 4096),
    ("warm", 1, 4096),
    ("cold", 1, 512),
    ("warm", 1, 128),
    ("cold", 1, 128),
)
METRICS = (
    *(
        Metric(
            "decode_speed",
            "tok/s",
            100.0 - n,
            95.0 - n,
            105.0 - n,
            labels={**SPEED, "prompt_tokens": 128 * 2**n},
        )
        for n in range(3)
    ),
    *(
        Metric("roofline_ceiling", "tok/s", 140.0 - d / 100, labels={"depth": d, "threads": 2})
        for d in (0, 512)
    ),
    *(
        Metric(
            "ttft",
            "s",
            0.1 * n,
            labels={"path": "appliance", "state": "cold", "clients": 1, "prompt_tokens": n},
        )
        for n in (128, 512)
    ),
    *(
        Metric(
            "itl",
            "s",
            0.01,
            labels={
                "path": "appliance",
                "state": state,
                "clients": clients,
                "prompt_tokens": n,
                "statistic": "all",
            },
            samples=(0.01, 0.011, 0.2),
        )
        for state, clients, n in GAPS
    ),
    Metric("boot_phase", "s", 1.5, labels={"phase": "kernel"}),
    Metric("boot_phase", "s", 2.5, labels={"phase": "total"}),
    *(
        Metric(
            f"{kind}_speed",
            "tok/s",
            50.0 * t,
            labels={"path": "llama-bench", "sweep": "threads", "threads": t},
        )
        for kind in ("decode", "prefill")
        for t in (1, 2)
    ),
    Metric("auto_threads", "ratio", 1.4, labels={"kind": "decode", "threads": 2, "best_other_threads": 1}),
)


@pytest.fixture(scope="module")
def measured() -> Cell:
    return replace(cell("ci-benchmark", "nspawn", ()), metrics=METRICS)


@pytest.fixture(scope="module")
def plots(measured: Cell) -> dict[str, Plot]:
    """By title, in their order; drawing all of them takes a second."""
    return {plot.title: plot for plot in plots_of(measured)}


def depth_plot(metrics: list[Metric]) -> Plot:
    """The plot of these speeds alone."""
    (plot,) = plots_of(replace(cell("ci-benchmark", "nspawn", ()), metrics=tuple(metrics)))
    return plot


DEPTH = [one for one in METRICS if one.name == "roofline_ceiling" or one.labels.get("clock")]


def test_each_kind_of_metric_has_its_plot(plots: dict[str, Plot]) -> None:
    assert list(plots) == [
        "Decoding by depth",
        "Time to first token",
        "Time between tokens",
        "Boot by phase",
        "Threads",
    ]


def test_a_cell_without_such_metrics_has_none() -> None:
    assert (
        plots_of(replace(cell("ci-benchmark", "nspawn", ()), metrics=(Metric("decode_speed", "tok/s", 1.0),)))
        == []
    )


def test_the_roofline_is_drawn_into_the_speeds(plots: dict[str, Plot]) -> None:
    plot = plots["Decoding by depth"]
    assert ">roofline</text>" in plot.svg
    assert "The dashed roofline" in plot.caption
    without = depth_plot([one for one in DEPTH if one.name != "roofline_ceiling"])
    assert "There is no roofline" in without.caption


def test_a_roofline_far_above_leaves_the_speeds_apart(plots: dict[str, Plot]) -> None:
    assert "(log)" not in plots["Decoding by depth"].svg
    far = [replace(one, value=900.0) if one.name == "roofline_ceiling" else one for one in DEPTH]
    assert "tok/s decoded (log)" in depth_plot(far).svg


def test_the_gaps_that_tell_most_are_drawn(plots: dict[str, Plot]) -> None:
    """Cold, the shortest and the longest prompt of one client, and each number of clients."""
    plot = plots["Time between tokens"]
    assert re.findall(r">(appliance, [^<]*)</text>", plot.svg) == [
        "appliance, 1 client, prompts of 128 tokens",
        "appliance, 1 client, prompts of 4096 tokens",
        "appliance, 2 clients, prompts of 128 tokens",
        "appliance, 4 clients, prompts of 128 tokens",
    ]


def test_a_logarithmic_axis_has_plain_numbers(plots: dict[str, Plot]) -> None:
    plot = plots["Time between tokens"]
    assert {">20</text>", ">50</text>", ">100</text>"} <= set(re.findall(r">\d+</text>", plot.svg))


def test_a_phone_gets_a_plot_of_its_width_with_the_same_texts(plots: dict[str, Plot]) -> None:
    for plot in plots.values():
        widths = [
            float(re.search(r'viewBox="0 0 ([0-9.]+) ', svg)[1])  # type: ignore[index]
            for svg in (plot.svg, plot.narrow_svg)
        ]
        assert widths[1] <= 340 < widths[0]
        for word in re.findall(r">([a-z][a-z ,/-]+)</text>", plot.svg):
            assert word in plot.narrow_svg, f"{plot.title}: {word}"


def test_the_chosen_number_of_threads_is_marked_where_it_is_known(plots: dict[str, Plot]) -> None:
    plot = plots["Threads"]
    assert plot.svg.count(">chosen by the appliance</text>") == 1
    assert plot.narrow_svg.count(">chosen by the appliance</text>") == 1


def test_a_plot_takes_its_colours_from_the_page(plots: dict[str, Plot]) -> None:
    for plot in plots.values():
        for svg in (plot.svg, plot.narrow_svg):
            assert "var(--ink)" in svg
            assert not re.findall(r"#0[0-9]0[0-9]0[0-9a]", svg), plot.title


def test_plots_need_nothing_from_elsewhere_and_share_no_ids(plots: dict[str, Plot]) -> None:
    ids: set[str] = set()
    for svg in (svg for plot in plots.values() for svg in (plot.svg, plot.narrow_svg)):
        ElementTree.fromstring(svg)  # noqa: S314  (our own text)
        assert "<script" not in svg
        assert not re.findall(r'(?:href|src)="(?!#)', svg)
        own = re.findall(r'\bid="([^"]+)"', svg)
        referred = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
        assert not ids & set(own)
        assert set(referred) <= set(own)
        ids |= set(own)


def test_the_csv_has_a_line_a_metric_with_labels_and_samples(measured: Cell) -> None:
    rows = list(csv.DictReader(io.StringIO(metrics_csv(measured))))
    assert len(rows) == len(METRICS)
    itl = next(row for row in rows if row["metric"] == "itl")
    assert (itl["path"], itl["clients"], itl["samples"]) == ("appliance", "4", "0.01 0.011 0.2")
    assert base64.b64decode(csv_link(measured).partition(",")[2]).decode() == metrics_csv(measured)
