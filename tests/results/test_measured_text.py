"""What a benchmark measured, as people read it: the table by length of prompt, targets, units."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from harness.results.measured_text import measured_lines, speeds_table
from harness.results.model import Cell, Label, Metric
from harness.results.quantity import interval, quantity, target, with_interval
from harness.results.report import report_html
from harness.results.speed_table import COLUMNS, speed_rows
from harness.results.summary import summary_markdown
from tests.results.sample import RESULTS, cell


def measured(name: str, unit: str, value: float, tokens: int, **labels: Label) -> Metric:
    axes = {"path": "appliance", "clients": 1, "prompt_tokens": tokens, **labels}
    return Metric(name, unit, value, 0.9 * value, 1.1 * value, 5, labels=axes)


METRICS = (
    measured("ttft", "s", 23.14, 4096, state="cold"),
    measured("ttft", "s", 0.3037, 4096, state="warm"),
    measured("ttft", "s", 0.4036, 128, state="cold"),
    measured("decode_speed", "tok/s", 123.6, 128, state="cold", clock="client"),
    measured("decode_speed", "tok/s", 999.0, 128, state="cold", clock="server"),
    measured("prefill_speed", "tok/s", 317.2, 128, state="cold", clock="client"),
    measured("itl", "s", 0.008, 128, state="cold", statistic="p50"),
    replace(measured("ttft", "s", 7.0, 64, state="cold"), labels={"path": "engine", "prompt_tokens": 64}),
    Metric(
        "decode_ratio", "ratio", 0.9646, 0.9469, 0.9833, 30, 0.97, "INCONCLUSIVE",
        labels={"path": "engine/llama-bench"}, reason="the interval straddles the target", better="higher",
    ),
    Metric("added_ttft", "s", 0.00071, 0.000594, 0.000888, 200, 0.005, "PASS", better="lower"),
)  # fmt: skip


@pytest.fixture
def bench() -> Cell:
    return replace(cell("ci-benchmark", "nspawn", ()), metrics=METRICS)


@pytest.mark.parametrize(
    ("metric", "texts"),
    [
        (METRICS[0], ("23.14 s", "20.83 to 25.45", "")),
        (METRICS[9], ("0.71 ms", "0.594 to 0.888", "at most 5 ms")),
        (METRICS[8], ("0.9646", "0.9469 to 0.9833", "at least 0.97")),
        (Metric("rss", "MiB", 11776.04), ("11776 MiB", "", "")),
        (Metric("ready", "s", 38.9, target=60.0), ("38.9 s", "", "60 s")),
        (Metric("lost", "s", 0.0, 0.0, 0.0), ("0 s", "0 to 0", "")),
    ],
)
def test_values_have_a_unit_in_which_they_can_be_read(metric: Metric, texts: tuple[str, str, str]) -> None:
    assert (quantity(metric), interval(metric), target(metric)) == texts
    assert with_interval(metric) == (f"{texts[0]} ({texts[1]})" if texts[1] else texts[0])


def test_there_is_a_row_for_each_length_that_a_client_asked_with(bench: Cell) -> None:
    rows = speed_rows(bench)
    assert [row.prompt_tokens for row in rows] == [128, 4096]
    shown = {column.heading: value for column, value in zip(COLUMNS, rows[0].values, strict=True)}
    assert {heading: value.value if value else None for heading, value in shown.items()} == {
        "first token, cold": 0.4036,
        "first token, warm": None,
        "reads": 317.2,
        "answers": 123.6,
        "between tokens, p50": 0.008,
        "between tokens, p99": None,
    }


def test_no_other_suite_has_such_a_table() -> None:
    other = replace(cell("ci-lifecycle", "nspawn", ()), metrics=METRICS[-2:])
    assert speed_rows(other) == []
    assert speeds_table(other) is None
    assert "What a client gets" not in report_html(replace(RESULTS, cells=(other,)))


def test_the_terminal_shows_the_speeds_and_each_target_and_no_list_of_hundreds(bench: Cell) -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(speeds_table(bench))
    printed = captured.get()
    assert "…" not in printed
    for wanted in ("ci-benchmark, container, not VM", "403.6 ms", "303.7 ms", "317.2 tok/s", "123.6 tok/s"):
        assert wanted in printed, wanted
    assert measured_lines(bench) == [
        (
            "? decode_ratio (path engine/llama-bench): 0.9646 (0.9469 to 0.9833), wanted at least 0.97: "
            "the interval straddles the target",
            "yellow",
        ),
        ("✓ added_ttft: 0.71 ms (0.594 to 0.888), wanted at most 5 ms", "green"),
    ]


def test_summary_and_report_have_the_table_and_the_targets(bench: Cell) -> None:
    results = replace(RESULTS, cells=(bench,))
    summary = summary_markdown(results)
    assert "| 128 | 403.6 ms (363.2 to 444) | - | 317.2 tok/s (285.5 to 348.9) |" in summary
    assert (
        "| decode_ratio (path engine/llama-bench) | 0.9646 (0.9469 to 0.9833) | at least 0.97 | "
        "INCONCLUSIVE | the interval straddles the target |" in summary
    )
    assert f"{len(METRICS) - 2} more in results.json" in summary
    page = report_html(results)
    for wanted in ("What a client gets", ">403.6 ms<", ">363.2 to 444<", ">at least 0.97<", ">at most 5 ms<"):
        assert wanted in page, wanted
