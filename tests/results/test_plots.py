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
from harness.results.plots import plots_of
from tests.results.sample import cell

SPEED = {"path": "appliance", "state": "cold", "clients": 1, "clock": "client"}
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
    Metric("itl", "s", 0.01, labels={"path": "appliance", "statistic": "all"}, samples=(0.01, 0.011, 0.2)),
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
)


@pytest.fixture(scope="module")
def measured() -> Cell:
    return replace(cell("ci-benchmark", "nspawn", ()), metrics=METRICS)


def test_each_kind_of_metric_has_its_plot(measured: Cell) -> None:
    titles = [plot.title for plot in plots_of(measured)]
    assert titles == ["Decoding by depth", "Time to first token", "Time between tokens", "Boot", "Threads"]


def test_a_cell_without_such_metrics_has_none() -> None:
    assert (
        plots_of(replace(cell("ci-benchmark", "nspawn", ()), metrics=(Metric("decode_speed", "tok/s", 1.0),)))
        == []
    )


def test_the_roofline_is_drawn_into_the_speeds(measured: Cell) -> None:
    assert ">roofline</text>" in plots_of(measured)[0].svg


def test_a_plot_takes_its_colours_from_the_page(measured: Cell) -> None:
    for plot in plots_of(measured):
        assert "var(--ink)" in plot.svg
        assert not re.findall(r"#0[0-9]0[0-9]0[0-9a]", plot.svg), plot.title


def test_plots_need_nothing_from_elsewhere_and_share_no_ids(measured: Cell) -> None:
    ids: set[str] = set()
    for plot in plots_of(measured):
        ElementTree.fromstring(plot.svg)  # noqa: S314  (our own text)
        assert "<script" not in plot.svg
        assert not re.findall(r'(?:href|src)="(?!#)', plot.svg)
        own = re.findall(r'\bid="([^"]+)"', plot.svg)
        referred = re.findall(r'(?:href="#|url\(#)([^")]+)', plot.svg)
        assert not ids & set(own)
        assert set(referred) <= set(own), plot.title
        ids |= set(own)


def test_the_csv_has_a_line_a_metric_with_labels_and_samples(measured: Cell) -> None:
    rows = list(csv.DictReader(io.StringIO(metrics_csv(measured))))
    assert len(rows) == len(METRICS)
    itl = next(row for row in rows if row["metric"] == "itl")
    assert (itl["path"], itl["statistic"], itl["samples"]) == ("appliance", "all", "0.01 0.011 0.2")
    assert base64.b64decode(csv_link(measured).partition(",")[2]).decode() == metrics_csv(measured)
